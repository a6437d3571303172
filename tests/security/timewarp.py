"""Event loops whose clock a test can put forward: real servers and real sockets, and no waiting.

A loop's clock goes as it always does, and :func:`pass_time` adds to it, in small steps, between which everything that
is due happens. So a bound of an hour can be lived with for ten of them.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

import anyio.lowlevel
import trio.abc

__all__ = ["ASYNCIO", "TRIO", "pass_time"]

TURNS: Final = 12
"""Turns of the loop after each step: enough for bytes to go from one end to the other and back."""


class Shift:
    """How far the clocks are ahead."""

    seconds = 0.0


class WarpedLoop(asyncio.SelectorEventLoop):
    """asyncio, ahead of its time."""

    def time(self) -> float:
        return super().time() + Shift.seconds


class WarpedClock(trio.abc.Clock):
    """trio, ahead of its time."""

    def start_clock(self) -> None:
        """It goes already."""

    def current_time(self) -> float:
        return time.monotonic() + Shift.seconds

    def deadline_to_sleep_time(self, deadline: float) -> float:
        return deadline - self.current_time()


ASYNCIO: Final = ("asyncio", {"loop_factory": WarpedLoop})
TRIO: Final = ("trio", {"clock": WarpedClock()})


async def settle() -> None:
    """Let everything happen that can."""
    for _ in range(TURNS):
        await anyio.lowlevel.checkpoint()


async def pass_time(seconds: float, step: float | None = None) -> None:
    """Let time pass.

    :param step: seconds of the clock at a time; by default a twentieth of them all.
    """
    step = step or seconds / 20
    left = seconds
    await settle()
    while left > 0:
        Shift.seconds += min(step, left)
        left -= step
        await settle()
