"""The benchmark of workers: a short run of it, and its report."""

from __future__ import annotations

import os

from benchmarks.workers import Sample, markdown, measure
from benchmarks.workloads import WORKLOADS


def test_two_workers_are_measured_over_the_sum_of_their_processes() -> None:
    cores = sorted(os.sched_getaffinity(0))
    sample = measure(WORKLOADS["echo"], 2, cores, 0.3, 0.5, compiled=False)
    assert sample.rate > 0
    assert 0 < sample.cpu_per_message < 0.01
    assert 0 < sample.cores <= len(cores) + 0.5


def test_the_report_compares_with_one_process() -> None:
    one, two = Sample(1_000.0, 10e-6, 0.5), Sample(1_900.0, 12.5e-6, 1.1)
    lines = list(markdown({"echo": {1: [one], 2: [two]}}, {"Python": "3"}, 2.0))
    title = WORKLOADS["echo"].title
    assert [line for line in lines if line.startswith(f"| {title}")] == [
        f"| {title} | 1 | 1,000 | 10.0 | 0.50 | – |",
        f"| {title} | 2 | 1,900 | 12.5 | 1.10 | 0.80x |",
    ]
