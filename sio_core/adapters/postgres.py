"""A cluster by way of PostgreSQL: LISTEN and NOTIFY, and a table for what a notification cannot hold.

Understood by the official ``@socket.io/postgres-adapter``. A notification is for those who listen at its moment: what
is said while PostgreSQL is away, or while the connection of a node is made anew, that node does not hear.

The two commands: https://www.postgresql.org/docs/current/sql-notify.html
"""

from __future__ import annotations

import logging
from typing import Any, Final

import anyio
import anyio.lowlevel
from psycopg import Error, errors

from sio_core.adapters.base import LocalSockets
from sio_core.adapters.driver import Driver
from sio_core.adapters.heartbeats import HeartbeatClusterAdapter
from sio_core.adapters.messages import Message, decode_json, message_from
from sio_core.adapters.outgoing import Outgoing
from sio_core.adapters.postgres_connection import Connection, Pool, check_conninfo
from sio_core.adapters.postgres_wire import PostgresWire, quote
from sio_core.adapters.supervisor import Supervisor
from sio_core.adapters.timers import Timer, within
from sio_core.errors import AdapterError, InvalidPacket
from sio_core.ids import make_id

__all__ = ["Postgres", "PostgresAdapter"]

BATCH: Final = 32
"""Messages published at once."""

CONNECTIONS: Final = 4
"""Connections for statements, besides the one that listens."""

TURN: Final = 20
"""Notifications that are handled until others on the event loop have their turn."""

FULL_QUEUE: Final = 0.1
"""The share of PostgreSQL's queue of notifications that is worth a warning: when it is full, nobody can publish."""

logger = logging.getLogger(__name__)


class PostgresAdapter(HeartbeatClusterAdapter):
    """One namespace on all nodes that have the same database. Made by :class:`Postgres`.

    :ivar channel: what its nodes listen to.
    """

    batch = BATCH

    def __init__(self, name: str, local: LocalSockets, driver: Postgres) -> None:
        super().__init__(name, local, driver)
        self.channel = driver.wire.channel_of(name)
        self._postgres = driver

    def prepare(self, message: Message) -> None:
        message.payload = self._postgres.wire.encode(self.codec, message)

    async def publish(self, message: Message) -> None:
        await self._publish_all([message])

    async def publish_response(self, uid: str, message: Message) -> None:
        await self._publish_all([message])

    async def publish_batch(self, batch: list[Outgoing]) -> list[str | None]:
        await self._publish_all([outgoing.message for outgoing in batch])
        return [None] * len(batch)

    async def _publish_all(self, messages: list[Message]) -> None:
        for statement, values in self._postgres.wire.statements(self.codec, self.channel, messages):
            await self._postgres.pool.execute(statement, values)


