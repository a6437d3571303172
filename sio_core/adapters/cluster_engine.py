"""Any node of a cluster serves any request of a session: the node that has it lends it for each request.

The session stays where it is. The node that gets one of its requests broadcasts that it wants to serve it; the node
that has the session grants that; then what the client sends goes there, and what the session sends comes here. For the
engine of the one node the request is a :class:`RemoteSession`, for the session of the other one a
:class:`RemoteCarrier`.

What is published may be lost. A session of which something may be lost is ended, so that its client comes back.

Socket.IO documentation, "Cluster engine"; the protocol is that of the official package ``@socket.io/cluster-engine``.
"""

from __future__ import annotations

import logging
import secrets
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import anyio
import anyio.lowlevel

from sio_core.adapters.base import Host
from sio_core.adapters.engine_messages import (
    ACQUIRE_LOCK,
    ACQUIRE_LOCK_RESPONSE,
    CLOSE,
    DRAIN,
    PACKET,
    UPGRADE,
    UPGRADE_RESPONSE,
    EngineMessage,
    decode_engine_message,
    encode_engine_message,
    packet_from_wire,
    packet_to_wire,
)
from sio_core.adapters.remote_carriers import Drains, RemoteCarrier, RemotePoll, RemoteWebSocket
from sio_core.adapters.timers import Timer, within
from sio_core.engineio.engine import Engine
from sio_core.engineio.options import EngineOptions
from sio_core.engineio.packet import Encoded
from sio_core.engineio.remote import READ, UPGRADING, WRITE, Elsewhere, RemoteSession
from sio_core.engineio.session import Application, Closed, Observed, Session, SessionOwner
from sio_core.engineio.states import OPEN, POLLING, WEBSOCKET
from sio_core.errors import AdapterError, InvalidPacket
from sio_core.ids import SessionId
from sio_core.runtime import Waiter
from sio_core.wire.message import Request

__all__ = ["ClusterEngine", "Publication"]

Publication = tuple[str | None, bytes]
"""A message, and the node it is for; ``None``: all."""

SID_LENGTH: Final = 20
"""Characters of a session id, of this server and of the official one. Others are not asked for."""

BATCH: Final = 128
"""Messages that are published together."""

REASONS: Final = frozenset(("transport close", "transport error", "parse error"))
"""Why a session may end by what happened at another node."""

LONGEST: Final = 10.0**7 - 1
"""The most that an option in seconds may be."""

EMPTY: Final = frozenset((b"1", b"6"))
"""Packets that are no loss."""

logger = logging.getLogger(__name__)


class Lent:
    """A session of this node that other nodes have carried.

    :ivar websocket: the WebSocket elsewhere.
    :ivar node: where the client was last heard to listen.
    :ivar held_bytes: what has come of it since its application has had enough.
    """

    __slots__ = ("held_bytes", "node", "session", "websocket")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.websocket: RemoteWebSocket | None = None
        self.node = ""
        self.held_bytes = 0


class Lookup:
    """A request that waits for the node that has its session."""

    __slots__ = ("purpose", "request", "sid", "waiter")

    def __init__(self, sid: str, request: Request, purpose: str) -> None:
        self.sid = sid
        self.request = request
        self.purpose = purpose
        self.waiter = Waiter()


class Leaving:
    """A message that waits to be published."""

    __slots__ = ("payload", "target")

    def __init__(self, target: str | None, payload: bytes) -> None:
        self.target = target
        self.payload = payload


class RemoteEvents(Application):
    """Takes what happens to the sessions that other nodes have."""

    __slots__ = ("_cluster",)

    def __init__(self, cluster: ClusterEngine) -> None:
        self._cluster = cluster

    def process(self, session: Session) -> None:
        assert isinstance(session, RemoteSession)
        for event in session.take_events():
            self._cluster.notice(session, event)
        if session.purpose == WRITE:
            self._cluster.confirm(session)

    def defer(self, session: Session) -> None:
        self._cluster.host.runtime.call_soon(self.process, session)


