"""Many Engine.IO packets in one long-polling body.

Engine.IO protocol v4, "Packet encoding", "HTTP long-polling": textual packets, joined by the record separator.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from sio_core.engineio.packet import Encoded, decode_packet
from sio_core.errors import PayloadTooLarge

__all__ = ["decode_payload", "encode_payload"]

SEPARATOR: Final = "\x1e"


def encode_payload(packets: Sequence[Encoded]) -> bytes:
    """Return the body that carries ``packets``, in their order."""
    if len(packets) == 1:
        return packets[0].text()
    return b"\x1e".join([packet.text() for packet in packets])


def decode_payload(body: bytes, max_packets: int) -> Iterator[str | bytes]:
    """Yield the packets of a request body: text packets whole, binary messages as bytes.

    The body is text whatever its content type says; what is not UTF-8 is replaced, as in the official server.

    :param max_packets: how many packets are allowed.
    :raises PayloadTooLarge: at once, if there are more.
    :raises InvalidPacket: at the first thing that is no packet; those before it have been yielded.
    """
    text = body.decode("utf-8", "replace")
    if SEPARATOR not in text:
        yield decode_packet(text)
        return
    if text.count(SEPARATOR) >= max_packets:
        raise PayloadTooLarge(f"more than {max_packets} packets in one payload", "payload_packets")
    for part in text.split(SEPARATOR):
        yield decode_packet(part)
