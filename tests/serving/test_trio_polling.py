"""Plain connections on trio over real sockets, polled and as streams: what the kernel does not take, and their ends."""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar, copy_context
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.abc
import anyio.lowlevel
import pytest

from sio_core import Server, Socket
from sio_core.serving import listeners, standalone
from sio_core.serving.connection import Connection
from sio_core.serving.trio_driver import LOW_WATER
from sio_core.serving.trio_polling import READABLE, WRITABLE, PolledDriver, Poller
from sio_core.serving.trio_shell import StreamDriver
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.anyio

UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
POLL = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\n\r\n"
LAST_POLL = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
USER: ContextVar[str] = ContextVar("user", default="nobody")
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@pytest.fixture
def anyio_backend() -> str:
    return "trio"


@pytest.fixture(params=[PolledDriver, StreamDriver])
def driver(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> type:
    """What serves the connections; streams where there is no epoll."""
    monkeypatch.setattr(listeners, "POLLS", request.param is PolledDriver)
    return cast("type", request.param)


class Client:
    """A WebSocket client that joins the main namespace, and reads when it is told to."""

    def __init__(self, port: int) -> None:
        self.handle = socket.socket()
        self.handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8_192)
        self.handle.setblocking(False)
        self._address = ("127.0.0.1", port)
        self._input = bytearray()

    async def connect(self) -> None:
        self.handle.connect_ex(self._address)
        await anyio.wait_writable(self.handle)

    async def join(self) -> None:
        await self.connect()
        self.handle.send(UPGRADE)
        while b"\r\n\r\n" not in self._input:
            await self._fill()
        del self._input[: self._input.index(b"\r\n\r\n") + 4]
        assert (await self.receive()).startswith('0{"sid":')
        self.send("40")
        assert (await self.receive()).startswith('40{"sid":')

    def send(self, text: str) -> None:
        assert len(text) < 126
        self.handle.send(bytes([0x81, 0x80 | len(text)]) + bytes(4) + text.encode())

    def flood(self) -> None:
        """Send as much as the kernel takes."""
        with suppress(BlockingIOError):
            while True:
                self.handle.send(bytes(65_536))

    async def _fill(self) -> None:
        with anyio.fail_after(15):
            await anyio.wait_readable(self.handle)
        data = self.handle.recv(65_536)
        if not data:
            raise EOFError
        self._input += data

    async def receive(self) -> str:
        """Return the next message. Raises EOFError, or ConnectionError, when the connection has ended."""
        while (end := self._end_of_frame()) is None:
            await self._fill()
        start = {126: 4, 127: 10}.get(self._input[1], 2)
        text = bytes(self._input[start:end]).decode()
        del self._input[:end]
        return text

    def _end_of_frame(self) -> int | None:
        frame = self._input
        if len(frame) < 2 or len(frame) < {126: 4, 127: 10}.get(frame[1], 2):
            return None
        end = 2 + frame[1]
        if frame[1] == 126:
            end = 4 + struct.unpack_from("!H", frame, 2)[0]
        elif frame[1] == 127:
            end = 10 + struct.unpack_from("!Q", frame, 2)[0]
        return end if len(frame) >= end else None

    async def read_all(self) -> bytes:
        """Return what comes until the connection ends."""
        try:
            while True:
                await self._fill()
        except EOFError:
            return bytes(self._input)


@asynccontextmanager
async def serving(io: Server[Any], count: int = 1, **options: Any) -> AsyncGenerator[list[Client], None]:
    async with io.listen(**options) as listening:
        clients = [Client(listening.port) for _ in range(count)]
        try:
            yield clients
        finally:
            for client in clients:
                client.handle.close()


def only_driver(io: Server[Any]) -> Any:
    (shell,) = io._shells
    (driver,) = shell.connections
    return driver


async def test_plain_connections_are_polled_where_that_is_possible(driver: type) -> None:
    io: Server[Any] = Server()
    async with serving(io) as (client,):
        await client.join()
        assert type(only_driver(io)) is driver


