"""A worker without its supervisor: what comes by the channel is what this test sends."""

from __future__ import annotations

import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from sio_core import Server
from sio_core.channel import Channel
from sio_core.serving.worker_link import CONNECTION, READY, WorkerLink, pack_connection
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.anyio

REQUEST = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
PATIENCE = 10


class Listener:
    """Connections, as a supervisor accepts them."""

    def __init__(self) -> None:
        self._handle = socket.create_server(("127.0.0.1", 0))

    def connect(self) -> tuple[socket.socket, socket.socket]:
        """Return the two ends of a connection: the client's, and the one that is to be served."""
        client = socket.create_connection(self._handle.getsockname())
        return client, self._handle.accept()[0]

    def close(self) -> None:
        self._handle.close()


@asynccontextmanager
async def worker() -> AsyncGenerator[Channel, None]:
    """Run a worker; gives the supervisor's end of its channel."""
    io: Server[Any] = Server()
    ours, theirs = Channel.pair()
    our_bus, their_bus = Channel.pair()
    channel = Channel(ours)
    link = WorkerLink(0, 1, Channel(theirs), Channel(their_bus), "127.0.0.1", 1)
    with our_bus:
        async with io.listen_as_worker(link):
            assert [message.kind for message in channel.receive()] == [READY]
            yield channel
    channel.close()
    link.channel.close()
    link.bus.close()


def is_connected(handle: socket.socket) -> bool:
    try:
        handle.getpeername()
    except OSError:
        return False
    return True


async def answer_to(client: socket.socket, request: bytes) -> bytes:
    """Send a request, and return all that comes."""
    client.setblocking(False)
    client.sendall(request)
    answer = b""
    with anyio.fail_after(PATIENCE):
        while True:
            await anyio.wait_readable(client)
            piece = client.recv(65_536)
            if not piece:
                return answer
            answer += piece


async def test_a_client_that_is_gone_when_its_connection_comes_takes_nobody_along() -> None:
    listener = Listener()
    async with worker() as channel:
        lost, served = listener.connect()
        lost.sendall(REQUEST)
        lost.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        lost.close()  # by a reset
        wait_until(lambda: not is_connected(served))
        channel.send(CONNECTION, pack_connection(True, b""), served.detach())
        client, served = listener.connect()
        with client:
            channel.send(CONNECTION, pack_connection(True, b""), served.detach())
            assert (await answer_to(client, REQUEST)).startswith(b"HTTP/1.1 200 OK\r\n")
    listener.close()
