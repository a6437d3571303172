"""Several workers behind one address, as a client sees them: literal requests on connections that it chooses."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
import pytest

from sio_core import Server
from sio_core.ids import worker_of
from tests.helpers.processes import ROOT, ServerProcess
from tests.helpers.waiting import wait_until

WORKERS = 3
LOOPS = ["uvloop", "asyncio", "trio"]


class Http:
    """One connection."""

    def __init__(self, port: int) -> None:
        self.handle = socket.create_connection(("127.0.0.1", port), timeout=10)
        self._file = self.handle.makefile("rb")

    def send(self, *requests: bytes) -> None:
        self.handle.sendall(b"".join(requests))

    def answer(self) -> tuple[int, bytes]:
        """Return the status and the body of the next answer."""
        status = int(self._file.readline().split()[1])
        length = 0
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return status, self._file.read(length)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        self.handle.close()


def get(sid: str = "") -> bytes:
    query = f"EIO=4&transport=polling{'&sid=' + sid if sid else ''}"
    return f"GET /socket.io/?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


def post(sid: str, body: bytes) -> bytes:
    head = f"POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: localhost\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def open_session(port: int) -> str:
    """Open a session that has joined the main namespace."""
    with Http(port) as http:
        http.send(get())
        status, body = http.answer()
        assert status == 200
        sid: str = json.loads(body[1:])["sid"]
        http.send(post(sid, b"40"))
        assert http.answer() == (200, b"ok")
        http.send(get(sid))
        assert http.answer()[1].startswith(b"40{")
        return sid


def open_sessions(port: int) -> list[str]:
    """Open a session with each worker."""
    sessions: dict[int, str] = {}

    def complete() -> bool:
        sid = open_session(port)
        sessions[worker_of(sid)] = sid
        return len(sessions) == WORKERS

    wait_until(complete)
    return [sessions[worker] for worker in range(WORKERS)]


def pid_of(port: int, sid: str) -> int:
    """Return which process has a session."""
    with Http(port) as http:
        http.send(post(sid, b'420["pid"]'))
        assert http.answer() == (200, b"ok")
        http.send(get(sid))
        status, body = http.answer()
        assert status == 200, body
        assert body.startswith(b"430["), body
        pid: int = json.loads(body[3:])[0]
        return pid


@pytest.fixture(scope="module", params=LOOPS)
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    with ServerProcess("tests.serving.worker_app", "--loop", request.param) as server:
        yield server


@pytest.fixture(scope="module")
def sessions(server: ServerProcess) -> list[str]:
    return open_sessions(server.port)


@pytest.mark.feature(222, 225)
def test_sessions_are_spread_and_each_request_finds_its_worker(
    server: ServerProcess, sessions: list[str]
) -> None:
    assert {len(sid) for sid in sessions} == {20}
    pids = [pid_of(server.port, sid) for sid in sessions]
    assert len(set(pids)) == WORKERS
    assert [pid_of(server.port, sid) for sid in sessions] == pids
    children = {child.pid for child in psutil.Process(server.pid).children()}
    assert set(pids) <= children


def test_one_connection_serves_sessions_of_every_worker(server: ServerProcess, sessions: list[str]) -> None:
    with Http(server.port) as http:
        for number in range(4):
            for sid in sessions:
                http.send(post(sid, f'42["echo",{number}]'.encode()))
                assert http.answer() == (200, b"ok")
                http.send(get(sid))
                assert http.answer() == (200, f'42["echo",{number}]'.encode())


def test_sessions_opened_on_one_connection_are_spread_too(server: ServerProcess) -> None:
    workers = set()
    with Http(server.port) as http:
        for _ in range(30):
            http.send(get())
            status, body = http.answer()
            assert status == 200
            workers.add(worker_of(json.loads(body[1:])["sid"]))
    assert workers == set(range(WORKERS))


def test_pipelined_requests_are_answered_in_their_order(server: ServerProcess, sessions: list[str]) -> None:
    requests = [post(sid, f'42["echo",{number}]'.encode()) for number, sid in enumerate(sessions)]
    polls = [get(sid) for sid in sessions]
    with Http(server.port) as http:
        http.send(*requests, *polls)
        assert [http.answer() for _ in requests] == [(200, b"ok")] * WORKERS
        assert [http.answer() for _ in polls] == [
            (200, f'42["echo",{number}]'.encode()) for number in range(WORKERS)
        ]


def test_a_request_waits_for_the_answers_before_it(server: ServerProcess, sessions: list[str]) -> None:
    """The first poll has nothing to say yet; the second, for another worker, could be answered at once."""
    first, second, *_ = sessions
    with Http(server.port) as http, Http(server.port) as other:
        other.send(post(second, b'42["echo","second"]'))
        assert other.answer() == (200, b"ok")
        http.send(get(first), get(second))
        other.send(post(first, b'42["echo","first"]'))
        assert other.answer() == (200, b"ok")
        assert http.answer() == (200, b'42["echo","first"]')
        assert http.answer() == (200, b'42["echo","second"]')


def test_a_body_moves_with_its_head(server: ServerProcess, sessions: list[str]) -> None:
    text = "x" * 600_000
    first, second, *_ = sessions
    request = post(second, f'42["echo","{text}"]'.encode())
    with Http(server.port) as http:
        http.send(post(first, b'42["echo",1]'))
        assert http.answer() == (200, b"ok")
        http.send(request[:100_000])
        http.send(request[100_000:])
        assert http.answer() == (200, b"ok")
        http.send(get(second))
        assert http.answer() == (200, f'42["echo","{text}"]'.encode())
        http.send(get(first))
        assert http.answer() == (200, b'42["echo",1]')


@pytest.mark.parametrize("cut", [1, 20, 60, -1])
def test_a_head_may_come_in_pieces(server: ServerProcess, sessions: list[str], cut: int) -> None:
    for sid in sessions:
        request = post(sid, b'42["echo",1]')
        with Http(server.port) as http:
            http.send(request[:cut])
            time.sleep(0.05)  # so that the pieces come apart
            http.send(request[cut:])
            assert http.answer() == (200, b"ok")
            http.send(get(sid))
            assert http.answer() == (200, b'42["echo",1]')


def test_a_silent_connection_gets_to_its_worker_in_the_end(
    server: ServerProcess, sessions: list[str]
) -> None:
    with Http(server.port) as http:
        time.sleep(1.5)  # longer than the supervisor waits
        for sid in sessions:
            http.send(post(sid, b'42["echo",1]'))
            assert http.answer() == (200, b"ok")
            http.send(get(sid))
            assert http.answer() == (200, b'42["echo",1]')


def test_silent_connections_stall_nobody(server: ServerProcess) -> None:
    silent = [Http(server.port) for _ in range(200)]
    began = time.monotonic()
    open_session(server.port)
    assert time.monotonic() - began < 0.9
    for http in silent:
        with http:
            pass


def test_a_websocket_finds_the_session_it_upgrades(server: ServerProcess, sessions: list[str]) -> None:
    for sid in sessions:
        with Http(server.port) as http:
            http.send(
                f"GET /socket.io/?EIO=4&transport=websocket&sid={sid} HTTP/1.1\r\nHost: localhost\r\n"
                "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n".encode()
            )
            assert http.answer()[0] == 101


@pytest.mark.parametrize("sid", ["AAAAAAAAAAAAAAAAAAAB", "AAAAAAAAAAAAAAAAAA--", "short", "%41" * 20])
def test_an_unknown_session_is_unknown(server: ServerProcess, sid: str) -> None:
    with Http(server.port) as http:
        for _ in range(3):
            http.send(get(sid))
            status, body = http.answer()
            assert (status, json.loads(body)) == (400, {"code": 1, "message": "Session ID unknown"})


@pytest.mark.parametrize("loop", LOOPS)
def test_a_worker_that_dies_takes_only_its_own_sessions_along(loop: str) -> None:
    with ServerProcess("tests.serving.worker_app", "--loop", loop) as server:
        sessions = open_sessions(server.port)
        pids = [pid_of(server.port, sid) for sid in sessions]
        with Http(server.port) as http:
            http.send(get(sessions[0]))  # an open poll of another worker's session
            psutil.Process(pids[1]).send_signal(signal.SIGKILL)
            wait_until(lambda: not psutil.pid_exists(pids[1]))
            with Http(server.port) as other:
                other.send(get(sessions[1]))
                assert other.answer()[0] == 400
                other.send(post(sessions[0], b'42["echo",1]'))
                assert other.answer() == (200, b"ok")
                other.send(get(sessions[1]))
                assert other.answer()[0] == 400
            assert http.answer() == (200, b'42["echo",1]')
        assert pid_of(server.port, sessions[2]) == pids[2]
        wait_until(lambda: len(psutil.Process(server.pid).children()) == WORKERS)
        new = open_sessions(server.port)
        assert pid_of(server.port, new[1]) not in pids


def test_a_worker_that_hangs_gets_no_new_sessions() -> None:
    with ServerProcess("tests.serving.worker_app") as server:
        sessions = open_sessions(server.port)
        hanging = psutil.Process(pid_of(server.port, sessions[1]))
        hanging.suspend()
        time.sleep(6.0)  # longer than a worker may be silent
        began = time.monotonic()
        assert 1 not in {worker_of(open_session(server.port)) for _ in range(20)}
        assert time.monotonic() - began < 5
        with Http(server.port) as http:
            http.send(post(sessions[1], b'42["echo",1]'))
            hanging.resume()
            assert http.answer() == (200, b"ok")
        wait_until(lambda: worker_of(open_session(server.port)) == 1)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_workers_are_restarted_one_by_one(loop: str, tmp_path: Path) -> None:
    with ServerProcess("tests.serving.worker_app", "--loop", loop, "--lives", str(tmp_path)) as server:
        pids = {pid_of(server.port, sid) for sid in open_sessions(server.port)}
        psutil.Process(server.pid).send_signal(signal.SIGHUP)

        def restarted() -> bool:
            with Http(server.port) as http:  # a session of a worker that ends would end too
                http.send(get())
                assert http.answer()[0] == 200, "there is always somebody who serves"
            return len(
                [path for path in tmp_path.iterdir() if path.read_text() == "begun"]
            ) == WORKERS and all((tmp_path / str(pid)).read_text() == "ended" for pid in pids)

        wait_until(restarted, 20)
        assert not pids & {pid_of(server.port, sid) for sid in open_sessions(server.port)}
    assert {path.read_text() for path in tmp_path.iterdir()} == {"ended"}


@pytest.mark.parametrize("loop", LOOPS)
def test_a_worker_whose_server_is_closed_is_replaced(loop: str) -> None:
    with ServerProcess("tests.serving.worker_app", "--loop", loop) as server:
        sessions = open_sessions(server.port)
        pid = pid_of(server.port, sessions[1])
        with Http(server.port) as http:
            http.send(post(sessions[1], b'42["close"]'))
            http.answer()
        wait_until(lambda: not psutil.pid_exists(pid))
        new = open_sessions(server.port)
        assert pid_of(server.port, new[1]) != pid
        assert pid_of(server.port, sessions[0])


@pytest.mark.parametrize("loop", LOOPS)
def test_all_end_with_the_first_signal_and_clients_are_told(loop: str, tmp_path: Path) -> None:
    with ServerProcess("tests.serving.worker_app", "--loop", loop, "--lives", str(tmp_path)) as server:
        sid = open_session(server.port)
        with Http(server.port) as http:
            http.send(get(sid))
            time.sleep(0.1)
            server.stop()
            assert http.answer() == (200, b"1")
        assert [path.read_text() for path in tmp_path.iterdir()] == ["ended"] * WORKERS


def test_workers_end_when_their_supervisor_is_killed() -> None:
    with ServerProcess("tests.serving.worker_app") as server:
        open_session(server.port)
        workers = psutil.Process(server.pid).children()
        server.stop(signal.SIGKILL)
        gone, alive = psutil.wait_procs(workers, timeout=15)
        assert len(gone) == WORKERS
        assert not alive


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def test_engine_io_alone_has_workers_too() -> None:
    program = """
