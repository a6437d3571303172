"""``python -m conformance.mutants``: every broken server must be caught by the checks that name its fault."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
from pathlib import Path

from conformance.checks import every_check
from conformance.model import Check, Outcome, Result
from conformance.mutants.catalogue import CATALOGUE, Mutant
from conformance.runner import Target, run_checks

APPLICATION = Path(__file__).with_name("mutant_app.cjs")
AT_ONCE = 3


def command(name: str) -> str:
    return f"node {shlex.quote(str(APPLICATION))} --mutant {name}"


def ignore(result: Result) -> None:
    """The outcome of a mutant is told when all its checks are done."""


async def results_of(mutant: Mutant, checks: dict[str, Check]) -> list[Result]:
    chosen = [checks[identifier] for identifier in mutant.caught_by]
    return await run_checks(chosen, Target(command(mutant.name)), ignore)


def verdict(mutant: Mutant, results: list[Result], *, verbose: bool) -> str:
    lines = [f"{mutant.name:34} {mutant.fault:44} {'caught' if caught(results) else 'NOT CAUGHT'}"]
    for result in results:
        if verbose and result.outcome is Outcome.FAILED:
            lines.append(f"    {result.check.id}: expected {result.expected}, seen {result.seen}")
        elif result.check.group != "server" and result.outcome is not Outcome.FAILED:
            lines.append(f"    {result.check.id} did not fail")
    return "\n".join(lines)


def caught(results: list[Result]) -> bool:
    """Every check that was meant to fail did, and not because the server fell over."""
    return all((result.outcome is Outcome.FAILED) != (result.check.group == "server") for result in results)


async def judge(mutants: list[Mutant], *, verbose: bool) -> int:
    """How many of the mutants were caught."""
    checks = {check.id: check for check in every_check()}
    gate = asyncio.Semaphore(AT_ONCE)

    async def judge_one(mutant: Mutant) -> bool:
        async with gate:
            results = await results_of(mutant, checks)
        print(verdict(mutant, results, verbose=verbose), flush=True)
        return caught(results)

    return sum(await asyncio.gather(*(judge_one(mutant) for mutant in mutants)))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance.mutants", description=__doc__)
    parser.add_argument("--only", default="", help="comma-separated names of mutants")
    parser.add_argument("--verbose", action="store_true", help="tell what each check saw")
    options = parser.parse_args()
    names = [name for name in options.only.split(",") if name]
    mutants = [mutant for mutant in CATALOGUE if not names or mutant.name in names]
    count = asyncio.run(judge(mutants, verbose=options.verbose))
    print(f"{count} of {len(mutants)} mutants caught")
    return 0 if count == len(mutants) else 1


if __name__ == "__main__":
    sys.exit(main())
