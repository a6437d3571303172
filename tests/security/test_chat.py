"""Threats to the chat: what a client may send to its events, and what a page makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from websockets.sync.client import connect

from chat_app.names import public_id
from conformance.peer.packets import Packet, encode, parse_message
from conformance.target import Server
from tests.chat.process import ChatProcess
from tests.security.witness import PATIENCE, Peer

SECRETS = {name: f"secret-of-{name}".ljust(20, "-") for name in ("ann", "bob", "eve")}
ANN, BOB, EVE = (str(public_id(secret)) for secret in SECRETS.values())
PRIVATE = "@" + ".".join(sorted([ANN, BOB]))


@pytest.fixture(scope="module", params=["asyncio", "trio"])
def chat(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatProcess]:
    """The chat on each event loop; at its end its log must be empty."""
    place = tmp_path_factory.mktemp("chat")
    errors = place / "stderr"
    with ChatProcess(place / "chat.db", "--backend", request.param, stderr=errors) as chat:
        yield chat
        assert chat.stop() == 0
    assert errors.read_text() == ""


class Member:
    """A client of the chat, without its page.

    :ivar heard: the events it got, in their order.
    """

    def __init__(self, chat: ChatProcess) -> None:
        self._peer = Peer(Server("127.0.0.1", chat.port, "/socket.io/", "chat"), None)  # type: ignore[arg-type]
        self._ids = iter(range(1, 10**6))
        self.heard: list[list[Any]] = []

    async def enter(self, name: str) -> None:
        self._link = await self._peer.websocket()
        await self._link.send("40" + encode({"client": SECRETS[name], "nickname": name}))
        while not any(event[0] == "welcome" for event in self.heard):
            await self._receive()
        await self.ask("join", "lobby")

    async def _receive(self) -> Packet:
        async with asyncio.timeout(PATIENCE):
            while (message := await self._link.receive()) == "2":
                await self._link.send("3")
        packet = parse_message(str(message))
        if packet.type == 2:
            self.heard.append(packet.data)
        return packet

    async def send(self, message: str) -> None:
        await self._link.send(message)

    async def ask(self, event: str, *args: Any) -> Any:
        """Emit an event and return the acknowledgement."""
        return await self.ask_raw(encode([event, *args]))

    async def ask_raw(self, event: str) -> Any:
        number = next(self._ids)
        await self._link.send(f"42{number}{event}")
        while (packet := await self._receive()).type != 3 or packet.id != number:
            pass
        return packet.data[0] if packet.data else None

    async def leave(self) -> None:
        await self._peer.leave()


@pytest.fixture
async def members(chat: ChatProcess) -> AsyncIterator[tuple[Member, Member]]:
    """An attacker, eve, and a witness, ann, who is served to the end."""
    eve, ann = Member(chat), Member(chat)
    await eve.enter("eve")
    await ann.enter("ann")
    yield eve, ann
    answer = await ann.ask("message", "lobby", "still here", f"id-{id(ann)}")
    assert answer["text"] == "still here"
    await eve.leave()
    await ann.leave()


TEXTS = {
    r"\ud800": "�",
    r"x\udc00\ud800y": "x��y",
    r"\ud83d\ude00": "😀",
    "'; DROP TABLE messages; --": None,
    '\\" OR 1=1 --': None,
    "%s %d {0} ${x}": None,
    r"\u202eevil": None,
    "a" * 4_000: None,
}

REFUSED = ["", "   ", r"\u0000", r"a\u0000b", r"\u0007", r"\u001b[31m", r"\u007f", "a" * 4_001, "a" * 900_000]


@pytest.mark.anyio
@pytest.mark.threat("T39")
async def test_poison_text_is_stored_as_what_it_is_or_refused(members: tuple[Member, Member]) -> None:
    eve, ann = members
    said = []
    for number, (sent, seen) in enumerate(TEXTS.items()):
        answer = await eve.ask_raw(f'["message","lobby","{sent}","t{number}"]')
        assert answer.get("text") == (seen or answer["text"]), answer
        said.append(answer["text"])
    for number, sent in enumerate(REFUSED):
        answer = await eve.ask_raw(f'["message","lobby","{sent}","r{number}"]')
        assert set(answer) == {"error", "retry"}, answer
    history = await ann.ask("history", "lobby", 10**9)
    assert [message["text"] for message in history["messages"] if message["id"].startswith("t")] == said
    heard = [event[1]["text"] for event in ann.heard if event[0] == "message"]
    assert heard[-len(said) :] == said


@pytest.mark.anyio
@pytest.mark.threat("T34", "T63")
async def test_odd_arguments_cost_their_sender_an_answer_and_nobody_else(
    members: tuple[Member, Member],
) -> None:
    eve, ann = members
    odd: list[Any] = [
        None,
        True,
        0,
        -1,
        10**15,
        2**63,
        -(2**63),
        1.5,
        [],
        {},
        [[]],
        {"a": 1},
        "",
        "../..",
        "__proto__",
        "@",
        "x" * 5_000,
    ]
    for event in (
        "message",
        "join",
        "leave",
        "sync",
        "history",
        "nickname",
        "typing",
        "chat message",
        "nothing",
    ):
        for value in odd:
            for args in ([value], [value] * 2, [value] * 4, ["lobby", value], ["lobby", value, value]):
                await eve.send("42" + encode([event, *args]))
    answer = await eve.ask("message", "lobby", "eve is still here", "odd")
    assert answer["text"] == "eve is still here"
    assert answer["user"] == EVE
    assert await ann.ask("sync", "lobby") is not None


@pytest.mark.anyio
@pytest.mark.threat("T46")
async def test_what_two_people_say_to_each_other_is_theirs(members: tuple[Member, Member]) -> None:
    """Eve tries every event on the private room of Ann and Bob, and names their rooms inside of the server."""
    eve, ann = members
    assert (await ann.ask("message", PRIVATE, "for bob", f"p-{id(ann)}"))["text"] == "for bob"
    await eve.ask("nickname", "ann")
    for room in (PRIVATE, f"user:{ANN}", f"room:{PRIVATE}", ANN, "pages", "tutorial"):
        for event, *args in (
            ("join", room),
            ("sync", room),
            ("history", room, 10**9),
            ("message", room, "forged", f"f-{room}"),
        ):
            answer = await eve.ask(event, *args)
            assert "for bob" not in str(answer), (event, room)
            assert "error" in answer or room in {ANN, "pages", "tutorial"}, (event, room)
        await eve.send("42" + encode(["typing", room]))
    assert (await ann.ask("message", PRIVATE, "for bob alone", f"q-{id(ann)}"))["text"] == "for bob alone"
    await eve.ask("sync", "lobby")
    assert "for bob" not in str(eve.heard)
    assert "typing" not in [event[0] for event in ann.heard]
    assert [event for event in ann.heard if "forged" in str(event) and PRIVATE in str(event)] == []


@pytest.mark.anyio
@pytest.mark.threat("T50")
async def test_a_flood_of_messages_is_stored_and_the_witness_served(members: tuple[Member, Member]) -> None:
    eve, ann = members
    for number in range(1_000):
        await eve.send("42" + encode(["message", "flood", f"flood {number}", f"flood-{id(eve)}-{number}"]))
    for number in range(5):
        answer = await ann.ask("message", "lobby", f"beside {number}", f"b-{id(ann)}-{number}")
        assert answer["text"] == f"beside {number}"
    assert (await eve.ask("message", "flood", "last", f"last-{id(eve)}"))["text"] == "last"


# The page

MARKUP = [
    "<script>pwned=1</script>",
    "<img src=x onerror=pwned=1>",
    "<svg onload=pwned=1>",
    "<svg/onload=pwned=1>",
    "<iframe src='javascript:parent.pwned=1'></iframe>",
    "<body onload=pwned=1>",
    "<a href='javascript:pwned=1'>x</a>",
    "javascript:pwned=1",
    'http://x.example/"onmouseover="pwned=1',
    "https://x.example/'onclick='pwned=1",
    "https://x.example/<script>pwned=1</script>",
    "data:text/html,<script>pwned=1</script>",
    "</li></ul><script>pwned=1</script>",
    "<math><mi//xlink:href='data:x,<script>pwned=1</script>'>",
    "<details open ontoggle=pwned=1>",
    "<video><source onerror=pwned=1>",
    "<audio src=x onerror=pwned=1>",
    "<input autofocus onfocus=pwned=1>",
    "<form action=javascript:pwned=1><button>x",
    "<object data=javascript:pwned=1>",
    "<embed src=javascript:pwned=1>",
    "<link rel=stylesheet href=//x.example/x.css>",
    "<style>@import'//x.example/x.css';</style>",
    "<meta http-equiv=refresh content='0;url=javascript:pwned=1'>",
    "<base href=//x.example/>",
    "<marquee onstart=pwned=1>",
    "<template><script>pwned=1</script></template>",
    "<noscript><p title='</noscript><img src=x onerror=pwned=1>'>",
    "<!--><script>pwned=1</script>-->",
    "<![CDATA[<script>pwned=1</script>]]>",
    "&lt;script&gt;pwned=1&lt;/script&gt;",
    "&#60;script&#62;pwned=1",
    "\\u003cscript\\u003epwned=1",
    "%3Cscript%3Epwned=1",
    "${pwned=1}",
    "{{constructor.constructor('pwned=1')()}}",
    "`${pwned=1}`",
    "'-pwned=1-'",
    '"-pwned=1-"',
    "<xss style=animation-name:x onanimationstart=pwned=1>",
    "__proto__",
    "constructor",
]

NAMES = ["<b onclick=x>bold", "<img src=x onerror=y>", "__proto__", "constructor", "toString", "'\"><script>"]
ROOMS = ["__proto__", "constructor", "hasOwnProperty", "toString"]


@pytest.fixture
def page(browser: Browser, tmp_path: Path) -> Iterator[tuple[Page, ChatProcess, list[str]]]:
    """Ann's page, and what it complains about."""
    errors = tmp_path / "stderr"
    with ChatProcess(tmp_path / "chat.db", stderr=errors) as chat:
        context = browser.new_context()
        page = context.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.on(
            "request", lambda request: complaints.append(request.url) if "x.example" in request.url else None
        )
        page.goto(f"{chat.url}/?nickname=ann&room=lobby")
        expect(page.locator("#status")).to_have_text("Online")
        yield page, chat, complaints
        context.close()
        assert chat.stop() == 0
    assert errors.read_text() == ""


