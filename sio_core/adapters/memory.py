"""The adapters of a server that is alone: rooms in this process's memory, with or without recovery."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any, Final, TypeAlias

from sio_core.adapters.base import (
    Adapter,
    BroadcastOptions,
    LocalSockets,
    RecoverySettings,
    SavedSession,
    SocketDetails,
)
from sio_core.engineio.deadlines import NEVER, Timed
from sio_core.engineio.packet import Encoded
from sio_core.ids import make_id
from sio_core.socketio.recovery import RecoveryLog

__all__ = ["MemoryAdapter", "RecoveringMemoryAdapter"]

PRUNE_INTERVAL: Final = 30.0
"""Seconds between two looks at what is too old."""

EPOCH_LENGTH: Final = 8
"""Characters, 48 random bits: enough to tell the lives of a server apart. It is no secret."""

Kept: TypeAlias = bytes | tuple[tuple[bytes, bool, bool], ...]
"""The packets of an event as they are kept: the arguments that make each of them, or the text of the only one.

The garbage collector has to look twice at a tuple within a tuple before it leaves both alone."""

TO_ONE: Final = BroadcastOptions()
TO_ONE_PLAIN: Final = BroadcastOptions(compress=False)

logger = logging.getLogger(__name__)


class MemoryAdapter(Adapter):
    """Broadcasts to the sockets of this process. Everything takes effect before the call returns."""

    __slots__ = ()

    def broadcast(self, data: list[Any], options: BroadcastOptions) -> None:
        self.local.deliver(self.select(options), data, options)

    def broadcast_with_ack(
        self,
        data: list[Any],
        options: BroadcastOptions,
        client_count: Callable[[int], None],
        ack: Callable[[list[Any]], None],
    ) -> None:
        client_count(self.local.deliver_with_ack(self.select(options), data, options, ack))

    async def fetch_sockets(self, options: BroadcastOptions) -> list[SocketDetails]:
        return self.local.details(self.select(options))

    def add_sockets(self, options: BroadcastOptions, rooms: list[str]) -> None:
        for member in list(self.select(options)):
            self.add_all(member, rooms)

    def remove_sockets(self, options: BroadcastOptions, rooms: list[str]) -> None:
        for member in list(self.select(options)):
            self.remove(member, rooms)

    def disconnect_sockets(self, options: BroadcastOptions, close: bool) -> None:
        self.local.disconnect(list(self.select(options)), close)


class Pruner(Timed):
    """Lets what is too old go, also where nothing happens any more."""

    __slots__ = ("_adapter", "_deadlines")

    def __init__(self, adapter: RecoveringMemoryAdapter, settings: RecoverySettings) -> None:
        super().__init__()
        self._adapter = adapter
        self._deadlines = settings.deadlines

    def schedule(self, at: float) -> None:
        """Look at the adapter by then."""
        self.deadline = at
        self._deadlines.schedule(self)

    def handle_deadline(self, now: float) -> None:
        self.deadline = NEVER
        self._adapter.prune()


class RecoveringMemoryAdapter(MemoryAdapter):
    """Keeps what lost clients may come back for. See :mod:`sio_core.socketio.recovery`."""

    __slots__ = ("_clock", "_log", "_pruner")

    def __init__(self, name: str, local: LocalSockets, settings: RecoverySettings) -> None:
        super().__init__(name, local)
        self._clock = settings.clock
        self._pruner = Pruner(self, settings)
        self._log: RecoveryLog[Kept] = RecoveryLog(
            make_id()[:EPOCH_LENGTH], settings.window, settings.grace, settings.limits, settings.count_limit
        )

    @property
    def recovers(self) -> bool:
        return True

    def is_kept(self, member: str) -> bool:
        return self._log.knows(member)

    @property
    def keeps_sessions(self) -> bool:
        return bool(self._log.sessions)

    def broadcast(self, data: list[Any], options: BroadcastOptions) -> None:
        if options.volatile:
            self.local.deliver(self.select(options), data, options)
            return
        log, local = self._log, self.local
        packets = local.encode(data, options, log.next_offset())
        self.rooms.position = log.position
        log.add(kept(packets), size_of(packets), options.rooms, options.except_, self._now())
        local.deliver_encoded(self.select(options), packets, data, options)

    def send(self, member: str, data: list[Any], compress: bool) -> None:
        log, local = self._log, self.local
        if not log.knows(member):
            return
        options = TO_ONE if compress else TO_ONE_PLAIN
        packets = local.encode(data, options, log.next_offset())
        self.rooms.position = log.position
        log.add_private(member, kept(packets), size_of(packets), self._now())
        local.deliver_encoded((member,), packets, data, options)

    def _now(self) -> float:
        """The time; what is kept from now on must be looked at again."""
        now = self._clock()
        if self._pruner.deadline == NEVER:
            self._pruner.schedule(now + PRUNE_INTERVAL)
        return now

    def prune(self) -> None:
        """Let go what is too old, and come again if anything is left."""
        now = self._clock()  # a deadline's `now` may be older than what was sent last
        if self._log.prune(now):
            self._pruner.schedule(now + PRUNE_INTERVAL)
        if not self.keeps_sessions:
            self.local.sessions_gone()

    def remove(self, member: str, rooms: Iterable[str]) -> None:
        own = self.rooms.members.get(member)
        if own is None:
            return
        rooms = list(rooms)
        now = self._clock()
        for room in rooms:
            if room in own:
                self._log.leave(member, room, own[room], now)
        self.rooms.leave(member, rooms)

    def remove_all(self, member: str) -> None:
        self._log.end(member)
        self.rooms.leave_all(member)

    def begin_session(self, member: str, session: SavedSession | None) -> list[list[Encoded]] | None:
        log, now = self._log, self._clock()
        lost = None if session is None else log.sessions.get(session.pid)
        if lost is None:
            if session is not None:
                return None
            log.begin(member, now)
            return []
        own = self.rooms.members.setdefault(member, {})
        for room, joined in lost.rooms.items():
            if room in own:  # a middleware may have taken it out
                own[room] = joined
        missed = log.resume(lost, own, now)
        if isinstance(missed, str):
            self._refuse(missed)
            return None
        return [revived(content) for content in missed]

    def save_session(self, session: SavedSession) -> None:
        rooms = self.rooms.members.get(session.id, {})
        self._log.save(session.id, session.pid, rooms, session.data, session.confirmed, self._now())

    def restore_session(self, pid: str, offset: str) -> SavedSession | None:
        found = self._log.find(pid, offset, self._clock())
        if isinstance(found, str):
            self._refuse(found)
            return None
        return SavedSession(found.id, pid, list(found.rooms), found.data)

    def _refuse(self, reason: str) -> None:
        logger.info("a session of namespace %r is not recovered: %s", self.name, reason)


def kept(packets: list[Encoded]) -> Kept:
    """Return the packets of an event as they are kept: without the forms that were built of them to be sent."""
    first = packets[0]
    if len(packets) == 1 and first.compress and not first.binary:
        return first.data
    return tuple([(packet.data, packet.binary, packet.compress) for packet in packets])


def revived(content: Kept) -> list[Encoded]:
    """Return the packets of an event again."""
    if isinstance(content, bytes):
        return [Encoded(content)]
    return [Encoded(*packet) for packet in content]


def size_of(packets: list[Encoded]) -> int:
    """Return how many bytes an event has."""
    if len(packets) == 1:
        return len(packets[0].data)
    return sum([len(packet.data) for packet in packets])
