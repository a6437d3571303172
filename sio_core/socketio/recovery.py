"""Connection state recovery: what one namespace keeps so that a client may be away for a while.

Every event that may have to be sent again gets an offset: the epoch of the log, drawn at random, and a number that
only grows. Two offsets of one log can therefore be compared when their events are long gone, and nothing depends on
the clock on the wall. What everybody could see is in one shared log; what went to one client alone is in a log of its
own, numbered from the same counter, so that private events do not push the shared history out.

A client that comes back tells the last offset it has seen. It gets back its session and all that was sent to it since,
or a new session: never a part. Whether all of it is still here is a comparison with the newest event that was
dropped, in one of two ways: by number, with the client's offset; or by time, with the last moment up to which the
client is known to have received everything (the connection was alive after that). So a client that was quiet for an
hour in a busy namespace still recovers.

What was sent to a client is decided by the rooms it was in at that moment, while it was connected; since then, by the
rooms it was in when its connection was lost.

Events are kept as plain tuples of plain values: CPython's garbage collector leaves those alone. Were they objects, each
walk of the heap would take as long as it takes to look at all of a full log, and every client would wait for that.

Socket.IO documentation, "Connection state recovery".
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection, Mapping
from heapq import heappop, heappush, heapreplace
from operator import itemgetter
from typing import Any, Final, Generic, TypeAlias, TypeVar

from sio_core.ids import Offset
from sio_core.limits import Limits

__all__ = ["LostSession", "RecoveryLog"]

Content = TypeVar("Content")

OVERHEAD: Final = 256
"""Bytes that an event takes beside its content, about."""

MAX_DIGITS: Final = 16
"""Digits of an offset's number; more than a server can send in its life."""

# why a session is not given back
UNKNOWN_SESSION: Final = "the session is unknown: it ended in order, is in use, or was dropped"
EXPIRED: Final = "the client was away for too long"
BAD_OFFSET: Final = "the offset is none of this server's"
OTHER_LIFE: Final = "the offset is of another life of this server"
FUTURE_OFFSET: Final = "the offset was never given out"
SHARED_EVENTS_GONE: Final = "events that the client has not seen are gone from the log"
PRIVATE_EVENTS_GONE: Final = "private events that the client has not seen are gone from its log"


Shared: TypeAlias = tuple[int, float, tuple[str, ...], tuple[str, ...], Content, int]
"""A broadcast: its number, its place in the order of the namespace; when it was sent; the rooms it was for, none for
everyone; the rooms it was not for; the content; its size."""

Private: TypeAlias = tuple[int, float, Content, int]
"""What went to one client alone: its number; when it was sent; the content; its size."""


class Stay:
    """A time that a client was in a room, and is over.

    :ivar first: the number after which it joined.
    :ivar last: the number after which it left.
    :ivar revoked: it was taken out when it came back: what it missed in the room is not sent again.
    """

    __slots__ = ("first", "last", "revoked", "room")

    def __init__(self, room: str, first: int, last: int, revoked: bool) -> None:
        self.room = room
        self.first = first
        self.last = last
        self.revoked = revoked


class Track(Generic[Content]):
    """What is kept of one client beside its rooms, from its first connection on.

    :ivar start: the newest number when it connected.
    :ivar floor: the newest number of what was dropped of this client's own history.
    :ivar floor_at: when that had been sent.
    :ivar resumed_at: when its present connection was let in.
    :ivar confirmed: what was sent before this moment has arrived.
    :ivar lost: whether its connection is lost, and its session waits.
    :ivar private: the events that went to it alone.
    :ivar ranked: whether it has a place among those with private events.
    :ivar left: the rooms it has left.
    """

    __slots__ = ("confirmed", "floor", "floor_at", "left", "lost", "private", "ranked", "resumed_at", "start")

    def __init__(self, start: int, now: float) -> None:
        self.start = start
        self.floor = start
        self.floor_at = now
        self.resumed_at = now
        self.confirmed = now
        self.lost = False
        self.ranked = False
        self.private: deque[Private[Content]] | None = None
        self.left: deque[Stay] | None = None

    def raise_floor(self, number: int, at: float) -> None:
        """Something of this client's history was dropped."""
        self.floor = max(self.floor, number)
        self.floor_at = max(self.floor_at, at)


