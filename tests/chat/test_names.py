"""What is allowed as a text, a nickname, a room and an id."""

from __future__ import annotations

import pytest

from chat_app.names import (
    MAX_NICKNAME,
    MAX_TEXT,
    InvalidName,
    check_nickname,
    check_offset,
    check_room,
    check_text,
    guest_name,
    members_of,
    public_id,
)

ANN, BOB, CY = (public_id(name * 16) for name in "abc")
PRIVATE = f"@{ANN}.{BOB}"


@pytest.mark.parametrize("text", ["hi", " hi ", "a\nb\tc", "<b>", "👩‍👩‍👧", "مرحبا", "x" * MAX_TEXT])
def test_texts(text: str) -> None:
    assert check_text(text) == text


@pytest.mark.parametrize("text", ["", "  \n", "x" * (MAX_TEXT + 1), "a\0b", "\x1b[31m", "\ud800", "\x7f"])
def test_refused_texts(text: str) -> None:
    with pytest.raises(InvalidName):
        check_text(text)


@pytest.mark.parametrize(
    ("nickname", "clean"), [("ann", "ann"), ("  Ann \n B ", "Ann B"), ("Жанна", "Жанна")]
)
def test_nicknames(nickname: str, clean: str) -> None:
    assert check_nickname(nickname) == clean


@pytest.mark.parametrize("nickname", ["", "  ", "x" * (MAX_NICKNAME + 1), "a\u202eb", "a\0", "\u200b"])
def test_refused_nicknames(nickname: str) -> None:
    with pytest.raises(InvalidName):
        check_nickname(nickname)


@pytest.mark.parametrize("room", ["lobby", "a-b_c", "комната", "x" * 32])
def test_public_rooms_are_for_everybody(room: str) -> None:
    assert check_room(room, "") == room
    assert members_of(room) == ()


@pytest.mark.parametrize(
    "room", ["", " ", "a b", "@x", "x" * 33, f"@{ANN}", f"{ANN}.{BOB}", f"{PRIVATE}.{CY}", "a\n"]
)
def test_no_rooms(room: str) -> None:
    with pytest.raises(InvalidName):
        check_room(room, ANN)


def test_private_rooms_are_for_two() -> None:
    assert members_of(PRIVATE) == (ANN, BOB)
    assert check_room(PRIVATE, ANN) == check_room(PRIVATE, BOB) == PRIVATE
    for stranger in (CY, "", "guest-1"):
        with pytest.raises(InvalidName):
            check_room(PRIVATE, stranger)


@pytest.mark.parametrize("client_offset", ["", "x" * 65, "a\nb"])
def test_refused_ids(client_offset: str) -> None:
    with pytest.raises(InvalidName):
        check_offset(client_offset)


@pytest.mark.parametrize("secret", [None, 5, "short", "x" * 65, "with space but long", ["x" * 20]])
def test_no_secrets(secret: object) -> None:
    assert public_id(secret) == ""


def test_the_public_id_does_not_tell_the_secret() -> None:
    assert len(ANN) == 16
    assert "aaaa" not in ANN


def test_guests_have_names_that_are_allowed() -> None:
    for _ in range(100):
        assert check_nickname(guest_name())
