"""The engines do what the scenarios need of them."""

from __future__ import annotations

import time

import psutil
import pytest

from tests.clusters.engines import Engine, MongoDB, PostgreSQL, Redis


@pytest.mark.parametrize("kind", [Redis, PostgreSQL, MongoDB])
def test_an_engine_is_started_killed_and_gone(kind: type[Engine]) -> None:
    with kind() as engine:
        assert engine.answers()
        process = psutil.Process()
        assert process.children()
        engine.kill()
        assert not engine.answers()
        engine.start()
        assert engine.answers()
    assert not engine.answers()
    assert psutil.Process().children() == []


def test_redis_keeps_what_it_has_answered() -> None:
    with Redis() as redis:
        assert redis.call("SET", "key", "a value") == b"+OK"
        redis.restart()
        assert redis.call("GET", "key") == b"$7"


def test_a_paused_engine_does_not_answer() -> None:
    with Redis() as redis:
        redis.pause()
        with pytest.raises(TimeoutError):
            redis.call("PING")
        redis.resume()
        assert redis.call("PING") == b"+PONG"


def test_all_processes_of_postgresql_are_paused() -> None:
    with PostgreSQL() as postgres:
        postgres.pause()
        states = [
            process.status() for process in psutil.Process().children(recursive=True) if process.is_running()
        ]
        assert len(states) > 1
        assert set(states) - {psutil.STATUS_ZOMBIE} == {psutil.STATUS_STOPPED}
        postgres.resume()
        deadline = time.monotonic() + 5
        while not postgres.answers():
            assert time.monotonic() < deadline


def test_an_engine_that_cannot_start_says_why() -> None:
    class Wrong(Redis):
        def command(self) -> list[str]:
            return [*super().command(), "--no-such-setting", "1"]

    engine = Wrong()
    with pytest.raises(RuntimeError, match="no-such-setting"):
        engine.start()
