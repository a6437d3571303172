"""Threats to connection state recovery: rows T57 to T61 of docs/threat-model.md."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest

from conformance.peer.engineio import WebSocketSession
from conformance.peer.packets import Packet, parse_message
from tests.security.witness import KEPT_FOR_RECOVERY, PATIENCE, Stand, eventually

pytestmark = pytest.mark.anyio

PATH = "/recovery/"
CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR = range(5)


@dataclass
class Joined:
    """What a client has after it was let in.

    :ivar missed: the events that it was sent again, before it was told that it is in.
    :ivar offset: the last one it knows.
    """

    link: WebSocketSession
    sid: str
    pid: str
    missed: list[Packet]
    offset: str

    @property
    def claim(self) -> dict[str, str]:
        return {"pid": self.pid, "offset": self.offset}

    async def receive(self) -> Packet:
        """The next packet; a ping is answered."""
        async with asyncio.timeout(PATIENCE):
            while (message := await self.link.receive()) == "2":
                await self.link.send("3")
        return parse_message(str(message))

    async def event(self, name: str) -> list[Any]:
        """Wait for an event; return its arguments, and keep its offset."""
        while (packet := await self.receive()).type != EVENT or packet.data[0] != name:
            pass
        self.offset = packet.data[-1]
        return list(packet.data[1:-1])

    async def lose(self, stand: Stand) -> None:
        """Lose the connection, and wait until the server has noticed."""
        self.link.websocket.connection.abort()

        async def is_noticed() -> bool:
            return any(entry[0] == "disconnect" for entry in await stand.happened())

        await eventually(is_noticed)


async def join(stand: Stand, namespace: str = "/", **auth: Any) -> Joined | Packet:
    """Connect with an auth payload; return what one has then, or the refusal."""
    stand.may_keep = KEPT_FOR_RECOVERY
    link = await stand.peer(PATH).websocket()
    place = "" if namespace == "/" else f"{namespace},"
    await link.send(f"40{place}{json.dumps(auth)}")
    joined = Joined(link, "", "", [], "")
    while (packet := await joined.receive()).type != CONNECT:
        if packet.type == CONNECT_ERROR:
            return packet
        joined.missed.append(packet)
    joined.sid, joined.pid = packet.data["sid"], packet.data["pid"]
    await joined.event("auth")
    return joined


async def let_in(stand: Stand, namespace: str = "/", **auth: Any) -> Joined:
    joined = await join(stand, namespace, **auth)
    assert isinstance(joined, Joined), joined
    return joined


async def broadcast(stand: Stand, count: int, size: int = 1) -> None:
    """Have somebody say something to everybody."""
    sender = await let_in(stand)
    for number in range(count):
        await sender.link.send(f'42["relay",{number},"{"x" * size}"]')
    await sender.link.send('421["echo"]')
    while (await sender.receive()).type != ACK:
        pass


# T57


@pytest.mark.threat("T57")
async def test_a_stolen_private_id_is_of_no_use_to_another_user(stand: Stand) -> None:
    """The middlewares see whose session it is; who is refused has not used it up."""
    owner = await let_in(stand, user="ann")
    await owner.lose(stand)
    thief = await join(stand, user="bob", **owner.claim)
    assert isinstance(thief, Packet)
    assert thief.data == {"message": "not you"}
    await broadcast(stand, 2)
    back = await let_in(stand, user="ann", **owner.claim)
    assert back.sid == owner.sid
    assert [packet.data[1] for packet in back.missed] == [0, 1]


@pytest.mark.threat("T57")
async def test_a_private_id_is_good_in_its_namespace_only_and_nobody_else_sees_it(stand: Stand) -> None:
    owner = await let_in(stand, user="ann")
    other = await let_in(stand, user="bob")
    await owner.link.send('42["relay","hello"]')
    assert await other.event("relayed") == ["hello"]
    await owner.lose(stand)
    elsewhere = await let_in(stand, "/other", user="ann", **owner.claim)
    assert elsewhere.sid != owner.sid
    assert owner.pid not in json.dumps(await stand.witness.inspect("lines"))
    assert len(owner.pid) == 20
    assert len({owner.pid, owner.sid, owner.link.sid, other.pid}) == 4


# T58


@pytest.mark.threat("T58")
async def test_two_claims_at_once_make_one_socket(stand: Stand) -> None:
    owner = await let_in(stand)
    await owner.lose(stand)
    claims = [asyncio.create_task(join(stand, **owner.claim)) for _ in range(5)]
    done, pending = await asyncio.wait(claims, timeout=2.0)
    for claim in pending:  # their connections have ended before they were let in
        claim.cancel()
    seen = [claim.result() for claim in done if claim.exception() is None]
    assert seen

    async def is_one() -> bool:
        census = await stand.witness.inspect("census")
        return bool(census["objects"]["Socket"] == 2)  # the witness's and the owner's

    await eventually(is_one)
    assert {claim.sid for claim in seen if isinstance(claim, Joined)} == {owner.sid}


@pytest.mark.threat("T58")
async def test_a_wrong_offset_does_not_use_the_session_up(stand: Stand) -> None:
    owner = await let_in(stand)
    await owner.lose(stand)
    await broadcast(stand, 3)
    for offset in ("wrong", owner.offset + "0" * 20, "", owner.offset[:-1] + "\u0660"):
        if offset:
            assert (await let_in(stand, pid=owner.pid, offset=offset)).sid != owner.sid
    back = await let_in(stand, **owner.claim)
    assert back.sid == owner.sid
    assert [packet.data[1] for packet in back.missed] == [0, 1, 2]


@pytest.mark.threat("T58")
async def test_what_is_kept_is_bounded_and_never_given_in_part(stand: Stand) -> None:
    owner = await let_in(stand)
    await owner.lose(stand)
    await broadcast(stand, 60)  # of which 50 are kept
    back = await let_in(stand, **owner.claim)
    assert back.sid != owner.sid
    assert back.missed == []
    lost = [await let_in(stand) for _ in range(8)]  # of whom 5 are kept
    for client in lost:
        await client.lose(stand)
    again = [(await let_in(stand, **client.claim)).sid for client in lost]
    assert [sid == client.sid for sid, client in zip(again, lost, strict=True)] == [False] * 3 + [True] * 5


# T59


@pytest.mark.threat("T59")
async def test_who_was_banned_meanwhile_stays_out(stand: Stand) -> None:
    owner = await let_in(stand)
    await owner.lose(stand)
    await broadcast(stand, 1)
    refused = await join(stand, banned=True, **owner.claim)
    assert isinstance(refused, Packet), "the middlewares did not run"
    assert refused.data == {"message": "not you"}


# T60


@pytest.mark.threat("T60")
async def test_a_client_without_an_event_yet_recovers(stand: Stand) -> None:
    """It knows no offset, and gets all since it was let in."""
    owner = await let_in(stand)
    await owner.lose(stand)
    await broadcast(stand, 2)
    back = await let_in(stand, pid=owner.pid)
    assert back.sid == owner.sid
    assert [packet.data[:2] for packet in back.missed] == [["auth", {}], ["relayed", 0], ["relayed", 1]]


@pytest.mark.threat("T60")
async def test_a_client_recovers_again_and_again_without_hearing_anything_twice(stand: Stand) -> None:
    """What is sent again has its offset, so that it is not sent a third time."""
    client = await let_in(stand)
    sid = client.sid
    for round_number in range(4):
        await client.lose(stand)
        await broadcast(stand, 2)
        client = await let_in(stand, **client.claim)
        assert client.sid == sid, round_number
        assert [packet.data[1] for packet in client.missed] == [0, 1]
        assert all(isinstance(packet.data[-1], str) for packet in client.missed)


@pytest.mark.threat("T60")
async def test_a_quiet_client_recovers_though_its_last_event_is_long_gone(stand: Stand) -> None:
    client = await let_in(stand)
    await client.link.send('421["join","quiet"]')
    while (await client.receive()).type != ACK:
        pass
    talker = await let_in(stand)
    for number in range(80):
        await talker.link.send(f'42["say","nobody",{number}]')
    await talker.link.send('421["echo"]')
    while (await talker.receive()).type != ACK:
        pass
    async with asyncio.timeout(PATIENCE):
        while await client.link.receive() != "2":
            pass
    await client.link.send("3", '421["echo"]')  # what was sent before this ping has arrived
    while (await client.receive()).type != ACK:
        pass
    await client.lose(stand)
    back = await let_in(stand, **client.claim)
    assert back.sid == client.sid
    assert back.missed == []


# T61


@pytest.mark.threat("T61")
async def test_odd_claims_are_new_sessions(stand: Stand) -> None:
    owner = await let_in(stand)
    await owner.lose(stand)
    odd: list[Any] = [
        1, True, [], {}, "", "x", "x" * 100_000, "__proto__", {"$ne": None}, {"$gt": ""}, "*", "..", "\x00", "\ud800",
        [owner.pid], {"toString": owner.pid},
    ]  # fmt: skip
    for value in odd:
        claim = await let_in(stand, pid=value, offset=owner.offset)
        assert claim.sid != owner.sid
        assert claim.missed == []
        if value != "":  # that is what one has who has heard nothing yet
            assert (await let_in(stand, pid=owner.pid, offset=value)).sid != owner.sid
    assert (await let_in(stand, **owner.claim)).sid == owner.sid
