"""A Socket.IO packet on its way down: what the parser made, as Engine.IO packets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

from sio_core.engineio.packet import Encoded

if TYPE_CHECKING:
    from sio_core.api.socket import Socket

__all__ = ["MESSAGE", "encoded", "send_to"]

MESSAGE: Final = b"4"
"""What every text message of Engine.IO starts with."""


def encoded(text: bytes, attachments: list[bytes], compress: bool) -> list[Encoded]:
    """Return the Engine.IO packets of one Socket.IO packet; without a text message, of its binary ones alone."""
    if not attachments:
        return [Encoded(text, False, compress)]
    packets = [Encoded(attachment, True, compress) for attachment in attachments]
    if text:
        packets.insert(0, Encoded(text, False, compress))
    return packets


def send_to(
    sockets: Mapping[str, Socket[Any]], ids: Iterable[str], packets: list[Encoded], volatile: bool
) -> None:
    """Send the packets of one event to those of ``ids`` that are connected here: once encoded, for all."""
    if len(packets) == 1:
        packet = packets[0]
        for member in ids:
            socket = sockets.get(member)
            if socket is not None:
                socket.conn.send_packet(packet, volatile)
    else:
        for member in ids:
            socket = sockets.get(member)
            if socket is not None:
                socket.conn.send_packets(packets, volatile)