from urllib.parse import urlsplit
from sio_core import EngineServer
engine = EngineServer()
@engine.on("connection")
def connected(session):
    session.on("message", session.send)
engine.run(port=0, workers=2, on_listening=lambda url: print(urlsplit(url).port, flush=True))
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port = int(process.stdout.readline())
        sids: dict[int, str] = {}
        with Http(port) as http:
            while len(sids) < 2:
                http.send(b"GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n")
                sid: str = json.loads(http.answer()[1][1:])["sid"]
                sids[worker_of(sid)] = sid
            for sid in sids.values():
                http.send(post(sid, b"4hello").replace(b"/socket.io/", b"/engine.io/"))
                assert http.answer() == (200, b"ok")
                http.send(get(sid).replace(b"/socket.io/", b"/engine.io/"))
                assert http.answer() == (200, b"4hello")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_workers_that_always_die_are_given_up() -> None:
    completed = run(
        "import os; from sio_core import Server\n"
        "Server().run(port=0, workers=2, lifespan=lambda io: os._exit(7))"
    )
    assert completed.returncode == 1
    assert "times in a row, and none is left" in completed.stderr


def test_workers_that_cannot_start_say_why() -> None:
    completed = run(
        "from sio_core import Server; Server().run(port=0, workers=2, static='no such directory')"
    )
    assert completed.returncode == 1
    assert "no such directory" in completed.stderr
    assert "cannot start" in completed.stderr


def test_an_address_that_is_taken_is_an_error() -> None:
    with (
        closing(socket.create_server(("127.0.0.1", 0))) as taken,
        pytest.raises(OSError, match="cannot listen"),
    ):
        Server().run(port=taken.getsockname()[1], workers=2)


@pytest.mark.parametrize("workers", [0, -1, 5_000, True, "2", 1.5, None])
def test_what_is_no_number_of_workers_is_refused(workers: Any) -> None:
    with pytest.raises(ValueError, match="workers must be a number from 1 to 4096"):
        Server().run(port=0, workers=workers)


def test_what_several_workers_cannot_do_is_refused() -> None:
    with pytest.raises(ValueError, match="generate_id cannot be used with workers"):
        Server(generate_id=lambda request: "mine").run(port=0, workers=2)
    with pytest.raises(ValueError, match="ssl cannot be used with workers"):
        Server().run(port=0, workers=2, ssl=object())  # type: ignore[arg-type]
