"""One Socket.IO client: its decoder, and the namespaces it is in.

::

    NAMESPACE  ABSENT ──CONNECT──► CONNECTING ──accepted──► CONNECTED ──DISCONNECT · kicked · closed──► ABSENT
                                       └─────── refused ──► ABSENT

Events, acknowledgements and DISCONNECT are legal in CONNECTED only, CONNECT in ABSENT only, CONNECT_ERROR never: the
server sends it. Socket.IO protocol v5, "Connection to a namespace", "Packet encoding".
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, Generic, TypeVar

from sio_core.errors import UnexpectedPacket
from sio_core.socketio.packet import ACK, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, PACKET_NAMES, Packet
from sio_core.socketio.parser import Decoder

__all__ = ["ABSENT", "CONNECTED", "CONNECTING", "NAMESPACE", "Client"]

Member = TypeVar("Member")

# states of a namespace at one client
ABSENT: Final = "absent"
CONNECTING: Final = "connecting"
CONNECTED: Final = "connected"

NAMESPACE: Final[dict[str, frozenset[int]]] = {
    ABSENT: frozenset((CONNECT,)),
    CONNECTING: frozenset(),
    CONNECTED: frozenset((EVENT, ACK, DISCONNECT)),
}
"""The packets that are legal in each state."""

NO_NAMESPACES: Final[frozenset[str]] = frozenset()


class Client(Generic[Member]):
    """The Socket.IO side of one session.

    :ivar members: what stands for the client in each namespace that it is in; its presence is the state CONNECTED.
    """

    __slots__ = ("_connecting", "_decoder", "members")

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self.members: dict[str, Member] = {}
        self._connecting: set[str] | None = None  # a set while it is needed: an empty one is 4 % of a client

    @property
    def connecting(self) -> Collection[str]:
        """The namespaces that it asked for and is neither in nor refused from."""
        return NO_NAMESPACES if self._connecting is None else self._connecting

    def begin_connecting(self, namespace: str) -> None:
        """It asks for a namespace."""
        if self._connecting is None:
            self._connecting = {namespace}
        else:
            self._connecting.add(namespace)

    def end_connecting(self, namespace: str) -> None:
        """It is let in, or refused."""
        if self._connecting is not None:
            self._connecting.discard(namespace)
            if not self._connecting:
                self._connecting = None

    def receive(self, message: str | bytes) -> Packet | None:
        """Take one Engine.IO message; return the packet that it completes, if any.

        :raises InvalidPacket: if it cannot be parsed.
        :raises UnexpectedPacket: if the packet is not legal now.
        """
        packet = self._decoder.add(message)
        if packet is None:
            return None
        if packet.namespace in self.members:
            if packet.type == EVENT or packet.type in NAMESPACE[CONNECTED]:
                return packet
        elif packet.type == CONNECT and packet.namespace not in self.connecting:
            return packet
        state = self.state(packet.namespace)
        name = "CONNECT_ERROR" if packet.type == CONNECT_ERROR else PACKET_NAMES[packet.type]
        raise UnexpectedPacket(f"a client may not send {name} in a namespace that is {state}")

    def state(self, namespace: str) -> str:
        """Return the state of a namespace at this client."""
        if namespace in self.members:
            return CONNECTED
        return CONNECTING if namespace in self.connecting else ABSENT

    @property
    def waiting(self) -> bool:
        """Whether attachments of a packet are outstanding."""
        return self._decoder.waiting

    def reset(self) -> None:
        """Drop what is half received."""
        self._decoder.reset()
