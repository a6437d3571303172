"""Rooms and broadcasts, as far as they are seen on the wire."""

from __future__ import annotations

import asyncio
from typing import Any

from conformance.bench import Bench
from conformance.expect import expect, expect_equal
from conformance.model import OFFICIAL, check
from conformance.peer.socketio import DISCONNECT, Client


class Group:
    """Some clients in a namespace of their own, the first over polling, the rest over WebSocket."""

    def __init__(self, namespace: str, clients: list[Client], sids: list[str]) -> None:
        self.namespace = namespace
        self.clients = clients
        self.sids = sids

    @classmethod
    async def gather(cls, bench: Bench, count: int) -> Group:
        namespace = bench.dynamic()
        links = [await bench.link("websocket" if number else "polling") for number in range(count)]
        clients = [Client(link) for link in links]
        return cls(namespace, clients, [await client.connect(namespace) for client in clients])

    async def join(self, room: str, *members: int) -> None:
        for member in members:
            await self.clients[member].call("join", room, namespace=self.namespace)

    async def emit(self, member: int, *args: Any) -> None:
        await self.clients[member].emit(*args, namespace=self.namespace)

    async def call(self, member: int, *args: Any) -> Any:
        return await self.clients[member].call(*args, namespace=self.namespace)

    async def expect_receivers(self, event: list[Any], *members: int) -> None:
        """These members get the event once, in order with all else; the others get nothing."""
        for number, client in enumerate(self.clients):
            if number in members:
                await client.expect_event(*event, namespace=self.namespace)
            await client.expect_silence(self.namespace)


@check("socketio.broadcast.all", "A namespace's emit reaches all its sockets, once.", OFFICIAL)
async def everyone(bench: Bench) -> None:
    group = await Group.gather(bench, 3)
    await group.emit(1, "all", 1, "a")
    await group.expect_receivers(["all", 1, "a"], 0, 1, 2)


@check("socketio.broadcast.binary", "A broadcast may be binary.", OFFICIAL)
async def binary(bench: Bench) -> None:
    group = await Group.gather(bench, 3)
    await group.emit(1, "all", b"\x01\x02", {"a": b"\x03"})
    await group.expect_receivers(["all", b"\x01\x02", {"a": b"\x03"}], 0, 1, 2)


@check("socketio.broadcast.sender", "A socket's broadcast reaches all but itself.", OFFICIAL)
async def sender(bench: Bench) -> None:
    group = await Group.gather(bench, 3)
    await group.emit(1, "broadcast", "b")
    await group.expect_receivers(["broadcast", "b"], 0, 2)


@check("socketio.broadcast.room", "A room's emit reaches its members, the sender if it is one.", OFFICIAL)
async def room(bench: Bench) -> None:
    group = await Group.gather(bench, 4)
    await group.join("r", 0, 1)
    await group.emit(1, "to-room", ["r"], "in")
    await group.expect_receivers(["room", "in"], 0, 1)


@check("socketio.broadcast.rooms", "Several rooms are their union: nobody is reached twice.", OFFICIAL)
async def rooms(bench: Bench) -> None:
    group = await Group.gather(bench, 4)
    await group.join("r", 0, 1)
    await group.join("s", 1, 2)
    await group.emit(3, "to-room", ["r", "s"], "once")
    await group.expect_receivers(["room", "once"], 0, 1, 2)


@check("socketio.broadcast.room-sender", "A socket's emit to a room leaves the socket out.", OFFICIAL)
async def room_sender(bench: Bench) -> None:
    group = await Group.gather(bench, 3)
    await group.join("r", 0, 1)
    await group.emit(1, "broadcast-room", "r", 1)
    await group.expect_receivers(["room", 1], 0)


@check("socketio.broadcast.own-room", "A socket's own id is a room with that socket alone.", OFFICIAL)
async def own_room(bench: Bench) -> None:
    group = await Group.gather(bench, 3)
    await group.emit(1, "to-room", [group.sids[2]], "you")
    await group.expect_receivers(["room", "you"], 2)


