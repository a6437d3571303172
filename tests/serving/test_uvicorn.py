"""Our connection code inside uvicorn: a real server in this process, raw WebSockets from outside."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import anyio.lowlevel
import pytest
import uvicorn
from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol
from uvicorn.server import ServerState
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from sio_core import Server, Socket
from sio_core.serving.uvicorn import UvicornProtocol, WebSocketProtocol

pytestmark = pytest.mark.anyio

WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"
PATIENCE = 5.0


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """uvicorn runs on these."""
    return request.param


class QuietServer(uvicorn.Server):
    """uvicorn, without its signal handlers."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class Running:
    """A running uvicorn."""

    def __init__(self, server: uvicorn.Server, task: asyncio.Task[None], port: int) -> None:
        self.server = server
        self.task = task
        self.port = port

    @asynccontextmanager
    async def websocket(self, target: str = WEBSOCKET) -> AsyncGenerator[ClientConnection, None]:
        async with connect(f"ws://127.0.0.1:{self.port}{target}", proxy=None) as websocket:
            yield websocket

    async def stop(self) -> None:
        self.server.should_exit = True
        await asyncio.wait_for(self.task, PATIENCE)


@asynccontextmanager
async def running(app: Any, io: Server[Any], **settings: Any) -> AsyncGenerator[Running, None]:
    config = uvicorn.Config(app, ws=io.uvicorn_protocol, log_config=None, **settings)
    server = QuietServer(config)
    with socket.socket() as handle:
        handle.bind(("127.0.0.1", 0))
        handle.listen()
        port = handle.getsockname()[1]
        task = asyncio.get_running_loop().create_task(server.serve(sockets=[handle]))
        try:
            yield Running(server, task, port)
        finally:
            server.should_exit = True
            await asyncio.wait_for(task, PATIENCE)


def make_io() -> tuple[Server[Any], list[Any]]:
    io: Server[Any] = Server()
    events: list[Any] = []

    @io.on("connection")
    def connected(socket: Socket[Any]) -> None:
        events.append(socket)

    @io.on("echo")
    def echo(socket: Socket[Any], *args: Any) -> list[Any]:
        return list(args)

    @io.on("disconnect")
    def disconnected(socket: Socket[Any], reason: str) -> None:
        events.append(reason)

    return io, events


async def join(websocket: ClientConnection) -> None:
    assert str(await websocket.recv())[0] == "0"
    await websocket.send("40")
    assert str(await websocket.recv())[:2] == "40"


@pytest.mark.parametrize("http", ["httptools", "h11"])
async def test_ours(http: Any) -> None:
    io, events = make_io()
    async with running(io, io, http=http) as server, server.websocket() as websocket:
        await join(websocket)
        await websocket.send('421["echo","ä"]')
        assert await websocket.recv() == '431["ä"]'.replace('["ä"]', '[["ä"]]')
        await websocket.send("x" * 200_000)
        with pytest.raises(ConnectionClosed) as closed:
            await websocket.recv()
        # "Without a status code" is what ASGI cannot say: it is our own connection.
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1005
        assert events[0].handshake.address == "127.0.0.1"
        assert events[0].handshake.url == WEBSOCKET
        assert events[1] == "parse error"


async def test_everybody_else_s() -> None:
    io, _ = make_io()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.send", "text": scope["path"] + (await receive())["text"]})
            await send({"type": "websocket.close", "code": 4000})
        else:
            raise ValueError(scope["type"])

    async with running(io.wrap(app), io) as server, server.websocket("/live?x=1") as websocket:
        await websocket.send("!")
        assert await websocket.recv() == "/live!"
        with pytest.raises(ConnectionClosed) as closed:
            await websocket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 4000


async def test_polling_goes_on_by_websocket() -> None:
    io, events = make_io()
    async with running(io, io) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        handshake = await request(reader, writer, "GET /socket.io/?EIO=4&transport=polling")
        sid = json.loads(handshake[1:])["sid"]
        query = f"/socket.io/?EIO=4&sid={sid}&transport="
        assert await request(reader, writer, f"POST {query}polling", b"40") == b"ok"
        async with server.websocket(query + "websocket") as websocket:
            await websocket.send("2probe")
            assert await websocket.recv() == "3probe"
            await websocket.send("5")
            events[0].emit("later")
            assert str(await websocket.recv())[:2] == "40"
            assert await websocket.recv() == '42["later"]'
        writer.close()


