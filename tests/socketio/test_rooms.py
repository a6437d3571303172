"""Rooms, each rule, and all of them against a dictionary of sets."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from sio_core.socketio.rooms import Rooms

ROOMS = ["a", "b", "c", "d"]
MEMBERS = ["1", "2", "3", "a"]  # the name of a member may be that of a room

rooms_of = st.lists(st.sampled_from(ROOMS), max_size=3)
member_of = st.sampled_from(MEMBERS)


def members(rooms: Rooms) -> dict[str, set[str]]:
    return {member: set(own) for member, own in rooms.members.items()}


def test_joining_and_leaving() -> None:
    rooms = Rooms()
    rooms.join("1", ["a", "b", "a"])
    rooms.join("2", ["b"])
    assert members(rooms) == {"1": {"a", "b"}, "2": {"b"}}
    assert rooms.rooms == {"a": {"1": None}, "b": {"1": None, "2": None}}
    rooms.leave("1", ["a", "never", "a"])
    rooms.leave("nobody", ["a"])
    assert rooms.rooms == {"b": {"1": None, "2": None}}
    rooms.leave_all("1")
    rooms.leave_all("nobody")
    assert members(rooms) == {"2": {"b"}}
    rooms.leave("2", ["b"])
    assert rooms.rooms == {}
    assert members(rooms) == {"2": set()}


def test_joining_no_room_is_being_there() -> None:
    rooms = Rooms()
    rooms.join("1", [])
    assert list(rooms.select([], [])) == ["1"]


def test_positions_tell_when_a_room_was_joined() -> None:
    rooms = Rooms()
    rooms.position = 5
    rooms.join("1", ["a"])
    rooms.position = 9
    rooms.join("1", ["a", "b"])
    assert rooms.members["1"] == {"a": 5, "b": 9}


@pytest.mark.parametrize(
    ("to", "except_", "expected"),
    [
        ([], [], ["1", "2", "3"]),
        (["a"], [], ["1", "2"]),
        (["c", "a"], [], ["3", "1", "2"]),
        (["a", "b", "c"], [], ["1", "2", "3"]),
        (["nowhere"], [], []),
        (["nowhere", "b"], [], ["2"]),
        ([], ["a"], ["3"]),
        ([], ["nowhere"], ["1", "2", "3"]),
        (["a"], ["b"], ["1"]),
        (["a"], ["a"], []),
        (["a", "c"], ["b", "c"], ["1"]),
    ],
)
def test_select(to: list[str], except_: list[str], expected: list[str]) -> None:
    rooms = Rooms()
    rooms.join("1", ["a"])
    rooms.join("2", ["a", "b"])
    rooms.join("3", ["c"])
    assert list(rooms.select(to, except_)) == expected


@pytest.mark.feature(203)
def test_events() -> None:
    rooms = Rooms()
    log: list[tuple[str, ...]] = []

    @rooms.on("create-room")
    def created(room: str) -> None:
        log.append(("create-room", room))

    for name in ("delete-room", "join-room", "leave-room"):
        rooms.on(name, lambda *args, name=name: log.append((name, *args)))
    rooms.join("1", ["a", "a"])
    rooms.join("2", ["a"])
    rooms.leave("1", ["a", "b"])
    rooms.leave_all("2")
    assert log == [
        ("create-room", "a"),
        ("join-room", "a", "1"),
        ("join-room", "a", "2"),
        ("leave-room", "a", "1"),
        ("leave-room", "a", "2"),
        ("delete-room", "a"),
    ]
    with pytest.raises(ValueError, match="rooms have no event 'join'"):
        rooms.on("join")


@pytest.mark.feature(203)
def test_a_listener_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(*args: str) -> None:
        raise ValueError("no")

    rooms = Rooms()
    log: list[tuple[str, ...]] = []
    for name in ("create-room", "join-room", "leave-room", "delete-room"):
        rooms.on(name, fail)
    rooms.on("delete-room", lambda *args: log.append(args))
    rooms.join("1", ["a", "b"])
    assert members(rooms) == {"1": {"a", "b"}}
    rooms.leave_all("1")
    assert rooms.rooms == rooms.members == {}
    assert log == [("a",), ("b",)]
    assert "a listener of 'leave-room' raised an exception" in caplog.text


@pytest.mark.feature(203)
def test_a_listener_may_change_rooms() -> None:
    rooms = Rooms()
    log: list[str] = []
    rooms.on("leave-room", lambda room, member: rooms.leave_all(member))
    rooms.on("delete-room", log.append)
    rooms.join("1", ["a", "b"])
    rooms.leave("1", ["a"])
    assert rooms.rooms == {}
    assert sorted(log) == ["a", "b"]

    rooms = Rooms()
    rooms.on("leave-room", lambda room, member: rooms.join("2", [room]))
    rooms.join("1", ["a"])
    rooms.leave_all("1")
    assert rooms.rooms == {"a": {"2": None}}
    assert members(rooms) == {"2": {"a"}}


class RoomsAgainstSets(RuleBasedStateMachine):
    """The model: members of each room, and who is there at all. Events are told once for each change."""

    @initialize()
    def begin(self) -> None:
        self.rooms = Rooms()
        self.model: dict[str, set[str]] = {}
        self.there: dict[str, None] = {}
        self.heard: dict[str, set[str]] = {}
        self.rooms.on("create-room", self.created)
        self.rooms.on("delete-room", self.deleted)
        self.rooms.on("join-room", self.joined)
        self.rooms.on("leave-room", self.left)

    def created(self, room: str) -> None:
        assert room not in self.heard
        self.heard[room] = set()

    def deleted(self, room: str) -> None:
        assert self.heard.pop(room) == set()

    def joined(self, room: str, member: str) -> None:
        assert member not in self.heard[room]
        self.heard[room].add(member)

    def left(self, room: str, member: str) -> None:
        self.heard[room].remove(member)

    @rule(member=member_of, rooms=rooms_of)
    def join(self, member: str, rooms: list[str]) -> None:
        self.rooms.join(member, rooms)
        self.there[member] = None
        for room in rooms:
            self.model.setdefault(room, set()).add(member)

    @rule(member=member_of, rooms=rooms_of)
    def leave(self, member: str, rooms: list[str]) -> None:
        self.rooms.leave(member, rooms)
        for room in rooms:
            self.model.get(room, set()).discard(member)

    @rule(member=member_of)
    def leave_all(self, member: str) -> None:
        self.rooms.leave_all(member)
        self.there.pop(member, None)
        for inside in self.model.values():
            inside.discard(member)

    @rule(to=rooms_of, except_=rooms_of)
    def select(self, to: list[str], except_: list[str]) -> None:
        expected: set[str] = (
            set().union(*[self.model.get(room, set()) for room in to]) if to else {*self.there}
        )
        for room in except_:
            expected -= self.model.get(room, set())
        selected = list(self.rooms.select(to, except_))
        assert len(selected) == len(set(selected))
        assert set(selected) == expected

    @invariant()
    def agree(self) -> None:
        if not hasattr(self, "model"):
            return
        inside = {room: found for room, found in self.model.items() if found}
        assert {room: set(found) for room, found in self.rooms.rooms.items()} == inside == self.heard
        by_member: dict[str, Any] = {member: set() for member in self.there}
        for room, found in inside.items():
            for member in found:
                by_member[member].add(room)
        assert members(self.rooms) == by_member


TestRooms = RoomsAgainstSets.TestCase
