"""Recovery end to end: the npm client, cut off by a proxy."""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest

from sio_core import ConnectError, Limits, Recovery, Server, Socket
from sio_core.adapters.memory import MemoryAdapter
from tests.helpers.processes import ROOT

pytestmark = pytest.mark.anyio

CLIENT = ROOT / "tests" / "api" / "recovery_client.js"

one_loop = pytest.mark.parametrize(
    "anyio_backend", [pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop")]
)


class Client:
    """The npm client in Node. What it prints is kept until it is asked for."""

    def __init__(self, process: anyio.abc.Process, url: str) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._stdin, self._stdout = process.stdin, process.stdout
        self._url = url
        self._text = ""
        self.messages: list[dict[str, Any]] = []

    async def _next(self) -> dict[str, Any]:
        while "\n" not in self._text:
            self._text += (await self._stdout.receive()).decode()
        line, _, self._text = self._text.partition("\n")
        value: dict[str, Any] = json.loads(line)
        return value

    async def wait_for(self, kind: str) -> dict[str, Any]:
        """Return the next thing of a kind; messages that come before it are kept, all else is passed over."""
        while True:
            value = await self._next()
            if value["kind"] == "message":
                self.messages.append(value)
            if value["kind"] == kind:
                return value

    async def wait_for_messages(self, count: int) -> None:
        while len(self.messages) < count:
            await self.wait_for("message")

    @property
    def numbers(self) -> list[int]:
        return [message["number"] for message in self.messages]

    async def do(self, command: str, namespace: str = "/", **rest: Any) -> None:
        line = json.dumps({"command": command, "namespace": namespace, **rest})
        await self._stdin.send(line.encode() + b"\n")

    async def open(
        self, transport: str = "websocket", namespace: str = "/", **options: Any
    ) -> dict[str, Any]:
        await self.do("open", namespace, url=self._url, options={"transports": [transport], **options})
        return await self.wait_for("connect")


class Proxy:
    """Carries connections to the server, until it does not.

    :ivar down: new connections are closed at once.
    :ivar swallows: what the server sends gets lost.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._pairs: list[tuple[anyio.abc.SocketStream, anyio.abc.SocketStream]] = []
        self.down = False
        self.swallows = False

    async def serve(self, near: anyio.abc.SocketStream) -> None:
        async with near:
            if self.down:
                return
            async with await anyio.connect_tcp("127.0.0.1", self._port) as far:
                pair = (near, far)
                self._pairs.append(pair)
                async with anyio.create_task_group() as task_group:
                    task_group.start_soon(self._carry, near, far, False)
                    await self._carry(far, near, True)
                    task_group.cancel_scope.cancel()
                self._pairs.remove(pair)

    async def _carry(
        self, source: anyio.abc.SocketStream, target: anyio.abc.SocketStream, back: bool
    ) -> None:
        try:
            async for data in source:
                if not (back and self.swallows):
                    await target.send(data)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        if back:
            return
        if not self.swallows:
            await target.aclose()

    async def cut(self, keep_server_side: bool = False) -> None:
        """End every connection; with ``keep_server_side`` the server does not notice."""
        for near, far in list(self._pairs):
            if keep_server_side:
                self.swallows = True
            await near.aclose()
            if not keep_server_side:
                await far.aclose()


class World:
    """A server, a proxy before it, and a client of that."""

    def __init__(self, io: Server[Any], client: Client, proxy: Proxy, url: str) -> None:
        self.io = io
        self.client = client
        self.proxy = proxy
        self.url = url
        self.sockets: list[Socket[Any]] = []
        self.reasons: list[str] = []
        self._changed = anyio.Event()

    def changed(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()

    async def lose(self, keep_server_side: bool = False, noticed: bool = True) -> None:
        """Cut the client off, and wait until both sides know; or only the client, if that is all that happens."""
        count = len(self.reasons)
        self.proxy.down = True
        await self.proxy.cut(keep_server_side)
        await self.client.wait_for("disconnect")
        if noticed and not keep_server_side:
            await self.until(lambda: len(self.reasons) > count)

    async def come_back(self) -> dict[str, Any]:
        self.proxy.down = self.proxy.swallows = False
        return await self.client.wait_for("connect")


@asynccontextmanager
async def make_world(**options: Any) -> AsyncGenerator[World, None]:
    options.setdefault("connection_state_recovery", True)
    io: Server[dict[str, Any]] = Server(**options)
    with anyio.fail_after(20):
        async with io.listen() as listening, anyio.create_task_group() as task_group:
            proxy = Proxy(listening.port)
            listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
            task_group.start_soon(serve, listener, proxy)
            url = f"http://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
            async with await anyio.open_process(
                ["node", str(CLIENT)], stdin=subprocess.PIPE, stderr=None
            ) as process:
                world = World(io, Client(process, url), proxy, url)
                watch(world, io.sockets)
                try:
                    yield world
                finally:
                    process.kill()
            task_group.cancel_scope.cancel()


async def serve(listener: anyio.abc.Listener[anyio.abc.SocketStream], proxy: Proxy) -> None:
    async with listener:
        await listener.serve(proxy.serve)


def watch(world: World, namespace: Any) -> None:
    @namespace.on("connection")
    def connected(socket: Socket[Any]) -> None:
        world.sockets.append(socket)
        world.changed()

    @namespace.on("disconnect")
    def disconnected(socket: Socket[Any], reason: str) -> None:
        world.reasons.append(reason)
        world.changed()


# Five times in a row


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_cut_five_times_in_a_row(transport: str) -> None:
    async with make_world() as world:
        io, client = world.io, world.client
        first = await client.open(transport)
        assert first["recovered"] is False
        socket = world.sockets[0]
        socket.join("room")
        socket.data["name"] = "anna"
        number = 0

        def emit(*args: Any) -> None:
            nonlocal number
            number += 1
            io.to("room").except_("other").emit("message", number, *args)

        for _ in range(5):
            emit("arrives")
            emit(b"arrives")
            await client.wait_for_messages(number)
            world.proxy.swallows = True
            emit("lost on the way")
            emit(b"lost on the way")
            number += 1
            world.sockets[-1].emit("message", number, "private, lost on the way")
            io.volatile.emit("message", -1)
            io.to("other").emit("message", -2)
            # a polling client had its answer: the server waits for its next request
            await world.lose(noticed=transport == "websocket")
            emit("while away")
            emit(b"while away", {"deep": [b"while away"]})
            io.volatile.emit("message", -3)
            io.except_("room").emit("message", -4)
            number += 1
            world.sockets[-1].emit("message", number, b"private, while away")
            again = await world.come_back()
            assert again["recovered"] is True
            assert again["id"] == first["id"]
            assert again["pid"] == first["pid"]
            await world.until(lambda: io.sockets.sockets.get(first["id"]) is world.sockets[-1])
            recovered = world.sockets[-1]
            assert recovered is not socket
            assert recovered.recovered is True
            assert recovered.id == first["id"]
            assert recovered.rooms == {first["id"], "room"}
            assert recovered.data == {"name": "anna"}
        emit("the end")
        await client.wait_for_messages(number)
        assert client.numbers == list(range(1, number + 1))
        binary = [message["binary"] for message in client.messages]
        assert binary.count(["lost on the way"]) == 5
        assert binary.count(["private, while away"]) == 5
        assert len(world.sockets) == 6
        offsets = [int(message["offset"].partition(".")[2]) for message in client.messages]
        assert offsets == sorted(set(offsets))


# The rest, on one loop


@one_loop
async def test_a_client_that_never_got_an_event_recovers() -> None:
    async with make_world() as world:
        await world.client.open()
        await world.lose()
        world.io.emit("message", 1)
        assert (await world.come_back())["recovered"] is True
        assert world.client.numbers == [1]


@one_loop
async def test_an_offset_of_the_session_before_does_not_hinder() -> None:
    """The official client keeps its last offset when it gets a new session."""
    async with make_world() as world:
        client = world.client
        await client.open()
        world.io.emit("message", 1)
        await client.wait_for_messages(1)
        await client.do("disconnect")
        await client.do("connect")
        await client.wait_for("connect")
        await world.lose()
        world.io.emit("message", 2)
        assert (await world.come_back())["recovered"] is True
        assert client.numbers == [1, 2]


@one_loop
async def test_leaving_in_order_ends_the_session(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sio_core.adapters.memory")
    async with make_world() as world:
        first = await world.client.open()
        await world.client.do("disconnect")
        await world.client.do("connect")
        second = await world.client.wait_for("connect")
        assert second["recovered"] is False
        assert second["id"] != first["id"]
        assert second["pid"] != first["pid"]
        assert "the session is unknown" in caplog.text
        assert first["pid"] not in caplog.text


@one_loop
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"pid": "a" * 20}, "the session is unknown"),
        ({"offset": "hello"}, "none of this server's"),
        ({"offset": "00000000.1"}, "another life of this server"),
    ],
)
async def test_forged_claims(change: dict[str, str], reason: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "sio_core.adapters.memory")
    async with make_world() as world:
        client = world.client
        first = await client.open()
        world.io.emit("message", 1)
        await client.wait_for_messages(1)
        await world.lose()
        world.io.emit("message", 2)
        await client.do("set", **change)
        second = await world.come_back()
        assert second["recovered"] is False
        assert second["id"] != first["id"]
        assert client.numbers == [1]
        assert reason in caplog.text
        await client.do("set", pid=first["pid"], offset=client.messages[0]["offset"])
        await world.lose()
        third = await world.come_back()  # what was really its own is still there
        assert (third["recovered"], third["id"]) == (True, first["id"])
        assert client.numbers == [1, 2]


@one_loop
async def test_a_private_id_is_good_in_its_own_namespace_only() -> None:
    async with make_world() as world:
        client, other = world.client, world.io.of("/other")
        watch(world, other)
        first = await client.open()
        second = await client.open(namespace="/other")
        assert first["pid"] != second["pid"]
        assert first["id"] != second["id"]
        await world.lose()
        await world.until(lambda: len(world.reasons) == 2)
        await client.do("set", "/other", pid=first["pid"])
        answers = [await world.come_back(), await client.wait_for("connect")]
        assert {answer["namespace"]: answer["recovered"] for answer in answers} == {
            "/": True,
            "/other": False,
        }


@one_loop
async def test_namespaces_recover_beside_each_other() -> None:
    async with make_world() as world:
        client, other = world.client, world.io.of("/other")
        watch(world, other)
        await client.open()
        await client.open(namespace="/other")
        await world.lose()
        await world.until(lambda: len(world.reasons) == 2)
        world.io.emit("message", 1)
        other.emit("message", 2, b"binary")
        assert (await world.come_back())["recovered"] is True
        assert (await client.wait_for("connect"))["recovered"] is True
        assert sorted((message["namespace"], message["number"]) for message in client.messages) == [
            ("/", 1),
            ("/other", 2),
        ]


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_the_old_socket_is_still_there(transport: str) -> None:
    """The client is back before the server has noticed that it was gone."""
    async with make_world() as world:
        client = world.client
        first = await client.open(transport)
        world.io.emit("message", 1)
        await client.wait_for_messages(1)
        old = world.sockets[0]
        old.join("room")
        await world.lose(keep_server_side=True)
        assert old.connected
        world.io.emit("message", 2)
        old.emit("message", 3, b"binary")
        again = await world.come_back()
        assert (again["recovered"], again["id"]) == (True, first["id"])
        assert client.numbers == [1, 2, 3]
        new = world.io.sockets.sockets[first["id"]]
        assert new is not old
        assert new.rooms == {first["id"], "room"}
        assert not old.connected
        assert world.reasons == ["transport close"]
        old.emit("message", 4)  # whoever still holds the old one reaches the client
        await client.wait_for_messages(4)
        assert client.numbers == [1, 2, 3, 4]
        assert len(world.io.sockets.sockets) == 1
        assert world.io.engine.clients_count == 1


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_banned_during_the_gap(asynchronous: bool) -> None:
    async with make_world() as world:
        io, client = world.io, world.client
        banned: set[str] = set()
        seen: list[tuple[str, bool, set[str]]] = []

        def check(socket: Socket[Any]) -> None:
            seen.append((socket.id, socket.recovered, socket.rooms))
            if socket.handshake.auth.get("name", "anna") in banned:
                raise ConnectError("banned")

        if asynchronous:

            @io.use
            async def check_later(socket: Socket[Any]) -> None:
                await anyio.lowlevel.checkpoint()
                check(socket)
        else:
            io.use(check)

        first = await client.open()
        await world.lose()
        io.emit("message", 1)
        banned.add("anna")
        world.proxy.down = False
        assert (await client.wait_for("refused"))["message"] == "banned"
        assert seen[-1] == (first["id"], True, {first["id"]})
        assert not io.sockets.sockets
        assert not io.sockets.adapter.rooms.members
        io.emit("message", 2)
        assert client.numbers == []
        await client.do("connect", auth={"name": "bert"})  # let in after all: a new token, say
        again = await client.wait_for("connect")
        assert (again["recovered"], again["id"]) == (True, first["id"])
        assert client.numbers == [1, 2]


@one_loop
async def test_what_is_sent_while_middlewares_run_is_not_lost() -> None:
    async with make_world() as world:
        io, client = world.io, world.client
        entered, leave = anyio.Event(), anyio.Event()
        leave.set()

        @io.use
        async def wait(socket: Socket[Any]) -> None:
            entered.set()
            await leave.wait()

        first = await client.open()
        world.sockets[0].join("room")
        await world.lose()
        entered, leave = anyio.Event(), anyio.Event()
        io.to("room").emit("message", 1)
        world.proxy.down = False
        await entered.wait()
        io.to("room").emit("message", 2)
        world.sockets[0].emit("message", 3)
        leave.set()
        again = await client.wait_for("connect")
        assert (again["recovered"], again["id"]) == (True, first["id"])
        assert client.numbers == [1, 2, 3]


@one_loop
async def test_lost_again_while_middlewares_run() -> None:
    async with make_world() as world:
        io, client = world.io, world.client
        entered, leave = anyio.Event(), anyio.Event()
        leave.set()

        @io.use
        async def wait(socket: Socket[Any]) -> None:
            entered.set()
            await leave.wait()

        first = await client.open()
        await world.lose()
        io.emit("message", 1)
        entered, leave = anyio.Event(), anyio.Event()
        world.proxy.down = False
        await entered.wait()  # one attempt waits in the middleware when its connection is cut
        entered = anyio.Event()
        await world.proxy.cut()
        await entered.wait()  # and a second one comes
        leave.set()
        again = await client.wait_for("connect")
        assert (again["recovered"], again["id"]) == (True, first["id"])
        assert client.numbers == [1]
        assert len(world.sockets) == 2
        assert io.sockets.sockets[first["id"]] is world.sockets[1]
        assert world.sockets[1].rooms == {first["id"]}


@one_loop
async def test_the_log_may_overflow_while_middlewares_run() -> None:
    async with make_world(limits=Limits(recovery_packets=2)) as world:
        io, client = world.io, world.client
        entered, leave = anyio.Event(), anyio.Event()
        leave.set()

        @io.use
        async def wait(socket: Socket[Any]) -> None:
            entered.set()
            await leave.wait()

        first = await client.open()
        await world.lose()
        entered, leave = anyio.Event(), anyio.Event()
        world.proxy.down = False
        await entered.wait()
        for number in range(1, 4):
            io.emit("message", number)
        leave.set()
        again = await client.wait_for("connect")
        assert again["recovered"] is False
        assert again["id"] != first["id"]
        assert client.numbers == []
        assert io.stats()["limit_hits"] == {"recovery_packets": 1}


@one_loop
async def test_middlewares_can_be_skipped() -> None:
    async with make_world(connection_state_recovery=Recovery(skip_middlewares=True)) as world:
        calls: list[str] = []
        world.io.use(lambda socket: calls.append(socket.id))
        first = await world.client.open()
        await world.lose()
        assert (await world.come_back())["recovered"] is True
        assert calls == [first["id"]]


@one_loop
async def test_a_middleware_may_take_rooms_away() -> None:
    async with make_world() as world:
        io, client = world.io, world.client
        io.use(lambda socket: socket.leave("admins"))
        await client.open()
        world.sockets[0].join("admins", "users")
        await world.lose()
        io.to("admins").emit("message", 1)
        io.to("users").emit("message", 2)
        assert (await world.come_back())["recovered"] is True
        assert client.numbers == [2]
        assert world.sockets[1].rooms == {world.sockets[1].id, "users"}


@one_loop
async def test_away_for_too_long() -> None:
    async with make_world(connection_state_recovery=Recovery(max_disconnection_duration=0.001)) as world:
        first = await world.client.open()
        await world.lose()
        again = await world.come_back()
        assert again["recovered"] is False
        assert again["id"] != first["id"]


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_a_replay_larger_than_what_may_wait(transport: str) -> None:
    """It leaves at the client's pace, and what is sent meanwhile comes behind it."""
    limits = Limits(outbox_bytes=100_000, outbox_packets=50)
    async with make_world(limits=limits) as world:
        io, client = world.io, world.client
        await client.open(transport)
        await world.lose(noticed=transport == "websocket")  # polling overflows its buffer first
        for number in range(1, 201):
            io.emit("message", number, b"x" * 10_000, "y" * 10_000)
        world.proxy.down = False
        await world.until(lambda: len(world.sockets) == 2)
        io.emit("message", 201)
        assert (await client.wait_for("connect"))["recovered"] is True
        await client.wait_for_messages(201)
        assert client.numbers == list(range(1, 202))


@one_loop
async def test_listeners_send_in_the_order_of_offsets() -> None:
    """What a listener of outgoing events sends comes after the event it listens to."""
    async with make_world() as world:
        io, client = world.io, world.client
        await client.open()
        socket = world.sockets[0]
        seen: list[tuple[Any, ...]] = []

        @socket.on_any_outgoing
        def outgoing(*args: Any) -> None:
            seen.append(args)
            if args == ("message", 1):
                socket.emit("message", 2)
                io.emit("message", 3)

        io.emit("message", 1)
        await client.wait_for_messages(3)
        assert client.numbers == [1, 2, 3]
        assert seen == [("message", 1), ("message", 2), ("message", 3)]  # without the offset
        await world.lose()
        assert (await world.come_back())["recovered"] is True
        io.emit("message", 4)
        await client.wait_for_messages(4)
        assert client.numbers == [1, 2, 3, 4]


@one_loop
async def test_empty_namespaces_wait_for_their_lost_clients() -> None:
    async with make_world(cleanup_empty_child_namespaces=True) as world:
        parent = world.io.of(lambda name, auth: name.startswith("/room"))
        watch(world, parent)
        await world.client.open(namespace="/room1")
        await world.lose()
        child = world.io._hub.namespaces["/room1"]
        child.emit("message", 1)
        assert (await world.come_back())["recovered"] is True
        assert world.client.numbers == [1]
        assert world.io._hub.namespaces["/room1"] is child
        await world.lose()
        adapter: Any = child.adapter
        now = adapter._clock()
        adapter._clock = lambda: now + 121
        adapter.prune()
        assert "/room1" not in world.io._hub.namespaces


@one_loop
async def test_off_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any) -> None:
        raise AssertionError("recovery is off")

    for name in ("send", "begin_session", "save_session", "restore_session", "release_session"):
        monkeypatch.setattr(MemoryAdapter, name, fail)
    async with make_world(connection_state_recovery=None) as world:
        client = world.client
        first = await client.open()
        assert "pid" not in first
        world.io.emit("message", 1)
        world.sockets[0].emit("message", 2)
        await client.wait_for_messages(2)
        assert [message["offset"] for message in client.messages] == [None, None]
        await client.do("set", pid="a" * 20, offset="b.1")
        await world.lose()
        again = await world.come_back()
        assert again["recovered"] is False
        assert again["id"] != first["id"]


@pytest.mark.parametrize("option", ["yes", 1, {}, 2.5])
def test_the_option_is_checked(option: Any) -> None:
    with pytest.raises(ValueError, match="connection_state_recovery must be"):
        Server(connection_state_recovery=option)


@pytest.mark.parametrize("duration", [0, -1, float("nan")])
def test_the_duration_is_checked(duration: float) -> None:
    with pytest.raises(ValueError, match="max_disconnection_duration must be a positive"):
        Recovery(max_disconnection_duration=duration)


@pytest.mark.parametrize("option", [None, False])
def test_it_can_be_off(option: Any) -> None:
    assert not Server(connection_state_recovery=option).sockets.adapter.recovers


def test_the_defaults() -> None:
    assert Recovery() == Recovery(max_disconnection_duration=120.0, skip_middlewares=False)
    assert Server(connection_state_recovery=True).sockets.adapter.recovers
