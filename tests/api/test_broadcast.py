"""Operators: whom they choose, that they do not change, and what they collect."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from sio_core import AckTimeout, AdapterError, BroadcastOperator, Limits, RemoteSocket, Server, Socket
from sio_core.socketio.packet import ACK, Packet
from sio_core.testing import TestClient, VirtualClock, settle

pytestmark = pytest.mark.anyio


async def received(*clients: TestClient) -> list[int]:
    """Which of the clients have got an event; each at most one."""
    await settle()
    counts = [len(client.events) for client in clients]
    for client in clients:
        client.events.clear()
    assert max(counts) <= 1
    return [index for index, count in enumerate(counts) if count]


@pytest.mark.feature(64, 67, 68, 70, 93, 95, 125, 126, 127, 128, 145, 147)
async def test_whom_an_operator_chooses() -> None:
    io = Server()
    async with TestClient(io) as a, TestClient(io) as b, TestClient(io) as c:
        everyone = (a, b, c)
        a.socket.join("one", "two")
        b.socket.join("two", "three")
        nsp = io.sockets
        targets: list[tuple[Any, list[int]]] = [
            (io, [0, 1, 2]),
            (nsp, [0, 1, 2]),
            (io.local, [0, 1, 2]),
            (io.volatile, [0, 1, 2]),
            (io.to("one"), [0]),
            (io.to("two"), [0, 1]),
            (io.in_("one"), [0]),
            (nsp.to("one"), [0]),
            (nsp.in_("three"), [1]),
            (io.to("one", "two"), [0, 1]),
            (io.to("one").to("three"), [0, 1]),
            (io.to("one").in_("two").local.volatile.compress(False).timeout(1), [0, 1]),
            (io.to("nobody here"), []),
            (io.except_("one"), [1, 2]),
            (nsp.except_("one", "three"), [2]),
            (io.to("two").except_("three"), [0]),
            (io.except_("one").to("two"), [1]),
            (io.to("two").except_("two"), []),
            (io.to(), [0, 1, 2]),
            (io.to(a.id), [0]),
            (io.except_(a.id), [1, 2]),
            (a.socket, [0]),
            (a.socket.volatile, [0]),
            (a.socket.compress(True), [0]),
            (a.socket.broadcast, [1, 2]),
            (a.socket.local, [1, 2]),
            (a.socket.to("two"), [1]),
            (a.socket.in_("two"), [1]),
            (a.socket.to(a.id), []),
            (a.socket.except_("three"), [2]),
            (a.socket.broadcast.to("two").except_("three"), []),
            (a.socket.volatile.broadcast, [1, 2]),
            (a.socket.compress(False).to("two"), [1]),
            (a.socket.timeout(1).in_("two"), [1]),
            (a.socket.volatile.except_("two"), [2]),
            (a.socket.volatile.local, [1, 2]),
        ]
        for target, expected in targets:
            await target.emit("event", b"\x01", {"a": 1})
            assert await received(*everyone) == expected
            await target.send("text")
            await settle()
            assert [client.events[0] for client in everyone if client.events] == [["message", "text"]] * len(
                expected
            )
            assert await received(*everyone) == expected


@pytest.mark.feature(144, 96, 146)
async def test_operators_do_not_change() -> None:
    io = Server()
    async with TestClient(io) as a, TestClient(io) as b:
        a.socket.join("one")
        b.socket.join("two")
        base = io.to("one")
        more = [
            base.to("two"),
            base.except_("one"),
            base.volatile,
            base.local,
            base.compress(False),
            base.timeout(5),
        ]
        assert len({id(operator) for operator in [base, *more]}) == 7
        base.emit("event")
        assert await received(a, b) == [0]
        more[0].emit("event")
        assert await received(a, b) == [0, 1]
        for operator in more[2:]:
            operator.emit("event")
            assert await received(a, b) == [0]
        flagged = a.socket.volatile
        assert flagged is not a.socket.volatile
        a.socket.timeout(5).emit("event")
        a.socket.emit("event")
        await settle()
        assert len(a.events) == 2


@pytest.mark.feature(65, 72, 94, 148)
async def test_answers_of_everyone() -> None:
    io = Server()
    async with TestClient(io) as a, TestClient(io) as b, TestClient(io) as c:
        a.on("question", lambda value: [value, "only the first counts"])
        b.on("question", lambda value: [])
        c.on("question", lambda value: b"\x01")
        c.socket.join("room")
        assert await io.timeout(5).emit_with_ack("question", 1) == [1, None, b"\x01"]
        assert await io.emit_with_ack("question", 1) == [1, None, b"\x01"]
        assert await io.call("question", 1, timeout=5) == [1, None, b"\x01"]
        assert await io.sockets.call("question", 1) == [1, None, b"\x01"]
        assert await io.to("room").call("question", 1) == [b"\x01"]
        assert await io.except_("room").local.emit_with_ack("question", 2) == [2, None]
        assert await c.socket.broadcast.emit_with_ack("question", 3) == [3, None]
        assert await io.to("nobody").emit_with_ack("question", 1) == []
        assert [client.socket._acks for client in (a, b, c)] == [{}, {}, {}]


@pytest.mark.feature(72, 146, 148)
async def test_answers_that_do_not_come_in_time() -> None:
    io = Server()
    clock = VirtualClock()
    async with (
        TestClient(io, clock=clock) as a,
        TestClient(io, clock=clock) as b,
        TestClient(io, clock=clock) as c,
        anyio.create_task_group() as task_group,
    ):
        a.on("question", lambda: "a")
        outcomes: list[Any] = []

        async def ask(timeout: float | None) -> None:
            with pytest.raises(AckTimeout, match="operation has timed out") as info:
                await io.sockets.emit_with_ack("question", timeout=timeout)
            outcomes.append((timeout, info.value.partial, info.value.missing))

        task_group.start_soon(ask, 1)
        task_group.start_soon(ask, None)
        await settle()
        await b.disconnect()
        await clock.advance(0.9)
        assert outcomes == []
        await clock.advance(0.2)
        assert outcomes == [(1, ["a"], 2)]
        await clock.advance(18.8)
        assert len(outcomes) == 1
        await clock.advance(0.2)
        assert outcomes[1:] == [(None, ["a"], 2)]
        assert c.socket._acks == {}


@pytest.mark.feature(72)
async def test_a_late_answer_is_ignored() -> None:
    io = Server()
    clock = VirtualClock()
    async with TestClient(io, clock=clock) as client, anyio.create_task_group() as task_group:

        async def ask() -> None:
            with pytest.raises(AckTimeout):
                await io.timeout(1).emit_with_ack("question")

        task_group.start_soon(ask)
        await clock.advance(2)
        for packet in ("430[1]", "430", "43999[]"):
            client._transport.send_message(packet)
        await settle()
        assert client.connected


@pytest.mark.feature(73, 97, 149, 151)
async def test_fetching_sockets() -> None:
    io = Server()
    async with TestClient(io, auth={"n": 1}) as a, TestClient(io) as b:
        a.socket.join("room")
        a.socket.data["name"] = "ann"
        everyone = await io.fetch_sockets()
        assert {remote.id for remote in everyone} == {a.id, b.id}
        assert {remote.id for remote in await io.sockets.fetch_sockets()} == {a.id, b.id}
        (remote,) = await io.in_("room").fetch_sockets()
        assert isinstance(remote, RemoteSocket)
        assert remote.id == a.id
        assert remote.rooms == {a.id, "room"}
        assert remote.data == {"name": "ann"}
        assert remote.handshake.auth == {"n": 1}
        (other,) = await io.except_("room").fetch_sockets()
        assert other.id == b.id
        assert [remote.id for remote in await b.socket.broadcast.local.fetch_sockets()] == [a.id]
        assert await io.to("nobody").fetch_sockets() == []


@pytest.mark.feature(79, 99, 150)
async def test_the_ids_of_all_sockets() -> None:
    io = Server()
    async with TestClient(io) as a, TestClient(io) as b:
        a.socket.join("room")
        assert {remote.id for remote in await io.fetch_sockets()} == set(io.sockets.sockets) == {a.id, b.id}
        assert {remote.id for remote in await io.in_("room").fetch_sockets()} == {a.id}


@pytest.mark.feature(152, 153)
async def test_a_remote_socket() -> None:
    io = Server()
    clock = VirtualClock()
    async with TestClient(io, clock=clock) as a, TestClient(io, clock=clock) as b:
        remote = next(remote for remote in await io.fetch_sockets() if remote.id == a.id)
        await remote.emit("event", 1)
        await remote.send("text")
        assert await a.receive() == ["event", 1]
        assert await a.receive() == ["message", "text"]
        await remote.join("x", "y")
        await remote.leave("x")
        assert a.rooms == {"y"}
        assert remote.rooms == {a.id}
        a.on("question", lambda value: value)
        assert await remote.emit_with_ack("question", 5) == 5
        assert await remote.timeout(1).call("question", 6) == 6
        await remote.compress(False).volatile.emit("event", 2)
        assert await a.receive() == ["event", 2]

        async def unanswered() -> None:
            with pytest.raises(AckTimeout):
                await remote.timeout(1).emit_with_ack("silence")

        async with anyio.create_task_group() as task_group:
            task_group.start_soon(unanswered)
            await clock.advance(1.1)
        await remote.disconnect()
        assert await a.wait_disconnected() == "io server disconnect"
        with pytest.raises(AckTimeout) as info:
            await remote.emit_with_ack("question", 1)
        assert info.value.missing == 1
        await next(iter(await io.fetch_sockets())).disconnect(close=True)
        assert await b.wait_disconnected() == "io server disconnect"
        assert io.engine.clients_count == 1


@pytest.mark.feature(74, 75, 76, 97, 149)
async def test_verbs_for_many_sockets() -> None:
    io = Server()
    async with TestClient(io) as a, TestClient(io) as b, TestClient(io) as c:
        await io.sockets_join("all", "too")
        assert a.rooms == b.rooms == c.rooms == {"all", "too"}
        await io.sockets_leave("too")
        io.in_(a.id).sockets_join("one")
        io.sockets.to("one").sockets_join("two")
        io.except_("one").sockets_leave("all", "never")
        assert (a.rooms, b.rooms, c.rooms) == ({"all", "one", "two"}, set(), set())
        io.to("two").disconnect_sockets()
        assert await a.wait_disconnected() == "io server disconnect"
        assert a._transport.connection.closing is False
        b.socket.join("b")
        io.sockets.in_("b").disconnect_sockets(close=True)
        assert await b.wait_disconnected() == "io server disconnect"
        assert set(io.sockets.sockets) == {c.id}
        await io.sockets.disconnect_sockets()
        assert await c.wait_disconnected() == "io server disconnect"


@pytest.mark.feature(77, 78, 98)
async def test_a_server_that_is_alone_has_nobody_to_emit_to() -> None:
    io = Server()
    heard: list[Any] = []
    for emitter in (io, io.sockets, io.of("/other")):
        with pytest.raises(AdapterError, match="no other nodes"):
            emitter.server_side_emit("event")
        with pytest.raises(AdapterError, match="no other nodes"):
            await emitter.server_side_emit_with_ack("event")
        for name in ("connect", "connection", "new_namespace"):
            with pytest.raises(ValueError, match="is a reserved event name"):
                emitter.server_side_emit(name)
    assert heard == []


@pytest.mark.feature(86, 98)
async def test_events_of_other_nodes(caplog: pytest.LogCaptureFixture) -> None:
    io = Server()
    answers: list[Any] = []
    heard: list[Any] = []

    @io.on_server_event("sum")
    def add(a: int, b: int) -> int:
        heard.append((a, b))
        return a + b

    @io.on_server_event("disconnect")
    async def asynchronous() -> str:
        return "done"

    @io.on_server_event("bad")
    def bad() -> None:
        raise ValueError("no")

    async with TestClient(io):
        assert io.sockets.server_events() == ["sum", "disconnect", "bad"]
        for args in (["sum", 1, 2], ["disconnect"], ["nobody"], ["bad"], ["sum", "x", 2]):
            io.sockets.receive_server_event(args, answers.append)
        io.sockets.receive_server_event(["sum", 3, 4], None)
        await settle()
        assert sorted(map(str, answers)) == ["3", "done"]
        assert sorted(heard) == [(1, 2), (3, 4)]
        assert "the listener of the server event 'bad' raised" in caplog.text


async def test_a_chain_is_an_operator() -> None:
    io = Server()
    async with TestClient(io) as client:
        for chain in (io.to("x"), io.local, client.socket.broadcast, client.socket.to("x")):
            assert isinstance(chain, BroadcastOperator)

        @io.on("event")
        def event(socket: Socket) -> None:
            assert isinstance(socket.broadcast, BroadcastOperator)


async def test_an_answered_broadcast_is_not_timed_any_more() -> None:
    io = Server()
    async with TestClient(io) as client:
        client.on("ask", lambda: 1)
        timed = len(io.deadlines)
        assert await io.emit_with_ack("ask", timeout=60) == [1]
        assert await client.socket.emit_with_ack("ask", timeout=60) == 1
        assert len(io.deadlines) == timed


async def test_the_end_of_an_answered_broadcast_is_not_the_end_of_what_its_listeners_ask() -> None:
    io = Server()
    answers: list[Any] = []
    async with TestClient(io) as client:

        @client.socket.on_any_outgoing
        async def ask_more(event: str, *args: Any) -> None:
            if event == "ask":
                answers.append(await client.socket.emit_with_ack("more"))

        client.on("ask", lambda: 1)
        assert await io.emit_with_ack("ask") == [1]
        assert await client.receive() == ["more"]
        client._send(Packet(ACK, "/", [2], io.of("/").next_ack_id() - 1))
        await settle()
    assert answers == [2]


async def test_a_broadcast_reaches_everybody_whatever_a_session_s_listener_does() -> None:
    io = Server(limits=Limits(outbox_packets=4))
    async with TestClient(io) as first, TestClient(io) as second:
        first.socket.conn.on("drain", lambda: io.sockets_join("room"))
        first.socket.conn.on("drain", lambda: io.sockets_leave("room"))
        first.socket.conn.on("drain", lambda: second.connected and second.socket.disconnect())
        await settle()
        for number in range(20):
            io.emit("event", number)
        await settle()
        assert len(first.events) == 20
        assert len(second.events) == 20
