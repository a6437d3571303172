"""One server under attack, and a witness who must not notice.

A :class:`Stand` is what a test gets: the means to attack (those of ``conformance.bench``), and at its end the proof
that nothing remains. The witness is an ordinary client of the same server. It asks for an echo again and again and
answers the heartbeat, all through the attack, and afterwards what the process holds must be what it held before:
tasks, descriptors and our own objects to the last one, memory within a tolerance; and the log has no errors.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

from conformance.bench import Bench
from conformance.peer.engineio import (
    EndedError,
    Link,
    PollingSession,
    WebSocketSession,
    decode_payload,
    parse_open,
)
from conformance.peer.http import Connection, DisconnectedError, Response
from conformance.peer.socketio import Client
from conformance.peer.websocket import RefusedError
from conformance.target import Server
from tests.helpers.processes import ServerProcess

__all__ = [
    "CALM",
    "CALM_PATH",
    "KEPT_FOR_RECOVERY",
    "PATIENCE",
    "Peer",
    "Stand",
    "Witness",
    "eventually",
    "opening",
]

PATIENCE = 8.0
"""Seconds in which everything that is waited for must have come, the witness's echo too, on a machine that is busy."""

CALM = 0.02
"""Seconds between two echoes."""

CALM_PATH = "/calm/"
"""The path of a server that ends no session because of its own times within the patience of a test."""

TOLERANCE = 8 * 1024 * 1024
"""Bytes of memory that a process may keep after an attack: what an allocator does not give back at once. What an
attack sends is more than that, or it is in small objects of ours, which are counted."""

TOLERANCE_OF_ALL = 24 * 1024 * 1024
"""Bytes that it may keep after all attacks, one after the other."""

KEPT_FOR_RECOVERY = frozenset({"LostSession", "Track"})
"""What is kept for a client that was lost, for a while and within bounds."""

FIRST: dict[int, int] = {}
"""The memory of each server before the first attack, by its process id."""

HEARTBEAT = 0.5
"""Seconds between an answer to a ping of the server and its next ping."""


