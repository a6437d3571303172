"""`python -m benchmarks.micro.memory`: what a connected WebSocket client costs in Python objects, line by line.

Without a network: what the event loop and the kernel keep for a connection comes on top, and is in the figures of
the workload `idle`.
"""

import gc
import linecache
import tracemalloc
from pathlib import Path

from benchmarks.micro.cases import application
from benchmarks.micro.wire import Served

CONNECTIONS = 2_000
WARM_UP = 200
"""Connections after which tables and caches have grown."""
SMALLEST = 1.0
"""Bytes for each connection from which a line is listed."""
ROOT = Path(__file__).parents[2]


def main() -> None:
    """Print the table."""
    served = Served(application())
    wires = [served.joined() for _ in range(WARM_UP)]
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.take_snapshot()
    wires += [served.joined() for _ in range(CONNECTIONS)]
    gc.collect()
    differences = tracemalloc.take_snapshot().compare_to(before, "lineno")
    tracemalloc.stop()
    total = 0.0
    print("   bytes objects")
    for difference in sorted(differences, key=lambda difference: -difference.size_diff):
        frame = difference.traceback[0]
        size = difference.size_diff / CONNECTIONS
        if size < SMALLEST or not frame.filename.startswith(str(ROOT / "sio_core")):
            continue
        total += size
        place = f"{Path(frame.filename).relative_to(ROOT)}:{frame.lineno}"
        source = linecache.getline(frame.filename, frame.lineno).strip()
        print(f"{size:8.0f} {difference.count_diff / CONNECTIONS:7.1f} {place:36} {source[:80]}")
    print(f"{total:8.0f}")


if __name__ == "__main__":
    main()
