"""Time for adapters: everything goes by the deadlines of the server, so none costs a task of its own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio

from sio_core.adapters.base import Host
from sio_core.engineio.deadlines import NEVER, Timed
from sio_core.errors import AdapterError
from sio_core.runtime import Waiter

__all__ = ["Timer", "pause", "within"]

Result = TypeVar("Result")


class Timer(Timed):
    """Calls a function at a moment that may be moved.

    :param function: called with the time; it may set the timer again.
    """

    __slots__ = ("_function", "_host")

    def __init__(self, host: Host, function: Callable[[float], object]) -> None:
        super().__init__()
        self._host = host
        self._function = function

    def set(self, at: float) -> None:
        """Call the function at this moment of the event loop's clock, and not at the one said before."""
        self.deadline = at
        self._host.deadlines.schedule(self)

    def set_after(self, seconds: float) -> None:
        """Call the function that many seconds from now."""
        self.set(self._host.runtime.now() + seconds)

    def stop(self) -> None:
        """Do not call it."""
        self._host.deadlines.cancel(self)

    def handle_deadline(self, now: float) -> None:
        self.deadline = NEVER
        self._function(now)


async def pause(host: Host, seconds: float) -> None:
    """Wait for some time."""
    waiter = Waiter()
    timer = Timer(host, waiter.set)
    timer.set_after(seconds)
    try:
        await waiter.wait()
    finally:
        timer.stop()


async def within(
    host: Host, seconds: float, what: str, awaitable: Awaitable[Result], bound: str = ""
) -> Result:
    """Await something that may take so many seconds.

    :param bound: the name of the limit that these are, which is counted if it is hit.
    :raises AdapterError: if it takes longer; the message names ``what``.
    """
    result: Any = None
    with anyio.CancelScope() as scope:
        timer = Timer(host, lambda now: scope.cancel())
        timer.set_after(seconds)
        try:
            result = await awaitable
        finally:
            timer.stop()
    if scope.cancelled_caught:
        if bound:
            host.count_limit(bound)
        raise AdapterError(f"{what} took more than {seconds:g} s")
    answer: Result = result
    return answer
