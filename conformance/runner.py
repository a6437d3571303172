"""Runs checks against a target and collects what came of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from conformance.bench import Bench, MissingToolError
from conformance.client.chromium import Chromium
from conformance.expect import MismatchError
from conformance.model import Check, Mark, Outcome, Result
from conformance.peer.engineio import EndedError
from conformance.peer.http import DisconnectedError
from conformance.peer.websocket import RefusedError
from conformance.target import Server, StartError, UnsupportedProfileError, server_of

AT_ONCE = 16
"""Ordinary checks that run at the same time: they mostly wait."""

TIMING_AT_ONCE = 24
"""Timing checks do nothing but wait, and wait longest; a crowd of them is still a quiet machine."""

HEAVY_AT_ONCE = 2
STARTING_AT_ONCE = 2

REAPED = 0.1
"""Seconds until the end of a process that has just crashed is known."""

SURVIVAL = "No byte sequence of a client ends the server process."

Progress = Callable[[Result], None]


@dataclass(slots=True)
class Target:
    """Where checks are sent: a command that is started once for each profile, or one running server."""

    command: str | None
    running: dict[str, Server] = field(default_factory=dict)
    unsupported: set[str] = field(default_factory=set)
    chromium: Chromium = field(default_factory=Chromium)

    async def start(self, profiles: Iterable[str]) -> None:
        if self.command is None:
            return
        gate = asyncio.Semaphore(STARTING_AT_ONCE)

        async def start_one(profile: str) -> None:
            async with gate:
                server = self.fresh(profile)
                try:
                    await server.start()
                except UnsupportedProfileError:
                    self.unsupported.add(profile)
                else:
                    self.running[profile] = server

        try:
            async with asyncio.TaskGroup() as group:
                for profile in profiles:
                    group.create_task(start_one(profile))
        except* StartError as failed:
            await self.stop()
            raise StartError(str(failed.exceptions[0])) from failed

    def fresh(self, profile: str) -> Server:
        if self.command is None:
            raise UnsupportedProfileError("a server that was not started by the suite cannot be restarted")
        return server_of(self.command, profile)

    async def stop(self) -> None:
        await self.chromium.close()
        await asyncio.gather(*(server.stop() for server in self.running.values()))


async def run_checks(checks: list[Check], target: Target, progress: Progress) -> list[Result]:
    """Run all of them, each kind as crowded as it can bear, and the servers' own survival last."""
    await target.start(sorted({check.profile for check in checks if "fresh" not in check.marks}))
    results: list[Result] = []
    try:
        for kind, at_once in ((heavy, HEAVY_AT_ONCE), (ordinary, AT_ONCE), (timing, TIMING_AT_ONCE)):
            gate = asyncio.Semaphore(at_once)
            chosen = [check for check in checks if kind(check)]
            results += await asyncio.gather(*(run_gated(check, target, gate, progress) for check in chosen))
        await asyncio.sleep(REAPED)
        results += [survival(server) for server in target.running.values()]
    finally:
        await target.stop()
    order = {check.id: number for number, check in enumerate(checks)}
    return sorted(results, key=lambda result: order.get(result.check.id, len(order)))


def heavy(check: Check) -> bool:
    return bool({"heavy", "fresh"} & check.marks)


def timing(check: Check) -> bool:
    return "timing" in check.marks and not heavy(check)


def ordinary(check: Check) -> bool:
    return not heavy(check) and not timing(check)


async def run_gated(check: Check, target: Target, gate: asyncio.Semaphore, progress: Progress) -> Result:
    async with gate:
        result = await run_check(check, target)
    progress(result)
    return result


async def run_check(check: Check, target: Target) -> Result:
    started_at = time.monotonic()
    if "fresh" in check.marks:
        return await run_fresh(check, target, started_at)
    server = target.running.get(check.profile)
    if server is None:
        return Result(check, Outcome.UNSUPPORTED, 0.0)
    return await judge(check, Bench(server, target.chromium), started_at)


async def run_fresh(check: Check, target: Target, started_at: float) -> Result:
    try:
        server = target.fresh(check.profile)
        await server.start()
    except UnsupportedProfileError:
        return Result(check, Outcome.UNSUPPORTED, 0.0)
    try:
        return await judge(check, Bench(server, target.chromium), started_at)
    finally:
        await server.stop()


async def judge(check: Check, bench: Bench, started_at: float) -> Result:
    expected = seen = ""
    try:
        async with asyncio.timeout(check.timeout):
            await check.run(bench)
    except MismatchError as mismatch:
        expected, seen = mismatch.expected, mismatch.seen
    except MissingToolError:
        return Result(check, Outcome.UNSUPPORTED, 0.0)
    except TimeoutError:
        expected, seen = f"an answer within {check.timeout:g} s", "none"
    except EndedError as ended:
        expected, seen = "a session that goes on", ended.how
    except (RefusedError, DisconnectedError, OSError) as error:
        expected, seen = "a connection that goes on", f"{type(error).__name__}: {error}"
    except Exception as error:  # a server's answer may break any assumption of a check
        expected, seen = "an answer of the expected shape", f"{type(error).__name__}: {error}"
    finally:
        bench.close()
    seconds = time.monotonic() - started_at
    if not seen:
        return Result(check, Outcome.PASSED, seconds)
    return Result(check, Outcome.FAILED, seconds, expected, seen, bench.transcript.lines())


def survival(server: Server) -> Result:
    async def nothing(bench: Bench) -> None:
        """Survival is read off the process, not asked over the wire."""

    name = f"server.survives.{server.profile}"
    marks: frozenset[Mark] = frozenset({"stricter"} if server.profile == "stricter" else ())
    check = Check(name, SURVIVAL, "robustness", nothing, server.profile, marks)
    if server.running:
        return Result(check, Outcome.PASSED, 0.0)
    return Result(check, Outcome.FAILED, 0.0, "a running process", "it ended", server.log.splitlines())
