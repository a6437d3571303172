"""What is served, and serving it without anybody else's server: listeners, signals, the drain."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl as tls
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.abc
import sniffio
from anyio.streams.tls import TLSListener

from sio_core.engineio.deadlines import Deadlines
from sio_core.engineio.engine import Engine
from sio_core.runtime import Runtime
from sio_core.serving import asyncio_shell
from sio_core.serving.asgi import AsgiShell, WrappedApplication
from sio_core.serving.asgi_scope import Application, Receive, Scope, Send
from sio_core.serving.asyncio_shell import AsyncioProtocol, AsyncioShell
from sio_core.serving.clock import run_clock
from sio_core.serving.site import Resource, Site
from sio_core.serving.static_files import StaticFiles
from sio_core.serving.trio_shell import StreamDriver, StreamShell

if sys.platform != "win32":
    import resource

__all__ = ["Listening", "Service"]

BACKLOG: Final = 2_048
DRAIN_TIME: Final = 10.0
"""Seconds that connections get to end after they were told to."""

SETTLE_TIME: Final = 3.0
"""Seconds that what the application does when its clients have gone may take, before the server is gone too."""

logger = logging.getLogger(__name__)


class Listening:
    """A server that accepts connections.

    :ivar host: the address it is bound to.
    :ivar port: the port it is bound to, also if port 0 was asked for.
    """

    __slots__ = ("_secure", "host", "port", "site")

    def __init__(self, site: Site, host: str, port: int, secure: bool) -> None:
        self.site = site
        self.host = host
        self.port = port
        self._secure = secure

    @property
    def url(self) -> str:
        """The address to open."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._secure else 'http'}://{host}:{self.port}"


