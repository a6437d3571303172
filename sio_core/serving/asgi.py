"""The shell for ASGI: a server as an application that other people's servers run.

It answers under the engine's path, whichever way a framework says where the application is mounted. A polling request
is one task for as long as it waits; a WebSocket is two, one that receives and one that sends, so that what a client
does not take stays in its session's bounded outbox.

Sources: the ASGI specification 3.0, with the HTTP and WebSocket message format 2.4 and the lifespan protocol 2.0.
What ASGI cannot say, it cannot do: a WebSocket closed "without a code" is closed with 1000, a POST whose session has
ended is answered 400 and not cut, and a message is measured only after the server has read it whole (uvicorn reads up
to ``--ws-max-size``, 16 MiB unless told otherwise). :mod:`sio_core.serving.uvicorn` has none of these limits.

Cross-origin headers are ours only if the option ``cors`` is set. A middleware around us that *sets* its headers, as
those of Starlette and Litestar do, replaces them, and answers preflights before us; so there is one of each either
way. Such a middleware says nothing of WebSockets: whom they are for is decided by ``cors`` and ``check_origin`` here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import anyio
import anyio.lowlevel

from sio_core.engineio.engine import Engine, Open, Pending, Upgrade, Verdict
from sio_core.engineio.packet import Encoded
from sio_core.engineio.session import Carrier, Session
from sio_core.engineio.states import POLLING
from sio_core.serving.background import ensure_running
from sio_core.serving.exchange import Exchange, is_websocket, upgrade_answer
from sio_core.serving.site import Resource, not_found
from sio_core.wire.message import Fields, Request, Response

if TYPE_CHECKING:
    from sio_core.serving.standalone import Service

__all__ = [
    "Application",
    "AsgiShell",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "WrappedApplication",
    "split_path",
]

Scope = Mapping[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]
"""Any ASGI application. Servers and frameworks have types of their own for the three arguments."""

FRAMING: Final = frozenset({"connection", "content-length", "transfer-encoding"})
SWITCHING_PROTOCOLS: Final = 101
NO_CONTENT: Final = frozenset({SWITCHING_PROTOCOLS, 204, 304})

SHUTDOWN_COMPLETE: Final[Message] = {"type": "lifespan.shutdown.complete"}

NORMAL_CLOSURE: Final = 1000
TOO_BIG: Final = 1009
# RFC 6455 section 7.4.1. Servers report with these what they have found wrong with the peer's frames.
VIOLATIONS: Final = {
    1002: "Protocol error",
    1007: "Invalid UTF-8 sequence",
    1009: "Max payload size exceeded",
}

logger = logging.getLogger(__name__)


class AsgiShell:
    """The application that one server is."""

    __slots__ = ("_active", "_engine", "_idle", "_resources", "_resources_first", "service")

    def __init__(self, service: Service) -> None:
        self.service = service
        self._engine: Engine = service.engine
        self._resources_first = service.resources_first()
        self._resources = service.resources()
        self._active = 0
        self._idle: anyio.Event | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, carry one WebSocket, or follow the life of a server.

        :raises ValueError: for a scope of another type, as the specification asks for.
        """
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(receive, send)
        elif kind in {"http", "websocket"}:
            await self.respond(scope, receive, send, self.find(scope, mounted=True))
        else:
            raise ValueError(f"there is no ASGI scope {kind!r} here")

    def find(self, scope: Scope, *, mounted: bool) -> str | None:
        """Return the path of a request as the engine knows it, ``None`` if it is not for the engine.

        :param mounted: whether everything below the mount point is ours, so that the engine's path need not be
            repeated there.
        """
        prefix = self._engine.options.prefix
        mount, path = split_path(scope)
        if path.startswith(prefix):
            return path
        if (mount + path).startswith(prefix):
            return mount + path
        if mounted and mount and (path in {"", "/"} or mount.endswith(prefix.rstrip("/"))):
            return prefix + path.lstrip("/")
        return None

    def is_ours(self, scope: Scope) -> bool:
        """Tell whether a request is for this server, if another application answers everything else."""
        if self.find(scope, mounted=False) is not None:
            return True
        if scope["type"] != "http" or not self._resources:
            return False
        request = make_request(scope, split_path(scope)[1])
        return request is not None and answer_of(self._resources, request) is not None

    async def respond(self, scope: Scope, receive: Receive, send: Send, path: str | None) -> None:
        """Answer one request or carry one WebSocket; errors stay in here.

        :param path: the result of :meth:`find`.
        """
        self._active += 1
        try:
            if not self.service.running:
                await ensure_running(self.service)
            if scope["type"] == "http":
                await self._respond(scope, receive, send, path)
            else:
                await self._carry_websocket(scope, receive, send, path)
        except* Exception:
            logger.exception("a request is dropped after an internal error")
        finally:
            self._active -= 1
            if not self._active and self._idle is not None:
                self._idle.set()

    async def drain(self) -> None:
        """Wait until every request was answered and every WebSocket is closed."""
        if self._active:
            self._idle = anyio.Event()
            await self._idle.wait()
            self._idle = None

    async def _respond(self, scope: Scope, receive: Receive, send: Send, path: str | None) -> None:
        answer = HttpAnswer(scope, send)
        try:
            decided = await self._decide(scope, path)
            if isinstance(decided, Response):
                await answer.send(decided)
            else:
                exchange = HttpExchange(self._engine, self.service.now)
                await exchange.run(*decided, receive, answer)
        except Exception:
            logger.exception("a request ends after an internal error")
            await answer.send(Response(500, [], b""))

    async def _carry_websocket(self, scope: Scope, receive: Receive, send: Send, path: str | None) -> None:
        if (await receive())["type"] != "websocket.connect":
            return
        decided = await self._decide(scope, path)
        if not isinstance(decided, Response):
            request, verdict = decided
            if isinstance(verdict, Open | Upgrade) and is_websocket(self._engine, request):
                headers = self._engine.response_headers(request, verdict.headers)
                if await attempt(send, accept_message(scope, headers)):
                    await AsgiWebSocket(self._engine, self.service.now, receive, send).run(request, verdict)
                return
            decided = upgrade_answer(verdict) or Response(400, [], b"")
        await refuse_websocket(scope, send, decided)

    async def _decide(self, scope: Scope, path: str | None) -> tuple[Request, Verdict] | Response:
        """Return what the engine says of a request, or the answer if that is known without asking it."""
        request = make_request(scope, split_path(scope)[1] if path is None else path)
        if request is None:
            return Response(400, [], b"")
        response = answer_of(self._resources_first, request)
        if response is None and path is None:
            prefix = self._engine.options.prefix
            response = answer_of(self._resources, request) or not_found([split_path(scope)[0] + prefix])
        elif response is None and self.service.draining:
            response = Response(503, [("Retry-After", "10"), ("Content-Type", "text/plain")], b"closing")
        return (request, await self._admit(request)) if response is None else response

    async def _admit(self, request: Request) -> Verdict:
        """Have the engine decide, and the application asked where it has a say."""
        verdict = self._engine.admit(request)
        while isinstance(verdict, Pending):
            try:
                result = await verdict.awaitable
            except Exception as error:
                verdict = verdict.resume(None, error)
            else:
                verdict = verdict.resume(result)
        return verdict

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        async with self.service.lifespan():
            await follow_lifespan(receive, send)
        await send(SHUTDOWN_COMPLETE)


