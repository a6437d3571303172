"""The shell for ASGI: a server as an application that other people's servers run.

It answers under the engine's path, whichever way a framework says where the application is mounted. A polling request
is one task for as long as it waits; a WebSocket is two, one that receives and one that sends, so that what a client
does not take stays in its session's bounded outbox.

Sources: the ASGI specification 3.0, with the HTTP and WebSocket message format 2.4 and the lifespan protocol 2.0.
What ASGI cannot say, it cannot do: a WebSocket closed "without a code" is closed with 1000, a POST whose session has
ended is answered 400 and not cut, and a message is measured only after the server has read it whole (uvicorn reads up
to ``--ws-max-size``, 16 MiB unless told otherwise). :mod:`sio_core.serving.uvicorn` has none of these limits.

No server tells an application that it shuts down before the connections have ended: a held poll ends with the next
ping, a WebSocket when its client leaves. So give uvicorn ``--timeout-graceful-shutdown`` and granian
``--workers-kill-timeout``; with :mod:`sio_core.serving.uvicorn` one WebSocket is enough for everybody to be told.

Cross-origin headers are ours only if the option ``cors`` is set. A middleware around us that *sets* its headers, as
those of Starlette and Litestar do, replaces them, and answers preflights before us; so there is one of each either
way. Such a middleware says nothing of WebSockets: whom they are for is decided by ``cors`` and ``check_origin`` here.
"""

from __future__ import annotations

import logging
from asyncio import CancelledError
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.lowlevel

from sio_core.engineio.engine import Engine, Open, Pending, Upgrade, Verdict
from sio_core.runtime import as_error
from sio_core.serving.asgi_http import HttpAnswer, HttpExchange
from sio_core.serving.asgi_scope import (
    Application,
    Message,
    Receive,
    Scope,
    Send,
    attempt,
    make_request,
    split_path,
)
from sio_core.serving.asgi_websocket import AsgiWebSocket, accept_message, refuse_websocket
from sio_core.serving.background import ensure_running
from sio_core.serving.exchange import is_websocket, upgrade_answer
from sio_core.serving.site import Resource, not_found
from sio_core.wire.message import Request, Response

if TYPE_CHECKING:
    from sio_core.serving.standalone import Service

__all__ = ["AsgiShell", "WrappedApplication"]

SHUTDOWN_COMPLETE: Final[Message] = {"type": "lifespan.shutdown.complete"}

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
            return prefix.rstrip("/") + "/" + path.lstrip("/")
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
                if await self._accepted(accept_message(scope, headers), send, request, verdict):
                    await AsgiWebSocket(self._engine, self.service.now, receive, send).run(request, verdict)
                return
            decided = upgrade_answer(verdict) or Response(400, [], b"")
        await refuse_websocket(scope, send, decided)

    async def _accepted(
        self, message: Message, send: Send, request: Request, verdict: Open | Upgrade
    ) -> bool:
        """Accept a WebSocket. Its session keeps its place meanwhile, and its id."""
        if isinstance(verdict, Upgrade):
            return await attempt(send, message)
        self._engine.reserve(verdict, request)
        try:
            return await attempt(send, message)
        finally:
            self._engine.release(verdict)

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
            except CancelledError as error:
                verdict = verdict.resume(None, as_error(error))
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


def answer_of(resources: list[Resource], request: Request) -> Response | None:
    """Return the answer of the first resource that has one."""
    for resource in resources:
        response = resource.respond(request)
        if response is not None:
            return response
    return None
