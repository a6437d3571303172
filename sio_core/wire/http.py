"""HTTP/1.1 as a server reads and writes it: bytes in, requests out; responses in, bytes out.

:class:`HttpReader` finds the end of a head itself, so that it can bound it while it grows, checks what can be
checked about it as a whole, and has llhttp (through httptools) take it apart: a head must please both. Bodies
are read here, because llhttp neither bounds chunk extensions and trailers nor says where a body ended. What
is ambiguous is refused: requests are smuggled past recipients that disagree about where they end (RFC 9112
section 11.2).

The reader knows no body limit (it reports chunks, the caller counts them) and no time.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from httptools import HttpParserError, HttpParserInvalidMethodError, HttpParserUpgrade, HttpRequestParser

from sio_core.limits import Limits
from sio_core.wire.message import Fields, Request, Response, header_line, is_shared_line, share

__all__ = [
    "END",
    "BadRequest",
    "End",
    "HttpEvent",
    "HttpReader",
    "Misdirected",
    "compress_body",
    "encode_response",
]


class BadRequest:
    """The last event of a reader: the connection is answered with ``status`` and closed.

    :ivar status: 400, 414, 417, 431, 501 or 505.
    :ivar reason: what was wrong, in a few words; never anything the peer sent.
    :ivar limit: the field of :class:`~sio_core.limits.Limits` that it is over; empty if it is over none.
    """

    __slots__ = ("limit", "reason", "status")

    def __init__(self, status: int, reason: str, limit: str = "") -> None:
        self.status: int = status
        self.reason: str = reason
        self.limit: str = limit

    def __repr__(self) -> str:
        return f"<BadRequest {self.status} {self.reason}>"


class End:
    """The type of :data:`END`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "END"


END: Final = End()
"""The event that says that the latest request is complete."""


class Misdirected:
    """The last event of a reader: what follows is for another process, and is kept in ``rest``, its head included.

    :ivar owner: which process that is.
    """

    __slots__ = ("owner",)

    def __init__(self, owner: int) -> None:
        self.owner: int = owner


HttpEvent = Request | bytes | End | BadRequest | Misdirected

# What the reader reads next.
_HEAD: Final = 0
_LENGTH: Final = 1
_CHUNK_SIZE: Final = 2
_CHUNK_DATA: Final = 3
_CHUNK_END: Final = 4
_TRAILER: Final = 5
# Bytes that are not, or not yet, or not here to be read as HTTP.
_UPGRADED: Final = 6
_DONE: Final = 7

# RFC 9112 section 3. The target is checked further below; the methods that exist are llhttp's.
_REQUEST_LINE: Final = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) ([\x21-\x7e]+) HTTP/([0-9]\.[0-9])"
).fullmatch
_VERSIONS: Final = {b"1.0": "1.0", b"1.1": "1.1"}
# RFC 9110 section 4.2, RFC 3986 section 3. User information and fragments have no place in a target.
_ABSOLUTE: Final = re.compile(r"[Hh][Tt][Tt][Pp][Ss]?://([^/?#@]+)((?:[/?][^#]*)?)").fullmatch
# RFC 9110 section 7.2: uri-host and port of RFC 3986 section 3.2.
_HOST: Final = re.compile(
    r"(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=]|%[0-9A-Fa-f]{2})*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?"
).fullmatch
# RFC 9110 section 8.6. No list of equal lengths, and no length that does not fit into 53 bits.
_CONTENT_LENGTH: Final = re.compile(r"[0-9]{1,15}").fullmatch
# RFC 9112 section 7.1; extensions are read and ignored.
_CHUNK_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,8})((?:;[\t\x20-\x7e\x80-\xff]*)?)").fullmatch
_TRAILER_LINE: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[\t\x20-\x7e\x80-\xff]*").fullmatch

_FIRST_VISIBLE: Final = 0x21

# What a target in origin form may consist of for llhttp and for us: what is visible, without "#".
_ORIGIN_FORM: Final = bytes([byte for byte in range(0x21, 0x7F) if byte != 0x23])
_KEPT_HEAD: Final = 2_048
"""Bytes of the longest head that is kept for comparison with the next one."""


