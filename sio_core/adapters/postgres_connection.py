"""Connections to PostgreSQL that wait with anyio, so that asyncio and trio have the same.

psycopg's own connections wait for asyncio only. Its wrapper of libpq does no waiting at all, and libpq tells after each
step what to wait for: https://www.postgresql.org/docs/current/libpq-async.html
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

import anyio
from psycopg import OperationalError, errors, pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, Format, PollingStatus
from psycopg.pq.abc import PGconn, PGresult

__all__ = ["Connection", "Pool", "Value", "check_conninfo"]

Value = str | bytes
"""A parameter of a statement: text, or bytes for a ``bytea``."""
Row = tuple[bytes | None, ...]

SUCCESS: Final = frozenset({ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK, ExecStatus.EMPTY_QUERY})


class Connection:
    """A connection in autocommit mode, for one task at a time. What is interrupted closes it."""

    __slots__ = ("_pgconn",)

    def __init__(self, pgconn: PGconn) -> None:
        self._pgconn = pgconn

    @classmethod
    async def open(cls, conninfo: str) -> Connection:
        """Connect.

        :param conninfo: a connection string of libpq: ``postgresql://...`` or ``key=value ...``.
        :raises psycopg.OperationalError: if that is impossible.
        """
        pgconn = pq.PGconn.connect_start((await resolve(conninfo)).encode())
        try:
            while True:
                status = pgconn.connect_poll()
                if status == PollingStatus.OK:
                    break
                if status == PollingStatus.READING:
                    await anyio.wait_readable(pgconn.socket)
                elif status == PollingStatus.WRITING:
                    await anyio.wait_writable(pgconn.socket)
                else:
                    raise OperationalError(explain(pgconn))
            pgconn.nonblocking = 1
        except BaseException:
            pgconn.finish()
            raise
        return cls(pgconn)

    @property
    def usable(self) -> bool:
        """Whether it is open and was not closed by the server, as far as is known here."""
        if self._pgconn.status != ConnStatus.OK:
            return False
        try:
            self._pgconn.consume_input()  # what the server has said last
            self._pgconn.consume_input()  # and whether it has closed behind that
        except OperationalError:
            return False
        return self._pgconn.status == ConnStatus.OK

    def close(self) -> None:
        """Close it. A closed one may be closed again."""
        self._pgconn.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def execute(
        self, statement: str, values: Sequence[Value] = (), *, binary: bool = False
    ) -> list[Row]:
        """Run a statement and return its rows, whose fields are as the server has sent them.

        :param values: the values of ``$1``, ``$2`` and so on.
        :param binary: let the fields come in PostgreSQL's binary form instead of as text.
        :raises psycopg.Error: if the server refuses it, or the connection is lost.
        """
        pgconn = self._pgconn
        try:
            pgconn.send_query_params(
                statement.encode(),
                [value.encode() if isinstance(value, str) else value for value in values],
                param_formats=[Format.TEXT if isinstance(value, str) else Format.BINARY for value in values],
                result_format=Format.BINARY if binary else Format.TEXT,
            )
            while pgconn.flush():
                await anyio.wait_writable(pgconn.socket)
            result: PGresult | None = None
            while True:
                while pgconn.is_busy():
                    await anyio.wait_readable(pgconn.socket)
                    pgconn.consume_input()
                following = pgconn.get_result()
                if following is None:
                    break
                result = following
        except BaseException:
            self.close()
            raise
        if result is None:
            self.close()
            raise OperationalError("the connection was closed")
        if result.status not in SUCCESS:
            raise error_of(result)
        columns = range(result.nfields)
        return [tuple([result.get_value(row, column) for column in columns]) for row in range(result.ntuples)]

    async def notifications(self) -> list[tuple[str, bytes]]:
        """Wait for notifications, and return the channel and the payload of each.

        May be cancelled: nothing is lost by that.

        :raises psycopg.OperationalError: if the connection is lost.
        """
        while True:
            self._pgconn.consume_input()
            found: list[tuple[str, bytes]] = []
            while (notification := self._pgconn.notifies()) is not None:
                found.append((notification.relname.decode(errors="replace"), notification.extra))
            if found:
                return found
            if self._pgconn.status != ConnStatus.OK:
                raise OperationalError("the connection was closed")
            await anyio.wait_readable(self._pgconn.socket)


class Pool:
    """Connections for statements of any task, opened when they are needed.

    :param size: how many there may be; further statements wait their turn.
    """

    __slots__ = ("_conninfo", "_idle", "_turns", "is_closed")

    def __init__(self, conninfo: str, size: int) -> None:
        self._conninfo = conninfo
        self._idle: list[Connection] = []
        self._turns = anyio.CapacityLimiter(size)
        self.is_closed = False

    async def execute(
        self, statement: str, values: Sequence[Value] = (), *, binary: bool = False
    ) -> list[Row]:
        """As :meth:`Connection.execute`, on any of the connections."""
        async with self._turns:
            connection = await self._take()
            try:
                return await connection.execute(statement, values, binary=binary)
            finally:
                if self.is_closed or not connection.usable:
                    connection.close()
                else:
                    self._idle.append(connection)

    async def _take(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            connection.close()
        return await Connection.open(self._conninfo)

    def close(self) -> None:
        """Close the connections; those in use when their statement has ended."""
        self.is_closed = True
        while self._idle:
            self._idle.pop().close()


def check_conninfo(conninfo: str) -> None:
    """Make sure that a connection string is one.

    :raises ValueError: if it is not; the message says what is wrong, and tells no password.
    """
    try:
        conninfo_to_dict(conninfo)
    except errors.ProgrammingError as error:
        raise ValueError(f"this is no connection string of PostgreSQL: {error}") from None


async def resolve(conninfo: str) -> str:
    """Look up the names of the hosts, for which libpq would block the event loop."""
    given = conninfo_to_dict(conninfo)
    settings: dict[str, Any] = {**given, "client_encoding": "UTF8"}
    settings.setdefault("fallback_application_name", "sio_core")
    names = str(given.get("host") or os.environ.get("PGHOST", "")).split(",")
    if not any(names) or given.get("hostaddr") or os.environ.get("PGHOSTADDR"):
        return make_conninfo("", **settings)
    ports = str(given.get("port") or os.environ.get("PGPORT", "")).split(",")
    hosts: list[tuple[str, str, str]] = []
    for number, name in enumerate(names):
        port = ports[number] if len(ports) == len(names) else ports[0]
        if not name or name.startswith(("/", "@")):  # a Unix socket
            hosts.append((name, "", port))
            continue
        try:
            found = await anyio.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        except OSError as error:
            raise OperationalError(f"the host {name!r} is not known: {error}") from error
        hosts += [(name, str(address[4][0]), port) for address in found]
    for key, column in zip(("host", "hostaddr", "port"), zip(*hosts, strict=True), strict=True):
        settings[key] = ",".join(column)
    return make_conninfo("", **settings)


def explain(pgconn: PGconn) -> str:
    """Return what libpq says of a connection that failed, on one line."""
    return " ".join(pgconn.error_message.decode(errors="replace").split())


def error_of(result: PGresult) -> Exception:
    """Return the error that the server has answered with."""
    message = (result.error_field(DiagnosticField.MESSAGE_PRIMARY) or result.error_message).decode(
        errors="replace"
    )
    state = (result.error_field(DiagnosticField.SQLSTATE) or b"").decode()
    try:
        kind: type[Exception] = errors.lookup(state)
    except KeyError:
        kind = errors.DatabaseError
    return kind(message)
