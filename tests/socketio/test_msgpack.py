"""The msgpack parser, on literal bytes as ``socket.io-msgpack-parser`` writes them."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sio_core.errors import InvalidPacket, LocalProtocolError
from sio_core.limits import Limits
from sio_core.socketio.msgpack import MsgpackParser
from sio_core.socketio.packet import (
    ACK,
    BINARY_EVENT,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    RESERVED_EVENTS,
    Packet,
)
from tests.socketio.strategies import packets
from tests.socketio.test_parser import Point, call_at_depth, frames_left

PARSER = MsgpackParser()

TYPE = b"\xa4type"
DATA = b"\xa4data"
NSP = b"\xa3nsp"
ID = b"\xa2id"
ROOT = NSP + b"\xa1/"
UNDEFINED = b"\xd4\x00\x00"


def decode(message: str | bytes, limits: Limits | None = None) -> Packet:
    decoder = PARSER.decoder(limits or Limits())
    packet = decoder.add(message)
    assert packet is not None
    assert not decoder.waiting
    return packet


def refusal(message: Any, limits: Limits | None = None) -> str:
    with pytest.raises(InvalidPacket) as caught:
        PARSER.decoder(limits or Limits()).add(message)
    return str(caught.value)


def encode(packet: Packet) -> bytes:
    messages = PARSER.encode(packet)
    assert len(messages) == 1
    assert isinstance(messages[0], bytes)
    return messages[0]


def event(packed: bytes, count: int = 1) -> bytes:
    """Return the message of the event ``x`` with ``count`` arguments, given packed."""
    head = bytes((0x91 + count,)) if count < 15 else b"\xdc" + (count + 1).to_bytes(2, "big")
    return b"\x83" + TYPE + b"\x02" + DATA + head + b"\xa1x" + packed + ROOT


@pytest.mark.feature(220)
def test_event() -> None:
    packet = Packet(EVENT, "/", ["x", 1, "é", None, True, b"\x01", {"a": [1.5]}], 12)
    message = (
        b"\x84" + TYPE + b"\x02" + DATA + b"\x97\xa1x\x01\xa2\xc3\xa9\xc0\xc3\xc4\x01\x01"
        b"\x81\xa1a\x91\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00" + ID + b"\x0c" + ROOT
    )
    assert encode(packet) == message
    assert decode(message) == packet
    assert PARSER.encode_messages(packet, b"4") == (b"", [message])
    assert PARSER.encode_event("/", tuple(packet.data), 12, b"4") == (b"", [message])


def test_other_types() -> None:
    connect = b"\x83" + TYPE + b"\x00" + DATA + b"\x81\xa3sid\xa1x" + NSP + b"\xa2/a"
    assert encode(Packet(CONNECT, "/a", {"sid": "x"})) == connect
    assert decode(connect) == Packet(CONNECT, "/a", {"sid": "x"})
    disconnect = b"\x82" + TYPE + b"\x01" + ROOT
    assert encode(Packet(DISCONNECT)) == disconnect
    assert encode(Packet(DISCONNECT, "/", {"a": 1})) == disconnect
    assert decode(disconnect) == Packet(DISCONNECT)
    ack = b"\x84" + TYPE + b"\x03" + DATA + b"\x90" + ID + b"\xcd\x01\x00" + ROOT
    assert encode(Packet(ACK, "/", [], 256)) == ack
    assert PARSER.encode_ack("/", (), 256, b"4") == (b"", [ack])
    assert decode(ack) == Packet(ACK, "/", [], 256)
    error = b"\x83" + TYPE + b"\x04" + DATA + b"\x81\xa7message\xa2no" + ROOT
    assert encode(Packet(CONNECT_ERROR, "/", {"message": "no"})) == error
    assert decode(error) == Packet(CONNECT_ERROR, "/", {"message": "no"})
    assert decode(b"\x83" + TYPE + b"\x04" + DATA + b"\xa2no" + ROOT) == Packet(CONNECT_ERROR, "/", "no")


def test_undefined_is_absent() -> None:
    # This is how a JavaScript client connects without a payload.
    assert decode(b"\x83" + TYPE + b"\x00" + DATA + UNDEFINED + ROOT) == Packet(CONNECT)
    assert decode(b"\x84" + TYPE + b"\x01" + DATA + UNDEFINED + ID + UNDEFINED + ROOT) == Packet(DISCONNECT)
    message = b"\x83" + TYPE + b"\x00" + DATA + b"\x82\xa3sid\xa1x\xa3pid" + UNDEFINED + ROOT
    assert decode(message) == Packet(CONNECT, "/", {"sid": "x"})


def test_undefined_inside_the_data() -> None:
    # As JSON.stringify() does it: null in arrays, and no entry in objects.
    assert decode(event(UNDEFINED)).data == ["x", None]
    packed = b"\x82\xa1a" + UNDEFINED + b"\xa1b\x92" + UNDEFINED + b"\x01"
    assert decode(event(packed)).data == ["x", {"b": [None, 1]}]
    # Any byte may follow; notepack.io does not look at it.
    assert decode(event(b"\xd4\x00\xff")).data == ["x", None]


def test_order_and_other_keys_do_not_matter() -> None:
    options = b"\xa7options\x81\xa8compress\xc3"
    message = b"\x85" + options + ROOT + ID + b"\x05" + DATA + b"\x91\xa1x" + TYPE + b"\x02"
    assert decode(message) == Packet(EVENT, "/", ["x"], 5)


@pytest.mark.parametrize(
    ("packed", "value"),
    [
        ("7f", 127),
        ("cc80", 128),
        ("cdffff", 65535),
        ("ceffffffff", 2**32 - 1),
        ("cf0020000000000000", 2**53),
        ("ff", -1),
        ("e0", -32),
        ("d080", -128),
        ("d18000", -(2**15)),
        ("d280000000", -(2**31)),
        ("d38000000000000000", -(2**63)),
        ("ca3fc00000", 1.5),
        ("cb3ff8000000000000", 1.5),
        ("c0", None),
        ("c2", False),
        ("c3", True),
        ("d90161", "a"),
        ("da000161", "a"),
        ("db0000000161", "a"),
        ("c40101", b"\x01"),
        ("c5000101", b"\x01"),
        ("c60000000101", b"\x01"),
        ("dc000101", [1]),
        ("dd0000000101", [1]),
        ("de0001a16101", {"a": 1}),
        ("df00000001a16101", {"a": 1}),
        # Buffers of JavaScript; 1 and 8 bytes could be taken for undefined and a Date.
        ("c70000", b""),
        ("c7010007", b"\x07"),
        ("c702000708", b"\x07\x08"),
        ("c704000102 0304", b"\x01\x02\x03\x04"),
        ("c70800 0102030405060708", b"\x01\x02\x03\x04\x05\x06\x07\x08"),
        ("c8000100 07", b"\x07"),
        ("c8000800 0102030405060708", b"\x01\x02\x03\x04\x05\x06\x07\x08"),
        ("c90000000100 07", b"\x07"),
        ("c90000000800 0102030405060708", b"\x01\x02\x03\x04\x05\x06\x07\x08"),
        ("91c70800 0102030405060708", [b"\x01\x02\x03\x04\x05\x06\x07\x08"]),
        # Other extensions.
        ("d40507", [5, b"\x07"]),
        ("d50507 08", [5, b"\x07\x08"]),
        ("c7030501 0203", [5, b"\x01\x02\x03"]),
        # A Date: milliseconds.
        ("d7000000000000000000", datetime(1970, 1, 1, tzinfo=UTC)),
        ("d700ffffffffffffffff", datetime(1969, 12, 31, 23, 59, 59, 999000, tzinfo=UTC)),
        ("d7000000016f5e66e800", datetime(2020, 1, 1, tzinfo=UTC)),
        # Looks like a short buffer, and is text.
        ("a461c78762", "aǇb"),
    ],
)
def test_decoded_values(packed: str, value: Any) -> None:
    for before, after in ((b"", b""), (b"\xc4\x03\xc7\x01\x00", b""), (b"\xc7\x01\x00\x09", b"\x01")):
        count = 1 + bool(before) + bool(after)
        data = decode(event(before + bytes.fromhex(packed) + after, count)).data
        decoded = data[1 + bool(before)]
        assert decoded == value
        assert type(decoded) is type(value)
        assert len(data) == 1 + count


@pytest.mark.parametrize(
    ("value", "packed"),
    [
        (0, "00"),
        (127, "7f"),
        (128, "cc80"),
        (-32, "e0"),
        (-33, "d0df"),
        (65536, "ce00010000"),
        (2**53, "cf0020000000000000"),
        (1.5, "cb3ff8000000000000"),
        (None, "c0"),
        ((1, True), "9201c3"),
        (b"\x01", "c40101"),
        (bytearray(b"\x01"), "c40101"),
        (memoryview(b"\x01"), "c40101"),
        (datetime(1970, 1, 1, tzinfo=UTC), "d7000000000000000000"),
        (datetime(2020, 1, 1, 0, 0, 0, 999, tzinfo=UTC), "d7000000016f5e66e800"),
        (datetime(2020, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))), "d7000000016f5e66e800"),
        (datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), "d700ffffffffffffffff"),
        (datetime(2020, 1, 1), "b3" + b"2020-01-01T00:00:00".hex()),
        ([datetime(2020, 1, 1), "\ud800"], "92b3" + b"2020-01-01T00:00:00".hex() + "a3efbfbd"),
        ("\ud800", "a3efbfbd"),
        ({1: 2, "\udc00": 3}, "82a13102a3efbfbd03"),
        (Point(1, b"\x01"), "82a17801a56c6162656cc40101"),
        (Point(1, datetime(1970, 1, 1, tzinfo=UTC)), "82a17801a56c6162656cd7000000000000000000"),
        ([{1}, datetime(1970, 1, 1, tzinfo=UTC)], "929101d7000000000000000000"),
        ([Decimal("1.5"), "\ud800"], "92a3312e35a3efbfbd"),
        (MappingProxyType({"a": 1}), "81a16101"),
        # Binary data that looks like a moment.
        (b"\xd6\xff\xd7\xff\xc7\x0c\xff", "c407d6ffd7ffc70cff"),
    ],
)
def test_encoded_values(value: Any, packed: str) -> None:
    assert encode(Packet(EVENT, "/", ["x", value])) == event(bytes.fromhex(packed))


class Model(pydantic.BaseModel):
    name: str
    at: Any = None


def test_objects() -> None:
    moment = datetime(2020, 1, 1, tzinfo=UTC)
    data = ["x", Model(name="m"), Model(name="n", at=moment), {"raw": [bytearray(b"1"), memoryview(b"2")]}]
    assert decode(encode(Packet(EVENT, "/", data))).data == [
        "x",
        {"name": "m", "at": None},
        {"name": "n", "at": moment},
        {"raw": [b"1", b"2"]},
    ]


def test_default_hook() -> None:
    parser = MsgpackParser(default=lambda value: [value.real, value.imag])
    messages = parser.encode(Packet(EVENT, "/", ["x", 1 + 2j, "\ud800"]))
    assert decode(messages[0]).data == ["x", [1.0, 2.0], "\ufffd"]


@pytest.mark.parametrize("value", [object(), 1j, range(2), Point(1, object()), {"a": [print]}])
def test_what_cannot_be_sent(value: Any) -> None:
    with pytest.raises(TypeError):
        encode(Packet(EVENT, "/", ["x", value]))


def test_what_is_too_large_to_be_sent() -> None:
    with pytest.raises(ValueError, match="64 bits"):
        encode(Packet(EVENT, "/", ["x", 2**64]))
    for kind in (-1, BINARY_EVENT, 6, 7):
        with pytest.raises(LocalProtocolError):
            encode(Packet(kind))


def test_circular_data() -> None:
    circle: list[Any] = []
    circle.append(circle)
    point = Point(1)
    point.label = point
    for value in (circle, point):
        with pytest.raises(ValueError, match="circular"):
            encode(Packet(EVENT, "/", ["x", value]))


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"\xc0", "invalid packet type"),
        (b"\x90", "invalid packet type"),
        (b"\x80", "invalid packet type"),
        (b"\x81" + ROOT, "invalid packet type"),
        (b"\x82" + TYPE + b"\x05" + ROOT, "invalid packet type"),
        (b"\x82" + TYPE + b"\xff" + ROOT, "invalid packet type"),
        (b"\x82" + TYPE + b"\xc3" + ROOT, "invalid packet type"),
        (b"\x82" + TYPE + b"\xa10" + ROOT, "invalid packet type"),
        (b"\x82" + TYPE + b"\xca\x3f\x00\x00\x00" + ROOT, "invalid packet type"),
        (b"\x82" + TYPE + UNDEFINED + ROOT, "invalid packet type"),
        (b"\x81" + TYPE + b"\x00", "invalid namespace"),
        (b"\x82" + TYPE + b"\x00" + NSP + b"\x01", "invalid namespace"),
        (b"\x82" + TYPE + b"\x00" + NSP + UNDEFINED, "invalid namespace"),
        (b"\x83" + TYPE + b"\x00" + DATA + b"\xc0" + ROOT, "invalid payload"),
        (b"\x83" + TYPE + b"\x00" + DATA + b"\x90" + ROOT, "invalid payload"),
        (b"\x83" + TYPE + b"\x00" + DATA + b"\xa1x" + ROOT, "invalid payload"),
        (b"\x83" + TYPE + b"\x01" + DATA + b"\x80" + ROOT, "invalid payload"),
        (b"\x82" + TYPE + b"\x02" + ROOT, "invalid payload"),
        (b"\x83" + TYPE + b"\x02" + DATA + b"\x80" + ROOT, "invalid payload"),
        (b"\x83" + TYPE + b"\x02" + DATA + b"\x90" + ROOT, "invalid payload"),
        (b"\x83" + TYPE + b"\x02" + DATA + b"\x91\xc3" + ROOT, "invalid payload"),
        (b"\x83" + TYPE + b"\x02" + DATA + b"\x91" + UNDEFINED + ROOT, "invalid payload"),
        (b"\x82" + TYPE + b"\x03" + ROOT, "invalid payload"),
        (b"\x83" + TYPE + b"\x03" + DATA + b"\x80" + ROOT, "invalid payload"),
        (b"\x82" + TYPE + b"\x04" + ROOT, "invalid payload"),
        (b"\x83" + TYPE + b"\x04" + DATA + b"\x90" + ROOT, "invalid payload"),
        (b"\x84" + TYPE + b"\x03" + DATA + b"\x90" + ID + b"\xa11" + ROOT, "invalid packet id"),
        (b"\x84" + TYPE + b"\x03" + DATA + b"\x90" + ID + b"\xc0" + ROOT, "invalid packet id"),
        (b"\x84" + TYPE + b"\x03" + DATA + b"\x90" + ID + b"\xc3" + ROOT, "invalid packet id"),
        (b"\x84" + TYPE + b"\x03" + DATA + b"\x90" + ID + b"\xff" + ROOT, "invalid packet id"),
        (b"\x84" + TYPE + b"\x03" + DATA + b"\x90" + ID + b"\xcf" + b"\xff" * 8 + ROOT, "invalid packet id"),
        # Not MessagePack at all.
        (b"", "invalid packet type"),
        (b"\xc1", "invalid packet type"),
        (b"\x82" + TYPE + b"\x00" + ROOT + b"\x00", "invalid packet type"),
        (b"\x82" + TYPE + b"\x00" + NSP + b"\xa2/", "invalid packet type"),
        (b"\x82" + TYPE + b"\x00" + NSP + b"\xa1\xff", "invalid packet type"),
        (event(b"\xdd\xff\xff\xff\xff\x01"), "invalid packet type"),
        (event(b"\xdf\xff\xff\xff\xff\x01"), "invalid packet type"),
        (event(b"\xc6\xff\xff\xff\xff\x01"), "invalid packet type"),
        (event(b"\x81\x90\x01"), "invalid payload: the key of an object is no string"),
        (event(b"\x81\x01\x01"), "invalid payload: the key of an object is no string"),
        (event(b"\x91\x81\xc0\x01"), "invalid payload: the key of an object is no string"),
        (event(b"\x81" + UNDEFINED + b"\x01"), "invalid payload: the key of an object is no string"),
        (event(b"\x81\xd4\x05\x07\x01"), "invalid packet type"),
        # Dates that Python has no datetime for.
        (event(b"\xd7\x00\x7f" + b"\xff" * 7), "invalid packet type"),
        (event(b"\xd7\x00\x80" + b"\x00" * 7), "invalid packet type"),
        # Ends early, where a short buffer had to be looked for.
        (event(b"\xc7\x01\x00\x07") + b"\x00", "invalid packet type"),
        (event(b"\xc7\x01\x00\x07")[:-1], "invalid packet type"),
        (b"\xc7\x01\x00", "invalid packet type"),
        (b"\xc7\x08\x00\x00", "invalid packet type"),
        (b"\x92\xc7\x01\x00\x00", "invalid packet type"),
        (b"\xc4\xc7\x01\x00\x00", "invalid packet type"),
    ],
)
def test_refused_messages(message: bytes, reason: str) -> None:
    assert refusal(message) == reason


@pytest.mark.parametrize("name", sorted(RESERVED_EVENTS))
def test_reserved_names_are_refused(name: str) -> None:
    packed = bytes((0xA0 + len(name),)) + name.encode()
    message = b"\x83" + TYPE + b"\x02" + DATA + b"\x91" + packed + ROOT
    assert refusal(message) == "invalid payload"


@pytest.mark.parametrize("message", ["", "2", '2["x"]', None, 1, bytearray(b"\x80")])
def test_other_messages(message: Any) -> None:
    refusal(message)


def test_depth() -> None:
    assert decode(event(b"\x91" * 62 + b"\x90"))
    assert refusal(event(b"\x91" * 63 + b"\x90")) == "invalid payload: nested too deeply"
    assert refusal(event(b"\x81\xa1a" * 64 + b"\x90")) == "invalid payload: nested too deeply"
    assert refusal(event(b"\x91" * 500 + b"\x90")) == "invalid payload: nested too deeply"
    refusal(event(b"\x91" * 200_000 + b"\x90"))
    assert decode(event(b"\x91\x90"), Limits(json_depth=3))
    assert refusal(event(b"\x91\x91\x90"), Limits(json_depth=3)) == "invalid payload: nested too deeply"
    assert refusal(b"\x83" + TYPE + b"\x00" + DATA + b"\x81\xa1a\x90" + ROOT, Limits(json_depth=1))


def test_number_of_values() -> None:
    # Seven of the message itself, and the name.
    limits = Limits(json_items=20)
    assert decode(event(b"\x90" * 12, 12), limits)
    assert refusal(event(b"\x90" * 13, 13), limits) == "invalid payload: too many values"
    assert decode(event(b"\xc4\xff" + b"\x90" * 255), limits).data == ["x", b"\x90" * 255]
    assert decode(event(b"\xda\x01\x00" + b"a" * 256), limits).data == ["x", "a" * 256]
    assert refusal(event(b"\xdd\x00\x03\x00\x00" + b"\x90" * 0x30000)) == "invalid payload: too many values"


def test_integer_bits() -> None:
    limits = Limits(integer_bits=53)
    assert decode(event((2**53 - 1).to_bytes(9, "big").replace(b"\x00", b"\xcf", 1)), limits).data == [
        "x",
        2**53 - 1,
    ]
    for packed in (b"\xcf\x00\x20\x00\x00\x00\x00\x00\x00", b"\xd3\xff\xe0\x00\x00\x00\x00\x00\x00"):
        for inside in (packed, b"\x91" + packed, b"\x81\xa1a" + packed):
            assert refusal(event(inside), limits) == "invalid payload: integer too large"
            assert decode(event(inside))


def test_namespace_length() -> None:
    limits = Limits(namespace_length=3)
    assert decode(b"\x82" + TYPE + b"\x00" + NSP + b"\xa3/ab", limits).namespace == "/ab"
    assert refusal(b"\x82" + TYPE + b"\x00" + NSP + b"\xa4/abc", limits) == "invalid namespace"


moments = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
)


@given(packets(moments))
def test_round_trip(packet: Packet) -> None:
    assert decode(encode(packet)) == packet


@given(st.binary(max_size=60))
def test_any_bytes_are_a_packet_or_not(message: bytes) -> None:
    for limits in (Limits(), Limits(json_items=5, json_depth=3, integer_bits=8)):
        for wrapped in (message, event(message), event(b"\xc7\x01\x00" + message, 2)):
            try:
                packet = PARSER.decoder(limits).add(wrapped)
            except InvalidPacket:
                continue
            assert packet is not None
            encode(packet)


@given(packets(moments), st.data())
def test_damaged_messages(packet: Packet, data: st.DataObject) -> None:
    message = bytearray(encode(packet))
    for _ in range(data.draw(st.integers(1, 3))):
        message[data.draw(st.integers(0, len(message) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(message)))
    with suppress(InvalidPacket):
        PARSER.decoder(Limits()).add(bytes(message[:end]))


@pytest.mark.parametrize(
    "message", [event(b"\x01"), event(b"\xc7\x01\x00\x01"), event(b"\x91" * 30 + b"\x90"), b"\xc1"]
)
def test_from_the_bottom_of_a_deep_stack(message: bytes) -> None:
    outcomes = []
    for spare in range(60):
        decoder = PARSER.decoder(Limits())
        try:
            call_at_depth(frames_left() - spare, lambda: decoder.add(message))  # noqa: B023
        except RecursionError:
            outcomes.append("too deep")
        except InvalidPacket:
            outcomes.append("refused")
        else:
            outcomes.append("read")
    possible = outcomes[outcomes.index("refused") :]
    assert len(possible) > 20
    assert set(possible) <= {"refused", "read"}
