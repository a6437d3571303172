"""Cross-origin rules: what a browser may read from another page's origin, and which origin is our own.

:func:`preflight` and :func:`cors_headers` say what the ``cors`` module of Node says. CORS blocks nothing: it
tells browsers what scripts may read, and it does not cover WebSockets at all. What blocks is the engine's
check of the ``Origin`` header, for which :func:`same_origin` and :func:`allows` are the two questions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sio_core.wire.message import Request, Response, header_line, is_field_value

__all__ = ["Cors", "Origins", "allows", "cors_headers", "preflight", "same_origin"]

Origins = str | re.Pattern[str] | bool | Sequence[str | re.Pattern[str]]
"""What stands for allowed origins: see :class:`Cors`."""

# RFC 6454 section 6.2, with the hosts that browsers serialise: no user information, no escapes, no path.
_ORIGIN: Final = re.compile(
    r"([A-Za-z][A-Za-z0-9+.\-]*)://([A-Za-z0-9._\-]+|\[[0-9A-Fa-f:.]+\])(?::([1-9][0-9]{0,4}))?"
).fullmatch
_HOST: Final = re.compile(r"([A-Za-z0-9._\-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?").fullmatch
_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443}


@dataclass(frozen=True, kw_only=True)
class Cors:
    """The cross-origin rules of one server.

    :raises ValueError: if a value could not be sent, or for credentials for everyone.
    """

    origins: Origins | Callable[[str | None], Origins | None] = "*"
    """Who may read. ``"*"``: everyone. A string: that origin. A pattern (for the whole of it) or a
    sequence: those that match. ``True``: whoever asks. A function is called with the request's ``Origin`` and
    returns one of these, or ``False`` for "no CORS at all for this request"."""

    credentials: bool = False
    """Whether requests may carry cookies. Not together with ``"*"``, which browsers refuse."""

    methods: str | Sequence[str] = "GET,HEAD,PUT,PATCH,POST,DELETE"
    """The methods named in the answer to a preflight."""

    allowed_headers: str | Sequence[str] | None = None
    """The request headers named in the answer to a preflight. ``None``: those that were asked for."""

    exposed_headers: str | Sequence[str] | None = None
    """The response headers scripts may read, beside the usual ones."""

    max_age: int | None = None
    """Seconds for which browsers may remember the answer to a preflight."""

    preflight_continue: bool = False
    """Hand preflights on instead of answering them; the answer still gets the headers."""

    options_success_status: int = 204
    """The status of the answer to a preflight."""

    def __post_init__(self) -> None:
        origins = self.origins
        if isinstance(origins, list):
            object.__setattr__(self, "origins", tuple(origins))
        if not callable(origins):
            _check_origins(origins, self.credentials)
        for name in ("methods", "allowed_headers", "exposed_headers"):
            value = getattr(self, name)
            if value is not None:
                if not isinstance(value, str):
                    value = ",".join(value)
                    object.__setattr__(self, name, value)
                header_line(name, value)
        max_age = self.max_age
        if max_age is not None and (isinstance(max_age, bool) or max_age < 0):
            raise ValueError(f"cors: max_age must be a number of seconds, not {max_age!r}")

    @classmethod
    def parse(cls, value: object) -> Cors | None:
        """Return the rules for the ``cors`` option, of which all but ``Cors`` itself are short forms.

        ``None`` and ``False`` mean none; ``True`` and ``"*"`` everyone; else ``value`` is :attr:`origins`.
        """
        if value is None or value is False:
            return None
        if isinstance(value, Cors):
            return value
        if value is True:
            return cls()
        if isinstance(value, str | re.Pattern | list | tuple | set | frozenset) or callable(value):
            origins: Any = tuple(value) if isinstance(value, set | frozenset) else value
            return cls(origins=origins)
        raise ValueError(f"cors must be a Cors, an origin or a sequence of origins, not {value!r}")


def _check_origins(origins: Origins, credentials: bool) -> None:
    if origins == "*":
        if credentials:
            raise ValueError('cors: credentials need a list of origins, browsers refuse them with "*"')
    elif isinstance(origins, str):
        if not origins:
            raise ValueError("cors: an origin must not be empty")
        header_line("Access-Control-Allow-Origin", origins)
    elif origins is False:
        raise ValueError("cors: origins must not be False")
    elif not isinstance(origins, bool | re.Pattern):
        for origin in origins:
            if origin == "*" or not isinstance(origin, str | re.Pattern):
                raise ValueError(f"cors: {origin!r} cannot stand in a sequence of origins")


def _split_origin(origin: str) -> tuple[str, str, int] | None:
    """Return scheme, host and port, in lower case and with the default port filled in."""
    match = _ORIGIN(origin)
    if match is None:
        return None
    scheme = match[1].lower()
    port = _DEFAULT_PORTS.get(scheme, 0) if match[3] is None else int(match[3])
    return scheme, match[2].lower(), port


def same_origin(origin: str, host: str) -> bool:
    """Tell whether an ``Origin`` header names the host and port of a ``Host`` header.

    Schemes are not compared, for behind a proxy only the browser knows the right one; the default port of the
    origin's scheme may be left out on either side. What is not exactly an origin is of another host; so is
    ``null`` (RFC 6454 section 6.1).
    """
    match = _HOST(host)
    parts = _split_origin(origin)
    if match is None or parts is None:
        return False
    port = int(match[2]) if match[2] else _DEFAULT_PORTS.get(parts[0], 0)
    return match[1].lower() == parts[1] and port == parts[2]


def _matches(allowed: str | re.Pattern[str], origin: str) -> bool:
    if not isinstance(allowed, str):
        return allowed.fullmatch(origin) is not None
    if allowed == origin:
        return True
    # As written by hand: in capitals, or with a default port.
    parts = _split_origin(allowed)
    return parts is not None and parts == _split_origin(origin)


def _allowed(origins: Origins, origin: str) -> bool:
    if isinstance(origins, bool):
        return origins
    if isinstance(origins, str):
        return origins == "*" or _matches(origins, origin)
    if isinstance(origins, re.Pattern):
        return _matches(origins, origin)
    return any(_matches(one, origin) for one in origins)


def _resolve(cors: Cors, origin: str | None) -> Origins | None:
    """Return the origins that are allowed, ``None`` if CORS does not apply."""
    origins = cors.origins
    if not callable(origins):
        return origins
    result = origins(origin)
    if result is None or result is False or result == "":
        return None
    if not isinstance(result, bool | str | re.Pattern | list | tuple):
        # A coroutine, above all: true, but no answer.
        raise TypeError(f"cors: the function for origins returned {type(result).__name__}")
    _check_origins(result, cors.credentials)
    return result


def allows(cors: Cors, origin: str) -> bool:
    """Tell whether ``cors`` names ``origin`` among those that may use the server."""
    origins = _resolve(cors, origin)
    return origins is not None and _allowed(origins, origin)


def cors_headers(cors: Cors, request: Request) -> list[tuple[str, str]]:
    """Return the headers for the response to ``request``; those of a preflight if it is ``OPTIONS``.

    The Fetch standard, section "CORS protocol"; ``Vary`` as RFC 9110 section 12.5.5 asks for.
    """
    origin = request.headers.get("origin")
    origins = _resolve(cors, origin)
    if origins is None:
        return []
    headers: list[tuple[str, str]] = []
    vary = ""
    if origins == "*":
        headers.append(("Access-Control-Allow-Origin", "*"))
    elif isinstance(origins, str):
        headers.append(("Access-Control-Allow-Origin", origins))
        vary = "Origin"
    else:
        if origin and is_field_value(origin) and _allowed(origins, origin):
            headers.append(("Access-Control-Allow-Origin", origin))
        vary = "Origin"
    if cors.credentials:
        headers.append(("Access-Control-Allow-Credentials", "true"))
    if request.method == "OPTIONS":
        headers.append(("Access-Control-Allow-Methods", str(cors.methods)))
        allowed = cors.allowed_headers
        if not allowed:
            allowed = request.headers.get("access-control-request-headers", "")
            if not is_field_value(allowed):
                allowed = ""
            vary = f"{vary}, Access-Control-Request-Headers" if vary else "Access-Control-Request-Headers"
        if allowed:
            headers.append(("Access-Control-Allow-Headers", str(allowed)))
        if cors.max_age is not None:
            headers.append(("Access-Control-Max-Age", str(cors.max_age)))
    if cors.exposed_headers:
        headers.append(("Access-Control-Expose-Headers", str(cors.exposed_headers)))
    if vary:
        headers.append(("Vary", vary))
    return headers


def preflight(cors: Cors, request: Request) -> Response | None:
    """Return the answer if ``request`` is a preflight, which every ``OPTIONS`` is; else ``None``.

    ``None`` too if the rules say that preflights go on, or that they do not apply to this request.
    """
    if request.method != "OPTIONS" or cors.preflight_continue:
        return None
    headers = cors_headers(cors, request)
    if not headers:
        return None
    headers.append(("Content-Length", "0"))
    return Response(cors.options_success_status, headers)
