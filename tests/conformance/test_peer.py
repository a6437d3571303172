"""The test client's own codecs: a judge that misreads is no judge."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.peer import engineio3
from conformance.peer.engineio import decode_payload, encode_payload
from conformance.peer.packets import MISSING, Packet, encode_packet, parse_message, reconstruct
from conformance.peer.websocket import Closed, closed_by, encode_frame
from conformance.transcript import Transcript


@pytest.mark.parametrize(
    ("message", "packet"),
    [
        ('40{"sid":"x"}', Packet(0, "/", {"sid": "x"})),
        ("40/custom,", Packet(0, "/custom")),
        ("41", Packet(1)),
        ('42["a",1]', Packet(2, "/", ["a", 1])),
        ('42/admin,12["a"]', Packet(2, "/admin", ["a"], 12)),
        ("4312[]", Packet(3, "/", [], 12)),
        ('452-/n,["a"]', Packet(5, "/n", ["a"], None, 2)),
        ('461-7[{"_placeholder":true,"num":0}]', Packet(6, "/", [{"_placeholder": True, "num": 0}], 7, 1)),
        ('44/n,{"message":"no"}', Packet(4, "/n", {"message": "no"})),
    ],
)
def test_packets_are_read(message: str, packet: Packet) -> None:
    assert parse_message(message) == packet


@pytest.mark.parametrize("message", ["", "2", "47", '42["a"', "3probe"])
def test_what_is_no_packet_is_refused(message: str) -> None:
    with pytest.raises(ValueError):
        parse_message(message)


def test_absent_data_is_not_null() -> None:
    assert parse_message("42").data is MISSING
    assert parse_message("42null").data is None


@pytest.mark.parametrize("args", [["a", b"\x01", {"b": [b"\x02"]}], ["a", b"", b""], ["plain", {"k": None}]])
def test_binary_parts_are_taken_out_and_put_back(args: list[Any]) -> None:
    header, *attachments = encode_packet(2, "/", args)
    packet = parse_message(str(header))
    assert packet.attachments == (len(attachments) or None)
    assert reconstruct(packet.data, [bytes(part) for part in attachments]) == args  # type: ignore[arg-type]


def test_payloads_are_joined_and_split() -> None:
    assert encode_payload(["42[]", b"\x01\x02\x03\x04"]) == "42[]\x1ebAQIDBA=="
    assert decode_payload("42[]\x1ebAQIDBA==") == ["42[]", b"\x01\x02\x03\x04"]


def test_old_payloads_count_utf16_units() -> None:
    assert engineio3.encode_payload("4€𝄞") == "4:4€𝄞"
    assert engineio3.decode_payload("2:403:4ab") == ["40", "4ab"]
    assert engineio3.encode_binary_payload(["4a", b"\x01"]) == b"\x00\x02\xff4a\x01\x02\xff\x04\x01"


@pytest.mark.parametrize(
    ("length", "head"),
    [
        (0, b"\x81\x00"),
        (125, b"\x81\x7d"),
        (126, b"\x81\x7e\x00\x7e"),
        (65536, b"\x81\x7f" + (65536).to_bytes(8, "big")),
    ],
)
def test_frames_say_their_length(length: int, head: bytes) -> None:
    assert encode_frame(1, bytes(length), masked=False) == head + bytes(length)


def test_a_masked_frame_can_be_unmasked() -> None:
    frame = encode_frame(2, b"some payload")
    assert frame[1] & 0x80
    key, masked = frame[2:6], frame[6:]
    assert bytes(byte ^ key[index % 4] for index, byte in enumerate(masked)) == b"some payload"


def test_close_frames_with_and_without_code() -> None:
    assert closed_by(b"") == Closed(framed=True)
    assert closed_by(b"\x03\xe8bye") == Closed(framed=True, code=1000, reason="bye")


def test_a_transcript_shows_every_byte_and_stays_small() -> None:
    transcript = Transcript()
    transcript.record(1, b"GET /\r\n\x1e\xff", sent=True)
    transcript.record(1, bytes(5000), sent=False)
    for _ in range(1000):
        transcript.record(2, b"x", sent=True)
    lines = transcript.lines()
    assert "-> GET /\\r\\n\\x1e\\xff" in lines[0]
    assert "(5000 bytes)" in lines[1]
    assert len(lines) == 200
