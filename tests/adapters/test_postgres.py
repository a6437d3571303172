"""Servers on a real PostgreSQL: what it carries, what it does not, and its faults."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
import psycopg
import pytest

from sio_core import AdapterError, Limits, Server
from sio_core.adapters import postgres as postgres_module
from sio_core.adapters import supervisor
from sio_core.adapters.postgres import Postgres
from sio_core.testing import TestClient
from tests.clusters.engines import PostgreSQL
from tests.faults.proxy import FaultProxy
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.anyio

HELLO = {"packet": {"type": 2, "data": ["hello"]}, "opts": {"rooms": [], "except": []}}


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("trio", {}), id="trio"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgreSQL]:
    with PostgreSQL() as engine:
        yield engine


@pytest.fixture
def url(postgres: PostgreSQL) -> Iterator[str]:
    yield postgres.url
    if not postgres.answers():
        postgres.start()
    with psycopg.connect(postgres.url) as connection:
        connection.execute("DROP TABLE IF EXISTS socket_io_attachments")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "SILENCE", 0.2)
    monkeypatch.setattr(supervisor, "PATIENCE", 0.5)
    monkeypatch.setattr(supervisor, "LAST_DELAY", 0.3)


class Node:
    """A server with a client."""

    def __init__(self, url: str, options: dict[str, Any], limits: Limits) -> None:
        self.driver = Postgres(url, **options)
        self.io: Server[Any] = Server(adapter=self.driver, limits=limits)
        self.io.of("/other")
        self.client = TestClient(self.io)

    @property
    def others(self) -> int:
        nodes: dict[str, float] = self.io.sockets.adapter.nodes  # type: ignore[attr-defined]
        return len(nodes)


@asynccontextmanager
async def cluster(
    url: str, count: int = 2, limits: Limits | None = None, **options: Any
) -> AsyncGenerator[list[Node], None]:
    """Run so many nodes that know of each other, each with one client."""
    async with AsyncExitStack() as stack:
        nodes = [Node(url, options, limits or Limits(cluster_publish_time=0.5)) for _ in range(count)]
        for node in nodes:
            await stack.enter_async_context(node.client)
        await eventually(lambda: all(node.others == count - 1 for node in nodes))
        yield nodes


async def execute(url: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    """Run a statement as somebody else."""

    def run() -> list[tuple[Any, ...]]:
        with psycopg.connect(url, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), values)
            return cursor.fetchall() if cursor.description else []

    return await anyio.to_thread.run_sync(run)


async def reaches(sender: Node, receiver: Node, name: str) -> None:
    """Check that an event arrives, and nothing before it."""
    await sender.io.emit(name)
    with anyio.fail_after(5):
        assert await receiver.client.receive() == [name]


async def test_what_is_around_the_bound_of_a_notification_arrives_whole_and_in_order(url: str) -> None:
    async with cluster(url) as (one, two):
        lengths = [7_790 + number for number in range(0, 60, 3)]
        for length in [*lengths, 100_000]:
            one.io.emit("text", "x" * length)
            one.io.emit("bytes", bytes([length % 256]) * 10)
        for length in [*lengths, 100_000]:
            assert await two.client.receive() == ["text", "x" * length]
            assert await two.client.receive() == ["bytes", bytes([length % 256]) * 10]
        assert two.driver.dropped == 0
        ((stored,),) = await execute(url, "SELECT count(*) FROM socket_io_attachments")
        assert len(lengths) + 2 < stored < 2 * len(lengths) + 2  # all with bytes, and some of the others


async def test_the_same_event_many_times_arrives_as_often(url: str) -> None:
    async with cluster(url) as (one, two):
        for _ in range(100):
            one.io.emit("again")
        for _ in range(100):
            assert await two.client.receive() == ["again"]
        await reaches(one, two, "end")


async def test_old_attachments_are_deleted(url: str) -> None:
    async with cluster(url, cleanup_interval=0.2) as (one, two):
        await one.io.emit("bytes", b"1")
        assert await two.client.receive() == ["bytes", b"1"]
        with anyio.fail_after(5):
            while await execute(url, "SELECT id FROM socket_io_attachments"):  # noqa: ASYNC110
                await anyio.sleep(0.05)


async def test_a_full_queue_of_notifications_is_told(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(postgres_module, "FULL_QUEUE", -1.0)
    async with cluster(url, cleanup_interval=0.1):
        await eventually(lambda: "queue of notifications is 0 % full" in caplog.text)


@pytest.mark.parametrize(
    "name", ['/a"b', "/a'); DROP TABLE socket_io_attachments; --", "/a\\b", "/ž*?#", "/$1"]
)
async def test_namespaces_of_any_name(url: str, name: str) -> None:
    async with cluster(url) as (one, two):
        for node in (one, two):
            node.io.of(name)
        async with TestClient(two.io, namespace=name) as client:
            adapters = [node.io.of(name).adapter for node in (one, two)]
            await eventually(lambda: all(adapter.nodes for adapter in adapters))  # type: ignore[attr-defined]
            await one.io.of(name).emit("hello", 'a"b', b"'")
            assert await client.receive() == ["hello", 'a"b', b"'"]


async def test_a_namespace_with_too_long_a_name_is_refused(url: str) -> None:
    io: Server[Any] = Server(adapter=Postgres(url))
    with pytest.raises(AdapterError, match="no channel for namespace"):
        io.of("/" + "n" * 60)


async def test_a_namespace_made_later_is_heard_and_one_that_is_gone_is_not(url: str) -> None:
    async with cluster(url) as (one, two):
        late = [node.io.of("/late") for node in (one, two)]
        await eventually(lambda: all(namespace.adapter.nodes for namespace in late))  # type: ignore[attr-defined]
        assert "socket.io#/late" in two.driver._listening
        await late[1].adapter.close()
        await eventually(lambda: "socket.io#/late" not in two.driver._listening)
        await reaches(one, two, "hello")


async def test_a_namespace_made_while_another_goes_is_heard_at_once(url: str) -> None:
    async with cluster(url) as (one, two):
        for turns in range(6):
            gone, new = f"/gone{turns}", f"/new{turns}"
            namespace = two.io.of(gone)
            await eventually(lambda gone=gone: f"socket.io#{gone}" in two.driver._listening)
            await reaches(one, two, "hello")  # and all that came of it has come
            await namespace.adapter.close()
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            two.io.of(new)
            await eventually(lambda new=new: f"socket.io#{new}" in two.driver._listening, 2)


async def test_junk_is_dropped_and_counted(url: str, caplog: pytest.LogCaptureFixture) -> None:
    junk = [
        "",
        "nonsense",
        "[]",
        "{",
        "null",
        '{"type":3}',
        '{"type":"3","uid":"a","nsp":"/","data":{}}',
        '{"type":3,"uid":"a","nsp":"/","data":[]}',
        '{"type":3,"uid":"a","nsp":"/","data":{"packet":{"type":2,"data":[]},"opts":{}}}',
        '{"type":3,"uid":"a","nsp":"/","data":{"packet":{"type":2,"data":["x"]},"opts":{"rooms":5}}}',
        '{"type":7,"uid":"a","nsp":"/","data":{"opts":{"rooms":[],"except":[]}}}',
        '{"type":3,"uid":"a","attachmentId":"999999"}',
        '{"type":3,"uid":"a","attachmentId":"1; DROP TABLE socket_io_attachments"}',
        '{"type":3,"uid":"a","attachmentId":{"a":1}}',
        "[" * 5_000,
    ]
    async with cluster(url) as (one, two):
        for payload in junk:
            await execute(url, "SELECT pg_notify('socket.io#/', %s)", payload)
        await execute(url, "SELECT pg_notify('socket.io#/', %s)", '{"type":99,"uid":"a","nsp":"/","data":{}}')
        await reaches(one, two, "hello")
        assert [node.driver.dropped for node in (one, two)] == [len(junk)] * 2
        assert not one.driver.degraded
    assert "ERROR" not in [record.levelname for record in caplog.records]


async def test_attachments_that_are_junk_or_too_large_are_dropped(url: str) -> None:
    async with cluster(url, limits=Limits(cluster_message_bytes=10_000)) as (one, two):
        for payload in (b"", b"\xc1", b"\x81", b"x" * 10_001):
            ((number,),) = await execute(
                url, "INSERT INTO socket_io_attachments (payload) VALUES (%s) RETURNING id", payload
            )
            header = f'{{"type":3,"uid":"a","attachmentId":"{number}"}}'
            await execute(url, "SELECT pg_notify('socket.io#/', %s)", header)
        await reaches(one, two, "hello")
        assert two.driver.dropped == 4
        assert two.io.stats()["limit_hits"]["cluster_message_bytes"] == 1


async def test_the_official_emitter_needs_no_namespace_in_its_messages(url: str) -> None:
    async with cluster(url) as (_, two):
        payload = (
            '{"type":3,"data":{"packet":{"type":2,"data":["hi"],"nsp":"/"},"opts":{"rooms":[],"flags":{},"except":[]}},'
            '"uid":"emitter"}'
        )
        await execute(url, "SELECT pg_notify('socket.io#/', %s)", payload)
        assert await two.client.receive() == ["hi"]
        assert two.others == 1  # an emitter is no node


async def test_a_terminated_connection_is_made_again(url: str, caplog: pytest.LogCaptureFixture) -> None:
    async with cluster(url) as (one, two):
        await execute(
            url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sio_core'"
        )
        await eventually(lambda: one.driver.reconnects == 1 and two.driver.reconnects == 1)
        await eventually(lambda: not one.driver.degraded and not two.driver.degraded)
        await reaches(one, two, "hello")
        assert await one.client.receive() == ["hello"]
        await reaches(two, one, "there")
        assert len([record for record in caplog.records if record.levelno == logging.ERROR]) <= 4


@pytest.mark.usefixtures("impatient")
async def test_while_postgresql_is_away_everything_local_goes_on(url: str, postgres: PostgreSQL) -> None:
    async with cluster(url) as (one, two):
        await anyio.to_thread.run_sync(postgres.kill)
        await eventually(lambda: one.driver.degraded and two.driver.degraded, 1.0)
        outgoing = one.io.emit("lost")
        assert await one.client.receive() == ["lost"]
        with pytest.raises(AdapterError):
            await outgoing
        assert one.driver.lost == 1
        await anyio.to_thread.run_sync(postgres.start)
        await eventually(lambda: not one.driver.degraded and not two.driver.degraded)
        await reaches(one, two, "found")


@pytest.mark.usefixtures("impatient")
async def test_a_server_starts_without_postgresql_and_joins_when_it_comes(
    url: str, postgres: PostgreSQL
) -> None:
    await anyio.to_thread.run_sync(postgres.kill)
    one, two = (Node(url, {}, Limits(cluster_publish_time=0.5)) for _ in range(2))
    async with one.client, two.client:
        await eventually(lambda: one.driver.degraded)
        one.io.emit("local")
        assert await one.client.receive() == ["local"]
        await anyio.to_thread.run_sync(postgres.start)
        await eventually(lambda: one.others == 1 and two.others == 1)
        await reaches(two, one, "hello")


@pytest.mark.usefixtures("impatient")
async def test_a_postgresql_that_stands_still_blocks_nothing(url: str, postgres: PostgreSQL) -> None:
    async with cluster(url) as (one, two):
        await anyio.to_thread.run_sync(postgres.pause)
        try:
            with anyio.fail_after(2):  # well below the time for which it stands still
                for number in range(50):
                    one.io.emit("local", number)
                    assert await one.client.receive() == ["local", number]
            await eventually(lambda: one.driver.degraded)
        finally:
            await anyio.to_thread.run_sync(postgres.resume)
        await eventually(lambda: not one.driver.degraded and not two.driver.degraded)
        await eventually(lambda: not one.driver.stats()["queued"])
        await two.io.emit("end")
        with anyio.fail_after(5):
            while await one.client.receive() != ["end"]:
                pass


@pytest.mark.usefixtures("impatient")
async def test_a_deaf_listener_is_noticed_and_replaced(url: str, postgres: PostgreSQL) -> None:
    async with FaultProxy(postgres.port).running() as proxy, cluster(url) as (one, _):
        deaf = Node(url.replace(str(postgres.port), str(proxy.port)), {}, Limits())
        async with deaf.client:
            await eventually(lambda: deaf.others == 2)
            for link in proxy.links:
                link.down.hold()
            await eventually(lambda: deaf.driver.reconnects > 0)
            await eventually(lambda: not deaf.driver.degraded)
            await reaches(one, deaf, "heard again")


async def test_without_the_right_to_make_the_table_small_messages_go_on(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    await execute(url, "CREATE ROLE humble LOGIN")
    try:
        async with cluster(url.replace("postgres@", "humble@")) as (one, two):
            assert "socket_io_attachments is not there and cannot be made" in caplog.text
            with pytest.raises(AdapterError):
                await one.io.emit("bytes", b"1")
            await one.io.emit("text")
            assert await two.client.receive() == ["text"]
    finally:
        await execute(url, "DROP ROLE humble")


async def test_settings_that_are_not_possible_are_refused() -> None:
    with pytest.raises(ValueError, match="cleanup_interval"):
        Postgres("postgresql://localhost/app", cleanup_interval=0)
    with pytest.raises(ValueError, match="no connection string"):
        Postgres("redis://localhost")
