"""Node.js and the packages ``ws``, ``cors`` and ``accepts`` of the official server, as witnesses."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("peer.cjs")


class Peer:
    """The JavaScript side, in a Node.js process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def ask(self, op: str, **request: Any) -> Any:
        """Have one of the operations of the script done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"op": op, **request}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            pytest.fail("the Node.js process has ended; are the packages in node_modules? (npm ci)")
        reply = json.loads(line)
        assert "error" not in reply, reply["error"]
        return reply.get("value")

    def handshake(self, method: str, headers: dict[str, str], options: dict[str, Any]) -> bytes:
        """Return what ws answers to an opening handshake."""
        return base64.b64decode(self.ask("handshake", method=method, headers=headers, options=options))

    def frames(
        self, headers: dict[str, str], options: dict[str, Any], data: bytes
    ) -> tuple[list[str | bytes], bytes, str]:
        """Return the messages ws makes of a client's frames, what it sends, and its error."""
        reply = self.ask("frames", headers=headers, options=options, data=base64.b64encode(data).decode())
        messages: list[str | bytes] = []
        for binary, payload in reply["messages"]:
            content = base64.b64decode(payload)
            messages.append(content if binary else content.decode())
        return messages, base64.b64decode(reply["sent"]), reply["error"]


@contextmanager
def open_peer() -> Iterator[Peer]:
    """Start the JavaScript side. Without Node.js the test fails: a skipped witness proves nothing."""
    node = shutil.which("node")
    if node is None:
        pytest.fail("Node.js is needed for the tests against the official server: node is not on the PATH")
    with subprocess.Popen(
        [node, str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Peer(process)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(10)
