"""Sockets: what they know of their client, what they send, and how they end."""

from __future__ import annotations

import logging
from email.utils import parsedate_to_datetime
from typing import Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from sio_core import (
    Ack,
    AckTimeout,
    Handshake,
    InvalidPacket,
    Limits,
    LocalProtocolError,
    Packet,
    Server,
    Socket,
    SocketClosed,
)
from sio_core.socketio.packet import DISCONNECT
from sio_core.testing import TestClient, VirtualClock, settle
from tests.api.peer import running

pytestmark = pytest.mark.anyio


def echo_server(**options: Any) -> Server:
    io = Server(**options)

    @io.on("echo")
    def echo(socket: Socket, *args: Any) -> None:
        socket.emit("echo", *args)

    return io


# What it knows


@pytest.mark.feature(107, 112, 114, 115, 116, 117, 154)
async def test_what_a_socket_is() -> None:
    io = Server()
    async with TestClient(io) as client:
        socket = client.socket
        assert len(socket.id) == 20
        assert socket.id == client.id
        assert socket.connected
        assert not socket.disconnected
        assert socket.namespace is io.sockets
        assert socket.client.conn is socket.conn
        assert socket.conn is io.engine.clients[socket.conn.id]
        assert socket.conn.id != socket.id
        assert socket.request is socket.client.request is socket.conn.request
        assert socket.request is not None
        assert socket.request.path == "/socket.io/"
        assert repr(socket) == f"<Socket {socket.id} of />"
    assert not socket.connected
    assert socket.disconnected


@pytest.mark.feature(108, 109)
async def test_the_handshake() -> None:
    io = Server(cors="*")
    headers = {"Origin": "http://elsewhere.example", "X-Token": "abc"}
    async with TestClient(
        io, auth={"user": "ann"}, headers=headers, query={"a": "1"}, address="192.0.2.7"
    ) as client:
        handshake = client.socket.handshake
        assert handshake.auth == {"user": "ann"}
        assert handshake.headers["x-token"] == "abc"
        assert handshake.query == {"a": "1", "EIO": "4", "transport": "websocket"}
        assert handshake.url == "/socket.io/?a=1&EIO=4&transport=websocket"
        assert handshake.address == "192.0.2.7"
        assert handshake.xdomain
        assert not handshake.secure
        assert parsedate_to_datetime(handshake.time).timestamp() == handshake.issued // 1000


async def test_the_handshake_belongs_to_a_namespace() -> None:
    io = Server()
    io.of("/other")
    async with TestClient(io) as client:
        other = await client.join("/other", auth={"token": 1})
        socket = io.of("/other").sockets[other.id]
        assert client.socket.handshake.auth == {}
        assert socket.handshake.auth == {"token": 1}
        assert socket.handshake.issued == client.socket.handshake.issued
        assert not socket.handshake.xdomain


@pytest.mark.feature(173, 236)
async def test_the_request_may_be_dropped_to_save_memory() -> None:
    io = Server()
    io.of("/late")
    io.engine.on("connection", lambda session: setattr(session, "request", None))
    async with TestClient(io) as client:
        assert client.socket.request is None
        handshake = client.socket.handshake
        assert (handshake.headers, handshake.query, handshake.url, handshake.secure) == ({}, {}, None, True)
        assert handshake.address == ""
        assert Handshake(None, {}, 0).time == "Thu, 01 Jan 1970 00:00:00 GMT"


@pytest.mark.feature(111, 118)
async def test_data_and_attributes_are_the_application_s() -> None:
    io = Server()
    async with TestClient(io) as client, TestClient(io) as other:
        socket: Any = client.socket
        assert socket.data == {}
        socket.data["name"] = "ann"
        socket.score = 5
        assert other.socket.data == {}
        assert socket.score == 5


@pytest.mark.feature(113)
async def test_a_new_socket_is_not_recovered() -> None:
    async with TestClient(Server()) as client:
        assert not client.socket.recovered


# Sending


