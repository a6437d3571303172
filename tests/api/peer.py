"""A server under test without a network: requests as bytes, in and out of its own connection code."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc

from sio_core import Server, Session
from sio_core.engineio.engine import Pending
from sio_core.runtime import Runtime
from sio_core.serving.connection import Connection, Driver
from sio_core.serving.site import Site
from sio_core.testing import VirtualClock, VirtualRuntime, settle


class Reply:
    """The answer to one request."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def text(self) -> str:
        return self.body.decode()


class Request(Driver):
    """One request on a connection of its own."""

    def __init__(self, peer: Peer, head: str, body: bytes) -> None:
        self._peer = peer
        self._answered = anyio.Event()
        self._buffer = bytearray()
        site = Site(
            [peer.server.engine],
            peer.server.engine.options.limits,
            peer.server.deadlines,
            peer.server.resources_first(),
            peer.server.resources(),
        )
        now = peer.runtime.now()
        self.connection = Connection(site, self, now, address="192.0.2.1", port=1, secure=False)
        self.connection.receive_data(head.encode("latin-1") + body, now)
        self._flush()

    def output_ready(self) -> None:
        self._peer.runtime.call_soon(self._flush)

    def wait_for(self, pending: Pending) -> None:
        self._peer.task_group.start_soon(self._wait_for, pending)

    async def _wait_for(self, pending: Pending) -> None:
        try:
            result = await pending.awaitable
        except Exception as error:
            self.connection.resume(pending, None, error, self._peer.runtime.now())
        else:
            self.connection.resume(pending, result, None, self._peer.runtime.now())

    def flush(self) -> None:
        """Nothing is ever behind here."""

    def unsent(self) -> int:
        return 0

    def _flush(self) -> None:
        self._buffer += self.connection.data_to_send()
        head, separator, body = bytes(self._buffer).partition(b"\r\n\r\n")
        length = [
            int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
        ]
        if separator and len(body) >= (length or [0])[0]:
            self._answered.set()

    def lose(self) -> None:
        self.connection.connection_lost(self._peer.runtime.now())
        self.connection.detach()

    @property
    def answered(self) -> bool:
        return self._answered.is_set()

    async def reply(self) -> Reply:
        with anyio.fail_after(5):
            await self._answered.wait()
        head, _, body = bytes(self._buffer).partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return Reply(int(first.split()[1]), headers, body)


class Peer:
    """Whoever sends requests to a server."""

    def __init__(self, server: Server[Any], runtime: Runtime, task_group: anyio.abc.TaskGroup) -> None:
        self.server = server
        self.runtime = runtime
        self.task_group = task_group

    def start(self, target: str, method: str = "GET", body: str | bytes = b"", **headers: str) -> Request:
        data = body.encode() if isinstance(body, str) else body
        fields = {"Host": "testserver", **{name.replace("_", "-"): value for name, value in headers.items()}}
        if method == "POST":
            fields["Content-Length"] = str(len(data))
        lines = [f"{method} {target} HTTP/1.1", *[f"{name}: {value}" for name, value in fields.items()]]
        return Request(self, "\r\n".join([*lines, "", ""]), data)

    async def fetch(self, target: str, method: str = "GET", body: str | bytes = b"", **headers: str) -> Reply:
        return await self.start(target, method, body, **headers).reply()

    async def open(self, protocol: int = 4, query: str = "", **headers: str) -> PollingClient:
        """Open a session by long-polling."""
        client = PollingClient(self, protocol, query)
        reply = await self.fetch(client.target, **headers)
        assert reply.status == 200, reply.text
        text = reply.text if protocol == 4 else reply.text.partition(":")[2]
        client.sid = text[9:].partition('"')[0]
        client.handshake = reply
        return client


class PollingClient:
    """One session, by long-polling: a GET is sent when :meth:`get` says so."""

    def __init__(self, peer: Peer, protocol: int, query: str) -> None:
        self.peer = peer
        self.sid = ""
        self.handshake: Reply | None = None
        self._query = f"EIO={protocol}&transport=polling{query}"

    @property
    def target(self) -> str:
        sid = f"&sid={self.sid}" if self.sid else ""
        return f"{self.peer.server.engine.options.prefix}?{self._query}{sid}"

    @property
    def session(self) -> Session:
        return self.peer.server.engine.clients[self.sid]

    async def connect(self, packet: str = "40") -> str:
        """Join a namespace; return the packet that answers."""
        await self.post(packet)
        return await self.get()

    async def get(self, **headers: str) -> str:
        return (await self.poll(**headers)).text

    async def poll(self, **headers: str) -> Reply:
        return await self.peer.fetch(self.target, **headers)

    async def post(self, body: str | bytes, **headers: str) -> Reply:
        reply = await self.peer.fetch(self.target, "POST", body, **headers)
        await settle()
        return reply


@asynccontextmanager
async def running(server: Server[Any], clock: VirtualClock | None = None) -> AsyncGenerator[Peer, None]:
    """Run a server for as long as the block lasts."""
    failure: Exception | None = None
    async with anyio.create_task_group() as task_group:
        runtime = Runtime.current(task_group)
        if clock is not None:
            runtime = VirtualRuntime(runtime, clock)
            clock.drive(server)
        server.begin(runtime, lambda *args: None)
        try:
            yield Peer(server, runtime, task_group)
        except Exception as error:
            failure = error  # the task group would wrap it
        finally:
            await server.close()
            await settle()
            server.end()
            task_group.cancel_scope.cancel()
    if failure is not None:
        raise failure
