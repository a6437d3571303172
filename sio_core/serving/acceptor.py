"""Accepts the connections of all workers, and looks whom each is for.

It looks at what is there of the first request without taking it (``MSG_PEEK``, recv(2)), and waits for nobody: who says
nothing at first, or only a part of a line, is given to some worker, which gives the connection back once the request
turns out to be for another.
"""

from __future__ import annotations

import logging
import selectors
import socket
from collections.abc import Callable, Sequence
from typing import Final

from sio_core.serving.worker_link import NOBODY, requested_worker

__all__ = ["Acceptor"]

PEEK_SIZE: Final = 4_096
"""Bytes of a first request that are looked at: a session id stands at its beginning."""

FIRST_BYTE_TIME: Final = 1.0
"""Seconds a connection may be silent before a worker gets it, whose own bounds then count."""

SILENT_CONNECTIONS: Final = 512
"""Connections that may be silent here, each an open file; beyond it the oldest is given to a worker."""

ACCEPTED_AT_ONCE: Final = 128
"""Connections accepted in a row, before others get their turn."""

PAUSE: Final = 0.1
"""Seconds without accepting when no more files can be opened."""

logger = logging.getLogger(__name__)


class Acceptor:
    """See the module's docstring.

    :param give: called with a descriptor, which it owns from then on, the worker that is asked for, as
        :func:`requested_worker` says, and whether the whole first line was seen.
    :ivar deadline: when :meth:`act` is to be called; ``None`` while nothing waits for a time.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        listeners: Sequence[socket.socket],
        give: Callable[[int, int, bool], None],
        clock: Callable[[], float],
    ) -> None:
        self._selector = selector
        self._listeners = listeners
        self._give = give
        self._clock = clock
        self._silent: dict[socket.socket, float] = {}
        self._listening = False
        self._wanted = False
        self._again: float | None = None

    def accept(self, wanted: bool) -> None:
        """Accept from now on, or leave connections in the kernel's queue."""
        self._wanted = wanted
        listening = wanted and self._again is None
        if listening == self._listening:
            return
        self._listening = listening
        for listener in self._listeners:
            if listening:
                self._selector.register(listener, selectors.EVENT_READ, self._acceptable(listener))
            else:
                self._selector.unregister(listener)

    @property
    def deadline(self) -> float | None:
        moments = [next(iter(self._silent.values()))] if self._silent else []
        if self._again is not None:
            moments.append(self._again)
        return min(moments, default=None)

    def act(self, now: float) -> None:
        """Do what is due."""
        if self._again is not None and self._again <= now:
            self._again = None
            self.accept(self._wanted)
        while self._silent:
            handle, until = next(iter(self._silent.items()))
            if until > now and len(self._silent) <= SILENT_CONNECTIONS:
                return
            self._end_silence(handle)

    def close(self) -> None:
        """Accept nothing any more; connections that have said nothing are dropped. Also for a forked process."""
        for handle in (*self._listeners, *self._silent):
            handle.close()
        self._silent.clear()

    def _acceptable(self, listener: socket.socket) -> Callable[[int], None]:
        return lambda mask: self._accept(listener)

    def _accept(self, listener: socket.socket) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            try:
                handle, _ = listener.accept()
            except (BlockingIOError, ConnectionError):
                return
            except OSError as error:
                logger.warning("no connection can be accepted for now: %s", error.strerror)
                self._again = self._clock() + PAUSE
                self.accept(self._wanted)
                return
            handle.setblocking(False)
            if not self._place(handle):
                self._silent[handle] = self._clock() + FIRST_BYTE_TIME
                self._selector.register(handle, selectors.EVENT_READ, self._speaking(handle))

    def _speaking(self, handle: socket.socket) -> Callable[[int], None]:
        return lambda mask: self._end_silence(handle)

    def _end_silence(self, handle: socket.socket) -> None:
        """A connection has said something, or was silent for long enough."""
        if self._silent.pop(handle, None) is not None:
            self._selector.unregister(handle)
            if not self._place(handle):
                self._give(handle.detach(), NOBODY, False)

    def _place(self, handle: socket.socket) -> bool:
        """Give a connection to whom its first request is for; ``False`` if there is nothing of it yet."""
        try:
            head = handle.recv(PEEK_SIZE, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            head = b""
        if head:
            self._give(handle.detach(), requested_worker(head), b"\n" in head)
        else:
            handle.close()
        return True
