"""The connection ends after each byte of a conversation in turn, with FIN and with RST: nothing of it is left."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from sio_core import Server, Socket
from tests.faults.client import BROKEN, Client, Http, connected
from tests.faults.proxy import FaultProxy
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.anyio

UPGRADE = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\n"
    b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


def frame(text: str) -> bytes:
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text.encode()


WEBSOCKET = UPGRADE + frame("40") + frame('420["join","a"]') + frame('421["echo","hello"]')


@asynccontextmanager
async def served() -> AsyncGenerator[tuple[Server[Any], int, FaultProxy], None]:
    io: Server[Any] = Server(ping_interval=0.5, ping_timeout=0.5)

    @io.on("echo")
    async def echo(socket: Socket[Any], value: Any) -> Any:
        await anyio.lowlevel.checkpoint()
        return value

    @io.on("join")
    def join(socket: Socket[Any], room: str) -> None:
        socket.join(room)

    async with io.listen() as listening, FaultProxy(listening.port).running() as proxy:
        tasks = len(anyio.get_running_tasks())
        yield io, listening.port, proxy
        await eventually(lambda: not proxy.links)
        await eventually(lambda: not io.stats()["sessions"])
        await eventually(lambda: not listening.site.connections)
        await eventually(lambda: len(anyio.get_running_tasks()) <= tasks)
        assert io.stats()["sockets"] == 0
        assert io.sockets.adapter.rooms.rooms == {}
        assert len(io.deadlines) == 0
        async with connected(listening.port) as client:
            assert await client.call("echo", "the next one") == "the next one"


async def say(port: int, data: bytes) -> None:
    """Send all of it, and read until the end."""
    try:
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(data)
            while True:
                await stream.receive()
    except BROKEN:
        pass


@pytest.mark.parametrize("with_reset", [False, True], ids=["FIN", "RST"])
async def test_a_websocket_is_cut_at_every_byte(with_reset: bool) -> None:
    async with served() as (_, _, proxy), anyio.create_task_group() as task_group:
        proxy.up.cut_with_reset = with_reset
        for count in range(len(WEBSOCKET)):
            proxy.up.cut_after = count
            task_group.start_soon(say, proxy.port, WEBSOCKET)
            if count % 25 == 0:
                await eventually(lambda: len(proxy.links) < 5)
            await anyio.sleep(0.001)  # so that it gets its own number


@pytest.mark.parametrize("with_reset", [False, True], ids=["FIN", "RST"])
async def test_a_request_of_polling_is_cut_at_every_byte(with_reset: bool) -> None:
    async with served() as (_, port, proxy):
        proxy.up.cut_with_reset = with_reset
        http = await Http.open(port)
        for count in range(0, 160, 3):
            client = Client(port, transport="polling")
            opened = await http.request("GET", "/socket.io/?EIO=4&transport=polling")
            client.sid = opened.decode().partition('"sid":"')[2].partition('"')[0]
            target = f"/socket.io/?EIO=4&transport=polling&sid={client.sid}"
            proxy.up.cut_after = count
            body = '40\x1e420["join","a"]'
            await say(
                proxy.port,
                f"POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
                + f"GET {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
            )
        await http.stream.aclose()
