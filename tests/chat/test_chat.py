"""The chat and the official client: our page's events, the tutorial's, and who may do what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from chat_app import app
from chat_app.log import StorageError
from chat_app.names import public_id
from chat_app.sqlite_log import SqliteLog
from tests.chat.clients import Clients, chatting, secret

pytestmark = pytest.mark.anyio

ANN, BOB = (public_id(secret(name)) for name in ("ann", "bob"))
PRIVATE = "@" + ".".join(sorted([ANN, BOB]))


@pytest.fixture
async def clients(tmp_path: Path, anyio_backend: object) -> AsyncIterator[Clients]:
    async with chatting(tmp_path / "chat.db") as clients:
        yield clients


async def test_what_one_says_all_others_hear_in_order(clients: Clients) -> None:
    ann, bob, cy = [await clients.page(name) for name in ("ann", "bob", "cy")]
    answers = [await ann.emit_and_ask("message", "lobby", f"message {n}", f"id{n}") for n in range(50)]
    for number, name in enumerate(answers, 1):
        assert (await ann.next(name))["seq"] == number
    for listener in (bob, cy):
        heard = [await listener.next("message") for _ in range(50)]
        assert [(m["seq"], m["text"]) for m in heard] == [(n + 1, f"message {n}") for n in range(50)]
        assert {(m["room"], m["user"], m["nickname"]) for m in heard} == {("lobby", ANN, "ann")}
    assert ann.count("message") == 0  # one's own message is the answer, not an echo


async def test_everything_a_sender_gets_is_in_the_order_of_the_log(clients: Clients) -> None:
    ann, bob = await clients.page("ann"), await clients.page("bob")
    for number in range(100):
        await ann.emit_and_ask("message", "lobby", "x", f"a{number}")
        await bob.emit_and_ask("message", "lobby", "x", f"b{number}")
    for someone in (ann, bob):
        heard: list[int] = []
        with anyio.fail_after(15):
            while len(heard) < 200:
                arrived = someone.arrived
                heard = [
                    args[0]["seq"]
                    for name, args in someone.seen
                    if name == "message" or name.startswith("answer")
                ]
                if len(heard) < 200:
                    await arrived.wait()
        assert heard == list(range(1, 201))


async def test_an_id_that_comes_again_is_answered_again_and_nobody_hears_it_twice(clients: Clients) -> None:
    ann, bob = await clients.page("ann"), await clients.page("bob")
    first = await ann.ask("message", "lobby", "hi", "one")
    assert await ann.ask("message", "lobby", "hi", "one") == first
    assert (await ann.ask("message", "lobby", "something else", "one"))["error"]
    assert (await bob.ask("message", "lobby", "mine", "one"))[
        "seq"
    ] == 2  # the ids of others are not one's own
    assert (await ann.next("message"))["text"] == "mine"
    assert [(await bob.next("message"))["text"], bob.count("message")] == ["hi", 0]


@pytest.mark.parametrize(
    "args", [["lobby", " ", "1"], ["lobby", "x" * 4_001, "1"], ["lobby", "hi", ""], ["a b", "hi", "1"]]
)
async def test_what_may_not_be_said_is_refused_with_a_reason(clients: Clients, args: list[str]) -> None:
    ann = await clients.page("ann")
    answer = await ann.ask("message", *args)
    assert answer["error"]
    assert answer["retry"] is False


async def test_wrong_types_are_dropped_and_the_connection_lives(clients: Clients) -> None:
    ann = await clients.page("ann")
    wrong: list[tuple[str, list[Any]]] = [
        ("message", [1, 2, 3]),
        ("message", []),
        ("chat message", [{"not": "text"}]),
        ("join", [None]),
        ("sync", ["lobby", "0"]),
        ("history", ["lobby", 1.5]),
        ("typing", [["lobby"]]),
        ("nickname", [5]),
    ]
    for event, args in wrong:
        await ann.emit(event, *args)
    assert (await ann.ask("message", "lobby", "still here", "1"))["seq"] == 1


async def test_history_comes_by_pages(clients: Clients) -> None:
    ann = await clients.page("ann")
    for number in range(120):
        await ann.emit_and_ask("message", "lobby", f"{number}", f"{number}")
    await ann.ask("message", "lobby", "last", "last")
    bob = await clients.page("bob")
    opened = await bob.ask("join", "lobby")
    assert [m["seq"] for m in opened["messages"]] == list(range(72, 122))
    assert (opened["head"], opened["reset"]) == (121, True)
    older = (await bob.ask("history", "lobby", 72))["messages"]
    assert [m["seq"] for m in older] == list(range(22, 72))
    older = (await bob.ask("history", "lobby", 22))["messages"]
    assert [m["seq"] for m in older] == list(range(1, 22))
    missing = await bob.ask("sync", "lobby", 5, opened["epoch"])
    assert [m["seq"] for m in missing["messages"]] == list(range(6, 106))
    assert missing["reset"] is False
    assert (await bob.ask("sync", "lobby", 5, "another store"))["reset"] is True


async def test_who_was_away_recovers_or_asks_for_what_is_missing(clients: Clients) -> None:
    ann, bob = await clients.page("ann"), await clients.page("bob")
    await bob.cut()
    await bob.next("disconnect")
    await ann.ask("message", "lobby", "while you were away", "1")
    assert await bob.next("connect") is True
    assert (await bob.next("message"))["text"] == "while you were away"


async def test_rooms_are_apart_and_everybody_hears_of_a_new_one(clients: Clients) -> None:
    ann, bob = await clients.page("ann"), await clients.page("bob")
    await ann.ask("join", "red")
    await ann.ask("message", "red", "in red", "1")
    assert await bob.next("room") == "red"
    await ann.ask("message", "lobby", "in lobby", "2")
    assert (await bob.next("message"))["room"] == "lobby"
    assert bob.count("message") == 0
    await bob.ask("join", "red")
    await ann.ask("message", "red", "again", "3")
    assert (await bob.next("message"))["seq"] == 2
    await bob.emit("leave", "red")
    await bob.ask("sync", "lobby")
    await ann.ask("message", "red", "not for bob", "4")
    await ann.ask("message", "lobby", "for bob", "5")
    assert (await bob.next("message"))["text"] == "for bob"


async def test_private_messages_reach_two_people_and_nobody_else(clients: Clients) -> None:
    ann, bob, cy = [await clients.page(name) for name in ("ann", "bob", "cy")]
    assert (await ann.ask("message", PRIVATE, "a secret", "1"))["seq"] == 1
    assert (await bob.next("message"))["text"] == "a secret"
    intrusions: list[tuple[str, list[Any]]] = [
        ("join", [PRIVATE]),
        ("sync", [PRIVATE, 0]),
        ("history", [PRIVATE, 100]),
        ("message", [PRIVATE, "intruding", "1"]),
    ]
    for event, args in intrusions:
        answer = await cy.ask(event, *args)
        assert answer == {"error": "There is no such room for you.", "retry": False}, event
    await cy.emit("typing", PRIVATE)
    await cy.emit("leave", PRIVATE)
    tutorial = await clients.connect("tutorial")
    for event, args in intrusions:
        assert (await tutorial.ask(event, *args))["error"]
    await ann.ask("message", "lobby", "in public", "2")
    for someone in (bob, cy):
        assert (await someone.next("message"))["text"] == "in public"
        assert someone.count("typing") == someone.count("room") == 0
    bob_again = await clients.connect("bob again", auth={"client": secret("bob")})
    assert (await bob_again.next("welcome"))["rooms"] == {"lobby": 1, PRIVATE: 1}
    cy_again = await clients.connect("cy again", auth={"client": secret("cy")})
    assert (await cy_again.next("welcome"))["rooms"] == {"lobby": 1}


async def test_people_come_are_renamed_and_go(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "ABSENCE", 0.05)
    ann = await clients.page("ann")
    bob = await clients.connect("bob", auth={"client": secret("bob"), "nickname": "ann"})
    welcome = await bob.next("welcome")
    assert welcome["nickname"] == "ann 2"
    assert {person["nickname"] for person in welcome["people"]} == {"ann", "ann 2"}
    assert await ann.next("joined") == {"user": BOB, "nickname": "ann 2"}
    assert (await bob.ask("nickname", "ANN"))["error"] == "Somebody here is called ANN already."
    assert await bob.ask("nickname", "bob") == {"user": BOB, "nickname": "bob"}
    assert await ann.next("renamed") == {"user": BOB, "nickname": "bob"}
    await bob.disconnect()
    assert await ann.next("left") == {"user": BOB, "nickname": "bob"}


async def test_a_person_with_two_connections_stays_until_both_are_gone(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "ABSENCE", 0.0)
    ann = await clients.page("ann")
    bob, again = [await clients.connect(name, auth={"client": secret("bob")}) for name in ("bob", "again")]
    await ann.next("joined")
    await bob.disconnect()
    await ann.ask("sync", "lobby")
    await again.disconnect()
    await ann.next("left")
    assert ann.count("left") == ann.count("joined") == 0


async def test_typing_is_told_to_those_in_the_room(clients: Clients) -> None:
    ann, bob = await clients.page("ann"), await clients.page("bob")
    cy = await clients.page("cy", "red")
    await ann.emit("typing", "lobby")
    assert await bob.next("typing") == ["lobby", {"user": ANN, "nickname": "ann"}]
    await cy.emit("typing", "lobby")  # not in that room
    await cy.ask("sync", "lobby")
    await bob.ask("sync", "lobby")
    assert [someone.count("typing") for someone in (ann, bob, cy)] == [0, 0, 0]
    await bob.ask("join", PRIVATE)
    await bob.emit("typing", PRIVATE)
    assert (await ann.next("typing"))[0] == PRIVATE


async def test_heads_are_announced(clients: Clients, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(app, "HEADS_EVERY", 0.05)
    async with chatting(tmp_path / "other.db") as others:
        ann = await others.page("ann")
        await ann.ask("message", "lobby", "hi", "1")
        assert await ann.next("head") == ["lobby", 1]


async def test_the_tutorial_and_our_page_talk(clients: Clients) -> None:
    ann = await clients.page("ann")
    tutorial = await clients.connect("tutorial", auth={"serverOffset": 0})
    await ann.ask("message", "lobby", "from ann", "1")
    assert await tutorial.next("chat message") == ["from ann", 1]
    assert await tutorial.ask("chat message", "from the tutorial", "socket-0") == []
    assert await tutorial.next("chat message") == ["from the tutorial", 2]
    message = await ann.next("message")
    assert (message["text"], message["seq"], message["user"]) == ("from the tutorial", 2, "")
    assert await tutorial.ask("chat message", "from the tutorial", "socket-0") == []  # a retry
    await tutorial.emit("chat message", "without an id")
    assert await tutorial.next("chat message") == ["without an id", 3]
    await ann.ask("message", "red", "in another room", "2")
    await ann.ask("message", "lobby", "in the default room", "3")
    assert await tutorial.next("chat message") == ["in the default room", 4]


async def test_the_tutorial_gets_what_it_missed_in_order_while_others_talk(clients: Clients) -> None:
    ann = await clients.page("ann")
    answers = [await ann.emit_and_ask("message", "lobby", f"{number}", f"{number}") for number in range(300)]
    await ann.next(answers[-1])
    tutorial = await clients.connect("tutorial", auth={"serverOffset": 20})
    for number in range(300, 400):
        await ann.emit_and_ask("message", "lobby", f"{number}", f"{number}")
    for number in range(20, 400):
        assert await tutorial.next("chat message") == [f"{number}", number + 1]


async def test_an_offset_of_another_store_or_none_begins_at_the_beginning(clients: Clients) -> None:
    ann = await clients.page("ann")
    await ann.ask("message", "lobby", "hi", "1")
    offsets: list[Any] = [99, -1, "3", None, True, 1.5, [1]]
    for offset in offsets:
        tutorial = await clients.connect(f"with {offset}", auth={"serverOffset": offset})
        assert await tutorial.next("chat message") == ["hi", 1]


async def test_the_tutorial_recovers(clients: Clients) -> None:
    ann = await clients.page("ann")
    tutorial = await clients.connect("tutorial", auth={"serverOffset": 0})
    await ann.ask("message", "lobby", "one", "1")
    await tutorial.next("chat message")
    await tutorial.cut()
    await tutorial.next("disconnect")
    await ann.ask("message", "lobby", "two", "2")
    assert await tutorial.next("connect") is True
    await ann.ask("message", "lobby", "three", "3")
    assert await tutorial.next("chat message") == ["two", 2]
    assert await tutorial.next("chat message") == ["three", 3]
    assert tutorial.count("chat message") == 0


async def test_a_fault_of_the_database_is_told_and_not_acknowledged(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    ann, bob = await clients.page("ann"), await clients.page("bob")
    tutorial = await clients.connect("tutorial", auth={"serverOffset": 0})

    def fail(*_: object) -> int:
        raise StorageErrorInDisguise

    class StorageErrorInDisguise(Exception):
        sqlite_errorcode = 13

    with monkeypatch.context() as patch:
        patch.setattr(SqliteLog, "_insert", fail)
        answer = await ann.ask("message", "lobby", "hi", "1")
        assert answer == {"error": "The disk is full. Try again later.", "retry": True}
        unanswered = await tutorial.emit_and_ask("chat message", "hi", "t1")
        assert await tutorial.next("notice") == "The disk is full. Try again later."
    assert (await ann.ask("message", "lobby", "hi", "1"))["seq"] == 1
    assert (await bob.next("message"))["seq"] == 1
    assert tutorial.count(unanswered) == 0
    await tutorial.emit("chat message", " ", "t2")
    assert await tutorial.next("notice") == "The message is empty."


async def test_an_unreadable_log_is_told_and_tried_again(
    clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "PATIENCE", 0.01)
    ann = await clients.page("ann")
    await ann.ask("message", "lobby", "hi", "1")
    with monkeypatch.context() as patch:

        async def fail(*_: object) -> None:
            raise StorageError("The disk has failed.")

        patch.setattr(SqliteLog, "after", fail)
        tutorial = await clients.connect("tutorial", auth={"serverOffset": 0})
        assert await tutorial.next("notice") == "The disk has failed."
        assert (await ann.ask("sync", "lobby", 0, (await ann.ask("join", "lobby"))["epoch"]))["error"]
    assert await tutorial.next("chat message") == ["hi", 1]
