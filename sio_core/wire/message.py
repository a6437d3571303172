"""One HTTP request, one HTTP response, and the rules their header fields obey.

A request is immutable by convention and small by construction: a session keeps its first request for life, so
header names, and values that many clients send alike, are shared. A response refuses at once what could end a
header line: :func:`header_line` is the only place where a header field becomes bytes.

Reading and writing messages is the business of :mod:`sio_core.wire.http`; nothing here knows about framing.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

__all__ = [
    "Fields",
    "Request",
    "Response",
    "header_line",
    "is_field_value",
    "is_shared_line",
    "parse_query",
    "share",
]

# RFC 9110 section 5.6.2.
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 9110 section 5.5: visible characters, obs-text, and space or tab between them.
_FIELD_VALUE: Final = re.compile(r"(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?")

# The names of these fields are shared by all requests.
_KNOWN_NAMES: Final = (
    "Accept",
    "Accept-Charset",
    "Accept-Encoding",
    "Accept-Language",
    "Access-Control-Request-Headers",
    "Access-Control-Request-Method",
    "Authorization",
    "Cache-Control",
    "CF-Connecting-IP",
    "CF-IPCountry",
    "CF-Ray",
    "CF-Visitor",
    "Connection",
    "Content-Encoding",
    "Content-Length",
    "Content-Type",
    "Cookie",
    "Date",
    "DNT",
    "Expect",
    "Forwarded",
    "From",
    "Host",
    "If-Modified-Since",
    "If-None-Match",
    "Keep-Alive",
    "Origin",
    "Pragma",
    "Priority",
    "Proxy-Authorization",
    "Proxy-Connection",
    "Range",
    "Referer",
    "Sec-CH-UA",
    "Sec-CH-UA-Mobile",
    "Sec-CH-UA-Platform",
    "Sec-Fetch-Dest",
    "Sec-Fetch-Mode",
    "Sec-Fetch-Site",
    "Sec-Fetch-User",
    "Sec-GPC",
    "Sec-WebSocket-Extensions",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Version",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
    "Upgrade-Insecure-Requests",
    "User-Agent",
    "Via",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Port",
    "X-Forwarded-Proto",
    "X-Real-IP",
    "X-Request-ID",
    "X-Requested-With",
)


def _name_table() -> dict[bytes, str]:
    """Return the known names by their common spellings: as registered, in lower case, in title case."""
    table = {}
    for name in _KNOWN_NAMES:
        lower = name.lower()
        for spelling in (name, lower, lower.title()):
            table[spelling.encode()] = lower
    return table


_NAMES: Final[dict[bytes, str]] = _name_table()

# A repeated field of these keeps its first value, as in Node's http module; what is not listed is a list
# (RFC 9110 section 5.3). Origin is not among them: two origins joined are no origin, so they are refused.
_SINGLETONS: Final = frozenset(
    {
        "age",
        "authorization",
        "content-type",
        "etag",
        "expires",
        "from",
        "if-modified-since",
        "if-unmodified-since",
        "last-modified",
        "location",
        "max-forwards",
        "proxy-authorization",
        "referer",
        "retry-after",
        "server",
        "user-agent",
    }
)

# Recipients that take the one or the other of two disagree about where the request ends, or whom it is for
# (RFC 9112 sections 3.2 and 6.3).
_ONCE: Final = frozenset({"content-length", "host", "transfer-encoding"})

# Values of these fields are the same for many clients and no secrets.
_SHARED_FIELDS: Final = frozenset(
    {
        "accept",
        "accept-encoding",
        "accept-language",
        "cache-control",
        "connection",
        "content-type",
        "dnt",
        "host",
        "keep-alive",
        "origin",
        "pragma",
        "priority",
        "sec-ch-ua",
        "sec-ch-ua-mobile",
        "sec-ch-ua-platform",
        "sec-fetch-dest",
        "sec-fetch-mode",
        "sec-fetch-site",
        "sec-gpc",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "upgrade",
        "user-agent",
    }
)

# Shared values by their bytes. Emptied when full: that costs a little memory for a while, and no correctness.
_VALUES: Final[dict[bytes, str]] = {}
_VALUES_MAX: Final = 1_024
_VALUE_LENGTH_MAX: Final = 256

# What is in the query strings of Engine.IO clients: whole parameters, and names.
_PARAMETERS: Final[dict[str, tuple[str, str]]] = {
    f"{name}={value}": (name, value)
    for name, value in (("EIO", "4"), ("EIO", "3"), ("transport", "polling"), ("transport", "websocket"))
}
_PARAMETER_NAMES: Final[dict[str, str]] = {name: name for name in ("sid", "t", "b64", "j")}


class Fields:
    """Collects the header fields of one request.

    :ivar headers: the values by lower-case name. A repeated field is joined as Node joins it: cookies with
        ``"; "`` (RFC 6265 section 5.4), lists with ``", "``; of those that are not lists the first counts.
    :ivar count: the fields there were.
    :ivar problem: what is wrong with one of them; empty if nothing is.
    """

    __slots__ = ("count", "headers", "problem")

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}
        self.count: int = 0
        self.problem: str = ""

    def on_header(self, raw_name: bytes, raw_value: bytes) -> None:
        """Add a field. The name of this method is llhttp's."""
        self.count += 1
        name = _NAMES.get(raw_name)
        if name is None:
            name = _read_name(raw_name)
            if not name:
                self.problem = "invalid header name"
                return
        value = _VALUES.get(raw_value)
        if value is None:
            value = _read_value(name, raw_value)
        headers = self.headers
        if name not in headers:
            headers[name] = value
        elif name in _ONCE:
            self.problem = "repeated header"
        elif name not in _SINGLETONS:
            headers[name] += ("; " if name == "cookie" else ", ") + value


