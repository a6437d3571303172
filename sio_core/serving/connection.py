"""One TCP connection as bytes in and bytes out.

It reads HTTP requests, lets an engine admit them, answers in the order of the requests, and after an upgrade moves
WebSocket messages between its session and the peer. It owns no socket and reads no clock: a shell hands it what was
read and the time, and takes what is to be written.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, Final

from sio_core.engineio.deadlines import NEVER, Timed
from sio_core.engineio.engine import Engine, Open, Pending, Upgrade, Verdict
from sio_core.engineio.packet import Encoded
from sio_core.engineio.session import Carrier, Session
from sio_core.engineio.states import CLOSED, POLLING
from sio_core.serving.exchange import Exchange, is_websocket, upgrade_answer
from sio_core.serving.site import Site
from sio_core.wire.http import BadRequest, HttpReader, Misdirected, encode_response
from sio_core.wire.message import Request, Response
from sio_core.wire.websocket import Rejected, WebSocket, accept

__all__ = ["Connection", "Driver"]

# what is being read of a request
WAITING: Final = 0
HEAD: Final = 1
BODY: Final = 2
FIRST: Final = 3  # nothing yet

BOUND_OF_CODE: Final = {1008: "fragments", 1009: "max_http_buffer_size"}
"""What a peer was over whose WebSocket is closed with a code."""

MOST_AHEAD: Final = 65_536
"""Bytes of answers that are given to the transport, or made ahead, before it has said that it takes more."""

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Driver(ABC):
    """What a connection needs of the shell that moves its bytes."""

    __slots__ = ()

    @abstractmethod
    def output_ready(self) -> None:
        """Call ``data_to_send`` soon, but not inside this call."""

    @abstractmethod
    def flush(self) -> None:
        """Call ``data_to_send`` now, and write."""

    @abstractmethod
    def wait_for(self, pending: Pending) -> None:
        """Await the application, then call ``resume``."""

    @abstractmethod
    def unsent(self) -> int:
        """Bytes handed over that the peer has not taken."""


class ConnectionTimer(Timed):
    """The deadline of a connection."""

    __slots__ = ("connection",)

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection: Connection | None = connection

    def handle_deadline(self, now: float) -> None:
        self.deadline = NEVER
        if self.connection is not None:
            self.connection.handle_deadline(now)


class Connection(Carrier):
    """See the module's docstring.

    :ivar address: the peer's IP address, of the connection itself.
    :ivar closing: the shell closes the connection once everything was written.
    :ivar aborting: the shell closes it at once.
    :ivar paused: the shell should not read for now.
    :ivar departing: once everything was written the shell hands the connection to ``site.siblings``, with what
        :meth:`depart` gives.
    :ivar changed: one of the four has changed since the shell last looked.
    """

    __slots__ = (
        "_base64",
        "_close_code",
        "_close_requested",
        "_departing",
        "_destination",
        "_driver",
        "_due",
        "_exchanges",
        "_now",
        "_output",
        "_output_due",
        "_pending",
        "_phase",
        "_plain",
        "_probing",
        "_reader",
        "_reading",
        "_session",
        "_site",
        "_stall_at",
        "_stood_still",
        "_timer",
        "_unsent",
        "_websocket",
        "aborting",
        "address",
        "blocked",
        "changed",
        "closing",
        "departing",
        "paused",
    )

    def __init__(
        self,
        site: Site,
        driver: Driver,
        now: float,
        *,
        address: str,
        port: int,
        secure: bool,
        keep_next: bool = False,
    ) -> None:
        """:param keep_next: the first request is answered here, also if it is for a sibling."""
        self.address = address
        self._site = site
        self._timer = ConnectionTimer(self)
        self._driver: Driver | None = driver
        siblings = site.siblings
        reader = HttpReader(
            site.limits,
            secure=secure,
            address=address,
            port=port,
            owner=siblings.owner if siblings is not None else None,
        )
        reader.keep_next = keep_next
        self._reader: HttpReader | None = reader
        self._departing: HttpReader | None = None  # what it has read is for a sibling
        self._destination = -1
        self._exchanges: deque[Exchange] | None = deque()
        self._pending: Exchange | None = None
        self._reading: Exchange | None = None  # whose body comes next; it may have its answer already
        self._output: list[bytes] = []
        self._output_due = False
        self._now = now
        self._session: Session | None = None
        self._websocket: WebSocket | None = None
        self._phase = FIRST
        self._plain = True
        self._base64 = False
        self._probing = False
        self._close_requested = False
        self._close_code: int | None = None
        self._due: float = NEVER  # when what is waited for must have come
        self._stall_at: float = NEVER  # when the peer must have taken something
        self._unsent = 0
        self._stood_still = 0.0  # of the server, when the peer was given its time
        self.blocked = False
        self.closing = False
        self.aborting = False
        self.paused = False
        self.departing = False
        self.changed = False
        self._set_deadline(now + site.limits.header_time)

    # The shell's side

    def receive_data(self, data: bytes, now: float) -> None:
        """Take what was read. The shell then calls :meth:`data_to_send`."""
        self._output_due = True
        self._now = now
        websocket = self._websocket
        if websocket is None:
            if self._reader is not None and not self.closing:
                self._reader.receive_data(data)
                self._handle_requests(now)
            elif self._departing is not None:
                self._departing.receive_data(data)
            return
        messages = websocket.receive_data(data)
        session = self._session
        if messages and session is not None:
            if self._probing:
                self._receive_probe(messages, session, now)
            else:
                for message in messages:
                    session.receive_message(message, now)
            if session.events:
                session.deliver()
        if websocket.eventful:
            self._websocket_changed(websocket, now)

    def refuse(self, response: Response) -> None:
        """Answer what nobody reads, and close: this connection is one too many."""
        self._reader = None
        self._output.append(encode_response(response, None, close=True))
        self._close()
        self.wake()

    def receive_eof(self, now: float) -> None:
        """The peer will send nothing more."""
        self.connection_lost(now)
        self._close()

    def connection_lost(self, now: float) -> None:
        """The connection is gone: whatever it carried has lost it."""
        self._now = now
        self._site.deadlines.cancel(self._timer)
        session, websocket = self._session, self._websocket
        if websocket is not None and session is not None:
            self._session = None
            session.websocket_lost(self, None)
            session.deliver()
        self._drop_exchanges()
        self._reader = None
        self._reading = None

    def pause_writing(self, now: float) -> None:
        """The peer takes nothing at the moment."""
        self.blocked = True
        if self._websocket is not None:
            self._websocket.blocked = True
        if self._session is not None and not self._probing:
            self._session.blocked = True
        self._unsent = self._driver.unsent() if self._driver is not None else 0
        self._stall_at = now + self._site.limits.write_stall_time
        self._schedule()

    def resume_writing(self, now: float) -> None:
        """The peer takes bytes again."""
        self.blocked = False
        if self._websocket is not None:
            self._websocket.blocked = False
        if self._session is not None:
            self._session.blocked = False
        if not self.closing:
            self._stall_at = NEVER
        self._await_request(now)
        self.wake()

    def data_to_send(self) -> bytes:
        """Take what is to be written now."""
        self._output_due = False
        websocket, session = self._websocket, self._session
        if websocket is None:
            exchanges = self._exchanges
            if exchanges and not self.blocked:
                self._answer(exchanges)
        else:
            if websocket.eventful and not websocket.close_sent and not self.blocked:
                # Pongs leave before what the session says to messages behind the pings, as ws does.
                self._add_control_frames(websocket)
            if session is not None and not self._probing and not self.blocked:
                packets = session.take_packets()
                if not self._plain:
                    self._output.extend([self._frame(packet) for packet in packets])
                elif len(packets) != 1 or self._output:
                    self._output.extend([packet.frame() for packet in packets])
                elif websocket.eventful or session.events or self._close_requested:
                    self._output.append(packets[0].frame())
                else:
                    return packets[0].frame()
                if session.events:
                    session.deliver()
            if self._close_requested and not websocket.close_sent:
                websocket.close(self._close_code)
                self._now = self._site.now(self._now)  # nothing may have come for long
                self._set_deadline(self._now + self._site.limits.close_time)
            if websocket.eventful and (not self.blocked or websocket.close_sent):
                self._add_control_frames(websocket)
        output = self._output
        if not output:
            return b""
        self._output = []
        return output[0] if len(output) == 1 else b"".join(output)

    def _add_control_frames(self, websocket: WebSocket) -> None:
        control = websocket.data_to_send()
        if control:
            self._output.append(control)

    def wake(self) -> None:
        """Something is to be written: have the shell ask for it, once."""
        if not self._output_due:
            self._output_due = True
            if self._driver is not None:
                self._driver.output_ready()

    def abort(self) -> None:
        """Have the shell drop the connection at once."""
        self.aborting = True
        self.changed = True
        self.wake()

    def depart(self) -> tuple[int, bytes]:
        """Return the sibling that goes on with this connection, and what was read for it."""
        assert self._departing is not None
        return self._destination, self._departing.rest

    def detach(self) -> None:
        """The shell is done with this connection."""
        self._driver = None
        self._timer.connection = None

    def handle_deadline(self, now: float) -> None:
        """Something took too long: end it."""
        if (self.blocked or self.closing) and self._stalls(now):
            self._count_limit("write_stall_time")
            self.abort()
            return
        if self._due <= now:
            lost = self._site.deadlines.stood_still - self._stood_still
            if lost > 0:  # the server kept the peer waiting, not the peer the server
                self._stood_still += lost
                self._due += lost
            else:
                self._due = NEVER
                self._time_out(now)
        self._schedule()

    def _stalls(self, now: float) -> bool:
        """Whether the peer has taken nothing since the last look; a close frame is waited for as long as it does."""
        limits = self._site.limits
        if now < (min(self._stall_at, self._due) if self._close_requested else self._stall_at):
            return False
        unsent = self._driver.unsent() if self._driver is not None else 0
        stalls = unsent >= self._unsent
        self._unsent = unsent
        self._stall_at = now + limits.write_stall_time
        if self._close_requested:
            self._due = now + limits.close_time
        return stalls

    def _time_out(self, now: float) -> None:
        """What was waited for has not come."""
        reader, websocket = self._reader, self._websocket
        if websocket is not None:
            if websocket.fragment_open and not self._close_requested:
                self._count_limit("fragment_time")
                websocket.close(1008)
                self._lost_with("message not completed in time")
                self._set_deadline(now + self._site.limits.close_time)
                self.wake()
            else:
                self._count_limit("close_time")
                self.abort()
            return
        if reader is not None and (reader.started or reader.in_body):
            self._count_limit("body_time" if reader.in_body else "header_time")
            reading = self._reading
            self._drop_exchanges()
            if reading is None or not reading.answered:
                self._output.append(encode_response(Response(408, [], b""), None, close=True))
        elif reader is not None:
            self._count_limit("header_time" if self._phase == FIRST else "keep_alive_time")
        self._close()
        self.wake()

    def close(self) -> None:
        """Finish what is being answered, then close: the listener is going away."""
        pending = self._pending
        if pending is not None:  # nobody waits for the application any more
            self._pending = None
            self._reader = None
            pending.answer(Response(503, [("Retry-After", "10")], b""))
        if self._websocket is None and not self._exchanges:
            self._close()
            self.wake()
        elif self._exchanges:
            self._exchanges[-1].close = True

    # HTTP

    def _handle_requests(self, now: float) -> None:
        reader = self._reader
        while reader is not None and reader.events and self._pending is None and not self.closing:
            event = reader.events[0]
            if isinstance(event, Request) and self._has_enough:
                break
            del reader.events[0]
            if isinstance(event, Request):
                self._begin(event, reader, now)
            elif isinstance(event, bytes):
                self._receive_body(event)
            elif isinstance(event, BadRequest):
                self._bad_request(event)
            elif isinstance(event, Misdirected):
                self._misdirected(event, reader)
            else:
                self._end(now)
            reader = self._reader
            if reader is not None and reader.held and not reader.events and not self._is_full:
                reader.resume()
        if reader is not None and not self.closing:
            full = self._is_full
            if full and not self.paused and self._pending is None:
                self._count_limit("pipelined_requests")
            self._pause(full or bool(reader.events))
            self._watch(reader, now)

    @property
    def _is_full(self) -> bool:
        """Whether no request is taken before one that is being answered has its answer."""
        exchanges = self._exchanges
        bound = self._site.limits.pipelined_requests
        return self._pending is not None or (exchanges is not None and len(exchanges) >= bound)

    @property
    def _has_enough(self) -> bool:
        """Whether so much is to be written that another request is carried out only when it has left."""
        exchanges = self._exchanges
        return bool(exchanges) and sum([exchange.weight for exchange in exchanges or ()]) > MOST_AHEAD

    def _watch(self, reader: HttpReader, now: float) -> None:
        """Bound the time that the head or the body takes, from its first byte on, however it drips in."""
        phase = BODY if reader.in_body else HEAD if reader.started else WAITING
        if phase != self._phase:
            self._phase = phase
            limits = self._site.limits
            if phase != WAITING:
                self._set_deadline(now + (limits.body_time if phase == BODY else limits.header_time))

    def _begin(self, request: Request, reader: HttpReader, now: float) -> None:
        self._due = NEVER
        self._phase = WAITING
        site = self._site
        first = site.respond_first(request)
        engine = site.engine_for(request) if first is None else None
        close = not reader.keep_alive and not is_followed(reader)
        exchange = self._reading = Exchange(self, request, engine, close)
        assert self._exchanges is not None
        self._exchanges.append(exchange)
        if first is not None:
            exchange.answer(first)
        elif engine is None:
            if not request.upgrade or self._decline_upgrade(request, reader, now):
                exchange.answer(site.respond(request))
        else:
            if request.upgrade and not is_websocket(engine, request):
                reader.resume()
            self._carry_out(exchange, engine, engine.admit(request), now)

    def _decline_upgrade(self, request: Request, reader: HttpReader, now: float) -> bool:
        """An upgrade for nobody: a WebSocket is left to time out, anything else is read as a plain request."""
        if request.headers.get("upgrade", "").lower() != "websocket":
            reader.resume()
            return True
        options = self._site.engines[0][1].options if self._site.engines else None
        self._reader = None  # what follows is dropped
        if options is not None and options.destroy_upgrade:
            self._set_deadline(now + options.destroy_upgrade_timeout)
        return False

    def _carry_out(self, exchange: Exchange, engine: Engine, verdict: Verdict, now: float) -> None:
        """Do what the engine said."""
        if isinstance(verdict, Pending):
            self._pending = exchange
            self._pause(True)
            if self._driver is not None:
                self._driver.wait_for(verdict)
        elif not is_websocket(engine, exchange.request):
            exchange.begin(engine, verdict, now)
            reader = self._reader
            if reader is not None and exchange.reads_body and reader.expects_continue:
                self._output.append(CONTINUE)
            self._stop_reading(exchange)
        elif isinstance(verdict, Open):
            self._open_websocket(exchange, engine, verdict, now)
        elif isinstance(verdict, Upgrade):
            self._upgrade(exchange, engine, verdict, now)
        else:
            answer = upgrade_answer(verdict)
            assert answer is not None
            exchange.close = True
            exchange.answer(answer)

    def resume(self, pending: Pending, result: Any, error: Exception | None, now: float) -> None:
        """The application has answered: go on with the request that waited for it."""
        self._now = now
        exchange = self._pending
        if exchange is None or self._reader is None or exchange.engine is None:
            return
        self._pending = None
        self._carry_out(exchange, exchange.engine, pending.resume(result, error), now)
        self._handle_requests(now)
        self.wake()

    def _receive_body(self, chunk: bytes) -> None:
        exchange = self._reading
        if exchange is not None:
            exchange.receive_body(chunk)
            self._stop_reading(exchange)

    def _stop_reading(self, exchange: Exchange) -> None:
        if not exchange.read_on:
            self._reader = None
            if self._exchanges is not None and exchange not in self._exchanges:  # its answer has left
                self._close()
                self.wake()

    def _end(self, now: float) -> None:
        """A request is complete."""
        self._phase = WAITING
        exchange, self._reading = self._reading, None
        if self._exchanges:
            self._due = NEVER
        else:
            self._await_request(now)
        if exchange is not None:
            exchange.end(now)

    def _bad_request(self, event: BadRequest) -> None:
        assert self._exchanges is not None
        if event.limit:
            self._count_limit(event.limit)
        if self._exchanges and not self._exchanges[-1].complete and not self._exchanges[-1].answered:
            self._exchanges.pop().lost()
        exchange = Exchange(self, Request(method="GET", target="/"), None, True)
        self._exchanges.append(exchange)
        exchange.answer(Response(event.status, [], b""))
        self._reader = None

    def _misdirected(self, event: Misdirected, reader: HttpReader) -> None:
        """The next request is for a sibling: it gets the connection when the requests before are answered."""
        self._departing, self._reader = reader, None
        self._destination = event.owner
        self._due = NEVER
        self._pause(True)
        self._depart_when_idle()

    def _depart_when_idle(self) -> None:
        if self._departing is not None and not self._exchanges and not self.closing:
            self.departing = True
            self.changed = True

    def exchange_ready(self, exchange: Exchange) -> None:
        self.wake()

    def exchange_cut(self, exchange: Exchange) -> None:
        self.abort()

    def _answer(self, exchanges: deque[Exchange]) -> None:
        """Move the answers that are ready to the output, in the order of their requests."""
        if len(exchanges) > 1:
            for exchange in list(exchanges):
                exchange.take_response()
        size = 0
        while exchanges:
            exchange = exchanges[0]
            response = exchange.take_response()
            if response is None:
                return
            if size > MOST_AHEAD:
                self.wake()  # the rest follows when the transport has taken this, or has said that it is full
                return
            exchanges.popleft()
            size += len(response.body)
            self._now = self._site.now(self._now)  # the request may have waited for long
            self._output.append(
                encode_response(
                    response, exchange.request, close=exchange.close, date=self._site.date(self._now)
                )
            )
            if exchange.close:
                self._drop_exchanges()
                self._close()
                return
        self._await_request(self._now)
        self._depart_when_idle()
        reader = self._reader
        if self.paused and self._pending is None and reader is not None:
            if reader.held and not reader.events:
                reader.resume()
            self._handle_requests(self._now)

    def _drop_exchanges(self) -> None:
        """Nothing that was asked and has no answer yet gets one."""
        exchanges = self._exchanges
        if exchanges:
            for exchange in list(exchanges):
                exchange.lost()
            exchanges.clear()

    # WebSocket

    def _accept(self, exchange: Exchange, engine: Engine, headers: list[tuple[str, str]]) -> bool:
        """Answer the opening handshake; ``False`` if it was not a proper one."""
        if self._exchanges is not None and len(self._exchanges) > 1:  # their answers would come behind it
            exchange.close = True
            exchange.answer(Response(400, [], b""))
            return False
        options = engine.options
        headers = engine.response_headers(exchange.request, headers)
        outcome = accept(exchange.request, deflate=options.per_message_deflate, headers=headers)
        if isinstance(outcome, Rejected):
            exchange.close = True
            response_headers = [("Content-Type", "text/html"), *outcome.headers]
            exchange.answer(Response(outcome.status, response_headers, outcome.reason.encode()))
            return False
        assert self._exchanges is not None
        self._output.append(outcome.response)
        self._websocket = WebSocket(options.max_http_buffer_size, options.limits, outcome.extensions)
        self._websocket.blocked = self.blocked
        self._plain = not self._websocket.extended
        self._exchanges = None
        self._reading = None
        self._due = NEVER
        self._pause(False)  # it may have waited for the application
        return True

    def _read_on(self, now: float) -> None:
        """What came behind the opening handshake is for the WebSocket."""
        reader, self._reader = self._reader, None
        if reader is not None and reader.rest:
            self.receive_data(reader.rest, now)

    def _open_websocket(self, exchange: Exchange, engine: Engine, verdict: Open, now: float) -> None:
        if not self._accept(exchange, engine, verdict.headers):
            return
        request = exchange.request
        if request.params["transport"] == POLLING:
            self._close_requested = True
            self.wake()
            return
        session = engine.open(verdict, request, now)
        self._session = session
        session.carry_by_websocket(self, bool(request.params.get("b64")))
        self._plain = session.plain_frames and self._plain
        self._output.extend([self._frame(packet) for packet in session.take_packets()])
        engine.started(session)
        self._read_on(now)
        self.wake()

    def _upgrade(self, exchange: Exchange, engine: Engine, verdict: Upgrade, now: float) -> None:
        if not self._accept(exchange, engine, verdict.headers):
            return
        session = verdict.session
        if session.websocket_opened(self, now):
            self._session = session
            self._probing = True
            self._base64 = bool(exchange.request.params.get("b64"))
            self._read_on(now)
        else:
            self._close_requested = True
        self.wake()

    def _receive_probe(self, messages: list[str | bytes], session: Session, now: float) -> None:
        for message in messages:
            if self._close_requested:
                return  # the session has done with this WebSocket, and may be trying another
            if not self._probing:
                session.receive_message(message, now)
            elif session.receive_probe(message, self._base64, now):
                self._probing = False
                self._plain = session.plain_frames and self._plain
                session.blocked = self.blocked

    def output_ready(self) -> None:
        if not self._output_due:
            self._output_due = True
            if self._driver is not None:
                self._driver.output_ready()

    def flush(self) -> None:
        if self._driver is not None and not self.blocked:
            self._driver.flush()

    def send_probe(self, packet: Encoded) -> None:
        if self.blocked:
            return  # who asks again and again without reading gets no answer
        self._output.append(self._frame(packet))
        self.wake()

    def pause(self, paused: bool) -> None:
        self._pause(paused)

    def release(self, code: int | None) -> None:
        self._close_requested = True
        self._close_code = code
        self.wake()

    def _frame(self, packet: Encoded) -> bytes:
        websocket, session = self._websocket, self._session
        assert websocket is not None
        if self._plain:
            return packet.frame()
        message, binary = packet.data, packet.binary
        if session is not None and not self._probing:
            message, binary = session.websocket_form(packet)
        return websocket.encode(message, binary)

    def _websocket_changed(self, websocket: WebSocket, now: float) -> None:
        """Control frames, an open fragment, a close frame or a failure have come."""
        closed = websocket.closed
        if websocket.crowded:
            websocket.crowded = False
            self._count_limit("pending_pongs")
        if closed is not None:
            if closed.error and closed.code in BOUND_OF_CODE:
                self._count_limit(BOUND_OF_CODE[closed.code])
            self._lost_with(closed.error or None)
            self._close()
        elif websocket.fragment_open:
            if self._due == NEVER or (websocket.completed and not self._close_requested):
                websocket.completed = False
                self._set_deadline(now + self._site.limits.fragment_time)
        elif not self._close_requested:
            self._due = NEVER
        self.wake()

    def _lost_with(self, error: str | None) -> None:
        session = self._session
        if session is not None:
            self._session = None
            session.websocket_lost(self, error)
            session.deliver()

    # Both

    def _await_request(self, now: float) -> None:
        """Bound the time until the next request, if nothing else is going on."""
        idle = self._phase == WAITING and not self._exchanges and not self.blocked
        if idle and self._reader is not None and not self.closing and self._websocket is None:
            self._set_deadline(now + self._site.limits.keep_alive_time)

    def _set_deadline(self, at: float) -> None:
        self._due = at
        self._stood_still = self._site.deadlines.stood_still
        self._schedule()

    def _schedule(self) -> None:
        if self._driver is not None:  # what its session still says to a connection that is gone needs no time
            self._timer.deadline = min(self._due, self._stall_at)
            self._site.deadlines.schedule(self._timer)

    def _pause(self, paused: bool) -> None:
        if paused != self.paused:
            self.paused = paused
            self.changed = True
            self.wake()

    def _close(self) -> None:
        self.closing = True
        self.changed = True
        self._due = NEVER
        if self._stall_at == NEVER:  # what is still to be written must be taken too
            self._unsent = sys.maxsize
            self._stall_at = self._site.now(self._now) + self._site.limits.write_stall_time
        self._schedule()

    def _count_limit(self, name: str) -> None:
        self._site.count_limit(name)

    @property
    def carries_session(self) -> bool:
        """Whether a session's WebSocket is open here."""
        session = self._session
        return session is not None and session.state is not CLOSED


def is_followed(reader: HttpReader) -> bool:
    """Whether what was read at once holds a request behind the one that is being looked at.

    What the reader says of the connection then is said of that one.
    """
    return any([isinstance(event, (Request, BadRequest)) for event in reader.events])
