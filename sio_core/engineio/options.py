"""The options of an Engine.IO server, checked when it is made."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import quote

from sio_core.limits import Limits
from sio_core.wire.cors import Cors
from sio_core.wire.message import Request
from sio_core.wire.proxies import TrustedProxies
from sio_core.wire.websocket import Deflate

__all__ = ["AllowRequest", "Cookie", "EngineOptions"]

AllowRequest = Callable[[Request], "bool | str | Awaitable[bool | str]"]
"""Accepts a handshake (``True``), refuses it (``False``), or refuses it with a message of its own."""

VALUE_SAFE: Final = "!'()*~"
"""What JavaScript's ``encodeURIComponent`` leaves as it is, beside letters, digits and ``-._``."""

COOKIE_NAME: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
PATH: Final = re.compile(r"/[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*")
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
            if value is not None and not (isinstance(value, str) and COOKIE_ATTRIBUTE.fullmatch(value)):
                raise ValueError(f"cookie.{name} must not contain ';' or control characters: {value!r}")
        if self.max_age is not None and (isinstance(self.max_age, bool) or not isinstance(self.max_age, int)):
            raise ValueError(f"cookie.max_age must be a whole number of seconds, not {self.max_age!r}")
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
        parts = [f"{self.name}={quote(sid, safe=VALUE_SAFE)}"]
        if self.max_age is not None:
            parts.append(f"Max-Age={self.max_age}")
        if self.domain:
            parts.append(f"Domain={self.domain}")
        if self.path:
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
    """Addresses and networks of proxies whose ``X-Forwarded-For``, ``-Proto`` and ``-Host`` are believed."""
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if not isinstance(self.path, str) or not PATH.fullmatch(self.path):
            raise ValueError(f"path must start with '/' and be a path as URLs have it, not {self.path!r}")
        transports = () if isinstance(self.transports, str) else tuple(self.transports)
        if not transports or not set(transports) <= {"polling", "websocket"}:
            raise ValueError(f"transports must be of 'polling' and 'websocket', not {self.transports!r}")
        object.__setattr__(self, "transports", transports)
        for name in ("ping_interval", "ping_timeout", "upgrade_timeout", "destroy_upgrade_timeout"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 10**7:
                raise ValueError(f"{name} must be a positive number of seconds, not {value!r}")
        size, threshold = self.max_http_buffer_size, self.http_compression
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise ValueError(f"max_http_buffer_size must be a positive number of bytes, not {size!r}")
        if threshold is not None and (
            isinstance(threshold, bool) or not isinstance(threshold, int) or threshold < 0
        ):
            raise ValueError(f"http_compression must be a number of bytes or None, not {threshold!r}")
        self._check_types()

    def _check_types(self) -> None:
        for name in (
            "allow_upgrades",
            "check_origin",
            "allow_eio3",
            "add_trailing_slash",
            "destroy_upgrade",
        ):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be True or False, not {getattr(self, name)!r}")
        for name in ("allow_request", "generate_id"):
            if getattr(self, name) is not None and not callable(getattr(self, name)):
                raise ValueError(f"{name} must be a function or None, not {getattr(self, name)!r}")
        for name, kind in (("cors", Cors), ("cookie", Cookie), ("per_message_deflate", Deflate)):
            if getattr(self, name) is not None and not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name} must be a {kind.__name__} or None, not {getattr(self, name)!r}")
        if self.initial_packet is not None and not isinstance(self.initial_packet, str | bytes):
            raise ValueError(f"initial_packet must be str, bytes or None, not {self.initial_packet!r}")
        if not isinstance(self.limits, Limits):
            raise ValueError(f"limits must be a Limits, not {self.limits!r}")
        if isinstance(self.trusted_proxies, str):
            raise ValueError(f"trusted_proxies must be a sequence of addresses, not {self.trusted_proxies!r}")
        try:
            TrustedProxies(self.trusted_proxies)
        except (TypeError, ValueError) as error:
            raise ValueError(f"trusted_proxies must be addresses or networks: {error}") from error

    @property
    def prefix(self) -> str:
        """What the target of a request must start with to be for this server."""
        path = self.path.removesuffix("/")
        return path + "/" if self.add_trailing_slash else path
