"""The judgement of the suite's report."""

from __future__ import annotations

from typing import Any

import pytest

from tests.autobahn.verdict import judge, summarise


def case(behavior: str, close: str = "OK") -> dict[str, str]:
    return {"behavior": behavior, "behaviorClose": close}


@pytest.mark.parametrize(
    ("number", "outcome", "problems"),
    [
        ("1.1.1", case("OK"), []),
        ("7.1.6", case("INFORMATIONAL", "INFORMATIONAL"), []),
        ("6.4.1", case("NON-STRICT"), []),
        ("1.1.1", case("NON-STRICT"), ["case 1.1.1: behavior is NON-STRICT"]),
        ("6.4.1", case("FAILED"), ["case 6.4.1: behavior is FAILED"]),
        ("7.1.5", case("OK", "WRONG CODE"), ["case 7.1.5: behaviorClose is WRONG CODE"]),
    ],
)
def test_a_case_is_judged(number: str, outcome: dict[str, str], problems: list[str]) -> None:
    assert judge({number: outcome}) == problems


def test_a_run_without_cases_has_failed() -> None:
    assert judge({}) == ["no case was run"]


def test_the_summary_counts() -> None:
    cases: dict[str, Any] = {"1": case("OK"), "2": case("OK"), "3": case("FAILED")}
    assert summarise(cases) == "OK 2, FAILED 1"
