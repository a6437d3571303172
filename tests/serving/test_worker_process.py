"""One worker as its supervisor sees it: real processes, virtual time."""

from __future__ import annotations

import errno
import os
import signal
import socket
import time
from collections.abc import Iterator
from multiprocessing.connection import wait

import pytest

from sio_core.channel import Channel
from sio_core.serving.worker_link import CONNECTION
from sio_core.serving.worker_process import CHANNEL_CONNECTIONS, WorkerProcess

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
"""Other tests may have left idle threads; a supervisor has none."""


def idle(index: int, handle: socket.socket, bus: socket.socket) -> None:
    """Do nothing until somebody kills it."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    handle.sendall(b"!")
    time.sleep(60)


def stubborn(index: int, handle: socket.socket, bus: socket.socket) -> None:
    """Take no notice of being told to end."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    handle.sendall(b"!")
    time.sleep(60)


def leave(index: int, handle: socket.socket, bus: socket.socket) -> None:
    """End by itself."""
    os._exit(3)


def refuse(index: int, handle: socket.socket, bus: socket.socket) -> None:
    """Say that it can never start."""
    os._exit(2)


@pytest.fixture
def worker() -> Iterator[WorkerProcess]:
    worker = WorkerProcess(0)
    yield worker
    worker.kill()
    if worker.process is not None:
        worker.ended(0.0)
    worker.disconnect()


def wait_for_end(worker: WorkerProcess) -> None:
    assert worker.process is not None
    assert wait([worker.process.sentinel], 20)


def wait_for_start(worker: WorkerProcess) -> None:
    assert worker.channel is not None
    worker.channel.handle.setblocking(True)
    assert worker.channel.handle.recv(1) == b"!"


def test_one_that_keeps_dying_waits_longer_each_time(worker: WorkerProcess) -> None:
    now, pauses = 0.0, []
    for _ in range(8):
        assert worker.is_due(now)
        worker.start(leave, now)
        wait_for_end(worker)
        worker.disconnect()
        worker.ended(now)
        assert worker.deadline is not None
        pauses.append(worker.deadline - now)
        now = worker.deadline
    assert pauses == pytest.approx([0.0, 0.1, 0.5, 1.0, 2.0, 5.0, 5.0, 5.0])
    assert worker.deaths == 8
    assert not worker.failed


def test_a_death_after_a_while_begins_a_new_row(worker: WorkerProcess) -> None:
    for now, deaths in ((0.0, 1), (1.0, 2), (50.0, 0)):
        worker.start(leave, now)
        wait_for_end(worker)
        worker.disconnect()
        worker.ended(now if deaths else now + 20.0)
        assert worker.deaths == deaths
    assert worker.deadline == 70.0


def test_one_that_cannot_start_says_so(worker: WorkerProcess) -> None:
    worker.start(refuse, 0.0)
    wait_for_end(worker)
    worker.ended(0.0)
    assert worker.failed


def test_one_that_does_not_get_ready_is_killed(worker: WorkerProcess) -> None:
    worker.start(idle, 0.0)
    wait_for_start(worker)
    assert worker.deadline == 60.0
    worker.act(59.0)
    assert worker.process is not None
    assert worker.process.is_alive()
    worker.act(60.0)
    wait_for_end(worker)


def test_one_that_does_not_end_is_killed(worker: WorkerProcess) -> None:
    worker.start(stubborn, 0.0)
    wait_for_start(worker)
    worker.became_ready(0.0)
    worker.retire(10.0)
    assert worker.deadline is not None
    worker.act(29.0)
    assert worker.process is not None
    assert worker.process.is_alive()
    worker.act(30.0)
    wait_for_end(worker)
    worker.disconnect()
    worker.ended(30.0)
    assert worker.deadline is None  # it is not started again
    assert worker.deaths == 0


def test_one_that_is_told_to_end_is_started_again_at_once(worker: WorkerProcess) -> None:
    worker.start(idle, 0.0)
    wait_for_start(worker)
    worker.became_ready(0.0)
    worker.end(5.0)
    wait_for_end(worker)
    worker.disconnect()
    worker.ended(6.0)
    assert worker.is_due(6.0)
    assert worker.deaths == 0


def test_its_load_is_what_it_says_and_what_is_on_its_way(worker: WorkerProcess) -> None:
    worker.start(idle, 0.0)
    pipes = [os.pipe() for _ in range(3)]
    for reading, _ in pipes:
        assert worker.give(reading, True, b"")
    assert worker.load == 3
    worker.set_load(7, 2, 1.0)
    assert worker.load == 8
    for _, writing in pipes:
        os.close(writing)
    worker.disconnect()
    reading, writing = os.pipe()
    assert not worker.give(reading, True, b"")
    os.close(reading)
    os.close(writing)


def test_one_that_takes_nothing_gets_no_more(worker: WorkerProcess) -> None:
    ours, theirs = (Channel(handle) for handle in Channel.pair())
    worker.channel = ours
    ours.send(CONNECTION, bytes(20_000_000))
    reading, writing = os.pipe()
    assert not worker.give(reading, True, b"")
    os.close(reading)
    os.close(writing)
    theirs.close()


def test_no_more_than_a_thousand_connections_wait_for_one_that_stands_still(worker: WorkerProcess) -> None:
    ours, theirs = (Channel(handle) for handle in Channel.pair())
    worker.channel = ours
    reading, writing = os.pipe()
    given = 0
    while (descriptor := os.dup(reading)) and worker.give(descriptor, False, b""):
        given += 1
    os.close(descriptor)
    assert ours.messages_waiting == CHANNEL_CONNECTIONS
    for message in theirs.receive():
        os.close(message.descriptor)
    ours.flush()
    assert ours.messages_waiting < CHANNEL_CONNECTIONS
    assert worker.give(os.dup(reading), False, b"")
    assert worker.load == given + 1
    os.close(reading)
    os.close(writing)
    ours.close()
    theirs.close()


def test_one_that_does_not_report_is_silent_until_it_does(
    worker: WorkerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    worker.start(idle, 0.0)
    worker.became_ready(1.0)
    assert worker.deadline == 6.0
    worker.set_load(0, 0, 2.0)
    worker.act(6.9)
    assert not worker.silent
    worker.act(7.0)
    worker.act(8.0)
    assert worker.silent
    assert caplog.text.count("does not respond") == 1
    assert worker.deadline is None
    worker.set_load(0, 0, 9.0)
    assert not worker.silent
    assert worker.deadline == 14.0


def test_one_for_which_there_is_no_room_is_tried_again(
    worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork() -> int:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fork", fork)
        with pytest.raises(OSError, match="temporarily unavailable"):
            worker.start(idle, 5.0)
    assert worker.process is worker.channel is worker.bus is None
    assert not worker.is_due(9.9)
    assert worker.is_due(10.0)
    worker.start(idle, 10.0)
    wait_for_start(worker)
