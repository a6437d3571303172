"""Connection state recovery on the wire: pid, offsets, and what is sent again before the CONNECT answer."""

from __future__ import annotations

import asyncio
from typing import Any

from conformance.bench import Bench
from conformance.expect import expect, expect_equal
from conformance.model import OFFICIAL, Transport, check, check_both
from conformance.peer.engineio import WebSocketSession
from conformance.peer.packets import Packet, encode, head
from conformance.peer.socketio import CONNECT, DISCONNECT, EVENT, Client

PROFILE = "recovery"


class Member:
    """A client of a namespace with recovery, which knows what it needs to come back."""

    def __init__(self, namespace: str, client: Client, ids: dict[str, Any], offset: Any) -> None:
        self.namespace = namespace
        self.client = client
        self.sid: str = ids["sid"]
        self.pid: str = ids["pid"]
        self.offset = offset

    @classmethod
    async def join(cls, bench: Bench, transport: Transport, namespace: str, auth: Any = None) -> Member:
        client = Client(await bench.link(transport))
        await client.send(head(CONNECT, namespace) + ("" if auth is None else encode(auth)))
        packet = await client.receive()
        expect("pid" in packet.data, "a pid in the CONNECT packet", packet)
        greeting = await client.receive_event("auth", namespace)
        return cls(namespace, client, packet.data, greeting.data[-1])

    async def expect_event(self, *args: Any) -> Packet:
        """An event with these arguments and an offset, which is remembered."""
        packet = await self.client.receive()
        expect_equal(packet.type, EVENT)
        expect_equal(packet.data[:-1], list(args), "event without its offset")
        self.offset = packet.data[-1]
        return packet

    async def lose(self, bench: Bench) -> None:
        """Close the polling session, and wait until the server knows."""
        await self.client.link.send("1")
        await bench.reasons(self.sid)


async def pair(bench: Bench) -> tuple[Member, Member]:
    """One that will be lost, over polling, and one that stays."""
    namespace = bench.dynamic()
    return await Member.join(bench, "polling", namespace), await Member.join(bench, "websocket", namespace)


async def come_back(bench: Bench, member: Member, **auth: Any) -> tuple[Client, list[Packet], Packet]:
    """Reconnect as the official client does; the packets before the CONNECT answer, and that answer."""
    client = Client(await bench.link("websocket"))
    payload = {"pid": member.pid, "offset": member.offset, **auth}
    await client.send(head(CONNECT, member.namespace) + encode(payload))
    missed = []
    while (packet := await client.receive()).type != CONNECT:
        missed.append(packet)
    return client, missed, packet


@check_both(
    "recovery.connect.pid",
    "With recovery the CONNECT answer has a private id beside the public one.",
    OFFICIAL,
    profile=PROFILE,
)
async def connect_pid(bench: Bench, transport: Transport) -> None:
    member = await Member.join(bench, transport, "/")
    expect(isinstance(member.pid, str) and len(member.pid) >= 16, "16 characters or more", member.pid)
    expect(member.pid not in (member.sid, member.client.link.sid), "an id of its own", member.pid)


@check("recovery.connect.keys", "The CONNECT answer holds nothing else.", OFFICIAL, profile=PROFILE)
async def connect_keys(bench: Bench) -> None:
    client = Client(await bench.link("websocket"))
    await client.send("40")
    expect_equal(sorted((await client.receive()).data), ["pid", "sid"])


@check("recovery.off.no-pid", "Without recovery there is no pid, and events have no offset.", OFFICIAL)
async def off_no_pid(bench: Bench) -> None:
    client = Client(await bench.link("websocket"))
    await client.send('40{"pid":"abcdefghijklmnopqrst","offset":"x"}')
    expect_equal(sorted((await client.receive()).data), ["sid"])
    await client.expect_event("auth", {"pid": "abcdefghijklmnopqrst", "offset": "x"})


@check(
    "recovery.offset.direct", "An event has its offset as last element: a string.", OFFICIAL, profile=PROFILE
)
async def offset_direct(bench: Bench) -> None:
    member = await Member.join(bench, "websocket", bench.dynamic())
    await member.client.emit("message", 1, namespace=member.namespace)
    await member.expect_event("message-back", 1)
    expect(isinstance(member.offset, str) and member.offset != "", "a string", member.offset)


@check("recovery.offset.unique", "Offsets are unique.", OFFICIAL, profile=PROFILE)
async def offset_unique(bench: Bench) -> None:
    member = await Member.join(bench, "websocket", bench.dynamic())
    await member.client.emit("many", 100, namespace=member.namespace)
    offsets = set()
    for number in range(100):
        await member.expect_event("many", number)
        offsets.add(member.offset)
    expect_equal(len(offsets), 100, "different offsets")


