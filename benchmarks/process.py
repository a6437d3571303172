"""What the operating system knows of a process: processor time, memory, and where it may run."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@contextmanager
def pinned(*cores: int) -> Iterator[None]:
    """What is started inside runs on these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_open_files() -> int:
    """Let this process and its children open as many files as the machine allows; the new limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def family(pid: int) -> list[int]:
    """The process and all its living descendants."""
    parents: dict[int, int] = {}
    for folder in PROC.glob("[0-9]*"):
        # A process may end between being listed and being read.
        with suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    found = [pid]
    for member in found:
        found += [child for child, parent in parents.items() if parent == member]
    return found


@dataclass(frozen=True, slots=True)
class CpuTime:
    """Seconds of processor time."""

    user: float
    system: float

    @property
    def total(self) -> float:
        """Both."""
        return self.user + self.system


def parse_stat(text: str) -> CpuTime:
    """User and system time in a stat line, children that have ended included."""
    fields = [int(field) for field in text.rpartition(")")[2].split()[11:15]]
    return CpuTime((fields[0] + fields[2]) / TICKS, (fields[1] + fields[3]) / TICKS)


def cpu_time(pid: int) -> CpuTime:
    """User and system time of the process and its descendants."""
    parts = [parse_stat((PROC / str(member) / "stat").read_text()) for member in family(pid)]
    return CpuTime(sum(part.user for part in parts), sum(part.system for part in parts))


def core_busy_seconds(core: int) -> float:
    """How long the core has been busy with anything at all, time taken by other machines included."""
    for line in (PROC / "stat").read_text().splitlines():
        name, *numbers = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _wait, irq, softirq, steal, *_ = map(int, numbers)
            return (user + nice + system + irq + softirq + steal) / TICKS
    raise LookupError(f"no core {core}")


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes held by a process and its descendants."""

    rss: int
    """Resident pages."""
    pss: int
    """The same, with pages shared by several processes divided among them."""


def parse_smaps_rollup(text: str) -> Memory:
    """The totals of a process's mappings."""
    kilobytes = {line.split(":")[0]: line.split() for line in text.splitlines()[1:]}
    return Memory(*(int(kilobytes[key][1]) * 1024 for key in ("Rss", "Pss")))


def memory(pid: int) -> Memory:
    """The memory of the process and its descendants."""
    parts = [parse_smaps_rollup((PROC / str(member) / "smaps_rollup").read_text()) for member in family(pid)]
    return Memory(sum(part.rss for part in parts), sum(part.pss for part in parts))
