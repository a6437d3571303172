"""What the hub of the local adapter keeps for lost clients: the events of the last while, and their sessions.

All of it is gone when the supervisor ends; a worker's death costs nothing of it.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final, NamedTuple

from sio_core.ids import make_id

__all__ = ["Entry", "LocalLog", "Page"]

EPOCH_LENGTH: Final = 8
"""Characters, 48 random bits: enough to tell the lives of a supervisor apart. It is no secret."""

ENTRIES: Final = 100_000
"""Events kept, of all namespaces."""
BYTES: Final = 67_108_864
"""Bytes of the events kept, of all namespaces."""

SESSIONS: Final = 20_000
"""Lost sessions kept, of all namespaces."""
SESSION_BYTES: Final = 33_554_432
"""Bytes of the lost sessions kept: ids, rooms and the application's data."""

PAGE_BYTES: Final = 1_048_576
"""Bytes of events handed out at once."""


class Entry(NamedTuple):
    """One event: its number, which counts from 1, its namespace, and the message."""

    number: int
    nsp: str
    payload: bytes


class Page(NamedTuple):
    """Some events of a namespace, and the number up to which everything was looked at."""

    entries: list[tuple[int, bytes]]
    until: int


class LocalLog:
    """See the module's docstring.

    :ivar epoch: names this log.
    :ivar last: the number of the newest event.
    """

    def __init__(self) -> None:
        self.epoch = make_id()[:EPOCH_LENGTH]
        self.last = 0
        self._entries: deque[Entry] = deque()
        self._bytes = 0
        self._sessions: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._session_bytes = 0

    def append(self, nsp: str, payload: bytes) -> int:
        """Keep an event, and return its number."""
        self.last += 1
        self._entries.append(Entry(self.last, nsp, payload))
        self._bytes += len(payload)
        while len(self._entries) > ENTRIES or self._bytes > BYTES:
            self._bytes -= len(self._entries.popleft().payload)
        return self.last

    def after(self, nsp: str, number: int) -> Page | None:
        """Return events of a namespace after a number; ``None`` if the log does not reach back so far."""
        first = self.last - len(self._entries)
        if not first <= number <= self.last:
            return None
        entries: list[tuple[int, bytes]] = []
        size = 0
        until = number
        for position in range(number - first, len(self._entries)):
            entry = self._entries[position]
            until = entry.number
            if entry.nsp == nsp:
                entries.append((entry.number, entry.payload))
                size += len(entry.payload)
                if size > PAGE_BYTES:
                    break
        return Page(entries, until)

    # Sessions

    def store(self, name: str, session: bytes, until: float, now: float) -> None:
        """Keep a lost session, under a name of the driver's choice, until some time on the supervisor's clock.

        The oldest go if there are too many.
        """
        self.remove(name)
        self._sessions[name] = (session, until)
        self._session_bytes += len(session)
        while self._sessions:
            oldest, (_, oldest_until) = next(iter(self._sessions.items()))
            too_many = len(self._sessions) > SESSIONS or self._session_bytes > SESSION_BYTES
            if not too_many and oldest_until > now:
                return
            self.remove(oldest)

    def find(self, name: str, now: float) -> bytes | None:
        """Return a lost session that is still kept, and leave it there."""
        session, until = self._sessions.get(name, (None, now))
        return session if until > now else None

    def remove(self, name: str) -> bool:
        """Remove a session; ``False`` if it is not there."""
        found = self._sessions.pop(name, None)
        if found is None:
            return False
        self._session_bytes -= len(found[0])
        return True
