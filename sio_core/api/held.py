"""What must not overtake: what a socket is sent behind an event that cannot leave yet.

With a cluster that recovers sessions, an event leaves when its offset is known, which the engine says a moment later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sio_core.adapters.base import Held
from sio_core.engineio.packet import Encoded
from sio_core.engineio.states import OPEN

if TYPE_CHECKING:
    from sio_core.api.socket import Socket

__all__ = ["Place", "Waiting"]


class Place(Held):
    """The place of one event in what its receivers are sent."""

    __slots__ = ("_sockets", "filled", "packets")

    def __init__(self, sockets: list[Socket[Any]]) -> None:
        self._sockets = sockets
        self.filled = False
        self.packets: list[Encoded] = []
        for socket in sockets:
            socket.hold_packets().add_place(self)

    def fill(self, packets: list[Encoded]) -> None:
        if self.filled:
            return
        self.filled = True
        self.packets = packets
        sockets, self._sockets = self._sockets, []
        for socket in sockets:
            if socket.waiting is not None:
                socket.waiting.flush()


class Packets:
    """The packets of one event, acknowledgement or disconnection that waits."""

    __slots__ = ("packets", "volatile")

    def __init__(self, packets: list[Encoded], volatile: bool) -> None:
        self.packets = packets
        self.volatile = volatile


class Waiting:
    """What one socket is to be sent, from the first event that cannot leave yet.

    The bounds are those of what waits in the session: past them, the connection is given up.
    """

    __slots__ = ("_bytes", "_items", "_socket")

    def __init__(self, socket: Socket[Any]) -> None:
        self._socket = socket
        self._bytes = 0
        self._items: deque[Place | Packets | Callable[[], object]] = deque()

    def add_place(self, place: Place) -> None:
        """What is added from here on waits until the place is filled."""
        self._items.append(place)

    def add(self, packets: list[Encoded], volatile: bool) -> None:
        """Send packets after what waits."""
        if self._socket.conn.state is not OPEN:
            return
        limits = self._socket.namespace.hub.limits
        self._bytes += sum([len(packet.data) for packet in packets])
        for bound, full in (
            ("outbox_packets", len(self._items) >= limits.outbox_packets),
            ("outbox_bytes", self._bytes > limits.outbox_bytes),
        ):
            if full:
                self._socket.namespace.hub.count_limit(bound)
                self._socket.conn.close(discard=True)
                return
        self._items.append(Packets(packets, volatile))

    def call(self, function: Callable[[], object]) -> None:
        """Call a function after what waits, or when that is given up."""
        self._items.append(function)

    def flush(self) -> None:
        """Send what need not wait any more."""
        items, conn = self._items, self._socket.conn
        while items:
            item = items[0]
            if isinstance(item, Place):
                if not item.filled:
                    return
                items.popleft()
                if item.packets:
                    conn.send_packets(item.packets)
            elif isinstance(item, Packets):
                items.popleft()
                self._bytes -= sum([len(packet.data) for packet in item.packets])
                conn.send_packets(item.packets, item.volatile)
            else:
                items.popleft()
                item()
        self._socket.release_packets()

    def drop(self) -> None:
        """The connection is gone: nothing can be sent any more."""
        functions = [item for item in self._items if not isinstance(item, (Place, Packets))]
        self._items.clear()
        self._socket.release_packets()
        for function in functions:
            function()
