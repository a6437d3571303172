"""What is served, and serving it without anybody else's server: listeners, signals, the drain."""

from __future__ import annotations

import asyncio
import logging
import signal
import ssl as tls
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import anyio
import anyio.abc
import anyio.lowlevel

from sio_core.engineio.deadlines import Deadlines
from sio_core.engineio.engine import Engine
from sio_core.ids import make_worker_session_id
from sio_core.runtime import Runtime
from sio_core.serving.asgi import AsgiShell, WrappedApplication
from sio_core.serving.asgi_scope import Application, Receive, Scope, Send
from sio_core.serving.asyncio_shell import AsyncioShell, OpenConnection
from sio_core.serving.clock import run_clock
from sio_core.serving.listeners import Shell, accept, bind, make_shell, open_files_bound
from sio_core.serving.run import Lifespan, RunOptions, run_alone, run_workers
from sio_core.serving.site import Resource, Site
from sio_core.serving.static_files import StaticFiles
from sio_core.serving.supervisor import check_workers
from sio_core.serving.trio_shell import StreamShell
from sio_core.serving.worker import Intake, OtherWorkers
from sio_core.serving.worker_link import WorkerLink

__all__ = ["Listening", "Service"]

DRAIN_TIME: Final = 10.0
"""Seconds that connections get to end after they were told to."""

SETTLE_TIME: Final = 3.0
"""Seconds that what the application does when its clients have gone may take, before the server is gone too."""

