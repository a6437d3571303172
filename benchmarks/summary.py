"""From samples to figures: medians, their spread, ratios, and what to be wary of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.measure import Sample

Getter = Callable[[Sample], float | None]

BUSY_GENERATOR = 0.85
"""Share of its core from which the generator may have been what held a server back ..."""
UNSATURATED_SERVER = 0.95
"""... if the server had time to spare."""
NOISY_SPREAD = 0.15
FOREIGN_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Figure:
    """One quantity over the rounds."""

    median: float
    minimum: float
    maximum: float

    @property
    def spread(self) -> float:
        """The range as a fraction of the median."""
        return (self.maximum - self.minimum) / self.median if self.median else 0.0


def figure(values: Sequence[float]) -> Figure:
    """Sum up the rounds."""
    return Figure(median(values), min(values), max(values))


def of(samples: Sequence[Sample], getter: Getter) -> Figure | None:
    """One quantity of the samples, or None where it was not measured."""
    values = [value for sample in samples if (value := getter(sample)) is not None]
    return figure(values) if values else None


def ratio(over: Sequence[float], under: Sequence[float]) -> Figure:
    """The ratio of the medians, and the range of the ratios round by round."""
    rounds = [one / other for one, other in zip(over, under, strict=False)]
    return Figure(median(over) / median(under), min(rounds), max(rounds))


def latency(name: str) -> Getter:
    """A getter for one of the latencies."""
    return lambda sample: sample.latency[name] if sample.latency else None


def warnings(title: str, samples: Sequence[Sample], *, saturating: bool) -> list[str]:
    """What makes these samples less than trustworthy."""
    found = []
    busiest = max(samples, key=lambda sample: sample.generator_share)
    if saturating and busiest.generator_share > BUSY_GENERATOR and busiest.server_share < UNSATURATED_SERVER:
        found.append(
            f"{title}: the generator was the bottleneck ({busiest.generator_share:.0%} of its core, "
            f"the server {busiest.server_share:.0%}); throughput is a lower bound, CPU per message holds"
        )
    cpu = figure([sample.cpu_per_message for sample in samples])
    if cpu.spread > NOISY_SPREAD:
        found.append(f"{title}: noisy, CPU per message spread over {cpu.spread:.0%} of its median")
    if missed := sum(sample.latency["missed"] for sample in samples if sample.latency):
        found.append(f"{title}: did not hold half of its throughput, {missed:,.0f} requests were left out")
    foreign = max(sample.foreign_share for sample in samples)
    if foreign > FOREIGN_SHARE:
        found.append(f"{title}: something else took {foreign:.0%} of the server's core")
    return found
