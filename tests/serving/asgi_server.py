"""A small ASGI server for tests: strict about what an application may send, and patient about what it receives."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.abc
import anyio.lowlevel

Application = Callable[[Any, Any, Any], Awaitable[None]]

PATIENCE = 5.0
"""Seconds a test waits for something before it fails."""


def http_scope(path: str = "/socket.io/", query: str = "", **more: Any) -> dict[str, Any]:
    headers = more.pop("headers", {})
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": encode({"host": "example.org", **headers}),
        "client": ("192.0.2.7", 4711),
        "server": ("192.0.2.1", 80),
        **more,
    }
    if scope["raw_path"] is None:  # it is optional
        del scope["raw_path"]
    return scope


def websocket_scope(path: str = "/socket.io/", query: str = "", **more: Any) -> dict[str, Any]:
    scope = http_scope(path, query, scheme=more.pop("scheme", "ws"), **more)
    del scope["method"]
    return {"subprotocols": [], "extensions": {"websocket.http.response": {}}, **scope, "type": "websocket"}


def encode(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]


class Queue:
    """Messages in their order."""

    def __init__(self) -> None:
        self._messages: deque[dict[str, Any]] = deque()
        self._filled = anyio.Event()

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: dict[str, Any]) -> None:
        self._messages.append(message)
        self._filled.set()

    async def get(self) -> dict[str, Any]:
        while not self._messages:
            self._filled = anyio.Event()
            await self._filled.wait()
        return self._messages.popleft()


class Call:
    """One call of an application: what it is told, and what it says.

    :ivar received: how often the application has asked for a message.
    :ivar ended: set once the application has returned.
    """

    def __init__(self, app: Application, scope: dict[str, Any]) -> None:
        self.scope = scope
        self.received = 0
        self.ended = anyio.Event()
        self._app = app
        self._told = Queue()
        self._said = Queue()

    async def run(self) -> None:
        try:
            await self._app(self.scope, self._receive, self._send)
        finally:
            self.ended.set()

    def tell(self, kind: str, **message: Any) -> None:
        self._told.put({"type": kind, **message})

    async def hear(self, kind: str | None = None) -> dict[str, Any]:
        """The next message of the application."""
        with anyio.fail_after(PATIENCE):
            message = await self._said.get()
        assert kind in {None, message["type"]}, message
        return message

    async def end(self) -> None:
        """Wait until the application returns; it has nothing left to say."""
        with anyio.fail_after(PATIENCE):
            await self.ended.wait()
        assert not self._said

    async def _receive(self) -> dict[str, Any]:
        self.received += 1
        return await self._told.get()

    async def _send(self, message: dict[str, Any]) -> None:
        self.check(message)
        await anyio.lowlevel.checkpoint()
        self._said.put(message)

    def check(self, message: dict[str, Any]) -> None:
        """Fail if the application may not say this now."""


class Answer:
    """A whole response."""

    def __init__(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        self.status = status
        self.fields = [(name.decode(), value.decode("latin-1")) for name, value in headers]
        self.headers = dict(self.fields)
        self.body = body

    def __eq__(self, other: object) -> bool:
        return other == (self.status, self.body)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"({self.status}, {self.body!r})"


class HttpCall(Call):
    """One HTTP request."""

    def __init__(self, app: Application, scope: dict[str, Any]) -> None:
        super().__init__(app, scope)
        self._expected = "http.response.start"

    def check(self, message: dict[str, Any]) -> None:
        assert message["type"] == self._expected
        if message["type"] == "http.response.start":
            names = [name for name, _ in message["headers"]]
            assert names == [name.lower() for name in names]
            assert len(names) == len(set(names)), "no header twice"
            self._expected = "http.response.body"
        else:
            assert not message["more_body"]
            self._expected = "nothing"

    async def answer(self) -> Answer:
        """The response, after which the application returns."""
        start = await self.hear("http.response.start")
        body = await self.hear("http.response.body")
        length = dict(start["headers"]).get(b"content-length")
        assert length is None or self.scope["method"] == "HEAD" or int(length) == len(body["body"])
        await self.end()
        return Answer(start["status"], start["headers"], body["body"])


class WebSocketCall(Call):
    """One WebSocket."""

    def __init__(self, app: Application, scope: dict[str, Any]) -> None:
        super().__init__(app, scope)
        self._state = "connecting"

    def check(self, message: dict[str, Any]) -> None:
        allowed = {
            "connecting": {"websocket.accept", "websocket.close", "websocket.http.response.start"},
            "open": {"websocket.send", "websocket.close"},
            "refusing": {"websocket.http.response.body"},
            "closed": set[str](),
        }
        kind = message["type"]
        assert kind in allowed[self._state], f"{kind} while {self._state}"
        if kind == "websocket.accept":
            self._state = "open"
        elif kind == "websocket.http.response.start":
            self._state = "refusing"
        elif kind != "websocket.send":
            self._state = "closed"

    async def text(self) -> str:
        message = await self.hear("websocket.send")
        text: str = message["text"]
        return text

    async def binary(self) -> bytes:
        message = await self.hear("websocket.send")
        data: bytes = message["bytes"]
        return data

    async def closed(self) -> int:
        """The code the application closes with; then it returns."""
        message = await self.hear("websocket.close")
        await self.end()
        code: int = message["code"]
        return code


class AsgiServer:
    """Calls an application; its requests run in a task group."""

    def __init__(self, app: Application, task_group: anyio.abc.TaskGroup) -> None:
        self.app = app
        self.task_group = task_group

    def http(self, path: str = "/socket.io/", query: str = "", **more: Any) -> HttpCall:
        """Begin a request; its body is still to come."""
        call = HttpCall(self.app, http_scope(path, query, **more))
        self.task_group.start_soon(call.run)
        return call

    def get(self, path: str = "/socket.io/", query: str = "", **more: Any) -> HttpCall:
        call = self.http(path, query, **more)
        call.tell("http.request", body=b"", more_body=False)
        return call

    def post(self, query: str, body: bytes, **more: Any) -> HttpCall:
        call = self.http(query=query, method="POST", **more)
        call.tell("http.request", body=body, more_body=False)
        return call

    def websocket(self, path: str = "/socket.io/", query: str = "", **more: Any) -> WebSocketCall:
        call = WebSocketCall(self.app, websocket_scope(path, query, **more))
        self.task_group.start_soon(call.run)
        call.tell("websocket.connect")
        return call

    def lifespan(self) -> Call:
        call = Call(self.app, {"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}})
        self.task_group.start_soon(call.run)
        return call