@pytest.mark.feature(119, 121, 142)
async def test_emit_and_send() -> None:
    io = Server()
    async with TestClient(io) as client:
        socket = client.socket
        await socket.emit("event", 1, "two", [3], {"four": None})
        await socket.emit("nothing")
        await socket.send("hello", b"\x01")
        await socket.emit("binary", {"deep": [b"\x01", bytearray(b"\x02")]}, memoryview(b"\x03"))
        assert await client.receive() == ["event", 1, "two", [3], {"four": None}]
        assert await client.receive() == ["nothing"]
        assert await client.receive() == ["message", "hello", b"\x01"]
        assert await client.receive() == ["binary", {"deep": [b"\x01", b"\x02"]}, b"\x03"]


@pytest.mark.feature(140)
@pytest.mark.parametrize(
    "name", ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]
)
async def test_reserved_names(name: str) -> None:
    io = Server()
    async with TestClient(io) as client:
        socket = client.socket
        for emit in (socket.emit, socket.volatile.emit, io.emit, io.to("x").emit, socket.broadcast.emit):
            with pytest.raises(ValueError, match=f'"{name}" is a reserved event name'):
                emit(name)
        for ask in (socket.emit_with_ack, socket.timeout(1).call, io.emit_with_ack, io.to("x").call):
            with pytest.raises(ValueError, match=f'"{name}" is a reserved event name'):
                await ask(name)
        assert await client.received_nothing()


async def test_what_cannot_be_sent_is_refused_at_once() -> None:
    io = Server()
    async with TestClient(io) as client:
        with pytest.raises(TypeError, match="object cannot be sent"):
            client.socket.emit("event", object())
        with pytest.raises(TypeError, match="object cannot be sent"):
            await client.socket.emit_with_ack("event", object())
        with pytest.raises(LocalProtocolError, match="too many attachments"):
            client.socket.emit("event", *[b"x"] * 11)
        client.socket.emit("still", "here")
        assert await client.receive() == ["still", "here"]


@pytest.mark.feature(120)
async def test_answers_of_the_client() -> None:
    io = Server()
    async with TestClient(io) as client:
        socket = client.socket
        client.on("one", lambda *args: "answer")
        client.on("none", lambda *args: [])
        client.on("several", lambda *args: [1, b"2"])
        assert await socket.emit_with_ack("one") == "answer"
        assert await socket.call("none") is None
        assert await socket.emit_with_ack("several") == (1, b"2")
        assert await socket.timeout(5).call("one") == "answer"
        assert await socket.timeout(5).volatile.compress(False).emit_with_ack("one") == "answer"


@pytest.mark.feature(122)
async def test_an_answer_that_does_not_come_in_time() -> None:
    io = Server()
    clock = VirtualClock()
    async with TestClient(io, clock=clock) as client, anyio.create_task_group() as task_group:
        errors: list[str] = []

        async def ask(timeout: float) -> None:
            with pytest.raises(AckTimeout) as info:
                await client.socket.timeout(timeout).emit_with_ack("question")
            errors.append(f"{timeout} {info.value}")

        task_group.start_soon(ask, 2)
        task_group.start_soon(ask, 1)
        await settle()
        await clock.advance(0.9)
        assert errors == []
        await clock.advance(0.2)
        assert errors == ["1 operation has timed out"]
        await clock.advance(1)
        assert errors == ["1 operation has timed out", "2 operation has timed out"]
        assert [name for (name,) in client.events] == ["question", "question"]


async def test_waiting_for_an_answer_may_be_cancelled() -> None:
    io = Server()
    async with TestClient(io) as client:
        with anyio.move_on_after(0.01):
            await client.socket.emit_with_ack("question")
        assert client.socket._acks == {}


async def test_pending_answers_fail_when_the_socket_closes() -> None:
    io = Server()
    async with TestClient(io) as client, anyio.create_task_group() as task_group:
        socket = client.socket
        failed = anyio.Event()

        async def ask() -> None:
            with pytest.raises(SocketClosed):
                await socket.emit_with_ack("question")
            failed.set()

        task_group.start_soon(ask)
        await settle()
        client.lose_connection()
        await failed.wait()
        with pytest.raises(SocketClosed):
            await socket.emit_with_ack("question")


