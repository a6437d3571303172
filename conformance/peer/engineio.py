"""Engine.IO v4 sessions of the test client, over polling and over WebSocket.

Both are a ``Link``: packets go out, packets come in, and how the session ended can be asked. A binary message
is ``bytes``; every other packet is the text of the protocol with its type character (``4hello``).
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol

from conformance.expect import expect, expect_equal, shown
from conformance.peer.http import Connection, Response
from conformance.peer.websocket import Closed, WebSocket

SEPARATOR = "\x1e"
Packet = str | bytes


class EndedError(Exception):
    """The session ended where a packet was due; ``how`` is what was seen."""

    def __init__(self, how: str) -> None:
        super().__init__(how)
        self.how = how


class Opener(Protocol):
    """What a polling session needs of its bench: connections, and the address of the server."""

    async def connection(self) -> Connection: ...


class Link(Protocol):
    opened: dict[str, Any]
    """The data of the OPEN packet."""

    @property
    def sid(self) -> str: ...

    async def send(self, *packets: Packet) -> None: ...

    async def receive(self) -> Packet: ...

    async def wait_ended(self) -> str:
        """Skip what still comes and describe the end, in the words of ``ENDED``."""
        ...


ENDED_POLLING = "a poll answered with a close packet, then an unknown session"
ENDED_WEBSOCKET = "a close frame without status code"


def encode_payload(packets: Iterable[Packet]) -> str:
    return SEPARATOR.join(
        packet if isinstance(packet, str) else "b" + base64.b64encode(packet).decode("ascii")
        for packet in packets
    )


def decode_payload(payload: str) -> list[Packet]:
    return [
        base64.b64decode(packet[1:], validate=True) if packet.startswith("b") else packet
        for packet in payload.split(SEPARATOR)
    ]


def parse_open(packet: Packet) -> dict[str, Any]:
    expect(isinstance(packet, str) and packet.startswith("0{"), "an OPEN packet", packet)
    opened: dict[str, Any] = json.loads(packet[1:])
    return opened


class PollingSession:
    """A session over HTTP long-polling. One poll is kept waiting between two calls of ``receive``."""

    def __init__(self, opener: Opener, target: str, opened: dict[str, Any]) -> None:
        self.opener = opener
        self.opened = opened
        self.target = f"{target}&sid={opened['sid']}"
        self._received: deque[Packet] = deque()
        self._waiting: asyncio.Task[Response] | None = None

    @property
    def sid(self) -> str:
        return str(self.opened["sid"])

    async def begin_poll(self) -> Connection:
        """Send a GET and leave its response to the caller."""
        connection = await self.opener.connection()
        await connection.send_request("GET", self.target)
        return connection

    async def get(self, headers: Iterable[tuple[str, str]] = ()) -> Response:
        connection = await self.opener.connection()
        await connection.send_request("GET", self.target, headers)
        return await connection.read_response()

    async def post(self, body: str | bytes, headers: Iterable[tuple[str, str]] = ()) -> Response:
        connection = await self.opener.connection()
        encoded = body.encode() if isinstance(body, str) else body
        given = list(headers) or [("Content-Type", "text/plain;charset=UTF-8")]
        await connection.send_request("POST", self.target, given, encoded)
        return await connection.read_response()

    async def send(self, *packets: Packet) -> None:
        response = await self.post(encode_payload(packets))
        expect(response.status == 200, "the POST answered with 200", response)

    async def poll(self) -> list[Packet]:
        """The packets of one GET, which must succeed."""
        response = await self.get()
        expect_equal(response.status, 200, "status of a poll")
        return decode_payload(response.text)

    async def receive(self) -> Packet:
        while not self._received:
            if self._waiting is None:
                self._waiting = asyncio.create_task(self.get())
            response = await asyncio.shield(self._waiting)
            self._waiting = None
            if response.status != 200:
                raise EndedError(f"a poll answered with {response.status} {shown(response.body)}")
            self._received.extend(decode_payload(response.text))
        return self._received.popleft()

    async def wait_ended(self) -> str:
        last: Packet = ""
        while True:
            try:
                last = await self.receive()
            except EndedError as ended:
                if last == "1" and 'answered with 400 b\'{"code":1,' in ended.how:
                    return ENDED_POLLING
                return f"{ended.how} after {last!r}"

    def stop(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()


class WebSocketSession:
    """A session over WebSocket, opened directly or by an upgrade."""

    def __init__(self, websocket: WebSocket, opened: dict[str, Any]) -> None:
        self.websocket = websocket
        self.opened = opened

    @property
    def sid(self) -> str:
        return str(self.opened["sid"])

    async def send(self, *packets: Packet) -> None:
        for packet in packets:
            await self.websocket.send(packet)

    async def receive(self) -> Packet:
        received = await self.websocket.receive()
        if isinstance(received, Closed):
            raise EndedError(describe(received))
        return received

    async def wait_ended(self) -> str:
        return describe(await self.websocket.wait_closed())


def describe(closed: Closed) -> str:
    if not closed.framed:
        return "the connection ended without a close frame"
    return ENDED_WEBSOCKET if closed.code is None else f"a close frame with status code {closed.code}"


async def expect_ended(link: Link) -> None:
    """The server must end the session; with which status code or last packet, other checks ask."""
    how = await link.wait_ended()
    if isinstance(link, WebSocketSession):
        expect("close frame" in how, "a close frame", how)
    else:
        expect(how == ENDED_POLLING or "answered with 400" in how, "an unknown session", how)
