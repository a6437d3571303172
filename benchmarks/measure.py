"""One sample: one server, started for it, under one workload."""

import time
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.fleet import RunningServer, ServerSpec
from benchmarks.generator.client import Generator, LoadError, Mark
from benchmarks.process import CpuTime, core_busy_seconds, cpu_time, memory
from benchmarks.workloads import Workload

SETTLING = 0.3
"""Seconds between the start of a server and the memory it is said to need without connections."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How long a sample takes, and where it runs."""

    duration: float
    warm_up: float
    server_core: int
    generator_core: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What was measured in one round. Rates are per second, shares are of one core, memory in bytes."""

    rate: float
    cpu_per_message: float
    system_per_message: float
    """Of it what the kernel took."""
    server_share: float
    generator_share: float
    foreign_share: float
    """What others took of the server's core meanwhile."""
    rss_per_connection: float | None = None
    pss_per_connection: float | None = None
    latency: dict[str, float] | None = None
    """Seconds at half of `rate`: p50, p99, p999, mean, maximum; the rate itself, and requests `missed`."""

    @property
    def efficiency(self) -> float | None:
        """Messages per second of CPU time; `None` if they took less than the operating system counts."""
        return 1 / self.cpu_per_message if self.cpu_per_message else None


@dataclass(frozen=True, slots=True)
class _Moment:
    server_cpu: CpuTime
    core_busy: float
    mark: Mark


def measure(spec: ServerSpec, workload: Workload, settings: Settings) -> Sample:
    """Start the server, load it, and take the figures."""
    with spec.start(workload, settings.server_core) as server:
        time.sleep(SETTLING)
        before = memory(server.pid)
        with Generator(workload, server.port, settings.generator_core) as generator:
            if workload.kind != "idle":
                generator.start_closed()
            generator.wait(_warm_up(workload, settings))
            first = _look(server, generator, settings)
            generator.wait(_duration(workload, settings))
            last = _look(server, generator, settings)
            more: dict[str, Any] = {}
            if workload.with_memory:
                after = memory(server.pid)
                more["rss_per_connection"] = (after.rss - before.rss) / workload.connections
                more["pss_per_connection"] = (after.pss - before.pss) / workload.connections
            if workload.kind != "idle":
                generator.stop()
            if workload.has_latency:
                rate = (last.mark.messages - first.mark.messages) / (last.mark.time - first.mark.time)
                more["latency"] = _latency(generator, workload, settings, rate / 2)
    return _sample(workload, first, last, **more)


def _warm_up(workload: Workload, settings: Settings) -> float:
    return workload.ping_interval if workload.kind == "idle" else settings.warm_up


def _duration(workload: Workload, settings: Settings) -> float:
    """An idle run must see every connection's heartbeat the same number of times."""
    if workload.kind != "idle":
        return settings.duration
    return workload.ping_interval * max(1, round(settings.duration / workload.ping_interval))


def _look(server: RunningServer, generator: Generator, settings: Settings) -> _Moment:
    return _Moment(cpu_time(server.pid), core_busy_seconds(settings.server_core), generator.mark())


def _latency(
    generator: Generator, workload: Workload, settings: Settings, messages_per_second: float
) -> dict[str, float]:
    per_arrival = workload.window * workload.receivers
    generator.start_open(messages_per_second / per_arrival)
    generator.wait(min(settings.warm_up, 0.5))
    return asdict(generator.observe(settings.duration))


def _sample(workload: Workload, first: _Moment, last: _Moment, **more: Any) -> Sample:
    elapsed = last.mark.time - first.mark.time
    messages = _counted(workload, last.mark) - _counted(workload, first.mark)
    if not messages:
        raise LoadError("nothing was answered")
    cpu = last.server_cpu.total - first.server_cpu.total
    return Sample(
        rate=messages / elapsed,
        cpu_per_message=cpu / messages,
        system_per_message=(last.server_cpu.system - first.server_cpu.system) / messages,
        server_share=cpu / elapsed,
        generator_share=(last.mark.busy - first.mark.busy) / elapsed,
        foreign_share=max(0.0, last.core_busy - first.core_busy - cpu) / elapsed,
        **more,
    )


def _counted(workload: Workload, mark: Mark) -> int:
    return mark.heartbeats if workload.kind == "idle" else mark.messages
