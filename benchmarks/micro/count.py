"""Run one micro-benchmark a number of times: what the guard starts under callgrind.

The garbage collector is off, so that a collection falls into no count; what a case leaves to it shows in
the memory figures of the harness, not here.
"""

import ctypes
import gc
import sys

from benchmarks.micro.cases import CASES

WARM_UP = 16
"""Enough for the interpreter to have specialised its instructions."""


def main() -> None:
    """`python -m benchmarks.micro.count SWITCH CASE TIMES`; the switch is a shared library."""
    path, name, times = sys.argv[1:]
    switch = ctypes.CDLL(path)
    gc.disable()
    work = CASES[name]()
    work(WARM_UP)
    switch.start()
    work(int(times))
    switch.stop()


if __name__ == "__main__":
    main()
