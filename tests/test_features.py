"""docs/features.md says which feature is tested where: here it is held against the tests.

Each test names its rows, ``@pytest.mark.feature(107, 119)``. After a change, ``python -m tests.test_features`` writes
the last column anew.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "features.md"
ROWS = 250
NOT_APPLICABLE = "not applicable: "


def rows_of(decorator: ast.expr) -> list[int]:
    """The rows that a decorator names."""
    if not isinstance(decorator, ast.Call) or ast.unparse(decorator.func) != "pytest.mark.feature":
        return []
    return [ast.literal_eval(argument) for argument in decorator.args]


@functools.cache
def find_tests() -> dict[int, set[str]]:
    """The modules that test each row."""
    found: dict[int, set[str]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                for row in [row for decorator in node.decorator_list for row in rows_of(decorator)]:
                    found.setdefault(row, set()).add(str(path.relative_to(ROOT / "tests")))
    return found


@functools.cache
def read_table() -> dict[int, list[str]]:
    """The cells of each row: name, supported as, tested in."""
    cells = [line.strip("|").split("|") for line in TABLE.read_text().splitlines() if line.startswith("| ")]
    numbered = [[cell.strip() for cell in line] for line in cells if line[0].strip().isdigit()]
    assert [int(line[0]) for line in numbered] == list(range(1, ROWS + 1))
    return {int(line[0]): line[1:] for line in numbered}


def column(modules: set[str]) -> str:
    return ", ".join(sorted(modules)) if modules else "–"


@pytest.mark.parametrize("row", range(1, ROWS + 1))
def test_a_row_is_tested_or_says_why_it_is_not_applicable(row: int) -> None:
    name, supported, where = read_table()[row]
    assert name
    assert supported
    modules = find_tests().get(row, set())
    if supported.startswith(NOT_APPLICABLE):
        assert not modules, f"row {row} is not applicable, and tested"
    else:
        assert modules, f"no test names row {row}, {name}"
    assert where == column(modules), "the last column is old: run python -m tests.test_features"


def test_tests_name_rows_that_exist() -> None:
    assert set(find_tests()) <= set(range(1, ROWS + 1))


def main() -> None:
    modules = find_tests()
    lines = []
    for line in TABLE.read_text().splitlines():
        cells = line.strip("|").split("|")
        if line.startswith("| ") and cells[0].strip().isdigit():
            cells[3] = f" {column(modules.get(int(cells[0]), set()))} "
            line = f"|{'|'.join(cells)}|"
        lines.append(line)
    TABLE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
