"""The application's code raises, wherever it is called: it is logged once, and everything else goes on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from sio_core import ConnectError, Server, SioError, Socket
from sio_core.testing import TestClient, settle

pytestmark = pytest.mark.anyio


def failures() -> list[Exception]:
    return [
        ValueError("secret detail"),
        ExceptionGroup("secret detail", [ValueError(), KeyError()]),
        TimeoutError("secret detail"),
    ]


FAILURES = [type(error).__name__ for error in failures()]


class Raiser:
    """Raises one exception, synchronously or after an await."""

    def __init__(self, name: str, asynchronous: bool) -> None:
        (self._error,) = [error for error in failures() if type(error).__name__ == name]
        self.asynchronous = asynchronous

    def __call__(self, *args: Any) -> Any:
        if self.asynchronous:
            return self._later()
        raise self._error

    @property
    def listener(self) -> Callable[..., Any]:
        """The same as a function that one can see to be ``async`` or not."""

        async def listen(*args: Any) -> None:
            await self._later()

        return listen if self.asynchronous else self

    async def _later(self) -> None:
        await anyio.lowlevel.checkpoint()
        raise self._error


@pytest.fixture(params=FAILURES)
def failure(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def raiser(request: pytest.FixtureRequest, failure: str) -> Raiser:
    return Raiser(failure, request.param)


def make_server() -> Server[Any]:
    io: Server[Any] = Server()

    @io.on("echo")
    def echo(socket: Socket[Any], value: Any) -> Any:
        return value

    return io


def errors(caplog: pytest.LogCaptureFixture) -> int:
    """How many errors were logged; they are forgotten."""
    count = sum(record.levelno >= logging.ERROR for record in caplog.records)
    caplog.clear()
    return count


async def test_in_a_listener_of_an_event(raiser: Raiser, caplog: pytest.LogCaptureFixture) -> None:
    io = make_server()
    reported: list[tuple[Exception, str]] = []
    io.on_error(lambda error, what, socket: reported.append((error, what)))
    io.on("fail", raiser.listener)
    others: list[str] = []
    io.on("fail", lambda socket: others.append(socket.id))
    async with TestClient(io) as client, TestClient(io) as witness:
        await client.emit("fail")
        await settle()
        assert await client.emit_with_ack("echo", 1) == 1
        assert await witness.emit_with_ack("echo", 2) == 2
        assert others == [client.id]
        assert [what for _, what in reported] == ["the listener of 'fail'"]
    assert errors(caplog) == 1


async def test_in_a_middleware(raiser: Raiser, caplog: pytest.LogCaptureFixture) -> None:
    io = make_server()
    io.of("/bad").use(raiser)
    async with TestClient(io) as client:
        with pytest.raises(ConnectError) as refused:
            await client.join("/bad")
        assert str(refused.value) == "internal error"
        assert await client.emit_with_ack("echo", 1) == 1
        assert not io.of("/bad").sockets
        assert not io.of("/bad").pending
    assert errors(caplog) == 1


@pytest.mark.parametrize("name", ["connection", "disconnecting", "disconnect"])
async def test_in_a_listener_of_the_life_of_a_socket(
    raiser: Raiser, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    io = make_server()
    io.on(name, raiser.listener)
    left: list[str] = []
    io.on("disconnect", lambda socket, reason: left.append(reason))
    async with TestClient(io) as witness:
        async with TestClient(io) as client:
            assert await client.emit_with_ack("echo", 1) == 1
            await settle()
        await settle()
        assert left == ["client namespace disconnect"]
        assert await witness.emit_with_ack("echo", 2) == 2
        assert len(io.sockets.sockets) == 1
        assert set(io.sockets.adapter.rooms.members) == {witness.id}
    await settle()
    assert errors(caplog) == 2
    assert len(left) == 2


async def test_in_a_middleware_of_events_and_a_catch_all(
    raiser: Raiser, caplog: pytest.LogCaptureFixture
) -> None:
    io = make_server()
    heard: list[Exception] = []

    @io.on("connection")
    def connected(socket: Socket[Any]) -> None:
        socket.use(lambda name, args: raiser() if name == "bad" else None)
        socket.on("error", heard.append)

    io.on_any(lambda socket, name, *args: raiser() if name == "any" else None)
    async with TestClient(io) as client:
        await client.emit("bad")
        await client.emit("any")
        await settle()
        assert len(heard) == 1
        assert await client.emit_with_ack("echo", 1) == 1
    assert errors(caplog) == 1


async def test_in_the_callback_of_a_broadcast_that_is_acknowledged(caplog: pytest.LogCaptureFixture) -> None:
    """Awaiting is the callback here: what it raises is the listener's."""
    io = make_server()

    @io.on("ask")
    async def ask(socket: Socket[Any]) -> None:
        await socket.emit_with_ack("question", timeout=1)
        raise ValueError("after the answer")

    async with TestClient(io) as client:
        client.on("question", lambda: "answer")
        await client.emit("ask")
        await settle()
        assert await client.emit_with_ack("echo", 1) == 1
    assert errors(caplog) == 1


@pytest.mark.parametrize("where", ["listener", "middleware", "allow_request"])
async def test_what_is_awaited_was_cancelled_by_others(
    where: str, anyio_backend_name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """On asyncio a cancelled task gives whoever awaits it a ``CancelledError``, who was not cancelled at all."""
    if anyio_backend_name != "asyncio":
        return  # trio knows no such thing

    async def await_cancelled(*args: Any) -> None:
        task = asyncio.get_running_loop().create_task(asyncio.sleep(60))
        task.cancel()
        await task

    io: Server[Any] = Server(allow_request=await_cancelled if where == "allow_request" else None)
    if where == "listener":
        io.on("fail", await_cancelled)
    elif where == "middleware":
        io.of("/bad").use(await_cancelled)
    call: Callable[..., Any] = TestClient
    if where == "allow_request":
        with pytest.raises(SioError, match="Forbidden"):
            async with call(io):
                pass
        errors(caplog)
        return
    async with call(io) as client:
        if where == "listener":
            await client.emit("fail")
        else:
            with pytest.raises(ConnectError):
                await client.join("/bad")
        await settle()
        async with call(io):
            pass
    assert errors(caplog) == 1