async def test_too_many_answers_are_awaited() -> None:
    io = Server(limits=Limits(acks_per_socket=1))
    async with TestClient(io) as client, anyio.create_task_group() as task_group:
        task_group.start_soon(client.socket.emit_with_ack, "question")
        await settle()
        with pytest.raises(LocalProtocolError, match="too many acknowledgements"):
            await client.socket.emit_with_ack("question")
        client.on("late", lambda: "never asked")
        with pytest.raises(AckTimeout) as info:
            await io.timeout(0.01).emit_with_ack("late")
        assert (info.value.partial, info.value.missing) == ([], 1)
        assert io.stats()["limit_hits"] == {"acks_per_socket": 2}
        task_group.cancel_scope.cancel()


async def test_after_the_end_nothing_is_sent() -> None:
    io = Server()
    async with TestClient(io) as client:
        socket = client.socket
    await socket.emit("event")
    socket.join("room")
    socket.leave("room")
    socket.disconnect()
    socket.disconnect(close=True)
    socket.spawn(anyio.sleep_forever)
    assert socket.rooms == set()
    assert await client.received_nothing()


@pytest.mark.feature(124)
async def test_volatile_events_leave_at_once_or_never() -> None:
    io = Server()
    async with running(io) as peer:
        client = await peer.open()
        packet = await client.connect()
        socket = io.sockets.sockets[packet[10:30]]
        socket.volatile.emit("lost")
        socket.volatile.emit("lost", b"\x01")
        io.volatile.emit("lost")
        socket.emit("kept")
        assert await client.get() == '42["kept"]'
        request = peer.start(client.target)
        assert not request.answered
        socket.volatile.emit("there")
        assert (await request.reply()).text == '42["there"]'


@pytest.mark.feature(123, 71)
async def test_compress_is_a_flag_of_each_event() -> None:
    io = Server()
    text = "x" * 2_000
    async with running(io) as peer:
        client = await peer.open()
        packet = await client.connect()
        socket = io.sockets.sockets[packet[10:30]]

        async def coding() -> str | None:
            return (await client.poll(Accept_Encoding="gzip")).headers.get("content-encoding")

        socket.emit("event", text)
        assert await coding() == "gzip"
        for target in (socket.compress(False), io.compress(False), io.to(socket.id).compress(False)):
            target.emit("event", text)
            assert await coding() is None
        socket.compress(False).compress(True).emit("event", text)
        assert await coding() == "gzip"
        socket.compress(False).emit("event", text)
        socket.emit("event")
        assert await coding() == "gzip"


async def test_awaiting_an_emit_waits_for_room() -> None:
    io = Server(limits=Limits(outbox_low_water=1_000))
    async with running(io) as peer, anyio.create_task_group() as task_group:
        client = await peer.open()
        packet = await client.connect()
        socket = io.sockets.sockets[packet[10:30]]
        log: list[str] = []
        await socket.emit("small", "x" * 900)

        async def emit() -> None:
            await socket.emit("large", "x" * 200)
            log.append("sent")

        task_group.start_soon(emit)
        await settle()
        assert log == []
        assert not socket.has_room
        await client.get()
        await settle()
        assert log == ["sent"]
        assert socket.has_room


async def test_a_slow_consumer_is_closed() -> None:
    io = Server(limits=Limits(outbox_bytes=42))
    reasons: list[Any] = []
    io.on("disconnect", lambda socket, reason, details: reasons.append((reason, details)))
    async with running(io) as peer, anyio.create_task_group() as task_group:
        client = await peer.open()
        packet = await client.connect()
        socket = io.sockets.sockets[packet[10:30]]
        for number in range(4):
            socket.emit("number", number)
        assert reasons == []
        task_group.start_soon(socket.wait_for_room)
        await settle()
        assert reasons == [("transport close", {"limit": "outbox_bytes", "value": 42})]
        assert io.stats()["limit_hits"] == {"outbox_bytes": 1}


