"""The server that the scenarios talk to. Prints its port."""

from __future__ import annotations

import argparse
import logging
from typing import Any
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel

from sio_core import ConnectError, Server, Socket

MANY = 1_000


def make_server() -> Server[dict[str, Any]]:
    io: Server[dict[str, Any]] = Server(
        ping_interval=0.5, ping_timeout=2.0, max_http_buffer_size=100_000, cors="*", health_path="/healthz"
    )

    @io.on("my auth")
    def my_auth(socket: Socket[Any]) -> dict[str, Any]:
        return socket.handshake.auth

    @io.on("disconnect")
    def disconnected(socket: Socket[Any], reason: str) -> None:
        io.emit("left", socket.id, reason)

    @io.on("echo")
    def echo(socket: Socket[Any], *args: Any) -> None:
        socket.emit("echo", *args)

    @io.on("answer")
    def answer(socket: Socket[Any], *args: Any) -> tuple[Any, ...]:
        return args

    @io.on("slow answer")
    async def slow_answer(socket: Socket[Any], value: Any) -> Any:
        await anyio.sleep(0.01)
        return value

    @io.on("ask me")
    async def ask_me(socket: Socket[Any], value: Any) -> Any:
        return {"you said": await socket.emit_with_ack("question", value, timeout=5)}

    @io.on("numbers")
    def numbers(socket: Socket[Any], number: int) -> None:
        socket.data.setdefault("numbers", []).append(number)

    @io.on("all numbers")
    def all_numbers(socket: Socket[Any]) -> list[int]:
        numbers: list[int] = socket.data.get("numbers", [])
        return numbers

    @io.on("send numbers")
    async def send_numbers(socket: Socket[Any]) -> None:
        for number in range(MANY):
            await socket.emit("number", number)
            if number % 20 == 0:
                await anyio.sleep(0.001)

    @io.on("join")
    def join(socket: Socket[Any], room: str) -> None:
        socket.join(room)

    @io.on("to room")
    def to_room(socket: Socket[Any], room: str, text: str) -> None:
        socket.to(room).emit("room", room, text)

    @io.on("kick me")
    def kick_me(socket: Socket[Any], close: bool) -> None:
        socket.disconnect(close)

    admin = io.of("/admin")

    @admin.use
    async def check(socket: Socket[Any]) -> None:
        await anyio.lowlevel.checkpoint()
        if socket.handshake.auth.get("token") != "secret":
            raise ConnectError("not authorised", {"code": 401})

    @admin.on("echo")
    def admin_echo(socket: Socket[Any], *args: Any) -> None:
        socket.emit("echo", "admin", *args)

    return io


async def serve(port: int) -> None:
    io = make_server()
    async with io.listen("127.0.0.1", port) as listening:
        print(listening.port, flush=True)
        await io.wait_for_signal()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--loop", choices=["uvloop", "asyncio", "trio"], default="uvloop")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    if options.workers > 1:
        make_server().run(
            port=options.port,
            workers=options.workers,
            backend="trio" if options.loop == "trio" else "asyncio",
            use_uvloop=options.loop == "uvloop",
            on_listening=lambda url: print(urlsplit(url).port, flush=True),
        )
    elif options.loop == "trio":
        anyio.run(serve, options.port, backend="trio")
    else:
        anyio.run(serve, options.port, backend_options={"use_uvloop": options.loop == "uvloop"})


if __name__ == "__main__":
    main()
