"""Scenarios of the official client in Chromium: one browser for all, a context and a page for each."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, Page, Playwright, Route, async_playwright
from playwright.async_api import Error as PlaywrightError

from conformance.bench import Bench, MissingToolError
from conformance.expect import MismatchError

SCENARIOS = Path(__file__).with_name("scenarios.mjs")
BUNDLES = Path(__file__).parents[2] / "node_modules" / "socket.io-client" / "dist"

NAMES = ("chromium", "chromium-browser", "google-chrome")

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # The page's document comes from here and not from the network, so that Chromium takes the loopback
    # address of the server for a foreign network.
    "--disable-features=LocalNetworkAccessChecks",
]

PAGE = "<!doctype html><title>conformance</title>"

RUN = """
async ([name, url]) => {
  const { scenarios } = await import("/__conformance__/scenarios.mjs");
  try {
    await scenarios[name]({ io, url, control });
  } catch (error) {
    return error.message;
  }
}
"""


class Chromium:
    """Starts with the first scenario, ends with ``close``."""

    def __init__(self) -> None:
        self._starting = asyncio.Lock()
        self._playwright: Playwright | None = None
        self._browser: Browser | None = None

    async def browser(self) -> Browser:
        async with self._starting:
            if self._browser is None:
                executable = next(filter(None, map(shutil.which, NAMES)), None)
                if executable is None or not BUNDLES.is_dir():
                    raise MissingToolError("Chromium, and the official client installed in node_modules")
                self._playwright = await async_playwright().start()
                self._browser = await self._playwright.chromium.launch(executable_path=executable, args=FLAGS)
            return self._browser

    async def close(self) -> None:
        if self._browser is not None:
            await self._browser.close()
        if self._playwright is not None:
            await self._playwright.stop()

    @asynccontextmanager
    async def page(self, bench: Bench, origin: str) -> AsyncIterator[Page]:
        """A page of that origin, which need not exist: its document and the scenarios come from here."""
        browser = await self.browser()
        context = await browser.new_context()
        try:
            page = await context.new_page()

            async def control(action: str) -> None:
                await bench.control(action)

            await page.route("**/__conformance__/**", serve)
            await page.expose_function("control", control)
            await page.goto(f"{origin}/__conformance__/page.html")
            yield page
        finally:
            await context.close()


async def serve(route: Route) -> None:
    if route.request.url.endswith(".mjs"):
        await route.fulfill(body=SCENARIOS.read_text("utf-8"), content_type="text/javascript")
    else:
        await route.fulfill(body=PAGE, content_type="text/html")


async def run_in_chromium(bench: Bench, chromium: Chromium, scenario: str, origin: str | None = None) -> None:
    bundle = "socket.io.msgpack.min.js" if bench.server.profile == "msgpack" else "socket.io.js"
    async with chromium.page(bench, origin or bench.server.url) as page:
        page.on("console", lambda message: bench.transcript.record(0, message.text.encode(), sent=False))
        try:
            await page.add_script_tag(path=BUNDLES / bundle)
            failure = await page.evaluate(RUN, [scenario, bench.server.url])
        except PlaywrightError as error:
            raise MismatchError("the scenario to run", error.message) from error
    if failure is not None:
        raise MismatchError("the scenario to pass", failure)


async def run_served_bundle(bench: Bench, chromium: Chromium) -> None:
    """The client that the server itself offers must load and connect."""
    async with chromium.page(bench, bench.server.url) as page:
        await page.add_script_tag(url=f"{bench.server.url}{bench.server.path}socket.io.js")
        connected = "() => new Promise((resolve) => io().on('connect', () => resolve(true)))"
        await page.evaluate(connected)
