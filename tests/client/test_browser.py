"""The same scenarios in a real Chromium, with the client file that the server serves."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

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
@pytest.mark.parametrize("loop", ["uvloop", "asyncio", "trio"])
def test_every_scenario_passes(browser: Browser, loop: str, transports: list[str]) -> None:
    with ServerProcess("tests.client.app", "--loop", loop) as server:
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
