"""The generator as the harness sees it: a process that takes commands and reports counters."""

import json
import selectors
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.compiler import compiled
from benchmarks.generator.plan import plan_lines
from benchmarks.process import pinned
from benchmarks.workloads import Workload

SOURCES = Path(__file__).parent


def generator_binary() -> Path:
    """The path of the generator's program."""
    sources = sorted(SOURCES.glob("*.c"))
    return compiled("loadgen", sources, ("-Wall", "-Wextra", "-lm"), sorted(SOURCES.glob("*.h")))


class LoadError(RuntimeError):
    """The generator met something that makes the measurement worthless."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The counters of the generator at one moment; times in seconds."""

    time: float
    busy: float
    """The time less what was spent with nothing to do."""
    messages: int
    sent: int
    heartbeats: int
    received_bytes: int


@dataclass(frozen=True, slots=True)
class Latency:
    """Latencies in seconds, from the intended send time to the reply."""

    rate: float
    missed: int
    """Requests not sent, because too many before them were unanswered."""
    mean: float
    p50: float
    p99: float
    p999: float
    maximum: float


class Generator:
    """One run of the load generator, on a core of its own."""

    def __init__(self, workload: Workload, port: int, core: int, receivers_port: int = 0) -> None:
        binary = generator_binary()
        with tempfile.TemporaryDirectory() as folder:
            plan = Path(folder) / "plan"
            plan.write_text("\n".join(plan_lines(workload, port, receivers_port)) + "\n")
            with pinned(core):
                self._process = subprocess.Popen(
                    [binary, plan], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
                )
            try:
                self._pending = b""
                self._await("ready", timeout=120)
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
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def start_closed(self) -> None:
        """Keep the workload's window of requests in flight from now on."""
        self._command("closed")

    def start_open(self, arrivals_per_second: float) -> None:
        """Send at this rate from now on, whatever the replies do."""
        self._command(f"open {arrivals_per_second:.6f}")

    def stop(self) -> None:
        """Send nothing more, and wait until everything sent is answered."""
        self._command("stop")
        self._await("stopped", timeout=60)

    def mark(self) -> Mark:
        """The counters now."""
        self._command("mark")
        return Mark(**self._await("mark"))

    def observe(self, seconds: float) -> Latency:
        """The latencies of that much time, from now; the generator keeps the time itself."""
        self._command(f"observe {seconds:.3f}")
        return Latency(**self._await("latency", timeout=seconds + 10))

    def wait(self, seconds: float) -> None:
        """Let time pass; an error of the generator ends it."""
        self._read_line(seconds, must_come=False)

    def _command(self, text: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(text.encode() + b"\n")
        except BrokenPipeError:
            self._await("nothing")

    def _await(self, event: str, timeout: float = 10) -> dict[str, Any]:
        line = self._read_line(timeout, must_come=True)
        if line.pop("event") != event:
            raise LoadError(f"the generator said {line} where {event} was due")
        return line

    def _read_line(self, timeout: float, *, must_come: bool) -> dict[str, Any]:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._pending:
                if not selector.select(timeout):
                    if must_come:
                        raise LoadError(f"the generator said nothing for {timeout:g} s")
                    return {}
                chunk = self._process.stdout.read(65_536)
                if not chunk:
                    raise LoadError("the generator ended")
                self._pending += chunk
        line, _, self._pending = self._pending.partition(b"\n")
        report: dict[str, Any] = json.loads(line)
        if report["event"] == "error":
            raise LoadError(report["message"])
        return report
