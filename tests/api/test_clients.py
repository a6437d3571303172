"""The npm clients of other kinds: Socket.IO 2, msgpack, retries. Node runs them against a server of ours."""

from __future__ import annotations

import json
from typing import Any

import anyio
import pytest

from sio_core import Ack, ConnectError, Server, Socket
from tests.helpers.processes import ROOT

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize(
        "anyio_backend",
        [
            pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
            pytest.param(("trio", {}), id="trio"),
        ],
    ),
]

SCRIPT = ROOT / "tests" / "api" / "clients.cjs"


async def run(url: str, scenario: str) -> Any:
    with anyio.fail_after(30):
        process = await anyio.run_process(["node", SCRIPT, url, scenario], check=False)
    assert process.returncode == 0, process.stderr.decode()
    return json.loads(process.stdout)


def refuse_by(data: Any) -> Any:
    def refuse(socket: Socket) -> None:
        raise ConnectError("message", data)

    return refuse


@pytest.mark.feature(40, 186, 187, 188, 189)
async def test_clients_of_socket_io_2() -> None:
    io = Server(allow_eio3=True)
    chat = io.of("/chat")
    io.of("/data").use(refuse_by({"a": 1}))
    io.of("/text").use(refuse_by(None))
    io.on("ask", lambda socket, *args: args)
    chat.on("connection", lambda socket: socket.emit("auth", socket.handshake.auth) and None)

    @io.on("connection")
    def connected(socket: Socket) -> None:
        socket.emit("welcome", socket.conn.protocol, socket.handshake.query.get("name"))

    @io.on("echo")
    def echo(socket: Socket, *args: Any) -> None:
        socket.emit("echo", *args)

    @io.on("question me")
    async def question(socket: Socket) -> None:
        socket.emit("answered", await socket.emit_with_ack("question", "?"))

    async with io.listen() as listening:
        results = await run(listening.url, "old")
    for name in ("polling", "websocket", "upgrade", "base64"):
        result = results[name]
        assert len(result["id"]) == 20
        assert result["welcome"] == [3, name]
        assert result["answer"] == [1, "é"]
        assert result["echo"] == ["é", {"bytes": [1, 2, 255]}, {"deep": [{"bytes": [120]}]}]
        assert result["answered"] == ["? answered"]
    assert results["auth"] == [{"token": "a b", "room": "1"}]
    assert results["chatId"].startswith("/chat#")
    assert results["refused"] == [{"a": 1}, "message", {"message": "Invalid namespace"}]


@pytest.mark.feature(40, 220)
async def test_a_default_an_old_and_a_msgpack_client_in_one_room() -> None:
    """The clients of a server speak one format; two servers on one listener share a room by emitting to both."""
    io = Server(allow_eio3=True)
    packed = Server(path="/msgpack/", parser="msgpack")
    for server in (io, packed):

        @server.on("connection")
        def connected(socket: Socket) -> None:
            socket.join("room")
            socket.emit("joined")

        @server.on("say")
        def say(socket: Socket, text: str, data: bytes) -> None:
            for every in (io, packed):
                every.to("room").emit("said", text, data)

    async with io.listen(engines=[packed]) as listening:
        heard = await run(listening.url, "room")
    assert heard == [[[f"é {index}", {"bytes": [index]}] for index in range(3)]] * 3


@pytest.mark.feature(4, 220)
async def test_the_msgpack_parser() -> None:
    io = Server()
    packed = Server(path="/msgpack/", parser="msgpack")
    packed.of("/refused").use(refuse_by({"bytes": [1]}))
    packed.on("connection", lambda socket: socket.emit("joined") and None)
    packed.on("ask", lambda socket, *args: args)
    async with io.listen(engines=[packed]) as listening:
        results = await run(listening.url, "msgpack")
    for transport in ("polling", "websocket"):
        assert results[transport] == [1.5, "é", {"bytes": [1, 255]}, {"a": [None, True, -70000]}]
        assert results[f"{transport} refused"] == ["message", {"bytes": [1]}]


@pytest.mark.feature(195)
async def test_at_least_once() -> None:
    io = Server()
    tries: list[int] = []

    @io.on("at least once")
    def listen(socket: Socket, number: int, ack: Ack) -> None:
        tries.append(number)
        if tries.count(number) > number % 2:
            ack("got", number)

    async with io.listen() as listening:
        assert await run(listening.url, "retries") == [[None, "got", number] for number in (1, 2, 3)]
    assert tries == [1, 1, 2, 3, 3]


@pytest.mark.feature(175, 182, 183, 184)
async def test_an_upgrade() -> None:
    io = Server()
    log: list[Any] = []

    @io.on("connection")
    def connected(socket: Socket) -> None:
        assert socket.conn.transport == "polling"
        socket.conn.on("upgrading", lambda transport: log.append(("upgrading", transport)))
        socket.conn.on("upgrade", lambda transport: log.append(("upgrade", transport)))

    io.on("upgraded", lambda socket: socket.conn.upgraded)
    async with io.listen() as listening:
        assert await run(listening.url, "options") == {"transport": "websocket", "upgraded": [True]}
    assert log == [("upgrading", "websocket"), ("upgrade", "websocket")]
