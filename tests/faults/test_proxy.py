"""The proxy itself: each of its faults, as both ends see it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from time import monotonic

import anyio
import anyio.abc
import pytest

from tests.faults.proxy import FaultProxy
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.anyio


class Ends:
    """A client, and the server's end of its connection."""

    def __init__(
        self, proxy: FaultProxy, client: anyio.abc.SocketStream, server: anyio.abc.SocketStream
    ) -> None:
        self.proxy = proxy
        self.client = client
        self.server = server


@asynccontextmanager
async def listening() -> AsyncGenerator[tuple[FaultProxy, anyio.abc.ObjectReceiveStream[object]], None]:
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    accepted, streams = anyio.create_memory_object_stream[anyio.abc.SocketStream](100)

    async def keep(stream: anyio.abc.SocketStream) -> None:
        await accepted.send(stream)

    async with listener, accepted, streams, anyio.create_task_group() as task_group:
        task_group.start_soon(listener.serve, keep)
        proxy = FaultProxy(listener.extra(anyio.abc.SocketAttribute.local_port))
        with anyio.fail_after(20):
            async with proxy.running():
                yield proxy, streams
        task_group.cancel_scope.cancel()


@asynccontextmanager
async def connected(
    proxy: FaultProxy, streams: anyio.abc.ObjectReceiveStream[object]
) -> AsyncGenerator[Ends, None]:
    async with await anyio.connect_tcp("127.0.0.1", proxy.port) as client:
        server = await streams.receive()
        assert isinstance(server, anyio.abc.SocketStream)
        async with server:
            yield Ends(proxy, client, server)


async def read(stream: anyio.abc.SocketStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await stream.receive()
    return data


async def nothing_comes(stream: anyio.abc.SocketStream) -> bool:
    with anyio.move_on_after(0.2):
        await stream.receive()
        return False
    return True


async def test_without_a_fault_everything_arrives_both_ways_and_so_does_the_end() -> None:
    async with listening() as (proxy, streams), connected(proxy, streams) as ends:
        await ends.client.send(b"up" * 100_000)
        assert await read(ends.server, 200_000) == b"up" * 100_000
        await ends.server.send(b"down")
        assert await read(ends.client, 4) == b"down"
        await ends.client.send_eof()
        with pytest.raises(anyio.EndOfStream):
            await ends.server.receive()
        await ends.server.send(b"behind")  # the other direction is still open
        assert await read(ends.client, 6) == b"behind"
        await ends.server.aclose()
        with pytest.raises(anyio.EndOfStream):
            await ends.client.receive()


async def test_a_reset_is_passed_on() -> None:
    async with listening() as (proxy, streams), connected(proxy, streams) as ends:
        ends.proxy.links[0].end(with_reset=True)
        for stream in (ends.client, ends.server):
            with pytest.raises(anyio.BrokenResourceError):
                await stream.receive()
        await eventually(lambda: not proxy.links)


async def test_one_direction_of_one_connection_is_held() -> None:
    async with (
        listening() as (proxy, streams),
        connected(proxy, streams) as ends,
        connected(proxy, streams) as others,
    ):
        link = proxy.links[0]
        link.up.hold()
        await ends.client.send(b"held")
        await ends.server.send(b"not held")
        assert await read(ends.client, 8) == b"not held"
        await others.client.send(b"nor this")
        assert await read(others.server, 8) == b"nor this"
        assert await nothing_comes(ends.server)
        link.up.let_go()
        assert await read(ends.server, 4) == b"held"


async def test_a_half_open_connection_hides_the_end() -> None:
    async with listening() as (proxy, streams), connected(proxy, streams) as ends:
        proxy.lead_nowhere()
        proxy.let_go()
        await ends.client.aclose()
        assert await nothing_comes(ends.server)


async def test_a_delay() -> None:
    async with listening() as (proxy, streams):
        proxy.up.delay, proxy.up.jitter = 0.2, 0.1
        async with connected(proxy, streams) as ends:
            started = monotonic()
            await ends.client.send(b"late")
            assert await read(ends.server, 4) == b"late"
            assert monotonic() - started >= 0.1


async def test_a_rate() -> None:
    async with listening() as (proxy, streams):
        proxy.down.rate = 10_000
        async with connected(proxy, streams) as ends:
            started = monotonic()
            await ends.server.send(b"x" * 3_000)
            await read(ends.client, 3_000)
            assert monotonic() - started >= 0.2


async def test_slices() -> None:
    async with listening() as (proxy, streams):
        proxy.up.slice = 1
        async with connected(proxy, streams) as ends:
            await ends.client.send(b"abc" * 50)
            assert await read(ends.server, 150) == b"abc" * 50


@pytest.mark.parametrize("with_reset", [False, True])
@pytest.mark.parametrize("after", [0, 1, 5])
async def test_a_cut_after_some_bytes(after: int, with_reset: bool) -> None:
    async with listening() as (proxy, streams):
        proxy.up.cut_after, proxy.up.cut_with_reset = after, with_reset
        async with connected(proxy, streams) as ends:
            try:
                await ends.client.send(b"hello")
                await ends.client.receive()
            except anyio.BrokenResourceError:
                assert with_reset
            except anyio.EndOfStream:
                assert not with_reset
            received = b""
            with suppress(anyio.BrokenResourceError, anyio.EndOfStream):
                while True:
                    received += await ends.server.receive()
            assert b"hello".startswith(received)
            assert with_reset or len(received) == after


async def test_refused_connections() -> None:
    async with listening() as (proxy, _):
        proxy.refuses = True
        with pytest.raises((OSError, anyio.BrokenResourceError, anyio.EndOfStream)):
            async with await anyio.connect_tcp("127.0.0.1", proxy.port) as client:
                await client.receive()
