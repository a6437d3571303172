"""The servers that can be measured, and one of them running on its core."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.process import pinned
from benchmarks.workloads import Workload

ROOT = Path(__file__).parent.parent
COMPILED = Path(os.environ.get("COMPILED", "build/compiled"))
"""Where the compiled copy of the package is, from the root of the repository."""
START_TIMEOUT = 15.0
STOP_TIMEOUT = 5.0


class ServerError(RuntimeError):
    """A server did not start, or ended on its own."""


@dataclass(frozen=True, slots=True)
class ServerSpec:
    """A server by name, how to start it, and what it cannot do."""

    name: str
    title: str
    program: str
    variant: str = ""
    lacks: frozenset[str] = frozenset()
    """Names and families of workloads that it has no part in."""
    compiled: bool = False
    """Whether it runs the compiled copy of the package."""

    def command(self, workload: Workload, port: int) -> list[str]:
        """The command line for one run."""
        if self.program.endswith(".js"):
            node = shutil.which("node")
            if node is None:
                raise ServerError("node is not installed")
            start = [node, str(ROOT / "benchmarks" / "servers" / self.program)]
        else:
            start = [sys.executable, "-m", f"benchmarks.servers.{self.program}", self.variant]
        options = ["--port", str(port), "--ping-interval", f"{workload.ping_interval:g}"]
        return [*start, *options, *(["--recovery"] if workload.recovery else [])]

    def place(self) -> Path:
        """The directory it is started in: what lies there is imported first."""
        return place(compiled=self.compiled)

    def start(self, workload: Workload, core: int) -> "RunningServer":
        """Start it for one run."""
        port = free_port()
        return RunningServer(self.command(workload, port), self.place(), port, core)

    def takes_part(self, workload: Workload) -> bool:
        """Whether the server can do this at all."""
        return workload.name not in self.lacks and workload.family not in self.lacks


def place(*, compiled: bool) -> Path:
    """The directory from which sio_core is imported, as its source is or compiled."""
    if not compiled:
        return ROOT
    copy = ROOT / COMPILED
    if not any((copy / "sio_core").rglob("*.so")):
        raise ServerError(f"sio_core is not compiled in {COMPILED}: make compile")
    return copy


REFERENCE = "node"
INCUMBENT = "python-socketio"
UNKNOWN_TO_LIMIT = frozenset({"rooms", "room-growth", "polling", "idle", "fan-in", "recovery"})

SERVERS: dict[str, ServerSpec] = {
    spec.name: spec
    for spec in (
        ServerSpec("sio_core", "sio_core, compiled, standalone on uvloop", "ours", "uvloop", compiled=True),
        ServerSpec("sio_core-pure", "sio_core, pure Python, standalone on uvloop", "ours", "uvloop"),
        ServerSpec("sio_core-asyncio", "sio_core, standalone on plain asyncio", "ours", "asyncio"),
        ServerSpec("sio_core-trio", "sio_core, standalone on trio", "ours", "trio"),
        ServerSpec("sio_core-uvicorn", "sio_core under uvicorn", "ours", "uvicorn"),
        ServerSpec(
            "sio_core-uvicorn-ws",
            "sio_core under uvicorn with ws=io.uvicorn_protocol",
            "ours",
            "uvicorn-protocol",
        ),
        ServerSpec(REFERENCE, "socket.io on Node with bufferutil", "official.js"),
        ServerSpec(
            INCUMBENT,
            "python-socketio on uvicorn with uvloop",
            "incumbent",
            "uvicorn",
            frozenset({"recovery"}),
        ),
        ServerSpec(
            "python-socketio-aiohttp",
            "python-socketio on aiohttp",
            "incumbent",
            "aiohttp",
            frozenset({"recovery"}),
        ),
        ServerSpec(
            "limit",
            "a bare epoll loop answering prepared bytes (no server)",
            "limit",
            "epoll",
            UNKNOWN_TO_LIMIT,
        ),
        ServerSpec(
            "limit-uvloop",
            "a bare protocol on uvloop answering prepared bytes (no server)",
            "limit",
            "uvloop",
            UNKNOWN_TO_LIMIT,
        ),
    )
}


def select(names: list[str] | None) -> list[ServerSpec]:
    """The servers of these names, or all."""
    for name in names or ():
        if name not in SERVERS:
            raise ValueError(f"no server {name!r}; there are {', '.join(SERVERS)}")
    return [SERVERS[name] for name in names or SERVERS]


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class RunningServer:
    """A server process on its cores, from accepting connections to having ended."""

    def __init__(self, command: list[str], place: Path, port: int, *cores: int) -> None:
        self.port = port
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the server
        with pinned(*cores):
            self._process = subprocess.Popen(
                command,
                cwd=place,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._errors,
            )
        self.pid = self._process.pid
        try:
            self._wait_until_listening()
        except BaseException:
            self.__exit__(None, None, None)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()

    def complaint(self) -> str:
        """The last line the server wrote on its standard error, free of paths."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").split("\n")
        said = [line.strip() for line in lines if line.strip() and not line.startswith("Node.js v")]
        errors = [line for line in said if "Error" in line] or said
        return errors[-1].replace(str(ROOT), ".")[:200] if errors else "it said nothing"

    def _wait_until_listening(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ServerError(self.complaint())
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise ServerError(f"it did not listen within {START_TIMEOUT:g} s")
