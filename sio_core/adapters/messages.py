"""What the nodes of a cluster say to each other, and how it is written.

The messages are those of the official ``socket.io-adapter`` package, from version 2.5.3 on, and so are their forms:
JSON without spaces, or MessagePack, keys in the order in which JavaScript writes them. A key without a value is left
out: to JavaScript ``null`` is something else than nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import orjson

from sio_core.adapters.base import BroadcastOptions, SocketDetails
from sio_core.errors import InvalidPacket
from sio_core.socketio.packet import EVENT, is_event_data
from sio_core.socketio.values import Rewriter, describe, iso_date

__all__ = [
    "ADAPTER_CLOSE",
    "BROADCAST",
    "BROADCAST_ACK",
    "BROADCAST_CLIENT_COUNT",
    "DISCONNECT_SOCKETS",
    "EMITTER_UID",
    "FETCH_SOCKETS",
    "FETCH_SOCKETS_RESPONSE",
    "HEARTBEAT",
    "INITIAL_HEARTBEAT",
    "RESPONSES",
    "SERVER_SIDE_EMIT",
    "SERVER_SIDE_EMIT_RESPONSE",
    "SOCKETS_JOIN",
    "SOCKETS_LEAVE",
    "WITH_BINARY",
    "Codec",
    "Message",
    "RemoteHandshake",
    "decode",
    "decode_json",
    "decode_msgpack",
    "details_from_wire",
    "details_to_wire",
    "event_of",
    "js_date",
    "make_uid",
    "message_from",
    "options_from_wire",
    "options_to_wire",
    "text_list",
]

INITIAL_HEARTBEAT: Final = 1
HEARTBEAT: Final = 2
BROADCAST: Final = 3
SOCKETS_JOIN: Final = 4
SOCKETS_LEAVE: Final = 5
DISCONNECT_SOCKETS: Final = 6
FETCH_SOCKETS: Final = 7
FETCH_SOCKETS_RESPONSE: Final = 8
SERVER_SIDE_EMIT: Final = 9
SERVER_SIDE_EMIT_RESPONSE: Final = 10
BROADCAST_CLIENT_COUNT: Final = 11
BROADCAST_ACK: Final = 12
ADAPTER_CLOSE: Final = 13

RESPONSES: Final = frozenset(
    (FETCH_SOCKETS_RESPONSE, SERVER_SIDE_EMIT_RESPONSE, BROADCAST_CLIENT_COUNT, BROADCAST_ACK)
)
"""The types that answer a request."""

WITH_BINARY: Final = frozenset(
    (BROADCAST, FETCH_SOCKETS_RESPONSE, SERVER_SIDE_EMIT, SERVER_SIDE_EMIT_RESPONSE, BROADCAST_ACK)
)
"""The types that may hold binary data, and are then written as MessagePack."""

EMITTER_UID: Final = "emitter"
"""What a process that is no server calls itself."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_JSON_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATETIME
_OPENING_BRACE: Final = 0x7B

Default = Callable[[Any], Any]


def make_uid() -> str:
    """Return a new name of a node, or of a request: 16 hexadecimal digits, 64 random bits."""
    return secrets.token_hex(8)


