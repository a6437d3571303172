"""Namespaces: static, dynamic, as classes; who is let in."""

from __future__ import annotations

import re
import sys
from threading import get_ident
from typing import Any, ClassVar

import anyio
import anyio.lowlevel
import pytest
import sniffio

from sio_core import AdapterError, ConnectError, Limits, Namespace, Recovery, Server, Socket, event
from sio_core.adapters.base import Adapter
from sio_core.adapters.memory import MemoryAdapter
from sio_core.api.namespace import ParentNamespace
from sio_core.testing import TestClient, VirtualClock, settle
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.anyio


@pytest.mark.feature(55, 80, 88, 89, 90, 91)
async def test_what_a_namespace_is() -> None:
    io = Server()
    chat = io.of("/chat")
    assert chat.name == "/chat"
    assert io.of("chat") is chat
    assert io.of("") is io.of("/") is io.sockets
    assert chat.sockets == {}
    assert repr(chat) == "<Namespace /chat>"
    async with TestClient(io, "/chat") as client:
        assert chat.sockets == {client.id: client.socket}
        assert chat.adapter.rooms.rooms == {client.id: {client.id: None}}
        assert chat.hub.namespaces == {"/": io.sockets, "/chat": chat}
    assert chat.sockets == {}


async def test_of_takes_names_patterns_and_functions() -> None:
    wrong: Any = 5
    with pytest.raises(TypeError, match="of\\(\\) takes a name, a pattern or a function, not 5"):
        Server().of(wrong)


async def test_a_namespace_belongs_to_a_server() -> None:
    with pytest.raises(
        AdapterError, match=re.escape("'/chat' belongs to no server: io.register(...) it first")
    ):
        Namespace("chat").emit("event")


@pytest.mark.feature(155)
async def test_namespaces_share_a_connection_and_nothing_else() -> None:
    io = Server()
    heard: list[Any] = []
    io.on("event", lambda socket: heard.append("/"))
    io.of("/chat").on("event", lambda socket: heard.append("/chat"))
    async with TestClient(io) as client:
        chat = await client.join("/chat")
        assert io.engine.clients_count == 1
        assert chat.id != client.id
        assert chat.socket.client is client.socket.client
        assert chat.socket.conn is client.socket.conn
        await client.emit("event")
        await chat.emit("event")
        assert heard == ["/", "/chat"]
        io.emit("to /")
        io.of("/chat").emit("to /chat")
        assert await client.receive() == ["to /"]
        assert await chat.receive() == ["to /chat"]
        client.socket.join("room")
        assert chat.rooms == set()
        await chat.disconnect()
        assert client.connected
        assert io.of("/chat").sockets == {}
        with pytest.raises(ConnectError, match="Invalid namespace"):
            await client.join("/nowhere")
        assert client.connected


@pytest.mark.feature(84, 100)
async def test_connection_and_connect_are_the_same() -> None:
    io = Server()
    log: list[Any] = []

    @io.on("connection")
    def connected(socket: Socket) -> None:
        log.append(("connection", socket.connected, socket.id in io.sockets.sockets))
        socket.emit("welcome")

    @io.on("connect")
    async def asynchronous(socket: Socket) -> None:
        log.append("connect")

    io.once("connection", lambda: log.append("once"))
    async with TestClient(io) as client:
        assert await client.receive() == ["welcome"]
        await settle()
        assert sorted(map(str, log)) == ["('connection', True, True)", "connect", "once"]
        log.clear()
        async with TestClient(io):
            await settle()
            assert len(log) == 2


@pytest.mark.feature(63, 92, 109)
async def test_middlewares() -> None:
    io = Server()
    chat = io.of("/chat")
    log: list[Any] = []

    @io.use
    def first(socket: Socket) -> None:
        log.append(("first", socket.connected))

    @io.use
    async def second(socket: Socket) -> None:
        await anyio.lowlevel.checkpoint()
        if socket.handshake.auth.get("token") != "secret":
            raise ConnectError("not authorised", {"code": 401})
        socket.data["user"] = "ann"

    @io.use
    def third(socket: Socket) -> None:
        log.append("third")

    io.on("connection", lambda socket: log.append(socket.data))
    async with TestClient(io, auth={"token": "secret"}):
        assert log == [("first", False), "third", {"user": "ann"}]
        log.clear()
        with pytest.raises(ConnectError) as info:
            async with TestClient(io):
                pass
        assert (info.value.message, info.value.data) == ("not authorised", {"code": 401})
        assert log == [("first", False)]
        assert len(io.sockets.sockets) == 1
        log.clear()
        async with TestClient(io, "/chat"):
            assert log == []
    assert chat.sockets == {}


