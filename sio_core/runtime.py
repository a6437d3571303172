"""The event loop a server belongs to, asyncio's or trio's, behind one small interface."""

from __future__ import annotations

import asyncio
import logging
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from threading import get_ident
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel
import sniffio

__all__ = ["AsyncFunction", "AsyncioRuntime", "Runtime", "TrioRuntime", "Waiter", "as_error", "is_cancelled"]

logger = logging.getLogger(__name__)

AsyncFunction = Callable[..., Coroutine[Any, Any, object]]


class Runtime(ABC):
    """What the layers above the protocols need of an event loop.

    :ivar thread: the identifier of the thread the loop runs in.
    :ivar starts_at_once: whether :meth:`spawn` runs a task's first step before it returns.
    """

    __slots__ = ("starts_at_once", "thread")

    def __init__(self, starts_at_once: bool) -> None:
        self.thread = get_ident()
        self.starts_at_once = starts_at_once

    @abstractmethod
    def now(self) -> float:
        """Seconds on the loop's monotonic clock."""

    @abstractmethod
    def spawn(self, function: AsyncFunction, *args: Any) -> None:
        """Run an async function as a task of its own. It should not raise: nobody is told but the log."""

    @abstractmethod
    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function from the loop, after what is ready to run now."""

    @abstractmethod
    def call_from_thread(self, function: Callable[..., object], *args: Any) -> None:
        """Call a function from the loop; may be called in any thread, and keeps the order of its calls."""

    @abstractmethod
    async def join(self) -> None:
        """Wait until every task of :meth:`spawn` has ended."""

    @abstractmethod
    def cancel(self) -> None:
        """Cancel every task of :meth:`spawn` that has not ended."""

    @staticmethod
    def current(task_group: anyio.abc.TaskGroup) -> Runtime:
        """Return the runtime of the loop that runs this; its tasks end with ``task_group`` on trio."""
        if sniffio.current_async_library() == "asyncio":
            return AsyncioRuntime(asyncio.get_running_loop())
        return TrioRuntime(task_group)


class AsyncioRuntime(Runtime):
    """asyncio, or a loop that follows it such as uvloop."""

    __slots__ = ("_loop", "_tasks")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(starts_at_once=sys.version_info >= (3, 12))
        self._loop = loop
        self._tasks: set[asyncio.Task[object]] = set()

    def now(self) -> float:
        return self._loop.time()

    def spawn(self, function: AsyncFunction, *args: Any) -> None:
        coroutine = function(*args)
        if sys.version_info >= (3, 12):
            task = asyncio.Task(coroutine, loop=self._loop, eager_start=True)
            if task.done():
                return
        else:
            task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        self._loop.call_soon(function, *args)

    def call_from_thread(self, function: Callable[..., object], *args: Any) -> None:
        self._loop.call_soon_threadsafe(call_safely, function, args)

    async def join(self) -> None:
        while self._tasks:
            await asyncio.wait(self._tasks)

    def cancel(self) -> None:
        for task in self._tasks:
            task.cancel()


class TrioRuntime(Runtime):
    """trio. Its tasks belong to the task group that the server runs in.

    Whoever cancels that does not cancel them: listeners of ``disconnect`` have their time, as on asyncio. So
    :meth:`cancel` must be called before the task group is left.
    """

    __slots__ = ("_idle", "_scopes", "_task_group", "_token")

    def __init__(self, task_group: anyio.abc.TaskGroup) -> None:
        import trio.lowlevel  # noqa: PLC0415 - only here is trio known to be installed

        super().__init__(starts_at_once=False)
        self._task_group = task_group
        self._token = trio.lowlevel.current_trio_token()
        self._scopes: set[anyio.CancelScope] = set()
        self._idle: anyio.Event | None = None

    def now(self) -> float:
        return anyio.current_time()

    def spawn(self, function: AsyncFunction, *args: Any) -> None:
        scope = anyio.CancelScope(shield=True)
        self._scopes.add(scope)
        self._task_group.start_soon(self._run, scope, function, args)

    async def _run(self, scope: anyio.CancelScope, function: AsyncFunction, args: tuple[Any, ...]) -> None:
        try:
            with scope:
                await function(*args)
        except Exception:  # it would end every other task of the server
            logger.exception("a task of the server has failed")
        finally:
            self._scopes.discard(scope)
            if not self._scopes and self._idle is not None:
                self._idle.set()

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        self._token.run_sync_soon(function, *args)

    def call_from_thread(self, function: Callable[..., object], *args: Any) -> None:
        self._token.run_sync_soon(call_safely, function, args)

    async def join(self) -> None:
        while self._scopes:
            self._idle = anyio.Event()
            await self._idle.wait()

    def cancel(self) -> None:
        for scope in self._scopes:
            scope.cancel()


def is_cancelled() -> bool:
    """Whether the task that runs this is to end. If not, a ``CancelledError`` is of something that it awaited."""
    if sniffio.current_async_library() != "asyncio":
        return False
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def as_error(cancellation: asyncio.CancelledError) -> Exception:
    """Return the error that it is for a task when something that it awaited has been cancelled by others.

    :raises CancelledError: if it is the task itself that is to end.
    """
    if is_cancelled():
        raise cancellation
    error = RuntimeError("what it awaited was cancelled")
    error.__cause__ = cancellation
    return error


def call_safely(function: Callable[..., object], args: tuple[Any, ...]) -> None:
    """Call what another thread asked for. There is nobody to raise to: trio would end with an exception."""
    try:
        function(*args)
    except Exception:
        logger.exception("%s, called from another thread, raised an exception", function.__qualname__)


class Waiter:
    """A value that tasks wait for and other code sets, once."""

    __slots__ = ("_error", "_event", "_value", "done")

    def __init__(self) -> None:
        self.done = False
        self._event: anyio.Event | None = None
        self._value: Any = None
        self._error: Exception | None = None

    def set(self, value: Any = None, error: Exception | None = None) -> None:
        """Give the value, or the error that is raised instead. Later calls change nothing."""
        if not self.done:
            self.done = True
            self._value = value
            self._error = error
            if self._event is not None:
                self._event.set()

    async def wait(self) -> Any:
        """Wait for the value."""
        if not self.done:
            if self._event is None:
                self._event = anyio.Event()
            await self._event.wait()
        if self._error is not None:
            raise self._error
        return self._value