class WrappedApplication:
    """Two applications in one: Socket.IO under its path, another one for everything else, its lifespan included."""

    __slots__ = ("_app", "_shell")

    def __init__(self, shell: AsgiShell, app: Application) -> None:
        self._shell = shell
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "lifespan":
            await self._lifespan(scope, receive, send)
        elif kind in {"http", "websocket"} and self._shell.is_ours(scope):
            await self._shell.respond(scope, receive, send, self._shell.find(scope, mounted=False))
        else:
            await self._app(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run both lifespans: ours around the other, but drained before it ends, while its resources are there.

        An application that does not know the protocol raises, or returns; then ours goes on alone.
        """
        received: list[str] = []
        sent: list[str] = []
        last: Message = SHUTDOWN_COMPLETE
        service = self._shell.service

        async def receive_for_app() -> Message:
            message = await receive()
            received.append(message["type"])
            if message["type"] == "lifespan.shutdown":
                await service.close()
            return message

        async def send_for_app(message: Any) -> None:
            nonlocal last
            sent.append(message["type"])
            if message["type"].startswith("lifespan.shutdown."):
                last = message  # the server may end everything as soon as it has this
            else:
                await send(message)

        async with service.lifespan():
            try:
                await self._app(scope, receive_for_app, send_for_app)
            except Exception:
                if sent:
                    raise
                logger.debug("the wrapped application has no lifespan", exc_info=True)
            if not sent:
                await follow_lifespan(receive, send, started="lifespan.startup" in received)
        if sent[-1:] != ["lifespan.startup.failed"]:
            await send(last)


async def follow_lifespan(receive: Receive, send: Send, *, started: bool = False) -> None:
    """Say that the start is complete, and wait for the shutdown.

    :param started: the message that asks to start was received already.
    """
    if not started:
        await receive()
    await send({"type": "lifespan.startup.complete"})
    while (await receive())["type"] != "lifespan.shutdown":
        await anyio.lowlevel.checkpoint()


class HttpAnswer:
    """The answer to one HTTP request: sent once, and never an error to the server.

    ``send`` after the client has gone does nothing, or raises: ASGI specification, "Disconnected Client".
    """

    __slots__ = ("_http_1", "_is_head", "_send", "_started")

    def __init__(self, scope: Scope, send: Send) -> None:
        self._send = send
        self._is_head = scope.get("method") == "HEAD"
        self._http_1 = str(scope.get("http_version", "1.1")).startswith("1")
        self._started = False

    async def send(self, response: Response, close: bool = False) -> None:
        """Send the response, unless one was begun before.

        :param close: nothing may follow on the connection; HTTP/2 has no word for that (RFC 9113 section 8.2.2).
        """
        if self._started:
            return
        self._started = True
        headers = encode_headers(response)
        if close and self._http_1:
            headers.append((b"connection", b"close"))
        body = b"" if self._is_head else response.body
        start = {"type": "http.response.start", "status": response.status, "headers": headers}
        if await attempt(self._send, start):
            await attempt(self._send, {"type": "http.response.body", "body": body, "more_body": False})


class HttpExchange:
    """Carries one exchange: reads what its session needs of the request, waits until the session answers.

    It waits in ``receive``, which tells of a client that leaves, and is called back from there by a cancel scope.
    """

    __slots__ = ("_cut", "_engine", "_now", "_scope", "_waiting")

    def __init__(self, engine: Engine, now: Callable[[], float]) -> None:
        self._engine = engine
        self._now = now
        self._scope = anyio.CancelScope()
        self._waiting = False
        self._cut = False

    def exchange_ready(self, exchange: Exchange) -> None:
        if self._waiting:
            self._scope.cancel()

    def exchange_cut(self, exchange: Exchange) -> None:
        self._cut = True
        if self._waiting:
            self._scope.cancel()

    async def run(self, request: Request, verdict: Verdict, receive: Receive, answer: HttpAnswer) -> None:
        """Do what the engine said."""
        exchange = Exchange(self, request, self._engine, False)
        exchange.begin(self._engine, verdict, self._now())
        timed_out = False
        if not exchange.ready:
            if exchange.reads_body:
                self._scope.deadline = anyio.current_time() + self._engine.options.limits.body_time
            try:
                with self._scope:
                    await self._wait(exchange, receive)
            except asyncio.CancelledError:
                # A server that shuts down gives up on requests that are held. The client may as well be told: its
                # session ends, and with the answer the task ends too, which is what the server wants of it.
                exchange.abandon()
            except BaseException:
                exchange.lost()
                raise
            timed_out = self._scope.cancelled_caught and not exchange.ready and not self._cut
        if timed_out:
            self._engine.count_limit("body_time")
            exchange.lost()
            await answer.send(Response(408, [], b""), close=True)
        elif self._cut:
            await answer.send(Response(400, [], b""), close=True)
        else:
            response = exchange.take_response()
            if response is not None:
                await answer.send(response, exchange.close)

    async def _wait(self, exchange: Exchange, receive: Receive) -> None:
        while not exchange.ready and not self._cut:
            self._waiting = True
            try:
                message = await receive()
            finally:
                self._waiting = False
            if message["type"] != "http.request":
                exchange.lost()
                return
            if exchange.complete:
                await anyio.lowlevel.checkpoint()
                continue
            body = message.get("body", b"")
            if body:
                exchange.receive_body(body)
            if not message.get("more_body", False):
                exchange.end(self._now())
                self._scope.deadline = float("inf")


class AsgiWebSocket(Carrier):
    """Carries a session on one accepted WebSocket."""

    __slots__ = (
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
            self._lost(None)

    def _begin(self, request: Request, verdict: Open | Upgrade) -> None:
        engine, now = self._engine, self._now()
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
            session.carry_by_websocket(self, bool(request.params.get("b64")))
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
        if session is None:
            return
        if is_larger(message, self._engine.options.max_http_buffer_size):
            self._engine.count_limit("max_http_buffer_size")
            self._lost(VIOLATIONS[TOO_BIG])
            self.release(TOO_BIG)
        elif not self._probing:
            session.receive_message(message, now)
            session.deliver()
        elif session.receive_probe(message, takes_base64(session), now):
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


def split_path(scope: Scope) -> tuple[str, str]:
    """Return where the application is mounted, and the path below that, both decoded.

    ASGI specification, "HTTP connection scope": ``path`` is whole and ``root_path`` a part of it. Frameworks have
    differed: some cut the mount point off ``path`` and put it into ``root_path``, some only cut it off. What
    ``raw_path`` holds more than the rest of the path is then the mount point.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    below = path[len(root) :] if root and (path == root or path.startswith(root + "/")) else path
    raw = scope.get("raw_path")
    if raw is None:
        return root, below
    whole = unquote(raw.partition(b"?")[0].decode("latin-1"))
    if below.endswith("/") and not whole.endswith("/"):
        below = below[:-1]  # a slash that the client has not sent
    return (whole[: len(whole) - len(below)], below) if whole.endswith(below) else (root, below)


def make_request(scope: Scope, path: str) -> Request | None:
    """Return the request a scope tells of, or ``None`` if its headers contradict each other.

    :param path: the path as the engine knows it; the target stays as the client has sent it.
    """
    fields = Fields()
    for name, value in scope["headers"]:
        fields.on_header(bytes(name), bytes(value))
    if fields.problem:
        return None
    query = scope.get("query_string", b"").decode("latin-1")
    raw = scope.get("raw_path")
    target = scope["path"] if raw is None else raw.partition(b"?")[0].decode("latin-1")
    client = scope.get("client") or ("", 0)
    return Request(
        method=scope.get("method", "GET"),
        target=f"{target}?{query}" if query else target,
        path=path,
        query=query,
        headers=fields.headers,
        version=scope.get("http_version", "1.1"),
        secure=scope.get("scheme", "http") in {"https", "wss"},
        address=str(client[0]),
        port=int(client[1] or 0),
        upgrade=scope["type"] == "websocket",
    )


def answer_of(resources: list[Resource], request: Request) -> Response | None:
    """Return the answer of the first resource that has one."""
    for resource in resources:
        response = resource.respond(request)
        if response is not None:
            return response
    return None


def encode_headers(response: Response) -> list[tuple[bytes, bytes]]:
    """Return header fields as ASGI wants them; those that frame the message are made here."""
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in response.headers
        if name.lower() not in FRAMING
    ]
    # A length of nothing is harmless after a preflight, and some browsers wait for one.
    if response.status not in NO_CONTENT or ("Content-Length", "0") in response.headers:
        headers.append((b"content-length", b"%d" % len(response.body)))
    return headers


async def attempt(send: Send, message: Message) -> bool:
    """Send a message, and tell whether it could be sent: a server may raise when the client is gone."""
    try:
        await send(message)
    except Exception as error:
        logger.debug("the server did not take %s: %s", message["type"], type(error).__name__)
        return False
    return True


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


def takes_base64(session: Session) -> bool:
    """Tell whether the client of a session cannot take binary messages."""
    return session.request is not None and bool(session.request.params.get("b64"))
