"""The tables of ``docs/options.md``, held against the code: every option with its default, and none that is not."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

import pytest

import sio_core
from sio_core import Cookie, Cors, Deflate, Limits, Recovery, Server
from sio_core.engineio.options import EngineOptions
from sio_core.limits import HARDENED
from sio_core.server import make_data
from tests.helpers.processes import ROOT

TEXT = (ROOT / "docs" / "options.md").read_text()
NAMES = {**vars(sio_core), "make_data": make_data}


def read_table(title: str) -> list[dict[str, str]]:
    """Return the rows of a table by their columns; it is the first below the heading, or says whose fields it has."""
    start = TEXT.find(f"| Field of `{title}` |")
    if start < 0:
        start = TEXT.index("| Option |", TEXT.index(f"\n## {title}\n"))
    head, _, *lines = TEXT[start:].splitlines()
    columns = [cell.strip() for cell in head.strip("|").split("|")]
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        rows.append(dict(zip(columns, cells, strict=True)))
    return rows


def documented(title: str) -> dict[str, Any]:
    """Return the defaults that a table names, in its order."""
    return {
        next(iter(row.values())).strip("`"): eval(row["Default"].strip("`"), dict(NAMES))
        for row in read_table(title)
    }


def fields_of(options: type[Any]) -> dict[str, Any]:
    return {
        field.name: field.default_factory() if callable(field.default_factory) else field.default
        for field in dataclasses.fields(options)
    }


def test_the_options_of_the_server() -> None:
    parameters = inspect.signature(Server).parameters.values()
    actual = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    table = documented("Server")
    assert table.pop("path") == Server().engine.options.path
    assert table == actual


def test_the_options_of_the_engine() -> None:
    actual = fields_of(EngineOptions)
    del actual["path"]  # in the first table
    assert documented("Engine") == actual


@pytest.mark.parametrize(
    "options", [Cors, Recovery, Cookie, Deflate, Limits], ids=lambda options: options.__name__
)
def test_the_fields_of(options: type[Any]) -> None:
    assert documented(options.__name__) == fields_of(options)


def test_the_hardened_limits() -> None:
    cells = {row["Field of `Limits`"].strip("`"): row["Hardened"].strip("`") for row in read_table("Limits")}
    assert {name: eval(cell) for name, cell in cells.items() if cell} == dict(HARDENED)


@pytest.mark.parametrize("title", ["Server", "Engine", "Cors", "Recovery", "Cookie", "Deflate", "Limits"])
def test_every_row_is_complete(title: str) -> None:
    for row in read_table(title):
        name = next(iter(row.values()))
        assert row["What"], name
        assert "Official name" not in row or row["Official name"] or name.strip("`") in OUR_OWN, name
        seconds = name.strip("`").endswith(("_timeout", "_interval", "_time", "_duration"))
        assert row["Unit"] == "s" or not seconds or "reserved" in row["What"], name


OUR_OWN = {"cluster_engine", "data_factory", "health_path", "check_origin", "trusted_proxies", "limits"}


def test_what_is_called_reserved_is_not_read_anywhere() -> None:
    source = "".join(path.read_text() for path in (ROOT / "sio_core").rglob("*.py"))
    rows = [
        next(iter(row.values())).strip("`")
        for title in ("Engine", "Limits")
        for row in read_table(title)
        if "reserved" in row["What"]
    ]
    assert rows == [
        name for name in rows if not re.search(rf"\b(limits|options|_limits|_options)\.{name}\b", source)
    ]