@check(
    "recovery.offset.broadcast",
    "A broadcast has one offset for all its receivers.",
    OFFICIAL,
    profile=PROFILE,
)
async def offset_broadcast(bench: Bench) -> None:
    one, two = await pair(bench)
    await two.client.emit("all", 1, namespace=two.namespace)
    await one.expect_event("all", 1)
    await two.expect_event("all", 1)
    expect_equal(one.offset, two.offset)


@check(
    "recovery.offset.binary",
    "A binary event has its offset behind the placeholders.",
    OFFICIAL,
    profile=PROFILE,
)
async def offset_binary(bench: Bench) -> None:
    member = await Member.join(bench, "websocket", bench.dynamic())
    await member.client.emit("message", b"\x01", namespace=member.namespace)
    await member.expect_event("message-back", b"\x01")
    expect(isinstance(member.offset, str), "a string", member.offset)


@check("recovery.offset.volatile", "A volatile event has no offset.", OFFICIAL, profile=PROFILE)
async def offset_volatile(bench: Bench) -> None:
    member = await Member.join(bench, "websocket", bench.dynamic())
    await member.client.emit("volatile-idle", namespace=member.namespace)
    await member.client.expect_event("volatile", 1, namespace=member.namespace)


@check("recovery.offset.question", "An event that asks for an ack has no offset.", OFFICIAL, profile=PROFILE)
async def offset_question(bench: Bench) -> None:
    member = await Member.join(bench, "websocket", bench.dynamic())
    await member.client.emit("ask", 1, namespace=member.namespace)
    packet = await member.client.receive_event("question", member.namespace)
    expect_equal(packet.data, ["question", 1])


@check("recovery.offset.ack", "An ack has no offset.", OFFICIAL, profile=PROFILE)
async def offset_ack(bench: Bench) -> None:
    member = await Member.join(bench, "websocket", bench.dynamic())
    expect_equal(await member.client.call("message-with-ack", 1, namespace=member.namespace), [1])


@check(
    "recovery.back.same-ids",
    "Who comes back has the same ids, and the application knows.",
    OFFICIAL,
    profile=PROFILE,
)
async def back_same_ids(bench: Bench) -> None:
    lost, _ = await pair(bench)
    await lost.lose(bench)
    client, missed, answer = await come_back(bench, lost)
    expect_equal(missed, [], "missed packets")
    expect_equal(answer.data, {"sid": lost.sid, "pid": lost.pid})
    (state,) = await client.call("state", namespace=lost.namespace)
    expect_equal(state["recovered"], True, "recovered")


@check("recovery.back.first-time", "A first connection is not a recovered one.", OFFICIAL, profile=PROFILE)
async def back_first_time(bench: Bench) -> None:
    member = await Member.join(bench, "websocket", bench.dynamic())
    (state,) = await member.client.call("state", namespace=member.namespace)
    expect_equal(state["recovered"], False, "recovered")


@check("recovery.back.rooms", "Its rooms are those it had.", OFFICIAL, profile=PROFILE)
async def back_rooms(bench: Bench) -> None:
    lost, _ = await pair(bench)
    await lost.client.call("join", "r", namespace=lost.namespace)
    await lost.lose(bench)
    client, _, _ = await come_back(bench, lost)
    (state,) = await client.call("state", namespace=lost.namespace)
    expect_equal(state["rooms"], sorted([lost.sid, "r"]))


@check("recovery.back.data", "Its data is what it was.", OFFICIAL, profile=PROFILE)
async def back_data(bench: Bench) -> None:
    lost, _ = await pair(bench)
    await lost.client.call("set-data", {"a": [1]}, namespace=lost.namespace)
    await lost.lose(bench)
    client, _, _ = await come_back(bench, lost)
    (state,) = await client.call("state", namespace=lost.namespace)
    expect_equal(state["value"], {"a": [1]})


@check(
    "recovery.back.missed",
    "Missed events come before the CONNECT answer, in order, with their offsets.",
    OFFICIAL,
    profile=PROFILE,
)
async def back_missed(bench: Bench) -> None:
    lost, stays = await pair(bench)
    await lost.lose(bench)
    offsets = []
    for number in range(3):
        await stays.client.emit("all", number, namespace=stays.namespace)
        await stays.expect_event("all", number)
        offsets.append(stays.offset)
    _, missed, answer = await come_back(bench, lost)
    expect_equal(
        [packet.data for packet in missed], [["all", number, offsets[number]] for number in range(3)]
    )
    expect_equal(answer.data["sid"], lost.sid)


