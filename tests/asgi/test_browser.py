"""A page of one origin, in Chromium; a FastAPI application with Socket.IO at another, with cookies between them."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.helpers.processes import ServerProcess

pytestmark = pytest.mark.browser

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

TALK = """
async ([api, transports]) => {
  const login = await fetch(api + "/login?user=ada", { method: "POST", credentials: "include" });
  const socket = io(api, { transports, withCredentials: true, forceNew: true, reconnection: false });
  await new Promise((resolve, reject) => {
    socket.on("connect", resolve);
    socket.on("connect_error", (error) => reject(new Error("connect_error: " + error.message)));
  });
  if (transports.length > 1 && socket.io.engine.transport.name === "polling") {
    await new Promise((resolve) => socket.io.engine.once("upgrade", resolve));
  }
  const user = await socket.emitWithAck("who am I");
  const [echo] = await socket.emitWithAck("echo", new Uint8Array([1, 2, 3]));
  const transport = socket.io.engine.transport.name;
  socket.disconnect();
  return { status: login.status, user, echo: Array.from(new Uint8Array(echo)), transport };
}
"""

REFUSED = """
async ([api, transports]) => {
  const socket = io(api, { transports, forceNew: true, reconnection: false });
  return new Promise((resolve) => {
    socket.on("connect", () => resolve("connected"));
    socket.on("connect_error", (error) => resolve("connect_error"));
  });
}
"""


class Page(BaseHTTPRequestHandler):
    """An empty page."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing."""


@pytest.fixture(scope="module")
def page_port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        with playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS) as browser:
            yield browser


@pytest.mark.parametrize("server", ["uvicorn", pytest.param("uvicorn-protocol", marks=pytest.mark.slow)])
def test_a_page_of_another_origin(server: str, page_port: int, browser: Browser) -> None:
    origin = f"http://localhost:{page_port}"
    with (
        ServerProcess(
            "tests.asgi.serve", server, "fastapi_browser", env={"ALLOWED_ORIGIN": origin}
        ) as process,
        browser.new_context() as context,
        context.new_page() as page,
    ):
        api = f"http://localhost:{process.port}"
        page.goto(origin)
        page.add_script_tag(url=api + "/socket.io/socket.io.js")
        for transports in (["polling"], ["websocket"], ["polling", "websocket"]):
            assert page.evaluate(TALK, [api, transports]) == {
                "status": 200,
                "user": "ada",
                "echo": [1, 2, 3],
                "transport": transports[-1],
            }
        page.goto(f"http://127.0.0.1:{page_port}")  # an origin that is not allowed
        page.add_script_tag(url=api + "/socket.io/socket.io.js")
        for transport in ("polling", "websocket"):
            assert page.evaluate(REFUSED, [api, [transport]]) == "connect_error"
