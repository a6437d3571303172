"""mypy and pyright, both at their strictest, accept an application, and see what is wrong in another."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.processes import ROOT

EXAMPLE = ROOT / "tests" / "typing" / "example.py"

WRONG = """
# pyright: strict
from dataclasses import dataclass

from sio_core import Server, Socket

@dataclass
class User:
    name: str

io = Server(data_factory=lambda: User(""))

@io.on("event")
def listener(socket: Socket[User], value: int) -> str:
    return socket.data.age  # there is no such field

listener(5, 5)  # no socket
io.on("event", 5)  # no listener
io.emit(5)  # no name

@io.use
def middleware(socket: Socket[User]) -> None: ...

middleware("x")  # no socket
"""
WRONG_LINES = [line for line, text in enumerate(WRONG.splitlines(), 1) if "# no" in text or "# there" in text]


def check(command: list[str], *paths: Path) -> tuple[int, str]:
    completed = subprocess.run(
        [sys.executable, "-m", *command, *map(str, paths)],
        cwd=ROOT,
        env={**os.environ, "MYPYPATH": str(ROOT), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    return completed.returncode, completed.stdout + completed.stderr


def pyright(*paths: Path) -> tuple[int, str]:
    return check(["pyright", "--pythonpath", sys.executable], *paths)


@pytest.mark.feature(233)
def test_mypy_accepts_the_example(tmp_path: Path) -> None:
    code, output = check(["mypy", "--strict", "--cache-dir", str(tmp_path)], EXAMPLE)
    assert code == 0, output


@pytest.mark.feature(233)
def test_pyright_accepts_the_example_and_the_package() -> None:
    code, output = pyright(EXAMPLE, ROOT / "sio_core")
    assert code == 0, output
    assert "0 errors, 0 warnings" in output


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_what_is_wrong_is_seen(checker: str, tmp_path: Path) -> None:
    path = tmp_path / "wrong_application.py"
    path.write_text(WRONG)
    if checker == "mypy":
        code, output = check(["mypy", "--strict", "--cache-dir", str(tmp_path)], path)
    else:
        code, output = pyright(path)
    assert code == 1
    lines = {int(line) for line in re.findall(r"wrong_application\.py:(\d+)[: ].*error", output)}
    assert lines == set(WRONG_LINES), output


def test_the_example_is_an_application() -> None:
    from tests.typing import example

    assert example.io.of("/chat") is example.chat
    assert sorted(example.io.event_names()) == [
        "bytes_received",
        "connection",
        "disconnect",
        "message",
        "move",
        "profile",
    ]
