"""The chat on two nodes with one log in PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from tests.chat.checker.run import Run
from tests.chat.clients import Clients, connecting
from tests.chat.process import ChatProcess
from tests.clusters.engines import Engine, PostgreSQL, Redis


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgreSQL]:
    with PostgreSQL() as engine:
        yield engine


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.mark.timeout(200)
def test_nothing_is_lost_doubled_or_reordered_while_nodes_die_in_turn(
    postgres: PostgreSQL, tmp_path: Path
) -> None:
    run = Run(tmp_path, kills=3, seed=5, nodes=2, pages=6, database=postgres.url, ways=["", "after_commit"])
    report = anyio.run(run.run)
    assert report.anomalies == {}, report
    assert report.stored > 50
    assert sum(report.deaths.values()) == 3


@asynccontextmanager
async def two_nodes(engine: type[Engine]) -> AsyncIterator[tuple[Clients, Clients]]:
    """Run two nodes, with the clients of each."""
    with PostgreSQL() as log, ExitStack() as stack:
        url = log.url if engine is PostgreSQL else stack.enter_context(engine()).url
        one = stack.enter_context(ChatProcess(log.url, "--adapter", url))
        two = stack.enter_context(ChatProcess(log.url, "--adapter", url, "--backend", "trio"))
        async with connecting(one.url) as here, connecting(two.url) as there:
            yield here, there


@pytest.mark.anyio
@pytest.mark.parametrize("engine", [PostgreSQL, Redis])
async def test_everybody_hears_everybody_and_sees_who_is_there(engine: type[Engine]) -> None:
    async with two_nodes(engine) as (here, there):
        await talk(here, there)


async def talk(here: Clients, there: Clients) -> None:
    ann = await here.page("ann")
    bob = await there.page("bob")
    assert (await ann.next("joined"))["nickname"] == "bob"
    for number in range(10):
        speaker, listener = (ann, bob) if number % 2 else (bob, ann)
        answer = await speaker.ask("message", "lobby", f"text {number}", f"id {number}")
        assert answer["seq"] == number + 1
        heard = await listener.next("message")
        assert (heard["seq"], heard["text"]) == (number + 1, f"text {number}")
    assert (await bob.ask("message", "lobby", "text 1", "id 1")).get("error") is None  # of another author
    await ann.ask("nickname", "anna")
    assert (await bob.next("renamed"))["nickname"] == "anna"
    await bob.disconnect()
    assert (await ann.next("left"))["nickname"] == "bob"
