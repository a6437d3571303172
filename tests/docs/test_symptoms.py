"""The titles of ``docs/troubleshooting.md``: what the official client says when it happens."""

from __future__ import annotations

import json
import re
from contextlib import AsyncExitStack
from typing import Any

import anyio
import pytest

from sio_core import ConnectError, Server, Socket
from tests.helpers.processes import ROOT

pytestmark = pytest.mark.anyio

TEXT = (ROOT / "docs" / "troubleshooting.md").read_text()
TITLES = set(re.findall(r"`([^`]+)`", "\n".join(re.findall(r"^## (.+)$", TEXT, re.MULTILINE))))

POLLING = {"transports": ["polling"]}
WEBSOCKET = {"transports": ["websocket"]}
FOREIGN = {"extraHeaders": {"origin": "https://example.com"}}
CLOSED = "http://127.0.0.1:9"


def make_server(**options: Any) -> Server:
    io: Server = Server(**options)

    @io.use
    def decide(socket: Socket) -> None:
        wish = socket.handshake.auth.get("wish")
        if wish == "refuse":
            raise ConnectError("not authorized")
        if wish == "fail":
            raise RuntimeError("the application's mistake")

    @io.on("kick")
    def kick(socket: Socket) -> None:
        socket.disconnect()

    return io


@pytest.mark.parametrize("anyio_backend", [pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop")])
async def test_what_the_official_client_says() -> None:
    async with AsyncExitStack() as stack:
        servers = {
            "plain": make_server(max_http_buffer_size=1_000, destroy_upgrade_timeout=0.1),
            "closed to all": make_server(allow_request=lambda request: False),
            "elsewhere": make_server(path="/elsewhere/", destroy_upgrade_timeout=0.1),
        }
        urls = {name: (await stack.enter_async_context(io.listen())).url for name, io in servers.items()}
        plain = urls["plain"]
        cases: list[tuple[list[Any], list[Any]]] = [
            ([CLOSED, POLLING], ["xhr poll error", 0]),
            ([CLOSED, WEBSOCKET], ["websocket error", None]),
            ([urls["elsewhere"], POLLING], ["xhr poll error", 404]),
            ([urls["elsewhere"], WEBSOCKET], ["websocket error", None]),
            ([plain, {**FOREIGN, **POLLING}], ["xhr poll error", 403]),
            ([plain, {**FOREIGN, **WEBSOCKET}], ["websocket error", None]),
            ([urls["closed to all"], POLLING], ["xhr poll error", 403]),
            ([plain + "/nowhere", {}], ["Invalid namespace"]),
            ([plain, {"auth": {"wish": "refuse"}}], ["not authorized"]),
            ([plain, {"auth": {"wish": "fail"}}], ["internal error"]),
            ([plain, POLLING, ["file", "x" * 2_000]], ["transport error"]),
            ([plain, WEBSOCKET, ["file", "x" * 2_000]], ["transport close"]),
            ([plain, {}, ["kick"]], ["io server disconnect"]),
        ]
        script = str(ROOT / "tests" / "docs" / "symptoms.cjs")
        with anyio.fail_after(40):
            done = await anyio.run_process(
                ["node", script, json.dumps([case for case, _ in cases])], cwd=ROOT
            )
    for (case, expected), seen in zip(cases, json.loads(done.stdout), strict=True):
        assert seen[: len(expected)] == expected, case
        assert expected[0] in TITLES | {"not authorized"}
