"""``docs/security.md``: every claim leads to tests that exist."""

from __future__ import annotations

import ast
import re

import pytest

from tests.helpers.processes import ROOT

PAGE = ROOT / "docs" / "security.md"
TEXT = PAGE.read_text()
LINK = re.compile(r"\]\(([^)#]+)(?:#([^)]*))?\)")


def section(title: str) -> str:
    """What stands below a heading."""
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]


def claims(title: str) -> list[str]:
    return [item for item in section(title).split("\n- ")[1:] if item]


def functions_of(path: str) -> set[str]:
    source = ast.parse((PAGE.parent / path).resolve().read_text())
    kinds = ast.FunctionDef | ast.AsyncFunctionDef
    return {node.name for node in ast.walk(source) if isinstance(node, kinds)}


@pytest.mark.parametrize("title", ["What is guaranteed", "Secure by default"])
def test_every_claim_has_a_test(title: str) -> None:
    assert len(claims(title)) > 5
    for claim in claims(title):
        assert "](../tests/" in claim, claim


def test_every_link_leads_somewhere() -> None:
    links = LINK.findall(TEXT)
    assert len(links) > 50
    for path, anchor in links:
        assert (PAGE.parent / path).resolve().is_file(), path
        if path.endswith(".py"):
            assert anchor in functions_of(path), f"{path} has no {anchor}"
            assert anchor.startswith("test_")


@pytest.mark.parametrize(
    ("what", "option"),
    [
        ("`Origin` of another host", "check_origin=False"),
        ("One attachment used in several places", "allow_placeholder_reuse=True"),
        ("Numbers that are not finite", "allow_nonfinite=True"),
        ("Middlewares of a client that recovers", "skip_middlewares=True"),
    ],
)
def test_what_is_stricter_says_why_and_how_to_relax_it(what: str, option: str) -> None:
    rows = [line for line in (ROOT / "docs" / "deviations.md").read_text().splitlines() if what in line]
    assert len(rows) == 1
    *_, why, relaxed = [cell.strip() for cell in rows[0].strip("|").split("|")]
    assert why not in {"", "–"}
    assert option in relaxed
