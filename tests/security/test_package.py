"""What must not be in the package at all."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FORBIDDEN_MODULES = {"pickle", "cPickle", "marshal", "shelve", "dill", "jsonpickle", "yaml", "xmlrpc"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}


def modules_in(source: ast.AST) -> set[str]:
    """The modules that a source imports, without what is inside of them."""
    names = [alias.name for node in ast.walk(source) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(source) if isinstance(node, ast.ImportFrom)]
    return {name.partition(".")[0] for name in names}


@pytest.mark.threat("T51")
@pytest.mark.parametrize("package", ["sio_core", "chat_app"])
def test_nothing_that_is_received_can_become_code(package: str) -> None:
    paths = sorted((ROOT / package).rglob("*.py"))
    assert len(paths) > 5
    for path in paths:
        source = ast.parse(path.read_text())
        assert not modules_in(source) & FORBIDDEN_MODULES, path
        calls = {ast.unparse(node.func) for node in ast.walk(source) if isinstance(node, ast.Call)}
        assert not calls & FORBIDDEN_CALLS, path
        keywords = {
            node.arg for node in ast.walk(source) if isinstance(node, ast.keyword) and node.arg == "shell"
        }
        assert not keywords, path
