"""The supervised subscriber, in virtual time: it comes back, and notices when it is deaf."""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from sio_core.adapters.base import Host
from sio_core.adapters.supervisor import Supervisor
from sio_core.adapters.timers import Timer, pause, within
from sio_core.engineio.deadlines import Deadlines
from sio_core.errors import AdapterError
from sio_core.limits import Limits
from sio_core.runtime import Runtime
from sio_core.testing import VirtualClock, VirtualRuntime, settle

pytestmark = pytest.mark.anyio


class Time:
    """A host whose time passes when the test says so."""

    def __init__(self, task_group: anyio.abc.TaskGroup) -> None:
        self.deadlines = Deadlines()
        self.clock = VirtualClock()
        self.clock.drive(self)  # type: ignore[arg-type]  # it asks for the deadlines only
        runtime = VirtualRuntime(Runtime.current(task_group), self.clock)
        self.host = Host(Limits(), self.deadlines, lambda: runtime, lambda name: None, None)
        self.advance = self.clock.advance


@asynccontextmanager
async def time() -> AsyncGenerator[Time, None]:
    async with anyio.create_task_group() as task_group:
        yield Time(task_group)


class Line:
    """A connection that the test controls."""

    def __init__(self, time: Time, **options: Any) -> None:
        self.time = time
        self.attempts: list[float] = []
        self.refused = False
        self.hangs = False
        self.ups = 0
        self.cut = anyio.Event()
        self.supervisor = Supervisor(time.host, "the line", self.connect, on_up=self.count, **options)

    def count(self) -> None:
        self.ups += 1

    async def connect(self, supervisor: Supervisor) -> None:
        self.attempts.append(self.time.clock.now())
        if self.refused:
            raise ConnectionRefusedError("nobody is there")
        if self.hangs:
            await anyio.sleep_forever()
        supervisor.up()
        self.cut = anyio.Event()
        await self.cut.wait()


async def test_it_connects_again_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    async with time() as virtual:
        line = Line(virtual)
        line.supervisor.start()
        await settle()
        assert (line.supervisor.connected, line.ups) == (True, 0)
        line.cut.set()
        await settle()
        assert not line.supervisor.connected
        await virtual.advance(0.1)
        assert (line.supervisor.connected, line.ups, len(line.attempts)) == (True, 1, 2)
        assert [record.levelno for record in caplog.records] == [logging.ERROR, logging.WARNING]
        await line.supervisor.stop()
        assert not line.supervisor.connected


async def test_the_delay_grows_and_is_not_the_same_for_all(caplog: pytest.LogCaptureFixture) -> None:
    async with time() as virtual:
        lines = [Line(virtual), Line(virtual)]
        for line in lines:
            line.refused = True
            line.supervisor.start()
        await virtual.advance(60)
        for line in lines:
            delays = [b - a for a, b in zip(line.attempts, line.attempts[1:], strict=False)]
            assert 0.05 <= delays[0] <= 0.1
            assert all(0.05 * 2**n <= delay <= 0.1 * 2**n for n, delay in enumerate(delays[:5]))
            assert all(2.5 <= delay <= 5 for delay in delays[6:])
            assert len(delays) > 12
        assert lines[0].attempts != lines[1].attempts
        assert len(caplog.records) == 2  # once for each outage, not for each attempt
        for line in lines:
            line.refused = False
        await virtual.advance(5)
        for line in lines:
            assert line.supervisor.connected
            line.cut.set()
        await settle()
        await virtual.advance(0.1)
        assert all(line.supervisor.connected for line in lines)  # the delay is short again
        for line in lines:
            await line.supervisor.stop()


async def test_connecting_may_not_take_for_ever() -> None:
    async with time() as virtual:
        line = Line(virtual)
        line.hangs = True
        line.supervisor.start()
        await virtual.advance(9.9)
        assert len(line.attempts) == 1
        line.hangs = False
        await virtual.advance(0.3)
        assert len(line.attempts) == 2
        assert line.supervisor.connected
        await line.supervisor.stop()


async def test_one_that_is_deaf_is_replaced_within_15_seconds() -> None:
    probes = 0

    async def probe() -> None:
        nonlocal probes
        probes += 1

    async with time() as virtual:
        line = Line(virtual, probe=probe)
        line.supervisor.start()
        await virtual.advance(4.9)
        assert probes == 0
        await virtual.advance(0.1)
        assert probes == 1
        await virtual.advance(9.9)
        assert len(line.attempts) == 1
        await virtual.advance(0.3)
        assert (len(line.attempts), line.ups) == (2, 1)
        await line.supervisor.stop()


