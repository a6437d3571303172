"""Both sides of every bound of sessions, and of what waits for their clients."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from sio_core import Limits
from tests.security.place import LONG, Place, serving
from tests.security.rawclient import Raw
from tests.security.timewarp import ASYNCIO, TRIO, pass_time, settle

pytestmark = pytest.mark.anyio

TIMES = 10


@pytest.fixture(params=["asyncio", "trio", "uvicorn"])
def shell(request: pytest.FixtureRequest) -> str:
    """Our own listeners, and ASGI."""
    return str(request.param)


@pytest.fixture
def anyio_backend(shell: str) -> Any:
    return TRIO if shell == "trio" else ASYNCIO


async def leave(place: Place, *clients: Raw) -> None:
    """Have clients that poll go, and forget them."""
    for raw in clients:
        assert (await raw.post("1")).status == 200
        await raw.close()
    await settle()


# How many there may be


@pytest.mark.limit("sessions")
async def test_the_number_of_sessions(shell: str) -> None:
    async with serving(shell, Limits(sessions=3)) as place:
        for _ in range(TIMES * 2):
            three = [await place.raw() for _ in range(3)]
            assert [(await raw.poll_open()).status for raw in three] == [200] * 3
            await leave(place, *three)
        assert place.hits == {}
        for _ in range(3):
            await place.websocket()
        one_too_many = await place.raw()
        response = await one_too_many.poll_open()
        assert (response.status, response.headers["retry-after"]) == (503, "10")
        assert await (await place.raw()).upgrade() == 503
        assert place.hits == {"sessions": 2}
        assert len(place.io.engine.clients) == 3


@pytest.mark.limit("sessions_per_address", "unconnected_sessions_per_address")
@pytest.mark.parametrize("bound", ["sessions_per_address", "unconnected_sessions_per_address"])
async def test_the_number_of_sessions_of_an_address(shell: str, bound: str) -> None:
    async with serving(shell, Limits(**{bound: 3})) as place:  # type: ignore[arg-type]
        for _ in range(TIMES * 2):
            three = [await place.raw() for _ in range(3)]
            assert [(await raw.poll_open()).status for raw in three] == [200] * 3
            await leave(place, *three)
        assert place.hits == {}
        first = await place.websocket()
        for _ in range(2):
            await place.websocket()
        one_too_many = await place.raw()
        response = await one_too_many.poll_open()
        assert (response.status, response.headers["retry-after"]) == (429, "10")
        assert await (await place.raw()).upgrade() == 429
        assert place.hits == {bound: 2}
        assert await (await place.raw("127.0.0.2")).open() == 101
        await first.join()
        status = 429 if bound == "sessions_per_address" else 101  # who has joined is no stranger
        assert await (await place.raw()).upgrade() == status


@pytest.mark.limit("unconnected_sessions")
async def test_the_number_of_strangers(shell: str) -> None:
    async with serving(shell, Limits(unconnected_sessions=3)) as place:
        for _ in range(TIMES * 2):
            await place.member()
        assert place.hits == {}
        strangers = [await place.websocket() for _ in range(3)]
        assert (await (await place.raw()).poll_open()).status == 503
        assert place.hits == {"unconnected_sessions": 1}
        await strangers[0].join()
        await strangers[1].close()
        await place.until(lambda: place.io.engine.unconnected == 1)
        for _ in range(2):
            await place.websocket()
        assert place.hits == {}


@pytest.mark.limit("handshakes_per_second")
async def test_the_rate_of_handshakes(shell: str) -> None:
    async with serving(shell, Limits(handshakes_per_second=5.0)) as place:
        for _ in range(TIMES * 3):
            raw = await place.raw()
            assert (await raw.poll_open()).status == 200
            await leave(place, raw)
            await pass_time(0.21)
        assert place.hits == {}
        await pass_time(10)
        statuses = [(await (await place.raw()).poll_open()).status for _ in range(6)]
        assert statuses == [200] * 5 + [503]  # a second's worth, however long nobody came
        assert place.hits == {"handshakes_per_second": 1}
        await pass_time(0.21)
        assert (await (await place.raw()).poll_open()).status == 200


@pytest.mark.limit("connect_time")
async def test_the_time_to_join(shell: str) -> None:
    async with serving(shell, Limits(connect_time=10.0), connect_timeout=45.0) as place:
        for _ in range(TIMES):
            raw = await place.websocket()
            await pass_time(9.5)
            await raw.join()
        await pass_time(100)
        assert len(place.io.engine.clients) == TIMES
        assert place.hits == {}
        raw = await place.websocket()
        await pass_time(10.5)
        assert (await raw.closed()).startswith("close")
        assert raw.sid not in place.io.engine.clients
        assert place.hits == {"connect_time": 1}


async def test_the_option_counts_if_it_is_shorter(shell: str) -> None:
    async with serving(shell, Limits(connect_time=10.0), connect_timeout=5.0) as place:
        raw = await place.websocket()
        await pass_time(5.5)
        assert (await raw.closed()).startswith("close")
        assert place.hits == {"connect_timeout": 1}


@pytest.mark.limit("payload_packets")
async def test_the_packets_of_a_body(shell: str) -> None:
    async with serving(shell, Limits(payload_packets=10)) as place:
        heard: list[Any] = []
        place.io.on("event", lambda socket, *args: heard.append(args))
        raw = await place.polling_member()
        for _ in range(TIMES * 3):
            assert (await raw.post(*['42["event"]'] * 10)).status == 200
        assert len(heard) == TIMES * 30
        assert place.hits == {}
        await raw.post(*['42["event"]'] * 11)
        assert len(heard) == TIMES * 30
        assert place.io.engine.clients == {}
        assert place.hits == {"payload_packets": 1}


@pytest.mark.limit("body_time")
async def test_the_time_of_a_body(shell: str) -> None:
    async with serving(shell, Limits(body_time=15.0, keep_alive_time=LONG)) as place:
        raw = await place.raw()
        await raw.poll_open()
        head = f"POST {raw.target()} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n"
        for _ in range(TIMES):
            await raw.send(head)
            await pass_time(14)
            await raw.send("40")
            assert (await raw.response()).status == 200
            await raw.poll()
            assert (await raw.post("41")).status == 200
        assert place.hits == {}
        assert raw.sid in place.io.engine.clients
        await raw.send(head + "4")
        await pass_time(16)
        assert (await raw.response()).status == 408
        assert await raw.ended() == b""
        assert place.io.engine.clients == {}
        assert place.hits == {"body_time": 1}


# What waits for a client


@asynccontextmanager
async def sending(shell: str, **limits: Any) -> AsyncGenerator[tuple[Place, list[Any]], None]:
    """A server, and what it hears of the ends of its clients."""
    ends: list[Any] = []
    async with serving(shell, Limits(keep_alive_time=LONG, **limits)) as place:
        place.io.on("disconnect", lambda socket, *args: ends.append(args))
        yield place, ends


@pytest.mark.limit("outbox_bytes")
async def test_the_bytes_that_wait(shell: str) -> None:
    async with sending(shell, outbox_bytes=10_000) as (place, ends):
        raw = await place.polling_member()
        socket = place.socket(raw)
        for _ in range(TIMES * 2):
            for _ in range(9):
                socket.emit("event", "x" * 1_000)
            await pass_time(10)
            assert len(await raw.poll()) == 9
        assert (ends, place.hits) == ([], {})
        for _ in range(11):
            socket.emit("event", "x" * 1_000)
        await settle()
        (reason, details) = ends[0]
        assert (reason, details["limit"]) == ("transport close", "outbox_bytes")
        assert 10_000 <= details["value"] < 11_100
        assert place.io.engine.clients == {}
        assert place.hits == {"outbox_bytes": 1}


@pytest.mark.limit("outbox_packets", "outbox_burst_time")
async def test_the_packets_that_wait(shell: str) -> None:
    async with sending(shell, outbox_packets=50, outbox_burst_time=5.0) as (place, ends):
        raw = await place.polling_member()
        socket = place.socket(raw)
        for _ in range(TIMES):
            for number in range(49):
                socket.emit("event", number)
            await pass_time(50)
            assert len(await raw.poll()) == 49
            for number in range(500):
                socket.emit("event", number)
            await pass_time(4.5)
            assert len(await raw.poll()) == 500
        assert (ends, place.hits) == ([], {})
        for number in range(60):
            socket.emit("event", number)
        await pass_time(5.5)
        assert ends == [("transport close", {"limit": "outbox_packets", "value": 60})]
        assert place.io.engine.clients == {}
        assert place.hits == {"outbox_packets": 1}


async def test_a_burst_reaches_a_client_whatever_carries_it(shell: str) -> None:
    async with sending(shell, outbox_packets=50) as (place, ends):
        websocket = await place.member()
        polling = await place.polling_member()
        for number in range(700):
            place.io.emit("event", number)
        for number in range(700):
            assert await websocket.text() == f'42["event",{number}]'
        assert await polling.poll() == [f'42["event",{number}]' for number in range(700)]
        assert (ends, place.hits) == ([], {})


async def test_a_burst_larger_than_the_bound_is_offered_once(shell: str) -> None:
    async with sending(shell, outbox_bytes=10_000) as (place, ends):
        websocket = await place.member()
        polling = await place.polling_member()
        async with anyio.create_task_group() as task_group:
            packets: list[str] = []

            async def poll() -> None:
                packets.extend(await polling.poll())

            task_group.start_soon(poll)
            await place.until(lambda: place.socket(polling).conn._poll is not None)
            for _ in range(18):
                place.io.emit("event", "x" * 1_000)
            for _ in range(18):
                await websocket.text()
        packets += await polling.poll()
        assert len(packets) == 18
        assert (ends, place.hits) == ([], {})


@pytest.mark.limit("total_outbox_bytes")
async def test_the_bytes_that_wait_for_all(shell: str) -> None:
    async with sending(shell, total_outbox_bytes=50_000) as (place, ends):
        clients = [await place.polling_member() for _ in range(4)]
        sockets = [place.socket(raw) for raw in clients]
        for _ in range(TIMES):
            for socket in sockets:
                for _ in range(12):
                    socket.emit("event", "x" * 1_000)
            await pass_time(10)
            for raw in clients:
                assert len(await raw.poll()) == 12
        assert (ends, place.hits) == ([], {})
        for socket, count in zip(sockets, (5, 30, 6, 12), strict=True):
            for _ in range(count):
                socket.emit("event", "x" * 1_000)
        await pass_time(1.1)
        assert [reason for reason, _ in ends] == ["transport close"]
        assert ends[0][1]["limit"] == "total_outbox_bytes"
        assert [socket.connected for socket in sockets] == [True, False, True, True]
        assert place.hits == {"total_outbox_bytes": 1}


@pytest.mark.limit("outbox_low_water")
async def test_the_bytes_from_which_sending_waits(shell: str) -> None:
    async with sending(shell, outbox_low_water=10_000) as (place, _):
        raw = await place.polling_member()
        socket = place.socket(raw)
        for _ in range(TIMES * 2):
            with anyio.fail_after(1):
                for _ in range(9):
                    await socket.emit("event", "x" * 1_000)
            assert len(await raw.poll()) == 9
        assert place.hits == {}
        async with anyio.create_task_group() as task_group:
            sent: list[int] = []

            async def send() -> None:
                for number in range(15):
                    await socket.emit("event", "x" * 1_000)
                    sent.append(number)

            task_group.start_soon(send)
            await settle()
            assert sent == list(range(9))
            assert len(await raw.poll()) == 10
            await place.until(lambda: len(sent) == 15)
        assert place.hits == {"outbox_low_water": 1}
