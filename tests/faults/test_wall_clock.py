"""The wall clock is set forward and back: nobody is disconnected for that, and nothing expires, or never does."""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

import sio_core
from sio_core import Recovery, Server, Socket
from sio_core.testing import TestClient
from tests.faults.client import connected
from tests.helpers.waiting import eventually

HOUR, DAY = 3_600.0, 86_400.0

TELLS_OTHERS = {
    "api/connected_client.py": {"time.time"},  # ``handshake.issued``: people are told when a client came
    "adapters/mongo.py": {"datetime.now"},  # MongoDB expires documents by a moment that stands in them
    "emitters/mongo.py": {"datetime.now"},
}
"""Where the wall clock is read, and what of it."""

WALL_CLOCK = {"time", "time_ns", "now", "utcnow", "today", "localtime", "gmtime"}


class WallClock:
    """Can be set."""

    def __init__(self) -> None:
        self.set_by = 0.0
        self._time = time.time

    def __call__(self) -> float:
        return self._time() + self.set_by


@pytest.fixture
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[WallClock]:
    clock = WallClock()
    monkeypatch.setattr(time, "time", clock)
    return clock  # type: ignore[return-value]


def readings(path: Path) -> set[str]:
    """What a module calls that reads the wall clock."""
    return {
        ast.unparse(node.func)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in WALL_CLOCK
        and ast.unparse(node.func.value) in {"time", "datetime", "datetime.datetime", "date"}
    }


def test_nothing_but_what_others_are_told_depends_on_the_wall_clock() -> None:
    root = Path(sio_core.__file__).parent
    found = {str(path.relative_to(root)): readings(path) for path in root.rglob("*.py")}
    assert {name: calls for name, calls in found.items() if calls} == TELLS_OTHERS


@pytest.mark.anyio
@pytest.mark.parametrize("jump", [-DAY, HOUR])
async def test_nobody_is_disconnected_and_the_order_is_kept(wall_clock: WallClock, jump: float) -> None:
    io: Server[Any] = Server(
        ping_interval=0.2, ping_timeout=1.0, connection_state_recovery=Recovery(max_disconnection_duration=60)
    )
    reasons: list[str] = []

    @io.on("disconnect")
    def disconnected(socket: Socket[Any], reason: str) -> None:
        reasons.append(reason)

    @io.on("issued")
    def issued(socket: Socket[Any]) -> int:
        return socket.handshake.issued

    async with io.listen() as listening:
        async with connected(listening.port) as client, connected(listening.port, transport="polling"):
            io.emit("event", "before")
            wall_clock.set_by = jump
            io.emit("event", "after")
            pings = client.pings
            await eventually(lambda: client.pings >= pings + 3)
            assert reasons == []
            first, second = [event for event in client.events if event[0] == "event"]
            assert offsets_rise(first[-1], second[-1])
            auth = {"pid": client.pid, "offset": first[-1]}
        await eventually(lambda: not io.stats()["sockets"])
        wall_clock.set_by = 0.0
        async with connected(listening.port, auth=auth) as back:
            assert back.id == client.id, "the session has expired by the wall clock"
            assert [event[1] for event in back.events] == ["after"]
        wall_clock.set_by = jump
        async with connected(listening.port) as late:  # people are told the time that it is
            assert await late.call("issued") == pytest.approx(time.time() * 1_000, abs=60_000)


def offsets_rise(first: str, second: str) -> bool:
    """Whether the count in the offsets rises."""
    (epoch, number), (other_epoch, other_number) = first.split("."), second.split(".")
    return epoch == other_epoch and int(number) < int(other_number)


@pytest.mark.anyio
async def test_an_acknowledgement_is_awaited_for_its_time(wall_clock: WallClock) -> None:
    io: Server[Any] = Server()
    async with TestClient(io) as client:
        started = anyio.current_time()
        wall_clock.set_by = DAY
        with anyio.move_on_after(5), pytest.raises(sio_core.AckTimeout):
            await client.socket.emit_with_ack("question", timeout=0.2)
        assert 0.15 < anyio.current_time() - started < 4


@pytest.mark.anyio
async def test_a_session_expires_by_the_time_that_passes(wall_clock: WallClock) -> None:
    recovery = Recovery(max_disconnection_duration=0.2)
    io: Server[Any] = Server(ping_interval=0.1, ping_timeout=0.1, connection_state_recovery=recovery)
    async with io.listen() as listening:
        async with connected(listening.port) as client:
            pid = client.pid
        wall_clock.set_by = -DAY
        await eventually(lambda: not io.stats()["sockets"])
        await anyio.sleep(0.5)
        async with connected(listening.port, auth={"pid": pid, "offset": ""}) as late:
            assert late.id != client.id
