"""Nodes on a bus: what one does reaches the sockets of the others."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from sio_core import Ack, AckTimeout, AdapterError, ClusterTimeout, ConnectError, Limits, Namespace, Server
from sio_core.adapters.cluster import ClusterAdapter
from sio_core.adapters.messages import INITIAL_HEARTBEAT, Message, decode
from sio_core.runtime import Runtime
from sio_core.testing import settle
from sio_core.wire.message import Request
from tests.adapters.bus import Bus, BusAdapter, BusDriver, HeartbeatBusAdapter
from tests.adapters.nodes import Node, advance, cluster

pytestmark = pytest.mark.anyio


@pytest.mark.feature(205, 218)
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


async def test_nothing_is_awaited_of_a_question_that_cannot_be_sent() -> None:
    circle: list[Any] = []
    circle.append(circle)
    async with cluster(Bus(), 2) as nodes:
        for unsendable, error in ((object(), TypeError), (circle, ValueError)):
            with pytest.raises(error):
                await nodes[0].io.emit_with_ack("ask", unsendable)
        assert nodes[0].adapter._acks == {}


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


async def test_operators_reach_the_sockets_of_every_node() -> None:
    async with cluster(Bus()) as nodes:
        await nodes[0].io.sockets_join("all", "some")
        await nodes[1].io.in_(nodes[2].client.id).sockets_leave("some")
        assert [node.client.rooms for node in nodes] == [{"all", "some"}, {"all", "some"}, {"all"}]
        await nodes[2].io.to("some").except_(nodes[0].client.id).emit("x")
        await settle()
        assert [len(node.client.events) for node in nodes] == [0, 1, 0]
        await nodes[2].io.in_("some").disconnect_sockets()
        await settle()
        assert [node.client.connected for node in nodes] == [False, False, True]


async def test_local_stays_local() -> None:
    bus = Bus()
    async with cluster(bus) as nodes:
        io, client = nodes[0].io, nodes[0].client
        client.on("ask", lambda: "answer")
        io.local.emit("x")
        await io.local.sockets_join("room")
        assert [s.id for s in await io.local.fetch_sockets()] == [client.id]
        assert await io.local.emit_with_ack("ask") == ["answer"]
        await io.local.in_("room").sockets_leave("room")
        await io.local.disconnect_sockets()
        await settle()
        assert await client.receive() == ["x"]
        assert not client.connected
        assert bus.published == []
        assert [node.client.events for node in nodes[1:]] == [deque(), deque()]


async def test_the_order_is_that_of_the_calls() -> None:
    bus = Bus()
    async with cluster(bus, 2) as nodes:
        io = nodes[0].io
        io.on_server_event("s", lambda: None)
        io.emit("a")
        io.sockets_join("room")
        io.volatile.emit("b")
        io.server_side_emit("s")
        io.sockets_leave("room")
        io.emit("c", b"binary")
        io.in_("nobody").disconnect_sockets()
        assert len(bus.published) == 0
        await settle()
        assert [decode(payload).type for payload in bus.published] == [3, 4, 3, 9, 5, 3, 6]


async def test_what_is_sent_is_what_it_was_at_the_call() -> None:
    async with cluster(Bus(), 2) as nodes:
        data = {"n": 1}
        nodes[0].io.emit("x", data)
        data["n"] = 2
        await settle()
        assert await nodes[1].client.receive() == ["x", {"n": 1}]


async def test_what_cannot_be_sent_is_refused_at_the_call() -> None:
    bus = Bus()
    async with cluster(bus, 2) as nodes:
        with pytest.raises(TypeError, match="cannot be sent"):
            nodes[0].io.emit("x", object())
        assert bus.published == []
        assert await nodes[0].client.received_nothing()


async def test_another_thread_may_send() -> None:
    async with cluster(Bus(), 2) as nodes:

        def work() -> None:
            nodes[0].io.emit("x", 1)
            nodes[0].io.to("room").sockets_join("other")
            nodes[0].io.emit("x", 2)

        await anyio.to_thread.run_sync(work)
        await settle()
        for node in nodes:
            assert [event[1] for event in node.client.events] == [1, 2]


async def test_namespaces_are_apart() -> None:
    async with cluster(Bus(), 2) as nodes:
        for node in nodes:
            node.io.of("/chat")
        nodes[0].io.of("/only-here").emit("x")
        chat = [await node.client.join("/chat") for node in nodes]
        await settle()
        nodes[0].io.of("/chat").emit("x")
        await settle()
        assert await chat[1].receive() == ["x"]
        assert await nodes[1].client.received_nothing()
        assert nodes[1].driver.dropped == 0


async def test_a_parent_namespace_joins_no_cluster() -> None:
    async with cluster(Bus(), 2) as nodes:
        parents = [node.io.of(re.compile("^/room-")) for node in nodes]
        assert all(not isinstance(parent.adapter, ClusterAdapter) for parent in parents)
        clients = [await node.client.join("/room-1") for node in nodes]
        await settle()
        nodes[0].io.of("/room-1").emit("x")
        await settle()
        assert await clients[1].receive() == ["x"]
        assert set(nodes[0].driver.adapters) == {"/", "/room-1"}


async def test_an_empty_child_leaves_the_cluster() -> None:
    async with cluster(Bus(), 2, cleanup_empty_child_namespaces=True) as nodes:
        nodes[0].io.of(re.compile("^/room-"))
        child = await nodes[0].client.join("/room-1")
        await settle()
        assert "/room-1" in nodes[0].driver.adapters
        await child.disconnect()
        await settle()
        assert set(nodes[0].driver.adapters) == {"/"}


async def test_a_child_whose_first_client_is_refused_leaves_nothing_in_the_cluster() -> None:
    async with cluster(Bus(), 2, cleanup_empty_child_namespaces=True) as nodes:

        def refuse(socket: Any) -> None:
            raise ConnectError("no")

        nodes[0].io.of(re.compile("^/room-")).use(refuse)
        for number in range(20):  # trio runs tasks in any order
            with pytest.raises(ConnectError):
                await nodes[0].client.join(f"/room-{number}")
            await settle()
            assert set(nodes[0].driver.adapters) == {"/"}


async def test_a_namespace_that_the_engine_cannot_have_is_refused_and_costs_the_client_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with cluster(Bus(), 1) as (node,):
        make_adapter = node.driver.make_adapter

        def make_short(name: str, local: Any) -> Any:
            if len(name) > 10:
                raise AdapterError("too long a name")
            return make_adapter(name, local)

        node.driver.make_adapter = make_short
        node.io.of(re.compile("^/room-"))
        with pytest.raises(ConnectError, match="Invalid namespace"):
            await node.client.join("/room-" + "x" * 10)
        await node.client.join("/room-1")
        assert [record for record in caplog.records if record.levelname == "ERROR"] == []


async def test_who_says_farewell_says_no_more() -> None:
    async with cluster(Bus(), 2, kind=HeartbeatBusAdapter) as nodes:
        await settle()
        adapter = nodes[0].driver.adapters["/"]
        await adapter.close()
        adapter.handle(Message(INITIAL_HEARTBEAT, "somebody", "/", None), None)
        assert adapter.queued == 0
        assert adapter.nodes == {}


async def test_without_the_engine_what_is_local_goes_on() -> None:
    bus = Bus()
    async with cluster(bus, 2, health_path="/healthz") as nodes:
        io, client = nodes[0].io, nodes[0].client
        health = io.resources()[0]
        request = Request(target="/healthz")
        assert (response := health.respond(request)) is not None
        assert (response.status, response.body) == (200, b"ok")
        bus.away = True
        io.emit("unawaited")
        await settle()
        with pytest.raises(AdapterError, match="away"):
            await io.emit("awaited")
        await io.local.sockets_join("room")
        io.to("room").emit("to the room")
        await settle()
        assert [event[0] for event in client.events] == ["unawaited", "awaited", "to the room"]
        assert io.stats()["adapter"] == {
            "degraded": True,
            "dropped": 0,
            "lost": 3,
            "reconnects": 0,
            "queued": 0,
        }
        assert (response := health.respond(request)) is not None
        assert (response.status, response.body) == (503, b"degraded")
        with pytest.raises(AdapterError):
            await io.fetch_sockets()
        bus.away = False
        await io.emit("again")
        assert not nodes[0].driver.degraded
        assert await nodes[1].client.receive() == ["again"]


async def test_an_engine_that_hangs_costs_one_publication_at_a_time() -> None:
    class Stuck(BusAdapter):
        async def publish(self, message: Message) -> str | None:
            if self.driver.bus.away:
                await anyio.sleep_forever()
            return await super().publish(message)

    bus = Bus()
    async with cluster(bus, 2, Stuck) as nodes:
        bus.away = True
        stuck = nodes[0].io.emit("stuck")
        await settle()
        behind = nodes[0].io.emit("behind")
        await nodes[0].clock.advance(1.9)
        assert not nodes[0].driver.degraded
        await nodes[0].clock.advance(0.2)
        assert nodes[0].driver.degraded
        bus.away = False
        with pytest.raises(AdapterError, match="publishing took more than 2 s"):
            await stuck
        await nodes[0].clock.advance(2)
        with pytest.raises(AdapterError, match="publishing took more than 2 s"):
            await behind
        await nodes[0].io.emit("free")
        assert await nodes[1].client.receive() == ["free"]


@pytest.mark.parametrize(("name", "bound"), [("cluster_queue_messages", 5), ("cluster_queue_bytes", 600)])
async def test_what_waits_to_be_published_is_bounded(name: str, bound: int) -> None:
    bus = Bus()
    async with cluster(bus, 2, limits=Limits(**{name: bound})) as nodes:
        published = [nodes[0].io.emit("x", n) for n in range(20)]
        with pytest.raises(AdapterError, match=f"limits.{name}"):
            await published[-1]
        await published[0]
        await settle()
        hits = nodes[0].io.stats()["limit_hits"][name]
        assert 10 < hits < 20
        assert nodes[0].driver.lost == hits
        assert len(nodes[0].client.events) == 20
        assert [event[1] for event in nodes[1].client.events] == list(range(20 - hits))


JUNK = [
    b"",
    b"junk",
    b"{}",
    b'{"type":3,"uid":"x","nsp":"/"}',
    b'{"type":3,"uid":"x","nsp":"/","data":{}}',
    b'{"type":3,"uid":"x","nsp":"/","data":{"packet":{"type":2,"data":["disconnect"]},"opts":{"rooms":[],"except":[]}}}',
    b'{"type":3,"uid":"x","nsp":"/","data":{"packet":{"type":2,"data":["x"]},"opts":{"rooms":null}}}',
    b'{"type":3,"uid":"x","nsp":"/","data":{"packet":{"type":2,"data":["x"]},"requestId":5,"opts":{}}}',
    b'{"type":4,"uid":"x","nsp":"/","data":{"opts":{"rooms":[],"except":[]},"rooms":[[]]}}',
    b'{"type":5,"uid":"x","nsp":"/","data":{"opts":5}}',
    b'{"type":6,"uid":"x","nsp":"/","data":{}}',
    b'{"type":7,"uid":"x","nsp":"/","data":{"opts":{"rooms":[],"except":[]}}}',
    b'{"type":9,"uid":"x","nsp":"/","data":{"packet":[{}]}}',
    b'{"type":9,"uid":"x","nsp":"/","data":{"packet":[]}}',
    b'{"type":3,"uid":"x","nsp":"/","data":{"packet":{"type":2,"data":["x",'
    + b"[" * 300
    + b"]" * 300
    + b']},"opts":{"rooms":[],"except":[]}}}',
]


@pytest.mark.parametrize("payload", JUNK)
async def test_junk_is_dropped_and_counted(payload: bytes) -> None:
    async with cluster(Bus(), 2) as nodes:
        driver = nodes[0].driver
        before = driver.dropped
        driver.receive_payload(payload)
        expected = 0 if payload.endswith(b'"nsp":"/"}') else 1  # a message without data says nothing
        assert driver.dropped - before == expected
        await nodes[1].io.emit("alive")
        assert await nodes[0].client.receive() == ["alive"]


async def test_too_long_a_message_is_dropped_unread() -> None:
    async with cluster(Bus(), 2, limits=Limits(cluster_message_bytes=200)) as nodes:
        await nodes[0].io.emit("x", "y" * 200)
        assert await nodes[1].client.received_nothing()
        assert nodes[1].driver.dropped == 1
        assert nodes[1].io.stats()["limit_hits"] == {"cluster_message_bytes": 1}


@pytest.mark.parametrize("kind", [BusAdapter, HeartbeatBusAdapter])
@pytest.mark.parametrize("number", [0, 1, 2, 8, 10, 11, 12, 13, 14, 99, -1, 2**40])
async def test_other_types_and_answers_to_nothing_are_ignored(kind: type[Any], number: int) -> None:
    async with cluster(Bus(), 2, kind) as nodes:
        nodes[0].driver.receive(Message(number, "stranger", "/", {"requestId": "none", "more": 1}))
        nodes[0].driver.receive(Message(number, "stranger", "/", {}))
        nodes[0].driver.receive(Message(number, "stranger", "/"))
        assert nodes[0].driver.dropped == 0
        await nodes[1].io.emit("alive")
        assert await nodes[0].client.receive() == ["alive"]


async def test_an_answer_of_one_is_enough_though_a_node_is_mute() -> None:
    bus = Bus()
    async with cluster(bus, 3) as nodes:
        nodes[1].client.on("ask", lambda x: x * 2)
        (remote,) = await nodes[0].io.in_(nodes[1].client.id).fetch_sockets()
        nodes[2].driver.adapters.clear()  # it hears nothing, and is counted
        bus.drivers.append(nodes[2].driver)
        assert await remote.emit_with_ack("ask", 4) == 8
        bus.drivers.remove(nodes[2].driver)


async def test_a_remote_socket_that_is_gone_does_not_answer() -> None:
    async with cluster(Bus(), 2) as nodes:
        (remote,) = await nodes[0].io.in_(nodes[1].client.id).fetch_sockets()
        await nodes[1].client.disconnect()
        with pytest.raises(AckTimeout) as caught:
            await remote.emit_with_ack("ask")
        assert caught.value.missing == 1


async def test_answers_that_never_come_are_forgotten_everywhere() -> None:
    async with cluster(Bus(), 2) as nodes:
        failed: list[AckTimeout] = []

        async def ask() -> None:
            try:
                await nodes[0].io.timeout(1).emit_with_ack("ask")
            except AckTimeout as error:
                failed.append(error)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await settle()
            assert nodes[1].client.socket._acks
            await advance(nodes, 2)
        assert failed[0].missing == 2
        assert not nodes[1].client.socket._acks
        assert not nodes[0].client.socket._acks
        assert nodes[0].adapter._acks == {}


async def test_a_node_without_the_listener_does_not_answer() -> None:
    async with cluster(Bus(), 3) as nodes:
        nodes[1].io.on_server_event("ask", lambda: "here")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(advance, nodes, 3)
            with pytest.raises(ClusterTimeout, match="missing 1 responses") as caught:
                await nodes[0].io.server_side_emit_with_ack("ask", timeout=1)
        assert (caught.value.partial, caught.value.missing) == (["here"], 1)


async def test_a_server_event_is_answered_once() -> None:
    async with cluster(Bus(), 2) as nodes:
        heard: list[Any] = []

        @nodes[1].io.on_server_event("ask")
        async def ask(data: Any) -> Any:
            await anyio.lowlevel.checkpoint()
            heard.append(data)
            return {"bytes": b"1"}

        nodes[1].io.on_server_event("ask", lambda data: None)
        answers = await nodes[0].io.server_side_emit_with_ack("ask", b"2")
        assert len(answers) == 1
        await settle()
        assert heard == [b"2"]
        nodes[0].io.on_server_event("ask", heard.append)
        await nodes[0].io.server_side_emit("ask", 3)
        await settle()
        assert heard == [b"2", 3]  # not at the sender


async def test_a_server_event_is_answered_by_the_listener_that_asks_for_the_acknowledgement() -> None:
    async with cluster(Bus(), 2) as nodes:

        @nodes[1].io.on_server_event("ask")
        async def ask(data: Any, ack: Ack) -> str:
            ack([data, "given"])
            return "not this"

        assert await nodes[0].io.server_side_emit_with_ack("ask", 1) == [[1, "given"]]
        await nodes[0].io.server_side_emit("ask", 2)  # an answer that nobody waits for
        await settle()


async def test_alone_there_is_nobody_to_ask() -> None:
    async with cluster(Bus(), 1) as (node,):
        assert await node.io.server_side_emit_with_ack("ask") == []
        assert [s.id for s in await node.io.fetch_sockets()] == [node.client.id]
        node.client.on("ask", lambda: 1)
        assert await node.io.emit_with_ack("ask") == [1]


async def test_data_that_cannot_be_shown_hides_no_socket(caplog: pytest.LogCaptureFixture) -> None:
    async with cluster(Bus(), 2) as nodes:
        other = nodes[1].client
        other.socket.data["secret"] = object()
        found = {s.id: s.data for s in await nodes[0].io.fetch_sockets()}
        assert found == {nodes[0].client.id: {}, other.id: {}}
        assert f"the data of socket {other.id} cannot be shown" in caplog.text


async def test_a_server_publishes_what_is_left_before_it_ends() -> None:
    bus = Bus()
    async with cluster(bus, 2) as nodes:
        waiting = [nodes[0].io.emit("x", n) for n in range(10)]
        await nodes[0].io.close()
        await settle()
        assert [event[1] for event in nodes[1].client.events] == list(range(10))
        for published in waiting:
            await published
        assert nodes[0].driver not in bus.drivers


async def test_what_cannot_be_published_at_the_end_fails() -> None:
    bus = Bus()
    async with cluster(bus, 2) as nodes:
        bus.away = True
        published = nodes[0].io.emit("x")
        await nodes[0].io.close()
        with pytest.raises(AdapterError):
            await published
        assert nodes[0].adapter.queued == 0


async def test_a_question_ends_with_the_server() -> None:
    bus = Bus(immediate=False)
    async with cluster(bus, 2) as nodes, anyio.create_task_group() as tasks:
        failures: list[Exception] = []

        async def ask() -> None:
            try:
                await nodes[0].io.fetch_sockets()
            except AdapterError as error:
                failures.append(error)

        tasks.start_soon(ask)
        await settle()
        await nodes[0].io.close()
        await settle()
        assert str(failures[0]) == "the adapter is closed"


def count_when(node: Node, counted: anyio.Event, count: int) -> None:
    """Have a node find out the number of nodes, a given one, only at a certain moment."""

    async def count_nodes() -> int:
        await counted.wait()
        return count

    node.adapter.count_nodes = count_nodes  # type: ignore[method-assign]


async def test_a_server_that_closes_while_the_nodes_are_counted_asks_nobody() -> None:
    async with cluster(Bus(), 2) as nodes, anyio.create_task_group() as tasks:
        failures: list[str] = []
        counted = anyio.Event()
        count_when(nodes[0], counted, 2)

        async def ask() -> None:
            try:
                await nodes[0].io.fetch_sockets()
            except AdapterError as error:
                failures.append(str(error))

        tasks.start_soon(ask)
        await settle()
        await nodes[0].adapter.close()
        counted.set()
        await settle()
        assert failures == ["the adapter is closed"]


async def test_the_answers_may_come_before_the_nodes_are_counted() -> None:
    async with cluster(Bus(), 2) as nodes, anyio.create_task_group() as tasks:
        for number, node in enumerate(nodes):
            node.client.on("ask", lambda number=number: number)
        (there,) = await nodes[0].io.in_(nodes[1].client.id).fetch_sockets()
        counted = anyio.Event()
        count_when(nodes[0], counted, 2)
        assert await there.emit_with_ack("ask", timeout=5) == 1
        answers: list[Any] = []

        async def ask() -> None:
            answers.extend(await nodes[0].io.timeout(5).emit_with_ack("ask"))

        tasks.start_soon(ask)
        await settle()
        assert answers == []
        counted.set()
        await settle()
        assert sorted(answers) == [0, 1]


async def test_a_driver_belongs_to_one_server() -> None:
    driver = BusDriver(Bus())
    Server(adapter=driver)
    with pytest.raises(AdapterError, match="this BusDriver belongs to another server: make one for each"):
        Server(adapter=driver)
    with pytest.raises(AdapterError, match="this BusDriver belongs to no server yet"):
        BusDriver(Bus()).host  # noqa: B018


class Picky(BusDriver):
    def check(self, runtime: Runtime) -> None:
        raise AdapterError(f"not on {type(runtime).__name__}")


async def test_a_server_does_not_start_where_its_driver_does_not_work() -> None:
    io = Server(adapter=Picky(Bus()))
    for enter in (io.lifespan, io.listen):
        with pytest.raises(AdapterError, match="not on"):
            async with enter():
                pass
        assert not io.running


async def test_a_listener_of_several_stops_what_it_has_started() -> None:
    io = Server()
    with pytest.raises(AdapterError, match="not on"):
        async with io.listen(engines=[Server(adapter=Picky(Bus()), path="/other/")]):
            pass
    assert not io.running
    async with io.listen():
        assert io.running


async def test_a_namespace_that_gives_way_to_another_leaves_the_cluster() -> None:
    bus = Bus()
    async with cluster(bus, 2, kind=HeartbeatBusAdapter) as (here, there):
        for node in (here, there):
            node.io.of("/late")
        await settle()
        namespace = here.io.register(Namespace("/late"))
        await settle()
        adapter = there.io.of("/late").adapter
        assert isinstance(adapter, HeartbeatBusAdapter)
        assert list(adapter.nodes) == [namespace.adapter.uid]  # type: ignore[attr-defined]
    driver = BusDriver(bus)
    io: Server[Any] = Server(adapter=driver)
    async with io.lifespan():
        await settle()
        main = io.register(Namespace("/"))
        await settle()
        assert driver.adapters == {"/": main.adapter}


async def test_it_can_be_opened_again() -> None:
    bus = Bus()
    driver = BusDriver(bus)
    io = Server(adapter=driver)
    async with cluster(bus, 1) as (other,):
        for _ in range(2):
            async with io.lifespan():
                await settle()
                assert len(bus.drivers) == 2
                await io.emit("x")
                assert await other.client.receive() == ["x"]
            assert len(bus.drivers) == 1


def test_it_can_be_opened_again_in_another_event_loop() -> None:
    bus = Bus()
    io: Server[Any] = Server(adapter=BusDriver(bus))

    async def run() -> None:
        async with io.lifespan():
            await io.emit("x")

    for backend in ("asyncio", "trio", "asyncio"):
        anyio.run(run, backend=backend)
    assert len(bus.published) == 3


class TestHeartbeats:
    """Nodes that know each other by name."""

    @pytest.mark.feature(206)
    async def test_a_silent_node_is_given_up_and_nobody_waits_for_it(self) -> None:
        bus = Bus()
        async with cluster(bus, 3, HeartbeatBusAdapter) as nodes:
            adapter = nodes[0].adapter
            assert await adapter.server_count() == 3
            await advance(nodes, 30)
            assert await adapter.server_count() == 3
            bus.drivers.remove(nodes[2].driver)
            await advance(nodes, 8)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(advance, nodes, 6)
                found = await nodes[0].io.timeout(10).fetch_sockets()
            assert sorted(s.id for s in found) == sorted(n.client.id for n in nodes[:2])
            assert await adapter.server_count() == 2
            bus.drivers.append(nodes[2].driver)
            await advance(nodes, 6)
            assert await adapter.server_count() == 3

    async def test_a_node_says_when_it_leaves(self) -> None:
        bus = Bus()
        async with cluster(bus, 2, HeartbeatBusAdapter) as nodes:
            await nodes[1].io.close()
            await settle()
            assert await nodes[0].adapter.server_count() == 1
            assert decode(bus.published[-1]).type == 13

    async def test_questions_spare_heartbeats_and_events_do_not(self) -> None:
        bus = Bus()
        async with cluster(bus, 2, HeartbeatBusAdapter) as nodes:

            def heartbeats() -> int:
                return [decode(payload).type for payload in bus.published].count(2)

            await advance(nodes, 4)
            before = heartbeats()
            await nodes[0].io.fetch_sockets()
            await nodes[0].io.emit("x")
            await advance(nodes, 4)
            assert heartbeats() == before + 1  # the other node's
            await advance(nodes, 2)
            assert heartbeats() == before + 3

    async def test_strangers_are_bounded(self) -> None:
        async with cluster(Bus(), 2, HeartbeatBusAdapter, limits=Limits(cluster_nodes=3)) as nodes:
            for number in range(5):
                nodes[0].driver.receive(Message(2, f"stranger{number}", "/"))
            nodes[0].driver.receive(Message(9, "emitter", "/", {"packet": ["x"]}))
            assert await nodes[0].adapter.server_count() == 4
            assert nodes[0].io.stats()["limit_hits"] == {"cluster_nodes": 3}

    async def test_heard_again_it_asks_who_is_there(self) -> None:
        bus = Bus()
        async with cluster(bus, 2, HeartbeatBusAdapter) as nodes:
            nodes[0].driver.reconnected()
            await settle()
            assert [decode(payload).type for payload in bus.published[-2:]] == [1, 2]
            assert nodes[0].driver.stats()["reconnects"] == 1
