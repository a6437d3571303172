"""A network that fails: a proxy for TCP on loopback, whose faults can be changed while it runs.

Faults are set for each direction, on the proxy for the connections that are still to come, or on one connection::

    async with FaultProxy(port).running() as proxy:
        proxy.down.rate = 10_000          # for everybody who connects from here on
        proxy.links[0].up.hold()          # of one connection, what the client sends gets stuck

TCP neither reorders nor duplicates bytes, and so does this: what is held up arrives when it is let go, as after a
partition that has healed.
"""

from __future__ import annotations

import os
import random
import socket
import struct
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, Self

import anyio
import anyio.abc

__all__ = ["SLOW_BUFFER", "SLOW_SEGMENT", "FaultProxy", "Link", "Way", "reset_on_close"]

RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with zero seconds: closing sends RST."""

READ_SIZE: Final = 65_536

BURSTS: Final = 20
"""Parts a second in which a limited rate is passed on."""

SLOW_BUFFER: Final = 16_384
"""Bytes that the kernel keeps of what goes through a slow connection: by itself it would keep megabytes."""

SLOW_SEGMENT: Final = 1_400
"""Bytes of its packets, as on the Internet: those of loopback are so large that senders have megabytes under way."""

FIN_TIME: Final = 1.0
"""Seconds that the ends of a connection cut with FIN get to close it."""


class Way:
    """What one direction of a connection is like.

    :ivar delay: seconds that bytes are held back; what comes meanwhile follows them.
    :ivar jitter: seconds, up to which the delay differs by chance.
    :ivar rate: bytes a second; ``None`` for as many as come.
    :ivar slice: the most bytes passed on at a time; ``None`` for any number.
    :ivar cut_after: the connection is ended once that many bytes were passed on.
    :ivar cut_with_reset: whether it is then ended with RST, both ways, or with FIN.
    :ivar passed: bytes that were passed on.
    """

    def __init__(self) -> None:
        self.delay = 0.0
        self.jitter = 0.0
        self.rate: float | None = None
        self.slice: int | None = None
        self.cut_after: int | None = None
        self.cut_with_reset = False
        self.passed = 0
        self._open: anyio.Event | None = None

    def hold(self) -> None:
        """Pass nothing on, and tell nobody. Its end would not be passed on either."""
        if self._open is None:
            self._open = anyio.Event()

    def let_go(self) -> None:
        """Pass on again, first what is held up."""
        if self._open is not None:
            self._open.set()
            self._open = None

    def copy(self) -> Way:
        """The same faults for a connection of its own."""
        other = Way()
        for name in ("delay", "jitter", "rate", "slice", "cut_after", "cut_with_reset"):
            setattr(other, name, getattr(self, name))
        if self._open is not None:
            other.hold()
        return other

    async def carry(self, source: socket.socket, target: socket.socket, cut: Callable[[bool], None]) -> None:
        """Pass bytes on until the source has ended, or one of both is gone."""
        if self.cut_after == 0:
            cut(self.cut_with_reset)
            return
        try:
            while data := await receive(source, self._size()):
                await self._wait()
                await self._pass_on(data, target)
                if self.cut_after is not None and self.passed >= self.cut_after:
                    cut(self.cut_with_reset)
                    return
            await self._wait()
            target.shutdown(socket.SHUT_WR)
        except OSError:
            await self._wait()
            cut(True)  # one side has reset its connection: the other gets to know

    def _size(self) -> int:
        size = READ_SIZE if self.rate is None else max(int(self.rate / BURSTS), 1)
        return size if self.cut_after is None else min(size, self.cut_after - self.passed)

    async def _wait(self) -> None:
        if self.delay:
            await anyio.sleep(max(self.delay + random.uniform(-self.jitter, self.jitter), 0.0))
        while self._open is not None:
            await self._open.wait()

    async def _pass_on(self, data: bytes, target: socket.socket) -> None:
        step = self.slice or len(data)
        for start in range(0, len(data), step):
            part = data[start : start + step]
            await send(target, part)
            self.passed += len(part)
            if self.rate is not None:
                await anyio.sleep(len(part) / self.rate)


class Link:
    """One connection through the proxy.

    :ivar up: what the client sends.
    :ivar down: what the server sends.
    """

    def __init__(self, client: socket.socket, server: socket.socket, up: Way, down: Way) -> None:
        self.up = up
        self.down = down
        self._client = client
        self._server = server
        self._scope = anyio.CancelScope()
        self._ended_with_fin = False

    async def run(self) -> None:
        """Carry both ways until both have ended, or the connection is cut."""
        with self._scope:
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(self.up.carry, self._client, self._server, self.end)
                task_group.start_soon(self.down.carry, self._server, self._client, self.end)
        if self._ended_with_fin:
            with anyio.move_on_after(FIN_TIME):
                async with anyio.create_task_group() as task_group:
                    for handle in (self._client, self._server):
                        task_group.start_soon(finish, handle)

    def end(self, with_reset: bool) -> None:
        """End the connection on both sides, with RST or with FIN."""
        if with_reset:
            reset_on_close(self._client)
            reset_on_close(self._server)
        self._ended_with_fin = not with_reset
        self._scope.cancel()

    def hold(self) -> None:
        """Nothing goes through any more, either way, and nobody is told."""
        self.up.hold()
        self.down.hold()

    def let_go(self) -> None:
        """End what :meth:`hold` began."""
        self.up.let_go()
        self.down.let_go()


class FaultProxy:
    """Listens, and connects everybody to one port of loopback.

    :ivar port: where it listens.
    :ivar up: the faults of new connections, in what clients send; ``down`` of what the server sends.
    :ivar refuses: whether new connections are reset at once.
    :ivar links: the connections there are, in the order in which they came.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self.up = Way()
        self.down = Way()
        self.refuses = False
        self.links: list[Link] = []
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[Self, None]:
        """Listen for as long as the block lasts."""
        failure: Exception | None = None
        with socket.create_server(("127.0.0.1", 0), backlog=2_048) as listener:
            listener.setblocking(False)
            self.port = listener.getsockname()[1]
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(self._accept, listener, task_group)
                try:
                    yield self
                except Exception as error:
                    failure = error  # the task group would wrap it
                task_group.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _accept(self, listener: socket.socket, task_group: anyio.abc.TaskGroup) -> None:
        while True:
            await anyio.wait_readable(listener)
            with suppress(BlockingIOError, ConnectionAbortedError):
                client, _ = listener.accept()
                client.setblocking(False)
                task_group.start_soon(self._serve, client)

    async def _serve(self, client: socket.socket) -> None:
        with client, socket.socket() as server:
            if self.refuses:
                reset_on_close(client)
                return
            server.setblocking(False)
            for handle, way in ((server, self.down), (client, self.up)):
                if way.rate is not None:
                    handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER)
                    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SLOW_SEGMENT)
            try:
                await connect(server, self._target)
            except OSError:
                return  # the server is down: the client sees its connection closed
            link = Link(client, server, self.up.copy(), self.down.copy())
            self.links.append(link)
            try:
                await link.run()
            finally:
                if link in self.links:
                    self.links.remove(link)

    def cut(self) -> None:
        """Reset every connection."""
        for link in self.links:
            link.end(with_reset=True)

    def hold(self) -> None:
        """Hold up what goes through the connections there are: a partition."""
        for link in self.links:
            link.hold()

    def lead_nowhere(self) -> None:
        """Leave the connections there are half-open: nothing goes through ever again, and nobody is told."""
        self.hold()
        self.links.clear()

    def let_go(self) -> None:
        """The partition has healed."""
        for link in self.links:
            link.let_go()


def reset_on_close(handle: socket.socket) -> None:
    """Have a connection end with RST when it is closed, unless it is."""
    with suppress(OSError):
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


async def connect(handle: socket.socket, port: int) -> None:
    """Connect to a port of loopback."""
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with suppress(BlockingIOError):
        handle.connect(("127.0.0.1", port))
    await anyio.wait_writable(handle)
    error = handle.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))


async def receive(handle: socket.socket, size: int) -> bytes:
    """Read what there is, or will be; nothing at the end."""
    await anyio.wait_readable(handle)
    return handle.recv(size)


async def finish(handle: socket.socket) -> None:
    """Send FIN, and read on: closing a socket with something unread in it would send RST."""
    with suppress(OSError):
        handle.shutdown(socket.SHUT_WR)
        while await receive(handle, READ_SIZE):
            pass


async def send(handle: socket.socket, data: bytes) -> None:
    """Write all of it."""
    while data:
        await anyio.wait_writable(handle)
        with suppress(BlockingIOError):
            data = data[handle.send(data) :]
