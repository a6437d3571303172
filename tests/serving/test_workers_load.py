"""The npm client under load, while workers are killed one after the other, and restarted gently."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time

import psutil
import pytest

from tests.helpers.processes import ROOT, ServerProcess
from tests.helpers.waiting import wait_until

CLIENTS = 24
SECONDS = 4.0
KILLS = 3


@pytest.mark.parametrize(
    ("loop", "transports"),
    [("uvloop", "polling"), ("uvloop", "websocket"), ("trio", "polling,websocket")],
)
def test_clients_are_served_while_workers_are_killed(loop: str, transports: str) -> None:
    chance = random.Random(f"{loop} {transports}")
    with ServerProcess("tests.client.app", "--loop", loop, "--workers", "4") as server:
        clients = subprocess.Popen(
            [
                *("node", ROOT / "tests" / "serving" / "load_in_node.cjs"),
                *(server.url, transports, str(CLIENTS), str(SECONDS)),
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        supervisor = psutil.Process(server.pid)
        for _ in range(KILLS):
            time.sleep(SECONDS / KILLS * 0.8)
            workers = supervisor.children()
            if len(workers) == 4:
                chance.choice(workers).kill()
        supervisor.send_signal(signal.SIGHUP)
        output, _ = clients.communicate(timeout=50)
        seen = json.loads(output)
        assert seen["wrong"] == seen["left"] == 0, seen
        assert seen["answers"] > 10 * CLIENTS, seen
        assert seen["reconnections"] > 0, seen
        wait_until(lambda: len(supervisor.children()) == 4)