async def test_emitting_from_another_thread() -> None:
    io = Server()
    async with TestClient(io) as client, TestClient(io) as other:
        socket = client.socket

        def work() -> None:
            for number in range(20):
                socket.emit("number", number)
            socket.join("room")
            io.to("room").emit("room")
            socket.broadcast.emit("others")
            io.in_(socket.id).sockets_join("second")
            socket.leave("room")
            io.in_(socket.id).sockets_leave("nowhere")

        await anyio.to_thread.run_sync(work)
        assert [await client.receive("number") for _ in range(20)] == [[number] for number in range(20)]
        assert await client.receive("room") == []
        assert await other.receive() == ["others"]
        assert client.rooms == {"second"}
        await anyio.to_thread.run_sync(socket.disconnect)
        assert await client.wait_disconnected() == "io server disconnect"
        await anyio.to_thread.run_sync(io.disconnect_sockets)
        assert await other.wait_disconnected() == "io server disconnect"


async def test_what_a_thread_sends_wrongly_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    io = Server()
    async with TestClient(io) as client:
        await anyio.to_thread.run_sync(client.socket.emit, "event", object())
        await anyio.to_thread.run_sync(client.socket.emit, "event")
        assert await client.receive() == ["event"]
        assert "called from another thread, raised" in caplog.text
        assert "object cannot be sent" in caplog.text


# Receiving


@pytest.mark.feature(133)
async def test_listeners_of_one_socket() -> None:
    io = Server()
    log: list[Any] = []
    async with TestClient(io) as client, TestClient(io) as other:
        socket = client.socket

        @socket.on("event")
        def first(*args: Any) -> None:
            log.append(("first", *args))

        def second(*args: Any) -> None:
            log.append(("second", *args))

        assert socket.on("event", second) is second
        socket.once("event", lambda *args: log.append("once"))
        assert socket.event_names() == ["event"]
        assert socket.listeners("event")[:2] == [first, second]
        await client.emit("event", 1)
        assert log == [("first", 1), ("second", 1), "once"]
        log.clear()
        socket.off("event", first)
        await client.emit("event", 2)
        assert log == [("second", 2)]
        log.clear()
        socket.off("event")
        await client.emit("event", 3)
        socket.on("event", first)
        socket.off()
        await client.emit("event", 4)
        await other.emit("event", 5)
        assert log == []
        assert socket.event_names() == []


@pytest.mark.feature(134)
async def test_catch_all_listeners() -> None:
    io = Server()
    log: list[Any] = []

    def last(*args: Any) -> None:
        log.append(("last", *args))

    def first(*args: Any) -> None:
        log.append(("first", *args))

    async with TestClient(io) as client:
        socket = client.socket
        socket.on("event", lambda *args: log.append(("listener", *args)))
        socket.use(lambda event, args: log.append("middleware"))
        assert socket.on_any(last) is last
        socket.prepend_any(first)
        assert socket.listeners_any() == [first, last]
        await client.emit("event", 1)
        assert log == [("first", "event", 1), ("last", "event", 1), "middleware", ("listener", 1)]
        log.clear()
        await client.emit("nobody listens")
        assert log == [("first", "nobody listens"), ("last", "nobody listens"), "middleware"]
        socket.off_any(first)
        assert socket.listeners_any() == [last]
        socket.off_any()
        socket.off_any(first)
        log.clear()
        await client.emit("event", 2)
        assert log == ["middleware", ("listener", 2)]


@pytest.mark.feature(135)
async def test_catch_all_listeners_of_what_is_sent() -> None:
    io = Server()
    log: list[Any] = []

    def last(*args: Any) -> None:
        log.append(("last", *args))

    def first(*args: Any) -> None:
        log.append(("first", *args))

    async with TestClient(io) as client, TestClient(io) as other:
        socket = client.socket
        client.on("question", lambda: 1)
        other.on("question", lambda: 2)
        socket.on_any_outgoing(last)
        socket.prepend_any_outgoing(first)
        assert socket.listeners_any_outgoing() == [first, last]
        socket.emit("direct", 1)
        io.emit("broadcast")
        other.socket.emit("not this one")
        await io.to(socket.id).emit_with_ack("question")
        await socket.emit_with_ack("question")
        assert log[::2] == [
            ("first", *args) for args in (("direct", 1), ("broadcast",), ("question",), ("question",))
        ]
        log.clear()
        socket.off_any_outgoing(first)
        socket.volatile.emit("volatile")
        assert log == [("last", "volatile")]
        socket.off_any_outgoing()
        io.emit("broadcast")
        assert log == [("last", "volatile")]


