"""Run micro-benchmarks a number of times each: what the guard starts under callgrind.

Everything is imported once; then each case has a process of its own, forked from there, which prints its number. The
garbage collector is off, so that a collection falls into no count; what a case leaves to it shows in the memory
figures of the harness, not here.
"""

import ctypes
import gc
import os
import sys
import traceback

from benchmarks.micro.cases import CASES

WARM_UP = 16
"""Enough for the interpreter to have specialised its instructions."""


def _run(switch: ctypes.CDLL, name: str, times: int) -> int:
    """Run one case; the exit status."""
    try:
        work = CASES[name]()
        work(WARM_UP)
        switch.start()
        work(times)
        switch.stop()
    except Exception:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    """`python -m benchmarks.micro.count SWITCH CASE=TIMES...`; the switch is a shared library."""
    path, *cases = sys.argv[1:]
    switch = ctypes.CDLL(path)
    gc.disable()
    running = 0
    failed = False
    for case in cases:
        name, _, times = case.partition("=")
        if running == os.cpu_count():
            failed |= os.wait()[1] != 0
            running -= 1
        process = os.fork()
        if process == 0:
            os._exit(_run(switch, name, int(times)))
        print(name, process, flush=True)
        running += 1
    for _ in range(running):
        failed |= os.wait()[1] != 0
    sys.exit(failed)


if __name__ == "__main__":
    main()
