"""From an application's values to what the encoders can write. Used by every parser, knows none of them.

``orjson`` and ``msgspec`` write the common types themselves. What they hand back comes here: objects that can
describe themselves (:func:`describe`), and, as the slow second attempt, whole payloads with something in them
that the fast encoder refuses (:class:`Rewriter`).
"""

from __future__ import annotations

import dataclasses
import enum
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, time
from typing import Any, Final
from uuid import UUID

import msgspec

__all__ = ["MAX_DEPTH", "Rewriter", "describe", "iso_date", "key_text", "mend_text"]

# How deep an outgoing payload may be: what orjson writes. Deeper is almost always a circle.
MAX_DEPTH: Final = 254

# msgspec.to_builtins leaves these as they are: the encoders have their own way with each.
_KEPT_TYPES: Final = (bytes, bytearray, memoryview, datetime, date, time, UUID)


def describe(value: object, default: Callable[[Any], Any] | None) -> object:
    """Return plain data for an object the encoder does not know.

    :raises TypeError: if there is none; the message names the type.
    """
    if isinstance(value, msgspec.Struct):
        return msgspec.to_builtins(value, builtin_types=_KEPT_TYPES, enc_hook=default)
    if not isinstance(value, type):
        model_dump = getattr(value, "model_dump", None)
        if callable(model_dump):
            return model_dump()
    # The encoders know dict, and orjson no subclass of the other two.
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, float):
        return float(value)
    if default is not None:
        return default(value)
    raise TypeError(f"{type(value).__name__} cannot be sent: it has no JSON form")


def iso_date(moment: datetime) -> str:
    """Return a moment as JavaScript's ``Date`` writes itself in JSON; one without a time zone as it is."""
    if moment.utcoffset() is None:
        return moment.isoformat()
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:  # in UTC it is outside of the years that Python has
        return moment.isoformat()
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def mend_text(text: str) -> str:
    """Return ``text`` with every surrogate that has no partner replaced by U+FFFD.

    RFC 8259 section 8.2: what a receiver makes of lone surrogates is unpredictable, so none is ever sent.
    """
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def key_text(key: object) -> str:
    """Return the name under which JavaScript would keep ``key`` in an object.

    :raises TypeError: if no one could read it back.
    """
    if isinstance(key, enum.Enum):
        key = key.value
    if isinstance(key, str):
        return mend_text(key)
    if key is None:
        return "null"
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, int):
        return str(int(key))
    if isinstance(key, float):
        if not math.isfinite(key):
            return "NaN" if key != key else "Infinity" if key > 0 else "-Infinity"  # noqa: PLR0124
        return str(int(key)) if key.is_integer() and abs(key) < 1e21 else repr(float(key))
    if isinstance(key, UUID):
        return str(key)
    if isinstance(key, datetime | date | time):
        return key.isoformat()
    raise TypeError(f"{type(key).__name__} cannot be the key of an object that is sent")


class Rewriter(ABC):
    """Copies a payload into plain lists and dicts, with everything replaced that the encoder refuses.

    Subclasses say what becomes of bytes, moments and large integers.
    """

    __slots__ = ("_default",)

    def __init__(self, default: Callable[[Any], Any] | None) -> None:
        self._default = default

    @abstractmethod
    def binary(self, value: bytes | bytearray | memoryview) -> object:
        """Return what stands for binary data."""

    @abstractmethod
    def moment(self, value: datetime) -> object:
        """Return what stands for a date with a time."""

    @abstractmethod
    def large_integer(self, value: int) -> object:
        """Return what stands for an integer that does not fit in 64 bits."""

    def rewrite(self, value: object, depth: int = MAX_DEPTH) -> object:
        """Return the copy.

        :raises ValueError: if the payload is nested too deeply, which a circle is.
        :raises TypeError: if something in it cannot be sent; the message names its type.
        """
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, enum.Enum):
            return self.rewrite(value.value, depth - 1)
        if isinstance(value, str):
            return mend_text(value)
        if isinstance(value, int):
            return int(value) if -(2**63) <= value < 2**64 else self.large_integer(int(value))
        if isinstance(value, float):
            return float(value)
        if isinstance(value, bytes | bytearray | memoryview):
            return self.binary(value)
        if isinstance(value, datetime):
            return self.moment(value)
        if isinstance(value, date | time | UUID):
            return value
        if depth <= 0:
            raise ValueError("the payload is circular, or nested too deeply")
        if isinstance(value, list | tuple):
            return [self.rewrite(item, depth - 1) for item in value]
        if isinstance(value, Mapping):
            return {key_text(key): self.rewrite(item, depth - 1) for key, item in value.items()}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            # As orjson does it: fields only, and none that is private.
            return {
                field.name: self.rewrite(getattr(value, field.name), depth - 1)
                for field in dataclasses.fields(value)
                if not field.name.startswith("_")
            }
        return self.rewrite(describe(value, self._default), depth - 1)
