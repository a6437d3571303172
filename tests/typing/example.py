"""An application as type checkers see it: every decorator keeps the type of what it decorates."""

# pyright: strict
from __future__ import annotations

import dataclasses
import re
from collections.abc import Awaitable
from typing import Annotated, Any, TypedDict, assert_type

import msgspec
from pydantic import BaseModel

from sio_core import (
    Ack,
    AckTimeout,
    BroadcastOperator,
    ConnectError,
    EngineServer,
    Namespace,
    RemoteSocket,
    Request,
    Response,
    Server,
    Session,
    Socket,
    event,
)


@dataclasses.dataclass
class User:
    """What ``socket.data`` is."""

    name: str = ""
    rooms: list[str] = dataclasses.field(default_factory=list[str])


class Message(msgspec.Struct):
    room: str
    text: Annotated[str, msgspec.Meta(max_length=1_000)]


class Position(TypedDict):
    x: int
    y: int


class Profile(BaseModel):
    name: str
    age: int


io = Server(data_factory=User, ping_interval=20.0)
assert_type(io, Server[User])


@io.use
async def authenticate(socket: Socket[User]) -> None:
    name = socket.handshake.auth.get("name")
    if not isinstance(name, str):
        raise ConnectError("not authorised", {"code": 401})
    socket.data.name = name


@io.on("connection")
def connected(socket: Socket[User]) -> None:
    assert_type(socket.data, User)
    assert_type(socket.conn, Session)
    socket.join("lobby")

    @socket.on("whisper")
    def whisper(to: str, text: str) -> None:
        socket.to(to).emit("whisper", socket.data.name, text)

    assert_type(whisper("ann", "hi"), None)

    @socket.use
    def check(name: str, args: list[Any]) -> None:
        if name == "forbidden":
            raise ValueError(name)

    @socket.once("ready")
    async def ready() -> bool:
        return True

    assert_type(socket.broadcast, BroadcastOperator[User])


@io.on("message", ordered=True)
async def message(socket: Socket[User], message: Message) -> dict[str, bool]:
    await socket.to(message.room).emit("message", socket.data.name, message.text)
    return {"ok": True}


@io.on("move")
def move(socket: Socket[User], position: Position, fast: bool = False) -> int:
    return position["x"] + position["y"]


@io.on("profile", thread=True)
def profile(socket: Socket[User], profile: Profile, ack: Ack) -> None:
    ack(profile.age)


@io.event
def bytes_received(socket: Socket[User], data: bytes | None) -> int:
    return len(data or b"")


@io.on_any
def log(socket: Socket[User], name: str, *args: object) -> None:
    print(name, args)


@io.on_error
def failed(error: Exception, what: str, socket: Socket[User] | None) -> None:
    print(what, error)


@io.on("disconnect")
def disconnected(socket: Socket[User], reason: str) -> None:
    io.emit("left", socket.data.name, reason)


@io.on_server_event("reload")
def reload() -> str:
    return "done"


@io.engine.use
def headers(request: Request, headers: dict[str, str]) -> Response | None:
    headers["X-Served-By"] = "example"
    return Response(503, [], b"") if "closed" in request.params else None


@io.engine.on("connection_error")
def refused(error: dict[str, Any]) -> None:
    print(error["code"])


dynamic = io.of(re.compile(r"^/room-\d+$"))
assert_type(dynamic, Namespace[User])


async def allow(name: str, auth: Any) -> bool:
    return name.startswith("/private-") and bool(auth)


private = io.of(allow)


@private.on("connection")
def privately(socket: Socket[User]) -> None:
    socket.emit("welcome")


class Chat(Namespace[User]):
    async def on_connection(self, socket: Socket[User]) -> None:
        await socket.emit("welcome", socket.data.name)

    @event("chat message")
    async def said(self, socket: Socket[User], text: str) -> None:
        self.emit("chat message", text)


chat = io.register(Chat("/chat"))
assert_type(chat, Chat)


async def report() -> None:
    for remote in await io.in_("lobby").fetch_sockets():
        assert_type(remote, RemoteSocket[User])
        print(remote.data.name)
    for socket in io.sockets.sockets.values():
        assert_type(socket, Socket[User])
    try:
        answers = await io.timeout(5).emit_with_ack("who")
        assert_type(answers, list[Any])
    except AckTimeout as error:
        print(error.partial, error.missing)
    assert_type(io.emit("event"), Awaitable[None])


plain = Server()
assert_type(plain, Server[dict[str, Any]])


@plain.on("event")
def plainly(socket: Socket, value: int) -> int:
    assert_type(socket.data, dict[str, Any])
    return value


engine = EngineServer()


@engine.on("connection")
def opened(session: Session) -> None:
    @session.on("message")
    def received(data: str | bytes) -> None:
        session.send(data)


@io.sockets.adapter.rooms.on("create-room")
def created(room: str) -> None:
    print(room)


if __name__ == "__main__":
    io.run(port=3000)
