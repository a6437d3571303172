"""A burst is no slow consumer: thousands of events in one read are all answered, and reach everybody."""

from __future__ import annotations

import anyio
import pytest

from tests.helpers.processes import ServerProcess

COUNT = 20_000


def frame(text: str) -> bytes:
    data = text.encode()
    return bytes([0x81, 0x80 | len(data), 0, 0, 0, 0]) + data


async def connect(port: int) -> anyio.abc.SocketStream:
    stream = await anyio.connect_tcp("127.0.0.1", port)
    head = (
        f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\n"
        "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    await stream.send(head.encode() + frame("40"))
    await read_until(stream, b'40{"sid"', 1)
    return stream


async def read_until(stream: anyio.abc.SocketStream, what: bytes, count: int) -> None:
    """Read until something has come that often, however it is cut."""
    seen, tail = 0, b""
    with anyio.fail_after(30):
        while seen < count:
            data = tail + await stream.receive(1 << 20)
            seen += data.count(what)
            last = data.rfind(what)
            tail = data[max(last + len(what) if last >= 0 else 0, len(data) - len(what) + 1) :]
    assert seen == count


@pytest.mark.feature(234)
@pytest.mark.parametrize("loop", ["uvloop", "asyncio", "trio"])
def test_every_event_of_a_burst_is_answered(loop: str) -> None:
    async def run(port: int) -> None:
        async with await connect(port) as stream, anyio.create_task_group() as task_group:
            task_group.start_soon(stream.send, frame('42["echo",1]') * COUNT)
            await read_until(stream, b'["echo",1]', COUNT)

    with ServerProcess("tests.client.app", "--loop", loop) as server:
        anyio.run(run, server.port)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio", "trio"])
def test_a_burst_of_broadcasts_reaches_everybody(loop: str) -> None:
    async def run(port: int) -> None:
        async with await connect(port) as sender, await connect(port) as receiver:
            await receiver.send(frame('42["join","r"]') + frame('420["answer"]'))
            await read_until(receiver, b"430", 1)
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(sender.send, frame('42["to room","r","x"]') * COUNT)
                await read_until(receiver, b'["room","r","x"]', COUNT)

    with ServerProcess("tests.client.app", "--loop", loop) as server:
        anyio.run(run, server.port)
