"""The supervisor: starts worker processes, watches them, and gives each connection to the right one.

It accepts every connection and passes its descriptor on: to the worker that the session id of its first request names,
or to the one that has the least to do. It reads nothing, answers nothing, and waits for nobody.

It is one thread without an event loop, so that a worker can be forked from it at any time.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Final

from sio_core.adapters.local_hub import LocalHub
from sio_core.channel import Channel, ChannelMessage
from sio_core.ids import MAX_WORKERS
from sio_core.serving.acceptor import Acceptor
from sio_core.serving.worker_link import LEAVING, LOAD, MOVE, READY, WorkerLink, unpack_load, unpack_move
from sio_core.serving.worker_process import SET_UP_FAILED, WorkerProcess

__all__ = ["Supervisor", "Work", "WorkersFailed", "check_workers"]

Work = Callable[[WorkerLink], None]
"""What a worker does, in its own process, until it is told to end by SIGTERM, or its channel is closed."""

DEATHS_IN_A_ROW: Final = 6
"""Deaths of one worker in a row after which all is given up, if no other worker serves either."""

logger = logging.getLogger(__name__)


class WorkersFailed(RuntimeError):
    """No worker can be kept running."""


def check_workers(count: object) -> None:
    """Refuse what is no number of workers.

    :raises ValueError: naming what is allowed.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_WORKERS:
        raise ValueError(f"workers must be a number from 1 to {MAX_WORKERS}, not {count!r}")
    if count > 1 and not hasattr(os, "fork"):
        raise ValueError("workers must be 1 here: this system cannot fork processes")


