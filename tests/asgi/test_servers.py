"""Other people's servers and frameworks, as processes of their own, and the official client."""

from __future__ import annotations

import json
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.processes import ROOT, ServerProcess

CLIENT = Path(__file__).with_name("client.cjs")
CLIENT_TIME = 30.0

slow = pytest.mark.slow


def talk(server: ServerProcess, path: str = "/socket.io/") -> list[dict[str, Any]]:
    """What the client has seen, for each way of connecting."""
    done = subprocess.run(
        ["node", str(CLIENT), server.url, path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=CLIENT_TIME,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(seen: list[dict[str, Any]], server: ServerProcess, path: str = "/socket.io/") -> None:
    """Everything a client does has worked, in each way of connecting."""
    assert [each["way"] for each in seen] == ["polling", "websocket", "upgrade"]
    for each in seen:
        way = each["way"]
        assert each["transport"] == ("polling" if way == "polling" else "websocket")
        assert each["welcome"] == "00ff"
        assert each["echo"] == ["täxt", "0001ff", "x"]
        assert each["ordered"]
        assert each["large"] == 200_000
        assert each["left"] == "client namespace disconnect"
        assert each["kicked"] == "io server disconnect"
        handshake = each["handshake"]
        assert handshake["address"] == "127.0.0.1"
        assert handshake["secure"] is False
        assert handshake["way"] == way
        assert handshake["host"] == f"127.0.0.1:{server.port}"
        assert f"{path}?way={way}&EIO=4&transport=" in handshake["url"]


def page(server: ServerProcess, path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(server.url + path, timeout=CLIENT_TIME) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.feature(47, 190)
@pytest.mark.parametrize(
    "name",
    [
        "uvicorn",
        pytest.param("uvicorn-h11", marks=slow),
        "uvicorn-protocol",
        pytest.param("uvicorn-protocol-h11", marks=slow),
        pytest.param("hypercorn", marks=slow),
        "hypercorn-trio",
        "granian",
    ],
)
def test_servers(name: str) -> None:
    with ServerProcess("tests.asgi.serve", name, "alone") as server:
        check(talk(server), server)
        root = "/behind/a/proxy" if name == "uvicorn-h11" else ""
        assert page(server, "/elsewhere") == (404, f"Socket.IO is at {root}/socket.io/\n".encode())


@pytest.mark.feature(47, 231)
@pytest.mark.parametrize(
    ("application", "name", "path"),
    [
        ("fastapi", "uvicorn", "/socket.io/"),
        pytest.param("fastapi", "uvicorn-protocol", "/socket.io/", marks=slow),
        pytest.param("fastapi", "granian", "/socket.io/", marks=slow),
        pytest.param("fastapi_bare", "uvicorn", "/api/socket.io/", marks=slow),
        pytest.param("fastapi_bare", "hypercorn-trio", "/api/socket.io/", marks=slow),
        pytest.param("starlette", "uvicorn-h11", "/socket.io/", marks=slow),
        pytest.param("starlette", "hypercorn-trio", "/socket.io/", marks=slow),
        pytest.param("litestar", "uvicorn", "/socket.io/", marks=slow),
        pytest.param("litestar", "uvicorn-h11", "/socket.io/", marks=slow),
        pytest.param("quart", "hypercorn", "/socket.io/", marks=slow),
        pytest.param("django", "uvicorn", "/socket.io/", marks=slow),
        pytest.param("wrapped", "uvicorn", "/socket.io/", marks=slow),
    ],
)
def test_frameworks(application: str, name: str, path: str) -> None:
    with ServerProcess("tests.asgi.serve", name, application) as server:
        check(talk(server, path), server, path)
        status, body = page(server, "/page")
        assert status == 200
        assert b"a page" in body
        errors = server.stop()
    if application in {"fastapi", "quart"}:
        assert errors.splitlines() == ['{"lifespan": "startup"}', '{"lifespan": "shutdown"}']
