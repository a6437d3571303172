import pytest

from benchmarks import report
from benchmarks.measure import Sample
from benchmarks.results import Results


def sample(cpu, rate, **more):
    return Sample(rate, cpu, cpu / 4, 1.0, 0.4, 0.0, **more)


@pytest.fixture
def results():
    results = Results(
        {"rounds": 2, "duration": 1.0, "warm_up": 1.0, "open_files": 20_000},
        {
            "processor": "a processor",
            "cores": 2,
            "memory_gib": 8.0,
            "system": "Linux 6",
            "congestion_control": "reno",
        },
        {"CPython": "3.11"},
    )
    latency = {"p50": 1e-4, "p99": 1e-3, "p999": 2e-3, "mean": 1e-4, "maximum": 0.1, "rate": 1, "missed": 0}
    for cpu in (20e-6, 22e-6):
        results.add("echo", "node", sample(cpu, 50_000, latency=latency))
        results.add("echo", "sio_core", sample(cpu / 2, 100_000, latency=latency))
    results.add_failure("echo", "limit", "it said nothing")
    for size, cpu in ((100, 10e-6), (1_000, 10e-6), (10_000, 12e-6)):
        results.add(f"connections-{size}", "node", sample(cpu, 1_000, rss_per_connection=4e3))
    return results


def test_table_compares_with_the_reference(results):
    text = report.markdown(results)
    (row,) = [
        line
        for line in text.splitlines()
        if line.startswith("| sio_core, compiled, standalone on uvloop | 10.5")
    ]
    assert "**2.00** (2.00–2.00)" in row
    assert "100,000 ± 0%" in row
    assert "0.10 / 1.00 / 2.00" in row
    assert "it said nothing" in text


def test_growth_is_the_last_over_the_first(results):
    text = report.markdown(results)
    assert "| socket.io on Node with bufferutil | 10.0 | 10.0 | 12.0 | 1.20 |" in text


def test_headline_names_only_what_was_measured(results):
    assert report.headline(results) == ["echo               node: CPU 2.00x, throughput 2.00x"]


def test_numbers_have_three_digits():
    assert [report.number(value) for value in (1234.5, 123.4, 12.34, 1.234)] == [
        "1,234",
        "123",
        "12.3",
        "1.23",
    ]


def test_results_survive_the_file(results, tmp_path):
    path = tmp_path / "results.json"
    results.write(path)
    assert report.markdown(Results.read(path)) == report.markdown(results)


def test_results_of_another_version_are_refused(tmp_path):
    path = tmp_path / "results.json"
    path.write_text('{"schema": 0}')
    with pytest.raises(ValueError, match="another version"):
        Results.read(path)
