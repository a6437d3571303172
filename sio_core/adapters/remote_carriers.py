"""What carries a session whose client is at another node: one GET there, or one WebSocket."""

from __future__ import annotations

from abc import ABC, abstractmethod

from sio_core.engineio.packet import Encoded
from sio_core.engineio.payload import decode_payload
from sio_core.engineio.session import Carrier, Session
from sio_core.errors import LocalProtocolError

__all__ = ["Drains", "RemoteCarrier", "RemotePoll", "RemoteWebSocket"]

CLOSE_PACKET = Encoded(b"1", compress=False)


class Drains(ABC):
    """What these carriers need of the cluster."""

    @property
    @abstractmethod
    def congested(self) -> bool:
        """Whether too much waits to be published: take nothing from sessions for now."""

    @abstractmethod
    def take_soon(self, carrier: RemoteCarrier) -> None:
        """Call ``carrier.take`` soon, but not inside this call, and not while it is congested."""

    @abstractmethod
    def drain(self, node: str, sid: str, packets: list[Encoded]) -> None:
        """Send packets to the client of a session that is at this node."""

    @abstractmethod
    def released(self, carrier: RemoteWebSocket) -> None:
        """A session has done with a WebSocket."""


class RemoteCarrier(Carrier):
    """Either of them.

    :ivar session: what it carries.
    :ivar node: where the client is.
    """

    __slots__ = ("_drains", "node", "session")

    def __init__(self, drains: Drains, session: Session, node: str) -> None:
        self._drains = drains
        self.session = session
        self.node = node

    def output_ready(self) -> None:
        self._drains.take_soon(self)

    def flush(self) -> None:
        if not self._drains.congested:
            self.take()

    @abstractmethod
    def take(self) -> None:
        """Send the client what the session has for it."""

    def pause(self, paused: bool) -> None:
        """The protocol has no word for it."""


class RemotePoll(RemoteCarrier):
    """A GET, answered once."""

    __slots__ = ("_answered",)

    def __init__(self, drains: Drains, session: Session, node: str) -> None:
        super().__init__(drains, session, node)
        self._answered = False

    def take(self) -> None:
        if self._answered:
            return
        self._answered = True
        session = self.session
        payload = session.take_payload()
        count = payload.body.count(b"\x1e") + 1
        packets = [
            Encoded(
                packet if isinstance(packet, bytes) else packet.encode(),
                isinstance(packet, bytes),
                payload.compress,
            )
            for packet in decode_payload(payload.body, count)
        ]
        self._drains.drain(self.node, session.id, packets)
        session.deliver()

    def send_probe(self, packet: Encoded) -> None:
        raise LocalProtocolError("a polling request cannot carry a probe")

    def release(self, code: int | None) -> None:
        """A session does not release its GETs, it answers them."""


class RemoteWebSocket(RemoteCarrier):
    """A WebSocket: first one on which an upgrade is being tried, which is between the client and its node.

    :ivar carries: whether it carries the session.
    :ivar closed: whether the session has done with it.
    """

    __slots__ = ("carries", "closed")

    def __init__(self, drains: Drains, session: Session, node: str) -> None:
        super().__init__(drains, session, node)
        self.carries = False
        self.closed = False

    def take(self) -> None:
        if not self.carries:
            return
        session = self.session
        packets = session.take_packets()
        if packets:
            self._drains.drain(self.node, session.id, packets)
        if self.closed:
            self.carries = False
            self._drains.drain(self.node, session.id, [CLOSE_PACKET])
        session.deliver()

    def send_probe(self, packet: Encoded) -> None:
        """The client has its answer from the node it is at."""

    def release(self, code: int | None) -> None:
        self.closed = True
        self._drains.released(self)
        self._drains.take_soon(self)
