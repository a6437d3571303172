"""The command: ``python -m tests.chat.checker --kills 100``. Its status is 1 if an anomaly was found."""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import anyio

from tests.chat.checker.run import Run
from tests.chat.checker.server import MISTAKES
from tests.clusters.engines import PostgreSQL


def main() -> None:
    """Run the checker."""
    parser = argparse.ArgumentParser(prog="python -m tests.chat.checker", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pages", type=int, default=8, help="clients like our own page")
    parser.add_argument("--tutorials", type=int, default=2, help="clients like the page of the tutorial")
    parser.add_argument("--workers", type=int, default=1, help="workers of the chat, killed one at a time")
    parser.add_argument(
        "--nodes", type=int, default=1, help="nodes of the chat on PostgreSQL, killed in turn"
    )
    parser.add_argument("--mistake", choices=MISTAKES, default="", help="plant a mistake in the chat")
    options = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="chat-checker-"))
    with ExitStack() as stack:
        database = stack.enter_context(PostgreSQL()).url if options.nodes > 1 else ""
        run = partial(Run, directory, database=database, **vars(options))
        report = anyio.run(lambda: run().run())
    print(report)
    print(f"history, database and log are in {directory}")
    sys.exit(1 if report.anomalies else 0)


if __name__ == "__main__":
    main()
