"""The log in PostgreSQL: once and in one order for all nodes, whatever the database or another node does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing

import anyio
import anyio.to_thread
import psycopg
import pytest

from chat_app import postgres_log
from chat_app.log import PAGE, Draft, Message, MessageLog, StorageError
from chat_app.postgres_log import PostgresLog
from tests.chat.test_sqlite_log import Follower
from tests.clusters.engines import PostgreSQL

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgreSQL]:
    with PostgreSQL() as engine:
        yield engine


@pytest.fixture
def url(postgres: PostgreSQL) -> Iterator[str]:
    yield postgres.url
    with psycopg.connect(postgres.url) as connection:
        connection.execute("DROP TABLE IF EXISTS chat_messages, chat_store")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_log, "LOOK_EVERY", 0.05)


@asynccontextmanager
async def follow(url: str) -> AsyncIterator[Follower]:
    log = await anyio.to_thread.run_sync(PostgresLog.open, url)
    with closing(log):
        follower = Follower(log)
        async with log.running(follower.publish):
            yield follower


async def until_published(followers: list[Follower], count: int) -> None:
    with anyio.fail_after(20):
        while any(len(follower.published) < count for follower in followers):  # noqa: ASYNC110
            await anyio.sleep(0.01)


def tell(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


async def test_a_message_is_stored_when_it_is_answered(url: str) -> None:
    async with follow(url) as follower:
        message = await follower.say("one")
        assert tell(url, "SELECT room, seq, text FROM chat_messages") == [("lobby", 1, "hi")]
    assert isinstance(message, Message)
    assert (message.id, message.seq, message.author, message.nickname) == (1, 1, "ann", "Ann")
    assert follower.order == ["publish one from socket", "answer one"]


async def test_every_node_publishes_everything_in_one_order_without_a_hole(url: str) -> None:
    async with follow(url) as one, follow(url) as two, anyio.create_task_group() as task_group:
        for number in range(300):
            task_group.start_soon((one, two)[number % 2].say, str(number), "hi", f"room{number % 3}")
        await until_published([one, two], 300)
    assert one.published == two.published
    assert [message.id for message in one.published] == list(range(1, 301))
    for room in ("room0", "room1", "room2"):
        assert [m.seq for m in one.published if m.room == room] == list(range(1, 101))


async def test_a_node_that_starts_publishes_only_what_follows(url: str) -> None:
    async with follow(url) as one:
        await one.say("one")
        async with follow(url) as two:
            assert two.log.heads() == {"lobby": 1}
            assert two.log.epoch == one.log.epoch
            await one.say("two")
            await until_published([two], 1)
            assert [message.seq for message in two.published] == [2]


async def test_the_same_message_sent_to_two_nodes_is_stored_once(url: str) -> None:
    answers: list[Message | StorageError] = []

    async def say(follower: Follower) -> None:
        answers.append(await follower.say("one"))

    async with follow(url) as one, follow(url) as two:
        async with anyio.create_task_group() as task_group:
            for number in range(20):
                task_group.start_soon(say, (one, two)[number % 2])
        await until_published([one, two], 1)
        refusal = await two.say("one", "something else")
    assert answers == one.published * 20
    assert one.published == two.published
    assert isinstance(refusal, StorageError)
    assert not refusal.retry


async def test_reading_by_pages(url: str) -> None:
    async with follow(url) as follower:
        async with anyio.create_task_group() as task_group:
            for number in range(250):
                task_group.start_soon(follower.say, str(number))
        log: MessageLog = follower.log
        assert [m.seq for m in await log.after("lobby", 0, 1_000)] == list(range(1, PAGE + 1))
        assert [m.seq for m in await log.after("lobby", 248)] == [249, 250]
        assert [m.seq for m in await log.before("lobby", 251, 1_000)] == list(range(151, 251))
        assert [m.seq for m in await log.before("lobby", 3, 50)] == [1, 2]
        assert await log.after("red", 0) == []
        assert log.heads() == {"lobby": 250}


async def test_a_slow_commit_of_another_node_is_waited_for_and_never_passed(url: str) -> None:
    async with follow(url) as follower, anyio.create_task_group() as task_group:
        with psycopg.connect(url) as slow:
            slow.execute("SELECT last FROM chat_store FOR UPDATE")
            slow.execute("INSERT INTO chat_messages VALUES (1, 'lobby', 1, 'bob', 'slow', 'Bob', 'hi', 0)")
            slow.execute("UPDATE chat_store SET last = 1")
            task_group.start_soon(follower.say, "quick")
            await anyio.sleep(0.3)  # long enough for a commit, if it did not wait
            assert follower.published == []
            slow.commit()
        await until_published([follower], 2)
    assert [(m.id, m.client_offset) for m in follower.published] == [(1, "slow"), (2, "quick")]


async def test_a_node_that_stands_still_in_a_transaction_loses_it(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_log, "SETTINGS", "-c idle_in_transaction_session_timeout=300ms")
    async with follow(url) as follower:
        with closing(postgres_log.connect(url)) as still:
            still.execute("BEGIN")
            still.execute("SELECT last FROM chat_store FOR UPDATE")
            assert isinstance(await follower.say("one"), Message)
            with pytest.raises(postgres_log.LOST):
                still.execute("COMMIT")


async def test_killed_connections_lose_nothing(url: str) -> None:
    async with follow(url) as one, follow(url) as two, anyio.create_task_group() as task_group:
        for number in range(20):
            task_group.start_soon((one, two)[number % 2].say, str(number))
            tell(
                url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'chat_app'",
            )
            assert await one.log.after("red", 0) == []
            await anyio.sleep(0.02)
        await until_published([one, two], 20)
    assert one.published == two.published
    assert sorted(message.client_offset for message in one.published) == sorted(map(str, range(20)))


async def test_a_commit_whose_answer_was_lost_is_found_and_not_repeated(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with follow(url) as follower:
        write = follower.log._write
        lost = iter([True])

        def write_and_lose(batch: list[object]) -> object:
            stored = write(batch)
            if next(lost, False):
                raise psycopg.OperationalError("the connection was lost behind the commit")
            return stored

        monkeypatch.setattr(follower.log, "_write", write_and_lose)
        message = await follower.say("one")
    assert isinstance(message, Message)
    assert follower.published == [message]
    assert follower.order == ["publish one from ", "answer one"]


async def test_a_database_that_is_away_refuses_and_heals(
    url: str, postgres: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_log, "PATIENCE", 0.5)
    async with follow(url) as follower:
        await follower.say("one")
        await anyio.to_thread.run_sync(postgres.kill)
        outcome = await follower.say("two")
        assert isinstance(outcome, StorageError)
        assert outcome.retry
        assert "cannot be reached" in str(outcome)
        with pytest.raises(StorageError, match="cannot be reached"):
            await follower.log.after("lobby", 0)
        with pytest.raises(StorageError):
            await anyio.to_thread.run_sync(PostgresLog.open, url)
        await anyio.to_thread.run_sync(postgres.start)
        message = await follower.say("two")
        assert isinstance(message, Message)
        assert message.seq == 2
        assert [m.seq for m in await follower.log.after("lobby", 0)] == [1, 2]
    assert [m.client_offset for m in follower.published] == ["one", "two"]


async def test_what_the_database_refuses_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with follow(url) as follower:
        assert isinstance(await follower.say("nul\0"), StorageError)
        with monkeypatch.context() as patch:

            def fail(messages: list[Message]) -> None:
                raise ZeroDivisionError("a mistake")

            patch.setattr(follower.log, "_insert", fail)
            assert isinstance(await follower.say("one"), StorageError)
        assert isinstance(await follower.say("one"), Message)


async def test_a_place_where_no_database_is_is_refused() -> None:
    with pytest.raises(StorageError, match="cannot be used"):
        PostgresLog.open("postgresql://127.0.0.1:1/chat")
    with pytest.raises(StorageError, match="cannot be used"):
        PostgresLog.open("nonsense")


def test_drafts_of_one_commit_are_numbered_in_their_order(url: str) -> None:
    with closing(PostgresLog.open(url)) as log:
        for number in range(10):
            log.append(Draft("lobby", "ann", str(number), "Ann", "hi"), lambda outcome: None)
        batch = log._take()
        assert batch is not None
        log._store(batch)
        assert [(m.client_offset, m.seq) for m in log._follow()] == [(str(n), n + 1) for n in range(10)]
