"""The application of ``APPLICATION.md`` for python-socketio, as far as its public interface goes.

What python-socketio has no word for is left out, so that a check about it fails as it should: rooms left out
by other rooms, acknowledgements of broadcasts, middlewares of events, the name of a matched namespace.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from importlib.util import find_spec
from typing import Any

import socketio
import uvicorn

UNSUPPORTED_EXIT = 64

PROFILES: dict[str, dict[str, Any]] = {
    "base": {},
    "timing": {"ping_interval": 0.3, "ping_timeout": 0.2},
    "options": {
        "max_http_buffer_size": 10_000,
        "allow_upgrades": False,
        "http_compression": False,
        "cookie": {"name": "sticky", "path": "/realtime", "SameSite": "Strict", "Max-Age": 86_400},
    },
    "websocket": {"transports": ["websocket"]},
    "polling": {"transports": ["polling"], "cookie": "io"},
    "cors": {"cors_allowed_origins": ["http://allowed.example", "http://localhost:8765"]},
    "cors-any": {"cors_allowed_origins": "*", "cors_credentials": False},
    "msgpack": {"serializer": "msgpack"},
    "stricter": {},
}
"""Recovery, Engine.IO v3 and permessage-deflate are not offered."""

ORIGIN_CHECK = {"cors", "cors-any", "stricter"}
"""Profiles that keep its origin check, or configure it; an empty list is its way to turn the check off."""


class Application:
    def __init__(self, profile: str) -> None:
        options = dict(PROFILES[profile])
        if profile not in ORIGIN_CHECK:
            options["cors_allowed_origins"] = []
        self.io = socketio.AsyncServer(async_mode="asgi", namespaces="*", **options)
        self.history: dict[str, list[list[Any]]] = {}
        self.path = "realtime" if profile == "options" else "socket.io"
        for name in dir(self):
            if name.startswith("on_"):
                self.io.on(name.removeprefix("on_").replace("_", "-"), namespace="*")(getattr(self, name))
        self.io.on("connect", namespace="*")(self.connect)
        self.io.on("disconnect", namespace="*")(self.disconnect)
        self.io.on("message", namespace="*")(self.message)

    def asgi(self) -> Any:
        return socketio.ASGIApp(self.io, socketio_path=self.path)

    # The life of a socket

    async def connect(self, nsp: str, sid: str, environ: dict[str, Any], auth: Any) -> None:
        given = auth or {}
        if not self.exists(nsp, given):
            raise socketio.exceptions.ConnectionRefusedError("Invalid namespace")
        if nsp == "/protected" or nsp.startswith("/guarded-"):
            await self.protect(nsp, sid, given)
        self.history[sid] = []
        self.io.start_background_task(self.io.emit, "auth", given, to=sid, namespace=nsp)

    @staticmethod
    def exists(nsp: str, auth: dict[str, Any]) -> bool:
        kind, _, token = nsp.partition("-")
        if kind in ("/dynamic", "/guarded"):
            return token.isalnum() and token == token.lower()
        return nsp in ("/", "/custom", "/protected") or (
            kind == "/function" and auth.get("token") == "secret"
        )

    async def protect(self, nsp: str, sid: str, auth: dict[str, Any]) -> None:
        mode = auth.get("mode")
        if mode == "join":
            await self.io.enter_room(sid, "half", namespace=nsp)
        if mode in ("plain", "join"):
            raise socketio.exceptions.ConnectionRefusedError("not authorized")
        if mode == "data":
            raise socketio.exceptions.ConnectionRefusedError("not authorized", {"code": "E1", "retry": False})
        if mode == "slow":
            await asyncio.sleep(0.15)
        if mode == "pending":
            await asyncio.Event().wait()

    async def disconnect(self, nsp: str, sid: str, reason: str) -> None:
        happened = self.history.setdefault(sid, [])
        happened.append(["disconnecting", reason, sorted(self.io.rooms(sid, namespace=nsp))])
        happened.append(["disconnect", reason, []])

    # Echoes and acknowledgements

    async def message(self, nsp: str, sid: str, *args: Any) -> None:
        await self.io.emit("message-back", args, to=sid, namespace=nsp)

    async def on_message_with_ack(self, nsp: str, sid: str, *args: Any) -> tuple[Any, ...]:
        return args

    async def on_ack_none(self, nsp: str, sid: str) -> None:
        return None

    async def on_ack_later(self, nsp: str, sid: str) -> str:
        await asyncio.sleep(0.1)
        return "later"

    async def on_ask(self, nsp: str, sid: str, *args: Any) -> None:
        async def answered(*answer: Any) -> None:
            await self.io.emit("answer", answer, to=sid, namespace=nsp)

        await self.io.emit("question", args, to=sid, namespace=nsp, callback=answered)

    async def on_ask_timeout(self, nsp: str, sid: str) -> None:
        try:
            answer = await self.io.call("question", to=sid, namespace=nsp, timeout=0.1)
        except socketio.exceptions.TimeoutError:
            await self.io.emit("answer-timeout", to=sid, namespace=nsp)
        else:
            await self.io.emit("answer", answer, to=sid, namespace=nsp)

    async def on_many(self, nsp: str, sid: str, count: int) -> None:
        for number in range(count):
            await self.io.emit("many", number, to=sid, namespace=nsp)

    async def on_send(self, nsp: str, sid: str, *args: Any) -> None:
        await self.io.send(args, to=sid, namespace=nsp)

    async def on_big(self, nsp: str, sid: str, size: int) -> None:
        await self.io.emit("big", "x" * size, to=sid, namespace=nsp)

    # Rooms and broadcasts

    async def on_join(self, nsp: str, sid: str, room: str) -> None:
        await self.io.enter_room(sid, room, namespace=nsp)

    async def on_leave(self, nsp: str, sid: str, room: str) -> None:
        await self.io.leave_room(sid, room, namespace=nsp)

    async def on_rooms(self, nsp: str, sid: str) -> list[str]:
        return sorted(self.io.rooms(sid, namespace=nsp))

    async def on_all(self, nsp: str, sid: str, *args: Any) -> None:
        await self.io.emit("all", args, namespace=nsp)

    async def on_broadcast(self, nsp: str, sid: str, *args: Any) -> None:
        await self.io.emit("broadcast", args, skip_sid=sid, namespace=nsp)

    async def on_to_room(self, nsp: str, sid: str, rooms: list[str], *args: Any) -> None:
        await self.io.emit("room", args, room=rooms, namespace=nsp)

    async def on_broadcast_room(self, nsp: str, sid: str, room: str, *args: Any) -> None:
        await self.io.emit("room", args, room=room, skip_sid=sid, namespace=nsp)

    async def on_except(self, nsp: str, sid: str, room: str, *args: Any) -> None:
        left_out = [member for member, _ in self.io.manager.get_participants(nsp, room)]
        await self.io.emit("except", args, skip_sid=left_out, namespace=nsp)

    async def on_except_both(self, nsp: str, sid: str, to: str, room: str, *args: Any) -> None:
        left_out = [member for member, _ in self.io.manager.get_participants(nsp, room)]
        await self.io.emit("except", args, room=to, skip_sid=left_out, namespace=nsp)

    async def on_fetch(self, nsp: str, sid: str, room: str) -> list[str]:
        return sorted(member for member, _ in self.io.manager.get_participants(nsp, room))

    async def on_gather(self, nsp: str, sid: str, source: str, room: str) -> None:
        for member in await self.on_fetch(nsp, sid, source):
            await self.io.enter_room(member, room, namespace=nsp)

    async def on_scatter(self, nsp: str, sid: str, source: str, room: str) -> None:
        for member in await self.on_fetch(nsp, sid, source):
            await self.io.leave_room(member, room, namespace=nsp)

    async def on_kick(self, nsp: str, sid: str, room: str) -> None:
        for member in await self.on_fetch(nsp, sid, room):
            await self.io.disconnect(member, namespace=nsp)

    # Leaving

    async def on_leave_namespace(self, nsp: str, sid: str) -> None:
        await self.io.disconnect(sid, namespace=nsp)

    async def on_leave_server(self, nsp: str, sid: str) -> None:
        await self.io.emit("last", to=sid, namespace=nsp)
        await self.io.disconnect(sid, namespace=nsp)

    async def on_close_connection(self, nsp: str, sid: str) -> None:
        await self.io.eio.disconnect(self.io.manager.eio_sid_from_sid(sid, nsp))

    async def on_close_of(self, nsp: str, sid: str, other: str) -> None:
        await self.on_close_connection(nsp, other)

    async def on_burst_close(self, nsp: str, sid: str, count: int) -> None:
        await self.on_many(nsp, sid, count)
        await self.on_close_connection(nsp, sid)

    async def on_shutdown(self, nsp: str, sid: str) -> None:
        await self.io.shutdown()

    # What the application knows

    async def on_handshake(self, nsp: str, sid: str) -> dict[str, Any]:
        environ = self.io.get_environ(sid, namespace=nsp)
        headers = {
            name.removeprefix("HTTP_").replace("_", "-").lower(): value
            for name, value in environ.items()
            if name.startswith("HTTP_")
        }
        return {"headers": headers, "url": f"{environ['PATH_INFO']}?{environ['QUERY_STRING']}"}

    async def on_info(self, nsp: str, sid: str) -> dict[str, Any]:
        engine = self.io.manager.eio_sid_from_sid(sid, nsp)
        return {"id": sid, "engine": engine, "transport": self.io.transport(sid, nsp), "protocol": 4}

    async def on_set_data(self, nsp: str, sid: str, value: Any) -> None:
        await self.io.save_session(sid, {"value": value}, namespace=nsp)

    async def on_reasons(self, nsp: str, sid: str, other: str) -> list[list[Any]]:
        return self.history.get(other, [])

    async def on_count(self, nsp: str, sid: str) -> int:
        return len(list(self.io.manager.get_participants(nsp, None)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    if options.profile not in PROFILES or (options.profile == "msgpack" and find_spec("msgpack") is None):
        sys.exit(UNSUPPORTED_EXIT)
    uvicorn.run(Application(options.profile).asgi(), port=options.port, log_level="error")


if __name__ == "__main__":
    main()
