"""What a check is given: a server, the means to talk to it, and a clean-up of all it opened."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from conformance.expect import MismatchError, expect_equal
from conformance.model import Transport
from conformance.peer.engineio import Link, PollingSession, WebSocketSession, decode_payload, parse_open
from conformance.peer.http import Connection, Response
from conformance.peer.packets import MISSING
from conformance.peer.socketio import Client
from conformance.peer.websocket import WebSocket
from conformance.target import Server
from conformance.transcript import Transcript

if TYPE_CHECKING:
    from conformance.client.chromium import Chromium

SETTLE = 0.12
"""Seconds given to the server to see a request that gets no answer yet. The order in which two connections
are served is not observable otherwise."""

TOKENS = itertools.count(1)


class MissingToolError(Exception):
    """Something that is not part of the server under test is not installed here."""


@dataclass(slots=True)
class Bench:
    server: Server
    chromium: Chromium
    transcript: Transcript = field(default_factory=Transcript)
    _connections: list[Connection] = field(default_factory=list)
    _sessions: list[PollingSession] = field(default_factory=list)

    # Addresses

    def target(self, transport: str | None = "polling", eio: str | None = "4", **query: str) -> str:
        """Path and query of a request to the engine."""
        pairs = {"EIO": eio, "transport": transport, **query}
        given = "&".join(
            f"{name}={quote(value, safe='')}" for name, value in pairs.items() if value is not None
        )
        return f"{self.server.path}?{given}"

    @staticmethod
    def dynamic() -> str:
        """A namespace that no other check uses."""
        return f"/dynamic-{next(TOKENS)}"

    # HTTP

    async def connection(self) -> Connection:
        connection = await Connection.open(self.server.host, self.server.port, self.transcript)
        self._connections.append(connection)
        return connection

    async def request(
        self,
        method: str,
        target: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes | None = None,
    ) -> Response:
        connection = await self.connection()
        await connection.send_request(method, target, headers, body)
        return await connection.read_response(method)

    # Engine.IO

    async def polling(self, headers: Iterable[tuple[str, str]] = (), **query: str) -> PollingSession:
        target = self.target("polling", **query)
        response = await self.request("GET", target, headers)
        expect_equal(response.status, 200, "status of the handshake")
        session = PollingSession(self, target, parse_open(decode_payload(response.text)[0]))
        self._sessions.append(session)
        return session

    async def open_websocket(self, target: str, headers: Iterable[tuple[str, str]] = ()) -> WebSocket:
        return await WebSocket.open(await self.connection(), target, headers)

    async def websocket(self, headers: Iterable[tuple[str, str]] = (), **query: str) -> WebSocketSession:
        websocket = await self.open_websocket(self.target("websocket", **query), headers)
        first = await websocket.receive()
        if not isinstance(first, str):
            raise MismatchError("an OPEN packet", repr(first))
        return WebSocketSession(websocket, parse_open(first))

    async def link(self, transport: Transport, **query: str) -> Link:
        return await (self.polling((), **query) if transport == "polling" else self.websocket((), **query))

    async def probe(self, session: PollingSession) -> WebSocket:
        """A WebSocket of an upgrade whose probe was answered."""
        websocket = await self.open_websocket(self.target("websocket", sid=session.sid))
        await websocket.send("2probe")
        expect_equal(await websocket.receive(), "3probe", "answer to the probe")
        return websocket

    async def upgrade(self, session: PollingSession) -> WebSocketSession:
        """Take a session without a waiting poll to WebSocket."""
        websocket = await self.probe(session)
        await websocket.send("5")
        return WebSocketSession(websocket, session.opened)

    # Socket.IO

    async def client(self, transport: Transport, namespace: str = "/", auth: Any = MISSING) -> Client:
        client = Client(await self.link(transport))
        await client.connect(namespace, auth)
        return client

    async def reasons(self, socket_id: str) -> list[Any]:
        """What the application recorded for a socket, once it is disconnected."""
        witness = await self.client("websocket")
        while True:
            (happened,) = await witness.call("reasons", socket_id)
            if any(entry[0] == "disconnect" for entry in happened):
                return list(happened)
            await asyncio.sleep(0.02)

    async def expect_reason(self, socket_id: str, reason: str) -> None:
        happened = await self.reasons(socket_id)
        expect_equal([entry[1] for entry in happened if entry[0] == "disconnect"], [reason], "reason")

    # The rest

    async def control(self, action: str) -> None:
        """Stop or start the server, which must be one of the check's own."""
        await (self.server.stop() if action == "stop" else self.server.start())

    async def settle(self) -> None:
        await asyncio.sleep(SETTLE)

    def close(self) -> None:
        for session in self._sessions:
            session.stop()
        for connection in self._connections:
            connection.close()
