"""One client's Engine.IO session: heartbeat, polling slots, upgrade, outgoing packets.

It takes what arrives (``receive_*``), what the server sends (``send``, ``send_packet``, ``close``) and the time, and
it gives events (``take_events``) and packets (``take_payload``, ``take_packets``). It survives its connections: each
is a :class:`Carrier` for a while, one waiting GET, one POST, one WebSocket.

Whoever calls a verb that can make events (``receive_*``, ``*_lost``, ``handle_deadline``, ``take_*``) then calls
``deliver``, which has the application process the session. ``send_packet`` and ``close``, which applications call from
anywhere, ask for that themselves.

Engine.IO protocol v4, "Transports", "Heartbeat", "Upgrade", "Message ordering".
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar, overload

from sio_core.engineio import v3
from sio_core.engineio.deadlines import NEVER, Deadlines, Timed
from sio_core.engineio.options import EngineOptions
from sio_core.engineio.packet import (
    CLOSE,
    MESSAGE,
    PING,
    PONG,
    TYPES,
    UPGRADE,
    Encoded,
    decode_packet,
    encode_text,
)
from sio_core.engineio.payload import decode_payload, encode_payload
from sio_core.engineio.states import (
    CLOSE_REQUESTED,
    CLOSED,
    CLOSING,
    LOST,
    OPEN,
    POLLING,
    PROBE_RECEIVED,
    SESSION,
    TRANSPORT,
    UPGRADE_RECEIVED,
    WEBSOCKET,
    WEBSOCKET_LOST,
    WEBSOCKET_OPENED,
)
from sio_core.errors import InvalidPacket, PayloadTooLarge, RemoteProtocolError
from sio_core.ids import SessionId
from sio_core.wire.message import Request

__all__ = ["Application", "Carrier", "Closed", "Observed", "Payload", "Session", "SessionOwner"]

CLOSING_TIME: Final = 30.0
"""Seconds a closing session waits for the GET that fetches the close packet, as the official server does."""

BURST: Final = 16
"""How many times the packets that may wait a burst may have. Their bytes bound it as well."""

NOOP_INTERVAL: Final = 0.1
"""Seconds between the noops that release the GETs of a session that is being upgraded."""

REPLAY_STEP: Final = 262_144
"""Bytes of a replay that are handed over at a time."""

PING_PACKET: Final = Encoded(b"2")
PONG_PACKET: Final = Encoded(b"3")
PROBE_ANSWER: Final = Encoded(b"3probe")
LAST_PACKETS: Final = (Encoded(b"6", compress=False), Encoded(b"1", compress=False))
"""What a GET that comes after the server closed the session is answered with."""

Listener = Callable[..., object]
AnyListener = TypeVar("AnyListener", bound=Callable[..., object])

SESSION_EVENTS: Final = frozenset(
    (
        "message",
        "close",
        "upgrading",
        "upgrade",
        "heartbeat",
        "packet",
        "packet_create",
        "flush",
        "drain",
    )
)


class Carrier(ABC):
    """What moves a session's packets at the moment. Implemented by those who own connections."""

    __slots__ = ()

    @abstractmethod
    def output_ready(self) -> None:
        """The session has something to take. Called once until it was taken."""

    def flush(self) -> None:  # noqa: B027 - not every carrier can
        """The outbox is full: take it now, without waiting for the end of what goes on, if the peer takes anything."""

    @abstractmethod
    def send_probe(self, packet: Encoded) -> None:
        """Send a packet on a WebSocket that does not carry the session yet."""

    @abstractmethod
    def pause(self, paused: bool) -> None:
        """Stop reading from the peer for now, or go on."""

    @abstractmethod
    def release(self, code: int | None) -> None:
        """The session is done with this carrier: close a WebSocket (with ``code``, or without one), cut a POST.

        A POST that was read is not cut but answered.
        """


class Closed:
    """The session is over. The last of its events.

    :ivar reason: ``transport close``, ``transport error``, ``ping timeout``, ``parse error`` or ``forced close``.
    :ivar details: what is known beyond the reason: ``message``, or ``limit`` and ``value``.
    """

    __slots__ = ("details", "reason")

    def __init__(self, reason: str, details: dict[str, Any] | None) -> None:
        self.reason = reason
        self.details = details


