"""The adapters of one process: whom they reach, and what recovery adds."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterable
from typing import Any

import anyio
import pytest

from sio_core import AdapterError
from sio_core.adapters.base import (
    Adapter,
    BroadcastOptions,
    LocalSockets,
    RecoverySettings,
    SavedSession,
    SocketDetails,
)
from sio_core.adapters.memory import MemoryAdapter, RecoveringMemoryAdapter, kept, revived
from sio_core.engineio.deadlines import NEVER, Deadlines
from sio_core.engineio.packet import Encoded
from sio_core.limits import Limits


class Sockets(LocalSockets):
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.delivered: list[tuple[list[str], list[Any]]] = []
        self.encodings = 0
        self.disconnected: list[tuple[list[str], bool]] = []
        self.times_gone = 0

    def encode(self, data: list[Any], options: BroadcastOptions, offset: str | None) -> list[Encoded]:
        self.encodings += 1
        text = " ".join([str(item) for item in data] + ([offset] if offset is not None else []))
        packets = [Encoded(text.encode(), False, options.compress)]
        return packets + [Encoded(item, True) for item in data if isinstance(item, bytes)]

    def deliver_encoded(
        self, ids: Iterable[str], packets: list[Encoded], data: list[Any], options: BroadcastOptions
    ) -> None:
        self.delivered.append((list(ids), [packet.data for packet in packets]))

    def deliver(self, ids: Iterable[str], data: list[Any], options: BroadcastOptions) -> None:
        self.delivered.append((list(ids), data))

    def deliver_with_ack(
        self,
        ids: Iterable[str],
        data: list[Any],
        options: BroadcastOptions,
        ack: Callable[[list[Any]], None],
        forget_after: float | None = None,
    ) -> int:
        chosen = list(ids)
        for member in chosen:
            ack([member])
        return len(chosen)

    def details(self, ids: Iterable[str]) -> list[SocketDetails]:
        return [SocketDetails(member, None, [], {}) for member in ids]

    def disconnect(self, ids: Iterable[str], close: bool) -> None:
        self.disconnected.append((list(ids), close))

    def receive_server_event(self, args: list[Any], ack: Callable[..., None] | None) -> None:
        raise AssertionError("there are no other nodes")

    def sessions_gone(self) -> None:
        self.times_gone += 1


class Recovering:
    """An adapter that recovers, with a clock to turn."""

    def __init__(self, **limits: int) -> None:
        self.now = 100.0
        self.sockets = Sockets()
        self.deadlines = Deadlines()
        self.hits: list[str] = []
        self.settings = RecoverySettings(
            120, 45, Limits(**limits), lambda: self.now, self.deadlines, self.hits.append
        )
        self.adapter = RecoveringMemoryAdapter("/chat", self.sockets, self.settings)
        self.epoch = ""

    def connect(self, member: str, *rooms: str) -> None:
        assert self.adapter.begin_session(member, None) == []
        self.adapter.add_all(member, (member, *rooms))

    def lose(self, member: str) -> None:
        rooms = list(self.adapter.rooms.members[member])
        self.adapter.save_session(SavedSession(member, f"pid of {member}", rooms, {"name": member}))
        self.adapter.remove_all(member)

    def claim(self, member: str, offset: str = "") -> SavedSession | None:
        return self.adapter.restore_session(f"pid of {member}", offset)

    def come_back(self, member: str, offset: str = "") -> list[list[bytes]] | None:
        session = self.claim(member, offset)
        if session is None:
            return None
        self.adapter.add_all(member, session.rooms)
        missed = self.adapter.begin_session(member, session)
        return None if missed is None else [[packet.data for packet in packets] for packets in missed]

    def offset(self, number: int) -> str:
        epoch = self.sockets.delivered[0][1][0].split()[-1].split(b".")[0]
        return f"{epoch.decode()}.{number}"


def make_plain() -> tuple[Adapter, Sockets]:
    sockets = Sockets()
    adapter = MemoryAdapter("/chat", sockets)
    adapter.add_all("anna", ["anna", "red"])
    adapter.add_all("bert", ["bert", "red", "blue"])
    adapter.add_all("carl", ["carl", "blue"])
    return adapter, sockets


@pytest.mark.parametrize(
    ("rooms", "except_", "chosen"),
    [
        ((), (), ["anna", "bert", "carl"]),
        (("red",), (), ["anna", "bert"]),
        (("red", "blue"), (), ["anna", "bert", "carl"]),
        (("blue",), ("red",), ["carl"]),
        ((), ("anna", "carl"), ["bert"]),
        (("green",), (), []),
    ],
)
def test_whom_it_chooses(rooms: tuple[str, ...], except_: tuple[str, ...], chosen: list[str]) -> None:
    adapter, sockets = make_plain()
    options = BroadcastOptions(rooms, except_)
    assert adapter.broadcast(["hello"], options) is None
    assert sockets.delivered == [(chosen, ["hello"])]

    counts: list[int] = []
    answers: list[list[Any]] = []
    adapter.broadcast_with_ack(["hello"], options, counts.append, answers.append)
    assert counts == [len(chosen)]
    assert answers == [[member] for member in chosen]

    async def fetch() -> list[str]:
        return [details.id for details in await adapter.fetch_sockets(options)]

    assert anyio.run(fetch) == chosen

    adapter.disconnect_sockets(options, True)
    assert sockets.disconnected == [(chosen, True)]

    adapter.add_sockets(options, ["new"])
    assert list(adapter.rooms.rooms.get("new", ())) == chosen
    adapter.remove_sockets(options, ["new", *rooms])
    assert "new" not in adapter.rooms.rooms
    assert all(room not in adapter.rooms.members[member] for member in chosen for room in rooms)


def test_leaving() -> None:
    adapter, _ = make_plain()
    adapter.remove("anna", ["red", "blue"])
    adapter.remove("nobody", ["red"])
    assert list(adapter.rooms.rooms["red"]) == ["bert"]
    adapter.remove_all("bert")
    assert "red" not in adapter.rooms.rooms
    assert "bert" not in adapter.rooms.members


def test_it_has_no_other_nodes() -> None:
    adapter, _ = make_plain()

    async def ask() -> int:
        adapter.start()
        with pytest.raises(AdapterError):
            adapter.server_side_emit(["hello"])
        with pytest.raises(AdapterError):
            await adapter.server_side_emit_with_ack(["hello"], None)
        await adapter.close()
        return await adapter.server_count()

    assert anyio.run(ask) == 1


def test_without_recovery() -> None:
    adapter, sockets = make_plain()
    session = SavedSession("anna", "pid", [], {})
    assert not adapter.recovers
    assert not adapter.keeps_sessions
    assert adapter.begin_session("anna", None) == []
    adapter.save_session(session)
    adapter.release_session(session)
    assert adapter.restore_session("pid", "") is None
    with pytest.raises(AdapterError):
        adapter.send("anna", ["hello"], True)
    assert sockets.recovery is None
    LocalSockets.sessions_gone(sockets)


def test_an_event_is_encoded_once_and_kept() -> None:
    world = Recovering()
    for name in ("anna", "bert", "carl"):
        world.connect(name)
    world.lose("anna")
    world.adapter.broadcast(["hello", b"bytes"], BroadcastOptions())
    assert world.sockets.encodings == 1
    members, [text, attachment] = world.sockets.delivered[0]
    assert members == ["bert", "carl"]
    assert attachment == b"bytes"
    assert world.come_back("anna") == [[text, attachment]]
    assert world.sockets.encodings == 1


@pytest.mark.parametrize(
    "packets",
    [
        [Encoded(b"42[1]")],
        [Encoded(b"42[1]", compress=False)],
        [Encoded(b"\x83", True)],
        [Encoded(b"451-[1]"), Encoded(b"\x01", True), Encoded(b"\x02", True)],
    ],
)
def test_packets_are_kept_as_they_are_but_without_what_was_built_of_them(packets: list[Encoded]) -> None:
    def facts(packets: list[Encoded]) -> list[tuple[bytes, bool, bool]]:
        return [(packet.data, packet.binary, packet.compress) for packet in packets]

    frames = [packet.frame() for packet in packets]
    again = revived(kept(packets))
    assert facts(again) == facts(packets)
    assert not any(one.frame() is frame for one, frame in zip(again, frames, strict=True))


def test_the_garbage_collector_need_not_look_at_what_is_kept() -> None:
    world = Recovering()
    world.connect("anna")
    world.adapter.broadcast(["first"], BroadcastOptions(["red"], ["blue"]))
    world.adapter.send("anna", ["first"], True)

    def tracked() -> int:
        world.sockets.delivered.clear()
        gc.collect()
        gc.collect()  # the first untracks what is inside, the second what held it
        return len(gc.get_objects())

    before = tracked()
    for number in range(500):
        world.adapter.broadcast(["news", number, b"bytes"], BroadcastOptions(["red"], ["blue"]))
        world.adapter.send("anna", ["news", number], True)
    assert tracked() - before < 200


def test_volatile_events_and_those_to_be_answered_are_not_kept() -> None:
    world = Recovering()
    world.connect("anna")
    world.adapter.broadcast(["volatile"], BroadcastOptions(volatile=True))
    world.adapter.broadcast_with_ack(["ask"], BroadcastOptions(), lambda count: None, lambda answer: None)
    world.lose("anna")
    assert world.sockets.delivered == [(["anna"], ["volatile"])]
    assert world.come_back("anna") == []


def test_private_events() -> None:
    world = Recovering()
    world.connect("anna")
    world.adapter.send("anna", ["one"], True)
    world.adapter.send("anna", ["two"], False)
    world.lose("anna")
    world.adapter.send("anna", ["three"], True)
    world.adapter.send("nobody", ["four"], True)
    assert [data.split()[0] for _, [data] in world.sockets.delivered] == [b"one", b"two", b"three"]
    assert world.come_back("anna", world.offset(1)) == [
        [f"two {world.offset(2)}".encode()],
        [f"three {world.offset(3)}".encode()],
    ]


def test_two_adapters_have_two_epochs() -> None:
    worlds = [Recovering(), Recovering()]
    for world in worlds:
        world.connect("anna")
        world.adapter.broadcast(["hello"], BroadcastOptions())
        world.lose("anna")
    first, second = worlds
    assert first.offset(1) != second.offset(1)
    assert first.come_back("anna", second.offset(1)) is None
    assert first.come_back("anna", first.offset(1)) == []


def test_rooms_stay_those_of_before(caplog: pytest.LogCaptureFixture) -> None:
    world = Recovering()
    world.connect("anna", "red")
    for cut in range(3):
        world.adapter.broadcast([f"red {cut}"], BroadcastOptions(("red",)))
        world.lose("anna")
        missed = world.come_back("anna")
        assert missed is not None
        assert len(missed) == cut + 1
    assert list(world.adapter.rooms.members["anna"]) == ["anna", "red"]


def test_why_a_session_is_not_recovered_is_logged_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    world = Recovering()
    world.connect("anna")
    world.lose("anna")
    assert world.claim("anna", "secret offset") is None
    assert world.claim("bert") is None
    world.now += 121
    assert world.claim("anna") is None
    assert [record.getMessage() for record in caplog.records] == [
        f"a session of namespace '/chat' is not recovered: {reason}"
        for reason in (
            "the offset is none of this server's",
            "the session is unknown: it ended in order, is in use, or was dropped",
            "the client was away for too long",
        )
    ]
    assert {record.levelno for record in caplog.records} == {logging.INFO}


def test_a_claim_that_is_used_too_late() -> None:
    world = Recovering()
    world.connect("anna")
    world.lose("anna")
    session = world.claim("anna")
    assert session is not None
    world.now += 121
    assert world.adapter.begin_session("anna", session) is None
    world.now -= 121
    assert world.adapter.begin_session("anna", session) == []
    assert world.adapter.begin_session("anna", session) is None


def test_time_lets_everything_go_and_then_nothing_is_scheduled() -> None:
    world = Recovering()
    assert world.deadlines.next == NEVER
    world.connect("anna")
    assert world.deadlines.next == NEVER
    world.adapter.broadcast(["hello"], BroadcastOptions())
    world.adapter.send("anna", ["hello"], True)
    world.lose("anna")
    assert world.adapter.keeps_sessions
    rounds = 0
    while world.deadlines.next != NEVER:
        rounds += 1
        world.now = world.deadlines.next
        world.deadlines.run(world.now)
    assert rounds == 6
    assert len(world.adapter._log) == 0
    assert not world.adapter.keeps_sessions
    assert world.sockets.times_gone >= 1
    world.adapter.broadcast(["again"], BroadcastOptions())
    assert world.deadlines.next != NEVER


def test_bounds_that_are_hit_are_counted() -> None:
    world = Recovering(recovery_packets=1, recovery_sessions=1)
    for name in ("anna", "bert"):
        world.connect(name)
        world.adapter.broadcast(["hello"], BroadcastOptions())
        world.lose(name)
    assert world.hits == ["recovery_packets", "recovery_sessions"]
    assert world.come_back("anna") is None
