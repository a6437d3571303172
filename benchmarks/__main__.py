"""`python -m benchmarks`: measure all servers under all workloads, in alternating rounds."""

import argparse
import os
import sys
import time
from pathlib import Path

from benchmarks import fleet, workloads
from benchmarks.compiler import CompilerError
from benchmarks.fleet import ServerError, ServerSpec
from benchmarks.generator.client import LoadError, generator_binary
from benchmarks.machine import machine, versions
from benchmarks.measure import Settings, measure
from benchmarks.network import PACING, enter_private_network
from benchmarks.plots import write_plots
from benchmarks.process import raise_open_files
from benchmarks.report import all_warnings, headline, markdown, number
from benchmarks.results import Results
from benchmarks.workloads import Workload

OUTPUT = Path(__file__).parent / "results"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="servers:\n"
        + "".join(f"  {spec.name:24} {spec.title}\n" for spec in fleet.SERVERS.values())
        + "workloads:\n"
        + "".join(f"  {load.name:24} {load.title}\n" for load in workloads.WORKLOADS.values()),
    )
    parser.add_argument("--servers", nargs="+", metavar="NAME", help="only these (default: all)")
    parser.add_argument(
        "--workloads", nargs="+", metavar="NAME", help="only these or these growth runs (default: all)"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duration", type=float, default=2.0, help="seconds of each measurement (default 2)")
    parser.add_argument("--warm-up", type=float, default=1.0, help="seconds before it (default 1)")
    parser.add_argument("--quick", action="store_true", help="one short round: does it all work?")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="folder of the report")
    parser.add_argument("--report-only", action="store_true", help="write the report again from its JSON")
    return parser.parse_args()


def _settings(arguments: argparse.Namespace) -> Settings:
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two cores are needed, one for the server and one for the load")
    duration, warm_up = (0.5, 0.5) if arguments.quick else (arguments.duration, arguments.warm_up)
    return Settings(duration, warm_up, server_core=cores[1], generator_core=cores[0])


def _run(
    results: Results, servers: list[ServerSpec], workload: Workload, rounds: int, settings: Settings
) -> None:
    taking_part = [server for server in servers if server.takes_part(workload)]
    for number_of_round in range(rounds):
        shift = number_of_round % max(1, len(taking_part))
        for server in taking_part[shift:] + taking_part[:shift]:
            if not results.failed(workload.name, server.name):
                _one(results, server, workload, settings)


def _one(results: Results, server: ServerSpec, workload: Workload, settings: Settings) -> None:
    try:
        sample = measure(server, workload, settings)
    except (ServerError, LoadError) as error:
        results.add_failure(workload.name, server.name, str(error))
        print(f"      {server.name:24} failed: {error}", flush=True)
        return
    results.add(workload.name, server.name, sample)
    p99 = f"  p99 {sample.latency['p99'] * 1e3:.2f} ms" if sample.latency else ""
    memory = f"  {sample.rss_per_connection / 1e3:.1f} kB each" if sample.rss_per_connection else ""
    print(
        f"      {server.name:24} {number(sample.rate):>10}/s  {number(sample.cpu_per_message * 1e6):>7} µs"
        f"  server {sample.server_share:4.0%}  generator {sample.generator_share:4.0%}{p99}{memory}",
        flush=True,
    )


def _write(results: Results, folder: Path) -> None:
    (folder / "results.md").write_text(markdown(results))
    plots = write_plots(results, folder)
    for line in headline(results):
        print(line)
    for warning in all_warnings(results):
        print(f"warning: {warning}", file=sys.stderr)
    print(f"written: results.json, results.md, {', '.join(path.name for path in plots)}")


def main() -> None:
    """Run from the command line."""
    arguments = _arguments()
    folder: Path = arguments.output
    if arguments.report_only:
        _write(Results.read(folder / "results.json"), folder)
        return
    try:
        servers, loads = fleet.select(arguments.servers), workloads.select(arguments.workloads)
        generator_binary()
    except (ValueError, CompilerError) as error:
        raise SystemExit(str(error)) from None
    settings = _settings(arguments)
    refused = enter_private_network()
    rounds = 1 if arguments.quick else arguments.rounds
    folder.mkdir(parents=True, exist_ok=True)
    noted: dict[str, float] = {"rounds": rounds, "duration": settings.duration, "warm_up": settings.warm_up}
    results = Results({**noted, "open_files": raise_open_files()}, machine(), versions())
    for about in (results.machine, results.versions):
        print(", ".join(f"{key} {value}" for key, value in about.items()), flush=True)
    if refused:
        print(f"no private network ({refused}): the machine's own loopback device is used", file=sys.stderr)
    if results.machine["congestion_control"] in PACING:
        print("warning: the kernel paces connections, which holds single ones back", file=sys.stderr)
    began = time.monotonic()
    try:
        for position, workload in enumerate(loads, 1):
            print(f"[{position}/{len(loads)}, {time.monotonic() - began:.0f} s] {workload.title}", flush=True)
            _run(results, servers, workload, rounds, settings)
            results.write(folder / "results.json")
    except KeyboardInterrupt:
        print("interrupted; the report covers what there is", file=sys.stderr)
    _write(results, folder)


if __name__ == "__main__":
    main()
