"""Two servers of ours and two official ones on one engine, with an official client on each."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, Self

from tests.clusters.drivers import Driver
from tests.clusters.engines import Engine
from tests.clusters.peers import Peer
from tests.helpers.processes import ROOT

HERE: Final = ROOT / "tests" / "clusters"

NAMES: Final = ("p1", "p2", "n1", "n2")
"""The servers, and the clients on them: of ours (Python), and the official ones (Node)."""

ROOMS: Final = {"red": ("p1", "n1"), "blue": ("p2", "n2"), "green": ("p1", "n2"), "17": ("p2", "n1")}
"""The rooms, and the clients that are in them."""

OFFICIAL_EMITTER: Final = "official"
"""The name of the official emitter among those that send."""

PATIENCE: Final = 10.0
"""Seconds to wait for what must come."""


def python_server(driver: Driver, engine: Engine, name: str, loop: str, recovery: float | None) -> Peer:
    """Return a server of ours."""
    settings = {
        "name": name,
        "driver": driver.adapter,
        "url": engine.url,
        "options": driver.python,
        "recovery": recovery,
        "loop": loop,
        "port": 0,
    }
    return Peer(
        sys.executable, "-P", "-W", "error", "-m", "tests.clusters.python_server", json.dumps(settings)
    )


def node_server(driver: Driver, engine: Engine, name: str, recovery: float | None) -> Peer:
    """Return an official server."""
    settings = {
        "name": name,
        "driver": driver.adapter,
        "url": engine.url,
        "options": driver.node,
        "recovery": recovery,
        "port": 0,
    }
    return Peer("node", str(HERE / "node_server.cjs"), json.dumps(settings))


class Cluster:
    """The servers and clients of :data:`NAMES`, started by the block and gone with it.

    :ivar servers: the servers by their names.
    :ivar clients: the program that has the clients.
    :ivar ids: the clients' socket ids.
    """

    def __init__(self, driver: Driver, engine: Engine, names: tuple[str, ...] = NAMES) -> None:
        self.driver = driver
        self.engine = engine
        self.names = names
        self.servers: dict[str, Peer] = {}
        self.ids: dict[str, str] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._stack = stack
            launched = [self._server(name).launch() for name in self.names]
            self.clients = Peer("node", str(HERE / "node_clients.cjs")).launch()
            for program in (*launched, self.clients):
                stack.callback(program.close)
            for program in (*launched, self.clients):
                stack.enter_context(program)
            for name in self.names:
                self.ids[name] = self.connect(name, name)["id"]
            self.settle()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.close()

    def add_server(self, name: str) -> None:
        """Start a server; its name says which kind."""
        self._stack.enter_context(self._server(name))

    def _server(self, name: str) -> Peer:
        driver = self.driver
        recovery = 60.0 if driver.recovery else None
        if name.startswith("p"):
            loop = driver.loops[int(name[1:]) % 2 - 1]
            server = python_server(driver, self.engine, name, loop, recovery)
        else:
            server = node_server(driver, self.engine, name, recovery)
        self.servers[name] = server
        return server

    def url(self, name: str) -> str:
        """Where a server listens."""
        return f"http://127.0.0.1:{self.servers[name].ready['port']}"

    def connect(self, client: str, server: str, nsp: str = "/") -> Any:
        """Connect a client, into its rooms."""
        connected = self.clients("connect", name=client, url=self.url(server), nsp=nsp)
        for room, members in ROOMS.items():
            if client in members:
                self.clients("ask", name=client, event="join", args=[room])
        return connected

    def settle(self) -> None:
        """Wait until every server knows of the others, and broadcasts reach every client."""
        for name in self.names:
            wait_until(
                lambda name=name: self.servers[name]("server_count") == len(self.names),
                f"{name} sees {len(self.names)} servers",
            )
        for name in self.names:
            wait_until(lambda name=name: self._reaches_everyone(name), f"{name} reaches every client")
        self.clear()

    def _reaches_everyone(self, name: str) -> bool:
        self.servers[name]("emit", event="settling", args=[name])
        return all(
            [
                any(
                    [
                        received[:2] == ["settling", name]
                        for received in self.clients(
                            "wait", name=client, last=["settling", name], seconds=0.5
                        )
                    ]
                )
                for client in self.names
            ]
        )

    def clear(self) -> None:
        """Forget what the clients have received."""
        for name in self.names:
            self.fence(name)
        for name in self.names:
            self.clients("clear", name=name)

    def fence(self, sender: str) -> None:
        """Wait until everything that a server has sent so far has reached every client."""
        self._fences = getattr(self, "_fences", 0) + 1
        mark = ["fence", f"{sender} {self._fences}"]
        self.servers[sender]("emit", event=mark[0], args=mark[1:])
        for client in self.reached_by(sender):
            received = self.clients("wait", name=client, last=mark, seconds=PATIENCE)
            assert any([args[:2] == mark for args in received]), (
                f"{sender} does not reach {client}: {received}"
            )

    def received(self, client: str) -> list[list[Any]]:
        """What a client has received, without the marks of :meth:`fence`."""
        return [
            args for args in self.clients("received", name=client) if args[0] not in {"fence", "settling"}
        ]

    def expect(self, sender: str, expected: list[Any], receivers: tuple[str, ...]) -> None:
        """Check that one event has reached its receivers, once, and nobody else has received anything."""
        if not self.keeps_order(sender):
            for client in receivers:
                wait_until(lambda client=client: bool(self.received(client)), f"{client} received {expected}")
        self.fence(sender)
        for client in self.names:
            wanted = [expected] if client in receivers else []
            if wanted:  # where its order is not kept, it may come behind the mark
                wait_until(lambda client=client: bool(self.received(client)), f"{client} received {expected}")
            assert self.without_offsets(self.received(client), len(expected)) == wanted, (
                f"{client}, from {sender}"
            )
            self.clients("clear", name=client)

    def keeps_order(self, sender: str) -> bool:
        """Whether what a server or emitter publishes stays in order."""
        if sender == OFFICIAL_EMITTER:
            return self.driver.official_emitter_keeps_order
        return self.driver.node_keeps_order or not sender.startswith("n")

    def reached_by(self, sender: str) -> tuple[str, ...]:
        """The servers that hear another, or an emitter."""
        if sender != OFFICIAL_EMITTER:
            return self.names
        return tuple([name for name in self.names if name[0] in self.driver.official_emitter_reaches])

    def without_offsets(self, events: list[list[Any]], length: int) -> list[list[Any]]:
        """Take from events, which have so many values, the offset that recovery adds."""
        if not self.driver.recovery:
            return events
        assert all([len(args) <= length + 1 for args in events])
        return [args[:length] for args in events]


def wait_until(condition: Callable[[], bool], what: str, seconds: float = PATIENCE) -> None:
    """Wait until something holds.

    :raises AssertionError: if it takes too long.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds} s: {what}"
        time.sleep(0.02)