class Message:
    """One message between nodes.

    :ivar type: one of the numbers above.
    :ivar uid: the sender: one adapter of one namespace of one node, or ``emitter``.
    :ivar nsp: the namespace; empty if the message does not say.
    :ivar data: what the type asks for, as it is written; ``None`` if nothing.
    :ivar payload: what was made of it for the engine at the moment it was sent; ``None`` before.
    :ivar attempt: how often it was tried to publish it.
    :ivar offset: its place in the engine's log, once that is known.
    :ivar seq: counts what its sender has published that must not come twice; ``None`` if it does not count.
    """

    __slots__ = ("attempt", "data", "nsp", "offset", "payload", "seq", "type", "uid")

    def __init__(
        self,
        type: int,  # noqa: A002 - the name on the wire
        uid: str,
        nsp: str,
        data: dict[str, Any] | None = None,
    ) -> None:
        self.type = type
        self.uid = uid
        self.nsp = nsp
        self.data = data
        self.payload: Any = None
        self.attempt = 0
        self.offset: str | None = None
        self.seq: int | None = None

    def __repr__(self) -> str:
        return f"Message({self.type}, {self.uid!r}, {self.nsp!r}, {self.data!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return (
            self.type == other.type
            and self.uid == other.uid
            and self.nsp == other.nsp
            and bool(self.data == other.data)
        )

    __hash__ = None  # type: ignore[assignment]

    def to_wire(self) -> dict[str, Any]:
        """Return the envelope, its keys in JavaScript's order."""
        if self.data is None:
            return {"type": self.type, "uid": self.uid, "nsp": self.nsp}
        return {"type": self.type, "data": self.data, "uid": self.uid, "nsp": self.nsp}


# Writing


def js_date(milliseconds: int) -> str:
    """Return a moment as JavaScript's ``Date`` writes itself in a text."""
    moment = _EPOCH + timedelta(milliseconds=milliseconds)
    day, month = _DAYS[moment.weekday()], _MONTHS[moment.month - 1]
    clock = f"{moment.hour:02}:{moment.minute:02}:{moment.second:02}"
    return f"{day} {month} {moment.day:02} {moment.year:04} {clock} GMT+0000 (Coordinated Universal Time)"


def _buffer(value: bytes | bytearray | memoryview) -> dict[str, Any]:
    """Return how Node's ``Buffer`` writes itself in JSON."""
    return {"type": "Buffer", "data": list(bytes(value))}


class _JsonHook:
    """Writes what orjson does not know, and notes whether there was binary data."""

    __slots__ = ("_default", "found_binary")

    def __init__(self, default: Default | None) -> None:
        self._default = default
        self.found_binary = False

    def take(self, value: Any) -> Any:
        if isinstance(value, bytes | bytearray | memoryview):
            self.found_binary = True
            return _buffer(value)
        if isinstance(value, datetime):
            return iso_date(value)
        return describe(value, self._default)


class _JsonRewriter(Rewriter):
    __slots__ = ("found_binary",)

    def __init__(self, default: Default | None) -> None:
        super().__init__(default)
        self.found_binary = False

    def binary(self, value: bytes | bytearray | memoryview) -> object:
        self.found_binary = True
        return _buffer(value)

    def moment(self, value: datetime) -> object:
        return iso_date(value)

    def large_integer(self, value: int) -> object:
        return float(value)  # what it would be in JavaScript


class _MsgpackRewriter(Rewriter):
    __slots__ = ()

    def binary(self, value: bytes | bytearray | memoryview) -> object:
        return value

    def moment(self, value: datetime) -> object:
        return value

    def large_integer(self, value: int) -> object:
        return float(value)