class RemoteSessions(SessionOwner):
    """The sessions that other nodes have, as far as requests of theirs are served here.

    :ivar sessions: all of them.
    :ivar polls: those whose GET waits, by their id.
    :ivar websockets: those that have a WebSocket here, by their id.
    """

    __slots__ = ("_count_limit", "polls", "sessions", "websockets")

    def __init__(self, engine: Engine, options: EngineOptions, application: RemoteEvents) -> None:
        super().__init__(options, application, engine.deadlines, engine.clock)
        self._count_limit: Callable[[str], None] = engine.count_limit
        self.sessions: set[Session] = set()
        self.polls: dict[str, RemoteSession] = {}
        self.websockets: dict[str, RemoteSession] = {}

    def remove(self, session: Session) -> None:
        self.sessions.discard(session)
        for table in (self.polls, self.websockets):
            if table.get(session.id) is session:
                del table[session.id]

    def count_limit(self, name: str) -> None:
        self._count_limit(name)


class LentSessions(Drains):
    """The way of the carriers to the cluster."""

    def __init__(self, cluster: ClusterEngine) -> None:
        self._cluster = cluster

    @property
    def congested(self) -> bool:
        return self._cluster.congested

    def take_soon(self, carrier: RemoteCarrier) -> None:
        if self._cluster.congested:
            self._cluster.waiting.append(carrier)
        else:
            self._cluster.host.runtime.call_soon(self._take, carrier)

    def _take(self, carrier: RemoteCarrier) -> None:
        if self._cluster.congested:
            self._cluster.waiting.append(carrier)
        else:
            carrier.take()

    def drain(self, node: str, sid: str, packets: list[Encoded]) -> None:
        wires = [
            packet_to_wire(packet.data if packet.binary else packet.data.decode(), packet.compress)
            for packet in packets
        ]
        self._cluster.tell(DRAIN, node, {"sid": sid, "packets": wires})

    def released(self, carrier: RemoteWebSocket) -> None:
        self._cluster.released(carrier)