@pytest.mark.feature(134, 135)
async def test_errors_of_catch_all_listeners_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    io = Server()

    async def asynchronous(*args: Any) -> None:
        raise ValueError("async")

    def plain(*args: Any) -> None:
        raise ValueError("plain")

    heard: list[Any] = []
    async with TestClient(io) as client:
        for function in (asynchronous, plain):
            client.socket.on_any(function)
            client.socket.on_any_outgoing(function)
        client.socket.on("event", lambda: heard.append(1))
        await client.emit("event")
        await client.socket.emit("back")
        assert heard == [1]
        assert await client.receive() == ["back"]
        await settle()
        assert sorted(record.getMessage().split(" raised")[0] for record in caplog.records) == [
            "on_any of 'event'",
            "on_any of 'event'",
            "on_any_outgoing of 'back'",
            "on_any_outgoing of 'back'",
        ]


@pytest.mark.feature(132)
async def test_middlewares_of_a_socket() -> None:
    io = Server()
    log: list[Any] = []
    errors: list[str] = []
    io.on("event", lambda socket, *args: log.append(("event", *args)))
    io.on("renamed", lambda socket, *args: log.append(("renamed", *args)))

    async with TestClient(io) as client:
        socket = client.socket
        socket.on("error", lambda error: errors.append(str(error)))

        @socket.use
        def change(event: str, args: list[Any]) -> None:
            if args:
                args[0] = args[0] * 2

        @socket.use
        async def refuse(event: str, args: list[Any]) -> str | None:
            await anyio.lowlevel.checkpoint()
            if event == "refused":
                raise ValueError("not this one")
            return "renamed" if args and args[-1] == "rename" else None

        @socket.use
        def third(event: str, args: list[Any]) -> None:
            args.append(event)

        await client.emit("event", 1)
        await client.emit("refused", 2)
        await client.emit("event", 3, "rename")
        await client.emit("event")
        await settle()
        assert log == [("event", 2, "event"), ("renamed", 6, "rename", "renamed"), ("event", "event")]
        assert errors == ["not this one"]
        assert await client.received_nothing()


@pytest.mark.feature(132, 194)
async def test_events_keep_their_order_behind_an_async_middleware() -> None:
    io = Server()
    log: list[int] = []
    gates = [anyio.Event(), anyio.Event()]
    io.on("event", lambda socket, number: log.append(number))
    io.on("disconnect", lambda socket: log.append(-1))
    async with TestClient(io) as client:

        async def slow(event: str, args: list[Any]) -> None:
            if args[0] < 2:
                await gates[args[0]].wait()

        client.socket.use(slow)
        for number in range(3):
            await client.emit("event", number)
        client.lose_connection()
        await settle()
        gates[1].set()
        await settle()
        assert log == []
        gates[0].set()
        await settle()
        assert log == [0, 1, 2, -1]


@pytest.mark.feature(138)
async def test_a_packet_that_cannot_be_parsed_goes_to_error() -> None:
    io = Server()
    io.of("/other")
    errors: list[Any] = []
    reasons: list[Any] = []
    io.on("error", lambda socket, error: errors.append(("/", type(error))))
    io.of("/other").on("error", lambda socket, error: errors.append(("/other", type(error))))
    io.on("disconnect", lambda socket, reason: reasons.append(reason))
    async with TestClient(io) as client:
        await client.join("/other")
        client._transport.send_message("42[")
        assert await client.wait_disconnected() == "transport close"
        await settle()
        assert errors == [("/", InvalidPacket), ("/other", InvalidPacket)]
        assert reasons == ["forced close"]


# Rooms and the end


@pytest.mark.feature(110, 129, 130)
async def test_rooms() -> None:
    io = Server()
    async with TestClient(io) as client:
        socket = client.socket
        assert socket.rooms == {socket.id}
        await socket.join("a")
        socket.join("b", "c")
        assert socket.rooms == {socket.id, "a", "b", "c"}
        rooms = socket.rooms
        rooms.clear()
        await socket.leave("a", "b")
        socket.leave("never joined")
        assert socket.rooms == {socket.id, "c"}


