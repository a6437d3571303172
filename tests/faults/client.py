"""A client by hand, on asyncio and on trio: it can do what a library would not, and says how its connection ended.

Engine.IO protocol v4 and Socket.IO protocol v5, texts only.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from urllib.parse import urlencode

import anyio
import anyio.abc
from anyio.streams.tls import TLSStream

from tests.faults.proxy import RESET

__all__ = ["Client", "Ended", "Http", "connected"]

PATIENCE: Final = 15.0
"""Seconds for what should happen at once."""

BROKEN: Final = (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError)


class Ended(Exception):
    """The connection has ended, or was never opened; the text says how.

    :ivar status: of the HTTP response that refused it; 0 if there was none.
    """

    def __init__(self, how: str, status: int = 0) -> None:
        super().__init__(how)
        self.status = status


class Http:
    """One connection for HTTP/1.1 requests, one after the other."""

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self.stream = stream
        self.buffer = bytearray()

    @classmethod
    async def open(cls, port: int, tls: ssl.SSLContext | None = None) -> Http:
        """Connect to a port of loopback."""
        try:
            stream: anyio.abc.ByteStream = await anyio.connect_tcp("127.0.0.1", port)
        except OSError as error:
            raise Ended(f"no connection: {type(error).__name__}") from None
        if tls is not None:
            try:
                stream = await TLSStream.wrap(
                    stream, hostname="127.0.0.1", ssl_context=tls, standard_compatible=False
                )
            except BaseException as error:
                await anyio.aclose_forcefully(stream)
                if isinstance(error, BROKEN):
                    raise Ended(f"no TLS: {type(error).__name__}") from None
                raise
        return cls(stream)

    async def request(self, method: str, target: str, body: bytes = b"", headers: str = "") -> bytes:
        """Send a request; return the body of the response.

        :raises Ended: if the status is not 200 (or 101), or the connection ends.
        """
        length = f"Content-Length: {len(body)}\r\n" if method == "POST" else ""
        head = f"{method} {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n{length}{headers}\r\n"
        try:
            await self.stream.send(head.encode() + body)
            return await self._read_response()
        except BROKEN as error:
            raise Ended(describe(error)) from None

    async def _read_response(self) -> bytes:
        while (end := self.buffer.find(b"\r\n\r\n")) < 0:
            self.buffer += await self.stream.receive()
        first, *lines = bytes(self.buffer[:end]).decode("latin-1").split("\r\n")
        del self.buffer[: end + 4]
        status = int(first.split()[1])
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0))
        while len(self.buffer) < length:
            self.buffer += await self.stream.receive()
        body = bytes(self.buffer[:length])
        del self.buffer[:length]
        if status not in {200, 101}:
            raise Ended(f"refused with {status}", status)
        return body

    async def read(self, size: int) -> bytes:
        """Read that many bytes behind a response."""
        while len(self.buffer) < size:
            self.buffer += await self.stream.receive()
        data = bytes(self.buffer[:size])
        del self.buffer[:size]
        return data

    def reset_on_close(self) -> None:
        """End with RST, unless it has ended."""
        with suppress(OSError, AttributeError):  # the latter comes out of anyio if the transport is gone
            handle = self.stream.extra(anyio.abc.SocketAttribute.raw_socket)
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


class Client:
    """One client in the namespace ``/``. Use :func:`connected`, or call ``open``, ``run`` and ``close``.

    :param transport: ``websocket``, ``polling``, or ``upgrade``: polling, then WebSocket.
    :param auth: the payload of CONNECT.
    :ivar id: the socket id; ``pid`` the secret of recovery; ``recovered`` whether the id is the one in ``auth["id"]``.
    :ivar events: the events that came, as ``[name, *arguments]``.
    :ivar answers_pings: whether it answers pings.
    :ivar reads: whether it reads at all; see :meth:`stop_reading`.
    :ivar ended: how the connection ended; ``None`` while it is open.
    """

    def __init__(
        self,
        port: int,
        *,
        transport: str = "websocket",
        auth: Mapping[str, Any] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._port = port
        self._transport = transport
        self._auth = auth
        self._tls = tls
        self._http: Http | None = None
        self._posts: Http | None = None
        self._websocket: Http | None = None
        self._probe: Http | None = None
        self._packets: deque[str] = deque()
        self._waiting: dict[int, anyio.Event] = {}
        self._answers: dict[int, list[Any]] = {}
        self._next_ack = 0
        self._joined = anyio.Event()
        self._over = anyio.Event()
        self._reading = anyio.Event()
        self._reading.set()
        self._sending = anyio.Lock()
        self.sid = ""
        self.id = ""
        self.pid = ""
        self.offset = ""
        self.events: list[list[Any]] = []
        self.answers_pings = True
        self.pings = 0
        self.ended: str | None = None
        self.status = 0

    # The connection

    async def open(self) -> None:
        """Open the session, and ask for the namespace.

        :raises Ended: if it is refused.
        """
        if self._transport == "websocket":
            self._websocket = await self._open_websocket()
            handshake = await self._receive_frame(self._websocket)
        else:
            self._http = await Http.open(self._port, self._tls)
            self._posts = await Http.open(self._port, self._tls)
            handshake = (await self._http.request("GET", self._target("polling"))).decode()
        self.sid = json.loads(handshake[1:])["sid"]
        await self.send("40" + (json.dumps(self._auth) if self._auth is not None else ""))

    def _target(self, transport: str) -> str:
        parameters = {"EIO": "4", "transport": transport, **({"sid": self.sid} if self.sid else {})}
        return f"/socket.io/?{urlencode(parameters)}"

    async def _open_websocket(self) -> Http:
        http = await Http.open(self._port, self._tls)
        upgrade = (
            "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
        )
        try:
            await http.request("GET", self._target("websocket"), headers=upgrade)
        except BaseException:
            await anyio.aclose_forcefully(http.stream)
            raise
        return http

    async def run(self) -> None:
        """Read until the connection ends."""
        try:
            if self._transport == "upgrade":
                await self._upgrade()
            while True:
                await self._reading.wait()
                for packet in await self._receive():
                    await self._handle(packet)
        except Ended as error:
            self.ended, self.status = str(error), error.status
        except BROKEN as error:
            self.ended = describe(error)
        finally:
            self._over.set()
            self._joined.set()
            for event in self._waiting.values():
                event.set()

    async def _upgrade(self) -> None:
        """Probe, wait for the poll that is under way, then change over."""
        self._probe = await self._open_websocket()
        await self._send_frame(self._probe, "2probe")
        if await self._receive_frame(self._probe) != "3probe":
            raise Ended("the probe was not answered")
        assert self._http is not None
        # The server holds a noop for a poll that waits; one that is sent now gets it.
        body = await self._http.request("GET", self._target("polling"))
        async with self._sending:
            await self._send_frame(self._probe, "5")
            self._websocket = self._probe
        for packet in body.decode().split("\x1e"):
            await self._handle(packet)
        for http in (self._http, self._posts):
            if http is not None:
                await http.stream.aclose()
        self._http = self._posts = None

    async def _receive(self) -> list[str]:
        if self._websocket is not None:
            return [await self._receive_frame(self._websocket)]
        assert self._http is not None
        body = await self._http.request("GET", self._target("polling"))
        return body.decode().split("\x1e")

    async def send(self, packet: str) -> None:
        """Send one Engine.IO packet."""
        async with self._sending:
            if self._websocket is not None:
                await self._send_frame(self._websocket, packet)
            else:
                assert self._posts is not None
                await self._posts.request("POST", self._target("polling"), packet.encode())

    async def _send_frame(self, http: Http, text: str) -> None:
        data = text.encode()
        length = len(data)
        size = bytes([0x80 | length]) if length < 126 else b"\xfe" + length.to_bytes(2, "big")
        if length > 65_535:
            size = b"\xff" + length.to_bytes(8, "big")
        await http.stream.send(b"\x81" + size + bytes(4) + data)

    async def _receive_frame(self, http: Http) -> str:
        opcode, length = await http.read(2)
        if length == 126:
            length = int.from_bytes(await http.read(2), "big")
        elif length == 127:
            length = int.from_bytes(await http.read(8), "big")
        payload = await http.read(length)
        if opcode == 0x88:
            with suppress(*BROKEN):
                async with self._sending:
                    await http.stream.send(b"\x88\x80" + bytes(4))
            code = int.from_bytes(payload[:2], "big") if payload else ""
            raise Ended(f"close frame {code}".strip())
        return payload.decode()

    async def _handle(self, packet: str) -> None:
        if packet == "2":
            self.pings += 1
            if self.answers_pings:
                await self.send("3")
        elif packet == "1":
            raise Ended("close packet")
        elif packet.startswith("40"):
            payload = json.loads(packet[2:])
            self.id, self.pid = payload["sid"], payload.get("pid", "")
            self._joined.set()
        elif packet.startswith("44"):
            raise Ended(f"CONNECT_ERROR {packet[2:]}")
        elif packet.startswith("41"):
            raise Ended("DISCONNECT")
        elif packet.startswith("42"):
            event = json.loads(packet[2:])
            if self.pid:  # recovery: the last argument is the offset
                self.offset = event[-1] if isinstance(event[-1], str) else self.offset
            self.events.append(event)
        elif packet.startswith("43"):
            number, bracket, rest = packet[2:].partition("[")
            waiting = self._waiting.get(int(number))
            if waiting is not None:
                self._answers[int(number)] = json.loads(bracket + rest)
                waiting.set()

    # What a test does

    async def wait_joined(self, seconds: float = PATIENCE) -> None:
        """Wait until it is in the namespace.

        :raises Ended: if it is not let in.
        """
        with anyio.fail_after(seconds):
            await self._joined.wait()
        if not self.id:
            raise Ended(self.ended or "ended", self.status)

    async def emit(self, event: str, *args: Any) -> None:
        """Send an event."""
        await self.send("42" + json.dumps([event, *args]))

    async def call(self, event: str, *args: Any, seconds: float = PATIENCE) -> Any:
        """Send an event, and return what the server answers.

        :raises Ended: if the connection ends first.
        :raises TimeoutError: if no answer comes.
        """
        number = self._next_ack
        self._next_ack += 1
        answered = self._waiting[number] = anyio.Event()
        try:
            await self.send(f"42{number}" + json.dumps([event, *args]))
            with anyio.fail_after(seconds):
                if self.ended is None:
                    await answered.wait()
        except BROKEN as error:
            raise Ended(describe(error)) from None
        finally:
            del self._waiting[number]
        answer = self._answers.pop(number, None)
        if answer is None:
            raise Ended(self.ended or "ended")
        return answer[0] if answer else None

    def stop_reading(self) -> None:
        """Read nothing more from the network."""
        self._reading = anyio.Event()

    def go_on_reading(self) -> None:
        """Read again."""
        self._reading.set()

    async def wait_ended(self, seconds: float = PATIENCE) -> str:
        """Wait for the end of the connection; return how it ended."""
        with anyio.fail_after(seconds):
            await self._over.wait()
        return self.ended or "left"

    async def leave(self) -> None:
        """Leave as the official client does, and wait for the end."""
        if self._websocket is not None:
            await self.send("41")
            async with self._sending:
                await self._websocket.stream.send(b"\x88\x80" + bytes(4))
        else:
            await self.send("41\x1e1")
        await self.wait_ended()

    def reset_on_close(self) -> None:
        """Leave with RST, without a word."""
        for http in (self._http, self._posts, self._websocket, self._probe):
            if http is not None:
                http.reset_on_close()

    async def close(self) -> None:
        """Close the connections."""
        for http in (self._http, self._posts, self._websocket, self._probe):
            if http is not None:
                with suppress(*BROKEN):
                    await http.stream.aclose()


def describe(error: Exception) -> str:
    """Say how a connection ended."""
    return "end of stream" if isinstance(error, anyio.EndOfStream) else "reset"


@asynccontextmanager
async def connected(port: int, **options: Any) -> AsyncGenerator[Client, None]:
    """Have a client in the namespace for as long as the block lasts; see :class:`Client` for the options."""
    client = Client(port, **options)
    failure: Exception | None = None
    try:
        async with anyio.create_task_group() as task_group:
            try:
                with anyio.fail_after(PATIENCE):
                    await client.open()
                task_group.start_soon(client.run)
                await client.wait_joined()
                yield client
            except Exception as error:
                failure = error  # the task group would wrap it
            task_group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await client.close()
    if failure is not None:
        raise failure
