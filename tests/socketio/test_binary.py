"""Placeholders and attachments."""

from __future__ import annotations

from typing import Any

import pytest

from sio_core.errors import InvalidPacket
from sio_core.socketio.binary import Extractor, reconstruct


def placeholder(number: Any) -> dict[str, Any]:
    return {"_placeholder": True, "num": number}


def test_extractor_numbers_what_it_takes() -> None:
    extractor = Extractor(None, extract=True)
    assert extractor.take(b"a") == placeholder(0)
    assert extractor.take(bytearray(b"b")) == placeholder(1)
    assert extractor.take(memoryview(b"c")) == placeholder(2)
    assert extractor.attachments == [b"a", b"b", b"c"]
    assert [type(attachment) for attachment in extractor.attachments] == [bytes, bytes, bytes]


def test_extractor_does_not_copy_bytes_but_what_can_change() -> None:
    constant, buffer = b"abc", bytearray(b"abc")
    extractor = Extractor(None, extract=True)
    extractor.take(constant)
    extractor.take(buffer)
    extractor.take(memoryview(buffer)[1:])
    buffer[:] = b"xyz"
    assert extractor.attachments == [b"abc", b"abc", b"bc"]
    assert extractor.attachments[0] is constant


def test_extractor_that_must_not_extract() -> None:
    with pytest.raises(TypeError, match="bytearray"):
        Extractor(None, extract=False).take(bytearray())


def test_reconstruct_anywhere() -> None:
    data: list[Any] = ["a", placeholder(1), {"b": [placeholder(0), {"c": placeholder(2)}]}, [], {}, None]
    reconstruct(data, [b"0", b"1", b"2"], False)
    assert data == ["a", b"1", {"b": [b"0", {"c": b"2"}]}, [], {}, None]


def test_reconstruct_with_fewer_placeholders_than_attachments() -> None:
    data = ["a", placeholder(1)]
    reconstruct(data, [b"0", b"1"], False)
    assert data == ["a", b"1"]


@pytest.mark.parametrize(
    "number", [-1, 2, 10**30, "0", "", None, True, False, 0.0, 1.0, 0.5, [], {}, float("inf")]
)
def test_number_that_is_no_index(number: Any) -> None:
    with pytest.raises(InvalidPacket, match="illegal attachments"):
        reconstruct(["a", placeholder(number)], [b"0", b"1"], False)


def test_placeholder_without_number() -> None:
    with pytest.raises(InvalidPacket, match="illegal attachments"):
        reconstruct(["a", {"_placeholder": True}], [b"0"], False)


@pytest.mark.parametrize("mark", [1, "true", 1.0, [True], None, False])
def test_only_true_marks_a_placeholder(mark: Any) -> None:
    # 1 == True in Python; in JavaScript, and in the protocol, they differ.
    data: list[Any] = ["a", {"_placeholder": mark, "num": 0}]
    reconstruct(data, [b"0"], False)
    assert data == ["a", {"_placeholder": mark, "num": 0}]


@pytest.mark.parametrize(
    "data",
    [["a", placeholder(0), placeholder(0)], ["a", {"b": placeholder(0)}, [[placeholder(0)]]]],
)
def test_attachment_used_twice(data: list[Any]) -> None:
    with pytest.raises(InvalidPacket, match="illegal attachments"):
        reconstruct(data, [b"0"], False)


def test_attachment_used_twice_where_it_is_allowed() -> None:
    data = ["a", placeholder(0), [placeholder(0)]]
    reconstruct(data, [b"0"], True)
    assert data == ["a", b"0", [b"0"]]


def test_depth_costs_no_stack() -> None:
    innermost: list[Any] = [placeholder(0)]
    data = innermost
    for _ in range(100_000):
        data = [data]
    reconstruct(data, [b"0"], False)
    assert innermost == [b"0"]
    while isinstance(data, list):
        # Freed level by level: some Python versions free nested lists recursively.
        data = data.pop()
