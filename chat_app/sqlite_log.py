"""The log in SQLite: a file, shared by the processes of one machine.

Reading has a connection of its own that never writes and never checkpoints, so it goes on while the database cannot
be written. Only one connection in each process writes or checkpoints, and the processes take turns: a lock on a file
beside the database is held while one writes. A process that dies holds it no longer.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, Final

import anyio
import anyio.to_thread

if sys.platform != "win32":
    import fcntl

from chat_app.log import COLUMNS, PAGE, Draft, Entry, Message, MessageLog, StorageError

__all__ = ["SqliteLog", "Turns"]

BUSY_TIME: Final = 5.0
"""Seconds to wait for a database that another program has locked."""
TURN_AGAIN: Final = 0.002
"""Seconds between two attempts to have one's turn."""
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


class SqliteLog(MessageLog):
    """The log in a file. See :meth:`open`."""

    def __init__(
        self,
        writer: sqlite3.Connection,
        reader: sqlite3.Connection,
        turns: Turns,
        look_every: float | None = None,
    ) -> None:
        super().__init__(look_every)
        self._turns = turns
        self._writer = writer
        self._reader = reader
        self._reading = anyio.CapacityLimiter(1)
        self._followed: int = writer.execute("SELECT coalesce(max(id), 0) FROM messages").fetchone()[0]
        self.epoch: str = writer.execute("SELECT epoch FROM store").fetchone()[0]

    @classmethod
    def open(cls, path: str | Path, look_every: float | None = None) -> SqliteLog:
        """Open the file, made if it is not there.

        :param look_every: seconds between two looks for what other processes have written; ``None`` for never.
        :raises StorageError: if it cannot be used. A damaged file is never replaced by an empty one.
        """
        connections: list[sqlite3.Connection] = []
        turns: Turns | None = None
        try:
            turns = Turns(f"{path}-turns" if look_every is not None else None)
            with turns.mine():
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
            return cls(writer, reader, turns, look_every)
        except (sqlite3.Error, StorageError) as error:
            for connection in connections:
                connection.close()
            if turns is not None:
                turns.close()
            raise StorageError(
                f"The database {str(path)!r} cannot be used: {explain(error)}", retry=False
            ) from error

    def close(self) -> None:
        """Close the file. The reader goes first, so that it is the writer that cleans up."""
        self._reader.close()
        with suppress(StorageError), self._turns.mine():
            self._writer.close()
        self._writer.close()  # also if others do not end: it has written everything
        self._turns.close()

    # Reading

    async def after(self, room: str, seq: int, limit: int = PAGE) -> list[Message]:
        return await self._read(
            f"SELECT {COLUMNS} FROM messages WHERE room = ? AND seq > ? ORDER BY seq LIMIT ?",  # noqa: S608
            (room, seq, min(limit, PAGE)),
        )

    async def before(self, room: str, seq: int, limit: int = PAGE) -> list[Message]:
        rows = await self._read(
            f"SELECT {COLUMNS} FROM messages WHERE room = ? AND seq < ? ORDER BY seq DESC LIMIT ?",  # noqa: S608
            (room, seq, min(limit, PAGE)),
        )
        return rows[::-1]

    def heads(self) -> dict[str, int]:
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

    def _store(self, batch: list[Entry]) -> None:
        stored: dict[int, Entry] = {}
        try:
            with self._turns.mine():
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


class Turns:
    """A file beside the database that the process which writes has locked. See the module's docstring."""

    def __init__(self, path: str | None) -> None:
        """:param path: of the file, made if it is not there; ``None`` if no other process writes.

        :raises StorageError: if it cannot be opened.
        """
        self._descriptor: int | None = None
        if sys.platform != "win32" and path is not None:
            try:
                self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            except OSError as error:
                raise StorageError(*REASONS[sqlite3.SQLITE_CANTOPEN]) from error

    @contextmanager
    def mine(self) -> Generator[None, None, None]:
        """Write for as long as the block lasts.

        :raises StorageError: if the turn does not come in time.
        """
        if sys.platform == "win32" or self._descriptor is None:
            yield
            return
        until = time.monotonic() + BUSY_TIME
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > until:
                    raise StorageError(*REASONS[sqlite3.SQLITE_BUSY]) from None
                time.sleep(TURN_AGAIN)
        try:
            yield
        finally:
            if self._descriptor is not None:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


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
    if isinstance(error, StorageError):
        return error
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return StorageError(*REASONS.get(code, (f"The message was not stored ({error}).", True)))
