"""The client that applications are tested with."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from sio_core import AckTimeout, ConnectError, Server, SioError, Socket, SocketClosed, testing
from sio_core.testing import TestClient, VirtualClock, settle

pytestmark = pytest.mark.anyio


def chat_server() -> Server:
    io = Server()

    @io.on("chat message")
    def chat(socket: Socket, text: str) -> dict[str, str]:
        socket.broadcast.emit("chat message", text)
        return {"status": "ok"}

    @io.on("join")
    async def join(socket: Socket, room: str) -> None:
        await socket.join(room)

    return io


async def test_two_clients_chat() -> None:
    io = chat_server()
    async with TestClient(io) as ann, TestClient(io, auth={"name": "bob"}) as bob:
        assert await ann.emit_with_ack("chat message", "hi") == {"status": "ok"}
        assert await bob.receive("chat message") == ["hi"]
        assert await ann.received_nothing()
        await bob.emit("join", "room")
        assert bob.rooms == {"room"}
        assert bob.socket.handshake.auth == {"name": "bob"}
    assert not ann.connected
    assert not io.running


async def test_events_are_taken_in_their_order_or_by_their_name() -> None:
    io = Server()
    async with TestClient(io) as client:
        for number in range(3):
            client.socket.emit("odd" if number % 2 else "even", number)
        assert not await client.received_nothing()
        assert not await client.received_nothing("odd")
        assert await client.received_nothing("other")
        assert await client.receive("odd") == [1]
        assert await client.receive() == ["even", 0]
        assert [*client.events] == [["even", 2]]


async def test_what_does_not_come_fails_and_says_what_did(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(testing, "PATIENCE", 0.01)
    io = Server()
    async with TestClient(io) as client:
        client.socket.emit("other")
        with pytest.raises(AssertionError, match="no event 'this' came; there were \\['other'\\]"):
            await client.receive("this")
        with pytest.raises(AckTimeout):
            await client.emit_with_ack("nobody listens")


async def test_binary_and_large_data_go_both_ways() -> None:
    io = Server(max_http_buffer_size=10_000_000)
    io.on("echo", lambda socket, *args: args)
    async with TestClient(io) as client:
        for size in (10, 200, 70_000):
            assert await client.emit_with_ack("echo", "x" * size, b"y" * size) == ["x" * size, b"y" * size]


async def test_answers() -> None:
    io = Server()
    async with TestClient(io) as client:
        client.on("add", lambda a, b: a + b)
        client.on("both", lambda a, b: [a, b])
        assert await client.socket.emit_with_ack("add", 1, 2) == 3
        assert await client.socket.emit_with_ack("both", 1, 2) == (1, 2)
        client.socket.emit("add", 1, 2)
        assert await client.receive("add") == [1, 2]


async def test_a_refusal_is_raised() -> None:
    io = Server(allow_request=lambda request: "let-me-in" in request.headers)

    @io.use
    def check(socket: Socket) -> None:
        if "token" not in socket.handshake.auth:
            raise ConnectError("not authorised", {"code": 401})

    headers = {"let-me-in": "please"}
    with pytest.raises(ConnectError) as info:
        async with TestClient(io, headers=headers):
            pass
    assert (info.value.message, info.value.data) == ("not authorised", {"code": 401})
    with pytest.raises(ConnectError, match="Invalid namespace"):
        async with TestClient(io, "/nowhere", headers=headers):
            pass
    with pytest.raises(SioError, match="Forbidden"):
        async with TestClient(io):
            pass
    async with TestClient(io, headers=headers, auth={"token": 1}) as client:
        assert client.connected
    assert not io.running


async def test_a_failed_assertion_stays_what_it_is() -> None:
    with pytest.raises(AssertionError, match="as it is"):
        async with TestClient(Server()):
            raise AssertionError("as it is")


@pytest.mark.feature(155)
async def test_two_may_wait_for_events_of_one_client() -> None:
    io = Server()
    async with TestClient(io) as client, anyio.create_task_group() as task_group:
        got: list[list[Any]] = []

        async def wait_for(name: str) -> None:
            got.append(await client.receive(name))

        task_group.start_soon(wait_for, "one")
        task_group.start_soon(wait_for, "two")
        await settle()
        io.emit("one", 1)
        await settle()
        io.emit("two", 2)
        await settle()
        assert got == [[1], [2]]


async def test_who_was_refused_a_namespace_is_not_in_it() -> None:
    io = Server()
    async with TestClient(io) as client:
        with pytest.raises(ConnectError):
            await client.join("/nowhere")
        await client.disconnect()
        await settle()
        assert not io.engine.clients


async def test_several_namespaces() -> None:
    io = Server()
    io.of("/admin").on("ping", lambda socket: "pong")
    async with TestClient(io) as client:
        admin = await client.join("admin", auth={"token": 1})
        assert await admin.emit_with_ack("ping") == "pong"
        assert admin.socket.handshake.auth == {"token": 1}
        await client.disconnect()
        assert admin.connected
        assert await client.wait_disconnected() == "io client disconnect"
        await admin.disconnect()
        await settle()
        assert io.engine.clients_count == 0


async def test_how_it_ends() -> None:
    io = Server()
    async with TestClient(io) as client:
        client.socket.disconnect()
        assert await client.wait_disconnected() == "io server disconnect"
        with pytest.raises(SocketClosed, match="the client is not connected"):
            client.socket  # noqa: B018
    async with TestClient(io) as client:
        client.lose_connection()
        assert await client.wait_disconnected() == "transport close"
        await client.emit("into the void")
    async with TestClient(io) as client:
        await io.close()
        assert await client.wait_disconnected() == "transport close"


async def test_an_answer_that_cannot_come_any_more() -> None:
    io = Server()
    io.on("bye", lambda socket: socket.disconnect(close=True))
    async with TestClient(io) as client:
        with pytest.raises(SocketClosed):
            await client.emit_with_ack("bye")


async def test_outside_of_its_block_it_has_no_connection() -> None:
    with pytest.raises(SocketClosed, match="use it in an `async with` block"):
        await TestClient(Server()).emit("event")


async def test_the_time_may_be_virtual() -> None:
    io = Server(ping_interval=25.0, ping_timeout=20.0)
    reasons: list[str] = []
    io.on("disconnect", lambda socket, reason: reasons.append(reason))
    clock = VirtualClock()
    with pytest.raises(AssertionError, match="the clock belongs to no server yet"):
        await clock.advance(1)
    async with TestClient(io, clock=clock) as ann, TestClient(io, clock=clock) as bob:
        begin = clock.now()
        await clock.advance(3_600)
        assert clock.now() == begin + 3_600
        assert ann.connected
        assert bob.connected
        bob.stop_answering_pings()
        await clock.advance(46)
        assert ann.connected
        assert not bob.connected
        assert reasons == ["ping timeout"]


async def test_the_first_request_can_be_shaped() -> None:
    io = Server()
    async with TestClient(
        io, headers={"Cookie": "a=1"}, query={"room": "x y"}, address="2001:db8::1"
    ) as client:
        handshake = client.socket.handshake
        assert handshake.headers["cookie"] == "a=1"
        assert handshake.query["room"] == "x y"
        assert handshake.address == "2001:db8::1"


async def test_a_client_that_is_cancelled_leaves_nothing_behind() -> None:
    io = Server()
    log: list[Any] = []
    io.on("disconnect", lambda socket, reason: log.append(reason))
    with anyio.CancelScope() as scope:
        async with TestClient(io):
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert len(log) == 1
    assert not io.running
    assert io.engine.clients_count == 0
