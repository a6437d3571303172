"""The same scenarios in a real Chromium, with the client file that the server serves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

from sio_core.ids import worker_of
from tests.helpers.processes import ServerProcess

pytestmark = pytest.mark.browser

SCENARIOS = Path(__file__).with_name("scenarios.js").read_text()
CHROMIUM_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert path is not None, "Chromium is needed: apt-get install chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


@pytest.mark.parametrize("transports", [["polling"], ["websocket"], ["polling", "websocket"]], ids="+".join)
@pytest.mark.parametrize(("loop", "workers"), [("uvloop", 1), ("asyncio", 1), ("trio", 1), ("uvloop", 4)])
def test_every_scenario_passes(browser: Browser, loop: str, workers: int, transports: list[str]) -> None:
    with ServerProcess("tests.client.app", "--loop", loop, "--workers", str(workers)) as server:
        page = browser.new_page()
        page.goto(server.url + "/healthz")
        page.add_script_tag(url=server.url + "/socket.io/socket.io.js")
        page.add_script_tag(content=SCENARIOS)
        names: list[str] = page.evaluate("scenarios.names")
        assert len(names) == 9
        for name in names:
            outcome = page.evaluate(
                "([url, transports, name]) => scenarios.runScenario(io, url, transports, name)",
                [server.url, transports, name],
            )
            assert outcome == "passed", name
        page.close()


TABS = 6
JOIN = """
async ([url, name]) => {
    const socket = io(url, { transports: ["polling"], forceNew: true });
    window.heard = [];
    socket.on("room", (room, text) => window.heard.push(text));
    await new Promise((resolve) => socket.on("connect", resolve));
    await socket.emitWithAck("answer", name);
    socket.emit("join", "tabs");
    await socket.emitWithAck("answer", name);
    window.talk = async (count) => {
        for (let number = 0; number < count; number++) {
            socket.emit("to room", "tabs", `${name} ${number}`);
            if (number % 5 === 0) await socket.emitWithAck("answer", number);
        }
    };
    return socket.io.engine.id;
}
"""


@pytest.mark.parametrize("loop", ["uvloop", "trio"])
def test_tabs_of_one_browser_poll_workers_over_the_same_connections(browser: Browser, loop: str) -> None:
    """A browser has six connections to a host, and sends over each what any of its tabs has to say."""
    count = 20
    with ServerProcess("tests.client.app", "--loop", loop, "--workers", "4") as server:
        context = browser.new_context()
        pages = [context.new_page() for _ in range(TABS)]
        workers = set()
        for number, page in enumerate(pages):
            page.goto(server.url + "/healthz")
            page.add_script_tag(url=server.url + "/socket.io/socket.io.js")
            workers.add(worker_of(page.evaluate(JOIN, [server.url, f"tab{number}"])))
        assert len(workers) > 1
        for page in pages:
            page.evaluate("count => { talk(count); }", count)
        for number, page in enumerate(pages):
            page.wait_for_function("length => heard.length >= length", arg=count * (TABS - 1))
            heard: list[str] = page.evaluate("heard")
            for other in set(range(TABS)) - {number}:
                said = [text for text in heard if text.startswith(f"tab{other} ")]
                assert said == [f"tab{other} {place}" for place in range(count)]
            assert len(heard) == count * (TABS - 1)
        context.close()
