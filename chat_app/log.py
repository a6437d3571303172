"""The log of every room: what is acknowledged is stored, once, and has one place in its room.

One thread writes. It takes the drafts that wait, stores them in one transaction (a group commit: one sync of the
disk for all of them), reads back what is new, and hands that to the event loop in the order of the log. So what is
published comes from the log, also after a commit whose own publishing was lost, and also what another process has
written: any number of processes may share one log, and each publishes all of it to its own clients.
"""

from __future__ import annotations

import queue
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Final

import anyio
import anyio.from_thread
import anyio.to_thread

__all__ = [
    "COLUMNS",
    "PAGE",
    "WAITING",
    "Answer",
    "Draft",
    "Entry",
    "Message",
    "MessageLog",
    "Publish",
    "StorageError",
]

PAGE: Final = 100
"""Messages that one question to the log may return."""
GROUP: Final = 500
"""Drafts stored in one transaction."""
WAITING: Final = 20_000
"""Drafts that may wait for the writer; more are refused."""
FOLLOW_AGAIN: Final = 0.5
"""Seconds until what was stored, but could not be read back, is read again."""
COLUMNS: Final = "id, room, seq, author, client_offset, nickname, text, time"
"""The fields of a :class:`Message`, in their order."""


class StorageError(Exception):
    """A message was not stored, or the log cannot be read. The text is meant for people.

    :ivar retry: whether the same may work later.
    """

    def __init__(self, text: str, retry: bool = True) -> None:
        super().__init__(text)
        self.retry = retry


@dataclass(frozen=True, slots=True)
class Draft:
    """A message that is not stored yet.

    :ivar author: the public id of who sends it, empty for a client without one.
    :ivar client_offset: the client's own id of the message, unique for each author.
    :ivar origin: the socket it came from.
    """

    room: str
    author: str
    client_offset: str
    nickname: str
    text: str
    origin: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """A stored message.

    :ivar id: its place in the log of all rooms.
    :ivar seq: its place in its room: 1, 2, 3 and so on.
    :ivar time: milliseconds since 1970.
    """

    id: int
    room: str
    seq: int
    author: str
    client_offset: str
    nickname: str
    text: str
    time: int


Answer = Callable[[Message | StorageError], None]
Publish = Callable[[Message, str], None]


@dataclass(slots=True)
class Entry:
    """A draft on its way.

    :ivar outcome: what its answer is, if that is not the message that follows from the log.
    """

    draft: Draft
    answer: Answer
    outcome: Message | StorageError | None = None


class Signal(Enum):
    """What the writer finds in its queue besides drafts."""

    LOOK = "look"
    END = "end"


class MessageLog(ABC):
    """A log, open.

    :ivar epoch: names this store; another one, even at the same place, has another.
    """

    epoch: str

    def __init__(self, look_every: float | None = None) -> None:
        """:param look_every: seconds between two looks for what other processes have written; ``None`` for never."""
        self._look_every = look_every
        self._waiting: queue.SimpleQueue[Entry | Signal] = queue.SimpleQueue()
        self._unanswered: dict[int, Entry] = {}

    @asynccontextmanager
    async def running(self, publish: Publish) -> AsyncGenerator[None, None]:
        """Store drafts for as long as the block lasts.

        :param publish: called in the event loop with each new message, in the order of the log, and with the socket
            that it came from, empty if that is not known; the answer to that draft follows before the next message.
            It must not raise.
        """

        async def write() -> None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._run, publish, limiter=anyio.CapacityLimiter(1))

        async with anyio.create_task_group() as task_group:
            task_group.start_soon(write)
            try:
                yield
            finally:
                self._waiting.put(Signal.END)

    @abstractmethod
    def close(self) -> None:
        """Close it. What is running must have ended."""

    def append(self, draft: Draft, answer: Answer) -> None:
        """Have a draft stored; ``answer`` is called in the event loop, once the message is on disk or cannot be.

        A draft that is in the log already is answered like the first time.
        """
        if self._waiting.qsize() >= WAITING:
            answer(StorageError("The server has too much to do. Try again."))
        else:
            self._waiting.put(Entry(draft, answer))

    def look(self) -> None:
        """Look now for what other processes have written. May be called in any thread."""
        self._waiting.put(Signal.LOOK)

    # Reading

    @abstractmethod
    async def after(self, room: str, seq: int, limit: int = PAGE) -> list[Message]:
        """Return the first messages of a room after a place in it.

        :raises StorageError: if the log cannot be read.
        """

    @abstractmethod
    async def before(self, room: str, seq: int, limit: int = PAGE) -> list[Message]:
        """Return the last messages of a room before a place in it, the oldest first.

        :raises StorageError: if the log cannot be read.
        """

    @abstractmethod
    def heads(self) -> dict[str, int]:
        """Return the last place of every room. Blocks; for the start.

        :raises StorageError: if the log cannot be read.
        """

    # The writer's thread

    @abstractmethod
    def _store(self, batch: list[Entry]) -> None:
        """Store all entries in one transaction, or none.

        Those that are stored are added to ``_unanswered`` under the ids of their messages; the others get an outcome.
        """

    @abstractmethod
    def _follow(self) -> list[Message]:
        """Read what the log has that was not published yet."""

    def _run(self, publish: Publish) -> None:
        while (batch := self._take()) is not None:
            if batch:
                self._store(batch)
            known = [entry for entry in batch if entry.outcome is not None]
            messages = self._follow()
            if messages or known:
                anyio.from_thread.run_sync(self._deliver, publish, messages, known)

    def _take(self) -> list[Entry] | None:
        """Wait for entries and return those that are there; ``None`` at the end.

        Returns none of them if it is time to look for what is in the log and was not read yet.
        """
        batch: list[Entry] = []
        timeout = self._look_every
        if self._unanswered:
            timeout = FOLLOW_AGAIN if timeout is None else min(timeout, FOLLOW_AGAIN)
        try:
            item = self._waiting.get(timeout=timeout)
            while item is not Signal.END:
                if isinstance(item, Entry):
                    batch.append(item)
                    if len(batch) == GROUP:
                        return batch
                item = self._waiting.get_nowait()
        except queue.Empty:
            return batch
        if not batch:
            return None
        self._waiting.put(Signal.END)
        return batch

    # Back in the event loop

    def _deliver(self, publish: Publish, messages: Iterable[Message], known: Iterable[Entry]) -> None:
        for message in messages:
            entry = self._unanswered.pop(message.id, None)
            publish(message, entry.draft.origin if entry is not None else "")
            if entry is not None:
                entry.answer(message)
        for entry in known:
            assert entry.outcome is not None
            entry.answer(entry.outcome)
