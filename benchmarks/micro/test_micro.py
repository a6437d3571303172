"""The micro-benchmarks in time; see pytest-benchmark for how to save and to compare."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from benchmarks.micro.cases import CASES


@pytest.mark.parametrize("name", list(CASES))
def test_time(benchmark: BenchmarkFixture, name: str) -> None:
    work = CASES[name]()
    benchmark(work, 1)
