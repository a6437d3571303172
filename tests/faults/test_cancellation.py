"""Whoever serves, connects, waits or closes is cancelled at every await: nothing is left, and nothing else suffers."""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import psutil
import pytest
import trustme

from sio_core import AckTimeout, ConnectError, Recovery, Server, Socket
from sio_core.testing import TestClient, settle
from tests.faults.client import Client, Ended, connected
from tests.faults.stepwise import cancel_at_every_step
from tests.helpers.waiting import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(120)]


class Application:
    """A server whose middlewares and listeners all wait for something."""

    def __init__(self, **options: Any) -> None:
        self.io: Server[Any] = Server(connection_state_recovery=Recovery(), **options)
        self.connected = 0
        self.disconnected = 0
        io = self.io

        @io.use
        async def middleware(socket: Socket[Any]) -> None:
            await anyio.lowlevel.checkpoint()
            if socket.handshake.auth.get("refuse"):
                raise ConnectError("refused")
            await anyio.lowlevel.checkpoint()

        @io.on("connection")
        async def connected(socket: Socket[Any]) -> None:
            self.connected += 1
            socket.join("room")
            await anyio.lowlevel.checkpoint()
            await socket.emit("welcome")

        @io.on("disconnect")
        async def disconnected(socket: Socket[Any], reason: str) -> None:
            await anyio.lowlevel.checkpoint()
            self.disconnected += 1

        @io.on("echo")
        async def echo(socket: Socket[Any], value: Any) -> Any:
            await anyio.lowlevel.checkpoint()
            return value

    def holds_nothing(self) -> bool:
        """Whether nothing of any client is left, but what recovery keeps for it."""
        io = self.io
        namespace = io.sockets
        return not (
            io.engine.clients
            or namespace.sockets
            or namespace.pending
            or namespace.adapter.rooms.rooms
            or io.running
        )


class Baseline:
    """What this process held before. Make one with :meth:`take`."""

    @classmethod
    async def take(cls) -> Baseline:
        """Look now; after the event loop has made, once, what it keeps for connections."""
        async with Server().listen() as listening, connected(listening.port):
            pass
        return cls()

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._tasks = len(anyio.get_running_tasks())
        self._descriptors = self._process.num_fds()

    async def is_met(self) -> None:
        """Wait until no more is held."""
        await eventually(lambda: len(anyio.get_running_tasks()) <= self._tasks)
        await eventually(lambda: self._process.num_fds() <= self._descriptors)


async def use(client: Client) -> None:
    """Have an event answered, unless the connection ends while the caller is cancelled."""
    with suppress(Ended):
        await client.call("echo", 1)


@pytest.fixture(scope="module")
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    return server, client


@pytest.mark.parametrize("transport", ["websocket", "polling", "upgrade"])
async def test_serving_is_cancelled_at_every_await(transport: str) -> None:
    application = Application()
    baseline = await Baseline.take()

    async def serve() -> None:
        async with (
            application.io.listen() as listening,
            connected(listening.port, transport=transport) as client,
        ):
            await use(client)

    async def check() -> None:
        assert application.holds_nothing()
        assert application.connected == application.disconnected
        await baseline.is_met()

    await cancel_at_every_step(serve, check)


