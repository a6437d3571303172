"""A WebSocket echo server on the package's own HTTP and WebSocket layers, without Engine.IO on top.

The Autobahn test suite wants its messages back as they were; Engine.IO would take their first character for a type.
"""

from __future__ import annotations

import asyncio
import sys

from sio_core.limits import Limits
from sio_core.wire.http import HttpReader
from sio_core.wire.message import Request
from sio_core.wire.websocket import Accepted, Deflate, WebSocket, accept

MAX_SIZE = 32 * 1024 * 1024
"""Bytes; the cases of group 9 send up to 16 MiB."""

LIMITS = Limits(fragments=1_000_000)
"""Group 9 cuts 4 MiB into fragments of 64 bytes."""


class Echo(asyncio.Protocol):
    """One connection: the opening handshake, then every message back."""

    def __init__(self) -> None:
        self._reader: HttpReader | None = HttpReader(LIMITS)
        self._websocket: WebSocket | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        assert transport is not None
        if self._reader is not None:
            data = self._shake_hands(self._reader, transport, data)
        websocket = self._websocket
        if websocket is None:
            return
        output = []
        for message in websocket.receive_data(data):
            payload = message.encode() if isinstance(message, str) else message
            output.append(websocket.encode(payload, isinstance(message, bytes)))
        # As in a served connection: pongs first, a close frame last.
        output.insert(len(output) if websocket.close_sent else 0, websocket.data_to_send())
        transport.write(b"".join(output))
        if websocket.closed is not None:
            transport.close()

    def _shake_hands(self, reader: HttpReader, transport: asyncio.Transport, data: bytes) -> bytes:
        reader.receive_data(data)
        if not reader.events:
            return b""
        request = reader.events[0]
        assert isinstance(request, Request), request
        outcome = accept(request, deflate=Deflate())
        assert isinstance(outcome, Accepted), outcome
        transport.write(outcome.response)
        self._reader = None
        self._websocket = WebSocket(MAX_SIZE, LIMITS, outcome.extensions)
        return reader.rest


async def main() -> None:
    """Print the port, and serve until the standard input is closed."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
