"""The official client from Python, and the chat to connect it to."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
from anyio.streams.text import TextReceiveStream

from chat_app.__main__ import STATIC
from chat_app.app import Chat
from chat_app.sqlite_log import SqliteLog
from sio_core import Server

__all__ = ["Clients", "Remote", "chatting", "connecting"]

TIMEOUT = 15.0


class Remote:
    """One client in Node.

    :ivar seen: what has happened to it and was not waited for.
    """

    def __init__(self, clients: Clients, name: str) -> None:
        self._clients = clients
        self.name = name
        self.seen: deque[tuple[str, list[Any]]] = deque()
        self.arrived = anyio.Event()

    def happened(self, event: str, args: list[Any]) -> None:
        self.seen.append((event, args))
        self.arrived.set()
        self.arrived = anyio.Event()

    async def next(self, event: str) -> Any:
        """Wait for an event and return its arguments: the one, or a list of several. Others stay where they are."""
        with anyio.fail_after(TIMEOUT):
            while True:
                for index, (name, args) in enumerate(self.seen):
                    if name == event:
                        del self.seen[index]
                        return args[0] if len(args) == 1 else args
                await self.arrived.wait()

    def count(self, event: str) -> int:
        """Tell how many such events were not waited for."""
        return sum(name == event for name, _ in self.seen)

    async def emit(self, event: str, *args: Any) -> None:
        await self._clients.send("emit", self.name, event, args)

    async def ask(self, event: str, *args: Any) -> Any:
        """Emit an event and return the acknowledgement."""
        self._clients.asked += 1
        number = self._clients.asked
        await self._clients.send("ask", self.name, event, args, number)
        return await self.next(f"answer {number}")

    async def emit_and_ask(self, event: str, *args: Any) -> str:
        """Emit an event and return the name of its answer, to be waited for."""
        self._clients.asked += 1
        await self._clients.send("ask", self.name, event, args, self._clients.asked)
        return f"answer {self._clients.asked}"

    async def cut(self) -> None:
        """Lose the connection, without a word."""
        await self._clients.send("cut", self.name)

    async def disconnect(self) -> None:
        await self._clients.send("disconnect", self.name)
        await self.next("disconnect")


class Clients:
    """The process that has the clients."""

    def __init__(self, process: anyio.abc.Process, url: str) -> None:
        self._process = process
        self._remotes: dict[str, Remote] = {}
        self.url = url
        self.asked = 0

    async def send(self, *command: Any) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send(json.dumps(command).encode() + b"\n")

    async def connect(self, name: str, **options: Any) -> Remote:
        """Connect a client, and wait until it is."""
        remote = self._remotes[name] = Remote(self, name)
        await self.send("connect", name, self.url, options)
        await remote.next("connect")
        return remote

    async def page(self, name: str, room: str = "lobby", **options: Any) -> Remote:
        """Connect a client like our own page, in a room."""
        remote = await self.connect(name, auth={"client": secret(name), "nickname": name}, **options)
        await remote.next("welcome")
        await remote.ask("join", room)
        return remote

    async def read(self) -> None:
        assert self._process.stdout is not None
        rest = ""
        async for text in TextReceiveStream(self._process.stdout):
            *lines, rest = (rest + text).split("\n")
            for line in lines:
                name, event, args = json.loads(line)
                self._remotes[name].happened(event, args)


def secret(name: str) -> str:
    """Return what the client of that name keeps for itself."""
    return f"secret-of-{name}".ljust(20, "-")


@asynccontextmanager
async def connecting(url: str) -> AsyncIterator[Clients]:
    """Have a process for clients."""
    script = Path(__file__).with_name("remote.cjs")
    process = await anyio.open_process(["node", str(script)], stderr=None)
    async with process, anyio.create_task_group() as task_group:
        clients = Clients(process, url)
        task_group.start_soon(clients.read)
        try:
            yield clients
        finally:
            task_group.cancel_scope.cancel()
            process.kill()


@asynccontextmanager
async def chatting(database: Path, **options: Any) -> AsyncIterator[Clients]:
    """Have the chat, and clients for it."""
    io: Server[dict[str, Any]] = Server(connection_state_recovery=True, **options)
    with closing(SqliteLog.open(database)) as log:
        chat = Chat(log)
        io.register(chat)
        async with io.listen(static=STATIC) as listening, chat.running():
            async with connecting(listening.url) as clients:
                yield clients
            await io.close()
