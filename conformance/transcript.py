"""What was said on the wire during one check, kept so that a failure can show its bytes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

MAX_SHOWN = 1500
"""Bytes of one entry that a report shows; the head of a request or frame says enough."""

MAX_ENTRIES = 200
"""Entries kept for one check: a loop that never ends must not fill the memory."""


@dataclass(frozen=True, slots=True)
class Entry:
    at: float
    """Seconds since the check began."""
    connection: int
    sent: bool
    data: bytes
    length: int
    """Length of the whole, of which ``data`` is the beginning."""

    def line(self) -> str:
        arrow = "->" if self.sent else "<-"
        text = self.data.decode("utf-8", "backslashreplace")
        shown = "".join(character if character.isprintable() else escaped(character) for character in text)
        rest = f" … ({self.length} bytes)" if self.length > len(self.data) else ""
        return f"{self.at * 1000:8.1f} ms  #{self.connection} {arrow} {shown}{rest}"


def escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


@dataclass(slots=True)
class Transcript:
    started_at: float = field(default_factory=time.monotonic)
    entries: list[Entry] = field(default_factory=list)
    connections: int = 0

    def next_connection(self) -> int:
        self.connections += 1
        return self.connections

    def record(self, connection: int, data: bytes, *, sent: bool) -> None:
        if len(self.entries) < MAX_ENTRIES:
            at = time.monotonic() - self.started_at
            self.entries.append(Entry(at, connection, sent, data[:MAX_SHOWN], len(data)))

    def lines(self) -> list[str]:
        return [entry.line() for entry in self.entries]
