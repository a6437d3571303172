"""A message on its way to the other nodes."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from sio_core.adapters.messages import Message
from sio_core.runtime import Waiter

__all__ = ["Outgoing"]


class Outgoing:
    """A message on its way to the engine. Awaiting it ends when it is published.

    :ivar target: the node it answers; ``None`` if it is for all.
    :ivar error: why it cannot be published; ``None`` if it is, or may be.
    """

    __slots__ = ("_failed", "_waiter", "error", "message", "size", "target")

    def __init__(self, message: Message, target: str | None) -> None:
        self.message = message
        self.target = target
        payload = message.payload
        self.size = len(payload) if isinstance(payload, bytes) else 0
        self._waiter = Waiter()
        self._failed: Waiter | None = None
        self.error: Exception | None = None

    def __await__(self) -> Generator[Any, None, None]:
        yield from self._waiter.wait().__await__()

    @property
    def done(self) -> bool:
        """Whether it is published, or will not be."""
        return self._waiter.done

    def settle(self, error: Exception | None = None) -> None:
        """It is published, or cannot be."""
        self.error = error
        self._waiter.set(None, error)
        if error is not None and self._failed is not None:
            self._failed.set(error=error)

    def fail_too(self, waiter: Waiter) -> None:
        """If it cannot be published, end this waiting too."""
        if self.error is not None:
            waiter.set(error=self.error)
        self._failed = waiter