async def eventually(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again until it is so."""
    async with asyncio.timeout(PATIENCE):
        while not await is_so():  # noqa: ASYNC110 - it happens in another process
            await asyncio.sleep(CALM)


class Witness:
    """A client that wants nothing but its echo and its heartbeat, and can ask the server what it holds."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = asyncio.Lock()
        self._watching: asyncio.Task[None] | None = None
        self.echoes = 0
        self.slowest = 0.0

    async def ask(self, event: str, *args: Any) -> Any:
        """Return the one argument of an acknowledgement."""
        async with self._lock, asyncio.timeout(PATIENCE):
            answer = await self._client.call(event, *args)
        return answer[0] if answer else None

    async def inspect(self, what: str) -> Any:
        return await self.ask("inspect", what)

    async def echoed(self) -> None:
        """Wait for one more echo, or for what has kept it away."""
        count = self.echoes
        async with asyncio.timeout(PATIENCE):
            while self.echoes == count:
                if self._watching is not None and self._watching.done():
                    self._watching.result()
                await asyncio.sleep(CALM / 4)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Ask for echoes for as long as the block lasts."""
        self._watching = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            self._watching.cancel()
            await asyncio.wait([self._watching])

    async def _watch(self) -> None:
        while True:
            started = time.monotonic()
            assert await self.ask("echo", self.echoes) == self.echoes
            self.slowest = max(self.slowest, time.monotonic() - started)
            self.echoes += 1
            await asyncio.sleep(CALM)


class CountingSession(WebSocketSession):
    """Counts the pings of the server; the client above answers them."""

    pings = 0

    async def receive(self) -> str | bytes:
        message = await super().receive()
        self.pings += message == "2"
        return message


class Peer(Bench):
    """A stranger, at one of the servers: it attacks, and in the end closes what it has opened."""

    async def send(self, data: bytes) -> Connection:
        """Open a connection and send bytes."""
        connection = await self.connection()
        with suppress(DisconnectedError):
            await connection.send(data)
        return connection

    async def exchange(self, data: bytes) -> Response:
        """Send bytes and return the response to them."""
        async with asyncio.timeout(PATIENCE):
            return await (await self.send(data)).read_response()

    async def open(self, **query: str) -> Response:
        """Ask for a session by polling; return the response, and have the session left in the end."""
        target = self.target("polling", **query)
        response = await self.request("GET", target)
        if response.status == 200:
            self._sessions.append(PollingSession(self, target, parse_open(decode_payload(response.text)[0])))
        return response

    async def flood(self, connection: Connection, data: bytes, times: int) -> bool:
        """Send the same bytes many times; tell whether the server has stopped taking them."""
        try:
            async with asyncio.timeout(PATIENCE / 4):
                for _ in range(times):
                    await connection.send(data)
                    await asyncio.sleep(0)
        except (DisconnectedError, TimeoutError):
            return True
        return False

    async def join(self, session: PollingSession) -> None:
        """Join the main namespace by polling: the session must be usable."""
        await session.send("40")
        async with asyncio.timeout(PATIENCE):
            while not any(str(packet).startswith('40{"sid":') for packet in await session.poll()):
                pass

    async def until_end(self, connection: Connection) -> bytes:
        """Return everything that still comes, to the end of the connection."""
        async with asyncio.timeout(PATIENCE):
            return await connection.read_to_end()

    async def until_ended(self, link: Link) -> str:
        """Wait until the server has ended a session; return how."""
        async with asyncio.timeout(PATIENCE):
            return await link.wait_ended()

    async def refused(self, target: str, headers: list[tuple[str, str]] | None = None) -> Response:
        """Return the response that a WebSocket gets instead of 101."""
        try:
            await self.open_websocket(target, headers or [])
        except RefusedError as error:
            return error.response
        raise AssertionError("the WebSocket was accepted")

    async def leave(self) -> None:
        """End every session that still lives, and drop every connection."""
        for session in self._sessions:
            session.stop()
            with suppress(DisconnectedError, OSError, EndedError):
                async with asyncio.timeout(PATIENCE):
                    await session.post("1")
        self._sessions.clear()
        for connection in self._connections:
            connection.writer.transport.abort()
        self._connections.clear()


class Stand:
    """A running server, the witness, and any number of strangers.

    :ivar shell: what it runs on.
    :ivar witness: is at ``/socket.io/``.
    :ivar expected_errors: how many records the log may have at ERROR: those of the application's own mistakes.
    :ivar may_keep: objects that stay for a while on purpose: what is kept for lost clients.
    """

    def __init__(self, process: ServerProcess, shell: str) -> None:
        self._process = process
        self._peers: list[Peer] = []
        self.shell = shell
        self.expected_errors = 0
        self.may_keep: frozenset[str] = frozenset()
        self.witness: Witness
        self.before: dict[str, Any] = {}
        self.hits_before: dict[str, dict[str, int]] = {}

    def peer(self, path: str = "/socket.io/") -> Peer:
        """A stranger at the server of a path."""
        peer = Peer(Server("127.0.0.1", self._process.port, path, "security"), None)  # type: ignore[arg-type]
        self._peers.append(peer)
        return peer

    async def happened(self) -> list[list[Any]]:
        """Take what the listeners have seen."""
        happened: list[list[Any]] = await self.witness.inspect("take_happened")
        return happened

    async def hits(self, name: str, path: str = "/socket.io/") -> int:
        """Return how often a limit of a server was hit since the attack began."""
        hits = (await self.witness.inspect("limit_hits"))[path].get(name, 0)
        return int(hits) - int(self.hits_before[path].get(name, 0))

    @asynccontextmanager
    async def cpu(self) -> AsyncIterator[list[float]]:
        """Measure the processor time that the server takes in the block: one number, once it has ended."""
        spent: list[float] = []
        started = await self.witness.inspect("cpu")
        yield spent
        spent.append(await self.witness.inspect("cpu") - started)

    async def leave(self) -> None:
        """Have all strangers leave."""
        for peer in self._peers:
            await peer.leave()
        self._peers.clear()

    async def settle(self) -> dict[str, Any]:
        """Wait until nothing of the strangers remains; return what the process holds then."""
        deadline = time.monotonic() + PATIENCE
        while True:
            census: dict[str, Any] = await self.witness.inspect("census")
            remains = difference(self.before, census, self.may_keep)
            if not remains:
                return census
            assert time.monotonic() < deadline, f"there remains {json.dumps(remains)}"
            await asyncio.sleep(0.03)


def difference(before: dict[str, Any], after: dict[str, Any], ignored: frozenset[str]) -> dict[str, Any]:
    """Return what there is more of than before."""
    flat_before = {**before, **before["objects"]}
    flat_after = {**after, **after["objects"]}
    return {
        name: f"{flat_before.get(name, 0)} -> {count}"
        for name, count in flat_after.items()
        if name not in ignored | {"memory", "objects"} and count > flat_before.get(name, 0)
    }


@asynccontextmanager
async def opening(process: ServerProcess, shell: str) -> AsyncIterator[Stand]:
    """Have a stand for one attack, with the witness at work; at its end nothing may remain."""
    stand = Stand(process, shell)
    bench = Bench(Server("127.0.0.1", process.port, "/socket.io/", "security"), None)  # type: ignore[arg-type]
    session = await bench.websocket()
    link = CountingSession(session.websocket, session.opened)
    client = Client(link)
    await client.connect()
    stand.witness = witness = Witness(client)
    await stand.happened()
    await witness.inspect("lines")
    stand.hits_before = await witness.inspect("limit_hits")
    stand.before = await witness.inspect("census")
    started = time.monotonic()
    try:
        async with witness.watching():
            yield stand
            await stand.leave()
            after = await stand.settle()
            await witness.echoed()
        errors = await witness.inspect("errors")
        assert len(errors) == stand.expected_errors, "\n".join(errors)
        grown = after["memory"] - stand.before["memory"]
        assert grown < TOLERANCE, f"the process has grown by {grown:,} bytes"
        grown = after["memory"] - FIRST.setdefault(process.pid, stand.before["memory"])
        assert grown < TOLERANCE_OF_ALL, f"the process has grown by {grown:,} bytes since the first attack"
        expected = (time.monotonic() - started) / (HEARTBEAT + witness.slowest) - 1
        assert link.pings >= int(expected), "the heartbeat has stopped"
    finally:
        await stand.leave()
        bench.close()
