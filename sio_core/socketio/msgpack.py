"""The msgpack parser: one packet is one binary message. Its clients use ``socket.io-msgpack-parser`` 3.

A packet is a MessagePack map ``{"type":..., "data":..., "id":..., "nsp":...}``. Some values are written as
nobody else does, because notepack.io, below that package, has its own uses for extension type 0::

    D4 00 00                 undefined
    D7 00 <8 bytes>          a Date: signed milliseconds since 1970
    C7/C8/C9 <length> 00     an ArrayBuffer or typed array
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from sio_core.errors import InvalidPacket, LocalProtocolError, PayloadTooLarge
from sio_core.limits import Limits
from sio_core.socketio.packet import ACK, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, Packet, is_event_data
from sio_core.socketio.parser import Decoder, Parser
from sio_core.socketio.values import Rewriter, describe

__all__ = ["MsgpackDecoder", "MsgpackParser"]

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_MAX_ID: Final = 10**16

# How msgspec writes a moment: extension type -1, in one of three sizes. Binary data may look the same.
_TIMESTAMP: Final = re.compile(rb"[\xd6\xd7]\xff|\xc7\x0c\xff")

# An ArrayBuffer of 1 or 8 bytes: to msgspec the same as undefined and a Date. Other data may look like it.
_SHORT_BUFFER: Final = re.compile(rb"(?:\xc7|\xc8\x00|\xc9\x00\x00\x00)[\x01\x08]\x00")


_KEPT_TYPES: Final = (bytes, bytearray, memoryview, datetime)


class _Undefined:
    """JavaScript's ``undefined`` while a packet is read: absent, which ``null`` is not."""

    __slots__ = ()


_UNDEFINED: Final = _Undefined()


class MsgpackParser(Parser):
    """Encodes each packet as one MessagePack map.

    Beyond JSON's types it carries bytes in their place and moments: a ``datetime`` with a time zone arrives
    as a ``Date``, and a ``Date`` becomes a ``datetime`` in UTC. One without a time zone is sent as text, as
    by the JSON parser: it is no moment.

    :param default: converts what nobody else can, as in :func:`json.dumps`; raises ``TypeError`` if it can't.
    """

    __slots__ = ("_default", "_encoder")

    def __init__(self, *, default: Callable[[Any], Any] | None = None) -> None:
        self._default = default
        self._encoder = msgspec.msgpack.Encoder(enc_hook=self._describe)

    @property
    def default(self) -> Callable[[Any], Any] | None:
        return self._default

    def _describe(self, value: object) -> object:
        return describe(value, self._default)

    def decoder(self, limits: Limits) -> Decoder:
        """Return a new decoder for one client."""
        return MsgpackDecoder(limits)

    def encode(self, packet: Packet) -> list[str | bytes]:
        """Return the one message of a packet.

        :raises TypeError: if something in it cannot be sent; the message names the type.
        :raises ValueError: if it is circular, or holds an integer of more than 64 bits.
        :raises LocalProtocolError: if its type is none of this format.
        """
        if not CONNECT <= packet.type <= CONNECT_ERROR:
            raise LocalProtocolError(f"there is no packet type {packet.type}")
        fields: dict[str, object] = {"type": packet.type}
        if packet.data is not None and packet.type != DISCONNECT:
            fields["data"] = packet.data
        if packet.id is not None:
            fields["id"] = packet.id
        fields["nsp"] = packet.namespace
        return [self._pack(fields)]

    def _pack(self, fields: dict[str, object]) -> bytes:
        try:
            message = self._encoder.encode(fields)
        except (TypeError, ValueError, OverflowError, RecursionError):
            # Refused as it is: lone surrogates, a circle; or it cannot be sent, and the rewriter says why.
            message = b""
        if message and (b"\xff" not in message or _TIMESTAMP.search(message) is None):
            return message
        try:
            # First what msgspec knows and the rewriter does not: sets, decimals, and objects with fields.
            plain = msgspec.to_builtins(fields, builtin_types=_KEPT_TYPES, enc_hook=self._describe)
            return self._encoder.encode(_Rewriter(self._default).rewrite(plain))
        except RecursionError:
            raise ValueError("the payload is circular, or nested too deeply") from None


class _Rewriter(Rewriter):
    __slots__ = ()

    def binary(self, value: bytes | bytearray | memoryview) -> object:
        return value

    def moment(self, value: datetime) -> object:
        if value.utcoffset() is None:
            return value
        milliseconds = (value - _EPOCH) // _MILLISECOND
        return msgspec.msgpack.Ext(0, milliseconds.to_bytes(8, "big", signed=True))

    def large_integer(self, value: int) -> object:
        raise ValueError("an integer of more than 64 bits cannot be sent")


