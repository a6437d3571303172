"""Programs that do as they are told: one JSON object a line in, one a line out."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
from types import TracebackType
from typing import Any, Self

import sio_core
from tests.helpers.processes import ROOT

START_TIME = 20.0
ANSWER_TIME = 15.0


class PeerError(Exception):
    """A program could not do what it was told."""


class Peer:
    """A program that is started by the block, and ends with it.

    :ivar ready: what it said when it was ready.
    """

    def __init__(self, *command: str) -> None:
        self._command = command
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._last_id = 0
        self._writing = threading.Lock()
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the program
        self._ready: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self.ready: Any = None

    def launch(self) -> Self:
        """Start the program without waiting until it is ready: entering the block does."""
        package = os.path.dirname(os.path.dirname(sio_core.__file__))
        self._process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{package}{os.pathsep}{ROOT}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        self._answers[0] = self._ready
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __enter__(self) -> Self:
        if not self._answers:
            self.launch()
        try:
            self.ready = self._take(self._ready, START_TIME)["ready"]
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the program, and forget what it wrote."""
        self.kill()
        self._errors.close()

    def kill(self) -> None:
        """End the program at once."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.stdout.close()

    def pause(self) -> None:
        """Let the program stand still."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def errors(self) -> str:
        """What it wrote to its standard error."""
        self._errors.seek(0)
        return self._errors.read()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            self._answers[answer.get("id", 0)].put(answer)
        for waiting in list(self._answers.values()):
            waiting.put({"error": "the program has ended"})

    def _take(self, answers: queue.SimpleQueue[dict[str, Any]], seconds: float) -> dict[str, Any]:
        try:
            answer = answers.get(timeout=seconds)
        except queue.Empty:
            answer = {"error": f"no answer in {seconds} s"}
        if "error" in answer:
            raise PeerError(f"{answer['error']}\n{self.errors()}")
        return answer

    def start(self, command: str, **options: Any) -> int:
        """Tell it something; :meth:`finish` takes what comes back."""
        assert self._process.stdin is not None
        with self._writing:
            self._last_id = number = self._last_id + 1
            self._answers[number] = queue.SimpleQueue()
            line = json.dumps({**pack(options), "id": number, "command": command})
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
        return number

    def finish(self, number: int, seconds: float = ANSWER_TIME) -> Any:
        """Wait for what comes back.

        :raises PeerError: if the command failed.
        """
        answer = self._take(self._answers[number], seconds)
        del self._answers[number]
        return unpack(answer["result"])

    def __call__(self, command: str, *, within: float = ANSWER_TIME, **options: Any) -> Any:
        """Tell it something, and return what comes back."""
        return self.finish(self.start(command, **options), within)


def pack(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, bytes | bytearray | memoryview):
        return {"$binary": bytes(value).hex()}
    if isinstance(value, list | tuple):
        return [pack(inner) for inner in value]
    if isinstance(value, dict):
        return {key: pack(inner) for key, inner in value.items()}
    return value


def unpack(value: Any) -> Any:
    """Return what :func:`pack` was given."""
    if isinstance(value, list):
        return [unpack(inner) for inner in value]
    if isinstance(value, dict):
        if isinstance(value.get("$binary"), str):
            return bytes.fromhex(value["$binary"])
        return {key: unpack(inner) for key, inner in value.items()}
    return value
