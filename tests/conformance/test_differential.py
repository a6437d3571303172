"""What counts as the same answer, and what as a difference that is meant."""

from __future__ import annotations

import pytest

from conformance.differential.allowed import reason_of
from conformance.differential.normalise import normalise
from conformance.differential.transcripts import Conversation, Sent


def test_ids_are_normalised_and_nothing_else() -> None:
    assert normalise('40{"sid":"abcdefghijklmnopqrst"}') == '40{"sid":"<sid>"}'
    assert normalise('42["message-back","short",1]') == '42["message-back","short",1]'


PLACEHOLDERS = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}'


@pytest.mark.parametrize(
    ("packet", "official", "other", "word"),
    [
        ('42 ["message"]', ["x"], ["ended"], "blank"),
        ('451e0-["message"]', ["x"], ["ended"], "digits"),
        (f'451-["message",{PLACEHOLDERS}]', ["x"], ["ended"], "placeholder"),
        ('42["message",1.0]', ['42["message-back",1]'], ['42["message-back",1.0]'], "number"),
    ],
)
def test_meant_differences_have_a_reason(
    packet: Sent, official: list[str], other: list[str], word: str
) -> None:
    reason = reason_of(Conversation("websocket", ("40", packet)), official, other)
    assert reason is not None
    assert word in reason


@pytest.mark.parametrize(
    "packet", ['42["message",1]', '451-["message",{"_placeholder":true,"num":0}]', b"\x01"]
)
def test_other_differences_have_none(packet: Sent) -> None:
    assert reason_of(Conversation("websocket", ("40", packet)), ["42[1]"], ["42[2]"]) is None
