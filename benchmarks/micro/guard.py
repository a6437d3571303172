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
import tempfile
from collections.abc import Iterable
from pathlib import Path

from benchmarks.compiler import CompilerError, compiled
from benchmarks.micro.baseline import Baseline, Record, differences, environment
from benchmarks.micro.cases import CASES

ROOT = Path(__file__).parents[2]
SWITCH = Path(__file__).with_name("callgrind_switch.c")
TIMES = 200
FEW_TIMES = {"dispatch-broadcast": 4, "dispatch-events": 20, "read-frames": 20, "connect": 50}
"""Cases that do much each time."""
TOTALS = re.compile(r"^totals: (\d+)", re.MULTILINE)


class CountError(RuntimeError):
    """A count could not be taken."""


def _switch() -> Path:
    try:
        return compiled("callgrind-switch", [SWITCH], ("-shared", "-fPIC"))
    except CompilerError as error:
        raise CountError(str(error)) from None


def count(cases: Iterable[str]) -> dict[str, int]:
    """The instructions that one run of each case needs."""
    times = {case: FEW_TIMES.get(case, TIMES) for case in cases}
    setarch, valgrind = shutil.which("setarch"), shutil.which("valgrind")
    if valgrind is None:
        raise CountError("valgrind is not installed (Debian and Ubuntu: apt-get install valgrind)")
    fixed_layout = [setarch, "-R"] if setarch else []
    program = [sys.executable, "-m", "benchmarks.micro.count", str(_switch())]
    with tempfile.TemporaryDirectory() as folder:
        tool = [valgrind, "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={folder}/%p"]
        done = subprocess.run(
            [*fixed_layout, *tool, *program, *[f"{case}={number}" for case, number in times.items()]],
            cwd=ROOT,
            env={"PATH": os.environ["PATH"], "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = [line for line in done.stderr.splitlines() if line and not line.startswith("==")]
            raise CountError(said[-1] if said else "callgrind gave no counts")
        processes = dict(line.split() for line in done.stdout.splitlines())
        return {case: _read(Path(folder, processes[case])) // number for case, number in times.items()}


def _read(profile: Path) -> int:
    """The instructions that callgrind has counted in one process."""
    found = TOTALS.search(profile.read_text())
    if found is None:
        raise CountError("callgrind gave no count")
    return int(found[1])


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
        counted = count(arguments.cases)
    except CountError as error:
        print(error, file=sys.stderr)
        return 2
    for case, instructions in counted.items():
        print(f"{case:32} {instructions:>12,}")
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
