"""Recovery against a plain model, and its single rules one by one."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sio_core.adapters.base import (
    Adapter,
    BroadcastOptions,
    LocalSockets,
    RecoverySettings,
    SavedSession,
    SocketDetails,
)
from sio_core.adapters.memory import RecoveringMemoryAdapter
from sio_core.api.socket import RECOVERABLE
from sio_core.engineio.deadlines import Deadlines
from sio_core.engineio.packet import Encoded
from sio_core.limits import Limits
from sio_core.socketio.recovery import (
    BAD_OFFSET,
    EXPIRED,
    FUTURE_OFFSET,
    OTHER_LIFE,
    OVERHEAD,
    PRIVATE_EVENTS_GONE,
    SHARED_EVENTS_GONE,
    UNKNOWN_SESSION,
    LostSession,
    RecoveryLog,
)

WINDOW = 120.0
GRACE = 45.0

ROOMS = ["red", "green", "blue"]
PEOPLE = st.integers(0, 4)


# One rule at a time


class Log:
    """A log with what the tests say often."""

    def __init__(self, **limits: int) -> None:
        self.hits: list[str] = []
        self._log = RecoveryLog[str]("epoch-00", WINDOW, GRACE, Limits(**limits), self.hits.append)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def __len__(self) -> int:
        return len(self._log)

    def send(
        self, content: str, rooms: Collection[str] = (), except_: Collection[str] = (), at: float = 1
    ) -> str:
        offset = self.next_offset()
        self.add(content, len(content), rooms, except_, at)
        return offset

    def send_private(self, member: str, content: str, at: float = 1) -> str:
        offset = self.next_offset()
        self.add_private(member, content, len(content), at)
        return offset

    def lose(
        self, member: str, rooms: dict[str, int] | None = None, confirmed: float = 0, at: float = 2
    ) -> None:
        self.save(member, "pid-" + member, {member: 0} if rooms is None else rooms, {}, confirmed, at)

    def missed(self, member: str, offset: str, at: float = 3) -> list[str] | str:
        found = self.find("pid-" + member, offset, at)
        return found if isinstance(found, str) else self.resume(found, found.rooms, at)


def lost(**limits: int) -> Log:
    """A log with one lost client, ``anna``, who has missed one event."""
    log = Log(**limits)
    log.begin("anna", 0)
    log.lose("anna")
    log.send("missed", at=2)
    return log


def test_offsets_are_strings_that_grow_and_name_their_epoch() -> None:
    log = Log()
    assert [log.next_offset() for _ in range(3)] == ["epoch-00.1", "epoch-00.2", "epoch-00.3"]


def test_what_came_after_the_offset_is_sent_again_in_order() -> None:
    log = Log()
    log.begin("anna", 0)
    log.send("one")
    offset = log.send_private("anna", "two")
    log.send_private("anna", "three")
    log.send("four")
    log.lose("anna")
    log.send_private("anna", "five", at=2)
    log.send("six", at=2)
    assert log.missed("anna", offset) == ["three", "four", "five", "six"]


def test_a_client_that_never_got_an_event_gets_all_since_its_connection() -> None:
    log = Log()
    log.send("before")
    log.begin("anna", 0)
    log.send("after")
    log.lose("anna")
    assert log.missed("anna", "") == ["after"]


def test_an_offset_of_an_earlier_session_counts_as_none() -> None:
    """The official client keeps its last offset when it gets a new session."""
    log = Log()
    offset = log.send("before")
    log.send("not for anna")
    log.begin("anna", 0)
    log.send("after")
    log.lose("anna")
    assert log.missed("anna", offset) == ["after"]


def test_a_session_is_consumed_once() -> None:
    log = lost()
    assert log.missed("anna", "") == ["missed"]
    assert log.missed("anna", "") == UNKNOWN_SESSION


def test_it_can_be_recovered_any_number_of_times() -> None:
    log = lost()
    assert log.missed("anna", "") == ["missed"]
    log.lose("anna", at=4)  # before any of it arrived
    log.send("also missed", at=4)
    assert log.missed("anna", "", at=5) == ["missed", "also missed"]
    log.lose("anna", at=6)
    assert log.missed("anna", "epoch-00.1", at=7) == ["also missed"]


@pytest.mark.parametrize(
    ("offset", "reason"),
    [
        ("epoch-00.2", FUTURE_OFFSET),
        ("epoch-00.9999999999999999", FUTURE_OFFSET),
        ("epoch-00.99999999999999999", OTHER_LIFE),
        ("epoch-01.1", OTHER_LIFE),
        ("epoch-00.-1", OTHER_LIFE),
        ("epoch-00. 1", OTHER_LIFE),
        ("epoch-00.1\n", OTHER_LIFE),
        ("epoch-00.¹", OTHER_LIFE),
        ("epoch-00.", OTHER_LIFE),
        ("1", BAD_OFFSET),
        ("hello", BAD_OFFSET),
        ("1700000000000-0", BAD_OFFSET),
        ("0" * 100_000, BAD_OFFSET),
    ],
)
def test_a_wrong_offset_does_not_burn_the_session(offset: str, reason: str) -> None:
    log = lost()
    assert log.missed("anna", offset) == reason
    assert log.missed("anna", "") == ["missed"]


def test_unknown_sessions() -> None:
    log = lost()
    assert log.find("pid-bert", "", 3) == UNKNOWN_SESSION
    log.begin("bert", 3)
    log.end("bert")  # left in order
    assert log.find("pid-bert", "", 3) == UNKNOWN_SESSION


def test_the_window() -> None:
    assert lost().missed("anna", "", at=2 + WINDOW) == ["missed"]
    assert lost().missed("anna", "", at=2.01 + WINDOW) == EXPIRED


def test_a_claim_may_expire_before_it_is_used() -> None:
    log = lost()
    found = log.find("pid-anna", "", 3)
    assert isinstance(found, LostSession)
    assert log.resume(found, found.rooms, 3 + WINDOW) == EXPIRED
    assert log.resume(found, found.rooms, 3) == ["missed"]
    assert log.resume(found, found.rooms, 3) == EXPIRED  # used already


def test_events_are_for_those_who_were_in_the_room_when_they_were_sent() -> None:
    log = Log()
    log.begin("anna", 0)
    log.send("too early", ["red"])
    rooms = {"anna": 0, "red": log.position}
    log.send("in time", ["red"])
    log.send("elsewhere", ["blue"])
    log.send("in one of them", ["blue", "red"])
    log.leave("anna", "red", rooms.pop("red"), 1)
    log.send("too late", ["red"])
    rooms["red"] = log.position
    log.send("in time again", ["red"])
    log.lose("anna", rooms)
    log.send("while away", ["red"], at=2)
    assert log.missed("anna", "") == ["in time", "in one of them", "in time again", "while away"]


def test_exceptions_too() -> None:
    log = Log()
    log.begin("anna", 0)
    log.send("not for anna", [], ["anna"])
    log.send("for anna yet", [], ["red"])
    rooms = {"anna": 0, "red": log.position}
    log.send("not for red", [], ["red"])
    log.leave("anna", "red", rooms.pop("red"), 1)
    log.send("for anna again", [], ["red", "blue"])
    log.lose("anna", rooms)
    assert log.missed("anna", "") == ["for anna yet", "for anna again"]


def test_private_events_do_not_push_the_shared_history_out() -> None:
    log = Log(recovery_packets=3, recovery_private_packets=2)
    for name in ("anna", "bert"):
        log.begin(name, 0)
    log.send("shared")
    for _ in range(100):
        log.send_private("bert", "private")
    log.lose("anna")
    log.lose("bert")
    assert log.missed("anna", "") == ["shared"]
    assert log.missed("bert", "") == PRIVATE_EVENTS_GONE
    assert log.missed("bert", "epoch-00.99") == ["private", "private"]
    assert log.hits == ["recovery_private_packets"] * 98


def test_more_events_than_are_kept() -> None:
    log = lost(recovery_packets=2)
    log.send("two", at=2)
    assert log.missed("anna", "") == ["missed", "two"]
    log = lost(recovery_packets=2)
    log.send("two", at=2)
    log.send("three", at=2)
    assert log.missed("anna", "") == SHARED_EVENTS_GONE
    assert log.missed("anna", "epoch-00.1") == ["two", "three"]
    assert log.hits == ["recovery_packets"]


def test_more_bytes_than_are_kept() -> None:
    log = lost(recovery_bytes=3 * OVERHEAD)
    log.send("x" * OVERHEAD, at=2)
    assert log.missed("anna", "") == SHARED_EVENTS_GONE
    log.send("x" * 3 * OVERHEAD, at=2)
    assert (len(log), log.bytes) == (0, 0)
    assert log.hits == ["recovery_bytes"] * 3


def test_more_private_bytes_than_are_kept() -> None:
    log = Log(recovery_private_bytes=3 * OVERHEAD)
    for name in ("anna", "bert"):
        log.begin(name, 0)
        log.send_private(name, "x")
    log.send_private("bert", "y")
    for name in ("anna", "bert"):
        log.lose(name)
    assert log.missed("anna", "") == PRIVATE_EVENTS_GONE
    assert log.missed("bert", "") == ["x", "y"]
    assert log.private_bytes == 2 * OVERHEAD + 2


def test_nothing_of_dropped_private_events_piles_up() -> None:
    log = Log(recovery_private_packets=10)
    log.begin("anna", 0)
    log.begin("bert", 0)
    for _ in range(1_000):
        log.send_private("anna", "x")
    log.send_private("bert", "x")
    assert len(log) == 11
    assert len(log._ranking) == 2
    log.end("anna")
    assert len(log) == 1
    assert log.prune(2 + WINDOW + GRACE) is False
    assert log._ranking == []
    assert log.private_bytes == 0


def test_the_oldest_private_event_of_all_is_dropped() -> None:
    log = Log(recovery_private_bytes=4 * (OVERHEAD + 1), recovery_private_packets=2)
    for name in ("anna", "bert", "carl"):
        log.begin(name, 0)
    for name in ("anna", "anna", "bert", "anna", "bert", "carl"):
        log.send_private(name, name[0])  # the first of anna's goes as the third comes, then her second
        kept = [[number for number, *_ in track.private or ()] for track in log._tracks.values()]
    assert kept == [[4], [3, 5], [6]]
    assert log.hits == ["recovery_private_packets", "recovery_private_bytes"]


def test_more_sessions_than_are_kept() -> None:
    log = Log(recovery_sessions=2)
    for name in ("anna", "bert", "carl"):
        log.begin(name, 2)
        log.send_private(name, name, at=2)
        log.lose(name)
    assert log.missed("anna", "") == UNKNOWN_SESSION
    assert log.missed("carl", "") == ["carl"]
    assert log.hits == ["recovery_sessions"]
    assert len(log) == 2


def test_more_departures_than_are_kept() -> None:
    log = Log(recovery_departures=1)
    log.begin("anna", 0)
    for room in ("red", "blue"):
        joined = log.position
        log.send(room, [room])
        log.leave("anna", room, joined, 1)
    log.lose("anna")
    assert log.missed("anna", "") == PRIVATE_EVENTS_GONE
    assert log.missed("anna", "epoch-00.1") == ["blue"]
    assert log.hits == ["recovery_departures"]


def test_a_quiet_client_recovers_although_its_offset_is_long_gone() -> None:
    log = Log()
    log.begin("anna", 0)
    offset = log.send("for all", at=1)
    for second in range(1, 3_600):
        log.send("noise", ["red"], at=second)
    log.lose("anna", confirmed=3_580, at=3_600)
    log.prune(3_600)
    assert len(log) == WINDOW + GRACE
    log.send("missed", at=3_601)
    assert log.missed("anna", offset, at=3_700) == ["missed"]


def test_what_is_not_known_to_have_arrived_must_be_there() -> None:
    log = Log(recovery_packets=10)
    log.begin("anna", 0)
    for second in range(1, 100):
        log.send("noise", ["red"], at=second)
    log.lose("anna", confirmed=80, at=100)
    assert log.missed("anna", "", at=101) == SHARED_EVENTS_GONE


def test_a_replay_counts_as_arrived_only_when_it_was_confirmed() -> None:
    log = lost()
    assert log.missed("anna", "", at=100) == ["missed"]
    log.lose("anna", confirmed=99, at=101)  # confirmed on the new connection, but before the replay
    log.prune(2 + WINDOW + GRACE + 1)  # the missed event is dropped
    assert log.missed("anna", "", at=2 + WINDOW + GRACE + 2) == SHARED_EVENTS_GONE


@pytest.mark.threat("T58")
def test_old_things_go_without_anything_happening() -> None:
    log = lost()
    log.begin("bert", 2)
    log.send_private("bert", "private", at=2)
    assert log.prune(2 + WINDOW)
    assert len(log) == 2
    assert log.prune(2.01 + WINDOW)
    assert not log.sessions
    assert not log.prune(2.01 + WINDOW + GRACE)
    assert (len(log), log.bytes, log.private_bytes) == (0, 0, 0)


def test_another_clock_makes_everything_old() -> None:
    acts: list[Callable[[Log], object]] = [
        lambda log: log.find("pid-anna", "", 0.5),
        lambda log: log.prune(0.5),
        lambda log: log.send("x", at=0.5),
        lambda log: log.send_private("bert", "x", at=0.5),
        lambda log: log.lose("bert", at=0.5),
    ]
    for act in acts:
        log = lost()
        log.begin("bert", 2)
        log.send_private("bert", "private", at=2)
        act(log)
        assert log.find("pid-anna", "", 1) == UNKNOWN_SESSION
        assert not log.knows("anna")
        log.lose("bert", at=1)
        assert log.missed("bert", "epoch-00.1") in (PRIVATE_EVENTS_GONE, SHARED_EVENTS_GONE, UNKNOWN_SESSION)


def test_nothing_is_kept_of_those_who_are_not_known() -> None:
    log = Log()
    log.lose("nobody")
    log.leave("nobody", "red", 0, 1)
    log.end("nobody")
    assert not log.knows("nobody")
    assert not log.sessions


# All rules at a time


@dataclass
class Sent:
    """An event of the model, and the stays in rooms through which it is for someone; ``None``: it is for everyone."""

    number: int
    kept: bool
    through: set[int] | None


@dataclass
class Person:
    """A client, and what it should know.

    :ivar rooms: each with a number that is new for every stay.
    :ivar visible: what was sent to it, or would have been were it connected, since its session began.
    :ivar received: the numbers that have arrived.
    :ivar wire: what is on its way.
    """

    id: str
    pid: str
    rooms: dict[str, int]
    connected: bool = True
    claimed: SavedSession | None = None
    lost_at: float = 0.0
    confirmed: float = 0.0
    ponged: float = 0.0
    resumed: float = 0.0
    offset: str = ""
    spoiled: bool = False
    visible: list[Sent] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    wire: list[list[Encoded]] = field(default_factory=list)

    def missed(self) -> list[int]:
        """What must be sent again."""
        return [event.number for event in self.visible if event.kept and event.number not in self.received]


class Wire(LocalSockets):
    """The sockets of the machine: what is sent to them waits to arrive."""

    def __init__(self, settings: RecoverySettings) -> None:
        self.settings = settings
        self.people: dict[str, Person] = {}
        self.gone = 0
        self.offsets: list[str] = []

    @property
    def recovery(self) -> RecoverySettings | None:
        return self.settings

    def sessions_gone(self) -> None:
        self.gone += 1

    def encode(self, data: list[Any], options: BroadcastOptions, offset: str | None) -> list[Encoded]:
        if offset is not None:
            self.note_offset(offset)
        binary = [item for item in data if isinstance(item, bytes)]
        texts = [item for item in data if not isinstance(item, bytes)]
        text = json.dumps([*texts, offset] if offset is not None else texts).encode()
        return [Encoded(text), *[Encoded(item, True) for item in binary]]

    def note_offset(self, offset: str) -> None:
        """Every offset is later than the one before."""
        epoch, _, number = offset.partition(".")
        if self.offsets:
            last_epoch, _, last = self.offsets[-1].partition(".")
            assert epoch == last_epoch
            assert int(number) > int(last)
        self.offsets.append(offset)

    def deliver_encoded(
        self, ids: Iterable[str], packets: list[Encoded], data: list[Any], options: BroadcastOptions
    ) -> None:
        for member in ids:
            person = self.people.get(member)
            if person is not None and person.connected:
                person.wire.append(packets)

    def deliver(self, ids: Iterable[str], data: list[Any], options: BroadcastOptions) -> None:
        self.deliver_encoded(ids, self.encode(data, options, None), data, options)

    def deliver_with_ack(
        self,
        ids: Iterable[str],
        data: list[Any],
        options: BroadcastOptions,
        ack: Callable[[list[Any]], None],
        forget_after: float | None = None,
    ) -> int:
        self.deliver(ids, data, options)
        return 0

    def details(self, ids: Iterable[str]) -> list[SocketDetails]:
        raise AssertionError("no rule here leads to this")

    def disconnect(self, ids: Iterable[str], close: bool) -> None:
        raise AssertionError("no rule here leads to this")

    def receive_server_event(self, args: list[Any], ack: Callable[..., None] | None) -> None:
        raise AssertionError("no rule here leads to this")


def has(where: Callable[[Person], bool]) -> Callable[[Recoveries], bool]:
    """Whether there is such a person."""
    return lambda machine: any(where(person) for person in machine.people)


def is_connected(person: Person) -> bool:
    return person.connected


def is_away(person: Person) -> bool:
    return not person.connected and person.claimed is None


def is_waiting(person: Person) -> bool:
    return person.claimed is not None


class Recoveries(RuleBasedStateMachine):
    """Clients come, join, leave, get lost and come back; the model knows what each should have received.

    Written against the seam of adapters, so that it can drive any that recovers.
    """

    limits = Limits()
    must_recover = True

    def __init__(self) -> None:
        super().__init__()
        self.now = 1_000.0
        self.deadlines = Deadlines()
        self.hits: list[str] = []
        self.settings = RecoverySettings(
            WINDOW, GRACE, self.limits, lambda: self.now, self.deadlines, self.hits.append
        )
        self.local = Wire(self.settings)
        self.adapter = self.make_adapter()
        self.people: list[Person] = []
        self.number = 0
        self.names = 0
        self.stays = 0

    def make_adapter(self) -> Adapter:
        return RecoveringMemoryAdapter("/", self.local, self.settings)

    # Helpers

    def choose(self, index: int, where: Callable[[Person], bool]) -> Person:
        people = [person for person in self.people if where(person)]
        return people[index % len(people)]

    def is_addressed(self, person: Person, rooms: Collection[str], except_: Collection[str]) -> bool:
        return (not rooms or any(room in person.rooms for room in rooms)) and not any(
            room in person.rooms for room in except_
        )

    def note(self, rooms: Collection[str], except_: Collection[str], kept: bool) -> None:
        """An event is sent."""
        self.number += 1
        for person in self.people:
            if (person.connected or kept) and self.is_addressed(person, rooms, except_):
                through = {person.rooms[room] for room in rooms if room in person.rooms}
                person.visible.append(Sent(self.number, kept, through if rooms else None))

    def stay(self) -> int:
        self.stays += 1
        return self.stays

    def arrive(self, person: Person, count: int) -> None:
        """Let some of what is on its way arrive, as the official client takes it."""
        for packets in person.wire[:count]:
            values = json.loads(packets[0].data)
            person.received.append(values[0])
            if isinstance(values[-1], str):
                person.offset = values[-1]
                person.spoiled = not values[-1].startswith(self.prefix)
        del person.wire[:count]

    @property
    def prefix(self) -> str:
        offsets = self.local.offsets
        return offsets[0].partition(".")[0] if offsets else "?"

    # Rules

    @initialize(rooms=st.lists(st.sampled_from(ROOMS), min_size=3, max_size=3))
    def begin(self, rooms: list[str]) -> None:
        for index, room in enumerate(rooms):
            self.connect()
            self.move(index, room, True, False)

    @precondition(lambda self: len(self.people) < 5)
    @rule()
    def connect(self) -> None:
        self.names += 1
        person = Person(f"id{self.names}", f"pid{self.names}", {})
        self.admit_new(person)

    def admit_new(self, person: Person) -> None:
        self.local.people[person.id] = person
        if person not in self.people:
            self.people.append(person)
        assert self.adapter.begin_session(person.id, None) == []
        person.connected = True
        person.claimed = None
        person.visible, person.received, person.wire = [], [], []
        person.resumed = person.confirmed = self.now
        person.rooms = {person.id: self.stay()}
        self.adapter.add_all(person.id, (person.id,))

    @precondition(has(is_connected))
    @rule(index=PEOPLE, room=st.sampled_from(ROOMS), enter=st.booleans(), many=st.booleans())
    def move(self, index: int, room: str, enter: bool, many: bool) -> None:
        person = self.choose(index, is_connected)
        if enter:
            person.rooms.setdefault(room, self.stay())
        else:
            person.rooms.pop(room, None)
        if many:
            act = self.adapter.add_sockets if enter else self.adapter.remove_sockets
            assert act(BroadcastOptions([person.id]), [room]) is None
        elif enter:
            self.adapter.add_all(person.id, [room])
        else:
            self.adapter.remove(person.id, [room])

    @rule(
        kind=st.sampled_from(["kept", "kept", "kept", "kept", "binary", "volatile", "ack", "volatile text"]),
        rooms=st.lists(st.sampled_from(ROOMS), max_size=2, unique=True),
        except_=st.lists(st.sampled_from(ROOMS), max_size=1),
        not_to=st.none() | PEOPLE,
    )
    def broadcast(self, kind: str, rooms: list[str], except_: list[str], not_to: int | None) -> None:
        if not_to is not None and has(is_connected)(self):
            except_ = [*except_, self.choose(not_to, is_connected).id]
        self.note(rooms, except_, kind in {"kept", "binary"})
        data: list[Any] = [self.number]
        if kind == "binary":
            data.append(b"attachment")
        elif kind == "volatile text":  # the official client takes it for an offset
            data.append("text")
        sent = list(data)
        options = BroadcastOptions(tuple(rooms), tuple(except_), volatile=kind.startswith("volatile"))
        if kind == "ack":
            self.adapter.broadcast_with_ack(data, options, lambda count: None, lambda answer: None)
        else:
            assert self.adapter.broadcast(data, options) is None
        assert data == sent

    @precondition(lambda self: self.people)
    @rule(index=PEOPLE, count=st.integers(1, 4))
    def send_to_one(self, index: int, count: int) -> None:
        person = self.choose(index, lambda person: True)
        for _ in range(count):
            self.number += 1
            person.visible.append(Sent(self.number, True, None))
            self.adapter.send(person.id, [self.number], True)

    @precondition(has(is_connected))
    @rule(index=PEOPLE, count=st.integers(1, 5), pong=st.booleans())
    def arrival(self, index: int, count: int, pong: bool) -> None:
        person = self.choose(index, is_connected)
        if pong:
            self.heartbeat(person)
        else:
            self.arrive(person, count)

    def heartbeat(self, person: Person) -> None:
        self.arrive(person, len(person.wire))
        person.ponged = self.now

    @precondition(has(is_connected))
    @rule(index=PEOPLE, arrived=st.integers(0, 3), reason=st.sampled_from([*sorted(RECOVERABLE), "in order"]))
    def lose(self, index: int, arrived: int, reason: str) -> None:
        person = self.choose(index, is_connected)
        self.arrive(person, arrived)
        person.wire.clear()
        person.connected = False
        person.lost_at = self.now
        if person.ponged > person.resumed:
            person.confirmed = person.ponged
        if reason in RECOVERABLE:
            session = SavedSession(person.id, person.pid, sorted(person.rooms), person, person.ponged)
            self.adapter.save_session(session)
        self.adapter.remove_all(person.id)
        if reason not in RECOVERABLE:
            self.people.remove(person)
            del self.local.people[person.id]
            assert self.adapter.restore_session(person.pid, person.offset) is None

    @precondition(has(is_away))
    @rule(index=PEOPLE, wait=st.booleans(), room=st.none() | st.sampled_from(ROOMS))
    def come_back(self, index: int, wait: bool, room: str | None) -> None:
        """A lost client comes back; perhaps it has to wait for the middlewares."""
        person = self.choose(index, is_away)
        for forged in ("x", "9", "other-00.3", f"{self.prefix}.999999"):
            assert self.adapter.restore_session(person.pid, forged) is None  # and costs the owner nothing
        session = self.adapter.restore_session(person.pid, person.offset)
        if session is None:
            self.check_refusal(person)
            self.start_again(person)
            return
        assert isinstance(session, SavedSession)
        assert session.id == person.id
        assert session.data is person
        assert set(session.rooms) == set(person.rooms)
        assert not person.spoiled
        assert person.lost_at >= self.now - WINDOW
        person.claimed = session
        if not wait:
            self.admit(person, session, room)

    def check_refusal(self, person: Person) -> None:
        """The model agrees that not all can be had."""
        assert (
            person.spoiled
            or person.lost_at < self.now - WINDOW
            or person.confirmed <= self.now - WINDOW - GRACE
            or (not self.must_recover and self.hits)
        )

    def start_again(self, person: Person) -> None:
        """The client gets a new session. The official one keeps its offset."""
        del self.local.people[person.id]
        self.names += 1
        person.id, person.pid = f"id{self.names}", f"pid{self.names}"
        self.admit_new(person)

    @precondition(has(is_waiting))
    @rule(index=PEOPLE, good=st.booleans(), room=st.none() | st.sampled_from(ROOMS))
    def middlewares_end(self, index: int, good: bool, room: str | None) -> None:
        """They let the client in, or refuse it: then it may try again."""
        person = self.choose(index, is_waiting)
        session = person.claimed
        assert session is not None
        if good:
            self.admit(person, session, room)
            return
        self.adapter.add_all(person.id, session.rooms)
        self.adapter.remove_all(person.id)
        self.adapter.release_session(session)
        person.claimed = None

    def admit(self, person: Person, session: SavedSession, room: str | None) -> None:
        """The client is let in. A middleware may have taken it out of a room."""
        self.adapter.add_all(person.id, session.rooms)
        if room is not None and room in person.rooms:
            self.adapter.remove(person.id, [room])
            stay = person.rooms.pop(room)
            for event in person.visible:
                if event.through is not None and event.number not in person.received:
                    event.through.discard(stay)
            person.visible = [event for event in person.visible if event.through != set()]
        missed = self.adapter.begin_session(person.id, session)
        if missed is None:
            self.check_refusal(person)
            self.adapter.remove_all(person.id)
            self.start_again(person)
            return
        person.claimed = None
        person.connected = True
        person.resumed = self.now
        self.adapter.add_all(person.id, (person.id,))
        assert self.adapter.restore_session(person.pid, person.offset) is None  # it is used
        numbers = [json.loads(packets[0].data)[0] for packets in missed]
        assert numbers == person.missed()
        assert numbers == sorted(set(numbers))
        offsets = [json.loads(packets[0].data)[-1] for packets in missed]
        assert all(isinstance(offset, str) and offset.startswith(self.prefix) for offset in offsets)
        person.wire = list(missed)

    @rule(seconds=st.sampled_from([0.1, 1.0, 10.0, 40.0, 70.0, 130.0]))
    def advance(self, seconds: float) -> None:
        """Time passes; heartbeats keep the connected connected."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(self.now + 20.0, end)
            for person in self.people:
                if person.connected and max(person.ponged, person.resumed) <= self.now - GRACE + 20.0:
                    self.heartbeat(person)
            self.deadlines.run(self.now)

    # Invariants

    @invariant()
    def everyone_has_or_will_get_what_is_theirs(self) -> None:
        for person in self.people:
            if person.connected:
                coming = [json.loads(packets[0].data)[0] for packets in person.wire]
                assert [*person.received, *coming] == sorted({*person.received, *coming})
                known = {*person.received, *coming}
                assert [e.number for e in person.visible if e.kept and e.number not in known] == []
                assert known <= {event.number for event in person.visible}

    @invariant()
    def memory_is_bounded(self) -> None:
        adapter = self.adapter
        assert isinstance(adapter, RecoveringMemoryAdapter)
        log = adapter._log
        limits = self.limits
        assert len(log._events) <= limits.recovery_packets
        assert log.bytes == sum(event[-1] for event in log._events) <= limits.recovery_bytes
        assert len(log.sessions) <= limits.recovery_sessions
        private = [event for track in log._tracks.values() for event in track.private or ()]
        assert log.private_bytes == sum(event[-1] for event in private) <= limits.recovery_private_bytes
        assert len(log) == len(log._events) + len(private)
        ranked = [member for _, member in log._ranking]
        assert {member for member, track in log._tracks.items() if track.private} <= set(ranked)
        assert len(ranked) == len(set(ranked))
        for track in log._tracks.values():
            assert len(track.private or ()) <= limits.recovery_private_packets
            assert len(track.left or ()) <= limits.recovery_departures
        assert len(log._tracks) == len(log.sessions) + sum(person.connected for person in self.people)


