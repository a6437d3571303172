"""What people may call themselves and their rooms, and what they may say."""

from __future__ import annotations

import random
import re
from hashlib import sha256
from typing import Final

__all__ = [
    "DEFAULT_ROOM",
    "InvalidName",
    "check_nickname",
    "check_offset",
    "check_room",
    "check_text",
    "guest_name",
    "members_of",
    "public_id",
]

DEFAULT_ROOM: Final = "lobby"
MAX_TEXT: Final = 4_000
MAX_NICKNAME: Final = 24
MAX_OFFSET: Final = 64

ROOM: Final = re.compile(r"[\w\-]{1,32}").fullmatch
PRIVATE: Final = re.compile(r"@([0-9a-f]{16})\.([0-9a-f]{16})").fullmatch
SECRET: Final = re.compile(r"[\w\-]{16,64}", re.ASCII).fullmatch

QUALITIES: Final = (
    "Amber",
    "Brave",
    "Calm",
    "Clever",
    "Gentle",
    "Happy",
    "Jolly",
    "Kind",
    "Lucky",
    "Quiet",
    "Swift",
)
ANIMALS: Final = (
    "Badger",
    "Beaver",
    "Dolphin",
    "Falcon",
    "Fox",
    "Hare",
    "Heron",
    "Lynx",
    "Otter",
    "Owl",
    "Puffin",
)


class InvalidName(ValueError):
    """A name or a text is not allowed. The message is meant for people."""


def check_text(text: str) -> str:
    """Return what is said.

    :raises InvalidName: if it is empty, too long, or has characters that cannot be shown.
    """
    if not text.strip():
        raise InvalidName("The message is empty.")
    if len(text) > MAX_TEXT:
        raise InvalidName(f"The message has more than {MAX_TEXT:,} characters.")
    if any(not is_shown(character) for character in text):
        raise InvalidName("The message has characters that cannot be shown.")
    return text


def check_nickname(nickname: str) -> str:
    """Return a nickname with its spaces made single.

    :raises InvalidName: if it is empty, too long, or has characters that cannot be shown.
    """
    nickname = " ".join(nickname.split())
    if not 0 < len(nickname) <= MAX_NICKNAME or not nickname.isprintable():
        raise InvalidName(f"A nickname has 1 to {MAX_NICKNAME} characters.")
    return nickname


def check_room(room: str, user: str) -> str:
    """Return the name of a room that a user may enter: any public one, and the private ones of that user.

    :raises InvalidName: if it is no such room.
    """
    if ROOM(room) or (user and user in members_of(room)):
        return room
    raise InvalidName("There is no such room for you.")


def check_offset(client_offset: str) -> str:
    """Return the client's own id of a message.

    :raises InvalidName: if it is empty, too long, or not printable.
    """
    if not 0 < len(client_offset) <= MAX_OFFSET or not client_offset.isprintable():
        raise InvalidName("The message has no proper id.")
    return client_offset


def members_of(room: str) -> tuple[str, ...]:
    """Return the two users of a private room, nobody for a public one."""
    match = PRIVATE(room)
    return match.groups() if match else ()


def public_id(secret: object) -> str:
    """Return the id that others may know, made of the secret one that a client keeps; empty if that is none."""
    if isinstance(secret, str) and SECRET(secret):
        return sha256(secret.encode()).hexdigest()[:16]
    return ""


def guest_name() -> str:
    """Return a name for somebody who has not chosen one."""
    return f"{random.choice(QUALITIES)} {random.choice(ANIMALS)} {random.randrange(10, 100)}"  # noqa: S311


def is_shown(character: str) -> bool:
    """Tell whether a character can be sent and shown: no control characters, no halves of a pair."""
    code = ord(character)
    return character in "\n\t" or (code >= 0x20 and code != 0x7F and not 0xD800 <= code <= 0xDFFF)
