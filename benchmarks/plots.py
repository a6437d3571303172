"""The results as SVG."""

from pathlib import Path
from typing import Any

from benchmarks import summary
from benchmarks.fleet import REFERENCE, SERVERS
from benchmarks.report import GROWING, compared
from benchmarks.results import Results
from benchmarks.workloads import WORKLOADS

BAR = 0.8
COLOURS = (
    "#1b6ca8",
    "#5aa0d0",
    "#9cc7e6",
    "#2a9d8f",
    "#8ac8bf",
    "#3b3b3b",
    "#c1543c",
    "#e3a08f",
    "#b8b8b8",
)


def write_plots(results: Results, folder: Path) -> list[Path]:
    """Draw what there are samples for; the files written."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "sio_core", "font.size": 9, "axes.spines.top": False})
    mpl.rcParams["axes.spines.right"] = False
    written = [
        _ratios(results, folder / "cpu.svg", "messages per CPU second, × Node", lambda s: s.efficiency),
        _ratios(results, folder / "throughput.svg", "throughput, × Node", lambda s: s.rate),
        _latency(results, folder / "latency.svg"),
        _memory(results, folder / "memory.svg"),
        _growth(results, folder / "growth.svg"),
    ]
    return [path for path in written if path is not None]


def _save(figure: Any, path: Path) -> Path:
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    return path


def _servers(results: Results) -> list[str]:
    present = {server for servers in results.samples.values() for server in servers}
    return [server for server in SERVERS if server in present]


def _colour(server: str) -> str:
    return COLOURS[list(SERVERS).index(server) % len(COLOURS)]


def _ratios(results: Results, path: Path, label: str, getter: summary.Getter) -> Path | None:
    """Bars for each workload, with the range over the rounds."""
    from matplotlib.figure import Figure

    names = [name for name in results.samples if WORKLOADS[name].kind != "idle"]
    names = [name for name in names if REFERENCE in results.samples[name] and WORKLOADS[name].family is None]
    servers = [server for server in _servers(results) if not server.startswith("limit")]
    if not names or not servers:
        return None
    figure = Figure(figsize=(8, 0.5 + 0.16 * len(names) * len(servers)))
    axes = figure.add_subplot()
    height = BAR / len(servers)
    for index, server in enumerate(servers):
        for row, name in enumerate(names):
            samples = results.samples[name]
            found = compared(samples[REFERENCE], samples.get(server, ()), getter)
            if found is None:
                continue
            error = [[max(0, found.median - found.minimum)], [max(0, found.maximum - found.median)]]
            axes.barh(
                row + index * height,
                found.median,
                height,
                color=_colour(server),
                xerr=error,
                error_kw={"lw": 0.6},
                label=SERVERS[server].title if row == 0 else None,
            )
    axes.axvline(1, color="#3b3b3b", lw=0.8)
    axes.set_yticks([row + BAR / 2 - height / 2 for row in range(len(names))], names)
    axes.invert_yaxis()
    axes.set_xlabel(label)
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return _save(figure, path)


def _latency(results: Results, path: Path) -> Path | None:
    """From p50 over p99 to p99.9, a line for each server and workload."""
    from matplotlib.figure import Figure

    names = [name for name in results.samples if WORKLOADS[name].has_latency]
    servers = [server for server in _servers(results) if not server.startswith("limit")]
    if not names or not servers:
        return None
    figure = Figure(figsize=(8, 0.5 + 0.16 * len(names) * len(servers)))
    axes = figure.add_subplot()
    height = BAR / len(servers)
    labelled = set()
    for index, server in enumerate(servers):
        for row, name in enumerate(names):
            samples = results.samples[name].get(server, ())
            figures = [summary.of(samples, summary.latency(key)) for key in ("p50", "p99", "p999")]
            values = [found.median * 1e3 for found in figures if found]
            if not values:
                continue
            axes.plot(
                values,
                [row + index * height] * len(values),
                "|-",
                color=_colour(server),
                label=None if server in labelled else SERVERS[server].title,
            )
            labelled.add(server)
    axes.set_xscale("log")
    axes.set_yticks([row + BAR / 2 - height / 2 for row in range(len(names))], names)
    axes.invert_yaxis()
    axes.set_xlabel("latency at half load, ms: p50, p99, p99.9")
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return _save(figure, path)


def _memory(results: Results, path: Path) -> Path | None:
    from matplotlib.figure import Figure

    idle = results.samples.get("idle", {})
    found = {
        server: memory
        for server, samples in idle.items()
        if (memory := summary.of(samples, lambda sample: sample.rss_per_connection))
    }
    if not found:
        return None
    figure = Figure(figsize=(8, 0.6 + 0.3 * len(found)))
    axes = figure.add_subplot()
    titles = [SERVERS[server].title for server in found]
    values = [memory.median / 1e3 for memory in found.values()]
    axes.barh(titles, values, color=[_colour(server) for server in found])
    axes.invert_yaxis()
    axes.set_xlabel("resident memory per idle WebSocket connection, kB")
    return _save(figure, path)


def _growth(results: Results, path: Path) -> Path | None:
    from matplotlib.figure import Figure

    families = {
        family: [name for name in results.samples if WORKLOADS[name].family == family] for family in GROWING
    }
    families = {family: names for family, names in families.items() if len(names) > 1}
    if not families:
        return None
    figure = Figure(figsize=(8, 3))
    for place, (family, names) in enumerate(families.items(), 1):
        axes = figure.add_subplot(1, len(families), place)
        for server in _servers(results):
            points = [
                (WORKLOADS[name].size, cost.median * 1e6)
                for name in names
                if (cost := summary.of(results.samples[name].get(server, ()), lambda s: s.cpu_per_message))
            ]
            if points:
                axes.plot(
                    *zip(*points, strict=True), "o-", color=_colour(server), label=SERVERS[server].title
                )
        axes.set_xscale("log")
        axes.set_ylim(bottom=0)
        axes.set_xlabel(GROWING[family])
        axes.set_ylabel("CPU per event, µs")
    axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return _save(figure, path)
