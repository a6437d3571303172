"""Servers that share their sessions by a bus in memory, and bytes in and out of their connections."""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel

from sio_core import Server
from sio_core.adapters.cluster_engine import ClusterEngine, Publication
from sio_core.engineio.engine import Pending
from sio_core.runtime import Runtime
from sio_core.serving.connection import Connection, Driver
from sio_core.serving.site import Site
from sio_core.testing import VirtualClock, VirtualRuntime, settle


class EngineBus:
    """What the engines of a test publish on.

    :ivar away: whether publishing fails.
    :ivar held: what waits, while the test holds it back; ``None``: everything arrives at once.
    :param chance: what each node hears takes its time, by chance; its order stays.
    """

    def __init__(self, chance: random.Random | None = None) -> None:
        self.chance = chance
        self.engines: list[BusEngine] = []
        self.published: list[Publication] = []
        self.away = False
        self.held: list[tuple[BusEngine, bytes]] | None = None

    def release(self) -> None:
        held, self.held = self.held or [], None
        for engine, payload in held:
            engine.receive(payload)


class BusEngine(ClusterEngine):
    """One node's way to the bus."""

    def __init__(self, bus: EngineBus) -> None:
        super().__init__()
        self.bus = bus
        self.inbox: deque[bytes] = deque()

    async def hear(self, chance: random.Random) -> None:
        """Hear what is published, some turns of the event loop later."""
        while True:
            for _ in range(chance.randrange(1, 12)):
                await anyio.lowlevel.checkpoint()
            if self.inbox:
                self.receive(self.inbox.popleft())

    def open(self) -> None:
        self.bus.engines.append(self)

    async def disconnect(self) -> None:
        if self in self.bus.engines:
            self.bus.engines.remove(self)

    async def publish(self, batch: list[Publication]) -> list[bool]:
        if self.bus.away:
            raise ConnectionError("the bus is away")
        heard = []
        for target, payload in batch:
            self.bus.published.append((target, payload))
            hearers = [engine for engine in self.bus.engines if target in {None, engine.node_id}]
            heard.append(bool(hearers))
            for engine in hearers:
                if self.bus.chance is not None:
                    engine.inbox.append(payload)
                elif self.bus.held is not None:
                    self.bus.held.append((engine, payload))
                else:
                    engine.receive(payload)
        return heard

    @property
    def degraded(self) -> bool:
        return self.bus.away


