"""`python -m benchmarks.cluster`: broadcasts through each adapter, on two nodes of ours and two official ones."""

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from benchmarks.cluster.measure import WORKLOADS, ClusterSample, measure
from benchmarks.compiler import CompilerError
from benchmarks.fleet import REFERENCE, SERVERS, ServerError
from benchmarks.generator.client import LoadError, generator_binary
from benchmarks.machine import machine, versions
from benchmarks.measure import Settings
from benchmarks.process import pinned, raise_open_files
from benchmarks.report import number, table
from benchmarks.summary import figure, ratio
from tests.clusters.engines import Engine, MongoDB, PostgreSQL, Redis

OUTPUT = Path(__file__).parent.parent / "results"

ENGINES: dict[str, type[Engine]] = {
    "redis": Redis,
    "redis-sharded": Redis,
    "redis-streams": Redis,
    "postgres": PostgreSQL,
    "mongo": MongoDB,
}
"""By adapter; the names are those of the cluster tests."""

Samples = dict[str, list[ClusterSample]]
"""Of one adapter and workload, by server."""


def run(adapter: str, servers: list[str], rounds: int, settings: Settings) -> dict[str, Samples]:
    """Measure one adapter; return its samples by workload."""
    found: dict[str, Samples] = {}
    with pinned(settings.generator_core):
        engine = ENGINES[adapter]()
        engine.__enter__()
    try:
        for workload in WORKLOADS:
            samples: Samples = {}
            for _ in range(rounds):
                for name in servers:
                    try:
                        sample = measure(SERVERS[name], adapter, engine, workload, settings)
                    except (ServerError, LoadError) as error:
                        print(f"{adapter:14} {workload.name:10} {name:14} failed: {error}", flush=True)
                        continue
                    samples.setdefault(name, []).append(sample)
                    print(
                        f"{adapter:14} {workload.name:10} {name:14} {number(sample.rate):>10}/s"
                        f"  nodes {number(sample.nodes_cpu * 1e6):>6} µs"
                        f"  engine {number(sample.engine_cpu * 1e6):>6} µs",
                        flush=True,
                    )
            found[workload.name] = samples
    finally:
        engine.__exit__(None, None, None)
    return found


def markdown(
    results: dict[str, dict[str, Samples]], about: dict[str, str], settings: Settings
) -> Iterator[str]:
    """The report."""
    yield "# A cluster of two nodes"
    yield ""
    yield ", ".join(f"{key} {value}" for key, value in about.items()) + "."
    yield ""
    yield (
        "Senders at one node, receivers at the other, both nodes on one core, the engine and the load on another; "
        f"rounds of {settings.duration:g} s. Microseconds of processor time for each event that a client received; the "
        "ratio is Node's over ours."
    )
    yield ""
    for workload in WORKLOADS:
        yield f"## {workload.title[0].upper()}{workload.title[1:]}"
        yield ""
        rows = []
        for adapter, found in results.items():
            samples = found[workload.name]
            for name, rounds in samples.items():
                nodes = [sample.nodes_cpu for sample in rounds]
                versus = "–"
                if name != REFERENCE and REFERENCE in samples:
                    versus = f"{ratio([s.nodes_cpu for s in samples[REFERENCE]], nodes).median:.2f}x"
                rows.append(
                    [
                        adapter,
                        name,
                        number(figure([sample.rate for sample in rounds]).median),
                        number(figure(nodes).median * 1e6),
                        number(figure([sample.engine_cpu for sample in rounds]).median * 1e6),
                        versus,
                    ]
                )
        yield from table(
            ["adapter", "server", "deliveries/s", "nodes, µs", "engine, µs", "Node's CPU over ours"], rows
        )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cluster", description=__doc__)
    parser.add_argument("--adapters", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument(
        "--servers",
        nargs="+",
        choices=["sio_core", "sio_core-pure", REFERENCE],
        default=["sio_core", REFERENCE],
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duration", type=float, default=3.0, help="seconds of each measurement (default 3)")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds before it (default 1)")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of the report")
    arguments = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two cores are needed, one for the nodes and one for the engine and the load")
    settings = Settings(arguments.duration, arguments.warm_up, server_core=cores[1], generator_core=cores[0])
    try:
        generator_binary()
    except CompilerError as error:
        raise SystemExit(str(error)) from None
    raise_open_files()
    results = {
        adapter: run(adapter, arguments.servers, arguments.rounds, settings) for adapter in arguments.adapters
    }
    about = {**{key: str(value) for key, value in machine().items()}, **versions()}
    folder: Path = arguments.output
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cluster.md").write_text("\n".join(markdown(results, about, settings)) + "\n")
    plain = {
        adapter: {
            name: {server: [asdict(sample) for sample in rounds] for server, rounds in samples.items()}
            for name, samples in found.items()
        }
        for adapter, found in results.items()
    }
    (folder / "cluster.json").write_text(json.dumps({"about": about, "samples": plain}, indent=1) + "\n")
    print("written: cluster.json, cluster.md")


if __name__ == "__main__":
    main()
