"""One Socket.IO packet, and what makes one valid. Knows nothing of how packets are written.

Socket.IO protocol v5, "Packet encoding".
"""

from __future__ import annotations

from typing import Any, Final

__all__ = [
    "ACK",
    "BINARY_ACK",
    "BINARY_EVENT",
    "CONNECT",
    "CONNECT_ERROR",
    "DISCONNECT",
    "EVENT",
    "PACKET_NAMES",
    "RESERVED_EVENTS",
    "Packet",
    "is_event_data",
    "is_packet_valid",
]

CONNECT: Final = 0
DISCONNECT: Final = 1
EVENT: Final = 2
ACK: Final = 3
CONNECT_ERROR: Final = 4
BINARY_EVENT: Final = 5
BINARY_ACK: Final = 6

PACKET_NAMES: Final = ("CONNECT", "DISCONNECT", "EVENT", "ACK", "CONNECT_ERROR", "BINARY_EVENT", "BINARY_ACK")

# Names the two sides use for their own notices; a peer that could send one would forge a notice.
RESERVED_EVENTS: Final[frozenset[str]] = frozenset(
    ("connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener")
)


class Packet:  # noqa: PLW1641 - compared in tests, and never a key
    """A packet of the Socket.IO protocol.

    :ivar type: one of the constants of this module; a decoder never gives BINARY_EVENT or BINARY_ACK.
    :ivar namespace: the namespace's name, ``"/"`` by default.
    :ivar data: EVENT: ``[name, *arguments]``; ACK: the answers; an empty list when the packet had none.
        CONNECT, CONNECT_ERROR: the payload or ``None``. DISCONNECT: ``None``.
    :ivar id: the acknowledgement id, or ``None``.
    """

    __slots__ = ("data", "id", "namespace", "type")

    def __init__(self, type: int, namespace: str = "/", data: Any = None, id: int | None = None) -> None:  # noqa: A002
        self.type = type
        self.namespace = namespace
        self.data = data
        self.id = id

    def __repr__(self) -> str:
        name = PACKET_NAMES[self.type] if 0 <= self.type < len(PACKET_NAMES) else str(self.type)
        return f"Packet({name}, {self.namespace!r}, {self.data!r}, {self.id!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Packet):
            return NotImplemented
        return (
            self.type == other.type
            and self.namespace == other.namespace
            and self.id == other.id
            and bool(self.data == other.data)
        )


def is_event_data(data: object) -> bool:
    """Say whether ``data`` may be the payload of an EVENT: a list that starts with a name.

    A name is a string that is not reserved, or a number (the JavaScript implementation takes both).
    """
    if not isinstance(data, list) or not data:
        return False
    name = data[0]
    if isinstance(name, str):
        return name not in RESERVED_EVENTS
    return isinstance(name, int | float) and not isinstance(name, bool)


def is_packet_valid(packet: Packet) -> bool:
    """Say whether a custom parser may hand ``packet`` on: the check of the JSON parser, for other formats.

    Socket.IO protocol v5, "Packet encoding": which payload belongs to which type.
    """
    if not isinstance(packet.namespace, str):
        return False
    if packet.id is not None and (not isinstance(packet.id, int) or isinstance(packet.id, bool)):
        return False
    kind = packet.type
    data = packet.data
    if kind == EVENT:
        return is_event_data(data)
    if kind == ACK:
        return isinstance(data, list)
    if kind == CONNECT:
        return data is None or isinstance(data, dict)
    if kind == DISCONNECT:
        return data is None
    if kind == CONNECT_ERROR:
        return isinstance(data, str | dict)
    return False
