"""The log in PostgreSQL: shared by any number of nodes, which may come and go.

Whoever writes holds the row that counts the messages until the commit. So numbers become visible in the order in which
they were taken, and a node that has read up to one has missed none before it. (A sequence would not do: the one who
took the smaller number may commit later.) The nodes wake each other with a notification; each also looks by itself, as
a notification may be lost and the log may not.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any, Final, TypeVar

import anyio
import anyio.to_thread
import psycopg

from chat_app.log import COLUMNS, PAGE, Draft, Entry, Message, MessageLog, Publish, StorageError

__all__ = ["PostgresLog"]

Connection = psycopg.Connection[tuple[Any, ...]]
Result = TypeVar("Result")

LOOK_EVERY: Final = 0.5
"""Seconds between two looks for what other nodes have written, if no notification comes."""
PATIENCE: Final = 5.0
"""Seconds for which a lost connection is opened again before messages are refused."""
PAUSE: Final = 0.2
"""Seconds between two attempts."""
CONNECT_TIME: Final = 2
"""Seconds that connecting may take."""
SETTINGS: Final = "-c lock_timeout=5s -c idle_in_transaction_session_timeout=5s -c statement_timeout=15s"
"""A node that stands still in the middle of a transaction loses it, so that the others can go on."""
LOST: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.IdleInTransactionSessionTimeout,
)
"""What is raised where a connection was lost, or a lock not had in time."""
CHANNEL: Final = "chat_messages"
SCHEMA_LOCK: Final = 0x53494F43
"""The advisory lock of those who make the tables."""

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS chat_store (epoch text NOT NULL, last bigint NOT NULL);
CREATE TABLE IF NOT EXISTS chat_messages (
    id bigint PRIMARY KEY,
    room text NOT NULL,
    seq bigint NOT NULL,
    author text NOT NULL,
    client_offset text NOT NULL,
    nickname text NOT NULL,
    text text NOT NULL,
    time bigint NOT NULL,
    UNIQUE (room, seq),
    UNIQUE (author, client_offset)
);
"""
FIND: Final = f"""
SELECT {COLUMNS} FROM chat_messages
WHERE (author, client_offset) IN (SELECT * FROM unnest(%s::text[], %s::text[]))
"""  # noqa: S608
HEADS_OF: Final = """
SELECT name, (SELECT max(seq) FROM chat_messages WHERE room = name) FROM unnest(%s::text[]) AS name
"""
INSERT: Final = f"""
INSERT INTO chat_messages ({COLUMNS}) SELECT * FROM unnest(
    %s::bigint[], %s::text[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[]
)
"""  # noqa: S608

logger = logging.getLogger(__name__)


