"""Clients that take what they are sent too slowly, or not at all: it costs them their connection, and nobody else."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import anyio
import psutil
import pytest

from tests.faults.client import connected
from tests.faults.proxy import SLOW_BUFFER, SLOW_SEGMENT, FaultProxy
from tests.helpers.processes import ServerProcess

OUTBOX: Final = 65_536
"""Bytes that may wait for one client."""

FLOOD: Final = ("flood", "all", 250, 8_000)
"""Two megabytes."""

STALLED: Final = 300
"""Clients that read nothing."""

MEMORY: Final = 2 * STALLED * OUTBOX
"""Bytes by which the server may grow: what waits for a client, and what its transport holds.

Without bounds it would be two megabytes for each.
"""


def memory(pid: int) -> int:
    rss: int = psutil.Process(pid).memory_info().rss
    return rss


@pytest.mark.parametrize("loop", ["uvloop", "trio"])
def test_a_slow_client_is_cut_and_misses_nothing_when_it_comes_back(loop: str) -> None:
    async def run(port: int) -> None:
        async with FaultProxy(port).running() as proxy, connected(port) as healthy:
            await healthy.call("join", "all")
            proxy.down.rate = 50_000
            async with connected(proxy.port) as slow:
                await slow.call("join", "all")
                await healthy.call(*FLOOD)
                assert "1013" in await slow.wait_ended(60) or slow.ended == "reset"
                numbers = [event[1] for event in slow.events if event[0] == "flood"]
                assert numbers == list(range(len(numbers)))
                assert len(numbers) < FLOOD[2]
                auth = {"pid": slow.pid, "offset": slow.offset}
            assert [event[1] for event in healthy.events] == list(range(FLOOD[2]))
            assert await healthy.call("reasons") == ["transport close"]
            async with connected(port, auth=auth) as back:
                assert back.id == slow.id
                with anyio.fail_after(10):
                    while len(back.events) < FLOOD[2] - len(numbers):  # noqa: ASYNC110 - it is a list
                        await anyio.sleep(0.01)
                assert [event[1] for event in back.events] == list(range(len(numbers), FLOOD[2]))

    arguments = ("--loop", loop, "--recovery", "--outbox-bytes", str(OUTBOX))
    with ServerProcess("tests.faults.app", *arguments) as server:
        anyio.run(run, server.port)


def frame(text: str) -> bytes:
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text.encode()


@contextmanager
def stalled_clients(port: int, count: int) -> Iterator[None]:
    """Have clients in a room that read nothing after they have joined it."""
    upgrade = (
        b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n"
        b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    with ExitStack() as stack:
        for _ in range(count):
            handle = stack.enter_context(socket.socket())
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER)
            handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, SLOW_SEGMENT)
            handle.settimeout(10)
            handle.connect(("127.0.0.1", port))
            handle.sendall(upgrade + frame("40") + frame('420["join","all"]'))
            answer = b""
            while b"430[" not in answer:
                answer += handle.recv(1_000)
        yield


@pytest.mark.parametrize("loop", ["uvloop", "trio"])
def test_hundreds_of_stalled_clients_take_the_memory_that_is_allowed(loop: str) -> None:
    async def run(port: int, pid: int) -> None:
        async with connected(port) as healthy:
            await healthy.call("join", "all")
            before = memory(pid)
            await healthy.call(*FLOOD, seconds=60)
            assert memory(pid) - before < MEMORY
            assert [event[1] for event in healthy.events] == list(range(FLOOD[2]))
            reasons = await healthy.call("reasons")
            assert reasons == ["transport close"] * STALLED
            held = await healthy.call("what do you hold")
            assert (held["sessions"], held["sockets"]) == (1, 1)
            assert held["limit hits"]["outbox_bytes"] == STALLED

    with (
        ServerProcess("tests.faults.app", "--loop", loop, "--outbox-bytes", str(OUTBOX)) as server,
        stalled_clients(server.port, STALLED),
    ):
        anyio.run(run, server.port, server.pid)