CANCEL_TIME: Final = 1.0
"""Seconds that what is cancelled then gets to end."""

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
        lifespan: Lifespan | None = None,
        on_listening: Callable[[str], object] | None = None,
    ) -> None:
        """Serve until SIGINT or SIGTERM; the first lets clients go gently, the second ends at once.

        :param static: a directory to serve beside, ``index.html`` for ``/``.
        :param workers: processes, forked from this one, that serve the address together. A program starts its
            threads and opens its files and connections in ``lifespan`` then: they do not survive the fork.
        :param backend: ``asyncio`` or ``trio``.
        :param use_uvloop: whether asyncio runs on uvloop; by default if it is installed.
        :param lifespan: ``lifespan(server)`` is an asynchronous context manager, entered in the event loop of each
            worker before it accepts connections, and left after the last connection has ended.
        :param on_listening: called with the address to open, once connections are accepted; with several workers
            in this process.
        :raises ValueError: for another backend, or what several workers cannot do.
        :raises OSError: if the address cannot be bound.
        :raises WorkersFailed: if no worker can be kept running.
        """
        options = RunOptions(
            host,
            port,
            static=static,
            ssl=ssl,
            backend=backend,
            use_uvloop=use_uvloop,
            lifespan=lifespan,
            on_listening=on_listening,
        )
        check_workers(workers)
        if workers == 1:
            run_alone(self, options)
        else:
            self.check_for_workers()
            run_workers(lambda: self, workers, options)

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
        site = self._make_site(services, static)
        handles = bind(host, port)
        bound_host, bound_port = handles[0].getsockname()[:2]

        async def start(shell: Shell, task_group: anyio.abc.TaskGroup) -> Callable[[], None]:
            return await accept(shell, handles, ssl, task_group)

        with ExitStack() as stack:
            for handle in handles:
                stack.callback(handle.close)
            async with self._serving(services, site, start):
                yield Listening(site, bound_host, bound_port, ssl is not None)

    @asynccontextmanager
    async def listen_as_worker(
        self, link: WorkerLink, *, static: str | Path | None = None
    ) -> AsyncGenerator[Intake, None]:
        """Serve what a supervisor gives, inside a running loop, for as long as the block lasts.

        :raises ValueError: if ``static`` is no directory.
        """
        site = self._make_site([self], static)
        site.siblings = OtherWorkers(link)
        intake = Intake(link, site)

        async def start(shell: Shell, task_group: anyio.abc.TaskGroup) -> Callable[[], None]:
            task_group.start_soon(intake.run, shell, task_group)
            return intake.stop

        async with self._serving([self], site, start):
            link.announce()
            yield intake

    def _make_site(self, services: Sequence[Service], static: str | Path | None) -> Site:
        resources = [resource for service in services for resource in service.resources()]
        if static is not None:
            resources.append(StaticFiles(Path(static)))
        return Site(
            [service.engine for service in services],
            self.engine.options.limits,
            self.deadlines,
            [resource for service in services for resource in service.resources_first()],
            resources,
            open_files_bound(),
        )

    @asynccontextmanager
    async def _serving(
        self,
        services: Sequence[Service],
        site: Site,
        start: Callable[[Shell, anyio.abc.TaskGroup], Awaitable[Callable[[], None]]],
    ) -> AsyncGenerator[None, None]:
        """Run services for as long as the block lasts, on connections that ``start`` brings; it returns what stops."""
        failure: Exception | None = None
        async with anyio.create_task_group() as task_group:
            runtime = Runtime.current(task_group)
            stopping = anyio.Event()
            try:
                with ExitStack() as users:
                    for service in services:
                        service.begin(runtime, task_group.start_soon)
                        users.callback(service.end)
                    self._stops.append(stopping)
                    users.callback(self._stops.remove, stopping)
                    shell = make_shell(site, task_group, runtime)
                    stop = await start(shell, task_group)
                    self._shells.append(shell)
                    task_group.start_soon(stop_when, stopping, stop)
                    try:
                        yield
                    finally:
                        with anyio.CancelScope(shield=True):
                            stop()
                            for service in services:
                                await service.close()
                            await drain(shell)
                            self._shells.remove(shell)
                            for service in services:
                                await service.settle()
            except Exception as error:
                failure = error  # the task group would wrap it
            finally:
                runtime.cancel()
                task_group.cancel_scope.cancel()
        if failure is not None:
            raise failure

    # Being one of several workers

    def check_for_workers(self) -> None:
        """Make sure that several workers can serve this.

        :raises ValueError: saying what they cannot do.
        """
        if self.engine.options.generate_id is not None:
            raise ValueError("generate_id cannot be used with workers: the session id names the worker")

    def become_worker(self, link: WorkerLink) -> None:
        """Be one of several workers from now on, before anything is served."""
        self.check_for_workers()
        self.engine.make_session_id = partial(make_worker_session_id, link.index)

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
            try:
                self.begin(Runtime.current(task_group), task_group.start_soon)
                try:
                    yield
                finally:
                    with anyio.CancelScope(shield=True):
                        if not self.draining:
                            await self.close()
                        with anyio.move_on_after(DRAIN_TIME):
                            await self._asgi_shell.drain()
                        await self.settle()
                    self.end()
            except Exception as error:
                failure = error  # the task group would wrap it
            finally:
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
            try:
                self.start(runtime)
            except Exception:
                self.end()
                raise
            start_soon(run_clock, self.deadlines, runtime.now)

    async def settle(self) -> None:
        """Wait for what the application does: listeners of ``disconnect`` above all. The last user ends the rest."""
        runtime = self._runtime
        if runtime is not None:
            with anyio.move_on_after(SETTLE_TIME):
                await runtime.join()
                await anyio.lowlevel.checkpoint()  # what ended last may have left something for the next turn
                await runtime.join()
            if self._users == 1:
                runtime.cancel()
                with anyio.move_on_after(CANCEL_TIME):
                    await runtime.join()

    def end(self) -> None:
        """A listener is done with this service; the last stops it."""
        self._users -= 1
        if not self._users:
            self.draining = False
            if self._runtime is not None:
                self._runtime.cancel()
            self._runtime = None
            self.stop()

    async def close(self) -> None:
        """Close clients, engine and listeners. Clients of Socket.IO see a lost connection, and come back.

        The server can listen again afterwards.
        """
        self.draining = True
        for stopping in self._stops:
            stopping.set()
        try:
            await self.shut_down()
        finally:  # whoever waits for this may have lost patience
            self.engine.close()
            for shell in self._shells:
                close_connections(shell)


def close_connections(shell: AsyncioShell | StreamShell) -> None:
    """Tell the connections to end after what they are doing."""
    drivers: list[OpenConnection] = [*shell.connections]
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
    drivers: list[OpenConnection] = [*shell.connections]
    for driver in drivers:
        driver.abort()
    if shell.site.connections:
        await idle.wait()
    if isinstance(shell, AsyncioShell):
        shell.end()
