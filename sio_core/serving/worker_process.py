"""One worker as its supervisor sees it: the process that is there now, and when the next is to be started."""

from __future__ import annotations

import logging
import multiprocessing
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from multiprocessing.process import BaseProcess
from socket import socket
from typing import Final

from sio_core.channel import Channel
from sio_core.serving.worker_link import CONNECTION, pack_connection

__all__ = ["SET_UP_FAILED", "WorkerProcess"]

START_TIME: Final = 60.0
"""Seconds a worker may take until it can take connections."""

END_TIME: Final = 20.0
"""Seconds a worker may take to end after it was told to: more than its drain is given."""

STABLE_TIME: Final = 10.0
"""Seconds after which a worker's death is no longer one of a row."""

RESTART_PAUSES: Final = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)
"""Seconds before a worker is started again, by the deaths in a row before; the last for all further ones."""

TRY_AGAIN: Final = 5.0
"""Seconds until the next attempt to start a process for which there was no room."""

SILENCE: Final = 5.0
"""Seconds without a report after which a worker gets no new sessions: its event loop is blocked."""

CHANNEL_CONNECTIONS: Final = 1_024
"""Connections that may wait until a worker takes them: each holds a descriptor of the supervisor."""

CHANNEL_BYTES: Final = 16_777_216
"""Bytes that may wait for a worker which does not take its connections. More connections are closed."""

SET_UP_FAILED: Final = 2
"""The exit status of a worker that cannot start, and never will."""

logger = logging.getLogger(__name__)


class WorkerProcess:
    """See the module's docstring.

    :ivar channel: to the present process, for connections; ``None`` while there is none.
    :ivar bus: to the present process, for messages of the other workers.
    :ivar ready: it takes connections.
    :ivar load: connections it has, as far as is known.
    :ivar silent: it is ready, but has not reported for a while.
    :ivar deaths: how often in a row it has died soon after its start, without being told to.
    :ivar failed: it has said that it will never be able to start.
    """

    def __init__(self, index: int) -> None:
        self.index = index
        self.process: BaseProcess | None = None
        self.channel: Channel | None = None
        self.bus: Channel | None = None
        self.ready = False
        self.silent = False
        self.load = 0
        self.deaths = 0
        self.failed = False
        self._given = 0
        self._ending = False
        self._retired = False
        self._started_at = 0.0
        self._heard_at = 0.0
        self._start_at: float | None = 0.0
        self._kill_at: float | None = None

    @property
    def deadline(self) -> float | None:
        """When :meth:`is_due` or :meth:`act` is to be called."""
        moments = [moment for moment in (self._start_at, self._kill_at) if moment is not None]
        if self.ready and not self.silent:
            moments.append(self._heard_at + SILENCE)
        return min(moments, default=None)

    def is_due(self, now: float) -> bool:
        """Whether its process is to be started."""
        return self._start_at is not None and self._start_at <= now

    def start(self, main: Callable[[int, socket, socket], None], now: float) -> BaseProcess:
        """Start a process, forked from this one, that runs ``main`` with this worker's ends of the channels.

        :raises OSError: if the system allows no more files or processes; it is due again some seconds later.
        """
        self._start_at = now + TRY_AGAIN
        for stream in (sys.stdout, sys.stderr):  # what is in their buffers would be written twice
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        try:
            process = self._fork(main)
        except OSError:
            self.disconnect()
            raise
        self.process = process
        self.ready = self.silent = self._ending = False
        self._given = self.load = 0
        self._started_at = now
        self._start_at = None
        self._kill_at = now + START_TIME
        logger.info("worker %d is process %s", self.index, process.pid)
        return process

    def _fork(self, main: Callable[[int, socket, socket], None]) -> BaseProcess:
        with ExitStack() as stack:
            ours, theirs = Channel.pair()
            stack.callback(theirs.close)
            self.channel = Channel(ours)
            our_bus, their_bus = Channel.pair()
            stack.callback(their_bus.close)
            self.bus = Channel(our_bus)
            process = multiprocessing.get_context("fork").Process(
                target=main, args=(self.index, theirs, their_bus), name=f"worker-{self.index}"
            )
            process.start()
            return process

    def became_ready(self, now: float) -> None:
        """It takes connections now."""
        self.ready = True
        self._heard_at = now
        if not self._ending:
            self._kill_at = None

    def give(self, descriptor: int, is_placed: bool, unread: bytes) -> bool:
        """Give it a connection. ``False`` if it takes none any more: the descriptor is still the caller's.

        :param is_placed: its first request is known, and must be answered there.
        """
        channel = self.channel
        if channel is None or channel.closed:
            return False
        if channel.waiting > CHANNEL_BYTES or channel.messages_waiting >= CHANNEL_CONNECTIONS:
            return False
        self._given += 1
        self.load += 1
        channel.send(CONNECTION, pack_connection(is_placed, unread), descriptor)
        return True

    def set_load(self, open_connections: int, given: int, now: float) -> None:
        """It has said what it has; what was on its way to it then comes to that."""
        if self.silent:
            logger.warning("worker %d reports again", self.index)
        self.silent = False
        self._heard_at = now
        self.load = open_connections + self._given - given

    def end(self, now: float) -> None:
        """Tell it to end: it lets its clients go. Another takes its place."""
        if self.process is not None and not self._ending:
            self._ending = True
            self._kill_at = now + END_TIME
            self.process.terminate()

    def retire(self, now: float) -> None:
        """Tell it to end, for good."""
        self._retired = True
        self._start_at = None
        self.end(now)

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self._kill_at = None
            self.process.kill()

    def act(self, now: float) -> None:
        """Kill it if it has taken too long to start, or to end; note when it does not report any more."""
        if self.ready and not self.silent and self._heard_at + SILENCE <= now:
            self.silent = True
            logger.error("worker %d does not respond, and gets no new sessions until it does", self.index)
        if self._kill_at is not None and self._kill_at <= now:
            what = "did not end" if self._ending else "was not ready"
            seconds = END_TIME if self._ending else START_TIME
            logger.error("worker %d %s in %.0f s, and is killed", self.index, what, seconds)
            self.kill()

    def disconnect(self) -> None:
        """Close the channels."""
        self.ready = False
        for channel in (self.channel, self.bus):
            if channel is not None:
                channel.close()
        self.channel = self.bus = None

    def ended(self, now: float) -> None:
        """The process is gone: say why, and decide when the next is to be started."""
        process, self.process = self.process, None
        assert process is not None
        process.join()
        status = process.exitcode
        process.close()
        self._kill_at = None
        if self._ending:
            self._start_at = None if self._retired else now
            logger.info("worker %d has ended", self.index)
            return
        self.failed = status == SET_UP_FAILED
        self.deaths = 0 if now - self._started_at >= STABLE_TIME else self.deaths + 1
        pause = RESTART_PAUSES[min(max(self.deaths - 1, 0), len(RESTART_PAUSES) - 1)]
        self._start_at = now + pause
        how = f"by signal {-status}" if status is not None and status < 0 else f"with status {status}"
        row = f"for the {self.deaths}th time in a row " if self.deaths > 1 else ""
        logger.error(
            "worker %d has ended %s%s, and is started again%s",
            self.index,
            row,
            how,
            f" in {pause} s" if pause else "",
        )
