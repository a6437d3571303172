"""A network that fails: a proxy for TCP whose connections can be cut, stalled, or led nowhere."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Final

import anyio
import anyio.abc

__all__ = ["FaultProxy"]

RESET: Final = struct.pack("ii", 1, 0)
"""SO_LINGER with zero seconds: closing sends RST."""


class Link:
    """One connection through the proxy."""

    def __init__(self, client: anyio.abc.SocketStream, server: anyio.abc.SocketStream) -> None:
        self.client = client
        self.server = server
        self.open = anyio.Event()
        self.open.set()
        self.scope = anyio.CancelScope()

    async def carry(self, source: anyio.abc.SocketStream, target: anyio.abc.SocketStream) -> None:
        """Carry bytes one way, while nobody holds them up."""
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError, anyio.EndOfStream):
            while True:
                data = await source.receive()
                await self.open.wait()
                await target.send(data)
        self.scope.cancel()

    def reset(self) -> None:
        """End both connections with RST."""
        for stream in (self.client, self.server):
            handle = stream.extra(anyio.abc.SocketAttribute.raw_socket)
            with suppress(OSError):
                handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.scope.cancel()


class FaultProxy:
    """Listens, and connects everybody to one port, while it is not told to fail.

    :ivar port: where it listens.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self._links: set[Link] = set()
        self.port = 0

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Listen for as long as the block lasts."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self.port = listener.extra(anyio.abc.SocketAttribute.local_port)
        async with listener, anyio.create_task_group() as task_group:
            task_group.start_soon(listener.serve, self._serve)
            yield
            task_group.cancel_scope.cancel()

    async def _serve(self, client: anyio.abc.SocketStream) -> None:
        async with client:
            try:
                server = await anyio.connect_tcp("127.0.0.1", self._target)
            except OSError:
                return  # the chat is down: the client sees its connection closed
            link = Link(client, server)
            self._links.add(link)
            try:
                async with server:
                    with link.scope:
                        async with anyio.create_task_group() as task_group:
                            task_group.start_soon(link.carry, client, server)
                            task_group.start_soon(link.carry, server, client)
            finally:
                self._links.discard(link)

    def cut(self) -> None:
        """Reset every connection."""
        for link in list(self._links):
            link.reset()

    def stall(self) -> None:
        """Hold up what goes through the connections there are, until :meth:`go_on`."""
        for link in self._links:
            link.open = anyio.Event()

    def go_on(self) -> None:
        """Let go what :meth:`stall` holds up."""
        for link in self._links:
            link.open.set()

    def lead_nowhere(self) -> None:
        """Leave the connections there are half-open: nothing goes through any more, and nobody is told."""
        for link in self._links:
            link.open = anyio.Event()
        self._links.clear()
