"""The clients of a soak run, as a process of its own: they come, talk and go, and some of their network is bad.

It reads nothing and writes one line of JSON at the end: how many lives there were, and how they ended.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import anyio
import anyio.abc

from tests.faults.client import BROKEN, Client, Ended
from tests.faults.proxy import FaultProxy, Way

__all__ = ["Crowd"]

TRANSPORTS: Final = ("websocket", "polling", "upgrade")
ROOM_SIZE: Final = 50
PAUSE: Final = (1.0, 5.0)
"""Seconds between two things that a client does."""

TALKS: Final = 0.1
"""The share of what a client does that goes to everybody in its room."""

THROUGH_PROXY: Final = 0.3
"""The share of the clients whose network is bad."""

PATIENCE: Final = 60.0
"""Seconds: partitions last up to twenty, and the machine may be busy."""

FAILURES: Final = (Ended, TimeoutError, *BROKEN)


class Crowd:
    """Keeps a number of clients connected, and exchanges so many of them a second.

    :param churn: clients a second that leave, and others come for them.
    """

    def __init__(self, port: int, clients: int, churn: float, seed: int) -> None:
        self._port = port
        self._clients = clients
        self._life = clients / churn
        self._random = random.Random(seed)
        self._proxy = FaultProxy(port)
        self._stopping = False
        self.ends: Counter[str] = Counter()
        self.events = 0

    async def run(self, seconds: float) -> None:
        """Do it for that long; then everybody leaves."""
        async with self._proxy.running(), anyio.create_task_group() as readers:
            async with anyio.create_task_group() as lives:
                for number in range(self._clients):
                    lives.start_soon(self._live, number, readers)
                async with anyio.create_task_group() as faults:
                    faults.start_soon(self._break_things)
                    await anyio.sleep(seconds)
                    self._stopping = True
                    faults.cancel_scope.cancel()
                self._proxy.let_go()
            readers.cancel_scope.cancel()

    async def _live(self, number: int, readers: anyio.abc.TaskGroup) -> None:
        """One place in the crowd, which somebody always has."""
        chance = random.Random(self._random.random())
        await anyio.sleep(chance.uniform(0, 10))
        auth: Mapping[str, Any] | None = None
        while not self._stopping:
            port = self._proxy.port if chance.random() < THROUGH_PROXY else self._port
            client = Client(port, transport=chance.choice(TRANSPORTS), auth=auth)
            try:
                self.ends[await self._live_once(client, chance, number, readers)] += 1
            except FAILURES as error:
                self.ends[str(error) or type(error).__name__] += 1
            finally:
                with anyio.CancelScope(shield=True):
                    await client.close()
            self.events += len(client.events)
            auth = {"pid": client.pid, "offset": client.offset} if chance.random() < 0.5 else None
            if not client.pid:
                auth = None
                await anyio.sleep(chance.uniform(0.5, 1.5))  # as the official client waits

    async def _live_once(
        self, client: Client, chance: random.Random, number: int, readers: anyio.abc.TaskGroup
    ) -> str:
        with anyio.fail_after(PATIENCE):
            await client.open()
        readers.start_soon(client.run)
        await client.wait_joined(PATIENCE)
        room = f"room {number // ROOM_SIZE}"
        await client.call("join", room, seconds=PATIENCE)
        end = anyio.current_time() + chance.expovariate(1 / self._life)
        while (now := anyio.current_time()) < end and not self._stopping:
            if client.ended is not None:
                return client.ended
            if chance.random() < TALKS:
                await client.emit("to room", room, "x" * chance.randint(10, 1_000))
            else:
                await client.call("echo", "x" * chance.randint(10, 1_000), seconds=PATIENCE)
            await anyio.sleep(min(chance.uniform(*PAUSE), max(end - now, 0.01)))
        how = chance.choice(["leaves", "leaves", "resets", "falls silent"])
        if how == "leaves" or self._stopping:
            await client.leave()
        elif how == "resets":
            client.reset_on_close()
        else:
            client.answers_pings = False
            await client.wait_ended(PATIENCE)
        return how

    async def _break_things(self) -> None:
        """Each second something else happens to somebody's connection."""
        chance = random.Random(self._random.random())
        async with anyio.create_task_group() as task_group:
            while True:
                await anyio.sleep(1.0)
                for way in (self._proxy.up, self._proxy.down):  # of those who come from here on
                    spoil(way, chance)
                links = self._proxy.links
                for link in chance.sample(links, min(3, len(links))):
                    fault = chance.choice(["cut", "FIN", "partition", "one way", "for good"])
                    if fault == "cut":
                        link.end(with_reset=True)
                    elif fault == "FIN":
                        link.end(with_reset=False)
                    else:
                        (link.up if fault == "one way" else link).hold()
                        heal = link.let_go if fault != "for good" else partial(link.end, True)
                        task_group.start_soon(later, chance.uniform(1, 20), heal)


def spoil(way: Way, chance: random.Random) -> None:
    """Set the faults of one direction anew; mostly there are none."""
    way.delay = way.jitter = 0.0
    way.rate = way.slice = way.cut_after = None
    fault = chance.random()
    if fault < 0.2:
        way.delay, way.jitter = 0.1, 0.1
    elif fault < 0.3:
        way.rate = 5_000
    elif fault < 0.4:
        way.slice = 50
    elif fault < 0.5:
        way.cut_after, way.cut_with_reset = chance.randint(0, 2_000), chance.random() < 0.5


async def later(seconds: float, function: Any) -> None:
    """Call a function after some time."""
    await anyio.sleep(seconds)
    function()


async def run(options: argparse.Namespace) -> None:
    crowd = Crowd(options.port, options.clients, options.churn, options.seed)
    await crowd.run(options.seconds)
    print(json.dumps({"events": crowd.events, "ends": dict(crowd.ends.most_common())}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clients", type=int, default=1_000)
    parser.add_argument("--churn", type=float, default=20.0)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    anyio.run(run, options, backend_options={"use_uvloop": True})


if __name__ == "__main__":
    main()
