"""The one task that waits for deadlines."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import anyio.lowlevel

from sio_core.engineio.deadlines import NEVER, Deadlines

__all__ = ["run_clock"]

STALLED = 0.25
"""Seconds of lateness from which the loop counts as having stalled."""


async def run_clock(deadlines: Deadlines, now: Callable[[], float]) -> None:
    """Run the deadlines of a server as they pass, until cancelled.

    After a stall what has arrived meanwhile is read first, so that no client is judged for the server's own delay.
    """
    earlier = anyio.Event()

    def wake() -> None:
        earlier.set()

    deadlines.on_earlier = wake
    try:
        while True:
            earlier = anyio.Event()
            at = deadlines.next
            delay = at - now()
            if delay > 0:
                with anyio.move_on_after(delay if at != NEVER else None):
                    await earlier.wait()
                continue
            if delay < -STALLED:
                for _ in range(3):
                    await anyio.lowlevel.checkpoint()
            else:
                await anyio.lowlevel.checkpoint()
            deadlines.run(now())
    finally:
        deadlines.on_earlier = None
