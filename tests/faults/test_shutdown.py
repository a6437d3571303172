"""SIGTERM under load: nothing that was acknowledged is lost, everybody is told, and the process ends in time."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path
from time import monotonic

import anyio
import pytest

from tests.faults.client import Client, Ended, Http
from tests.helpers.processes import ServerProcess

CLIENTS = 60

ENDS_WITHIN = 14.0
"""Seconds: ten for connections, three for listeners, and one for a busy machine."""


async def talk(client: Client, name: int, acknowledged: list[str]) -> None:
    """Send messages without a pause, and write down those whose storing was acknowledged."""
    try:
        await client.open()
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(client.run)
            await client.wait_joined()
            number = 0
            while client.ended is None:
                text = f"{name}-{number}"
                try:
                    if await client.call("store", text) == "stored":
                        acknowledged.append(text)
                except (Ended, TimeoutError):
                    break
                number += 1
            await client.wait_ended()
    finally:
        with anyio.CancelScope(shield=True):
            await client.close()


async def end_it(server: ServerProcess, acknowledged: list[str]) -> Counter[str]:
    """Send SIGTERM while everybody talks; return how their connections ended."""
    transports = ["websocket", "polling", "upgrade"]
    clients = [Client(server.port, transport=transports[number % 3]) for number in range(CLIENTS)]
    async with anyio.create_task_group() as task_group:
        for number, client in enumerate(clients):
            task_group.start_soon(talk, client, number, acknowledged)
        with anyio.fail_after(20):
            while len(acknowledged) < 5 * CLIENTS:  # noqa: ASYNC110 - it is a list
                await anyio.sleep(0.01)
        os.kill(server.pid, signal.SIGTERM)
    return Counter(str(client.ended) for client in clients)


@pytest.mark.parametrize("loop", ["uvloop", "trio"])
def test_what_was_acknowledged_is_stored_and_everybody_is_told(loop: str, tmp_path: Path) -> None:
    store = tmp_path / "stored"
    acknowledged: list[str] = []
    with ServerProcess("tests.faults.app", "--loop", loop, "--store", str(store)) as server:
        ends = anyio.run(end_it, server, acknowledged)
        started = monotonic()
        assert server.wait() == ""
        assert monotonic() - started < ENDS_WITHIN
    stored = store.read_text().split()
    assert set(acknowledged) <= set(stored)
    assert len(set(stored)) == len(stored)
    assert sum(ends.values()) == CLIENTS
    told = {"close frame", "close packet", "refused with 400", "refused with 503"}
    assert set(ends) <= told | {"end of stream", "reset"}, ends
    # An official client stays away for good after a DISCONNECT, and comes back after the end of its transport.
    assert "DISCONNECT" not in ends
    assert ends["close frame"] > CLIENTS // 2, ends


@pytest.mark.parametrize("loop", ["uvloop", "trio"])
def test_while_it_ends_nobody_is_let_in_and_the_balancer_knows(loop: str) -> None:
    async def run(server: ServerProcess) -> None:
        # Who does not read holds the end up, and so one sees what others get meanwhile.
        client = Client(server.port)
        balancer = await Http.open(server.port)
        await client.open()
        assert await balancer.request("GET", "/healthz") == b"ok"
        os.kill(server.pid, signal.SIGTERM)
        with anyio.fail_after(5):
            while True:
                try:
                    newcomer = await Http.open(server.port)
                except Ended:
                    break
                await newcomer.stream.aclose()
        with pytest.raises(Ended) as draining:  # a connection that was there already is told, or closed
            await balancer.request("GET", "/healthz")
        assert draining.value.status in {0, 503}
        await balancer.stream.aclose()
        await client.close()

    with ServerProcess("tests.faults.app", "--loop", loop) as server:
        anyio.run(run, server)
        server.wait()


@pytest.mark.parametrize("loop", ["uvloop", "trio"])
def test_the_second_signal_ends_it_at_once(loop: str) -> None:
    async def run(server: ServerProcess) -> None:
        client = Client(server.port)
        await client.open()  # and it does not answer the close frame, for it reads nothing
        os.kill(server.pid, signal.SIGTERM)
        with anyio.fail_after(5):
            while True:
                try:
                    newcomer = await Http.open(server.port)
                except Ended:
                    break
                await newcomer.stream.aclose()
        started = monotonic()
        os.kill(server.pid, signal.SIGTERM)
        server.wait(-signal.SIGTERM)
        assert monotonic() - started < 2
        await client.close()

    with ServerProcess("tests.faults.app", "--loop", loop) as server:
        anyio.run(run, server)
