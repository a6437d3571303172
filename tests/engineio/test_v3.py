"""The payload of Engine.IO 3 and JSONP: literal bodies, everything refused, and the JavaScript implementation."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote, quote_plus, urlencode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sio_core.engineio.v3 import (
    decode_base64,
    decode_binary,
    decode_form,
    decode_payload,
    encode_base64,
    encode_binary,
    encode_binary_payload,
    encode_text_payload,
    jsonp_response,
)
from sio_core.errors import InvalidPacket, PayloadTooLarge
from tests.socketio.peer import Peer, PeerError, Undefined, open_peer

TYPES = ["open", "close", "ping", "pong", "message", "upgrade", "noop"]


def decoded(body: bytes, binary: bool, max_packets: int = 10_000) -> list[str | bytes]:
    return list(decode_payload(body, binary, max_packets))


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    with open_peer() as opened:
        yield opened


TEXT = [
    (["40"], b"2:40"),
    (["4hello", "4€"], b"6:4hello2:4\xe2\x82\xac"),
    (["4😀", "2probe"], b"3:4\xf0\x9f\x98\x806:2probe"),
    ([b"\x01\x02\x03\x04"], b"10:b4AQIDBA=="),
    (["4a", b"", "6"], b"2:4a2:b41:6"),
    (["4a:b", "42:4a"], b"4:4a:b5:42:4a"),
    (["4" + "x" * 99], b"100:4" + b"x" * 99),
    (["4é" * 10, "3"], b"20:" + b"4\xc3\xa9" * 10 + b"1:3"),
]


@pytest.mark.feature(187)
@pytest.mark.parametrize(("packets", "body"), TEXT)
def test_text_payload(packets: list[str | bytes], body: bytes) -> None:
    assert encode_text_payload(packets) == body
    assert decoded(body, False) == packets


BINARY = [
    (["4a"], b"\x00\x02\xff4a"),
    (["4€"], b"\x00\x04\xff4\xe2\x82\xac"),
    ([b"\x01\x02\x03"], b"\x01\x04\xff\x04\x01\x02\x03"),
    ([b"", "4😀", b"\xff\xff"], b"\x01\x01\xff\x04\x00\x05\xff4\xf0\x9f\x98\x80\x01\x03\xff\x04\xff\xff"),
    (["4" + "x" * 119], b"\x00\x01\x02\x00\xff4" + b"x" * 119),
]


@pytest.mark.feature(187)
@pytest.mark.parametrize(("packets", "body"), BINARY)
def test_binary_payload(packets: list[str | bytes], body: bytes) -> None:
    assert encode_binary_payload(packets) == body
    assert decoded(body, True) == packets


def test_no_packets() -> None:
    assert encode_text_payload([]) == b"0:"
    assert decoded(b"0:", False) == []
    assert decoded(b"0:2:4a0:", False) == ["4a"]
    assert encode_binary_payload([]) == b""


def test_base64_in_a_binary_payload() -> None:
    assert decoded(b"\x00\x06\xffb4AQI=", True) == [b"\x01\x02"]


def test_unknown_types_are_for_the_session_to_refuse() -> None:
    assert decoded(b"2:9x", False) == ["9x"]
    assert decoded(b"\x00\x02\xff9x\x00\x00\xff", True) == ["9x", ""]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b":",
        b"4a",
        b"2",
        b"2:",
        b"2:4",
        b"3:4a",
        b"2:4a1",
        b"2:4a1:",
        b"2:4a:",
        b"x:4a",
        b"-1:4a",
        b"+2:4a",
        b" 2:4a",
        b"2 :4a",
        b"2.0:4a",
        b"0x2:4a",
        b"2e0:4a",
        b"1_0:4aaaaaaaaa",
        b"\xd9\xa2:4a",
        b"\xc2\xb2:4a",
        b"99999999999:4a",
        b"00000000002:4a",
        b"9" * 5_000 + b":",
        # The length cuts a character of two units.
        b"2:4\xf0\x9f\x98\x80",
        b"1:41:\xf0\x9f\x98\x80",
        b"3:b4!",
        b"1:b",
        b"6:b0AQI=",
        b"4:bAQI",
        b"3:b4A",
    ],
)
def test_refused_text_payload(body: bytes) -> None:
    with pytest.raises(InvalidPacket):
        decoded(body, False)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00",
        b"\x01",
        b"\x00\xff",
        b"\x00\x02",
        b"\x00\x02\xff4",
        b"\x00\x02\xff4a\x00",
        b"\x02\x02\xff4a",
        b"\xff\x02\xff4a",
        b"2:4a",
        b"\x002\xff4a",
        b"\x00\x0a\xff4aaaaaaaaa",
        b"\x00\xfe\xff4a",
        b"\x00" + b"\x00" * 10 + b"\x02\xff4a",
        b"\x00" + b"\x09" * 311 + b"\xff",
        b"\x00" + b"\x01" * 10_000,
        b"\x00\x02\xff4\xff",
        b"\x00\x04\xff4\xed\xa0\x80",
        # Only messages are binary.
        b"\x01\x00\xff",
        b"\x01\x01\xff\x02",
        b"\x01\x01\xff4",
        b"\x00\x03\xffb4!",
    ],
)
def test_refused_binary_payload(body: bytes) -> None:
    with pytest.raises(InvalidPacket):
        decoded(body, True)


@pytest.mark.parametrize(("entry", "binary"), [(b"1:2", False), (b"0:", False), (b"\x00\x01\xff2", True)])
def test_number_of_packets(entry: bytes, binary: bool) -> None:
    # An entry without a packet costs time, too.
    decoded(entry * 5, binary, max_packets=5)
    with pytest.raises(PayloadTooLarge) as caught:
        decoded(entry * 6, binary, max_packets=5)
    assert caught.value.limit == "payload_packets"
    decoded(entry * 10_000, binary)
    with pytest.raises(PayloadTooLarge):
        decoded(entry * 10_001, binary)


def test_packets_before_an_error() -> None:
    packets = decode_payload(b"2:4a2:4bx", False)
    assert [next(packets), next(packets)] == ["4a", "4b"]
    with pytest.raises(InvalidPacket):
        next(packets)
    with pytest.raises(InvalidPacket):
        next(decode_payload(b"\x00\x02\xff4a\x00", True))


def test_text_that_is_not_utf8() -> None:
    assert decoded(b"2:4\xff2:4a", False) == ["4\ufffd", "4a"]
    assert decoded(b"4:4\xed\xa0\x80", False) == ["4\ufffd\ufffd\ufffd"]


def test_packets_of_binary_transports() -> None:
    assert encode_binary(b"\x01") == b"\x04\x01"
    assert decode_binary(b"\x04\x01") == b"\x01"
    assert decode_binary(b"\x04") == b""
    for refused in (b"", b"4\x01", b"\x02", b"\x00\x01"):
        with pytest.raises(InvalidPacket):
            decode_binary(refused)


@pytest.mark.parametrize(
    ("packet", "data"),
    [
        ("b4", b""),
        ("b4AQ==", b"\x01"),
        ("b4AQ", b"\x01"),
        ("b4AQ=", b"\x01"),
        ("b4AQID", b"\x01\x02\x03"),
        ("b4+/+/", b"\xfb\xff\xbf"),
        ("b4-_-_", b"\xfb\xff\xbf"),
    ],
)
def test_base64(packet: str, data: bytes) -> None:
    assert decode_base64(packet) == data
    assert decode_base64(encode_base64(data)) == data


@pytest.mark.parametrize(
    "packet", ["", "b", "4AQ==", "b5AQ==", "bAQ==", "b4A", "b4AQ==AQ==", "b4A Q", "b4é", "b4\ud800"]
)
def test_refused_base64(packet: str) -> None:
    with pytest.raises(InvalidPacket):
        decode_base64(packet)


@pytest.mark.parametrize(
    ("text", "sent"), [("4\ud800", "4\ufffd"), ("4\ud83d\ude00", "4😀"), ("4\udc00😀", "4\ufffd😀")]
)
def test_lone_surrogates_become_replacement_characters(text: str, sent: str) -> None:
    assert decoded(encode_text_payload([text, "4a"]), False) == [sent, "4a"]
    assert decoded(encode_binary_payload([text, "4a"]), True) == [sent, "4a"]


# JSONP


@pytest.mark.feature(186)
@pytest.mark.parametrize(
    ("index", "payload", "script"),
    [
        ("0", "2:40", b'___eio[0]("2:40");'),
        ("12", b"2:40", b'___eio[12]("2:40");'),
        ("", "", b'___eio[]("");'),
        ("1);alert(2", "", b'___eio[12]("");'),
        ("٣1", "", b'___eio[1]("");'),
        ("0", '3:4"\\', b'___eio[0]("3:4\\"\\\\");'),
        ("0", "\n\x1e", b'___eio[0]("\\n\\u001e");'),
        ("0", "a\u2028b\u2029c", b'___eio[0]("a\\u2028b\\u2029c");'),
        ("0", "é€😀", '___eio[0]("é€😀");'.encode()),
        ("0", b"\xff", '___eio[0]("\ufffd");'.encode()),
    ],
)
def test_jsonp_response(index: str, payload: str | bytes, script: bytes) -> None:
    assert jsonp_response(index, payload) == script


@given(st.text())
@example("\u2028\\u2028")
def test_jsonp_response_is_a_string_of_javascript(payload: str) -> None:
    script = jsonp_response("7", payload).decode()
    assert script.startswith("___eio[7](")
    assert script.endswith(");")
    literal = script[len("___eio[7](") : -2]
    assert json.loads(literal) == payload
    assert not set(literal) & set("\n\r\u2028\u2029")


@pytest.mark.parametrize(
    ("body", "payload"),
    [
        (b"d=2%3A40", b"2:40"),
        (b"d=", b""),
        (b"d", b""),
        (b"a=b&d=x&d=y", b"x"),
        (b"d=a+b", b"a b"),
        (b"d=a%2Bb", b"a+b"),
        (b"d=%E2%82%AC", "€".encode()),
        (b"d=%zz%", b"%zz%"),
        (b"d=a=b", b"a=b"),
        (b"d=a\\nb", b"a\nb"),
        (b"d=a%5Cnb", b"a\nb"),
        (b"d=a%5C%5Cnb", b"a\\nb"),
        (b"d=a%5C%5C%5Cnb", b"a\\\\nb"),
        (b"d=%5C%5Cn%5Cn", b"\\n\n"),
        (b"d=%5C%5C", b"\\\\"),
        (b"&" * 999 + b"d=x", b"x"),
    ],
)
def test_form(body: bytes, payload: bytes) -> None:
    assert decode_form(body) == payload


@pytest.mark.parametrize("body", [b"", b"a=b", b"D=x", b"dd=x", b"=d", b"2:40", b"&" * 1_000 + b"d=x"])
def test_form_without_payload(body: bytes) -> None:
    with pytest.raises(InvalidPacket):
        decode_form(body)


# The client's way of escaping makes one of a newline behind a backslash and of the letter n behind two. JSON has
# no newlines.
@given(st.text().filter(lambda text: "\\\n" not in text))
@example("a\nb\\nc\\\\nd\\\\\\ne\n\nf")
def test_form_of_a_client(text: str) -> None:
    # engine.io-client 3, transports/polling-jsonp.js, doWrite(): the two replacements.
    escaped = text.replace("\\n", "\\\n").replace("\n", "\\n")
    for body in (urlencode({"d": escaped}), "d=" + quote(escaped), "d=" + quote_plus(escaped)):
        assert decode_form(body.encode()).decode() == text


# Properties


texts = st.text(max_size=20).map(lambda text: "4" + text)
packets = st.lists(texts | st.sampled_from(["2probe", "3", "6"]) | st.binary(max_size=20), max_size=6)


@given(packets)
def test_round_trip(sent: list[str | bytes]) -> None:
    assert decoded(encode_text_payload(sent), False) == sent
    if sent:
        assert decoded(encode_binary_payload(sent), True) == sent


@given(packets, packets)
def test_payloads_can_be_joined(first: list[str | bytes], second: list[str | bytes]) -> None:
    for encode, binary in ((encode_text_payload, False), (encode_binary_payload, True)):
        body = encode(first) + encode(second)
        if body:
            assert decoded(body, binary) == first + second


payload_like = st.lists(
    st.sampled_from(
        [
            b"0",
            b"1",
            b"2",
            b"3",
            b":",
            b"4a",
            b"b4",
            b"\xf0\x9f\x98\x80",
            b"\xff",
            b"\x00",
            b"\x01",
            b"\x02",
            b"\x04",
        ]
    ),
    max_size=12,
).map(b"".join)


@given(st.binary(max_size=40) | payload_like, st.booleans())
def test_any_body_is_packets_or_not(body: bytes, binary: bool) -> None:
    with suppress(InvalidPacket):
        for packet in decode_payload(body, binary):
            assert isinstance(packet, str | bytes)
    with suppress(InvalidPacket):
        decode_form(body)


def as_ours(packets: list[tuple[str, Any]]) -> list[str | bytes]:
    ours: list[str | bytes] = []
    for kind, data in packets:
        if isinstance(data, bytes):
            ours.append(data)
        else:
            ours.append(str(TYPES.index(kind)) + ("" if isinstance(data, Undefined) else data))
    return ours


def as_theirs(packet: str | bytes) -> tuple[str, Any]:
    if isinstance(packet, bytes):
        return "message", packet
    return TYPES[int(packet[0])], packet[1:]


@given(packets)
@example(["4" + "é" * 300, b"\x00" * 300, "4😀"])
def test_javascript_writes_the_same(peer: Peer, sent: list[str | bytes]) -> None:
    theirs = peer.encode_payload([as_theirs(packet) for packet in sent], False)
    assert theirs == encode_text_payload(sent)
    assert as_ours(peer.decode_payload(theirs, False)) == sent
    # It chooses the binary form only if it has to.
    theirs = peer.encode_payload([as_theirs(packet) for packet in sent], True)
    if any(isinstance(packet, bytes) for packet in sent):
        assert theirs == encode_binary_payload(sent)
        assert as_ours(peer.decode_payload(theirs, True)) == sent
    else:
        assert theirs == encode_text_payload(sent)


@given(payload_like)
def test_what_we_read_javascript_reads_alike(peer: Peer, body: bytes) -> None:
    try:
        ours = decoded(body, False)
    except InvalidPacket:
        return
    if any(not packet or packet[:1] not in set("0123456") for packet in ours if isinstance(packet, str)):
        with pytest.raises(PeerError):
            peer.decode_payload(body, False)
    else:
        assert as_ours(peer.decode_payload(body, False)) == ours


def test_example_of_a_binary_message() -> None:
    assert encode_base64(b"\x01\x02\x03\x04") == "b4AQIDBA=="
    assert base64.b64decode("AQIDBA==") == b"\x01\x02\x03\x04"
