"""The application of ``APPLICATION.md`` for sio_core: the only module of the suite that knows it."""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import anyio

from sio_core import Ack, AckTimeout, ConnectError, Cookie, Cors, Recovery, Server

UNSUPPORTED_EXIT = 64

PROFILES: dict[str, dict[str, Any]] = {
    "base": {},
    "timing": {"ping_interval": 0.3, "ping_timeout": 0.2, "upgrade_timeout": 0.3, "connect_timeout": 1.0},
    "options": {
        "path": "/realtime/",
        "max_http_buffer_size": 10_000,
        "allow_upgrades": False,
        "serve_client": False,
        "http_compression": False,
        "cookie": Cookie(name="sticky", path="/realtime", same_site="strict", max_age=86_400),
    },
    "websocket": {"transports": ("websocket",)},
    "polling": {"transports": ("polling",), "add_trailing_slash": False, "cookie": True},
    "cors": {
        "cors": Cors(
            origins=["http://allowed.example", "http://localhost:8765"],
            credentials=True,
            methods=["GET", "POST"],
            allowed_headers=["x-token"],
            exposed_headers=["x-shown"],
            max_age=600,
        )
    },
    "cors-any": {"cors": Cors(origins="*")},
    "recovery": {
        "connection_state_recovery": Recovery(max_disconnection_duration=2.0, skip_middlewares=True)
    },
    "eio3": {"allow_eio3": True},
    "msgpack": {"parser": "msgpack"},
    "deflate": {"per_message_deflate": True},
    "stricter": {},
}

Listener = Callable[..., Any]


def build(profile: str) -> Server[Any]:
    options = dict(PROFILES[profile])
    if profile == "options":
        numbers = itertools.count(1)
        options["generate_id"] = lambda request: f"custom-{next(numbers)}"
    io: Server[Any] = Server(allow_request=allow_request, check_origin=profile == "stricter", **options)
    configure_engine(io)
    history: dict[str, list[list[Any]]] = {}
    io.on_server_event("reasons", lambda sid: history.get(sid, []))
    io.on_server_event("close-of", lambda name, sid: close_socket(io.of(name), sid))
    guarded = [io.of("/protected"), io.of(re.compile(r"^/guarded-[a-z0-9]+$"))]
    for namespace in guarded:
        namespace.use(protect)
    for namespace in [
        io.of("/"),
        io.of("/custom"),
        io.of(re.compile(r"^/dynamic-[a-z0-9]+$")),
        io.of(lambda name, auth: name.startswith("/function-") and auth.get("token") == "secret"),
        *guarded,
    ]:
        namespace.on("connection")(lambda socket: serve(io, socket, history))
    return io


def allow_request(request: Any) -> bool | str:
    deny = request.params.get("deny")
    if deny is None:
        return True
    return False if deny == "1" else str(deny)


def configure_engine(io: Server[Any]) -> None:
    def middleware(request: Any, headers: dict[str, str]) -> None:
        headers["x-middleware"] = "seen"
        if "fail" in request.params:
            raise ValueError("refused by the middleware")

    def initial_headers(headers: dict[str, str], request: Any) -> None:
        headers["x-initial"] = request.params["transport"]

    def every_response(headers: dict[str, str], request: Any) -> None:
        headers["x-every"] = "yes"

    io.engine.use(middleware)
    io.engine.on("initial_headers", initial_headers)
    io.engine.on("headers", every_response)


def protect(socket: Any) -> Awaitable[None] | None:
    match socket.handshake.auth.get("mode"):
        case "plain":
            raise ConnectError("not authorized")
        case "data":
            raise ConnectError("not authorized", {"code": "E1", "retry": False})
        case "join":
            socket.join("half")
            raise ConnectError("not authorized")
        case "slow":
            return anyio.sleep(0.15)
        case "pending":
            return anyio.sleep_forever()
    return None


def serve(io: Server[Any], socket: Any, history: dict[str, list[list[Any]]]) -> None:
    record(socket, history)
    for listeners in (
        echo_listeners(socket),
        ask_listeners(socket),
        volatile_listeners(socket),
        room_listeners(socket),
        broadcast_listeners(socket),
        leaving_listeners(io, socket),
        state_listeners(io, socket, history),
    ):
        for name, listener in listeners.items():
            socket.on(name)(listener)
    socket.emit("auth", socket.handshake.auth)