class BoundedRecoveries(Recoveries):
    """With bounds that are hit all the time: it recovers all or nothing."""

    limits = Limits(
        recovery_packets=12,
        recovery_bytes=10 * (OVERHEAD + 30),
        recovery_sessions=3,
        recovery_private_packets=4,
        recovery_private_bytes=8 * (OVERHEAD + 30),
        recovery_departures=2,
    )
    must_recover = False


TestRecoveries = Recoveries.TestCase
TestRecoveries.settings = settings(max_examples=200, stateful_step_count=60)
TestBoundedRecoveries = BoundedRecoveries.TestCase
TestBoundedRecoveries.settings = settings(max_examples=200, stateful_step_count=60)


@pytest.mark.parametrize("machine_type", [Recoveries, BoundedRecoveries])
@pytest.mark.parametrize("seed", range(30))
def test_long_walks(machine_type: type[Recoveries], seed: int) -> None:
    """The rules of the machines, many more at a time than Hypothesis tries."""
    chance = random.Random(seed)
    machine = machine_type()
    machine.begin([chance.choice(ROOMS) for _ in range(3)])

    def rooms(count: int) -> list[str]:
        return chance.sample(ROOMS, chance.randint(0, count))

    for _ in range(300):
        index, room = chance.randrange(5), chance.choice(ROOMS)
        action = chance.choices(range(8), [1, 6, 8, 3, 3, 4, 4, 2])[0]
        if action == 0 and len(machine.people) < 5:
            machine.connect()
        elif action == 1 and has(is_connected)(machine):
            machine.move(index, room, chance.random() < 0.6, chance.random() < 0.5)
        elif action == 2:
            kind = chance.choices(["kept", "binary", "volatile", "ack", "volatile text"], [20, 5, 2, 2, 1])[0]
            machine.broadcast(kind, rooms(2), rooms(1), chance.choice([None, index]))
        elif action == 3 and machine.people:
            machine.send_to_one(index, chance.randint(1, 3))
        elif action == 4 and has(is_connected)(machine):
            machine.arrival(index, chance.randint(1, 4), chance.random() < 0.3)
        elif action == 5 and has(is_connected)(machine):
            machine.lose(index, chance.randint(0, 2), chance.choice([*sorted(RECOVERABLE), "in order"]))
        elif action == 6 and has(is_waiting)(machine) and chance.random() < 0.7:
            machine.middlewares_end(index, chance.random() < 0.7, chance.choice([None, None, room]))
        elif action == 6 and has(is_away)(machine):
            machine.come_back(index, chance.random() < 0.4, chance.choice([None, None, room]))
        elif action == 7:
            machine.advance(chance.choices([0.1, 1.0, 10.0, 40.0, 70.0, 130.0], [9, 9, 9, 6, 2, 1])[0])
        machine.everyone_has_or_will_get_what_is_theirs()
        machine.memory_is_bounded()