class Service(ABC):
    """Something that can be served: what :class:`Server` and :class:`EngineServer` have in common.

    It is an ASGI application too.

    :ivar draining: it is being closed, or was, and opens no session until it is started again.
    :ivar now: seconds on the clock of the event loop it runs in.
    :ivar starting: set once a start that is under way is complete.
    """

    engine: Engine
    deadlines: Deadlines

    def __init__(self) -> None:
        self.draining = False
        self.now: Callable[[], float] = lambda: 0.0
        self.starting: anyio.Event | None = None
        self._stops: list[anyio.Event] = []
        self._shells: list[AsyncioShell | StreamShell] = []
        self._users = 0
        self._runtime: Runtime | None = None
        self._asgi: AsgiShell | None = None
        self._uvicorn_protocol: type[asyncio.Protocol] | None = None

    # What the kinds of service add

    @abstractmethod
    def start(self, runtime: Runtime) -> None:
        """Belong to this event loop from now on."""

    @abstractmethod
    def stop(self) -> None:
        """Belong to no event loop any more."""

    @abstractmethod
    async def shut_down(self) -> None:
        """Tell the application that the end has come, before the engine is closed."""

    @abstractmethod
    def resources_first(self) -> list[Resource]:
        """What is served under the engine's own path."""

    @abstractmethod
    def resources(self) -> list[Resource]:
        """What is served beside the engine."""

    # Serving

    def run(
        self,
        host: str = "127.0.0.1",
        port: int = 3000,
        *,
        static: str | Path | None = None,
        workers: int = 1,
        ssl: tls.SSLContext | None = None,
        backend: str = "asyncio",
        use_uvloop: bool | None = None,
    ) -> None:
        """Serve until SIGINT or SIGTERM; the first lets clients go gently, the second ends at once.

        :param static: a directory to serve beside, ``index.html`` for ``/``.
        :param backend: ``asyncio`` or ``trio``.
        :param use_uvloop: whether asyncio runs on uvloop; by default if it is installed.
        :raises ValueError: for another backend, or a number of workers that is not supported.
        :raises OSError: if the address cannot be bound.
        """
        if backend not in {"asyncio", "trio"}:
            raise ValueError(f"backend must be 'asyncio' or 'trio', not {backend!r}")
        if workers != 1:
            raise ValueError(f"workers must be 1, not {workers!r}")
        raise_file_limit()
        options: dict[str, Any] = {}
        if backend == "asyncio":
            options["use_uvloop"] = find_spec("uvloop") is not None if use_uvloop is None else use_uvloop

        async def serve() -> None:
            with ExitStack() as stack:
                signals = stack.enter_context(anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM))
                async with self.listen(host, port, static=static, ssl=ssl) as listening:
                    logger.info("listening on %s", listening.url)
                    async for number in signals:
                        logger.info("%s: closing", signal.Signals(number).name)
                        break
                    stack.close()  # the next one ends the process at once again

        anyio.run(serve, backend=backend, backend_options=options)

    async def wait_for_signal(self) -> None:
        """Wait for SIGINT or SIGTERM; from then on they end the process at once again."""
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for number in signals:
                logger.info("%s: closing", signal.Signals(number).name)
                return

    @asynccontextmanager
    async def listen(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        static: str | Path | None = None,
        ssl: tls.SSLContext | None = None,
        engines: Sequence[Service] = (),
    ) -> AsyncGenerator[Listening, None]:
        """Serve inside a running loop, asyncio's or trio's, for as long as the block lasts.

        :param port: 0 for any that is free.
        :param engines: other servers that share the listener; each answers under its own path.
        :raises OSError: if the address cannot be bound.
        :raises ValueError: if ``static`` is no directory.
        """
        services = [self, *engines]
        resources = [resource for service in services for resource in service.resources()]
        if static is not None:
            resources.append(StaticFiles(Path(static)))
        site = Site(
            [service.engine for service in services],
            self.engine.options.limits,
            self.deadlines,
            [resource for service in services for resource in service.resources_first()],
            resources,
        )
        handles = bind(host, port)
        bound_host, bound_port = handles[0].getsockname()[:2]
        failure: Exception | None = None
        async with AsyncExitStack() as stack:
            for handle in handles:
                stack.callback(handle.close)
            async with anyio.create_task_group() as task_group:
                runtime = Runtime.current(task_group)
                for service in services:
                    service.begin(runtime, task_group.start_soon)
                stopping = anyio.Event()
                self._stops.append(stopping)
                try:
                    shell: AsyncioShell | StreamShell
                    if sniffio.current_async_library() == "asyncio":
                        shell, stop = await self._listen_asyncio(site, handles, ssl)
                    else:
                        shell, stop = await self._listen_streams(site, handles, ssl, task_group, runtime)
                    self._shells.append(shell)
                    task_group.start_soon(stop_when, stopping, stop)
                    try:
                        yield Listening(site, bound_host, bound_port, ssl is not None)
                    except Exception as error:
                        failure = error  # the task group would wrap it
                    finally:
                        with anyio.CancelScope(shield=True):
                            stop()
                            for service in services:
                                await service.close()
                            await drain(shell)
                            self._shells.remove(shell)
                            for service in services:
                                await service.settle()
                finally:
                    self._stops.remove(stopping)
                    for service in services:
                        service.end()
                    task_group.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _listen_asyncio(
        self, site: Site, handles: list[socket.socket], context: tls.SSLContext | None
    ) -> tuple[AsyncioShell, Callable[[], None]]:
        shell = AsyncioShell(site, asyncio.get_running_loop())
        servers = [
            await asyncio_shell.listen(shell, handle, context, site.limits.tls_handshake_time)
            for handle in handles
        ]

        def stop() -> None:
            shell.closed = True
            for server in servers:
                server.close()

        return shell, stop

    async def _listen_streams(
        self,
        site: Site,
        handles: list[socket.socket],
        context: tls.SSLContext | None,
        task_group: anyio.abc.TaskGroup,
        runtime: Runtime,
    ) -> tuple[StreamShell, Callable[[], None]]:
        shell = StreamShell(site, task_group, runtime)
        scope = anyio.CancelScope()

        async def accept(stream: anyio.abc.ByteStream) -> None:
            await shell.serve(stream, secure=context is not None)

        async def serve(handle: socket.socket) -> None:
            listener: Any = await anyio.abc.SocketListener.from_socket(handle)
            if context is not None:
                listener = TLSListener(
                    listener,
                    context,
                    standard_compatible=False,
                    handshake_timeout=site.limits.tls_handshake_time,
                )
            async with listener:
                with scope:
                    await listener.serve(accept, task_group)

        for handle in handles:
            task_group.start_soon(serve, handle.dup())
        return shell, scope.cancel

    # Serving in somebody else's server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Be an ASGI application: served as it is, or mounted into one.

        :raises ValueError: for a scope that is neither of HTTP, WebSocket nor lifespan.
        """
        await self._asgi_shell(scope, receive, send)

    def wrap(self, app: Application) -> WrappedApplication:
        """Return an ASGI application that answers for this server, and hands everything else to ``app``."""
        return WrappedApplication(self._asgi_shell, app)

    @asynccontextmanager
    async def lifespan(self, app: object = None) -> AsyncGenerator[None, None]:
        """Run for as long as the block lasts, and at its end tell the clients and let them go.

        For an application that this server is mounted into: ``FastAPI(lifespan=io.lifespan)``, or
        ``async with io.lifespan():`` inside a lifespan of its own.

        :param app: what frameworks hand over; not used.
        """
        failure: Exception | None = None
        async with anyio.create_task_group() as task_group:
            self.begin(Runtime.current(task_group), task_group.start_soon)
            try:
                yield
            except Exception as error:
                failure = error  # the task group would wrap it
            finally:
                with anyio.CancelScope(shield=True):
                    if not self.draining:
                        await self.close()
                    with anyio.move_on_after(DRAIN_TIME):
                        await self._asgi_shell.drain()
                    await self.settle()
                self.end()
                task_group.cancel_scope.cancel()
        if failure is not None:
            raise failure

    @property
    def uvicorn_protocol(self) -> type[asyncio.Protocol]:
        """The class for the setting ``ws`` of uvicorn: this server's WebSockets run on its own connection code.

        Those of other paths get what uvicorn gives them by default.

        :raises ImportError: if uvicorn is not installed.
        """
        if self._uvicorn_protocol is None:
            from sio_core.serving.uvicorn import make_protocol  # noqa: PLC0415 - needs uvicorn, an optional package

            self._uvicorn_protocol = make_protocol(self)
        return self._uvicorn_protocol

    @property
    def _asgi_shell(self) -> AsgiShell:
        if self._asgi is None:
            self._asgi = AsgiShell(self)
        return self._asgi

    # Both

    @property
    def running(self) -> bool:
        """Whether it belongs to an event loop, and its clock runs."""
        return self._users > 0

    def begin(self, runtime: Runtime, start_soon: Callable[..., object]) -> None:
        """One more listener uses this service; the first starts it.

        :param start_soon: runs an async function with arguments, until the service is ended.
        """
        self._users += 1
        if self._users == 1:
            self.draining = False
            self.now = runtime.now
            self._runtime = runtime
            self.start(runtime)
            start_soon(run_clock, self.deadlines, runtime.now)

    async def settle(self) -> None:
        """Wait for what the application does: listeners of ``disconnect`` above all."""
        if self._runtime is not None:
            with anyio.move_on_after(SETTLE_TIME):
                await self._runtime.join()

    def end(self) -> None:
        """A listener is done with this service; the last stops it."""
        self._users -= 1
        if not self._users:
            self.draining = False
            self._runtime = None
            self.stop()

    async def close(self) -> None:
        """Close clients, engine and listeners. Clients of Socket.IO see a lost connection, and come back.

        The server can listen again afterwards.
        """
        self.draining = True
        for stopping in self._stops:
            stopping.set()
        await self.shut_down()
        self.engine.close()
        for shell in self._shells:
            close_connections(shell)


def close_connections(shell: AsyncioShell | StreamShell) -> None:
    """Tell the connections to end after what they are doing."""
    drivers: list[AsyncioProtocol | StreamDriver] = [*shell.connections]
    for driver in drivers:
        driver.close()


async def stop_when(stopping: anyio.Event, stop: Callable[[], None]) -> None:
    """Stop accepting once the server is being closed."""
    await stopping.wait()
    stop()


async def drain(shell: AsyncioShell | StreamShell) -> None:
    """Let connections end; drop those that do not."""
    idle = anyio.Event()
    shell.site.on_idle = idle.set
    close_connections(shell)
    if shell.site.connections:
        with anyio.move_on_after(DRAIN_TIME):
            await idle.wait()
    drivers: list[AsyncioProtocol | StreamDriver] = [*shell.connections]
    for driver in drivers:
        driver.abort()
    if shell.site.connections:
        await idle.wait()


def raise_file_limit() -> None:
    """Let the process open as many files as it may: each connection is one."""
    if sys.platform != "win32":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def bind(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets for every address of a host, all on one port.

    :raises OSError: if one cannot be bound.
    """
    handles: list[socket.socket] = []
    addresses = dict.fromkeys(
        (family, address)
        for family, _, _, _, address in socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    )
    try:
        for family, address in addresses:
            handle = socket.socket(family, socket.SOCK_STREAM)
            handles.append(handle)
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                handle.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            handle.setblocking(False)
            chosen = (
                address[0],
                port or (handles[0].getsockname()[1] if len(handles) > 1 else 0),
                *address[2:],
            )
            handle.bind(chosen)
            handle.listen(BACKLOG)
    except OSError as error:
        for handle in handles:
            handle.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    return handles
