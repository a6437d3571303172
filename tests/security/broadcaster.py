"""``python -m tests.security.broadcaster SHELL``: broadcasts when it is told to, and says what that costs."""

from __future__ import annotations

import argparse
import gc
import signal
from typing import Any

import anyio
import anyio.lowlevel
import psutil
import uvicorn

from sio_core import Limits, Server

SHELLS = ("uvloop", "asyncio", "trio", "uvicorn")


def build(recovery_bytes: int) -> Server[Any]:
    """:param recovery_bytes: what the recovery log holds; 0 for no recovery, 1 for what it holds by default."""
    limits = Limits(recovery_bytes=recovery_bytes) if recovery_bytes > 1 else Limits()
    io: Server[Any] = Server(limits=limits, connection_state_recovery=bool(recovery_bytes))
    control = io.of("/control")
    ends: list[Any] = []

    @io.on("disconnect")
    def disconnected(socket: Any, *args: Any) -> None:
        ends.append(args)

    @control.on("broadcast")
    async def broadcast(socket: Any, first: int, count: int, size: int) -> dict[str, Any]:
        for number in range(first, first + count):
            await io.emit("news", number, "x" * size)
            await io.volatile.emit("volatile", number)
            await anyio.lowlevel.checkpoint()
        stats = io.stats()
        return {
            "memory": psutil.Process().memory_info().rss,
            "ends": ends,
            "hits": stats["limit_hits"],
            "sessions": stats["sessions"],
        }

    return io


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shell", choices=SHELLS)
    parser.add_argument("--recovery-bytes", type=int, default=0)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    io = build(options.recovery_bytes)
    gc.freeze()

    async def serve() -> None:
        async with io.listen("127.0.0.1", options.port) as listening:
            print(listening.port, flush=True)
            await io.wait_for_signal()

    class Announcing(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            print(self.servers[0].sockets[0].getsockname()[1], flush=True)

    if options.shell == "uvicorn":
        config = uvicorn.Config(io, port=options.port, log_config=None, timeout_graceful_shutdown=1)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it raises the signal once more at its end
        Announcing(config).run()
    elif options.shell == "trio":
        anyio.run(serve, backend="trio")
    else:
        anyio.run(serve, backend_options={"use_uvloop": options.shell == "uvloop"})


if __name__ == "__main__":
    main()
