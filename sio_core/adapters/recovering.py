"""A cluster on an engine that keeps a log, in which lost clients find what they missed, on any node.

Every event gets its offset, its place in the log, when it is published; the client returns the last one that it has
seen. So that this says what the client has, each client must be sent events in the order of the log: a node delivers
its own events when it reads them back, like those of others. Until then whatever comes after them at a receiver waits.

When the engine is away nothing waits: local receivers get events without offsets, and the publication is tried again.
A client that got such an event can only be recovered once it has seen a later offset, for it would be sent the event
twice.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Awaitable, Container, Iterable
from typing import Any

from sio_core.adapters.base import (
    BroadcastOptions,
    Held,
    LocalSockets,
    RecoverySettings,
    SavedSession,
)
from sio_core.adapters.cluster import ClusterAdapter
from sio_core.adapters.driver import Driver
from sio_core.adapters.messages import (
    BROADCAST,
    Message,
    decode_msgpack,
    event_of,
    options_from_wire,
    text_list,
)
from sio_core.adapters.outgoing import Outgoing
from sio_core.adapters.timers import Timer, within
from sio_core.engineio.deadlines import NEVER
from sio_core.engineio.packet import Encoded
from sio_core.errors import AdapterError, InvalidPacket
from sio_core.runtime import Waiter

__all__ = ["RecoveringClusterAdapter"]

logger = logging.getLogger(__name__)


class Unpublished:
    """An event whose offset is not known yet.

    :ivar data: the event as it was when it was sent.
    :ivar members: the sockets here that it is for, judged when it was sent.
    :ivar late: those that came back meanwhile, and whose rooms it is for.
    :ivar held: its place in what they are sent; ``None`` once they got it without an offset.
    """

    __slots__ = ("data", "due", "held", "late", "members", "message", "options")

    def __init__(
        self,
        message: Message,
        data: list[Any],
        options: BroadcastOptions,
        members: list[str],
        held: Held | None,
        due: float,
    ) -> None:
        self.message = message
        self.data = data
        self.options = options
        self.members = members
        self.late: list[str] = []
        self.held = held
        self.due = due


class Claim:
    """A lost session that a client wants to continue, and what has been published since it was claimed.

    :ivar late: whether that is more than is kept: the client took too long.
    """

    __slots__ = ("fields", "late", "live", "missed", "offset", "rooms")

    def __init__(self) -> None:
        self.late = False
        self.offset = ""
        self.fields: dict[str, Any] = {}
        self.rooms: set[str] = set()
        self.missed: list[Message] = []
        self.live: list[Message] = []

    def note(self, message: Message, bound: int) -> None:
        """A message has come that the log may not have held when it was read."""
        if len(self.live) >= bound:
            self.late = True
            self.live.clear()
        if not self.late:
            self.live.append(message)


class RecoveringClusterAdapter(ClusterAdapter):
    """The adapter of a namespace whose engine keeps a log.

    Drivers hand every entry of the log to :meth:`receive`, with its offset and in its order, this node's own too.
    ``message.seq`` comes back with this node's own; where it travels with all messages, one that was published twice,
    because the first attempt seemed to fail, is known by it.

    :param settings: how sessions are recovered; ``None`` if they are not, and then it is an adapter like others.
    :ivar position: the offset of the newest entry of the log that was read; a driver sets it where its reading starts.
    """

    retries = True

    def __init__(
        self, name: str, local: LocalSockets, driver: Driver, settings: RecoverySettings | None
    ) -> None:
        super().__init__(name, local, driver)
        self.position = ""
        self._settings = settings
        self._seq = 0
        self._seen: dict[str, int] = {}
        self._unpublished: dict[int, Unpublished] = {}
        self._early: dict[
            str, int
        ] = {}  # by member: events it got without their offsets, which are not known yet
        self._floors: dict[str, str] = {}  # by member: the last such offset; it must have seen a later one
        self._starts: dict[str, str] = {}  # by member: the position when it came
        self._skip: dict[str, Any] = {}  # by member: what is not later than this, it has
        self._claims: dict[str, Claim] = {}
        self._claiming: list[Claim] = []
        self._storing: dict[str, Waiter] = {}
        self._timer = Timer(self._host, self._release_old)

    # What an engine with a log does besides

    @abstractmethod
    async def store_session(self, pid: str, fields: dict[str, Any], seconds: float) -> None:
        """Keep what is known of a lost session: ``sid``, ``pid``, ``rooms``, ``data``; others are our own."""

    @abstractmethod
    async def find_session(self, pid: str) -> dict[str, Any] | None:
        """Return what was stored, and leave it there."""

    @abstractmethod
    async def remove_session(self, pid: str) -> bool:
        """Remove it; ``False`` if another node has done so before."""

    @abstractmethod
    async def read_log(self, offset: str) -> list[Message] | None:
        """Return the entries of this namespace after an offset, each with its ``offset``, in the order of the log.

        :returns: ``None`` if the log does not reach back to that offset.
        """

    @abstractmethod
    def offset_key(self, offset: str) -> Any:
        """Return something by which offsets can be compared.

        :raises ValueError: if it is no offset.
        """

    # Sending

    def broadcast(self, data: list[Any], options: BroadcastOptions) -> Awaitable[None] | None:
        if options.local or options.volatile or self._settings is None:
            return super().broadcast(data, options)
        return self._send(data, options, list(self.select(options)))

    def send(self, member: str, data: list[Any], compress: bool) -> Awaitable[None] | None:
        return self._send(data, BroadcastOptions((member,), compress=compress), [member])

    def _send(self, data: list[Any], options: BroadcastOptions, members: list[str]) -> Outgoing:
        snapshot: list[Any] = decode_msgpack(self.codec.msgpack(data))
        message = Message(BROADCAST, self.uid, self.name, self._event(data, options))
        outgoing = self.enqueue(message, None)
        if outgoing.error is not None or message.seq is None:
            self.local.deliver(members, data, options)
            return outgoing
        now = self._host.runtime.now() if self._host.running else 0.0
        due = now + self._limits.cluster_hold_time
        unpublished = Unpublished(message, snapshot, options, members, None, due)
        self._unpublished[message.seq] = unpublished
        if not members:
            return outgoing
        if not self.closing and self.driver.publishing:
            unpublished.held = self.local.hold(members, data)
            if self._timer.deadline == NEVER:
                self._timer.set(due)
        else:
            self.local.deliver(members, data, options)
            self._note_early(unpublished)
        return outgoing

    def enqueue(self, message: Message, target: str | None) -> Outgoing:
        if target is None and is_entry(message):
            self._seq = message.seq = self._seq + 1
        return super().enqueue(message, target)

    def renumber(self, published: Container[int | None]) -> None:
        """Give what waits new numbers: a later message was published before, and lower ones would count as known.

        :param published: the numbers of those that keep theirs.
        """
        for outgoing in self._queue:
            message = outgoing.message
            seq = message.seq
            if seq is not None and seq not in published:
                self._seq = message.seq = self._seq + 1
                unpublished = self._unpublished.pop(seq, None)
                if unpublished is not None:
                    self._unpublished[message.seq] = unpublished

    def _release_old(self, now: float) -> None:
        """Those who have waited long enough for an offset get the event without it."""
        for unpublished in list(self._unpublished.values()):
            if unpublished.held is not None:
                if unpublished.due > now:
                    self._timer.set(unpublished.due)
                    return
                self._host.count_limit("cluster_hold_time")
                self._release(unpublished)

    def publishing_failed(self) -> None:
        for unpublished in list(self._unpublished.values()):
            if unpublished.held is not None:
                self._release(unpublished)

    def _release(self, unpublished: Unpublished) -> None:
        held, unpublished.held = unpublished.held, None
        if held is not None:
            held.fill(self.local.encode(unpublished.data, unpublished.options, None))
            self._note_early(unpublished)

    def _note_early(self, unpublished: Unpublished) -> None:
        for member in unpublished.members:
            self._early[member] = self._early.get(member, 0) + 1

    def fail(self, outgoing: Outgoing, error: Exception) -> None:
        super().fail(outgoing, error)
        seq = outgoing.message.seq
        unpublished = self._unpublished.pop(seq, None) if seq is not None else None
        if unpublished is not None:
            self._finish(unpublished, None)

    def _finish(self, unpublished: Unpublished, offset: str | None) -> None:
        """The offset of an event is known, or it is known that there will be none."""
        packets = self.local.encode(unpublished.data, unpublished.options, offset)
        if unpublished.held is not None:
            unpublished.held.fill(packets)
        else:
            self._settle_early(unpublished, offset)
        if not unpublished.late:
            return
        if offset is None:
            self.local.deliver(unpublished.late, unpublished.data, unpublished.options)
        else:
            self.local.deliver_encoded(
                self._without_known(unpublished.late, offset), packets, unpublished.data, unpublished.options
            )

    def _settle_early(self, unpublished: Unpublished, offset: str | None) -> None:
        """The offset of an event that was delivered without it is known, or there will be none."""
        for member in unpublished.members:
            count = self._early.get(member, 0) - 1
            if count > 0:
                self._early[member] = count
            else:
                self._early.pop(member, None)
            if offset is not None and member in self.rooms.members:
                self._floors[member] = offset

    # What comes from the log

    def receive(self, message: Message, offset: str | None = None) -> None:
        if message.nsp == self.name and offset is not None:
            self.position = offset
            if self._is_known(message):
                return
            message.offset = offset
            if is_recoverable(message):
                for claim in self._claiming:
                    claim.note(message, self._limits.recovery_packets)
        super().receive(message, offset)

    def _is_known(self, message: Message) -> bool:
        """Whether the log holds this message a second time."""
        seq = message.seq
        if seq is None:
            return False
        last = self._seen.pop(message.uid, 0)
        self._seen[message.uid] = max(seq, last)  # the one heard last is the last that is forgotten
        if len(self._seen) > self._limits.cluster_nodes:
            del self._seen[next(iter(self._seen))]
        return seq <= last

    def handle_own(self, message: Message, offset: str | None) -> None:
        seq = message.seq
        if offset is None or seq is None:
            return
        if next(iter(self._unpublished), seq) < seq:
            self._pass_over_before(seq)
        unpublished = self._unpublished.pop(seq, None)
        if unpublished is not None:
            unpublished.message.offset = offset
            self._finish(unpublished, offset)

    def _pass_over_before(self, seq: int) -> None:
        """Published events before this one were not read, and will not be: they were trimmed, or dropped on the way."""
        queued = {id(outgoing.message) for outgoing in self._queue}
        for number in [number for number in self._unpublished if number < seq]:
            if id(self._unpublished[number].message) not in queued:
                passed = self._unpublished.pop(number)
                self._finish(passed, passed.message.offset)

    def deliver(self, data: list[Any], options: BroadcastOptions, offset: str | None) -> None:
        if offset is None or options.volatile or self._settings is None:
            super().deliver(data, options, None)
            return
        chosen = self.select(options)
        if self._skip:
            chosen = self._without_known(chosen, offset)
        if chosen:
            self.local.deliver_encoded(chosen, self.local.encode(data, options, offset), data, options)

    def _without_known(self, members: Iterable[str], offset: str) -> list[str]:
        """Leave out those who were sent this already when they came back."""
        key = self.offset_key(offset)
        unknown: list[str] = []
        for member in members:
            last = self._skip.get(member)
            if last is None:
                unknown.append(member)
            elif key > last:
                del self._skip[member]
                unknown.append(member)
        return unknown

    # Sessions

    @property
    def recovers(self) -> bool:
        return self._settings is not None

    def remove_all(self, member: str) -> None:
        self._floors.pop(member, None)
        self._starts.pop(member, None)
        self._skip.pop(member, None)
        super().remove_all(member)

    def save_session(self, session: SavedSession) -> None:
        member = session.id
        if member in self._early:
            self._refuse("it was sent an event whose offset is not known")
            return
        try:
            data = decode_msgpack(self.codec.msgpack(session.data))
        except (TypeError, ValueError) as error:
            logger.error("socket %s cannot be recovered, its data cannot be stored: %s", member, error)
            return
        fields: dict[str, Any] = {
            "sid": session.id,
            "pid": session.pid,
            "rooms": list(session.rooms),
            "data": data,
        }
        for key, offsets in (("floor", self._floors), ("start", self._starts)):
            if member in offsets:
                fields[key] = offsets[member]
        self._store(session.pid, fields)

    def _store(self, pid: str, fields: dict[str, Any]) -> None:
        self._storing[pid] = waiter = Waiter()
        self._host.runtime.spawn(self._store_session, pid, fields, waiter)

    async def _store_session(self, pid: str, fields: dict[str, Any], waiter: Waiter) -> None:
        try:
            assert self._settings is not None
            storing = self.store_session(pid, fields, self._settings.window)
            await within(self._host, self._limits.cluster_request_time, "storing a session", storing)
        except Exception as error:
            self._refuse(f"it cannot be stored: {error!r}")
        finally:
            if self._storing.get(pid) is waiter:
                del self._storing[pid]
            waiter.set()

    def restore_session(self, pid: str, offset: str) -> SavedSession | Awaitable[SavedSession | None] | None:
        return self._restore(pid, offset)

    async def _restore(self, pid: str, offset: str) -> SavedSession | None:
        seconds = self._limits.cluster_request_time
        storing = self._storing.get(pid)
        if storing is not None:
            await storing.wait()
        claim = Claim()
        former = self._claims.pop(pid, None)  # of a connection that was given up for this one
        if former is not None:
            self._claiming.remove(former)
            claim.fields = former.fields
        self._claiming.append(claim)  # from now on: what is published while the log is read is not missed
        try:
            reason = await within(self._host, seconds, "a session", self._claim(claim, pid, offset))
            session = None if reason else session_from(pid, claim.fields)
        except Exception as error:  # the engine, or what it holds
            reason, session = repr(error), None
        if session is None:
            self._claiming.remove(claim)
            self._refuse(reason)
            return None
        claim.rooms = set(session.rooms)
        self._claims[pid] = claim
        return session

    async def _claim(self, claim: Claim, pid: str, offset: str) -> str:
        """Find out what a client gets back, and take it for it; returns why it cannot, empty if it can."""
        claimed = claim.fields
        fields = claimed or await self.find_session(pid)
        if fields is None:
            return "there is none of this name"
        floor, start = fields.get("floor"), fields.get("start")
        if not offset and isinstance(start, str):
            offset = start
        if not offset:
            return "it has seen no offset"
        claim.offset = offset
        key = self.offset_key(offset)
        if isinstance(floor, str) and key < self.offset_key(floor):
            return "it was sent events that it would be sent again"
        missed = await self.read_log(offset)
        if missed is None:
            return "the log does not reach back so far"
        if not claimed and not await self.remove_session(pid):
            return "another node has it"
        claim.fields = fields
        claim.missed = missed
        return ""

    def begin_session(self, member: str, session: SavedSession | None) -> list[list[Encoded]] | None:
        if session is None:
            if self.position:
                self._starts[member] = self.position
            return []
        claim = self._claims.pop(session.pid, None)
        if claim is None:
            return None
        self._claiming.remove(claim)
        if claim.late:
            self._host.count_limit("recovery_packets")
            self._refuse("it took too long to let it in")
            return None
        missed: deque[list[Encoded]] = deque()
        seen: dict[str, int] = {}
        known: set[str] = set()
        seen_key = self.offset_key(claim.offset)
        last = ""
        for message in [*claim.missed, *claim.live]:
            offset = message.offset
            if offset is None or offset in known or not is_recoverable(message):
                continue
            if self.offset_key(offset) <= seen_key:
                continue  # this node was behind the one that the client comes from
            known.add(offset)
            last = offset
            if message.seq is not None:
                if message.seq <= seen.get(message.uid, 0):
                    continue
                seen[message.uid] = message.seq
            try:
                data, options = event_of((message.data or {}).get("packet")), options_of(message)
            except InvalidPacket:
                continue
            if not options.volatile and is_for(options, claim.rooms):
                missed.append(self.local.encode(data, options, offset))
        if last and (not self.position or self.offset_key(last) > self.offset_key(self.position)):
            self._skip[member] = self.offset_key(last)
        for unpublished in self._unpublished.values():
            if is_for(unpublished.options, claim.rooms):
                unpublished.late.append(member)
        start = last or claim.fields.get("start")
        if isinstance(start, str):
            self._starts[member] = start
        return list(missed)

    def release_session(self, session: SavedSession) -> None:
        claim = self._claims.pop(session.pid, None)
        if claim is not None:
            self._claiming.remove(claim)
            self._store(session.pid, claim.fields)

    def _refuse(self, reason: str) -> None:
        logger.info("a session of namespace %r is not recovered: %s", self.name, reason)

    async def close(self) -> None:
        for waiter in list(self._storing.values()):
            await waiter.wait()
        await super().close()
        self._timer.stop()


def is_recoverable(message: Message) -> bool:
    """Whether an entry of the log is an event that nobody answers: unless it is volatile, it has an offset."""
    return message.type == BROADCAST and is_entry(message)


def is_entry(message: Message) -> bool:
    """Whether a message is for the log: nobody waits for the answer to it."""
    return message.data is not None and message.data.get("requestId") is None


def options_of(message: Message) -> BroadcastOptions:
    """Return whom a message is for.

    :raises InvalidPacket: if it does not say.
    """
    return options_from_wire((message.data or {}).get("opts"))


def is_for(options: BroadcastOptions, rooms: set[str]) -> bool:
    """Whether who is in these rooms receives an event."""
    if not rooms.isdisjoint(options.except_):
        return False
    return not options.rooms or not rooms.isdisjoint(options.rooms)


def session_from(pid: str, fields: dict[str, Any]) -> SavedSession:
    """Return the session that was stored.

    :raises AdapterError: if it cannot be read.
    """
    sid = fields.get("sid")
    if not isinstance(sid, str) or fields.get("pid") != pid:
        raise AdapterError("the stored session has no sid or pid")
    return SavedSession(sid, pid, text_list(fields.get("rooms")), fields.get("data"))
