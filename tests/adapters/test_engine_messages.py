"""The messages between engines, against what the official package has published."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sio_core.adapters.engine_messages import (
    DRAIN,
    EngineMessage,
    decode_engine_message,
    encode_engine_message,
    packet_from_wire,
    packet_to_wire,
)
from sio_core.errors import InvalidPacket
from tests.adapters.recorded import commands

RECORDED = [payload for _, payload in commands("cluster-engine-redis", "PUBLISH")]


def test_every_type_was_recorded() -> None:
    messages = [decode_engine_message(payload) for payload in RECORDED]
    assert {message.type for message in messages if message is not None} == set(range(7))


@pytest.mark.feature(223)
@pytest.mark.parametrize("payload", RECORDED)
def test_what_was_recorded_is_written_again_byte_for_byte(payload: bytes) -> None:
    message = decode_engine_message(payload)
    assert message is not None
    assert encode_engine_message(message) == payload


@pytest.mark.parametrize("payload", RECORDED)
def test_the_packets_that_were_recorded_are_understood_and_written_alike(payload: bytes) -> None:
    message = decode_engine_message(payload)
    assert message is not None
    for wire in message.data.get("packets", []) if message.type == DRAIN else []:
        packet = packet_from_wire(wire)
        assert packet_to_wire(packet.data.decode(), True) == wire
    if "packet" in message.data:
        packet = packet_from_wire(message.data["packet"])
        assert packet_to_wire(packet.data.decode()) == message.data["packet"]


def test_the_order_of_the_keys_is_that_of_the_official_package() -> None:
    wire = packet_to_wire("4hi", False)
    assert list(wire.items()) == [("type", "message"), ("options", {"compress": False}), ("data", "hi")]


@pytest.mark.parametrize("packet", ["2", "3", "2probe", "4", "4text", "1", "6", b"", b"\x00\xff"])
def test_each_kind_of_packet_goes_through(packet: str | bytes) -> None:
    read = packet_from_wire(msgspec.msgpack.decode(msgspec.msgpack.encode(packet_to_wire(packet, True))))
    assert (read.data if read.binary else read.data.decode()) == packet


def test_messages_of_others_are_none() -> None:
    assert decode_engine_message(msgspec.msgpack.encode({"type": 0, "senderId": "a"})) is None
    assert decode_engine_message(msgspec.msgpack.encode([1])) is None


GOOD: dict[str, Any] = {
    "senderId": "a",
    "type": DRAIN,
    "data": {"sid": "s", "packets": []},
    "_source": "_eio",
}


@pytest.mark.parametrize(
    "change",
    [
        {"type": 7},
        {"type": -1},
        {"type": True},
        {"senderId": 1},
        {"recipientId": 1},
        {"data": None},
        {"data": {}},
        {"data": {"sid": 1}},
        {"type": 0, "data": {"sid": "s", "transportName": "polling", "type": "read"}},
        {"type": 1, "requestId": "1"},
        {"type": 6},
    ],
)
def test_a_malformed_message_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InvalidPacket):
        decode_engine_message(msgspec.msgpack.encode({**GOOD, **change}))


@pytest.mark.parametrize(
    "wire",
    [
        None,
        {},
        {"type": "nothing"},
        {"type": ["message"]},
        {"type": "message", "data": 1},
        {"type": "ping", "data": b"x"},
    ],
)
def test_what_is_no_packet_is_refused(wire: object) -> None:
    with pytest.raises(InvalidPacket):
        packet_from_wire(wire)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_message_or_refused(payload: bytes) -> None:
    try:
        message = decode_engine_message(payload)
    except InvalidPacket:
        return
    assert message is None or isinstance(message, EngineMessage)
