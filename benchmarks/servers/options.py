"""The command line that every server program written in Python understands."""

import argparse
from dataclasses import dataclass

HOST = "127.0.0.1"
BACKLOG = 4096


@dataclass(frozen=True, slots=True)
class Options:
    """What the harness asks of a server program."""

    variant: str
    port: int
    ping_interval: float
    recovery: bool
    adapter: str | None
    """The adapter of a cluster, by its name in ``tests/clusters``."""
    engine: str | None
    """The address of what carries it."""
    workers: int
    """Processes; only for ours on uvloop."""


def read_options(*variants: str) -> Options:
    """Read the command line; the variant is the way in which the program serves."""
    parser = argparse.ArgumentParser()
    parser.add_argument("variant", choices=variants)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--ping-interval", type=float, default=25.0)
    parser.add_argument("--recovery", action="store_true")
    parser.add_argument("--adapter")
    parser.add_argument("--engine")
    parser.add_argument("--workers", type=int, default=1)
    return Options(**vars(parser.parse_args()))
