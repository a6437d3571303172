"""Acknowledgements: those that emits wait for, and those that listeners give."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import TYPE_CHECKING, Any

from sio_core.api.handlers import Ack
from sio_core.engineio.deadlines import NEVER, Timed
from sio_core.errors import AckTimeout
from sio_core.runtime import Waiter

if TYPE_CHECKING:
    from sio_core.api.socket import Socket

__all__ = ["Answer", "PendingAck"]


class PendingAck(Timed):
    """An answer that one emit waits for."""

    __slots__ = ("_forget", "waiter")

    def __init__(self, forget: Callable[[], object]) -> None:
        super().__init__()
        self._forget = forget
        self.waiter = Waiter()

    def resolve(self, answer: list[Any] | None, error: Exception | None) -> None:
        """The answer has come, or cannot come any more."""
        self.deadline = NEVER
        self.waiter.set(answer, error)

    def handle_deadline(self, now: float) -> None:
        self.deadline = NEVER
        self._forget()
        self.waiter.set(error=AckTimeout((), 1))


class Answer:
    """The acknowledgement of one event that several listeners may give; the first that does decides."""

    __slots__ = ("_ack_id", "_left", "_socket", "_taken")

    def __init__(self, socket: Socket[Any], ack_id: int, listeners: int) -> None:
        self._socket = socket
        self._ack_id = ack_id
        self._left = listeners
        self._taken = False

    def take(self) -> Ack:
        """Give the answering to a listener that asks for it, unless it was given away."""
        if self._taken:
            return Ack(None)
        self._taken = True
        return Ack(self._send)

    def add(self, result: Any) -> None:
        """A listener has returned."""
        self._left -= 1
        if self._taken:
            return
        if result is not None:
            self._taken = True
            self._socket.send_ack(self._ack_id, result)
        elif not self._left:
            self._taken = True
            self._socket.write_ack(self._ack_id, [])

    def _send(self, answer: list[Any]) -> None:
        socket = self._socket
        hub = socket.namespace.hub
        if get_ident() != hub.thread and hub.thread:
            hub.runtime.call_from_thread(socket.write_ack, self._ack_id, answer)
        else:
            socket.write_ack(self._ack_id, answer)