@check("socketio.broadcast.no-room", "A room without members is nobody.", OFFICIAL)
async def no_room(bench: Bench) -> None:
    group = await Group.gather(bench, 2)
    await group.emit(1, "to-room", ["nobody"], 1)
    await group.expect_receivers([])


@check("socketio.broadcast.except", "A room may be left out.", OFFICIAL)
async def excluded(bench: Bench) -> None:
    group = await Group.gather(bench, 3)
    await group.join("r", 0)
    await group.emit(1, "except", "r", 1)
    await group.expect_receivers(["except", 1], 1, 2)


@check("socketio.broadcast.except-id", "So may a single socket, by its id.", OFFICIAL)
async def excluded_id(bench: Bench) -> None:
    group = await Group.gather(bench, 3)
    await group.emit(1, "except", group.sids[1], 1)
    await group.expect_receivers(["except", 1], 0, 2)


@check("socketio.broadcast.except-within", "Members of a room may be left out by another room.", OFFICIAL)
async def excluded_within(bench: Bench) -> None:
    group = await Group.gather(bench, 4)
    await group.join("r", 0, 1, 2)
    await group.join("s", 1)
    await group.emit(3, "except-both", "r", "s", 1)
    await group.expect_receivers(["except", 1], 0, 2)


@check("socketio.broadcast.namespaces-apart", "Rooms of two namespaces are two rooms.", OFFICIAL)
async def namespaces_apart(bench: Bench) -> None:
    one, two = await Group.gather(bench, 2), await Group.gather(bench, 2)
    await one.join("r", 0, 1)
    await two.join("r", 0, 1)
    await one.emit(1, "to-room", ["r"], 1)
    await one.expect_receivers(["room", 1], 0, 1)
    await two.expect_receivers([])


@check("socketio.broadcast.order", "Broadcasts and direct events keep their order.", OFFICIAL)
async def order(bench: Bench) -> None:
    group = await Group.gather(bench, 2)
    for number in range(10):
        await group.emit(1, "message", number)
        await group.emit(1, "all", number)
    for number in range(10):
        await group.clients[1].expect_event("message-back", number, namespace=group.namespace)
        await group.clients[1].expect_event("all", number, namespace=group.namespace)


@check("socketio.broadcast.gone", "Who has left is not reached, and harms nobody.", OFFICIAL)
async def gone(bench: Bench) -> None:
    group = await Group.gather(bench, 3)
    await group.join("r", 0, 1, 2)
    await group.clients[2].send(f"41{group.namespace},")
    await bench.reasons(group.sids[2])
    await group.emit(1, "to-room", ["r"], 1)
    await group.clients[0].expect_event("room", 1, namespace=group.namespace)
    await group.clients[1].expect_event("room", 1, namespace=group.namespace)
    await group.clients[2].connect()
    await group.clients[2].expect_silence()


@check("socketio.room.list", "A socket is in its own room and those it joined.", OFFICIAL)
async def room_list(bench: Bench) -> None:
    group = await Group.gather(bench, 1)
    await group.join("b", 0)
    await group.join("a", 0)
    (rooms,) = await group.call(0, "rooms")
    expect_equal(rooms, sorted([group.sids[0], "a", "b"]))


@check(
    "socketio.room.leave",
    "A room that was left reaches the socket no longer; leaving twice is harmless.",
    OFFICIAL,
)
async def room_leave(bench: Bench) -> None:
    group = await Group.gather(bench, 2)
    await group.join("r", 0, 1)
    await group.call(0, "leave", "r")
    await group.call(0, "leave", "r")
    await group.emit(1, "to-room", ["r"], 1)
    await group.expect_receivers(["room", 1], 1)


@check("socketio.room.twice", "Joining twice is joining once.", OFFICIAL)
async def room_twice(bench: Bench) -> None:
    group = await Group.gather(bench, 2)
    await group.join("r", 0, 0)
    await group.emit(1, "to-room", ["r"], 1)
    await group.expect_receivers(["room", 1], 0)