async def test_the_number_of_rooms_may_be_bounded() -> None:
    io = Server(limits=Limits(rooms_per_socket=3))
    async with TestClient(io) as client:
        client.socket.join("a", "b")
        client.socket.join("a")
        with pytest.raises(LocalProtocolError, match="a socket may be in 3 rooms"):
            client.socket.join("c")
        assert client.rooms == {"a", "b"}


async def test_the_own_room_of_another_socket_cannot_be_joined() -> None:
    io = Server()
    async with TestClient(io) as client, TestClient(io) as other:
        with pytest.raises(LocalProtocolError, match="another socket's id"):
            client.socket.join("a", other.socket.id)
        client.socket.join(client.socket.id)
        assert client.rooms == set()
        gone = other.socket.id
    async with TestClient(io) as client:
        client.socket.join(gone)


@pytest.mark.feature(131, 136, 137, 139)
async def test_disconnecting_and_disconnect() -> None:
    io = Server()
    log: list[Any] = []

    @io.on("disconnecting")
    def disconnecting(socket: Socket, reason: str, details: Any) -> None:
        log.append(("disconnecting", reason, details, sorted(socket.rooms - {socket.id}), socket.connected))

    @io.on("disconnect")
    def disconnect(socket: Socket, reason: str, details: Any) -> None:
        socket.join("too late")
        log.append(("disconnect", reason, details, sorted(socket.rooms), socket.connected))

    async def end(how: str) -> list[Any]:
        log.clear()
        async with TestClient(io) as client:
            client.socket.join("room")
            socket = client.socket
            socket.on("disconnecting", lambda reason: log.append(("own", reason)))
            socket.on("disconnect", lambda: log.append("own end"))
            if how == "client":
                await client.disconnect()
            elif how == "server":
                socket.disconnect()
                assert await client.wait_disconnected() == "io server disconnect"
                assert socket.conn.state == "open"
            elif how == "server, altogether":
                socket.disconnect(close=True)
                assert await client.wait_disconnected() == "io server disconnect"
                assert socket.conn.state == "closed"
            elif how == "lost":
                client.lose_connection()
            elif how == "engine":
                socket.conn.close()
            elif how == "violation":
                client._transport.send_message("40")
            else:
                await io.close()
            await settle()
            assert socket.id not in io.sockets.sockets
        return list(log)

    def expected(reason: str, details: Any = None) -> list[Any]:
        return [
            ("disconnecting", reason, details, ["room"], True),
            ("own", reason),
            ("disconnect", reason, details, [], False),
            "own end",
        ]

    assert await end("client") == expected("client namespace disconnect")
    assert await end("server") == expected("server namespace disconnect")
    assert await end("server, altogether") == expected("server namespace disconnect")
    assert await end("lost") == expected("transport close")
    assert await end("engine") == expected("forced close")
    assert await end("violation") == expected("forced close")
    assert await end("shutdown") == expected("server shutting down")


@pytest.mark.feature(139)
async def test_the_heartbeat_and_bad_packets_have_their_reasons() -> None:
    io = Server(ping_interval=1.0, ping_timeout=1.0)
    reasons: list[str] = []
    io.on("disconnect", lambda socket, reason: reasons.append(reason))
    clock = VirtualClock()
    async with TestClient(io, clock=clock) as client:
        client.stop_answering_pings()
        await clock.advance(2.1)
        assert reasons == ["ping timeout"]
    async with TestClient(io, clock=clock) as client:
        client._transport.send_message("9")
        await settle()
        assert reasons == ["ping timeout", "parse error"]
    async with TestClient(io, clock=clock) as client:
        client._transport.send_message("2")
        await settle()
        assert reasons == ["ping timeout", "parse error", "transport error"]


@pytest.mark.feature(139)
async def test_a_violation_while_the_engine_cannot_close_at_once() -> None:
    io = Server()
    reasons: list[str] = []
    io.on("disconnect", lambda socket, reason: reasons.append(reason))
    async with running(io) as peer:
        client = await peer.open()
        await client.connect()
        await client.post("40")
        assert reasons == ["forced server close"]
        assert await client.get() == "6\x1e1"


