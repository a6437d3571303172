"""What must be true of a history, and of the log that was left on disk. Every rule names its anomaly.

A history is a list of events in the order in which they happened; all of it comes from one process, so that order is
real time. A client that reloads its page begins a new life: what is delivered is looked at for each life alone.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Anomalies", "Event", "Row", "check"]

Kind = Literal["open", "invoke", "ok", "fail", "deliver", "final"]
Anomalies = dict[str, list[str]]

FIRST_PAGE = 50
"""Messages that a room shows when it is opened, unless there are fewer."""


@dataclass(frozen=True, slots=True)
class Event:
    """One line of a history.

    :ivar client: who did it.
    :ivar life: counts the times that client has loaded its page.
    :ivar id: the id of the message; clients of the tutorial do not know it of what is delivered.
    :ivar seq: its place in the room, 0 if that is not known; for ``open`` the place before the first that was shown,
        for ``final`` the last one that was applied.
    :ivar count: for ``open``, how many messages were shown.
    """

    kind: Kind
    client: str
    room: str
    id: str = ""
    text: str = ""
    seq: int = 0
    life: int = 0
    count: int = 0

    @classmethod
    def parse(cls, line: Mapping[str, Any]) -> Event:
        """Make an event of what the clients' process has printed."""
        return cls(**{name: line[name] for name in cls.__slots__ if name in line})


@dataclass(frozen=True, slots=True)
class Row:
    """One message in the log on disk."""

    room: str
    seq: int
    id: str
    text: str


def check(history: Iterable[Event], log: Iterable[Row], members: Mapping[str, Iterable[str]]) -> Anomalies:
    """Return what is wrong, by the name of the anomaly; nothing if all is well.

    :param members: the rooms of each client; it must have synchronised all of them at the end.
    """
    found: Anomalies = defaultdict(list)
    events = list(history)
    rows = check_log(log, found)
    check_sending(events, rows, found)
    check_delivery(events, rows, found)
    check_end(events, rows, members, found)
    return dict(found)


def check_log(log: Iterable[Row], found: Anomalies) -> dict[str, Row]:
    """The numbers of each room are 1, 2, 3 and so on, and each message is there once."""
    rows: dict[str, Row] = {}
    numbers: dict[str, list[int]] = defaultdict(list)
    for row in log:
        if row.id in rows:
            found["stored twice"].append(row.id)
        rows[row.id] = row
        numbers[row.room].append(row.seq)
    for room, seqs in numbers.items():
        if sorted(seqs) != list(range(1, len(seqs) + 1)):
            found["hole in the log"].append(room)
    return rows


def check_sending(events: list[Event], rows: Mapping[str, Row], found: Anomalies) -> None:
    """Who was told that a message is stored, was told the truth; and the log has the order of sending."""
    invoked: dict[str, tuple[int, Event]] = {}
    answered: dict[str, int] = {}
    refused: set[str] = set()
    for time, event in enumerate(events):
        if (
            event.kind == "invoke"
        ):  # what was refused and is said again, is said then; a repetition changes nothing
            if event.id not in invoked or event.id in refused:
                invoked[event.id] = (time, event)
            refused.discard(event.id)
        elif event.kind == "fail":
            refused.add(event.id)
        elif event.kind == "ok":
            answered.setdefault(event.id, time)
            row = rows.get(event.id)
            if row is None:
                found["acknowledged, not stored"].append(event.id)
            elif event.seq and (row.room, row.seq) != (event.room, event.seq):
                found["divergence"].append(f"{event.id}: {event.seq} acknowledged, {row.seq} stored")
    for number in refused & rows.keys():
        found["refused, but stored"].append(number)
    for number, row in rows.items():
        if number not in invoked or (row.room, row.text) != (
            invoked[number][1].room,
            invoked[number][1].text,
        ):
            found["phantom"].append(number)
    sequences: dict[tuple[str, str], list[tuple[int, int, str]]] = defaultdict(list)
    spans: dict[str, list[tuple[int, float, float, str]]] = defaultdict(list)
    for number, (time, event) in invoked.items():
        row = rows.get(number)
        if row is not None:
            sequences[event.client, event.room].append((time, row.seq, number))
            spans[event.room].append((row.seq, time, answered.get(number, math.inf), number))
    for sequence in sequences.values():
        sequence.sort()
        for (_, before, _), (_, after, number) in itertools.pairwise(sequence):
            if after < before:
                found["order of the sender"].append(number)
    for span in spans.values():
        earliest, by = math.inf, ""
        for _, start, end, number in sorted(
            span, reverse=True
        ):  # what has a larger number, and was answered before?
            if start > earliest:
                found["order of time"].append(f"{number} after {by}")
            if end < earliest:
                earliest, by = end, number


def check_delivery(events: list[Event], rows: Mapping[str, Row], found: Anomalies) -> None:
    """What a client applied is what the log says, one by one and without a gap."""
    last: dict[tuple[str, int, str], int] = {}
    places = {(row.room, row.seq): row for row in rows.values()}
    for event in events:
        if event.kind != "deliver":
            continue
        row = places.get((event.room, event.seq))
        if row is None:
            found["delivered, not stored"].append(f"{event.id}: {event.text}")
        elif (row.id, row.text) != (event.id or row.id, event.text):
            found["divergence"].append(f"{event.room} {event.seq}: {row.text} stored, {event.text} delivered")
        key = (event.client, event.life, event.room)
        before = last.get(key)
        where = f"{event.client} in {event.room}: {event.seq} after {before}"
        if before is not None and event.seq == before:
            found["duplicate"].append(where)
        elif before is not None and event.seq < before:
            found["reordered"].append(where)
        elif before is not None and event.seq > before + 1:
            found["gap"].append(where)
        last[key] = event.seq


def check_end(
    events: list[Event], rows: Mapping[str, Row], members: Mapping[str, Iterable[str]], found: Anomalies
) -> None:
    """Who has synchronised at the end has everything that was said since that life began."""
    heads: Counter[str] = Counter()
    for row in rows.values():
        heads[row.room] = max(heads[row.room], row.seq)
    applied: dict[tuple[str, int, str], list[int]] = defaultdict(list)
    opened: dict[tuple[str, int, str], int] = {}
    lives: Counter[str] = Counter()
    finished: set[tuple[str, str]] = set()
    for event in events:
        lives[event.client] = max(lives[event.client], event.life)
        if event.kind == "deliver":
            applied[event.client, event.life, event.room].append(event.seq)
        elif event.kind == "open":
            if (event.client, event.life, event.room) in opened:
                found["opened again"].append(f"{event.client} in {event.room}")
            if event.seq > 0 and event.count < FIRST_PAGE:
                found["opened too late"].append(
                    f"{event.client} in {event.room}: {event.count} after {event.seq}"
                )
            opened[event.client, event.life, event.room] = event.seq
        elif event.kind == "final":
            finished.add((event.client, event.room))
    for client, rooms in members.items():
        for room in rooms:
            life = lives[client]
            seqs = sorted(applied[client, life, room])
            if (client, room) not in finished:
                found["not synchronised"].append(f"{client} in {room}")
                continue
            expected = range(opened.get((client, life, room), 0) + 1, heads[room] + 1)
            present = [seq for seq in expected if is_in(seqs, seq)]
            if len(present) != len(expected):
                found["lost"].append(f"{client} in {room}: {len(expected) - len(present)} of {len(expected)}")


def is_in(ordered: list[int], number: int) -> bool:
    """Tell whether a sorted list has a number."""
    place = bisect_left(ordered, number)
    return place < len(ordered) and ordered[place] == number
