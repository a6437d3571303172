"""The register of checks, and the catalogue of mutants that refers to it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conformance.__main__ import select
from conformance.checks import every_check
from conformance.model import Check, register
from conformance.mutants.catalogue import CATALOGUE

ROOT = Path(__file__).parents[2] / "conformance"
CHECKS = {check.id: check for check in every_check()}


def test_there_are_enough_checks_and_mutants() -> None:
    assert len(CHECKS) >= 200
    assert len({mutant.name for mutant in CATALOGUE}) == len(CATALOGUE) >= 25


@pytest.mark.parametrize("check", CHECKS.values(), ids=list(CHECKS))
def test_a_check_says_what_it_requires_and_whence(check: Check) -> None:
    assert re.fullmatch(r"[a-z0-9_.-]+(\.[A-Za-z0-9_.-]+)*", check.id)
    assert check.requirement.endswith(".")
    assert check.source
    assert check.timeout > 0


def test_a_check_is_registered_once() -> None:
    with pytest.raises(ValueError, match="two checks"):
        register(next(iter(CHECKS.values())))


def test_every_profile_is_described_and_offered_by_the_official_application() -> None:
    described = (ROOT / "APPLICATION.md").read_text("utf-8")
    offered = (ROOT / "applications" / "official_app.cjs").read_text("utf-8")
    for profile in {check.profile for check in CHECKS.values()}:
        assert f"| `{profile}` |" in described
        assert re.search(rf'^  "?{profile}"?: \{{', offered, re.MULTILINE), profile


def test_every_scenario_exists() -> None:
    scenarios = (ROOT / "client" / "scenarios.mjs").read_text("utf-8")
    for identifier in CHECKS:
        group, _, rest = identifier.partition(".")
        name = rest.partition(".")[2]
        if group == "client" and name != "served":
            assert re.search(rf'^  (async )?"?{name}"?[(:]', scenarios, re.MULTILINE), name


@pytest.mark.parametrize("mutant", CATALOGUE, ids=lambda mutant: mutant.name)
def test_a_mutant_exists_and_is_caught_by_checks_that_exist(mutant: object) -> None:
    broken = (ROOT / "mutants" / "mutant_app.cjs").read_text("utf-8")
    assert f'"{mutant.name}": ' in broken  # type: ignore[attr-defined]
    assert set(mutant.caught_by) <= set(CHECKS)  # type: ignore[attr-defined]


def test_stricter_checks_are_run_only_when_asked_for() -> None:
    assert not any("stricter" in check.marks for check in select("", "", stricter=False))
    assert any("stricter" in check.marks for check in select("", "", stricter=True))
    assert all("stricter" in check.marks for check in select("stricter", "", stricter=False))


def test_checks_are_chosen_by_the_beginning_of_their_ids_and_left_out_by_marks() -> None:
    chosen = select("cors,engineio.heartbeat", "cors.any,wire", stricter=False)
    assert {check.group for check in chosen} == {"cors", "engineio"}
    assert not any(check.id.startswith("cors.any") or "wire" in check.marks for check in chosen)


def test_the_suite_imports_no_server() -> None:
    for module in ROOT.rglob("*.py"):
        if module.parent.name != "applications":
            text = module.read_text("utf-8")
            assert not re.search(r"^\s*(from|import) (sio_core|socketio|engineio)\b", text, re.MULTILINE), (
                module
            )
