"""The npm packages ``socket.io-parser``, ``socket.io-msgpack-parser`` and Engine.IO's parser, as witnesses."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("peer.cjs")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Undefined:
    """JavaScript's ``undefined``."""

    def __repr__(self) -> str:
        return "UNDEFINED"


class Buffer(bytes):
    """An ``ArrayBuffer``, where plain ``bytes`` are a Node.js ``Buffer``."""


UNDEFINED = Undefined()


class PeerError(Exception):
    """What the JavaScript side threw."""


def tag(value: Any) -> Any:
    if isinstance(value, Undefined):
        return {"$undefined": True}
    if isinstance(value, Buffer):
        return {"$buffer": base64.b64encode(value).decode()}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    if isinstance(value, datetime):
        return {"$date": (value - EPOCH) // timedelta(milliseconds=1)}
    if isinstance(value, list):
        return [tag(item) for item in value]
    if isinstance(value, dict):
        return {"$object": {key: tag(item) for key, item in value.items()}}
    return value


def untag(value: Any) -> Any:
    if isinstance(value, list):
        return [untag(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "$undefined" in value:
        return UNDEFINED
    if "$bytes" in value:
        return base64.b64decode(value["$bytes"])
    if "$date" in value:
        return EPOCH + timedelta(milliseconds=value["$date"])
    return {key: untag(item) for key, item in value["$object"].items()}


class Peer:
    """The JavaScript side, in a Node.js process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def _ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            pytest.fail("the Node.js process has ended; are the packages in node_modules? (npm ci)")
        reply = json.loads(line)
        if "error" in reply:
            raise PeerError(reply["error"])
        return reply["value"]

    def decode(self, codec: str, messages: list[str | bytes]) -> list[dict[str, Any]]:
        """Return the packets of ``messages``, as the objects JavaScript has."""
        packets = self._ask(codec=codec, op="decode", messages=tag(messages))
        return [untag(packet) for packet in packets]

    def encode(self, codec: str, packet: dict[str, Any]) -> list[str | bytes]:
        """Return the messages of a packet."""
        return [untag(message) for message in self._ask(codec=codec, op="encode", packet=tag(packet))]

    def decode_payload(self, body: bytes, binary: bool) -> list[tuple[str, Any]]:
        """Return the packets of an Engine.IO 3 payload, as pairs of type and data."""
        body_text = base64.b64encode(body).decode()
        packets = self._ask(codec="v3", op="decode", body=body_text, binary=binary)
        return [(kind, untag(data)) for kind, data in packets]

    def encode_payload(self, packets: list[tuple[str, Any]], binary: bool) -> bytes:
        """Return the Engine.IO 3 payload of pairs of type and data."""
        tagged = [[kind, tag(data)] for kind, data in packets]
        return base64.b64decode(self._ask(codec="v3", op="encode", packets=tagged, binary=binary))


@contextmanager
def open_peer() -> Iterator[Peer]:
    """Start the JavaScript side. Without Node.js the test fails: a skipped witness proves nothing."""
    node = shutil.which("node")
    if node is None:
        pytest.fail("Node.js is needed for the tests against the JavaScript parsers: node is not on the PATH")
    command = [node, str(SCRIPT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Peer(process)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(10)
