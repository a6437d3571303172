"""The log of every room, in SQLite: what is acknowledged is on disk, once, and has one place in its room.

One thread writes. It takes the drafts that wait, stores them in one transaction (a group commit: one sync of the
disk for all of them), reads back what is new, and hands that to the event loop in the order of the log. So what is
broadcast comes from the log, also after a commit whose own broadcast was lost. Reading has a connection of its own
that never writes and never checkpoints, so it goes on while the database cannot be written. (The bug of SQLite before
3.51.3 that can damage a write-ahead log needs two connections that write or checkpoint; here it is one.)
"""

from __future__ import annotations

import logging
import queue
import sqlite3
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import anyio
import anyio.from_thread
import anyio.to_thread

__all__ = ["PAGE", "Answer", "Draft", "Message", "MessageLog", "StorageError"]

PAGE: Final = 100
"""Messages that one question to the log may return."""
GROUP: Final = 500
"""Drafts stored in one transaction."""
WAITING: Final = 20_000
"""Drafts that may wait for the writer; more are refused."""
BUSY_TIME: Final = 5.0
"""Seconds to wait for a database that another program has locked."""
FOLLOW_AGAIN: Final = 0.5
"""Seconds until what was stored, but could not be read back, is read again."""
APPLICATION_ID: Final = 0x53494F43
"""Marks the file as ours."""

