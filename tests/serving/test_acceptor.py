"""Accepting for several workers: whom a connection is for. Real sockets, virtual time."""

from __future__ import annotations

import errno
import os
import selectors
import socket
from collections.abc import Iterator

import pytest

from sio_core.ids import make_worker_session_id
from sio_core.serving import acceptor as module
from sio_core.serving.acceptor import Acceptor
from sio_core.serving.worker_link import ANYBODY, NOBODY
from tests.helpers.waiting import wait_until

OPEN = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\n"
OF_TWO = f"GET /socket.io/?EIO=4&sid={make_worker_session_id(2)} HTTP/1.1\r\n".encode()


class Full(socket.socket):
    """A listening socket of a process that may open no more files."""

    full = False

    def accept(self) -> tuple[socket.socket, object]:
        if self.full:
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


class World:
    """An acceptor, and its clients."""

    def __init__(self) -> None:
        self.now = 100.0
        self.listener = Full(socket.AF_INET, socket.SOCK_STREAM)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen()
        self.listener.setblocking(False)
        self.selector = selectors.DefaultSelector()
        self.given: list[tuple[socket.socket, int, bool]] = []
        self.acceptor = Acceptor(self.selector, [self.listener], self.give, lambda: self.now)
        self.clients: list[socket.socket] = []

    def give(self, descriptor: int, worker: int, is_placed: bool) -> None:
        self.given.append((socket.socket(fileno=descriptor), worker, is_placed))

    def connect(self, text: bytes = b"") -> socket.socket:
        client = socket.create_connection(self.listener.getsockname())
        self.clients.append(client)
        if text:
            client.sendall(text)
        return client

    def run(self) -> None:
        """Deal with what is there now."""
        for key, mask in self.selector.select(0.05):
            key.data(mask)
        self.acceptor.act(self.now)

    def run_until_given(self, count: int) -> None:
        def enough() -> bool:
            self.run()
            return len(self.given) >= count

        wait_until(enough)

    @property
    def workers(self) -> list[tuple[int, bool]]:
        return [(worker, is_placed) for _, worker, is_placed in self.given]

    def close(self) -> None:
        self.acceptor.close()
        self.selector.close()
        for handle in (*self.clients, *[handle for handle, _, _ in self.given]):
            handle.close()


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    world.acceptor.accept(True)
    yield world
    world.close()


def test_the_first_line_says_whom_a_connection_is_for(world: World) -> None:
    for number, line in enumerate((OPEN, OF_TWO, b"GET / HTTP/1.1\r\n"), 1):
        world.connect(line)
        world.run_until_given(number)
    assert world.workers == [(ANYBODY, True), (2, True), (NOBODY, True)]


def test_it_takes_nothing_of_what_it_sees(world: World) -> None:
    world.connect(OF_TWO)
    world.run_until_given(1)
    assert world.given[0][0].recv(1_000) == OF_TWO


def test_a_part_of_a_line_is_not_waited_for(world: World) -> None:
    world.connect(OF_TWO[:10])
    world.run_until_given(1)
    assert world.workers == [(NOBODY, False)]


def test_a_silent_connection_is_given_away_in_the_end(world: World) -> None:
    world.connect()
    world.run()
    world.run()
    assert world.given == []
    assert world.acceptor.deadline == 101.0
    world.now = 100.9
    world.run()
    assert world.given == []
    world.now = 101.0
    world.run()
    assert world.workers == [(NOBODY, False)]
    assert world.acceptor.deadline is None


def test_a_connection_that_speaks_late_is_given_where_it_belongs(world: World) -> None:
    client = world.connect()
    world.run()
    client.sendall(OF_TWO)
    world.run_until_given(1)
    assert world.workers == [(2, True)]
    assert world.acceptor.deadline is None


def test_a_connection_that_ends_in_silence_is_closed(world: World) -> None:
    client = world.connect()
    world.run()
    before = len(os.listdir("/proc/self/fd"))
    client.close()
    wait_until(lambda: (world.run(), world.acceptor.deadline is None)[1])
    assert world.given == []
    assert len(os.listdir("/proc/self/fd")) == before - 2


def test_silent_connections_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENT_CONNECTIONS", 3)
    silent = [world.connect() for _ in range(5)]
    world.run_until_given(2)
    assert [handle.getpeername() for handle, _, _ in world.given] == [
        client.getsockname() for client in silent[:2]
    ]


def test_nothing_is_accepted_before_there_is_a_worker(world: World) -> None:
    world.acceptor.accept(False)
    world.connect(OPEN)
    world.run()
    assert world.given == []
    world.acceptor.accept(True)
    world.run_until_given(1)


def test_it_pauses_when_no_file_can_be_opened(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.listener.full = True
    world.connect(OPEN)
    world.run()
    assert "no connection can be accepted for now: Too many open files" in caplog.text
    assert world.acceptor.deadline == 100.1
    world.run()
    assert len(caplog.records) == 1  # it does not spin
    world.listener.full = False
    world.now = 100.2
    world.run()
    world.run_until_given(1)
    assert world.acceptor.deadline is None
