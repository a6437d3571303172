"""``python -m conformance``: judge one server."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

from conformance.checks import every_check
from conformance.model import Check, Outcome, Result
from conformance.report import Run, as_html, as_json, table
from conformance.runner import Progress, Target, run_checks
from conformance.target import StartError, server_at


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m conformance", description=__doc__)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--url", help="a running server, judged with the checks of one profile")
    where.add_argument("--start", metavar="COMMAND", help="starts the server; --profile and --port are added")
    parser.add_argument("--profile", default="base", help="with --url: the profile it runs (default: base)")
    parser.add_argument("--only", default="", help="comma-separated beginnings of check ids")
    parser.add_argument(
        "--without", default="", help="comma-separated marks or beginnings of ids to leave out"
    )
    parser.add_argument("--stricter", action="store_true", help="run the stricter requirements too")
    parser.add_argument("--name", default="", help="what the reports call the server")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--html", type=Path, metavar="FILE")
    parser.add_argument("--list", action="store_true", help="list the checks and stop")
    parser.add_argument("--all", action="store_true", help="list passed checks in the table too")
    parsed = parser.parse_args(arguments)
    if not (parsed.list or parsed.url or parsed.start):
        parser.error("one of --url and --start is needed")
    return parsed


def select(only: str, without: str, *, stricter: bool) -> list[Check]:
    """The checks that were asked for; ``stricter`` ones only when asked for by name or option."""
    wanted = [name for name in only.split(",") if name]
    unwanted = [name for name in without.split(",") if name]
    return [
        check
        for check in every_check()
        if (begins(check.id, wanted) if wanted else stricter or "stricter" not in check.marks)
        and not begins(check.id, unwanted)
        and not check.marks.intersection(unwanted)
    ]


def begins(identifier: str, names: list[str]) -> bool:
    return any(identifier == name or identifier.startswith(f"{name}.") for name in names)


class Dots:
    """A character for each check as it ends, and the name of each that failed."""

    def __init__(self) -> None:
        self._shown = 0

    def __call__(self, result: Result) -> None:
        if result.outcome is Outcome.FAILED:
            print(f"\nfailed: {result.check.id}", file=sys.stderr, flush=True)
            self._shown = 0
            return
        print("." if result.outcome is Outcome.PASSED else "-", end="", file=sys.stderr, flush=True)
        self._shown += 1
        if self._shown % 100 == 0:
            print(file=sys.stderr)


async def judge_server(name: str, target: Target, checks: list[Check], progress: Progress) -> Run:
    started_at = time.monotonic()
    results = await run_checks(checks, target, progress)
    return Run(name, results, time.monotonic() - started_at)


def main() -> int:
    options = parse_arguments()
    checks = select(options.only, options.without, stricter=options.stricter)
    if options.list:
        for check in checks:
            marks = ", ".join(sorted(check.marks))
            print(f"{check.id}\n    {check.requirement}\n    {check.source}; {check.profile}; {marks}")
        print(f"{len(checks)} checks")
        return 0
    target = Target(options.start)
    if options.url:
        server = server_at(options.url, options.profile)
        target.running[server.profile] = server
        checks = [check for check in checks if check.profile == server.profile and "fresh" not in check.marks]
    try:
        run = asyncio.run(judge_server(options.name or options.url or "server", target, checks, Dots()))
    except StartError as error:
        print(error, file=sys.stderr)
        return 2
    print("\n" + table(run, passed=options.all))
    if options.json:
        options.json.write_text(as_json([run]), encoding="utf-8")
    if options.html:
        options.html.write_text(as_html([run]), encoding="utf-8")
    return 1 if run.failed() else 0


if __name__ == "__main__":
    sys.exit(main())
