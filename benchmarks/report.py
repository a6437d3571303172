"""The results as Markdown."""

from collections.abc import Callable, Iterator, Sequence

from benchmarks import summary
from benchmarks.fleet import INCUMBENT, REFERENCE, SERVERS
from benchmarks.measure import Sample
from benchmarks.results import Results
from benchmarks.summary import Figure
from benchmarks.workloads import WORKLOADS, Workload

NOTHING = "–"
GROWING = {"connection-growth": "connections", "room-growth": "rooms"}


def markdown(results: Results) -> str:
    """The whole report."""
    return "\n".join(_lines(results)) + "\n"


def _lines(results: Results) -> Iterator[str]:
    yield "# Benchmark results"
    yield ""
    yield from _preamble(results)
    for name, servers in results.samples.items():
        yield from _workload(WORKLOADS[name], servers, results.failures.get(name, {}))
    for family in GROWING:
        yield from _growth(family, results)
    if found := all_warnings(results):
        yield "## Be wary"
        yield ""
        yield from (f"- {warning}" for warning in found)
        yield ""


def _preamble(results: Results) -> Iterator[str]:
    machine, settings = results.machine, results.settings
    yield (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, "
        f"{machine['system']}, congestion control {machine['congestion_control']}; limit on open files "
        f"raised to {settings['open_files']:,.0f}. Each server on one core, the load generator on another, "
        f"over the loopback interface; {settings['rounds']:.0f} alternating rounds of "
        f"{settings['duration']:g} s."
    )
    yield ""
    yield ", ".join(f"{name} {version}" for name, version in results.versions.items()) + "."
    yield ""
    yield (
        "CPU is user and system time of the server from the operating system. Ratios are against "
        f"{SERVERS[REFERENCE].title} in the same run, above 1 is better than it; in brackets the range "
        "over the rounds, elsewhere ± half the range. Latency is measured at half of each server's own "
        "throughput, in an open loop with exponential gaps, from the intended send time."
    )
    yield ""


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """A Markdown table and an empty line."""
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield ""


def _workload(
    workload: Workload, servers: dict[str, list[Sample]], failures: dict[str, str]
) -> Iterator[str]:
    yield f"## {workload.title} (`{workload.name}`)"
    yield ""
    if workload.notes:
        yield "; ".join(workload.notes).capitalize() + "."
        yield ""
    is_idle = workload.kind == "idle"
    rows: list[list[str]] = [["server"], [f"CPU per {workload.unit}, µs"], ["of it kernel"], ["× Node"]]
    if is_idle:
        rows += [["CPU, % of a core"]]
    else:
        rows += [[f"{_plural(workload.unit)}/s"], ["× Node"]]
    if workload.with_memory:
        rows += [["RSS per connection, kB"], ["PSS, kB"], ["× Node (RSS)"]]
    if workload.has_latency:
        rows += [["p50 / p99 / p99.9, ms"]]
    rows += [["generator, % of its core"]]
    head = [row[0] for row in rows]
    reference = servers.get(REFERENCE)
    body = []
    for name, samples in servers.items():
        cells = [SERVERS[name].title, scaled(samples, lambda sample: sample.cpu_per_message, 1e6)]
        cells.append(plain(samples, lambda sample: sample.system_per_message, 1e6))
        cells.append(_better(reference, samples, lambda sample: sample.efficiency))
        if is_idle:
            cells.append(scaled(samples, lambda sample: sample.server_share, 100))
        else:
            cells.append(scaled(samples, lambda sample: sample.rate, 1))
            cells.append(_better(reference, samples, lambda sample: sample.rate))
        if workload.with_memory:
            cells.append(scaled(samples, lambda sample: sample.rss_per_connection, 1e-3))
            cells.append(scaled(samples, lambda sample: sample.pss_per_connection, 1e-3))
            cells.append(_better(reference, samples, lambda sample: sample.rss_per_connection))
        if workload.has_latency:
            cells.append(latencies(samples))
        cells.append(scaled(samples, lambda sample: sample.generator_share, 100))
        body.append(cells)
    yield from table(head, body)
    for name, reason in failures.items():
        yield f"No figures for {SERVERS[name].title}: {reason}."
        yield ""


