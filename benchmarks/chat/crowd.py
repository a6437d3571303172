"""The members over their WebSockets, all in one event loop."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import cast

from benchmarks.chat import wire
from benchmarks.chat.member import Member
from benchmarks.generator.client import LoadError

PATIENCE = 20.0
"""Seconds for everybody to have joined, and for the last message to have reached everybody."""
STEP = 0.02
"""Seconds between two looks at whether that is so."""


class Crowd:
    """All members, connected."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = members
        self._links: list[_Link] = []
        self._failure: LoadError | None = None
        self._failed = asyncio.Event()

    @asynccontextmanager
    async def connected(self, port: int) -> AsyncGenerator[None, None]:
        """Everybody is in the room for as long as the block lasts."""
        loop = asyncio.get_running_loop()
        try:
            for member in self.members:
                link = _Link(member, self._fail)
                connection, already = _open(port)
                await loop.create_connection(partial(_same, link), sock=connection)
                self._links.append(link)
                link.data_received(already)
            await self._until(lambda: all(member.has_joined for member in self.members), "has not joined")
            yield
        finally:
            for link in self._links:
                link.close()

    def start(self) -> None:
        """Everybody sends."""
        for link in self._links:
            link.write(link.member.start())

    async def wait(self, seconds: float) -> None:
        """Let the load run."""
        try:
            await asyncio.wait_for(self._failed.wait(), seconds)
        except TimeoutError:
            return
        assert self._failure is not None
        raise self._failure

    async def stop(self) -> None:
        """Send nothing new, and wait until everybody has everything."""
        for member in self.members:
            member.stop()
        await self._until(lambda: not any(member.unanswered for member in self.members), "lacks an answer")
        sent = max(len(member.places) for member in self.members)
        await self._until(
            lambda: all(len(member.places) >= sent for member in self.members), "lacks messages"
        )

    async def _until(self, is_so: Callable[[], bool], otherwise: str) -> None:
        deadline = asyncio.get_running_loop().time() + PATIENCE
        while not is_so():
            if asyncio.get_running_loop().time() > deadline:
                raise LoadError(f"somebody {otherwise} after {PATIENCE:g} s")
            await self.wait(STEP)

    def _fail(self, error: LoadError) -> None:
        self._failure = self._failure or error
        self._failed.set()


class _Link(asyncio.Protocol):
    def __init__(self, member: Member, fail: Callable[[LoadError], None]) -> None:
        self.member = member
        self._fail = fail
        self._transport: asyncio.Transport | None = None
        self._is_closing = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            self.write(self.member.received(data))
        except LoadError as error:
            self._fail(error)

    def connection_lost(self, error: Exception | None) -> None:
        if not self._is_closing:
            self._fail(LoadError("the server has closed a connection"))

    def write(self, data: bytes) -> None:
        if data and self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        self._is_closing = True
        if self._transport is not None:
            self._transport.close()


def _same(link: _Link) -> _Link:
    return link


def _open(port: int) -> tuple[socket.socket, bytes]:
    """An open WebSocket, and what has arrived on it after the head of the response."""
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
    connection.sendall(wire.upgrade_request(port))
    response = b""
    while b"\r\n\r\n" not in response:
        more = connection.recv(65_536)
        if not more:
            raise LoadError("the server has refused the WebSocket")
        response += more
    head, _, rest = response.partition(b"\r\n\r\n")
    if b" 101 " not in head.split(b"\r\n", 1)[0]:
        raise LoadError(f"the server answers {head.splitlines()[0].decode(errors='replace')}")
    connection.setblocking(False)
    return connection, rest
