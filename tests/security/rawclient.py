"""A client that sends what a test says, byte by byte if need be, on asyncio and on trio."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any, Self

import anyio
import anyio.abc

__all__ = ["Raw", "Response", "frame"]

PATIENCE = 5.0
"""Seconds in which what is waited for must have come."""

ENDS = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)


class Response:
    """One HTTP response."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body


def frame(payload: str | bytes, opcode: int = 0, fin: bool = True) -> bytes:
    """Return a masked frame; by default of a text or binary message. RFC 6455 section 5.2."""
    data = payload.encode() if isinstance(payload, str) else payload
    opcode = opcode or (1 if isinstance(payload, str) else 2)
    length = len(data)
    if length < 126:
        size = bytes([0x80 | length])
    elif length < 65_536:
        size = b"\xfe" + length.to_bytes(2, "big")
    else:
        size = b"\xff" + length.to_bytes(8, "big")
    return bytes([(0x80 if fin else 0) | opcode]) + size + bytes(4) + data


class Raw:
    """One TCP connection to a server; after :meth:`upgrade` a WebSocket.

    :ivar sid: the id of the session that it has opened, if any.
    :ivar before: what came before the answer to CONNECT.
    """

    def __init__(self, port: int, address: str = "127.0.0.1", path: str = "/socket.io/") -> None:
        self._address = address
        self._port = port
        self._path = path
        self._buffer = bytearray()
        self._stream: anyio.abc.ByteStream | None = None
        self.sid = ""
        self.before: list[str] = []

    async def __aenter__(self) -> Self:
        self._stream = await anyio.connect_tcp("127.0.0.1", self._port, local_host=self._address)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Drop the connection."""
        await anyio.aclose_forcefully(self.stream)

    @property
    def stream(self) -> anyio.abc.ByteStream:
        assert self._stream is not None
        return self._stream

    def target(self, transport: str = "polling") -> str:
        """The target of requests for its session, or for a session of its own."""
        sid = f"&sid={self.sid}" if self.sid else ""
        return f"{self._path}?EIO=4&transport={transport}{sid}"

    # Bytes

    async def send(self, data: str | bytes) -> None:
        await self.stream.send(data.encode() if isinstance(data, str) else data)

    async def _fill(self) -> None:
        with anyio.fail_after(PATIENCE):
            self._buffer += await self.stream.receive()

    async def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            await self._fill()
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    async def ended(self) -> bytes:
        """Read to the end of the connection, which must come; return what there was."""
        try:
            while True:
                await self._fill()
        except ENDS:
            return bytes(self._buffer)

    async def silent(self) -> bool:
        """Whether nothing comes, and the connection goes on."""
        try:
            with anyio.move_on_after(0.05):
                self._buffer += await self.stream.receive()
        except ENDS:
            return False
        return not self._buffer

    # HTTP

    async def request(
        self, target: str = "", method: str = "GET", body: bytes = b"", **headers: str
    ) -> Response:
        """Send a request and return its response."""
        lines = [f"{method} {target or self.target()} HTTP/1.1", "Host: localhost"]
        if method == "POST":
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        await self.send("\r\n".join([*lines, "", ""]).encode() + body)
        return await self.response()

    async def response(self) -> Response:
        """Read one response."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            await self._fill()
        first, *lines = (await self._take(end + 4)).decode("latin-1").strip().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            while size := int((await self._line()).decode(), 16):
                body += await self._take(size)
                await self._line()
            await self._line()
        else:
            body = await self._take(int(headers.get("content-length", "0")))
        return Response(int(first.split()[1]), headers, body)

    async def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            await self._fill()
        return (await self._take(end + 2))[:-2]

    # Sessions

    async def poll_open(self) -> Response:
        """Open a session by polling, unless it is refused."""
        response = await self.request()
        if response.status == 200:
            self.sid = json.loads(response.body[1:])["sid"]
        return response

    async def poll(self) -> list[str]:
        """Return the packets of one GET."""
        return (await self.request()).body.decode().split("\x1e")

    async def post(self, *packets: str) -> Response:
        return await self.request(method="POST", body="\x1e".join(packets).encode())

    async def upgrade(self) -> int:
        """Ask for a WebSocket, and return the status; 101 if there is one."""
        head = [
            f"GET {self.target('websocket')} HTTP/1.1",
            "Host: localhost",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        ]
        await self.send("\r\n".join([*head, "", ""]))
        return (await self.response()).status

    async def open(self) -> int:
        """Open a session by WebSocket, unless it is refused; return the status."""
        status = await self.upgrade()
        if status == 101:
            self.sid = json.loads((await self.text())[1:])["sid"]
        return status

    async def join(self, namespace: str = "/", auth: Any = None) -> Any:
        """Join a namespace; return the payload of the answer."""
        name = "" if namespace == "/" else namespace + ","
        await self.say(f"40{name}{'' if auth is None else json.dumps(auth)}")
        while not (answer := await self.text()).startswith((f"40{name}{{", f"44{name}{{")):
            assert not answer.startswith("close"), answer
            self.before.append(answer)
        return json.loads(answer[answer.index("{") :])

    async def say(self, *messages: str | bytes) -> None:
        """Send messages, in one write."""
        await self.send(b"".join([frame(message) for message in messages]))

    async def message(self) -> str | bytes:
        """Read one message; those of the protocol are answered or left out. A close frame is ``close CODE``."""
        while True:
            first, second = await self._take(2)
            length = second & 0x7F
            if length >= 126:
                length = int.from_bytes(await self._take(2 if length == 126 else 8), "big")
            payload = await self._take(length)
            opcode = first & 0x0F
            if opcode == 8:
                code = int.from_bytes(payload[:2], "big") if payload else 1005
                return f"close {code}"
            if opcode == 1 and payload == b"2":
                await self.say("3")
            elif opcode in (1, 2):
                return payload.decode() if opcode == 1 else payload

    async def text(self) -> str:
        message = await self.message()
        assert isinstance(message, str)
        return message

    async def ask(self, event: str, *args: Any, namespace: str = "/", ack_id: int = 7) -> Any:
        """Emit an event and return the arguments of its acknowledgement; other events are left out."""
        name = "" if namespace == "/" else namespace + ","
        await self.say(f"42{name}{ack_id}{json.dumps([event, *args])}")
        while not (answer := await self.text()).startswith(f"43{name}{ack_id}["):
            assert not answer.startswith("close"), answer
        return json.loads(answer[answer.index("[") :])

    async def closed(self) -> str:
        """Read to the close frame, or to the end of the connection; return what it was."""
        try:
            while not (message := await self.message()).startswith("close"):  # type: ignore[arg-type]
                pass
        except ENDS:
            return "end"
        return str(message)