async def test_one_that_hears_is_left_alone() -> None:
    async with time() as virtual:

        async def probe() -> None:
            line.supervisor.heard()

        line = Line(virtual, probe=probe)
        line.supervisor.start()
        await virtual.advance(60)
        assert len(line.attempts) == 1
        for _ in range(20):
            await virtual.advance(3)
            line.supervisor.heard()  # other nodes are proof enough
        assert len(line.attempts) == 1
        await line.supervisor.stop()


@pytest.mark.parametrize("hangs", [False, True])
async def test_a_probe_may_fail_or_hang(hangs: bool) -> None:
    async def probe() -> None:
        if hangs:
            await anyio.sleep_forever()
        raise ConnectionError("the other way is closed")

    async with time() as virtual:
        line = Line(virtual, probe=probe)
        line.supervisor.start()
        await virtual.advance(15.3)
        assert len(line.attempts) == 2
        await virtual.advance(5)
        await line.supervisor.stop()


@pytest.mark.parametrize("state", ["connected", "connecting", "waiting", "unborn"])
async def test_it_can_be_stopped_at_any_moment_and_started_again(state: str) -> None:
    async with time() as virtual:
        line = Line(virtual)
        line.hangs, line.refused = state == "connecting", state == "waiting"
        line.supervisor.start()
        if state != "unborn":
            await settle()
        await line.supervisor.stop()
        attempts = len(line.attempts)
        await virtual.advance(60)
        assert len(line.attempts) == attempts
        assert virtual.deadlines.next == float("inf") or len(virtual.deadlines) == 0
        line.hangs = line.refused = False
        line.supervisor.start()
        await settle()
        assert line.supervisor.connected
        await line.supervisor.stop()


async def test_what_it_runs_may_end_in_any_way() -> None:
    ends: list[Callable[[], Awaitable[None]]] = []

    async def returns() -> None:
        return

    async def raises_a_group() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(raises)

    async def raises() -> None:
        raise RuntimeError("anything")

    async def awaits_what_others_cancel() -> None:
        raise CancelledError

    ends = [returns, raises_a_group, raises, awaits_what_others_cancel]

    async def connect(supervisor: Supervisor) -> None:
        if ends:
            await ends.pop()()
            return
        supervisor.up()
        await anyio.sleep_forever()

    async with time() as virtual:
        supervisor = Supervisor(virtual.host, "the line", connect)
        supervisor.start()
        await virtual.advance(2)
        assert supervisor.connected
        await supervisor.stop()


async def test_pause_and_within() -> None:
    async with time() as virtual, anyio.create_task_group() as tasks:
        results: list[Any] = []

        async def answer() -> int:
            await pause(virtual.host, 1)
            return 5

        async def ask(seconds: float) -> None:
            try:
                results.append(await within(virtual.host, seconds, "asking", answer()))
            except AdapterError as error:
                results.append(str(error))

        tasks.start_soon(ask, 2)
        tasks.start_soon(ask, 0.5)
        await settle()
        await virtual.advance(0.4)
        assert results == []
        await virtual.advance(0.2)
        assert results == ["asking took more than 0.5 s"]
        await virtual.advance(0.5)
        assert results == ["asking took more than 0.5 s", 5]
        assert len(virtual.deadlines) == 0


async def test_within_hands_on_what_is_raised() -> None:
    async def fail() -> None:
        raise ValueError("no")

    async with time() as virtual:
        with pytest.raises(ValueError, match="no"):
            await within(virtual.host, 1, "failing", fail())
        assert len(virtual.deadlines) == 0


async def test_a_timer_can_be_moved_and_stopped() -> None:
    async with time() as virtual:
        rings: list[float] = []
        timer = Timer(virtual.host, rings.append)
        start = virtual.clock.now()
        timer.set(start + 5)
        timer.set(start + 2)
        await virtual.advance(3)
        assert rings == [start + 2]
        timer.set_after(2)
        timer.set_after(4)
        await virtual.advance(3)
        assert len(rings) == 1
        await virtual.advance(1)
        assert rings[1:] == [start + 7]
        timer.set_after(1)
        timer.stop()
        await virtual.advance(5)
        assert len(rings) == 2
