"""The judgement of soak runs; then a short one."""

from __future__ import annotations

import pytest

from tests.faults.soak import Sample, Soak, growth, judge


def sample(at: float, **held: int) -> Sample:
    values = {"rss": 50_000_000, "descriptors": 1_000, "tasks": 10, "timers": 500, "sessions": 900, **held}
    return Sample(at=at, cpu=0.0, **values)


BEFORE = sample(0, descriptors=10, tasks=3, timers=2, sessions=1)


def test_growth_is_that_of_ten_minutes() -> None:
    samples = [sample(at, rss=50_000_000 + 1_000 * at) for at in range(0, 300, 5)]
    assert growth(samples, "rss") == pytest.approx(600_000 / 50_147_500)


def test_a_server_that_holds_what_it_held_is_well() -> None:
    samples = [sample(at, sessions=900 + at % 7) for at in range(0, 600, 5)]
    assert judge(samples, BEFORE, BEFORE).failures == []


@pytest.mark.parametrize(
    ("name", "by"), [("rss", 1_000), ("descriptors", 1), ("tasks", 1), ("timers", 1), ("sessions", 1)]
)
def test_a_server_that_grows_is_found_out(name: str, by: int) -> None:
    samples = [sample(at, **{name: getattr(sample(0), name) + by * at}) for at in range(0, 600, 5)]
    (failure,) = judge(samples, BEFORE, BEFORE).failures
    assert failure.startswith(f"{name} grows by ")


@pytest.mark.parametrize("name", ["descriptors", "tasks", "timers", "sessions"])
def test_what_is_left_at_the_end_is_found(name: str) -> None:
    held = {"descriptors": 10, "tasks": 3, "timers": 2, "sessions": 1}
    after = sample(700, **{**held, name: held[name] + 1})
    (failure,) = judge([], BEFORE, after).failures
    assert f" {name} are left" in failure


@pytest.mark.timeout(120)
@pytest.mark.parametrize("loop", ["uvloop", "trio"])
def test_a_short_run(loop: str) -> None:
    soak = Soak(loop, clients=60, churn=10.0, seconds=12.0, warm_up=1_000.0, seed=7, heartbeat=(2.0, 3.0))
    verdict = soak.run()
    assert verdict.failures == [], soak.report()
    assert soak.crowd["ends"]["leaves"] > 10
    assert max(sample.sessions for sample in soak.samples) > 30
    assert "All is well." in soak.report()
