"""One run: the chat behind the proxy, the clients, and somebody who breaks things."""

from __future__ import annotations

import json
import os
import random
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio
import anyio.abc
import psutil
import psycopg
from anyio.streams.text import TextReceiveStream

from chat_app.engines import is_postgres
from tests.chat.checker.rules import Anomalies, Event, Row, check
from tests.chat.checker.server import POINTS
from tests.faults.proxy import FaultProxy
from tests.helpers.waiting import eventually

__all__ = ["Report", "Run"]

ROOT: Final = Path(__file__).resolve().parents[3]
ROWS: Final = "SELECT room, seq, client_offset, text FROM messages ORDER BY id"
ROOMS: Final = ("lobby", "red", "green")
ARRIVES: Final = 12.0
"""Seconds for the chat to get to the named point, or for something to be stored; then the next thing is tried."""
FINISHES: Final = 60.0
"""Seconds for all clients to synchronise at the end."""


@dataclass(slots=True)
class Report:
    """What a run has seen.

    :ivar deaths: how often the chat died, by the way of dying.
    :ivar stored: messages in the log at the end.
    """

    seed: int
    anomalies: Anomalies = field(default_factory=dict)
    deaths: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    stored: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        lines = [
            f"seed {self.seed}, {self.seconds:.0f} s: {sum(self.deaths.values())} kills {self.deaths}, "
            f"network {self.faults}, {self.stored} messages stored, events {self.events}"
        ]
        lines += [f"{name}: {len(cases)}, as {cases[:5]}" for name, cases in self.anomalies.items()]
        return "\n".join([*lines, "no anomalies"] if not self.anomalies else lines)


