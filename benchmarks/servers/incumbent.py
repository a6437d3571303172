"""The uniform application on python-socketio, served by uvicorn (uvloop, httptools) or by aiohttp."""

from typing import Any

import socketio

from benchmarks.servers.options import BACKLOG, HOST, Options, read_options


def application(options: Options) -> Any:
    """Make the server with its handlers."""
    if options.recovery:
        raise SystemExit("python-socketio has no connection state recovery")
    mode = "aiohttp" if options.variant == "aiohttp" else "asgi"
    io = socketio.AsyncServer(async_mode=mode, ping_interval=options.ping_interval)
    sinks: list[str] = []

    async def echo(sid: str, data: Any) -> None:
        await io.emit("echo", data, to=sid)

    async def ack(sid: str, data: Any) -> Any:
        return data

    async def broadcast(sid: str, data: Any) -> None:
        await io.emit("broadcast", data)

    async def join(sid: str, room: str) -> None:
        await io.enter_room(sid, room)

    async def join_many(sid: str, prefix: str, count: int) -> None:
        for index in range(count):
            await io.enter_room(sid, f"{prefix}-{index}")

    async def room(sid: str, name: str, data: Any) -> None:
        await io.emit("room", data, room=name)

    async def sink(sid: str) -> None:
        sinks.append(sid)

    async def direct(sid: str, data: Any) -> None:
        await io.emit("direct", data, to=sinks[0])

    for handler in (echo, ack, broadcast, join, join_many, room, sink, direct):
        io.on(handler.__name__, handler)
    return io


def main() -> None:
    """Serve until terminated."""
    options = read_options("uvicorn", "aiohttp")
    io = application(options)
    if options.variant == "aiohttp":
        from aiohttp import web

        app = web.Application()
        io.attach(app)
        web.run_app(app, host=HOST, port=options.port, backlog=BACKLOG, access_log=None, print=None)
    else:
        import uvicorn

        uvicorn.run(
            socketio.ASGIApp(io),
            host=HOST,
            port=options.port,
            backlog=BACKLOG,
            loop="uvloop",
            http="httptools",
            ws_ping_interval=None,
            log_level="warning",
            access_log=False,
        )


if __name__ == "__main__":
    main()
