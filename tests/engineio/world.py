"""An engine without a network: time is a number, carriers write down what they are told."""

from __future__ import annotations

from typing import Any

from sio_core.engineio.deadlines import Deadlines
from sio_core.engineio.engine import Engine, Open, Pending, Verdict
from sio_core.engineio.options import EngineOptions
from sio_core.engineio.packet import Encoded
from sio_core.engineio.session import Application, Carrier, Closed, Observed, Session
from sio_core.engineio.states import CLOSED
from sio_core.wire.message import Request


class Link(Carrier):
    """One GET, POST or WebSocket."""

    def __init__(self) -> None:
        self.ready = 0
        self.probes: list[bytes] = []
        self.pauses: list[bool] = []
        self.released: list[int | None] = []

    def output_ready(self) -> None:
        self.ready += 1

    def send_probe(self, packet: Encoded) -> None:
        self.probes.append(packet.data)

    def pause(self, paused: bool) -> None:
        self.pauses.append(paused)

    def release(self, code: int | None) -> None:
        self.released.append(code)


class Upper(Application):
    """The layer above: writes down the events of each session."""

    def __init__(self) -> None:
        self.opened_sessions: list[Session] = []
        self.events: dict[str, list[Any]] = {}
        self.deferred: list[Session] = []
        self.on_message: Any = None

    def opened(self, session: Session) -> None:
        self.opened_sessions.append(session)

    def process(self, session: Session) -> None:
        for event in session.take_events():
            self.events.setdefault(session.id, []).append(event)
            if self.on_message is not None and isinstance(event, str | bytes):
                self.on_message(session, event)
            for listener, args in session.notifications(event):
                listener(*args)

    def defer(self, session: Session) -> None:
        self.deferred.append(session)


class World:
    """An engine, its clock and what it reports."""

    def __init__(self, **options: Any) -> None:
        self.now = 1_000.0
        self.options = EngineOptions(**options)
        self.deadlines = Deadlines()
        self.upper = Upper()
        self.engine = Engine(self.options, self.upper, self.deadlines, self.read_clock)
        self.errors: list[dict[str, Any]] = []
        self.engine.on("connection_error", self.errors.append)

    def read_clock(self) -> float:
        return self.now

    def admit(self, request: Request) -> Verdict:
        return self.engine.admit(request)

    def open(self, transport: str = "polling", protocol: int = 4, **params: Any) -> Session:
        """Open a session and take its handshake."""
        request = make_request(transport, protocol=protocol, upgrade=transport == "websocket", **params)
        verdict = self.engine.admit(request)
        assert isinstance(verdict, Open)
        session = self.engine.open(verdict, request, self.now)
        if transport == "polling":
            link = Link()
            assert session.receive_poll(link)
            session.take_payload()
        else:
            session.carry_by_websocket(Link(), bool(params.get("b64")))
            session.take_packets()
        self.engine.started(session)
        return session

    def open_websocket(self, **params: Any) -> tuple[Session, Link]:
        session = self.open("websocket", **params)
        link = session._carrier
        assert isinstance(link, Link)
        link.ready = 0
        return session, link

    def poll(self, session: Session) -> Link:
        link = Link()
        assert session.receive_poll(link)
        return link

    def get(self, session: Session) -> bytes:
        """A GET that is answered at once."""
        link = self.poll(session)
        assert link.ready == 1
        return session.take_payload().body

    def post(
        self, session: Session, body: str | bytes, content_type: str = "text/plain", **params: Any
    ) -> bool:
        link = Link()
        assert session.receive_post(link)
        data = body.encode() if isinstance(body, str) else body
        request = make_request(
            method="POST", headers={"content-type": content_type}, sid=session.id, body=data, **params
        )
        acceptable = session.receive_payload(request, self.now)
        session.deliver()
        return acceptable

    def probe(self, session: Session) -> Link:
        """Open a WebSocket for a session, and probe."""
        link = Link()
        assert session.websocket_opened(link, self.now)
        assert not session.receive_probe("2probe", False, self.now)
        assert link.probes == [b"3probe"]
        return link

    def upgrade(self, session: Session) -> Link:
        link = self.probe(session)
        assert session.receive_probe("5", False, self.now)
        session.deliver()
        return link

    def advance(self, seconds: float) -> None:
        """Let time pass, from deadline to deadline."""
        end = self.now + seconds
        while self.deadlines.next <= end:
            self.now = max(self.now, self.deadlines.next)
            self.deadlines.run(self.now)
        self.now = end

    def flush(self) -> None:
        """Do what was deferred."""
        deferred, self.upper.deferred = self.upper.deferred, []
        for session in deferred:
            self.upper.process(session)

    def messages(self, session: Session) -> list[str | bytes]:
        return [event for event in self.reported(session) if isinstance(event, str | bytes)]

    def observed(self, session: Session) -> list[tuple[str, object]]:
        return [(event.name, event.value) for event in self.reported(session) if isinstance(event, Observed)]

    def closing(self, session: Session) -> tuple[str, dict[str, Any] | None] | None:
        """The reason and the details of the one Closed event, which is the last; ``None`` while there is none."""
        self.flush()
        events = self.reported(session)
        closed = [event for event in events if isinstance(event, Closed)]
        if not closed:
            assert session.state is not CLOSED
            return None
        assert len(closed) == 1
        assert events[-1] is closed[0]
        assert session.state is CLOSED
        assert session.id not in self.engine.clients
        return closed[0].reason, closed[0].details

    def reported(self, session: Session) -> list[Any]:
        return self.upper.events.get(session.id, [])


def make_request(
    transport: str | None = "polling",
    *,
    method: str = "GET",
    protocol: int | None = 4,
    headers: dict[str, str] | None = None,
    upgrade: bool = False,
    body: bytes = b"",
    address: str = "192.0.2.1",
    **params: str,
) -> Request:
    query = [] if protocol is None else [f"EIO={protocol}"]
    query += [] if transport is None else [f"transport={transport}"]
    query += [f"{name}={value}" for name, value in params.items()]
    return Request(
        method=method,
        target="/engine.io/?" + "&".join(query),
        headers={"host": "example.org"} if headers is None else headers,
        upgrade=upgrade,
        body=body,
        address=address,
    )


async def value_of(value: Any) -> Any:
    """What an async hook of an application returns."""
    if isinstance(value, Exception):
        raise value
    return value


def settle(verdict: Verdict) -> Verdict:
    """Await what a pending verdict waits for, without an event loop, until there is a decision."""
    while isinstance(verdict, Pending):
        coroutine: Any = verdict.awaitable
        try:
            coroutine.send(None)
        except StopIteration as stop:
            verdict = verdict.resume(stop.value)
        except Exception as error:
            verdict = verdict.resume(None, error)
        else:
            raise AssertionError("the hook really waited")
    return verdict
