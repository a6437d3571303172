"""What a node waits for: that others say they are there, their answers, and those of their clients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sio_core.engineio.deadlines import NEVER, Timed
from sio_core.errors import ClusterTimeout
from sio_core.runtime import Waiter

__all__ = ["AckRequest", "Request", "Roll"]


class Request(Timed):
    """Answers awaited from other nodes.

    :ivar names: the nodes that have not answered yet; ``None`` where nodes are only counted.
    :ivar missing: how many there are.
    """

    __slots__ = ("_answered", "answers", "missing", "names", "waiter")

    def __init__(self, missing: int, names: set[str] | None) -> None:
        super().__init__()
        self.missing = missing
        self.names = names
        self.answers: list[Any] = []
        self.waiter = Waiter()
        self._answered: set[str] = set()

    def answer(self, uid: str, values: list[Any]) -> None:
        """A node has answered. Its second answer is ignored."""
        if uid in self._answered or self.waiter.done:
            return
        self._answered.add(uid)
        self.answers.extend(values)
        if self.names is None:
            self.missing -= 1
        elif uid in self.names:
            self.names.discard(uid)
            self.missing -= 1
        self._check()

    def give_up(self, uid: str) -> None:
        """A node is gone: it is waited for no more."""
        if self.names is not None and uid in self.names:
            self.names.discard(uid)
            self.missing -= 1
            self._check()

    def _check(self) -> None:
        if self.missing <= 0:
            self.waiter.set(self.answers)

    def handle_deadline(self, now: float) -> None:
        self.deadline = NEVER
        self.waiter.set(error=ClusterTimeout(self.answers, self.missing, sorted(self.names or ())))


class Roll(Timed):
    """Which of the workers of one machine have a namespace.

    :ivar uids: the adapters there, of those that have answered.
    :ivar waiter: done when all have answered, or the time is over.
    """

    __slots__ = ("_missing", "uids", "waiter")

    def __init__(self) -> None:
        super().__init__()
        self.uids: set[str] = set()
        self.waiter = Waiter()
        self._missing: set[int] | None = None

    @property
    def complete(self) -> bool:
        """Whether all have answered."""
        return self._missing is not None and not self._missing

    def is_missing(self, worker: int) -> bool:
        """Whether a worker has not answered."""
        return self._missing is None or worker in self._missing

    def expect(self, workers: list[int]) -> None:
        """These have been asked."""
        self._missing = set(workers)
        self._check()

    def answer(self, worker: int, uid: str) -> None:
        """A worker has answered; the uid is empty if it does not have the namespace."""
        if self._missing is not None and worker in self._missing:
            self._missing.discard(worker)
            if uid:
                self.uids.add(uid)
            self._check()

    def keep(self, workers: set[int]) -> None:
        """Only these are still there: others are waited for no more."""
        if self._missing is not None:
            self._missing &= workers
            self._check()

    def _check(self) -> None:
        if self.complete:
            self.waiter.set()

    def handle_deadline(self, now: float) -> None:
        self.deadline = NEVER
        self.waiter.set()


class AckRequest(Timed):
    """The answers of clients of other nodes to one broadcast, handed on as they come."""

    __slots__ = ("_counted", "_forget", "ack", "client_count")

    def __init__(
        self,
        client_count: Callable[[int], None],
        ack: Callable[[list[Any]], None],
        forget: Callable[[], object],
    ) -> None:
        super().__init__()
        self.client_count = client_count
        self.ack = ack
        self._forget = forget
        self._counted: set[str] = set()

    def count(self, uid: str, clients: int) -> None:
        """A node has said how many clients it has."""
        if uid not in self._counted:
            self._counted.add(uid)
            self.client_count(clients)

    def handle_deadline(self, now: float) -> None:
        self.deadline = NEVER
        self._forget()
