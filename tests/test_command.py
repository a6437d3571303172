"""``python -m sio_core run module:io``."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sio_core.__main__ import main
from tests.helpers.processes import ROOT

APPLICATION = """
from sio_core import Server

io = Server(health_path="/healthz")
other = 5
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "chatty.py").write_text(APPLICATION)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_serves_until_it_is_told_to_end(directory: Path, backend: str) -> None:
    command = [sys.executable, "-m", "sio_core", "run", "chatty:io", "--port", "0", "--backend", backend]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=directory, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "listening on http://127.0.0.1:" in line
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_several_workers_serve(directory: Path) -> None:
    command = [sys.executable, "-m", "sio_core", "run", "chatty:io", "--port", "0", "--workers", "2"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, cwd=directory, env=env, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = [process.stderr.readline() for _ in range(3)]
        assert [" is process " in line for line in lines] == [True, True, False]
        assert "listening on http://127.0.0.1:" in lines[2]
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_workers_that_cannot_import_the_server_say_so(directory: Path) -> None:
    command = [sys.executable, "-m", "sio_core", "run", "nowhere:io", "--port", "0", "--workers", "2"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    completed = subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True, check=False)
    assert completed.returncode == 2
    assert "No module named 'nowhere'" in completed.stderr
    assert "cannot start" in completed.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("chatty", "module:attribute"),
        ("chatty:missing", "no attribute 'missing'"),
        ("nowhere:io", "No module named 'nowhere'"),
        ("chatty:other", "is int, not a Server"),
    ],
)
def test_what_cannot_be_served_is_named(
    directory: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    assert main(["run", name]) == 2
    assert message in capsys.readouterr().err


def test_what_cannot_be_done_is_named(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "chatty:io", "--workers", "0"]) == 2
    assert "workers" in capsys.readouterr().err
