"""The network between a client and the server fails: for a while, for good, one way, or by being bad."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import pytest

from sio_core import Limits, Recovery, Server, Socket
from tests.faults.client import Client, connected
from tests.faults.proxy import FaultProxy
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.anyio

INTERVAL, TIMEOUT = 0.4, 0.4
"""Seconds between pings, and for their answers."""

SLACK = 2.0
"""Seconds that a busy machine may add."""


class Served:
    """A server, and a network to it."""

    def __init__(self, io: Server[Any], proxy: FaultProxy, port: int) -> None:
        self.io = io
        self.proxy = proxy
        self.port = port
        self.reasons: list[str] = []
        self.received: list[Any] = []


@asynccontextmanager
async def served(**options: Any) -> AsyncGenerator[Served, None]:
    options = {"ping_interval": INTERVAL, "ping_timeout": TIMEOUT, **options}
    io: Server[Any] = Server(**options)
    async with io.listen() as listening, FaultProxy(listening.port).running() as proxy:
        served = Served(io, proxy, listening.port)

        @io.on("disconnect")
        def disconnected(socket: Socket[Any], reason: str) -> None:
            served.reasons.append(reason)

        @io.on("number")
        def number(socket: Socket[Any], value: Any) -> Any:
            served.received.append(value)
            return value

        @io.on("join")
        def join(socket: Socket[Any]) -> None:
            socket.join("room")

        yield served


def numbers(client: Client) -> list[Any]:
    return [event[1] for event in client.events if event[0] == "number"]


@pytest.mark.parametrize("transport", ["websocket", "polling", "upgrade"])
async def test_a_partition_shorter_than_the_heartbeat_loses_nothing(transport: str) -> None:
    async with (
        served(ping_interval=2.0, ping_timeout=2.0) as server,
        connected(server.proxy.port, transport=transport) as client,
    ):
        await client.call("join")
        server.proxy.hold()
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(client.call, "number", "from the client")
            for number in range(20):
                server.io.to("room").emit("number", number)
                await anyio.sleep(0.02)
            assert numbers(client) == []
            assert server.received == []
            server.proxy.let_go()
        await eventually(lambda: len(numbers(client)) == 20)
        assert numbers(client) == list(range(20))
        assert server.received == ["from the client"]
        assert server.reasons == []


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_a_longer_partition_is_noticed_in_time_and_a_client_that_recovers_misses_nothing(
    transport: str,
) -> None:
    async with served(connection_state_recovery=Recovery()) as server:
        async with connected(server.proxy.port, transport=transport) as client:
            await client.call("join")
            server.io.to("room").emit("number", 0)
            await eventually(lambda: numbers(client) == [0])
            server.proxy.lead_nowhere()
            started = monotonic()
            server.io.to("room").emit("number", 1)
            await eventually(lambda: server.reasons, INTERVAL + TIMEOUT + SLACK)
            assert monotonic() - started >= TIMEOUT / 2
            assert server.reasons == ["ping timeout"]
            server.io.to("room").emit("number", 2)
            auth = {"pid": client.pid, "offset": client.offset}
            client_id = client.id
        async with connected(server.proxy.port, auth=auth) as back:
            assert back.id == client_id
            server.io.to("room").emit("number", 3)
            await eventually(lambda: len(numbers(back)) == 3)
            assert numbers(back) == [1, 2, 3]


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_a_partition_of_one_direction_is_noticed_and_what_waits_is_bounded(direction: str) -> None:
    limits = Limits(outbox_bytes=10_000)
    async with served(limits=limits) as server, connected(server.proxy.port) as client:
        await client.call("join")
        (session,) = server.io.engine.clients.values()
        getattr(server.proxy.links[0], direction).hold()
        started = monotonic()
        while not server.reasons:
            server.io.to("room").emit("number", "x" * 500)
            assert session.outbox_bytes < 11_000
            assert monotonic() - started < INTERVAL + TIMEOUT + SLACK
            await anyio.sleep(0.01)
        assert server.reasons in (["ping timeout"], ["transport close"])  # or what waits has met its bound


async def test_a_peer_that_has_vanished_leaves_nothing_behind() -> None:
    limits = Limits(close_time=0.3)
    async with served(limits=limits) as server:
        async with connected(server.proxy.port) as client:
            await client.call("join")
            server.proxy.lead_nowhere()
        # it is gone, and the server has not been told
        assert server.io.stats()["sessions"] == 1
        await eventually(lambda: not server.io.stats()["sessions"], INTERVAL + TIMEOUT + SLACK)
        await eventually(lambda: not server_sockets(server.port), limits.close_time + SLACK)
        assert server.reasons == ["ping timeout"]
        assert not server.io.sockets.adapter.rooms.rooms


async def test_a_peer_that_takes_nothing_leaves_nothing_in_the_kernel() -> None:
    limits = Limits(outbox_bytes=1_000_000, close_time=0.3, write_stall_time=0.5)
    async with served(limits=limits) as server, connected(server.port) as client:
        await client.call("join")
        client.stop_reading()
        while server.io.stats()["sessions"]:
            server.io.to("room").emit("number", "x" * 100_000)
            await anyio.sleep(0.001)
        await eventually(lambda: not server_sockets(server.port), 5 * limits.write_stall_time + SLACK)


def server_sockets(port: int) -> list[str]:
    """The lines of the kernel's table for the server's ends of connections, whoever still owns them."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening, time_wait = "0A", "06"
    return [
        " ".join(line)
        for line in lines
        if int(line[1].partition(":")[2], 16) == port and line[3] not in {listening, time_wait}
    ]


@pytest.mark.parametrize("transport", ["websocket", "polling", "upgrade"])
async def test_a_bad_network_keeps_the_order(transport: str) -> None:
    async with served(ping_interval=5.0, ping_timeout=5.0) as server:
        for way in (server.proxy.up, server.proxy.down):
            way.delay, way.jitter, way.slice = 0.01, 0.01, 7
        async with connected(server.proxy.port, transport=transport) as client:
            await client.call("join")
            for number in range(30):
                server.io.to("room").emit("number", number)
                assert await client.call("number", number) == number
            await eventually(lambda: len(numbers(client)) == 30)
            assert numbers(client) == list(range(30))
            assert server.received == list(range(30))
            assert server.reasons == []
