"""What becomes of an application's values."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from types import MappingProxyType
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sio_core.socketio.values import MAX_DEPTH, Rewriter, describe, key_text, mend_text


class Struct(msgspec.Struct):
    value: Any


class Dumped:
    def model_dump(self) -> dict[str, Any]:
        return {"dumped": b"1"}


class Kept(Rewriter):
    """A rewriter that leaves what is its subclasses' to decide."""

    def binary(self, value: bytes | bytearray | memoryview) -> object:
        return value

    def moment(self, value: datetime) -> object:
        return value

    def large_integer(self, value: int) -> object:
        return str(value)


REWRITER = Kept(None)


@pytest.mark.parametrize(
    "kept", [b"1", bytearray(b"1"), datetime(2020, 1, 1, tzinfo=UTC), date(2020, 1, 1), time(1), UUID(int=1)]
)
def test_struct_keeps_what_encoders_treat_in_their_own_way(kept: Any) -> None:
    assert describe(Struct([kept]), None) == {"value": [kept]}


def test_describe() -> None:
    assert describe(Dumped(), None) == {"dumped": b"1"}
    assert describe(MappingProxyType({"a": 1}), None) == {"a": 1}
    assert describe(1j, lambda value: "default") == "default"
    # The type itself is no object of that type.
    with pytest.raises(TypeError, match="type cannot be sent"):
        describe(Dumped, None)


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("", ""),
        ("a", "a"),
        ("é€😀", "é€😀"),
        ("\ud800", "\ufffd"),
        ("\udc00\ud800", "\ufffd\ufffd"),
        ("a\ud800b", "a\ufffdb"),
        ("\ud83d\ude00", "😀"),
    ],
)
def test_mend_text(text: str, mended: str) -> None:
    assert mend_text(text) == mended


@given(st.text(st.characters(codec=None)))
def test_mended_text_can_be_sent(text: str) -> None:
    mended = mend_text(text)
    mended.encode()
    assert mend_text(mended) == mended


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("a", "a"),
        (1, "1"),
        (-(10**30), "-1" + "0" * 30),
        (1.0, "1"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e300, "1e+300"),
        (True, "true"),
        (None, "null"),
        (float("inf"), "Infinity"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime(2020, 1, 2, 3), "2020-01-02T03:00:00"),
        (time(1, 2), "01:02:00"),
    ],
)
def test_keys(key: object, text: str) -> None:
    assert key_text(key) == text


@pytest.mark.parametrize("key", [b"a", (1,), frozenset(), 1j])
def test_what_cannot_be_a_key(key: object) -> None:
    with pytest.raises(TypeError, match="cannot be the key"):
        key_text(key)


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_depth_of_the_copy() -> None:
    assert REWRITER.rewrite(nested(MAX_DEPTH)) == nested(MAX_DEPTH)
    with pytest.raises(ValueError, match="nested too deeply"):
        REWRITER.rewrite(nested(MAX_DEPTH + 1))


def test_copy_is_a_copy() -> None:
    value = {"a": [1, {"b": (2,)}]}
    copy = REWRITER.rewrite(value)
    assert copy == {"a": [1, {"b": [2]}]}
    assert copy is not value
    assert value == {"a": [1, {"b": (2,)}]}


def test_what_the_subclass_decides() -> None:
    assert REWRITER.rewrite([b"1", 2**64, -(2**63) - 1, 2**64 - 1]) == [
        b"1",
        str(2**64),
        str(-(2**63) - 1),
        2**64 - 1,
    ]
