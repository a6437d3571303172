"""The page in a real Chromium, with several people."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

import pytest
from anyio.from_thread import start_blocking_portal
from playwright.sync_api import Browser, BrowserContext, Page, expect

from chat_app.log import Draft, Message, MessageLog, StorageError
from chat_app.sqlite_log import SqliteLog
from tests.chat.checker.run import ROOT
from tests.chat.process import ChatProcess
from tests.faults.proxy import FaultProxy

pytestmark = pytest.mark.browser

AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
TUTORIAL = Path(__file__).with_name("tutorial.html")
PHONE = (390, 780)
DESKTOP = (1180, 760)


@pytest.fixture
def chat(tmp_path: Path) -> Iterator[ChatProcess]:
    with ChatProcess(tmp_path / "chat.db") as chat:
        yield chat


class People:
    """Opens the page for people, each in a browser of their own; what a page complains about fails the test."""

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser = browser
        self.url = url
        self.complaints: list[str] = []
        self.contexts: list[BrowserContext] = []

    def open(
        self,
        nickname: str,
        room: str = "lobby",
        *,
        size: tuple[int, int] = DESKTOP,
        scheme: Literal["light", "dark"] = "light",
    ) -> Page:
        context = self._browser.new_context(
            viewport={"width": size[0], "height": size[1]}, color_scheme=scheme, has_touch=size == PHONE
        )
        self.contexts.append(context)
        return self.visit(context.new_page(), f"/?nickname={nickname}&room={room}")

    def visit(self, page: Page, path: str = "/") -> Page:
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self.hear(message.type, message.text))
        page.goto(self.url + path)
        expect(page.locator("#status")).to_have_text("Online")
        expect(page.locator("#room-title")).not_to_have_text("Chat")
        return page

    def hear(self, kind: str, text: str) -> None:
        if kind == "error" and "ERR_CONNECTION_REFUSED" not in text:
            self.complaints.append(text)


@pytest.fixture
def people(browser: Browser, chat: ChatProcess) -> Iterator[People]:
    with closing_pages(People(browser, chat.url)) as people:
        yield people


@contextmanager
def closing_pages(people: People) -> Iterator[People]:
    yield people
    for context in people.contexts:
        context.close()
    assert people.complaints == []


def say(page: Page, text: str) -> None:
    page.fill("#input", text)
    page.press("#input", "Enter")


def expect_texts(page: Page, *texts: str) -> None:
    expect(page.locator("#messages > li .text")).to_have_text(list(texts))


def count_rows(database: Path) -> int:
    with closing(sqlite3.connect(database)) as connection:
        count: int = connection.execute("SELECT count(*) FROM messages").fetchone()[0]
        return count


def test_what_one_says_all_see_in_one_order(people: People) -> None:
    ann, bob, cy = [people.open(name) for name in ("ann", "bob", "cy")]
    for number in range(3):
        say(ann, f"ann {number}")
        say(bob, f"bob {number}")
    orders = []
    for page in (ann, bob, cy):
        expect(page.locator("#messages > li[data-seq]")).to_have_count(6)
        expect(page.locator("#messages > li")).to_have_count(6)
        orders.append(page.locator("#messages > li .text").all_inner_texts())
    assert orders[0] == orders[1] == orders[2]
    assert [text for text in orders[0] if text.startswith("ann")] == ["ann 0", "ann 1", "ann 2"]
    expect(ann.locator("#messages > li.own")).to_have_count(3)
    ann.reload()
    expect(ann.locator("#messages > li .text")).to_have_text(orders[0])
    expect(ann.locator("#messages > li.own")).to_have_count(3)


def test_people_have_names_and_are_seen_coming_renaming_typing_and_going(people: People) -> None:
    ann = people.open("ann")
    bob = people.open("bob")
    expect(ann.locator("#notice")).to_have_text("bob is here")
    expect(ann.locator("#users")).to_contain_text("bob")
    bob.locator("#input").press_sequentially("hm")
    expect(ann.locator("#typing")).to_have_text("bob is typing…")
    expect(bob.locator("#typing")).to_be_empty()
    bob.press("#input", "Enter")
    expect(ann.locator("#typing")).to_be_empty()
    bob.fill("#nickname", "ann")
    bob.press("#nickname", "Enter")
    expect(bob.locator("#nickname-error")).to_have_text("Somebody here is called ann already.")
    expect(bob.locator("#nickname")).to_have_value("bob")
    bob.fill("#nickname", "Bobby")
    bob.press("#nickname", "Enter")
    expect(ann.locator("#notice")).to_have_text("bob is now Bobby")
    expect(ann.locator("#users")).to_contain_text("Bobby")
    say(bob, "it is me")
    expect(ann.locator("#messages > li").last).to_contain_text("Bobby")
    bob.close()
    expect(ann.locator("#notice")).to_have_text("Bobby has left")
    expect(ann.locator("#users > li")).to_have_count(1)


def test_a_guest_has_a_name_at_once_and_keeps_it(people: People, browser: Browser) -> None:
    context = browser.new_context()
    people.contexts.append(context)
    first = people.visit(context.new_page())
    expect(first.locator("#room-title")).to_have_text("lobby")
    name = first.input_value("#nickname")
    assert name
    second = people.visit(context.new_page())  # another window is another person
    assert second.input_value("#nickname") not in {"", name}
    expect(first.locator("#users > li")).to_have_count(2)
    first.reload()
    expect(first.locator("#nickname")).to_have_value(name)
    first.close()
    again = people.visit(context.new_page())  # who comes back later is who it was
    expect(again.locator("#nickname")).to_have_value(name)


def test_rooms_count_what_is_unread(people: People) -> None:
    ann, bob = people.open("ann"), people.open("bob", "red")
    expect(bob.locator("#room-title")).to_have_text("red")
    say(bob, "first")
    ann.click("#rooms button[data-room=red]")  # a room of others is offered
    expect_texts(ann, "first")
    ann.click("#rooms button[data-room=lobby]")
    say(bob, "second")
    say(bob, "third")
    expect(ann.locator("#rooms button[data-room=red] .badge")).to_have_text("2 unread")
    expect(ann).to_have_title("(2) lobby · Chat")
    ann.reload()  # which is not reading
    expect(ann.locator("#rooms button[data-room=red] .badge")).to_have_text("2 unread")
    ann.click("#rooms button[data-room=red]")
    expect(ann.locator("#rooms .badge")).to_have_count(0)
    expect_texts(ann, "first", "second", "third")
    ann.click("#leave")
    expect(ann.locator("#room-title")).to_have_text("lobby")
    say(bob, "fourth")
    expect_texts(bob, "first", "second", "third", "fourth")
    expect(ann.locator("#rooms .badge")).to_have_count(0)
    ann.fill("#room-name", "Green Room")
    ann.press("#room-name", "Enter")
    expect(ann.locator("#room-title")).to_have_text("green-room")
    expect(ann.locator("#beginning")).to_contain_text("Nothing has been said here yet")


def test_private_messages_are_for_two(people: People) -> None:
    ann, bob, cy = [people.open(name) for name in ("ann", "bob", "cy")]
    ann.click("#users button:has-text('bob')")
    expect(ann.locator("#room-title")).to_have_text("bob")
    say(ann, "a secret")
    expect(bob.locator("#rooms button[data-kind=private] .badge")).to_have_text("1 unread")
    bob.click("#rooms button[data-kind=private]")
    expect(bob.locator("#room-title")).to_have_text("ann")
    expect_texts(bob, "a secret")
    say(bob, "an answer")
    expect_texts(ann, "a secret", "an answer")
    expect(cy.locator("#rooms button")).to_have_count(1)
    ann.reload()
    expect(ann.locator("#rooms button[data-kind=private]")).to_have_text("bob")


def test_text_is_text_and_links_are_links(people: People) -> None:
    ann, bob = people.open("ann"), people.open("bob")
    ann.evaluate("document.addEventListener('securitypolicyviolation', () => (window.violated = true))")
    say(bob, "<img src=x onerror='window.broken=1'><b>bold</b>")
    say(bob, "see https://example.org/a_(b)?c=d. or javascript:alert(1)")
    say(bob, "🎉🎉")
    expect(ann.locator("#messages > li")).to_have_count(3)
    assert ann.locator("#messages img, #messages b, #messages script").count() == 0
    links = ann.locator("#messages a")
    assert links.evaluate_all("links => links.map(link => link.href)") == ["https://example.org/a_(b)?c=d"]
    assert links.first.get_attribute("rel") == "noopener noreferrer nofollow ugc"
    expect(ann.locator("#messages .emoji")).to_have_text("🎉🎉")
    assert ann.evaluate("[window.broken, window.violated]") == [None, None]
    ann.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.broken = 1'}))"
    )
    ann.wait_for_function("window.violated")
    assert ann.evaluate("window.broken") is None
    assert len(people.complaints) == 1
    people.complaints.clear()


def test_what_is_said_while_the_server_is_away_waits_also_for_a_reload(
    chat: ChatProcess, people: People, tmp_path: Path
) -> None:
    ann, bob = people.open("ann"), people.open("bob")
    say(ann, "before")
    expect_texts(bob, "before")
    chat.kill()
    expect(ann.locator("#status")).to_have_text("Reconnecting…")
    say(ann, "one")
    say(ann, "two")
    pending = ann.locator("#messages > li[data-state=pending]")
    expect(pending).to_have_count(2)
    ann.goto("about:blank")
    chat.start()
    people.visit(ann)
    for page in (ann, bob):
        expect(page.locator("#messages > li[data-seq] .text")).to_have_text(["before", "one", "two"])
    expect(pending).to_have_count(0)
    expect(bob.locator("#status")).to_have_text("Online again")
    assert count_rows(tmp_path / "chat.db") == 3


def test_a_lost_connection_recovers(browser: Browser, chat: ChatProcess) -> None:
    with start_blocking_portal() as portal:
        proxy = FaultProxy(chat.port)
        with (
            portal.wrap_async_context_manager(proxy.running()),
            closing_pages(People(browser, f"http://127.0.0.1:{proxy.port}")) as people,
        ):
            ann, bob = people.open("ann"), people.open("bob")
            say(ann, "before")
            expect_texts(bob, "before")
            portal.call(proxy.cut)
            expect(bob.locator("#status")).to_have_text("Recovered")
            expect(ann.locator("#status")).to_have_text("Recovered")
            say(ann, "after")
            expect_texts(bob, "before", "after")
            people.complaints.clear()  # that the connection was lost


def test_a_locked_database_is_told_and_one_may_try_again(people: People, tmp_path: Path) -> None:
    ann, bob = people.open("ann"), people.open("bob")
    with closing(sqlite3.connect(tmp_path / "chat.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        say(ann, "one")
        failed = ann.locator("#messages > li[data-state=failed]")
        expect(failed).to_contain_text("The database is locked by another program.", timeout=15_000)
        other.execute("ROLLBACK")
    ann.evaluate(AXE.read_text())
    assert violations(ann) == []
    expect(bob.locator("#messages > li")).to_have_count(0)
    say(ann, "two")
    expect_texts(bob, "two")
    failed.get_by_role("button", name="Retry").click()
    expect_texts(bob, "two", "one")
    expect_texts(ann, "two", "one")
    expect(ann.locator("#messages > li[data-state]")).to_have_count(0)


async def fill(log: MessageLog, count: int) -> None:
    def publish(message: Message, origin: str) -> None: ...
    def answer(outcome: Message | StorageError) -> None: ...

    async with log.running(publish):
        for number in range(1, count + 1):
            log.append(Draft("lobby", "someone", f"{number}", "Someone", f"message {number}"), answer)


def test_history_comes_as_one_scrolls_up_and_nothing_jumps(browser: Browser, tmp_path: Path) -> None:
    with closing(SqliteLog.open(tmp_path / "chat.db")) as log, start_blocking_portal() as portal:
        portal.call(fill, log, 180)
    with (
        ChatProcess(tmp_path / "chat.db") as chat,
        closing_pages(People(browser, chat.url)) as people,
    ):
        ann = people.open("ann")
        items = ann.locator("#messages > li")
        expect(items).to_have_count(50)
        expect(items.last).to_be_in_viewport()
        place = "e => e.getBoundingClientRect().top"
        for count in (100, 150, 180):
            first = ann.locator(f"#messages > li[data-seq='{181 - items.count()}']")
            first.scroll_into_view_if_needed()
            expect(items).to_have_count(count)
            top = first.evaluate(place)
            assert -100 < top < 700  # it is still in sight
        expect(ann.locator("#beginning")).to_have_text("The beginning of lobby")
        assert items.locator(".text").all_inner_texts() == [f"message {number}" for number in range(1, 181)]
        bob = people.open("bob")
        say(bob, "news")
        expect(ann.locator("#newest")).to_be_visible()
        ann.click("#newest")
        expect(items.last).to_be_in_viewport()
        expect(ann.locator("#newest")).to_be_hidden()


def test_the_keyboard_is_enough(people: People) -> None:
    ann = people.open("ann", size=PHONE)
    ann.locator("#input").press_sequentially("one")
    ann.press("#input", "Shift+Enter")
    ann.locator("#input").press_sequentially("two")
    ann.press("#input", "Enter")
    expect(ann.locator("#messages > li .text")).to_have_text("one\ntwo", use_inner_text=True)
    expect(ann.locator("#side")).to_be_hidden()
    ann.focus("#menu")
    ann.keyboard.press("Enter")
    expect(ann.locator("#side")).to_be_visible()
    expect(ann.locator("#rooms button").first).to_be_focused()
    ann.keyboard.press("Escape")
    expect(ann.locator("#side")).to_be_hidden()
    expect(ann.locator("#menu")).to_be_focused()


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_in_the_way_of_anybody(
    chat: ChatProcess, people: People, size: tuple[int, int], scheme: Literal["light", "dark"]
) -> None:
    ann, bob = people.open("ann", size=size, scheme=scheme), people.open("bob")
    say(bob, "see https://example.org")
    say(ann, "yes")
    bob.click("#users button:has-text('ann')")
    say(bob, "psst")
    bob.locator("#input").press_sequentially("more")
    expect(ann.locator(".badge").first).to_be_attached()
    ann.evaluate(AXE.read_text())
    if size == PHONE:
        assert violations(ann) == []
        ann.click("#menu")
        ann.locator("#side").evaluate(
            "side => Promise.all(side.getAnimations().map(motion => motion.finished))"
        )
    assert violations(ann) == []
    chat.kill()
    expect(ann.locator("#status")).to_have_text("Reconnecting…")
    if size == PHONE:
        ann.keyboard.press("Escape")
    say(ann, "waiting")
    expect(ann.locator("#messages > li[data-state=pending]")).to_have_count(1)
    assert violations(ann) == []


def violations(page: Page) -> list[str]:
    found: list[dict[str, Any]] = page.evaluate("axe.run().then(result => result.violations)")
    return [f"{one['id']}: {[node['html'] for node in one['nodes']]}" for one in found]


def test_a_page_of_the_tutorial_talks_with_ours(people: People, browser: Browser) -> None:
    ann = people.open("ann")
    say(ann, "before")
    context = browser.new_context()
    people.contexts.append(context)
    tutorial = context.new_page()
    tutorial.route("**/tutorial", lambda route: route.fulfill(path=TUTORIAL, content_type="text/html"))
    tutorial.goto(people.url + "/tutorial")
    talk_with_the_tutorial(ann, tutorial)


@contextmanager
def another_origin() -> Iterator[str]:
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(TUTORIAL.parent)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_client_of_another_origin_needs_leave(browser: Browser, tmp_path: Path) -> None:
    with (
        another_origin() as origin,
        ChatProcess(tmp_path / "chat.db", "--cors", origin) as chat,
        ChatProcess(tmp_path / "other.db") as strict,
        closing_pages(People(browser, chat.url)) as people,
    ):
        ann = people.open("ann")
        say(ann, "before")
        context = browser.new_context()
        people.contexts.append(context)
        tutorial = context.new_page()
        tutorial.goto(f"{origin}/{TUTORIAL.name}?server={chat.url}")
        talk_with_the_tutorial(ann, tutorial)
        tutorial.goto(f"{origin}/{TUTORIAL.name}?server={strict.url}")
        tutorial.wait_for_function("window.refused")
        assert tutorial.locator("#messages li").count() == 0


def talk_with_the_tutorial(ann: Page, tutorial: Page) -> None:
    lines = tutorial.locator("#messages li")
    expect(lines).to_have_text(["before"])
    tutorial.fill("#input", "hello from the tutorial")
    tutorial.press("#input", "Enter")
    expect_texts(ann, "before", "hello from the tutorial")
    say(ann, "hello from ann")
    expect(lines).to_have_text(["before", "hello from the tutorial", "hello from ann"])
    expect(ann.locator("#users > li")).to_have_count(2)
