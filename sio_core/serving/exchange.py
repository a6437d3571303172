"""One polling request and its answer, whoever carries them: our own connection, or the ASGI of another server.

An exchange takes what the engine said of a request, and the request's body; it gives a :class:`Response`, at once or
when the session has something to say. For its session it is the carrier of one GET or one POST.

Engine.IO protocol v4, "HTTP long-polling".
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Final, Protocol

from sio_core.engineio.engine import Answer, Engine, Open, Poll, Post, Refused, Verdict
from sio_core.engineio.packet import Encoded
from sio_core.engineio.session import Carrier, Session
from sio_core.engineio.states import WEBSOCKET
from sio_core.engineio.v3 import jsonp_response
from sio_core.wire.http import compress_body
from sio_core.wire.message import Request, Response

__all__ = ["Exchange", "ExchangeDriver", "is_websocket", "upgrade_answer"]

NO_STORE: Final = ("cache-control", "no-store")

BODY_OF_NO_ENGINE: Final = 1_000_000
"""Bytes of a request body that nobody reads, before its connection is closed."""


class ExchangeDriver(Protocol):
    """What an exchange needs of those who carry it."""

    @abstractmethod
    def exchange_ready(self, exchange: Exchange) -> None:
        """There is a response: call :meth:`Exchange.take_response` soon, but not inside this call."""

    @abstractmethod
    def exchange_cut(self, exchange: Exchange) -> None:
        """The session ended while its POST was being read: there is no answer, as in the official server."""


class Exchange(Carrier):
    """See the module's docstring.

    :ivar engine: what the request is for; ``None`` if it is for no engine.
    :ivar close: nothing may follow on the connection that carries it.
    :ivar complete: the whole request has come.
    :ivar read_on: ``False`` once the rest of the body must not be read.
    """

    __slots__ = (
        "_body",
        "_driver",
        "_headers",
        "_ready",
        "_response",
        "_session",
        "_size",
        "close",
        "complete",
        "engine",
        "read_on",
        "request",
    )

    def __init__(self, driver: ExchangeDriver, request: Request, engine: Engine | None, close: bool) -> None:
        self._driver = driver
        self._headers: list[tuple[str, str]] = []
        self._session: Session | None = None
        self._response: Response | None = None
        self._ready = False
        self._body: list[bytes] | None = None
        self._size = 0
        self.request = request
        self.engine = engine
        self.close = close
        self.complete = False
        self.read_on = True

    @property
    def reads_body(self) -> bool:
        """Whether a session waits for the body of this request."""
        return self._body is not None

    @property
    def answered(self) -> bool:
        """Whether it is decided what the response is."""
        return self._response is not None

    @property
    def weight(self) -> int:
        """Bytes of the answer, if there is one."""
        return len(self._response.body) if self._response is not None else 0

    @property
    def ready(self) -> bool:
        """Whether :meth:`take_response` has something to give."""
        return self._response is not None or (self._ready and self._session is not None)

    # What those who carry it call

    def answer(self, response: Response) -> None:
        """Answer with this response."""
        self._response = response
        self._driver.exchange_ready(self)

    def begin(self, engine: Engine, verdict: Verdict, now: float) -> None:
        """Do what the engine said, unless that is to wait, or to open a WebSocket."""
        if isinstance(verdict, Poll):
            self._begin_poll(verdict)
        elif isinstance(verdict, Post):
            self._begin_post(engine, verdict)
        elif isinstance(verdict, Open):
            self._open(engine, verdict, now)
        elif isinstance(verdict, Refused):
            self.answer(verdict.response())
        elif isinstance(verdict, Answer):
            self.answer(verdict.response)

    def receive_body(self, chunk: bytes) -> None:
        """Take a part of the body. The bound is on what has come, whatever the head has announced."""
        self._size += len(chunk)
        engine = self.engine
        bound = engine.options.max_http_buffer_size if engine is not None else BODY_OF_NO_ENGINE
        if self._size > bound:
            self._too_large()
        elif self._body is not None:
            self._body.append(chunk)

    def end(self, now: float) -> None:
        """The request is complete."""
        self.complete = True
        session, engine, body = self._session, self.engine, self._body
        if session is None or engine is None or body is None:
            return
        self._body = None
        request = self.request
        request.body = body[0] if len(body) == 1 else b"".join(body)
        acceptable = session.receive_payload(request, now)
        self._session = None
        session.deliver()
        if not acceptable:
            self.answer(Response(400, [*self._headers], b""))
        elif session.keep_post(self):
            self._session = session
        else:
            self._answer_post(engine)

    def _answer_post(self, engine: Engine) -> None:
        headers = engine.response_headers(self.request, self._headers)
        self.answer(Response(200, [("Content-Type", "text/html"), NO_STORE, *headers], b"ok"))

    def lost(self) -> None:
        """The client is gone, or has broken a rule of HTTP: there will be no answer."""
        session = self._session
        if session is not None and self._response is None:
            self._session = None
            self._body = None
            session.poll_lost(self)
            session.post_lost(self)
            session.deliver()

    def abandon(self) -> None:
        """Those who carry it cannot wait any longer: its session ends, and what is left to say is the response."""
        session = self._session
        if session is not None and self._response is None:
            session.close(discard=True)
            session.deliver()

    def take_response(self) -> Response | None:
        """Take the response, if there is one now."""
        if self._response is None and self._ready and self._session is not None:
            self._take_payload(self._session)
        return self._response

    # What the session calls

    def output_ready(self) -> None:
        self._ready = True
        self._driver.exchange_ready(self)

    def flush(self) -> None:
        if self._ready:
            self.take_response()

    def send_probe(self, packet: Encoded) -> None:
        raise AssertionError("a polling request cannot carry a probe")

    def pause(self, paused: bool) -> None:
        """A polling client sends nothing more before it has its answer, so that is what waits."""
        session, engine = self._session, self.engine
        if not paused and self.complete and session is not None and engine is not None:
            self._session = None
            session.post_answered()
            self._answer_post(engine)

    def release(self, code: int | None) -> None:
        self._session = None
        self._body = None
        if self.complete and self.engine is not None:
            self._answer_post(self.engine)
        else:
            self._driver.exchange_cut(self)

    # The rest

    def _begin_poll(self, verdict: Poll) -> None:
        session = verdict.session
        self._session = session
        self._headers = verdict.headers
        if not session.receive_poll(self):
            self._session = None
            self.answer(Response(400, [*verdict.headers], b""))
        session.deliver()

    def _open(self, engine: Engine, verdict: Open, now: float) -> None:
        session = engine.open(verdict, self.request, now)
        self._headers = [*verdict.headers]
        cookie = engine.options.cookie
        if cookie is not None:
            self._headers.append(("Set-Cookie", cookie.header(session.id)))
        self._session = session
        session.receive_poll(self)
        self._take_payload(session)  # before the application can add anything to the handshake
        engine.started(session)

    def _begin_post(self, engine: Engine, verdict: Post) -> None:
        session = verdict.session
        self._headers = verdict.headers
        if not session.receive_post(self):
            self.close = True
            self.answer(Response(400, [*verdict.headers], b""))
            session.deliver()
            return
        self._session = session
        self._body = []
        length = self.request.headers.get("content-length", "")
        if length.isdecimal() and int(length) > engine.options.max_http_buffer_size:
            self._too_large()

    def _too_large(self) -> None:
        """Answer 413 without reading on. The session is not closed by that, as in the official server."""
        if self.engine is not None:
            self.engine.count_limit("max_http_buffer_size")
        self.close = True
        self.read_on = False
        if self._body is not None and self._session is not None:
            self._session.post_answered()
            self._session = None
            self._body = None
        else:
            self.lost()
        if self._response is None:
            self.answer(Response(413, [*self._headers], b""))

    def _take_payload(self, session: Session) -> None:
        engine, request = self.engine, self.request
        assert engine is not None
        self._session = None
        payload = session.take_payload()
        body = payload.body
        index = request.params.get("j")
        if index is not None:
            body = jsonp_response(index, body)
        headers = [("Content-Type", payload.content_type), NO_STORE]
        threshold = engine.options.http_compression
        if threshold is not None and payload.compress and len(body) >= threshold:
            body, coding = compress_body(body, request.headers.get("accept-encoding", ""), threshold)
            if coding:
                headers.append(("Content-Encoding", coding))
        agent = request.headers.get("user-agent", "")
        if ";MSIE" in agent or "Trident/" in agent:
            headers.append(("X-XSS-Protection", "0"))
        headers.extend(engine.response_headers(request, self._headers))
        self._response = Response(200, headers, body)
        session.deliver()


def is_websocket(engine: Engine, request: Request) -> bool:
    """Whether a request asks this engine for a WebSocket. Where there is none, an upgrade is a plain request."""
    return request.upgrade and WEBSOCKET in engine.options.transports


def upgrade_answer(verdict: Verdict) -> Response | None:
    """Return the response to an upgrade request that does not get its WebSocket; ``None`` if it gets one."""
    if isinstance(verdict, Refused):
        return verdict.upgrade_response()
    if isinstance(verdict, Answer):
        return verdict.response
    return None
