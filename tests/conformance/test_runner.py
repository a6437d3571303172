"""Running checks: servers started and stopped, outcomes told apart."""

from __future__ import annotations

import asyncio
import shlex
import sys
from pathlib import Path

import pytest

from conformance.bench import Bench
from conformance.expect import expect_equal
from conformance.model import Check, Mark, Outcome, Result
from conformance.runner import Target, run_checks
from conformance.target import StartError, server_at, server_of

SERVER = """
import argparse, asyncio, sys
parser = argparse.ArgumentParser()
parser.add_argument("--profile")
parser.add_argument("--port", type=int)
options = parser.parse_args()
if options.profile == "recovery":
    sys.exit(64)
if options.profile == "cors":
    sys.exit("cannot start")
async def answer(reader, writer):
    head = await reader.readuntil(b"\\r\\n\\r\\n")
    if b"/crash" in head:
        import os
        os._exit(3)
    if b"/silent" in head:
        await reader.read()  # a writer that nobody holds closes its connection, from 3.13
    else:
        writer.write(b"HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\n\\r\\nok")
async def main():
    async with await asyncio.start_server(answer, "127.0.0.1", options.port) as server:
        await server.serve_forever()
asyncio.run(main())
"""


@pytest.fixture
def command(tmp_path: Path) -> str:
    script = tmp_path / "server.py"
    script.write_text(SERVER)
    return f"{shlex.quote(sys.executable)} {shlex.quote(str(script))}"


def get(path: str, profile: str = "base", *marks: Mark) -> Check:
    async def run(bench: Bench) -> None:
        response = await bench.request("GET", path)
        expect_equal(response.body, b"ok" if path != "/wrong" else b"no")

    return Check(f"test.{path}.{profile}", "Something.", "here", run, profile, frozenset(marks), 0.5)


def run_all(command: str, *checks: Check) -> dict[str, Result]:
    shown: list[Result] = []
    results = asyncio.run(run_checks(list(checks), Target(command), shown.append))
    assert len(shown) == len(checks)
    return {result.check.id: result for result in results}


def test_outcomes_are_told_apart(command: str) -> None:
    results = run_all(command, get("/"), get("/wrong"), get("/silent"), get("/", "recovery"))
    assert [result.outcome for result in results.values()] == [
        Outcome.PASSED,
        Outcome.FAILED,
        Outcome.FAILED,
        Outcome.UNSUPPORTED,
        Outcome.PASSED,
    ]
    wrong, silent = results["test./wrong.base"], results["test./silent.base"]
    assert (wrong.expected, wrong.seen) == ("b'no'", "b'ok'")
    assert any("-> GET /wrong HTTP/1.1" in line for line in wrong.transcript)
    assert "within 0.5 s" in silent.expected
    assert "server.survives.base" in results


def test_a_server_that_ends_by_itself_is_found_out(command: str) -> None:
    results = run_all(command, get("/crash"))
    assert results["test./crash.base"].outcome is Outcome.FAILED
    assert results["server.survives.base"].outcome is Outcome.FAILED


def test_a_fresh_check_has_a_server_of_its_own(command: str) -> None:
    results = run_all(command, get("/crash", "base", "fresh"), get("/"))
    assert results["test./.base"].outcome is Outcome.PASSED
    assert results["server.survives.base"].outcome is Outcome.PASSED


def test_a_server_that_does_not_start_is_an_error(command: str) -> None:
    with pytest.raises(StartError, match="cannot start"):
        run_all(command, get("/", "cors"), get("/"))


def test_a_server_whose_start_is_given_up_does_not_stay(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text("import time; time.sleep(60)")

    async def scenario() -> None:
        server = server_of(f"{shlex.quote(sys.executable)} {shlex.quote(str(script))}", "base")
        starting = asyncio.create_task(server.start())
        await asyncio.wait([starting], timeout=0.5)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert not server.running

    asyncio.run(scenario())


def test_a_server_is_started_stopped_and_started_again(command: str) -> None:
    async def scenario() -> None:
        server = server_of(command, "base")
        for _ in range(2):
            await server.start()
            assert server.running
            await server.stop()
            assert not server.running

    asyncio.run(scenario())


def test_a_url_names_host_port_and_perhaps_a_path() -> None:
    server = server_at("http://127.0.0.1:3000", "options")
    assert (server.host, server.port, server.path) == ("127.0.0.1", 3000, "/realtime/")
    assert server_at("http://127.0.0.1:3000/mine/", "base").path == "/mine/"
