"""Identifiers: what kinds there are, and how they are made.

All are 20 characters of the URL-safe base64 alphabet, 120 random bits from the operating system. Only the
socket id is public; whoever knows a session id or a private session id can act as that client.
"""

from __future__ import annotations

import secrets
from typing import NewType

__all__ = ["NodeId", "Offset", "PrivateSessionId", "SessionId", "SocketId", "make_id"]

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
    return secrets.token_urlsafe(15)
