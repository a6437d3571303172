"""Both sides of every bound of a cluster: lived with for long, and passed once."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from sio_core import AdapterError, ClusterTimeout, Limits
from sio_core.adapters.messages import Message
from sio_core.testing import settle
from tests.adapters.bus import Bus, BusAdapter, HeartbeatBusAdapter, LogBusAdapter
from tests.adapters.nodes import Node, advance, cluster

pytestmark = pytest.mark.anyio

TIMES = 10


def hits(node: Node) -> dict[str, int]:
    """How often each bound was hit, since the last look."""
    counted = dict(node.io.engine.limit_hits)
    node.io.engine.limit_hits.clear()
    return counted


class Hesitant(BusAdapter):
    """Publishes when it is told to."""

    gate = anyio.Event()

    async def publish(self, message: Message) -> str | None:
        await self.gate.wait()
        return await super().publish(message)


@pytest.mark.limit("cluster_queue_messages", "cluster_queue_bytes")
@pytest.mark.parametrize(("name", "bound"), [("cluster_queue_messages", 5), ("cluster_queue_bytes", 5_000)])
async def test_what_waits_to_be_published(name: str, bound: int) -> None:
    limits: dict[str, Any] = {name: bound}
    async with cluster(Bus(), 2, limits=Limits(**limits)) as (here, there):
        text = "x" * (700 if name == "cluster_queue_bytes" else 1)
        for number in range(TIMES * 5):
            published = [here.io.emit("event", number, text) for _ in range(5)]
            for one in published:
                await one
        assert hits(here) == {}
        await settle()
        assert len(there.client.events) == TIMES * 25
        published = [here.io.emit("event", number, text) for number in range(8)]
        with pytest.raises(AdapterError, match=f"limits.{name}"):
            await published[-1]
        await published[0]
        assert hits(here)[name] >= 1
        await here.io.emit("event", "later", text)  # there is room again
        await settle()
        assert len(here.client.events) == TIMES * 25 + 9  # where it was sent nothing is missed


@pytest.mark.limit("cluster_message_bytes")
async def test_the_size_of_a_message() -> None:
    async with cluster(Bus(), 2, limits=Limits(cluster_message_bytes=1_000)) as (here, there):
        for _ in range(TIMES * 5):
            await here.io.emit("event", "x" * 700)
        await settle()
        assert len(there.client.events) == TIMES * 5
        assert hits(there) == {}
        await here.io.emit("event", "x" * 1_000)
        await here.io.emit("event", "later")
        await settle()
        assert len(there.client.events) == TIMES * 5 + 1
        assert hits(there) == {"cluster_message_bytes": 1}


@pytest.mark.limit("cluster_publish_time")
async def test_the_time_of_a_publication() -> None:
    Hesitant.gate = anyio.Event()
    Hesitant.gate.set()
    async with cluster(Bus(), 2, Hesitant, limits=Limits(cluster_publish_time=2.0)) as (here, there):
        for _ in range(TIMES):
            Hesitant.gate = anyio.Event()
            published = here.io.emit("event")
            await here.clock.advance(1.9)
            Hesitant.gate.set()
            await published
        assert hits(here) == {}
        await settle()
        assert len(there.client.events) == TIMES
        Hesitant.gate = anyio.Event()
        published = here.io.emit("event")
        await here.clock.advance(2.1)
        Hesitant.gate.set()
        with pytest.raises(AdapterError, match="more than 2 s"):
            await published
        assert hits(here) == {"cluster_publish_time": 1}
        await here.io.emit("later")
        await settle()
        assert len(there.client.events) == TIMES + 1


@pytest.mark.limit("cluster_request_time")
async def test_the_time_of_a_request() -> None:
    bus = Bus(immediate=False)
    async with cluster(bus, 2, HeartbeatBusAdapter, limits=Limits(cluster_request_time=3.0)) as nodes:
        here, _ = nodes
        bus.deliver()
        await settle()
        outcomes: list[Any] = []

        async def fetch() -> None:
            try:
                outcomes.append(len(await here.io.fetch_sockets()))
            except ClusterTimeout as error:
                outcomes.append(error)

        async with anyio.create_task_group() as task_group:
            for _ in range(TIMES):
                task_group.start_soon(fetch)
                await settle()
                await advance(nodes, 2.5)
                for _ in range(5):
                    bus.deliver()
                    await settle()
                assert outcomes.pop() == 2
            assert hits(here) == {}
            task_group.start_soon(fetch)
            await settle()
            await advance(nodes, 3.5)
        assert isinstance(outcomes.pop(), ClusterTimeout)
        assert hits(here) == {"cluster_request_time": 1}


@pytest.mark.limit("cluster_hold_time")
async def test_the_time_without_an_offset() -> None:
    bus = Bus(immediate=False)
    options: dict[str, Any] = {"connection_state_recovery": True, "limits": Limits(cluster_hold_time=1.0)}
    async with cluster(bus, 2, LogBusAdapter, **options) as nodes:
        here, _ = nodes
        for number in range(1, TIMES + 1):
            here.io.emit("event")
            await advance(nodes, 0.5)
            bus.deliver()
            assert await here.client.receive() == ["event", f"{number:06}"]
        assert hits(here) == {}
        here.io.emit("slow")
        await advance(nodes, 1.5)
        assert await here.client.receive() == ["slow"]
        assert hits(here) == {"cluster_hold_time": 1}


@pytest.mark.limit("cluster_nodes")
async def test_the_number_of_nodes() -> None:
    async with cluster(Bus(), 2, HeartbeatBusAdapter, limits=Limits(cluster_nodes=3)) as nodes:
        here, _ = nodes
        for _ in range(TIMES * 10):
            for number in range(2):
                here.driver.receive(Message(2, f"stranger {number}", "/"))
        assert await here.adapter.server_count() == 4
        assert hits(here) == {}
        here.driver.receive(Message(2, "one too many", "/"))
        assert await here.adapter.server_count() == 4
        assert hits(here) == {"cluster_nodes": 1}