class Postgres(Driver):
    """Servers that have the same PostgreSQL database: ``Server(adapter=Postgres("postgresql://localhost/app"))``.

    The table is made if it is not there, which needs the right to do so; otherwise make it beforehand::

        CREATE TABLE socket_io_attachments (
            id bigserial UNIQUE, created_at timestamptz DEFAULT NOW(), payload bytea
        );

    :param url: a connection string of libpq.
    :param channel_prefix: begins the name of each namespace's channel; together they may have 63 bytes.
    :param table: where attachments are, with its schema if it needs one; written as in SQL without quotes.
    :param payload_threshold: bytes from which on a message is an attachment; 1 to 8,000.
    :param cleanup_interval: seconds after which an attachment is deleted.
    :param heartbeat_interval: seconds after which a node that had nothing else to say to all says that it is there.
    :param heartbeat_timeout: seconds after which a node that was not heard is counted no more.
    :raises ValueError: if one of them is not possible.
    """

    def __init__(
        self,
        url: str,
        *,
        channel_prefix: str = "socket.io",
        table: str = "socket_io_attachments",
        payload_threshold: int = 8_000,
        cleanup_interval: float = 30.0,
        heartbeat_interval: float = 5.0,
        heartbeat_timeout: float = 10.0,
    ) -> None:
        super().__init__()
        check_conninfo(url)
        if not cleanup_interval > 0:
            raise ValueError(
                f"cleanup_interval must be a positive number of seconds, not {cleanup_interval!r}"
            )
        self.wire = PostgresWire(channel_prefix, table, payload_threshold)
        self._url = url
        self._cleanup_interval = cleanup_interval
        self.heartbeat_interval = heartbeat_interval
        self.heartbeat_timeout = heartbeat_timeout
        self._probe_channel = "sio_probe_" + make_id()
        self._listening: set[str] = set()
        self._waiting: anyio.CancelScope | None = None
        self._pool: Pool | None = None
        self._cleaner: Timer | None = None

    def make_adapter(self, name: str, local: LocalSockets) -> PostgresAdapter:
        return PostgresAdapter(name, local, self)

    # The connections

    @property
    def pool(self) -> Pool:
        """The connections for statements."""
        assert self._pool is not None
        return self._pool

    def open(self) -> None:
        self._pool = Pool(self._url, CONNECTIONS)
        listener = Supervisor(
            self.host, "PostgreSQL", self._listen, probe=self._probe, on_up=self.note_reconnected
        )
        self.links = [listener]
        listener.start()
        self._cleaner = Timer(self.host, self._clean_later)
        self._cleaner.set_after(self._cleanup_interval)

    async def close(self) -> None:
        assert self._cleaner is not None
        self._cleaner.stop()
        for link in self.links:
            await link.stop()
        self.links = []
        self.pool.close()

    def attach(self, adapter: Any) -> None:
        super().attach(adapter)
        self._subscribe_soon()

    async def detach(self, adapter: Any) -> None:
        self._subscribe_soon()
        await super().detach(adapter)

    async def _probe(self) -> None:
        await self.pool.execute("SELECT pg_notify($1, '')", [self._probe_channel])

    # Listening

    def _subscribe_soon(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    async def _listen(self, supervisor: Supervisor) -> None:
        self._listening = set()
        with await Connection.open(self._url) as connection:
            await self._make_table(connection)
            await connection.execute(f"LISTEN {quote(self._probe_channel)}")
            await self._subscribe(connection)
            supervisor.up()
            while True:
                found: list[tuple[str, bytes]] = []
                with anyio.CancelScope() as self._waiting:
                    found = await connection.notifications()
                self._waiting = None
                for number, (channel, payload) in enumerate(found):
                    supervisor.heard()  # each time: an attachment may take as long as it is given to be fetched
                    if number % TURN == 0:
                        await anyio.lowlevel.checkpoint()  # more may be here already: others have their turn
                    await self._take(channel, payload)
                await self._subscribe(connection)

    async def _subscribe(self, connection: Connection) -> None:
        """Listen to the channels of the namespaces that there are, also those that come while this waits."""
        while True:
            wanted = {self.wire.channel_of(name): adapter for name, adapter in self.adapters.items()}
            if self._listening == wanted.keys():
                return
            for channel in self._listening - wanted.keys():
                self._listening.discard(channel)
                await connection.execute(f"UNLISTEN {quote(channel)}")
            for channel in wanted.keys() - self._listening:
                self._listening.add(channel)
                await connection.execute(f"LISTEN {quote(channel)}")
                wanted[channel].reconnected()  # who answered before was not heard

    async def _make_table(self, connection: Connection) -> None:
        table = self.wire.table
        if (await connection.execute("SELECT to_regclass($1)", [table]))[0][0] is not None:
            return
        try:
            await connection.execute(
                f"CREATE TABLE IF NOT EXISTS {table} "
                "(id bigserial UNIQUE, created_at timestamptz DEFAULT NOW(), payload bytea)"
            )
        except (errors.UniqueViolation, errors.DuplicateTable):
            pass  # another node was quicker
        except errors.InsufficientPrivilege as error:
            logger.error(
                "table %s is not there and cannot be made, so large messages are lost: %s", table, error
            )

    async def _take(self, channel: str, payload: bytes) -> None:
        """Read a notification."""
        if channel == self._probe_channel:
            return
        nsp = self.wire.nsp_of(channel)
        try:
            value = decode_json(payload)
            attachment = value.get("attachmentId") if isinstance(value, dict) else None
            if not attachment:
                self.receive(message_from(value, nsp))
                return
        except InvalidPacket as error:
            self.drop(str(error))
            return
        adapter = self.adapters.get(nsp)
        if adapter is None or value.get("uid") == adapter.uid:
            return
        try:
            found = await within(
                self.host,
                self.host.limits.cluster_publish_time,
                "fetching an attachment",
                self._fetch(attachment),
            )
        except Exception as error:
            self.drop(f"an attachment cannot be had: {error}")
        else:
            self.receive_payload(found, nsp)

    async def _fetch(self, attachment: Any) -> bytes:
        """Return what stands in the table."""
        if not isinstance(attachment, str | int) or not str(attachment).isdecimal():
            raise InvalidPacket(f"{attachment!r} is no attachment")
        limit = self.host.limits.cluster_message_bytes
        rows = await self.pool.execute(
            f"SELECT octet_length(payload), CASE WHEN octet_length(payload) <= {limit} THEN payload END "  # noqa: S608
            f"FROM {self.wire.table} WHERE id = $1",
            [str(attachment)],
            binary=True,
        )
        if not rows:
            raise InvalidPacket(f"{attachment} is gone")
        if rows[0][1] is None:
            self.host.count_limit("cluster_message_bytes")
            raise InvalidPacket(f"it has more than {limit} bytes")
        return rows[0][1]

    # Cleaning up

    def _clean_later(self, now: float) -> None:
        self.host.runtime.spawn(self._clean)

    async def _clean(self) -> None:
        """Delete the attachments that everybody has had the time to read, and look at the queue of notifications."""
        try:
            await within(
                self.host, self.host.limits.cluster_request_time, "cleaning up", self._delete_and_look()
            )
        except (Error, OSError, AdapterError) as error:
            logger.info("old attachments are not deleted for now: %s", error)
        if self._cleaner is not None and self.adapters:
            self._cleaner.set_after(self._cleanup_interval)

    async def _delete_and_look(self) -> None:
        milliseconds = round(self._cleanup_interval * 1000)
        await self.pool.execute(
            f"DELETE FROM {self.wire.table} WHERE created_at < now() - $1::interval",  # noqa: S608
            [f"{milliseconds} milliseconds"],
        )
        rows = await self.pool.execute("SELECT pg_notification_queue_usage()")
        usage = float(rows[0][0] or 0)
        if usage > FULL_QUEUE:
            logger.warning(
                "PostgreSQL's queue of notifications is %.0f %% full: somebody listens in an open transaction",
                100 * usage,
            )
