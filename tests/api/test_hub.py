"""Where the two protocols meet: how clients connect, what ends them, and old clients."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import quote

import anyio
import pytest

from sio_core import ConnectError, InvalidPacket, Limits, Server, Socket
from sio_core.adapters.base import Adapter, LocalSockets
from sio_core.adapters.memory import MemoryAdapter
from sio_core.testing import TestClient, VirtualClock, settle
from tests.api.peer import running

pytestmark = pytest.mark.anyio


@pytest.mark.feature(5, 61)
async def test_a_client_that_joins_no_namespace_is_closed() -> None:
    io = Server(connect_timeout=3.0)
    clock = VirtualClock()
    async with running(io, clock) as peer:
        stranger = await peer.open()
        member = await peer.open()
        leaver = await peer.open()
        await member.connect()
        await leaver.connect()
        await leaver.post("41")
        await clock.advance(2.9)
        assert stranger.session.state == "open"
        await clock.advance(0.2)
        assert stranger.session.state == "closing"
        assert await stranger.get() == "6\x1e1"
        assert member.session.state == leaver.session.state == "open"


async def test_a_client_that_joins_no_namespace_and_polls_no_more_is_forgotten() -> None:
    io = Server(connect_timeout=3.0, limits=Limits(close_time=2.0))
    clock = VirtualClock()
    async with running(io, clock) as peer:
        stranger = await peer.open()
        await clock.advance(4.9)
        assert stranger.session.state == "closing"
        await clock.advance(0.2)
        assert io.engine.clients == {}
        assert io.engine.unconnected == 0


@pytest.mark.feature(5)
async def test_a_refused_client_is_closed_too() -> None:
    io = Server(connect_timeout=3.0)
    clock = VirtualClock()

    @io.use
    def refuse(socket: Socket) -> None:
        raise ConnectError("no")

    async with running(io, clock) as peer:
        client = await peer.open()
        assert await client.connect() == '44{"message":"no"}'
        assert client.session.state == "open"
        await clock.advance(3.1)
        assert client.session.state == "closing"


@pytest.mark.feature(109)
async def test_the_answers_to_connect() -> None:
    io = Server()
    io.of("/chat")
    io.of("/refused")

    @io.of("/refused").use
    def refuse(socket: Socket) -> None:
        raise ConnectError("no", {"code": 5, "auth": socket.handshake.auth})

    @io.on("connection")
    def connected(socket: Socket) -> None:
        socket.emit("welcome")
        socket.emit("binary", b"\x01")

    async with running(io) as peer:
        client = await peer.open()
        answer = await client.connect()
        (sid,) = io.sockets.sockets
        assert answer == (
            f'40{{"sid":"{sid}"}}\x1e42["welcome"]\x1e451-["binary",{{"_placeholder":true,"num":0}}]\x1ebAQ=='
        )
        sid = (await client.connect('40/chat,{"a":1}'))[16:36]
        assert io.of("/chat").sockets[sid].handshake.auth == {"a": 1}
        refusal = await client.connect('40/refused,{"a":1}')
        assert refusal == '44/refused,{"message":"no","data":{"code":5,"auth":{"a":1}}}'
        assert await client.connect("40/unknown,") == '44/unknown,{"message":"Invalid namespace"}'


@pytest.mark.feature(194)
async def test_events_right_behind_connect() -> None:
    io = Server()
    heard: list[Any] = []
    io.on("event", lambda socket, value: heard.append(value))
    async with running(io) as peer:
        client = await peer.open()
        await client.post('40\x1e42["event",1]\x1e42["event",2]\x1e41')
        assert heard == [1, 2]
        assert io.sockets.sockets == {}
        assert client.session.state == "open"


@pytest.mark.parametrize(
    "packets",
    [
        '42["event"]',
        "41",
        "430[1]",
        '42/other,["event"]',
        "40\x1e40",
        '44{"message":"x"}',
        "40\x1e41\x1e41",
    ],
)
async def test_what_breaks_the_protocol_ends_the_connection(packets: str) -> None:
    io = Server()
    io.of("/other")
    errors: list[Any] = []
    io.on("error", lambda socket, error: errors.append(error))
    async with running(io) as peer:
        client = await peer.open()
        await client.post(packets)
        assert client.session.state == "closing"
        assert io.sockets.sockets == {}
        assert errors == []


async def test_two_connects_at_a_time_end_the_connection() -> None:
    io = Server()
    gate = anyio.Event()

    @io.use
    async def slow(socket: Socket) -> None:
        await gate.wait()

    async with running(io) as peer:
        client = await peer.open()
        await client.post("40")
        await client.post("40")
        assert client.session.state == "closing"
        gate.set()
        await settle()
        assert io.sockets.sockets == {}
        assert io.sockets.pending == set()


async def test_an_event_while_the_middlewares_run_ends_the_connection() -> None:
    io = Server()
    io.use(lambda socket: anyio.sleep_forever())
    async with running(io) as peer:
        client = await peer.open()
        await client.post('40\x1e42["event"]')
        assert client.session.state == "closing"
        assert await client.get() == "6\x1e1"


@pytest.mark.feature(138, 139)
@pytest.mark.parametrize("packet", ["4", "4x", '42["connect"]', "42{}", "451-[]", "bAQID", '42["a"'])
async def test_what_cannot_be_parsed_ends_the_connection(packet: str) -> None:
    io = Server()
    log: list[Any] = []
    io.on("error", lambda socket, error: log.append(type(error)))
    io.on("disconnect", lambda socket, reason: log.append(reason))
    async with running(io) as peer:
        client = await peer.open()
        await client.connect()
        request = peer.start(client.target)
        await client.post(packet)
        await settle()
        assert log == [InvalidPacket, "forced close"]
        assert (await request.reply()).text == "1"


async def test_a_listener_may_close_the_session_it_is_called_from() -> None:
    io = Server()
    heard: list[Any] = []

    @io.on("first")
    def first(socket: Socket) -> None:
        heard.append("first")
        socket.conn.close()

    io.on("second", lambda socket: heard.append("second"))
    io.on("disconnect", lambda socket, reason: heard.append(reason))
    async with running(io) as peer:
        client = await peer.open()
        await client.connect()
        await client.post('42["first"]\x1e42["second"]')
        await client.get()
        await settle()
        assert heard == ["first", "forced close"]


async def test_an_internal_error_costs_one_connection(caplog: pytest.LogCaptureFixture) -> None:
    def fail(name: str, local: LocalSockets) -> Adapter:
        if name == "/other":
            raise ValueError("no adapter")
        return MemoryAdapter(name, local)

    io = Server(adapter=fail)
    io.of(lambda name, auth: True)
    async with TestClient(io) as client, running(io) as peer:
        other = await peer.open()
        await other.post("40/other")
        assert other.sid not in io.engine.clients
        assert "closed after an internal error" in caplog.text
        assert client.connected


async def test_a_client_is_refused_if_there_is_no_data_for_it(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> dict[str, Any]:
        raise ValueError("no data")

    io = Server(data_factory=fail, cleanup_empty_child_namespaces=True)
    io.of(lambda name, auth: True)
    async with running(io) as peer:
        client = await peer.open()
        assert await client.connect() == '44{"message":"internal error"}'
        assert await client.connect("40/child") == '44/child,{"message":"internal error"}'
        assert "data_factory raised an exception" in caplog.text
        assert not io.sockets.pending
        assert "/child" not in io._hub.namespaces
    assert not io.engine.clients


async def test_sessions_that_ended_while_nothing_ran_are_processed_by_the_next_start() -> None:
    io = Server()
    heard: list[str] = []
    io.on("disconnect", lambda socket, reason: heard.append(reason))
    async with running(io) as peer:
        client = await peer.open()
        await client.connect()
        session, runtime = client.session, io._hub.runtime
        io._hub.stop()
        session.close(discard=True)
        assert heard == []
        io._hub.start(runtime)
        await settle()
        assert heard == ["forced close"]
        other = await peer.open()
        await other.connect()
        other.session.close(discard=True)
        await settle()
        assert heard == ["forced close", "forced close"]


@pytest.mark.feature(175, 178, 179, 180)
async def test_what_a_session_reports() -> None:
    io = Server()
    log: list[Any] = []

    @io.on("connection")
    def connected(socket: Socket) -> None:
        conn = socket.conn
        assert (conn.protocol, conn.state, conn.transport) == (4, "open", "polling")
        assert conn.remote_address == "192.0.2.1"
        assert not conn.upgraded
        conn.on("message", lambda message: log.append(("message", message)))
        conn.on("packet", lambda packet: log.append(("packet", packet)))
        conn.on("packet_create", lambda packet: log.append(("packet_create", packet)))
        conn.on("flush", lambda packets: log.append(("flush", packets)))
        conn.on("drain", lambda: log.append("drain"))
        conn.on("close", lambda reason, details: log.append(("close", reason, details)))

    async with running(io) as peer:
        client = await peer.open()
        await client.connect()
        assert log[-2][0] == "flush"
        log.clear()
        await client.post('42["event"]')
        assert log == [("packet", '42["event"]'), ("message", '2["event"]')]
        log.clear()
        client.session.send("text")
        client.session.send(b"\x01")
        assert log == []
        assert await client.get() == "4text\x1ebAQ=="
        assert log == [
            ("packet_create", "4text"),
            ("packet_create", b"\x01"),
            ("flush", ["4text", b"\x01"]),
            "drain",
        ]
        log.clear()
        await client.post("1")
        assert log == [("packet", "1"), ("close", "transport close", None)]


@pytest.mark.feature(170)
async def test_the_engine_reports_what_leaves() -> None:
    io = Server()
    log: list[Any] = []
    io.engine.on("flush", lambda session, packets: log.append((session.id, packets)))
    io.engine.on("drain", lambda session: log.append(session.id))
    async with running(io) as peer:
        client = await peer.open()
        client.session.send("text")
        assert await client.get() == "4text"
        assert log == [(client.sid, ["4text"]), client.sid]


# Clients of Socket.IO 2


def framed(*packets: str) -> str:
    """Packets as Engine.IO 3 puts them into the body of a request."""
    return "".join([f"{len(packet)}:{packet}" for packet in packets])


@pytest.mark.feature(40)
async def test_old_clients_are_let_in_only_if_asked_for() -> None:
    async with running(Server()) as peer:
        reply = await peer.fetch("/socket.io/?EIO=3&transport=polling")
        assert (reply.status, reply.text) == (400, '{"code":5,"message":"Unsupported protocol version"}')


@pytest.mark.feature(40)
async def test_an_old_client_is_in_the_main_namespace_at_once() -> None:
    io = Server(allow_eio3=True)
    heard: list[Any] = []
    io.on("event", lambda socket, *args: heard.append(args) or "answer")
    async with running(io) as peer:
        client = await peer.open(3)
        assert await client.get() == "2:40"
        socket = io.sockets.sockets[client.sid]
        assert socket.id == client.sid
        assert socket.conn.protocol == 3
        await client.post(framed('420["event","é"]'))
        assert heard == [("é",)]
        assert await client.get() == framed('430["answer"]')
        await client.post("1:2")
        assert await client.get() == "1:3"


@pytest.mark.feature(40)
async def test_the_query_of_an_old_client_s_namespace() -> None:
    io = Server(allow_eio3=True)
    chat = io.of("/chat")
    async with running(io) as peer:
        client = await peer.open(3)
        await client.get()
        await client.post(framed("40/chat?token=a%20b&x=1&x=2,"))
        assert await client.get() == "8:40/chat,"
        socket = chat.sockets[f"/chat#{client.sid}"]
        assert socket.handshake.auth == {"token": "a b", "x": "2"}
        await client.post(framed('42/chat,["message"]'))
        assert client.session.state == "open"
        await client.post(framed("40/chat?x=1,"))
        assert client.session.state == "closing"
        assert chat.sockets == {}


@pytest.mark.feature(40)
async def test_a_new_client_s_namespace_has_no_query() -> None:
    io = Server()
    io.of("/chat")
    async with running(io) as peer:
        client = await peer.open()
        assert await client.connect("40/chat?x=1,") == '44/chat?x=1,{"message":"Invalid namespace"}'


@pytest.mark.feature(40)
async def test_refusals_for_an_old_client() -> None:
    io = Server(allow_eio3=True)

    def register(name: str, data: Any) -> None:
        @io.of(name).use
        def refuse(socket: Socket) -> None:
            raise ConnectError("message", data)

    register("/data", {"a": 1})
    register("/text", None)
    register("/bytes", b"\x01")
    logging.disable(logging.ERROR)
    async with running(io) as peer:
        client = await peer.open(3)
        await client.get()
        expected = {
            "/data": '44/data,{"a":1}',
            "/text": '44/text,"message"',
            "/bytes": '44/bytes,"message"',
            "/zz": '44/zz,{"message":"Invalid namespace"}',
        }
        for name, answer in expected.items():
            await client.post(framed(f"40{name},"))
            assert await client.get() == framed(answer)
    logging.disable(logging.NOTSET)


@pytest.mark.feature(40)
async def test_middlewares_of_the_main_namespace_run_for_every_old_client() -> None:
    io = Server(allow_eio3=True)
    io.of("/chat")

    @io.use
    def refuse(socket: Socket) -> None:
        raise ConnectError("no", {"a": 1})

    async with running(io) as peer:
        client = await peer.open(3)
        assert await client.get() == '9:44{"a":1}'
        await client.post("8:40/chat,")
        assert await client.get() == "8:40/chat,"


@pytest.mark.feature(40, 187)
async def test_binary_for_an_old_client() -> None:
    io = Server(allow_eio3=True)
    io.on("echo", lambda socket, *args: socket.emit("echo", *args) and None)
    async with running(io) as peer:
        client = await peer.open(3)
        await client.get()
        header = b'451-["echo",{"_placeholder":true,"num":0}]'
        length = bytes(map(int, str(len(header))))
        body = b"\x00" + length + b"\xff" + header + b"\x01\x04\xff\x04\x01\x02\x03"
        await client.post(body, Content_Type="application/octet-stream")
        reply = await client.poll()
        assert reply.headers["content-type"] == "application/octet-stream"
        assert reply.body == body
        old = await peer.open(3, "&b64=1")
        await old.get()
        text = header.decode()
        await old.post(framed(text, "b4AQIDBA=="))
        assert await old.get() == framed(text, "b4AQIDBA==")


@pytest.mark.feature(186)
async def test_jsonp() -> None:
    io = Server(allow_eio3=True)
    io.on("echo", lambda socket, *args: socket.emit("echo", *args) and None)
    async with running(io) as peer:
        reply = await peer.fetch("/socket.io/?EIO=3&transport=polling&j=0")
        assert reply.text.startswith('___eio[0]("')
        assert reply.headers["content-type"] == "text/plain; charset=UTF-8"
        sid = next(iter(io.engine.clients))
        target = f"/socket.io/?EIO=3&transport=polling&sid={sid}&j=1"
        assert (await peer.fetch(target)).text == '___eio[1]("2:40");'
        form = "d=" + quote(framed('42["echo","a"]'))
        reply = await peer.fetch(target, "POST", form, Content_Type="application/x-www-form-urlencoded")
        assert reply.text == "ok"
        await settle()
        assert (await peer.fetch(target)).text == r"""___eio[1]("14:42[\"echo\",\"a\"]");"""


@pytest.mark.feature(40)
async def test_old_and_new_clients_in_one_room() -> None:
    io = Server(allow_eio3=True)
    io.on("connection", lambda socket: socket.join("room") and None)
    io.on("say", lambda socket, text, data: socket.to("room").emit("said", text, data) and None)
    async with TestClient(io) as new, running(io) as peer:
        old = await peer.open(3, "&b64=1")
        await old.get()
        await new.emit("say", "é", b"\x01")
        text = '451-["said","é",{"_placeholder":true,"num":0}]'
        assert await old.get() == framed(text, "b4AQ==")
        text = '451-["say","ü",{"_placeholder":true,"num":0}]'
        await old.post(framed(text, "b4Ag=="))
        assert await new.receive() == ["said", "ü", b"\x02"]


@pytest.mark.feature(188)
async def test_old_clients_ping() -> None:
    io = Server(allow_eio3=True, ping_interval=1.0, ping_timeout=1.0)
    clock = VirtualClock()
    async with running(io, clock) as peer:
        await peer.open(3)  # it stays silent
        alive = await peer.open(3)
        await clock.advance(1.5)
        await alive.post("1:2")
        await clock.advance(1.5)
        assert list(io.engine.clients) == [alive.sid]


async def test_the_bound_of_namespaces_counts_connecting_ones() -> None:
    io = Server(limits=Limits(namespaces_per_connection=1))
    io.of("/other")
    async with running(io) as peer:
        client = await peer.open()
        await client.connect()
        assert await client.connect("40/other,") == '44/other,{"message":"Invalid namespace"}'


async def test_the_time_that_attachments_take_is_bounded() -> None:
    io = Server(limits=Limits(attachment_time=10.0))
    log: list[Any] = []
    io.on("event", lambda socket, *args: log.append(args))
    io.on("error", lambda socket, error: log.append(str(error)))
    io.on("disconnect", lambda socket, reason: log.append(reason))
    clock = VirtualClock()
    header = '452-["event",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
    async with TestClient(io, clock=clock) as client:
        for _ in range(3):
            client._transport.send_message(header)
            await clock.advance(9)
            client._transport.send_message(b"\x01")
            client._transport.send_message(b"\x02")
        assert log == [(b"\x01", b"\x02")] * 3
        log.clear()
        await clock.advance(60)
        assert client.connected
        client._transport.send_message(header)
        client._transport.send_message(b"\x01")
        await clock.advance(10.1)
        assert log == ["the attachments of a packet have not come in time", "forced close"]
        assert io.stats()["limit_hits"] == {"attachment_time": 1}


async def test_the_rate_of_events_may_be_bounded() -> None:
    io = Server(limits=Limits(events_per_second=4.0))
    log: list[int] = []
    io.on("event", lambda socket, number: log.append(number))
    clock = VirtualClock()
    async with TestClient(io, clock=clock) as client:
        conn = client.socket.conn
        for number in range(4):
            await client.emit("event", number)
        assert not conn.paused
        await client.emit("event", 4)
        assert log == [0, 1, 2, 3, 4]
        assert conn.paused
        await clock.advance(0.2)
        assert conn.paused
        await clock.advance(0.1)
        assert not conn.paused
        await clock.advance(10)
        for number in range(5):
            await client.emit("event", number)
        assert conn.paused
        assert io.stats()["limit_hits"] == {"events_per_second": 2}
        client.lose_connection()
        await clock.advance(10)


async def test_reading_goes_on_when_everybody_can() -> None:
    io = Server(limits=Limits(handlers_per_socket=1, queued_events=1))
    gates = {"/a": anyio.Event(), "/b": anyio.Event()}

    def register(name: str) -> None:
        @io.of(name).on("work")
        async def work(socket: Socket) -> None:
            await gates[name].wait()

    register("/a")
    register("/b")
    async with TestClient(io, "/a") as a:
        b = await a.join("/b")
        for client in (a, b):
            await client.emit("work")
            await client.emit("work")
        conn = a.socket.conn
        assert conn.paused
        gates["/a"].set()
        await settle()
        assert conn.paused
        gates["/b"].set()
        await settle()
        assert not conn.paused


async def test_a_client_that_polls_is_not_answered_while_its_queue_is_full() -> None:
    io = Server(limits=Limits(handlers_per_socket=1, queued_events=3))
    free = anyio.Event()
    heard: list[int] = []

    @io.on("slow")
    async def slow(socket: Socket, number: int) -> None:
        await free.wait()
        heard.append(number)

    async with running(io) as peer:
        client = await peer.open()
        await client.connect()
        post = peer.start(client.target, "POST", "\x1e".join([f'42["slow",{n}]' for n in range(6)]))
        await settle()
        assert not post.answered
        free.set()
        assert (await post.reply()).text == "ok"
        assert heard == list(range(6))


async def test_a_listener_of_rooms_may_disconnect_whom_it_hears_of() -> None:
    io = Server()
    log: list[str] = []
    io.on("connection", lambda socket: log.append("connection"))
    io.sockets.adapter.rooms.on("join-room", lambda room, member: io.sockets.sockets[member].disconnect())
    async with running(io) as peer:
        client = await peer.open()
        assert await client.connect() == "41"
        assert client.session.context.members == {}
        assert not io.sockets.sockets
        assert log == []