async def test_serving_with_tls_is_cancelled_at_every_await(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    application = Application()
    baseline = await Baseline.take()

    async def serve() -> None:
        async with (
            application.io.listen(ssl=contexts[0]) as listening,
            connected(listening.port, tls=contexts[1]) as client,
        ):
            await use(client)

    async def check() -> None:
        assert application.holds_nothing()
        await baseline.is_met()

    await cancel_at_every_step(serve, check)


@pytest.mark.parametrize("auth", [{}, {"refuse": True}], ids=["let in", "refused"])
async def test_a_client_goes_at_every_await_of_its_coming(auth: dict[str, Any]) -> None:
    application = Application()
    async with application.io.listen() as listening:
        baseline = await Baseline.take()

        async def come() -> None:
            try:
                async with connected(listening.port, auth=auth) as client:
                    await client.call("echo", 1)
            except Ended:
                pass  # refused, or cancelled

        async def check() -> None:
            await eventually(lambda: not application.io.engine.clients)
            await eventually(lambda: application.connected == application.disconnected)
            await eventually(lambda: not application.io.sockets.pending)
            await eventually(lambda: not application.io.sockets.adapter.rooms.rooms)
            await baseline.is_met()

        await cancel_at_every_step(come, check)


WAITS: dict[str, Callable[[Server[Any], Socket[Any]], Awaitable[Any]]] = {
    "emit": lambda io, socket: socket.emit("event"),
    "emit with ack": lambda io, socket: socket.emit_with_ack("question", timeout=5),
    "emit with ack that does not come": lambda io, socket: socket.emit_with_ack("silence", timeout=0.02),
    "broadcast": lambda io, socket: io.to("room").emit("event"),
    "broadcast with ack": lambda io, socket: io.emit_with_ack("question", timeout=5),
    "broadcast with ack that does not come": lambda io, socket: io.emit_with_ack("silence", timeout=0.02),
    "fetch_sockets": lambda io, socket: io.fetch_sockets(),
    "sockets_join": lambda io, socket: io.sockets_join("other"),
    "sockets_leave": lambda io, socket: io.sockets_leave("other"),
}


@pytest.mark.parametrize("name", WAITS)
async def test_what_an_application_awaits_is_cancelled_at_every_await(name: str) -> None:
    application = Application()
    io = application.io
    async with TestClient(io) as client, TestClient(io) as other:
        for one in (client, other):
            one.on("question", lambda: "answer")
        await settle()
        tasks, timers = len(anyio.get_running_tasks()), len(io.deadlines)

        async def wait() -> None:
            try:
                await WAITS[name](io, client.socket)
            except AckTimeout:
                assert "does not come" in name

        async def check() -> None:
            await settle()
            assert not client.socket._acks
            assert not other.socket._acks
            assert len(io.deadlines) <= timers
            await eventually(lambda: len(anyio.get_running_tasks()) <= tasks)
            assert await client.emit_with_ack("echo", 1) == 1

        await cancel_at_every_step(wait, check)


async def test_waiting_for_room_in_the_outbox_is_cancelled_at_every_await() -> None:
    application = Application()
    io = application.io
    async with io.listen() as listening, connected(listening.port) as client:
        client.stop_reading()
        (socket,) = io.sockets.sockets.values()

        async def fill() -> None:
            while True:
                with anyio.fail_after(0.2):
                    await socket.emit("event", "x" * 100_000)

        with pytest.raises(TimeoutError):
            await fill()

        async def wait() -> None:
            with anyio.move_on_after(0.05):
                await socket.emit("event", "x")

        async def check() -> None:
            assert socket.connected

        await cancel_at_every_step(wait, check)
        client.go_on_reading()
        with anyio.fail_after(5):
            await socket.emit("last")
        await eventually(lambda: client.events[-1][0] == "last")


async def test_closing_that_is_cancelled_closes_all_the_same() -> None:
    application = Application()
    io = application.io
    baseline = await Baseline.take()

    async def close() -> None:
        async with io.listen() as listening, connected(listening.port) as client:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await io.close()
            assert "close frame" in await client.wait_ended()
            with pytest.raises(OSError, match="connect"):
                await anyio.connect_tcp("127.0.0.1", listening.port)

    for _ in range(3):
        await close()
        assert application.holds_nothing()
        await baseline.is_met()


async def test_a_listener_that_never_ends_ends_with_the_server() -> None:
    application = Application()
    baseline = await Baseline.take()
    ended: list[str] = []

    @application.io.on("stay")
    async def stay(socket: Socket[Any]) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("listener")

    async with application.io.listen() as listening, connected(listening.port) as client:
        await client.emit("stay")
        await client.call("echo", 1)
    assert ended == ["listener"]
    await baseline.is_met()


HTTP: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/socket.io/",
    "raw_path": b"/socket.io/",
    "root_path": "",
    "query_string": b"EIO=4&transport=polling",
    "headers": [(b"host", b"testserver")],
    "client": ("192.0.2.1", 1),
    "server": ("192.0.2.2", 80),
}


class Exchange:
    """One request to an ASGI application, whose client says some things and then stays."""

    def __init__(self, io: Server[Any], scope: dict[str, Any], *messages: dict[str, Any]) -> None:
        self._io = io
        self._scope = scope
        self._messages = list(messages)
        self.sent: list[dict[str, Any]] = []

    async def __call__(self) -> None:
        await self._io(self._scope, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        await anyio.lowlevel.checkpoint()
        if not self._messages:
            await anyio.sleep_forever()
        return self._messages.pop(0)

    async def _send(self, message: Any) -> None:
        await anyio.lowlevel.checkpoint()
        self.sent.append(message)

    @property
    def body(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()


REQUEST = {"type": "http.request", "body": b"", "more_body": False}


async def test_requests_of_polling_are_cancelled_by_an_asgi_server_at_every_await() -> None:
    application = Application(ping_interval=0.1, ping_timeout=0.1)
    io = application.io
    async with io.lifespan():
        baseline = await Baseline.take()

        async def conversation() -> None:
            opening = Exchange(io, HTTP, REQUEST)
            await opening()
            sid = opening.body.partition('"sid":"')[2].partition('"')[0]
            query = {**HTTP, "query_string": f"EIO=4&transport=polling&sid={sid}".encode()}
            body = {"type": "http.request", "body": b'40\x1e420["echo",1]', "more_body": False}
            await Exchange(io, {**query, "method": "POST"}, body)()
            while True:  # until the heartbeat ends it
                poll = Exchange(io, query, REQUEST)
                await poll()
                if poll.body == "1" or poll.sent[0]["status"] != 200:
                    return

        async def check() -> None:
            await eventually(lambda: not io.engine.clients)
            await eventually(lambda: application.connected == application.disconnected)
            await eventually(lambda: not io.sockets.adapter.rooms.rooms)
            await baseline.is_met()

        await cancel_at_every_step(conversation, check)


async def test_a_websocket_is_cancelled_by_an_asgi_server_at_every_await() -> None:
    application = Application()
    io = application.io
    scope = {
        **HTTP,
        "type": "websocket",
        "scheme": "ws",
        "query_string": b"EIO=4&transport=websocket",
        "subprotocols": [],
    }
    async with io.lifespan():
        baseline = await Baseline.take()

        async def conversation() -> None:
            await Exchange(
                io,
                scope,
                {"type": "websocket.connect"},
                {"type": "websocket.receive", "text": "40"},
                {"type": "websocket.receive", "text": '420["echo",1]'},
                {"type": "websocket.disconnect", "code": 1005},
            )()

        async def check() -> None:
            await eventually(lambda: not io.engine.clients)
            await eventually(lambda: application.connected == application.disconnected)
            await eventually(lambda: not io.sockets.adapter.rooms.rooms)

        await cancel_at_every_step(conversation, check)
    await baseline.is_met()
