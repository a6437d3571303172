"""A soak run: a thousand clients come, talk and go for minutes over a bad network, and the server must not grow.

::

    python -m tests.faults.soak --minutes 30 --loop uvloop

The server is one process, the clients are another. Its memory, descriptors, tasks, timers and sessions are measured
every few seconds; what is measured after the warm-up is judged, and what is left when everybody has gone.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression, mean
from typing import Any, Final

import anyio
import psutil

from tests.faults.client import connected
from tests.helpers.processes import ROOT, ServerProcess

__all__ = ["Sample", "Soak", "Verdict", "growth", "judge"]

HEARTBEAT: Final = (10.0, 15.0)
"""Seconds between pings, and for their answers."""

SAMPLE_TIME: Final = 5.0
"""Seconds between two measurements."""

WARM_UP: Final = 240.0
"""Seconds before what is measured counts: the recovery log keeps sessions for two minutes, and a crowd comes first."""

MEMORY_GROWTH: Final = 0.01
"""The growth of memory in ten minutes that is allowed."""

COUNT_GROWTH: Final = 0.05
"""The same of descriptors, tasks and timers, whose number goes up and down with the faults."""

COUNTED: Final = ("descriptors", "tasks", "timers", "sessions")

LEFT_TIME: Final = 60.0
"""Seconds after which nothing of the clients may be left."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the server held at one moment.

    :ivar at: seconds since the start.
    :ivar rss: bytes of memory of the process.
    """

    at: float
    rss: int
    descriptors: int
    tasks: int
    timers: int
    sessions: int
    cpu: float


@dataclass(slots=True)
class Verdict:
    """What was found.

    :ivar failures: what was not as it should be; empty if all is well.
    """

    growth: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def growth(samples: Sequence[Sample], name: str) -> float:
    """Return how much a figure grows in ten minutes, as a part of its mean: the slope of a straight line."""
    values = [float(getattr(sample, name)) for sample in samples]
    slope = linear_regression([sample.at for sample in samples], values).slope
    return slope * 600 / mean(values)


def judge(samples: Sequence[Sample], before: Sample, after: Sample) -> Verdict:
    """Judge what was measured after the warm-up, and what was left at the end.

    :param samples: those after the warm-up; none for a run that was too short for it.
    """
    verdict = Verdict()
    if len(samples) > 2:
        verdict.growth = {name: growth(samples, name) for name in ("rss", *COUNTED)}
        for name, value in verdict.growth.items():
            bound = MEMORY_GROWTH if name == "rss" else COUNT_GROWTH
            if value > bound:
                verdict.failures.append(f"{name} grows by {value:.1%} in ten minutes, more than {bound:.0%}")
    for name in COUNTED:
        if getattr(after, name) > getattr(before, name):
            verdict.failures.append(
                f"{getattr(after, name)} {name} are left, there were {getattr(before, name)}"
            )
    return verdict


class Soak:
    """One run. :meth:`run` does it, :meth:`report` says what it has found."""

    def __init__(
        self,
        loop: str,
        clients: int,
        churn: float,
        seconds: float,
        warm_up: float,
        seed: int,
        heartbeat: tuple[float, float] = HEARTBEAT,
    ) -> None:
        self._loop = loop
        self._clients = clients
        self._churn = churn
        self._seconds = seconds
        self._warm_up = warm_up
        self._seed = seed
        self._heartbeat = heartbeat
        self.samples: list[Sample] = []
        self.crowd: dict[str, Any] = {}
        self.errors = ""
        self.limit_hits: dict[str, int] = {}
        self.verdict = Verdict()

    def run(self) -> Verdict:
        """Start the server, then the crowd, and measure."""
        interval, timeout = map(str, self._heartbeat)
        arguments = [
            "--loop",
            self._loop,
            "--recovery",
            "--ping-interval",
            interval,
            "--ping-timeout",
            timeout,
        ]
        with ServerProcess("tests.faults.app", *arguments) as server:
            anyio.run(self._measure, server.port, psutil.Process(server.pid))
            self.errors = server.stop()
        if self.errors:
            self.verdict.failures.append(f"the server has logged {self.errors.splitlines()[0]!r} and so on")
        return self.verdict

    async def _measure(self, port: int, process: psutil.Process) -> None:
        started = time.monotonic()

        async def sample() -> Sample:
            held = await witness.call("what do you hold", seconds=60)
            times = process.cpu_times()
            self.limit_hits = held["limit hits"]
            return Sample(
                round(time.monotonic() - started, 1),
                process.memory_info().rss,
                process.num_fds(),
                held["tasks"],
                held["timers"],
                held["sessions"],
                times.user + times.system,
            )

        async with connected(port) as witness:
            before = await sample()
            command = [
                *(sys.executable, "-m", "tests.faults.crowd", "--port", str(port), "--seed", str(self._seed)),
                *("--clients", str(self._clients), "--churn", str(self._churn)),
                *("--seconds", str(self._seconds)),
            ]
            environment = {**os.environ, "PYTHONPATH": str(ROOT)}
            async with await anyio.open_process(command, cwd=ROOT, env=environment, stderr=None) as crowd:
                with anyio.move_on_after(self._seconds):
                    while crowd.returncode is None:
                        await anyio.sleep(SAMPLE_TIME if self._seconds > 60 else 1.0)
                        self.samples.append(await sample())
                assert crowd.stdout is not None
                with anyio.fail_after(120):
                    self.crowd = json.loads(await crowd.stdout.receive())
                    await crowd.wait()
            with anyio.move_on_after(LEFT_TIME):
                while True:
                    after = await sample()
                    if all(getattr(after, name) <= getattr(before, name) for name in COUNTED):
                        break
                    await anyio.sleep(0.2)
        self.samples = [before, *self.samples, after]
        self.verdict = judge([one for one in self.samples[1:-1] if one.at >= self._warm_up], before, after)

    def report(self) -> str:
        """Return what was found, as Markdown."""
        before, *during, after = self.samples
        lives = sum(self.crowd["ends"].values())
        lines = [
            f"# Soak run: {self._loop}, {self._clients} clients, {self._seconds / 60:.1f} minutes",
            "",
            f"{lives} lives ({lives / self._seconds:.1f} a second), {self.crowd['events']} events received, "
            f"limits hit: {self.limit_hits or 'none'}, log of the server: {'not ' if self.errors else ''}empty",
            "",
            "| Seconds | Memory, MB | Descriptors | Tasks | Timers | Sessions | Processor, % |",
            "|---|---|---|---|---|---|---|",
        ]
        step = max(len(during) // 24, 1)
        shown = [before, *during[step - 1 :: step], after]
        for earlier, one in zip([before, *shown], shown, strict=False):
            cpu = (one.cpu - earlier.cpu) / max(one.at - earlier.at, 0.1) * 100
            lines.append(
                f"| {one.at:.0f} | {one.rss / 1e6:.1f} | {one.descriptors} | {one.tasks} | {one.timers} "
                f"| {one.sessions} | {cpu:.0f} |"
            )
        lines += ["", "| Growth in ten minutes, after the warm-up | |", "|---|---|"]
        lines += [f"| {name} | {value:+.2%} |" for name, value in self.verdict.growth.items()]
        lines += ["", "| How lives ended | |", "|---|---|"]
        lines += [f"| {how} | {count} |" for how, count in self.crowd["ends"].items()]
        return "\n".join([*lines, "", *(self.verdict.failures or ["All is well."]), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--churn", type=float, default=20.0, help="clients a second that are exchanged")
    parser.add_argument("--loop", choices=["uvloop", "asyncio", "trio"], default="uvloop")
    parser.add_argument("--warm-up", type=float, default=WARM_UP, help="seconds")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, help="where the report is written, beside printing it")
    options = parser.parse_args()
    soak = Soak(
        options.loop, options.clients, options.churn, options.minutes * 60, options.warm_up, options.seed
    )
    verdict = soak.run()
    report = soak.report()
    print(report)
    if options.report is not None:
        options.report.parent.mkdir(parents=True, exist_ok=True)
        options.report.write_text(report)
    sys.exit(bool(verdict.failures))


if __name__ == "__main__":
    main()
