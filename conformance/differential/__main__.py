"""``python -m conformance.differential --start A --against B``: the same transcripts to two servers."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Flaky
from hypothesis.strategies import SearchStrategy

from conformance.differential.allowed import reason_of
from conformance.differential.play import play
from conformance.differential.transcripts import RECORDED, Conversation, Request, conversations, requests
from conformance.model import TRANSPORTS
from conformance.target import Server, server_at, server_of

PACES = (1, 5, 20)
"""A difference counts when it is there at the slowest pace too: what comes in one turn of a server's loop and
what in two is no matter of the protocol, and on a busy machine no matter of the server either."""


class DifferenceError(AssertionError):
    def __init__(self, played: Conversation | Request, official: list[str], other: list[str]) -> None:
        super().__init__(f"{played}\n  official: {official}\n  other:    {other}")


@dataclass(slots=True)
class Comparison:
    """Two servers and the loop in which they are asked; counts what was allowed."""

    runner: asyncio.Runner
    official: Server
    other: Server
    played: int = 0
    allowed: Counter[str] = field(default_factory=Counter)

    def compare(self, transcript: Conversation | Request) -> None:
        self.played += 1
        for pace in PACES:
            first, second = self.runner.run(self._play_both(transcript, pace))
            if first == second:
                return
        reason = reason_of(transcript, first, second)
        if reason is None:
            raise DifferenceError(transcript, first, second)
        self.allowed[reason] += 1

    async def _play_both(
        self, transcript: Conversation | Request, pace: float
    ) -> tuple[list[str], list[str]]:
        first, second = await asyncio.gather(
            play(self.official, transcript, pace), play(self.other, transcript, pace)
        )
        return first, second

    def compare_recorded(self) -> list[str]:
        differences = []
        for packets in RECORDED:
            for transport in TRANSPORTS:
                try:
                    self.compare(Conversation(transport, packets))
                except DifferenceError as difference:
                    differences.append(str(difference))
        return differences

    def compare_generated(
        self,
        strategy: SearchStrategy[Conversation] | SearchStrategy[Request],
        examples: int,
        *,
        fixed: bool,
    ) -> list[str]:
        """The smallest difference that Hypothesis finds, if any."""

        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=fixed,
            suppress_health_check=list(HealthCheck),
            print_blob=False,
            report_multiple_bugs=False,
        )
        @given(strategy)
        def compare(transcript: Conversation | Request) -> None:
            self.compare(transcript)

        try:
            compare()
        except DifferenceError as difference:
            return [str(difference)]
        except Flaky as flaky:
            return [f"a difference that does not come back: {flaky}"]
        return []


def server(command: str | None, url: str | None) -> Server:
    return server_at(url, "base") if url else server_of(str(command), "base")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m conformance.differential", description=__doc__)
    one = parser.add_mutually_exclusive_group(required=True)
    one.add_argument("--start", metavar="COMMAND", help="starts the server that is compared")
    one.add_argument("--url")
    against = parser.add_mutually_exclusive_group(required=True)
    against.add_argument("--against", metavar="COMMAND", help="starts the server that is right")
    against.add_argument("--against-url")
    parser.add_argument("--examples", type=int, default=150, help="generated transcripts of each kind")
    parser.add_argument("--random", action="store_true", help="other transcripts each time")
    options = parser.parse_args()
    official = server(options.against, options.against_url)
    other = server(options.start, options.url)
    with asyncio.Runner() as runner:
        for each in (official, other):
            if each.command:
                runner.run(each.start())
        try:
            comparison = Comparison(runner, official, other)
            differences = [
                *comparison.compare_recorded(),
                *comparison.compare_generated(conversations(), options.examples, fixed=not options.random),
                *comparison.compare_generated(requests, options.examples, fixed=not options.random),
            ]
        finally:
            for each in (official, other):
                runner.run(each.stop())
    print(f"{comparison.played} transcripts played to both servers")
    for reason, count in comparison.allowed.items():
        print(f"allowed {count} times: {reason}")
    for difference in differences:
        print(f"DIFFERENCE {difference}")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