def _read_name(raw: bytes) -> str:
    """Return the lower-case name of a header field, or ``""`` if it is no token (RFC 9110 section 5.1)."""
    raw = raw.lower()
    name = _NAMES.get(raw)
    if name is None:
        name = raw.decode("latin-1")
        if not _TOKEN.fullmatch(name):
            return ""
    return name


def _read_value(name: str, raw: bytes) -> str:
    raw = raw.strip(b" \t")
    return share(raw) if name in _SHARED_FIELDS else raw.decode("latin-1")


def share(raw: bytes) -> str:
    """Return ``raw`` decoded, as one string for all that are equal."""
    value = _VALUES.get(raw)
    if value is None:
        value = raw.decode("latin-1")
        if len(raw) <= _VALUE_LENGTH_MAX:
            if len(_VALUES) >= _VALUES_MAX:
                _VALUES.clear()
            _VALUES[raw] = value
    return value


def is_field_value(value: str) -> bool:
    """Tell whether ``value`` can stand in a header line."""
    return _FIELD_VALUE.fullmatch(value) is not None


def parse_query(query: str) -> dict[str, str]:
    """Return the parameters of a query string, the last one of each name.

    The parser of ``application/x-www-form-urlencoded`` in the WHATWG URL standard, section 5.1: ``+`` is a
    space, bytes that are not UTF-8 become U+FFFD, a percent sign that starts no escape is itself.
    """
    params: dict[str, str] = {}
    quoted = "%" in query or "+" in query
    for item in query.split("&"):
        known = _PARAMETERS.get(item)
        if known is not None:
            params[known[0]] = known[1]
        elif item:
            name, _, value = item.partition("=")
            if quoted:
                name = unquote(name.replace("+", " "))
                value = unquote(value.replace("+", " "))
            params[_PARAMETER_NAMES.get(name, name)] = value
    return params


