"""What an emitter says, and to whom, whatever engine carries it."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

import anyio
import pytest

from sio_core.adapters.messages import Message
from sio_core.emitters.emitter import AsyncEmitter, SyncEmitter


class Printed(SyncEmitter):
    """Writes what it publishes as the official emitters do."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.closed = False

    def publish(self, message: Message) -> None:
        self.texts.append(f"{message.nsp} {message.type} {self.codec.json(message.data).decode()}")
        assert message.uid == "emitter"

    def close(self) -> None:
        self.closed = True


class PrintedLater(AsyncEmitter):
    """The same, but one must wait."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.closed = False

    def publish(self, message: Message) -> Awaitable[None]:
        return self._write(self.codec.json(message.data).decode())

    async def _write(self, text: str) -> None:
        await anyio.lowlevel.checkpoint()
        self.texts.append(text)

    async def aclose(self) -> None:
        self.closed = True


@pytest.mark.feature(217)
def test_the_messages_are_those_of_the_official_emitters() -> None:
    emitter = Printed()
    emitter.emit("hello", 1, "two")
    emitter.to("room1").except_("r2").emit("x")
    emitter.to("a", "b").in_("a", "c").emit("x")
    emitter.volatile.compress(False).emit("v")
    emitter.of("custom").send("hello")
    emitter.sockets_join("room7")
    emitter.in_("room7").sockets_join("room8", "room9")
    emitter.in_("room7").except_("e").sockets_leave("room8")
    emitter.server_side_emit("sse", 1, {"a": [2]})
    emitter.of("/custom").in_("room9").disconnect_sockets(True)
    emitter.disconnect_sockets()
    assert emitter.texts == [
        '/ 3 {"packet":{"type":2,"data":["hello",1,"two"],"nsp":"/"},"opts":{"rooms":[],"flags":{},"except":[]}}',
        '/ 3 {"packet":{"type":2,"data":["x"],"nsp":"/"},"opts":{"rooms":["room1"],"flags":{},"except":["r2"]}}',
        '/ 3 {"packet":{"type":2,"data":["x"],"nsp":"/"},"opts":{"rooms":["a","b","c"],"flags":{},"except":[]}}',
        '/ 3 {"packet":{"type":2,"data":["v"],"nsp":"/"},"opts":{"rooms":[],'
        '"flags":{"volatile":true,"compress":false},"except":[]}}',
        '/custom 3 {"packet":{"type":2,"data":["message","hello"],"nsp":"/custom"},'
        '"opts":{"rooms":[],"flags":{},"except":[]}}',
        '/ 4 {"opts":{"rooms":[],"except":[]},"rooms":["room7"]}',
        '/ 4 {"opts":{"rooms":["room7"],"except":[]},"rooms":["room8","room9"]}',
        '/ 5 {"opts":{"rooms":["room7"],"except":["e"]},"rooms":["room8"]}',
        '/ 9 {"packet":["sse",1,{"a":[2]}]}',
        '/custom 6 {"opts":{"rooms":["room9"],"except":[]},"close":true}',
        '/ 6 {"opts":{"rooms":[],"except":[]},"close":false}',
    ]


def test_a_step_leaves_the_one_before_as_it_was() -> None:
    emitter = Printed()
    room = emitter.to("room")
    room.to("other").volatile.emit("x")
    room.emit("y")
    room.of("/custom").emit("z")
    assert '"rooms":["room"],"flags":{}' in emitter.texts[1]
    assert '"rooms":[],"flags":{}' in emitter.texts[2]


@pytest.mark.parametrize("name", ["connect", "connect_error", "disconnect", "disconnecting"])
def test_reserved_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f'"{name}" is a reserved event name'):
        Printed().emit(name)


def test_names_of_the_servers_are_refused() -> None:
    with pytest.raises(ValueError, match='"connection" is a reserved event name'):
        Printed().server_side_emit("connection")


def test_what_cannot_be_sent_is_refused() -> None:
    with pytest.raises(TypeError, match="object cannot be sent"):
        Printed().emit("x", object())


def test_it_is_a_context() -> None:
    with Printed() as emitter:
        emitter.emit("x")
    assert emitter.closed


@pytest.mark.anyio
async def test_the_asynchronous_one_is_awaited() -> None:
    data: dict[str, Any] = {"n": 1}
    async with PrintedLater() as emitter:
        published = emitter.to("room").emit("x", data)
        data["n"] = 2  # it has been encoded
        await published
    assert emitter.texts == [
        '{"packet":{"type":2,"data":["x",{"n":1}],"nsp":"/"},"opts":{"rooms":["room"],"flags":{},"except":[]}}'
    ]
    assert emitter.closed
