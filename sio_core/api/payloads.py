"""Typed payloads: the annotations of a listener's parameters, turned into converters.

msgspec converts builtins, ``TypedDict``, dataclasses and ``msgspec.Struct``; pydantic converts where one of its own
types is used. What is not annotated passes as it came.
"""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable
from typing import Any

import msgspec

from sio_core.errors import InvalidPacket

__all__ = ["Converter", "InvalidPayload", "make_converter"]

Converter = Callable[[Any], Any]


class InvalidPayload(InvalidPacket):
    """The arguments of an event do not fit its listener's annotations. The event is dropped, nothing else.

    :ivar event: the event's name.
    :ivar parameter: the parameter's name.
    """

    def __init__(self, event: str, parameter: str, cause: str) -> None:
        super().__init__(f"event {event!r}, parameter {parameter!r}: {cause}")
        self.event = event
        self.parameter = parameter


def make_converter(annotation: Any) -> Converter | None:
    """Return what converts a received value to ``annotation``; ``None`` if it passes unchanged.

    :raises TypeError: for an annotation that nothing received can be converted to.
    """
    if annotation is Any or annotation is object or annotation is inspect.Parameter.empty:
        return None
    if is_pydantic(annotation):
        from pydantic import TypeAdapter  # noqa: PLC0415 - only an application that uses pydantic has it

        adapter = TypeAdapter(annotation)
        return adapter.validate_python
    try:
        msgspec.json.Decoder(
            annotation
        )  # finds out now, not at the first event, whether the type is supported
    except TypeError as error:
        raise TypeError(f"a listener's parameter cannot have the type {annotation!r}: {error}") from None
    return lambda value: msgspec.convert(value, annotation)


def is_pydantic(annotation: Any) -> bool:
    """Whether pydantic's own types are part of an annotation."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if hasattr(annotation, "__pydantic_core_schema__") or hasattr(annotation, "__pydantic_fields__"):
            return True
        if dataclasses.is_dataclass(annotation) or issubclass(annotation, msgspec.Struct):
            return False
    return any([is_pydantic(argument) for argument in typing.get_args(annotation)])
