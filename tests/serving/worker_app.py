"""A server with several workers. Prints its port; its supervisor's process is the one that was started."""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sio_core import Server, Socket


def make_server() -> Server[dict[str, Any]]:
    io: Server[dict[str, Any]] = Server()

    @io.on("pid")
    def pid(socket: Socket[Any]) -> int:
        return os.getpid()

    @io.on("echo")
    def echo(socket: Socket[Any], *args: Any) -> None:
        socket.emit("echo", *args)

    @io.on("close")
    async def close(socket: Socket[Any]) -> None:
        await io.close()

    return io


@asynccontextmanager
async def note_life(directory: Path) -> AsyncGenerator[None, None]:
    """Leave a file that says how this worker's life went."""
    path = directory / str(os.getpid())
    path.write_text("begun")
    yield
    path.write_text("ended")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--loop", choices=["uvloop", "asyncio", "trio"], default="uvloop")
    parser.add_argument("--lives", type=Path, help="a directory for one file of each worker")
    options = parser.parse_args()
    make_server().run(
        port=options.port,
        workers=options.workers,
        backend="trio" if options.loop == "trio" else "asyncio",
        use_uvloop=options.loop == "uvloop",
        lifespan=None if options.lives is None else lambda io: note_life(options.lives),
        on_listening=lambda url: print(urlsplit(url).port, flush=True),
    )


if __name__ == "__main__":
    main()