class Observed:
    """Something that a listener of the session asked to hear of."""

    __slots__ = ("name", "value")

    def __init__(self, name: str, value: object) -> None:
        self.name = name
        self.value = value


class Payload:
    """The body of a polling response."""

    __slots__ = ("body", "compress", "content_type")

    def __init__(self, body: bytes, content_type: str, compress: bool) -> None:
        self.body = body
        self.content_type = content_type
        self.compress = compress


class Probe:
    """A WebSocket on which an upgrade is being tried."""

    __slots__ = ("carrier", "noop_at", "upgrade_at")

    def __init__(self, carrier: Carrier, upgrade_at: float) -> None:
        self.carrier = carrier
        self.upgrade_at = upgrade_at
        self.noop_at: float = NEVER


class Application:
    """What a session reports to. The base class ignores everything."""

    __slots__ = ()

    def opened(self, session: Session) -> None:
        """A session has been opened."""

    def process(self, session: Session) -> None:
        """Deliver ``session.take_events()``."""

    def defer(self, session: Session) -> None:
        """Call :meth:`process` soon, but not inside this call."""


class SessionOwner(ABC):
    """What a session needs of the table it belongs to.

    :ivar application: what its sessions report to.
    :ivar messages_received: messages and their bytes that clients have sent; ``bytes_received`` likewise.
    :ivar packets_sent: packets and their bytes that sessions have handed to their carriers; ``bytes_sent`` likewise.
    """

    __slots__ = (
        "application",
        "bytes_received",
        "bytes_sent",
        "clock",
        "deadlines",
        "messages_received",
        "options",
        "outbox_bytes",
        "outbox_packets",
        "packets_sent",
    )

    def __init__(
        self,
        options: EngineOptions,
        application: Application,
        deadlines: Deadlines,
        clock: Callable[[], float],
    ) -> None:
        self.options = options
        self.application = application
        self.outbox_bytes: int = options.limits.outbox_bytes
        self.outbox_packets: int = options.limits.outbox_packets
        self.deadlines = deadlines
        self.clock = clock
        self.messages_received = 0
        self.bytes_received = 0
        self.packets_sent = 0
        self.bytes_sent = 0

    @abstractmethod
    def remove(self, session: Session) -> None:
        """The session is over: forget it."""

    @abstractmethod
    def count_limit(self, name: str) -> None:
        """A bound was hit: count it."""


