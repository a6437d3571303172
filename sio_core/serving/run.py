"""Serving until a signal comes, in this process or in several."""

from __future__ import annotations

import logging
import signal
import ssl as tls
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from sio_core.serving.listeners import bind, raise_file_limit
from sio_core.serving.supervisor import Supervisor
from sio_core.serving.worker_link import WorkerLink

if TYPE_CHECKING:
    from sio_core.serving.standalone import Service

__all__ = ["Lifespan", "RunOptions", "run_alone", "run_workers"]

Lifespan = Callable[[Any], AbstractAsyncContextManager[Any]]
"""What the application does around serving, in the event loop."""

logger = logging.getLogger(__name__)


class RunOptions:
    """How something is served. See :meth:`Service.run`.

    :raises ValueError: for a backend that does not exist.
    """

    __slots__ = ("backend", "host", "lifespan", "on_listening", "port", "ssl", "static", "use_uvloop")

    def __init__(
        self,
        host: str,
        port: int,
        *,
        static: str | Path | None = None,
        ssl: tls.SSLContext | None = None,
        backend: str = "asyncio",
        use_uvloop: bool | None = None,
        lifespan: Lifespan | None = None,
        on_listening: Callable[[str], object] | None = None,
    ) -> None:
        if backend not in {"asyncio", "trio"}:
            raise ValueError(f"backend must be 'asyncio' or 'trio', not {backend!r}")
        self.host = host
        self.port = port
        self.static = static
        self.ssl = ssl
        self.backend = backend
        self.use_uvloop = find_spec("uvloop") is not None if use_uvloop is None else use_uvloop
        self.lifespan = lifespan
        self.on_listening = on_listening

    def run(self, function: Callable[[], Any]) -> None:
        """Run an async function in an event loop of the kind asked for."""
        options = {"use_uvloop": self.use_uvloop} if self.backend == "asyncio" else {}
        anyio.run(function, backend=self.backend, backend_options=options)

    def listening(self, url: str) -> None:
        """Tell those who want to know."""
        logger.info("listening on %s", url)
        if self.on_listening is not None:
            self.on_listening(url)


def run_alone(service: Service, options: RunOptions) -> None:
    """Serve in this process."""
    raise_file_limit()

    async def serve() -> None:
        async with AsyncExitStack() as lifespan:
            with ExitStack() as stack:
                signals = stack.enter_context(anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM))
                if options.lifespan is not None:
                    await lifespan.enter_async_context(options.lifespan(service))
                async with service.listen(
                    options.host, options.port, static=options.static, ssl=options.ssl
                ) as listening:
                    options.listening(listening.url)
                    async for number in signals:
                        logger.info("%s: closing", signal.Signals(number).name)
                        break
                    stack.close()  # the next one ends the process at once again

    options.run(serve)


def run_workers(load: Callable[[], Service], count: int, options: RunOptions) -> None:
    """Serve in several processes, which this one supervises.

    :param load: gives what is served, called in each worker.
    :raises ValueError: if TLS is asked for: it hides what a request is for.
    """
    if options.ssl is not None:
        raise ValueError("ssl cannot be used with workers: have a proxy in front take care of TLS")
    raise_file_limit()
    handles = bind(options.host, options.port)
    host, port = handles[0].getsockname()[:2]

    def work(link: WorkerLink) -> None:
        service = load()
        service.become_worker(link)
        options.run(lambda: serve_as_worker(service, link, options))

    def announce() -> None:
        options.listening(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

    Supervisor(work, count, handles, announce).run()


async def serve_as_worker(service: Service, link: WorkerLink, options: RunOptions) -> None:
    """Serve what the supervisor gives, until it says that this is enough or is gone, or the server is closed."""
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async with AsyncExitStack() as lifespan:
            if options.lifespan is not None:
                await lifespan.enter_async_context(options.lifespan(service))
            async with (
                service.listen_as_worker(link, static=options.static) as intake,
                anyio.create_task_group() as waiting,
            ):

                async def wait_for_signal() -> None:
                    async for _ in signals:
                        waiting.cancel_scope.cancel()

                waiting.start_soon(wait_for_signal)
                await intake.ended.wait()
                waiting.cancel_scope.cancel()
