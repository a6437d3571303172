"""What waits behind an event that cannot leave yet: its order, its bounds, and what becomes of it at the end."""

from __future__ import annotations

from typing import Any

import pytest

from sio_core import Limits, Server
from sio_core.engineio.packet import Encoded
from sio_core.testing import TestClient, VirtualClock, settle

pytestmark = pytest.mark.anyio


def event(name: str) -> list[Encoded]:
    return [Encoded(f'42["{name}"]'.encode())]


def names(client: TestClient) -> list[str]:
    return [received[0] for received in client.events]


async def test_places_are_filled_in_any_order_and_sent_in_theirs() -> None:
    io: Server[Any] = Server()
    async with TestClient(io) as client:
        namespace = io.sockets
        first = namespace.hold([client.id], ["first"])
        client.socket.emit("a")
        second = namespace.hold([client.id, "unknown"], ["second"])
        io.emit("b")
        second.fill(event("second"))
        await settle()
        assert names(client) == []
        first.fill(event("first"))
        first.fill(event("never"))
        await settle()
        assert names(client) == ["first", "a", "second", "b"]
        assert namespace.waiting == 0
        assert client.socket.waiting is None


async def test_a_place_may_stay_empty() -> None:
    io: Server[Any] = Server()
    async with TestClient(io) as client:
        place = io.sockets.hold([client.id], ["x"])
        io.emit("after")
        place.fill([])
        await settle()
        assert names(client) == ["after"]


async def test_others_do_not_wait() -> None:
    io: Server[Any] = Server()
    clock = VirtualClock()
    async with TestClient(io, clock=clock) as held, TestClient(io, clock=clock) as free:
        place = io.sockets.hold([held.id], ["x"])
        io.emit("to all")
        await settle()
        assert (names(held), names(free)) == ([], ["to all"])
        place.fill(event("x"))
        await settle()
        assert names(held) == ["x", "to all"]


async def test_binary_data_and_questions_wait_too() -> None:
    io: Server[Any] = Server()
    clock = VirtualClock()
    async with TestClient(io, clock=clock) as client:
        client.on("ask", lambda: "answer")
        place = io.sockets.hold([client.id], ["x"])
        client.socket.emit("binary", b"1", b"2")
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await client.socket.emit_with_ack("ask"))
            answers.append(await io.emit_with_ack("ask"))

        io.sockets.hub.runtime.spawn(ask)
        await settle()
        assert answers == []
        place.fill(event("x"))
        await settle()
        assert [list(received) for received in client.events] == [["x"], ["binary", b"1", b"2"]]
        assert answers == ["answer", ["answer"]]


async def test_those_who_listen_to_what_is_sent_hear_of_it_at_the_call() -> None:
    io: Server[Any] = Server()
    async with TestClient(io) as client:
        heard: list[str] = []
        client.socket.on_any_outgoing(lambda name, *args: heard.append(name))
        place = io.sockets.hold([client.id], ["x"])
        io.emit("y")
        client.socket.emit("z")
        assert heard == ["x", "y", "z"]
        place.fill(event("x"))


@pytest.mark.parametrize(("bound", "limit"), [("outbox_packets", 10), ("outbox_bytes", 2_000)])
async def test_what_waits_is_bounded(bound: str, limit: int) -> None:
    io: Server[Any] = Server(limits=Limits(**{bound: limit}))  # type: ignore[arg-type]
    async with TestClient(io) as client:
        place = io.sockets.hold([client.id], ["x"])
        for _ in range(20):
            client.socket.emit("y", "z" * 150)
            if not io.sockets.sockets:
                break
        await settle()
        assert await client.wait_disconnected() == "transport close"
        assert io.stats()["limit_hits"] == {bound: 1}
        assert io.sockets.waiting == 0
        place.fill(event("x"))


async def test_a_client_that_is_gone_is_sent_nothing() -> None:
    io: Server[Any] = Server()
    async with TestClient(io) as client:
        place = io.sockets.hold([client.id], ["x"])
        io.emit("y")
        await client.disconnect()
        assert io.sockets.waiting == 0
        place.fill(event("x"))
        await settle()
        assert names(client) == []


async def test_a_client_that_leaves_one_namespace_by_itself_is_closed_after_the_other() -> None:
    io: Server[Any] = Server()
    io.of("/other")
    async with TestClient(io) as client:
        other = await client.join("/other")
        here = io.sockets.hold([client.id], ["x"])
        there = io.of("/other").hold([other.id], ["x"])
        io.sockets.sockets[client.id].disconnect(close=True)
        await settle()
        assert client.connected
        assert other.connected
        here.fill(event("x"))
        await settle()
        assert not client.connected
        assert io.engine.clients_count == 1
        there.fill([Encoded(b'42/other,["x"]')])
        await settle()
        assert names(other) == ["x"]
        assert io.engine.clients_count == 0
