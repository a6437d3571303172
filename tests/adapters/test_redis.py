"""Servers on a real Redis: what each driver carries, and how; what official servers make of it is in tests/clusters."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import anyio
import anyio.to_thread
import pytest

from sio_core import Limits, Recovery, Server
from sio_core.adapters.redis import Redis
from sio_core.adapters.redis_connection import RedisDriver
from sio_core.adapters.redis_sharded import ShardedRedis
from sio_core.adapters.redis_streams import RedisStreams
from sio_core.emitters.redis_socket import RedisSocket
from sio_core.errors import AckTimeout, AdapterError, ClusterTimeout
from sio_core.testing import TestClient
from tests.clusters.engines import Redis as RedisEngine
from tests.faults.proxy import FaultProxy
from tests.helpers.waiting import eventually

MakeDriver = Callable[[str], RedisDriver]

DRIVERS: list[MakeDriver] = [Redis, ShardedRedis, RedisStreams]


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("trio", {}), id="trio"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    return request.param


@pytest.fixture(scope="module")
def engine() -> Iterator[RedisEngine]:
    with RedisEngine() as engine:
        yield engine


@pytest.fixture
def redis(engine: RedisEngine) -> Iterator[RedisEngine]:
    engine.call("FLUSHALL")
    yield engine
    if not engine.answers():
        engine.start()


class Node:
    """A server with a client."""

    def __init__(self, driver: RedisDriver, recovery: bool = False) -> None:
        self.driver = driver
        self.io: Server[Any] = Server(
            adapter=driver,
            limits=Limits(cluster_publish_time=1.0, cluster_request_time=2.0),
            connection_state_recovery=Recovery() if recovery else None,
        )
        self.client = TestClient(self.io)

    @property
    def stats(self) -> dict[str, Any]:
        return self.driver.stats()


@asynccontextmanager
async def cluster(*drivers: RedisDriver, recovery: bool = False) -> AsyncGenerator[list[Node], None]:
    """Run a node for each driver, each with one client, once they hear each other."""
    async with AsyncExitStack() as stack:
        nodes = [Node(driver, recovery) for driver in drivers]
        for node in nodes:
            await stack.enter_async_context(node.client)
        await eventually(lambda: not any(not node.driver.links or node.driver.degraded for node in nodes))
        while await nodes[0].io.sockets.adapter.server_count() < len(nodes):
            await anyio.lowlevel.checkpoint()
        yield nodes


async def receive(node: Node) -> list[Any]:
    with anyio.fail_after(5):
        event: list[Any] = await node.client.receive()
        return event


# Options


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Redis("http://a"), "url must start with one of redis://, rediss://, unix://"),
        (lambda: Redis("redis://a", requests_timeout=0), "requests_timeout must be a positive number"),
        (
            lambda: ShardedRedis("redis://a", subscription_mode="all"),
            "subscription_mode must be one of dynamic, static, dynamic-private, not 'all'",
        ),
        (lambda: RedisStreams("redis://a", stream_count=0), "stream_count must be a positive integer"),
        (lambda: RedisStreams("redis://a", max_len=1.5), "max_len must be a positive integer"),  # type: ignore[arg-type]
        (lambda: RedisStreams("redis://a", read_count=True), "read_count must be a positive integer"),
        (lambda: RedisStreams("redis://a", block_time=6), "block_time must be a number of seconds up to 5"),
    ],
)
def test_wrong_options_are_refused(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_a_driver_belongs_to_one_server() -> None:
    driver = Redis("redis://a")
    Server(adapter=driver)
    with pytest.raises(AdapterError, match="this Redis belongs to another server"):
        Server(adapter=driver)


# What they carry


@pytest.mark.anyio
@pytest.mark.parametrize("make", DRIVERS)
async def test_what_one_node_does_reaches_the_other(redis: RedisEngine, make: MakeDriver) -> None:
    async with cluster(make(redis.url), make(redis.url)) as (one, two):

        @two.io.on_server_event("question")
        def question(value: int) -> int:
            return value + 1

        two.io.sockets_join("red")
        await eventually(lambda: one.client.rooms == {"red"})
        one.io.to("red").emit("hello", 1, b"\x02")
        assert await receive(two) == ["hello", 1, b"\x02"]
        assert await receive(one) == ["hello", 1, b"\x02"]
        found = await one.io.fetch_sockets()
        assert sorted([remote.id for remote in found]) == sorted([one.client.id, two.client.id])
        assert all(remote.rooms == {remote.id, "red"} for remote in found)
        assert await one.io.server_side_emit_with_ack("question", 1) == [2]
        with pytest.raises(AckTimeout):
            await one.io.timeout(0.2).emit_with_ack("ask")
        assert await receive(two) == ["ask"]
        one.io.in_(two.client.id).disconnect_sockets()
        await eventually(lambda: not two.client.connected)
        assert one.client.connected


@pytest.mark.anyio
@pytest.mark.parametrize("make", DRIVERS)
async def test_a_namespace_that_comes_later_is_heard(redis: RedisEngine, make: MakeDriver) -> None:
    async with cluster(make(redis.url), make(redis.url)) as (one, two):
        one.io.of("/late")
        two.io.of("/late")
        async with TestClient(two.io, namespace="/late") as client:
            adapter = one.io.of("/late").adapter
            while await adapter.server_count() < 2:
                await anyio.lowlevel.checkpoint()
            one.io.of("/late").emit("hello")
            with anyio.fail_after(5):
                assert await client.receive() == ["hello"]


@pytest.mark.parametrize("make", DRIVERS)
def test_a_server_may_run_again_in_another_loop(redis: RedisEngine, make: MakeDriver) -> None:
    io: Server[Any] = Server(adapter=make(redis.url))

    async def run() -> None:
        async with TestClient(io) as client:
            with anyio.fail_after(5):
                while await io.sockets.adapter.server_count() < 1:
                    await anyio.lowlevel.checkpoint()
                io.emit("hello")
                assert await client.receive() == ["hello"]

    for backend in ("asyncio", "trio", "asyncio"):
        anyio.run(run, backend=backend)


@pytest.mark.anyio
@pytest.mark.parametrize("make", DRIVERS)
async def test_without_an_engine_a_server_serves_what_is_here(make: MakeDriver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    node = Node(make(f"redis://127.0.0.1:{port}"))
    async with node.client:
        node.io.emit("hello")
        assert await receive(node) == ["hello"]
        assert node.driver.degraded
        with pytest.raises(AdapterError):
            await node.io.fetch_sockets()


@pytest.mark.anyio
@pytest.mark.parametrize("make", DRIVERS)
async def test_a_node_that_has_nothing_to_say_is_whole_again_too(
    redis: RedisEngine, make: MakeDriver
) -> None:
    async with cluster(make(redis.url), make(redis.url)) as (one, two):
        redis.kill()
        one.io.emit("hello")
        await eventually(lambda: not one.driver.publishing and two.driver.degraded)
        assert await receive(one) == ["hello"]
        redis.start()
        await eventually(lambda: not one.driver.degraded and not two.driver.degraded)
        two.io.emit("again")
        assert await receive(one) == ["again"]


@pytest.mark.anyio
async def test_what_may_not_be_subscribed_to_is_told(
    redis: RedisEngine, caplog: pytest.LogCaptureFixture
) -> None:
    redis.call("ACL", "SETUSER", "mute", "on", ">secret", "~*", "resetchannels", "+@all")
    node = Node(Redis(redis.url.replace("://", "://mute:secret@")))
    with caplog.at_level(logging.ERROR):
        async with node.client:
            await eventually(lambda: "Redis refuses to subscribe" in caplog.text)
            assert node.driver.degraded


# Classic


class Ear:
    """Hears what is published on a channel."""

    def __init__(self, redis: RedisEngine, channel: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", redis.port), 5.0)
        self._socket.sendall(f"SUBSCRIBE {channel}\r\n".encode())
        self._file = self._socket.makefile("rb")
        self._read()

    def _read(self) -> bytes:
        self._file.readline()  # how many parts there are
        parts: list[bytes] = []
        for _ in range(3):
            line = self._file.readline()
            parts.append(self._file.readline().rstrip(b"\r\n") if line.startswith(b"$") else line)
        return parts[2]

    async def hear(self) -> Any:
        """Return the next message, which is JSON."""
        return json.loads(await anyio.to_thread.run_sync(self._read))

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@pytest.mark.anyio
async def test_the_requests_of_old_nodes_are_answered(redis: RedisEngine) -> None:
    async with cluster(Redis(redis.url)) as (node,):
        ear = Ear(redis, "socket.io-response#/#")
        own = node.client.id

        async def ask(**request: Any) -> Any:
            redis.call(
                "PUBLISH", "socket.io-request#/#", json.dumps({"uid": "old", "requestId": "r", **request})
            )
            return await ear.hear()

        assert await ask(type=0, rooms=[]) == {"requestId": "r", "sockets": [own]}
        assert await ask(type=0, rooms=["red"]) == {"requestId": "r", "sockets": []}
        assert await ask(type=2, sid=own, room="red") == {"requestId": "r"}
        assert await ask(type=0, rooms=["red"]) == {"requestId": "r", "sockets": [own]}
        assert sorted((await ask(type=1))["rooms"]) == sorted([own, "red"])
        assert await ask(type=3, sid=own, room="red") == {"requestId": "r"}
        assert await ask(type=1) == {"requestId": "r", "rooms": [own]}
        assert await ask(type=4, sid=own, close=True) == {"requestId": "r"}
        assert not node.client.connected
        assert node.stats["dropped"] == 0
        ear.close()


@pytest.mark.anyio
async def test_a_node_that_does_not_answer_is_not_waited_for_long(redis: RedisEngine) -> None:
    async with cluster(Redis(redis.url, requests_timeout=0.3)) as (node,):
        ear = Ear(redis, "socket.io-request#/#")  # it counts as a node
        start = anyio.current_time()
        with pytest.raises(ClusterTimeout) as caught:
            await node.io.fetch_sockets()
        assert [details.id for details in caught.value.partial] == [node.client.id]
        assert caught.value.missing == 1
        adapter: Any = node.io.sockets.adapter
        with pytest.raises(ClusterTimeout) as caught:
            await adapter.all_rooms()
        assert caught.value.partial == [node.client.id]
        assert 0.6 <= anyio.current_time() - start < 2
        ear.close()


@pytest.mark.anyio
async def test_a_namespace_whose_name_is_a_pattern_hears_only_its_own(redis: RedisEngine) -> None:
    async with cluster(Redis(redis.url), Redis(redis.url)) as (one, two):
        for name in ("/[ab]*", "/a1"):
            one.io.of(name)
            two.io.of(name)
        async with (
            TestClient(two.io, namespace="/[ab]*") as odd,
            TestClient(two.io, namespace="/a1") as plain,
        ):
            for name in ("/[ab]*", "/a1"):
                while await one.io.of(name).adapter.server_count() < 2:
                    await anyio.lowlevel.checkpoint()
            one.io.of("/a1").emit("plain")
            one.io.of("/[ab]*").emit("odd")
            with anyio.fail_after(5):
                assert await odd.receive() == ["odd"]
                assert await plain.receive() == ["plain"]


# Sharded


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["dynamic", "static", "dynamic-private"])
async def test_rooms_have_the_channels_of_the_mode(redis: RedisEngine, mode: str) -> None:
    connection = RedisSocket(redis.url, 2.0)

    def channels() -> set[str]:
        found = connection.execute("PUBSUB", "SHARDCHANNELS", "socket.io#/#?*")
        return {channel.decode() for channel in found}

    async with cluster(ShardedRedis(redis.url, subscription_mode=mode)) as (node,):
        adapter: Any = node.io.sockets.adapter
        own = f"socket.io#/#{adapter.uid}#"
        rooms = {f"socket.io#/#{node.client.id}#"} if mode == "dynamic-private" else set()
        await eventually(lambda: channels() == {own, *rooms})
        node.io.sockets_join("red")
        red = {"socket.io#/#red#"} if mode != "static" else set()
        await eventually(lambda: channels() == {own, *rooms, *red})
        node.io.sockets_leave("red")
        await eventually(lambda: channels() == {own, *rooms})
        node.io.sockets_join("red")
        redis.call("CLIENT", "KILL", "TYPE", "pubsub")
        await eventually(lambda: node.stats["reconnects"] == 1 and channels() == {own, *rooms, *red})
        node.io.disconnect_sockets()
        await eventually(lambda: channels() == {own})
    await eventually(lambda: channels() == set())
    connection.close()


# Streams


@pytest.mark.anyio
@pytest.mark.parametrize("recovery", [False, True])
async def test_what_seemed_to_fail_is_not_added_twice(redis: RedisEngine, recovery: bool) -> None:
    async with FaultProxy(redis.port).running() as proxy:
        away = RedisStreams(f"redis://127.0.0.1:{proxy.port}")
        async with cluster(RedisStreams(redis.url), away, recovery=recovery) as (one, two):
            await two.io.emit("first")
            for link in proxy.links:
                link.down.hold()  # what is said is executed, and the answer is stuck
            for number in range(3):
                two.io.emit("next", number)
            await eventually(lambda: two.driver.degraded)
            for link in proxy.links:
                link.down.let_go()
            await eventually(lambda: not two.driver.degraded)
            await two.io.emit("last")
            events = [(await receive(one))[:2] for _ in range(5)]
            names = [["first"], ["next", 0], ["next", 1], ["next", 2], ["last"]]
            assert [event[: len(name)] for event, name in zip(events, names, strict=True)] == names
            connection = RedisSocket(redis.url, 2.0)
            assert connection.execute("XLEN", "socket.io") == 5
            connection.close()
            assert two.stats["lost"] == 0


@pytest.mark.anyio
async def test_another_stream_under_the_same_name_is_noticed(redis: RedisEngine) -> None:
    async with cluster(RedisStreams(redis.url), RedisStreams(redis.url)) as (one, two):
        await one.io.emit("hello")
        assert await receive(two) == ["hello"]
        redis.call("DEL", "socket.io")
        redis.call("CLIENT", "KILL", "TYPE", "normal")
        await eventually(
            lambda: two.stats["gaps"] == 1 and not one.driver.degraded and not two.driver.degraded
        )
        one.io.emit("again")
        assert await receive(two) == ["again"]


@pytest.mark.anyio
async def test_the_streams_that_no_official_node_reads_are_read(redis: RedisEngine) -> None:
    """A namespace whose hash is negative has a stream of its own there."""
    drivers = [RedisStreams(redis.url, stream_count=2) for _ in range(2)]
    async with cluster(*drivers) as (one, two):
        one.io.of("/my-namespace")
        two.io.of("/my-namespace")
        async with TestClient(two.io, namespace="/my-namespace") as client:
            while await one.io.of("/my-namespace").adapter.server_count() < 2:
                await anyio.lowlevel.checkpoint()
            await one.io.of("/my-namespace").emit("hello")
            with anyio.fail_after(5):
                assert await client.receive() == ["hello"]
        connection = RedisSocket(redis.url, 2.0)
        assert connection.execute("XLEN", "socket.io--1") == 1
        connection.close()


@pytest.mark.anyio
async def test_a_client_is_recovered_at_the_other_node(redis: RedisEngine) -> None:
    connection = RedisSocket(redis.url, 2.0)
    async with cluster(RedisStreams(redis.url), RedisStreams(redis.url), recovery=True) as (one, two):
        await one.io.emit("first")
        offset = (await receive(one))[-1]
        assert connection.execute("XRANGE", "socket.io", offset, offset)
        one.client.lose_connection()
        await eventually(lambda: bool(connection.execute("KEYS", "sio:session:*")))
        await two.io.emit("missed")
        pid, own = one.client.pid, one.client.id
        async with TestClient(two.io, auth={"pid": pid, "offset": offset}) as client:
            assert (client.id, client.pid) == (own, pid)
            with anyio.fail_after(5):
                assert (await client.receive())[0] == "missed"
            assert connection.execute("KEYS", "sio:session:*") == []
    connection.close()
