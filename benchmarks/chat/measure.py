"""One sample: the chat, started on an empty database, with everybody sending."""

import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from statistics import fmean

import uvloop

from benchmarks.chat.check import fault_of_log, fault_of_member, stored_ids
from benchmarks.chat.crowd import Crowd
from benchmarks.chat.member import Member
from benchmarks.fleet import RunningServer, free_port, place
from benchmarks.generator.client import LoadError
from benchmarks.measure import Sample, Settings
from benchmarks.process import PROC, CpuTime, core_busy_seconds, parse_stat, pinned


@dataclass(frozen=True, slots=True)
class ChatSample(Sample):
    """A round of the chat. The latency is that of acknowledgements, under this very load."""

    messages: int = 0
    """Acknowledged in the whole run, and found in the log and with every member."""
    foreign_beside_generator: float = 0.0
    """What others took of the generator's core meanwhile."""


@dataclass(frozen=True, slots=True)
class Load:
    """Who sends how much, and to what.

    :ivar in_flight: messages of each member that wait for their acknowledgement.
    :ivar folder: where the database is made.
    :ivar compiled: whether sio_core is the compiled copy.
    """

    members: int
    in_flight: int
    folder: Path
    compiled: bool = False


@dataclass(frozen=True, slots=True)
class _Moment:
    time: float
    acknowledged: int
    server_cpu: CpuTime
    generator_cpu: float
    server_core: float
    generator_core: float


def measure(load: Load, settings: Settings) -> ChatSample:
    """Start the chat, load it, take the figures, and check what was promised.

    :raises ServerError: if the chat does not start.
    :raises LoadError: if a message was refused, lost, doubled or out of order.
    """
    latencies: list[float] = []
    members = [Member(number, load.in_flight, latencies) for number in range(load.members)]
    with tempfile.TemporaryDirectory(dir=load.folder) as folder:
        database = Path(folder) / "chat.db"
        port = free_port()
        command = [sys.executable, "-m", "chat_app", "--port", str(port), "--database", str(database)]
        with (
            RunningServer(command, place(compiled=load.compiled), port, settings.server_core) as server,
            pinned(settings.generator_core),
        ):
            first, last = uvloop.run(_run(Crowd(members), server, settings, latencies))
        _check(stored_ids(database), members, len(latencies))
    return _sample(first, last, latencies)


async def _run(
    crowd: Crowd, server: RunningServer, settings: Settings, latencies: list[float]
) -> tuple[_Moment, _Moment]:
    async with crowd.connected(server.port):
        crowd.start()
        await crowd.wait(settings.warm_up)
        first = _look(server, settings, latencies)
        await crowd.wait(settings.duration)
        last = _look(server, settings, latencies)
        await crowd.stop()
    return first, last


def _look(server: RunningServer, settings: Settings, latencies: list[float]) -> _Moment:
    return _Moment(
        time.perf_counter(),
        len(latencies),
        parse_stat(
            (PROC / str(server.pid) / "stat").read_text()
        ),  # of one process: looking must not hold up the load
        time.process_time(),
        core_busy_seconds(settings.server_core),
        core_busy_seconds(settings.generator_core),
    )


def _check(stored: Sequence[str], members: Sequence[Member], acknowledged: int) -> None:
    if fault := fault_of_log(stored, acknowledged):
        raise LoadError(fault)
    for number, member in enumerate(members):
        if fault := fault_of_member(stored, member.places, member.ids):
            raise LoadError(f"member {number}: {fault}")


def _sample(first: _Moment, last: _Moment, latencies: Sequence[float]) -> ChatSample:
    elapsed = last.time - first.time
    acknowledged = last.acknowledged - first.acknowledged
    if not acknowledged:
        raise LoadError("nothing was acknowledged")
    cpu = last.server_cpu.total - first.server_cpu.total
    busy = last.generator_cpu - first.generator_cpu
    return ChatSample(
        rate=acknowledged / elapsed,
        cpu_per_message=cpu / acknowledged,
        system_per_message=(last.server_cpu.system - first.server_cpu.system) / acknowledged,
        server_share=cpu / elapsed,
        generator_share=busy / elapsed,
        foreign_share=max(0.0, last.server_core - first.server_core - cpu) / elapsed,
        foreign_beside_generator=max(0.0, last.generator_core - first.generator_core - busy) / elapsed,
        latency=distribution(latencies[first.acknowledged : last.acknowledged], elapsed),
        messages=len(latencies),
    )


def distribution(latencies: Sequence[float], elapsed: float) -> dict[str, float]:
    """The figures of a sample's latencies, in seconds; nothing is `missed` where the answer starts the next."""
    ordered = sorted(latencies)

    def percentile(share: float) -> float:
        return ordered[max(0, ceil(share * len(ordered)) - 1)]

    return {
        "rate": len(ordered) / elapsed,
        "missed": 0,
        "mean": fmean(ordered),
        "p50": percentile(0.5),
        "p99": percentile(0.99),
        "p999": percentile(0.999),
        "maximum": ordered[-1],
    }
