"""Emitters for clusters on PostgreSQL: what :mod:`sio_core.adapters.postgres` and its official counterpart hear."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any

import psycopg

from sio_core.adapters.messages import Message
from sio_core.adapters.postgres_connection import Pool, Value, check_conninfo
from sio_core.adapters.postgres_wire import PostgresWire
from sio_core.emitters.emitter import AsyncEmitter, SyncEmitter
from sio_core.errors import AdapterError

__all__ = ["AsyncPostgresEmitter", "PostgresEmitter"]

CONNECT_TIME = 5
"""Seconds that connecting may take."""


class PostgresEmitter(SyncEmitter):
    """For code that waits: ``with PostgresEmitter("postgresql://localhost/app") as emitter: emitter.emit("news")``.

    Any thread may use it; one at a time publishes.

    :param url: a connection string of libpq.
    :param channel_prefix: begins the name of each namespace's channel, as for the servers.
    :param table: where attachments are, as for the servers. It must be there.
    :param payload_threshold: bytes from which on a message is an attachment; 1 to 8,000.
    :param default: converts what nobody else can, as in :func:`json.dumps`.
    :raises ValueError: if one of them is not possible.

    Publishing raises :class:`~sio_core.AdapterError` if PostgreSQL cannot be reached or refuses.

    Socket.IO documentation, "Postgres adapter", "Emitter".
    """

    __slots__ = ("_connection", "_lock", "_url", "_wire")

    def __init__(
        self,
        url: str,
        *,
        channel_prefix: str = "socket.io",
        table: str = "socket_io_attachments",
        payload_threshold: int = 8_000,
        default: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(default)
        check_conninfo(url)
        self._url = url
        self._wire = PostgresWire(channel_prefix, table, payload_threshold)
        self._connection: psycopg.Connection[Any] | None = None
        self._lock = threading.Lock()

    def publish(self, message: Message) -> None:
        message.payload = self._wire.encode(self.codec, message)
        channel = self._wire.channel_of(message.nsp)
        with self._lock:
            try:
                connection = self._connect()
                for statement, values in self._wire.statements(self.codec, channel, [message]):
                    psycopg.RawCursor(connection).execute(statement.encode(), values)
            except psycopg.Error as error:
                raise AdapterError(f"not published: {error}") from error

    def _connect(self) -> psycopg.Connection[Any]:
        """Return a connection that was not lost, as far as is known here."""
        if self._connection is not None and is_lost(self._connection):
            self._connection.close()
            self._connection = None
        if self._connection is None:
            self._connection = psycopg.connect(
                self._url,
                autocommit=True,
                connect_timeout=CONNECT_TIME,
                fallback_application_name="sio_core emitter",
            )
        return self._connection

    def close(self) -> None:
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None


class AsyncPostgresEmitter(AsyncEmitter):
    """For coroutines: ``async with AsyncPostgresEmitter(url) as emitter: await emitter.emit("news")``.

    :param url: a connection string of libpq.
    :param channel_prefix: begins the name of each namespace's channel, as for the servers.
    :param table: where attachments are, as for the servers. It must be there.
    :param payload_threshold: bytes from which on a message is an attachment; 1 to 8,000.
    :param default: converts what nobody else can, as in :func:`json.dumps`.
    :raises ValueError: if one of them is not possible.

    Publishing raises :class:`~sio_core.AdapterError` if PostgreSQL cannot be reached or refuses.

    Socket.IO documentation, "Postgres adapter", "Emitter".
    """

    __slots__ = ("_pool", "_wire")

    def __init__(
        self,
        url: str,
        *,
        channel_prefix: str = "socket.io",
        table: str = "socket_io_attachments",
        payload_threshold: int = 8_000,
        default: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(default)
        check_conninfo(url)
        self._wire = PostgresWire(channel_prefix, table, payload_threshold)
        self._pool = Pool(url, 1)  # so that what is awaited in an order is published in it

    def publish(self, message: Message) -> Awaitable[None]:
        message.payload = self._wire.encode(self.codec, message)
        channel = self._wire.channel_of(message.nsp)
        return self._execute(self._wire.statements(self.codec, channel, [message]))

    async def _execute(self, statements: list[tuple[str, list[Value]]]) -> None:
        try:
            for statement, values in statements:
                await self._pool.execute(statement, values)
        except (psycopg.Error, OSError) as error:
            raise AdapterError(f"not published: {error}") from error

    async def aclose(self) -> None:
        self._pool.close()


def is_lost(connection: psycopg.Connection[Any]) -> bool:
    """Tell whether the server has closed a connection."""
    try:
        connection.pgconn.consume_input()  # what the server has said last
        connection.pgconn.consume_input()  # and whether it has closed behind that
    except psycopg.Error:
        return True
    return connection.closed
