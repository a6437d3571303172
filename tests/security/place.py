"""A server with bounds, in this process and on real sockets, whose clock a test can put forward."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import anyio
import uvicorn

from sio_core import Limits, Server
from sio_core.serving.site import Site
from tests.security.rawclient import Raw
from tests.security.timewarp import settle

__all__ = ["LONG", "Place", "serving"]

PATIENCE = 5.0

LONG = 5_000_000.0
"""Seconds that no test takes."""


class Place:
    """A server that listens.

    :ivar site: what is listened to; ``None`` where the listener is somebody else's.
    """

    def __init__(self, io: Server[Any], port: int, site: Site | None, stack: AsyncExitStack) -> None:
        self.io = io
        self.port = port
        self.site = site
        self._stack = stack

    @property
    def hits(self) -> dict[str, int]:
        """How often each bound was hit, since the last look."""
        hits = dict(self.io.engine.limit_hits)
        self.io.engine.limit_hits.clear()
        return hits

    async def raw(self, address: str = "127.0.0.1") -> Raw:
        """A connection of its own, closed in the end."""
        return await self._stack.enter_async_context(Raw(self.port, address))

    async def websocket(self, address: str = "127.0.0.1") -> Raw:
        """A session by WebSocket."""
        raw = await self.raw(address)
        assert await raw.open() == 101
        return raw

    async def member(self, namespace: str = "/", auth: Any = None) -> Raw:
        """A client by WebSocket that is in a namespace."""
        raw = await self.websocket()
        await raw.join(namespace, auth)
        return raw

    async def polling_member(self) -> Raw:
        """A client by polling that is in the namespace ``/``, and has no GET open."""
        raw = await self.raw()
        await raw.poll_open()
        await raw.post("40")
        assert (await raw.poll())[0].startswith("40")
        return raw

    def socket(self, raw: Raw, namespace: str = "/") -> Any:
        """The server's side of a client."""
        return self.io.engine.clients[raw.sid].context.members[namespace]

    async def until(self, condition: Any) -> None:
        """Wait for what is about to happen."""
        with anyio.fail_after(PATIENCE):
            while not condition():  # noqa: ASYNC110 - it happens in this very loop
                await anyio.sleep(0.001)


class QuietServer(uvicorn.Server):
    """uvicorn, without its signal handlers."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@asynccontextmanager
async def listening_uvicorn(io: Server[Any]) -> AsyncGenerator[int, None]:
    config = uvicorn.Config(
        io, log_config=None, ws_ping_interval=None, timeout_keep_alive=int(LONG), lifespan="on"
    )
    server = QuietServer(config)
    with socket.socket() as handle:
        handle.bind(("127.0.0.1", 0))
        handle.listen()
        task = asyncio.get_running_loop().create_task(server.serve(sockets=[handle]))
        while not server.started:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.001)
        try:
            yield handle.getsockname()[1]
        finally:
            server.should_exit = True
            await asyncio.wait_for(task, PATIENCE)


@asynccontextmanager
async def serving(
    shell: str, limits: Limits | None = None, *, context: ssl.SSLContext | None = None, **options: Any
) -> AsyncGenerator[Place, None]:
    """Serve for as long as the block lasts. At its end everything must have been given back.

    :param shell: ``asyncio``, ``trio`` or ``uvicorn``.
    """
    settings = {"ping_interval": LONG, "ping_timeout": LONG, "connect_timeout": LONG, **options}
    io: Server[Any] = Server(limits=limits or Limits(), **settings)
    async with AsyncExitStack() as outer:
        if shell == "uvicorn":
            site, port = None, await outer.enter_async_context(listening_uvicorn(io))
        else:
            listening = await outer.enter_async_context(io.listen(ssl=context))
            site, port = listening.site, listening.port
        async with AsyncExitStack() as stack:
            place = Place(io, port, site, stack)
            yield place
        for session in list(io.engine.clients.values()):
            session.close(discard=True)
        await settle()
        await place.until(lambda: io.engine.connections == 0)
        engine = io.engine
        assert (engine.clients, engine.unconnected, engine._reserved) == ({}, 0, {})
        for counts in (engine._sessions_of, engine._strangers_of, engine._connections_of):
            assert counts is None or len(counts) == 0
        assert all([not namespace.sockets for namespace in io._hub.namespaces.values()])
