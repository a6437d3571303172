"""WebSocket (RFC 6455) by hand: frames that no library would send can be sent, and each answer is literal."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from conformance.peer.http import Connection, DisconnectedError, Response

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class RefusedError(Exception):
    """The server answered the upgrade request with something else than 101."""

    def __init__(self, response: Response) -> None:
        super().__init__(f"refused with {response.status}: {response.body[:200]!r}")
        self.response = response


@dataclass(frozen=True, slots=True)
class Closed:
    """How a WebSocket ended: with a close frame (``code`` is None when it carried none), or without."""

    framed: bool
    code: int | None = None
    reason: str = ""


def encode_frame(
    opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0, masked: bool = True
) -> bytes:
    first = (0x80 if fin else 0) | rsv << 4 | opcode
    bit = 0x80 if masked else 0
    if len(payload) < 126:
        head = struct.pack("!BB", first, bit | len(payload))
    elif len(payload) < 65536:
        head = struct.pack("!BBH", first, bit | 126, len(payload))
    else:
        head = struct.pack("!BBQ", first, bit | 127, len(payload))
    return head + apply_mask(payload) if masked else head + payload


def apply_mask(payload: bytes) -> bytes:
    key = os.urandom(4)
    repeated = key * (len(payload) // 4 + 1)
    mixed = int.from_bytes(payload, "big") ^ int.from_bytes(repeated[: len(payload)], "big")
    return key + mixed.to_bytes(len(payload), "big")


class WebSocket:
    def __init__(self, connection: Connection, response: Response) -> None:
        self.connection = connection
        self.response = response
        """The 101 response: its header is where cookies, CORS and the subprotocol are seen."""
        self.last_rsv = 0
        self.closed: Closed | None = None
        self._closing = False

    @classmethod
    async def open(
        cls, connection: Connection, target: str, headers: Iterable[tuple[str, str]] = ()
    ) -> WebSocket:
        key = base64.b64encode(os.urandom(16)).decode("ascii")
        await connection.send_request("GET", target, [*upgrade_headers(key), *headers])
        response = await connection.read_response()
        if response.status != 101:
            raise RefusedError(response)
        accept = base64.b64encode(hashlib.sha1(key.encode("ascii") + ACCEPT_SUFFIX).digest()).decode("ascii")
        if response.header("sec-websocket-accept") != accept:
            raise RefusedError(response)
        return cls(connection, response)

    async def send(self, message: str | bytes) -> None:
        opcode = TEXT if isinstance(message, str) else BINARY
        await self.send_frame(opcode, message.encode() if isinstance(message, str) else message)

    async def send_frame(
        self, opcode: int, payload: bytes, *, fin: bool = True, rsv: int = 0, masked: bool = True
    ) -> None:
        await self.connection.send(encode_frame(opcode, payload, fin=fin, rsv=rsv, masked=masked))

    async def receive_frame(self) -> tuple[int, bytes, bool]:
        """Opcode, payload and FIN of the next frame; DisconnectedError when there is none."""
        first, second = await self.connection.read_exactly(2)
        if second & 0x80:
            raise DisconnectedError("the server masked a frame")
        length = second & 0x7F
        if length == 126:
            length = int.from_bytes(await self.connection.read_exactly(2), "big")
        elif length == 127:
            length = int.from_bytes(await self.connection.read_exactly(8), "big")
        payload = await self.connection.read_exactly(length) if length else b""
        self.last_rsv = first >> 4 & 0x7
        return first & 0x0F, payload, bool(first & 0x80)

    async def receive(self) -> str | bytes | Closed:
        """The next message, or how the WebSocket ended. WebSocket pings are answered on the way."""
        if self.closed is not None:
            return self.closed
        message = bytearray()
        kind = 0
        while True:
            try:
                opcode, payload, fin = await self.receive_frame()
            except DisconnectedError:
                self.closed = Closed(framed=False)
                return self.closed
            if opcode == PING:
                await self.send_frame(PONG, payload)
            elif opcode == CLOSE:
                self.closed = closed_by(payload)
                await self._answer_close(payload)
                return self.closed
            elif opcode != PONG:
                kind = opcode or kind
                message += payload
                if fin:
                    return message.decode("utf-8") if kind == TEXT else bytes(message)

    async def _answer_close(self, payload: bytes) -> None:
        """The other half of the closing handshake, unless the close frame was the answer to ours."""
        if not self._closing:
            with contextlib.suppress(DisconnectedError):
                await self.send_frame(CLOSE, payload[:2])

    async def wait_closed(self) -> Closed:
        """Skip what is still on its way and say how the WebSocket ended."""
        while not isinstance(received := await self.receive(), Closed):
            pass
        return received

    async def close(self, code: int | None = None) -> None:
        self._closing = True
        await self.send_frame(CLOSE, b"" if code is None else code.to_bytes(2, "big"))


def upgrade_headers(key: str) -> list[tuple[str, str]]:
    return [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", key),
    ]


def closed_by(payload: bytes) -> Closed:
    if len(payload) < 2:
        return Closed(framed=True)
    return Closed(True, int.from_bytes(payload[:2], "big"), payload[2:].decode("utf-8", "replace"))
