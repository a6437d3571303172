"""docs/threat-model.md says what is defended and which tests show it: here it is held against the tests.

Each test names its rows, ``@pytest.mark.threat("T01", "T02")``. After a change,
``python -m tests.security.test_threat_model`` writes the last column anew.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = ROOT / "docs" / "threat-model.md"

REQUIRED = (
    [f"T{number:02}" for number in range(1, 52)]
    + ["T15b", "T32b", "T33b"]
    + [f"T{number}" for number in (57, 58, 59, 60, 61, 63, 64, 65)]
)
"""The rows that the page must have. It may have others."""


def rows_of(decorator: ast.expr) -> list[str]:
    """The rows that a decorator names."""
    if not isinstance(decorator, ast.Call) or ast.unparse(decorator.func) != "pytest.mark.threat":
        return []
    return [ast.literal_eval(argument) for argument in decorator.args]


@functools.cache
def find_tests() -> dict[str, dict[str, list[str]]]:
    """The tests of each row, by their modules."""
    found: dict[str, dict[str, list[str]]] = {}
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                for row in [row for decorator in node.decorator_list for row in rows_of(decorator)]:
                    module = str(path.relative_to(ROOT))
                    found.setdefault(row, {}).setdefault(module, []).append(node.name)
    return found


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def is_row(line: str) -> bool:
    return line.startswith("| T")


@functools.cache
def read_table() -> dict[str, list[str]]:
    """The cells of each row but its number."""
    rows = [cells_of(line) for line in PAGE.read_text().splitlines() if is_row(line)]
    assert len({cells[0] for cells in rows}) == len(rows), "a number stands for two rows"
    return {cells[0]: cells[1:] for cells in rows}


def column(modules: dict[str, list[str]]) -> str:
    """What stands in the last column of a row."""
    return "; ".join(
        f"[{Path(module).stem}](../{module}): " + ", ".join(f"`{name}`" for name in names)
        for module, names in sorted(modules.items())
    )


@pytest.mark.parametrize("row", sorted({*REQUIRED, *read_table()}))
def test_a_row_says_what_is_done_and_is_tested(row: str) -> None:
    assert row in read_table(), f"docs/threat-model.md has no row {row}"
    threat, defence, tests = read_table()[row]
    assert threat
    assert defence
    assert row in find_tests(), f"no test names the threat {row}: {threat}"
    assert tests == column(find_tests()[row]), (
        "the last column is old: run python -m tests.security.test_threat_model"
    )


@pytest.mark.parametrize("row", REQUIRED)
def test_what_is_required_is_acted_out_against_servers(row: str) -> None:
    """A test of a part alone would not show what becomes of everybody else."""
    modules = find_tests().get(row, {})
    assert any(module.startswith("tests/security/") for module in modules), row


def test_tests_name_rows_that_exist() -> None:
    assert set(find_tests()) <= set(read_table())


def main() -> None:
    tests = find_tests()
    lines = []
    for line in PAGE.read_text().splitlines():
        if is_row(line):
            cells = cells_of(line)
            line = f"| {' | '.join(cells[:-1])} | {column(tests.get(cells[0], {}))} |"
        lines.append(line)
    PAGE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