@check("socketio.room.again", "A socket that connects again is in none of its former rooms.", OFFICIAL)
async def room_again(bench: Bench) -> None:
    group = await Group.gather(bench, 1)
    await group.join("r", 0)
    await group.clients[0].send(f"41{group.namespace},")
    await bench.settle()
    sid = await group.clients[0].connect(group.namespace)
    expect_equal(await group.call(0, "rooms"), [[sid]])


@check("socketio.room.fetch", "The sockets of a room can be asked for.", OFFICIAL)
async def fetch(bench: Bench) -> None:
    group = await Group.gather(bench, 3)
    await group.join("r", 0, 2)
    (members,) = await group.call(1, "fetch", "r")
    expect_equal(members, sorted([group.sids[0], group.sids[2]]))


@check(
    "socketio.room.gather", "The members of a room can be made to join another, and to leave it.", OFFICIAL
)
async def gather(bench: Bench) -> None:
    group = await Group.gather(bench, 3)
    await group.join("r", 0, 2)
    await group.call(1, "gather", "r", "s")
    expect_equal(await group.call(1, "fetch", "s"), [sorted([group.sids[0], group.sids[2]])])
    await group.call(1, "scatter", group.sids[0], "s")
    expect_equal(await group.call(1, "fetch", "s"), [[group.sids[2]]])


@check("socketio.room.kick", "The members of a room can be disconnected, and nobody else.", OFFICIAL)
async def kick(bench: Bench) -> None:
    group = await Group.gather(bench, 3)
    await group.join("r", 0, 2)
    await group.emit(1, "kick", "r")
    for member in (0, 2):
        await group.clients[member].expect_packet(DISCONNECT, namespace=group.namespace)
        await bench.expect_reason(group.sids[member], "server namespace disconnect")
    await group.clients[1].expect_silence(group.namespace)


async def answer(client: Client, namespace: str, value: str) -> None:
    question = await client.receive_event("question", namespace)
    await client.send(f'43{namespace},{question.id}["{value}"]')


@check(
    "socketio.broadcast-ack.all",
    "A broadcast may ask for acks and collects the first argument of each.",
    OFFICIAL,
)
async def broadcast_ack(bench: Bench) -> None:
    group = await Group.gather(bench, 3)
    await group.join("r", 0, 2)
    await group.emit(1, "ask-room", "r")
    await asyncio.gather(
        answer(group.clients[0], group.namespace, "zero"), answer(group.clients[2], group.namespace, "two")
    )
    packet = await group.clients[1].receive_event("answers", group.namespace)
    expect_equal((packet.data[1], sorted(packet.data[2])), (False, ["two", "zero"]))


@check("socketio.broadcast-ack.nobody", "Nobody to ask: an empty list at once.", OFFICIAL)
async def broadcast_ack_nobody(bench: Bench) -> None:
    group = await Group.gather(bench, 2)
    await group.emit(1, "ask-room", "nobody")
    await group.clients[1].expect_event("answers", False, [], namespace=group.namespace)


@check(
    "socketio.broadcast-ack.timeout",
    "When one does not answer, the answers so far come after the timeout.",
    OFFICIAL,
)
async def broadcast_ack_timeout(bench: Bench) -> None:
    group = await Group.gather(bench, 3)
    await group.join("r", 0, 2)
    await group.emit(1, "ask-room", "r")
    await answer(group.clients[2], group.namespace, "two")
    await group.clients[1].expect_event("answers", True, ["two"], namespace=group.namespace)


@check("socketio.broadcast-ack.same-id", "Every socket that is asked gets the same id.", OFFICIAL)
async def broadcast_ack_id(bench: Bench) -> None:
    group = await Group.gather(bench, 3)
    await group.join("r", 0, 2)
    await group.emit(1, "ask-room", "r")
    ids = {(await group.clients[member].receive_event("question", group.namespace)).id for member in (0, 2)}
    expect(len(ids) == 1 and None not in ids, "one id", ids)