def record(socket: Any, history: dict[str, list[list[Any]]]) -> None:
    """Write down how the socket fares, for the event ``reasons``."""
    happened = history.setdefault(socket.id, [])

    def refuse_blocked(event: str, args: list[Any]) -> None:
        if event == "blocked":
            raise ValueError("blocked")

    def disconnecting(reason: str) -> None:
        happened.append(["disconnecting", reason, sorted(socket.rooms)])

    def disconnect(reason: str) -> None:
        happened.append(["disconnect", reason, sorted(socket.rooms)])

    socket.use(refuse_blocked)
    socket.on("error")(lambda error: happened.append(["error"]))
    socket.on("disconnecting")(disconnecting)
    socket.on("disconnect")(disconnect)


def echo_listeners(socket: Any) -> dict[str, Listener]:
    async def ack_later() -> str:
        await anyio.sleep(0.1)
        return "later"

    def ack_twice(ack: Ack) -> None:
        ack(1)
        ack(2)

    def many(count: int) -> None:
        for number in range(count):
            socket.emit("many", number)

    return {
        "message": lambda *args: reply_nothing(socket.emit("message-back", *args)),
        "message-with-ack": lambda *args: args,
        "ack-none": lambda: None,
        "ack-null": lambda: (None,),
        "ack-twice": ack_twice,
        "ack-later": ack_later,
        "many": many,
        "send": lambda *args: reply_nothing(socket.send(*args)),
        "big": lambda size: reply_nothing(socket.emit("big", "x" * size)),
        "big-plain": lambda size: reply_nothing(socket.compress(False).emit("big", "x" * size)),
    }


def reply_nothing(_: object) -> None:
    """The result of an emit is not the answer of the listener."""


def ask_listeners(socket: Any) -> dict[str, Listener]:
    async def ask(*args: Any) -> None:
        socket.emit("answer", *as_arguments(await socket.emit_with_ack("question", *args)))

    async def ask_timeout() -> None:
        try:
            answer = await socket.emit_with_ack("question", timeout=0.1)
        except AckTimeout:
            socket.emit("answer-timeout")
        else:
            socket.emit("answer", *as_arguments(answer))

    async def ask_room(room: str) -> None:
        try:
            responses = await socket.namespace.to(room).emit_with_ack("question", timeout=0.3)
        except AckTimeout as expired:
            socket.emit("answers", True, expired.partial)
        else:
            socket.emit("answers", False, responses)

    return {"ask": ask, "ask-timeout": ask_timeout, "ask-room": ask_room}


def as_arguments(answer: Any) -> tuple[Any, ...]:
    """The arguments of an answer: a tuple of several, one, or none."""
    if isinstance(answer, tuple):
        return answer
    return () if answer is None else (answer,)


def volatile_listeners(socket: Any) -> dict[str, Listener]:
    def after() -> None:
        socket.emit("first")
        socket.volatile.emit("second")

    async def idle() -> None:
        await anyio.sleep(0.05)
        socket.volatile.emit("volatile", 1)

    async def twice() -> None:
        await anyio.sleep(0.05)
        socket.volatile.emit("volatile", 1)
        socket.volatile.emit("volatile", 2)

    return {"volatile-after": after, "volatile-idle": idle, "volatile-twice": twice}


def room_listeners(socket: Any) -> dict[str, Listener]:
    namespace = socket.namespace

    async def fetch(room: str) -> list[str]:
        return sorted(found.id for found in await namespace.in_(room).fetch_sockets())

    async def count() -> int:
        return len(await namespace.fetch_sockets())

    return {
        "join": lambda room: reply_nothing(socket.join(room)),
        "leave": lambda room: reply_nothing(socket.leave(room)),
        "rooms": lambda: sorted(socket.rooms),
        "fetch": fetch,
        "gather": lambda source, room: reply_nothing(namespace.in_(source).sockets_join(room)),
        "scatter": lambda source, room: reply_nothing(namespace.in_(source).sockets_leave(room)),
        "kick": lambda room: reply_nothing(namespace.in_(room).disconnect_sockets()),
        "count": count,
    }