@pytest.mark.feature(92)
async def test_any_other_exception_refuses_too(caplog: pytest.LogCaptureFixture) -> None:
    io = Server()

    @io.use
    def check(socket: Socket) -> None:
        raise ZeroDivisionError("secret details")

    with pytest.raises(ConnectError) as info:
        async with TestClient(io):
            pass
    assert (info.value.message, info.value.data) == ("internal error", None)
    assert "a middleware of '/' raised" in caplog.text


@pytest.mark.feature(92)
@pytest.mark.parametrize("data", [b"\x01", {"deep": [b"\x01"]}, object()])
async def test_data_that_a_refusal_cannot_carry(data: Any, caplog: pytest.LogCaptureFixture) -> None:
    io = Server()
    io.of("/open")

    @io.use
    def check(socket: Socket) -> None:
        raise ConnectError("no", data)

    async with TestClient(io, "/open") as client:
        with pytest.raises(ConnectError) as info:
            await client.join("/")
        assert (info.value.message, info.value.data) == ("no", None)
        assert "sending the data of a ConnectError of '/' raised" in caplog.text
        assert client.connected


@pytest.mark.feature(101)
async def test_nobody_reaches_a_socket_that_is_not_let_in_yet() -> None:
    io = Server()
    gate = anyio.Event()
    sockets: list[Socket] = []

    @io.use
    async def slow(socket: Socket) -> None:
        sockets.append(socket)
        socket.join("room")
        await gate.wait()

    async with anyio.create_task_group() as task_group:
        clients: list[TestClient] = []

        async def connect() -> None:
            async with TestClient(io) as client:
                clients.append(client)
                assert await client.receive() == ["now"]
                assert client.rooms == {"room"}
                task_group.cancel_scope.cancel()

        task_group.start_soon(connect)
        while not sockets:
            await anyio.lowlevel.checkpoint()
        io.emit("too early")
        io.to("room").emit("too early")
        assert await io.fetch_sockets() == []
        assert io.sockets.sockets == {}
        gate.set()
        await settle()
        io.to("room").emit("now")


async def test_a_refused_socket_leaves_its_rooms() -> None:
    io = Server()

    @io.use
    def check(socket: Socket) -> None:
        socket.join("room")
        raise ConnectError("no")

    with pytest.raises(ConnectError):
        async with TestClient(io):
            pass
    assert io.sockets.adapter.rooms.rooms == {}
    assert io.sockets.adapter.rooms.members == {}
    assert io.sockets.pending == set()


async def test_a_client_that_leaves_while_it_is_let_in() -> None:
    io = Server()
    log: list[str] = []
    gate = anyio.Event()
    io.of("/open")
    io.on("connection", lambda socket: log.append("connection"))
    io.on("disconnect", lambda socket: log.append("disconnect"))

    @io.use
    async def slow(socket: Socket) -> None:
        log.append("middleware")
        await gate.wait()

    async with TestClient(io, "/open") as keeper, anyio.create_task_group() as task_group:
        async with TestClient(io, "/open") as client:
            client._transport.send_message("40")
            await settle()
            client.lose_connection()
        gate.set()
        await settle()
        assert log == ["middleware"]
        assert io.sockets.sockets == {}
        assert io.sockets.pending == set()
        assert keeper.connected
        task_group.cancel_scope.cancel()


@pytest.mark.feature(85)
async def test_new_namespaces_are_announced() -> None:
    io = Server()
    names: list[str] = []
    io.on("new_namespace", lambda namespace: names.append(namespace.name))
    io.of("/a")
    io.of("/a")
    io.of("/")
    io.of(re.compile(r"^/dynamic-\d+$"))
    async with TestClient(io, "/dynamic-1"), TestClient(io, "/dynamic-1"):
        assert names == ["/a", "/dynamic-1"]


async def test_a_new_namespace_may_be_announced_once_and_to_whoever_asks_for_less() -> None:
    io = Server()
    names: list[str] = []
    io.once("new_namespace", lambda namespace: names.append(namespace.name))
    io.on("new_namespace", lambda: names.append("?"))
    io.of("/a")
    io.of("/b")
    assert names == ["/a", "?", "?"]


