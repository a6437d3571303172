"""Every bound: that it is checked, documented, and read in one place."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import sio_core
from sio_core import Limits
from sio_core.limits import HARDENED
from sio_core.socketio.rooms import Rooms

ROOT = Path(sio_core.__file__).parent
TESTS = Path(__file__).parent
NAMES = [field.name for field in dataclasses.fields(Limits)]
OFF_BY_DEFAULT = {
    "connections",
    "connections_per_address",
    "total_outbox_bytes",
    "sessions",
    "sessions_per_address",
    "unconnected_sessions",
    "unconnected_sessions_per_address",
    "handshakes_per_second",
    "connect_time",
    "integer_bits",
    "namespaces_per_connection",
    "rooms_per_socket",
    "room_length",
    "handler_time",
    "events_per_second",
}


def test_they_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Limits().outbox_bytes = 5  # type: ignore[misc]
    with pytest.raises(TypeError):
        Limits(no_such_bound=5)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        Limits(5)  # type: ignore[misc]


@pytest.mark.parametrize("name", NAMES)
def test_a_bound_is_a_positive_number(name: str) -> None:
    for value in (0, -1, True, "5", float("nan"), [1]):
        with pytest.raises(ValueError, match=f"limits.{name} must be a positive number, not"):
            Limits(**{name: value})  # type: ignore[arg-type]
    assert getattr(Limits(**{name: 7}), name) == 7


@pytest.mark.parametrize("name", NAMES)
def test_a_bound_is_off_only_where_that_is_meant(name: str) -> None:
    default: Any = getattr(Limits(), name)
    assert (default is None) == (name in OFF_BY_DEFAULT)
    if name in OFF_BY_DEFAULT:
        assert getattr(Limits(**{name: None}), name) is None
    else:
        with pytest.raises(ValueError, match=f"limits.{name} must be"):
            Limits(**{name: None})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_a_bound_says_what_it_bounds(name: str) -> None:
    source = inspect.getsource(Limits)
    match = re.search(rf'^    {name}: .*\n    """(.+?)"""', source, re.MULTILINE | re.DOTALL)
    assert match is not None, f"{name} has no docstring"
    assert match[1].endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_a_bound_is_enforced(name: str) -> None:
    sources = [path.read_text() for path in ROOT.rglob("*.py") if path.name != "limits.py"]
    assert any(re.search(rf"\b_?limits\.{name}\b", source) for source in sources)


@pytest.mark.parametrize("name", NAMES)
def test_a_bound_is_lived_with_and_passed(name: str) -> None:
    """A test that is marked ``limit`` lives with a bound for long, just below it, and passes it once."""
    assert name in names_tested(), f"no test is marked with pytest.mark.limit({name!r})"


@cache
def names_tested() -> frozenset[str]:
    names = set[str]().union(*[names_in(path) for path in TESTS.rglob("test_*.py")])
    assert names <= set(NAMES), f"there are no bounds {names - set(NAMES)}"
    return frozenset(names)


def names_in(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "pytest.mark.limit":
            names.update(ast.literal_eval(argument) for argument in node.args)
    return names


def test_the_documentation_says_which_bounds_are_those_of_an_asgi_server() -> None:
    text = (TESTS.parent / "docs" / "asgi.md").read_text()
    section = text[text.index("## Limits") : text.index("## CORS")]
    documented = set(re.findall("`([a-z_]+)`", section))
    ours_too = {"close_time"}
    assert documented == names_in(TESTS / "security" / "test_limits.py") - ours_too


def test_one_call_turns_on_what_is_off() -> None:
    limits = Limits.hardened()
    assert {name for name in NAMES if getattr(limits, name) is None} == {"handler_time"}
    for name, value in HARDENED.items():
        default = getattr(Limits(), name)
        assert default is None or value < default, name
        assert getattr(limits, name) == value
    others = set(NAMES) - set(HARDENED)
    assert {name: getattr(limits, name) for name in others} == {
        name: getattr(Limits(), name) for name in others
    }


def test_what_one_call_turns_on_can_be_changed() -> None:
    limits = Limits.hardened(sessions=5, connections=None, outbox_bytes=1)
    assert (limits.sessions, limits.connections, limits.outbox_bytes) == (5, None, 1)
    assert limits.integer_bits == 53
    with pytest.raises(ValueError, match=r"limits.sessions must be a positive number, not 0"):
        Limits.hardened(sessions=0)
    with pytest.raises(TypeError):
        Limits.hardened(no_such_bound=5)


def test_rooms_know_no_bound_themselves() -> None:
    rooms = Rooms()
    rooms.join("member", map(str, range(1_000)))
    assert len(rooms.rooms) == 1_000
