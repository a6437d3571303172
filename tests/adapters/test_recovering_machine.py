"""A client that is lost again and again, on nodes that read the log late, of an engine that goes away.

Whatever happens: as long as it is recovered, it has received every event once and in the order of the log.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sio_core.testing import TestClient, settle
from tests.adapters.bus import Bus, LogBusAdapter
from tests.adapters.nodes import Node, advance, cluster

steps = st.lists(
    st.one_of(
        st.tuples(st.just("emit"), st.integers(0, 1)),
        st.tuples(st.just("emit"), st.integers(0, 1)),
        st.tuples(st.just("direct"), st.just(0)),
        st.tuples(st.just("read"), st.integers(0, 1)),
        st.tuples(st.just("read"), st.integers(0, 1)),
        st.tuples(st.just("lose"), st.booleans()),
        st.tuples(st.just("come"), st.integers(0, 1)),
        st.tuples(st.just("away"), st.booleans()),
        st.tuples(st.just("deaf"), st.booleans()),
        st.tuples(st.just("wait"), st.sampled_from([0.5, 1.5])),
    ),
    max_size=40,
)


class Watched:
    """The client: what it has been sent, over all its connections."""

    def __init__(self, stack: AsyncExitStack, nodes: list[Node]) -> None:
        self.stack = stack
        self.nodes = nodes
        self.client: TestClient | None = None
        self.last: TestClient | None = None
        self.at = 0
        self.offset: str | None = None
        self.received: list[int] = []
        self.recoveries = 0
        self.since = 0

    def take(self) -> None:
        """Note what has come, as the official client does: the last argument is the offset if it is a text."""
        if self.client is not None:
            while self.client.events:
                event = self.client.events.popleft()
                self.received.append(event[1])
                if isinstance(event[-1], str):
                    assert self.offset is None or event[-1] > self.offset, "offsets come in their order"
                    self.offset = event[-1]

    async def come(self, at: int, emitted: int) -> None:
        if self.client is not None:
            return
        node = self.nodes[at]
        auth = {"pid": self.last.pid, "offset": self.offset} if self.last is not None else {}
        client = TestClient(node.io, clock=node.clock, auth=auth)
        self.client = await self.stack.enter_async_context(client)
        if client.socket.recovered:
            self.recoveries += 1
        else:
            self.received, self.offset = [], None
            self.since = emitted
        self.at = at
        self.take()

    async def lose(self, noticing: bool) -> None:
        if self.client is None:
            return
        if noticing:
            self.take()  # else what is on the way is lost with the connection
        self.last, self.client = self.client, None
        self.last.events.clear()
        self.last.lose_connection()
        await settle()


async def scenario(script: list[tuple[str, Any]], tallies: list[int]) -> None:
    bus = Bus(immediate=False)
    async with (
        cluster(bus, 2, LogBusAdapter, connection_state_recovery=True) as nodes,
        AsyncExitStack() as stack,
    ):
        watched = Watched(stack, nodes)
        counter = 0
        emitted: list[tuple[int, str | None]] = []
        await watched.come(0, 0)
        for kind, value in script:
            if kind == "emit":
                counter += 1
                emitted.append((counter, None))
                nodes[value].io.emit("x", counter)
                await settle()
            elif kind == "direct" and watched.client is not None:
                counter += 1
                emitted.append((counter, watched.client.id))
                watched.client.socket.emit("x", counter)
                await settle()
            elif kind == "read":
                bus.deliver_from(nodes[value].driver, nodes[value].driver)
            elif kind == "lose":
                await watched.lose(value)
            elif kind == "come":
                await watched.come(value, counter)
            elif kind == "away":
                bus.away = value
            elif kind == "deaf":
                bus.deaf_ear = value
            elif kind == "wait":
                await advance(nodes, value)
            await settle()
            watched.take()
            assert len(set(watched.received)) == len(watched.received)
        bus.away = bus.deaf_ear = False
        await advance(nodes, 5)
        await watched.come(1 - watched.at, counter)
        bus.deliver()
        await settle()
        nodes[0].io.emit("x", 0)
        await settle()
        bus.deliver()
        await settle()
        watched.take()
        assert len(set(watched.received)) == len(watched.received)
        if watched.recoveries:
            tallies.append(watched.recoveries)
        assert watched.client is not None
        assert watched.received[-1] == 0
        own = watched.client.id
        expected = {n for n, to in emitted if n > watched.since and to in {None, own}}
        assert expected <= set(watched.received), "nothing is missing"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_nothing_comes_twice_and_nothing_is_missing(backend: str) -> None:
    tallies: list[int] = []

    @settings(max_examples=60)
    @given(script=steps)
    def run(script: list[tuple[str, Any]]) -> None:
        anyio.run(scenario, script, tallies, backend=backend)

    run()
    assert len(tallies) > 5, "too few clients were recovered to say anything"