async def test_what_the_kernel_does_not_take_arrives_whole_and_in_order(driver: type) -> None:
    io: Server[Any] = Server()

    @io.on("connection")
    def connected(socket: Socket[Any]) -> None:
        @socket.on("go")
        async def go() -> None:
            for number in range(400):
                await socket.emit("data", number, "x" * (number * 300))
            await socket.emit("end")

    async with serving(io) as (client,):
        await client.join()
        client.send('42["go"]')
        session = next(iter(io.engine.clients.values()))
        await eventually(lambda: session.blocked)
        assert only_driver(io).unsent() > 0
        for number in range(400):
            assert json.loads((await client.receive())[2:]) == ["data", number, "x" * (number * 300)]
        assert await client.receive() == '42["end"]'
        client.send('42["go"]')  # it is heard, and served, as before
        assert json.loads((await client.receive())[2:]) == ["data", 0, ""]


async def test_a_peer_that_resets_while_output_waits_is_gone(driver: type) -> None:
    io: Server[Any] = Server()
    reasons: list[str] = []

    @io.on("connection")
    def connected(socket: Socket[Any]) -> None:
        socket.on("disconnect", reasons.append)

        @socket.on("go")
        async def go() -> None:
            for _ in range(100):
                await socket.emit("data", "x" * 100_000)

    async with serving(io) as (client,):
        await client.join()
        client.send('42["go"]')
        session = next(iter(io.engine.clients.values()))
        await eventually(lambda: session.blocked)
        client.handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        client.handle.close()
        await eventually(lambda: reasons)
        assert reasons == ["transport close"]
        assert not io._shells[0].connections


@pytest.mark.parametrize("writes", [False, True])
async def test_a_peer_that_resets_is_gone(driver: type, writes: bool) -> None:
    io: Server[Any] = Server()
    reasons: list[str] = []

    @io.on("connection")
    def connected(socket: Socket[Any]) -> None:
        socket.on("disconnect", reasons.append)

    async with serving(io) as (client,):
        await client.join()
        client.handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        client.handle.close()
        if writes:  # before the loop can say that there is something to read
            io.emit("anybody there?")
            only_driver(io).flush()
        await eventually(lambda: reasons)
        assert reasons == ["transport close"]
        await eventually(lambda: not io._shells[0].connections)


async def test_what_waits_is_written_before_a_connection_is_closed(driver: type) -> None:
    io: Server[Any] = Server()
    text = "x" * 3_000_000

    @io.on("connection")
    def connected(socket: Socket[Any]) -> None:
        @socket.on("go")
        def go() -> None:
            socket.emit("data", text)
            socket.disconnect(True)

    async with serving(io) as (client,):
        await client.join()
        client.send('42["go"]')
        assert json.loads((await client.receive())[2:]) == ["data", text]
        assert await client.receive() == "41"
        client.handle.send(b"\x88\x80" + bytes(4))
        assert (await client.read_all()).startswith(b"\x88")