class Wire(Driver):
    """One TCP connection to a node, as its client sees it."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self.received = bytearray()
        self.closed = False
        site = Site([node.io.engine], node.io.engine.options.limits, node.io.deadlines)
        now = node.clock.now()
        self.connection = Connection(site, self, now, address="127.0.0.1", port=50_000, secure=False)

    def output_ready(self) -> None:
        self._node.runtime.call_soon(self.flush)

    @property
    def reads(self) -> bool:
        """Whether the node reads what is sent."""
        return not self.connection.paused

    def flush(self) -> None:
        if self.closed:
            return
        self.received += self.connection.data_to_send()
        if self.connection.closing or self.connection.aborting:
            self.lose()

    def wait_for(self, pending: Pending) -> None:
        self._node.tasks.start_soon(self._wait_for, pending)

    async def _wait_for(self, pending: Pending) -> None:
        result = await pending.awaitable
        self.connection.resume(pending, result, None, self._node.clock.now())

    def unsent(self) -> int:
        return 0

    def send(self, data: bytes) -> None:
        self.connection.receive_data(data, self._node.clock.now())
        self.flush()

    def lose(self) -> None:
        if not self.closed:
            self.closed = True
            self.connection.connection_lost(self._node.clock.now())
            self.connection.detach()

    # HTTP

    @property
    def status(self) -> int:
        """Of the response; 0 if there is none yet."""
        return int(self.received.split(b" ", 2)[1]) if self.received else 0

    @property
    def body(self) -> str:
        return self.received.partition(b"\r\n\r\n")[2].decode()

    # WebSocket

    def send_message(self, message: str | bytes) -> None:
        payload = message.encode() if isinstance(message, str) else message
        assert len(payload) < 126
        first = 0x81 if isinstance(message, str) else 0x82
        self.send(bytes([first, 0x80 | len(payload)]) + bytes(4) + payload)

    def messages(self) -> list[str | bytes]:
        """What has come since the handshake, each time from the start; ``close`` for a close frame."""
        data, found = self.received.partition(b"\r\n\r\n")[2], []
        while data:
            opcode, length, start = data[0] & 0x0F, data[1], 2
            if length == 126:
                length, start = int.from_bytes(data[2:4], "big"), 4
            payload = bytes(data[start : start + length])
            data = data[start + length :]
            found.append(payload if opcode == 2 else "close" if opcode == 8 else payload.decode())
        return found


class Node:
    """One server.

    :ivar events: what its clients have sent, and why they left.
    """

    def __init__(self, bus: EngineBus, tasks: anyio.abc.TaskGroup, options: dict[str, Any]) -> None:
        self.tasks = tasks
        self.engine = BusEngine(bus)
        self.io: Server[Any] = Server(cluster_engine=self.engine, **options)
        self.clock = VirtualClock()
        self.clock.drive(self.io)
        self.runtime = VirtualRuntime(Runtime.current(tasks), self.clock)
        self.events: list[Any] = []
        self.io.on("connection", self._connected)

    def _connected(self, socket: Any) -> None:
        socket.on("say", lambda *args: self.events.append(list(args)))
        socket.on("ask", lambda value: value)
        socket.on("disconnect", lambda reason, details=None: self.events.append(reason))

    def request(self, method: str, query: str, body: str = "", upgrade: bool = False) -> Wire:
        """Send one request."""
        wire = Wire(self)
        lines = [f"{method} /socket.io/?EIO=4&{query} HTTP/1.1", "Host: h"]
        if method == "POST":
            lines += ["Content-Type: text/plain", f"Content-Length: {len(body.encode())}"]
        if upgrade:
            lines += ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
            lines.append("Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")
        wire.send("\r\n".join([*lines, "", body]).encode())
        return wire

    def get(self, sid: str) -> Wire:
        return self.request("GET", f"transport=polling&sid={sid}")

    def post(self, sid: str, body: str) -> Wire:
        return self.request("POST", f"transport=polling&sid={sid}", body)

    def websocket(self, sid: str) -> Wire:
        return self.request("GET", f"transport=websocket&sid={sid}", upgrade=True)

    async def handshake(self) -> str:
        """Open a session and join the main namespace, all of it here."""
        wire = self.request("GET", "transport=polling")
        sid: str = json.loads(wire.body[1:])["sid"]
        assert self.post(sid, "40").body == "ok"
        await settle()
        assert self.get(sid).body.startswith("40")
        return sid

    def emit(self, *args: Any) -> None:
        self.io.emit("say", *args)


@asynccontextmanager
async def engine_nodes(
    count: int = 2, bus: EngineBus | None = None, **options: Any
) -> AsyncGenerator[list[Node], None]:
    """Run so many nodes."""
    bus = bus or EngineBus()
    async with anyio.create_task_group() as tasks:
        nodes = [Node(bus, tasks, options) for _ in range(count)]
        for node in nodes:
            node.io.begin(node.runtime, lambda *args: None)
            if bus.chance is not None:
                tasks.start_soon(node.engine.hear, bus.chance)
        yield nodes
        for node in nodes:
            node.io.end()
        tasks.cancel_scope.cancel()


async def until(condition: Callable[[], object]) -> None:
    """Wait until a condition holds, at most 5 s."""
    with anyio.fail_after(5):
        while not condition():
            await anyio.lowlevel.checkpoint()


async def advance(nodes: list[Node], seconds: float) -> None:
    """Let time pass everywhere, in small steps."""
    for _ in range(round(seconds * 10)):
        for node in nodes:
            await node.clock.advance(0.1)
