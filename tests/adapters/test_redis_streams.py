"""One node and a real Redis: what goes wrong between the two."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from sio_core import AdapterError, Server
from sio_core.adapters.base import LocalSockets
from sio_core.adapters.messages import Message
from sio_core.adapters.redis import Redis
from sio_core.adapters.redis_connection import Command
from sio_core.adapters.redis_streams import RedisStreams
from sio_core.adapters.redis_streams_adapter import StreamsAdapter
from sio_core.testing import TestClient
from tests.clusters.engines import Redis as Engine
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.anyio

LAST = "return redis.status_reply(redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', '1')[1][1])"
FILL = "for i = 1, 101000 do redis.call('XADD', KEYS[1], '*', 'field', '1') end"


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine() as engine:
        yield engine


def url_of(engine: Engine) -> str:
    return f"redis://127.0.0.1:{engine.port}"


async def test_a_long_stream_is_no_hindrance_to_publishing_again(engine: Engine) -> None:
    driver = RedisStreams(url_of(engine), stream_name="long", max_len=1_000_000)
    io: Server[Any] = Server(adapter=driver)
    engine.call("EVAL", FILL, "1", "long")
    try:
        engine.call("CONFIG", "SET", "maxmemory", "1")
        async with TestClient(io):
            published = io.emit("first")
            await eventually(lambda: not driver.publishing)
            engine.call("CONFIG", "SET", "maxmemory", "0")
            await published
            assert driver.publishing
    finally:
        engine.call("CONFIG", "SET", "maxmemory", "0")
        engine.call("DEL", "long")


async def test_what_is_not_in_the_stream_is_published_once_while_the_stream_is_full(engine: Engine) -> None:
    drivers = [RedisStreams(url_of(engine)), RedisStreams(url_of(engine))]
    here, there = (Server[Any](adapter=driver) for driver in drivers)
    heard: list[int] = []
    there.on_server_event("hello")(heard.append)
    async with TestClient(here), TestClient(there) as other:
        await eventually(lambda: all(driver.adapters and not driver.degraded for driver in drivers))
        try:
            engine.call("CONFIG", "SET", "maxmemory", "1")
            published = here.emit("first")
            for number in range(3):
                here.server_side_emit("hello", number)
                await eventually(lambda count=number + 1: len(heard) >= count)
            attempts = here.of("/").adapter._queue[0].message.attempt  # type: ignore[attr-defined]
            await eventually(lambda: here.of("/").adapter._queue[0].message.attempt > attempts)  # type: ignore[attr-defined]
        finally:
            engine.call("CONFIG", "SET", "maxmemory", "0")
        await published
        assert (await other.receive())[0] == "first"
        assert heard == [0, 1, 2]


async def test_looking_for_what_was_added_goes_on_where_it_was_interrupted(engine: Engine) -> None:
    driver = RedisStreams(url_of(engine), stream_name="growing", max_len=1_000_000)
    io: Server[Any] = Server(adapter=driver)
    async with TestClient(io):
        await io.emit("first")
        adapter = driver.adapters["/"]
        assert isinstance(adapter, StreamsAdapter)
        last = engine.call("EVAL", LAST, "1", "growing").decode()
        await eventually(lambda: "+" + adapter.position == last)
        before = adapter.position
        engine.call("EVAL", FILL, "1", "growing")
        await io.emit("last")
        adapter._before = before
        adapter._added.clear()
        starts: list[Any] = []
        execute = driver.execute

        async def interrupted(*commands: Command) -> list[Any]:
            starts.append(commands[0][1][1])
            if len(starts) in {40, 90}:
                raise AdapterError("it takes too long")
            return await execute(*commands)

        driver.execute = interrupted  # type: ignore[method-assign]
        for _ in range(2):
            with pytest.raises(AdapterError, match="too long"):
                await adapter._find_added()
        await adapter._find_added()
        assert len(starts) - 2 == len(set(starts))  # nothing was read twice
        assert len(adapter._added) == 1
    engine.call("DEL", "growing")


class RefusedOnce(StreamsAdapter):
    """Its first attempt to add the event ``first`` is refused by Redis, alone of all that is sent with it."""

    def command(self, message: Message, target: str | None) -> Command:
        name, words = super().command(message, target)
        refused = name == b"XADD" and b'"first"' in message.payload and not message.attempt
        return name, words[:1] if refused else words


class RefusedStreams(RedisStreams):
    def make_adapter(self, name: str, local: LocalSockets) -> StreamsAdapter:
        return RefusedOnce(name, local, self, local.recovery)


@pytest.mark.parametrize("recovery", [False, True])
async def test_an_entry_that_was_refused_alone_arrives_after_those_that_were_taken(
    engine: Engine, recovery: bool
) -> None:
    drivers = [RefusedStreams(url_of(engine)), RedisStreams(url_of(engine))]
    here, there = (Server(adapter=driver, connection_state_recovery=recovery or None) for driver in drivers)
    async with TestClient(here) as client, TestClient(there) as other:
        await eventually(lambda: all(driver.adapters and not driver.degraded for driver in drivers))
        for name in ("first", "second", "third"):
            here.emit(name)
        assert sorted([(await other.receive())[0] for _ in range(3)]) == ["first", "second", "third"]
        here.emit("last")
        assert (await other.receive())[0] == "last"
        assert sorted([(await client.receive())[0] for _ in range(4)]) == ["first", "last", "second", "third"]
        assert await client.received_nothing()
        assert await other.received_nothing()


async def test_an_adapter_that_is_closed_late_does_not_deafen_its_successor(engine: Engine) -> None:
    drivers = [Redis(url_of(engine)) for _ in range(2)]
    here, there = (Server(adapter=driver) for driver in drivers)
    for io in (here, there):
        io.of("/room")
    async with TestClient(here, namespace="/room") as client, TestClient(there, namespace="/room"):
        await eventually(lambda: all(driver.adapters and not driver.degraded for driver in drivers))
        room = here.of("/room")
        former = room.adapter
        successor = drivers[0]("/room", room)
        successor.rooms = former.rooms
        room.adapter = successor
        successor.start()
        await former.close()
        assert await there.of("/room").adapter.server_count() == 2
        there.of("/room").emit("hello")
        assert await client.receive() == ["hello"]


async def test_nothing_that_is_published_ends_the_reading(engine: Engine) -> None:
    driver = Redis(url_of(engine))
    io: Server[Any] = Server(adapter=driver)
    async with TestClient(io) as client:
        await eventually(lambda: driver.adapters and not driver.degraded)
        nested = '{"requestId":"1","sockets":' + "[" * 1_000 + "]" * 1_000 + "}"
        engine.call("PUBLISH", "socket.io-response#/#", nested)
        await eventually(lambda: driver.dropped == 1)
        assert not driver.degraded
        assert driver.reconnects == 0
        await io.emit("hello")
        assert await client.receive() == ["hello"]
