"""Differences from the official server that are meant, each with its reason.

The same list, for readers, stands in ``docs/deviations.md``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from conformance.differential.transcripts import Conversation, Request, Sent

Played = Conversation | Request
Lines = list[str]


@dataclass(frozen=True, slots=True)
class Deviation:
    reason: str
    applies: Callable[[Played, Lines, Lines], bool]
    """Given what was played, the official answers and the others: is this the difference?"""


def packets_of(played: Played) -> tuple[Sent, ...]:
    return played.packets if isinstance(played, Conversation) else ()


def texts_of(played: Played) -> list[str]:
    return [packet for packet in packets_of(played) if isinstance(packet, str)]


def blank_before_data(played: Played, official: Lines, other: Lines) -> bool:
    return any(re.match(r"4[0-6]?\s", packet) for packet in texts_of(played))


def count_not_digits(played: Played, official: Lines, other: Lines) -> bool:
    heads = [packet[2:].partition("-")[0] for packet in texts_of(played) if packet.startswith(("45", "46"))]
    return any(re.fullmatch(r"[0-9]{1,2}", head) is None or head.startswith("0") for head in heads)


def placeholders_not_once(played: Played, official: Lines, other: Lines) -> bool:
    for packet in texts_of(played):
        matched = re.match(r"4[56](\d+)-", packet)
        numbers = re.findall(r'"_placeholder":true,"num":(\d+)', packet)
        if matched and sorted(map(int, numbers)) != list(range(int(matched[1]))):
            return True
    return False


def number_written_otherwise(played: Played, official: Lines, other: Lines) -> bool:
    return [values_of(line) for line in official] == [values_of(line) for line in other]


def values_of(line: str) -> Any:
    start = re.search(r"[\[{]", line)
    if start is None:
        return line
    try:
        return line[: start.start()], json.loads(line[start.start() :])
    except ValueError:
        return line


def plain_request_for_websocket(played: Played, official: Lines, other: Lines) -> bool:
    return isinstance(played, Request) and official == ["no answer"]


ALLOWED = (
    Deviation("A blank is neither a type nor part of an id: refused.", blank_before_data),
    Deviation(
        "The number of attachments is one or two decimal digits, without sign or exponent.", count_not_digits
    ),
    Deviation("Each attachment has exactly one placeholder.", placeholders_not_once),
    Deviation("A number may be written in another way that means the same.", number_written_otherwise),
    Deviation(
        "A plain request for a WebSocket session is answered with 400; the official server never answers.",
        plain_request_for_websocket,
    ),
)


def reason_of(played: Played, official: Lines, other: Lines) -> str | None:
    for deviation in ALLOWED:
        if deviation.applies(played, official, other):
            return deviation.reason
    return None
