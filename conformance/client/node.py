"""A scenario of the official client in a Node process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from pathlib import Path

from conformance.bench import Bench, MissingToolError
from conformance.expect import MismatchError

SCRIPT = Path(__file__).with_name("node.mjs")
ROOT = Path(__file__).parents[2]


async def run_in_node(bench: Bench, scenario: str) -> None:
    node = shutil.which("node")
    if node is None or not (ROOT / "node_modules" / "socket.io-client").is_dir():
        raise MissingToolError("Node and the official client, installed in node_modules")
    arguments = (str(SCRIPT), scenario, bench.server.url, bench.server.profile)
    process = await asyncio.create_subprocess_exec(
        node,
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        await converse(bench, process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def converse(bench: Bench, process: asyncio.subprocess.Process) -> None:
    assert process.stdout is not None
    assert process.stdin is not None
    printed = []
    while line := (await process.stdout.readline()).decode("utf-8", "replace").strip():
        bench.transcript.record(0, line.encode(), sent=False)
        printed.append(line)
        if line == "passed":
            return
        if line.startswith("control "):
            await bench.control(line.removeprefix("control "))
            process.stdin.write(b"done\n")
    raise MismatchError("the scenario to pass", "; ".join(printed[-5:]))
