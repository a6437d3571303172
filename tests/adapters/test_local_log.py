"""What the hub keeps: events in their order, and sessions for a while, all of it bounded."""

from __future__ import annotations

import pytest

from sio_core.adapters import local_log
from sio_core.adapters.local_log import LocalLog


def all_after(log: LocalLog, nsp: str, number: int) -> list[tuple[int, bytes]] | None:
    """Read every page."""
    entries: list[tuple[int, bytes]] = []
    while True:
        page = log.after(nsp, number)
        if page is None:
            return None
        entries += page.entries
        if page.until == number:
            return entries
        number = page.until


def test_events_are_numbered_and_read_by_their_namespace() -> None:
    log = LocalLog()
    assert [log.append(nsp, nsp.encode()) for nsp in ("/", "/a", "/", "/a")] == [1, 2, 3, 4]
    assert all_after(log, "/", 0) == [(1, b"/"), (3, b"/")]
    assert all_after(log, "/a", 2) == [(4, b"/a")]
    assert all_after(log, "/none", 0) == []
    assert all_after(log, "/", 4) == []
    assert all_after(log, "/", 5) is None
    assert LocalLog().epoch != log.epoch


def test_what_is_large_comes_in_pages() -> None:
    log = LocalLog()
    for _ in range(10):
        log.append("/", bytes(400_000))
    page = log.after("/", 0)
    assert page is not None
    assert len(page.entries) < 10
    assert [number for number, _ in all_after(log, "/", 0) or []] == list(range(1, 11))


def test_the_oldest_events_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_log, "ENTRIES", 3)
    log = LocalLog()
    for _ in range(5):
        log.append("/", b"x")
    assert all_after(log, "/", 1) is None
    assert all_after(log, "/", 2) == [(3, b"x"), (4, b"x"), (5, b"x")]
    monkeypatch.setattr(local_log, "BYTES", 10)
    log.append("/", b"x" * 10)
    assert all_after(log, "/", 4) is None
    assert all_after(log, "/", 5) == [(6, b"x" * 10)]


def test_a_session_is_found_until_its_time_is_over_and_taken_once() -> None:
    log = LocalLog()
    log.store("a", b"1", 10.0, 0.0)
    log.store("a", b"2", 11.0, 0.0)
    assert log.find("a", 10.5) == b"2"
    assert log.find("a", 11.0) is None
    assert log.find("b", 0.0) is None
    assert log.remove("a")
    assert not log.remove("a")
    assert log.find("a", 0.0) is None


def test_the_oldest_sessions_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_log, "SESSIONS", 3)
    log = LocalLog()
    for name in "abcd":
        log.store(name, b"x" * 4, 10.0, 0.0)
    assert [log.find(name, 1.0) for name in "abcd"] == [None, *[b"x" * 4] * 3]
    monkeypatch.setattr(local_log, "SESSION_BYTES", 8)
    log.store("e", b"x" * 4, 10.0, 0.0)
    assert [log.find(name, 1.0) for name in "bcde"] == [None, None, b"x" * 4, b"x" * 4]
    log.store("f", b"", 20.0, 15.0)  # what is over goes too
    assert not log.remove("d")
    assert log.remove("f")
