"""The configurations of ``docs/deployment.md``, given to the proxies they are for; in front, the official client."""

from __future__ import annotations

import json
import re
import shutil
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from sio_core import Server
from tests.helpers.processes import ROOT

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.parametrize("anyio_backend", [pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop")]),
]

TEXT = (ROOT / "docs" / "deployment.md").read_text()

NGINX = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    {text}
}}
"""


def configuration(language: str, port: int, behind: int) -> str:
    """Return the configuration that the page shows, for these two ports."""
    found = re.search(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None
    text = found[1]
    for shown, used in (
        ("127.0.0.1:3000", f"127.0.0.1:{behind}"),
        ("listen 80;", f"listen 127.0.0.1:{port};"),
        ("bind :80", f"bind 127.0.0.1:{port}"),
        ("example.com {", f"{{\n    admin off\n}}\n\nhttp://127.0.0.1:{port} {{"),
    ):
        text = text.replace(shown, used)
    return text


def command(program: str, directory: Path, port: int, behind: int) -> list[str]:
    """Write the configuration of a proxy and return how to start it."""
    file = directory / program
    if program == "nginx":
        file.write_text(NGINX.format(directory=directory, text=configuration("nginx", port, behind)))
        return ["nginx", "-c", str(file), "-p", str(directory)]
    if program == "haproxy":
        file.write_text(configuration("haproxy", port, behind))
        return ["haproxy", "-db", "-f", str(file)]
    file.write_text(configuration("caddyfile", port, behind))
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(file)]


def free_port() -> int:
    with socket.socket() as handle:
        handle.bind(("127.0.0.1", 0))
        port: int = handle.getsockname()[1]
        return port


@asynccontextmanager
async def proxy(program: str, directory: Path, behind: int) -> AsyncGenerator[str, None]:
    """Run a proxy in front of a port; gives its address."""
    port = free_port()
    env = {"HOME": str(directory), "PATH": "/usr/sbin:/usr/bin:/bin"}
    with (directory / "log").open("wb") as log:
        process = await anyio.open_process(
            command(program, directory, port, behind), env=env, stdout=log, stderr=log
        )
        try:
            with anyio.fail_after(20):
                while True:
                    assert process.returncode is None, (directory / "log").read_text()
                    try:
                        stream = await anyio.connect_tcp("127.0.0.1", port)
                    except OSError:
                        await anyio.sleep(0.05)
                    else:
                        await stream.aclose()
                        break
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            await process.wait()
            await process.aclose()


@pytest.mark.parametrize("program", ["nginx", "haproxy", "caddy"])
async def test_the_official_client_behind(program: str, tmp_path: Path) -> None:
    if shutil.which(program, path="/usr/sbin:/usr/bin:/bin") is None:
        pytest.skip(f"{program} is not installed")
    io: Server = Server(health_path="/healthz", ping_interval=0.2)
    io.on("echo", lambda socket, *args: list(args))
    async with io.listen() as listening, proxy(program, tmp_path, listening.port) as url:
        script = str(ROOT / "tests" / "docs" / "through_proxy.cjs")
        with anyio.fail_after(40):
            done = await anyio.run_process(["node", script, url], cwd=ROOT, check=False)
        assert done.returncode == 0, done.stderr.decode() + (tmp_path / "log").read_text()
        seen = json.loads(done.stdout)
    assert [one["transport"] for one in seen] == ["websocket", "polling", "websocket"]
    assert all(one["text"] == "täxt" and one["intact"] for one in seen)
