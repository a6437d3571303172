"""Emitters on a real PostgreSQL, for a server of ours; and what they write, against what the official one wrote."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import psycopg
import pytest

from sio_core import AdapterError, Server
from sio_core.adapters.messages import Codec, decode
from sio_core.adapters.postgres import Postgres
from sio_core.adapters.postgres_wire import PostgresWire
from sio_core.emitters.postgres import AsyncPostgresEmitter, PostgresEmitter
from sio_core.testing import TestClient
from tests.clusters.engines import PostgreSQL
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.anyio

RECORDED = Path(__file__).parent.parent / "adapters" / "vectors" / "postgres.json"


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


@asynccontextmanager
async def serving(postgres: PostgreSQL) -> AsyncGenerator[TestClient, None]:
    """Run a server that hears; return its client."""
    driver = Postgres(postgres.url)
    io: Server[Any] = Server(adapter=driver)
    io.of("/other")
    events: list[list[Any]] = []
    io.on_server_event("note", lambda *args: events.append(list(args)))
    async with TestClient(io) as client:
        await eventually(lambda: len(driver._listening) == 2)
        client.socket.data["events"] = events
        yield client


def test_messages_are_those_of_the_official_emitter_and_name_their_namespace() -> None:
    steps = json.loads(RECORDED.read_text())["steps"]
    recorded = [
        query["decoded"]
        for step in steps
        for query in step["queries"]
        if query.get("decoded", {}).get("uid") == "emitter" and "attachmentId" not in query["decoded"]
    ]
    wire = PostgresWire("socket.io", "t", 8_000)
    written: list[dict[str, Any]] = []

    class Recorder(PostgresEmitter):
        def publish(self, message: Any) -> None:
            written.append(json.loads(wire.encode(Codec(), message)))

    emitter = Recorder("")
    emitter.emit("fromEmitter", 1)
    emitter.to("room1").except_("r").emit("x")
    emitter.in_("room1").sockets_join("emroom")
    emitter.in_("room1").sockets_leave("emroom")
    emitter.server_side_emit("emsse", 1)
    emitter.of("custom").emit("hello")
    emitter.in_("nobody").disconnect_sockets(True)
    for message in written:
        assert message.pop("source") == "_sio_adapter"
        assert message.pop("nsp") == ("/custom" if "/custom" in str(message) else "/")
    for message in recorded:
        if message["type"] != 3 or message["data"]["packet"]["data"][0] != "large":
            assert message in written


async def test_what_code_that_waits_sends_arrives(postgres: PostgreSQL) -> None:
    async with serving(postgres) as client:
        events = client.socket.data["events"]

        def work() -> None:
            with PostgresEmitter(postgres.url) as emitter:
                emitter.in_(client.id).sockets_join("room")
                emitter.to("room").emit("text", "ž" * 10)
                emitter.to("elsewhere").emit("not for it")
                emitter.except_("room").emit("not for it")
                emitter.of("other").emit("not for it")
                emitter.emit("bytes", b"\x01", {"large": "x" * 10_000})
                emitter.server_side_emit("note", 1, "two")
                emitter.to("room").compress(False).emit("last")
                emitter.in_("room").disconnect_sockets()

        await anyio.to_thread.run_sync(work)
        assert await client.receive() == ["text", "ž" * 10]
        assert await client.receive() == ["bytes", b"\x01", {"large": "x" * 10_000}]
        assert await client.receive() == ["last"]
        assert await client.wait_disconnected() == "io server disconnect"
        await eventually(lambda: events == [[1, "two"]])


async def test_what_coroutines_send_arrives_in_the_order_in_which_it_is_awaited(postgres: PostgreSQL) -> None:
    async with serving(postgres) as client, AsyncPostgresEmitter(postgres.url) as emitter:
        for number in range(50):
            await emitter.to(client.id).emit("count", number, b"" if number % 2 else "")
        for number in range(50):
            assert await client.receive() == ["count", number, b"" if number % 2 else ""]


async def test_a_lost_connection_is_made_again(postgres: PostgreSQL) -> None:
    def terminate() -> None:
        with psycopg.connect(postgres.url, autocommit=True) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE application_name LIKE 'sio_core%' AND query LIKE '%pg_notify%'"
            )

    async with serving(postgres) as client, AsyncPostgresEmitter(postgres.url) as emitter:
        with PostgresEmitter(postgres.url) as other:
            await emitter.emit("first")
            await anyio.to_thread.run_sync(other.emit, "second")
            await anyio.to_thread.run_sync(terminate)
            await emitter.emit("third")
            await anyio.to_thread.run_sync(other.emit, "fourth")
            assert [await client.receive() for _ in range(4)] == [
                ["first"],
                ["second"],
                ["third"],
                ["fourth"],
            ]


async def test_what_cannot_be_published_says_so() -> None:
    with PostgresEmitter("postgresql://127.0.0.1:1/none") as emitter:
        with pytest.raises(AdapterError, match="refused"):
            emitter.emit("hello")
        with pytest.raises(TypeError):
            emitter.emit("hello", object())
        with pytest.raises(AdapterError, match="no channel"):
            emitter.of("n" * 100).emit("hello")
    async with AsyncPostgresEmitter("postgresql://127.0.0.1:1/none") as other:
        with pytest.raises(AdapterError, match="refused"):
            await other.emit("hello")
    with pytest.raises(ValueError, match="no connection string"):
        PostgresEmitter("redis://localhost")


def test_what_is_sent_may_be_changed_afterwards() -> None:
    emitter = AsyncPostgresEmitter("")
    value = [1]
    awaitable: Any = emitter.emit("hello", value)
    value.append(2)
    statement = awaitable.cr_frame.f_locals["statements"][0]
    awaitable.close()
    assert decode(statement[1][1].encode()).data["packet"]["data"] == ["hello", [1]]  # type: ignore[index]
