"""sio_core.engineio.packet: Engine.IO protocol v4, "Packet encoding"."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sio_core.engineio.packet import Encoded, decode_base64, decode_packet, encode_text
from sio_core.errors import InvalidPacket


@pytest.mark.parametrize("packet", ["0{}", "1", "2", "2probe", "3", "3probe", "4", "4hello", "4€", "5", "6"])
def test_a_text_packet_is_given_back_whole(packet: str) -> None:
    assert decode_packet(packet) == packet


@pytest.mark.parametrize("packet", ["", "7", "9", "a", "B", "\x1e", " 4", "４", "⁴", "-1", "\x004", "04"[2:]])
def test_what_has_no_type_is_refused(packet: str) -> None:
    with pytest.raises(InvalidPacket, match="parser error"):
        decode_packet(packet)


def test_binary_has_no_type() -> None:
    assert decode_packet(b"") == b""
    assert decode_packet(b"4\x00\xff") == b"4\x00\xff"


def test_base64_is_a_binary_message_on_any_transport() -> None:
    assert decode_packet("bAQIDBA==") == b"\x01\x02\x03\x04"
    assert decode_packet("b") == b""


# What Buffer.from(text, "base64") of Node.js gives.
@pytest.mark.parametrize(
    ("text", "data"),
    [
        ("QQ==", "41"),
        ("QQ", "41"),
        ("QQ=", "41"),
        ("QQ==QQ==", "41"),
        ("QQ=Q", "41"),
        ("Q=Q=", ""),
        ("=QQ", ""),
        ("====", ""),
        ("Q Q = =", "41"),
        ("QUJD\nQUJD", "414243414243"),
        ("A", ""),
        ("AA", "00"),
        ("AAA", "0000"),
        ("AAAAA", "000000"),
        ("-_-_", "fbffbf"),
        ("+/+/", "fbffbf"),
        ("é/QQ", "fd04"),
        ("QU*JD", "414243"),
        ("QUI=QUI=", "4142"),
    ],
)
def test_base64_is_read_as_javascript_reads_it(text: str, data: str) -> None:
    assert decode_base64(text).hex() == data


@given(st.text())
def test_any_text_is_a_packet_or_the_one_error(text: str) -> None:
    try:
        packet = decode_packet(text)
    except InvalidPacket:
        assert text[:1] not in set("0123456b")
    else:
        assert packet == text or text.startswith("b")


@given(st.text(alphabet="AZaz09+/-_= \n*é"))
def test_base64_never_fails(text: str) -> None:
    assert len(decode_base64(text)) <= len(text) * 3 // 4


@given(st.binary())
def test_binary_survives_both_forms(data: bytes) -> None:
    packet = Encoded(data, True)
    assert packet.text() == b"b" + b64encode(data)
    assert decode_packet(packet.text().decode()) == data
    assert decode_packet(packet.data) == data


@given(st.text())
def test_text_survives(text: str) -> None:
    packet = Encoded(b"4" + encode_text(text))
    assert packet.text() is packet.data
    assert decode_packet(packet.text().decode()) == "4" + text


@given(st.text(alphabet=st.characters(codec=None), max_size=20))
def test_half_a_surrogate_pair_becomes_the_replacement_character(text: str) -> None:
    expected = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert encode_text(text).decode() == expected


def test_surrogates() -> None:
    assert encode_text("a\ud800b") == b"a\xef\xbf\xbdb"
    assert encode_text("\ud83d\ude00") == "😀".encode()


def test_a_frame_is_built_once() -> None:
    text = Encoded(b"4hello")
    assert text.frame() == b"\x81\x064hello"
    assert text.frame() is text.frame()
    binary = Encoded(b"\x01\x02", True)
    assert binary.frame() == b"\x82\x02\x01\x02"
    assert binary.text() is binary.text()


@pytest.mark.parametrize(
    ("size", "head"),
    [
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65_535, b"\x81\x7e\xff\xff"),
        (65_536, b"\x81\x7f" + bytes([0, 0, 0, 0, 0, 1, 0, 0])),
    ],
)
def test_the_length_of_a_frame(size: int, head: bytes) -> None:
    data = b"4" * size
    assert Encoded(data).frame() == head + data


def test_repr() -> None:
    assert repr(Encoded(b"4a")) == "Encoded(b'4a', binary=False)"
