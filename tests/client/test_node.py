"""The npm client in Node: every transport, on every event loop, with one worker and with four."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator

import pytest

from tests.helpers.processes import ROOT, ServerProcess

HERE = ROOT / "tests" / "client"
TRANSPORTS = ["polling", "websocket", "polling,websocket"]


@pytest.fixture(scope="module", params=["uvloop 1", "asyncio 1", "trio 1", "uvloop 4", "trio 4"])
def server(request: pytest.FixtureRequest) -> Iterator[ServerProcess]:
    loop, workers = request.param.split()
    with ServerProcess("tests.client.app", "--loop", loop, "--workers", workers) as server:
        yield server


@pytest.mark.feature(182, 183, 184, 194)
@pytest.mark.parametrize("transports", TRANSPORTS)
def test_every_scenario_passes(server: ServerProcess, transports: str) -> None:
    completed = subprocess.run(
        ["node", HERE / "run_in_node.js", server.url, transports],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr
    results = json.loads(completed.stdout)
    assert len(results) == 9
    assert {name: result for name, result in results.items() if result != "passed"} == {}


@pytest.mark.parametrize("transports", TRANSPORTS)
@pytest.mark.parametrize("loop", ["uvloop", "asyncio", "trio"])
def test_the_client_comes_back_after_a_restart(loop: str, transports: str) -> None:
    with ServerProcess("tests.client.app", "--loop", loop) as server:
        client = subprocess.Popen(
            ["node", HERE / "reconnect_in_node.js", server.url, transports],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert client.stdout is not None
        with client:
            try:
                assert client.stdout.readline() == "connect here\n"
                server.stop()
                assert client.stdout.readline() in {
                    "disconnect transport close\n",
                    "disconnect transport error\n",
                }
                server.start()
                assert client.stdout.readline() == "connect here\n"
            finally:
                client.kill()