@pytest.mark.feature(131)
async def test_the_client_may_come_back_on_the_same_connection() -> None:
    io = Server()
    async with TestClient(io) as client:
        client.socket.disconnect()
        await client.wait_disconnected()
        again = await client.join("/")
        assert again.id != client.id
        assert again.id in io.sockets.sockets


@pytest.mark.feature(136, 137)
async def test_async_listeners_of_the_end() -> None:
    io = Server()
    log: list[Any] = []

    @io.on("disconnecting")
    async def disconnecting(socket: Socket) -> None:
        log.append(sorted(socket.rooms - {socket.id}))
        await anyio.lowlevel.checkpoint()
        log.append("disconnecting ends")

    @io.on("disconnect")
    async def disconnect(socket: Socket, reason: str) -> None:
        log.append((reason, socket.rooms))
        raise ValueError("reported")

    async with TestClient(io) as client:
        client.socket.join("room")
        logging.disable(logging.ERROR)
        try:
            await client.disconnect()
            await settle()
        finally:
            logging.disable(logging.NOTSET)
        assert log[0] == ["room"]
        assert sorted(map(str, log[1:])) == [
            "('client namespace disconnect', set())",
            "disconnecting ends",
        ]


async def test_tasks_end_with_the_socket(caplog: pytest.LogCaptureFixture) -> None:
    io = Server()
    log: list[str] = []

    async def task(name: str) -> None:
        try:
            log.append(f"{name} begins")
            await anyio.sleep_forever()
        finally:
            log.append(f"{name} ends")

    async def short(name: str) -> None:
        log.append(name)

    async def failing() -> None:
        raise ValueError("no")

    async with TestClient(io) as client, TestClient(io) as other:
        client.socket.spawn(task, "one")
        other.socket.spawn(task, "two")
        client.socket.spawn(short, "short")
        client.socket.spawn(failing)
        await settle()
        assert sorted(log) == ["one begins", "short", "two begins"]
        assert "a spawned task raised an exception" in caplog.text
        await client.disconnect()
        await settle()
        assert log[3:] == ["one ends"]
    assert log[4:] == ["two ends"]


# The end, while something is going on


def frames(*messages: str) -> bytes:
    """WebSocket messages as one read brings them."""
    return b"".join(
        [bytes([0x81, 0x80 | len(message)]) + bytes(4) + message.encode() for message in messages]
    )


async def test_a_client_may_leave_and_come_again_in_one_read() -> None:
    io = Server()
    log: list[str] = []
    io.on("connection", lambda socket: log.append("connection"))
    io.on("disconnect", lambda socket, reason: log.append(reason))

    @io.on("event")
    async def event(socket: Socket) -> None:
        log.append("event")

    @io.on("disconnecting")
    async def disconnecting(socket: Socket, reason: str) -> None:
        log.append("disconnecting")

    async with TestClient(io) as client:
        first = client.socket
        client._transport.send(frames('42["event"]', "41", "40"))
        await settle()
        assert client.socket is not first
        assert client.socket.connected
        assert not first.connected
        assert sorted(log) == sorted(
            ["connection", "event", "disconnecting", "client namespace disconnect", "connection"]
        )
        assert io.sockets.adapter.rooms.members == {client.id: {client.id: 0}}
        await client.emit("event")
        assert log[-1] == "event"


async def test_a_client_that_comes_again_is_waited_for() -> None:
    io = Server(cleanup_empty_child_namespaces=True)
    io.of(lambda name, auth: True)
    let_in, go_on = anyio.Event(), anyio.Event()
    async with TestClient(io, "/child") as client:
        child = io.of("/child")
        socket = client.socket

        @socket.use
        async def wait(event: str, args: list[Any]) -> None:
            await go_on.wait()

        @child.use
        async def decide(socket: Socket) -> None:
            await let_in.wait()

        client._transport.send(frames('42/child,["event"]', "41/child,", "40/child,"))
        await settle()
        go_on.set()
        await settle()
        assert not socket.connected
        assert io.of("/child") is child
        let_in.set()
        await settle()
        assert list(child.sockets) == [client.id] != [socket.id]


