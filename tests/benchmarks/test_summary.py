import pytest

from benchmarks import summary
from benchmarks.measure import Sample


def sample(cpu=10e-6, *, server=1.0, generator=0.4, foreign=0.0, latency=None):
    return Sample(1_000.0, cpu, 0.0, server, generator, foreign, latency=latency)


def test_figure_is_median_and_range():
    figure = summary.figure([3.0, 1.0, 2.0])
    assert (figure.median, figure.minimum, figure.maximum) == (2.0, 1.0, 3.0)
    assert figure.spread == 1.0


def test_ratio_is_of_medians_with_the_range_of_the_rounds():
    ratio = summary.ratio([20.0, 22.0, 30.0], [10.0, 11.0, 10.0])
    assert ratio.median == 2.2
    assert (ratio.minimum, ratio.maximum) == (2.0, 3.0)


def test_quantity_that_was_not_measured():
    assert summary.of([sample()], summary.latency("p99")) is None
    measured = [sample(latency={"p99": 0.001, "missed": 0})]
    assert summary.of(measured, summary.latency("p99")) == summary.figure([0.001])


def test_calm_samples_give_no_warning():
    assert summary.warnings("echo", [sample(), sample(cpu=10.5e-6)], saturating=True) == []


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        ([sample(generator=0.95, server=0.8)], "the generator was the bottleneck"),
        ([sample(), sample(cpu=13e-6)], "noisy"),
        ([sample(foreign=0.3)], "something else took 30%"),
        ([sample(latency={"p99": 1.0, "missed": 12})], "12 requests were left out"),
    ],
)
def test_warnings(samples, said):
    (warning,) = summary.warnings("echo", samples, saturating=True)
    assert warning.startswith("echo: ")
    assert said in warning


def test_idle_load_cannot_be_held_back_by_the_generator():
    assert summary.warnings("idle", [sample(generator=0.95, server=0.1)], saturating=False) == []