SCHEMA: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS store (epoch TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    room TEXT NOT NULL,
    seq INTEGER NOT NULL,
    author TEXT NOT NULL,
    client_offset TEXT NOT NULL,
    nickname TEXT NOT NULL,
    text TEXT NOT NULL,
    time INTEGER NOT NULL,
    UNIQUE (room, seq),
    UNIQUE (author, client_offset)
);
PRAGMA application_id = {APPLICATION_ID};
COMMIT;
"""
COLUMNS: Final = "id, room, seq, author, client_offset, nickname, text, time"
# The number is taken and the row written by one statement, inside the writer's transaction: no hole, no double.
INSERT: Final = """
INSERT INTO messages (room, seq, author, client_offset, nickname, text, time)
SELECT :room, coalesce(max(seq), 0) + 1, :author, :client_offset, :nickname, :text, :time
FROM messages WHERE room = :room
ON CONFLICT (author, client_offset) DO NOTHING
RETURNING id
"""

REASONS: Final = {
    sqlite3.SQLITE_BUSY: ("The database is locked by another program. Try again.", True),
    sqlite3.SQLITE_FULL: ("The disk is full. Try again later.", True),
    sqlite3.SQLITE_READONLY: ("The database is read-only.", True),
    sqlite3.SQLITE_IOERR: ("The disk has failed. Try again later.", True),
    sqlite3.SQLITE_CANTOPEN: ("The database cannot be opened.", True),
    sqlite3.SQLITE_CORRUPT: ("The database is damaged.", True),
    sqlite3.SQLITE_NOTADB: ("The file is not a database.", False),
}

logger = logging.getLogger(__name__)


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


class MessageLog:
    """The log, open. See :meth:`open`.

    :ivar epoch: names this store; another file, even at the same path, has another.
    """

    def __init__(self, writer: sqlite3.Connection, reader: sqlite3.Connection) -> None:
        self._writer = writer
        self._reader = reader
        self._reading = anyio.CapacityLimiter(1)
        self._waiting: queue.SimpleQueue[Entry | None] = queue.SimpleQueue()
        self._unanswered: dict[int, Entry] = {}
        self._followed: int = writer.execute("SELECT coalesce(max(id), 0) FROM messages").fetchone()[0]
        self.epoch: str = writer.execute("SELECT epoch FROM store").fetchone()[0]

    @classmethod
    def open(cls, path: str | Path) -> MessageLog:
        """Open the file, made if it is not there.

        :raises StorageError: if it cannot be used. A damaged file is never replaced by an empty one.
        """
        connections: list[sqlite3.Connection] = []
        try:
            writer = connect(path)
            connections.append(writer)
            check(writer)
            if writer.execute("PRAGMA journal_mode = WAL").fetchone()[0] not in {"wal", "memory"}:
                raise StorageError("its file system cannot keep a write-ahead log", retry=False)
            writer.execute("PRAGMA synchronous = FULL")
            writer.executescript(SCHEMA)
            writer.execute(
                "INSERT INTO store SELECT ? WHERE NOT EXISTS (SELECT * FROM store)", (token_hex(8),)
            )
            reader = connect(path)
            connections.append(reader)
            reader.execute("PRAGMA query_only = ON")
            reader.execute("PRAGMA wal_autocheckpoint = 0")
            return cls(writer, reader)
        except (sqlite3.Error, StorageError) as error:
            for connection in connections:
                connection.close()
            reason = explain(error) if isinstance(error, sqlite3.Error) else error
            raise StorageError(f"The database {str(path)!r} cannot be used: {reason}", retry=False) from error

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
                self._waiting.put(None)

    def close(self) -> None:
        """Close the file. The reader goes first, so that it is the writer that cleans up."""
        self._reader.close()
        self._writer.close()

    def append(self, draft: Draft, answer: Answer) -> None:
        """Have a draft stored; ``answer`` is called in the event loop, once the message is on disk or cannot be.

        A draft that is in the log already is answered like the first time.
        """
        if self._waiting.qsize() >= WAITING:
            answer(StorageError("The server has too much to do. Try again."))
        else:
            self._waiting.put(Entry(draft, answer))

    # Reading

    async def after(self, room: str, seq: int, limit: int = PAGE) -> list[Message]:
        """Return the first messages of a room after a place in it.

        :raises StorageError: if the log cannot be read.
        """
        return await self._read(
            f"SELECT {COLUMNS} FROM messages WHERE room = ? AND seq > ? ORDER BY seq LIMIT ?",  # noqa: S608
            (room, seq, min(limit, PAGE)),
        )

    async def before(self, room: str, seq: int, limit: int = PAGE) -> list[Message]:
        """Return the last messages of a room before a place in it, the oldest first.

        :raises StorageError: if the log cannot be read.
        """
        rows = await self._read(
            f"SELECT {COLUMNS} FROM messages WHERE room = ? AND seq < ? ORDER BY seq DESC LIMIT ?",  # noqa: S608
            (room, seq, min(limit, PAGE)),
        )
        return rows[::-1]

    def heads(self) -> dict[str, int]:
        """Return the last place of every room. Blocks; for the start.

        :raises StorageError: if the log cannot be read.
        """
        try:
            return dict(self._reader.execute("SELECT room, max(seq) FROM messages GROUP BY room"))
        except sqlite3.Error as error:
            raise explain(error) from error

    async def _read(self, statement: str, values: Sequence[Any]) -> list[Message]:
        def read() -> list[Message]:
            return [Message(*row) for row in self._reader.execute(statement, values)]

        try:
            return await anyio.to_thread.run_sync(read, limiter=self._reading)
        except sqlite3.Error as error:
            logger.warning("the log cannot be read: %s", error)
            raise explain(error) from error

    # The writer's thread

    def _run(self, publish: Publish) -> None:
        while (batch := self._take()) is not None:
            if batch:
                self._store(batch)
            known = [entry for entry in batch if entry.outcome is not None]
            anyio.from_thread.run_sync(self._deliver, publish, self._follow(), known)

    def _take(self) -> list[Entry] | None:
        """Wait for entries and return those that are there; ``None`` at the end.

        Returns none of them after a while if there is something in the log that could not be read back.
        """
        batch: list[Entry] = []
        try:
            entry = self._waiting.get(timeout=FOLLOW_AGAIN if self._unanswered else None)
            while entry is not None:
                batch.append(entry)
                if len(batch) == GROUP:
                    return batch
                entry = self._waiting.get_nowait()
        except queue.Empty:
            return batch
        if not batch:
            return None
        self._waiting.put(None)
        return batch

    def _store(self, batch: list[Entry]) -> None:
        """Store all entries in one transaction, or none."""
        stored: dict[int, Entry] = {}
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            for entry in batch:
                number = self._insert(entry.draft)
                if number is not None:
                    stored[number] = entry
                else:
                    entry.outcome = self._find(entry.draft)
            self._writer.execute("COMMIT")
            self._unanswered.update(stored)
        except Exception as error:
            logger.warning("%d messages were not stored: %s", len(batch), error)
            refusal = explain(error)
            for entry in batch:
                entry.outcome = refusal
            with suppress(sqlite3.Error):
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")

    def _insert(self, draft: Draft) -> int | None:
        """Return the new row's id, or ``None`` if the client's id is in the log already."""
        values = {
            "room": draft.room,
            "author": draft.author,
            "client_offset": draft.client_offset,
            "nickname": draft.nickname,
            "text": draft.text,
            "time": time.time_ns() // 1_000_000,
        }
        rows = self._writer.execute(INSERT, values).fetchall()
        return rows[0][0] if rows else None

    def _find(self, draft: Draft) -> Message | StorageError:
        """Return the message that has the draft's id; it must say the same."""
        found = Message(
            *self._writer.execute(
                f"SELECT {COLUMNS} FROM messages WHERE author = ? AND client_offset = ?",  # noqa: S608
                (draft.author, draft.client_offset),
            ).fetchone()
        )
        if (found.room, found.text) != (draft.room, draft.text):
            return StorageError("Another message was sent with the same id.", retry=False)
        return found

    def _follow(self) -> list[Message]:
        """Read what the log has that was not broadcast yet."""
        try:
            rows = self._writer.execute(
                f"SELECT {COLUMNS} FROM messages WHERE id > ? ORDER BY id",  # noqa: S608
                (self._followed,),
            )
            messages = [Message(*row) for row in rows]
        except sqlite3.Error as error:
            logger.warning("the log cannot be followed, and is tried again: %s", error)
            return []
        if messages:
            self._followed = messages[-1].id
        return messages

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


def connect(path: str | Path) -> sqlite3.Connection:
    """Open a connection without transactions of its own making, for one thread at a time."""
    return sqlite3.connect(path, timeout=BUSY_TIME, isolation_level=None, check_same_thread=False)


def check(connection: sqlite3.Connection) -> None:
    """Make sure that the file is ours, or empty, and whole.

    :raises StorageError: if it is not.
    """
    damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if damage != "ok":
        raise StorageError(f"it is damaged ({damage}). Restore a copy, or choose another file", retry=False)
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if tables and connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StorageError("it belongs to another program", retry=False)


def explain(error: Exception) -> StorageError:
    """Say what is wrong in words for people, and whether trying again may help."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return StorageError(*REASONS.get(code, (f"The message was not stored ({error}).", True)))