class Request:
    """An HTTP request.

    :ivar method: the method, as received.
    :ivar target: the request target, as received.
    :ivar path: the target's path, not decoded.
    :ivar query: what follows the first ``?`` of the target, not decoded.
    :ivar headers: by lower-case name; repeated ones are joined.
    :ivar version: ``"1.0"`` or ``"1.1"``.
    :ivar secure: whether it came over TLS.
    :ivar address: the peer's IP address.
    :ivar port: the peer's port.
    :ivar body: empty until whoever collects the body sets it.
    :ivar upgrade: whether the client asks for another protocol on this connection (RFC 9110 section 7.8).
    """

    __slots__ = (
        "_params",
        "address",
        "body",
        "headers",
        "method",
        "path",
        "port",
        "query",
        "secure",
        "target",
        "upgrade",
        "version",
    )

    def __init__(
        self,
        *,
        method: str = "GET",
        target: str = "/",
        path: str | None = None,
        query: str | None = None,
        headers: dict[str, str] | None = None,
        version: str = "1.1",
        secure: bool = False,
        address: str = "",
        port: int = 0,
        body: bytes = b"",
        upgrade: bool = False,
    ) -> None:
        if path is None or query is None:
            raw_path, _, raw_query = target.partition("?")
            path = raw_path if path is None else path
            query = raw_query if query is None else query
        self.method: str = method
        self.target: str = target
        self.path: str = path
        self.query: str = query
        self.headers: dict[str, str] = {} if headers is None else headers
        self.version: str = version
        self.secure: bool = secure
        self.address: str = address
        self.port: int = port
        self.body: bytes = body
        self.upgrade: bool = upgrade
        self._params: dict[str, str] | None = None

    @property
    def params(self) -> dict[str, str]:
        """The parameters of the query string."""
        params = self._params
        if params is None:
            params = self._params = parse_query(self.query)
        return params

    def __repr__(self) -> str:
        # The query string holds session ids: they do not belong into logs.
        return f"<Request {self.method} {self.path!r}>"


class Response:
    """An HTTP response.

    Fields that frame the message (``Content-Length``, ``Transfer-Encoding``, ``Connection``) belong to
    :func:`sio_core.wire.http.encode_response` and are ignored among ``headers``.

    :ivar status: the status code.
    :ivar headers: names and values, in order.
    :ivar body: the content.
    :raises ValueError: if a header field could not be sent as it is.
    """

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: list[tuple[str, str]] | None = None, body: bytes = b"") -> None:
        if headers is None:
            headers = []
        for field in headers:
            if field not in _LINES:
                header_line(*field)
        self.status: int = status
        self.headers: list[tuple[str, str]] = headers
        self.body: bytes = body

    def add_header(self, name: str, value: str) -> None:
        """Append a header field, even if there is one of this name."""
        header_line(name, value)
        self.headers.append((name, value))

    def set_header(self, name: str, value: str) -> None:
        """Append a header field, and remove those of the same name."""
        header_line(name, value)
        lower = name.lower()
        self.headers = [field for field in self.headers if field[0].lower() != lower]
        self.headers.append((name, value))

    def __repr__(self) -> str:
        return f"<Response {self.status}, {len(self.body)} bytes>"


# Lines of fields that are sent again and again. Bounded as the table of values is.
_LINES: Final[dict[tuple[str, str], bytes]] = {}
_LINES_MAX: Final = 256
_LINE_NAMES: Final = frozenset(
    {
        "access-control-allow-credentials",
        "access-control-allow-origin",
        "access-control-expose-headers",
        "cache-control",
        "content-encoding",
        "content-type",
        "date",
        "etag",
        "vary",
        "x-content-type-options",
        "x-xss-protection",
    }
)


def header_line(name: str, value: str) -> bytes:
    """Return a header field as a line with its CRLF.

    :raises ValueError: if the name is no token, or the value holds a control character, leading or trailing
        white space, or a character outside of latin-1 (RFC 9110 sections 5.1 and 5.5).
    """
    line = _LINES.get((name, value))
    if line is None:
        if not _TOKEN.fullmatch(name):
            raise ValueError(f"invalid header name {name!r}")
        if not _FIELD_VALUE.fullmatch(value):
            raise ValueError(f"invalid value of the header {name}: {value!r}")
        line = f"{name}: {value}\r\n".encode("latin-1")
        if is_shared_line(name, value):
            if len(_LINES) >= _LINES_MAX:
                _LINES.clear()
            _LINES[(name, value)] = line
    return line


def is_shared_line(name: str, value: str) -> bool:
    """Say whether many responses have this header field, so that its line is worth keeping."""
    return len(value) <= _VALUE_LENGTH_MAX and name.lower() in _LINE_NAMES