async def test_a_connection_is_closed_when_the_last_of_its_answer_was_taken(
    driver: type, tmp_path: Path
) -> None:
    content = os.urandom(5_000_000)
    (tmp_path / "file.bin").write_bytes(content)
    io: Server[Any] = Server()
    async with serving(io, static=tmp_path) as (client,):
        await client.connect()
        client.handle.send(b"GET /file.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await eventually(lambda: io._shells[0].connections and only_driver(io).unsent())
        head, _, body = (await client.read_all()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert body == content
        await eventually(lambda: not io._shells[0].connections)


async def test_who_is_to_be_closed_is_not_read_any_more(
    driver: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = list[bytes]()
    receive = Connection.receive_data

    def note(connection: Connection, data: bytes, now: float) -> None:
        if connection.closing:
            read.append(data)
        receive(connection, data, now)

    monkeypatch.setattr(Connection, "receive_data", note)
    (tmp_path / "file.bin").write_bytes(bytes(5_000_000))
    io: Server[Any] = Server()
    async with serving(io, static=tmp_path) as (client,):
        await client.connect()
        client.handle.send(b"GET /file.bin HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        await eventually(lambda: io._shells[0].connections and only_driver(io).unsent())
        client.flood()
        with suppress(ConnectionResetError):  # what was not read is answered so, in the end
            await client.read_all()
    assert sum(map(len, read)) <= 65_536  # what was being read as it was to be closed


async def test_small_pieces_wait_together() -> None:
    io: Server[Any] = Server()
    async with serving(io) as (client,):
        await client.join()
        session = next(iter(io.engine.clients.values()))
        while not session.blocked:
            io.emit("tick")
            await anyio.lowlevel.checkpoint()
        driver = only_driver(io)
        assert sum(map(len, driver._output)) == driver.unsent()
        assert len(driver._output) < 5
        while session.blocked:
            assert await client.receive() == '42["tick"]'
        assert driver.unsent() <= LOW_WATER


async def test_context_variables_are_those_of_one_client(driver: type) -> None:
    io: Server[Any] = Server()

    @io.on("connection")
    def connected(socket: Socket[Any]) -> None:
        @socket.on("login")
        def login(name: str) -> None:
            USER.set(name)

        @socket.on("who")
        def who() -> str:
            return USER.get()

        @socket.on("who else")
        async def who_else() -> str:
            return USER.get()

    async with serving(io, 2) as (ann, bob):
        await ann.join()
        await bob.join()
        ann.send('42["login","ann"]')
        ann.send('420["who"]')
        assert await ann.receive() == '430["ann"]'
        bob.send('420["who"]')
        assert await bob.receive() == '430["nobody"]'
        bob.send('421["who else"]')
        assert await bob.receive() == '431["nobody"]'


async def test_an_internal_error_at_the_end_of_a_connection_hurts_nobody_else(
    driver: type, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*args: object) -> None:
        raise RuntimeError("a defect")

    io: Server[Any] = Server()
    async with serving(io, 2) as (one, two):
        await one.join()
        await two.join()
        with monkeypatch.context() as patched:
            patched.setattr(Connection, "connection_lost", fail)
            two.handle.close()
            await eventually(lambda: len(io._shells[0].connections) == 1)
        io.emit("still here")
        assert await one.receive() == '42["still here"]'
    assert "after an internal error" in caplog.text


async def test_a_server_that_closes_drops_who_takes_nothing(
    driver: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standalone, "DRAIN_TIME", 0.05)
    (tmp_path / "file.bin").write_bytes(bytes(5_000_000))
    io: Server[Any] = Server()
    async with io.listen(static=tmp_path) as listening:
        client = Client(listening.port)
        await client.connect()
        client.handle.send(b"GET /file.bin HTTP/1.1\r\nHost: x\r\n\r\n")
        await eventually(lambda: io._shells[0].connections and only_driver(io).unsent())
    with pytest.raises(ConnectionResetError):
        await client.read_all()
    client.handle.close()


async def test_a_paused_connection_is_read_again(driver: type) -> None:
    decided, asked = anyio.Event(), list[object]()

    async def allow(request: object) -> bool:
        asked.append(request)
        await decided.wait()
        return True

    io: Server[Any] = Server(allow_request=allow)
    async with serving(io) as (client,):
        await client.connect()
        client.handle.send(POLL)
        await eventually(lambda: asked)
        client.handle.send(LAST_POLL)
        await eventually(lambda: only_driver(io)._connection.paused)
        assert len(asked) == 1
        decided.set()
        assert (await client.read_all()).count(b'0{"sid":') == 2
        assert len(asked) == 2


async def test_an_application_that_fails_to_decide_costs_one_answer(driver: type) -> None:
    async def allow(request: object) -> bool:
        await anyio.lowlevel.checkpoint()
        raise RuntimeError("no database")

    io: Server[Any] = Server(allow_request=allow)
    async with serving(io) as (client,):
        await client.connect()
        client.handle.send(LAST_POLL)
        assert (await client.read_all()).startswith(b"HTTP/1.1 403 ")


async def test_a_peer_that_says_nothing_more_gets_its_answer_and_the_end(driver: type) -> None:
    io: Server[Any] = Server()
    async with serving(io) as (client,):
        await client.connect()
        client.handle.send(POLL)
        client.handle.shutdown(socket.SHUT_WR)
        assert b'0{"sid":' in await client.read_all()
        await eventually(lambda: not io._shells[0].connections)


async def test_an_internal_error_ends_one_connection(
    driver: type, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    io: Server[Any] = Server()
    receive = Connection.receive_data

    def fail_on_junk(connection: Connection, data: bytes, now: float) -> None:
        if data == b"junk":
            raise RuntimeError("a defect")
        receive(connection, data, now)

    monkeypatch.setattr(Connection, "receive_data", fail_on_junk)
    async with serving(io, 2) as (one, two):
        await one.join()
        await two.join()
        two.handle.send(b"junk")
        assert await two.read_all() == b""
        await eventually(lambda: len(io._shells[0].connections) == 1)
        io.emit("still here")
        assert await one.receive() == '42["still here"]'
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == [
        "a connection is dropped after an internal error"
    ]


async def test_an_internal_error_after_the_application_has_answered_ends_the_connection(
    driver: type, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def allow(request: object) -> bool:
        await anyio.lowlevel.checkpoint()
        return True

    def fail(*args: object) -> None:
        raise RuntimeError("a defect")

    io: Server[Any] = Server(allow_request=allow)
    monkeypatch.setattr(Connection, "resume", fail)
    async with serving(io) as (client,):
        await client.connect()
        client.handle.send(POLL)
        assert await client.read_all() == b""
    assert "a connection is dropped after an internal error" in caplog.messages


# The poller by itself


class Recorder:
    """In the place of a driver: it notes what it is told, and does something then."""

    def __init__(self, poller: Poller, handle: socket.socket) -> None:
        self.poller = poller
        self.handle = handle
        self.context = copy_context()
        self.told: list[int] = []
        self.forgets: list[socket.socket] = []

    def ready(self, events: int) -> None:
        self.told.append(events)
        for handle in (*self.forgets, self.handle):
            self.poller.forget(handle.fileno())


@asynccontextmanager
async def polling(count: int) -> AsyncGenerator[tuple[Poller, list[Recorder], list[socket.socket]], None]:
    poller = Poller()
    pairs = [socket.socketpair() for _ in range(count)]
    recorders = [Recorder(poller, ours) for ours, _ in pairs]
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(poller.run)
        yield poller, recorders, [theirs for _, theirs in pairs]
        task_group.cancel_scope.cancel()
    for pair in pairs:
        for handle in pair:
            handle.close()


async def test_one_wait_is_for_all_sockets() -> None:
    async with polling(3) as (poller, recorders, peers):
        for recorder in recorders:
            poller.watch(recorder.handle.fileno(), cast("PolledDriver", recorder), READABLE)
        peers[1].send(b"1")
        await eventually(lambda: recorders[1].told)
        peers[2].close()
        await eventually(lambda: recorders[2].told)
        assert recorders[1].told == [READABLE]
        assert recorders[2].told[0] & READABLE
        assert not recorders[0].told


async def test_events_may_change() -> None:
    async with polling(1) as (poller, (recorder,), _):
        poller.watch(recorder.handle.fileno(), cast("PolledDriver", recorder), READABLE)
        poller.watch(recorder.handle.fileno(), cast("PolledDriver", recorder), READABLE | WRITABLE)
        await eventually(lambda: recorder.told)
        assert recorder.told == [WRITABLE]


async def test_who_is_ended_by_another_in_the_same_turn_is_not_told() -> None:
    async with polling(2) as (poller, (one, two), peers):
        one.forgets, two.forgets = [two.handle], [one.handle]
        for recorder, peer in zip((one, two), peers, strict=True):
            poller.watch(recorder.handle.fileno(), cast("PolledDriver", recorder), READABLE)
            peer.send(b"1")
        await eventually(lambda: one.told or two.told)
        assert sorted([len(one.told), len(two.told)]) == [0, 1]


async def test_a_socket_that_another_process_goes_on_with_is_forgotten() -> None:
    async with polling(2) as (poller, (gone, here), (peer, witness)):
        for recorder in (gone, here):
            poller.watch(recorder.handle.fileno(), cast("PolledDriver", recorder), READABLE)
        copy = socket.socket(fileno=os.dup(gone.handle.fileno()))
        poller.forget(gone.handle.fileno())
        gone.handle.close()
        peer.send(b"for the other process")
        witness.send(b"1")
        await eventually(lambda: here.told)
        assert not gone.told
        assert copy.recv(100) == b"for the other process"
        copy.close()


async def test_after_its_end_nobody_is_watched() -> None:
    async with polling(1) as (poller, (recorder,), _):
        poller.watch(recorder.handle.fileno(), cast("PolledDriver", recorder), READABLE)
    poller.watch(0, cast("PolledDriver", recorder), READABLE)
    poller.forget(0)
