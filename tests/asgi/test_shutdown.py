"""Other people's servers told to end while clients are connected: they end, and say nothing of errors."""

from __future__ import annotations

import json
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.helpers.processes import ServerProcess

PATIENCE = 15.0
POLLING = "/socket.io/?EIO=4&transport=polling"
WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"

slow = pytest.mark.slow


class HeldPoll(threading.Thread):
    """A GET that waits for its answer.

    :ivar body: the answer, ``None`` if the connection ended without one.
    """

    def __init__(self, server: ServerProcess) -> None:
        super().__init__(daemon=True)
        self.body: bytes | None = None
        handshake = self._get(server.url + POLLING)
        self._url = f"{server.url}{POLLING}&sid={json.loads(handshake[1:])['sid']}"
        self.start()

    def _get(self, url: str) -> bytes:
        with urllib.request.urlopen(url, timeout=PATIENCE) as response:
            body: bytes = response.read()
            return body

    def run(self) -> None:
        try:
            self.body = self._get(self._url)
        except OSError:
            self.body = None


@pytest.mark.parametrize(
    "name",
    [
        "uvicorn",
        "uvicorn-protocol",
        pytest.param("uvicorn-protocol-h11", marks=slow),
        "hypercorn-trio",
        pytest.param("granian", marks=slow),
    ],
)
def test_shutdown(name: str) -> None:
    """hypercorn on asyncio is not among them: it shows the cancellation of each of its own connections."""
    with ServerProcess("tests.asgi.serve", name, "alone") as server:
        poll = HeldPoll(server)
        with connect(server.url.replace("http", "ws") + WEBSOCKET, proxy=None) as websocket:
            websocket.recv(PATIENCE)
            websocket.send("40")
            while websocket.recv(PATIENCE) != b"\x00\xff":
                pass
            assert poll.body is None
            with ThreadPoolExecutor(1) as pool:
                stopping = pool.submit(server.stop)
                with suppress(ConnectionClosed):
                    while True:
                        websocket.recv(PATIENCE)
                errors = stopping.result(PATIENCE)
        poll.join(PATIENCE)
        assert not poll.is_alive()
        assert not errors or "timeout graceful shutdown exceeded" in errors
    if name.startswith("uvicorn"):
        assert poll.body == b"1"
