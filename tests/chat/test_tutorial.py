"""Every step of ``docs/tutorial.md``, as it stands there: run, opened in Chromium, and used."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.chat.checker.run import ROOT, free_port

pytestmark = pytest.mark.browser

TEXT = (ROOT / "docs" / "tutorial.md").read_text()
STEP = re.compile(r"^## (\d+)\. (.+)$", re.MULTILINE)
FILE = re.compile(r"^```\w+ (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def read_steps() -> dict[int, dict[str, str]]:
    """Return the files of each step; a step keeps those of the step before that it does not show."""
    steps: dict[int, dict[str, str]] = {}
    files: dict[str, str] = {}
    places = list(STEP.finditer(TEXT))
    for place, after in zip(places, [*places[1:], None], strict=True):
        section = TEXT[place.end() : after.start() if after is not None else None]
        files = {**files, **dict(FILE.findall(section))}
        steps[int(place[1])] = files
    return steps


STEPS = read_steps()


class Step:
    """One step, running.

    :ivar lines: what the server prints.
    """

    def __init__(self, directory: Path, number: int, browser: Browser) -> None:
        self._directory = directory
        self._browser = browser
        self._port = free_port()
        self.lines: Queue[str] = Queue()
        self.errors = ""
        for name, text in STEPS[number].items():
            path = directory / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text.replace("port=3000", f"port={self._port}"))

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "app.py"],
            cwd=self._directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        assert self.lines.get(timeout=20) == "server running at http://localhost:3000"
        while not is_open(self._port):  # the line is printed a moment before
            assert self._process.poll() is None

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.put(line.rstrip("\n"))

    def stop(self) -> None:
        self._process.terminate()
        self._reader.join(20)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self.errors += self._process.stderr.read()
        assert self._process.wait(20) == 0, self.errors
        self._process.stdout.close()
        self._process.stderr.close()

    def open(self, *, connected: bool = True) -> Page:
        page = self._browser.new_page()
        page.goto(f"http://127.0.0.1:{self._port}/")
        if connected:
            page.wait_for_function("typeof socket !== 'undefined' && socket.connected")
        return page


def is_open(port: int) -> bool:
    """Tell whether somebody listens on a port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def step(request: pytest.FixtureRequest, tmp_path: Path, browser: Browser) -> Iterator[Step]:
    step = Step(tmp_path, request.param, browser)
    step.start()
    try:
        yield step
    finally:
        for context in browser.contexts:
            context.close()
        step.stop()
    assert step.errors == ""


def say(page: Page, text: str) -> None:
    page.fill("#input", text)
    page.press("#input", "Enter")


def expect_texts(page: Page, *texts: str) -> None:
    expect(page.locator("#messages li")).to_have_text(list(texts))


def test_the_steps_are_those_of_the_road() -> None:
    assert list(STEPS) == list(range(1, 13))
    assert all(
        {"app.py", "static/index.html", "static/style.css"} <= files.keys() for files in STEPS.values()
    )
    assert "chat_app" in TEXT[STEP.search(TEXT.partition("## 12.")[0]).end() :]  # type: ignore[union-attr]


@pytest.mark.parametrize("step", [1], indirect=True)
def test_serving_a_page(step: Step) -> None:
    page = step.open(connected=False)
    expect(page.locator("#form button")).to_have_text("Send")
    assert page.locator("#form").evaluate("form => getComputedStyle(form).position") == "fixed"


@pytest.mark.parametrize("step", [2], indirect=True)
def test_integrating(step: Step) -> None:
    page = step.open()
    assert step.lines.get(timeout=10) == "a user connected"
    page.wait_for_function("socket.io.engine.transport.name === 'websocket'")  # in between, nobody may notice
    page.close()
    assert step.lines.get(timeout=10) == "user disconnected: transport close"


@pytest.mark.parametrize("step", [3], indirect=True)
def test_emitting(step: Step) -> None:
    say(step.open(), "hello")
    assert step.lines.get(timeout=10) == "message: hello"


@pytest.mark.parametrize("step", [4, 5, 6, 7, 8, 9, 10], indirect=True)
def test_broadcasting_from_here_on(step: Step) -> None:
    ann, bob = step.open(), step.open()
    say(ann, "one")
    say(ann, "two")
    expect_texts(bob, "one", "two")
    expect_texts(ann, "one", "two")


@pytest.mark.parametrize("step", [5], indirect=True)
def test_acknowledgements(step: Step) -> None:
    page = step.open()
    by_callback = page.evaluate(
        "new Promise(done => socket.timeout(5000).emit('request', {foo: 'bar'}, 'baz', (...all) => done(all)))"
    )
    assert by_callback == [None, {"status": "ok", "received": [{"foo": "bar"}, "baz"]}]
    by_promise = page.evaluate("socket.timeout(5000).emitWithAck('request', {foo: 'bar'}, 'baz')")
    assert by_promise["status"] == "ok"
    page.evaluate("socket.on('who are you', (answer) => answer('ann'))")
    assert page.evaluate("socket.emitWithAck('greet me')") == "hello ann"


@pytest.mark.parametrize("step", [6], indirect=True)
def test_catching_all(step: Step) -> None:
    page = step.open()
    page.evaluate("socket.emit('anything', 1, '2', {3: '4'})")
    assert step.lines.get(timeout=10) == "got anything (1, '2', {'3': '4'})"
    say(page, "hi")
    assert step.lines.get(timeout=10) == "got chat message ('hi',)"
    assert step.lines.get(timeout=10) == "sent chat message ('hi',)"


@pytest.mark.parametrize("step", [7], indirect=True)
def test_rooms(step: Step) -> None:
    ann, bob = step.open(), step.open()
    for page in (ann, bob):
        page.evaluate("window.heard = []; socket.on('hello', (text) => heard.push(text))")
    ann.evaluate("socket.emit('leave'); socket.emit('hello room')")
    ann.wait_for_function("heard.length === 2")
    bob.wait_for_function("heard.length === 1")
    assert ann.evaluate("heard") == ["everybody outside", "you alone"]
    assert bob.evaluate("heard") == ["everybody in the room"]


@pytest.mark.parametrize("step", [8, 9, 10, 11], indirect=True)
def test_coming_back(step: Step) -> None:
    ann, bob = step.open(), step.open()
    say(ann, "before")
    expect_texts(bob, "before")
    bob.evaluate("socket.io.engine.close()")
    say(ann, "while bob was away")
    bob.wait_for_function("socket.connected && socket.recovered")
    say(ann, "after")
    expect_texts(bob, "before", "while bob was away", "after")


@pytest.mark.parametrize("step", [9, 10, 11], indirect=True)
def test_delivery_by_the_server(step: Step) -> None:
    ann = step.open()
    say(ann, "before")
    expect_texts(ann, "before")
    step.stop()
    step.start()
    ann.wait_for_function("socket.connected && !socket.recovered")
    say(ann, "after")
    expect_texts(ann, "before", "after")  # the server was told that the first is known
    expect_texts(step.open(), "before", "after")


@pytest.mark.parametrize("step", [10, 11], indirect=True)
def test_delivery_by_the_client(step: Step) -> None:
    ann, bob = step.open(), step.open()
    ask = "socket.timeout(5000).emitWithAck('chat message', 'once', 'the same id')"
    for _ in range(3):
        bob.evaluate(ask)
    say(bob, "last")
    expect_texts(ann, "once", "last")
    step.stop()
    say(ann, "said while the server was away")
    step.start()
    expect_texts(bob, "once", "last", "said while the server was away")