class Codec:
    """Writes values and messages.

    :param default: converts what nobody else can, as in :func:`json.dumps`; the parser's.
    """

    __slots__ = ("_default", "_encoder")

    def __init__(self, default: Default | None = None) -> None:
        self._default = default
        self._encoder = msgspec.msgpack.Encoder(enc_hook=self._describe)

    def _describe(self, value: object) -> object:
        return describe(value, self._default)

    def json(self, value: object) -> bytes:
        """Return a value as JSON, binary data in the form of Node's ``Buffer``.

        :raises TypeError: if something in it cannot be sent; the message names its type.
        :raises ValueError: if it is circular, or nested too deeply.
        """
        return self.json_and_binary(value)[0]

    def json_and_binary(self, value: object) -> tuple[bytes, bool]:
        """The same, and whether there was binary data in it."""
        hook = _JsonHook(self._default)
        try:
            return orjson.dumps(value, hook.take, _JSON_OPTIONS), hook.found_binary
        except TypeError:
            pass  # lone surrogates, large integers, keys that are no strings; or refused for good
        rewriter = _JsonRewriter(self._default)
        try:
            plain = rewriter.rewrite(value)
        except RecursionError:
            raise ValueError("the payload is circular, or nested too deeply") from None
        return orjson.dumps(plain), rewriter.found_binary

    def msgpack(self, value: object) -> bytes:
        """Return a value as MessagePack, moments as its timestamps.

        :raises TypeError: if something in it cannot be sent; the message names its type.
        :raises ValueError: if it is circular, or nested too deeply.
        """
        try:
            return self._encoder.encode(value)
        except (TypeError, ValueError, OverflowError, RecursionError):
            pass  # as in `json_and_binary`
        try:
            return self._encoder.encode(_MsgpackRewriter(self._default).rewrite(value))
        except RecursionError:
            raise ValueError("the payload is circular, or nested too deeply") from None

    def encode(self, message: Message) -> bytes:
        """Return the envelope: as JSON, or as MessagePack if it holds binary data and its type may."""
        envelope = message.to_wire()
        text, binary = self.json_and_binary(envelope)
        return self.msgpack(envelope) if binary and message.type in WITH_BINARY else text


# Reading


def _read_extension(code: int, data: memoryview) -> object:
    # Type 0 belongs to notepack.io 2: undefined, Dates and ArrayBuffers.
    if code != 0:
        return [code, bytes(data)]
    if len(data) == 1:
        return None
    if len(data) == 8:
        return _EPOCH + timedelta(milliseconds=int.from_bytes(data, "big", signed=True))
    return bytes(data)


_DECODER: Final = msgspec.msgpack.Decoder(ext_hook=_read_extension)


def decode_msgpack(payload: bytes | bytearray | memoryview) -> Any:
    """Return the value of a MessagePack text; timestamps are moments in UTC.

    :raises InvalidPacket: if it is none.
    """
    try:
        return _DECODER.decode(payload)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise InvalidPacket(f"a message of the cluster is no MessagePack: {error}") from None


def decode_json(payload: bytes | bytearray | memoryview | str) -> Any:
    """Return the value of a JSON text.

    :raises InvalidPacket: if it is none.
    """
    try:
        return orjson.loads(payload)
    except (ValueError, RecursionError) as error:
        raise InvalidPacket(f"a message of the cluster is no JSON: {error}") from None


def message_from(value: Any, nsp: str = "") -> Message:
    """Return the message of an envelope that has been read.

    :param nsp: the namespace if the envelope names none.
    :raises InvalidPacket: if it is none.
    """
    if not isinstance(value, dict):
        raise InvalidPacket("a message of the cluster is no object")
    kind, uid, data = value.get("type"), value.get("uid"), value.get("data")
    name = value.get("nsp")
    if name is None:
        name = nsp
    if type(kind) is not int or not isinstance(uid, str) or not isinstance(name, str):
        raise InvalidPacket("a message of the cluster has no type, uid or nsp")
    if data is not None and not isinstance(data, dict):
        raise InvalidPacket("the data of a message of the cluster is no object")
    return Message(kind, uid, name, data)


def decode(payload: bytes | bytearray | memoryview, nsp: str = "") -> Message:
    """Return the message of a payload that :meth:`Codec.encode` wrote, or an official adapter.

    :param nsp: the namespace if the envelope names none.
    :raises InvalidPacket: if it is none.
    """
    if len(payload) and payload[0] == _OPENING_BRACE:
        return message_from(decode_json(payload), nsp)
    return message_from(decode_msgpack(payload), nsp)


# What is in a message


def options_to_wire(options: BroadcastOptions) -> dict[str, Any]:
    """Return ``opts``: whom a broadcast is for, and its flags, in the order in which JavaScript writes them."""
    flags: dict[str, Any] = {}
    if options.volatile:
        flags["volatile"] = True
    if not options.compress:
        flags["compress"] = False
    if options.single:
        flags["expectSingleResponse"] = True
    if options.timeout is not None:
        flags["timeout"] = round(options.timeout * 1000)
    return {"rooms": list(options.rooms), "except": list(options.except_), "flags": flags}


