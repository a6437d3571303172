"""Who must be looked at, and when.

One heap for everything timed. A target whose deadline moves later leaves its entry where it is and is put back when
that entry comes up, so the common case (a heartbeat answered in time) costs no heap operation. The heap holds numbers
only: a target that is done with is freed at once, whatever its entry was for.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import Final

__all__ = ["NEVER", "Deadlines", "Timed"]

NEVER: Final = float("inf")

ORPHANS: Final = 64
"""Entries without a target that the heap may hold beside one for each target, before it is rebuilt."""

logger = logging.getLogger(__name__)


class Timed(ABC):
    """Something with a deadline.

    :ivar deadline: seconds on the monotonic clock at which it wants to be looked at; ``NEVER`` for none. After
        setting it call :meth:`Deadlines.schedule`, unless it moved later.
    :ivar queued: where its entry in the heap is; owned by :class:`Deadlines`.
    :ivar ticket: the number of that entry; owned by :class:`Deadlines`.
    """

    __slots__ = ("deadline", "queued", "ticket")

    def __init__(self) -> None:
        self.deadline: float = NEVER
        self.queued: float = NEVER
        self.ticket: int = 0

    @abstractmethod
    def handle_deadline(self, now: float) -> None:
        """The deadline has passed: act, and set the next one."""


class Deadlines:
    """The deadlines of one server.

    :ivar on_earlier: called when the earliest deadline has become earlier than it was.
    :ivar stood_still: seconds for which the event loop has stood still, all long stalls together. What is waited for
        cannot come meanwhile, nor even be asked for.
    """

    __slots__ = ("_count", "_heap", "_targets", "on_earlier", "stood_still")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._targets: dict[int, Timed] = {}
        self._count = 0
        self.on_earlier: Callable[[], None] | None = None
        self.stood_still = 0.0

    def __len__(self) -> int:
        """How many targets are waited for."""
        return len(self._targets)

    @property
    def next(self) -> float:
        """The earliest moment at which :meth:`run` has something to do; ``NEVER`` if there is none."""
        return self._heap[0][0] if self._heap else NEVER

    def schedule(self, target: Timed) -> None:
        """Make sure that ``target`` is looked at by its deadline."""
        at = target.deadline
        if at >= target.queued:
            return
        self._targets.pop(target.ticket, None)
        earliest = self.next
        self._count = ticket = self._count + 1
        target.queued = at
        target.ticket = ticket
        self._targets[ticket] = target
        heappush(self._heap, (at, ticket))
        if len(self._heap) > 2 * len(self._targets) + ORPHANS:
            self._heap = [entry for entry in self._heap if entry[1] in self._targets]
            heapify(self._heap)
        if at < earliest and self.on_earlier is not None:
            self.on_earlier()

    def cancel(self, target: Timed) -> None:
        """Have ``target`` not looked at any more, and hold it no longer."""
        target.deadline = NEVER
        target.queued = NEVER
        self._targets.pop(target.ticket, None)

    def run(self, now: float) -> None:
        """Look at every target whose deadline has passed. One that fails is logged, and the others go on."""
        while self._heap and self._heap[0][0] <= now:
            target = self._targets.pop(heappop(self._heap)[1], None)
            if target is None:
                continue  # it was queued again, for an earlier moment, or cancelled
            target.queued = NEVER
            if target.deadline <= now:
                try:
                    target.handle_deadline(now)
                except Exception:
                    logger.exception("a deadline could not be handled")
                    if target.deadline <= now:
                        target.deadline = NEVER
            if target.deadline != NEVER:
                self.schedule(target)