class Session(Timed):
    """One Engine.IO session. See the module's docstring for its verbs.

    :ivar id: the session id, secret.
    :ivar protocol: the Engine.IO revision, 4 or 3.
    :ivar state: ``open``, ``closing`` or ``closed``.
    :ivar request: the first request of the session; ``None`` once the application has dropped it.
    :ivar remote_address: the peer's IP address.
    :ivar upgraded: whether it has moved from polling to WebSocket.
    :ivar joined: whether it has joined a namespace, and no longer counts as a stranger.
    :ivar blocked: whether the peer is too slow to take more now; set by the carrier.
    :ivar events: what has happened and was not taken yet.
    :ivar paused: whether the layer above has enough for now.
    :ivar confirmed_at: the moment of the last ping that was answered: what was sent before it has arrived.
    :ivar context: what the layer above keeps for this session; ``None`` once it has been told of the end.
    :ivar outbox_bytes: how many bytes wait.
    """

    __slots__ = (
        "_base64",
        "_burst_until",
        "_carrier",
        "_closing_at",
        "_final",
        "_heartbeat_at",
        "_outbox",
        "_owner",
        "_ping_extended",
        "_ping_outstanding",
        "_ping_sent_at",
        "_poll",
        "_post",
        "_probe",
        "_replay",
        "_replay_bytes",
        "_signalled",
        "_stage",
        "_stood_still",
        "_waiters",
        "blocked",
        "confirmed_at",
        "context",
        "events",
        "id",
        "joined",
        "listeners",
        "outbox_bytes",
        "paused",
        "processing",
        "protocol",
        "remote_address",
        "request",
        "state",
        "upgraded",
    )

    def __init__(
        self, owner: SessionOwner, sid: SessionId, request: Request, protocol: int, now: float
    ) -> None:
        super().__init__()
        self._owner = owner
        self.id = sid
        self.request: Request | None = request
        self.remote_address = request.address
        self.protocol = protocol
        self.state: str = OPEN
        self.upgraded = False
        self.joined = False
        self.blocked = False
        self.paused = False
        self.context: Any = None
        self.events: list[str | bytes | Closed | Observed] = []
        self.listeners: dict[str, list[Listener]] | None = None
        self.processing = False
        self.outbox_bytes = 0
        self._outbox: list[Encoded] = []
        self._replay: deque[Encoded] | None = None  # leaves before the outbox, which is not empty then
        self._replay_bytes = 0
        self._stage: str = POLLING
        self._base64 = False
        self._carrier: Carrier | None = None
        self._poll: Carrier | None = None
        self._post: Carrier | None = None
        self._probe: Probe | None = None
        self._final: bytes | None = None  # answers the waiting GET alone, past what waits
        self._signalled = False
        self._waiters: list[Callable[[], object]] | None = None
        self.confirmed_at = 0.0
        self._ping_outstanding = False
        self._ping_extended = False
        self._ping_sent_at = 0.0
        options = owner.options
        self._stood_still = owner.deadlines.stood_still  # as it was when the peer was given its time
        self._heartbeat_at = now + options.ping_interval
        if protocol == 3:
            self._heartbeat_at += options.ping_timeout
        self._closing_at: float = NEVER
        self._burst_until: float = NEVER
        self.deadline = self._heartbeat_at
        owner.deadlines.schedule(self)

    # What applications see

    @property
    def transport(self) -> str:
        """``polling`` or ``websocket``: what carries the session now."""
        return WEBSOCKET if self._stage == WEBSOCKET else POLLING

    @property
    def writable(self) -> bool:
        """Whether a packet sent now would leave at once."""
        if self._outbox or self.state is not OPEN:
            return False
        if self._stage == WEBSOCKET:
            return not self.blocked
        return self._poll is not None and self._final is None

    @overload
    def on(self, name: str, listener: AnyListener) -> AnyListener: ...
    @overload
    def on(self, name: str, listener: None = None) -> Callable[[AnyListener], AnyListener]: ...
    def on(self, name: str, listener: Listener | None = None) -> Any:
        """Register a listener, as a call or as a decorator.

        Names: ``message`` (data), ``close`` (reason, details), ``upgrading``, ``upgrade`` (transport), ``heartbeat``,
        ``packet`` (what came, as text or bytes), ``packet_create`` (the same of what leaves), ``flush`` (all packets
        that leave together), ``drain`` (they have left).

        :raises ValueError: for another name.
        """
        if name not in SESSION_EVENTS:
            raise ValueError(f"a session has no event {name!r}")
        if listener is None:
            return lambda listener: self.on(name, listener)
        if self.listeners is None:
            self.listeners = {}
        self.listeners.setdefault(name, []).append(listener)
        return listener

    def send(self, data: str | bytes | bytearray | memoryview, compress: bool = True) -> None:
        """Send one message.

        :raises TypeError: if it is neither text nor bytes.
        """
        if isinstance(data, str):
            self.send_packet(Encoded(b"4" + encode_text(data), False, compress))
        elif isinstance(data, bytes | bytearray | memoryview):
            self.send_packet(Encoded(bytes(data), True, compress))
        else:
            raise TypeError(f"a message is str or bytes, not {type(data).__name__}")

    def close(self, discard: bool = False) -> None:
        """Close the session, after what was sent has left.

        :param discard: do not wait for that.
        """
        if discard:
            self._finish("forced close", None)
        elif self.state is OPEN:
            self.state = SESSION[self.state][CLOSE_REQUESTED]
            if not self._outbox and (self._stage == WEBSOCKET or self._poll is not None):
                self._finish("forced close", None)
            else:
                self._closing_at = self._owner.clock() + CLOSING_TIME
                self._reschedule()
        if self.events:
            self._owner.application.defer(self)

    # Outgoing

    def send_handshake(self, packets: list[Encoded]) -> None:
        """Put the packets of the handshake, before all others, where they wait. No bound is applied to them."""
        self._outbox = packets
        self.outbox_bytes = sum([len(packet.data) for packet in packets])

    def send_packet(self, packet: Encoded, volatile: bool = False) -> None:
        """Send one encoded packet; a volatile one only if it can leave at once.

        Past the bound of what may wait, the session is closed with ``transport close``: a hole in an ordered stream
        would be worse than a reconnection.
        """
        if self.state is not OPEN or (volatile and not self.writable):
            return
        outbox = self._outbox
        owner = self._owner
        if self.outbox_bytes >= owner.outbox_bytes or len(outbox) >= owner.outbox_packets:
            if self._overflows():
                return
            outbox = self._outbox
        outbox.append(packet)
        self.outbox_bytes += len(packet.data)
        if not self._signalled:  # as in _signal: once for each receiver of a broadcast
            carrier = self._carrier if self._carrier is not None else self._poll
            if carrier is not None:
                self._signalled = True
                carrier.output_ready()

    def send_packets(self, packets: list[Encoded], volatile: bool = False) -> None:
        """Send a packet and its attachments: all of them, with nothing in between, or none."""
        if self.state is not OPEN or (volatile and not self.writable):
            return
        outbox = self._outbox
        owner = self._owner
        if self.outbox_bytes >= owner.outbox_bytes or len(outbox) >= owner.outbox_packets:
            if self._overflows():
                return
            outbox = self._outbox
        outbox.extend(packets)
        self.outbox_bytes += sum([len(packet.data) for packet in packets])
        if not self._signalled:
            self._signal()

    def replay(self, packets: list[Encoded]) -> None:
        """Send again what a client has missed, behind what waits. No bound applies: it leaves at the peer's pace."""
        if self.state is not OPEN or not packets:
            return
        if self._replay is None:
            self._replay = deque()
        self._replay.extend(self._outbox)
        self._replay.extend(packets)
        last = self._replay.pop()
        self._replay_bytes += self.outbox_bytes + sum([len(packet.data) for packet in packets])
        self._replay_bytes -= len(last.data)
        self._outbox = [last]
        self.outbox_bytes = len(last.data)
        if not self._signalled:
            self._signal()

    def _take_replay(self, replay: deque[Encoded]) -> list[Encoded]:
        """Take a part of what is sent again; nothing once the rest of it has joined the outbox."""
        packets: list[Encoded] = []
        if self._replay_bytes + self.outbox_bytes <= REPLAY_STEP:
            self._replay = None
            self._outbox[:0] = replay
            self.outbox_bytes += self._replay_bytes
            self._replay_bytes = 0
            return packets
        size = 0
        while replay and size < REPLAY_STEP:
            packet = replay.popleft()
            size += len(packet.data)
            packets.append(packet)
        self._replay_bytes -= size
        self._burst_until = NEVER
        if not replay:
            self._replay = None
        self._signalled = False
        self._signal()
        return packets

    def take_packets(self) -> list[Encoded]:
        """Take everything that waits, for the WebSocket that carries the session; a long replay in parts."""
        if self._replay is not None:
            part = self._take_replay(self._replay)
            if part:
                return part
        self._signalled = False
        packets = self._outbox
        if not packets:
            return []
        owner = self._owner
        owner.packets_sent += len(packets)
        owner.bytes_sent += self.outbox_bytes
        self._burst_until = NEVER
        self._outbox = []
        self.outbox_bytes = 0
        if self._waiters is not None:
            self._taken()
        if self.listeners is not None:
            self._observe_leaving(packets)
        if self.state is CLOSING:
            self._finish("forced close", None)
        return packets

    def notify_when_taken(self, function: Callable[[], object]) -> None:
        """Call a function once, when what waits has been taken or the session is over; at once if nothing waits."""
        if not self._outbox:
            function()
        elif self._waiters is None:
            self._waiters = [function]
        else:
            self._waiters.append(function)

    def _taken(self) -> None:
        waiters, self._waiters = self._waiters, None
        for function in waiters or ():
            function()

    def pause(self, paused: bool) -> None:
        """The layer above has enough for now, or can go on."""
        self.paused = paused
        if self._carrier is not None:
            self._carrier.pause(paused)
        if self._post is not None:
            self._post.pause(paused)

    def websocket_form(self, packet: Encoded) -> tuple[bytes, bool]:
        """Return what one packet is on this session's WebSocket: the message, and whether it is binary."""
        if not packet.binary:
            return packet.data, False
        if self.protocol == 3:
            return (b"b4" + packet.text()[1:], False) if self._base64 else (b"\x04" + packet.data, True)
        return (packet.text(), False) if self._base64 else (packet.data, True)

    @property
    def plain_frames(self) -> bool:
        """Whether :meth:`Encoded.frame` is what this session's WebSocket sends."""
        return self.protocol == 4 and not self._base64

    def take_payload(self) -> Payload:
        """Take everything that waits, as the answer to the waiting GET."""
        self._poll = None
        if self._stage != WEBSOCKET:
            self._signalled = False
        final = self._final
        if final is not None:
            self._final = None
            return self._payload([Encoded(final, compress=False)])
        if self._replay is not None:
            part = self._take_replay(self._replay)
            if part:
                return self._payload(part)
        packets = self._outbox
        if not packets and self.state is CLOSING:
            self._finish("forced close", None)
            return self._payload(LAST_PACKETS)
        owner = self._owner
        owner.packets_sent += len(packets)
        owner.bytes_sent += self.outbox_bytes
        self._burst_until = NEVER
        self._outbox = []
        self.outbox_bytes = 0
        if self._waiters is not None:
            self._taken()
        if self.listeners is not None:
            self._observe_leaving(packets)
        if self.state is CLOSING:
            self._closing_at = self._owner.clock() + CLOSING_TIME
            self._reschedule()
        return self._payload(packets)

    def _payload(self, packets: Sequence[Encoded]) -> Payload:
        compress = any([packet.compress for packet in packets])
        if self.protocol == 4:
            return Payload(encode_payload(packets), "text/plain; charset=UTF-8", compress)
        forms: list[str | bytes] = [
            packet.data if packet.binary else packet.data.decode() for packet in packets
        ]
        if not self._base64 and any([packet.binary for packet in packets]):
            return Payload(v3.encode_binary_payload(forms), "application/octet-stream", compress)
        return Payload(v3.encode_text_payload(forms), "text/plain; charset=UTF-8", compress)

    def _signal(self) -> None:
        carrier = self._carrier if self._carrier is not None else self._poll
        if carrier is not None:
            self._signalled = True
            carrier.output_ready()

    def _overflows(self) -> bool:
        """The outbox is full: whether that is the peer's slowness, which ends the session, and not just a burst."""
        carrier = self._carrier if self._stage == WEBSOCKET else self._poll
        owner = self._owner
        if carrier is not None and not self.blocked:
            processing, self.processing = (
                self.processing,
                True,
            )  # a broadcast may be going on: listeners are told later
            carrier.flush()
            self.processing = processing
            if self.events:
                owner.application.defer(self)
        if self.outbox_bytes >= owner.outbox_bytes:
            self.cut("outbox_bytes", self.outbox_bytes)
        elif len(self._outbox) >= BURST * owner.outbox_packets:
            self.cut("outbox_packets", len(self._outbox))
        elif len(self._outbox) >= owner.outbox_packets and self._burst_until == NEVER:
            self._burst_until = owner.clock() + owner.options.limits.outbox_burst_time
            self._reschedule()
        return self.state is not OPEN

    def _end_burst(self) -> None:
        """A burst has had its time: what it left must be within the bound."""
        self._burst_until = NEVER
        if len(self._outbox) >= self._owner.outbox_packets:
            self.cut("outbox_packets", len(self._outbox))

    def cut(self, limit: str, value: int) -> None:
        """End the session, since too much waits for its peer."""
        if self.state is not CLOSED:
            self._owner.count_limit(limit)
            self._finish("transport close", {"limit": limit, "value": value}, code=1013)
            self._owner.application.defer(self)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait, those among them that are sent again."""
        return self.outbox_bytes + self._replay_bytes

    def lose(self, message: str, reason: str = "transport error") -> None:
        """End the session: what carried it, or something that it was to carry, is lost.

        :param message: what has happened.
        """
        self._finish(reason, {"message": message})

    # Polling

    @property
    def polled(self) -> bool:
        """Whether a GET waits."""
        return self._poll is not None

    def receive_poll(self, carrier: Carrier) -> bool:
        """A GET has come and waits for a payload.

        :returns: ``False`` if the session is over, or another GET was waiting, which closes it. Engine.IO protocol v4,
            "HTTP long-polling": a client must not have two GETs at a time.
        """
        if self._poll is not None:
            self._finish("transport error", {"message": "overlap from client"})
            return False
        if self.state is CLOSED:
            return False
        self._poll = carrier
        if self._outbox or self.state is CLOSING:
            self._signalled = True
            carrier.output_ready()
        return True

    def poll_lost(self, carrier: Carrier) -> None:
        """The waiting GET was aborted by the client."""
        if self._poll is not carrier:
            return
        self._poll = None
        self._final = None
        if self._stage != WEBSOCKET:
            self._finish("transport error", {"message": "poll connection closed prematurely"})

    def receive_post(self, carrier: Carrier) -> bool:
        """The head of a POST has come.

        :returns: ``False`` if another one is being read, which closes the session.
        """
        if self._post is not None:
            self._finish("transport error", {"message": "data request overlap from client"})
            return False
        self._post = carrier
        return True

    def post_lost(self, carrier: Carrier) -> None:
        """The POST was aborted before its body was complete."""
        if self._post is carrier:
            self._post = None
            self._finish("transport error", {"message": "data request connection closed prematurely"})

    def post_answered(self) -> None:
        """The POST was answered, if need be without its body; the session goes on."""
        self._post = None

    def keep_post(self, carrier: Carrier) -> bool:
        """The body of a POST was taken: whether its answer waits, since the layer above has enough for now.

        A client sends nothing more before it has the answer. It may be given once ``carrier.pause(False)`` is called.
        """
        if self.paused and self.state is OPEN:
            self._post = carrier
        return self._post is carrier

    def receive_payload(self, request: Request, now: float) -> bool:
        """The body of a POST is complete.

        :returns: ``False`` if its content type is not acceptable, which closes the session.
        """
        self._post = None
        binary = request.headers.get("content-type") == "application/octet-stream"
        if binary and self.protocol == 4:
            self._finish("transport error", {"message": "invalid content"})
            return False
        if self.state is not OPEN:
            return True
        owner = self._owner
        owner.bytes_received += len(request.body)
        try:
            for packet in self._decode(request, binary):
                owner.messages_received += 1
                self._receive_packet(packet, now)
                if self.state is not OPEN:
                    break
        except RemoteProtocolError as error:
            if isinstance(error, PayloadTooLarge):
                self._owner.count_limit(error.limit)
            self._fail("parse error", None)
        return True

    def _decode(self, request: Request, binary: bool) -> Iterable[str | bytes]:
        body = request.body
        max_packets = self._owner.options.limits.payload_packets
        if "j" in request.params:
            body = v3.decode_form(body)
            binary = False
        if self.protocol == 4:
            return decode_payload(body, max_packets)
        return v3.decode_payload(body, binary, max_packets)

    # WebSocket

    def carry_by_websocket(self, carrier: Carrier, base64: bool) -> None:
        """The session was opened by WebSocket and is carried by it from the start."""
        self._stage = WEBSOCKET
        self._carrier = carrier
        self._base64 = base64
        if self._outbox:
            self._signal()

    def poll_in_base64(self) -> None:
        """The client cannot take binary polling bodies (Engine.IO 3)."""
        self._base64 = True

    def websocket_opened(self, carrier: Carrier, now: float) -> bool:
        """A WebSocket has come to take over.

        :returns: ``False`` if it may not: the session is over, or has or is trying a WebSocket already.
        """
        stage = TRANSPORT[self._stage].get(WEBSOCKET_OPENED)
        if stage is None or self.state is CLOSED:
            return False
        self._stage = stage
        self._probe = Probe(carrier, now + self._owner.options.upgrade_timeout)
        self._reschedule()
        return True

    def receive_probe(self, message: str | bytes, base64: bool, now: float) -> bool:
        """A packet has come on the WebSocket that tries to take over.

        :returns: whether the WebSocket carries the session from here on.
        """
        probe = self._probe
        if probe is None:
            return False
        if message == "2probe":
            self._stage = TRANSPORT[self._stage][PROBE_RECEIVED]
            probe.carrier.send_probe(PROBE_ANSWER)
            self._observe("upgrading", WEBSOCKET)
            probe.noop_at = now + NOOP_INTERVAL
            self._reschedule()
            if self._poll is not None and not self._outbox:
                self._send_noop()
            return False
        if message[:1] != UPGRADE:
            self._drop_probe()
            return False
        self._stage = TRANSPORT[self._stage][UPGRADE_RECEIVED]
        self._probe = None
        self.upgraded = True
        self._carrier = probe.carrier
        self._base64 = base64
        if self._poll is not None:
            self._final = b"1"
            self._poll.output_ready()
        if self._post is not None:
            self._post.release(None)
            self._post = None
        if self.paused:
            probe.carrier.pause(True)
        self._signalled = False
        self._observe("upgrade", WEBSOCKET)
        if self._outbox:
            self._signal()
        elif self.state is CLOSING:
            self._finish("forced close", None)
        return True

    def receive_message(self, message: str | bytes, now: float) -> None:
        """One message has come on the WebSocket that carries the session."""
        if self.state is not OPEN:
            return
        owner = self._owner
        owner.messages_received += 1
        owner.bytes_received += len(message)
        try:
            if isinstance(message, str):
                if message[:1] == MESSAGE and self.listeners is None and not self._ping_outstanding:
                    self.events.append(message[1:])
                    return
                if self.protocol == 4:
                    message = decode_packet(message)
                elif message[:1] == "b":
                    message = v3.decode_base64(message)
            elif self.protocol == 3:
                message = v3.decode_binary(message)
            self._receive_packet(message, now)
        except InvalidPacket:
            self._fail("parse error", None)

    def websocket_lost(self, carrier: Carrier, error: str | None) -> None:
        """A WebSocket of this session has ended.

        :param error: what the peer did wrong, if it did not just leave.
        """
        if self._probe is not None and self._probe.carrier is carrier:
            self._probe = None
            self._stage = TRANSPORT[self._stage][WEBSOCKET_LOST]
        elif self._carrier is carrier:
            if error is None:
                self._finish("transport close", None)
            else:
                self._finish("transport error", {"message": error})
            self._carrier = None

    def _drop_probe(self) -> None:
        probe = self._probe
        if probe is not None:
            self._probe = None
            self._stage = TRANSPORT[self._stage].get(WEBSOCKET_LOST, self._stage)
            probe.carrier.release(None)

    def _send_noop(self) -> None:
        """Release the waiting GET with a noop, past what waits: the client must pause polling to upgrade."""
        poll = self._poll
        if poll is not None and not self._signalled:
            self._final = b"6"
            self._signalled = True
            poll.output_ready()

    # Packets and heartbeat

    def _receive_packet(self, packet: str | bytes, now: float) -> None:
        if self.listeners is not None:
            self._observe("packet", packet)
        kind = packet[:1] if isinstance(packet, str) else MESSAGE
        if self.protocol == 4 and self._ping_outstanding and not self._ping_extended and kind != PONG:
            self._ping_extended = True
            self._stood_still = self._owner.deadlines.stood_still
            self._heartbeat_at = now + self._owner.options.ping_timeout
            self._reschedule()
        if kind == MESSAGE:
            self.events.append(packet[1:] if isinstance(packet, str) else packet)
        elif kind == PONG and self.protocol == 4:
            if self._ping_outstanding:
                self.confirmed_at = self._ping_sent_at
            self._ping_outstanding = False
            self._heartbeat_at = now + self._owner.options.ping_interval
            self._reschedule()
            self._observe("heartbeat", None)
        elif kind == PING and self.protocol == 3:
            self._stood_still = self._owner.deadlines.stood_still
            self._heartbeat_at = now + self._owner.options.ping_interval + self._owner.options.ping_timeout
            self._reschedule()
            self.send_packet(PONG_PACKET)
            self._observe("heartbeat", None)
        elif kind in (PING, PONG):
            self._fail("transport error", {"message": "invalid heartbeat direction"})
        elif kind == CLOSE:
            if self._stage != WEBSOCKET:
                self._fail("transport close", None, b"6")
        elif kind not in TYPES:
            raise InvalidPacket("parser error")

    def handle_deadline(self, now: float) -> None:
        if self._burst_until <= now:
            self._end_burst()
        if self._closing_at <= now:
            self._finish("forced close", None)
        elif self._heartbeat_at <= now:
            if self.paused:  # its answer may wait to be read; it waits for pings all the same
                self._ping(now)
            elif self.protocol == 3 or self._ping_outstanding:
                self._judge()
            else:
                self._ping(now)
        probe = self._probe
        if probe is not None:
            if probe.upgrade_at <= now:
                self._drop_probe()
            elif probe.noop_at <= now:
                probe.noop_at = now + NOOP_INTERVAL
                self._send_noop()
        self._reschedule()
        self.deliver()

    def _judge(self) -> None:
        """The peer was not heard in time. That ends the session, but for time in which the server stood still."""
        lost = self._owner.deadlines.stood_still - self._stood_still
        if lost > 0:
            self._stood_still += lost
            self._heartbeat_at += lost
        else:
            self._finish("ping timeout", None)

    def _ping(self, now: float) -> None:
        self._stood_still = self._owner.deadlines.stood_still
        self._heartbeat_at = now + self._owner.options.ping_timeout
        if self.protocol == 4:
            if not self._ping_outstanding:  # otherwise what is answered first is the earlier one
                self._ping_outstanding = True
                self._ping_sent_at = now
            self._ping_extended = False
            self._send_ping()

    def _send_ping(self) -> None:
        """A ping waits like any packet, but no bound is applied to it: there is never more than one."""
        if self._replay is not None:  # it overtakes, so that its answer confirms nothing
            self._ping_sent_at = self.confirmed_at
            self._replay.appendleft(PING_PACKET)
            self._replay_bytes += len(PING_PACKET.data)
            return
        if self.state is OPEN and PING_PACKET not in self._outbox:
            self._outbox.append(PING_PACKET)
            if not self._signalled:
                self._signal()

    def _reschedule(self) -> None:
        if self.state is CLOSED:
            self.deadline = NEVER
            return
        deadline = min(self._heartbeat_at, self._closing_at, self._burst_until)
        if self._probe is not None:
            deadline = min(deadline, self._probe.upgrade_at, self._probe.noop_at)
        self.deadline = deadline
        if deadline < self.queued:
            self._owner.deadlines.schedule(self)

    # The end

    def _fail(self, reason: str, details: dict[str, Any] | None, final: bytes = b"1") -> None:
        """End the session because of a packet. Those that came before it are delivered first, while it is open."""
        self.deliver()
        self._finish(reason, details, final)

    def _finish(
        self, reason: str, details: dict[str, Any] | None, final: bytes = b"1", code: int | None = None
    ) -> None:
        """End the session: a waiting GET gets ``final``, a WebSocket a close frame, a half-read POST is cut."""
        if self.state is CLOSED:
            return
        self.state = SESSION[self.state][LOST]
        self._outbox.clear()
        self._replay = None
        self._replay_bytes = 0
        self.outbox_bytes = 0
        self._drop_probe()
        if self._poll is not None:
            self._final = final
            self._poll.output_ready()
        if self._post is not None:
            self._post.release(None)
            self._post = None
        if self._carrier is not None:
            self._carrier.release(code)
        self._owner.deadlines.cancel(self)
        if self._waiters is not None:
            self._taken()
        self.events.append(Closed(reason, details))
        self._owner.remove(self)

    def _observe(self, name: str, value: object) -> None:
        if self.listeners is not None and name in self.listeners:
            self.events.append(Observed(name, value))

    def _observe_leaving(self, packets: list[Encoded]) -> None:
        forms: list[str | bytes] = []
        if self.listeners is not None and ("packet_create" in self.listeners or "flush" in self.listeners):
            forms = [packet.data if packet.binary else packet.data.decode() for packet in packets]
        for form in forms:
            self._observe("packet_create", form)
        self._observe("flush", forms)
        self._observe("drain", None)

    def deliver(self) -> None:
        """Have the application process what has happened, if anything has."""
        if self.events:
            self._owner.application.process(self)

    def notifications(self, event: str | bytes | Closed | Observed) -> list[tuple[Listener, list[Any]]]:
        """Return what to call for an event: the listeners of the session that asked for it."""
        name = "message"
        args: list[Any] = [event]
        if isinstance(event, Closed):
            name, args = "close", [event.reason, event.details]
        elif isinstance(event, Observed):
            name, args = event.name, [] if event.value is None else [event.value]
        return [(listener, args) for listener in (self.listeners or {}).get(name, ())]

    def take_events(self) -> list[str | bytes | Closed | Observed]:
        """Take what has happened, in its order."""
        events = self.events
        self.events = []
        return events

    def __repr__(self) -> str:
        return f"<Session {self.id[:6]}… {self._stage} {self.state}>"
