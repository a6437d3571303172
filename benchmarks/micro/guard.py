"""`python -m benchmarks.micro.guard`: instruction counts of the core against the recorded ones.

Each case runs in a process of its own under callgrind, which counts only while the work is done. Hash seed,
address layout and garbage collection are fixed; the same code then needs the same instructions, whatever
else the machine does.

Exit status: 0 when every count is within 3 percent, or when nothing was recorded for this Python and these
packages ("not comparable"); 1 when one is off; 2 when it cannot be counted here.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.compiler import CompilerError, compiled
from benchmarks.micro.baseline import Baseline, Record, differences, environment
from benchmarks.micro.cases import CASES

ROOT = Path(__file__).parents[2]
SWITCH = Path(__file__).with_name("callgrind_switch.c")
TIMES = 200
FEW_TIMES = {"dispatch-broadcast": 4, "dispatch-events": 20, "read-frames": 20, "connect": 50}
"""Cases that do much each time."""
COLLECTED = re.compile(r"Collected : (\d+)")


class CountError(RuntimeError):
    """A count could not be taken."""


def _switch() -> Path:
    try:
        return compiled("callgrind-switch", [SWITCH], ("-shared", "-fPIC"))
    except CompilerError as error:
        raise CountError(str(error)) from None


def count(case: str) -> int:
    """The instructions that one run of a case needs."""
    times = FEW_TIMES.get(case, TIMES)
    setarch, valgrind = shutil.which("setarch"), shutil.which("valgrind")
    if valgrind is None:
        raise CountError("valgrind is not installed (Debian and Ubuntu: apt-get install valgrind)")
    fixed_layout = [setarch, "-R"] if setarch else []
    tool = [valgrind, "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file=/dev/null"]
    done = subprocess.run(
        [*fixed_layout, *tool, sys.executable, "-m", "benchmarks.micro.count", _switch(), case, str(times)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    found = COLLECTED.search(done.stderr)
    if done.returncode != 0 or found is None:
        said = [line for line in done.stderr.splitlines() if line and not line.startswith("==")]
        raise CountError(f"{case}: {said[-1] if said else 'callgrind gave no count'}")
    return int(found[1]) // times


def count_all(cases: Iterable[str]) -> dict[str, int]:
    """Count several cases, as many at a time as there are cores."""
    names = list(cases)
    counts = {}
    _switch()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for name, counted in zip(names, pool.map(count, names), strict=True):
            print(f"{name:32} {counted:>12,}", flush=True)
            counts[name] = counted
    return counts


def main() -> int:
    """Run from the command line; the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.micro.guard",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--record", action="store_true", help="record the counts instead of comparing them")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), metavar="CASE", default=list(CASES))
    arguments = parser.parse_args()
    baseline = Baseline.read()
    here = environment()
    recorded = baseline.find(here)
    if recorded is None and not arguments.record:
        print("not comparable: nothing is recorded for " + ", ".join(f"{k} {v}" for k, v in here.items()))
        return 0
    try:
        counted = count_all(arguments.cases)
    except CountError as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.record:
        known = recorded.counts if recorded else {}
        kept = {case: known[case] for case in CASES if case in known}
        baseline.put(Record(here, {**kept, **counted}))
        baseline.write()
        return 0
    assert recorded is not None
    chosen = {case: value for case, value in recorded.counts.items() if case in counted or case not in CASES}
    found = differences(chosen, counted)
    for difference in found:
        print(difference)
    if not found:
        print("all within 3 percent of what was recorded")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
