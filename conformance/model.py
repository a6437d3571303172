"""What a check is, and the register of all of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from conformance.bench import Bench

Mark = Literal["wire", "stricter", "timing", "heavy", "fresh"]
"""``wire``: an ASGI application cannot control it, so it is left out when the server is behind one.
``stricter``: more than the official server does; never part of the score.
``timing``: measures lengths of time, so it runs when the machine is quiet.
``heavy``: costs much memory or a process of its own, so that few run at once.
``fresh``: needs a server of its own, which it stops or starts again."""

Transport = Literal["polling", "websocket"]
TRANSPORTS: tuple[Transport, ...] = ("polling", "websocket")

OFFICIAL = "official server behaviour"


def eio(section: str) -> str:
    return f"Engine.IO protocol v4, {section}"


def sio(section: str) -> str:
    return f"Socket.IO protocol v5, {section}"


def eio3(section: str) -> str:
    return f"Engine.IO protocol v3, {section}"


Body = Callable[["Bench"], Awaitable[None]]


class BodyOfTransport(Protocol):
    def __call__(self, bench: Bench, transport: Transport) -> Awaitable[None]: ...


@dataclass(frozen=True, slots=True)
class Check:
    id: str
    requirement: str
    """One sentence in our own words."""
    source: str
    """Section of the specification, or ``OFFICIAL``."""
    run: Body
    profile: str = "base"
    marks: frozenset[Mark] = frozenset()
    timeout: float = 5.0
    """Seconds after which the check fails whatever it is waiting for."""

    @property
    def group(self) -> str:
        return self.id.partition(".")[0]


class Outcome(Enum):
    PASSED = "pass"
    FAILED = "fail"
    UNSUPPORTED = "not supported"


@dataclass(frozen=True, slots=True)
class Result:
    check: Check
    outcome: Outcome
    seconds: float
    expected: str = ""
    seen: str = ""
    transcript: list[str] = field(default_factory=list)


REGISTER: dict[str, Check] = {}


def register(check: Check) -> None:
    if check.id in REGISTER:
        raise ValueError(f"two checks are called {check.id}")
    REGISTER[check.id] = check


def check(
    identifier: str,
    requirement: str,
    source: str,
    *marks: Mark,
    profile: str = "base",
    timeout: float = 5.0,
) -> Callable[[Body], Body]:
    def decorate(run: Body) -> Body:
        register(Check(identifier, requirement, source, run, profile, frozenset(marks), timeout))
        return run

    return decorate


def check_both(
    identifier: str,
    requirement: str,
    source: str,
    *marks: Mark,
    profile: str = "base",
    timeout: float = 5.0,
) -> Callable[[BodyOfTransport], BodyOfTransport]:
    """Register one check for each transport: servers have separate code for them."""

    def decorate(run: BodyOfTransport) -> BodyOfTransport:
        for transport in TRANSPORTS:
            body = partial(run, transport=transport)
            name = f"{identifier}.{transport}"
            register(Check(name, requirement, source, body, profile, frozenset(marks), timeout))
        return run

    return decorate
