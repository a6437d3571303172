"""Every bound of the server, in one frozen object.

Everything that grows because of a peer has a number here, with its unit and its reason. ``None`` means that
the bound exists and is off, because it would change what an honest client of the official server sees;
:meth:`Limits.hardened` turns those on. How often each was hit is counted by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Final

__all__ = ["HARDENED", "Limits"]

HARDENED: Final[Mapping[str, int | float]] = MappingProxyType(
    {
        "connections": 10_000,
        "connections_per_address": 200,
        "sessions": 10_000,
        "sessions_per_address": 100,
        "unconnected_sessions": 1_000,
        "unconnected_sessions_per_address": 64,
        "handshakes_per_second": 500.0,
        "connect_time": 10.0,
        "total_outbox_bytes": 268_435_456,
        "integer_bits": 53,
        "namespaces_per_connection": 16,
        "dynamic_namespaces": 1_000,
        "rooms_per_socket": 512,
        "room_length": 255,
        "acks_per_socket": 1_000,
        "events_per_second": 200.0,
    }
)
"""What :meth:`Limits.hardened` sets: generous for people, narrow for programs that send as fast as they can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of one server. Each field is read where the bound is enforced and nowhere else.

    :raises ValueError: if a bound is not a positive number; the message names it.
    """

    # HTTP

    header_line: int = 8_192
    """Bytes of one header line, and of the request line. As in most servers; longer is answered 431 (414)."""

    header_count: int = 100
    """Header lines of one request, repeated names counted each time. More is answered 431."""

    header_bytes: int = 16_384
    """Bytes of all header lines of one request together, Node's bound. More is answered 431."""

    header_time: float = 10.0
    """Seconds from a connection's first byte of a request to the end of its headers. Then 408."""

    body_time: float = 15.0
    """Seconds a request body may take. Then 408, and the connection is closed."""

    keep_alive_time: float = 5.0
    """Seconds an HTTP connection may wait for its next request, Node's default."""

    pipelined_requests: int = 16
    """Unanswered requests of one connection; at the bound its reading pauses."""

    write_stall_time: float = 30.0
    """Seconds the peer may take no byte while something waits for it. Then the connection is aborted."""

    close_time: float = 5.0
    """Seconds the peer may take to answer a WebSocket close frame before the connection is dropped; likewise for the
    GET that fetches the close packet of a session which has joined no namespace in time."""

    tls_handshake_time: float = 10.0
    """Seconds a TLS handshake may take."""

    connections: int | None = None
    """Open TCP connections of one process, of our own listeners. More are answered 503 and closed. ``None``, and at
    most: nine tenths of the open-file limit, less 100, so that there are files left for everything else."""

    connections_per_address: int | None = None
    """Open TCP connections of one peer address (of IPv6: of one /64 network), trusted proxies excepted. More are
    answered 429 and closed. Off: a school or an office may share one address."""

    # Engine.IO

    payload_packets: int = 10_000
    """Packets in one polling request body. More is a parse error."""

    outbox_bytes: int = 1_048_576
    """Bytes waiting for one client. Past it the session is closed (and kept for recovery). What one turn of the
    event loop sends is offered to the client once before that, however large it is."""

    outbox_packets: int = 4_096
    """Packets waiting for one client, for longer than a burst. Past it the session is closed (and kept for
    recovery)."""

    outbox_burst_time: float = 5.0
    """Seconds in which more than ``outbox_packets`` may wait, up to ``outbox_bytes``: a burst is no slowness, and a
    client that polls fetches it with its next request."""

    total_outbox_bytes: int | None = None
    """Bytes waiting for all clients of one process, looked at once a second. Past it the sessions for which most
    waits are closed (and kept for recovery), until half of it is left. Off: it depends on the machine."""

    outbox_low_water: int = 262_144
    """Bytes waiting for one client above which ``await socket.emit(...)`` waits."""

    sessions: int | None = None
    """Open sessions of one process. More are refused with 503."""

    sessions_per_address: int | None = None
    """Open sessions of one peer address (of IPv6: of one /64 network). More are refused with 429. Off: a school or
    an office may share one address."""

    unconnected_sessions: int | None = None
    """Sessions that have not joined a namespace yet, of one process. More are refused with 503."""

    unconnected_sessions_per_address: int | None = None
    """Sessions that have not joined a namespace yet, of one peer address (of IPv6: of one /64 network). More are
    refused with 429."""

    handshakes_per_second: float | None = None
    """Sessions opened per second, of one process; a second's worth may come at once. More are refused with 503."""

    connect_time: float | None = None
    """Seconds from the handshake to the first namespace; then the session is closed. A bound on the option
    ``connect_timeout``, which is the official one (45 s): the shorter of the two counts."""

    # WebSocket

    fragments: int = 4_096
    """Fragments of one WebSocket message. More closes the connection with 1008."""

    fragment_time: float = 60.0
    """Seconds a fragmented message may stay unfinished."""

    pending_pongs: int = 16
    """Pongs waiting to be written; further pings replace the newest (RFC 6455 section 5.5.3)."""

    # Socket.IO

    attachments: int = 10
    """Binary attachments of one packet, in both directions: recent clients refuse more."""

    attachment_bytes: int = 10_485_760
    """Bytes of the attachments of one packet together."""

    attachment_time: float = 60.0
    """Seconds the attachments of one packet may take to arrive."""

    json_depth: int = 64
    """Nesting of arrays and objects in one packet."""

    json_items: int = 100_000
    """Commas, brackets and braces in one packet: they decide how much memory its values take."""

    integer_bits: int | None = None
    """Bits of an integer in a packet; 53 refuses what JavaScript cannot hold exactly."""

    namespace_length: int = 255
    """Characters of a namespace's name."""

    namespaces_per_connection: int | None = None
    """Namespaces one client may be in at a time."""

    dynamic_namespaces: int = 10_000
    """Namespaces that clients' names have created."""

    rooms_per_socket: int | None = None
    """Rooms one socket may be in. Joining more raises ``LocalProtocolError``."""

    room_length: int | None = None
    """Characters of a room's name, for where clients choose it. Joining a longer one raises
    ``LocalProtocolError``."""

    acks_per_socket: int = 10_000
    """Acknowledgements awaited from one socket."""

    ack_timeout: float = 20.0
    """Seconds an operator waits for acknowledgements when no timeout was given."""

    handlers_per_socket: int = 1_000
    """Running ``async`` handlers of one socket; more events wait in its queue."""

    handler_time: float | None = None
    """Seconds an ``async`` handler may run; then it is cancelled, and reported as an error. Off, in the hardened
    set too: only the application knows what its handlers wait for."""

    queued_events: int = 64
    """Events of one socket waiting for a handler; at the bound its connection's reading pauses. While the
    application waits for an answer of that client, reading goes on up to ``queued_bytes``."""

    queued_bytes: int = 1_048_576
    """Bytes of memory, roughly, of the events of one socket that wait for a handler; at the bound its connection's
    reading pauses."""

    events_per_second: float | None = None
    """Events of one connection per second; a second's worth may come at once. Over it, its reading pauses."""

    # Recovery

    recovery_packets: int = 10_000
    """Packets kept by the log of one namespace."""

    recovery_bytes: int = 33_554_432
    """Bytes kept by the log of one namespace."""

    recovery_sessions: int = 10_000
    """Disconnected sessions kept by one namespace."""

    recovery_private_packets: int = 1_000
    """Packets kept of those sent to one session alone."""

    recovery_private_bytes: int = 33_554_432
    """Bytes kept of packets sent to one session each, of all sessions of one namespace."""

    recovery_departures: int = 1_000
    """Rooms left, kept of one session: what it was sent before may have to be sent again."""

    # Cluster

    cluster_queue_messages: int = 10_000
    """Messages of one namespace that wait to be published. More fail with ``AdapterError``, and are counted."""

    cluster_queue_bytes: int = 33_554_432
    """Bytes of the messages of one namespace that wait to be published."""

    cluster_message_bytes: int = 16_777_216
    """Bytes of one message from another node. A larger one is dropped unread, and counted."""

    cluster_publish_time: float = 2.0
    """Seconds the engine may take to accept one message. Then it counts as failed."""

    cluster_request_time: float = 5.0
    """Seconds other nodes may take to answer a request that names no timeout, as with the official adapters."""

    cluster_hold_time: float = 1.0
    """Seconds a local receiver waits for the offset of an event. Then it gets the event without one."""

    cluster_lookup_time: float = 1.0
    """Seconds other nodes may take to say that they have a session, as with the official cluster engine. Then the
    request is refused like one with an unknown session id."""

    cluster_lookups: int = 1_000
    """Requests that wait for that. More are refused at once."""

    cluster_nodes: int = 1_000
    """Other nodes that one namespace knows by their heartbeats. Those beyond are not counted as nodes."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and "None" in str(field.type):
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ValueError(f"limits.{field.name} must be a positive number, not {value!r}")

    @classmethod
    def hardened(cls, **overrides: Any) -> Limits:
        """Return the limits for a server that strangers reach: those that are off by default are on.

        They change what an honest client of the official server may do, though none that people use in a browser is
        likely to notice. Each may be overridden by its name, with ``None`` to leave it off.

        :raises TypeError: for an unknown name.
        :raises ValueError: for a bad value; the message names it.
        """
        return cls(**{**HARDENED, **overrides})
