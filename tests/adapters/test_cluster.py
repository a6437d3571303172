"""Nodes on a bus: what one does reaches the sockets of the others."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from sio_core import AckTimeout, ClusterTimeout
from sio_core.testing import settle
from tests.adapters.bus import Bus, BusAdapter, HeartbeatBusAdapter
from tests.adapters.nodes import advance, cluster

pytestmark = pytest.mark.anyio


async def test_a_broadcast_reaches_every_node_once() -> None:
    async with cluster(Bus()) as nodes:
        await nodes[0].io.emit("hello", 1, {"two": b"3"})
        for node in nodes:
            assert await node.client.receive() == ["hello", 1, {"two": b"3"}]
            assert await node.client.received_nothing()


async def test_fetch_sockets() -> None:
    async with cluster(Bus()) as nodes:
        nodes[1].client.socket.data["who"] = "one"
        nodes[1].client.socket.join("room")
        found = await nodes[0].io.fetch_sockets()
        assert sorted(s.id for s in found) == sorted(n.client.id for n in nodes)
        (one,) = await nodes[0].io.in_("room").fetch_sockets()
        assert one.data == {"who": "one"}
        assert one.rooms == {one.id, "room"}
        assert one.handshake.headers["host"] == "testserver"


async def test_broadcast_acks() -> None:
    async with cluster(Bus()) as nodes:
        for number, node in enumerate(nodes):
            node.client.on("ask", lambda x, n=number: x + n)
        assert sorted(await nodes[1].io.emit_with_ack("ask", 10)) == [10, 11, 12]
        (remote,) = await nodes[0].io.in_(nodes[2].client.id).fetch_sockets()
        assert await remote.emit_with_ack("ask", 5) == 7


@pytest.mark.parametrize("kind", [BusAdapter, HeartbeatBusAdapter])
async def test_server_side_emit_with_ack(kind: type[Any]) -> None:
    async with cluster(Bus(), kind=kind) as nodes:
        for number, node in enumerate(nodes):
            node.io.on_server_event("sum", lambda a, b, n=number: a + b + n)
        assert sorted(await nodes[0].io.server_side_emit_with_ack("sum", 1, 2)) == [4, 5]


async def test_a_dead_node_is_named() -> None:
    bus = Bus()
    async with cluster(bus, kind=HeartbeatBusAdapter) as nodes:
        bus.drivers.remove(nodes[2].driver)
        failures: list[ClusterTimeout] = []

        async def fetch() -> None:
            try:
                await nodes[0].io.timeout(2).fetch_sockets()
            except ClusterTimeout as error:
                failures.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fetch)
            await settle()
            await advance(nodes, 3)
        (error,) = failures
        assert error.nodes == [nodes[2].adapter.uid]
        assert sorted(s.id for s in error.partial) == sorted(n.client.id for n in nodes[:2])
        bus.drivers.append(nodes[2].driver)


async def test_ack_timeout() -> None:
    async with cluster(Bus()) as nodes, anyio.create_task_group() as tasks:
        tasks.start_soon(advance, nodes, 3)
        with pytest.raises(AckTimeout):
            await nodes[0].io.timeout(1).emit_with_ack("silence")
