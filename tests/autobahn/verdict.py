"""What the report of the suite must say."""

from __future__ import annotations

from collections import Counter
from typing import Final

NON_STRICT: Final = {
    "6.4.1": "invalid UTF-8 in the middle of a fragmented message is found at its end",
    "6.4.2": "the same",
    "6.4.3": "the same",
    "6.4.4": "the same",
}
"""Cases that may end "NON-STRICT", each with the reason."""

GOOD: Final = frozenset(("OK", "INFORMATIONAL"))


def judge(cases: dict[str, dict[str, str]]) -> list[str]:
    """Return what is wrong in a report, a line each.

    :param cases: of one agent, by the case's number: ``behavior`` and ``behaviorClose``, as the suite writes them.
    """
    if not cases:
        return ["no case was run"]
    problems = []
    for number, case in sorted(cases.items()):
        for name in ("behavior", "behaviorClose"):
            verdict = case[name]
            if verdict not in GOOD and not (verdict == "NON-STRICT" and number in NON_STRICT):
                problems.append(f"case {number}: {name} is {verdict}")
    return problems


def summarise(cases: dict[str, dict[str, str]]) -> str:
    """Return how many cases ended in which way."""
    counts = Counter(case["behavior"] for case in cases.values())
    return ", ".join(f"{verdict} {count}" for verdict, count in counts.most_common())
