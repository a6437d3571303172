"""Servers as processes of their own, on ports they choose."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

import sio_core

ROOT = Path(__file__).parent.parent.parent

START_TIME = 20.0


class ServerProcess:
    """A program that prints the port it listens on as its first line; stopped when the block ends.

    :ivar port: the port it printed.
    """

    def __init__(self, module: str, *args: str, env: dict[str, str] | None = None) -> None:
        # The package that the tests run on, pure or compiled; -P: not what lies in the working directory.
        package = Path(sio_core.__file__).parent.parent
        self._command = [sys.executable, "-P", "-W", "error", "-m", module, *args]
        self._env = {**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{ROOT}", **(env or {})}
        self._process: subprocess.Popen[str] | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it; a restarted one listens on the port it had."""
        self._process = subprocess.Popen(
            [*self._command, "--port", str(self.port)],
            cwd=ROOT,
            env=self._env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.strip().isdigit():
            _, errors = self._process.communicate(timeout=START_TIME)
            raise RuntimeError(f"the server did not start: {line!r}\n{errors}")
        self.port = int(line)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> str:
        """End it; return what it wrote to its standard error."""
        if self._process is None:
            return ""
        self._process.send_signal(number)
        return self.wait(0 if number == signal.SIGTERM else None)

    def wait(self, status: int | None = 0) -> str:
        """Wait until it has ended, with that exit status; return what it wrote to its standard error."""
        process, self._process = self._process, None
        assert process is not None
        try:
            _, errors = process.communicate(timeout=START_TIME)
        except subprocess.TimeoutExpired:
            process.kill()
            _, errors = process.communicate()
            raise AssertionError(f"the server did not end by itself\n{errors}") from None
        if status is not None:
            assert process.returncode == status, errors
        assert "Traceback" not in errors, errors
        return errors