def say_as(chat: ChatProcess, nickname: str, *messages: tuple[str, str]) -> None:
    """Say something in rooms, as somebody of that name."""
    address = f"ws://127.0.0.1:{chat.port}/socket.io/?EIO=4&transport=websocket"
    with connect(address, proxy=None) as websocket:
        websocket.recv()
        secret = f"secret-of-{nickname.encode().hex()}"[:60]
        websocket.send("40" + encode({"client": secret, "nickname": nickname}))
        for number, (room, text) in enumerate(messages):
            websocket.send(f"42{number}" + encode(["message", room, text, f"{nickname}-{room}-{number}"]))
            with suppress(TimeoutError):
                while not str(websocket.recv(timeout=PATIENCE)).startswith(f"43{number}["):
                    pass


@pytest.mark.browser
@pytest.mark.threat("T48", "T49")
def test_text_names_and_rooms_are_never_code(page: tuple[Page, ChatProcess, list[str]]) -> None:
    ann, chat, complaints = page
    ann.evaluate("document.addEventListener('securitypolicyviolation', () => (window.violated = true))")
    say_as(chat, "eve", *[("lobby", text) for text in MARKUP])
    for name in NAMES:
        say_as(chat, name, ("lobby", f"I am {name}"))
    say_as(chat, "eve", *[(room, f"in {room}") for room in ROOMS])
    texts = [*MARKUP, *[f"I am {name}" for name in NAMES]]
    expect(ann.locator("#messages > li[data-seq]")).to_have_count(len(texts))
    assert ann.locator("#messages > li .text").all_inner_texts() == texts
    inside = ", ".join(f"#messages {tag}" for tag in ("script", "img", "svg", "iframe", "style", "form", "b"))
    assert ann.locator(inside).count() == 0
    links = ann.locator("#messages a").evaluate_all("links => links.map(link => new URL(link.href).protocol)")
    assert set(links) <= {"http:", "https:"}
    for room in ROOMS:
        ann.click(f"#rooms button[data-room='{room}']")
        expect(ann.locator("#messages > li .text")).to_have_text([f"in {room}"])
    say_as(chat, "zoe", ("lobby", "the page still works"))
    ann.click("#rooms button[data-room=lobby]")
    expect(ann.locator("#messages > li .text").last).to_have_text("the page still works")
    assert ann.evaluate("[typeof pwned, window.violated]") == ["undefined", None]
    assert complaints == []


@pytest.mark.threat("T49")
def test_a_policy_forbids_what_text_could_become() -> None:
    html = (Path(__file__).parent.parent.parent / "chat_app" / "static" / "index.html").read_text()
    assert "default-src 'none'; script-src 'self'" in html
    assert "unsafe" not in html
    for script in (Path(__file__).parent.parent.parent / "chat_app" / "static").glob("*.mjs"):
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
        ):
            assert word not in script.read_text(), script.name
