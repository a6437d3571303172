"""Connections to a real PostgreSQL, on every event loop."""

from __future__ import annotations

from collections.abc import Iterator

import anyio
import psycopg
import pytest

from sio_core.adapters.postgres_connection import Connection, Pool, check_conninfo
from sio_core.ids import make_id
from tests.clusters.engines import PostgreSQL, free_port
from tests.faults.proxy import FaultProxy

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgreSQL]:
    with PostgreSQL() as engine:
        yield engine


@pytest.fixture
def url(postgres: PostgreSQL) -> str:
    return postgres.url


async def test_values_come_back_as_they_were_sent(url: str) -> None:
    with await Connection.open(url) as connection:
        assert await connection.execute("SELECT $1::text, 5, NULL", ["žluť 🦊"]) == [
            ("žluť 🦊".encode(), b"5", None)
        ]
        large = bytes(range(256)) * 20_000
        assert await connection.execute("SELECT $1::bytea", [large], binary=True) == [(large,)]
        assert await connection.execute("SELECT 1 WHERE false") == []
        assert await connection.execute("SET work_mem = '1MB'") == []


async def test_a_statement_that_is_refused_leaves_the_connection_usable(url: str) -> None:
    with await Connection.open(url) as connection:
        with pytest.raises(psycopg.errors.UndefinedColumn, match="nonsense"):
            await connection.execute("SELECT nonsense")
        assert await connection.execute("SELECT 1") == [(b"1",)]


async def test_notifications_come_in_their_order_and_waiting_may_be_cancelled(url: str) -> None:
    with await Connection.open(url) as one, await Connection.open(url) as two:
        await one.execute('LISTEN "a#/b"')
        with anyio.move_on_after(0.02) as scope:
            await one.notifications()
        assert scope.cancelled_caught
        for number in range(100):
            await two.execute("SELECT pg_notify($1, $2)", ["a#/b", str(number)])
        heard: list[tuple[str, bytes]] = []
        with anyio.fail_after(5):
            while len(heard) < 100:
                heard += await one.notifications()
        assert heard == [("a#/b", b"%d" % number) for number in range(100)]


async def test_a_terminated_connection_is_noticed(url: str) -> None:
    with await Connection.open(url) as one, await Connection.open(url) as two:
        ((pid,),) = await one.execute("SELECT pg_backend_pid()")
        assert pid is not None
        await two.execute("SELECT pg_terminate_backend($1::int)", [pid.decode()])
        with pytest.raises(psycopg.OperationalError), anyio.fail_after(5):
            await one.notifications()
        assert not one.usable
        assert two.usable


async def test_what_is_interrupted_closes_its_connection(url: str) -> None:
    with await Connection.open(url) as connection:
        with anyio.move_on_after(0.05):
            await connection.execute("SELECT pg_sleep(60)")
        assert not connection.usable
        with pytest.raises(psycopg.Error):
            await connection.execute("SELECT 1")


@pytest.mark.parametrize(
    ("conninfo", "words"),
    [
        ("postgresql://127.0.0.1:1/none", "refused"),
        ("host=127.0.0.1,127.0.0.1 port=1,2", "refused"),
        ("postgresql://nowhere.invalid/none", "nowhere.invalid"),
        ("host=/nowhere port=5", "nowhere"),
    ],
)
async def test_where_nobody_is_says_so(conninfo: str, words: str) -> None:
    with pytest.raises(psycopg.OperationalError, match=words):
        await Connection.open(conninfo)


async def test_a_name_is_looked_up_and_the_next_host_is_tried(url: str, postgres: PostgreSQL) -> None:
    (await Connection.open(url.replace("127.0.0.1", "localhost"))).close()
    ports = f"{free_port()},{postgres.port}"
    conninfo = f"host=localhost,localhost port={ports} user=postgres dbname=postgres"
    (await Connection.open(conninfo)).close()


async def test_a_server_that_does_not_answer_can_be_given_up(postgres: PostgreSQL) -> None:
    async with FaultProxy(postgres.port).running() as proxy:
        proxy.down.hold()
        with anyio.move_on_after(0.1) as scope:
            await Connection.open(f"host=127.0.0.1 port={proxy.port} user=postgres dbname=postgres")
        assert scope.cancelled_caught


def test_a_text_that_is_no_connection_string_is_refused_without_its_password() -> None:
    check_conninfo("postgresql://user:secret@host:5432/database?sslmode=require")
    with pytest.raises(ValueError, match="no connection string") as caught:
        check_conninfo("postgresql://user:secret@host/database?nonsense=1")
    assert "secret" not in str(caught.value)


async def test_a_pool_opens_what_it_needs_and_no_more(url: str) -> None:
    pool = Pool(f"{url}?application_name={make_id()}", 2)
    counts: list[int] = []

    async def ask() -> None:
        await pool.execute("SELECT pg_sleep(0.01)")
        rows = await pool.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = current_setting('application_name')"
        )
        counts.append(int(rows[0][0] or 0))

    async with anyio.create_task_group() as task_group:
        for _ in range(10):
            task_group.start_soon(ask)
    assert len(counts) == 10
    assert max(counts) <= 2
    pool.close()


async def test_a_pool_replaces_connections_that_were_lost(url: str) -> None:
    pool = Pool(url, 2)
    await pool.execute("SELECT 1")
    with await Connection.open(url) as other:
        await other.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE application_name = 'sio_core' AND pid <> pg_backend_pid()"
        )
    with anyio.move_on_after(0.01):
        await pool.execute("SELECT pg_sleep(60)")
    assert await pool.execute("SELECT 2") == [(b"2",)]
    pool.close()
    assert await pool.execute("SELECT 3") == [(b"3",)]  # what comes too late leaves nothing open
