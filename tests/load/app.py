"""A server that tells how much it holds. Prints its port."""

from __future__ import annotations

import argparse
import gc
from typing import Any

import anyio
import psutil

from sio_core import Server, Session, Socket


async def serve(port: int) -> None:
    io: Server[dict[str, Any]] = Server(ping_interval=2.0, ping_timeout=10.0)

    @io.on("what do you hold")
    def what(socket: Socket[Any]) -> dict[str, int]:
        gc.collect()
        return {
            "sessions": io.stats()["sessions"],
            "sockets": io.stats()["sockets"],
            "tasks": len(anyio.get_running_tasks()),
            "descriptors": psutil.Process().num_fds(),
            "session objects": sum(isinstance(value, Session) for value in gc.get_objects()),
        }

    async with io.listen("127.0.0.1", port) as listening:
        print(listening.port, flush=True)
        await io.wait_for_signal()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--loop", choices=["uvloop", "asyncio", "trio"], default="uvloop")
    options = parser.parse_args()
    if options.loop == "trio":
        anyio.run(serve, options.port, backend="trio")
    else:
        anyio.run(serve, options.port, backend_options={"use_uvloop": options.loop == "uvloop"})


if __name__ == "__main__":
    main()
