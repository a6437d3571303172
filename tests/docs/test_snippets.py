"""Every Python snippet of README.md and docs/*.md, run.

The snippets of a page run in their order, in one module and one task, so that a page reads as one program; one with a
file name (```` ```python app.py ````) is a program of its own. What the reader need not see stands in the page as a
comment, ``<!-- test ... -->``: Python too, run in its place. It says who is there, as in
``ann = await enter(TestClient(io))``, and what has to come out. Both may ``await``.
"""

from __future__ import annotations

import ast
import logging
import re
import sqlite3
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from inspect import CO_COROUTINE
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import anyio
import httpx
import pytest

from sio_core.testing import TestClient, VirtualClock, settle
from tests.helpers.processes import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

BLOCK = re.compile(
    r"^```python(?P<file>[ ]\S+)?\n(?P<code>.*?)^```$|^<!-- test\n(?P<test>.*?)^-->$",
    re.MULTILINE | re.DOTALL,
)
FENCE = re.compile(r"^ *```+ *(\S*).*?^ *```+ *$", re.MULTILINE | re.DOTALL)


class Snippet(NamedTuple):
    """One piece of Python of a page.

    :ivar line: where it begins in the page.
    :ivar kind: ``shown``, ``program`` (shown, and a program of its own) or ``test`` (not shown).
    """

    line: int
    code: str
    kind: str


def read_snippets(page: Path) -> list[Snippet]:
    """Return the snippets of a page, those the reader does not see among them."""
    text = page.read_text()
    found = []
    for match in BLOCK.finditer(text):
        group = "test" if match["code"] is None else "code"
        kind = "test" if group == "test" else "program" if match["file"] else "shown"
        found.append(Snippet(text.count("\n", 0, match.start(group)), match[group], kind))
    return found


async def run_snippet(snippet: Snippet, page: Path, module: ModuleType) -> None:
    """Run one snippet; a traceback shows the line of the page."""
    code = compile(
        "\n" * snippet.line + snippet.code,
        str(page),
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )
    outcome = eval(code, vars(module))
    if code.co_flags & CO_COROUTINE:
        await outcome


@asynccontextmanager
async def browse(app: Any, **options: Any) -> AsyncGenerator[httpx.AsyncClient, None]:
    """An HTTP client of an ASGI application, as ``http://testserver``."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver", **options) as http:
        yield http


def make_module(name: str, monkeypatch: pytest.MonkeyPatch, **names: Any) -> ModuleType:
    """Return an empty module that can be found by its name, as dataclasses and others do."""
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    vars(module).update(names)
    return module


@pytest.fixture
def root_logger() -> Iterator[None]:
    """Keep what frameworks do to logging out of the tests that come after."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.anyio
@pytest.mark.usefixtures("root_logger")
@pytest.mark.parametrize("page", [page for page in PAGES if read_snippets(page)], ids=lambda page: page.stem)
async def test_the_snippets_of(
    page: Path, anyio_backend_name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    modules: list[ModuleType] = []
    async with AsyncExitStack() as stack:
        given = {
            "TestClient": TestClient,
            "VirtualClock": VirtualClock,
            "anyio": anyio,
            "backend": anyio_backend_name,
            "browse": browse,
            "enter": stack.enter_async_context,
            "pytest": pytest,
            "settle": settle,
        }
        modules.append(make_module(f"page_{re.sub('[^a-z]', '_', page.stem.lower())}", monkeypatch, **given))
        for snippet in read_snippets(page):
            if snippet.kind == "program":
                modules.append(make_module(f"program_{snippet.line}", monkeypatch))
            await run_snippet(snippet, page, modules[-1] if snippet.kind == "program" else modules[0])
    for module in modules:
        for value in list(vars(module).values()):
            if isinstance(value, sqlite3.Connection):
                value.close()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_no_python_of_a_page_is_passed_over(page: Path) -> None:
    text = page.read_text()
    python = [
        match for match in FENCE.finditer(text) if match[1].lower() in {"python", "py", "python3", "pycon"}
    ]
    shown = [match for match in BLOCK.finditer(text) if match["code"] is not None]
    assert [match[0] for match in shown] == [match[0] for match in python]
    assert text.count("<!-- test") == len(list(BLOCK.finditer(text))) - len(shown)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_server_is_started_in_the_main_program_only(page: Path) -> None:
    for snippet in read_snippets(page):
        if snippet.kind == "test":
            continue
        for statement in ast.parse(snippet.code).body:
            starts = any(
                isinstance(node, ast.Attribute) and node.attr == "run" and isinstance(node.value, ast.Name)
                for node in ast.walk(statement)
            )
            guarded = isinstance(statement, ast.If) and "__main__" in ast.unparse(statement.test)
            assert not starts or guarded, f"{page.name}:{snippet.line}: a server is started at import"


# Links

LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    without_code = FENCE.sub("", text)
    return {
        re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        for heading in HEADING.findall(without_code)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_links_of(page: Path) -> None:
    for target in LINK.findall(FENCE.sub("", page.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor and file.suffix == ".md":  # in a module it names a test: see test_security.py
            assert anchor in anchors(file.read_text()), target


def test_the_index_names_every_page() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages == {target.partition("#")[0] for target in LINK.findall(index)} & pages


# The harness itself


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_snippet_that_fails_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A page\n\n```python\nimport anyio\n```\n\n<!-- test\nawait anyio.sleep(0)\nassert anyio is None\n-->\n"
    )
    module = make_module("page_that_fails", monkeypatch)
    first, second = read_snippets(page)
    await run_snippet(first, page, module)
    with pytest.raises(AssertionError) as caught:
        await run_snippet(second, page, module)
    assert (caught.traceback[-1].path, caught.traceback[-1].lineno + 1) == (page, 9)


# Types


@pytest.mark.timeout(240)
@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_the_page_on_typing_passes(checker: str, tmp_path: Path) -> None:
    file = tmp_path / "typing_page.py"
    file.write_text(
        "\n".join(s.code for s in read_snippets(ROOT / "docs" / "typing.md") if s.kind == "shown")
    )
    options = {"mypy": ["--strict"], "pyright": ["--pythonpath", sys.executable]}
    done = subprocess.run(
        [sys.executable, "-m", checker, *options[checker], str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