@check(
    "recovery.back.missed-binary",
    "Missed binary events come with their attachments.",
    OFFICIAL,
    profile=PROFILE,
)
async def back_missed_binary(bench: Bench) -> None:
    lost, stays = await pair(bench)
    await lost.lose(bench)
    await stays.client.emit("all", b"\x01\x02", namespace=stays.namespace)
    await stays.expect_event("all", b"\x01\x02")
    _, missed, _ = await come_back(bench, lost)
    expect_equal([packet.data[:-1] for packet in missed], [["all", b"\x01\x02"]])


@check(
    "recovery.back.missed-after-offset",
    "Only what came after the offset is sent again.",
    OFFICIAL,
    profile=PROFILE,
)
async def back_after_offset(bench: Bench) -> None:
    lost, stays = await pair(bench)
    for number in range(3):
        await stays.client.emit("all", number, namespace=stays.namespace)
        await stays.expect_event("all", number)
    await lost.expect_event("all", 0)
    await lost.lose(bench)
    _, missed, _ = await come_back(bench, lost)
    expect_equal([packet.data[:-1] for packet in missed], [["all", 1], ["all", 2]])


@check(
    "recovery.back.missed-rooms",
    "Only what was meant for the lost socket is sent: its rooms, and all.",
    OFFICIAL,
    profile=PROFILE,
)
async def back_missed_rooms(bench: Bench) -> None:
    lost, stays = await pair(bench)
    await lost.client.call("join", "mine", namespace=lost.namespace)
    await lost.lose(bench)
    for args in (
        ("to-room", ["mine"], 1),
        ("to-room", ["other"], 2),
        ("except", "mine", 3),
        ("to-room", [lost.sid], 4),
        ("all", 5),
        ("message", 6),
    ):
        await stays.client.emit(*args, namespace=stays.namespace)
    await stays.client.call("ack-none", namespace=stays.namespace)
    _, missed, _ = await come_back(bench, lost)
    expect_equal([packet.data[:-1] for packet in missed], [["room", 1], ["room", 4], ["all", 5]])


@check("recovery.back.volatile", "A volatile event is not sent again.", OFFICIAL, profile=PROFILE)
async def back_volatile(bench: Bench) -> None:
    lost, stays = await pair(bench)
    await lost.lose(bench)
    await stays.client.emit("volatile-all", 1, namespace=stays.namespace)
    await stays.client.call("ack-none", namespace=stays.namespace)
    _, missed, _ = await come_back(bench, lost)
    expect_equal(missed, [])


@check(
    "recovery.back.live",
    "A recovered socket is reached by broadcasts and its rooms.",
    OFFICIAL,
    profile=PROFILE,
)
async def back_live(bench: Bench) -> None:
    lost, stays = await pair(bench)
    await lost.client.call("join", "r", namespace=lost.namespace)
    await lost.lose(bench)
    client, _, _ = await come_back(bench, lost)
    await client.receive_event("auth", lost.namespace)
    await stays.client.emit("to-room", ["r"], 1, namespace=stays.namespace)
    expect_equal((await client.receive_event("room", lost.namespace)).data[:-1], ["room", 1])


@check(
    "recovery.back.twice",
    "A session that was recovered may be lost and recovered again.",
    OFFICIAL,
    profile=PROFILE,
)
async def back_twice(bench: Bench) -> None:
    lost, stays = await pair(bench)
    await lost.lose(bench)
    client, _, answer = await come_back(bench, lost)
    greeting = await client.receive_event("auth", lost.namespace)
    again = Member(lost.namespace, client, answer.data, greeting.data[-1])
    assert isinstance(client.link, WebSocketSession)
    client.link.websocket.connection.abort()
    await bench.settle()
    await bench.settle()
    await stays.client.emit("all", 1, namespace=stays.namespace)
    await stays.client.call("ack-none", namespace=stays.namespace)
    _, missed, answer = await come_back(bench, again)
    expect_equal([packet.data[:-1] for packet in missed], [["all", 1]])
    expect_equal(answer.data["sid"], lost.sid)


REFUSED = "the answer has new ids, and no missed packets come"


async def expect_fresh(bench: Bench, lost: Member, **auth: Any) -> None:
    _, missed, answer = await come_back(bench, lost, **auth)
    expect_equal(missed, [], "missed packets")
    expect(answer.data["sid"] != lost.sid and answer.data["pid"] != lost.pid, "new ids", answer)


