"""The command: what it prints, how it ends, and what it says when it cannot begin."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from chat_app.__main__ import main, parse
from chat_app.engines import make_adapter
from tests.chat.checker.run import ROOT
from tests.chat.process import ChatProcess


def test_the_defaults() -> None:
    options = parse([])
    assert (options.host, options.port, options.database) == ("127.0.0.1", 3000, "chat.db")
    assert options.cors is None
    assert parse(["--cors", "http://a", "--cors", "http://b"]).cors == ["http://a", "http://b"]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_prints_its_address_serves_the_page_and_ends_gently(
    tmp_path: Path, backend: str, number: signal.Signals
) -> None:
    with ChatProcess(tmp_path / "chat.db", "--backend", backend, "--verbose") as chat:
        with urllib.request.urlopen(chat.url) as response:
            page = response.read().decode()
        for name in ("messages", "form", "input", "nickname", "users", "rooms", "typing", "status"):
            assert f'id="{name}"' in page
        assert "default-src 'none'" in page
        assert chat.stop(number) == 0
    with closing(sqlite3.connect(tmp_path / "chat.db")) as database:
        assert database.execute("PRAGMA quick_check").fetchone() == ("ok",)
    assert os.listdir(tmp_path) == ["chat.db"]  # no half of it is left in another file


def test_help() -> None:
    completed = subprocess.run(
        [sys.executable, "-m", "chat_app", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for option in ("--host", "--port", "--database", "--cors", "--backend", "--workers", "--adapter"):
        assert option in completed.stdout


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_port_in_use_is_said_in_one_line(tmp_path: Path, backend: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        with pytest.raises(SystemExit, match=rf"^chat_app: .*cannot listen on 127\.0\.0\.1:{port}"):
            main(["--port", port, "--database", str(tmp_path / "chat.db"), "--backend", backend])


def test_a_damaged_database_is_said_in_one_line_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    path.write_text("not a database, but a text that is long enough to be read as one\n" * 100)
    before = path.read_bytes()
    with pytest.raises(SystemExit, match=r"chat\.db' cannot be used: The file is not a database\.$"):
        main(["--database", str(path)])
    assert path.read_bytes() == before


def test_workers_begin_only_with_a_database_that_can_be_used(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    path.write_text("not a database, but a text that is long enough to be read as one\n" * 100)
    with pytest.raises(SystemExit, match=r"chat\.db' cannot be used: The file is not a database\.$"):
        main(["--database", str(path), "--workers", "2"])
    with pytest.raises(SystemExit, match=r"chat_app: workers must be a number from 1"):
        main(["--database", str(tmp_path / "other.db"), "--workers", "0"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--adapter", "redis://localhost"], r"many nodes need one log.*--database postgresql://"),
        (["--adapter", "postgresql://localhost/a", "--database", "chat.db"], r"many nodes need one log"),
        (["--adapter", "postgresql://localhost/a", "--workers", "2"], r"--workers is for one machine"),
        (["--database", "postgresql://127.0.0.1:1/none"], r"The database cannot be used"),
        (["--adapter", "postgresql://127.0.0.1:1/none"], r"The database cannot be used"),
    ],
)
def test_what_does_not_fit_together_is_said_in_one_line(arguments: list[str], words: str) -> None:
    with pytest.raises(SystemExit, match=words) as caught:
        main(arguments)
    assert "\n" not in str(caught.value)


def test_the_database_is_that_of_the_adapter_if_it_may_be() -> None:
    assert parse([]).database == "chat.db"
    assert parse(["--adapter", "redis://localhost"]).database == "chat.db"
    assert parse(["--adapter", "postgresql://localhost/a"]).database == "postgresql://localhost/a"
    both = parse(["--adapter", "redis://localhost", "--database", "postgresql://localhost/b"])
    assert both.database == "postgresql://localhost/b"


def test_adapters_are_known_by_the_beginning_of_their_address() -> None:
    for url, name in (
        ("redis://localhost", "Redis"),
        ("postgresql://localhost/a", "Postgres"),
        ("mongodb://localhost/a", "Mongo"),
    ):
        assert type(make_adapter(url)).__name__ == name
    with pytest.raises(ValueError, match="begins with one of redis://"):
        make_adapter("amqp://localhost")
