"""Packets to messages and back. The two interfaces of a parser, and the JSON parser, which is the default.

Takes and gives what an Engine.IO MESSAGE packet carries: ``str`` or ``bytes``. A decoder has three outcomes
for any input at all: a packet, ``None`` (attachments are outstanding), or :exc:`InvalidPacket`.

Socket.IO protocol v5, "Packet encoding"::

    <type>[<number of attachments>-][<namespace>,][<acknowledgement id>][<JSON>]
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson

from sio_core.errors import InvalidPacket, LocalProtocolError, PayloadTooLarge
from sio_core.limits import Limits
from sio_core.socketio.binary import Extractor, reconstruct
from sio_core.socketio.packet import (
    ACK,
    BINARY_ACK,
    BINARY_EVENT,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    RESERVED_EVENTS,
    Packet,
    is_event_data,
)

__all__ = ["Decoder", "JsonDecoder", "JsonParser", "Parser"]

_dumps: Final = orjson.dumps
_loads: Final = orjson.loads
# Moments are written as JavaScript does, by the hook.
_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATETIME

_TYPES: Final = "0123456"
_EVENTS: Final = (EVENT, BINARY_EVENT)
_ACKS: Final = (ACK, BINARY_ACK)

_DIGITS: Final = re.compile(r"[0-9]+")
_MAX_ID_DIGITS: Final = 16
_MAX_COUNT_DIGITS: Final = 9
_MAX_QUERY_LENGTH: Final = 4_096
# Brackets that are looked for one by one before all are counted.
_FEW: Final = 8

# What every decoder has while it is not waiting. Never changed.
_NO_ATTACHMENTS: Final[list[bytes]] = []

# The escapes of JSON that matter for surrogates: a run of escaped backslashes (which hides what follows it),
# a pair, and, as the only group, a surrogate that is left without its partner.
_SURROGATE_ESCAPE: Final = re.compile(
    r"(?:\\\\)+|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
)

# Of a JSON text outside its strings, keep the brackets, all alike.
_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS: Final = bytes(sorted(set(range(256)) - set(b"[]{}")))


class Decoder(ABC):
    """Turns the messages of one client into packets. One per client, since attachments follow their packet.

    :ivar waiting: whether attachments of a packet are outstanding.
    """

    __slots__ = ()

    waiting: bool = False

    @abstractmethod
    def add(self, message: str | bytes) -> Packet | None:
        """Take one message; return the packet it completes, or ``None`` if more messages belong to it.

        :raises InvalidPacket: if it cannot be parsed or is not allowed now. No other exception is raised.
        """

    def reset(self) -> None:  # noqa: B027 - most parsers keep nothing between two messages
        """Forget an unfinished packet."""


class Parser(ABC):
    """A way to write packets. The server and its clients must use the same."""

    __slots__ = ()

    @property
    def default(self) -> Callable[[Any], Any] | None:
        """Converts what nobody else can, for other nodes too; ``None`` if the parser has no such function."""
        return None

    @abstractmethod
    def encode(self, packet: Packet) -> list[str | bytes]:
        """Return the messages of one packet: at most one ``str``, first, then any number of ``bytes``."""

    @abstractmethod
    def decoder(self, limits: Limits) -> Decoder:
        """Return a new decoder for one client."""

    def encode_messages(self, packet: Packet, prefix: bytes) -> tuple[bytes, list[bytes]]:
        """Return the messages of one packet as the layers below want them.

        :param prefix: put in front of the text message; the type of the Engine.IO packet.
        :returns: the text message as UTF-8, ``b""`` if there is none; and the binary messages in order.
        :raises LocalProtocolError: if :meth:`encode` put text after anything else.
        """
        messages = self.encode(packet)
        binary: list[bytes] = []
        text = b""
        for index, message in enumerate(messages):
            if isinstance(message, str):
                if index > 0:
                    raise LocalProtocolError("the text of a packet comes first, and there is only one")
                text = prefix + message.encode()
            else:
                binary.append(bytes(message))
        return text, binary

    def encode_event(
        self,
        namespace: str,
        data: list[Any] | tuple[Any, ...],
        id: int | None,  # noqa: A002
        prefix: bytes,
    ) -> tuple[bytes, list[bytes]]:
        """Do what :meth:`encode_messages` does, for an EVENT."""
        return self.encode_messages(Packet(EVENT, namespace, list(data), id), prefix)

    def encode_ack(
        self,
        namespace: str,
        data: list[Any] | tuple[Any, ...],
        id: int,  # noqa: A002
        prefix: bytes,
    ) -> tuple[bytes, list[bytes]]:
        """Do what :meth:`encode_messages` does, for an ACK."""
        return self.encode_messages(Packet(ACK, namespace, list(data), id), prefix)


class JsonParser(Parser):
    """The parser of the protocol itself: JSON, with binary data as attachments.

    Bytes, bytearrays and memoryviews may stand anywhere in the data of events and acks. What :mod:`orjson`
    writes may be sent, also ``msgspec.Struct`` objects and everything with a ``model_dump()``; ``nan`` and
    the infinities become ``null``, keys become what JavaScript would make of them, and so do moments with a time zone:
    ``2026-01-01T00:00:00.123Z``, to the millisecond and in UTC.

    :param max_attachments: how many attachments a packet is sent with; recent clients refuse more than 10.
    :param allow_placeholder_reuse: whether a received packet may use one attachment in several places.
    :param allow_nonfinite: whether a received number may be too large for a float (``1e400``): then it becomes an
        infinity, as in JavaScript, and ``null`` when it is sent on.
    :param default: converts what nobody else can, as in :func:`json.dumps`; raises ``TypeError`` if it can't.
    :param reviver: called as in ``JSON.parse``: with each key (``""`` for the whole) and value of a received
        payload, inner ones first; the value is replaced by what it returns.
    """

    __slots__ = ("_allow_nonfinite", "_allow_placeholder_reuse", "_default", "_max_attachments", "_reviver")

    def __init__(
        self,
        *,
        max_attachments: int = 10,
        allow_placeholder_reuse: bool = False,
        allow_nonfinite: bool = False,
        default: Callable[[Any], Any] | None = None,
        reviver: Callable[[str, Any], Any] | None = None,
    ) -> None:
        self._max_attachments = max_attachments
        self._allow_placeholder_reuse = allow_placeholder_reuse
        self._allow_nonfinite = allow_nonfinite
        self._default = default
        self._reviver = reviver

    @property
    def default(self) -> Callable[[Any], Any] | None:
        return self._default

    def decoder(self, limits: Limits) -> Decoder:
        """Return a new decoder for one client."""
        return JsonDecoder(limits, self._allow_placeholder_reuse, self._reviver, self._allow_nonfinite)

    def encode(self, packet: Packet) -> list[str | bytes]:
        """Return the messages of one packet: its text, then its attachments."""
        text, attachments = self.encode_messages(packet, b"")
        return [text.decode(), *attachments]

    def encode_messages(self, packet: Packet, prefix: bytes) -> tuple[bytes, list[bytes]]:
        """Return the text of a packet with ``prefix`` in front, and its attachments.

        :raises TypeError: if something in it cannot be sent; the message names the type.
        :raises ValueError: if it is circular.
        :raises LocalProtocolError: if it has too many attachments, or no such type exists.
        """
        kind = packet.type
        data = packet.data
        if kind in _EVENTS and data is not None:
            return self.encode_event(packet.namespace, data, packet.id, prefix)
        if kind in _ACKS and data is not None:
            return self._encode(ACK, packet.namespace, data, packet.id, prefix)
        if not CONNECT <= kind <= BINARY_ACK:
            raise LocalProtocolError(f"there is no packet type {kind}")
        head = prefix + _head(kind, 0, packet.namespace, packet.id)
        if data is None or kind == DISCONNECT:
            return head, []
        return head + self._write(data, False)[0], []

    def encode_event(
        self,
        namespace: str,
        data: Sequence[Any],
        id: int | None,  # noqa: A002
        prefix: bytes,
    ) -> tuple[bytes, list[bytes]]:
        """Do what :meth:`encode_messages` does, for an EVENT."""
        if id is not None or namespace != "/":
            return self._encode(EVENT, namespace, data, id, prefix)
        try:
            return prefix + b"2" + _dumps(data, None, _OPTIONS), []
        except TypeError:
            pass
        return self._encode_any(EVENT, namespace, data, id, prefix)

    def encode_ack(
        self,
        namespace: str,
        data: Sequence[Any],
        id: int,  # noqa: A002
        prefix: bytes,
    ) -> tuple[bytes, list[bytes]]:
        """Do what :meth:`encode_messages` does, for an ACK."""
        if namespace != "/":
            return self._encode(ACK, namespace, data, id, prefix)
        try:
            return b"%b3%d%b" % (prefix, id, _dumps(data, None, _OPTIONS)), []
        except TypeError:
            pass
        return self._encode_any(ACK, namespace, data, id, prefix)

    def _encode(
        self,
        kind: int,
        namespace: str,
        data: Sequence[Any],
        id: int | None,  # noqa: A002
        prefix: bytes,
    ) -> tuple[bytes, list[bytes]]:
        # Nearly every payload is plain, and then the first attempt is all there is: no hook, no objects made.
        try:
            return prefix + _head(kind, 0, namespace, id) + _dumps(data, None, _OPTIONS), []
        except TypeError:
            pass
        return self._encode_any(kind, namespace, data, id, prefix)

    def _encode_any(
        self,
        kind: int,
        namespace: str,
        data: Sequence[Any],
        id: int | None,  # noqa: A002
        prefix: bytes,
    ) -> tuple[bytes, list[bytes]]:
        text, attachments = self._write(data, True)
        count = len(attachments)
        if count > self._max_attachments:
            raise LocalProtocolError(f"too many attachments: {count}, allowed are {self._max_attachments}")
        if count:
            kind += BINARY_EVENT - EVENT
        return prefix + _head(kind, count, namespace, id) + text, attachments

    def _write(self, data: object, extract: bool) -> tuple[bytes, list[bytes]]:
        """Return the JSON text and the attachments of a payload that may hold anything."""
        extractor = Extractor(self._default, extract)
        try:
            return _dumps(data, extractor.take, _OPTIONS), extractor.attachments
        except TypeError:
            # Refused as it is: lone surrogates, large integers, keys that are no strings; or for good.
            extractor.attachments.clear()
        try:
            return _dumps(extractor.rewrite(data)), extractor.attachments
        except RecursionError:
            raise ValueError("the payload is circular, or nested too deeply") from None


class JsonDecoder(Decoder):
    """The decoder of :class:`JsonParser`.

    It takes what the JavaScript implementation takes, except where that is an accident of its language:
    counts are digits only, numbers are finite, and no attachment is used twice. What is large is refused
    before it costs memory: ``attachments``, ``attachment_bytes`` and ``json_*`` of the limits.
    """

    __slots__ = (
        "_allow_nonfinite",
        "_allow_reuse",
        "_attachments",
        "_depth",
        "_expected",
        "_integer_bits",
        "_large_integer",
        "_limits",
        "_packet",
        "_received_bytes",
        "_reviver",
        "_unchecked",
        "_uncounted",
        "waiting",
    )

    def __init__(
        self,
        limits: Limits,
        allow_placeholder_reuse: bool = False,
        reviver: Callable[[str, Any], Any] | None = None,
        allow_nonfinite: bool = False,
    ) -> None:
        self._limits = limits
        self._allow_reuse = allow_placeholder_reuse
        self._allow_nonfinite = allow_nonfinite
        self._reviver = reviver
        self._integer_bits = 0
        self._large_integer: re.Pattern[str] | None = None
        if limits.integer_bits is not None:
            # A number with fewer digits is within the bound.
            self._integer_bits = limits.integer_bits
            self._large_integer = re.compile(f"[0-9]{{{len(str(1 << limits.integer_bits))}}}")
        # Texts as short as this cannot hold too many values, or be nested too deeply: each level takes two
        # characters, each further value one.
        self._depth = limits.json_depth
        self._uncounted = limits.json_items
        self._unchecked = min(2 * limits.json_depth, limits.json_items)
        if reviver is not None or limits.integer_bits is not None:
            self._uncounted = -1
            self._unchecked = -1
        self.waiting = False
        self._packet: Packet | None = None
        self._expected = 0
        self._attachments = _NO_ATTACHMENTS
        self._received_bytes = 0

    def reset(self) -> None:
        """Forget an unfinished packet and its attachments."""
        self.waiting = False
        self._packet = None
        self._attachments = _NO_ATTACHMENTS

    def add(self, message: object) -> Packet | None:
        """Take one message; return the packet it completes, or ``None`` while attachments are outstanding.

        :raises InvalidPacket: if it cannot be parsed or is not allowed now; a packet it broke is forgotten.
        """
        try:
            if isinstance(message, str):
                if self.waiting:
                    self.reset()
                    raise InvalidPacket("got plaintext data when reconstructing a packet")
                if message[:1] == "2" and self._reviver is None:
                    # Most packets by far: an event of the main namespace.
                    start = message.find("[", 1, _MAX_ID_DIGITS + 2)
                    digits = message[1:start] if start > 1 else ""
                    if start == 1 or (digits.isdigit() and digits.isascii()):
                        text = message[start:]
                        data: Any = None
                        if len(text) <= self._unchecked:  # as in _load
                            try:
                                data = _loads(text)
                            except ValueError:
                                data = self._load_carefully(text)
                        else:
                            data = self._load(text)
                        if not data:
                            raise InvalidPacket("invalid payload")
                        name = data[0]
                        if (name in RESERVED_EVENTS) if type(name) is str else not is_event_data(data):
                            raise InvalidPacket("invalid payload")
                        return Packet(EVENT, "/", data, int(digits) if digits else None)
                return self._decode(message)
            if isinstance(message, bytes | bytearray | memoryview):
                return self._attach(message)
        except (RecursionError, MemoryError):
            # The caller may stand deep in a stack already; whatever it was, the packet was not read. There
            # may be no room for a call, so this is reset(), by hand.
            self.waiting = False
            self._packet = None
            self._attachments = _NO_ATTACHMENTS
            raise InvalidPacket("invalid payload") from None
        raise InvalidPacket(f"Unknown type: {type(message).__name__}")

    def _decode(self, message: str) -> Packet | None:
        """Decode any text message, field by field."""
        kind = _TYPES.find(message[:1]) if message else -1
        if kind < 0:
            # The text of the JavaScript implementation, whose number of a letter is NaN.
            first = message[:1]
            raise InvalidPacket(f"unknown packet type {first if first in ('7', '8', '9') else 'NaN'}")
        position = 1

        count = 0
        if kind >= BINARY_EVENT:
            # The number of attachments and a dash: at least one, or nothing would end the packet.
            match = _DIGITS.match(message, 1)
            position = 1 if match is None else match.end()
            if match is None or message[position : position + 1] != "-":
                raise InvalidPacket("Illegal attachments")
            digits = match.group().lstrip("0")
            if not digits:
                raise InvalidPacket("Illegal attachments")
            if len(digits) > _MAX_COUNT_DIGITS or int(digits) > self._limits.attachments:
                raise PayloadTooLarge("too many attachments", "attachments")
            count = int(digits)
            kind -= BINARY_EVENT - EVENT
            position += 1

        namespace = "/"
        if message[position : position + 1] == "/":
            end = message.find(",", position)
            if end < 0:
                end = len(message)
            namespace = message[position:end]
            if end - position > self._limits.namespace_length:
                self._check_namespace(kind, namespace)
            position = end + 1

        # The payload of an event or ack is an array. Any other type has no use for an id, which is tolerated.
        if EVENT <= kind <= ACK:
            start = message.find("[", position)
        else:
            match = _DIGITS.match(message, position)
            start = position if match is None else match.end()
        digits = message[position:] if start < 0 else message[position:start]
        ack_id: int | None = None
        if digits:
            if not digits.isascii() or not digits.isdigit():
                raise InvalidPacket("invalid payload")
            if len(digits) > _MAX_ID_DIGITS:
                raise InvalidPacket("invalid packet id")
            ack_id = int(digits)

        # Without a payload there is nothing to check: "2" is an event without a name, which nobody hears.
        data: Any = None
        if EVENT <= kind <= ACK:
            if start < 0:
                data = []
            else:
                data = self._load(message[start:])
                if not (is_event_data(data) if kind == EVENT else isinstance(data, list)):
                    raise InvalidPacket("invalid payload")
        elif start < len(message):
            data = self._load(message[start:])
            if kind == CONNECT:
                valid = isinstance(data, dict)
            else:
                valid = kind == CONNECT_ERROR and isinstance(data, str | dict)
            if not valid:
                raise InvalidPacket("invalid payload")

        packet = Packet(kind, namespace, data, ack_id)
        if count == 0:
            return packet
        self._packet = packet
        self._expected = count
        self._attachments = []
        self._received_bytes = 0
        self.waiting = True
        return None

    def _check_namespace(self, kind: int, namespace: str) -> None:
        # A client of Socket.IO 2 carries its parameters here when it connects: "/chat?token=...".
        name, _, query = namespace.partition("?") if kind == CONNECT else (namespace, "", "")
        if len(name) > self._limits.namespace_length or len(query) > _MAX_QUERY_LENGTH:
            raise PayloadTooLarge("invalid namespace", "namespace_length")

    def _attach(self, attachment: bytes | bytearray | memoryview) -> Packet | None:
        """Take one attachment; put all in their places after the last."""
        packet = self._packet
        if packet is None:
            raise InvalidPacket("got binary data when not reconstructing a packet")
        if not isinstance(attachment, bytes):
            attachment = bytes(attachment)
        self._received_bytes += len(attachment)
        if self._received_bytes > self._limits.attachment_bytes:
            self.reset()
            raise PayloadTooLarge("attachments too large", "attachment_bytes")
        attachments = self._attachments
        attachments.append(attachment)
        if len(attachments) < self._expected:
            return None
        self.reset()
        reconstruct(packet.data, attachments, self._allow_reuse)
        return packet

    def _load(self, text: str) -> Any:
        """Return the value of a JSON text.

        :raises InvalidPacket: if it is none, or over a limit.
        """
        size = len(text)
        if size <= self._unchecked or (size <= self._uncounted and _is_shallow(text, self._depth)):
            try:
                return _loads(text)
            except ValueError:
                pass
        return self._load_carefully(text)

    def _load_carefully(self, text: str) -> Any:
        limits = self._limits
        if _count_values(text, limits.json_items) > limits.json_items:
            raise PayloadTooLarge("invalid payload: too many values", "json_items")
        value: Any = None
        valid = False
        try:
            value = _loads(text)
            valid = True
        except ValueError:
            pass
        if not valid:
            # orjson refuses half of a surrogate pair, as JavaScript strings may have it; it becomes U+FFFD
            # (RFC 8259 section 8.2).
            try:
                value = _loads(_SURROGATE_ESCAPE.sub(_mend_escape, text))
                valid = True
            except ValueError:
                pass
        if not valid and self._allow_nonfinite and not _is_deeper(text, limits.json_depth):
            # orjson refuses numbers that no float can hold. The names of those that are none are no JSON anywhere.
            try:
                value = json.loads(_SURROGATE_ESCAPE.sub(_mend_escape, text), parse_constant=_refuse_constant)
                valid = True
            except ValueError:
                pass
        if not valid:
            # orjson has a bound of its own, which is looser than most.
            deeper = text.count("[") + text.count("{") > limits.json_depth and _is_deeper(
                text, limits.json_depth
            )
            if deeper:
                raise PayloadTooLarge("invalid payload", "json_depth")
            raise InvalidPacket("invalid payload")
        if _is_deeper(text, limits.json_depth):
            raise PayloadTooLarge("invalid payload: nested too deeply", "json_depth")
        if self._large_integer is not None and self._large_integer.search(text) is not None:
            self._check_integers(text)
        if self._reviver is not None:
            value = self._revive(value)
        return value

    def _check_integers(self, text: str) -> None:
        # orjson has turned the largest ones into floats by now, so they are read once more.
        valid = False
        try:
            json.loads(text, parse_int=self._parse_integer, parse_float=len)
            valid = True
        except ValueError:
            pass
        if not valid:
            raise PayloadTooLarge("invalid payload: integer too large", "integer_bits")

    def _parse_integer(self, digits: str) -> int:
        # Digits are counted first: int() takes time that grows with their square.
        if len(digits) > self._integer_bits + 2 or int(digits).bit_length() > self._integer_bits:
            raise ValueError(digits)
        return 0

    def _revive(self, value: object) -> object:
        valid = False
        try:
            value = _revive("", value, self._reviver)
            valid = True
        except Exception:  # noqa: S110 - the application's; as in JSON.parse, anything it raises
            pass
        if not valid:
            raise InvalidPacket("invalid payload")
        return value


def _refuse_constant(name: str) -> float:
    raise ValueError(name)


def _head(kind: int, count: int, namespace: str, ack_id: int | None) -> bytes:
    """Return what stands before the payload."""
    head = f"{kind}{count}-" if count else str(kind)
    if namespace != "/":
        head = f"{head}{namespace},"
    if ack_id is not None:
        head = f"{head}{ack_id}"
    return head.encode()


def _mend_escape(match: re.Match[str]) -> str:
    return match.group() if match.group(1) is None else "\\ufffd"


def _outside_strings(text: str) -> str:
    """Return a JSON text without its strings."""
    if "\\" in text:
        text = text.replace("\\\\", "").replace('\\"', "")
    return "".join(text.split('"')[::2])


def _count_values(text: str, limit: int) -> int:
    """Count the commas, brackets and braces of a JSON text; exactly only if they are more than ``limit``."""
    if len(text) <= limit:
        return 0
    count = text.count(",") + text.count("[") + text.count("{")
    if count > limit:
        text = _outside_strings(text)
        count = text.count(",") + text.count("[") + text.count("{")
    return count


def _is_shallow(text: str, limit: int) -> bool:
    """Say whether so little opens in a JSON text that it cannot be nested deeper than ``limit``."""
    # A long text is mostly one string: to look for the few brackets is far cheaper than to count them.
    found = 0
    for bracket in ("[", "{"):
        position = text.find(bracket)
        while position >= 0 and found < _FEW:
            found += 1
            position = text.find(bracket, position + 1)
    if found < _FEW and found <= limit:
        return True
    openings = text.count("[") + text.count("{")
    if openings <= limit:
        return True
    # What opens right after the end of its neighbour is open in place of it, not inside it: the rows of a
    # table are many brackets and no depth.
    openings -= text.count("},{")
    return openings <= limit or openings - text.count("],[") <= limit


def _is_deeper(text: str, limit: int) -> bool:
    """Say whether a valid JSON text is nested deeper than ``limit``."""
    if _is_shallow(text, limit):
        return False
    brackets = _outside_strings(text).encode("utf-8", "replace").translate(_BRACKETS, _NOT_BRACKETS)
    for _ in range(limit):
        # Each round takes away the innermost level of every branch.
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return False
    return True


def _revive(key: str, value: Any, reviver: Any) -> Any:
    # Not deeper than Limits.json_depth, which was checked.
    if isinstance(value, dict):
        for name in value:
            value[name] = _revive(name, value[name], reviver)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            value[index] = _revive(str(index), item, reviver)
    return reviver(key, value)
