"""`python -m tests.fuzz`: run every target under atheris, for some seconds each."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tests.fuzz.seeds import FOUND, SEEDS
from tests.helpers.processes import ROOT

MAX_LENGTH = 8_192
"""Bytes of one input."""

RUN = """
import sys
import atheris
with atheris.instrument_imports(include=["sio_core"]):
    from tests.fuzz.targets import TARGETS
atheris.Setup(sys.argv, TARGETS[sys.argv.pop()])
atheris.Fuzz()
"""


def fuzz(target: str, seconds: int, folder: Path, corpus: Path) -> bool:
    """Fuzz one target; say whether it has held. What made it fail is written to ``folder``."""
    corpus.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate([*SEEDS[target], *FOUND.get(target, [])]):
        (corpus / f"seed{number}").write_bytes(data)
    outcome = subprocess.run(
        [
            sys.executable,
            "-c",
            RUN,
            f"-max_total_time={seconds}",
            f"-max_len={MAX_LENGTH}",
            f"-artifact_prefix={folder}/{target}-",
            "-print_final_stats=1",
            "-rss_limit_mb=2048",
            "-timeout=10",
            "-verbosity=0",
            str(corpus),
            target,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    statistics = dict(
        line.removeprefix("stat::").split(":", 1)
        for line in outcome.stderr.splitlines()
        if line.startswith("stat::")
    )
    runs = statistics.get("number_of_executed_units", "no").strip()
    held = outcome.returncode == 0 and runs.isdigit()
    print(f"{target:10} {runs} inputs in {seconds} s, {'no failure' if held else 'FAILED'}", flush=True)
    if not held:
        print(outcome.stdout, outcome.stderr[-2_000:], file=sys.stderr)
    return held


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", help=f"some of {', '.join(SEEDS)} (default: all)")
    parser.add_argument("--seconds", type=int, default=180, help="for each target (default 180)")
    parser.add_argument(
        "--folder", type=Path, default=ROOT / "build" / "fuzz", help="for what was found, and the corpora"
    )
    arguments = parser.parse_args()
    unknown = set(arguments.targets) - set(SEEDS)
    if unknown:
        parser.error(f"no target {sorted(unknown)[0]!r}; there are {', '.join(SEEDS)}")
    arguments.folder.mkdir(parents=True, exist_ok=True)
    folder = arguments.folder.resolve()
    held = [
        fuzz(target, arguments.seconds, folder, folder / "corpus" / target)
        for target in arguments.targets or SEEDS
    ]
    raise SystemExit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
