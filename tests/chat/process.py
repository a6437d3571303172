"""The chat as its user starts it: a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.chat.checker.run import ROOT, free_port

__all__ = ["ChatProcess"]


class ChatProcess:
    """``python -m chat_app``, which can be stopped, killed and started again at the same address.

    :param stderr: the file that its standard error goes to; by default that of the tests.
    :ivar url: the address that it prints.
    """

    def __init__(self, database: Path | str, *arguments: str, stderr: Path | None = None) -> None:
        self._stderr = stderr
        self._command = [sys.executable, "-m", "chat_app", "--database", str(database), *arguments]
        self.port = free_port()
        self.url = ""

    def start(self) -> None:
        with ExitStack() as stack:
            errors = stack.enter_context(self._stderr.open("a")) if self._stderr is not None else None
            self._process = subprocess.Popen(
                [*self._command, "--port", str(self.port)],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        match = re.search(r"http://\S+", line)
        assert match is not None, line
        self.url = match[0]

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it gently and return its status."""
        self._process.send_signal(number)
        return self._wait()

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)
        self._wait()

    def _wait(self) -> int:
        status = self._process.wait(20)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return status

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self.kill()
        elif self._process.stdout is not None:
            self._process.stdout.close()
