"""PostgreSQL and MongoDB killed and hung, and their connections cut: what is promised holds, and nobody waits.

With notifications, what is said while a node does not hear is lost to it. With a collection nothing is lost, and
nothing comes twice. In every case what is local goes on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import psycopg
import pytest

from tests.clusters.cluster import Cluster, wait_until
from tests.clusters.drivers import DRIVERS, Driver
from tests.clusters.engines import MongoDB, PostgreSQL
from tests.clusters.test_redis_faults import AT_ONCE, SERVERS, Talk, check, degraded, hang, hold_time, stats

FAMILY = [
    # The official adapter never gives a lost connection back to its pool.
    replace(driver, node={"connections": 20}) if driver.engine is PostgreSQL else driver
    for driver in DRIVERS
    if driver.name in {"postgres", "mongo, capped, recovery"}
]

HEALED = 15.0
"""Seconds after which a cluster whose database is back is whole again: it is tried every few seconds."""


@pytest.fixture(scope="module", params=FAMILY, ids=lambda driver: driver.name)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A running cluster. A test leaves it whole."""
    driver: Driver = request.param
    database = PostgreSQL() if driver.engine is PostgreSQL else MongoDB(is_durable=True)
    with database as engine, Cluster(driver, engine, SERVERS) as cluster:
        yield cluster


def test_the_engine_is_killed_and_restarted(cluster: Cluster) -> None:
    before = [stats(cluster.servers[name])["lost"] for name in ("p1", "p2")]
    with Talk(cluster) as talk:
        wait_until(lambda: talk.sent > 10, "they talk")
        cluster.engine.kill()
        wait_until(lambda: stats(cluster.servers["p1"])["degraded"], "the speaker knows that it is cut off")
        count = talk.sent
        wait_until(lambda: talk.sent > count + 20, "the talk goes on without the engine", 20.0)
        cluster.engine.start()
        wait_until(lambda: degraded(cluster) == [False, False], "the servers are connected", HEALED)
        count = talk.sent
        wait_until(lambda: talk.sent > count + 10, "they talk")
    assert talk.slowest < AT_ONCE + hold_time(cluster)
    check(cluster, talk)
    if cluster.driver.adapter == "mongo":
        assert [stats(cluster.servers[name])["lost"] for name in ("p1", "p2")] == before
        assert [stats(cluster.servers[name])["gaps"] for name in ("p1", "p2")] == [0, 0]


def test_connections_are_killed(cluster: Cluster) -> None:
    if cluster.driver.engine is not PostgreSQL:
        return  # SecantusDB has no command for it
    with Talk(cluster, 0.01) as talk:
        for _ in range(4):
            count = talk.sent
            wait_until(lambda count=count: talk.sent > count + 20, "they talk")
            with psycopg.connect(cluster.engine.url, autocommit=True) as other:
                other.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name = 'sio_core' AND pid <> pg_backend_pid()"
                )
            wait_until(lambda: degraded(cluster) == [False, False], "the servers are connected", HEALED)
    assert talk.slowest < AT_ONCE
    check(cluster, talk)


def test_the_engine_hangs(cluster: Cluster) -> None:
    hang(cluster, 3.0)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_engine_hangs_for_long(cluster: Cluster) -> None:
    hang(cluster, 30.0)
