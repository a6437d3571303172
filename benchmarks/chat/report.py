"""The results of the chat, as JSON and as Markdown."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks import summary
from benchmarks.chat.measure import ChatSample
from benchmarks.report import latencies, number, plain, scaled, table
from benchmarks.summary import FOREIGN_SHARE, NOISY_SPREAD, Figure

SCHEMA = 1


@dataclass(slots=True)
class ChatResults:
    """Everything one run found, in the order of the rounds."""

    settings: dict[str, float]
    machine: dict[str, str | int | float]
    versions: dict[str, str]
    samples: dict[int, list[ChatSample]] = field(default_factory=dict)
    """By messages in flight for each member."""
    commits: dict[int, list[float]] = field(default_factory=dict)
    """Commits per second of bare SQLite, by messages in a commit."""
    syncs: list[float] = field(default_factory=list)
    """Blocks written and synced per second."""

    def write(self, folder: Path) -> None:
        """Write `chat.json` and `chat.md`."""
        (folder / "chat.json").write_text(json.dumps({"schema": SCHEMA, **asdict(self)}, indent=1) + "\n")
        (folder / "chat.md").write_text(markdown(self))


def markdown(results: ChatResults) -> str:
    """The whole report."""
    return "\n".join(_lines(results)) + "\n"


def _lines(results: ChatResults) -> Iterator[str]:
    machine, settings = results.machine, results.settings
    members = int(settings["members"])
    yield "# Durable throughput of the chat"
    yield ""
    yield (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, "
        f"database on {machine['file_system']}. `python -m chat_app` on one core, {members} members over WebSocket "
        f"on another; {settings['rounds']:.0f} rounds of {settings['duration']:g} s after {settings['warm_up']:g} s "
        "of warm-up, each with an empty database."
    )
    yield ""
    yield ", ".join(f"{name} {version}" for name, version in results.versions.items()) + "."
    yield ""
    yield (
        "Everybody sends 32 characters and sends again when an acknowledgement comes; the latency is that of the "
        "acknowledgement under this very load. After each round everybody has seen every message once, in the order "
        "of the log, and the log has what was acknowledged and nothing else, or there are no figures. "
        "± is half the range over the rounds."
    )
    yield ""
    yield from table(
        [
            "in flight, each",
            "acknowledged/s",
            "deliveries/s",
            "p50 / p99 / p99.9, ms",
            "server CPU per message, µs",
            "of it kernel",
            "server, % of its core",
            "generator, % of its core",
            "of bare SQLite in such groups",
            "messages checked",
        ],
        [_row(results, in_flight, members) for in_flight in results.samples],
    )
    yield "## Without a server"
    yield ""
    yield (
        "The chat's own statements and pragmas (write-ahead log, `synchronous = FULL`) in one thread on the "
        "server's core, in the same rounds; first the disk alone: 4 KiB written over and `fdatasync`."
    )
    yield ""
    rows = [["disk alone", _spread(summary.figure(results.syncs)), ""]] if results.syncs else []
    for group, rates in sorted(results.commits.items()):
        rate = summary.figure(rates)
        rows.append([f"{group:,} in a commit", _spread(rate), number(rate.median * group)])
    yield from table(["", "syncs or commits/s", "messages/s"], rows)
    if found := warnings(results):
        yield "## Be wary"
        yield ""
        yield from (f"- {warning}" for warning in found)
        yield ""


def _row(results: ChatResults, in_flight: int, members: int) -> list[str]:
    samples = results.samples[in_flight]
    rate = summary.figure([sample.rate for sample in samples])
    return [
        f"{in_flight:,}",
        _spread(rate),
        number(rate.median * (members - 1)),
        latencies(samples),
        scaled(samples, lambda sample: sample.cpu_per_message, 1e6),
        plain(samples, lambda sample: sample.system_per_message, 1e6),
        plain(samples, lambda sample: sample.server_share, 100),
        plain(samples, lambda sample: sample.generator_share, 100),
        _share(results, rate.median, members * in_flight),
        f"{sum(sample.messages for sample in samples):,}",
    ]


def _share(results: ChatResults, rate: float, group: int) -> str:
    return f"{rate / (summary.figure(results.commits[group]).median * group):.0%}"


def _spread(found: Figure) -> str:
    return f"{number(found.median)} ± {found.spread / 2:.0%}"


def warnings(results: ChatResults) -> list[str]:
    """What to be wary of in the whole run."""
    found = []
    for in_flight, samples in results.samples.items():
        title = f"{in_flight} in flight"
        found += summary.warnings(title, samples, saturating=True)
        rate = summary.figure([sample.rate for sample in samples])
        if rate.spread > NOISY_SPREAD:
            found.append(f"{title}: noisy, throughput spread over {rate.spread:.0%} of its median")
        foreign = max(sample.foreign_beside_generator for sample in samples)
        if foreign > FOREIGN_SHARE:
            found.append(f"{title}: something else took {foreign:.0%} of the generator's core")
    limits = {
        f"bare SQLite, {group:,} in a commit": rates for group, rates in sorted(results.commits.items())
    }
    for title, rates in {"the disk alone": results.syncs, **limits}.items():
        if rates and (spread := summary.figure(rates).spread) > NOISY_SPREAD:
            found.append(f"{title}: noisy, spread over {spread:.0%} of its median")
    return found