async def test_a_new_namespace_is_announced_to_async_listeners_once_the_server_runs() -> None:
    io = Server()
    names: list[str] = []
    threads: list[int] = []

    async def note(namespace: Namespace) -> None:
        await anyio.lowlevel.checkpoint()
        names.append(namespace.name)

    io.on("new_namespace", note)
    io.on("new_namespace", lambda: threads.append(get_ident()), thread=True)
    io.of("/a")
    async with TestClient(io):
        io.of("/b")
        await eventually(lambda: (sorted(names), len(threads)) == (["/a", "/b"], 2))
    assert get_ident() not in threads


class Starting(MemoryAdapter):
    """Notes which adapters start."""

    started: ClassVar[list[Adapter]] = []

    def start(self) -> None:
        self.started.append(self)


async def test_what_gives_way_to_another_as_the_server_starts_is_not_started() -> None:
    class Mine(Namespace):
        pass

    io = Server(adapter=Starting)
    Starting.started.clear()

    async def replace(namespace: Namespace) -> None:
        if namespace.name == "/b" and type(namespace) is not Mine:
            io.register(Mine("/b"))

    io.on("new_namespace", replace)
    replaced = io.of("/b")
    async with TestClient(io):
        await eventually(lambda: type(io.of("/b")) is Mine)
    # From Python 3.12 on the listener runs before the adapters start.
    assert Starting.started.count(io.of("/b").adapter) == 1
    is_eager = sys.version_info >= (3, 12) and sniffio.current_async_library() == "asyncio"
    assert (replaced.adapter in Starting.started) is not is_eager


# Dynamic namespaces


@pytest.mark.feature(56, 102, 105, 106)
async def test_namespaces_by_a_pattern() -> None:
    io = Server()
    log: list[Any] = []
    static = io.of("/dynamic-0")
    parent = io.of(re.compile(r"^/dynamic-\d+$"))
    assert isinstance(parent, ParentNamespace)
    assert parent.name == "/_0"
    parent.use(lambda socket: log.append(("use", socket.namespace.name)))
    parent.on("connection", lambda socket: log.append(("connection", socket.namespace.name)))
    parent.on("event", lambda socket: socket.namespace.name)
    parent.on("*", lambda socket, name: name)
    async with TestClient(io, "/dynamic-101") as client:
        assert log == [("use", "/dynamic-101"), ("connection", "/dynamic-101")]
        assert await client.emit_with_ack("event") == "/dynamic-101"
        assert await client.emit_with_ack("other") == "other"
        child = io.of("/dynamic-101")
        assert child.sockets == {client.id: client.socket}
        assert child.parent is parent
        assert parent.children == {"/dynamic-101": child}
        log.clear()
        async with TestClient(io, "/dynamic-0"):
            assert log == []
        assert static.parent is None
        explicit = io.of("/dynamic-102")
        assert explicit.parent is parent
        for wrong in ("/dynamic-", "/x/dynamic-1"):
            with pytest.raises(ConnectError, match="Invalid namespace"):
                await client.join(wrong)
        parent.use(lambda socket: log.append("too late for this child"))
        await client.join("/dynamic-102")
        assert log == [("use", "/dynamic-102"), ("connection", "/dynamic-102")]


@pytest.mark.feature(57)
async def test_namespaces_by_a_function(caplog: pytest.LogCaptureFixture) -> None:
    io = Server()
    asked: list[Any] = []

    def by_name(name: str, auth: Any) -> Any:
        asked.append(("sync", name, auth))
        if name == "/broken":
            raise ValueError("broken")
        return name == "/yes" or "truthy, and not True"

    async def by_auth(name: str, auth: Any) -> bool:
        asked.append(("async", name, auth))
        await anyio.lowlevel.checkpoint()
        return bool(auth.get("allow"))

    first, second = io.of(by_name), io.of(by_auth)
    assert (first.name, second.name) == ("/_0", "/_1")
    async with TestClient(io, "/yes") as client:
        assert asked == [("sync", "/yes", {})]
        asked.clear()
        await client.join("/other", auth={"allow": True})
        assert asked == [("sync", "/other", {"allow": True}), ("async", "/other", {"allow": True})]
        assert isinstance(second, ParentNamespace)
        assert list(second.children) == ["/other"]
        with pytest.raises(ConnectError, match="Invalid namespace"):
            await client.join("/third", auth={"allow": False})
        await client.join("/broken", auth={"allow": True})
        assert "the function of dynamic namespaces, for '/broken' raised" in caplog.text
        asked.clear()
        async with TestClient(io, "/other"):
            assert asked == []


