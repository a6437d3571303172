"""Both parsers against the JavaScript implementations: what we write they read alike, and the reverse."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sio_core.errors import InvalidPacket
from sio_core.limits import Limits
from sio_core.socketio.msgpack import MsgpackParser
from sio_core.socketio.packet import ACK, CONNECT, EVENT, Packet
from sio_core.socketio.parser import JsonParser, Parser
from sio_core.socketio.values import mend_text
from tests.socketio.peer import UNDEFINED, Buffer, Peer, PeerError, Undefined, open_peer
from tests.socketio.strategies import packet_like, packets, values

JSON = JsonParser()
MSGPACK = MsgpackParser()


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    with open_peer() as opened:
        yield opened


def same(ours: Any, theirs: Any) -> bool:
    """Compare values as JavaScript has them: True is not 1, and 2.0 is 2."""
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    if isinstance(ours, dict) and isinstance(theirs, dict):
        present = {key: value for key, value in theirs.items() if not isinstance(value, Undefined)}
        return ours.keys() == present.keys() and all(same(ours[key], present[key]) for key in ours)
    if isinstance(theirs, Undefined):
        return ours is None
    if isinstance(ours, bool) or isinstance(theirs, bool):
        return ours is theirs
    if isinstance(ours, int | float) and isinstance(theirs, int | float):
        # They have the nearest number that JavaScript can hold.
        return float(ours) == float(theirs)
    if isinstance(theirs, str):
        # JavaScript keeps halves of surrogate pairs; we never do.
        theirs = mend_text(theirs)
    return bool(ours == theirs)


def same_packet(ours: Packet, theirs: dict[str, Any]) -> bool:
    data = theirs.get("data")
    if isinstance(data, Undefined | None) and ours.type in {EVENT, ACK}:
        data = []
    ack_id = theirs.get("id")
    return (
        ours.type == theirs["type"]
        and ours.namespace == theirs["nsp"]
        and same(ours.data, data)
        and same(ours.id, None if isinstance(ack_id, Undefined) else ack_id)
    )


def as_object(packet: Packet) -> dict[str, Any]:
    """Return a packet as the official server hands it to its parser."""
    made: dict[str, Any] = {"type": packet.type, "nsp": packet.namespace}
    if packet.data is not None:
        made["data"] = packet.data
    if packet.id is not None:
        made["id"] = packet.id
    return made


def decode(parser: Parser, messages: list[str | bytes]) -> list[Packet]:
    decoder = parser.decoder(Limits())
    return [packet for packet in map(decoder.add, messages) if packet is not None]


@given(packets())
def test_they_read_our_json(peer: Peer, packet: Packet) -> None:
    (theirs,) = peer.decode("json", JSON.encode(packet))
    assert same_packet(packet, theirs)


@given(packets())
def test_we_read_their_json(peer: Peer, packet: Packet) -> None:
    (ours,) = decode(JSON, peer.encode("json", as_object(packet)))
    assert same_packet(ours, as_object(packet))


@given(packets())
def test_json_is_the_same_text(peer: Peer, packet: Packet) -> None:
    ours, theirs = JSON.encode(packet), peer.encode("json", as_object(packet))
    # Numbers have several forms, and JavaScript puts keys that are numbers first.
    if not re.search(r"\d\.|\de|\"\d+\":|-0", str(ours[0])):
        assert ours == theirs


# A thing that JavaScript takes for a number, a blank or a length, and we refuse on purpose. The last: what does
# not fit in the bounds.
STRICTER = re.compile(r"""
    ^\s | ^[56][^-]*[.\s] | [eE] | \d{17} | \s | \[{60}
""", re.VERBOSE)  # fmt: skip


@given(packet_like, st.lists(st.binary(max_size=3), max_size=3))
@settings(max_examples=300)
@example('51-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]', [b"1"])
@example('2["a","\\ud800\\udc00\\udc00\\\\ud800"]', [])
def test_we_refuse_what_they_refuse(peer: Peer, text: str, attachments: list[bytes]) -> None:
    messages: list[str | bytes] = [text, *attachments]
    theirs: list[dict[str, Any]] | None
    ours: list[Packet] | None
    try:
        theirs = peer.decode("json", messages)
    except PeerError:
        theirs = None
    try:
        ours = decode(JSON, messages)
    except InvalidPacket:
        ours = None
    if ours is not None:
        assert theirs is not None
        assert len(ours) == len(theirs)
        for our, their in zip(ours, theirs, strict=True):
            assert same_packet(our, their)
    elif theirs is not None:
        assert STRICTER.search(text) or text == "" or text.count("_placeholder") > 1


moments = st.datetimes(min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30)).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
)


@given(packets(moments))
def test_they_read_our_msgpack(peer: Peer, packet: Packet) -> None:
    (theirs,) = peer.decode("msgpack", MSGPACK.encode(packet))
    assert same_packet(packet, theirs)


# notepack.io writes large integral floats wrong: it takes every integral number for one of 64 bits.
sound_floats = st.floats(-(2.0**53), 2.0**53)


@given(
    st.lists(
        values(
            st.binary(max_size=20),
            st.binary(max_size=20).map(Buffer),
            moments,
            st.just(UNDEFINED),
        ),
        max_size=4,
    ),
    st.none() | st.integers(0, 2**53 - 1),
)
@example([Buffer(bytes(size)) for size in (0, 1, 2, 4, 8, 16, 255, 256, 65535, 65536)], None)
@example([bytes(size) for size in (0, 1, 255, 256, 65535, 65536)], None)
@example(["x" * size for size in (31, 32, 255, 256, 65535, 65536)], None)
@example([[1] * size for size in (15, 16, 65535)], None)
@example([{str(key): key for key in range(size)} for size in (15, 16, 1000)], None)
@example([2**power - 1 for power in range(54)] + [-(2**power) for power in range(54)], 2**53 - 1)
@example([{"a": [UNDEFINED, {"b": UNDEFINED}]}, UNDEFINED, [Buffer(b"\x00"), {"c": Buffer(b"12345678")}]], 0)
def test_we_read_their_msgpack(peer: Peer, arguments: list[Any], ack_id: int | None) -> None:
    packet = {"type": EVENT, "data": ["x", *arguments], "nsp": "/"}
    if ack_id is not None:
        packet["id"] = ack_id
    try:
        messages = peer.encode("msgpack", packet)
        (theirs,) = peer.decode("msgpack", messages)
    except PeerError as error:
        pytest.fail(f"the witness failed: {error}")
    (ours,) = decode(MSGPACK, messages)
    assert same_packet(ours, theirs)


@pytest.mark.parametrize("data", [UNDEFINED, {"sid": "x", "pid": UNDEFINED}, {}])
def test_we_read_how_they_connect(peer: Peer, data: Any) -> None:
    (ours,) = decode(MSGPACK, peer.encode("msgpack", {"type": CONNECT, "data": data, "nsp": "/"}))
    present = (
        None if data is UNDEFINED else {key: value for key, value in data.items() if value is not UNDEFINED}
    )
    assert ours == Packet(CONNECT, "/", present)


@pytest.mark.parametrize(
    "message", [b"", b"\xc1", b"\x80", b"\x81\xa4type\x00", b"\x82\xa4type\x09\xa3nsp\xa1/", b"\xc0\x00"]
)
def test_both_refuse_other_msgpack(peer: Peer, message: bytes) -> None:
    with pytest.raises(PeerError):
        peer.decode("msgpack", [message])
    with pytest.raises(InvalidPacket):
        decode(MSGPACK, [message])
