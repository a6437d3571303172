"""A client in the same process, for tests of applications: no network, and the time may be virtual.

::

    async def test_chat():
        io = make_server()
        async with TestClient(io) as ann, TestClient(io, auth={"name": "bob"}) as bob:
            await ann.emit("chat message", "hi")
            assert await bob.receive("chat message") == ["hi"]

The client speaks the real protocol: what it sends goes as bytes through the server's own connection code, so limits,
middlewares, acknowledgements and close reasons are those of production. It runs on asyncio and on trio.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

import anyio
import anyio.abc
import anyio.lowlevel

from sio_core.api.socket import Socket
from sio_core.engineio.engine import Pending
from sio_core.errors import AckTimeout, ConnectError, SioError, SocketClosed
from sio_core.limits import Limits
from sio_core.runtime import AsyncFunction, Runtime, Waiter, as_error
from sio_core.server import Server
from sio_core.serving.connection import Connection, Driver
from sio_core.serving.site import Site
from sio_core.socketio.packet import ACK, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, Packet
from sio_core.socketio.parser import JsonParser

__all__ = ["TestClient", "VirtualClock"]

PATIENCE: Final = 5.0
"""Seconds of real time after which waiting counts as failed."""

PARSER: Final = JsonParser(max_attachments=1_000)


class VirtualClock:
    """The time of a server under test: it passes only when :meth:`advance` says so.

    Give one to every client of a server; the server then runs on it.
    """

    def __init__(self) -> None:
        self._now = 1_000.0
        self._server: Server[Any] | None = None

    def now(self) -> float:
        """Seconds since some moment."""
        return self._now

    def drive(self, server: Server[Any]) -> None:
        """Be the clock of this server."""
        self._server = server

    async def advance(self, seconds: float) -> None:
        """Let time pass: every deadline on the way is met in its turn, and what it caused has happened on return."""
        assert self._server is not None, "the clock belongs to no server yet"
        await settle()
        end = self._now + seconds
        deadlines = self._server.deadlines
        while deadlines.next <= end:
            self._now = max(self._now, deadlines.next)
            deadlines.run(self._now)
            await settle()
        self._now = end
        await settle()


class VirtualRuntime(Runtime):
    """An event loop that has another clock."""

    __slots__ = ("_clock", "_runtime")

    def __init__(self, runtime: Runtime, clock: VirtualClock) -> None:
        super().__init__(runtime.starts_at_once)
        self._runtime = runtime
        self._clock = clock

    def now(self) -> float:
        return self._clock.now()

    def spawn(self, function: AsyncFunction, *args: Any) -> None:
        self._runtime.spawn(function, *args)

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        self._runtime.call_soon(function, *args)

    def call_from_thread(self, function: Callable[..., object], *args: Any) -> None:
        self._runtime.call_from_thread(function, *args)

    async def join(self) -> None:
        await self._runtime.join()

    def cancel(self) -> None:
        self._runtime.cancel()


class MemoryDriver(Driver):
    """Moves the bytes between a client and the server's connection code."""

    def __init__(
        self, server: Server[Any], runtime: Runtime, task_group: anyio.abc.TaskGroup, address: str
    ) -> None:
        site = Site([server.engine], server.engine.options.limits, server.deadlines)
        self._runtime = runtime
        self._task_group = task_group
        self._decoder = PARSER.decoder(Limits(attachments=1_000))
        self._buffer = bytearray()
        self._upgraded = False
        self._lost = False
        self.on_packet: Callable[[Packet], None] = lambda packet: None
        self.on_lost: Callable[[], None] = lambda: None
        self.answer_pings = True
        self.refusal = ""
        self.connection = Connection(site, self, runtime.now(), address=address, port=50_000, secure=False)

    # What the connection asks for

    def output_ready(self) -> None:
        self._runtime.call_soon(self._flush)

    def flush(self) -> None:
        self._flush()

    def wait_for(self, pending: Pending) -> None:
        self._task_group.start_soon(self._wait_for, pending)

    async def _wait_for(self, pending: Pending) -> None:
        try:
            result = await pending.awaitable
        except CancelledError as error:
            self.connection.resume(pending, None, as_error(error), self._runtime.now())
        except Exception as error:
            self.connection.resume(pending, None, error, self._runtime.now())
        else:
            self.connection.resume(pending, result, None, self._runtime.now())

    def unsent(self) -> int:
        return 0

    # What the client asks for

    def send(self, data: bytes) -> None:
        """Hand bytes to the server."""
        if not self._lost:
            self.connection.receive_data(data, self._runtime.now())
            self._flush()

    def send_message(self, message: str | bytes) -> None:
        """Hand the server one WebSocket message."""
        payload = message.encode() if isinstance(message, str) else message
        first = 0x81 if isinstance(message, str) else 0x82
        length = len(payload)
        if length < 126:
            head = bytes([first, 0x80 | length])
        elif length < 65_536:
            head = bytes([first, 0x80 | 126]) + length.to_bytes(2, "big")
        else:
            head = bytes([first, 0x80 | 127]) + length.to_bytes(8, "big")
        self.send(head + bytes(4) + payload)

    def lose(self) -> None:
        """The network is gone, without a word."""
        if not self._lost:
            self._lost = True
            self.connection.connection_lost(self._runtime.now())
            self.connection.detach()
            self.on_lost()

    def _flush(self) -> None:
        if self._lost:
            return
        connection = self.connection
        self._buffer += connection.data_to_send()
        if not self._upgraded:
            self._read_handshake()
        if self._upgraded:
            self._read_frames()
        if connection.aborting or connection.closing:
            self.lose()

    def _read_handshake(self) -> None:
        end = self._buffer.find(b"\r\n\r\n")
        if end >= 0:
            head = bytes(self._buffer[:end])
            if head.startswith(b"HTTP/1.1 101 "):
                self._upgraded = True
                del self._buffer[: end + 4]
            else:
                self.refusal = self._buffer[end + 4 :].decode() or head.partition(b"\r\n")[0].decode()

    def _read_frames(self) -> None:
        buffer = self._buffer
        while len(buffer) >= 2:
            length, start = buffer[1], 2
            if length >= 126:
                start = 4 if length == 126 else 10
                length = int.from_bytes(buffer[2:start], "big")
            if len(buffer) < start + length:
                return
            opcode, payload = buffer[0] & 0x0F, bytes(buffer[start : start + length])
            del buffer[: start + length]
            if opcode == 0x8:
                self.send(bytes([0x88, 0x80 | len(payload)]) + bytes(4) + payload)
                return
            if opcode == 0x1 and payload == b"2":
                if self.answer_pings:
                    self.send_message("3")
            elif opcode == 0x2 or payload.startswith(b"4"):
                packet = self._decoder.add(payload if opcode == 0x2 else payload[1:].decode())
                if packet is not None:
                    self.on_packet(packet)


