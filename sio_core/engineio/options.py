"""The options of an Engine.IO server, checked when it is made."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from sio_core.limits import Limits
from sio_core.wire.cors import Cors
from sio_core.wire.message import Request
from sio_core.wire.websocket import Deflate

__all__ = ["AllowRequest", "Cookie", "EngineOptions"]

AllowRequest = Callable[[Request], "bool | str | Awaitable[bool | str]"]
"""Accepts a handshake (``True``), refuses it (``False``), or refuses it with a message of its own."""

COOKIE_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
COOKIE_ATTRIBUTE: Final = re.compile(r"[\x20-\x3a\x3c-\x7e]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cookie:
    """The cookie that a polling handshake sets, whose value is the session id. RFC 6265 section 4.1.

    :raises ValueError: for a value that the header cannot carry.
    """

    name: str = "io"
    path: str | None = "/"
    http_only: bool = True
    same_site: Literal["strict", "lax", "none"] | None = "lax"
    secure: bool = False
    domain: str | None = None
    max_age: int | None = None
    """Seconds."""
    expires: str | None = None
    """An HTTP date."""
    partitioned: bool = False
    priority: Literal["low", "medium", "high"] | None = None

    def __post_init__(self) -> None:
        if not COOKIE_NAME.fullmatch(self.name):
            raise ValueError(f"cookie.name must be a token, not {self.name!r}")
        for name in ("path", "domain", "expires"):
            value = getattr(self, name)
            if value is not None and not COOKIE_ATTRIBUTE.fullmatch(value):
                raise ValueError(f"cookie.{name} must not contain ';' or control characters: {value!r}")
        if self.same_site not in {None, "strict", "lax", "none"}:
            raise ValueError(
                f"cookie.same_site must be 'strict', 'lax', 'none' or None, not {self.same_site!r}"
            )
        if self.priority not in {None, "low", "medium", "high"}:
            raise ValueError(
                f"cookie.priority must be 'low', 'medium', 'high' or None, not {self.priority!r}"
            )

    def header(self, sid: str) -> str:
        """Return the value of the ``Set-Cookie`` header for a session."""
        parts = [f"{self.name}={sid}"]
        if self.max_age is not None:
            parts.append(f"Max-Age={self.max_age}")
        if self.domain:
            parts.append(f"Domain={self.domain}")
        if self.path is not None:
            parts.append(f"Path={self.path}")
        if self.expires:
            parts.append(f"Expires={self.expires}")
        if self.http_only:
            parts.append("HttpOnly")
        if self.secure:
            parts.append("Secure")
        if self.partitioned:
            parts.append("Partitioned")
        if self.priority:
            parts.append(f"Priority={self.priority.capitalize()}")
        if self.same_site:
            parts.append(f"SameSite={self.same_site.capitalize()}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """The options of the official ``engine.io`` package, in seconds and bytes.

    :raises TypeError: for an unknown option.
    :raises ValueError: for a bad value; the message names the option.
    """

    path: str = "/engine.io/"
    transports: Sequence[str] = ("polling", "websocket")
    allow_upgrades: bool = True
    ping_interval: float = 25.0
    """Seconds between a pong (or the handshake) and the next ping."""
    ping_timeout: float = 20.0
    """Seconds the client may take to answer a ping."""
    upgrade_timeout: float = 10.0
    """Seconds a transport upgrade may take."""
    max_http_buffer_size: int = 1_000_000
    """Bytes of one polling request body and of one WebSocket message; advertised as ``maxPayload``."""
    cors: Cors | None = None
    check_origin: bool = True
    cookie: Cookie | None = None
    allow_request: AllowRequest | None = None
    per_message_deflate: Deflate | None = None
    http_compression: int | None = 1_024
    """Bytes from which a polling response is compressed; ``None``: never."""
    allow_eio3: bool = False
    add_trailing_slash: bool = True
    destroy_upgrade: bool = True
    destroy_upgrade_timeout: float = 1.0
    """Seconds after which an upgrade request that belongs to nobody is dropped."""
    initial_packet: str | bytes | None = None
    """A message sent with the handshake."""
    generate_id: Callable[[Request], str | Awaitable[str]] | None = None
    trusted_proxies: Sequence[str] = ()
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise ValueError(f"path must start with '/', not {self.path!r}")
        transports = tuple(self.transports)
        if not transports or not set(transports) <= {"polling", "websocket"}:
            raise ValueError(f"transports must be of 'polling' and 'websocket', not {self.transports!r}")
        object.__setattr__(self, "transports", transports)
        for name in ("ping_interval", "ping_timeout", "upgrade_timeout", "destroy_upgrade_timeout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 10**7:
                raise ValueError(f"{name} must be a positive number of seconds, not {value!r}")
        if isinstance(self.max_http_buffer_size, bool) or not isinstance(self.max_http_buffer_size, int):
            raise ValueError(
                f"max_http_buffer_size must be a number of bytes, not {self.max_http_buffer_size!r}"
            )
        if self.max_http_buffer_size < 1:
            raise ValueError(f"max_http_buffer_size must be at least 1, not {self.max_http_buffer_size}")

    @property
    def prefix(self) -> str:
        """What the target of a request must start with to be for this server."""
        path = self.path.removesuffix("/")
        return path + "/" if self.add_trailing_slash else path
