"""sio_core.engineio.deadlines."""

from __future__ import annotations

import logging
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sio_core.engineio.deadlines import NEVER, Deadlines, Timed


class Bell(Timed):
    """Rings at each of some moments."""

    def __init__(self, deadlines: Deadlines, *moments: float) -> None:
        super().__init__()
        self.deadlines = deadlines
        self.moments = list(moments)
        self.rung: list[float] = []
        if moments:
            self.move(self.moments.pop(0))

    def move(self, at: float) -> None:
        self.deadline = at
        self.deadlines.schedule(self)

    def handle_deadline(self, now: float) -> None:
        self.rung.append(now)
        self.deadline = self.moments.pop(0) if self.moments else NEVER


def test_a_deadline_is_handled_once_when_it_has_passed() -> None:
    deadlines = Deadlines()
    bell = Bell(deadlines, 10.0)
    assert deadlines.next == 10.0
    deadlines.run(9.999)
    assert bell.rung == []
    deadlines.run(10.0)
    deadlines.run(11.0)
    assert bell.rung == [10.0]
    assert deadlines.next == NEVER
    assert len(deadlines) == 0


def test_the_next_deadline_is_put_back() -> None:
    deadlines = Deadlines()
    bell = Bell(deadlines, 10.0, 20.0)
    deadlines.run(12.0)
    assert deadlines.next == 20.0
    deadlines.run(20.0)
    assert bell.rung == [12.0, 20.0]


def test_a_deadline_that_moves_later_costs_nothing_until_the_old_one() -> None:
    deadlines = Deadlines()
    bell = Bell(deadlines, 10.0)
    bell.deadline = 30.0
    deadlines.run(10.0)
    assert bell.rung == []
    assert deadlines.next == 30.0
    deadlines.run(30.0)
    assert bell.rung == [30.0]


def test_a_deadline_that_moves_earlier_is_met() -> None:
    deadlines = Deadlines()
    bell = Bell(deadlines, 10.0)
    bell.move(5.0)
    deadlines.run(5.0)
    deadlines.run(10.0)
    assert bell.rung == [5.0]


def test_never_is_not_handled() -> None:
    deadlines = Deadlines()
    bell = Bell(deadlines, 10.0)
    bell.deadline = NEVER
    deadlines.run(10.0)
    assert bell.rung == []
    assert len(deadlines) == 0


def test_the_order_is_that_of_time() -> None:
    deadlines = Deadlines()
    order: list[str] = []

    class Named(Bell):
        def __init__(self, name: str, at: float) -> None:
            super().__init__(deadlines, at)
            self.name = name

        def handle_deadline(self, now: float) -> None:
            super().handle_deadline(now)
            order.append(self.name)

    bells = [Named("b", 2.0), Named("a", 1.0), Named("c", 2.0)]
    deadlines.run(3.0)
    assert order == ["a", "b", "c"]
    assert len(bells) == 3


def test_the_clock_is_told_of_an_earlier_deadline_only() -> None:
    deadlines = Deadlines()
    told: list[float] = []
    deadlines.on_earlier = lambda: told.append(deadlines.next)
    bells = [Bell(deadlines, at) for at in (10.0, 20.0, 5.0, 7.0)]
    assert told == [10.0, 5.0]
    bells[1].move(1.0)
    assert told == [10.0, 5.0, 1.0]


def test_a_cancelled_target_is_not_held() -> None:
    deadlines = Deadlines()
    bell = Bell(deadlines, 10.0)
    held = sys.getrefcount(bell)
    deadlines.cancel(bell)
    assert (bell.deadline, len(deadlines)) == (NEVER, 0)
    assert sys.getrefcount(bell) == held - 1
    deadlines.run(10.0)


def test_a_cancelled_target_can_be_scheduled_again() -> None:
    deadlines = Deadlines()
    bell = Bell(deadlines, 10.0)
    deadlines.cancel(bell)
    deadlines.cancel(bell)
    bell.move(20.0)
    deadlines.run(15.0)
    assert bell.rung == []
    deadlines.run(20.0)
    assert bell.rung == [20.0]


def test_the_heap_does_not_grow_by_what_is_no_longer_waited_for() -> None:
    deadlines = Deadlines()
    kept = Bell(deadlines, 1_000_000.0)
    for number in range(10_000):
        bell = Bell(deadlines, 1_000.0)
        bell.move(500.0 - number / 100)
        deadlines.cancel(bell)
    assert len(deadlines) == 1
    assert len(deadlines._heap) <= 70
    deadlines.run(1_000.0)
    assert deadlines.next == 1_000_000.0
    deadlines.run(1_000_000.0)
    assert kept.rung == [1_000_000.0]


@pytest.mark.parametrize(("after", "rung"), [(None, 1), (20.0, 2)])
def test_a_failure_is_logged_and_the_others_go_on(
    after: float | None, rung: int, caplog: pytest.LogCaptureFixture
) -> None:
    deadlines = Deadlines()

    class Broken(Bell):
        def handle_deadline(self, now: float) -> None:
            self.rung.append(now)
            if after is not None and now < after:
                self.deadline = after
            raise RuntimeError("broken")

    broken, bell = Broken(deadlines, 10.0), Bell(deadlines, 10.0)
    with caplog.at_level(logging.ERROR):
        deadlines.run(10.0)
        deadlines.run(30.0)
    assert bell.rung == [10.0]
    assert len(broken.rung) == rung
    assert len(caplog.records) == rung


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["move", "cancel", "run"]), st.integers(0, 50))))
def test_nobody_is_forgotten_and_nobody_is_early(steps: list[tuple[int, str, int]]) -> None:
    """Against the obvious model: look at everybody, every time."""
    deadlines = Deadlines()
    bells = [Bell(deadlines) for _ in range(6)]
    expected: list[list[float]] = [[] for _ in bells]
    now = 0.0
    for index, verb, number in steps:
        bell = bells[index]
        if verb == "move":
            at = now + number
            if at < bell.deadline:
                bell.move(at)
            else:
                bell.deadline = at
                deadlines.schedule(bell)
        elif verb == "cancel":
            deadlines.cancel(bell)
        else:
            now += number
            for at_index, one in enumerate(bells):
                if one.deadline <= now:
                    expected[at_index].append(now)
            deadlines.run(now)
        assert [one.rung for one in bells] == expected
        assert deadlines.next <= min([one.deadline for one in bells])
        assert len(deadlines) >= len([one for one in bells if one.deadline != NEVER])
