"""The report of the cluster's benchmark, and the plan that parts senders from receivers."""

from __future__ import annotations

from benchmarks.cluster.__main__ import markdown
from benchmarks.cluster.measure import WORKLOADS, ClusterSample
from benchmarks.generator.plan import plan_lines
from benchmarks.measure import Settings


def test_the_report_has_a_row_for_each_server_and_the_ratio_for_ours() -> None:
    ours, theirs = ClusterSample(1_000.0, 10e-6, 1e-6), ClusterSample(500.0, 25e-6, 2e-6)
    samples = {workload.name: {"sio_core": [ours], "node": [theirs]} for workload in WORKLOADS}
    settings = Settings(2.0, 1.0, server_core=1, generator_core=0)
    lines = list(markdown({"redis": samples}, {"Node": "20"}, settings))
    rows = [line for line in lines if line.startswith("| redis")]
    assert rows == [
        "| redis | sio_core | 1,000 | 10.0 | 1.00 | 2.50x |",
        "| redis | node | 500 | 25.0 | 2.00 | – |",
    ] * len(WORKLOADS)


def test_receivers_connect_elsewhere() -> None:
    lines = list(plan_lines(WORKLOADS[0], 3000, 3001))
    assert lines[1:3] == ["port 3000", "receivers_port 3001"]