@pytest.mark.feature(57)
async def test_two_clients_make_one_namespace() -> None:
    io = Server()
    names: list[str] = []
    gate = anyio.Event()
    waiting = 0
    io.on("new_namespace", lambda namespace: names.append(namespace.name))

    async def allow(name: str, auth: Any) -> bool:
        nonlocal waiting
        waiting += 1
        if waiting == 2:
            gate.set()
        await gate.wait()
        return True

    io.of(allow)
    async with anyio.create_task_group() as task_group:
        count = 0

        async def connect() -> None:
            nonlocal count
            async with TestClient(io, "/same"):
                count += 1
                while count < 2:
                    await anyio.lowlevel.checkpoint()
                assert len(io.of("/same").sockets) == 2
                count += 1
                while count < 4:
                    await anyio.lowlevel.checkpoint()

        task_group.start_soon(connect)
        task_group.start_soon(connect)
    assert names == ["/same"]


@pytest.mark.feature(103, 104)
async def test_a_parent_reaches_all_its_children() -> None:
    io = Server()
    parent = io.of(re.compile(r"^/n\d$"))
    sent: list[Any] = []
    parent.on_any_outgoing(lambda *args: sent.append(args))
    async with TestClient(io, "/n1") as a, TestClient(io, "/n2") as b, TestClient(io) as c:
        a.socket.join("room")
        await parent.emit("event", 1)
        parent.to("room").emit("room")
        parent.except_("room").send("text")
        await settle()
        assert [*a.events] == [["event", 1], ["room"]]
        assert [*b.events] == [["event", 1], ["message", "text"]]
        assert await c.received_nothing()
        assert len(sent) == 6
        with pytest.raises(AdapterError, match=re.escape("fetch_sockets() is not supported on parent")):
            await parent.fetch_sockets()


@pytest.mark.feature(9)
async def test_empty_children_are_dropped_if_asked_for() -> None:
    for cleanup in (False, True):
        io = Server(cleanup_empty_child_namespaces=cleanup)
        io.of("/static")
        parent = io.of(re.compile(r"^/n\d$"))
        assert isinstance(parent, ParentNamespace)
        async with TestClient(io, "/static") as keeper:
            async with TestClient(io, "/n1"), TestClient(io, "/n1"):
                child = io.of("/n1")
            assert ("/n1" in io.sockets.hub.namespaces) is not cleanup
            assert ("/n1" in parent.children) is not cleanup
            again = await keeper.join("/n1")
            assert (again.socket.namespace is child) is not cleanup
        assert "/static" in io.sockets.hub.namespaces


@pytest.mark.feature(9)
async def test_a_child_that_refuses_everybody_is_dropped() -> None:
    io = Server(cleanup_empty_child_namespaces=True)
    parent = io.of(re.compile(r"^/n\d$"))

    @parent.use
    def refuse(socket: Socket) -> None:
        raise ConnectError("no")

    async with TestClient(io) as client:
        with pytest.raises(ConnectError):
            await client.join("/n1")
        assert list(io.sockets.hub.namespaces) == ["/"]


@pytest.mark.feature(9)
async def test_a_child_is_not_dropped_while_somebody_is_being_let_in() -> None:
    io = Server(cleanup_empty_child_namespaces=True)
    gate = anyio.Event()
    parent = io.of(re.compile(r"^/n\d$"))

    @parent.use
    async def slow(socket: Socket) -> None:
        if socket.handshake.auth.get("slow"):
            await gate.wait()

    async with TestClient(io) as client, TestClient(io) as other, anyio.create_task_group() as task_group:
        first = await client.join("/n1")
        task_group.start_soon(other.join, "/n1", {"slow": True})
        await settle()
        await first.disconnect()
        gate.set()
        await settle()
        assert len(io.of("/n1").sockets) == 1
        io.of("/n1").emit("event")
        assert await other._members["/n1"].receive() == ["event"]


@pytest.mark.feature(9)
async def test_a_child_that_keeps_a_lost_session_is_dropped_with_it() -> None:
    clock = VirtualClock()
    io = Server(
        cleanup_empty_child_namespaces=True,
        connection_state_recovery=Recovery(max_disconnection_duration=60),
    )
    io.of(re.compile(r"^/n\d$"))
    async with TestClient(io, clock=clock):
        async with TestClient(io, "/n1", clock=clock) as client:
            client.lose_connection()
        assert "/n1" in io.sockets.hub.namespaces
        await clock.advance(300)
        assert "/n1" not in io.sockets.hub.namespaces