def options_from_wire(opts: Any) -> BroadcastOptions:
    """Return what ``opts`` say. Flags may be missing.

    :raises InvalidPacket: if they are none.
    """
    if not isinstance(opts, dict):
        raise InvalidPacket("a message of the cluster has no opts")
    flags = opts.get("flags")
    if flags is None:
        flags = {}
    elif not isinstance(flags, dict):
        raise InvalidPacket("the flags of a message of the cluster are no object")
    timeout = flags.get("timeout")
    seconds = timeout / 1000 if isinstance(timeout, int | float) and 0 < timeout < 1e10 else None
    return BroadcastOptions(
        text_list(opts.get("rooms")),
        text_list(opts.get("except")),
        volatile=bool(flags.get("volatile")),
        compress=flags.get("compress") is not False,
        timeout=seconds,
        single=bool(flags.get("expectSingleResponse")),
    )


def text_list(value: Any) -> list[str]:
    """Return a list of rooms; numbers, which are rooms in JavaScript too, as text.

    :raises InvalidPacket: if it is none.
    """
    if not isinstance(value, list):
        raise InvalidPacket("rooms in a message of the cluster are no list")
    for item in value:
        if type(item) is not str:
            return [_room(item) for item in value]
    return value


def _room(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(int(value)) if value == value // 1 else str(value)
    raise InvalidPacket("a room in a message of the cluster is no text")


def event_of(packet: Any) -> list[Any]:
    """Return ``[name, *args]`` of the packet of a broadcast.

    :raises InvalidPacket: if it is no event.
    """
    if isinstance(packet, dict) and packet.get("type") == EVENT:
        data = packet.get("data")
        if isinstance(data, list) and is_event_data(data):
            return data
    raise InvalidPacket("a broadcast of the cluster holds no event")


class RemoteHandshake:
    """How the client of another node came: what ``socket.handshake`` says, as it was there.

    :ivar time: as the other node writes it: JavaScript's ``Date`` as text.
    :ivar issued: milliseconds since 1970.
    """

    __slots__ = ("address", "auth", "headers", "issued", "query", "secure", "time", "url", "xdomain")

    def __init__(self, fields: dict[str, Any]) -> None:
        self.headers: dict[str, Any] = fields.get("headers") or {}
        self.time = str(fields.get("time") or "")
        self.address = str(fields.get("address") or "")
        self.xdomain = bool(fields.get("xdomain"))
        self.secure = bool(fields.get("secure"))
        issued = fields.get("issued")
        self.issued = int(issued) if isinstance(issued, int | float) else 0
        self.url: str | None = fields.get("url")
        self.query: dict[str, Any] = fields.get("query") or {}
        self.auth: dict[str, Any] = fields.get("auth") or {}


def details_to_wire(details: SocketDetails) -> dict[str, Any]:
    """Return how a socket is described to other nodes."""
    handshake = details.handshake
    return {
        "id": details.id,
        "handshake": {
            "headers": handshake.headers,
            "time": js_date(handshake.issued),
            "address": handshake.address,
            "xdomain": handshake.xdomain,
            "secure": handshake.secure,
            "issued": handshake.issued,
            "url": handshake.url,
            "query": handshake.query,
            "auth": handshake.auth,
        },
        "rooms": list(details.rooms),
        "data": details.data,
    }


def details_from_wire(value: Any) -> SocketDetails:
    """Return the description of a socket of another node.

    :raises InvalidPacket: if it is none.
    """
    if not isinstance(value, dict) or not isinstance(value.get("id"), str):
        raise InvalidPacket("a socket in a message of the cluster has no id")
    handshake = value.get("handshake")
    if not isinstance(handshake, dict):
        handshake = {}
    data = value.get("data")
    return SocketDetails(
        value["id"], RemoteHandshake(handshake), text_list(value.get("rooms")), {} if data is None else data
    )
