"""Typed payloads: what annotations make of what clients send."""

from __future__ import annotations

import dataclasses
import enum
from typing import Annotated, Any, Literal, TypedDict

import msgspec
import pydantic
import pytest
import typing_extensions

from sio_core import InvalidPayload, Server, Socket
from sio_core.api.payloads import make_converter
from sio_core.testing import TestClient

pytestmark = pytest.mark.anyio


class Colour(enum.Enum):
    RED = "red"


class Point(TypedDict):
    x: int
    y: int


@dataclasses.dataclass
class Move:
    player: str
    to: Point


class Node(msgspec.Struct):
    name: str
    children: list[Node] = []


class Profile(pydantic.BaseModel):
    name: str = pydantic.Field(min_length=2)
    age: int


@dataclasses.dataclass
class Card:
    profile: Profile


class Cards(typing_extensions.TypedDict):
    cards: list[Card]


GOOD: list[tuple[Any, Any, Any]] = [
    (int, 5, 5),
    (float, 5, 5.0),
    (str, "a", "a"),
    (bool, True, True),
    (bytes, b"\x01", b"\x01"),
    (list[int], [1, 2], [1, 2]),
    (tuple[int, str], [1, "a"], (1, "a")),
    (set[int], [1, 1], {1}),
    (dict[str, int], {"a": 1}, {"a": 1}),
    (int | None, None, None),
    (int | str, "a", "a"),
    (Literal["a", "b"], "b", "b"),
    (Colour, "red", Colour.RED),
    (Point, {"x": 1, "y": 2}, {"x": 1, "y": 2}),
    (Move, {"player": "ann", "to": {"x": 1, "y": 2}}, Move("ann", {"x": 1, "y": 2})),
    (Node, {"name": "a", "children": [{"name": "b"}]}, Node("a", [Node("b")])),
    (Annotated[int, msgspec.Meta(gt=3)], 4, 4),
    (Profile, {"name": "ann", "age": 5}, Profile(name="ann", age=5)),
    (list[Profile] | None, [{"name": "ann", "age": 5}], [Profile(name="ann", age=5)]),
    (Card, {"profile": {"name": "ann", "age": 5}}, Card(Profile(name="ann", age=5))),
    (Cards, {"cards": []}, {"cards": []}),
    (Annotated[int, pydantic.Field(gt=3)], 4, 4),
]


@pytest.mark.parametrize(("annotation", "value", "expected"), GOOD, ids=[str(good[0]) for good in GOOD])
def test_what_fits(annotation: Any, value: Any, expected: Any) -> None:
    converter = make_converter(annotation)
    assert converter is not None
    result = converter(value)
    assert result == expected
    assert type(result) is type(expected)


BAD: list[tuple[Any, Any]] = [
    (int, "5"),
    (int, 5.5),
    (int, True),
    (str, 5),
    (bool, 1),
    (bytes, "AQID"),
    (list[int], {"a": 1}),
    (Colour, "blue"),
    (Point, {"x": 1}),
    (Move, {"player": "ann", "to": {"x": 1, "y": "2"}}),
    (Node, {"name": "a", "children": [{}]}),
    (Annotated[int, msgspec.Meta(gt=3)], 3),
    (Profile, {"name": "a", "age": 5}),
    (Cards, {"cards": [{"profile": {"name": "ann"}}]}),
    (Annotated[int, pydantic.Field(gt=3)], 3),
    (int, None),
]


@pytest.mark.parametrize(("annotation", "value"), BAD, ids=[f"{bad[0]} {bad[1]}" for bad in BAD])
def test_what_does_not_fit(annotation: Any, value: Any) -> None:
    converter = make_converter(annotation)
    assert converter is not None
    with pytest.raises(ValueError):
        converter(value)


@pytest.mark.parametrize("annotation", [Any, object])
def test_what_says_nothing_converts_nothing(annotation: Any) -> None:
    assert make_converter(annotation) is None


class Plain:
    """A class that nothing received becomes."""


@dataclasses.dataclass
class Holder:
    plain: Plain


class Unfinished(pydantic.BaseModel):
    later: NotThere  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    "annotation",
    [Plain, list[Plain], Holder, Socket, complex, int | Plain, Unfinished, Profile | Plain],
)
def test_what_nothing_received_becomes(annotation: Any) -> None:
    with pytest.raises(TypeError, match="a listener's parameter cannot have the type"):
        make_converter(annotation)


@pytest.mark.feature(233)
async def test_listeners_get_what_they_ask_for() -> None:
    io = Server()
    got: list[Any] = []

    @io.on("move")
    def move(socket: Socket, what: Move, fast: bool = False) -> str:
        got.append((what, fast))
        return "moved"

    @io.on("profile")
    async def profile(socket: Socket, profile: Profile) -> int:
        return profile.age

    @io.on("sum")
    def add(socket: Socket, *numbers: int) -> int:
        return sum(numbers)

    @io.on("connection")
    def connected(socket: Socket) -> None:
        @socket.on("own")
        def own(node: Node, rest: Any) -> None:
            got.append((node, rest))

    async with TestClient(io) as client:
        data = {"player": "ann", "to": {"x": 1, "y": 2}}
        assert await client.emit_with_ack("move", data, True) == "moved"
        assert await client.emit_with_ack("move", data) == "moved"
        await client.emit("own", {"name": "a"}, {"any": "thing"})
        expected = Move("ann", {"x": 1, "y": 2})
        assert got == [(expected, True), (expected, False), (Node("a"), {"any": "thing"})]
        assert await client.emit_with_ack("profile", {"name": "ann", "age": 7}) == 7
        assert await client.emit_with_ack("sum", 1, 2, 3) == 6


@pytest.mark.feature(233, 138)
async def test_a_mismatch_drops_the_event_and_goes_to_error(caplog: pytest.LogCaptureFixture) -> None:
    io = Server()
    errors: list[Any] = []
    reported: list[Exception] = []
    calls: list[Any] = []
    io.on_error(lambda error, what, socket: reported.append(error))
    io.on("error", lambda socket, error: errors.append(error))

    @io.on("move")
    def move(socket: Socket, first: int, what: Move) -> str:
        calls.append(what)
        return "never"

    @io.on("sum")
    async def add(socket: Socket, *numbers: int) -> None:
        calls.append(numbers)

    @io.on("connection")
    def connected(socket: Socket) -> None:
        socket.on("error", errors.append)

    async with TestClient(io) as client:
        await client.emit("move", 1, {"player": "ann", "to": {"x": 1}})
        await client.emit("move", "1", None)
        await client.emit("sum", 1, "2")
        await client.emit("move")
        assert calls == reported == []
        assert errors[::2] == errors[1::2]
        first, second, third, fourth = errors[::2]
        assert isinstance(first, InvalidPayload)
        assert (first.event, first.parameter) == ("move", "what")
        assert str(first).startswith("event 'move', parameter 'what': Object missing required field `y`")
        assert str(second) == "event 'move', parameter 'first': Expected `int`, got `str`"
        assert str(third) == "event 'sum', parameter 'numbers[1]': Expected `int`, got `str`"
        assert str(fourth) == "event 'move', parameter 'first': Expected `int`, got `null`"
        assert client.connected
        assert not [record for record in caplog.records if record.levelname == "ERROR"]
        assert await client.received_nothing()
