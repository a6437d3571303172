"""Attachments and their placeholders: the binary half of the JSON parser.

Socket.IO protocol v5, "Packet encoding": binary data leaves the JSON text, ``{"_placeholder":true,"num":n}``
stands in its place, and the data follows in messages of its own, in the order of the numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time
from typing import Any

import orjson

from sio_core.errors import InvalidPacket
from sio_core.socketio.values import Rewriter, describe, iso_date

__all__ = ["Extractor", "reconstruct"]


class Extractor(Rewriter):
    """Collects the attachments of one outgoing packet while its JSON is written.

    :param default: the application's own conversion, for types nobody knows.
    :param extract: whether binary data may leave as attachments; if not, it is an error.
    :ivar attachments: what was found, in the order of the placeholders.
    """

    __slots__ = ("_extract", "attachments")

    def __init__(self, default: Callable[[Any], Any] | None, extract: bool) -> None:
        super().__init__(default)
        self._extract = extract
        self.attachments: list[bytes] = []

    def take(self, value: object) -> object:
        """Be the ``default`` hook of ``orjson``: a placeholder for binary data, plain data for objects."""
        if isinstance(value, bytes | bytearray | memoryview):
            return self.binary(value)
        if isinstance(value, datetime):
            return iso_date(value)
        if isinstance(value, date | time):
            return value.isoformat()
        return describe(value, self._default)

    def binary(self, value: bytes | bytearray | memoryview) -> object:
        """Return a placeholder, and keep the data: copied now if the application could still change it."""
        if not self._extract:
            raise TypeError(
                f"{type(value).__name__} cannot be sent here: only events and acks carry binary data"
            )
        placeholder = {"_placeholder": True, "num": len(self.attachments)}
        self.attachments.append(value if type(value) is bytes else bytes(value))
        return placeholder

    def moment(self, value: datetime) -> object:
        """Return what JavaScript writes."""
        return iso_date(value)

    def large_integer(self, value: int) -> object:
        """Return the digits as they are: JSON has no bound (RFC 8259 section 6)."""
        return orjson.Fragment(str(value).encode())


def reconstruct(data: list[Any], attachments: list[bytes], allow_reuse: bool) -> None:
    """Put the attachments back in the places of their placeholders, in ``data`` itself.

    Fewer placeholders than attachments are allowed, as in the JavaScript implementation. Using one attachment
    twice is not (unless ``allow_reuse``): a small packet could grow without bound when it is sent on.

    :raises InvalidPacket: if a placeholder names no attachment, or one that is taken.
    """
    count = len(attachments)
    taken = [False] * count
    containers: list[Any] = [data]
    while containers:
        container = containers.pop()
        # Both kinds have keys and are changed in place; no key is added, so iterating goes on undisturbed.
        items = container.items() if isinstance(container, dict) else enumerate(container)
        for key, value in items:
            if isinstance(value, dict):
                if value.get("_placeholder") is True:
                    number = value.get("num")
                    # bool is an int in Python, and True is no index.
                    if type(number) is not int or not 0 <= number < count:
                        raise InvalidPacket("illegal attachments")
                    if taken[number] and not allow_reuse:
                        raise InvalidPacket("illegal attachments")
                    taken[number] = True
                    container[key] = attachments[number]
                elif value:
                    containers.append(value)
            elif isinstance(value, list):
                containers.append(value)
