"""One HTTP request by ASGI: what its session needs of it is read, and its session's answer is sent."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import anyio
import anyio.lowlevel

from sio_core.engineio.engine import Engine, Verdict
from sio_core.serving.asgi_scope import Receive, Scope, Send, attempt, encode_headers
from sio_core.serving.exchange import Exchange
from sio_core.wire.message import Request, Response

__all__ = ["HttpAnswer", "HttpExchange"]


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
