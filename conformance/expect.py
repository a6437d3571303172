"""How a check says what it wanted and what it saw."""

from __future__ import annotations

from typing import Any


class MismatchError(AssertionError):
    """The server did something else than the requirement says."""

    def __init__(self, expected: str, seen: str) -> None:
        super().__init__(f"expected {expected}, seen {seen}")
        self.expected = expected
        self.seen = seen


def expect(condition: bool, expected: str, seen: Any) -> None:
    if not condition:
        raise MismatchError(expected, shown(seen))


def expect_equal(seen: Any, expected: Any, what: str = "") -> None:
    if seen != expected or type(seen) is not type(expected):
        prefix = f"{what}: " if what else ""
        raise MismatchError(prefix + shown(expected), shown(seen))


def shown(value: Any) -> str:
    text = str(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= 400 else f"{text[:400]}… ({len(text)} characters)"
