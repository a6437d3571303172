"""Was every message seen by everybody exactly once, in the order of the log, and is it stored?"""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from benchmarks.chat.wire import ROOM


def stored_ids(database: Path) -> list[str]:
    """The senders' ids of the messages in the room, in the order of the log."""
    with closing(sqlite3.connect(database)) as connection:
        rows = connection.execute("SELECT client_offset FROM messages WHERE room = ? ORDER BY seq", (ROOM,))
        return [row[0] for row in rows]


def fault_of_log(stored: Sequence[str], acknowledged: int) -> str | None:
    """What is wrong with the log after so many acknowledgements."""
    if len(stored) != acknowledged:
        return f"{acknowledged:,} messages were acknowledged, {len(stored):,} are stored"
    if len(set(stored)) != len(stored):
        return "a message is stored twice"
    return None


def fault_of_member(stored: Sequence[str], places: Sequence[int], ids: Sequence[str]) -> str | None:
    """What is wrong with what a member has seen, in the order of arrival."""
    for expected, place in enumerate(places, 1):
        if place != expected:
            return f"place {place:,} came where {expected:,} was due"
    if len(places) != len(stored):
        return f"{len(places):,} messages were seen, {len(stored):,} are stored"
    for place, (seen, kept) in enumerate(zip(ids, stored, strict=True), 1):
        if seen != kept:
            return f"message {seen} was seen at place {place:,}, where {kept} is stored"
    return None