class LostSession(Generic[Content]):
    """What waits for a client that lost its connection.

    :ivar rooms: the rooms it was in, each with the newest number when it joined.
    :ivar lost_at: when the connection was lost.
    :ivar offset: the number after which the client wants everything; set when it has come back.
    """

    __slots__ = ("data", "id", "lost_at", "offset", "pid", "rooms", "track")

    def __init__(
        self,
        id: str,  # noqa: A002
        pid: str,
        rooms: Mapping[str, int],
        data: Any,
        track: Track[Content],
        lost_at: float,
    ) -> None:
        self.id = id
        self.pid = pid
        self.rooms = rooms
        self.data = data
        self.track = track
        self.lost_at = lost_at
        self.offset = 0


class RecoveryLog(Generic[Content]):
    """The logs and the lost sessions of one namespace. Its ``content`` is whatever the caller sends again later: bytes,
    or plain tuples of them and of numbers.

    :param epoch: names this life of the log; characters of the URL-safe base64 alphabet.
    :param window: seconds a client may be away.
    :param grace: seconds that may pass before the loss of a connection is noticed.
    :param count_limit: called with the name of a bound that was hit.
    :ivar position: the newest number given out.
    :ivar bytes: what the shared log takes.
    :ivar private_bytes: what the events take that went to one client each.
    :ivar sessions: the lost sessions by their private id, the longest lost first.
    """

    __slots__ = (
        "_count_limit",
        "_events",
        "_floor",
        "_floor_at",
        "_latest",
        "_limits",
        "_prefix",
        "_private_events",
        "_ranking",
        "_retention",
        "_tracks",
        "_window",
        "bytes",
        "position",
        "private_bytes",
        "sessions",
    )

    def __init__(
        self,
        epoch: str,
        window: float,
        grace: float,
        limits: Limits,
        count_limit: Callable[[str], None],
    ) -> None:
        self.position = 0
        self.bytes = 0
        self.private_bytes = 0
        self.sessions: dict[str, LostSession[Content]] = {}
        self._prefix = epoch + "."
        self._window = window
        self._retention = window + grace
        self._limits = limits
        self._count_limit = count_limit
        self._tracks: dict[str, Track[Content]] = {}
        self._events: deque[Shared[Content]] = deque()
        self._private_events = 0
        # a heap: of each client with private events the number of the oldest, or of one that was
        self._ranking: list[tuple[int, str]] = []
        self._floor = 0
        self._floor_at = 0.0
        self._latest = 0.0

    def __len__(self) -> int:
        """How many events are kept."""
        return len(self._events) + self._private_events

    # Events

    def next_offset(self) -> Offset:
        """Return the offset of the event that is sent next. It is then given to :meth:`add` or :meth:`add_private`."""
        self.position += 1
        return Offset(self._prefix + str(self.position))

    def add(
        self, content: Content, size: int, rooms: Collection[str], except_: Collection[str], now: float
    ) -> None:
        """Keep the event that got the newest offset: a broadcast."""
        if now < self._latest:
            self._reset(now)
        self._latest = now
        size += OVERHEAD
        events = self._events
        events.append((self.position, now, tuple(rooms), tuple(except_), content, size))
        self.bytes += size
        limits = self._limits
        if len(events) > limits.recovery_packets:
            self._count_limit("recovery_packets")
            self._drop()
        while self.bytes > limits.recovery_bytes:
            self._count_limit("recovery_bytes")
            self._drop()

    def _drop(self) -> None:
        self._floor, self._floor_at, _, _, _, size = self._events.popleft()
        self.bytes -= size

    def add_private(self, member: str, content: Content, size: int, now: float) -> None:
        """Keep the event that got the newest offset: it is for one client alone, connected or lost."""
        if now < self._latest:
            self._reset(now)
        self._latest = now
        track = self._tracks.get(member)
        if track is None:
            return  # it was away, and what was kept is gone
        size += OVERHEAD
        own = track.private
        if own is None:
            own = track.private = deque()
        own.append((self.position, now, content, size))
        if not track.ranked:
            track.ranked = True
            heappush(self._ranking, (self.position, member))
        self._private_events += 1
        self.private_bytes += size
        limits = self._limits
        if len(own) > limits.recovery_private_packets:
            self._count_limit("recovery_private_packets")
            self._drop_private(own, track)
        while self.private_bytes > limits.recovery_private_bytes:
            self._count_limit("recovery_private_bytes")
            self._drop_oldest_private(math.inf)

    def _drop_private(self, own: deque[Private[Content]], track: Track[Content]) -> None:
        """Drop the oldest event of a client's own log."""
        number, at, _, size = own.popleft()
        self._private_events -= 1
        self.private_bytes -= size
        track.raise_floor(number, at)

    def _drop_oldest_private(self, before: float) -> bool:
        """Drop the oldest private event of all, if it was sent before a moment; return whether it was."""
        ranking = self._ranking
        while ranking:
            number, member = ranking[0]
            track = self._tracks.get(member)
            if track is None or not track.private:
                heappop(ranking)
                if track is not None:
                    track.ranked = False
                continue
            own = track.private
            if own[0][0] != number:
                heapreplace(ranking, (own[0][0], member))
                continue
            if own[0][1] >= before:
                return False
            self._drop_private(own, track)
            return True
        return False

    # Clients

    def knows(self, member: str) -> bool:
        """Whether a client is connected, or may come back."""
        return member in self._tracks

    def begin(self, member: str, now: float) -> None:
        """A client is let in with a new session."""
        self._tracks[member] = Track(self.position, now)

    def leave(self, member: str, room: str, joined: int, now: float) -> None:
        """A client leaves a room that it joined when ``joined`` was the newest number."""
        track = self._tracks.get(member)
        if track is not None and not track.lost:
            self._depart(track, Stay(room, joined, self.position, False), now)

    def _depart(self, track: Track[Content], stay: Stay, now: float) -> None:
        if stay.first >= self.position:
            return
        left = track.left
        if left is None:
            left = track.left = deque()
        left.append(stay)
        while left[0].last <= self._floor and len(left) > 1:
            left.popleft()
        if len(left) > self._limits.recovery_departures:
            self._count_limit("recovery_departures")
            track.raise_floor(left.popleft().last, now)

    def end(self, member: str) -> None:
        """A client is gone: forget it, unless its session was saved."""
        track = self._tracks.get(member)
        if track is not None and not track.lost:
            self._forget(member, track)

    def _forget(self, member: str, track: Track[Content]) -> None:
        del self._tracks[member]
        for event in track.private or ():
            self._private_events -= 1
            self.private_bytes -= event[3]

    def save(
        self,
        member: str,
        pid: str,
        rooms: Mapping[str, int],
        data: Any,
        confirmed: float,
        now: float,
    ) -> None:
        """A client lost its connection: keep what it may claim back.

        :param rooms: the rooms it is in, each with the newest number when it joined; must not change from here on.
        :param confirmed: what was sent before this moment on its connection has arrived.
        """
        track = self._tracks.get(member)
        if track is None:
            return
        if now < self._latest:
            self._reset(now)
        self._latest = now
        track.lost = True
        if confirmed > track.resumed_at:
            track.confirmed = confirmed
        sessions = self.sessions
        sessions[pid] = LostSession(member, pid, rooms, data, track, now)
        self._prune_sessions(now)
        while len(sessions) > self._limits.recovery_sessions:
            self._count_limit("recovery_sessions")
            self._drop_session(next(iter(sessions.values())))

    def _drop_session(self, session: LostSession[Content]) -> None:
        del self.sessions[session.pid]
        self._forget(session.id, session.track)

    def _prune_sessions(self, now: float) -> None:
        oldest = now - self._window
        while self.sessions:
            session = next(iter(self.sessions.values()))
            if session.lost_at >= oldest:
                return
            self._drop_session(session)

    # Coming back

    def find(self, pid: str, offset: str, now: float) -> LostSession[Content] | str:
        """Find the session that a client claims, or say why it gets none. The session stays here.

        :param offset: the last offset it has seen; empty if it has seen none since it got its session.
        """
        if now < self._latest:
            self._reset(now)
        session = self.sessions.get(pid)
        if session is None:
            return UNKNOWN_SESSION
        if session.lost_at < now - self._window:
            return EXPIRED
        number = session.track.start
        if offset:
            digits = offset.removeprefix(self._prefix)
            if not digits.isascii() or not digits.isdecimal() or len(digits) > MAX_DIGITS:
                return OTHER_LIFE if "." in offset else BAD_OFFSET
            if not offset.startswith(self._prefix):
                return BAD_OFFSET
            number = int(digits)
            if number > self.position:
                return FUTURE_OFFSET
        # an offset from before this session is one of the session before: of this one nothing was seen
        session.offset = max(number, session.track.start)
        return self._missing(session) or session

    def _missing(self, session: LostSession[Content]) -> str | None:
        """Say what makes it impossible to give a client all it has missed."""
        track = session.track
        if session.offset < self._floor and track.confirmed <= self._floor_at:
            return SHARED_EVENTS_GONE
        if session.offset < track.floor and track.confirmed <= track.floor_at:
            return PRIVATE_EVENTS_GONE
        return None

    def resume(
        self, session: LostSession[Content], rooms: Mapping[str, int], now: float
    ) -> list[Content] | str:
        """The client that claimed a session is let in: consume the session, return what was missed.

        :param rooms: the rooms it is in now, with the numbers of their joining; for those it was taken out of meanwhile
            it gets nothing.
        :returns: what to send again, in order; or why it cannot be had, if that has changed since :meth:`find`.
        """
        if self.sessions.get(session.pid) is not session or session.lost_at < now - self._window:
            return EXPIRED
        reason = self._missing(session)
        if reason is not None:
            return reason
        del self.sessions[session.pid]
        track = session.track
        track.lost = False
        track.resumed_at = now
        offset = session.offset
        missed: list[tuple[int, Content]] = []
        all_rooms = {**session.rooms, **rooms}
        for number, _, to, except_, content, _ in reversed(self._events):
            if number <= offset:
                break
            if to and not was_in(to, number, rooms, track, False):
                continue
            if not except_ or not was_in(except_, number, all_rooms, track, True):
                missed.append((number, content))
        for number, _, content, _ in reversed(track.private or ()):
            if number <= offset:
                break
            missed.append((number, content))
        for room, joined in session.rooms.items():
            if room not in rooms:
                self._depart(track, Stay(room, joined, self.position, True), now)
        missed.sort(key=itemgetter(0))
        return [content for _, content in missed]

    # Time

    def prune(self, now: float) -> bool:
        """Drop what is too old; return whether anything is left."""
        if now < self._latest:
            self._reset(now)
        oldest = now - self._retention
        while self._events and self._events[0][1] < oldest:
            self._drop()
        while self._drop_oldest_private(oldest):
            pass
        self._prune_sessions(now)
        return bool(self._events or self._ranking or self.sessions)

    def _reset(self, now: float) -> None:
        """The clock went backwards: another event loop has another clock. What it measured means nothing now."""
        self._latest = now
        self._floor = self.position
        self._floor_at = now
        self._events.clear()
        self._ranking.clear()
        for session in self.sessions.values():
            del self._tracks[session.id]
        self.sessions.clear()
        self.bytes = self.private_bytes = self._private_events = 0
        for track in self._tracks.values():
            track.ranked = False
            track.private = track.left = None
            track.floor = self.position
            track.floor_at = track.resumed_at = track.confirmed = now


def was_in(
    names: Collection[str], number: int, rooms: Mapping[str, int], track: Track[Any], revoked: bool
) -> bool:
    """Whether a client was in one of some rooms when the event of a number was sent.

    :param rooms: the rooms it is in, with the numbers after which it joined.
    :param revoked: whether stays that were revoked count.
    """
    for name in names:
        joined = rooms.get(name)
        if joined is not None and joined < number:
            return True
    for stay in track.left or ():
        if stay.first < number <= stay.last and stay.room in names and (revoked or not stay.revoked):
            return True
    return False
