"""Who must be looked at, and when.

One heap for everything timed. A target whose deadline moves later leaves its entry where it is and is put back when
that entry comes up, so the common case (a heartbeat answered in time) costs no heap operation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final

__all__ = ["NEVER", "Deadlines", "Timed"]

NEVER: Final = float("inf")


class Timed(ABC):
    """Something with a deadline.

    :ivar deadline: seconds on the monotonic clock at which it wants to be looked at; ``NEVER`` for none. After
        setting it call :meth:`Deadlines.schedule`, unless it moved later.
    :ivar queued: where its entry in the heap is; owned by :class:`Deadlines`.
    """

    __slots__ = ("deadline", "queued")

    def __init__(self) -> None:
        self.deadline: float = NEVER
        self.queued: float = NEVER

    @abstractmethod
    def handle_deadline(self, now: float) -> None:
        """The deadline has passed: act, and set the next one."""


class Deadlines:
    """The deadlines of one server.

    :ivar on_earlier: called when the earliest deadline has become earlier than it was.
    """

    __slots__ = ("_count", "_heap", "on_earlier")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timed]] = []
        self._count = 0
        self.on_earlier: Callable[[], None] | None = None

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next(self) -> float:
        """The earliest moment at which :meth:`run` has something to do; ``NEVER`` if there is none."""
        return self._heap[0][0] if self._heap else NEVER

    def schedule(self, target: Timed) -> None:
        """Make sure that ``target`` is looked at by its deadline."""
        if target.deadline >= target.queued:
            return
        earliest = self.next
        target.queued = target.deadline
        self._count += 1
        heappush(self._heap, (target.deadline, self._count, target))
        if target.deadline < earliest and self.on_earlier is not None:
            self.on_earlier()

    def run(self, now: float) -> None:
        """Look at every target whose deadline has passed."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            at, _, target = heappop(heap)
            if at != target.queued:
                continue  # it was queued again, for an earlier moment, and is done with this one
            target.queued = NEVER
            if target.deadline <= now:
                target.handle_deadline(now)
            if target.deadline != NEVER:
                self.schedule(target)
