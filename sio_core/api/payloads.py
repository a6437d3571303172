"""Typed payloads: the annotations of a listener's parameters, turned into converters.

msgspec converts builtins, ``TypedDict``, dataclasses and ``msgspec.Struct``; pydantic converts where one of its own
types is used. What is not annotated passes as it came.
"""

from __future__ import annotations

import dataclasses
import inspect
import typing
from collections.abc import Callable
from typing import Any, Final

import msgspec
import msgspec.inspect

from sio_core.errors import InvalidPacket

__all__ = ["Converter", "InvalidPayload", "make_converter"]

Converter = Callable[[Any], Any]

BINARY_TYPES: Final = (bytes, bytearray, memoryview)
"""These come as they are, in attachments: text is never taken for them."""


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
    if uses_pydantic(annotation, set()):
        return make_pydantic_converter(annotation)
    try:
        unknown = find_unknown(msgspec.inspect.type_info(annotation), set())
    except TypeError as error:
        raise TypeError(f"a listener's parameter cannot have the type {annotation!r}: {error}") from None
    if unknown is not None:
        raise TypeError(
            f"a listener's parameter cannot have the type {annotation!r}: nothing received becomes {unknown!r}"
        )
    return lambda value: msgspec.convert(value, annotation, builtin_types=BINARY_TYPES)


def make_pydantic_converter(annotation: Any) -> Converter:
    """Return what converts a received value in pydantic's way.

    :raises TypeError: for an annotation that pydantic makes nothing of.
    """
    from pydantic import PydanticUserError, TypeAdapter  # noqa: PLC0415 - only who uses it has it

    try:
        adapter = TypeAdapter(annotation)
        adapter.rebuild()
    except (PydanticUserError, NameError) as error:
        raise TypeError(f"a listener's parameter cannot have the type {annotation!r}: {error}") from None
    return adapter.validate_python


def uses_pydantic(annotation: Any, seen: set[int]) -> bool:
    """Whether pydantic's own types, or constraints in its way, are part of an annotation."""
    if id(annotation) in seen:
        return False
    seen.add(id(annotation))
    if hasattr(annotation, "__get_pydantic_core_schema__") or hasattr(annotation, "__pydantic_fields__"):
        return True
    if type(annotation).__module__.partition(".")[0] in {"pydantic", "annotated_types"}:
        return True
    parts: list[Any] = list(typing.get_args(annotation))
    is_typed_dict = hasattr(annotation, "__required_keys__")  # also that of typing_extensions
    if dataclasses.is_dataclass(annotation) or is_typed_dict:
        parts.extend(typing.get_type_hints(annotation, include_extras=True).values())
    return any([uses_pydantic(part, seen) for part in parts])


def find_unknown(info: Any, seen: set[int]) -> Any:
    """Return a class that msgspec does not know, if one is part of a type; else ``None``."""
    if isinstance(info, msgspec.inspect.CustomType):
        return info.cls
    if id(info) in seen:
        return None
    seen.add(id(info))
    parts: list[Any] = []
    if isinstance(info, msgspec.Struct):
        parts = [getattr(info, name) for name in info.__struct_fields__]
    elif isinstance(info, tuple):
        parts = list(info)
    for part in parts:
        if isinstance(part, msgspec.inspect.Type | msgspec.inspect.Field | tuple):
            unknown = find_unknown(part, seen)
            if unknown is not None:
                return unknown
    return None
