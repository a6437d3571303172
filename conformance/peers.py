"""``python -m conformance.peers``: the score of each server that this repository can start, in one table."""

from __future__ import annotations

import argparse
import asyncio
import shlex
import sys
from pathlib import Path

from conformance.__main__ import Dots, judge_server, select
from conformance.model import Check, Outcome
from conformance.report import Run, as_html, as_json, score_line, table
from conformance.runner import Target
from conformance.target import StartError

APPLICATIONS = Path(__file__).parent / "applications"
PYTHON = shlex.quote(sys.executable)

OFFICIAL = "official server (socket.io 4.8, Node)"

PEERS = {
    OFFICIAL: f"node {shlex.quote(str(APPLICATIONS / 'official_app.cjs'))}",
    "python-socketio 5.18 (uvicorn)": f"{PYTHON} -m conformance.applications.python_socketio_app",
}

OURS = {"sio_core (asyncio)": f"{PYTHON} -m conformance.applications.sio_core_app"}

SMOKE = (
    "engineio.handshake,engineio.error,engineio.polling,engineio.websocket.text,engineio.websocket.binary,"
    "engineio.upgrade.complete,socketio.connect,socketio.event,socketio.ack.echo,socketio.binary,"
    "recovery.back.missed,cors,client.node.upgrade,client.node.acknowledgement"
)
"""A part that tells in half a minute whether the suite still runs against the peers."""


async def judge_all(servers: dict[str, str], checks: list[Check]) -> list[Run]:
    return [await judge_server(name, Target(command), checks, Dots()) for name, command in servers.items()]


def is_clean(run: Run) -> bool:
    """Of the peers, the official server alone must pass everything that is scored: it is the judge's judge."""
    return not run.name.startswith("official") or not any(
        result.outcome is Outcome.FAILED for result in run.scored
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance.peers", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="a part of the checks only")
    parser.add_argument("--ours", action="store_true", help="put sio_core into the table too")
    parser.add_argument("--stricter", action="store_true", help="count the stricter requirements too")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--html", type=Path, metavar="FILE")
    options = parser.parse_args()
    checks = select(SMOKE if options.smoke else "", "", stricter=options.stricter)
    servers = {**(OURS if options.ours else {}), **PEERS}
    try:
        runs = asyncio.run(judge_all(servers, checks))
    except StartError as error:
        print(error, file=sys.stderr)
        return 2
    for run in runs:
        if not is_clean(run):
            print(table(run))
    print()
    for run in runs:
        print(f"{run.name:40} {score_line(run)}")
    if options.json:
        options.json.write_text(as_json(runs), encoding="utf-8")
    if options.html:
        options.html.write_text(as_html(runs), encoding="utf-8")
    return 0 if all(is_clean(run) for run in runs) else 1


if __name__ == "__main__":
    sys.exit(main())
