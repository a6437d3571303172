"""TLS handshakes that are slow, broken or never happen: they end in time, and nobody else waits for them."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import Any

import anyio
import pytest
import trustme
from anyio.streams.tls import TLSStream

from sio_core import Limits, Server
from sio_core.serving.standalone import Listening
from tests.faults.client import BROKEN, connected
from tests.faults.proxy import FaultProxy
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.anyio

HANDSHAKE_TIME = 0.7


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@asynccontextmanager
async def served(
    context: ssl.SSLContext, handshake_time: float = HANDSHAKE_TIME
) -> AsyncGenerator[Listening, None]:
    io: Server[Any] = Server(limits=Limits(tls_handshake_time=handshake_time))
    io.on("echo", lambda socket, value: value)
    async with io.listen(ssl=context) as listening:
        yield listening


async def ends(port: int, data: bytes) -> float:
    """Send something, and return after how many seconds the server ended the connection."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        started = monotonic()
        with suppress(*BROKEN), anyio.fail_after(10):
            await stream.send(data)
            while True:
                await stream.receive()
        return monotonic() - started


async def test_who_never_says_anything_is_dropped_in_time_and_blocks_nobody(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    took: list[float] = []

    async def be_silent(port: int) -> None:
        took.append(await ends(port, b""))

    async with served(server_context) as listening, anyio.create_task_group() as task_group:
        for _ in range(50):
            task_group.start_soon(be_silent, listening.port)
        await anyio.sleep(0.05)
        with anyio.fail_after(5):
            async with connected(listening.port, tls=client_context) as client:
                assert await client.call("echo", 1) == 1
        await eventually(lambda: len(took) == 50, HANDSHAKE_TIME + 5)
        assert min(took) > HANDSHAKE_TIME / 2
        assert listening.site.connections <= 1  # none of them counts


async def test_a_handshake_that_drips_in_has_its_time(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with served(server_context) as listening, FaultProxy(listening.port).running() as proxy:
        proxy.up.slice, proxy.up.rate = 1, 100  # five seconds for the first message
        started = monotonic()
        with pytest.raises((ssl.SSLError, *BROKEN)):
            await shake_hands(proxy.port, client_context)
        assert HANDSHAKE_TIME / 2 < monotonic() - started < HANDSHAKE_TIME + 3


async def shake_hands(port: int, context: ssl.SSLContext) -> None:
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await TLSStream.wrap(stream, hostname="127.0.0.1", ssl_context=context)


async def test_a_slow_handshake_that_is_within_its_time_succeeds(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with served(server_context) as listening, FaultProxy(listening.port).running() as proxy:
        proxy.up.slice, proxy.up.delay = 100, 0.1
        async with connected(proxy.port, tls=client_context) as client:
            assert await client.call("echo", 1) == 1


@pytest.mark.parametrize(
    "garbage",
    [b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(100), b"\x80" * 999, b"\x15\x03\x01\x00\x02\x02\x28"],
    ids=["plain HTTP", "a record that is too long", "nonsense", "an alert"],
)  # fmt: skip
async def test_what_is_no_handshake_is_refused_at_once(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext, garbage: bytes
) -> None:
    async with served(server_context) as listening:
        for _ in range(5):
            assert await ends(listening.port, garbage) < HANDSHAKE_TIME + 3
        async with connected(listening.port, tls=client_context) as client:
            assert await client.call("echo", 1) == 1


async def test_a_client_that_does_not_trust_the_certificate_leaves_and_nothing_is_logged(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with served(server_context) as listening:
        with pytest.raises(ssl.SSLCertVerificationError):
            await shake_hands(listening.port, ssl.create_default_context())
        await eventually(lambda: not listening.site.connections)
        async with connected(listening.port, tls=client_context) as client:
            assert await client.call("echo", 1) == 1


async def test_a_handshake_that_is_cut_at_any_byte_leaves_nothing(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext
) -> None:
    async with served(server_context) as listening, FaultProxy(listening.port).running() as proxy:
        tasks = len(anyio.get_running_tasks())
        for count in range(0, 700, 23):
            proxy.up.cut_after, proxy.up.cut_with_reset = count, count % 2 == 0
            with suppress(ssl.SSLError, *BROKEN):
                await shake_hands(proxy.port, client_context)
        await eventually(lambda: not proxy.links)
        await eventually(lambda: not listening.site.connections)
        await eventually(lambda: len(anyio.get_running_tasks()) <= tasks)
        proxy.up.cut_after = None
        async with connected(proxy.port, tls=client_context) as client:
            assert await client.call("echo", 1) == 1


async def test_the_server_ends_while_handshakes_hang(server_context: ssl.SSLContext) -> None:
    with socket.socket() as silent:
        async with served(server_context) as listening:
            silent.connect(("127.0.0.1", listening.port))
            await anyio.sleep(0.05)
            started = monotonic()
        assert monotonic() - started < 3


async def test_who_comes_at_the_same_time_is_served(
    server_context: ssl.SSLContext, client_context: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    """What some say first is there before the server has accepted them."""
    answers: list[int] = []

    async def come(port: int, number: int) -> None:
        async with connected(port, tls=client_context) as client:
            answers.append(await client.call("echo", number))
            client.reset_on_close()

    async with served(server_context, handshake_time=10.0) as listening:
        async with anyio.create_task_group() as task_group:
            for number in range(10):
                task_group.start_soon(come, listening.port, number)
        assert sorted(answers) == list(range(10))
        await eventually(lambda: not listening.site.connections)
    assert not caplog.records