class TestClient:
    """A Socket.IO client in the same process. See the module's docstring.

    :param server: the server; unless it runs already, it runs from the first client's coming to its going.
    :param namespace: the namespace to join.
    :param auth: the payload of CONNECT.
    :param headers: headers of the first request, beside those of the WebSocket handshake.
    :param query: parameters of the first request, beside those of the protocol.
    :param address: the IP address to come from.
    :param clock: a virtual clock, the same for every client of the server.
    :raises ConnectError: on entering, if a middleware refuses; with its message and data.
    :raises SioError: on entering, if the request is refused, or there is no such namespace.

    :ivar id: the socket id.
    :ivar connected: whether it is in the namespace.
    :ivar events: the events that came and were not taken yet, as ``[name, *arguments]``.
    """

    __test__ = False  # pytest: this is no test

    def __init__(
        self,
        server: Server[Any],
        namespace: str = "/",
        *,
        auth: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        query: Mapping[str, str] | None = None,
        address: str = "127.0.0.1",
        clock: VirtualClock | None = None,
    ) -> None:
        self.server = server
        self.namespace = namespace if namespace.startswith("/") else "/" + namespace
        self.id = ""
        self.pid: str | None = None
        self.connected = False
        self.events: deque[list[Any]] = deque()
        self._auth = auth
        self._headers = dict(headers or {})
        self._query = dict(query or {})
        self._address = address
        self._clock = clock
        self._stack = AsyncExitStack()
        self._driver: MemoryDriver | None = None
        self._members: dict[str, TestClient] = {self.namespace: self}
        self._joined = Waiter()
        self._left = Waiter()
        self._changed = anyio.Event()
        self._acks: dict[int, Waiter] = {}
        self._next_ack = 0
        self._answers: dict[str, Callable[..., Any]] = {}

    # Coming and going

    async def __aenter__(self) -> Self:
        await self._stack.__aenter__()
        try:
            await self._open()
            await self._join()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if self.connected:
                await self.disconnect()
        finally:
            await self._stack.aclose()

    async def _open(self) -> None:
        server, clock = self.server, self._clock
        task_group = await self._stack.enter_async_context(anyio.create_task_group())
        runtime = Runtime.current(task_group)
        if clock is None and not server.running:
            await self._stack.enter_async_context(server.lifespan())
        else:
            if clock is not None:
                runtime = VirtualRuntime(runtime, clock)
                clock.drive(server)
            server.begin(runtime, lambda *args: None)
            self._stack.callback(server.end)
        driver = self._driver = MemoryDriver(server, runtime, task_group, self._address)
        self._stack.callback(driver.lose)
        driver.on_packet = self._receive
        driver.on_lost = self._lost
        parameters = urlencode({**self._query, "EIO": "4", "transport": "websocket"})
        headers = {
            "Host": "testserver",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
            **self._headers,
        }
        lines = [
            f"GET {server.engine.options.prefix}?{parameters} HTTP/1.1",
            *[f"{k}: {v}" for k, v in headers.items()],
        ]
        driver.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def _join(self) -> None:
        self._send(Packet(CONNECT, self.namespace, dict(self._auth) if self._auth is not None else None))
        with anyio.fail_after(PATIENCE):
            await self._joined.wait()

    async def join(self, namespace: str, auth: Mapping[str, Any] | None = None) -> TestClient:
        """Join one more namespace on the same connection; what is returned stands for it.

        :raises ConnectError: if a middleware refuses.
        """
        other = TestClient(self.server, namespace, auth=auth, clock=self._clock)
        other._driver = self._driver
        other._members = self._members
        self._members[other.namespace] = other
        await other._join()
        return other

    async def disconnect(self) -> None:
        """Leave the namespace, and with the last one close the connection, as the official client does."""
        if self.connected:
            self._send(Packet(DISCONNECT, self.namespace))
            self._members.pop(self.namespace, None)
            self._leave("io client disconnect")
            if not self._members:
                self._transport.lose()
        await settle()

    def lose_connection(self) -> None:
        """Break the connection, as a network does."""
        self._transport.lose()

    def stop_answering_pings(self) -> None:
        """Fall silent, as a suspended laptop does."""
        self._transport.answer_pings = False

    async def wait_disconnected(self) -> str:
        """Wait until the client has left, and return why: the reasons of the official client."""
        with anyio.fail_after(PATIENCE):
            reason: str = await self._left.wait()
            return reason

    # Events

    async def emit(self, event: str, *args: Any) -> None:
        """Send an event; on return the server's synchronous listeners have run."""
        self._send(Packet(EVENT, self.namespace, [event, *args]))
        await settle()

    async def emit_with_ack(self, event: str, *args: Any) -> Any:
        """Send an event and return the answer: ``None``, its one argument, or a list of several.

        :raises AckTimeout: if none comes.
        :raises SocketClosed: if the connection ends first.
        """
        ack_id = self._next_ack
        self._next_ack += 1
        waiter = self._acks[ack_id] = Waiter()
        self._send(Packet(EVENT, self.namespace, [event, *args], ack_id))
        try:
            with anyio.fail_after(PATIENCE):
                answer: list[Any] = await waiter.wait()
        except TimeoutError:
            raise AckTimeout((), 1) from None
        finally:
            self._acks.pop(ack_id, None)
        return answer if len(answer) > 1 else (answer[0] if answer else None)

    def on(self, event: str, answer: Callable[..., Any]) -> None:
        """Answer the server's events of this name with what ``answer(*arguments)`` returns (a list: several)."""
        self._answers[event] = answer

    async def receive(self, event: str | None = None) -> list[Any]:
        """Return the arguments of the next event, or of the next one of that name; others before it stay.

        Without a name, the event's name comes first.

        :raises AssertionError: if none comes; it says which did.
        """
        try:
            with anyio.fail_after(PATIENCE):
                while True:
                    for received in self.events:
                        if event is None or received[0] == event:
                            self.events.remove(received)
                            return received if event is None else received[1:]
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"no event {event!r} came; there were {[e[0] for e in self.events]}"
            ) from None

    async def received_nothing(self, event: str | None = None) -> bool:
        """Whether, once everything at work has settled, no event (of that name) is there."""
        await settle()
        return not any([event is None or received[0] == event for received in self.events])

    @property
    def socket(self) -> Socket[Any]:
        """The server's side of this client: its rooms, its data.

        :raises SocketClosed: if it is not connected.
        """
        socket = self.server.of(self.namespace).sockets.get(self.id)
        if socket is None:
            raise SocketClosed("the client is not connected")
        return socket

    @property
    def rooms(self) -> set[str]:
        """The rooms it is in, but that of its own id."""
        return self.socket.rooms - {self.id}

    # Packets

    @property
    def _transport(self) -> MemoryDriver:
        if self._driver is None:
            raise SocketClosed("the client has not connected yet: use it in an `async with` block")
        return self._driver

    def _send(self, packet: Packet) -> None:
        text, attachments = PARSER.encode_messages(packet, b"4")
        self._transport.send_message(text.decode())
        for attachment in attachments:
            self._transport.send_message(attachment)

    def _receive(self, packet: Packet) -> None:
        member = self._members.get(packet.namespace)
        if member is None:
            return
        if packet.type == CONNECT:
            member.id, member.pid = packet.data["sid"], packet.data.get("pid")
            member.connected = True
            member._joined.set()
        elif packet.type == CONNECT_ERROR:
            self._members.pop(packet.namespace)
            member._joined.set(error=ConnectError(packet.data["message"], packet.data.get("data")))
        elif packet.type == DISCONNECT:
            self._members.pop(packet.namespace)
            member._leave("io server disconnect")
        elif packet.type == ACK:
            waiter = member._acks.get(packet.id if packet.id is not None else -1)
            if waiter is not None:
                waiter.set(packet.data)
        else:
            member._receive_event(packet)

    def _receive_event(self, packet: Packet) -> None:
        answer = self._answers.get(packet.data[0])
        if answer is not None and packet.id is not None:
            result = answer(*packet.data[1:])
            self._send(
                Packet(ACK, self.namespace, result if isinstance(result, list) else [result], packet.id)
            )
            return
        self.events.append(packet.data)
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def _leave(self, reason: str) -> None:
        self.connected = False
        for waiter in self._acks.values():
            waiter.set(error=SocketClosed("the connection has ended"))
        self._left.set(reason)

    def _lost(self) -> None:
        refusal = self._driver.refusal if self._driver is not None else ""
        for member in list(self._members.values()):
            if refusal:
                member._joined.set(error=SioError(refusal))
            member._joined.set(error=SocketClosed("the connection was closed"))
            member._leave("transport close")


async def settle() -> None:
    """Let everything run that is ready to."""
    for _ in range(10):
        await anyio.lowlevel.checkpoint()
