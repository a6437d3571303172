"""The uniform application on sio_core: standalone on three event loops, and under uvicorn."""

import asyncio
from typing import Any

from benchmarks.servers.options import BACKLOG, HOST, Options, read_options
from sio_core import Server


def application(options: Options) -> Server[Any]:
    """Make the server with its handlers."""
    io: Server[Any] = Server(
        ping_interval=options.ping_interval,
        connection_state_recovery=True if options.recovery else None,
    )
    sinks: list[Any] = []

    @io.on("echo")
    def echo(socket: Any, data: Any) -> None:
        socket.emit("echo", data)

    @io.on("ack")
    def ack(socket: Any, data: Any) -> Any:
        return data

    @io.on("broadcast")
    def broadcast(socket: Any, data: Any) -> None:
        io.emit("broadcast", data)

    @io.on("join")
    def join(socket: Any, room: Any) -> None:
        socket.join(room)

    @io.on("join_many")
    def join_many(socket: Any, prefix: Any, count: Any) -> None:
        socket.join(*(f"{prefix}-{index}" for index in range(count)))

    @io.on("room")
    def room(socket: Any, name: Any, data: Any) -> None:
        io.to(name).emit("room", data)

    @io.on("sink")
    def sink(socket: Any) -> None:
        sinks.append(socket)

    @io.on("direct")
    def direct(socket: Any, data: Any) -> None:
        sinks[0].emit("direct", data)

    return io


async def _serve(io: Server[Any], port: int) -> None:
    async with io.listen(HOST, port):
        await asyncio.Event().wait()


def main() -> None:
    """Serve until terminated."""
    options = read_options("uvloop", "asyncio", "trio", "uvicorn", "uvicorn-protocol")
    io = application(options)
    if options.variant == "uvloop":
        io.run(HOST, options.port)
    elif options.variant == "trio":
        io.run(HOST, options.port, backend="trio")
    elif options.variant == "asyncio":
        asyncio.run(_serve(io, options.port))
    else:
        import uvicorn

        own_protocol: Any = {"ws": io.uvicorn_protocol} if options.variant == "uvicorn-protocol" else {}
        uvicorn.run(
            io,
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
