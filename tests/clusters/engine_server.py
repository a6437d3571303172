"""A server of ours whose sessions are shared by way of Redis; obeys ``report``, ``send`` and ``close``.

Its argument is a JSON object: url, loop (``uvloop``, ``trio``, or ``asgi`` for uvicorn), port.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import anyio
import anyio.lowlevel
import uvicorn

from sio_core import Server, Socket
from sio_core.adapters.redis_engine import RedisEngine
from tests.clusters.python_commands import Commands, obey
from tests.helpers.waiting import eventually

settings: dict[str, Any] = json.loads(sys.argv[1])
io: Server[Any] = Server(
    cluster_engine=RedisEngine(settings["url"]),
    health_path="/healthz",
    ping_interval=2,
    ping_timeout=2,
    cors="*",
)
said: list[Any] = []
acknowledged: list[Any] = []
reasons: list[str] = []


@io.on("connection")
def connected(socket: Socket[Any]) -> None:
    @socket.on("say", ordered=True)
    def say(number: int, data: bytes) -> Any:
        said.append([number, data])
        return number

    @socket.on("start")
    async def start(count: int) -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(count):
                tasks.start_soon(ask, number)
                for _ in range(2):  # trio starts tasks in any order
                    await anyio.lowlevel.checkpoint()
                if number % 10 == 0:
                    await anyio.sleep(0.005)

    async def ask(number: int) -> None:
        acknowledged.append(await socket.timeout(20).emit_with_ack("ask", number, bytes([number % 256])))

    @socket.on("disconnect")
    def left(reason: str) -> None:
        reasons.append(reason)


def report() -> dict[str, Any]:
    return {"said": said, "acknowledged": acknowledged, "reasons": reasons, "stats": io.stats()}


async def serve() -> None:
    stop = anyio.Event()
    commands: Commands = {"report": report, "close": stop.set}
    port = settings["port"]
    if settings["loop"] == "asgi":
        server = uvicorn.Server(uvicorn.Config(io, port=port, log_level="warning", lifespan="on"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve)
            await eventually(lambda: server.started)
            tasks.start_soon(obey, commands, {"port": port})
            await stop.wait()
            server.should_exit = True
            tasks.cancel_scope.cancel()
        return
    async with io.listen("127.0.0.1", port), anyio.create_task_group() as tasks:
        tasks.start_soon(obey, commands, {"port": port})
        await stop.wait()
        tasks.cancel_scope.cancel()


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    if settings["loop"] == "trio":
        anyio.run(serve, backend="trio")
    else:
        anyio.run(serve, backend_options={"use_uvloop": settings["loop"] == "uvloop"})


if __name__ == "__main__":
    main()
