"""Identifiers: what kinds there are, and how they are made.

All are 20 characters of the URL-safe base64 alphabet, 120 random bits from the operating system. Only the
socket id is public; whoever knows a session id or a private session id can act as that client.

Where several workers serve one address, the last two characters of a session id name the worker that has the session,
and 108 bits are random.
"""

from __future__ import annotations

import os
from binascii import b2a_base64
from typing import Final, NewType

__all__ = [
    "MAX_WORKERS",
    "NodeId",
    "Offset",
    "PrivateSessionId",
    "SessionId",
    "SocketId",
    "make_id",
    "make_worker_session_id",
    "worker_of",
]

ALPHABET: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
URL_SAFE: Final = bytes.maketrans(b"+/", b"-_")
"""From the alphabet of base64 to that of RFC 4648 section 5."""

RANDOM_LENGTH: Final = 18
"""Characters of a session id that are random where the others name the worker: 108 bits."""

MAX_WORKERS: Final = len(ALPHABET) ** 2
"""As many workers two characters can tell apart."""

SessionId = NewType("SessionId", str)
"""Names an Engine.IO session in the query string (``sid``). Secret."""

SocketId = NewType("SocketId", str)
"""Names a client in one namespace, sent as ``sid`` in the CONNECT packet. Public, and a room."""

PrivateSessionId = NewType("PrivateSessionId", str)
"""With it a client claims its state back after a reconnection (``pid``). Secret."""

Offset = NewType("Offset", str)
"""Names a packet of the recovery log; the client returns the last one it saw."""

NodeId = NewType("NodeId", str)
"""Names one server process of a cluster."""


def make_id() -> str:
    """Return a new random identifier of 20 characters ``A-Z a-z 0-9 _ -``."""
    return b2a_base64(os.urandom(15), newline=False).translate(URL_SAFE).decode("ascii")


def make_worker_session_id(worker: int) -> SessionId:
    """Return a new session id that names the worker, counted from 0, which has the session."""
    high, low = divmod(worker, len(ALPHABET))
    return SessionId(make_id()[:RANDOM_LENGTH] + ALPHABET[high] + ALPHABET[low])


def worker_of(session_id: str) -> int:
    """Return the worker that a session id names, if it was made by one. ``session_id`` has 20 characters."""
    high, low = session_id[RANDOM_LENGTH], session_id[RANDOM_LENGTH + 1]
    return ALPHABET.index(high) * len(ALPHABET) + ALPHABET.index(low)
