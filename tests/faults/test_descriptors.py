"""No descriptor is left: those who are connected are served on, those who come wait, and nothing spins."""

from __future__ import annotations

import anyio
import psutil
import pytest

from tests.faults.client import Client, Ended, connected
from tests.helpers.processes import ServerProcess

FILES = 100
"""Descriptors that the server may have."""


@pytest.mark.threat("T65")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio", "trio"])
def test_without_descriptors_the_server_serves_those_it_has(loop: str) -> None:
    async def run(port: int, pid: int) -> None:
        async with connected(port) as witness:
            await witness.call("keep descriptors", 5)
            come: list[Client] = []
            async with anyio.create_task_group() as task_group:
                for _ in range(30):  # for five of them there is room
                    client = Client(port)
                    come.append(client)
                    task_group.start_soon(come_in, client)
                before = cpu_seconds(pid)
                for number in range(20):
                    assert await witness.call("echo", number, seconds=2) == number
                    await anyio.sleep(0.1)
                assert cpu_seconds(pid) - before < 1.0, "it spins"
                await witness.call("free descriptors")
                with anyio.fail_after(10):
                    async with connected(port) as late:
                        assert await late.call("echo", "late") == "late"
                task_group.cancel_scope.cancel()
            for client in come:
                await client.close()

    with ServerProcess("tests.faults.app", "--loop", loop, "--files", str(FILES)) as server:
        anyio.run(run, server.port, server.pid)
        errors = server.stop()
    assert errors.count("\n") < 10, errors  # one line each ten seconds, not one for each connection


async def come_in(client: Client) -> None:
    """Come, and stay as long as one may."""
    try:
        await client.open()
        await client.run()
    except Ended:
        pass


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)
