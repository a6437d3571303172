"""Two thousand clients lose their connections at once and come back at once, as after a proxy was restarted."""

from __future__ import annotations

import asyncio
import json
import resource
import socket
import threading
from collections.abc import Sequence
from time import monotonic
from typing import Self

import pytest

from tests.faults.proxy import reset_on_close
from tests.helpers.processes import ServerProcess
from tests.helpers.waiting import eventually

CLIENTS = 2_000

BACK_WITHIN = 30.0
"""Seconds in which all of them must be back."""

ONLOOKER_WAITS = 2.0
"""Seconds that somebody who was connected all the time may have to wait for an answer meanwhile."""

PONG = b"\x81\x81\x00\x00\x00\x003"


class StormClient(asyncio.Protocol):
    """A client that can be cut off, and comes back for what it has missed: a thousand of them cost little."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._joined: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.auth: dict[str, str] = {}
        self.id = ""
        self.in_room = False
        self.events: list[str] = []

    async def come(self) -> None:
        """Connect, and join ``/``.

        :raises AssertionError: for an answer that is neither 101 nor 503.
        """
        while True:
            self._buffer.clear()
            self._joined = asyncio.get_running_loop().create_future()
            await asyncio.get_running_loop().create_connection(lambda: self, "127.0.0.1", self._port)
            try:
                await self._joined
            except ConnectionError:
                await asyncio.sleep(0.5)
            else:
                return

    def cut(self) -> None:
        """The network resets the connection."""
        assert self._transport is not None
        reset_on_close(self._transport.get_extra_info("socket"))
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        connect = "40" + json.dumps(self.auth)
        transport.write(
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            + bytes([0x81, 0x80 | len(connect), 0, 0, 0, 0])
            + connect.encode()
        )

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._buffer.startswith(b"HTTP/"):
            head, separator, rest = bytes(self._buffer).partition(b"\r\n\r\n")
            if not separator:
                return
            status = int(head.split()[1])
            if status != 101:
                self._fail(ConnectionError("busy") if status == 503 else AssertionError(f"status {status}"))
                return
            self._buffer[:] = rest
        while len(self._buffer) >= 2 and len(self._buffer) >= 2 + self._buffer[1]:
            length = self._buffer[1]
            self._handle(bytes(self._buffer[2 : 2 + length]).decode())
            del self._buffer[: 2 + length]

    def _handle(self, packet: str) -> None:
        assert self._transport is not None
        if packet == "2":
            self._transport.write(PONG)
        elif packet.startswith("40"):
            answer = json.loads(packet[2:])
            self.id, self.auth["pid"] = answer["sid"], answer["pid"]
            if not self._joined.done():
                self._joined.set_result(None)
        elif packet.startswith("43"):
            self.in_room = True
        elif packet.startswith("42"):
            _, text, self.auth["offset"] = json.loads(packet[2:])
            self.events.append(text)

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(ConnectionError("lost"))

    def _fail(self, error: Exception) -> None:
        if not self._joined.done():
            self._joined.set_exception(error)

    def send(self, text: str) -> None:
        """Send one short packet."""
        assert self._transport is not None
        self._transport.write(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text.encode())


class Onlooker:
    """Somebody who is connected all the time, in a thread, and notes how long each answer takes.

    :ivar waits: seconds, in their order.
    """

    def __init__(self, port: int) -> None:
        self.waits: list[float] = []
        self._port = port
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port), timeout=BACK_WITHIN) as handle:
            while not self._over.wait(0.02):
                started = monotonic()
                handle.sendall(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
                answer = b""
                while not answer.endswith(b"ok"):
                    answer += handle.recv(1_000)
                self.waits.append(monotonic() - started)


async def come_all(clients: Sequence[StormClient]) -> float:
    """Have everybody come at once; return how long that took."""
    started = monotonic()
    async with asyncio.timeout(BACK_WITHIN):
        await asyncio.gather(*[client.come() for client in clients])
    return monotonic() - started


async def storm(port: int) -> None:
    clients = [StormClient(port) for _ in range(CLIENTS)]
    await come_all(clients)
    for client in clients:
        client.send('420["join","all"]')
    await eventually(lambda: all(client.in_room for client in clients), BACK_WITHIN)
    clients[0].send('42["to room","all","before"]')
    await eventually(lambda: all(client.events == ["before"] for client in clients), BACK_WITHIN)
    ids = [client.id for client in clients]
    with Onlooker(port) as onlooker:
        for client in clients[1:]:
            client.cut()
        clients[0].send('42["to room","all","while away"]')
        seconds = await come_all(clients[1:])
        clients[0].send('42["to room","all","after"]')
        await eventually(lambda: all(len(client.events) == 3 for client in clients), BACK_WITHIN)
    assert all(client.events == ["before", "while away", "after"] for client in clients)
    assert [client.id for client in clients] == ids, "not all were recovered"
    longest = max(onlooker.waits)
    print(f"{CLIENTS} clients were back after {seconds:.1f} s; an onlooker waited {longest:.2f} s at most")
    assert longest < ONLOOKER_WAITS
    for client in clients:
        client.cut()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("loop", ["uvloop", "trio"])
def test_all_are_back_soon_miss_nothing_and_others_are_served_meanwhile(loop: str) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < CLIENTS + 200:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, CLIENTS + 200), hard))
    with ServerProcess("tests.faults.app", "--loop", loop, "--recovery") as server:
        asyncio.run(storm(server.port))
