"""`python -m benchmarks.chat`: durable messages per second of the chat, and of SQLite without it."""

import argparse
import os
import sqlite3
import sys
import tempfile
from pathlib import Path

from benchmarks.chat.disk import commits_per_second, disk_folder, syncs_per_second
from benchmarks.chat.measure import Load, measure
from benchmarks.chat.report import ChatResults, warnings
from benchmarks.fleet import ROOT, ServerError, place
from benchmarks.generator.client import LoadError
from benchmarks.machine import machine, versions
from benchmarks.measure import Settings
from benchmarks.network import PACING, enter_private_network
from benchmarks.process import pinned
from benchmarks.report import number

OUTPUT = ROOT / "benchmarks" / "results"
LIMIT_DURATION = 2.0
"""The most seconds for each of the limits in each round."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.chat",
        description=__doc__,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--members", type=_positive, default=20, help="people in the room")
    parser.add_argument(
        "--in-flight",
        type=_positive,
        nargs="+",
        default=[1, 4],
        metavar="N",
        help="unacknowledged messages of each",
    )
    parser.add_argument("--duration", type=float, default=10.0, help="seconds of each measurement")
    parser.add_argument("--warm-up", type=float, default=2.0, help="seconds before it")
    parser.add_argument("--rounds", type=_positive, default=3)
    parser.add_argument("--compiled", action="store_true", help="with the compiled copy of sio_core")
    parser.add_argument("--folder", type=Path, help="where the databases are made; must be on a disk")
    parser.add_argument("--output", type=Path, default=argparse.SUPPRESS, help="folder of the report")
    return parser.parse_args()


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError("a whole number from 1")
    return int(text)


def _versions(compiled: bool) -> dict[str, str]:
    """The versions; a compiled copy may be older than the commit beside it."""
    return {**versions(), **({"sio_core": "the compiled copy"} if compiled else {})}


def _limits(results: ChatResults, groups: list[int], folder: Path, settings: Settings) -> None:
    duration = min(LIMIT_DURATION, settings.duration)
    with pinned(settings.server_core):
        results.syncs.append(syncs_per_second(folder, duration))
        print(f"  the disk alone     {number(results.syncs[-1]):>8} syncs/s", flush=True)
        for group in groups:
            rate = commits_per_second(folder, group, duration)
            results.commits.setdefault(group, []).append(rate)
            print(
                f"  SQLite, {group:4} each  {number(rate):>8} commits/s  {number(rate * group):>8} messages/s",
                flush=True,
            )


def _chat(results: ChatResults, load: Load, settings: Settings) -> None:
    sample = measure(load, settings)
    results.samples.setdefault(load.in_flight, []).append(sample)
    assert sample.latency is not None
    p50, p99, p999 = (sample.latency[name] * 1e3 for name in ("p50", "p99", "p999"))
    print(
        f"  chat, {load.in_flight:3} in flight {number(sample.rate):>8} acknowledged/s"
        f"  p50 {p50:.1f} ms  p99 {p99:.1f} ms  p99.9 {p999:.1f} ms"
        f"  {number(sample.cpu_per_message * 1e6)} µs  server {sample.server_share:.0%}"
        f"  generator {sample.generator_share:.0%}  {sample.messages:,} checked",
        flush=True,
    )


def main() -> None:
    """Run from the command line."""
    arguments = _arguments()
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("two cores are needed, one for the server and one for the members")
    settings = Settings(arguments.duration, arguments.warm_up, server_core=cores[1], generator_core=cores[0])
    try:
        candidates = [arguments.folder] if arguments.folder else [Path(tempfile.gettempdir()), ROOT]
        folder, file_system = disk_folder(*candidates)
        place(compiled=arguments.compiled)
    except (ValueError, ServerError) as error:
        raise SystemExit(str(error)) from None
    output: Path = getattr(arguments, "output", OUTPUT)
    output.mkdir(parents=True, exist_ok=True)
    refused = enter_private_network()
    results = ChatResults(
        {
            "members": arguments.members,
            "rounds": arguments.rounds,
            "duration": settings.duration,
            "warm_up": settings.warm_up,
            "compiled": arguments.compiled,
        },
        {**machine(), "file_system": file_system},
        {"SQLite": sqlite3.sqlite_version, **_versions(arguments.compiled)},
    )
    for about in (results.machine, results.versions):
        print(", ".join(f"{key} {value}" for key, value in about.items()), flush=True)
    if refused:
        print(f"no private network ({refused}): the machine's own loopback device is used", file=sys.stderr)
    if results.machine["congestion_control"] in PACING:
        print("warning: the kernel paces connections, which holds single ones back", file=sys.stderr)
    groups = sorted({1, *(arguments.members * in_flight for in_flight in arguments.in_flight)})
    try:
        for number_of_round in range(1, arguments.rounds + 1):
            print(f"[{number_of_round}/{arguments.rounds}]", flush=True)
            _limits(results, groups, folder, settings)
            for in_flight in arguments.in_flight:
                _chat(results, Load(arguments.members, in_flight, folder, arguments.compiled), settings)
            results.write(output)
    except (ServerError, LoadError) as error:
        raise SystemExit(f"no figures: {error}") from None
    for warning in warnings(results):
        print(f"warning: {warning}", file=sys.stderr)
    print("written: chat.json, chat.md")


if __name__ == "__main__":
    main()