async def request(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: str, body: bytes = b""
) -> bytes:
    writer.write(f"{line} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return await reader.readexactly(length)


async def test_a_refusal_is_an_answer() -> None:
    io, _ = make_io()
    async with running(io, io) as server:
        with pytest.raises(InvalidStatus) as refused:
            async with server.websocket(WEBSOCKET + "&sid=unknown"):
                pass
        assert refused.value.response.status_code == 400
        assert refused.value.response.body == b"Session ID unknown"


@pytest.mark.parametrize("lifespan", ["on", "off"])
async def test_shutdown_tells_the_clients(lifespan: Any) -> None:
    """Those that poll as well: otherwise uvicorn would wait until their requests are answered."""
    io, events = make_io()
    async with running(io, io, lifespan=lifespan) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        handshake = await request(reader, writer, "GET /socket.io/?EIO=4&transport=polling")
        sid = json.loads(handshake[1:])["sid"]
        held = asyncio.get_running_loop().create_task(
            request(reader, writer, f"GET /socket.io/?EIO=4&transport=polling&sid={sid}")
        )
        async with server.websocket() as websocket:
            await join(websocket)
            session = io.engine.clients[sid]
            while not session.writable:  # until the GET is there
                await anyio.lowlevel.checkpoint()
            await server.stop()
            with pytest.raises(ConnectionClosed):
                await websocket.recv()
        assert await held == b"1"
        writer.close()
    assert events[1] == "server shutting down"


async def test_nobody_is_let_in_while_it_closes() -> None:
    io, _ = make_io()
    async with running(io, io, lifespan="off") as server:
        async with server.websocket() as websocket:
            await join(websocket)
            await io.close()
        with pytest.raises((InvalidMessage, ConnectionError, EOFError)):
            async with server.websocket():
                pass


def test_one_server_on_one_loop_after_the_other() -> None:
    io, events = make_io()

    async def serve() -> None:
        async with running(io, io) as server, server.websocket() as websocket:
            await join(websocket)

    asyncio.run(serve())
    asyncio.run(serve())
    assert len([event for event in events if isinstance(event, Socket)]) == 2


# The passing on of a connection


class FakeTransport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.protocol: Any = None
        self.closed = False

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        self.written += data

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True


HEAD = (
    f"GET {WEBSOCKET} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
).encode()


def make_protocol(io: Server[Any]) -> tuple[Any, FakeTransport, ServerState]:
    state = ServerState()
    transport = FakeTransport()
    factory: Any = io.uvicorn_protocol
    protocol = factory(config=uvicorn.Config(io, log_config=None), server_state=state, app_state={})
    protocol.connection_made(transport)
    return protocol, transport, state


async def test_what_comes_before_the_connection_is_passed_on() -> None:
    io, _ = make_io()
    protocol, transport, state = make_protocol(io)
    protocol.pause_writing()
    protocol.resume_writing()
    assert protocol.eof_received() is None
    protocol.data_received(HEAD)
    assert transport.written.startswith(b"HTTP/1.1 101 ")
    (inner,) = state.connections
    assert isinstance(inner, WebSocketProtocol)
    protocol.pause_writing()
    (session,) = io.engine.clients.values()
    assert session.blocked
    protocol.resume_writing()
    assert not session.blocked
    protocol.data_received(b"\x81\x82\0\0\0\x0040")
    assert session.joined
    await asyncio.sleep(0)
    assert transport.protocol is inner
    protocol.connection_lost(None)
    assert not state.connections
    assert not io.engine.clients


async def test_a_connection_lost_before_the_head() -> None:
    io, _ = make_io()
    protocol, transport, state = make_protocol(io)
    protocol.connection_lost(None)
    protocol.data_received(HEAD)
    assert not transport.written
    assert not state.connections


async def test_the_default_of_uvicorn_gets_the_rest() -> None:
    io, _ = make_io()
    protocol, transport, state = make_protocol(io)
    protocol.data_received(HEAD.replace(b"/socket.io/", b"/elsewhere/"))
    (inner,) = state.connections
    assert AutoWebSocketsProtocol is not None
    assert isinstance(inner, AutoWebSocketsProtocol)  # type: ignore[arg-type]
    await asyncio.sleep(0)
    assert transport.protocol is inner
    protocol.connection_lost(None)


def test_the_class_is_made_once() -> None:
    io, other = make_io()[0], make_io()[0]
    assert io.uvicorn_protocol is io.uvicorn_protocol
    assert io.uvicorn_protocol is not other.uvicorn_protocol
    assert issubclass(io.uvicorn_protocol, UvicornProtocol)
