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
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import anyio
import anyio.abc
import psutil
from anyio.streams.text import TextReceiveStream

from tests.chat.checker.rules import Anomalies, Event, Row, check
from tests.chat.checker.server import POINTS
from tests.faults.proxy import FaultProxy
from tests.helpers.waiting import eventually

__all__ = ["Report", "Run"]

ROOT: Final = Path(__file__).resolve().parents[3]
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


class Run:
    """Kills the chat a number of times while its clients talk, then looks at what is left.

    :param directory: where the database and the history are written; keep it when something was found.
    :param workers: with several, mostly one of them is killed, and the others serve on.
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
        self._database = directory / "chat.db"
        self._port = free_port()
        self._proxy = FaultProxy(self._port)
        self._events: list[Event] = []
        self._stored = anyio.Event()
        self._server: anyio.abc.Process | None = None
        self._report = Report(seed)

    async def run(self) -> Report:
        """Do all of it."""
        started = time.monotonic()
        async with self._proxy.running():
            try:
                await self._start("")
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
                await self._kill()
        self._judge()
        self._report.seconds = time.monotonic() - started
        return self._report

    # The two programs

    async def _start(self, crash: str) -> None:
        log = (self._directory / "server.log").open("ab")
        with log:
            self._server = await anyio.open_process(
                [
                    *(sys.executable, "-m", "tests.chat.checker.server"),
                    *("--port", str(self._port), "--database", str(self._database)),
                    *("--workers", str(self._workers)),
                ],
                cwd=ROOT,
                env={**os.environ, "CHAT_CRASH": crash, "CHAT_MISTAKE": self._mistake},
                stderr=log,
            )
        assert self._server.stdout is not None
        await self._server.stdout.receive()  # it listens, and says where

    async def _kill(self) -> None:
        if self._server is not None:
            if self._server.returncode is None:
                workers = self._processes()
                self._server.kill()
                for worker in workers:
                    kill(worker)
            await self._server.wait()
            await self._server.aclose()

    def _processes(self) -> list[psutil.Process]:
        """The workers that live now, if there are several."""
        assert self._server is not None
        try:
            return psutil.Process(self._server.pid).children()
        except psutil.NoSuchProcess:
            return []

    async def _start_clients(self) -> anyio.abc.Process:
        pages, tutorials = self._counts
        return await anyio.open_process(
            [
                *("node", str(Path(__file__).with_name("client.mjs"))),
                f"http://127.0.0.1:{self._proxy.port}",
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
        for _ in range(self._kills):
            self._stored = anyio.Event()
            with anyio.move_on_after(ARRIVES):
                await self._stored.wait()
            await self._disturb_network()
            assert self._server is not None
            how = self._random.choice(self._ways)
            if self._workers > 1 and not how:
                workers = self._processes()
                if workers:
                    kill(self._random.choice(workers))
                self._report.deaths["a worker"] = self._report.deaths.get("a worker", 0) + 1
                continue
            if how:
                await self._kill()  # and start again with the point
                await self._start(f"{how}:{self._random.randint(1, 20)}")
                try:
                    await self._wait_for_death()
                except TimeoutError:
                    how = ""
            await self._kill()
            self._report.deaths[how or "any moment"] = self._report.deaths.get(how or "any moment", 0) + 1
            await self._start("")

    async def _wait_for_death(self) -> None:
        """Wait until the chat has killed itself, or one of its workers has.

        :raises TimeoutError: if it does not get to the point.
        """
        assert self._server is not None
        if self._workers == 1:
            with anyio.fail_after(ARRIVES):
                await self._server.wait()
            return
        before = {worker.pid for worker in self._processes()}
        await eventually(lambda: not before <= {worker.pid for worker in self._processes()}, ARRIVES)

    async def _disturb_network(self) -> None:
        fault = self._random.choice(["none", "cut", "stall", "nowhere"])
        self._report.faults[fault] = self._report.faults.get(fault, 0) + 1
        if fault == "cut":
            self._proxy.cut()
        elif fault == "nowhere":
            self._proxy.lead_nowhere()
        elif fault == "stall":
            self._proxy.hold()
        await anyio.sleep(self._random.uniform(0.0, 0.4))  # the moment of the next fault is a random one
        self._proxy.let_go()

    # What is left

    def _judge(self) -> None:
        with closing(sqlite3.connect(self._database)) as database:
            damage = database.execute("PRAGMA quick_check").fetchone()[0]
            rows = [
                Row(*row)
                for row in database.execute("SELECT room, seq, client_offset, text FROM messages ORDER BY id")
            ]
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
