"""The server's event loop stalls, or the whole process does: nobody who is well is disconnected for that."""

from __future__ import annotations

import os
import signal

import anyio
import pytest

from tests.faults.client import Client, connected
from tests.helpers.processes import ServerProcess

CLIENTS = 40

HEARTBEAT = ("--ping-interval", "0.5", "--ping-timeout", "1.5")
"""A client that the machine itself keeps from answering for a second must not be taken for a dead one."""

STALL = 2.5
"""Seconds, more than a heartbeat and its timeout."""


async def with_clients(port: int, count: int, break_things: object) -> None:
    """Have clients connected, whose pings are spread over the interval, while something happens."""
    clients = [
        Client(port, transport="polling" if number % 4 == 0 else "websocket") for number in range(count)
    ]
    async with anyio.create_task_group() as task_group:
        for client in clients:
            await client.open()
            task_group.start_soon(client.run)
            await anyio.sleep(0.5 / count)
        for client in clients:
            await client.wait_joined()
        async with connected(port) as witness:
            assert callable(break_things)
            await break_things(witness)
            pings = [client.pings for client in clients]
            with anyio.fail_after(10):
                while any(client.pings < before + 2 for client, before in zip(clients, pings, strict=True)):
                    assert [client.ended for client in clients if client.ended is not None] == []
                    await anyio.sleep(0.02)
            assert await witness.call("reasons") == []
        task_group.cancel_scope.cancel()
    for client in clients:
        await client.close()


@pytest.mark.parametrize("loop", ["uvloop", "trio"])
def test_a_listener_that_blocks_the_loop_for_longer_than_the_timeout_disconnects_nobody(loop: str) -> None:
    async def stall(witness: Client) -> None:
        for _ in range(2):
            await witness.call("stall", STALL)
            await anyio.sleep(0.05)

    with ServerProcess("tests.faults.app", "--loop", loop, *HEARTBEAT) as server:
        anyio.run(with_clients, server.port, CLIENTS, stall)


@pytest.mark.parametrize("loop", ["uvloop", "trio"])
def test_a_process_that_was_stopped_disconnects_nobody(loop: str) -> None:
    with ServerProcess("tests.faults.app", "--loop", loop, *HEARTBEAT) as server:

        async def stop(witness: Client) -> None:
            for _ in range(3):
                os.kill(server.pid, signal.SIGSTOP)
                try:
                    await anyio.sleep(STALL)
                finally:
                    os.kill(server.pid, signal.SIGCONT)
                assert await witness.call("echo", 1) == 1

        anyio.run(with_clients, server.port, CLIENTS, stop)
