"""A Socket.IO packet on its way down: what the parser made, as Engine.IO packets."""

from __future__ import annotations

from typing import Final

from sio_core.engineio.packet import Encoded

__all__ = ["MESSAGE", "encoded"]

MESSAGE: Final = b"4"
"""What every text message of Engine.IO starts with."""


def encoded(text: bytes, attachments: list[bytes], compress: bool) -> list[Encoded]:
    """Return the Engine.IO packets of one Socket.IO packet; without a text message, of its binary ones alone."""
    packets = [Encoded(attachment, True, compress) for attachment in attachments]
    if text:
        packets.insert(0, Encoded(text, False, compress))
    return packets
