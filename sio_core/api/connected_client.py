"""One client: what its namespaces share, and the times it must keep."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sio_core.api.socket import Socket
from sio_core.engineio.deadlines import NEVER, Timed
from sio_core.engineio.session import Session
from sio_core.engineio.states import OPEN
from sio_core.limits import Limits
from sio_core.socketio.client import Client
from sio_core.socketio.parser import Parser

if TYPE_CHECKING:
    from sio_core.api.hub import Hub

__all__ = ["Allowance", "AttachmentTimeout", "ConnectTimeout", "ConnectedClient"]


class ConnectTimeout(Timed):
    """Closes a session that has joined no namespace in time, also if nobody fetches the close packet."""

    __slots__ = ("_hub", "_session")

    def __init__(self, hub: Hub, session: Session) -> None:
        super().__init__()
        self._hub = hub
        self._session = session

    def handle_deadline(self, now: float) -> None:
        session = self._session
        if session.state is OPEN:
            self.deadline = now + self._hub.limits.close_time
            self._hub.connect_late(session)
        else:
            self.deadline = NEVER
            session.close(discard=True)


class AttachmentTimeout(Timed):
    """Closes a session whose client has begun a packet with attachments, and does not send them."""

    __slots__ = ("_client", "_hub")

    def __init__(self, hub: Hub, client: ConnectedClient) -> None:
        super().__init__()
        self._hub = hub
        self._client = client

    def handle_deadline(self, now: float) -> None:
        self.deadline = NEVER
        if self._client.waiting:  # for those of the last packet that had any: each begins anew
            self._hub.attachments_late(self._client)


class Allowance(Timed):
    """How many events a client may send now. A second's worth may come at once; then its reading pauses."""

    __slots__ = ("_client", "_left", "_rate", "_read_at")

    def __init__(self, client: ConnectedClient, rate: float, now: float) -> None:
        super().__init__()
        self._client = client
        self._rate = rate
        self._left = max(rate, 1.0)
        self._read_at = now

    def spend(self, now: float) -> bool:
        """One event has come; ``False`` if it was one too many, and no more are read for a while."""
        self._left = min(self._left + (now - self._read_at) * self._rate, max(self._rate, 1.0)) - 1.0
        self._read_at = now
        if self._left >= 0:
            return True
        self.deadline = now - self._left / self._rate
        self._client.pause(self, True)
        return False

    def handle_deadline(self, now: float) -> None:
        self.deadline = NEVER
        self._client.pause(self, False)


class ConnectedClient(Client[Socket[Any]]):
    """One client: what its namespaces share.

    :ivar conn: the Engine.IO session.
    :ivar connect_timeout: the time that it has to join a namespace; ``None`` once it has.
    :ivar issued: when it connected, in milliseconds since 1970.
    """

    __slots__ = ("_holders", "allowance", "attachment_timeout", "conn", "connect_timeout", "issued")

    def __init__(
        self, session: Session, parser: Parser, limits: Limits, connect_timeout: ConnectTimeout
    ) -> None:
        super().__init__(parser.decoder(limits))
        self.conn = session
        self.connect_timeout: ConnectTimeout | None = connect_timeout
        self.issued = int(time.time() * 1000)
        self.attachment_timeout: AttachmentTimeout | None = None
        self.allowance: Allowance | None = None
        self._holders: set[object] | None = None

    @property
    def request(self) -> Any:
        """The first HTTP request of the session."""
        return self.conn.request

    def pause(self, holder: object, paused: bool) -> bool:
        """Somebody has enough of what this client sends, or can go on. It is read again when all can.

        :returns: ``True`` if this one had not enough before, and has now.
        """
        holders = self._holders
        if paused:
            if holders is None:
                holders = self._holders = set()
            elif holder in holders:
                return False
            holders.add(holder)
            self.conn.pause(True)
            return True
        if holders is not None and holder in holders:
            holders.discard(holder)
            if not holders:
                self.conn.pause(False)
        return False
