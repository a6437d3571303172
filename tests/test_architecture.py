"""The layers of the package, read from its source.

Imports go down, or along inside a folder; never up, never between ``engineio`` and ``socketio``, and never in a circle.
Inside one folder an import under ``TYPE_CHECKING`` may point back. The half below the line does no I/O.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import sio_core

ROOT = Path(sio_core.__file__).parent

LAYERS = {
    "errors": 0,
    "ids": 0,
    "limits": 0,
    "wire": 1,
    "engineio": 2,
    "socketio": 2,
    "runtime": 3,
    "channel": 3,
    "adapters": 3,
    "emitters": 3,
    "api": 4,
    "serving": 5,
    "server": 6,
    "testing": 6,
    "__init__": 6,
    "__main__": 7,
}
PURE = 2
"""Up to this layer the code does no I/O."""

FORBIDDEN_BELOW = {
    "asyncio",
    "anyio",
    "trio",
    "socket",
    "ssl",
    "time",
    "select",
    "threading",
    "sniffio",
    "uvloop",
}
PACKAGES_BELOW = {"httptools", "websockets", "orjson", "msgspec"}

MODULES = sorted(ROOT.rglob("*.py"))


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> int:
    parts = module.split(".")
    return LAYERS["__init__" if len(parts) == 1 else parts[1]]


def folder_of(module: str) -> str:
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


class Imports(ast.NodeVisitor):
    """The modules a module imports, when it runs and only for its types."""

    def __init__(self) -> None:
        self.at_run_time: set[str] = set()
        self.for_types: set[str] = set()
        self._target = self.at_run_time

    def visit_If(self, node: ast.If) -> None:
        if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            before, self._target = self._target, self.for_types
            for child in node.body:
                self.visit(child)
            self._target = before
            for child in node.orelse:
                self.visit(child)
        else:
            self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        self._target.update(alias.name for alias in node.names)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        assert node.level == 0, "imports are absolute"
        assert node.module is not None
        for alias in node.names:
            candidate = f"{node.module}.{alias.name}"
            known = (ROOT.parent / candidate.replace(".", "/")).with_suffix(".py").exists()
            self._target.add(candidate if known else node.module)


def imports_of(path: Path) -> Imports:
    imports = Imports()
    imports.visit(ast.parse(path.read_text()))
    return imports


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down(path: Path) -> None:
    module = name_of(path)
    imports = imports_of(path)
    for imported in imports.at_run_time | imports.for_types:
        if not imported.startswith("sio_core."):
            continue
        if folder_of(imported) == folder_of(module):
            continue
        assert layer_of(imported) <= layer_of(module), f"{module} imports {imported}, which is above it"
        siblings = {folder_of(module), folder_of(imported)}
        assert siblings != {"engineio", "socketio"}, (
            f"{module} imports {imported}: they do not know each other"
        )


@pytest.mark.parametrize("path", [p for p in MODULES if layer_of(name_of(p)) <= PURE], ids=name_of)
def test_the_lower_half_does_no_io(path: Path) -> None:
    imports = imports_of(path)
    roots = {name.split(".")[0] for name in imports.at_run_time | imports.for_types}
    assert not roots & FORBIDDEN_BELOW
    third_party = {
        root for root in roots if root in {"httptools", "websockets", "orjson", "msgspec", "h11", "pydantic"}
    }
    assert third_party <= PACKAGES_BELOW
    tree = ast.parse(path.read_text())
    waiting = [
        n
        for n in ast.walk(tree)
        if isinstance(n, ast.AsyncFunctionDef | ast.Await | ast.AsyncWith | ast.AsyncFor)
    ]
    assert not waiting, "the lower half never awaits"


def test_there_are_no_import_cycles() -> None:
    graph = {name_of(path): imports_of(path).at_run_time for path in MODULES}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"a circle: {' -> '.join([*trail[trail.index(module) :], module])}"
        if module in done or module not in graph:
            return
        for imported in graph[module]:
            visit(imported, (*trail, module))
        done.add(module)

    for module in graph:
        visit(module, ())


@pytest.mark.parametrize(
    "path", [p for p in MODULES if p.name == "__init__.py" and p.parent != ROOT], ids=name_of
)
def test_packages_hold_one_docstring(path: Path) -> None:
    body = ast.parse(path.read_text()).body
    assert len(body) == 1
    assert isinstance(body[0], ast.Expr)


def test_the_core_imports_no_driver() -> None:
    drivers = {"coredis", "redis", "psycopg", "pymongo", "asyncpg"}
    for path in MODULES:
        if folder_of(name_of(path)) in {"adapters", "emitters"}:
            continue
        imports = imports_of(path)
        assert not {name.split(".")[0] for name in imports.at_run_time} & drivers, name_of(path)
