"""``docs/delivery.md``: what a failure costs is what a test sees that exists."""

from __future__ import annotations

import ast
import re

from tests.helpers.processes import ROOT

PAGE = ROOT / "docs" / "delivery.md"
ROW = re.compile(r"\| \[\w+\]\((\.\./tests/faults/\w+\.py)\): `(test_\w+)` \|$")


def test_every_failure_has_its_test() -> None:
    rows = PAGE.read_text().split("| Failure | Costs | Test |\n")[1].splitlines()[1:]
    assert len(rows) > 10
    for row in rows:
        found = ROW.search(row)
        assert found, row
        source = ast.parse((PAGE.parent / found[1]).resolve().read_text())
        names = {n.name for n in ast.walk(source) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert found[2] in names, row
