"""Results for people and for programs: a table, JSON, and one page of HTML."""

from __future__ import annotations

import html
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from conformance.model import Outcome, Result


@dataclass(frozen=True, slots=True)
class Run:
    """One server judged: what the reports are about."""

    name: str
    results: list[Result]
    seconds: float

    @property
    def scored(self) -> list[Result]:
        return [result for result in self.results if "stricter" not in result.check.marks]

    @property
    def stricter(self) -> list[Result]:
        return [result for result in self.results if "stricter" in result.check.marks]

    def failed(self) -> list[Result]:
        return [result for result in self.results if result.outcome is Outcome.FAILED]


def count(results: Iterable[Result]) -> Counter[Outcome]:
    return Counter(result.outcome for result in results)


def groups(results: Iterable[Result]) -> dict[str, list[Result]]:
    grouped: dict[str, list[Result]] = {}
    for result in results:
        grouped.setdefault(result.check.group, []).append(result)
    return grouped


def score_line(run: Run) -> str:
    counted = count(run.scored)
    line = f"{counted[Outcome.PASSED]} of {len(run.scored)} checks passed"
    line += f", {counted[Outcome.FAILED]} failed, {counted[Outcome.UNSUPPORTED]} not supported"
    if run.stricter:
        line += f"; stricter: {count(run.stricter)[Outcome.PASSED]} of {len(run.stricter)}"
    return f"{line} ({run.seconds:.1f} s)"


def table(run: Run, *, passed: bool = False) -> str:
    """The failures, or every check, as text: check, expected, seen, section of the specification."""
    blocks = []
    for result in run.results:
        if result.outcome is Outcome.FAILED:
            blocks.append(
                f"FAIL {result.check.id}\n"
                f"     {result.check.requirement}\n"
                f"     expected  {result.expected}\n"
                f"     seen      {result.seen}\n"
                f"     source    {result.check.source}"
            )
        elif passed:
            word = "pass" if result.outcome is Outcome.PASSED else "n/s "
            blocks.append(f"{word} {result.check.id:58} {result.check.source}")
    return "\n".join([*blocks, *group_lines(run), "", f"{run.name}: {score_line(run)}"])


def group_lines(run: Run) -> list[str]:
    lines = ["", f"{'group':14}{'pass':>6}{'fail':>6}{'n/s':>6}"]
    for group, results in groups(run.results).items():
        counted = count(results)
        columns = "".join(f"{counted[outcome]:6}" for outcome in Outcome)
        lines.append(f"{group:14}{columns}")
    return lines


def as_json(runs: list[Run]) -> str:
    def of_result(result: Result) -> dict[str, object]:
        return {
            "id": result.check.id,
            "group": result.check.group,
            "requirement": result.check.requirement,
            "source": result.check.source,
            "marks": sorted(result.check.marks),
            "profile": result.check.profile,
            "outcome": result.outcome.value,
            "seconds": round(result.seconds, 3),
            "expected": result.expected,
            "seen": result.seen,
            "transcript": result.transcript,
        }

    def of_run(run: Run) -> dict[str, object]:
        counted = count(run.scored)
        return {
            "name": run.name,
            "seconds": round(run.seconds, 1),
            "score": {outcome.value: counted[outcome] for outcome in Outcome},
            "results": [of_result(result) for result in run.results],
        }

    return json.dumps([of_run(run) for run in runs], indent=1, ensure_ascii=False)


STYLE = """
:root { color-scheme: light dark; --line: #8884; --pass: #1a7f37; --fail: #cf222e; --none: #777; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin-bottom: 1.5rem; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line); }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
code, pre { font: 13px/1.4 ui-monospace, monospace; }
pre { overflow-x: auto; border: 1px solid var(--line); padding: .6rem; white-space: pre-wrap; }
.pass { color: var(--pass); } .fail { color: var(--fail); font-weight: 600; } .none { color: var(--none); }
@media (prefers-color-scheme: dark) { :root { --pass: #3fb950; --fail: #ff7b72; --none: #999; } }
"""

CSS_CLASS = {Outcome.PASSED: "pass", Outcome.FAILED: "fail", Outcome.UNSUPPORTED: "none"}


def as_html(runs: list[Run]) -> str:
    body = "".join([score_table(runs), *(run_section(run) for run in runs)])
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>Socket.IO conformance</title><style>{STYLE}</style>"
        f"<h1>Socket.IO conformance</h1>{body}</html>\n"
    )


def score_table(runs: list[Run]) -> str:
    rows = []
    for run in runs:
        counted = count(run.scored)
        cells = "".join(
            f'<td class="number {CSS_CLASS[outcome]}">{counted[outcome]}</td>' for outcome in Outcome
        )
        stricter = f"{count(run.stricter)[Outcome.PASSED]} of {len(run.stricter)}" if run.stricter else "–"
        rows.append(
            f"<tr><td>{html.escape(run.name)}</td>{cells}"
            f'<td class="number">{stricter}</td><td class="number">{run.seconds:.0f} s</td></tr>'
        )
    heads = "".join(f'<th class="number">{outcome.value}</th>' for outcome in Outcome)
    return (
        f"<table><thead><tr><th>server</th>{heads}"
        '<th class="number">stricter, passed</th><th class="number">time</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def run_section(run: Run) -> str:
    parts = [f"<h2>{html.escape(run.name)}</h2>"]
    for group, results in groups(run.results).items():
        counted = count(results)
        summary = f"{counted[Outcome.PASSED]} of {len(results)}"
        state = " open" if counted[Outcome.FAILED] else ""
        rows = "".join(result_row(result) for result in results)
        parts.append(
            f"<details{state}><summary><strong>{html.escape(group)}</strong> {summary}</summary>"
            "<table><thead><tr><th>check</th><th>requirement</th><th>source</th><th>outcome</th></tr></thead>"
            f"<tbody>{rows}</tbody></table></details>"
        )
    return "".join(parts)


def result_row(result: Result) -> str:
    check, outcome = result.check, result.outcome
    row = (
        f"<tr><td><code>{html.escape(check.id)}</code></td><td>{html.escape(check.requirement)}</td>"
        f'<td>{html.escape(check.source)}</td><td class="{CSS_CLASS[outcome]}">{outcome.value}</td></tr>'
    )
    if outcome is not Outcome.FAILED:
        return row
    exchanged = html.escape("\n".join(result.transcript))
    return (
        f'{row}<tr><td></td><td colspan="3">expected <code>{html.escape(result.expected)}</code><br>'
        f"seen <code>{html.escape(result.seen)}</code><pre>{exchanged}</pre></td></tr>"
    )
