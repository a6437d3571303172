"""What ASGI says, in our words, and what we say, in ASGI's.

ASGI specification, "HTTP & WebSocket ASGI Message Format" 2.4.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final
from urllib.parse import unquote

from sio_core.wire.message import Fields, Request, Response

__all__ = [
    "SWITCHING_PROTOCOLS",
    "Application",
    "Message",
    "Receive",
    "Scope",
    "Send",
    "attempt",
    "encode_headers",
    "make_request",
    "split_path",
]

Scope = Mapping[str, Any]
Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Any], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]
"""Any ASGI application. Servers and frameworks have types of their own for the three arguments."""

SWITCHING_PROTOCOLS: Final = 101

FRAMING: Final = frozenset({"connection", "content-length", "transfer-encoding"})
NO_CONTENT: Final = frozenset({SWITCHING_PROTOCOLS, 204, 304})

logger = logging.getLogger(__name__)


def split_path(scope: Scope) -> tuple[str, str]:
    """Return where the application is mounted, and the path below that, both decoded.

    ASGI specification, "HTTP connection scope": ``path`` is whole and ``root_path`` a part of it. Frameworks have
    differed: some cut the mount point off ``path`` and put it into ``root_path``, some only cut it off. What
    ``raw_path`` holds more than the rest of the path is then the mount point.
    """
    path: str = scope["path"]
    root: str = scope.get("root_path", "").rstrip("/")
    below = path[len(root) :] if root and (path == root or path.startswith(root + "/")) else path
    raw = scope.get("raw_path")
    if raw is None:
        return root, below
    whole = unquote(raw.partition(b"?")[0].decode("latin-1"))
    if below.endswith("/") and not whole.endswith("/"):
        below = below[:-1]  # a slash that the client has not sent
    return (whole[: len(whole) - len(below)], below) if whole.endswith(below) else (root, below)


def make_request(scope: Scope, path: str) -> Request | None:
    """Return the request a scope tells of, or ``None`` if its headers contradict each other.

    :param path: the path as the engine knows it; the target stays as the client has sent it.
    """
    fields = Fields()
    for name, value in scope["headers"]:
        fields.on_header(bytes(name), bytes(value))
    if fields.problem:
        return None
    query = scope.get("query_string", b"").decode("latin-1")
    raw = scope.get("raw_path")
    target = scope["path"] if raw is None else raw.partition(b"?")[0].decode("latin-1")
    client = scope.get("client") or ("", 0)
    return Request(
        method=scope.get("method", "GET"),
        target=f"{target}?{query}" if query else target,
        path=path,
        query=query,
        headers=fields.headers,
        version=scope.get("http_version", "1.1"),
        secure=scope.get("scheme", "http") in {"https", "wss"},
        address=str(client[0]),
        port=int(client[1] or 0),
        upgrade=scope["type"] == "websocket",
    )


def encode_headers(response: Response) -> list[tuple[bytes, bytes]]:
    """Return header fields as ASGI wants them; those that frame the message are made here."""
    headers = [
        (name.lower().encode("latin-1"), value.encode("latin-1"))
        for name, value in response.headers
        if name.lower() not in FRAMING
    ]
    # A length of nothing is harmless after a preflight, and some browsers wait for one.
    if response.status not in NO_CONTENT or ("Content-Length", "0") in response.headers:
        headers.append((b"content-length", b"%d" % len(response.body)))
    return headers


async def attempt(send: Send, message: Message) -> bool:
    """Send a message, and tell whether it could be sent: a server may raise when the client is gone."""
    try:
        await send(message)
    except Exception as error:
        logger.debug("the server did not take %s: %s", message["type"], type(error).__name__)
        return False
    return True
