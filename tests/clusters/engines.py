"""Real Redis, PostgreSQL and MongoDB servers of a test's own: on a free port, in a directory that goes with them.

MongoDB itself is in no package archive; SecantusDB speaks its protocol.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

START_TIME = 30.0
STOP_TIME = 10.0

UNPRIVILEGED_USER = "postgres"
"""PostgreSQL refuses to run as root."""


class Engine(ABC):
    """A server that is started by the block, and ends with it.

    :ivar port: where it listens on the loopback interface, also after a restart.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self._directory = Path(tempfile.mkdtemp(prefix="sio-engine-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._paused: list[psutil.Process] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.resume()
        self.kill()
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def pid(self) -> int:
        """Of the process."""
        assert self._process is not None
        return self._process.pid

    @property
    @abstractmethod
    def url(self) -> str:
        """What a client connects to."""

    @abstractmethod
    def command(self) -> list[str]:
        """The command line of the server."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether the server does its work."""

    def options(self) -> dict[str, Any]:
        """How the process is started."""
        return {}

    def start(self) -> None:
        """Start it, with what it has kept, and wait until it answers."""
        log = self._directory / "log"
        with log.open("a") as output:
            self._process = subprocess.Popen(
                self.command(), cwd=self._directory, stdout=output, stderr=subprocess.STDOUT, **self.options()
            )
        deadline = time.monotonic() + START_TIME
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{type(self).__name__} did not start:\n{log.read_text()}")
            time.sleep(0.02)

    def kill(self) -> None:
        """End it at once: nothing is written that was not written before."""
        self._end(signal.SIGKILL)

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            if process.poll() is None:
                process.send_signal(number)
            process.wait(STOP_TIME)

    def restart(self) -> None:
        """End it at once, and start it again."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """Let it stand still: connections stay open, and nothing answers."""
        assert self._process is not None
        process = psutil.Process(self._process.pid)
        self._paused = [process, *process.children(recursive=True)]
        for one in self._paused:
            one.suspend()
        for one in self._paused:
            while one.is_running() and one.status() not in {psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE}:
                time.sleep(0.005)

    def resume(self) -> None:
        """Let it go on after :meth:`pause`."""
        for one in self._paused:
            if one.is_running():
                one.resume()
        self._paused = []


class Redis(Engine):
    """Redis, which writes every command to its append-only file before it answers."""

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    def command(self) -> list[str]:
        settings = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self._directory),
            "save": "",
            "appendonly": "yes",
        }
        return [
            program("redis-server"),
            *[word for name, value in settings.items() for word in ("--" + name, value)],
        ]

    def answers(self) -> bool:
        try:
            return self.call("PING") == b"+PONG"
        except OSError:
            return False

    def call(self, *words: str | bytes) -> bytes:
        """Send a command on a connection of its own, and return the first line of the answer."""
        plain = [word if isinstance(word, bytes) else word.encode() for word in words]
        request = b"*%d\r\n" % len(plain) + b"".join([b"$%d\r\n%s\r\n" % (len(word), word) for word in plain])
        with socket.create_connection(("127.0.0.1", self.port), 2.0) as connection:
            connection.sendall(request)
            answer = b""
            while b"\r\n" not in answer:
                piece = connection.recv(65_536)
                if not piece:
                    raise ConnectionError("the server has closed the connection")
                answer += piece
        return answer.split(b"\r\n", 1)[0]


class PostgreSQL(Engine):
    """PostgreSQL, as a user without rights. Anyone who reaches it is let in."""

    def __init__(self) -> None:
        super().__init__()
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
        assert versions, "PostgreSQL is needed: .ci/engines installs it"
        self._bin = versions[-1]
        self._made = False

    @property
    def url(self) -> str:
        return f"postgresql://{UNPRIVILEGED_USER}@127.0.0.1:{self.port}/postgres"

    def options(self) -> dict[str, Any]:
        root = os.getuid() == 0
        return {"user": UNPRIVILEGED_USER, "group": UNPRIVILEGED_USER, "extra_groups": []} if root else {}

    def command(self) -> list[str]:
        data = self._directory / "data"
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "shared_buffers": "16MB",
        }
        return [
            str(self._bin / "postgres"),
            "-D",
            str(data),
            *[word for name, value in settings.items() for word in ("-c", f"{name}={value}")],
        ]

    def start(self) -> None:
        if not self._made:
            if os.getuid() == 0:
                shutil.chown(self._directory, UNPRIVILEGED_USER, UNPRIVILEGED_USER)
            subprocess.run(
                [
                    self._bin / "initdb",
                    "-D",
                    "data",
                    "-U",
                    UNPRIVILEGED_USER,
                    "-A",
                    "trust",
                    "-E",
                    "UTF8",
                    "-N",
                ],
                cwd=self._directory,
                stdout=subprocess.DEVNULL,
                check=True,
                **self.options(),
            )
            self._made = True
        super().start()

    def answers(self) -> bool:
        ready = subprocess.run(
            [self._bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False
        )
        return ready.returncode == 0

    def kill(self) -> None:
        # Killed, its main process would leave the others behind; this ends them all at once, and writes nothing.
        self._end(signal.SIGQUIT)


class MongoDB(Engine):
    """SecantusDB, which speaks MongoDB's protocol and has change streams.

    :param is_durable: whether what it has answered is on disk, which makes it slower.
    """

    def __init__(self, is_durable: bool = False) -> None:
        super().__init__()
        self._is_durable = is_durable

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"

    def command(self) -> list[str]:
        server = Path(sys.executable).with_name("secantusd-py")
        storage = str(self._directory / "data")
        durable = ["--sync-on-commit"] if self._is_durable else []
        return [str(server), "--port", str(self.port), "--storage-path", storage, *durable]

    def answers(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1.0).close()
        except OSError:
            return False
        return True


def program(name: str) -> str:
    """Return where a program is."""
    path = shutil.which(name)
    assert path is not None, f"{name} is needed: .ci/engines installs it"
    return path


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
