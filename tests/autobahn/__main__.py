"""`python -m tests.autobahn --suite FOLDER --python PYTHON2`: the fuzzing client against the echo server."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.autobahn.verdict import judge, summarise
from tests.helpers.processes import ROOT

SHORT = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"]
LONG = [*SHORT, "9.*", "12.*", "13.*"]
"""With the limits, and with compression."""

RUN = (
    "import sys; from autobahntestsuite.wstest import run; "
    "sys.argv = ['wstest', '--mode', 'fuzzingclient', '--spec', sys.argv[1]]; run()"
)


def run_suite(python: str, suite: Path, port: int, cases: list[str]) -> dict[str, dict[str, str]]:
    """Return the suite's report of the server on a port."""
    with tempfile.TemporaryDirectory() as folder:
        reports, spec = Path(folder) / "reports", Path(folder) / "spec.json"
        server = {"agent": "sio_core", "url": f"ws://127.0.0.1:{port}"}
        content = {
            "outdir": str(reports),
            "servers": [server],
            "cases": cases,
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        spec.write_text(json.dumps(content))
        subprocess.run(
            [python, "-c", RUN, str(spec)],
            env={**os.environ, "PYTHONPATH": str(suite)},
            cwd=folder,
            stdout=subprocess.DEVNULL,
            check=True,
        )
        report: dict[str, dict[str, str]] = json.loads((reports / "index.json").read_text())["sio_core"]
        return report


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.autobahn", description=__doc__)
    parser.add_argument("--suite", type=Path, required=True, help="where the suite is installed")
    parser.add_argument("--python", required=True, help="a Python 2.7 to run it with")
    parser.add_argument(
        "--long", action="store_true", help="with limits and compression, a quarter of an hour"
    )
    arguments = parser.parse_args()
    with subprocess.Popen(
        [sys.executable, "-m", "tests.autobahn.echo"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        port = int(server.stdout.readline())
        cases = run_suite(
            arguments.python, arguments.suite.resolve(), port, LONG if arguments.long else SHORT
        )
        server.stdin.close()
    problems = judge(cases)
    print(f"{len(cases)} cases of the Autobahn test suite: {summarise(cases)}")
    for problem in problems:
        print(problem, file=sys.stderr)
    raise SystemExit(1 if problems else 0)


if __name__ == "__main__":
    main()
