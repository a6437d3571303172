"""Emitters on a real collection, for a server of ours; and what they write, against what the official one wrote."""

from __future__ import annotations

import gc
import json
import warnings
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import bson
import pytest
from bson import ObjectId
from pymongo import MongoClient

from sio_core import AdapterError, Server
from sio_core.adapters.messages import Message
from sio_core.adapters.mongo import Mongo
from sio_core.adapters.mongo_documents import EVENTS, DocumentCodec
from sio_core.emitters.mongo import AsyncMongoEmitter, MongoEmitter
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

RECORDED = Path(__file__).parent.parent / "adapters" / "vectors" / "mongo.json"


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
    with MongoDB() as engine:
        yield engine
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        gc.collect()  # PyMongo may leave the socket of a connection that was cancelled while it was made


@pytest.fixture
def database() -> str:
    return "test-" + make_id()


@asynccontextmanager
async def serving(mongo: MongoDB, database: str, **options: Any) -> AsyncGenerator[TestClient, None]:
    """Run a server that hears; return its client."""
    driver = Mongo(mongo.url, database=database, **options)
    io: Server[Any] = Server(adapter=driver)
    io.of("/other")
    async with TestClient(io) as client:
        await eventually(lambda: driver.links and driver.links[0].connected, 10)
        yield client


def test_documents_are_those_of_the_official_emitter() -> None:
    steps = json.loads(RECORDED.read_text())["steps"]
    recorded = [
        op["bson_hex"]
        for step in steps
        for op in step.get("ops", [])
        if op["op"] == "insertOne" and op["node"] == "emitter"
    ]
    written: list[Message] = []

    class Recorder(MongoEmitter):
        def publish(self, message: Message) -> None:
            written.append(message)

    with Recorder("mongodb://localhost") as emitter:
        emitter.emit("fromEmitter", 1)
        emitter.to("room1").except_("r").emit("x")
        emitter.emit("bin", b"\x01\x02")
        emitter.in_("room1").sockets_join("emroom")
        emitter.in_("room1").sockets_leave("emroom")
        emitter.server_side_emit("emsse", 1)
        emitter.of("custom").emit("hello")
        emitter.in_("nobody").disconnect_sockets(True)
    codec = DocumentCodec()
    numbers: list[ObjectId] = [bson.decode(bytes.fromhex(document))["_id"] for document in recorded]
    assert [codec.encode(m, n).hex() for m, n in zip(written, numbers, strict=True)] == recorded


@pytest.mark.parametrize("by_age", [False, True])
async def test_what_code_that_waits_sends_arrives(mongo: MongoDB, database: str, by_age: bool) -> None:
    async with serving(mongo, database, add_created_at_field=by_age) as client:

        def work() -> None:
            with MongoEmitter(mongo.url, database=database, add_created_at_field=by_age) as emitter:
                emitter.in_(client.id).sockets_join("room")
                emitter.to("room").emit("text", "ž" * 10)
                emitter.to("elsewhere").emit("not for it")
                emitter.of("other").emit("not for it")
                emitter.emit("bytes", b"\x01", {"large": "x" * 10_000})
                emitter.in_("room").disconnect_sockets()

        await anyio.to_thread.run_sync(work)
        assert await client.receive() == ["text", "ž" * 10]
        assert await client.receive() == ["bytes", b"\x01", {"large": "x" * 10_000}]
        assert await client.wait_disconnected() == "io server disconnect"


async def test_what_coroutines_send_arrives(mongo: MongoDB, database: str) -> None:
    async with serving(mongo, database) as client:
        async with AsyncMongoEmitter(mongo.url, database=database) as emitter:
            for number in range(20):
                await emitter.to(client.id).emit("count", number)
        for number in range(20):
            assert await client.receive() == ["count", number]


async def test_the_first_makes_the_collection_as_the_servers_do(mongo: MongoDB, database: str) -> None:
    def work() -> None:
        with MongoEmitter(mongo.url, database=database) as emitter:
            emitter.emit("hello")

    await anyio.to_thread.run_sync(work)
    async with AsyncMongoEmitter(
        mongo.url, database=database, collection="by age", add_created_at_field=True
    ) as emitter:
        await emitter.emit("hello")
    with MongoClient[dict[str, Any]](mongo.url) as client:
        assert client[database][EVENTS].options()["capped"]
        found = client[database]["by age"].find_one()
        assert found is not None
        assert "createdAt" in found


async def test_what_cannot_be_published_says_so() -> None:
    url = "mongodb://127.0.0.1:1/?serverSelectionTimeoutMS=200"
    with MongoEmitter(url) as emitter:
        with pytest.raises(AdapterError, match="refused"):
            emitter.emit("hello")
        with pytest.raises(TypeError):
            emitter.emit("hello", object())
    async with AsyncMongoEmitter(url) as other:
        with pytest.raises(AdapterError, match=r"efused|failed"):
            await other.emit("hello")
    with pytest.raises(ValueError, match="must begin with mongodb"):
        MongoEmitter("redis://localhost")
