"""A request of a session that another node of the cluster has, as a session of its own for as long as it lasts.

The node that got the request carries it with this; what the client sends is told by ``packet`` events, what the other
node sends for the client is sent here. It ends with its one GET or POST, or with its WebSocket.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable
from typing import Final

from sio_core.engineio.session import Carrier, Payload, Session, SessionOwner
from sio_core.engineio.states import OPEN
from sio_core.ids import SessionId
from sio_core.wire.message import Request

__all__ = ["READ", "UPGRADING", "WRITE", "Elsewhere", "RemoteSession"]

READ: Final = "read"
WRITE: Final = "write"
UPGRADING: Final = "upgrading"


class Elsewhere(ABC):
    """The other nodes of a cluster, as an engine sees them."""

    @abstractmethod
    def find(self, request: Request, purpose: str) -> Awaitable[RemoteSession | None]:
        """Have the node that has the session of a request lend it for that request.

        :param purpose: ``read``, ``write`` or ``upgrading``.
        :returns: what carries the request; ``None`` if no node has the session, or may not lend it now.
        """

    @abstractmethod
    def forget(self, session: Session) -> None:
        """A session of this node is over."""


class RemoteSession(Session):
    """See the module's docstring. Its events are ``packet`` and ``upgrade``.

    Its heartbeat only watches: the node that has the session sends the pings, and the pongs of the client show that
    all of it works. ``ping_interval`` is the time in which its request must have come, or anything after a pong,
    ``ping_timeout`` the time in which it must be heard of again.

    :ivar node: the node that has the session.
    :ivar purpose: what it is for: one GET, one POST, or one WebSocket.
    :ivar held: packets of the client that wait until it is known which node has the session after an upgrade.
    """

    __slots__ = ("_heard", "_watched", "held", "node", "purpose")

    def __init__(
        self, owner: SessionOwner, sid: SessionId, request: Request, now: float, node: str, purpose: str
    ) -> None:
        super().__init__(owner, sid, request, 4, now)
        self.node = node
        self.purpose = purpose
        self.held: list[str | bytes] | None = None
        self.listeners = {"packet": [], "upgrade": []}
        self._heard = False
        self._watched = False

    @property
    def _claimed(self) -> bool:
        carriers = (self._poll, self._post, self._carrier)
        return self._probe is not None or any([carrier is not None for carrier in carriers])

    def end(self) -> None:
        """It has done what it was for."""
        if self.state is OPEN:
            self._finish("forced close", None)

    def take_payload(self) -> Payload:
        payload = super().take_payload()
        self.end()
        return payload

    def post_answered(self) -> None:
        super().post_answered()
        self.end()

    def keep_post(self, carrier: Carrier) -> bool:
        kept = super().keep_post(carrier)
        if not kept:
            self.end()
        return kept

    def websocket_lost(self, carrier: Carrier, error: str | None) -> None:
        super().websocket_lost(carrier, error)
        self._end_upgrade()

    def _drop_probe(self) -> None:
        super()._drop_probe()
        self._end_upgrade()

    def _end_upgrade(self) -> None:
        if not self.upgraded and self.state is OPEN:
            self._finish("transport close", None)

    def _receive_packet(self, packet: str | bytes, now: float) -> None:
        self._heard = True
        super()._receive_packet(packet, now)

    def _ping(self, now: float) -> None:
        alive = self._heard or (self._claimed and not self._watched)
        self._heard = False
        self._watched = True
        if alive:
            self._heartbeat_at = now + self._owner.options.ping_timeout
        else:
            self.lose("nothing was heard of the client, or of the session's node")