async def test_no_dynamic_namespace_has_control_characters_in_its_name() -> None:
    io = Server()
    io.of(re.compile(r"^/dynamic-\d+$"))
    io.of(lambda name, auth: True)
    async with TestClient(io) as client:
        for name in ("/dynamic-1\n", "/x\x00", "/\x7f"):
            with pytest.raises(ConnectError, match="Invalid namespace"):
                await client.join(name)
        await client.join("/dynamic-1")


async def test_the_number_of_dynamic_namespaces_is_bounded() -> None:
    io = Server(limits=Limits(dynamic_namespaces=1, namespaces_per_connection=2))
    io.of(re.compile("^/n"))
    async with TestClient(io) as client:
        await client.join("/n1")
        with pytest.raises(ConnectError, match="Invalid namespace"):
            await client.join("/n2")
        assert io.stats()["limit_hits"] == {"namespaces_per_connection": 1}
        async with TestClient(io) as other:
            with pytest.raises(ConnectError, match="Invalid namespace"):
                await other.join("/n3")
        assert io.stats()["limit_hits"] == {"namespaces_per_connection": 1, "dynamic_namespaces": 1}


# Listening


@pytest.mark.feature(87)
async def test_the_listeners_of_the_server_are_those_of_its_main_namespace() -> None:
    io = Server()
    log: list[Any] = []

    @io.event
    def greet(socket: Socket, name: str) -> str:
        return f"hello {name}"

    def listener(socket: Socket) -> None:
        log.append("listener")

    io.on("event", listener)
    io.once("event", lambda socket: log.append("once"))
    assert io.event_names() == io.sockets.event_names() == ["greet", "event"]
    assert io.listeners("greet") == io.sockets.listeners("greet") == [greet]
    async with TestClient(io) as client:
        assert await client.emit_with_ack("greet", "ann") == "hello ann"
        await client.emit("event")
        await client.emit("event")
        assert log == ["listener", "once", "listener"]
        io.off("event", listener)
        await client.emit("event")
        assert log == ["listener", "once", "listener"]
        io.off()
        assert io.event_names() == []


@pytest.mark.feature(87, 134, 135)
async def test_catch_all_listeners_of_a_namespace() -> None:
    io = Server()
    log: list[Any] = []

    def incoming(socket: Socket, name: str, *args: Any) -> None:
        log.append((socket.id, name, *args))

    def first(socket: Socket, *args: Any) -> None:
        log.append("first")

    def outgoing(name: str, *args: Any) -> None:
        log.append((name, *args))

    def first_outgoing(*args: Any) -> None:
        log.append("first")

    assert io.on_any(incoming) is incoming
    assert io.prepend_any(first) is first
    assert io.on_any_outgoing(outgoing) is outgoing
    assert io.prepend_any_outgoing(first_outgoing) is first_outgoing
    assert io.listeners_any() == io.sockets.listeners_any() == [first, incoming]
    assert io.listeners_any_outgoing() == io.sockets.listeners_any_outgoing() == [first_outgoing, outgoing]
    async with TestClient(io) as client, TestClient(io) as other:
        await client.emit("event", 1)
        assert log == ["first", (client.id, "event", 1)]
        log.clear()
        io.emit("broadcast", 2)
        other.socket.emit("direct")
        assert log == ["first", ("broadcast", 2)]
        io.off_any(first)
        io.off_any_outgoing(first_outgoing)
        io.off_any()
        io.off_any_outgoing()
        log.clear()
        await client.emit("event")
        io.emit("broadcast")
        assert log == io.listeners_any() == io.listeners_any_outgoing() == []


class Chat(Namespace[dict[str, Any]]):
    def __init__(self, name: str = "/") -> None:
        super().__init__(name)
        self.log: list[Any] = []

    def on_connection(self, socket: Socket) -> None:
        self.log.append("connection")

    def on_disconnecting(self, socket: Socket, reason: str) -> None:
        self.log.append(("disconnecting", reason))

    async def on_disconnect(self, socket: Socket, reason: str) -> None:
        self.log.append(("disconnect", reason))

    async def on_message(self, socket: Socket, text: str) -> str:
        return f"got {text}"

    @event("chat message")
    def said(self, socket: Socket, text: str) -> str:
        return f"said {text}"

    def helper(self) -> None:
        raise AssertionError("no client can reach this")


