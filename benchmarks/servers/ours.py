"""The uniform application on sio_core: standalone on three event loops, and under uvicorn."""

import asyncio
from typing import Any

from benchmarks.servers.options import BACKLOG, HOST, Options, read_options
from sio_core import Server
from tests.clusters.python_adapters import make_adapter


def application(options: Options) -> Server[Any]:
    """Make the server with its handlers."""
    more: dict[str, Any] = {"connection_state_recovery": True} if options.recovery else {}
    if options.adapter is not None:
        more["adapter"] = make_adapter(options.adapter, options.engine or "", {})
    io: Server[Any] = Server(ping_interval=options.ping_interval, **more)
    sinks: list[Any] = []

    def echo(socket: Any, data: Any) -> None:
        socket.emit("echo", data)

    def ack(socket: Any, data: Any) -> Any:
        return data

    def broadcast(socket: Any, data: Any) -> None:
        io.emit("broadcast", data)

    def join(socket: Any, room: Any) -> None:
        socket.join(room)

    def join_many(socket: Any, prefix: Any, count: Any) -> None:
        socket.join(*(f"{prefix}-{index}" for index in range(count)))

    def room(socket: Any, name: Any, data: Any) -> None:
        io.to(name).emit("room", data)

    def sink(socket: Any) -> None:
        sinks.append(socket)

    def direct(socket: Any, data: Any) -> None:
        sinks[0].emit("direct", data)

    for listener in (echo, ack, broadcast, join, join_many, room, sink, direct):
        io.on(listener.__name__, listener)
    return io


async def _serve(io: Server[Any], port: int) -> None:
    async with io.listen(HOST, port):
        await asyncio.Event().wait()


def main() -> None:
    """Serve until terminated."""
    options = read_options("uvloop", "asyncio", "trio", "uvicorn", "uvicorn-protocol")
    io = application(options)
    if options.variant == "uvloop":
        io.run(HOST, options.port, workers=options.workers)
    elif options.variant == "trio":
        io.run(HOST, options.port, backend="trio")
    elif options.variant == "asyncio":
        asyncio.run(_serve(io, options.port))
    else:
        import uvicorn

        app: Any = io
        own_protocol = {"ws": app.uvicorn_protocol} if options.variant == "uvicorn-protocol" else {}
        uvicorn.run(
            app,
            host=HOST,
            port=options.port,
            backlog=BACKLOG,
            loop="uvloop",
            http="httptools",
            ws_ping_interval=None,
            log_level="warning",
            access_log=False,
            **own_protocol,
        )


if __name__ == "__main__":
    main()
