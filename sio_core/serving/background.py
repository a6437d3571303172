"""A server that other people's code calls, and that nobody has started.

A mounted application gets no lifespan: the ASGI specification sends it to the outermost application, and frameworks do
not hand it on. So the first request starts the clock, and it runs for as long as the event loop does:

- on asyncio as a task of its own, which the loop cancels when it ends;
- on trio in a nursery inside a system task, which lives until the main task has ended. An application's tasks need a
  nursery there, and no request may own it, for they outlive requests.

When that is cancelled the loop ends, and every connection with it: the sessions are closed, and what listens to their
end gets a moment. Clients are told only if the server that carries them still can; ``io.lifespan`` comes in time, and
where that is used there is nothing to start here.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

import anyio
import sniffio

from sio_core.runtime import AsyncioRuntime, TrioRuntime

if TYPE_CHECKING:
    from sio_core.serving.standalone import Service

__all__ = ["ensure_running", "start_on_asyncio"]

logger = logging.getLogger(__name__)


async def ensure_running(service: Service) -> None:
    """Start a server that does not run.

    :raises Exception: whatever its start raises; on trio ``RuntimeError``, and the other is logged.
    """
    if service.running:
        return
    if sniffio.current_async_library() == "asyncio":
        start_on_asyncio(service)
        return
    import trio.lowlevel  # noqa: PLC0415 - only here is trio known to be installed

    if service.starting is None:
        service.starting = anyio.Event()
        trio.lowlevel.spawn_system_task(run_on_trio, service, service.starting)
    await service.starting.wait()
    if not service.running:
        raise RuntimeError("the server could not be started: the log says why")


def start_on_asyncio(service: Service) -> None:
    """Start a server on the loop that runs this."""
    loop = asyncio.get_running_loop()

    def start_soon(function: Callable[..., Coroutine[Any, Any, None]], *args: Any) -> None:
        # Not in the context of the request that happens to be the first.
        task = loop.create_task(run_until_the_end(service, function, args), context=contextvars.Context())
        task.add_done_callback(ended)

    def ended(task: asyncio.Task[None]) -> None:
        service.end()
        if not task.cancelled() and task.exception() is not None:
            logger.error("the clock has stopped", exc_info=task.exception())

    service.begin(AsyncioRuntime(loop), start_soon)


async def run_until_the_end(
    service: Service, function: Callable[..., Coroutine[Any, Any, None]], args: tuple[Any, ...]
) -> None:
    """Run the clock; when the loop cancels it, close the server."""
    try:
        await function(*args)
    except asyncio.CancelledError:
        await close(service)
        raise


async def close(service: Service) -> None:
    """The event loop ends: so do the sessions."""
    if not service.draining:
        await service.close()
    await service.settle()


async def run_on_trio(service: Service, started: anyio.Event) -> None:
    """Hold the nursery of a server until the event loop ends."""
    try:
        async with anyio.create_task_group() as task_group:
            try:
                service.begin(TrioRuntime(task_group), task_group.start_soon)
            finally:  # who waits for it must know if it has failed
                service.starting = None
                started.set()
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await close(service)
                service.end()
    except* Exception:
        # An exception that leaves a system task ends the program.
        logger.exception("a task of the server has failed")