class MsgpackDecoder(Decoder):
    """The decoder of :class:`MsgpackParser`. It keeps nothing between two messages.

    :param limits: ``json_depth``, ``json_items``, ``integer_bits`` and ``namespace_length`` hold here, too.
    """

    __slots__ = ("_limits",)

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def add(self, message: object) -> Packet | None:
        """Return the packet of one message.

        :raises InvalidPacket: if it is none.
        """
        if isinstance(message, str):
            raise InvalidPacket("got plaintext data where every packet is binary")
        if not isinstance(message, bytes):
            raise InvalidPacket(f"Unknown type: {type(message).__name__}")
        try:
            return self._packet(self._read(message))
        except (RecursionError, MemoryError):
            # The caller may stand deep in a stack already; whatever it was, the packet was not read.
            raise InvalidPacket("invalid payload") from None

    def _read(self, message: bytes) -> object:
        """Return the value of a message, and ``None`` if it has none."""
        try:
            if len(message) > self._limits.json_items or _may_hold_short_buffer(message):
                message = _normalise(message, self._limits.json_items)
            return _DECODER.decode(message)
        except (ValueError, TypeError, IndexError, OverflowError):
            return None

    def _packet(self, decoded: object) -> Packet:
        if not isinstance(decoded, dict):
            raise InvalidPacket("invalid packet type")
        kind = decoded.get("type")
        if type(kind) is not int or not CONNECT <= kind <= CONNECT_ERROR:
            raise InvalidPacket("invalid packet type")

        namespace = decoded.get("nsp")
        if not isinstance(namespace, str):
            raise InvalidPacket("invalid namespace")
        if len(namespace) > self._limits.namespace_length:
            raise PayloadTooLarge("invalid namespace", "namespace_length")

        data = decoded.get("data", _UNDEFINED)
        if kind == EVENT:
            valid = is_event_data(data)
        elif kind == ACK:
            valid = isinstance(data, list)
        elif kind == CONNECT:
            valid = data is _UNDEFINED or isinstance(data, dict)
        elif kind == DISCONNECT:
            valid = data is _UNDEFINED
        else:
            valid = isinstance(data, str | dict)
        if not valid:
            raise InvalidPacket("invalid payload")
        if data is _UNDEFINED:
            data = None
        elif isinstance(data, list | dict):
            self._settle(data)

        ack_id = decoded.get("id", _UNDEFINED)
        if ack_id is _UNDEFINED:
            return Packet(kind, namespace, data)
        if type(ack_id) is not int or not 0 <= ack_id < _MAX_ID:
            raise InvalidPacket("invalid packet id")
        return Packet(kind, namespace, data, ack_id)

    def _settle(self, data: list[Any] | dict[Any, Any]) -> None:
        """Check what MessagePack allows and an application does not expect; remove every ``undefined``."""
        bits = self._limits.integer_bits
        level: list[Any] = [data]
        for _ in range(self._limits.json_depth):
            inner: list[Any] = []
            for container in level:
                if type(container) is dict:
                    for key in container:
                        if type(key) is not str:
                            raise InvalidPacket("invalid payload: the key of an object is no string")
                    values = container.values()
                else:
                    values = container
                undefined = False
                for value in values:
                    kind = type(value)
                    if kind is dict or kind is list:
                        inner.append(value)
                    elif value is _UNDEFINED:
                        undefined = True
                    elif bits is not None and kind is int and value.bit_length() > bits:
                        raise PayloadTooLarge("invalid payload: integer too large", "integer_bits")
                if undefined:
                    _remove_undefined(container)
            if not inner:
                return
            level = inner
        raise PayloadTooLarge("invalid payload: nested too deeply", "json_depth")


def _remove_undefined(container: Any) -> None:
    # As JSON.stringify() does: nothing in objects, null in arrays.
    if isinstance(container, dict):
        for key in [key for key, value in container.items() if value is _UNDEFINED]:
            del container[key]
    else:
        container[:] = [None if value is _UNDEFINED else value for value in container]


def _may_hold_short_buffer(message: bytes) -> bool:
    # Searching for one byte is so much faster than an expression that it comes first.
    if b"\xc7" in message or b"\xc8" in message or b"\xc9" in message:
        return _SHORT_BUFFER.search(message) is not None
    return False


def _read_extension(code: int, data: memoryview) -> object:
    if code != 0:
        return [code, bytes(data)]
    if len(data) == 1:
        return _UNDEFINED
    if len(data) == 8:
        return _EPOCH + timedelta(milliseconds=int.from_bytes(data, "big", signed=True))
    return bytes(data)


_DECODER: Final = msgspec.msgpack.Decoder(ext_hook=_read_extension)

# For the first bytes from C0 to DF of a value: how many bytes of length follow, and how many bytes more that
# the length does not count (a number's own, or an extension's type and, if its size is fixed, its data).
_LENGTH_BYTES: Final = bytes.fromhex(
    "00000000 01020401 02040000 00000000 00000000 00000000 00010204 02040204"
)
_FIXED_BYTES: Final = bytes.fromhex("00000000 00000001 01010408 01020408 01020408 02030509 11000000 00000000")


def _normalise(message: bytes, limit: int) -> bytes:
    """Return the message with every ArrayBuffer written as binary data, which it is.

    :raises InvalidPacket: if it holds more than ``limit`` values.
    :raises IndexError: if it ends early.
    """
    pieces: list[bytes] = []
    start = 0
    position = 0
    outstanding = 1
    size = len(message)
    values = 0
    while outstanding:
        outstanding -= 1
        values += 1
        if values > limit:
            raise PayloadTooLarge("invalid payload: too many values", "json_items")
        head = message[position]
        position += 1
        if head < 0x80 or head >= 0xE0:
            continue
        if head < 0x90:
            outstanding += 2 * (head & 0x0F)
            continue
        if head < 0xA0:
            outstanding += head & 0x0F
            continue
        if head < 0xC0:
            position += head & 0x1F
            continue
        width = _LENGTH_BYTES[head - 0xC0]
        length = int.from_bytes(message[position : position + width], "big") if width else 0
        if 0xC7 <= head <= 0xC9 and message[position + width] == 0:
            # From C7 <length> 00 to C4 <length>.
            pieces.append(message[start : position - 1])
            pieces.append(bytes((head - 3,)))
            pieces.append(message[position : position + width])
            start = position + width + 1
        position += width + _FIXED_BYTES[head - 0xC0]
        if head >= 0xDE:
            outstanding += 2 * length
        elif head >= 0xDC:
            outstanding += length
        else:
            position += length
        if position > size:
            raise IndexError(position)
    pieces.append(message[start:])
    return b"".join(pieces)