class Head:
    """What a head says besides its target, checked.

    A client's requests on one connection mostly repeat all of that byte for byte, and what was checked once stays
    checked: of a head that begins with ``start`` and ends with ``rest`` only the target in between is to be read.
    """

    __slots__ = (
        "chunked",
        "expects_continue",
        "headers",
        "keep_alive",
        "length",
        "method",
        "rest",
        "start",
        "upgrade",
        "version",
    )

    def __init__(self, method: str, version: str, headers: dict[str, str]) -> None:
        self.method: str = method
        self.version: str = version
        self.headers: dict[str, str] = headers
        self.length: int = 0
        self.chunked: bool = False
        self.expects_continue: bool = False
        self.keep_alive: bool = True
        self.upgrade: bool = False
        self.start: bytes = b""
        self.rest: bytes = b""


class HttpReader:
    """Reads the requests of one connection.

    :ivar events: what was read, in order; the caller empties it. A :class:`Request` stands for its head, each
        ``bytes`` is a part of its body, :data:`END` follows its last byte. A :class:`BadRequest` is the last
        event ever.
    :ivar upgraded: the latest request asks for an upgrade. What follows it is kept in ``rest``; a caller that
        declines the upgrade calls :meth:`resume`.
    :ivar rest: the bytes after an upgrade request, or those of a misdirected one.
    :ivar keep_next: the next request is read whoever it is for.
    :ivar held: there are more than ``limits.pipelined_requests`` requests in what was received at once. The
        others wait, not parsed, until the next :meth:`resume` or :meth:`receive_data`.
    :ivar keep_alive: another request may follow the latest one on this connection (RFC 9112 section 9.3).
    :ivar expects_continue: the client waits for "100 Continue" before it sends the latest request's body.
    """

    __slots__ = (
        "_address",
        "_budget",
        "_buffer",
        "_known",
        "_left",
        "_limits",
        "_overhead",
        "_owner",
        "_port",
        "_secure",
        "_state",
        "events",
        "expects_continue",
        "held",
        "keep_alive",
        "keep_next",
        "rest",
        "upgraded",
    )

    def __init__(
        self,
        limits: Limits,
        *,
        secure: bool = False,
        address: str = "",
        port: int = 0,
        owner: Callable[[bytes], int] | None = None,
    ) -> None:
        """:param owner: tells from a head which other process the request is for; -1: it is for this one."""
        self._owner: Callable[[bytes], int] | None = owner
        self._limits: Limits = limits
        self._secure: bool = secure
        self._address: str = address
        self._port: int = port
        self._state: int = _HEAD
        # The part of a head or line that came so far, or what waits while `held`.
        self._buffer: bytearray = bytearray()
        # Bytes missing of the body or the chunk.
        self._left: int = 0
        # Bytes of chunk extensions and trailers of this body.
        self._overhead: int = 0
        # Requests that may still be reported in this call.
        self._budget: int = 0
        self._known: Head | None = None
        self.events: list[HttpEvent] = []
        self.upgraded: bool = False
        self.rest: bytes = b""
        self.held: bool = False
        self.keep_next: bool = False
        self.keep_alive: bool = True
        self.expects_continue: bool = False

    @property
    def started(self) -> bool:
        """Whether a part of a head was read, and its end was not."""
        return self._state == _HEAD and not self.held and len(self._buffer) > 0

    @property
    def in_body(self) -> bool:
        """Whether the head of the latest request was read, and the end of its body was not."""
        return _LENGTH <= self._state <= _TRAILER

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer and append to :attr:`events` what they complete."""
        self._budget = self._limits.pipelined_requests
        if self._state >= _UPGRADED:
            if self._state == _UPGRADED:
                self.rest += data
            return
        if self._buffer:
            buffer = self._buffer
            known = len(buffer)
            buffer += data
            if self.held:
                self.held = False
            elif buffer.find(b"\r\n\r\n" if self._state == _HEAD else b"\r\n", max(known - 3, 0)) < 0:
                self._check_partial(known)
                return
            data = bytes(buffer)
            buffer.clear()
        self._read(data)

    def resume(self) -> None:
        """Go on after an upgrade that was declined (RFC 9110 section 7.8), or after :attr:`held`."""
        self._budget = self._limits.pipelined_requests
        if self.upgraded:
            self.upgraded = False
            data = self.rest
            self.rest = b""
            self._state = _HEAD if self.keep_alive else _DONE
            self._read(data)
        elif self.held:
            self.held = False
            data = bytes(self._buffer)
            self._buffer.clear()
            self._read(data)

    def _read(self, data: bytes) -> None:
        pos = 0
        end = len(data)
        while pos < end:
            state = self._state
            if state == _HEAD:
                if self._budget <= 0:
                    self._buffer += data[pos:]
                    self.held = True
                    return
                stop = data.find(b"\r\n\r\n", pos)
                if stop < 0:
                    self._buffer += data[pos:] if pos else data
                    self._check_partial(0)
                    return
                stop += 4
                if self._owner is not None and self._is_misdirected(data, pos, stop):
                    return
                self._budget -= 1
                self._read_head(data if stop - pos == end else data[pos:stop])
                pos = stop
            elif state == _LENGTH:
                stop = min(pos + self._left, end)
                self._left -= stop - pos
                self.expects_continue = False
                self.events.append(data if stop - pos == end else data[pos:stop])
                pos = stop
                if not self._left:
                    self._finish()
            elif state <= _TRAILER:
                pos = self._read_chunks(data, pos)
            else:
                if state == _UPGRADED:
                    self.rest = data[pos:]
                # After a request that closes the connection nothing counts (RFC 9112 section 9.6).
                return

    def _is_misdirected(self, data: bytes, pos: int, stop: int) -> bool:
        """Stop reading before a request that is for another process."""
        if self.keep_next:
            self.keep_next = False
            return False
        assert self._owner is not None
        owner = self._owner(data[pos:stop])
        if owner < 0:
            return False
        self.events.append(Misdirected(owner))
        self.rest = data[pos:]
        self._state = _UPGRADED
        return True

    def _read_head(self, head: bytes) -> None:
        """Parse a complete head, its empty line included."""
        limits = self._limits
        known = self._known
        if known is not None and head.startswith(known.start) and head.endswith(known.rest):
            stop = len(head) - len(known.rest)
            raw = head[len(known.start) : stop]
            is_short = stop <= limits.header_line - len(" HTTP/1.1")
            if is_short and raw.startswith(b"/") and not raw.translate(None, _ORIGIN_FORM):
                self._report(known, raw.decode(), dict(known.headers))
                return
        line_length = head.find(b"\r\n")
        if line_length > limits.header_line:
            self._refuse(414, "request line too long", "header_line")
            return
        header_bytes = len(head) - line_length - 4
        lines = head.count(b"\r\n")
        if header_bytes > limits.header_bytes:
            self._refuse(431, "headers too long", "header_bytes")
            return
        if lines - 2 > limits.header_count:
            self._refuse(431, "too many headers", "header_count")
            return
        if header_bytes > limits.header_line:
            for field in head.split(b"\r\n"):
                if len(field) > limits.header_line:
                    self._refuse(431, "header too long", "header_line")
                    return
        # A CR or LF alone ends a line for some (RFC 9112 section 2.2), and NUL a string. The other control
        # characters are llhttp's to refuse.
        if head.count(b"\n") != lines or head.count(b"\r") != lines or 0 in head:
            self._refuse(400, "invalid character")
            return
        match = _REQUEST_LINE(head, 0, line_length)
        if match is None:
            self._refuse(400, "invalid request line")
            return
        raw_method, raw_target, raw_version = match.groups()
        version = _VERSIONS.get(raw_version)
        if version is None:
            self._refuse(505, "unsupported HTTP version")
            return

        parsed = Fields()
        try:
            HttpRequestParser(parsed).feed_data(head)
        except HttpParserUpgrade:
            pass
        except HttpParserInvalidMethodError:
            self._refuse(501, "unknown method")
            return
        except HttpParserError as error:
            self._refuse(400, str(error) or "invalid request")
            return
        if parsed.problem:
            self._refuse(400, parsed.problem)
            return
        if parsed.count != lines - 2:
            # A folded line (RFC 9112 section 5.2), or any other way to read lines that is not ours. No known llhttp
            # accepts one.
            self._refuse(400, "invalid header")
            return
        parsed_head = self._check(share(raw_method), version, parsed.headers)
        if parsed_head is None:
            return
        target = raw_target.decode()
        headers = parsed.headers
        if not parsed_head.upgrade and len(head) <= _KEPT_HEAD and target[0] == "/":
            parsed_head.start = raw_method + b" "
            parsed_head.rest = head[line_length - len(" HTTP/1.1") :]
            self._known = parsed_head
            headers = dict(headers)
        self._report(parsed_head, target, headers)

    def _check(self, method: str, version: str, headers: dict[str, str]) -> Head | None:
        """Check what a head means, but for its target."""
        if method == "CONNECT":
            self._refuse(501, "CONNECT is not supported")
            return None
        head = Head(method, version, headers)
        # RFC 9112 section 3.2.
        host = headers.get("host")
        if host is None:
            if version == "1.1":
                self._refuse(400, "missing Host header")
                return None
        elif not _HOST(host):
            self._refuse(400, "invalid Host header")
            return None

        # RFC 9112 section 6.3. Each of these is what another recipient could read as another length.
        coding = headers.get("transfer-encoding")
        content_length = headers.get("content-length")
        if coding is not None:
            if version == "1.0" or content_length is not None:
                self._refuse(400, "ambiguous length")
                return None
            if coding.lower() != "chunked":
                self._refuse(501, "unknown transfer coding")
                return None
            head.chunked = True
        elif content_length is not None:
            if not _CONTENT_LENGTH(content_length):
                self._refuse(400, "invalid Content-Length header")
                return None
            head.length = int(content_length)
        has_body = head.chunked or head.length > 0

        # RFC 9110 section 10.1.1.
        expect = headers.get("expect")
        if expect is not None and version == "1.1":
            if expect.lower() != "100-continue":
                self._refuse(417, "unknown expectation")
                return None
            head.expects_continue = has_body

        # RFC 9110 sections 7.6.1 and 7.8, RFC 9112 section 9.3.
        close = version == "1.0"
        connection = headers.get("connection")
        if connection == "keep-alive":
            close = False
        elif connection is not None:
            options = [option.strip(" \t") for option in connection.lower().split(",")]
            close = "close" in options or (close and "keep-alive" not in options)
            # An upgrade request may be treated as any other; one with a body always is, so that there is no
            # doubt where its body ends. HTTP/1.0 has no upgrades.
            head.upgrade = "upgrade" in options and "upgrade" in headers and version == "1.1" and not has_body
        head.keep_alive = not close
        return head

    def _report(self, head: Head, target: str, headers: dict[str, str]) -> None:
        """Check the target of a request, and report the request.

        :param headers: its own, since the receiver may change them.
        """
        host = headers.get("host")
        if target[0] == "/":
            path, _, query = target.partition("?")
            if "#" in target:
                self._refuse(400, "invalid target")
                return
        elif target == "*" and head.method == "OPTIONS":
            path = target
            query = ""
        else:
            # RFC 9112 section 3.2.2. The authority counts, not Host; so they must not differ.
            match = _ABSOLUTE(target)
            if match is None or not _HOST(match[1]) or match[1].lower() != (host or match[1]).lower():
                self._refuse(400, "invalid target")
                return
            path, _, query = match[2].partition("?")
            if not path:
                path = "/"

        self.expects_continue = head.expects_continue
        self.keep_alive = head.keep_alive
        self.events.append(
            Request(
                method=head.method,
                target=target,
                path=share(path.encode()),
                query=query,
                headers=headers,
                version=head.version,
                secure=self._secure,
                address=self._address,
                port=self._port,
                upgrade=head.upgrade,
            )
        )
        if head.upgrade:
            self.events.append(END)
            self.upgraded = True
            self._state = _UPGRADED
        elif head.chunked:
            self._overhead = 0
            self._state = _CHUNK_SIZE
        elif head.length:
            self._left = head.length
            self._state = _LENGTH
        else:
            self._finish()

    def _read_chunks(self, data: bytes, pos: int) -> int:
        """Read a chunked body (RFC 9112 section 7.1) from ``pos`` on; return where it stopped."""
        # What arrived at once is reported at once, however small its chunks are.
        parts: list[bytes] = []
        end = len(data)
        problem = limit = ""
        status = 400
        while pos < end:
            if self._state == _CHUNK_DATA:
                stop = min(pos + self._left, end)
                self._left -= stop - pos
                parts.append(data[pos:stop])
                pos = stop
                if not self._left:
                    self._state = _CHUNK_END
                continue
            stop = data.find(b"\r\n", pos)
            if stop < 0:
                self._buffer += data[pos:]
                pos = end
                break
            line = data[pos:stop]
            pos = stop + 2
            if self._state == _CHUNK_END:
                if line:
                    problem = "invalid chunk"
                    break
                self._state = _CHUNK_SIZE
            elif self._state == _CHUNK_SIZE:
                match = _CHUNK_LINE(line)
                if match is None:
                    problem = "invalid chunk size"
                    break
                self._overhead += len(match[2])
                if self._overhead > self._limits.header_bytes or len(line) > self._limits.header_line:
                    problem = "chunk extensions too long"
                    limit = self._long_line(line)
                    break
                self._left = int(match[1], 16)
                self._state = _CHUNK_DATA if self._left else _TRAILER
            elif line:
                # Trailers are checked and dropped: nobody asked for them (RFC 9110 section 6.5.1).
                self._overhead += len(line) + 2
                if self._overhead > self._limits.header_bytes or len(line) > self._limits.header_line:
                    problem = "trailers too long"
                    limit = self._long_line(line)
                    status = 431
                    break
                if not _TRAILER_LINE(line):
                    problem = "invalid trailer"
                    break
            else:
                self._state = _HEAD
                break
        if parts:
            self.expects_continue = False
            self.events.append(b"".join(parts))
        if problem:
            self._refuse(status, problem, limit)
        elif self._state == _HEAD:
            self._finish()
        elif self._buffer:
            self._check_partial(0)
        return pos

    def _check_partial(self, known: int) -> None:
        """Check a head or line of which the end has not come; of its bytes ``known`` were checked before."""
        buffer = self._buffer
        limits = self._limits
        size = len(buffer)
        # One LF alone will be refused in any case, and its sender may wait for the answer.
        if buffer.count(b"\n", known) != buffer.count(b"\r\n", max(known - 1, 0)):
            self._refuse(400, "invalid line end")
        elif self._state == _HEAD:
            # A last CR may belong to the line's end.
            line_length = buffer.find(b"\r\n")
            if buffer[0] < _FIRST_VISIBLE:
                self._refuse(400, "invalid request line")
            elif line_length > limits.header_line or (line_length < 0 and size > limits.header_line + 1):
                self._refuse(414, "request line too long", "header_line")
            elif line_length < 0:
                return
            elif size - line_length - 2 > limits.header_bytes + 1:
                self._refuse(431, "headers too long", "header_bytes")
            elif size - buffer.rfind(b"\n") - 1 > limits.header_line + 1:
                self._refuse(431, "header too long", "header_line")
        elif self._state == _CHUNK_END:
            if buffer != b"\r":
                self._refuse(400, "invalid chunk")
        elif size > limits.header_line + 1:
            if self._state == _TRAILER:
                self._refuse(431, "trailers too long", "header_line")
            else:
                self._refuse(400, "chunk extensions too long", "header_line")

    def _finish(self) -> None:
        self.events.append(END)
        self._state = _HEAD if self.keep_alive else _DONE

    def _long_line(self, line: bytes) -> str:
        """Return which bound of header lines a line is over, by itself or together with those before it."""
        return "header_line" if len(line) > self._limits.header_line else "header_bytes"

    def _refuse(self, status: int, reason: str, limit: str = "") -> None:
        self._state = _DONE
        self._buffer.clear()
        self.keep_alive = False
        self.expects_continue = False
        self.events.append(BadRequest(status, reason, limit))


def _status_lines() -> dict[int, bytes]:
    return {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}


_STATUS_LINES: Final[dict[int, bytes]] = _status_lines()
_FRAMING: Final = frozenset({"connection", "content-length", "transfer-encoding"})
# Responses that have no content by definition (RFC 9110 section 6.4.1).
_NO_CONTENT: Final = frozenset({101, 204, 304})

# The lines of header fields that are sent together again and again. Emptied when full.
_FIELDS: Final[dict[tuple[object, ...], bytes]] = {}
_FIELDS_MAX: Final = 256


def encode_response(response: Response, request: Request | None, *, close: bool, date: str = "") -> bytes:
    """Return the bytes of a response.

    :param request: what it answers; ``None`` if it could not be read.
    :param close: whether the connection is closed after it.
    :param date: the ``Date`` header (RFC 9110 section 6.6.1); none if empty.
    :raises ValueError: if a header field could not be sent as it is.
    """
    status = response.status
    content = status not in _NO_CONTENT
    parts = [_STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status, _fields(response.headers, content)]
    if date:
        parts.append(header_line("Date", date))
    if close:
        parts.append(b"Connection: close\r\n")
    elif request is not None and request.version == "1.0":
        parts.append(b"Connection: keep-alive\r\n")
    if content:
        parts.append(f"Content-Length: {len(response.body)}\r\n\r\n".encode())
        if request is None or request.method != "HEAD":
            parts.append(response.body)
    else:
        parts.append(b"\r\n")
    return b"".join(parts)


def _fields(headers: list[tuple[str, str]], content: bool) -> bytes:
    """Return the header fields of a response as lines, without those that frame it."""
    key = (content, *headers)
    known = _FIELDS.get(key)
    if known is not None:
        return known
    lines: list[bytes] = []
    shared = True
    for name, value in headers:
        lower = name.lower()
        # A length of nothing is harmless, and some browsers wait for one after a preflight.
        if lower not in _FRAMING or (lower == "content-length" and value == "0" and not content):
            lines.append(header_line(name, value))
            shared = shared and is_shared_line(name, value)
    fields = b"".join(lines)
    if shared:
        if len(_FIELDS) >= _FIELDS_MAX:
            _FIELDS.clear()
        _FIELDS[key] = fields
    return fields


# RFC 9110 sections 12.4.2 and 12.5.3.
_CODING: Final = re.compile(
    r"[ \t]*([!#$%&'*+\-.^_`|~0-9A-Za-z]+)[ \t]*(?:;[ \t]*[Qq]=([01](?:\.[0-9]{0,3})?)[ \t]*)?"
)
_OFFERED: Final = ("gzip", "deflate")

# The choice by header value: there are only a few browsers. Emptied when full.
_CHOICES: Final[dict[str, str]] = {}
_CHOICES_MAX: Final = 64


def choose_coding(accept_encoding: str) -> str:
    """Return ``"gzip"``, ``"deflate"`` or ``""``: the one the client likes best, the first of equal ones."""
    weights: dict[str, float] = {}
    for item in accept_encoding.split(","):
        match = _CODING.fullmatch(item)
        if match is not None:
            coding = match[1].lower()
            if coding == "x-gzip":
                coding = "gzip"
            weight = 1.0 if match[2] is None else float(match[2])
            weights.setdefault(coding, weight)
    # "*" is weaker than a name of the same weight.
    default = weights.pop("*", 0.0)
    for offered in _OFFERED:
        weights.setdefault(offered, default)
    best = ""
    best_weight = 0.0
    for coding, weight in weights.items():
        if coding in _OFFERED and weight > best_weight:
            best = coding
            best_weight = weight
    return best


def compress_body(body: bytes, accept_encoding: str, threshold: int) -> tuple[bytes, str]:
    """Return the body to send and its ``Content-Encoding``, which is empty if it is not compressed.

    :param accept_encoding: the request's ``Accept-Encoding`` header; empty if there was none.
    :param threshold: bytes below which a body is not worth compressing.
    """
    if len(body) < threshold or not accept_encoding:
        return body, ""
    coding = _CHOICES.get(accept_encoding)
    if coding is None:
        coding = choose_coding(accept_encoding)
        if len(_CHOICES) >= _CHOICES_MAX:
            _CHOICES.clear()
        _CHOICES[accept_encoding] = coding
    if not coding:
        return body, ""
    # "deflate" is the zlib format (RFC 9110 section 8.4.1.2).
    compressed = zlib.compress(body, 6, wbits=31 if coding == "gzip" else 15)
    if len(compressed) >= len(body):
        return body, ""
    return compressed, coding
