"""How messages are written for MongoDB: one document each, as BSON (https://bsonspec.org/spec.html)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import bson
from bson import Binary, ObjectId
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.errors import BSONError

from sio_core.adapters.messages import Message, message_from
from sio_core.errors import InvalidPacket
from sio_core.socketio.values import Rewriter, iso_date

__all__ = ["DATABASE", "EVENTS", "SESSION", "DocumentCodec", "database_of", "offset_of", "read_document"]

SESSION: Final = 13
"""The type of a document that keeps a lost session, or says that it was claimed."""

DATABASE: Final = "socket_io"
"""The database, if neither the address nor an option names one."""

EVENTS: Final = "socket.io-adapter-events"
"""The collection that the official documentation uses."""

INT32: Final = 2**31
"""Beyond this JavaScript writes integers as floating point numbers."""

MAX_DEPTH: Final = 100
"""MongoDB accepts no document that is nested more deeply."""

READING: Final[CodecOptions[dict[str, Any]]] = CodecOptions(
    tz_aware=True,
    tzinfo=UTC,
    unicode_decode_error_handler="replace",
    datetime_conversion=DatetimeConversion.DATETIME_AUTO,
)
"""Nothing that another node has written makes reading fail."""


class BsonRewriter(Rewriter):
    """Makes of an application's values what BSON has."""

    __slots__ = ()

    def binary(self, value: bytes | bytearray | memoryview) -> object:
        return bytes(value)

    def moment(self, value: datetime) -> object:
        return iso_date(value) if value.utcoffset() is None else value

    def large_integer(self, value: int) -> object:
        return float(value)


class DocumentCodec:
    """Writes messages.

    :param default: converts what nobody else can, as in :func:`json.dumps`; the parser's.
    """

    __slots__ = ("_default", "_options")

    def __init__(self, default: Callable[[Any], Any] | None = None) -> None:
        self._default = default
        self._options: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)

    def encode(self, message: Message, number: ObjectId, created_at: datetime | None = None) -> bytes:
        """Return a message as BSON, its keys in the order in which JavaScript writes them.

        :param number: the ``_id``.
        :param created_at: is written too, if given, for collections that forget by time.
        :raises TypeError: if something in it cannot be sent.
        :raises ValueError: if it is circular, or nested too deeply.
        """
        document: dict[str, Any] = message.to_wire()
        if created_at is not None:
            document["createdAt"] = created_at
        try:
            return with_number(bson.encode(document, codec_options=self._options), number)
        except (BSONError, TypeError, ValueError, OverflowError, RecursionError):
            pass  # bytearrays, keys that are no strings, large integers, other types; or refused for good
        rewriter = BsonRewriter(self._default)
        try:
            document["data"] = rewriter.rewrite(message.data)
            return with_number(bson.encode(document, codec_options=self._options), number)
        except RecursionError:
            raise ValueError("the payload is circular, or nested too deeply") from None
        except BSONError as error:
            raise ValueError(f"the payload cannot be written as BSON: {error}") from error


def with_number(document: bytes, number: ObjectId) -> bytes:
    """Add the ``_id`` at the end, where JavaScript writes it: pymongo would write it first."""
    element = b"\x07_id\x00" + number.binary
    return (len(document) + len(element)).to_bytes(4, "little") + document[4:-1] + element + b"\x00"


def offset_of(document: bytes) -> str:
    """Return the ``_id`` of a document that was written here: it is the last thing in it, before the final zero."""
    return document[-13:-1].hex()


def read_document(document: bytes | memoryview) -> Message:
    """Return the message of a document, with its ``_id`` as the offset.

    :raises InvalidPacket: if it is none.
    """
    value = bson.decode(document, READING)
    number = value.pop("_id", None)
    value.pop("createdAt", None)
    try:
        message = message_from(plain(value, MAX_DEPTH))
    except RecursionError:
        raise InvalidPacket("a document of the cluster is nested too deeply") from None
    if not message.nsp:
        raise InvalidPacket("a document of the cluster has no nsp")
    if isinstance(number, ObjectId):
        message.offset = str(number)
    return message


def plain(value: Any, depth: int) -> Any:
    """Return a value of BSON with the types that applications know."""
    kind = type(value)
    if kind is str or kind is bool or kind is int or value is None or kind is bytes or kind is datetime:
        return value
    if kind is float:
        return int(value) if value.is_integer() and INT32 <= abs(value) < 2**53 else value
    if not depth:
        raise RecursionError
    if kind is dict:
        return {key: plain(item, depth - 1) for key, item in value.items()}
    if kind is list:
        return [plain(item, depth - 1) for item in value]
    if isinstance(value, int):  # bson.Int64
        return int(value)
    if isinstance(value, Binary):
        return bytes(value)
    return str(value)


def database_of(url: str, database: str | None) -> str:
    """Return the name of the database: the option, or what the address names.

    :raises ValueError: if the address is none of MongoDB; the message tells no password.
    """
    scheme, separator, rest = url.partition("://")
    if scheme not in {"mongodb", "mongodb+srv"} or not separator or not rest:
        raise ValueError(f"the address must begin with mongodb:// or mongodb+srv://, not {scheme!r}")
    if database is not None:
        return database
    path = rest.partition("/")[2].partition("?")[0]
    return path or DATABASE