class ClusterEngine(Elsewhere):
    """The nodes that share their sessions, as one server uses them: ``Server(cluster_engine=...)``.

    :ivar node_id: the name of this node among them, while it runs.
    :ivar dropped: messages that came and could not be read.
    :ivar lost: messages that could not be published.
    :ivar waiting: carriers that wait until enough was published.
    """

    def __init__(self) -> None:
        self.node_id = ""
        self.dropped = 0
        self.lost = 0
        self.waiting: list[RemoteCarrier] = []
        self._host: Host | None = None
        self._engine: Engine | None = None
        self._remote: RemoteSessions | None = None
        self._drains = LentSessions(self)
        self._lent: dict[str, Lent] = {}
        self._lookups: dict[int, Lookup] = {}
        self._late: dict[int, Lookup] = {}  # which nobody waits for any more
        self._posts: dict[int, RemoteSession] = {}  # to be answered when that node has what came with them
        self._upgrades: dict[int, RemoteSession] = {}
        self._requests = 0
        self._queue: list[Leaving] = []
        self._queued_bytes = 0
        self._publishing = False
        self._idle = Waiter()
        self._paused: set[RemoteSession] = set()
        self._running = False

    # What the engines of each kind add

    @abstractmethod
    def open(self) -> None:
        """Make the connections, as tasks of ``self.host.runtime``, without waiting for them."""

    @abstractmethod
    async def disconnect(self) -> None:
        """End the connections, and return when their tasks have ended."""

    @abstractmethod
    async def publish(self, batch: list[Publication]) -> list[bool]:
        """Publish messages in their order; return of each whether anybody has heard it.

        :raises Exception: if they are not published, or may not be.
        """

    @property
    @abstractmethod
    def degraded(self) -> bool:
        """Whether other nodes may not hear this one, or this one them."""

    # Life

    @property
    def host(self) -> Host:
        """The server.

        :raises AdapterError: before it was given to one.
        """
        if self._host is None:
            raise AdapterError(f"this {type(self).__name__} belongs to no server yet")
        return self._host

    def attach(self, engine: Engine, host: Host) -> None:
        """Serve this engine.

        :raises AdapterError: if it belongs to another server.
        """
        if self._host is not None:
            raise AdapterError(f"this {type(self).__name__} belongs to another server: make one for each")
        self._host = host
        self._engine = engine
        options = engine.options
        patience = min(options.ping_interval + options.ping_timeout, LONGEST)
        watched = replace(options, ping_interval=options.limits.cluster_lookup_time, ping_timeout=patience)
        self._remote = RemoteSessions(engine, watched, RemoteEvents(self))
        engine.elsewhere = self

    def start(self) -> None:
        """The server starts."""
        if not self._running:
            self._running = True
            self.node_id = secrets.token_hex(3)  # workers are copies of one process
            self.open()

    def stop(self) -> None:
        """The server belongs to no event loop any more: nothing is told or heard."""
        self._running = False
        self._queue.clear()
        self._queued_bytes = 0

    async def close(self) -> None:
        """Let go of what other nodes have, tell them what is to be told, and end the connections."""
        if not self._running:
            return
        assert self._remote is not None
        for session in list(self._remote.sessions):
            session.lose("the node is closing", "transport close")
            session.deliver()
        for _ in range(3):  # what ended just now is told in the next turns of the event loop
            await anyio.lowlevel.checkpoint()
        if self._publishing:
            self._idle = Waiter()
            with anyio.move_on_after(self.host.limits.cluster_publish_time):
                await self._idle.wait()
        self.stop()
        await self.disconnect()

    def stats(self) -> dict[str, Any]:
        """Return counts since it was made, and what there is now."""
        remote = self._remote
        return {
            "degraded": self.degraded,
            "dropped": self.dropped,
            "lost": self.lost,
            "queued": len(self._queue),
            "lent": len(self._lent),
            "borrowed": len(remote.sessions) if remote is not None else 0,
        }

    # Speaking

    @property
    def congested(self) -> bool:
        """Whether so much waits to be published that nothing should be added to it."""
        return self._queued_bytes >= self.host.limits.outbox_bytes

    def tell(self, kind: int, node: str | None, data: dict[str, Any], request_id: int = 0) -> None:
        """Publish a message, in the order of these calls."""
        message = EngineMessage(kind, self.node_id, node, data, request_id)
        if not self._running:
            return
        if node == self.node_id:
            self.host.runtime.call_soon(self.handle, message)
            return
        leaving = Leaving(node, encode_engine_message(message))
        if len(leaving.payload) > self.host.limits.cluster_message_bytes:  # the others would drop it
            self.host.count_limit("cluster_message_bytes")
            self.host.runtime.call_soon(self._lose, data.get("sid"), "a message is too large for the cluster")
            return
        self._queue.append(leaving)
        self._queued_bytes += len(leaving.payload)
        if not self._publishing:
            self._publishing = True
            self.host.runtime.spawn(self._publish_queue)

    async def _publish_queue(self) -> None:
        limits = self.host.limits
        try:
            if self.host.runtime.starts_at_once:  # what else is said in this turn comes along
                await anyio.lowlevel.checkpoint()
            while self._queue:
                batch = self._queue[:BATCH]
                publications: list[Publication] = [(one.target, one.payload) for one in batch]
                try:
                    heard = await within(
                        self.host,
                        limits.cluster_publish_time,
                        "publishing",
                        self.publish(publications),
                        "cluster_publish_time",
                    )
                except Exception as error:
                    self._not_published(error)
                    continue
                del self._queue[: len(batch)]
                self._queued_bytes -= sum([len(one.payload) for one in batch])
                self._published(batch, heard)
        finally:
            self._publishing = False
            self._idle.set()

    def _published(self, batch: list[Leaving], heard: list[bool]) -> None:
        for one, was_heard in zip(batch, heard, strict=True):
            if one.target is not None and not was_heard:
                self._node_lost(one.target)
        if self.congested:
            return
        waiting, self.waiting = self.waiting, []
        for carrier in waiting:
            self._drains.take_soon(carrier)
        paused, self._paused = self._paused, set()
        for session in paused:
            session.pause(False)

    def _not_published(self, error: Exception) -> None:
        logger.error("%s: %d messages are not published: %r", type(self).__name__, len(self._queue), error)
        self.lost += len(self._queue)
        self._queue.clear()
        self._queued_bytes = 0
        self.lose_all("the cluster could not be told")

    def _node_lost(self, node: str) -> None:
        """A node does not hear: it has ended, or is cut off."""
        assert self._remote is not None
        message = "the other node is gone"
        for session in list(self._remote.sessions):
            if isinstance(session, RemoteSession) and session.node == node:
                session.lose(message)
                session.deliver()
        for lent in list(self._lent.values()):
            if lent.node == node:
                lent.session.lose(message)
                lent.session.deliver()

    def lose_all(self, message: str) -> None:
        """Something may be lost that was published: end every session that it may have been for."""
        self._lose(None, message)

    def _lose(self, sid: str | None, message: str) -> None:
        """End a session that may have a hole, lent or borrowed; ``None``: each."""
        assert self._remote is not None
        lent = [one.session for one in self._lent.values()]
        for session in [*self._remote.sessions, *lent]:
            if sid is None or session.id == sid:
                session.lose(message)
                session.deliver()

    # Serving requests of sessions that others have

    async def find(self, request: Request, purpose: str) -> RemoteSession | None:
        sid = request.params["sid"]
        if not self._running or len(sid) != SID_LENGTH:
            return None
        limits = self.host.limits
        if len(self._lookups) >= limits.cluster_lookups:
            self.host.count_limit("cluster_lookups")
            return None
        number = self._next_request()
        lookup = self._lookups[number] = Lookup(sid, request, purpose)
        transport = WEBSOCKET if purpose == UPGRADING else POLLING
        kind = WRITE if purpose == WRITE else READ
        self.tell(ACQUIRE_LOCK, None, {"sid": sid, "transportName": transport, "type": kind}, number)
        try:
            session: RemoteSession | None = await within(
                self.host,
                limits.cluster_lookup_time,
                "finding a session",
                lookup.waiter.wait(),
                "cluster_lookup_time",
            )
        except AdapterError:
            return None
        finally:
            del self._lookups[number]
            if not lookup.waiter.done:
                if len(self._late) >= limits.cluster_lookups:
                    del self._late[next(iter(self._late))]
                self._late[number] = lookup
        return session

    def _next_request(self) -> int:
        self._requests += 1
        return self._requests

    def notice(self, session: RemoteSession, event: str | bytes | Closed | Observed) -> None:
        """Something has happened to a session that another node has: tell that node."""
        if isinstance(event, Closed):
            self._note_end(session, event)
        elif not isinstance(event, Observed):
            return  # it was observed as a packet
        elif event.name == "upgrade":
            self._note_upgrade(session)
        elif isinstance(event.value, str | bytes):
            if session.held is not None:
                session.held.append(event.value)
            else:
                self._forward(session, event.value)

    def _forward(self, session: RemoteSession, packet: str | bytes) -> None:
        self.tell(PACKET, session.node, {"sid": session.id, "packet": packet_to_wire(packet)})
        if session.purpose == WRITE:
            session.paused = True
        elif self.congested and session not in self._paused:
            self._paused.add(session)
            session.pause(True)

    def confirm(self, session: RemoteSession) -> None:
        """Have a POST answered when the session's node has what came with it: the next one may go there directly.

        The protocol has no word for that, but what is asked behind the packets is answered behind them.
        """
        if session.paused and session.state is OPEN:
            number = self._next_request()
            self._posts[number] = session
            data = {"sid": session.id, "transportName": POLLING, "type": WRITE}
            self.tell(ACQUIRE_LOCK, session.node, data, number)
            self._limit(self._posts, number)

    def _limit(self, waiting: dict[int, RemoteSession], number: int) -> None:
        """End a session if its node has not answered in time."""
        Timer(self.host, partial(self._end_waiting, waiting, number)).set_after(
            self.host.limits.cluster_lookup_time
        )

    def _end_waiting(self, waiting: dict[int, RemoteSession], number: int, now: float) -> None:
        session = waiting.pop(number, None)
        if session is not None:
            session.lose("the session's node does not answer")
            session.deliver()

    def _note_upgrade(self, session: RemoteSession) -> None:
        assert self._remote is not None
        number = self._next_request()
        session.held = []
        self._upgrades[number] = session
        self._remote.websockets[session.id] = session
        self.tell(UPGRADE, session.node, {"sid": session.id, "success": True}, number)
        self._limit(self._upgrades, number)

    def _note_end(self, session: RemoteSession, event: Closed) -> None:
        self._paused.discard(session)
        if event.reason == "forced close":
            return  # it has done what it was for, or that node has ended the session
        if session.purpose == UPGRADING and not session.upgraded:
            data: dict[str, Any] = {"sid": session.id, "success": False}
            self.tell(UPGRADE, session.node, data, self._next_request())
            return
        held, session.held = session.held, None
        for packet in held or ():  # behind UPGRADE they are in time
            self.tell(PACKET, session.node, {"sid": session.id, "packet": packet_to_wire(packet)})
        reason = event.reason if event.reason in REASONS else "transport error"
        self.tell(CLOSE, session.node, {"sid": session.id, "reason": reason})

    # Hearing

    def receive(self, payload: bytes) -> None:
        """Bytes have come from another node: one message. Junk is dropped, and counted."""
        try:
            message = decode_engine_message(payload)
            if message is None or message.sender == self.node_id or not self._running:
                return
            if message.recipient is None or message.recipient == self.node_id:
                self.handle(message)
        except InvalidPacket as error:
            self.dropped += 1
            logger.warning("%s: a message is dropped: %s", type(self).__name__, error)

    def handle(self, message: EngineMessage) -> None:
        """Do what a message says.

        :raises InvalidPacket: if it makes no sense.
        """
        kind = message.type
        if kind == PACKET:
            self._take_packet(message)
        elif kind == DRAIN:
            self._take_drain(message)
        elif kind == ACQUIRE_LOCK:
            self._take_request(message)
        elif kind == ACQUIRE_LOCK_RESPONSE:
            self._take_answer(message)
        elif kind == UPGRADE:
            self._take_upgrade(message)
        elif kind == UPGRADE_RESPONSE:
            self._take_upgrade_answer(message)
        else:
            self._take_close(message)

    # Lending sessions

    @property
    def engine(self) -> Engine:
        """The engine that it serves."""
        assert self._engine is not None
        return self._engine

    def forget(self, session: Session) -> None:
        lent = self._lent.get(session.id)
        if lent is not None and lent.session is session:
            del self._lent[session.id]

    def released(self, carrier: RemoteWebSocket) -> None:
        """A session has done with a WebSocket that another node has."""
        lent = self._lent.get(carrier.session.id)
        if lent is not None and lent.websocket is carrier:
            lent.websocket = None

    def _take_request(self, message: EngineMessage) -> None:
        data, node = message.data, message.sender
        session = self.engine.clients.get(data["sid"])
        if session is None:
            if message.recipient is not None:
                self.tell(ACQUIRE_LOCK_RESPONSE, node, {"success": False}, message.request_id)
            return
        wanted = (data["transportName"], data["type"])
        granted = session.protocol == 4 and session.transport == POLLING
        lent = self._lent.get(session.id) or Lent(session)
        if wanted == (POLLING, READ):
            granted = granted and not session.polled
        elif wanted == (WEBSOCKET, READ):
            websocket = RemoteWebSocket(self._drains, session, node)
            granted = (
                granted
                and WEBSOCKET in self.engine.options.transports
                and session.websocket_opened(websocket, self.engine.clock())
            )
            if granted:
                lent.websocket = websocket
        elif wanted != (POLLING, WRITE):
            granted = False
        self.tell(ACQUIRE_LOCK_RESPONSE, node, {"success": granted}, message.request_id)
        if not granted:
            return
        self._lent[session.id] = lent
        if wanted == (POLLING, READ):
            lent.node = node
            session.receive_poll(RemotePoll(self._drains, session, node))
        elif lent.websocket is not None and wanted == (WEBSOCKET, READ):
            # The probe is between the client and its node: from here on the waiting GETs are let go.
            session.receive_probe("2probe", False, self.engine.clock())
        session.deliver()

    def _take_upgrade(self, message: EngineMessage) -> None:
        sid, node, now = message.data["sid"], message.sender, self.engine.clock()
        lent = self._lent.get(sid)
        websocket = lent.websocket if lent is not None else None
        if lent is None or websocket is None or websocket.node != node or websocket.carries:
            if message.data.get("success") is True:  # it came too late
                self.tell(UPGRADE_RESPONSE, node, {"takeOver": False, "packets": []}, message.request_id)
                self.tell(DRAIN, node, {"sid": sid, "packets": [packet_to_wire("1")]})
            return
        session = lent.session
        if message.data.get("success") is True:
            lent.node = node
            self.tell(UPGRADE_RESPONSE, node, {"takeOver": False, "packets": []}, message.request_id)
            websocket.carries = True
            session.receive_probe("5", False, now)
        else:
            lent.websocket = None
            session.websocket_lost(websocket, None)
        session.deliver()

    def _take_packet(self, message: EngineMessage) -> None:
        lent = self._lent.get(message.data["sid"])
        if lent is None:
            return
        session, websocket = lent.session, lent.websocket
        if session.transport == WEBSOCKET and (websocket is None or websocket.node != message.sender):
            return
        packet = packet_from_wire(message.data.get("packet"))
        if session.paused:
            lent.held_bytes += len(packet.data)
            if lent.held_bytes > self.host.limits.queued_bytes:
                session.cut("queued_bytes", lent.held_bytes)
                return
        else:
            lent.held_bytes = 0
        session.receive_message(packet.data if packet.binary else packet.data.decode(), self.engine.clock())
        session.deliver()

    def _take_close(self, message: EngineMessage) -> None:
        lent = self._lent.get(message.data["sid"])
        if lent is None:
            return
        session, websocket, reason = lent.session, lent.websocket, message.data["reason"]
        if session.transport == WEBSOCKET:
            if websocket is None or websocket.node != message.sender:
                return
            websocket.carries = False  # there is nobody to be told
            session.websocket_lost(websocket, None if reason == "transport close" else reason)
        else:
            what = reason if reason in REASONS else "transport error"
            session.lose("a request at another node has ended", what)
        session.deliver()

    # Borrowing sessions

    def _take_answer(self, message: EngineMessage) -> None:
        assert self._remote is not None
        post = self._posts.pop(message.request_id, None)
        if post is not None:
            post.pause(False)
            post.deliver()
            return
        lookup = self._lookups.get(message.request_id)
        success = message.data.get("success") is True
        if lookup is None:
            late = self._late.pop(message.request_id, None)
            if late is not None and success:
                self._give_back(late, message.sender)
            return
        if lookup.waiter.done:
            return
        if not success:
            lookup.waiter.set(None)
            return
        remote, sid = self._remote, SessionId(lookup.sid)
        session = RemoteSession(
            remote, sid, lookup.request, self.engine.clock(), message.sender, lookup.purpose
        )
        remote.sessions.add(session)
        if lookup.purpose == READ:
            remote.polls[sid] = session
        lookup.waiter.set(session)

    def _give_back(self, lookup: Lookup, node: str) -> None:
        """A session was lent for a request that was refused meanwhile."""
        if lookup.purpose == UPGRADING:
            self.tell(UPGRADE, node, {"sid": lookup.sid, "success": False}, self._next_request())
        elif lookup.purpose == READ:
            self.tell(CLOSE, node, {"sid": lookup.sid, "reason": "transport error"})

    def _take_drain(self, message: EngineMessage) -> None:
        assert self._remote is not None
        sid, node = message.data["sid"], message.sender
        wires = message.data.get("packets")
        packets = [packet_from_wire(wire) for wire in wires] if isinstance(wires, list) else []
        session = self._remote.polls.get(sid) or self._remote.websockets.get(sid)
        if session is None or session.node != node:
            if not EMPTY.issuperset([packet.data for packet in packets]):  # they are lost
                self.tell(CLOSE, node, {"sid": sid, "reason": "transport error"})
            return
        if session.purpose == READ:
            del self._remote.polls[sid]
            session.send_packets(packets)
        else:
            session.send_packets([packet for packet in packets if packet.data not in EMPTY or packet.binary])
            if any([packet.data == b"1" and not packet.binary for packet in packets]):
                session.close()
        session.deliver()

    def _take_upgrade_answer(self, message: EngineMessage) -> None:
        session = self._upgrades.get(message.request_id)
        if session is None or session.node != message.sender:
            return
        wires = message.data.get("packets")
        packets = [packet_from_wire(wire) for wire in wires] if isinstance(wires, list) else []
        del self._upgrades[message.request_id]
        if session.state is not OPEN:
            return
        held, session.held = session.held, None
        if message.data.get("takeOver") is True:
            self._take_over(session, packets)
        for packet in held or ():
            self._forward(session, packet)

    def _take_over(self, remote: RemoteSession, packets: list[Encoded]) -> None:
        """The other node had not announced the session yet, and gives it away: it is this node's from here on."""
        engine, now, request = self.engine, self.engine.clock(), remote.request
        if remote.id in engine.clients or request is None:
            remote.lose("the session is here already")
            remote.deliver()
            return
        session = engine.take_over(remote.id, request, now)
        websocket = RemoteWebSocket(self._drains, session, self.node_id)
        lent = self._lent[session.id] = Lent(session)
        lent.websocket = websocket
        lent.node = remote.node = self.node_id
        session.websocket_opened(websocket, now)
        websocket.carries = True
        session.receive_probe("5", False, now)
        engine.started(session)
        for packet in packets:
            session.receive_message(packet.data if packet.binary else packet.data.decode(), now)
        session.deliver()