@check("recovery.fresh.unknown-pid", f"With an unknown pid {REFUSED}.", OFFICIAL, profile=PROFILE)
async def fresh_unknown_pid(bench: Bench) -> None:
    lost, _ = await pair(bench)
    await lost.lose(bench)
    await expect_fresh(bench, lost, pid="abcdefghijklmnopqrst")


@check("recovery.fresh.unknown-offset", f"With an unknown offset {REFUSED}.", OFFICIAL, profile=PROFILE)
async def fresh_unknown_offset(bench: Bench) -> None:
    lost, _ = await pair(bench)
    await lost.lose(bench)
    await expect_fresh(bench, lost, offset="nonsense")


@check("recovery.fresh.types", f"When pid or offset is no string {REFUSED}.", OFFICIAL, profile=PROFILE)
async def fresh_types(bench: Bench) -> None:
    lost, _ = await pair(bench)
    await lost.lose(bench)
    for auth in ({"pid": 1}, {"offset": 1}, {"pid": {"a": 1}}, {"offset": ["x"]}):  # null may count as none
        await expect_fresh(bench, lost, **auth)


@check(
    "recovery.fresh.other-namespace",
    f"In another namespace than the session's {REFUSED}.",
    OFFICIAL,
    profile=PROFILE,
)
async def fresh_other_namespace(bench: Bench) -> None:
    lost, _ = await pair(bench)
    await lost.lose(bench)
    lost.namespace = bench.dynamic()
    await expect_fresh(bench, lost)


@check("recovery.fresh.left", f"After the client left by itself {REFUSED}.", OFFICIAL, profile=PROFILE)
async def fresh_left(bench: Bench) -> None:
    lost, _ = await pair(bench)
    await lost.client.send(f"41{lost.namespace},")
    await bench.reasons(lost.sid)
    await expect_fresh(bench, lost)


@check(
    "recovery.fresh.disconnected",
    f"After the server disconnected the socket {REFUSED}.",
    OFFICIAL,
    profile=PROFILE,
)
async def fresh_disconnected(bench: Bench) -> None:
    lost, _ = await pair(bench)
    await lost.client.emit("leave-namespace", namespace=lost.namespace)
    await lost.client.expect_packet(DISCONNECT, namespace=lost.namespace)
    await bench.reasons(lost.sid)
    await expect_fresh(bench, lost)


@check(
    "recovery.fresh.parse-error",
    f"After a parse error of the Engine.IO protocol {REFUSED}.",
    OFFICIAL,
    profile=PROFILE,
)
async def fresh_parse_error(bench: Bench) -> None:
    lost, _ = await pair(bench)
    await lost.client.send("abc")
    await bench.reasons(lost.sid)
    await expect_fresh(bench, lost)


@check(
    "recovery.fresh.expired",
    f"After `maxDisconnectionDuration` {REFUSED}.",
    OFFICIAL,
    "timing",
    profile=PROFILE,
)
async def fresh_expired(bench: Bench) -> None:
    lost, _ = await pair(bench)
    await lost.lose(bench)
    await asyncio.sleep(2.2)
    await expect_fresh(bench, lost)


@check(
    "recovery.back.forced-close",
    "After a packet that could not be decoded the session can be recovered.",
    OFFICIAL,
    profile=PROFILE,
)
async def back_forced_close(bench: Bench) -> None:
    member = await Member.join(bench, "websocket", bench.dynamic())
    await member.client.send("42{}")
    await member.client.link.wait_ended()
    await bench.reasons(member.sid)
    _, _, answer = await come_back(bench, member)
    expect_equal(answer.data, {"sid": member.sid, "pid": member.pid})


@check(
    "recovery.back.auth",
    "A recovered socket has the auth payload it came back with.",
    OFFICIAL,
    profile=PROFILE,
)
async def back_auth(bench: Bench) -> None:
    lost, _ = await pair(bench)
    await lost.lose(bench)
    client, _, _ = await come_back(bench, lost, token="new")
    greeting = await client.receive_event("auth", lost.namespace)
    expect_equal(greeting.data[1], {"pid": lost.pid, "offset": lost.offset, "token": "new"})


@check(
    "recovery.back.middlewares",
    "A recovered socket skips the middlewares, when so configured.",
    OFFICIAL,
    profile=PROFILE,
)
async def back_middlewares(bench: Bench) -> None:
    namespace = bench.dynamic().replace("dynamic", "guarded")
    lost = await Member.join(bench, "polling", namespace, {"mode": "pass"})
    await lost.lose(bench)
    _, _, answer = await come_back(bench, lost, mode="plain")
    expect_equal(answer.data["sid"], lost.sid)
