"""A server of ours on an adapter of ``python_adapters.py``; obeys the commands of ``node_server.cjs``.

Its argument is a JSON object: name, driver, url, options, recovery (seconds, or null), loop, port.
"""

from __future__ import annotations

import json
import logging
import sys
from typing import Any

import anyio

from sio_core import AckTimeout, Recovery, Server, Socket
from sio_core.errors import ClusterTimeout
from tests.clusters.python_adapters import make_adapter
from tests.clusters.python_commands import Commands, obey

settings: dict[str, Any] = json.loads(sys.argv[1])
server_events: list[list[Any]] = []


def prepare(io: Server[Any], name: str) -> None:
    namespace = io.of(name)

    @namespace.on("connection")
    def connected(socket: Socket[Any]) -> None:
        if not socket.recovered:
            socket.data["name"] = socket.handshake.auth.get("name")

    @namespace.on("join")
    def join(socket: Socket[Any], room: str) -> None:
        socket.join(room)

    @namespace.on("shout")
    def shout(socket: Socket[Any], text: str) -> None:
        socket.broadcast.emit("shout", text)

    @namespace.on_server_event("note")
    def note(*args: Any) -> None:
        server_events.append(list(args))

    @namespace.on_server_event("question")
    def question(value: Any) -> str:
        return f"{settings['name']}:{value}"

    @namespace.on_server_event("question in bytes")
    def question_in_bytes(value: bytes) -> bytes:
        return value + b"\xff"

    @namespace.on_server_event("no answer")
    async def no_answer() -> None:
        await anyio.sleep_forever()


def commands_of(io: Server[Any], stop: anyio.Event) -> Commands:
    def target(
        nsp: str = "/",
        rooms: list[str] = [],  # noqa: B006 - it is never changed
        except_: list[str] = [],  # noqa: B006
        local: bool = False,
        volatile: bool = False,
        compress: bool = True,
        timeout: float | None = None,
    ) -> Any:
        operator = io.of(nsp).to(*rooms).except_(*except_).compress(compress)
        if local:
            operator = operator.local
        if volatile:
            operator = operator.volatile
        return operator if timeout is None else operator.timeout(timeout)

    def choose(options: dict[str, Any]) -> Any:
        if "except" in options:
            options["except_"] = options.pop("except")
        return target(**options)

    async def emit(event: str, args: list[Any], **options: Any) -> None:
        choose(options).emit(event, *args)

    async def emit_with_ack(event: str, args: list[Any], **options: Any) -> Any:
        try:
            return {"timed_out": False, "answers": await choose(options).emit_with_ack(event, *args)}
        except AckTimeout as error:
            return {"timed_out": True, "answers": error.partial}

    async def ask_one(socket: str, event: str, args: list[Any], timeout: float) -> Any:
        (found,) = await io.in_(socket).fetch_sockets()
        return await found.timeout(timeout).emit_with_ack(event, *args)

    async def fetch_sockets(**options: Any) -> list[Any]:
        return [
            {
                "id": socket.id,
                "rooms": sorted(socket.rooms),
                "data": socket.data,
                "auth": field(socket.handshake, "auth"),
                "url": field(socket.handshake, "url"),
            }
            for socket in await choose(options).fetch_sockets()
        ]

    async def server_side_emit_with_ack(event: str, args: list[Any], nsp: str = "/") -> Any:
        try:
            return {
                "timed_out": False,
                "answers": await io.of(nsp).server_side_emit_with_ack(event, *args),
            }
        except ClusterTimeout as error:
            return {"timed_out": True, "answers": error.partial}

    async def server_side_emit(event: str, args: list[Any], nsp: str = "/") -> None:
        io.of(nsp).server_side_emit(event, *args)

    async def socket_emit(socket: str, event: str, args: list[Any]) -> None:
        io.sockets.sockets[socket].emit(event, *args)

    def take_server_events() -> list[Any]:
        taken, server_events[:] = list(server_events), []
        return taken

    async def all_rooms() -> list[str]:
        adapter: Any = io.of("/").adapter
        return sorted(await adapter.all_rooms())

    return {
        "emit": emit,
        "emit_with_ack": emit_with_ack,
        "ask_one": ask_one,
        "fetch_sockets": fetch_sockets,
        "sockets_join": lambda names, **options: choose(options).sockets_join(*names) and None,
        "sockets_leave": lambda names, **options: choose(options).sockets_leave(*names) and None,
        "disconnect_sockets": lambda close, **options: choose(options).disconnect_sockets(close) and None,
        "server_side_emit": server_side_emit,
        "server_side_emit_with_ack": server_side_emit_with_ack,
        "server_events": take_server_events,
        "server_count": lambda nsp="/": io.of(nsp).adapter.server_count(),
        "all_rooms": all_rooms,
        "socket_emit": socket_emit,
        "stats": io.stats,
        "close": stop.set,
    }


def field(handshake: Any, name: str) -> Any:
    """A local handshake is an object, that of another node what was on the wire."""
    return handshake[name] if isinstance(handshake, dict) else getattr(handshake, name)


async def serve() -> None:
    recovery = settings["recovery"]
    io: Server[Any] = Server(
        adapter=make_adapter(settings["driver"], settings["url"], settings["options"]),
        health_path="/healthz",
        connection_state_recovery=Recovery(max_disconnection_duration=recovery) if recovery else None,
    )
    prepare(io, "/")
    prepare(io, "/custom")
    stop = anyio.Event()
    async with io.listen("127.0.0.1", settings["port"]) as listening, anyio.create_task_group() as tasks:
        tasks.start_soon(obey, commands_of(io, stop), {"port": listening.port})
        await stop.wait()
        tasks.cancel_scope.cancel()


def main() -> None:
    logging.basicConfig(level=logging.INFO)
    if settings["loop"] == "trio":
        anyio.run(serve, backend="trio")
    else:
        anyio.run(serve, backend_options={"use_uvloop": True})


if __name__ == "__main__":
    main()
