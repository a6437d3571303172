"""The command line: ``python -m sio_core run module:io``."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import sys

from sio_core.serving.run import RunOptions, run_workers
from sio_core.serving.standalone import Service
from sio_core.serving.supervisor import WorkersFailed, check_workers

__all__ = ["main"]


def load(name: str) -> Service:
    """Import the server that ``module:attribute`` names.

    :raises ValueError: if there is none.
    """
    module_name, _, attribute = name.partition(":")
    if not module_name or not attribute:
        raise ValueError(f"name the server as module:attribute, for example main:io, not {name!r}")
    sys.path.insert(0, os.getcwd())
    try:
        server = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"cannot load {name!r}: {error}") from error
    if not isinstance(server, Service):
        raise ValueError(f"{name!r} is {type(server).__name__}, not a Server or an EngineServer")
    return server


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m sio_core", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="serve until SIGINT or SIGTERM")
    run.add_argument("server", metavar="MODULE:NAME", help="where the server is, for example main:io")
    run.add_argument("--host", default="127.0.0.1", help="the address to bind (default: %(default)s)")
    run.add_argument("--port", type=int, default=3000, help="the port to bind (default: %(default)s)")
    run.add_argument("--static", metavar="DIRECTORY", help="a directory of files to serve beside")
    run.add_argument("--workers", type=int, default=1, help="processes (default: %(default)s)")
    run.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio", help="default: %(default)s")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        check_workers(options.workers)
        if options.workers == 1:
            load(options.server).run(
                options.host, options.port, static=options.static, backend=options.backend
            )
        else:  # each worker imports the server: what it opens and starts then is the worker's own
            run_options = RunOptions(
                options.host, options.port, static=options.static, backend=options.backend
            )
            run_workers(lambda: load(options.server), options.workers, run_options)
    except (ValueError, OSError, WorkersFailed) as error:
        print(f"sio_core: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
