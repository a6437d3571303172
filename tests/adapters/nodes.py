"""Servers on one bus, each with a client and a clock."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from sio_core import Server
from sio_core.adapters.cluster import ClusterAdapter
from sio_core.testing import TestClient, VirtualClock, settle
from tests.adapters.bus import Bus, BusAdapter, BusDriver


class Node:
    """One server of a cluster, with a clock of its own and a client."""

    def __init__(self, bus: Bus, kind: type[Any], options: dict[str, Any]) -> None:
        self.driver = BusDriver(bus, kind)
        self.io: Server[Any] = Server(adapter=self.driver, **options)
        self.clock = VirtualClock()
        self.client = TestClient(self.io, clock=self.clock)

    @property
    def adapter(self) -> ClusterAdapter:
        adapter = self.io.sockets.adapter
        assert isinstance(adapter, ClusterAdapter)
        return adapter


@asynccontextmanager
async def cluster(
    bus: Bus, count: int = 3, kind: type[Any] = BusAdapter, **options: Any
) -> AsyncGenerator[list[Node], None]:
    """Run so many nodes, each with one client."""
    async with AsyncExitStack() as stack:
        nodes = [Node(bus, kind, options) for _ in range(count)]
        for node in nodes:
            await stack.enter_async_context(node.client)
        await settle()
        yield nodes


async def advance(nodes: list[Node], seconds: float) -> None:
    """Let time pass everywhere, in small steps."""
    for _ in range(int(seconds * 2)):
        for node in nodes:
            await node.clock.advance(0.5)
