"""Recovery on a bus that keeps a log: order, what is missed, and what happens while the bus is away."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from sio_core.socketio.packet import EVENT, Packet
from sio_core.testing import TestClient, settle
from tests.adapters.bus import Bus, LogBusAdapter
from tests.adapters.nodes import Node, advance, cluster

pytestmark = pytest.mark.anyio

OPTIONS: dict[str, Any] = {"kind": LogBusAdapter, "connection_state_recovery": True}


async def come_back(stack: AsyncExitStack, node: Node, lost: TestClient, offset: str | None) -> TestClient:
    """Connect to a node with what a lost client knows."""
    auth = {"pid": lost.pid, "offset": offset}
    return await stack.enter_async_context(TestClient(node.io, clock=node.clock, auth=auth))


async def test_every_node_delivers_in_the_order_of_the_log() -> None:
    bus = Bus(immediate=False)
    async with cluster(bus, 2, **OPTIONS) as nodes:
        nodes[0].io.emit("a")
        await settle()
        nodes[1].io.emit("b")
        await settle()
        nodes[0].io.emit("c")
        await settle()
        for node in nodes:
            assert await node.client.received_nothing()
        bus.deliver()
        for node in nodes:
            assert [await node.client.receive() for _ in range(3)] == [
                ["a", "000001"],
                ["b", "000002"],
                ["c", "000003"],
            ]


async def test_what_is_sent_because_of_an_event_comes_after_it() -> None:
    bus = Bus(immediate=False)
    async with cluster(bus, 2, **OPTIONS) as nodes:
        client, io = nodes[0].client, nodes[0].io

        @client.socket.on_any_outgoing
        def answer(name: str, *args: Any) -> None:
            if name == "first":
                io.emit("second")

        io.emit("first")
        await settle()
        bus.deliver()
        assert [await client.receive() for _ in range(2)] == [["first", "000001"], ["second", "000002"]]


async def test_an_own_event_that_was_not_read_takes_no_other_offset() -> None:
    bus = Bus(immediate=False)
    async with cluster(bus, 2, **OPTIONS) as (here, there):
        here.io.emit("not read")
        await settle()
        bus.lose_from(here.driver, here.driver)
        here.io.emit("read")
        await settle()
        bus.deliver()
        for node in (here, there):
            assert [await node.client.receive() for _ in range(2)] == [
                ["not read", "000001"],
                ["read", "000002"],
            ]


async def test_nothing_overtakes_an_event_without_its_offset() -> None:
    bus = Bus(immediate=False)
    async with cluster(bus, 2, **OPTIONS) as nodes:
        client, io = nodes[0].client, nodes[0].io

        @io.on("ask")
        def ask(socket: Any) -> str:
            io.emit("first")
            io.volatile.emit("second")
            io.local.emit("third")
            socket.volatile.emit("fourth")
            return "answer"

        order: list[Any] = []
        receive = client._receive

        def note(packet: Any) -> None:
            order.append((packet.type, packet.data))
            receive(packet)

        client._transport.on_packet = note
        client._send(Packet(EVENT, "/", ["ask"], 7))
        await settle()
        client.socket.disconnect()
        await settle()
        assert order == []
        bus.deliver()
        await settle()
        assert [data for _, data in order] == [
            ["first", "000001"],
            ["third"],
            ["answer"],
            None,
        ]  # the volatile ones could not leave at once, as if the first had been sent without a cluster


async def test_disconnecting_the_client_waits_for_what_was_sent_before() -> None:
    bus = Bus(immediate=False)
    async with cluster(bus, 2, **OPTIONS) as nodes:
        client = nodes[0].client
        nodes[0].io.of("/other")
        other = await client.join("/other")
        nodes[0].io.emit("last")
        nodes[0].io.of("/other").emit("last of other")
        client.socket.disconnect(close=True)
        await settle()
        assert client.connected
        bus.deliver()
        await settle()
        (event, offset), (other_event, other_offset) = await client.receive(), await other.receive()
        assert (event, other_event) == ("last", "last of other")
        assert {offset, other_offset} == {"000001", "000002"}  # each namespace publishes by itself
        assert await client.wait_disconnected() == "io server disconnect"
        assert client._transport.connection is not None
        assert not nodes[0].io.engine.clients


async def test_a_client_recovers_on_another_node() -> None:
    bus = Bus()
    async with cluster(bus, 2, **OPTIONS) as nodes, AsyncExitStack() as stack:
        here, there = nodes
        lost = here.client
        lost.socket.join("room")
        lost.socket.data["name"] = "ann"
        here.io.emit("seen")
        lost.socket.emit("seen too")
        await settle()
        await lost.receive("seen")
        (offset,) = await lost.receive("seen too")
        lost.lose_connection()
        await settle()
        here.io.to("room").emit("missed", b"1")
        await settle()
        there.io.emit("missed", 2)
        await settle()
        there.io.volatile.emit("not missed")
        there.io.to("elsewhere").emit("not missed")
        there.io.except_("room").emit("not missed")
        here.io.to(lost.id).emit("missed", 3)
        await settle()
        back = await come_back(stack, there, lost, offset)
        assert (back.id, back.pid) == (lost.id, lost.pid)
        assert back.socket.recovered
        assert back.socket.data == {"name": "ann"}
        assert back.rooms == {"room"}
        assert [(await back.receive("missed"))[0] for _ in range(3)] == [b"1", 2, 3]
        assert await back.received_nothing()
        here.io.to("room").emit("live")
        await settle()
        assert len(await back.receive("live")) == 1
        assert not bus.sessions


async def test_a_session_is_recovered_once() -> None:
    bus = Bus()
    async with cluster(bus, 2, **OPTIONS) as nodes, AsyncExitStack() as stack:
        lost = nodes[0].client
        nodes[0].io.emit("seen")
        (offset,) = await lost.receive("seen")
        lost.lose_connection()
        await settle()
        first = await come_back(stack, nodes[0], lost, offset)
        second = await come_back(stack, nodes[1], lost, offset)
        assert first.socket.recovered
        assert not second.socket.recovered
        assert second.id != first.id


async def test_without_an_offset_it_gets_everything_since_it_came() -> None:
    bus = Bus()
    async with cluster(bus, 2, **OPTIONS) as nodes, AsyncExitStack() as stack:
        lost = nodes[0].client
        lost.lose_connection()
        await settle()
        nodes[1].io.emit("missed")
        await settle()
        back = await come_back(stack, nodes[1], lost, None)
        assert back.socket.recovered
        assert await back.receive() == ["missed", "000001"]


async def test_while_the_bus_is_away_local_receivers_do_not_wait() -> None:
    bus = Bus()
    async with cluster(bus, 2, **OPTIONS) as nodes, AsyncExitStack() as stack:
        here, there = nodes
        bus.away = True
        first = here.io.emit("first")
        await settle()
        here.io.emit("second")
        await settle()
        assert await here.client.receive() == ["first"]
        assert await here.client.receive() == ["second"]
        assert here.driver.degraded
        bus.away = False
        await advance(nodes, 3)
        await first
        assert not here.driver.degraded
        assert await here.client.received_nothing()
        assert await there.client.receive() == ["first", "000001"]
        assert await there.client.receive() == ["second", "000002"]
        # It would be sent both again: it cannot be recovered, until it has seen a later offset.
        here.client.lose_connection()
        await settle()
        back = await come_back(stack, there, here.client, None)
        assert not back.socket.recovered


async def test_a_later_offset_makes_up_for_one_that_was_not_seen() -> None:
    bus = Bus()
    async with cluster(bus, 2, **OPTIONS) as nodes, AsyncExitStack() as stack:
        here, there = nodes
        bus.away = True
        here.io.emit("early")
        await settle()
        bus.away = False
        await advance(nodes, 3)
        there.io.emit("later")
        await settle()
        (offset,) = await here.client.receive("later")
        here.client.lose_connection()
        await settle()
        there.io.emit("missed")
        await settle()
        back = await come_back(stack, there, here.client, offset)
        assert back.socket.recovered
        assert await back.receive() == ["missed", "000003"]


async def test_what_waits_too_long_is_delivered_without_an_offset() -> None:
    bus = Bus(immediate=False)
    async with cluster(bus, 2, **OPTIONS) as nodes:
        nodes[0].io.emit("slow")
        await advance(nodes, 0.5)
        assert await nodes[0].client.received_nothing()
        await advance(nodes, 1)
        assert await nodes[0].client.receive() == ["slow"]
        bus.deliver()
        await settle()
        assert await nodes[0].client.received_nothing()
        assert await nodes[1].client.receive() == ["slow", "000001"]


async def test_a_publication_whose_answer_was_lost_arrives_once() -> None:
    bus = Bus()
    async with cluster(bus, 2, **OPTIONS) as nodes, AsyncExitStack() as stack:
        here, there = nodes
        there.io.emit("seen")
        (offset,) = await there.client.receive("seen")
        await here.client.receive("seen")
        live = await stack.enter_async_context(TestClient(there.io, clock=there.clock))
        there.client.lose_connection()
        bus.deaf_ear = True
        here.io.emit("once")
        await settle()
        bus.immediate = True
        await advance(nodes, 1)
        bus.deaf_ear = False
        await advance(nodes, 5)
        assert len(bus.log) > 2
        back = await come_back(stack, there, there.client, offset)
        for client in (here.client, live, back):
            assert (await client.receive("once")) is not None
            assert await client.received_nothing()


async def test_it_comes_back_while_others_publish() -> None:
    bus = Bus(immediate=False)
    async with cluster(bus, 2, **OPTIONS) as nodes, AsyncExitStack() as stack:
        here, there = nodes
        lost = here.client
        here.io.emit("seen")
        await settle()
        bus.deliver()
        (offset,) = await lost.receive("seen")
        lost.lose_connection()
        await settle()
        there.io.emit("x", 1)
        await settle()
        here.io.emit("x", 2)
        await settle()  # both are in the log, and no node has read them

        async def middleware(socket: Any) -> None:
            there.io.emit("x", 3)
            await settle()
            here.io.emit("x", 4)
            await settle()
            for _ in range(3):
                bus.deliver_from(there.driver, there.driver)

        there.io.use(middleware)
        back = await come_back(stack, there, lost, offset)
        there.io.emit("x", 5)
        await settle()
        bus.deliver()
        await settle()
        assert back.socket.recovered
        assert [event[1] for event in back.events] == [1, 2, 3, 4, 5]
