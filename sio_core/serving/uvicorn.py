"""The fast road under uvicorn: our own connection code for our WebSockets, uvicorn's for everybody else's.

uvicorn reads the head of an upgrade request itself. It then makes a protocol of the class that its setting ``ws``
names, hands it the transport and the head, written anew, and makes it the transport's protocol. Here that class only
looks whose request it is, and passes the connection on.

These WebSockets bypass the application that this server is mounted into, its middlewares included, so they are found
by the path in the request line alone: it must begin with the option ``path``. Their peer address is the connection's.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

from uvicorn.protocols.websockets.auto import AutoWebSocketsProtocol

from sio_core.serving.asyncio_shell import AsyncioProtocol, AsyncioShell
from sio_core.serving.background import start_on_asyncio
from sio_core.serving.site import Site

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

    from sio_core.serving.standalone import Service

__all__ = ["UvicornProtocol", "WebSocketProtocol", "make_protocol"]

PATH_START = len(b"GET ")


class Sharing:
    """What the WebSockets of one service under uvicorn share.

    :ivar shell: what their connections run in, made anew if the event loop is another one.
    """

    __slots__ = ("_closing", "_service", "_shell", "prefix")

    def __init__(self, service: Service) -> None:
        self._service = service
        self._shell: AsyncioShell | None = None
        self._closing: asyncio.Task[None] | None = None
        self.prefix = service.engine.options.prefix.encode()

    @property
    def draining(self) -> bool:
        """Whether no session may be opened any more."""
        return self._service.draining

    def shell(self, loop: asyncio.AbstractEventLoop) -> AsyncioShell:
        """Return what the connections of this loop share; start the service if nobody has."""
        service = self._service
        if not service.running:
            start_on_asyncio(service)
        if self._shell is None or self._shell.loop is not loop:
            site = Site([service.engine], service.engine.options.limits, service.deadlines)
            self._shell = AsyncioShell(site, loop)
        return self._shell

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        """uvicorn shuts down: tell the clients, those that poll too, so that it need not wait for them."""
        if not self.draining:
            self._closing = loop.create_task(self._service.close())


class WebSocketProtocol(AsyncioProtocol):
    """One WebSocket of ours, among the connections that uvicorn keeps count of."""

    __slots__ = ("_loop", "_server_state", "_sharing")

    def __init__(self, sharing: Sharing, server_state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(sharing.shell(loop))
        self._sharing = sharing
        self._server_state = server_state
        self._loop = loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        super().connection_lost(exc)

    @property
    def _connections(self) -> set[Any]:
        connections: set[Any] = self._server_state.connections
        return connections

    def shutdown(self) -> None:
        """uvicorn shuts down. It waits until this connection is lost."""
        self._sharing.close(self._loop)


class UvicornProtocol(asyncio.Protocol):
    """Looks at the head of an upgrade request, and passes the connection on.

    uvicorn makes it the transport's protocol only after it has handed over the head, so the change to the protocol
    that carries on comes right after that, and until then this one forwards what it is told.
    """

    sharing: ClassVar[Sharing]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._config = config
        self._server_state = server_state
        self._app_state = app_state
        self._loop = _loop or asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._next: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if self._next is not None:
            self._next.data_received(data)
        elif transport is not None:
            sharing = self.sharing
            if not data.startswith(sharing.prefix, PATH_START):
                self._next = self._default_protocol()
            elif sharing.draining:
                transport.close()
                return
            else:
                self._next = WebSocketProtocol(sharing, self._server_state, self._loop)
            self._loop.call_soon(transport.set_protocol, self._next)
            self._next.connection_made(transport)
            self._next.data_received(data)

    def eof_received(self) -> bool | None:
        kept_open: bool | None = self._next.eof_received() if self._next is not None else None
        return kept_open

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._next is not None:
            self._next.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._next is not None:
            self._next.pause_writing()

    def resume_writing(self) -> None:
        if self._next is not None:
            self._next.resume_writing()

    def _default_protocol(self) -> asyncio.Protocol:
        """The protocol of uvicorn's own choice. A library for it is there: this package needs it itself."""
        factory: Any = AutoWebSocketsProtocol
        protocol: asyncio.Protocol = factory(
            config=self._config, server_state=self._server_state, app_state=self._app_state, _loop=self._loop
        )
        return protocol


def make_protocol(service: Service) -> type[asyncio.Protocol]:
    """Return the protocol class of one service."""
    return type("UvicornProtocol", (UvicornProtocol,), {"sharing": Sharing(service)})
