"""Identifiers."""

from __future__ import annotations

import re

import pytest

from sio_core.ids import MAX_WORKERS, make_id, make_worker_session_id, worker_of


@pytest.mark.parametrize("worker", [0, 1, 25, 26, 63, 64, 65, MAX_WORKERS - 1])
def test_a_session_id_names_its_worker(worker: int) -> None:
    ids = {make_worker_session_id(worker) for _ in range(200)}
    assert len(ids) == 200
    assert {worker_of(session_id) for session_id in ids} == {worker}
    assert all(re.fullmatch("[A-Za-z0-9_-]{20}", session_id) for session_id in ids)


def test_what_is_not_the_worker_is_random() -> None:
    """Each of the first 18 characters takes many values: nothing of the id is fixed but its end."""
    ids = [make_worker_session_id(3) for _ in range(500)]
    assert min(len({session_id[place] for session_id in ids}) for place in range(18)) > 50
    assert len({session_id[18:] for session_id in ids}) == 1


def test_any_id_names_some_worker() -> None:
    assert all(0 <= worker_of(make_id()) < MAX_WORKERS for _ in range(200))
