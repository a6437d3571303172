"""sio_core.engineio.payload: Engine.IO protocol v4, "Packet encoding", "HTTP long-polling"."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sio_core.engineio.packet import Encoded
from sio_core.engineio.payload import decode_payload, encode_payload
from sio_core.errors import InvalidPacket, PayloadTooLarge, RemoteProtocolError


def test_encode() -> None:
    packets = [Encoded(b"4hello"), Encoded(b"\x01\x02\x03\x04", True), Encoded(b"2")]
    assert encode_payload(packets) == b"4hello\x1ebAQIDBA==\x1e2"
    assert encode_payload(packets[:1]) == b"4hello"
    assert encode_payload(packets[1:2]) == b"bAQIDBA=="
    assert encode_payload([]) == b""


def test_decode() -> None:
    assert list(decode_payload(b"4hello\x1ebAQIDBA==\x1e2", 10)) == ["4hello", b"\x01\x02\x03\x04", "2"]
    assert list(decode_payload("4é€😀".encode(), 10)) == ["4é€😀"]


def test_what_is_not_utf_8_is_replaced() -> None:
    assert list(decode_payload(b"4\xff", 10)) == ["4�"]


@pytest.mark.parametrize("body", [b"", b"x", b"\x1e", b"\xff", b"\xef\xbb\xbf4a", b"7", b" "])
def test_nothing_but_an_error(body: bytes) -> None:
    with pytest.raises(InvalidPacket):
        next(decode_payload(body, 10))


@pytest.mark.parametrize("body", [b"4a\x1e4b\x1e", b"4a\x1e4b\x1e\x1e4c", b"4a\x1e4b\x1e8\x1e4c"])
def test_the_packets_before_an_error_are_given(body: bytes) -> None:
    packets = decode_payload(body, 10)
    assert [next(packets), next(packets)] == ["4a", "4b"]
    with pytest.raises(InvalidPacket):
        next(packets)


def test_the_number_of_packets_is_bounded() -> None:
    assert len(list(decode_payload(b"\x1e".join([b"4"] * 10), 10))) == 10
    assert list(decode_payload(b"4", 1)) == ["4"]
    with pytest.raises(PayloadTooLarge) as caught:
        next(decode_payload(b"\x1e".join([b"4"] * 11), 10))
    assert caught.value.limit == "payload_packets"


def test_a_body_of_separators_costs_nothing() -> None:
    body = b"\x1e" * 1_000_000
    tracemalloc.start()
    try:
        with pytest.raises(PayloadTooLarge):
            next(decode_payload(body, 10_000))
        assert tracemalloc.get_traced_memory()[1] < 2 * len(body)
    finally:
        tracemalloc.stop()


@given(st.binary())
def test_any_body_is_packets_or_the_protocol_error(body: bytes) -> None:
    try:
        packets = list(decode_payload(body, 4))
    except RemoteProtocolError:
        return
    assert len(packets) == body.decode("utf-8", "replace").count("\x1e") + 1


text_packets = st.tuples(
    st.sampled_from("0123456"), st.text(st.characters(exclude_characters="\x1e", codec="utf-8"))
).map("".join)


@given(st.lists(text_packets | st.binary(), min_size=1, max_size=20))
def test_round_trip(packets: list[str | bytes]) -> None:
    encoded = [Encoded(p, True) if isinstance(p, bytes) else Encoded(p.encode()) for p in packets]
    assert list(decode_payload(encode_payload(encoded), 20)) == packets
