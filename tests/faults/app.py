"""The server that faults are tried on, as a process of its own. Prints its port."""

from __future__ import annotations

import argparse
import logging
import os
import resource
import time
from collections import deque
from pathlib import Path
from typing import Any

import anyio

from sio_core import Limits, Recovery, Server, Socket


def make_server(options: argparse.Namespace) -> Server[dict[str, Any]]:
    io: Server[dict[str, Any]] = Server(
        ping_interval=options.ping_interval,
        ping_timeout=options.ping_timeout,
        connection_state_recovery=Recovery() if options.recovery else None,
        limits=Limits(outbox_bytes=options.outbox_bytes),
        health_path="/healthz",
    )
    reasons: deque[str] = deque(maxlen=1_000)
    kept: list[int] = []

    @io.on("disconnect")
    def disconnected(socket: Socket[Any], reason: str) -> None:
        reasons.append(reason)

    @io.on("reasons")
    def tell_reasons(socket: Socket[Any]) -> list[str]:
        return [*reasons]

    @io.on("echo")
    def echo(socket: Socket[Any], *args: Any) -> tuple[Any, ...]:
        return args

    @io.on("join")
    def join(socket: Socket[Any], room: str) -> None:
        socket.join(room)

    @io.on("to room")
    def to_room(socket: Socket[Any], room: str, text: str) -> None:
        io.to(room).emit("room", text)

    @io.on("stall")
    def stall(socket: Socket[Any], seconds: float) -> None:
        time.sleep(seconds)

    @io.on("store")
    async def store(socket: Socket[Any], text: str) -> str:
        await anyio.sleep(0.005)
        with Path(options.store).open("a") as file:  # noqa: ASYNC230 - quick enough here
            file.write(text + "\n")
        return "stored"

    @io.on("flood")
    async def flood(socket: Socket[Any], room: str, count: int, size: int) -> None:
        for number in range(count):
            io.to(room).emit("flood", number, "x" * size)
            await anyio.sleep(0.002)

    @io.on("keep descriptors")
    def keep_descriptors(socket: Socket[Any], leave: int) -> int:
        """Use up the descriptors, but for some."""
        while True:
            try:
                kept.append(os.dup(0))
            except OSError:
                break
        for _ in range(leave):
            os.close(kept.pop())
        return len(kept)

    @io.on("free descriptors")
    def free_descriptors(socket: Socket[Any]) -> None:
        for descriptor in kept:
            os.close(descriptor)
        kept.clear()

    @io.on("what do you hold")
    def what(socket: Socket[Any]) -> dict[str, Any]:
        stats = io.stats()
        return {
            "sessions": stats["sessions"],
            "sockets": stats["sockets"],
            "rooms": len(io.sockets.adapter.rooms.rooms),
            "tasks": len(anyio.get_running_tasks()),
            "timers": len(io.deadlines),
            "limit hits": stats["limit_hits"],
        }

    return io


async def serve(options: argparse.Namespace) -> None:
    io = make_server(options)
    async with io.listen("127.0.0.1", options.port) as listening:
        print(listening.port, flush=True)
        await io.wait_for_signal()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--loop", choices=["uvloop", "asyncio", "trio"], default="uvloop")
    parser.add_argument("--ping-interval", type=float, default=25.0)
    parser.add_argument("--ping-timeout", type=float, default=20.0)
    parser.add_argument("--recovery", action="store_true")
    parser.add_argument("--outbox-bytes", type=int, default=1_048_576)
    parser.add_argument("--store", default="")
    parser.add_argument("--files", type=int, help="the most descriptors that the process may have")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    if options.files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (options.files, options.files))
    if options.loop == "trio":
        anyio.run(serve, options, backend="trio")
    else:
        anyio.run(serve, options, backend_options={"use_uvloop": options.loop == "uvloop"})


if __name__ == "__main__":
    main()
