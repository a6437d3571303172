"""The one task that waits for deadlines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio
import anyio.lowlevel

from sio_core.engineio.deadlines import NEVER, Deadlines

__all__ = ["run_clock"]

STALLED: Final = 0.25
"""Seconds of lateness from which the loop counts as having stalled."""

STOOD_STILL: Final = 1.0
"""Seconds of lateness from which it has stood still for long: a ping may not have been written before, its answer could
not be read, and the time is given back to who had to answer."""

LOOK: Final = 1.0
"""Seconds after which the clock looks whether the loop still runs, if nothing is due before."""

TURNS: Final = 5
"""Turns of the loop in which what has come is read: in other people's servers it changes hands on its way."""

ATTEMPTS: Final = 5
"""Times that this is tried: where every turn stalls, deadlines are met all the same."""


TOGETHER: Final = 0.005
"""Seconds between two looks: the heartbeats of thousands of clients come due one by one, and are met together."""


async def run_clock(deadlines: Deadlines, now: Callable[[], float]) -> None:
    """Run the deadlines of a server as they pass, until cancelled.

    After a stall what has arrived meanwhile is read first, and after a long one clients get the time back, so that none
    is judged for the server's own delay.
    """
    earlier = anyio.Event()

    def wake() -> None:
        earlier.set()

    deadlines.on_earlier = wake
    next_look = 0.0
    seen_at = 0.0  # when the loop was here last
    awake_at = NEVER  # when it should be here again at the latest
    try:
        while True:
            earlier = anyio.Event()
            at = deadlines.next
            moment = now()
            late = moment - awake_at
            if late > STOOD_STILL:
                deadlines.stood_still += moment - seen_at
            delay = max(at, next_look) - moment
            if delay > 0:
                seen_at = moment
                awake_at = moment + min(delay, LOOK) if at != NEVER else NEVER
                with anyio.move_on_after(awake_at - moment):
                    await earlier.wait()
                continue
            seen_at = awake_at = await read_what_has_come(max(late, -delay) > STALLED, moment, now)
            if awake_at - moment > STOOD_STILL:
                deadlines.stood_still += awake_at - moment
            deadlines.run(awake_at)
            next_look = awake_at + TOGETHER
    finally:
        deadlines.on_earlier = None


async def read_what_has_come(stalled: bool, started: float, now: Callable[[], float]) -> float:
    """Let the connections read; again if the loop stalls while they do. Return when they had read."""
    moment = started
    for _ in range(ATTEMPTS):
        for _ in range(TURNS if stalled else 1):
            await anyio.lowlevel.checkpoint()
        moment = now()
        stalled = moment - started > STALLED
        if not stalled:
            break
        started = moment
    return moment