def broadcast_listeners(socket: Any) -> dict[str, Listener]:
    namespace = socket.namespace

    def broadcast_room(room: str, *args: Any) -> None:
        socket.to(room).emit("room", *args)

    def except_both(to: str, left_out: str, *args: Any) -> None:
        namespace.to(to).except_(left_out).emit("except", *args)

    return {
        "all": lambda *args: reply_nothing(namespace.emit("all", *args)),
        "broadcast": lambda *args: reply_nothing(socket.broadcast.emit("broadcast", *args)),
        "to-room": lambda rooms, *args: reply_nothing(namespace.to(*rooms).emit("room", *args)),
        "broadcast-room": broadcast_room,
        "except": lambda room, *args: reply_nothing(namespace.except_(room).emit("except", *args)),
        "except-both": except_both,
        "volatile-all": lambda *args: reply_nothing(namespace.volatile.emit("all", *args)),
    }


def leaving_listeners(io: Server[Any], socket: Any) -> dict[str, Listener]:
    def leave_server() -> None:
        socket.emit("last")
        socket.disconnect(True)

    def burst_close(count: int) -> None:
        for number in range(count):
            socket.emit("many", number)
        socket.conn.close()

    async def shutdown() -> None:
        if is_worker():
            os.kill(os.getppid(), signal.SIGTERM)
        else:
            await io.close()

    def close_of(sid: str) -> None:
        if not close_socket(socket.namespace, sid):
            io.server_side_emit("close-of", socket.namespace.name, sid)

    return {
        "leave-namespace": lambda: reply_nothing(socket.disconnect()),
        "leave-server": leave_server,
        "close-connection": lambda: reply_nothing(socket.conn.close()),
        "close-of": close_of,
        "burst-close": burst_close,
        "shutdown": shutdown,
    }


def close_socket(namespace: Any, sid: str) -> bool:
    """Close the connection of a socket, if it is with this worker."""
    if sid not in namespace.sockets:
        return False
    namespace.sockets[sid].conn.close()
    return True


def state_listeners(io: Server[Any], socket: Any, history: dict[str, list[list[Any]]]) -> dict[str, Listener]:
    def handshake() -> dict[str, Any]:
        names = ("headers", "query", "auth", "url", "address", "xdomain", "secure")
        return {name: getattr(socket.handshake, name) for name in names}

    def info() -> dict[str, Any]:
        conn = socket.conn
        return {"id": socket.id, "engine": conn.id, "transport": conn.transport, "protocol": conn.protocol}

    def set_data(value: Any) -> None:
        socket.data["value"] = value

    async def reasons(sid: str) -> list[list[Any]]:
        others = await io.server_side_emit_with_ack("reasons", sid) if is_worker() else []
        return [reason for answer in [*others, history.get(sid, [])] for reason in answer]

    def state() -> dict[str, Any]:
        return {
            "recovered": socket.recovered,
            "value": socket.data.get("value"),
            "rooms": sorted(socket.rooms),
        }

    return {
        "handshake": handshake,
        "info": info,
        "set-data": set_data,
        "state": state,
        "reasons": reasons,
    }


def is_worker() -> bool:
    """Whether this is one of several processes that serve together."""
    return multiprocessing.parent_process() is not None


def run(
    io: Server[Any], port: int, shell: Literal["asyncio", "trio", "uvicorn", "asgi"], workers: int
) -> None:
    """``uvicorn``: with our connection code; ``asgi``: as an ASGI application and nothing else."""
    if shell in ("asyncio", "trio"):
        io.run(port=port, backend=shell, workers=workers)
        return
    import uvicorn

    websocket = io.uvicorn_protocol if shell == "uvicorn" else "auto"
    uvicorn.run(io, port=port, ws=websocket, log_level="warning", lifespan="on", loop="uvloop")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shell", choices=["asyncio", "trio", "uvicorn", "asgi"], default="asyncio")
    parser.add_argument("--workers", type=int, default=1, help="for asyncio and trio")
    parser.add_argument("--profile", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    if options.profile not in PROFILES:
        sys.exit(UNSUPPORTED_EXIT)
    io = build(options.profile)
    if options.workers > 1:
        try:
            io.check_for_workers()
        except ValueError:
            sys.exit(UNSUPPORTED_EXIT)
    run(io, options.port, options.shell, options.workers)


if __name__ == "__main__":
    main()
