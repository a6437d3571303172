"""The task that waits for deadlines: a loop that stalls judges nobody for what it has not read."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest

from sio_core.engineio.deadlines import Deadlines, Timed
from sio_core.serving.clock import run_clock

pytestmark = pytest.mark.anyio


class Peer(Timed):
    """Somebody who is given up when the deadline passes."""

    def __init__(self, deadlines: Deadlines, deadline: float) -> None:
        super().__init__()
        self.deadline = deadline
        self.judged_at: list[float] = []
        deadlines.schedule(self)

    def handle_deadline(self, now: float) -> None:
        self.judged_at.append(now)
        self.deadline = float("inf")


class Stalls:
    """A clock that jumps at a certain look at it, as if the loop had stalled since the one before."""

    def __init__(self, look: int, seconds: float) -> None:
        self._look = look
        self._seconds = seconds
        self.looks = 0
        self.now = 0.0

    def __call__(self) -> float:
        self.looks += 1
        if self.looks == self._look:
            self.now += self._seconds
        return self.now


async def run(deadlines: Deadlines, now: Stalls, healthy: Peer) -> None:
    """Run the clock; once it has stalled, the answer of the healthy peer is read in the next turn."""
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(run_clock, deadlines, now)
        while not now.now:
            await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
        healthy.deadline = 1_000.0
        for _ in range(30):
            await anyio.lowlevel.checkpoint()
        task_group.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("look", "due", "stood_still"),
    [
        (2, 0.0, 30.0),  # while what has come was read
        (3, 0.0, 30.0),  # while what was due was dealt with
        (2, 500.0, 30.0),  # while nothing was due
        (5, 500.0, 0.0),  # never within the test
    ],
)
async def test_a_long_stall_is_noted(look: int, due: float, stood_still: float) -> None:
    deadlines = Deadlines()
    clock = Stalls(look, 30.0)
    Peer(deadlines, due)
    async with anyio.create_task_group() as task_group:
        task_group.start_soon(run_clock, deadlines, clock)
        while not clock.looks:
            await anyio.lowlevel.checkpoint()
        Peer(deadlines, 400.0)  # wakes it
        for _ in range(30):
            await anyio.lowlevel.checkpoint()
        task_group.cancel_scope.cancel()
    assert deadlines.stood_still == stood_still


@pytest.mark.parametrize("look", [1, 2, 3])
async def test_who_has_answered_during_a_stall_is_not_judged(look: int) -> None:
    deadlines = Deadlines()
    due, healthy = Peer(deadlines, 0.0), Peer(deadlines, 5.0)
    await run(deadlines, Stalls(look, 30.0), healthy)
    assert healthy.judged_at == []
    assert due.judged_at == [0.0 if look == 3 else 30.0]


async def test_who_has_not_answered_is_judged_after_a_stall() -> None:
    deadlines = Deadlines()
    Peer(deadlines, 0.0)  # the clock runs at once
    silent, healthy = Peer(deadlines, 5.0), Peer(deadlines, 5.0)
    await run(deadlines, Stalls(3, 30.0), healthy)
    assert silent.judged_at == [30.0]


async def test_what_comes_due_within_moments_is_dealt_with_together() -> None:
    deadlines = Deadlines()
    peers = [Peer(deadlines, 0.001 * number) for number in range(10)]
    async with anyio.create_task_group() as task_group:
        began = anyio.current_time()
        task_group.start_soon(run_clock, deadlines, lambda: anyio.current_time() - began)
        with anyio.fail_after(5):
            while not peers[-1].judged_at:
                await anyio.lowlevel.checkpoint()
        task_group.cancel_scope.cancel()
    moments = {peer.judged_at[0] for peer in peers}
    assert len(moments) <= 3
    assert all(0.001 * number <= peer.judged_at[0] for number, peer in enumerate(peers))


async def test_a_loop_that_stalls_in_every_turn_meets_its_deadlines() -> None:
    deadlines = Deadlines()
    due = Peer(deadlines, 1.0)
    clock = Stalls(0, 0.0)

    def stalling() -> float:
        clock.now += 1.0
        return clock()

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(run_clock, deadlines, stalling)
        with anyio.fail_after(5):
            while not due.judged_at:
                await anyio.lowlevel.checkpoint()
        task_group.cancel_scope.cancel()
