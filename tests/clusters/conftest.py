"""The clusters that the tests of this folder share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters.cluster import Cluster
from tests.clusters.drivers import DRIVERS, Driver


@pytest.fixture(scope="session", params=DRIVERS, ids=lambda driver: driver.name)
def driver(request: pytest.FixtureRequest) -> Driver:
    chosen: Driver = request.param
    return chosen


@pytest.fixture(scope="session")
def cluster(driver: Driver) -> Iterator[Cluster]:
    """A running cluster. A test leaves it as it was."""
    with driver.engine() as engine, Cluster(driver, engine) as cluster:
        yield cluster
