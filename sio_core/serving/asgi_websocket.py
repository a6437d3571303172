"""One WebSocket by ASGI: a task that receives, and a task that sends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import anyio

from sio_core.engineio.engine import Engine, Open, Upgrade
from sio_core.engineio.packet import Encoded
from sio_core.engineio.session import Carrier, Session
from sio_core.engineio.states import POLLING
from sio_core.serving.asgi_scope import (
    SWITCHING_PROTOCOLS,
    Message,
    Receive,
    Scope,
    Send,
    attempt,
    encode_headers,
)
from sio_core.wire.message import Request, Response

__all__ = ["AsgiWebSocket", "accept_message", "refuse_websocket"]

NORMAL_CLOSURE: Final = 1000
TOO_BIG: Final = 1009
# RFC 6455 section 7.4.1. Servers report with these what they have found wrong with the peer's frames.
VIOLATIONS: Final = {
    1002: "Protocol error",
    1007: "Invalid UTF-8 sequence",
    1009: "Max payload size exceeded",
}


class AsgiWebSocket(Carrier):
    """Carries a session on one accepted WebSocket."""

    __slots__ = (
        "_base64",
        "_close_code",
        "_close_requested",
        "_engine",
        "_now",
        "_paused",
        "_probing",
        "_receive",
        "_resumed",
        "_scope",
        "_send",
        "_session",
        "_urgent",
        "_wakeup",
    )

    def __init__(self, engine: Engine, now: Callable[[], float], receive: Receive, send: Send) -> None:
        self._engine = engine
        self._now = now
        self._receive = receive
        self._send = send
        self._session: Session | None = None
        self._probing = False
        self._base64 = False
        self._urgent: list[Message] = []  # goes before what waits in the session
        self._paused = False
        self._resumed = anyio.Event()
        self._close_requested = False
        self._close_code: int | None = None
        self._scope = anyio.CancelScope()
        self._wakeup = anyio.Event()

    async def run(self, request: Request, verdict: Open | Upgrade) -> None:
        """Carry the session until it or the WebSocket ends."""
        try:
            self._begin(request, verdict)
            async with anyio.create_task_group() as task_group:
                task_group.cancel_scope.deadline = self._scope.deadline
                self._scope = task_group.cancel_scope
                task_group.start_soon(self._write)
                await self._read()
                self._scope.cancel()
        finally:
            if anyio.current_time() >= self._scope.deadline:
                self._engine.count_limit("close_time")
            self._lost(None)

    def _begin(self, request: Request, verdict: Open | Upgrade) -> None:
        engine, now = self._engine, self._now()
        self._base64 = bool(request.params.get("b64"))
        if isinstance(verdict, Upgrade):
            if verdict.session.websocket_opened(self, now):
                self._session = verdict.session
                self._probing = True
            else:
                self.release(None)
        elif request.params["transport"] == POLLING:
            self.release(None)
        else:
            session = engine.open(verdict, request, now)
            self._session = session
            session.carry_by_websocket(self, self._base64)
            # The handshake leaves before what the application adds.
            self._urgent = [self._message(session, packet) for packet in session.take_packets()]
            engine.started(session)

    # Receiving

    async def _read(self) -> None:
        while True:
            if self._paused:
                self._resumed = anyio.Event()
                await self._resumed.wait()
            message = await self._receive()
            if message["type"] != "websocket.receive":
                self._lost(VIOLATIONS.get(message.get("code", NORMAL_CLOSURE)))
                return
            text = message.get("text")
            self._received(message.get("bytes", b"") if text is None else text, self._now())

    def _received(self, message: str | bytes, now: float) -> None:
        session = self._session
        if session is None or self._close_requested:
            return  # the session has done with this WebSocket, and may be trying another
        if is_larger(message, self._engine.options.max_http_buffer_size):
            self._engine.count_limit("max_http_buffer_size")
            self._lost(VIOLATIONS[TOO_BIG])
            self.release(TOO_BIG)
        elif not self._probing:
            session.receive_message(message, now)
            session.deliver()
        elif session.receive_probe(message, self._base64, now):
            self._probing = False
            session.deliver()
            self.output_ready()
        else:
            session.deliver()

    def _lost(self, error: str | None) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.websocket_lost(self, error)
            session.deliver()

    # Sending

    async def _write(self) -> None:
        while True:
            messages = self._take()
            for message in messages:
                if not await self._sent(message):
                    self._lost(None)
                    self._scope.cancel()
                    return
            if messages:
                continue
            if self._close_requested:
                code = NORMAL_CLOSURE if self._close_code is None else self._close_code
                await self._sent({"type": "websocket.close", "code": code, "reason": ""})
                self._scope.cancel()
                return
            self._wakeup = anyio.Event()
            await self._wakeup.wait()

    def _take(self) -> list[Message]:
        """Take what there is to be sent now. While it is being sent, what follows waits in the session."""
        session = self._session
        messages, self._urgent = self._urgent, []
        if session is not None and not self._probing:
            messages += [self._message(session, packet) for packet in session.take_packets()]
            session.deliver()
        return messages

    def _message(self, session: Session, packet: Encoded) -> Message:
        data, binary = session.websocket_form(packet)
        if binary:
            return {"type": "websocket.send", "bytes": data}
        return {"type": "websocket.send", "text": data.decode()}

    async def _sent(self, message: Message) -> bool:
        session = self._session
        if session is None or self._probing:
            return await attempt(self._send, message)
        session.blocked = True
        try:
            return await attempt(self._send, message)
        finally:
            session.blocked = False

    # What the session calls

    def output_ready(self) -> None:
        self._wakeup.set()

    def flush(self) -> None:
        """What is sent here is sent by a task, in its turn; so this takes it once, and no more until it has left."""
        session = self._session
        if session is not None and not session.blocked and not self._urgent:
            session.blocked = True
            self._urgent = [self._message(session, packet) for packet in session.take_packets()]
            self._wakeup.set()

    def send_probe(self, packet: Encoded) -> None:
        self._urgent.append({"type": "websocket.send", "text": packet.data.decode()})
        self._wakeup.set()

    def pause(self, paused: bool) -> None:
        self._paused = paused
        if not paused:
            self._resumed.set()

    def release(self, code: int | None) -> None:
        self._close_requested = True
        self._close_code = code
        self._scope.deadline = anyio.current_time() + self._engine.options.limits.close_time
        self._wakeup.set()


def accept_message(scope: Scope, headers: list[tuple[str, str]]) -> Message:
    """Return the message that accepts a WebSocket, with the first subprotocol that is offered."""
    offered = list(scope.get("subprotocols") or [])
    return {
        "type": "websocket.accept",
        "subprotocol": offered[0] if offered else None,
        "headers": encode_headers(Response(SWITCHING_PROTOCOLS, [*headers])),
    }


async def refuse_websocket(scope: Scope, send: Send, response: Response) -> None:
    """Answer an upgrade request with a response where the server can do that, and with 403 where it cannot.

    ASGI specification, extension "WebSocket Denial Response".
    """
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await attempt(send, {"type": "websocket.close", "code": NORMAL_CLOSURE, "reason": ""})
        return
    headers = encode_headers(response)
    start = {"type": "websocket.http.response.start", "status": response.status, "headers": headers}
    if await attempt(send, start):
        await attempt(
            send, {"type": "websocket.http.response.body", "body": response.body, "more_body": False}
        )


def is_larger(message: str | bytes, bound: int) -> bool:
    """Tell whether a message has more than ``bound`` bytes; text in UTF-8, with up to four for a character."""
    if len(message) > bound:
        return True
    return isinstance(message, str) and len(message) * 4 > bound and len(message.encode()) > bound
