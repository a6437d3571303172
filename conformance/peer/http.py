"""HTTP/1.1 by hand: requests are bytes, responses are read without forgiving anything."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from conformance.transcript import Transcript

BODILESS = frozenset({101, 204, 304})
"""Statuses whose response has no body whatever its header says."""


class DisconnectedError(Exception):
    """The server ended the connection where more bytes were due."""


@dataclass(frozen=True, slots=True)
class Response:
    status: int
    reason: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str | None:
        values = self.all(name)
        return values[0] if values else None

    def all(self, name: str) -> list[str]:
        """Values of every header line of that name, in the order they came."""
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def text(self) -> str:
        return self.body.decode("utf-8")

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request_head(method: str, target: str, host: str, headers: Iterable[tuple[str, str]] = ()) -> bytes:
    lines = [f"{method} {target} HTTP/1.1"]
    headers = list(headers)
    if not any(name.lower() == "host" for name, _ in headers):
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Connection:
    """One TCP connection to the server, every byte of which goes into the transcript."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, transcript: Transcript
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.host = host
        self.transcript = transcript
        self.number = transcript.next_connection()

    @classmethod
    async def open(cls, host: str, port: int, transcript: Transcript) -> Connection:
        reader, writer = await asyncio.open_connection(host, port)
        return cls(reader, writer, f"{host}:{port}", transcript)

    async def send(self, data: bytes) -> None:
        self.transcript.record(self.number, data, sent=True)
        self.writer.write(data)
        try:
            await self.writer.drain()
        except ConnectionError as error:
            raise DisconnectedError(str(error)) from error

    async def send_request(
        self, method: str, target: str, headers: Iterable[tuple[str, str]] = (), body: bytes | None = None
    ) -> None:
        headers = list(headers)
        if body is not None and not any(name.lower() == "transfer-encoding" for name, _ in headers):
            headers.append(("Content-Length", str(len(body))))
        await self.send(request_head(method, target, self.host, headers) + (body or b""))

    async def read_exactly(self, length: int) -> bytes:
        try:
            data = await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise DisconnectedError("the connection ended") from error
        self.transcript.record(self.number, data, sent=False)
        return data

    async def read_until(self, separator: bytes) -> bytes:
        try:
            data = await self.reader.readuntil(separator)
        except asyncio.IncompleteReadError as error:
            self.transcript.record(self.number, error.partial, sent=False)
            raise DisconnectedError("the connection ended") from error
        except ConnectionError as error:
            raise DisconnectedError(str(error)) from error
        self.transcript.record(self.number, data, sent=False)
        return data

    async def read_to_end(self) -> bytes:
        """Everything up to the end of the connection; a reset ends it too."""
        chunks = bytearray()
        try:
            while chunk := await self.reader.read(65536):
                chunks += chunk
        except ConnectionError:
            pass
        self.transcript.record(self.number, bytes(chunks), sent=False)
        return bytes(chunks)

    async def read_response(self, method: str = "GET") -> Response:
        head = (await self.read_until(b"\r\n\r\n")).decode("latin-1")
        status_line, *lines = head[:-4].split("\r\n")
        _, status, *reason = status_line.split(" ", 2)
        pairs = tuple((name, value.strip()) for name, _, value in (line.partition(":") for line in lines))
        response = Response(int(status), " ".join(reason), pairs, b"")
        if method == "HEAD" or response.status in BODILESS:
            return response
        return Response(response.status, response.reason, pairs, await self._read_body(response))

    async def _read_body(self, response: Response) -> bytes:
        if "chunked" in (response.header("transfer-encoding") or "").lower():
            return await self._read_chunks()
        length = response.header("content-length")
        if length is not None:
            return await self.read_exactly(int(length))
        return await self.read_to_end()

    async def _read_chunks(self) -> bytes:
        body = bytearray()
        while size := int((await self.read_until(b"\r\n")).split(b";")[0], 16):
            body += (await self.read_exactly(size + 2))[:-2]
        await self.read_until(b"\r\n")
        return bytes(body)

    def abort(self) -> None:
        """Drop the connection with a reset, as a vanished client does."""
        raw = self.writer.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    def close(self) -> None:
        self.writer.close()
