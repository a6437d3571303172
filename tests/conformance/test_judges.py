"""The long form: the official server passes, and every mutant is caught."""

from __future__ import annotations

import asyncio

import pytest

from conformance.__main__ import judge_server, select
from conformance.mutants.__main__ import judge
from conformance.mutants.catalogue import CATALOGUE
from conformance.peers import OFFICIAL, PEERS
from conformance.runner import Target

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.mark.feature(235)
def test_the_official_server_passes_every_check() -> None:
    checks = select("", "client.chromium", stricter=False)
    run = asyncio.run(judge_server(OFFICIAL, Target(PEERS[OFFICIAL]), checks, lambda result: None))
    assert [result.check.id for result in run.failed()] == []


def test_every_mutant_is_caught() -> None:
    assert asyncio.run(judge(list(CATALOGUE), verbose=True)) == len(CATALOGUE)
