"""The session table, and what is to be done with a request.

``admit`` is a pure decision: it looks at a request's head and returns a verdict; the shell that owns the connection
carries it out. A refused request is a value, since strangers who knock are normal.

Engine.IO protocol v4, "Protocol", "Handshake"; the order of the checks and the six codes are the official server's.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Generator
from contextlib import suppress
from functools import partial
from typing import Any, Final, TypeVar, cast, overload

import orjson

from sio_core.engineio.addresses import AddressCounts
from sio_core.engineio.deadlines import NEVER, Deadlines, Timed
from sio_core.engineio.options import EngineOptions
from sio_core.engineio.packet import MESSAGE, OPEN, Encoded, encode_text
from sio_core.engineio.remote import READ, UPGRADING, WRITE, Elsewhere
from sio_core.engineio.session import Application, Session, SessionOwner
from sio_core.engineio.states import CLOSED, WEBSOCKET
from sio_core.ids import SessionId, make_id
from sio_core.wire.cors import allows, cors_headers, preflight, same_origin
from sio_core.wire.message import Request, Response, header_line
from sio_core.wire.proxies import TrustedProxies, parse_address

__all__ = [
    "Answer",
    "Engine",
    "Open",
    "Pending",
    "Poll",
    "Post",
    "Refused",
    "Upgrade",
    "Verdict",
]

Headers = list[tuple[str, str]]
Middleware = Callable[..., "Response | Awaitable[Response | None] | None"]
Hook = Callable[..., object]
AnyMiddleware = TypeVar("AnyMiddleware", bound=Callable[..., object])
AnyHook = TypeVar("AnyHook", bound=Callable[..., object])

ENGINE_EVENTS: Final = frozenset(
    ("connection", "connection_error", "initial_headers", "headers", "flush", "drain")
)

TRANSPORT_UNKNOWN: Final = 0
SESSION_ID_UNKNOWN: Final = 1
BAD_HANDSHAKE_METHOD: Final = 2
BAD_REQUEST: Final = 3
FORBIDDEN: Final = 4
UNSUPPORTED_PROTOCOL: Final = 5

MESSAGES: Final = (
    "Transport unknown",
    "Session ID unknown",
    "Bad handshake method",
    "Bad request",
    "Forbidden",
    "Unsupported protocol version",
)

NO_HEADERS: Final[Headers] = []

OUTBOX_SURVEY_INTERVAL: Final = 1.0
"""Seconds between two looks at what waits for all clients together."""

LOG_INTERVAL: Final = 10.0
"""Seconds in which each bound that is hit is logged at most once; every hit is counted."""

logger = logging.getLogger(__name__)


class Verdict:
    """What to do with a request. ``headers`` go with every answer to it, whatever that is."""

    __slots__ = ("headers",)

    def __init__(self, headers: Headers) -> None:
        self.headers = headers


class Refused(Verdict):
    """The request is refused.

    :ivar code: 0 to 5, or ``None`` where the protocol has no code.
    """

    __slots__ = ("code", "message", "status")

    def __init__(self, status: int, code: int | None, message: str, headers: Headers) -> None:
        super().__init__(headers)
        self.status = status
        self.code = code
        self.message = message

    def response(self) -> Response:
        """The answer to a plain request."""
        if self.code is None:
            return Response(self.status, [*self.headers], b"")
        body = orjson.dumps({"code": self.code, "message": self.message})
        return Response(self.status, [*self.headers, ("Content-Type", "application/json")], body)

    def upgrade_response(self) -> Response:
        """The answer to an upgrade request: always 400, and text, as browsers never see it."""
        status = self.status if self.status >= 429 else 400
        return Response(status, [*self.headers, ("Content-Type", "text/html")], self.message.encode())


class Answer(Verdict):
    """The request has its answer: a preflight, or what a middleware said."""

    __slots__ = ("response",)

    def __init__(self, response: Response) -> None:
        super().__init__(NO_HEADERS)
        self.response = response


class Open(Verdict):
    """A session is to be opened: by :meth:`Engine.open`, for a WebSocket after its handshake succeeded."""

    __slots__ = ("protocol", "sid")

    def __init__(self, sid: SessionId, protocol: int, headers: Headers) -> None:
        super().__init__(headers)
        self.sid = sid
        self.protocol = protocol


class Poll(Verdict):
    """A GET: hand it to ``session.receive_poll``."""

    __slots__ = ("session",)

    def __init__(self, session: Session, headers: Headers) -> None:
        super().__init__(headers)
        self.session = session


class Post(Verdict):
    """A POST: hand it to ``session.receive_post``, and its body to ``session.receive_payload``."""

    __slots__ = ("session",)

    def __init__(self, session: Session, headers: Headers) -> None:
        super().__init__(headers)
        self.session = session


class Upgrade(Verdict):
    """A WebSocket for a session that exists: after its handshake hand it to ``session.websocket_opened``."""

    __slots__ = ("session",)

    def __init__(self, session: Session, headers: Headers) -> None:
        super().__init__(headers)
        self.session = session


class Absent(Verdict):
    """The session of the request is not here; another node of the cluster may have it.

    :ivar purpose: what the session would do with the request.
    """

    __slots__ = ("purpose",)

    def __init__(self, purpose: str, headers: Headers) -> None:
        super().__init__(headers)
        self.purpose = purpose


class Pending(Verdict):
    """The application must be awaited first: await ``awaitable``, then call ``resume`` with its result or error."""

    __slots__ = ("_steps", "awaitable")

    def __init__(self, awaitable: Awaitable[Any], steps: Generator[Awaitable[Any], Any, Verdict]) -> None:
        super().__init__(NO_HEADERS)
        self.awaitable = awaitable
        self._steps = steps

    def resume(self, result: Any, error: Exception | None = None) -> Verdict:
        """Go on with what the awaitable gave; the next verdict, which may be pending again."""
        return advance(self._steps, result, error)


def advance(steps: Generator[Awaitable[Any], Any, Verdict], result: Any, error: Exception | None) -> Verdict:
    """Run the decision to its next awaitable, or to its end."""
    try:
        awaitable = steps.send(result) if error is None else steps.throw(error)
    except StopIteration as stop:
        verdict: Verdict = stop.value
        return verdict
    return Pending(awaitable, steps)


class OutboxSurvey(Timed):
    """Looks, while there are sessions, at what waits for all of them together."""

    __slots__ = ("_bound", "_engine")

    def __init__(self, engine: Engine, bound: int) -> None:
        super().__init__()
        self._engine = engine
        self._bound = bound

    def handle_deadline(self, now: float) -> None:
        self.deadline = now + OUTBOX_SURVEY_INTERVAL if self._engine.clients else NEVER
        waiting = sum([session.waiting_bytes for session in self._engine.clients.values()])
        if waiting <= self._bound:
            return
        sessions = sorted(self._engine.clients.values(), key=lambda session: -session.waiting_bytes)
        for session in sessions:
            if waiting <= self._bound // 2:
                return
            size = session.waiting_bytes
            waiting -= size
            session.cut("total_outbox_bytes", size)


class Engine(SessionOwner):
    """The sessions of one server.

    :ivar clients: the open sessions by their id.
    :ivar elsewhere: the other nodes, if any node of the cluster may get the requests of a session.
    :ivar make_session_id: makes the id of a session, unless ``options.generate_id`` does.
    :ivar unconnected: how many of them are in no namespace yet.
    :ivar connections: how many TCP connections its listeners have open.
    :ivar limit_hits: how often each bound was hit, by its name.
    """

    __slots__ = (
        "_connections_of",
        "_handshakes_left",
        "_handshakes_read_at",
        "_hooks",
        "_logged_at",
        "_middlewares",
        "_proxies",
        "_reserved",
        "_sessions_of",
        "_strangers_of",
        "_survey",
        "clients",
        "connections",
        "elsewhere",
        "limit_hits",
        "make_session_id",
        "unconnected",
    )

    def __init__(
        self,
        options: EngineOptions,
        application: Application,
        deadlines: Deadlines,
        clock: Callable[[], float],
    ) -> None:
        super().__init__(options, application, deadlines, clock)
        self._middlewares: list[tuple[Middleware, int]] = []
        self._hooks: dict[str, list[Hook]] = {}
        self._proxies = TrustedProxies(options.trusted_proxies)
        self._reserved: dict[
            str, str
        ] = {}  # the addresses of those whose sessions are about to be opened, by id
        limits = options.limits
        self._sessions_of = AddressCounts() if limits.sessions_per_address is not None else None
        self._strangers_of = AddressCounts() if limits.unconnected_sessions_per_address is not None else None
        self._connections_of = AddressCounts() if limits.connections_per_address is not None else None
        self._handshakes_left = max(limits.handshakes_per_second or 0.0, 1.0)
        self._handshakes_read_at = 0.0
        self._survey = (
            OutboxSurvey(self, limits.total_outbox_bytes) if limits.total_outbox_bytes is not None else None
        )
        self._logged_at: dict[str, float] = {}
        self.clients: dict[str, Session] = {}
        self.elsewhere: Elsewhere | None = None
        self.make_session_id: Callable[[], str] = make_id
        self.connections = 0
        self.limit_hits: dict[str, int] = {}
        self.unconnected = 0

    # What applications see

    @property
    def clients_count(self) -> int:
        """How many sessions are open."""
        return len(self.clients)

    def use(self, middleware: AnyMiddleware) -> AnyMiddleware:
        """Run ``middleware(request[, headers])`` for every HTTP request, upgrades included.

        It may be ``async``. It may return a :class:`Response` to answer the request itself, raise to have it refused
        with code 3, and put headers for the answer into the dictionary ``headers``. An upgrade request that it
        answers is answered so, and its connection is closed.
        """
        count = len(inspect.signature(middleware).parameters)
        self._middlewares.append((cast("Middleware", middleware), count))
        return middleware

    @overload
    def on(self, name: str, hook: AnyHook) -> AnyHook: ...
    @overload
    def on(self, name: str, hook: None = None) -> Callable[[AnyHook], AnyHook]: ...
    def on(self, name: str, hook: Hook | None = None) -> Any:
        """Register a hook, as a call or as a decorator.

        ``connection`` (session); ``connection_error`` (a mapping of ``request``, ``code``, ``message``, ``context``);
        ``initial_headers`` and ``headers`` (a dictionary to change, request); ``flush`` (session, the packets that
        leave) and ``drain`` (session), of sessions opened from then on.

        :raises ValueError: for another name.
        :raises TypeError: for an ``async`` function: nothing waits for a hook.
        """
        if name not in ENGINE_EVENTS:
            raise ValueError(f"an engine has no event {name!r}")
        if hook is None:
            return lambda hook: self.on(name, hook)
        if inspect.iscoroutinefunction(hook):
            raise TypeError(f"a hook of {name!r} must be a plain function, not an async one")
        self._hooks.setdefault(name, []).append(hook)
        return hook

    # Requests

    def admit(self, request: Request) -> Verdict:
        """Decide what to do with a request, from its head alone."""
        if self._proxies:
            self._proxies.see_through(request)
        options = self.options
        is_asked = options.allow_request is not None or options.generate_id is not None
        if self._middlewares or options.cors is not None or (is_asked and not request.params.get("sid")):
            return advance(self._decide(request), None, None)
        verdict = self._verify(request, NO_HEADERS)
        if isinstance(verdict, Absent):
            return advance(self._look_elsewhere(request, verdict), None, None)
        if not isinstance(verdict, Open):
            return verdict
        if verdict.protocol == 3 and not options.allow_eio3:
            return self._refuse(request, UNSUPPORTED_PROTOCOL, NO_HEADERS, {"protocol": 3})
        return self._full(request, NO_HEADERS) or verdict

    def _decide(self, request: Request) -> Generator[Awaitable[Any], Any, Verdict]:
        """Decide where the application has a say, which may have to be awaited."""
        headers: Headers = []
        cors = self.options.cors
        own: dict[str, str] = {}
        try:
            if cors is not None:
                answer = preflight(cors, request)
                if answer is not None:
                    return Answer(answer)
                headers.extend(cors_headers(cors, request))
            for middleware, count in list(self._middlewares):
                own = {}
                outcome: Any = middleware(request, own) if count > 1 else middleware(request)
                if inspect.isawaitable(outcome):
                    outcome = yield outcome
                for name, value in own.items():
                    header_line(name, value)
                    headers.append((name, value))
                own = {}
                if isinstance(outcome, Response):
                    return Answer(Response(outcome.status, [*headers, *outcome.headers], outcome.body))
                if outcome is not None:
                    raise TypeError(f"a middleware returned {type(outcome).__name__}, not a Response")
            verdict = self._verify(request, headers)
        except Exception as error:
            # What the failing middleware had set goes along, if it can be sent at all.
            with suppress(ValueError, TypeError):
                headers.extend(Response(400, list(own.items())).headers)
            return self._refuse(request, BAD_REQUEST, headers, {"name": "MIDDLEWARE_FAILURE", "error": error})
        if isinstance(verdict, Absent):
            return (yield from self._look_elsewhere(request, verdict))
        if not isinstance(verdict, Open):
            return verdict
        if self.options.allow_request is not None:
            context: dict[str, Any] = {"message": None}
            try:
                allowed: Any = self.options.allow_request(request)
                if inspect.isawaitable(allowed):
                    allowed = yield allowed
            except Exception as error:  # a check that fails has not passed
                allowed = False
                context["error"] = error
            if allowed is not True:
                if isinstance(allowed, str) and allowed:
                    context["message"] = allowed
                return self._refuse(request, FORBIDDEN, headers, context, context["message"])
        if verdict.protocol == 3 and not self.options.allow_eio3:
            return self._refuse(request, UNSUPPORTED_PROTOCOL, headers, {"protocol": 3})
        if self.options.generate_id is not None:
            try:
                sid: Any = self.options.generate_id(request)
                if inspect.isawaitable(sid):
                    sid = yield sid
                if not isinstance(sid, str) or not sid.isascii() or not sid.isprintable() or not sid:
                    raise ValueError("generate_id must return a string of printable ASCII characters")
                if sid in self.clients or sid in self._reserved:
                    raise ValueError("generate_id returned the id of an open session")
            except Exception as error:
                return self._refuse(
                    request, BAD_REQUEST, headers, {"name": "ID_GENERATION_ERROR", "error": error}
                )
            verdict.sid = SessionId(sid)
        return self._full(request, headers) or verdict

    def _verify(self, request: Request, headers: Headers) -> Verdict:
        """The checks that need nobody's opinion, in the official server's order."""
        params = request.params
        transport = params.get("transport")
        options = self.options
        if transport is None or transport not in options.transports:
            return self._refuse(request, TRANSPORT_UNKNOWN, headers, {"transport": transport})
        origin = request.headers.get("origin")
        if origin is not None:
            if not is_header_value(origin):
                del request.headers["origin"]
                return self._refuse(
                    request, BAD_REQUEST, headers, {"name": "INVALID_ORIGIN", "origin": origin}
                )
            if (
                options.check_origin
                and not same_origin(origin, request.headers.get("host", ""))
                and (options.cors is None or not allows(options.cors, origin))
            ):
                return self._refuse(
                    request, FORBIDDEN, headers, {"name": "FORBIDDEN_ORIGIN", "origin": origin}
                )
        upgrade = request.upgrade and WEBSOCKET in options.transports
        protocol = 4 if params.get("EIO") == "4" else 3
        sid = params.get("sid")
        if sid:
            session = self.clients.get(sid)
            if session is None:
                purpose = self._purpose_elsewhere(request, transport, protocol)
                if purpose:
                    return Absent(purpose, headers)
                return self._refuse(request, SESSION_ID_UNKNOWN, headers, {"sid": sid})
            if not upgrade and session.transport != transport:
                context: dict[str, Any] = {
                    "name": "TRANSPORT_MISMATCH",
                    "transport": transport,
                    "previousTransport": session.transport,
                }
                return self._refuse(request, BAD_REQUEST, headers, context)
            if session.protocol != protocol:
                context = {
                    "name": "PROTOCOL_MISMATCH",
                    "protocol": protocol,
                    "previousProtocol": session.protocol,
                }
                return self._refuse(request, BAD_REQUEST, headers, context)
            if upgrade and transport == WEBSOCKET:
                return Upgrade(session, headers)
            if upgrade or transport == WEBSOCKET:
                return self._refuse(request, BAD_REQUEST, headers, {"name": "TRANSPORT_HANDSHAKE_ERROR"})
            if request.method == "GET":
                return Poll(session, headers)
            if request.method == "POST":
                return Post(session, headers)
            return Refused(500, None, "", headers)
        if request.method != "GET":
            return self._refuse(request, BAD_HANDSHAKE_METHOD, headers, {"method": request.method})
        if transport == WEBSOCKET and not upgrade:
            return self._refuse(request, BAD_REQUEST, headers, {"name": "TRANSPORT_HANDSHAKE_ERROR"})
        return Open(SessionId(self.make_session_id()), protocol, headers)

    def _purpose_elsewhere(self, request: Request, transport: str, protocol: int) -> str:
        """Return what another node may be asked for that a request is about; empty if it may not."""
        if self.elsewhere is None or protocol != 4:
            return ""
        if transport == WEBSOCKET:
            return UPGRADING if request.upgrade else ""
        if request.upgrade and WEBSOCKET in self.options.transports:
            return ""
        return {"GET": READ, "POST": WRITE}.get(request.method, "")

    def _look_elsewhere(self, request: Request, absent: Absent) -> Generator[Awaitable[Any], Any, Verdict]:
        """Ask the other nodes for a session that is not here."""
        session: Session | None = None
        if self.elsewhere is not None:
            session = yield self.elsewhere.find(request, absent.purpose)
        headers = absent.headers
        if session is None:
            return self._refuse(request, SESSION_ID_UNKNOWN, headers, {"sid": request.params["sid"]})
        if absent.purpose == UPGRADING:
            return Upgrade(session, headers)
        return Poll(session, headers) if absent.purpose == READ else Post(session, headers)

    def _refuse(
        self,
        request: Request,
        code: int,
        headers: Headers,
        context: dict[str, Any],
        message: str | None = None,
    ) -> Refused:
        if "connection_error" in self._hooks:
            error = {"request": request, "code": code, "message": MESSAGES[code], "context": context}
            self._run_hooks("connection_error", error)
        return Refused(403 if code == FORBIDDEN else 400, code, message or MESSAGES[code], headers)

    def _full(self, request: Request, headers: Headers) -> Refused | None:
        """Refuse a session that would be one too many."""
        name = self._bound_reached(request.address)
        if not name:
            return None
        self.count_limit(name)
        retry = [*headers, ("Retry-After", "10")]
        if name.endswith("_per_address"):
            return Refused(429, None, "Too Many Requests", retry)
        return Refused(503, None, "Service Unavailable", retry)

    def _bound_reached(self, address: str) -> str:
        """Return the name of the bound that one more session would pass; empty if there is none."""
        limits = self.options.limits
        reserved = len(self._reserved)
        if limits.sessions is not None and len(self.clients) + reserved >= limits.sessions:
            return "sessions"
        if (
            limits.unconnected_sessions is not None
            and self.unconnected + reserved >= limits.unconnected_sessions
        ):
            return "unconnected_sessions"
        for counts, bound, name in (
            (self._sessions_of, limits.sessions_per_address, "sessions_per_address"),
            (
                self._strangers_of,
                limits.unconnected_sessions_per_address,
                "unconnected_sessions_per_address",
            ),
        ):
            if counts is not None and bound is not None and counts.count(address) >= bound:
                return name
        rate = limits.handshakes_per_second
        if rate is not None:
            now = self.clock()
            left = self._handshakes_left + (now - self._handshakes_read_at) * rate
            self._handshakes_left = min(left, max(rate, 1.0))
            self._handshakes_read_at = now
            if self._handshakes_left < 1.0:
                return "handshakes_per_second"
            self._handshakes_left -= 1.0
        return ""

    def _count_address(self, address: str) -> None:
        for counts in (self._sessions_of, self._strangers_of):
            if counts is not None:
                counts.add(address)

    def reserve(self, verdict: Open, request: Request) -> None:
        """Keep the place of a session that is opened only once something else has happened.

        Call :meth:`release` then, before :meth:`open`.
        """
        self._reserved[verdict.sid] = request.address
        self._count_address(request.address)

    def release(self, verdict: Open) -> None:
        """The place is not kept any longer."""
        address = self._reserved.pop(verdict.sid, None)
        if address is not None:
            for counts in (self._sessions_of, self._strangers_of):
                if counts is not None:
                    counts.remove(address)

    # Connections

    def admit_connection(self, address: str, bound: int | None) -> Response | None:
        """Count one more TCP connection; return the answer to one that is too many, which is counted all the same.

        :param address: the peer's, of the connection itself.
        :param bound: how many there may be; ``None``: any number.
        """
        self.connections += 1
        per_address, counts = self.options.limits.connections_per_address, self._connections_of
        if counts is not None:
            counts.add(address)
        if bound is not None and self.connections > bound:
            self.count_limit("connections")
            return Response(503, [("Retry-After", "10")], b"")
        if (
            counts is not None
            and per_address is not None
            and counts.count(address) > per_address
            and not (self._proxies and self._proxies.trusts(parse_address(address)))
        ):
            self.count_limit("connections_per_address")
            return Response(429, [("Retry-After", "10")], b"")
        return None

    def forget_connection(self, address: str) -> None:
        """A TCP connection has ended."""
        self.connections -= 1
        if self._connections_of is not None:
            self._connections_of.remove(address)

    def open(self, verdict: Open, request: Request, now: float) -> Session:
        """Open the session that was admitted, its OPEN packet first in its outbox.

        The shell then takes that packet to the client, or hands the session its WebSocket, and calls :meth:`started`.
        """
        options = self.options
        session = Session(self, verdict.sid, request, verdict.protocol, now)
        websocket = request.params["transport"] == WEBSOCKET
        self._add(session, now)
        upgrades = (
            [WEBSOCKET]
            if options.allow_upgrades and not websocket and WEBSOCKET in options.transports
            else []
        )
        handshake = {
            "sid": session.id,
            "upgrades": upgrades,
            "pingInterval": round(options.ping_interval * 1000),
            "pingTimeout": round(options.ping_timeout * 1000),
            "maxPayload": options.max_http_buffer_size,
        }
        packets = [Encoded(OPEN.encode() + orjson.dumps(handshake))]
        first = options.initial_packet
        if isinstance(first, str):
            packets.append(Encoded(MESSAGE.encode() + encode_text(first)))
        elif first is not None:
            packets.append(Encoded(first, True))
        session.send_handshake(packets)
        if not websocket and request.params.get("b64"):
            session.poll_in_base64()
        return session

    def take_over(self, sid: SessionId, request: Request, now: float) -> Session:
        """Go on with a session that another node has had, whose client knows its handshake.

        The caller gives it a carrier and calls :meth:`started`.
        """
        session = Session(self, sid, request, 4, now)
        self._add(session, now)
        return session

    def _add(self, session: Session, now: float) -> None:
        self.clients[session.id] = session
        self.unconnected += 1
        self._count_address(session.remote_address)
        if self._survey is not None and len(self.clients) == 1:
            self._survey.deadline = now + OUTBOX_SURVEY_INTERVAL
            self.deadlines.schedule(self._survey)

    def started(self, session: Session) -> None:
        """The client has been sent the handshake: the session is ready to be used."""
        for name in ("flush", "drain"):
            if name in self._hooks:
                session.on(name, partial(self._run_hooks, name, session))
        self.application.opened(session)
        self._run_hooks("connection", session)
        session.deliver()

    def response_headers(self, request: Request, headers: Headers) -> Headers:
        """Return ``headers`` and what the hooks add to them, for a response that succeeds."""
        hooks = self._hooks
        if "headers" not in hooks and "initial_headers" not in hooks:
            return headers
        changed: dict[Any, Any] = {}  # the hooks are the application's: each header is checked
        if not request.params.get("sid"):
            self._run_hooks("initial_headers", changed, request)
        self._run_hooks("headers", changed, request)
        complete = [*headers]
        for name, value in changed.items():
            try:
                header_line(name, value)
            except (TypeError, ValueError):
                logger.exception("a hook added a header that cannot be sent")
            else:
                complete.append((name, value))
        return complete

    def _run_hooks(self, name: str, *args: Any) -> None:
        for hook in list(self._hooks.get(name, ())):
            try:
                hook(*args)
            except Exception:
                logger.exception("a hook of %r raised an exception", name)

    # Sessions

    def join(self, session: Session) -> None:
        """The session has joined a namespace, and no longer counts as a stranger."""
        if not session.joined:
            session.joined = True
            self.unconnected -= 1
            if self._strangers_of is not None:
                self._strangers_of.remove(session.remote_address)

    def remove(self, session: Session) -> None:
        del self.clients[session.id]
        if self.elsewhere is not None:
            self.elsewhere.forget(session)
        if not session.joined:
            self.unconnected -= 1
            if self._strangers_of is not None:
                self._strangers_of.remove(session.remote_address)
        if self._sessions_of is not None:
            self._sessions_of.remove(session.remote_address)

    def count_limit(self, name: str) -> None:
        hits = self.limit_hits[name] = self.limit_hits.get(name, 0) + 1
        now = self.clock()
        if hits == 1 or abs(now - self._logged_at[name]) >= LOG_INTERVAL:
            self._logged_at[name] = now
            logger.info("the bound %r was hit (%d times so far)", name, hits)

    def close(self) -> None:
        """Close every session at once; what waits in them is dropped."""
        for session in list(self.clients.values()):
            if session.state is not CLOSED:
                session.close(discard=True)


def is_header_value(text: str) -> bool:
    """Whether a header may carry ``text``. RFC 9110 section 5.5."""
    return all([c == "\t" or " " <= c <= "~" or "\x80" <= c <= "\xff" for c in text])
