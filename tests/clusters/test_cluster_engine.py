"""Two servers on one Redis behind nginx, which gives each request to any of them: no session is sticky."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.clusters.cluster import HERE
from tests.clusters.engines import Redis, free_port, program
from tests.clusters.peers import Peer
from tests.helpers.waiting import wait_until

COUNT = 200

TURNS = 4
"""Clients, one after the other: chance takes each another way."""

NGINX = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log {directory}/access;
    log_format upstream "$upstream_addr $status";
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    map $http_upgrade $connection_upgrade {{ default upgrade; "" close; }}
    upstream nodes {{ random; server 127.0.0.1:{first}; server 127.0.0.1:{second}; }}
    server {{
        listen 127.0.0.1:{port};
        access_log {directory}/access upstream;
        location / {{
            proxy_pass http://nodes;
            proxy_next_upstream off;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}
}}
"""


class Balanced:
    """The servers, the balancer and the clients.

    :ivar ports: those of the servers.
    """

    def __init__(self, stack: ExitStack, directory: Path, loops: tuple[str, str]) -> None:
        self.redis = stack.enter_context(Redis())
        self.ports = [free_port(), free_port()]
        self.servers = [
            stack.enter_context(self.server(port, loop)) for port, loop in zip(self.ports, loops, strict=True)
        ]
        self.clients = stack.enter_context(Peer("node", str(HERE / "engine_clients.cjs")))
        self._directory = directory
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        file = directory / "nginx.conf"
        file.write_text(
            NGINX.format(directory=directory, port=port, first=self.ports[0], second=self.ports[1])
        )
        process = subprocess.Popen(
            [program("nginx"), "-c", str(file), "-p", str(directory)], stderr=subprocess.DEVNULL
        )
        stack.callback(process.wait)
        stack.callback(process.kill)
        wait_until((directory / "nginx.pid").exists)
        wait_until(lambda: not any(self.stats(server)["degraded"] for server in self.servers))

    def server(self, port: int, loop: str) -> Peer:
        settings = {"url": self.redis.url, "loop": loop, "port": port}
        return Peer(sys.executable, "-P", "-m", "tests.clusters.engine_server", json.dumps(settings))

    @staticmethod
    def stats(server: Peer) -> dict[str, Any]:
        stats: dict[str, Any] = server("report")["stats"]["cluster_engine"]
        return stats

    def used(self) -> set[str]:
        """Which servers the balancer has chosen, of those requests that are over."""
        return {line.split(" ")[0] for line in (self._directory / "access").read_text().splitlines()}


@contextmanager
def balanced(directory: Path, loops: tuple[str, str]) -> Iterator[Balanced]:
    with ExitStack() as stack:
        yield Balanced(stack, directory, loops)


@pytest.fixture(
    scope="module", params=[("uvloop", "trio"), ("trio", "asgi"), ("asgi", "uvloop")], ids="-".join
)
def nodes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balanced]:
    with balanced(tmp_path_factory.mktemp("nginx"), request.param) as found:
        yield found


@pytest.mark.feature(223)
@pytest.mark.parametrize(
    ("transports", "last"),
    [(None, "websocket"), (["polling"], "polling"), (["websocket"], "websocket")],
    ids=["default", "polling", "websocket"],
)
def test_two_hundred_messages_each_way(nodes: Balanced, transports: list[str] | None, last: str) -> None:
    expected = [[number, bytes([number % 256])] for number in range(COUNT)]
    before = [server("report") for server in nodes.servers]
    count_before = sum(len(report["acknowledged"]) for report in before)

    def answers() -> int:
        return sum(len(server("report")["acknowledged"]) for server in nodes.servers) - count_before

    for turn in range(TURNS):
        name = f"{last}{transports}{turn}"
        nodes.clients("connect", name=name, url=nodes.url, transports=transports)
        talk = nodes.clients("talk", name=name, count=COUNT, within=60)
        assert talk["reasons"] == [], [server.errors() for server in nodes.servers]
        assert talk["said"] == list(range(COUNT))
        assert talk["asked"] == expected
        assert talk["transport"] == last
        wait_until(lambda: answers() == (turn + 1) * COUNT)  # noqa: B023
        nodes.clients("close", name=name)
    said: list[Any] = []
    acknowledged: list[Any] = []
    for server, earlier in zip(nodes.servers, before, strict=True):
        report = server("report")
        said += report["said"][len(earlier["said"]) :]
        acknowledged += report["acknowledged"][len(earlier["acknowledged"]) :]
    assert said == expected * TURNS
    assert sorted(acknowledged) == sorted([*range(COUNT)] * TURNS)
    assert nodes.used() == {f"127.0.0.1:{port}" for port in nodes.ports}
    wait_until(lambda: not any(nodes.stats(s)["lent"] + nodes.stats(s)["borrowed"] for s in nodes.servers))


def test_a_node_that_dies_ends_its_sessions_and_the_other_goes_on(tmp_path: Path) -> None:
    with balanced(tmp_path, ("uvloop", "trio")) as nodes:
        for number in range(4):
            nodes.clients("connect", name=str(number), url=nodes.url, transports=None)
        sessions = [server("report")["stats"]["sessions"] for server in nodes.servers]
        assert sum(sessions) == 4
        victim = sessions.index(max(sessions))
        other = f"http://127.0.0.1:{nodes.ports[1 - victim]}"
        nodes.clients("connect", name="survivor", url=other, transports=["websocket"])
        nodes.servers[victim].kill()

        def states() -> list[dict[str, Any]]:
            return [nodes.clients("state", name=str(number)) for number in range(4)]

        # Whoever has either half of its session at the dead node is told by the next ping.
        wait_until(lambda: any(not state["connected"] for state in states()))
        assert nodes.clients("talk", name="survivor", count=20)["reasons"] == []


def test_redis_that_restarts_ends_what_may_be_lost_and_sessions_are_shared_again(tmp_path: Path) -> None:
    with balanced(tmp_path, ("uvloop", "trio")) as nodes:
        shared = [
            f"shared{number}" for number in range(8)
        ]  # a poll that waits at its session's node loses nothing
        for name in shared:
            nodes.clients("connect", name=name, url=nodes.url, transports=["polling"])
        own = f"http://127.0.0.1:{nodes.ports[0]}"
        nodes.clients("connect", name="own", url=own, transports=["websocket"])
        nodes.redis.restart()
        wait_until(lambda: not all(nodes.clients("state", name=name)["connected"] for name in shared))
        wait_until(lambda: not any(nodes.stats(s)["degraded"] for s in nodes.servers))
        assert nodes.clients("talk", name="own", count=20)["reasons"] == []
        nodes.clients("connect", name="again", url=nodes.url, transports=None)
        assert nodes.clients("talk", name="again", count=COUNT)["reasons"] == []
