"""Accepting connections although there may be nothing left to make them of: descriptors, buffers.

A listening socket stays readable while a connection waits that cannot be accepted. So accepting pauses, instead of
trying again at once; those who wait are served when something is free again.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from typing import Any, Final

import anyio
import anyio.abc

__all__ = ["SocketAcceptor", "accept_sockets"]

PAUSE: Final = 0.1
"""Seconds until a connection is tried to be accepted again."""

BURST: Final = 100
"""Connections accepted in one turn of the loop."""

LOG_INTERVAL: Final = 10.0
"""Seconds between log lines that say the same."""

logger = logging.getLogger(__name__)


class Failures:
    """Says in the log that connections cannot be accepted, but not at each attempt."""

    __slots__ = ("_silent_until",)

    def __init__(self) -> None:
        self._silent_until = float("-inf")

    def add(self, error: BaseException | None, now: float) -> None:
        """One more connection could not be accepted."""
        if now >= self._silent_until:
            self._silent_until = now + LOG_INTERVAL
            logger.warning("connections cannot be accepted and have to wait: %s", error)


class SocketAcceptor:
    """Accepts connections of one listening socket for a selector loop of asyncio.

    The loop's own way logs a traceback for each place of the backlog when descriptors run out, once a second.
    """

    __slots__ = (
        "_failures",
        "_handle",
        "_loop",
        "_make_protocol",
        "_retry",
        "_tasks",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        handle: socket.socket,
        make_protocol: Callable[[], asyncio.Protocol],
    ) -> None:
        self._loop = loop
        self._handle = handle
        self._make_protocol = make_protocol
        self._failures = Failures()
        self._retry: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._start()

    def close(self) -> None:
        """Accept no more. May be called again."""
        if self._retry is not None:
            self._retry.cancel()
        if self._handle.fileno() >= 0:
            self._loop.remove_reader(self._handle)
            self._handle.close()

    def _start(self) -> None:
        self._retry = None
        self._loop.add_reader(self._handle, self._accept)

    def _accept(self) -> None:
        for _ in range(BURST):
            try:
                connection, _ = self._handle.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                self._failures.add(error, self._loop.time())
                self._loop.remove_reader(self._handle)
                self._retry = self._loop.call_later(PAUSE, self._start)
                return
            connection.setblocking(False)
            task = self._loop.create_task(self._serve(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._make_protocol, connection)
        except OSError as error:
            logger.debug("a connection has failed as it came: %s", error)
            connection.close()


async def accept_sockets(
    handle: socket.socket,
    serve: Callable[[anyio.abc.SocketStream], Coroutine[Any, Any, None]],
    task_group: anyio.abc.TaskGroup,
) -> None:
    """Accept connections of one listening socket as streams, each served by a task, until cancelled."""
    failures = Failures()
    async with await anyio.abc.SocketListener.from_socket(handle) as listener:
        while True:
            try:
                stream = await listener.accept()
            except anyio.BrokenResourceError as error:
                if not isinstance(error.__cause__, ConnectionAbortedError):
                    failures.add(error.__cause__, anyio.current_time())
                    await anyio.sleep(PAUSE)
            else:
                task_group.start_soon(serve, stream)
