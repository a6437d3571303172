"""The chat in several processes on one log: everybody hears everything in its order, and who is there."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import anyio.to_thread
import psutil
import pytest

from chat_app.names import public_id
from tests.chat.clients import Clients, Remote, connecting, secret
from tests.chat.process import ChatProcess
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.anyio

NAMES = ["ann", "bob", "cy", "dan", "eve", "fay"]
WORKERS = 3


@pytest.fixture(params=["asyncio", "trio"])
async def chat(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[ChatProcess]:
    with ChatProcess(tmp_path / "chat.db", "--workers", str(WORKERS), "--backend", request.param) as process:
        yield process
        if process.is_running:
            assert await anyio.to_thread.run_sync(process.stop) == 0


@pytest.fixture
async def clients(chat: ChatProcess) -> AsyncIterator[Clients]:
    async with connecting(chat.url) as clients:
        yield clients


@pytest.fixture
def anyio_backend() -> str:
    """Of the test; the chat's own is a parameter."""
    return "asyncio"


async def test_all_hear_all_in_the_order_of_the_log(clients: Clients) -> None:
    pages = [await clients.page(name) for name in NAMES]
    count = 15
    answers = [
        [await page.emit_and_ask("message", "lobby", f"{name} {n}", f"{name}{n}") for n in range(count)]
        for name, page in zip(NAMES, pages, strict=True)
    ]
    said: dict[int, str] = {}
    for name, page, own in zip(NAMES, pages, answers, strict=True):
        for number, answer in enumerate(own):
            said[(await page.next(answer))["seq"]] = f"{name} {number}"
    assert sorted(said) == list(range(1, count * len(NAMES) + 1))
    for name, page in zip(NAMES, pages, strict=True):
        heard = [await page.next("message") for _ in range(count * (len(NAMES) - 1))]
        seqs = [message["seq"] for message in heard]
        assert seqs == sorted(seqs)
        assert {message["seq"]: message["text"] for message in heard} == {
            seq: text for seq, text in said.items() if not text.startswith(f"{name} ")
        }


async def test_people_are_seen_on_every_worker(clients: Clients) -> None:
    ann = await clients.page("ann")
    others = [await clients.page(name) for name in NAMES[1:]]
    joined = [(await ann.next("joined"))["nickname"] for _ in others]
    assert joined == NAMES[1:]
    gil = await clients.connect("gil", auth={"client": secret("gil"), "nickname": "gil"})
    welcome = await gil.next("welcome")
    assert {person["nickname"] for person in welcome["people"]} == {*NAMES, "gil"}
    await others[0].ask("nickname", "bobby")
    assert await ann.next("renamed") == {"user": public_id(secret("bob")), "nickname": "bobby"}
    await gil.disconnect()
    assert (await ann.next("left"))["nickname"] == "gil"
    assert ann.count("left") == 0


async def test_a_private_message_finds_its_reader_on_another_worker(clients: Clients) -> None:
    ann, *others = [await clients.page(name) for name in NAMES]
    for name, other in zip(NAMES[1:], others, strict=True):
        room = "@" + ".".join(sorted([public_id(secret("ann")) or "", public_id(secret(name)) or ""]))
        assert (await ann.ask("message", room, f"to {name}", f"private {name}"))["seq"] == 1
        assert (await other.next("message"))["text"] == f"to {name}"
    assert ann.count("message") == 0


async def test_a_worker_that_dies_is_replaced_and_nothing_is_lost(
    chat: ChatProcess, clients: Clients
) -> None:
    pages = [await clients.page(name, retries=5) for name in NAMES]
    await pages[0].ask("message", "lobby", "before", "one")
    supervisor = psutil.Process(chat.pid)
    victim = supervisor.children()[0]
    victim.send_signal(signal.SIGKILL)
    assert (await pages[0].ask("message", "lobby", "after", "two"))["seq"] == 2

    def is_replaced() -> bool:
        workers = {worker.pid for worker in supervisor.children()}
        return len(workers) == WORKERS and victim.pid not in workers

    await eventually(is_replaced)
    with anyio.fail_after(15):
        for page in pages:
            while await said(page) != ["before", "after"]:
                continue  # its worker may not have read all of the log yet


async def said(page: Remote) -> list[str]:
    answer = await page.ask("sync", "lobby")
    return [message["text"] for message in answer["messages"]]
