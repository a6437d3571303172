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


def driver_of(item: pytest.Item) -> int:
    """Return the place of the driver that a test is about."""
    callspec = getattr(item, "callspec", None)  # a test without parameters has none
    chosen = callspec.params.get("driver") if callspec is not None else None
    return DRIVERS.index(chosen) if isinstance(chosen, Driver) else -1


def pytest_itemcollected(item: pytest.Item) -> None:
    """Have one process run all tests on one driver, where several share the work."""
    place = driver_of(item)
    item.add_marker(pytest.mark.xdist_group(item.path.stem if place < 0 else DRIVERS[place].name))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have all tests on one driver come together, of whatever module: they share a cluster."""
    here = Path(__file__).parent
    places = [place for place, item in enumerate(items) if here in item.path.parents]
    ours = sorted([items[place] for place in places], key=driver_of)
    for place, item in zip(places, ours, strict=True):
        items[place] = item
