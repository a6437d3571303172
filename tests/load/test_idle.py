"""Idle WebSocket connections, kept by heartbeats; afterwards nothing of them is left."""

from __future__ import annotations

import asyncio
import json
import os
import resource

import pytest

from tests.helpers.processes import ServerProcess

PING = b"\x81\x012"
PONG = b"\x81\x81\x00\x00\x00\x003"
CONNECT = b"\x81\x82\x00\x00\x00\x0040"


class IdleClient(asyncio.Protocol):
    """A client that joins ``/`` and answers pings."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self.connected = asyncio.get_running_loop().create_future()
        self.closed = asyncio.get_running_loop().create_future()
        self.pings = 0
        self.answers: asyncio.Queue[dict[str, int]] = asyncio.Queue()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            % self._port
            + CONNECT
        )

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        self._buffer += data
        if not self.connected.done():
            if b'40{"sid"' not in self._buffer or not self._buffer.endswith(b"}"):
                return
            self._buffer.clear()
            self.connected.set_result(None)
            return
        while self._buffer.startswith(PING):
            del self._buffer[: len(PING)]
            self.pings += 1
            self._transport.write(PONG)
        if len(self._buffer) > 2 and len(self._buffer) >= 2 + self._buffer[1]:
            text = self._buffer[2 : 2 + self._buffer[1]].decode()
            del self._buffer[: 2 + self._buffer[1]]
            self.answers.put_nowait(json.loads(text.removeprefix("431"))[0])

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)

    async def ask(self) -> dict[str, int]:
        """Ask what the server holds."""
        assert self._transport is not None
        text = b'421["what do you hold"]'
        self._transport.write(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text)
        return await self.answers.get()

    def close(self) -> None:
        assert self._transport is not None
        self._transport.write(b"\x88\x80\x00\x00\x00\x00")


async def connect(port: int, number: int) -> IdleClient:
    source = f"127.0.0.{1 + number // 20_000}"
    _, client = await asyncio.get_running_loop().create_connection(
        lambda: IdleClient(port), "127.0.0.1", port, local_addr=(source, 0)
    )
    await client.connected
    return client


async def hold(port: int, count: int) -> None:
    witness = await connect(port, 0)
    before = await witness.ask()
    clients: list[IdleClient] = []
    for start in range(0, count, 100):
        batch = range(start, min(start + 100, count))
        clients.extend(await asyncio.gather(*[connect(port, number) for number in batch]))
    during = await witness.ask()
    assert during["sessions"] == before["sessions"] + count
    assert during["sockets"] == before["sockets"] + count
    while not all(client.pings >= 2 for client in clients):
        await asyncio.sleep(0.1)
        assert not any(client.closed.done() for client in clients)
    for client in clients:
        client.close()
    await asyncio.gather(*[client.closed for client in clients])
    after = await witness.ask()
    while after != before:  # the server closes its side of the last ones
        await asyncio.sleep(0.05)
        after = await witness.ask()
    witness.close()
    await witness.closed


def run(loop: str, count: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count + 200:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, count + 200), hard))
    with ServerProcess("tests.load.app", "--loop", loop) as server:
        asyncio.run(hold(server.port, count))


@pytest.mark.feature(234)
@pytest.mark.parametrize("loop", ["uvloop", "asyncio", "trio"])
def test_hundreds(loop: str) -> None:
    run(loop, 300)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("loop", ["uvloop", "asyncio", "trio"])
def test_thousands(loop: str) -> None:
    run(loop, int(os.environ.get("IDLE_CONNECTIONS", "5000")))