async def test_an_event_that_waited_may_disconnect_a_socket_that_is_lost() -> None:
    io = Server(limits=Limits(handlers_per_socket=1), connection_state_recovery=True)
    log: list[str] = []
    free = anyio.Event()

    @io.on("slow")
    async def slow(socket: Socket) -> None:
        await free.wait()

    io.on("leave", lambda socket: socket.disconnect())
    io.on("disconnecting", lambda socket, reason: log.append(reason))
    io.on("disconnect", lambda socket, reason: log.append(reason))
    async with TestClient(io) as client:
        await client.emit("slow")
        await client.emit("leave")
        assert log == []
        client.lose_connection()
        await settle()
        assert log == ["server namespace disconnect"] * 2
        assert not io.sockets.adapter.keeps_sessions
        free.set()


async def test_a_socket_is_told_once_that_it_is_disconnected() -> None:
    io = Server()
    go_on = anyio.Event()
    reasons: list[str] = []
    io.of("/other").on("disconnect", lambda socket, reason: reasons.append(reason))
    async with TestClient(io) as client:
        other = await client.join("/other")
        socket = other.socket

        @socket.use
        async def wait(event: str, args: list[Any]) -> None:
            await go_on.wait()

        packets: list[Packet] = []
        client._transport.on_packet = packets.append
        await other.emit("event")
        socket.disconnect()
        socket.disconnect()
        await settle()
        assert [(packet.type, packet.namespace) for packet in packets] == [(DISCONNECT, "/other")]
        go_on.set()
        await settle()
        assert len(packets) == 1
        assert reasons == ["server namespace disconnect"]


async def test_a_middleware_that_waits_for_an_answer_does_not_keep_a_lost_socket() -> None:
    io = Server()
    log: list[str] = []
    io.on("disconnect", lambda socket, reason: log.append(reason))
    async with TestClient(io) as client:
        socket = client.socket

        @socket.use
        async def ask(event: str, args: list[Any]) -> None:
            for _ in range(2):
                try:
                    await socket.emit_with_ack("question")
                except SocketClosed:
                    log.append("closed")

        await client.emit("event")
        client.lose_connection()
        await settle()
        assert log == ["closed", "closed", "transport close"]
        assert not io.sockets.sockets


async def test_the_end_does_not_wait_for_listeners_that_run() -> None:
    io = Server(limits=Limits(handlers_per_socket=1))
    log: list[str] = []

    @io.on("ask")
    async def ask(socket: Socket) -> None:
        try:
            await socket.emit_with_ack("question")
        except SocketClosed:
            log.append("closed")

    io.on("disconnect", lambda socket, reason: log.append(reason))
    async with TestClient(io) as client:
        client._transport.send(frames('42["ask"]', "41"))
        await settle()
        assert sorted(log) == ["client namespace disconnect", "closed"]
        assert not io.sockets.sockets


async def test_a_socket_that_is_gone_holds_nobody_up() -> None:
    io = Server(limits=Limits(handlers_per_socket=1, queued_events=2))
    free = anyio.Event()

    @io.of("/other").on("slow")
    async def slow(socket: Socket) -> None:
        await free.wait()

    async with TestClient(io) as client:
        other = await client.join("/other")
        for _ in range(4):
            await other.emit("slow")
        assert client.socket.conn.paused
        other.socket.disconnect()
        assert not client.socket.conn.paused
        free.set()


async def test_only_one_of_several_listeners_answers() -> None:
    io = Server()
    answers: list[Any] = []
    wanted: list[bool] = []

    @io.on("ask")
    async def first(socket: Socket, ack: Ack) -> None:
        wanted.append(ack.wanted)
        await anyio.lowlevel.checkpoint()
        ack("first")

    @io.on("ask")
    async def second(socket: Socket, ack: Ack) -> None:
        wanted.append(ack.wanted)
        ack("second")

    io.on("ask", lambda socket: "third")
    async with TestClient(io) as client:
        receive = client._transport.on_packet

        def receive_too(packet: Packet) -> None:
            answers.append(packet.data)
            receive(packet)

        client._transport.on_packet = receive_too
        assert await client.emit_with_ack("ask") == "first"
        await settle()
        assert answers == [["first"]]
        assert sorted(wanted) == [False, True]