class Node:
    """One node of the chat, behind a proxy of its own."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.port = free_port()
        self.proxy = FaultProxy(self.port)
        self.server: anyio.abc.Process | None = None

    async def kill(self) -> None:
        """End it at once."""
        if self.server is not None:
            if self.server.returncode is None:
                workers = self.workers()
                self.server.kill()
                for worker in workers:
                    kill(worker)
            await self.server.wait()
            await self.server.aclose()

    def workers(self) -> list[psutil.Process]:
        """The workers that live now, if there are several."""
        assert self.server is not None
        try:
            return psutil.Process(self.server.pid).children()
        except psutil.NoSuchProcess:
            return []


class Run:
    """Kills the chat a number of times while its clients talk, then looks at what is left.

    :param directory: where the database and the history are written; keep it when something was found.
    :param workers: with several, mostly one of them is killed, and the others serve on.
    :param nodes: with several, they are killed in turn, and the others serve on.
    :param database: an address of PostgreSQL, which the nodes have in common; by default it is a file.
    :param mistake: one of the mistakes that the chat can be made with.
    :param ways: the ways of dying to choose from: the named points, and the empty one for any moment.
    """

    def __init__(
        self,
        directory: Path,
        *,
        kills: int,
        seed: int,
        pages: int = 8,
        tutorials: int = 2,
        workers: int = 1,
        nodes: int = 1,
        database: str = "",
        mistake: str = "",
        ways: Sequence[str] = ("", "", *POINTS),
    ) -> None:
        self._directory = directory
        self._kills = kills
        self._random = random.Random(seed)
        self._counts = (pages, tutorials)
        self._workers = workers
        self._mistake = mistake
        self._ways = ways
        self._database = database or str(directory / "chat.db")
        self._adapter = ("--adapter", database) if nodes > 1 else ()
        self._nodes = [Node(number) for number in range(nodes)]
        self._events: list[Event] = []
        self._stored = anyio.Event()
        self._report = Report(seed)

    async def run(self) -> Report:
        """Do all of it."""
        started = time.monotonic()
        async with AsyncExitStack() as stack:
            for node in self._nodes:
                await stack.enter_async_context(node.proxy.running())
            try:
                for node in self._nodes:
                    await self._start(node, "")
                async with await self._start_clients() as clients, anyio.create_task_group() as task_group:
                    try:
                        task_group.start_soon(self._read, clients)
                        await self._break_things()
                        assert clients.stdin is not None
                        await clients.stdin.send(b"finish\n")
                        with anyio.move_on_after(FINISHES):  # who has not synchronised by then is found
                            await clients.wait()
                    finally:
                        if clients.returncode is None:
                            clients.kill()
            finally:
                for node in self._nodes:
                    await node.kill()
        self._judge()
        self._report.seconds = time.monotonic() - started
        return self._report

    # The two programs

    async def _start(self, node: Node, crash: str) -> None:
        with (self._directory / f"server{node.number}.log").open("ab") as log:
            node.server = await anyio.open_process(
                [
                    *(sys.executable, "-m", "tests.chat.checker.server"),
                    *("--port", str(node.port), "--database", self._database),
                    *("--workers", str(self._workers), *self._adapter),
                ],
                cwd=ROOT,
                env={**os.environ, "CHAT_CRASH": crash, "CHAT_MISTAKE": self._mistake},
                stderr=log,
            )
        assert node.server.stdout is not None
        await node.server.stdout.receive()  # it listens, and says where

    async def _start_clients(self) -> anyio.abc.Process:
        pages, tutorials = self._counts
        return await anyio.open_process(
            [
                *("node", str(Path(__file__).with_name("client.mjs"))),
                ",".join([f"http://127.0.0.1:{node.proxy.port}" for node in self._nodes]),
                *(str(pages), str(tutorials), ",".join(ROOMS), str(self._report.seed)),
            ],
            cwd=ROOT,
            stderr=subprocess.DEVNULL,
        )

    async def _read(self, clients: anyio.abc.Process) -> None:
        assert clients.stdout is not None
        rest = ""
        with (self._directory / "history.jsonl").open("w") as history:
            async for text in TextReceiveStream(clients.stdout):
                history.write(text)
                *lines, rest = (rest + text).split("\n")
                for line in lines:
                    event = Event.parse(json.loads(line))
                    self._events.append(event)
                    self._report.events[event.kind] = self._report.events.get(event.kind, 0) + 1
                    if event.kind == "ok":
                        self._stored.set()

    # Breaking things

    async def _break_things(self) -> None:
        for number in range(self._kills):
            node = self._nodes[number % len(self._nodes)]
            self._stored = anyio.Event()
            with anyio.move_on_after(ARRIVES):
                await self._stored.wait()
            await self._disturb_network(node)
            how = self._random.choice(self._ways)
            if self._workers > 1 and not how:
                workers = node.workers()
                if workers:
                    kill(self._random.choice(workers))
                self._report.deaths["a worker"] = self._report.deaths.get("a worker", 0) + 1
                continue
            if how:
                await node.kill()  # and start again with the point
                await self._start(node, f"{how}:{self._random.randint(1, 20)}")
                try:
                    await self._wait_for_death(node)
                except TimeoutError:
                    how = ""
            await node.kill()
            self._report.deaths[how or "any moment"] = self._report.deaths.get(how or "any moment", 0) + 1
            await self._start(node, "")

    async def _wait_for_death(self, node: Node) -> None:
        """Wait until the chat has killed itself, or one of its workers has.

        :raises TimeoutError: if it does not get to the point.
        """
        assert node.server is not None
        if self._workers == 1:
            with anyio.fail_after(ARRIVES):
                await node.server.wait()
            return
        before = {worker.pid for worker in node.workers()}
        await eventually(lambda: not before <= {worker.pid for worker in node.workers()}, ARRIVES)

    async def _disturb_network(self, node: Node) -> None:
        fault = self._random.choice(["none", "cut", "stall", "nowhere"])
        self._report.faults[fault] = self._report.faults.get(fault, 0) + 1
        if fault == "cut":
            node.proxy.cut()
        elif fault == "nowhere":
            node.proxy.lead_nowhere()
        elif fault == "stall":
            node.proxy.hold()
        await anyio.sleep(self._random.uniform(0.0, 0.4))  # the moment of the next fault is a random one
        node.proxy.let_go()

    # What is left

    def _judge(self) -> None:
        damage, rows = "ok", []
        if is_postgres(self._database):
            with psycopg.connect(self._database) as connection:
                rows = [Row(*row) for row in connection.execute(ROWS.replace("messages", "chat_messages"))]
        else:
            with closing(sqlite3.connect(self._database)) as database:
                damage = database.execute("PRAGMA quick_check").fetchone()[0]
                rows = [Row(*row) for row in database.execute(ROWS)]
        pages, tutorials = self._counts
        members: dict[str, tuple[str, ...]] = {f"page{number}": ROOMS for number in range(pages)}
        members.update({f"tutorial{number}": ROOMS[:1] for number in range(tutorials)})
        self._report.stored = len(rows)
        self._report.anomalies = check(self._events, rows, members)
        if damage != "ok":
            self._report.anomalies["damaged"] = [damage]


def kill(process: psutil.Process) -> None:
    """End a process at once, if it has not ended."""
    with suppress(psutil.NoSuchProcess):
        process.kill()


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