class Supervisor:
    """See the module's docstring.

    :param work: what each worker does, in a process forked from this one.
    :param handles: the listening sockets, which the supervisor closes.
    :param on_listening: called once, when all workers can take connections.
    """

    def __init__(
        self, work: Work, count: int, handles: list[socket.socket], on_listening: Callable[[], object]
    ) -> None:
        self._work = work
        self._on_listening = on_listening
        self._address: tuple[str, int] = handles[0].getsockname()[:2]
        self._selector = selectors.DefaultSelector()
        self._acceptor = Acceptor(self._selector, handles, self._give, time.monotonic)
        self._hub = LocalHub(time.monotonic)
        self._workers = [WorkerProcess(index) for index in range(count)]
        self._waking, self._wake = socket.socketpair()
        self._restarting: deque[WorkerProcess] = deque()
        self._turn = 0
        self._announced = False
        self._draining = False
        self._failure: str | None = None

    def run(self) -> None:
        """Serve until SIGINT or SIGTERM: the first has the workers end gently, the second at once.

        SIGHUP restarts the workers, one after the other.

        :raises WorkersFailed: if no worker can be kept running.
        """
        for handle in (self._waking, self._wake):
            handle.setblocking(False)
        before = {number: signal.signal(number, leave_to_wakeup) for number in SIGNALS}
        wakeup_before = signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._waking, selectors.EVENT_READ, lambda mask: self._signalled())
        try:
            self._serve()
        finally:
            self._acceptor.close()
            for worker in self._workers:
                worker.retire(time.monotonic())
                worker.kill()
            while any(worker.process is not None for worker in self._workers):
                self._turn_once()
            signal.set_wakeup_fd(wakeup_before)
            for number, handler in before.items():
                signal.signal(number, handler)
            self._selector.close()
            self._waking.close()
            self._wake.close()
        if self._failure is not None:
            raise WorkersFailed(self._failure)

    def _serve(self) -> None:
        while not self._draining or any(worker.process is not None for worker in self._workers):
            now = time.monotonic()
            self._acceptor.act(now)
            for worker in self._workers:
                worker.act(now)
                if worker.is_due(now) and not self._draining:
                    self._start(worker, now)
            self._acceptor.accept(self._announced and not self._draining and self._has_ready())
            self._turn_once()

    def _turn_once(self) -> None:
        """Wait for what happens next, and deal with it."""
        deadlines = [self._acceptor.deadline, *[worker.deadline for worker in self._workers]]
        moments = [moment for moment in deadlines if moment is not None]
        patience = max(min(moments) - time.monotonic(), 0.0) if moments else None
        for key, mask in self._selector.select(patience):
            present = self._selector.get_map().get(key.fd)
            if present is not None and present.data is key.data:  # what came before may have ended it
                key.data(mask)

    def _has_ready(self) -> bool:
        return any(worker.ready for worker in self._workers)

    # Connections

    def _give(self, descriptor: int, index: int, is_placed: bool, unread: bytes = b"") -> None:
        """Give a connection to the worker it asks for, or else to the one with the least to do.

        :param is_placed: whether it is known what its first request is: then it is answered where it comes to.
        """
        worker = self._workers[index] if 0 <= index < len(self._workers) else None
        if worker is None or not worker.ready:
            worker = self._least_loaded()
        # A session of a worker that is gone is unknown: whoever gets the request says so.
        if worker is None or not worker.give(descriptor, is_placed, unread):
            os.close(descriptor)

    def _least_loaded(self) -> WorkerProcess | None:
        """The ready worker with the fewest connections; they take turns where there are several.

        One that does not respond is chosen only if none does.
        """
        self._turn += 1
        best: WorkerProcess | None = None
        for number in range(len(self._workers)):
            worker = self._workers[(self._turn + number) % len(self._workers)]
            if worker.ready and (best is None or (worker.silent, worker.load) < (best.silent, best.load)):
                best = worker
        return best

    # Workers

    def _start(self, worker: WorkerProcess, now: float) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # in the new process they would wake up this one
        try:
            process = worker.start(self._run_worker, now)
        except OSError as error:
            logger.error("worker %d cannot be started for now: %s", worker.index, error.strerror)
            return
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        channel, bus = worker.channel, worker.bus
        assert channel is not None
        assert bus is not None
        self._selector.register(process.sentinel, selectors.EVENT_READ, lambda mask: self._ended(worker))
        self._connect(channel, lambda messages: self._receive(worker, messages))
        self._connect(bus, lambda messages: self._hub.receive(worker.index, messages))
        self._hub.attach(worker.index, bus)

    def _run_worker(self, index: int, handle: socket.socket, bus: socket.socket) -> None:
        """Be a worker, in its process: forget what is the supervisor's, and do the work."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        # From a terminal these come to every process of the group: the supervisor says what is to be done.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
        self._selector.close()
        self._acceptor.close()
        self._waking.close()
        self._wake.close()
        for worker in self._workers:
            worker.disconnect()
        link = WorkerLink(index, len(self._workers), Channel(handle), Channel(bus), *self._address)
        try:
            self._work(link)
        except Exception as error:
            if link.announced:
                raise
            if isinstance(error, (OSError, ValueError)):
                print(error, file=sys.stderr)
            else:
                traceback.print_exc()
            sys.exit(SET_UP_FAILED)

    def _connect(self, channel: Channel, receive: Callable[[list[ChannelMessage]], None]) -> None:
        """Read and write a channel as it can be."""

        def watch() -> None:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if channel.waiting else 0)
            key = self._selector.get_key(channel)
            if key.events != events:
                self._selector.modify(channel, events, key.data)

        def communicate(mask: int) -> None:
            if mask & selectors.EVENT_WRITE:
                channel.flush()
            if mask & selectors.EVENT_READ:
                receive(channel.receive())
            if channel.handle.fileno() < 0:
                self._forget(channel)
            elif not channel.closed:
                watch()

        channel.on_waiting = watch
        self._selector.register(channel, selectors.EVENT_READ, communicate)

    def _forget(self, channel: Channel) -> None:
        with suppress(KeyError, ValueError):  # it is forgotten already
            self._selector.unregister(channel)

    def _receive(self, worker: WorkerProcess, messages: list[ChannelMessage]) -> None:
        for message in messages:
            if message.kind == MOVE:
                index, unread = unpack_move(message.data)
                if message.descriptor >= 0:
                    self._give(message.descriptor, index, True, unread)
            elif message.kind == LOAD:
                worker.set_load(*unpack_load(message.data), time.monotonic())
            elif message.kind == READY:
                worker.became_ready(time.monotonic())
                self._became_ready(worker)
            elif message.kind == LEAVING:
                worker.ready = False

    def _became_ready(self, worker: WorkerProcess) -> None:
        if not self._announced and all(other.ready for other in self._workers):
            self._announced = True
            self._on_listening()
        if self._restarting and self._restarting[0] is worker:
            self._restarting.popleft()
            self._restart_next()

    def _ended(self, worker: WorkerProcess) -> None:
        assert worker.process is not None
        self._selector.unregister(worker.process.sentinel)
        for channel in (worker.channel, worker.bus):
            if channel is not None:
                self._forget(channel)
        self._hub.detach(worker.index)
        worker.disconnect()
        worker.ended(time.monotonic())
        if self._draining:
            return
        if worker.failed and not self._announced:
            self._give_up(f"worker {worker.index} cannot start")
        elif worker.deaths >= DEATHS_IN_A_ROW and not self._has_ready():
            self._give_up(f"worker {worker.index} has died {worker.deaths} times in a row, and none is left")

    def _give_up(self, failure: str) -> None:
        self._failure = failure
        self._drain()

    # Signals

    def _signalled(self) -> None:
        for number in self._waking.recv(4_096):
            if number == signal.SIGHUP:
                self._restart_all()
            elif number in SIGNALS:
                logger.info("%s: closing", signal.Signals(number).name)
                if self._draining:
                    for worker in self._workers:
                        worker.kill()
                else:
                    self._drain()

    def _drain(self) -> None:
        self._draining = True
        self._restarting.clear()
        self._acceptor.accept(False)
        self._acceptor.close()
        for worker in self._workers:
            worker.retire(time.monotonic())

    def _restart_all(self) -> None:
        if not self._draining and not self._restarting:
            logger.info("the workers are restarted, one after the other")
            self._restarting.extend(self._workers)
            self._restart_next()

    def _restart_next(self) -> None:
        """End the next worker whose turn it is. It is started again as soon as it has ended."""
        if self._restarting:
            worker = self._restarting[0]
            worker.ready = False
            worker.end(time.monotonic())


SIGNALS: Final = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


def leave_to_wakeup(number: int, frame: FrameType | None) -> None:
    """A signal handler: the loop is woken up by the signal's number, and acts on it."""
