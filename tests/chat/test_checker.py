"""The checker itself: histories with planted anomalies, a chat with planted mistakes; then a short run of the chat."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.chat.checker.rules import Event, Row, check
from tests.chat.checker.run import Report, Run
from tests.chat.checker.server import MISTAKES

MEMBERS = {"ann": ["lobby"], "bob": ["lobby"]}
LOG = [Row("lobby", 1, "a1", "one"), Row("lobby", 2, "b1", "two"), Row("lobby", 3, "a2", "three")]


def invoke(client: str, number: str, text: str) -> Event:
    return Event("invoke", client, "lobby", number, text)


def ok(client: str, number: str, seq: int) -> Event:
    return Event("ok", client, "lobby", number, seq=seq)


def delivered(client: str, *numbers: int, life: int = 0, log: list[Row] = LOG) -> list[Event]:
    rows = {row.seq: row for row in log}
    return [
        Event("deliver", client, "lobby", rows[seq].id, rows[seq].text, seq, life) if seq in rows else
        Event("deliver", client, "lobby", "x", "x", seq, life)
        for seq in numbers
    ]  # fmt: skip


def finals() -> list[Event]:
    return [Event("final", client, "lobby") for client in MEMBERS]


SENT = [
    *(invoke("ann", "a1", "one"), ok("ann", "a1", 1)),
    *(invoke("bob", "b1", "two"), ok("bob", "b1", 2)),
    *(invoke("ann", "a2", "three"), ok("ann", "a2", 3)),
]
GOOD = [*SENT, *delivered("ann", 1, 2, 3), *delivered("bob", 1, 2, 3), *finals()]


def test_a_good_history() -> None:
    assert check(GOOD, LOG, MEMBERS) == {}


@pytest.mark.parametrize("appears", [True, False])
def test_what_was_not_answered_may_appear_or_not(appears: bool) -> None:
    log = [*LOG, Row("lobby", 4, "b2", "four")] if appears else LOG
    numbers = (1, 2, 3, 4) if appears else (1, 2, 3)
    history = [
        *SENT,
        invoke("bob", "b2", "four"),
        *delivered("ann", *numbers, log=log),
        *delivered("bob", *numbers, log=log),
        *finals(),
    ]
    assert check(history, log, MEMBERS) == {}


def test_what_was_refused_may_be_said_again() -> None:
    history = [
        *(invoke("ann", "a2", "three"), Event("fail", "ann", "lobby", "a2")),
        *GOOD,
    ]
    assert check(history, LOG, MEMBERS) == {}


def test_repeating_what_was_not_answered_is_no_new_sending() -> None:
    history = [
        *(invoke("bob", "b1", "two"), invoke("ann", "a1", "one"), ok("ann", "a1", 2)),
        *(invoke("bob", "b1", "two"), ok("bob", "b1", 1)),
        *delivered("ann", 1, 2, log=[Row("lobby", 1, "b1", "two"), Row("lobby", 2, "a1", "one")]),
        *delivered("bob", 1, 2, log=[Row("lobby", 1, "b1", "two"), Row("lobby", 2, "a1", "one")]),
        *finals(),
    ]
    assert check(history, [Row("lobby", 1, "b1", "two"), Row("lobby", 2, "a1", "one")], MEMBERS) == {}


def test_a_new_life_begins_where_its_page_was_opened() -> None:
    history = [
        *SENT,
        *delivered("ann", 1),
        Event("open", "ann", "lobby", seq=1, life=1, count=50),
        *delivered("ann", 2, 3, life=1),
        *delivered("bob", 1, 2, 3),
        *finals(),
    ]
    assert check(history, LOG, MEMBERS) == {}


PLANTED = {
    "stored twice": (GOOD, [*LOG, Row("lobby", 4, "a1", "one")]),
    "hole in the log": (GOOD, [*LOG[:2], Row("lobby", 4, "a2", "three")]),
    "acknowledged, not stored": ([*SENT, invoke("ann", "a3", "four"), ok("ann", "a3", 4)], LOG),
    "divergence": ([*GOOD, ok("ann", "a1", 2)], LOG),
    "refused, but stored": ([*GOOD, Event("fail", "ann", "lobby", "a1")], LOG),
    "phantom": (GOOD[2:], LOG),
    "order of the sender": ([SENT[4], *GOOD], LOG),
    "order of time": (
        [
            *(invoke("bob", "b1", "two"), ok("bob", "b1", 2)),
            *(invoke("ann", "a1", "one"), ok("ann", "a1", 1)),
        ],
        LOG[:2],
    ),
    "delivered, not stored": ([*GOOD, *delivered("bob", 4)], LOG),
    "duplicate": ([*SENT, *delivered("ann", 1, 1, 2, 3), *delivered("bob", 1, 2, 3), *finals()], LOG),
    "reordered": ([*SENT, *delivered("ann", 1, 2, 3, 2), *delivered("bob", 1, 2, 3), *finals()], LOG),
    "gap": ([*SENT, *delivered("ann", 1, 3), *delivered("bob", 1, 2, 3), *finals()], LOG),
    "lost": ([*SENT, *delivered("ann", 1, 2), *delivered("bob", 1, 2, 3), *finals()], LOG),
    "not synchronised": (GOOD[:-1], LOG),
    "opened too late": ([Event("open", "ann", "lobby", seq=1, count=0), *GOOD], LOG),
    "opened again": (
        [Event("open", "ann", "lobby", seq=0), Event("open", "ann", "lobby", seq=0), *GOOD],
        LOG,
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_every_planted_anomaly_is_found(name: str) -> None:
    history, log = PLANTED[name]
    assert name in check(history, log, MEMBERS)


def test_what_is_delivered_must_be_what_is_stored() -> None:
    wrong = Event("deliver", "ann", "lobby", "a1", "something else", 1)
    assert "divergence" in check([*GOOD, wrong], LOG, MEMBERS)


def test_a_report_tells_what_was_found() -> None:
    assert "no anomalies" in str(Report(1))
    assert "gap: 2, as ['a', 'b']" in str(Report(1, {"gap": ["a", "b"]}))


def run(directory: Path, **options: Any) -> Report:
    directory.mkdir()
    checker = partial(Run, directory, pages=6, tutorials=2, **options)
    return anyio.run(lambda: checker().run())


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    ("mistake", "ways"),
    [
        ("answers_before_commit", ["after_insert"]),
        ("stores_every_copy", ["after_broadcast"]),
        ("forgets_to_publish", [""]),
    ],
)
def test_every_planted_mistake_is_found(tmp_path: Path, mistake: str, ways: list[str]) -> None:
    assert mistake in MISTAKES
    for seed in range(1, 6):  # a mistake needs its moment: which comes soon, but not always at once
        if run(tmp_path / str(seed), kills=3, seed=seed, mistake=mistake, ways=ways).anomalies:
            return
    pytest.fail("it was not found")


@pytest.mark.timeout(200)
def test_nothing_is_lost_doubled_or_reordered(tmp_path: Path) -> None:
    report = run(tmp_path / "run", kills=6, seed=1)
    assert report.anomalies == {}, report
    assert report.stored > 50
    assert sum(report.deaths.values()) == 6


@pytest.mark.timeout(200)
def test_nothing_is_lost_doubled_or_reordered_by_workers(tmp_path: Path) -> None:
    report = run(tmp_path / "run", kills=6, seed=3, workers=4)
    assert report.anomalies == {}, report
    assert report.stored > 50
    assert sum(report.deaths.values()) == 6
