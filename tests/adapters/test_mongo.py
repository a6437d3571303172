"""Servers on a real collection with change streams: what it carries, recovery from it, and its faults."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
import pytest
from bson import ObjectId
from pymongo import MongoClient

from sio_core import Limits, Server
from sio_core.adapters import mongo_connection, supervisor
from sio_core.adapters.messages import BROADCAST, Message
from sio_core.adapters.mongo import Mongo
from sio_core.adapters.mongo_adapter import MongoAdapter
from sio_core.adapters.mongo_documents import EVENTS
from sio_core.ids import make_id
from sio_core.testing import TestClient
from tests.clusters.engines import MongoDB
from tests.helpers.waiting import eventually

pytestmark = [
    pytest.mark.anyio,
    # pymongo leaves a socket to the garbage collector if it is interrupted while it connects.
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"
    ),
]

AWAY = 2.5
"""Seconds that an engine of these tests is away."""


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("trio", {}), id="trio"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture(scope="module")
def mongo() -> Iterator[MongoDB]:
    with MongoDB(is_durable=True) as engine:
        yield engine


@pytest.fixture
def database() -> str:
    return "test-" + make_id()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "SILENCE", 0.5)
    monkeypatch.setattr(supervisor, "PATIENCE", 1.0)
    monkeypatch.setattr(supervisor, "LAST_DELAY", 0.3)
    monkeypatch.setattr(mongo_connection, "WAIT", 200)


class Node:
    """A server with a client."""

    def __init__(self, url: str, recovery: bool, limits: Limits, options: dict[str, Any]) -> None:
        self.driver = Mongo(url, **options)
        self.io: Server[Any] = Server(
            adapter=self.driver, connection_state_recovery=recovery or None, limits=limits
        )
        self.io.of("/other")
        self.client = TestClient(self.io)

    @property
    def adapter(self) -> MongoAdapter:
        adapter = self.io.sockets.adapter
        assert isinstance(adapter, MongoAdapter)
        return adapter


@asynccontextmanager
async def cluster(
    mongo: MongoDB,
    database: str,
    count: int = 2,
    recovery: bool = False,
    limits: Limits | None = None,
    **options: Any,
) -> AsyncGenerator[list[Node], None]:
    """Run so many nodes that know of each other, each with one client."""
    options["database"] = database
    async with AsyncExitStack() as stack:
        nodes = [Node(mongo.url, recovery, limits or Limits(), options) for _ in range(count)]
        for node in nodes:
            await stack.enter_async_context(node.client)
        await eventually(lambda: all(len(node.adapter.nodes) == count - 1 for node in nodes), 10)
        yield nodes


async def reaches(sender: Node, receiver: Node, name: str, *, with_offset: bool = False) -> str:
    """Check that an event arrives, and nothing before it; return its offset."""
    await sender.io.emit(name)
    with anyio.fail_after(10):
        received = await receiver.client.receive()
    assert received[:1] == [name]
    assert len(received) == 1 + with_offset
    return str(received[-1])


async def insert(mongo: MongoDB, database: str, *documents: dict[str, Any]) -> None:
    """Insert documents as somebody else."""

    def run() -> None:
        with MongoClient[dict[str, Any]](mongo.url) as client:
            for document in documents:
                client[database][EVENTS].insert_one(document)

    await anyio.to_thread.run_sync(run)


async def come_back(stack: AsyncExitStack, node: Node, lost: TestClient, offset: str) -> TestClient:
    """Connect a client that was lost, to a node, as the official client does."""
    auth = {"pid": lost.pid, "offset": offset}
    return await stack.enter_async_context(TestClient(node.io, auth=auth))


async def test_events_reach_the_other_node_in_order(mongo: MongoDB, database: str) -> None:
    async with cluster(mongo, database) as (one, two):
        for number in range(300):
            one.io.emit("count", number, b"\x01", {"large": 2**40})
        for number in range(300):
            assert await two.client.receive() == ["count", number, b"\x01", {"large": 2**40}]
        assert await one.client.receive() == ["count", 0, b"\x01", {"large": 2**40}]


async def test_junk_is_dropped_and_counted(mongo: MongoDB, database: str) -> None:
    junk: list[dict[str, Any]] = [
        {"a": 1},
        {"type": 3, "uid": "a", "nsp": "/", "data": []},
        {"type": 3, "uid": "a", "nsp": "/", "data": {"packet": {"type": 2, "data": []}, "opts": {}}},
        {
            "type": 3,
            "uid": "a",
            "nsp": "/",
            "data": {"packet": {"type": 2, "data": ["x"]}, "opts": {"rooms": 5}},
        },
        {"type": 7, "uid": "a", "nsp": "/", "data": {"opts": {"rooms": [], "except": []}}},
        {"_id": "text", "type": "3", "uid": "a", "nsp": "/"},
    ]
    async with cluster(mongo, database) as (one, two):
        await insert(mongo, database, *junk, {"type": 99, "uid": "a", "nsp": "/", "data": {}})
        await reaches(one, two, "hello")
        await eventually(lambda: [node.driver.dropped for node in (one, two)] == [len(junk)] * 2)
        assert not two.driver.degraded


async def test_a_document_that_is_too_large_is_dropped(mongo: MongoDB, database: str) -> None:
    async with cluster(mongo, database, limits=Limits(cluster_message_bytes=10_000)) as (one, two):
        await insert(mongo, database, {"type": 3, "uid": "a", "nsp": "/", "data": {"x": "x" * 10_000}})
        await reaches(one, two, "hello")
        assert two.driver.dropped == 1
        assert two.io.stats()["limit_hits"]["cluster_message_bytes"] == 1


async def test_a_server_needs_its_collection_no_more_than_another(mongo: MongoDB, database: str) -> None:
    with MongoClient[dict[str, Any]](mongo.url) as client:
        async with cluster(mongo, database, capped_size=500_000):
            options = client[database][EVENTS].options()
        assert options["capped"]
        assert options["size"] == 500_000
        other = database + "-by-age"
        async with cluster(mongo, other, add_created_at_field=True, expire_after=60) as (one, two):
            await reaches(one, two, "hello")
            assert not client[other][EVENTS].options().get("capped")
            indexes = client[other][EVENTS].index_information()
            assert [index.get("expireAfterSeconds") for index in indexes.values()].count(60) == 1
            found = client[other][EVENTS].find_one({"type": 3})
            assert found is not None
            assert "createdAt" in found


@pytest.mark.parametrize("by_age", [False, True])
async def test_a_client_gets_what_it_missed_on_another_node(
    mongo: MongoDB, database: str, by_age: bool
) -> None:
    async with (
        cluster(mongo, database, recovery=True, add_created_at_field=by_age) as (one, two),
        AsyncExitStack() as stack,
    ):
        lost = two.client
        lost.socket.join("room")
        lost.socket.data["name"] = "lost"
        offset = await reaches(one, two, "seen", with_offset=True)
        assert ObjectId.is_valid(offset)
        lost.lose_connection()
        await eventually(lambda: not two.io.sockets.sockets and not two.adapter._storing)
        for node in (one, two):
            node.io.to("room").emit("missed", b"\x01")
            node.io.to("elsewhere").emit("not for it")
            node.io.except_("room").emit("not for it")
            node.io.volatile.emit("volatile")
            await node.io.to(lost.id).emit("private")
        back = await come_back(stack, one, lost, offset)
        assert back.socket.recovered
        assert (back.id, back.socket.data, back.socket.rooms) == (
            lost.id,
            {"name": "lost"},
            {lost.id, "room"},
        )
        events = [(await back.receive())[:-1] for _ in range(4)]
        assert events == [["missed", b"\x01"], ["private"]] * 2
        await one.io.to("room").emit("live")
        assert (await back.receive())[0] == "live"
        assert await back.received_nothing()


async def test_a_session_is_given_back_once(mongo: MongoDB, database: str) -> None:
    async with (
        cluster(mongo, database, count=3, recovery=True) as (one, two, three),
        AsyncExitStack() as stack,
    ):
        offset = await reaches(one, two, "seen", with_offset=True)
        two.client.lose_connection()
        await eventually(lambda: not two.io.sockets.sockets and not two.adapter._storing)
        clients: list[TestClient] = []

        async def claim(node: Node) -> None:
            clients.append(TestClient(node.io, auth={"pid": two.client.pid, "offset": offset}))
            await stack.enter_async_context(clients[-1])

        for node in (one, two, three):
            await claim(node)
        assert [client.socket.recovered for client in clients] == [True, False, False]


async def test_two_nodes_that_claim_a_session_at_once_cannot_both_have_it(
    mongo: MongoDB, database: str
) -> None:
    async with cluster(mongo, database, recovery=True) as (one, two):
        for number in range(10):
            pid = f"pid {number}"
            await one.adapter.store_session(pid, {"sid": "a", "pid": pid, "rooms": [], "data": {}}, 60)
            had: list[bool] = []

            async def claim(node: Node, pid: str, had: list[bool]) -> None:
                had.append(await node.adapter.remove_session(pid))

            async with anyio.create_task_group() as task_group:
                task_group.start_soon(claim, one, pid, had)
                task_group.start_soon(claim, two, pid, had)
            assert sorted(had) == [False, True]
            assert await one.adapter.find_session(pid) is None


@pytest.mark.parametrize("offset", ["", "nonsense", "0123456789abcdef01234567", "f" * 24, "é" * 24])
async def test_an_offset_that_is_not_in_the_log_makes_a_new_session(
    mongo: MongoDB, database: str, offset: str
) -> None:
    async with cluster(mongo, database, recovery=True) as (one, two), AsyncExitStack() as stack:
        await reaches(one, two, "seen", with_offset=True)
        two.client.lose_connection()
        await eventually(lambda: not two.io.sockets.sockets)
        back = await come_back(stack, one, two.client, offset or "0" * 24)
        assert not back.socket.recovered
        await one.io.emit("hello")
        assert (await back.receive())[0] == "hello"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("recovery", [False, True])
async def test_what_is_said_while_mongodb_is_away_is_lost_for_nobody(
    mongo: MongoDB, database: str, recovery: bool
) -> None:
    async with cluster(mongo, database, recovery=recovery) as (one, two):
        await anyio.to_thread.run_sync(mongo.kill)
        for number in range(5):
            one.io.emit("away", number)
        for number in range(5):
            assert (await one.client.receive())[:2] == ["away", number]  # here it is heard at once
        await eventually(lambda: one.driver.degraded and two.driver.degraded)
        one.io.emit("away", 5)
        assert (await one.client.receive())[:2] == ["away", 5]
        await anyio.to_thread.run_sync(mongo.start)
        with anyio.fail_after(20):
            for number in range(6):
                assert (await two.client.receive())[:2] == ["away", number]
        await eventually(lambda: not one.driver.degraded and not two.driver.degraded)
        await reaches(two, one, "end", with_offset=recovery)
        assert await two.client.receive()
        assert await two.client.received_nothing()
        assert (one.driver.lost, one.driver.gaps, two.driver.gaps) == (0, 0, 0)


@pytest.mark.usefixtures("impatient")
async def test_a_mongodb_that_stands_still_blocks_nothing(mongo: MongoDB, database: str) -> None:
    async with cluster(mongo, database, limits=Limits(cluster_publish_time=0.5)) as (one, two):
        await anyio.to_thread.run_sync(mongo.pause)
        try:
            with anyio.fail_after(AWAY):
                for number in range(50):
                    one.io.emit("here", number)
                    assert await one.client.receive() == ["here", number]
            await eventually(lambda: one.driver.degraded)
        finally:
            await anyio.to_thread.run_sync(mongo.resume)
        with anyio.fail_after(20):
            for number in range(50):
                assert await two.client.receive() == ["here", number]
        await eventually(lambda: not one.driver.degraded and not two.driver.degraded)
        assert await two.client.received_nothing()


async def test_where_reading_cannot_go_on_it_is_told_and_goes_on_from_now(
    mongo: MongoDB, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with cluster(mongo, database) as (one, two):
        lost = {"_data": "00"}
        with monkeypatch.context() as patch:
            patch.setattr(mongo_connection.Stream, "token", lost)
            await reaches(one, two, "before")
            await eventually(lambda: two.driver._token == lost)
            two.driver.links[0].restart()
            await eventually(lambda: two.driver.gaps == 1)
        await eventually(lambda: not two.driver.degraded)
        await reaches(one, two, "after")


async def test_a_message_that_is_stored_already_is_not_stored_again(mongo: MongoDB, database: str) -> None:
    async with cluster(mongo, database) as (one, two):
        events, encode = one.driver.events, one.driver.encode
        documents = []
        for number in range(4):
            made = {"packet": {"type": 2, "data": ["again", number]}, "opts": {"rooms": [], "except": []}}
            documents.append(encode(Message(BROADCAST, one.adapter.uid, "/", made), ObjectId()))
        await events.insert(documents[:2])
        await events.insert(documents)  # as after an answer that was lost
        for number in range(4):
            assert await two.client.receive() == ["again", number]
        await reaches(two, one, "end")


def test_settings_that_are_not_possible_are_refused() -> None:
    with pytest.raises(ValueError, match="capped_size"):
        Mongo("mongodb://localhost", capped_size=0)
    with pytest.raises(ValueError, match="must begin with mongodb"):
        Mongo("redis://localhost")
