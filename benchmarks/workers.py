"""`python -m benchmarks.workers`: one process against several that serve together, with all cores to run on."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.compiler import CompilerError
from benchmarks.fleet import RunningServer, ServerError, free_port, place
from benchmarks.generator.client import Generator, LoadError, generator_binary
from benchmarks.machine import machine, versions
from benchmarks.process import cpu_time, raise_open_files
from benchmarks.report import number, table
from benchmarks.summary import figure, ratio
from benchmarks.workloads import WORKLOADS, Workload

OUTPUT = Path(__file__).parent / "results"

CHOSEN = ("echo", "pipelined", "polling", "connects", "rooms", "broadcast")
"""Where workers change something: messages of one connection, requests that must find their worker, connections that
are passed on, events that reach the sockets of the others."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One round: messages per second, and seconds of processor time for each, of all processes of the server."""

    rate: float
    cpu_per_message: float
    cores: float
    """How many cores the server kept busy."""


def measure(
    workload: Workload, workers: int, cores: list[int], warm_up: float, duration: float, *, compiled: bool
) -> Sample:
    """Start the server with so many workers, load it, and take the figures."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "benchmarks.servers.ours", "uvloop", "--port", str(port)),
        *("--ping-interval", f"{workload.ping_interval:g}", "--workers", str(workers)),
    ]
    with (
        RunningServer(command, place(compiled=compiled), port, *cores) as server,
        Generator(workload, port, cores[0]) as generator,
    ):
        generator.start_closed()
        generator.wait(warm_up)
        cpu, mark = cpu_time(server.pid), generator.mark()
        generator.wait(duration)
        cpu_after, mark_after = cpu_time(server.pid), generator.mark()
        generator.stop()
    count = mark_after.messages - mark.messages
    if not count:
        raise LoadError("nothing was answered")
    seconds = mark_after.time - mark.time
    used = cpu_after.total - cpu.total
    return Sample(count / seconds, used / count, used / seconds)


def markdown(
    results: dict[str, dict[int, list[Sample]]], about: dict[str, str], duration: float
) -> Iterator[str]:
    """The report."""
    yield "# Workers"
    yield ""
    yield ", ".join(f"{key} {value}" for key, value in about.items()) + "."
    yield ""
    yield (
        f"The server may run on every core, the load generator on the first one; rounds of {duration:g} s. Where the "
        "generator needs a core of its own, as on a machine with two, throughput says little: look at the processor "
        "time for each message, that of the supervisor included. The ratio is that of one process over that of several."
    )
    yield ""
    rows = []
    for name, found in results.items():
        for workers, samples in found.items():
            cpu = [sample.cpu_per_message for sample in samples]
            versus = "–"
            if workers != 1 and 1 in found:
                versus = f"{ratio([sample.cpu_per_message for sample in found[1]], cpu).median:.2f}x"
            rows.append(
                [
                    WORKLOADS[name].title,
                    str(workers),
                    number(figure([sample.rate for sample in samples]).median),
                    number(figure(cpu).median * 1e6),
                    f"{figure([sample.cores for sample in samples]).median:.2f}",
                    versus,
                ]
            )
    yield from table(
        ["load", "workers", "messages/s", "CPU per message, µs", "cores busy", "one process's CPU over this"],
        rows,
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__)
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--workloads", nargs="+", choices=CHOSEN, default=list(CHOSEN))
    parser.add_argument("--pure", action="store_true", help="pure Python instead of the compiled core")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duration", type=float, default=3.0, help="seconds of each measurement (default 3)")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds before it (default 1)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of the report")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    try:
        generator_binary()
    except CompilerError as error:
        raise SystemExit(str(error)) from None
    raise_open_files()
    results: dict[str, dict[int, list[Sample]]] = {}
    for name in arguments.workloads:
        for _ in range(arguments.rounds):
            for workers in arguments.workers:
                try:
                    sample = measure(
                        WORKLOADS[name],
                        workers,
                        cores,
                        arguments.warm_up,
                        arguments.duration,
                        compiled=not arguments.pure,
                    )
                except (ServerError, LoadError) as error:
                    print(f"{name:10} {workers} workers failed: {error}", flush=True)
                    continue
                results.setdefault(name, {}).setdefault(workers, []).append(sample)
                print(
                    f"{name:10} {workers} workers {number(sample.rate):>10}/s"
                    f"  {number(sample.cpu_per_message * 1e6):>6} µs  {sample.cores:.2f} cores",
                    flush=True,
                )
    about = {**{key: str(value) for key, value in machine().items()}, **versions()}
    folder: Path = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "workers.md").write_text("\n".join(markdown(results, about, arguments.duration)) + "\n")
    plain = {
        name: {workers: [asdict(sample) for sample in samples] for workers, samples in found.items()}
        for name, found in results.items()
    }
    (folder / "workers.json").write_text(json.dumps({"about": about, "samples": plain}, indent=1) + "\n")
    print("written: workers.json, workers.md")


if __name__ == "__main__":
    main()