def _plural(unit: str) -> str:
    return "deliveries" if unit == "delivery" else f"{unit}s"


def number(value: float) -> str:
    """Three significant digits, thousands separated."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def scaled(samples: Sequence[Sample], getter: summary.Getter, factor: float) -> str:
    """The median times a factor, and half the range over the rounds."""
    found = summary.of(samples, getter)
    if found is None:
        return NOTHING
    return f"{number(found.median * factor)} ± {found.spread / 2:.0%}"


def plain(samples: Sequence[Sample], getter: summary.Getter, factor: float) -> str:
    """The median times a factor."""
    found = summary.of(samples, getter)
    return number(found.median * factor) if found else NOTHING


def _better(
    reference: Sequence[Sample] | None, samples: Sequence[Sample], getter: Callable[[Sample], float | None]
) -> str:
    found = compared(reference, samples, getter)
    if found is None:
        return NOTHING
    return f"**{found.median:.2f}** ({found.minimum:.2f}–{found.maximum:.2f})"


def compared(
    reference: Sequence[Sample] | None, samples: Sequence[Sample], getter: summary.Getter
) -> Figure | None:
    """The samples over those of the reference, or None where either was not measured."""
    over = [value for sample in samples if (value := getter(sample)) is not None]
    under = [value for sample in reference or () if (value := getter(sample)) is not None]
    return summary.ratio(over, under) if over and under else None


def latencies(samples: Sequence[Sample]) -> str:
    """The latencies in milliseconds."""
    figures = [summary.of(samples, summary.latency(name)) for name in ("p50", "p99", "p999")]
    return " / ".join(number(found.median * 1e3) if found else NOTHING for found in figures)


def _growth(family: str, results: Results) -> Iterator[str]:
    members = [WORKLOADS[name] for name in results.samples if WORKLOADS[name].family == family]
    if len(members) < 2:
        return
    yield f"## How cost grows with {GROWING[family]}"
    yield ""
    yield "CPU per event or delivery in µs, and the last over the first."
    yield ""
    rows = []
    for server in SERVERS:
        costs = [
            summary.of(results.samples[member.name].get(server, ()), lambda sample: sample.cpu_per_message)
            for member in members
        ]
        known = [cost.median for cost in costs if cost]
        if known:
            cells = [number(cost.median * 1e6) if cost else NOTHING for cost in costs]
            growth = f"{known[-1] / known[0]:.2f}" if len(known) == len(costs) else NOTHING
            rows.append([SERVERS[server].title, *cells, growth])
    yield from table(["server", *(f"{member.size:,}" for member in members), "growth"], rows)


def all_warnings(results: Results) -> list[str]:
    """What to be wary of in the whole run."""
    found = []
    for name, servers in results.samples.items():
        for server, samples in servers.items():
            title = f"{name}, {server}"
            found += summary.warnings(title, samples, saturating=WORKLOADS[name].kind != "idle")
    return found


def headline(results: Results) -> list[str]:
    """One line for each workload: ours against the reference and against the incumbent."""
    lines = []
    for name, servers in results.samples.items():
        ours = servers.get("sio_core")
        if ours is None:
            continue
        parts = []
        for other in (REFERENCE, INCUMBENT):
            cpu = compared(servers.get(other), ours, lambda sample: sample.efficiency)
            rate = compared(servers.get(other), ours, lambda sample: sample.rate)
            if cpu and rate:
                parts.append(f"{other}: CPU {cpu.median:.2f}x, throughput {rate.median:.2f}x")
        lines.append(f"{name:18} {'; '.join(parts)}")
    return lines