class PostgresLog(MessageLog):
    """The log in a database. See :meth:`open`."""

    def __init__(self, url: str, writer: Connection, reader: Connection, look_every: float) -> None:
        super().__init__(look_every)
        self._url = url
        self._writer = writer
        self._reader = reader
        self._reading = anyio.CapacityLimiter(1)
        self._ended = threading.Event()
        store = writer.execute("SELECT epoch, last FROM chat_store").fetchone()
        assert store is not None
        self.epoch: str = store[0]
        self._followed: int = store[1]

    @classmethod
    def open(cls, url: str, look_every: float | None = None) -> PostgresLog:
        """Open the database, with the tables made if they are not there.

        :param url: as ``postgresql://user:password@host:port/database``.
        :param look_every: seconds between two looks for what others have written, if no notification comes.
        :raises StorageError: if it cannot be used.
        """
        connections: list[Connection] = []
        try:
            writer = connect(url)
            connections.append(writer)
            with writer.transaction():
                writer.execute("SELECT pg_advisory_xact_lock(%s)", (SCHEMA_LOCK,))
                writer.execute(SCHEMA)
                writer.execute(
                    "INSERT INTO chat_store SELECT %s, 0 WHERE NOT EXISTS (SELECT * FROM chat_store)",
                    (token_hex(8),),
                )
            reader = connect(url)
            connections.append(reader)
            return cls(url, writer, reader, LOOK_EVERY if look_every is None else look_every)
        except psycopg.Error as error:
            for connection in connections:
                connection.close()
            raise StorageError(f"The database cannot be used: {describe(error)}", retry=False) from error

    @asynccontextmanager
    async def running(self, publish: Publish) -> AsyncGenerator[None, None]:
        async def listen() -> None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(self._listen, limiter=anyio.CapacityLimiter(1))

        async with anyio.create_task_group() as task_group:
            task_group.start_soon(listen)
            try:
                async with super().running(publish):
                    yield
            finally:
                self._ended.set()

    def close(self) -> None:
        self._ended.set()
        self._reader.close()
        self._writer.close()

    # Reading

    async def after(self, room: str, seq: int, limit: int = PAGE) -> list[Message]:
        return await self._read(
            f"SELECT {COLUMNS} FROM chat_messages WHERE room = %s AND seq > %s ORDER BY seq LIMIT %s",  # noqa: S608
            (room, seq, min(limit, PAGE)),
        )

    async def before(self, room: str, seq: int, limit: int = PAGE) -> list[Message]:
        rows = await self._read(
            f"SELECT {COLUMNS} FROM chat_messages WHERE room = %s AND seq < %s ORDER BY seq DESC LIMIT %s",  # noqa: S608
            (room, seq, min(limit, PAGE)),
        )
        return rows[::-1]

    def heads(self) -> dict[str, int]:
        try:
            return dict(
                self._reader.execute("SELECT room, max(seq) FROM chat_messages GROUP BY room").fetchall()
            )
        except psycopg.Error as error:
            raise explain(error) from error

    async def _read(self, statement: str, values: Sequence[Any]) -> list[Message]:
        def read() -> list[Message]:
            if self._reader.closed:
                self._reader = connect(self._url)
            return [Message(*row) for row in self._reader.execute(statement, values)]

        try:
            return await anyio.to_thread.run_sync(retrying, read, PAUSE, limiter=self._reading)
        except psycopg.Error as error:
            logger.warning("the log cannot be read: %s", describe(error))
            raise explain(error) from error

    # The writer's thread

    def _store(self, batch: list[Entry]) -> None:
        try:
            # What was lost with its connection may be stored or not; if it is, this finds it by its client's id.
            self._unanswered.update(retrying(lambda: self._write(batch), PATIENCE))
        except Exception as error:
            logger.warning("%d messages were not stored: %s", len(batch), describe(error))
            refusal = explain(error)
            for entry in batch:
                entry.outcome = refusal

    def _write(self, batch: list[Entry]) -> dict[int, Entry]:
        """Store all that is not there yet in one transaction. Returns it by the numbers of its messages."""
        if self._writer.closed:
            self._writer = connect(self._url)
        stored: dict[int, Entry] = {}
        messages: list[Message] = []
        drafts = [entry.draft for entry in batch]
        with self._writer.transaction():
            store = self._writer.execute("SELECT last FROM chat_store FOR UPDATE").fetchone()
            assert store is not None
            last: int = store[0]
            keys = ([draft.author for draft in drafts], [draft.client_offset for draft in drafts])
            known = {key_of(message): message for message in self._messages(FIND, keys)}
            rooms = list({draft.room for draft in drafts})
            heads: dict[str, int | None] = dict(self._writer.execute(HEADS_OF, (rooms,)).fetchall())
            now = time.time_ns() // 1_000_000
            for entry in batch:
                draft = entry.draft
                found = known.get(key_of(draft))
                if found is not None:
                    entry.outcome = found if says(found, draft) else other_message()
                    continue
                entry.outcome = None
                last += 1
                heads[draft.room] = seq = (heads[draft.room] or 0) + 1
                message = Message(
                    last, draft.room, seq, draft.author, draft.client_offset, draft.nickname, draft.text, now
                )
                messages.append(message)
                known[key_of(message)] = message
                stored[last] = entry
            if messages:
                self._insert(messages)
        return stored

    def _insert(self, messages: list[Message]) -> None:
        rows = [
            (m.id, m.room, m.seq, m.author, m.client_offset, m.nickname, m.text, m.time) for m in messages
        ]
        self._writer.execute(INSERT, [list(column) for column in zip(*rows, strict=True)])
        self._writer.execute("UPDATE chat_store SET last = %s", (messages[-1].id,))
        self._writer.execute("SELECT pg_notify(%s, '')", (CHANNEL,))

    def _follow(self) -> list[Message]:
        try:
            if self._writer.closed:
                self._writer = connect(self._url)
            messages = self._messages(
                f"SELECT {COLUMNS} FROM chat_messages WHERE id > %s ORDER BY id",  # noqa: S608
                (self._followed,),
            )
        except psycopg.Error as error:
            logger.warning("the log cannot be followed, and is tried again: %s", describe(error))
            return []
        if messages:
            self._followed = messages[-1].id
        return messages

    def _messages(self, statement: str, values: Sequence[Any]) -> list[Message]:
        return [Message(*row) for row in self._writer.execute(statement, values)]

    # The listener's thread

    def _listen(self) -> None:
        """Wake the writer when another node has written."""
        while not self._ended.is_set():
            try:
                with connect(self._url) as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    self.look()
                    while not self._ended.is_set():
                        for _ in connection.notifies(timeout=LOOK_EVERY, stop_after=1):
                            self.look()
            except psycopg.Error as error:
                logger.info("no notifications for now: %s", describe(error))
                self._ended.wait(LOOK_EVERY)


def connect(url: str) -> Connection:
    """Open a connection without transactions of its own making, for one thread at a time."""
    return psycopg.connect(
        url,
        autocommit=True,
        connect_timeout=CONNECT_TIME,
        options=SETTINGS,
        fallback_application_name="chat_app",
    )


def retrying(work: Callable[[], Result], patience: float) -> Result:
    """Do something, again if the connection was lost, until the patience (in seconds) is at its end."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return work()
        except LOST:
            if time.monotonic() >= deadline:
                raise
            time.sleep(PAUSE)


def key_of(message: Draft | Message) -> tuple[str, str]:
    """Return what tells whether two messages are the same."""
    return message.author, message.client_offset


def says(message: Message, draft: Draft) -> bool:
    """Tell whether a message is what the draft wants to say."""
    return (message.room, message.text) == (draft.room, draft.text)


def other_message() -> StorageError:
    """Return the refusal of a draft whose id was used for something else."""
    return StorageError("Another message was sent with the same id.", retry=False)


def describe(error: Exception) -> str:
    """Return an error on one line."""
    return " ".join(str(error).split())


def explain(error: Exception) -> StorageError:
    """Say what is wrong in words for people."""
    if isinstance(error, LOST):
        return StorageError("The database cannot be reached. Try again.")
    return StorageError(f"The message was not stored ({describe(error)}).")