class Louder(Chat):
    @event("chat message")
    def said(self, socket: Socket, text: str) -> str:
        return f"SAID {text}"

    def on_shout(self, socket: Socket) -> str:
        return "shouted"


@pytest.mark.feature(55)
async def test_namespaces_as_classes() -> None:
    io = Server()
    chat = io.register(Chat("/chat"))
    louder = io.register(Louder("/louder"))
    assert io.of("/chat") is chat
    assert sorted(louder.event_names()) == [
        "chat message",
        "connection",
        "disconnect",
        "disconnecting",
        "message",
        "shout",
    ]
    async with TestClient(io, "/chat") as client:
        assert await client.emit_with_ack("message", "a") == "got a"
        assert await client.emit_with_ack("chat message", "b") == "said b"
        for name in ("helper", "any", "server_event", "said", "any_outgoing"):
            await client.emit(name)
        other = await client.join("/louder")
        assert await other.emit_with_ack("chat message", "c") == "SAID c"
        assert await other.emit_with_ack("shout") == "shouted"
        await client.disconnect()
        assert chat.log == [
            "connection",
            ("disconnecting", "client namespace disconnect"),
            ("disconnect", "client namespace disconnect"),
        ]


async def test_a_class_takes_the_place_of_a_name_nobody_is_in() -> None:
    io = Server()
    log: list[str] = []
    io.on("early", lambda socket: "early")
    io.use(lambda socket: log.append("use"))
    chat = io.register(Chat())
    assert io.sockets is chat
    async with TestClient(io) as client:
        assert log == ["use"]
        assert await client.emit_with_ack("early") == "early"
        assert await client.emit_with_ack("message", "a") == "got a"
        with pytest.raises(ValueError, match="there is a namespace '/' already"):
            io.register(Chat())
    with pytest.raises(ValueError, match="there is a namespace '/' already"):
        io.register(Chat())


@pytest.mark.feature(203, 204)
async def test_rooms_report_what_happens() -> None:
    io = Server()
    log: list[Any] = []
    rooms = io.sockets.adapter.rooms
    for name in ("create-room", "delete-room", "join-room", "leave-room"):
        rooms.on(name, lambda *args, name=name: log.append((name, *args)))
    async with TestClient(io) as client:
        own = client.id
        assert log == [("create-room", own), ("join-room", own, own)]
        log.clear()
        client.socket.join("a")
        client.socket.join("a")
        assert log == [("create-room", "a"), ("join-room", "a", own)]
        assert list(rooms.rooms) == [own, "a"]
        assert list(rooms.members[own]) == [own, "a"]
        log.clear()
        client.socket.leave("a")
        client.socket.leave("a")
        assert log == [("leave-room", "a", own), ("delete-room", "a")]
        log.clear()
    assert log == [("leave-room", own, own), ("delete-room", own)]
    assert rooms.rooms == rooms.members == {}


async def test_a_class_in_the_place_of_a_child_is_given_the_parent_s_listeners_once() -> None:
    io = Server()
    log: list[str] = []
    parent = io.of(re.compile(r"^/dynamic-\d+$"))
    assert isinstance(parent, ParentNamespace)
    parent.use(lambda socket: log.append("middleware"))
    parent.on("connection", lambda socket: log.append("connection"))
    io.of("/dynamic-1").on("connection", lambda socket: log.append("own"))

    class Chat(Namespace):
        pass

    chat = io.register(Chat("/dynamic-1"))
    assert chat.parent is parent
    assert parent.children == {"/dynamic-1": chat}
    async with TestClient(io, "/dynamic-1"):
        assert log == ["middleware", "connection", "own"]


async def test_who_listens_to_what_is_sent_may_stop_meanwhile() -> None:
    io = Server()
    log: list[str] = []

    def first(event: str) -> None:
        log.append("first")
        io.off_any_outgoing(first)

    io.on_any_outgoing(first)
    io.on_any_outgoing(lambda event: log.append("second"))
    async with TestClient(io) as client:
        client.on("ask", lambda: 1)
        io.emit("event")
        assert log == ["first", "second"]
        io.on_any_outgoing(first)
        await io.emit_with_ack("ask")
        assert log == ["first", "second", "second", "first"]
