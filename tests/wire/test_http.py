"""The HTTP reader, whole, byte by byte and against h11; the bytes of responses; the compression of bodies."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from collections.abc import Iterable

import h11
import pytest
from httptools import HttpRequestParser
from hypothesis import example, given
from hypothesis import strategies as st

from sio_core.limits import Limits
from sio_core.wire import http
from sio_core.wire.http import (
    END,
    BadRequest,
    HttpEvent,
    HttpReader,
    Misdirected,
    choose_coding,
    compress_body,
    encode_response,
)
from sio_core.wire.message import Fields, Request, Response

LIMITS = Limits()
HOST = b"Host: a\r\n"
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def get(*lines: bytes, line: bytes = b"GET / HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: a", *lines, b"", b""])


def post(*lines: bytes, body: bytes = b"") -> bytes:
    return get(*lines, line=b"POST / HTTP/1.1") + body


def chunked(body: bytes, *lines: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", *lines, body=body)


def read(data: bytes, cuts: Iterable[int] = (), limits: Limits = LIMITS) -> HttpReader:
    """Give ``data`` to a reader, cut at ``cuts``."""
    reader = HttpReader(limits)
    start = 0
    for cut in sorted(cuts):
        reader.receive_data(data[start:cut])
        start = cut
    reader.receive_data(data[start:])
    return reader


def summary(events: list[HttpEvent]) -> list[object]:
    """Return what a reader reported, with the parts of each body joined."""
    result: list[object] = []
    for event in events:
        if isinstance(event, Request):
            result.append((event.method, event.target, event.headers, event.version, event.upgrade))
        elif isinstance(event, BadRequest):
            result.append((event.status, event.reason))
        elif isinstance(event, bytes) and result and isinstance(result[-1], bytes):
            result[-1] += event
        else:
            result.append(event)
    return result


def one(data: bytes, limits: Limits = LIMITS) -> Request:
    """Return the only request of ``data``."""
    reader = read(data, limits=limits)
    request = reader.events[0]
    assert isinstance(request, Request), request
    assert reader.events[-1] is END
    return request


def refused(data: bytes, limits: Limits = LIMITS) -> int:
    """Return the status with which ``data`` is refused; it is the same however the data comes."""
    events = read(data, limits=limits).events
    last = events[-1]
    assert isinstance(last, BadRequest), events
    slowly = read(data, range(1, len(data)), limits=limits).events
    assert isinstance(slowly[-1], BadRequest)
    assert slowly[-1].status == last.status
    return last.status


# Requests


def test_a_request() -> None:
    reader = HttpReader(LIMITS, secure=True, address="192.0.2.1", port=1234)
    reader.receive_data(
        b"GET /socket.io/?EIO=4&t=a%20b HTTP/1.1\r\nHost: a:80\r\nX-Y: \t z\xe4 \r\nx-y:2\r\n\r\n"
    )
    request, end = reader.events
    assert end is END
    assert repr(end) == "END"
    assert isinstance(request, Request)
    assert (request.method, request.version) == ("GET", "1.1")
    assert (request.target, request.path) == ("/socket.io/?EIO=4&t=a%20b", "/socket.io/")
    assert (request.query, request.params) == ("EIO=4&t=a%20b", {"EIO": "4", "t": "a b"})
    assert request.headers == {"host": "a:80", "x-y": "zä, 2"}
    assert (request.secure, request.address, request.port) == (True, "192.0.2.1", 1234)
    assert (request.body, request.upgrade) == (b"", False)
    assert reader.keep_alive
    assert not any((reader.started, reader.in_body, reader.upgraded, reader.held, reader.expects_continue))


def test_a_body_of_known_length() -> None:
    reader = read(post(b"Content-Length: 5", body=b"he"))
    assert reader.events[1:] == [b"he"]
    assert reader.in_body
    reader.receive_data(b"llo" + GET)
    assert reader.events[2:4] == [b"llo", END]
    assert isinstance(reader.events[4], Request)
    assert not reader.in_body


def test_a_chunked_body() -> None:
    reader = read(chunked(b"3\r\nabc\r\n00A;x=y;z\r\n0123456789\r\n0\r\nX: y\r\n\r\n") + GET)
    request, body, end, after, _ = reader.events
    assert isinstance(request, Request)
    assert request.headers == {"host": "a", "transfer-encoding": "chunked"}
    assert body == b"abc0123456789"
    assert end is END
    assert isinstance(after, Request)


def test_tiny_chunks_of_one_read_are_one_event() -> None:
    reader = read(chunked(b"1\r\na\r\n" * 1_000))
    assert reader.events[1:] == [b"a" * 1_000]


@pytest.mark.parametrize(
    "data",
    [
        GET,
        get(b"Content-Length: 0"),
        get(b"Content-Length: 3") + b"abc",
        post(b"Content-Length: 3", body=b"abc") + GET,
        chunked(b"0\r\n\r\n") + GET,
        chunked(b"3;a=b\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nA: b\r\nC: d\r\n\r\n") + GET,
        chunked(b"2\r\n\r\n\r\n0\r\n\r\n") + GET,
        GET * 5,
        get(b"Connection: Upgrade", b"Upgrade: websocket") + b"\x81\x80abcd",
        b"GET / HTTP/1.0\r\n\r\n" + GET,
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + GET,
        GET + b"junk",
        chunked(b"1\r\nab\r\n"),
        post(b"Content-Length: 3", body=b"abc\r\n"),
        b"GET / HTTP/1.1\r\n\r\n",
        get(b"Connection: close") + GET,
    ],
)
def test_cuts_make_no_difference(data: bytes) -> None:
    whole = read(data)
    expected = summary(whole.events)
    for cuts in [range(1, len(data)), *[[cut] for cut in range(1, len(data))]]:
        reader = read(data, cuts)
        assert summary(reader.events) == expected
        assert (reader.rest, reader.keep_alive) == (whole.rest, whole.keep_alive)


TOKENS = [
    b"GET", b"POST", b"OPTIONS", b"HEAD", b"CONNECT", b"FOO", b" ", b"  ", b"\t", b"/", b"*", b"/a?b", b"http://a/",
    b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b"Host", b"host", b":", b": ", b"a",
    b"Content-Length: 3", b"Content-Length: 0", b"Content-Length: -1", b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip", b"Connection: close", b"Connection: upgrade", b"Connection: keep-alive",
    b"Upgrade: websocket", b"Expect: 100-continue", b"abc", b"0", b"3", b";x", b"\0", b"\x7f", b"\xff", b"#",
    GET, HOST, b"GET / HTTP/1.1\r\nHost: a\r\n", b"POST / HTTP/1.1\r\nHost: a\r\n", b"3\r\nabc\r\n", b"0\r\n\r\n",
]  # fmt: skip

streams = st.lists(st.sampled_from(TOKENS), max_size=14).map(b"".join) | st.builds(
    bytes.__add__,
    st.sampled_from([b"", GET, chunked(b""), post(b"Content-Length: 3")]),
    st.binary(max_size=40),
)


@given(streams, st.lists(st.integers(0, 200), max_size=6))
@example(get(b"Connection: upgrade", b"Upgrade: a") + b"x", [10])
def test_anything_may_come(data: bytes, cuts: list[int]) -> None:
    small = Limits(header_line=60, header_count=4, header_bytes=100, pipelined_requests=2)
    for limits in (LIMITS, small):
        whole = HttpReader(limits)
        whole.receive_data(data)
        parts = HttpReader(limits)
        start = 0
        for cut in [*sorted(cuts), len(data)]:
            parts.receive_data(data[start:cut])
            start = max(cut, start)
        for reader in (whole, parts):
            for _ in range(200):
                if not reader.held:
                    break
                reader.resume()
            bad = [index for index, event in enumerate(reader.events) if isinstance(event, BadRequest)]
            assert bad in ([], [len(reader.events) - 1])
        assert summary(parts.events) == summary(whole.events) or bad
        # A fault may be seen earlier when the data comes slowly, but the requests before it are the same.
        assert [e for e in summary(parts.events) if isinstance(e, tuple) and len(e) == 5] == [
            e for e in summary(whole.events) if isinstance(e, tuple) and len(e) == 5
        ]
        assert parts.rest == whole.rest


# What is refused

REFUSED = [
    # The request line
    ("garbage", b"garbage\r\n\r\n", 400),
    ("empty line first", b"\r\n" + GET, 400),
    ("LF first", b"\n" + GET, 400),
    ("space first", b" " + GET, 400),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    ("no version", b"GET /\r\nHost: a\r\n\r\n", 400),
    ("two spaces", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("two spaces behind", b"GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("tab", b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("space at the end", b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    ("space in the target", b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("no target", b"GET HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("no token", b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("lower case version", b"GET / http/1.1\r\nHost: a\r\n\r\n", 400),
    ("version 1", b"GET / HTTP/1\r\nHost: a\r\n\r\n", 400),
    ("version 1.10", b"GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400),
    ("version 11", b"GET / HTTP/11\r\nHost: a\r\n\r\n", 400),
    ("RTSP", b"OPTIONS / RTSP/1.0\r\nHost: a\r\n\r\n", 400),
    ("ICE", b"SOURCE / ICE/1.0\r\nHost: a\r\n\r\n", 400),
    ("version 0.9", b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    ("version 1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    ("version 2.0", b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("unknown method", b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    ("lower case method", b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    ("CONNECT", b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 501),
    ("CONNECT to a path", b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    # The target
    ("no slash", b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("* for GET", b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("fragment", b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("not ASCII", b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("control in the target", b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("NUL in the target", b"GET /\x00 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("another authority", b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("another port", b"GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("no authority", b"GET http:/// HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("user", b"GET http://a@a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("user in both", b"GET http://a@a/ HTTP/1.1\r\nHost: a@a\r\n\r\n", 400),
    ("another scheme", b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("absolute fragment", b"GET http://a/#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("only a host", b"GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 400),
    # Host
    ("no Host", b"GET / HTTP/1.1\r\nX: a\r\n\r\n", 400),
    ("no header", b"GET / HTTP/1.1\r\n\r\n", 400),
    ("two Hosts", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("two equal Hosts", b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400),
    ("two Hosts, 1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", 400),
    ("path in Host", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    ("query in Host", b"GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", 400),
    ("user in Host", b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
    ("space in Host", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ("list in Host", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
    ("quote in Host", b'GET / HTTP/1.1\r\nHost: "a"\r\n\r\n', 400),
    ("not ASCII in Host", b"GET / HTTP/1.1\r\nHost: \xe4\r\n\r\n", 400),
    ("bad port", b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", 400),
    ("two ports", b"GET / HTTP/1.1\r\nHost: a:1:2\r\n\r\n", 400),
    ("long port", b"GET / HTTP/1.1\r\nHost: a:123456\r\n\r\n", 400),
    ("open bracket", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
    ("bare IPv6", b"GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", 400),
    ("half an escape", b"GET / HTTP/1.1\r\nHost: a%4\r\n\r\n", 400),
    ("fragment in Host", b"GET / HTTP/1.1\r\nHost: a#b\r\n\r\n", 400),
    # Lines
    ("LF for CRLF", b"GET / HTTP/1.1\nHost: a\n\n", 400),
    ("LF in the request line", b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    ("LF behind a header", get(b"X: y\nZ: z"), 400),
    ("CR alone", get(b"X: y\rZ: z"), 400),
    ("CR CR LF", get(b"X: y\r"), 400),
    ("CR at the start", get(b"\rX: y"), 400),
    ("folded", get(b"X: y", b" z"), 400),
    ("folded with a tab", get(b"X: y", b"\tz"), 400),
    ("folded, empty", get(b"X: y", b" "), 400),
    ("folded request line", b"GET / HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n", 400),
    ("folded Content-Length", post(b"Content-Length:", b" 3", body=b"abc"), 400),
    ("space before the colon", get(b"X : y"), 400),
    ("tab before the colon", get(b"X\t: y"), 400),
    ("space in a name", get(b"X Y: y"), 400),
    ("no colon", get(b"X"), 400),
    ("no name", get(b": y"), 400),
    ("parenthesis in a name", get(b"X(: y"), 400),
    ("quote in a name", get(b'"X": y'), 400),
    ("not ASCII in a name", get(b"\xe4: y"), 400),
    ("NUL in a name", get(b"X\x00: y"), 400),
    ("NUL in a value", get(b"X: a\x00b"), 400),
    *[(f"control {c:#04x}", get(b"X: a%cb" % c), 400) for c in (*range(1, 9), 11, 12, *range(14, 32), 127)],
    # Length
    ("two lengths", post(b"Content-Length: 3", b"Content-Length: 4", body=b"abc"), 400),
    ("two equal lengths", post(b"Content-Length: 3", b"Content-Length: 3", body=b"abc"), 400),
    ("list of lengths", post(b"Content-Length: 3, 3", body=b"abc"), 400),
    ("negative", post(b"Content-Length: -3", body=b"abc"), 400),
    ("plus", post(b"Content-Length: +3", body=b"abc"), 400),
    ("hexadecimal", post(b"Content-Length: 0x3", body=b"abc"), 400),
    ("underscore", post(b"Content-Length: 1_0", body=b"abc"), 400),
    ("fraction", post(b"Content-Length: 3.0", body=b"abc"), 400),
    ("inner space", post(b"Content-Length: 3 0", body=b"abc"), 400),
    ("no length", post(b"Content-Length:", body=b"abc"), 400),
    ("superscript", post(b"Content-Length: \xb2", body=b"abc"), 400),
    ("quoted length", post(b'Content-Length: "3"', body=b"abc"), 400),
    ("17 digits", post(b"Content-Length: 10000000000000000", body=b"abc"), 400),
    ("2**64", post(b"Content-Length: 18446744073709551616", body=b"abc"), 400),
    ("2**64 + 3", post(b"Content-Length: 18446744073709551619", body=b"abc"), 400),
    ("length and coding", post(b"Content-Length: 3", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
    ("coding and length", post(b"Transfer-Encoding: chunked", b"Content-Length: 3", body=b"0\r\n\r\n"), 400),
    ("coding and no length", post(b"Transfer-Encoding: chunked", b"Content-Length: 0", body=b"0\r\n\r\n"), 400),
    ("two codings", post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
    ("gzip and chunked", post(b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
    ("chunked twice", post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"), 400),
    ("gzip, chunked", post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 501),
    ("chunked, gzip", post(b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"), 400),
    ("identity", post(b"Transfer-Encoding: identity", body=b"0\r\n\r\n"), 400),
    ("xchunked", post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), 400),
    ("quoted chunked", post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"), 400),
    ("chunked;q", post(b"Transfer-Encoding: chunked;q=1", body=b"0\r\n\r\n"), 400),
    (", chunked", post(b"Transfer-Encoding: , chunked", body=b"0\r\n\r\n"), 501),
    ("vertical tab", post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"), 400),
    ("no-break space", post(b"Transfer-Encoding: \xa0chunked", body=b"0\r\n\r\n"), 400),
    ("no coding", post(b"Transfer-Encoding:", body=b"0\r\n\r\n"), 400),
    ("chunked, 1.0", b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("space before the colon of a coding", post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"), 400),
    # Chunks
    ("size of a chunk", chunked(b"x\r\n\r\n"), 400),
    ("empty size", chunked(b"\r\n\r\n"), 400),
    ("negative size", chunked(b"-1\r\n\r\n"), 400),
    ("plus size", chunked(b"+1\r\na\r\n"), 400),
    ("0x size", chunked(b"0x1\r\na\r\n"), 400),
    ("underscore size", chunked(b"1_0\r\na\r\n"), 400),
    ("space before the size", chunked(b" 1\r\na\r\n"), 400),
    ("space behind the size", chunked(b"1 \r\na\r\n"), 400),
    ("tab behind the size", chunked(b"1\t\r\na\r\n"), 400),
    ("space before the extension", chunked(b"1 ;a\r\na\r\n"), 400),
    ("9 digits", chunked(b"000000001\r\na\r\n"), 400),
    ("2**64 size", chunked(b"10000000000000001\r\na\r\n"), 400),
    ("LF behind the size", chunked(b"1\na\r\n"), 400),
    ("LF in the extension", chunked(b"1;a\nb\r\na\r\n"), 400),
    ("CR in the extension", chunked(b"1;a\rb\r\na\r\n"), 400),
    ("NUL in the extension", chunked(b"1;\x00\r\na\r\n"), 400),
    ("chunk too long", chunked(b"1\r\nab\r\n"), 400),
    ("LF behind the chunk", chunked(b"1\r\na\n0\r\n\r\n"), 400),
    ("CR behind the chunk", chunked(b"1\r\na\rx"), 400),
    ("no line behind the chunk", chunked(b"1\r\na0\r\n\r\n"), 400),
    ("no trailer", chunked(b"0\r\nabc\r\n\r\n"), 400),
    ("folded trailer", chunked(b"0\r\nA: b\r\n c\r\n\r\n"), 400),
    ("space in a trailer's name", chunked(b"0\r\nA : b\r\n\r\n"), 400),
    ("LF in a trailer", chunked(b"0\r\nA: b\nC: d\r\n\r\n"), 400),
    ("NUL in a trailer", chunked(b"0\r\nA: \x00\r\n\r\n"), 400),
    ("LF for the last line", chunked(b"0\r\n\n"), 400),
    # Expectations
    ("expectation", get(b"Expect: the-unexpected"), 417),
    ("two expectations", get(b"Expect: 100-continue", b"Expect: 100-continue"), 417),
    ("no expectation", get(b"Expect:"), 417),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "status"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED]
)
def test_refused(data: bytes, status: int) -> None:
    assert refused(data) == status


def test_lines_that_the_parser_counts_in_another_way_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Folding:
        """A parser that takes two lines for one, as those do that accept folded lines."""

        def __init__(self, fields: Fields) -> None:
            self._fields = fields
            self._parser = HttpRequestParser(fields)

        def feed_data(self, data: bytes) -> None:
            self._parser.feed_data(data)
            self._fields.count -= 1

    monkeypatch.setattr(http, "HttpRequestParser", Folding)
    assert refused(get(b"X: y", b"Z: z")) == 400


ACCEPTED = [
    ("plain", GET),
    ("1.0 without Host", b"GET / HTTP/1.0\r\n\r\n"),
    ("OPTIONS *", b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("QUERY", b"QUERY / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("empty Host", b"GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    ("port", b"GET / HTTP/1.1\r\nHost: a.b-c_d:65535\r\n\r\n"),
    ("empty port", b"GET / HTTP/1.1\r\nHost: a:\r\n\r\n"),
    ("IPv4", b"GET / HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n\r\n"),
    ("IPv6", b"GET / HTTP/1.1\r\nHost: [::1]:3000\r\n\r\n"),
    ("escape in Host", b"GET / HTTP/1.1\r\nHost: %41\r\n\r\n"),
    ("absolute", b"GET http://A:80/b?c HTTP/1.1\r\nHost: a:80\r\n\r\n"),
    ("absolute, no path", b"GET HTTPS://a?c HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("absolute, 1.0", b"GET http://a/ HTTP/1.0\r\n\r\n"),
    ("ugly target", b"GET /\"<>{}|^`\\%?[] HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("two slashes", b"GET //a/../b HTTP/1.1\r\nHost: a\r\n\r\n"),
    ("empty value", get(b"X:")),
    ("no space", get(b"X:y")),
    ("white space", get(b"X: \t y \t ")),
    ("tab in a value", get(b"X: a\tb")),
    ("latin-1", get(b"X: \x80\xff")),
    ("odd name", get(b"!#$%&'*+-.^_`|~09azAZ: y")),
    ("length", post(b"Content-Length: 3", body=b"abc")),
    ("zeros", post(b"Content-Length: 003", body=b"abc")),
    ("GET with a body", get(b"Content-Length: 3") + b"abc"),
    ("Chunked", post(b"Transfer-Encoding: Chunked", body=b"0\r\n\r\n")),
    ("chunked GET", get(b"Transfer-Encoding: chunked") + b"0\r\n\r\n"),
    ("sizes", chunked(b"00000003\r\nabc\r\na\r\n0123456789\r\nA\r\n0123456789\r\n00\r\n\r\n")),
    ("extensions", chunked(b'1;a;b=c; d="\te\xff"\r\nx\r\n0;\r\n\r\n')),
    ("trailers", chunked(b"0\r\nContent-Length: 5\r\nX:\r\n\r\n")),
    ("expectation", post(b"Expect: 100-Continue", b"Content-Length: 3", body=b"abc")),
    ("close", get(b"Connection: close")),
    ("upgrade", get(b"Connection: upgrade", b"Upgrade: websocket")),
]  # fmt: skip


@pytest.mark.parametrize("data", [case[1] for case in ACCEPTED], ids=[case[0] for case in ACCEPTED])
def test_accepted(data: bytes) -> None:
    one(data)


def by_h11(data: bytes) -> tuple[str, str, list[tuple[str, str]], bytes, bool] | None:
    """Return what h11 makes of the first request of ``data``; ``None`` if it refuses it, or waits for more."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    request = None
    body = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                request = event
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                assert request is not None
                headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in request.headers]
                keep_alive = connection.their_state is not h11.MUST_CLOSE
                return request.method.decode(), request.target.decode(), headers, body, keep_alive
            else:
                return None
    except h11.RemoteProtocolError:
        return None


def check_against_h11(data: bytes) -> None:
    """What we accept h11 accepts, and reads as we do."""
    reader = HttpReader(LIMITS)
    reader.receive_data(data)
    events = reader.events
    if END not in events:
        return
    request = events[0]
    assert isinstance(request, Request)
    body = b"".join(event for event in events[: events.index(END)] if isinstance(event, bytes))
    theirs = by_h11(data)
    assert theirs is not None, "h11 refuses it"
    method, target, headers, their_body, keep_alive = theirs
    assert (request.method, request.target, body) == (method, target, their_body)
    assert set(request.headers) == {name for name, _ in headers}
    for name, value in headers:
        assert value.lower() in request.headers[name].lower()
    if events.index(END) == len(events) - 1 and "upgrade" not in request.headers and request.version == "1.1":
        assert reader.keep_alive == keep_alive


CORPUS = {**{name: data for name, data, _ in REFUSED}, **dict(ACCEPTED)}


@pytest.mark.parametrize("data", CORPUS.values(), ids=CORPUS.keys())
def test_corpus_against_h11(data: bytes) -> None:
    check_against_h11(data)


@given(streams)
def test_nothing_is_accepted_that_h11_refuses(data: bytes) -> None:
    check_against_h11(data)


LINES = [
    b"Host: a", b"Host: a", b"Host: b:80", b"host:a", b"Host : a", b"X: y", b"X:", b" X: y", b"X: y\n", b"\tz",
    b"Content-Length: 3", b"Content-Length:3 ", b"content-length: 03", b"Content-Length: 3,3", b"Content-Length: +3",
    b"Transfer-Encoding: chunked", b"transfer-encoding:\tCHUNKED", b"Transfer-Encoding: chunked, identity",
    b"Transfer-Encoding: x", b"Connection: close", b"Connection: keep-alive, Close", b"Connection: upgrade",
    b"Upgrade: websocket", b"Expect: 100-continue", b"X: \x00", b"X: \x0b", b"X: \xff", b"X\xff: y", b"X",
]  # fmt: skip
BODIES = [
    b"", b"abc", b"ab", b"abcd", b"3\r\nabc\r\n0\r\n\r\n", b"3;x\r\nabc\r\n0\r\nA: b\r\n\r\n", b"0\r\n\r\n",
    b"3\nabc\n0\n\n", b"3 \r\nabc\r\n0\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"0\r\nX\r\n\r\n",
]  # fmt: skip


@given(
    st.sampled_from([b"GET", b"POST", b"OPTIONS", b"PUT"]),
    st.sampled_from([b"/", b"/?a", b"*", b"http://a/", b"/\x7f", b"/ "]),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2"]),
    st.lists(st.sampled_from(LINES), max_size=6),
    st.sampled_from(BODIES),
    st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r"]),
)
def test_requests_against_h11(
    method: bytes, target: bytes, version: bytes, lines: list[bytes], body: bytes, end: bytes
) -> None:
    check_against_h11(end.join([b" ".join([method, target, version]), b"Host: a", *lines, b"", b""]) + body)


def test_absolute_targets_keep_path_and_query() -> None:
    request = one(b"GET http://a:80/b/c?d=e?f HTTP/1.1\r\nHost: A:80\r\n\r\n")
    assert (request.path, request.query) == ("/b/c", "d=e?f")
    assert request.target == "http://a:80/b/c?d=e?f"
    request = one(b"GET https://a?d HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (request.path, request.query) == ("/", "d")


def test_nothing_is_read_after_a_bad_request() -> None:
    reader = read(b"FOO / HTTP/1.1\r\n\r\n" + GET)
    assert summary(reader.events) == [(501, "unknown method")]
    reader.receive_data(GET)
    reader.resume()
    assert len(reader.events) == 1
    assert not any((reader.keep_alive, reader.started, reader.in_body))


def test_the_reason_does_not_repeat_the_input() -> None:
    for _, data, _ in REFUSED:
        event = read(data).events[-1]
        assert isinstance(event, BadRequest)
        assert event.reason
        assert event.reason.isascii()
        assert event.reason.isprintable()
        assert repr(event) == f"<BadRequest {event.status} {event.reason}>"


# Limits


def test_length_of_the_request_line() -> None:
    limits = Limits(header_line=30)
    line = b"GET /%s HTTP/1.1"
    fits = line % (b"x" * (30 - len(line) + 2))
    assert len(fits) == 30
    one(get(line=fits), limits)
    reader = read(fits + b"\r", range(31), limits)
    assert reader.started
    assert refused(get(line=fits.replace(b"/", b"/x")), limits) == 414
    # Without an end it is refused as soon as it cannot fit any more.
    assert read(b"GET /" + b"x" * 26, range(31), limits).events == []
    assert refused(b"GET /" + b"x" * 27, limits) == 414


def test_length_of_a_header_line() -> None:
    limits = Limits(header_line=30)
    one(get(b"X: " + b"x" * 27), limits)
    assert refused(get(b"X: " + b"x" * 28), limits) == 431
    assert refused(get(b"X: y", b"X: " + b"x" * 28, b"Z: z"), limits) == 431
    assert read(get(b"X: " + b"x" * 28)[:-4], range(60), limits).events == []
    assert refused(get(b"X: " + b"x" * 29)[:-4], limits) == 431
    # A short line does not hide a long one.
    one(get(b"X: " + b"x" * 27, b"Y: " + b"y" * 27), limits)


def test_bytes_of_all_headers() -> None:
    limits = Limits(header_bytes=100)
    room = 100 - len(HOST) - len(b"X: \r\n")
    one(get(b"X: " + b"x" * room), limits)
    assert refused(get(b"X: " + b"x" * (room + 1)), limits) == 431
    assert refused(get(b"X: " + b"x" * room, b"Y:"), limits) == 431
    assert refused(get(*[b"Y: %d" % number for number in range(50)])[:-2], limits) == 431
    # The request line does not count.
    one(get(b"X: " + b"x" * room, line=b"GET /%s HTTP/1.1" % (b"x" * 1_000)), limits)


def test_number_of_headers() -> None:
    limits = Limits(header_count=5)
    one(get(*[b"X: y"] * 4), limits)
    assert refused(get(*[b"X: y"] * 5), limits) == 431
    assert refused(get(*[b"X%d: y" % number for number in range(5)]), limits) == 431


def test_default_limits() -> None:
    assert refused(get(*[b"X: y"] * 10_000)) == 431
    assert refused(get(*[b"X: y"] * 100)) == 431
    assert len(one(get(*[b"Cookie: a=b"] * 99)).headers) == 2
    assert refused(get(b"X: " + b"x" * 8_190)) == 431
    one(get(b"X: " + b"x" * 8_189))
    assert refused(get(b"X: " + b"x" * 8_000, b"Y: " + b"y" * 8_000, b"Z: " + b"z" * 400)) == 431
    assert refused(get(line=b"GET /%s HTTP/1.1" % (b"x" * 8_200))) == 414


def test_chunk_extensions_are_bounded() -> None:
    limits = Limits(header_line=30, header_bytes=60)
    assert read(chunked(b"1;" + b"x" * 28 + b"\r\na\r\n0\r\n\r\n"), limits=limits).events[-1] is END
    assert refused(chunked(b"1;" + b"x" * 29 + b"\r\na\r\n0\r\n\r\n"), limits) == 400
    assert read(chunked(b"1;" + b"x" * 29), limits=limits).in_body
    assert refused(chunked(b"1;" + b"x" * 30), limits) == 400
    # In all chunks of one body together.
    assert read(chunked(b"1;2345\r\na\r\n" * 12 + b"0\r\n\r\n"), limits=limits).events[-1] is END
    assert refused(chunked(b"1;2345\r\na\r\n" * 12 + b"0;\r\n\r\n"), limits) == 400
    # The next body starts anew.
    body = chunked(b"1;2345\r\na\r\n" * 12 + b"0\r\n\r\n")
    assert read(body * 3, limits=limits).events[-1] is END


def test_trailers_are_bounded() -> None:
    limits = Limits(header_line=30, header_bytes=60)
    assert read(chunked(b"0\r\nX: " + b"x" * 27 + b"\r\n\r\n"), limits=limits).events[-1] is END
    assert refused(chunked(b"0\r\nX: " + b"x" * 28 + b"\r\n\r\n"), limits) == 431
    assert refused(chunked(b"0\r\nX: " + b"x" * 29), limits) == 431
    assert read(chunked(b"0\r\n" + b"X: y\r\n" * 10 + b"\r\n"), limits=limits).events[-1] is END
    assert refused(chunked(b"0\r\n" + b"X: y\r\n" * 11 + b"\r\n"), limits) == 431


def test_a_large_chunk_comes_through_in_parts() -> None:
    reader = read(chunked(b"ffffffff\r\n"))
    for _ in range(3):
        reader.receive_data(b"x" * 10)
    assert reader.events[1:] == [b"x" * 10] * 3
    assert reader.in_body


def test_a_slow_head_costs_no_more_than_its_bytes() -> None:
    data = get(*[b"X%d: %s" % (number, b"y" * 150) for number in range(99)])[:-2]
    reader = HttpReader(LIMITS)
    tracemalloc.start()
    try:
        for index in range(len(data)):
            reader.receive_data(data[index : index + 1])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reader.started
    assert peak < 2 * len(data)


def test_first_requests_are_small() -> None:
    head = (
        b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: chat.example.com\r\nConnection: Upgrade\r\n"
        b"Pragma: no-cache\r\nCache-Control: no-cache\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64) "
        b"AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36\r\nUpgrade: websocket\r\nOrigin: https://chat.example.com\r\n"
        b"Sec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br\r\nAccept-Language: en-US,en;q=0.9\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n"
    )  # fmt: skip
    one(head)
    requests = []
    tracemalloc.start()
    try:
        for _ in range(500):
            requests.append(one(head))
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size / len(requests) < 1_300


# Upgrades

UPGRADE = get(b"Connection: keep-alive, Upgrade", b"Upgrade: websocket")


def test_an_upgrade_stops_the_reading() -> None:
    reader = read(UPGRADE + b"\x81\x80")
    request, end = reader.events
    assert isinstance(request, Request)
    assert request.upgrade
    assert end is END
    assert reader.upgraded
    assert reader.rest == b"\x81\x80"
    reader.receive_data(b"abcd")
    assert reader.rest == b"\x81\x80abcd"
    assert len(reader.events) == 2
    assert not any((reader.started, reader.in_body))


def test_a_declined_upgrade_goes_on() -> None:
    reader = read(UPGRADE + GET + GET[:5])
    reader.events.clear()
    reader.resume()
    assert summary(reader.events) == summary(read(GET).events)
    assert (reader.upgraded, reader.rest, reader.started) == (False, b"", True)
    reader.receive_data(GET[5:] + UPGRADE + b"x")
    assert len(reader.events) == 6
    assert reader.upgraded
    reader.resume()
    assert reader.started


def test_a_declined_upgrade_that_closes() -> None:
    reader = read(get(b"Connection: upgrade, close", b"Upgrade: websocket") + GET)
    assert reader.upgraded
    assert not reader.keep_alive
    reader.resume()
    assert len(reader.events) == 2


@pytest.mark.parametrize(
    ("lines", "upgrade"),
    [
        ((b"Connection: Upgrade", b"Upgrade: websocket"), True),
        ((b"Connection: UPGRADE", b"Upgrade: h2c"), True),
        ((b"Connection: a, upgrade ,b", b"Upgrade: websocket"), True),
        ((b"Connection: a", b"Connection: upgrade", b"Upgrade: websocket"), True),
        ((b"Connection: upgrade",), False),
        ((b"Upgrade: websocket",), False),
        ((b"Connection: upgraded", b"Upgrade: websocket"), False),
        ((b"Connection: keep-alive", b"Upgrade: websocket"), False),
        # An upgrade with a body is an ordinary request.
        ((b"Connection: upgrade", b"Upgrade: h2c", b"Content-Length: 3"), False),
        ((b"Connection: upgrade", b"Upgrade: h2c", b"Content-Length: 0"), True),
    ],
)
def test_what_is_an_upgrade(lines: tuple[bytes, ...], upgrade: bool) -> None:
    reader = read(get(*lines) + b"abc" + GET)
    request = reader.events[0]
    assert isinstance(request, Request)
    assert request.upgrade == upgrade
    assert reader.upgraded == upgrade
    if upgrade:
        assert reader.rest == b"abc" + GET


def test_the_body_of_an_upgrade_is_no_request() -> None:
    inner = GET.replace(b"/", b"/smuggled", 1)
    lines = b"Connection: upgrade", b"Upgrade: h2c"
    for data in (
        post(*lines, b"Content-Length: %d" % len(inner), body=inner),
        chunked(b"%x\r\n%s\r\n0\r\n\r\n" % (len(inner), inner), *lines),
    ):
        request, body, end, after, _ = read(data + GET).events
        assert isinstance(request, Request)
        assert isinstance(after, Request)
        assert (request.upgrade, body, end, after.target) == (False, inner, END, "/")


def test_there_are_no_upgrades_in_1_0() -> None:
    reader = read(b"GET / HTTP/1.0\r\nConnection: upgrade, keep-alive\r\nUpgrade: websocket\r\n\r\n" + GET)
    request = reader.events[0]
    assert isinstance(request, Request)
    assert not request.upgrade
    assert len(reader.events) == 4


# Persistence, expectations, pipelines


@pytest.mark.parametrize(
    ("data", "keep_alive"),
    [
        (GET, True),
        (get(b"Connection: keep-alive"), True),
        (get(b"Connection: Close"), False),
        (get(b"Connection: x,close"), False),
        (get(b"Connection: keep-alive, close"), False),
        (get(b"Connection: x", b"Connection: close"), False),
        (get(b"Connection: closed"), True),
        (get(b"Connection:"), True),
        (b"GET / HTTP/1.0\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: x\r\n\r\n", False),
    ],
)
def test_keep_alive(data: bytes, keep_alive: bool) -> None:
    reader = read(data + GET)
    assert len(reader.events) == (4 if keep_alive else 2)
    reader = read(data)
    assert reader.keep_alive == keep_alive
    reader.receive_data(GET)
    assert len(reader.events) == (4 if keep_alive else 2)
    assert reader.keep_alive == keep_alive
    assert not reader.started


@pytest.mark.parametrize(
    ("data", "expects"),
    [
        (post(b"Expect: 100-continue", b"Content-Length: 3"), True),
        (post(b"Expect: 100-Continue", b"Transfer-Encoding: chunked"), True),
        (post(b"Expect: 100-continue", b"Content-Length: 0"), False),
        (post(b"Expect: 100-continue"), False),
        (post(b"Content-Length: 3"), False),
        (b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", False),
        (b"POST / HTTP/1.0\r\nExpect: x\r\nContent-Length: 3\r\n\r\n", False),
        # Who sends the body does not wait.
        (post(b"Expect: 100-continue", b"Content-Length: 3", body=b"a"), False),
        (post(b"Expect: 100-continue", b"Transfer-Encoding: chunked", body=b"3\r\na"), False),
    ],
)
def test_expectations(data: bytes, expects: bool) -> None:
    reader = read(data)
    assert isinstance(reader.events[0], Request)
    assert reader.expects_continue == expects


def test_an_expectation_ends_with_its_request() -> None:
    assert not read(post(b"Expect: 100-continue", b"Content-Length: 3", body=b"abc") + GET).expects_continue
    assert not read(post(b"Expect: 100-continue", b"Content-Length: 3", body=b"abcX\n")).expects_continue


TARGETS = [
    b"/",
    b"/a?t=1",
    b"/a?t=2",
    b"/b#c",
    b"*",
    b"http://a/b",
    b"http://b/",
    b"/\x7f",
    b"/a b",
    b"//",
    b"a",
    b"",
]
REPEATED = [
    b"GET %s HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET %s HTTP/1.1\r\nHost: a\r\nX: b\r\n\r\n",
    b"HEAD %s HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET %s HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"POST %s HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
    b"POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"GET %s HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
]


@given(
    st.lists(st.tuples(st.sampled_from(REPEATED), st.sampled_from(TARGETS)), min_size=2, max_size=6),
    st.sampled_from([16, 19, 8_192]),
)
def test_what_a_head_repeats_is_read_as_if_it_came_first(
    requests: list[tuple[bytes, bytes]], header_line: int
) -> None:
    limits = Limits(header_line=header_line)
    reader = HttpReader(limits)
    for head, target in requests:
        alone = HttpReader(limits)
        for each in (reader, alone):
            each.receive_data(head % target)
        assert summary(reader.events) == summary(alone.events)
        assert (reader.keep_alive, reader.upgraded, reader.expects_continue, reader.in_body) == (
            alone.keep_alive,
            alone.upgraded,
            alone.expects_continue,
            alone.in_body,
        )
        for event in reader.events:
            if isinstance(event, Request):
                event.headers.clear()  # it is the receiver's own
        reader.events.clear()
        if reader.upgraded or not reader.keep_alive:
            return


def test_started() -> None:
    reader = HttpReader(LIMITS)
    assert not reader.started
    reader.receive_data(GET[:1])
    assert reader.started
    reader.receive_data(GET[1:])
    assert not reader.started
    reader.receive_data(post(b"Content-Length: 1"))
    assert not reader.started
    reader.receive_data(b"xG")
    assert reader.started


def test_a_flood_of_requests_is_parsed_in_parts() -> None:
    limits = Limits(pipelined_requests=3)
    reader = read(GET * 7 + GET[:4], limits=limits)
    assert reader.events.count(END) == 3
    assert reader.held
    assert not reader.started
    reader.events.clear()
    reader.resume()
    assert (reader.events.count(END), reader.held) == (3, True)
    reader.resume()
    assert (reader.events.count(END), reader.held, reader.started) == (4, False, True)
    reader.receive_data(GET[4:])
    assert reader.events.count(END) == 5


def test_data_goes_behind_what_is_held() -> None:
    reader = read(GET * 3, limits=Limits(pipelined_requests=1))
    assert reader.held
    reader.receive_data(UPGRADE[:10])
    assert (reader.events.count(END), reader.held) == (2, True)
    reader.receive_data(UPGRADE[10:] + b"x")
    assert (reader.events.count(END), reader.held) == (3, True)
    reader.resume()
    assert (reader.upgraded, reader.rest, reader.held) == (True, b"x", False)


def test_exactly_as_many_as_allowed_are_not_held() -> None:
    reader = read(GET * 3, limits=Limits(pipelined_requests=3))
    assert not reader.held
    reader.resume()
    assert reader.events.count(END) == 3


# Responses


def test_a_response() -> None:
    response = Response(
        200, [("Content-Type", "text/plain; charset=UTF-8"), ("cache-control", "no-store")], b"2"
    )
    assert encode_response(response, Request(), close=False) == (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=UTF-8\r\ncache-control: no-store\r\n"
        b"Content-Length: 1\r\n\r\n2"
    )


@pytest.mark.parametrize(
    ("response", "request_", "close", "status", "rest"),
    [
        (Response(200), Request(), True, b"200 OK", b"Connection: close\r\nContent-Length: 0\r\n"),
        (Response(400), None, True, b"400 Bad Request", b"Connection: close\r\nContent-Length: 0\r\n"),
        (Response(204), Request(), False, b"204 No Content", b""),
        (Response(304, body=b"x"), Request(), False, b"304 Not Modified", b""),
        (Response(101, [("Upgrade", "a")]), Request(), False, b"101 Switching Protocols", b"Upgrade: a\r\n"),
        (Response(204, [("Content-Length", "0")]), None, False, b"204 No Content", b"Content-Length: 0\r\n"),
        (Response(204, [("Content-Length", "5")]), None, False, b"204 No Content", b""),
        (Response(200, body=b"abc"), Request(method="HEAD"), False, b"200 OK", b"Content-Length: 3\r\n"),
        (
            Response(200),
            Request(version="1.0"),
            False,
            b"200 OK",
            b"Connection: keep-alive\r\nContent-Length: 0\r\n",
        ),
        (
            Response(200),
            Request(version="1.0"),
            True,
            b"200 OK",
            b"Connection: close\r\nContent-Length: 0\r\n",
        ),
        (Response(299), None, False, b"299 ", b"Content-Length: 0\r\n"),
        # What frames the message is not the application's.
        (Response(200, [("content-length", "9")]), None, False, b"200 OK", b"Content-Length: 0\r\n"),
        (Response(200, [("Transfer-Encoding", "chunked")]), None, False, b"200 OK", b"Content-Length: 0\r\n"),
        (Response(200, [("CONNECTION", "upgrade")]), None, False, b"200 OK", b"Content-Length: 0\r\n"),
    ],
)
def test_responses(
    response: Response, request_: Request | None, close: bool, status: bytes, rest: bytes
) -> None:
    expected = b"HTTP/1.1 " + status + b"\r\n" + rest + b"\r\n"
    assert encode_response(response, request_, close=close) == expected


def test_the_date_is_the_callers() -> None:
    data = encode_response(Response(200), None, close=False, date="Sun, 06 Nov 1994 08:49:37 GMT")
    assert b"\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n" in data


def test_a_header_added_behind_the_response_s_back_is_checked_too() -> None:
    response = Response(200)
    response.headers.append(("X", "a\r\nSet-Cookie: b"))
    with pytest.raises(ValueError, match="invalid value of the header X"):
        encode_response(response, None, close=False)


@given(
    st.integers(200, 599),
    st.lists(st.tuples(st.text(max_size=5), st.text(max_size=5)), max_size=3),
    st.binary(max_size=20),
    st.booleans(),
)
def test_h11_reads_what_was_written(
    status: int, headers: list[tuple[str, str]], body: bytes, close: bool
) -> None:
    kept = []
    for field in headers:
        try:
            Response(200, [field])
        except ValueError:
            continue
        kept.append(field)
    data = encode_response(Response(status, kept, body), Request(), close=close)
    peer = h11.Connection(h11.CLIENT)
    peer.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    peer.send(h11.EndOfMessage())
    peer.receive_data(data)
    event = peer.next_event()
    assert isinstance(event, h11.Response)
    assert event.status_code == status
    seen = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in event.headers]
    assert [f for f in seen if f[0] not in ("content-length", "connection")] == [
        (n.lower(), v) for n, v in kept
    ]
    received = b""
    while isinstance(event := peer.next_event(), h11.Data):
        received += bytes(event.data)
    assert isinstance(event, h11.EndOfMessage)
    assert received == (b"" if status in (204, 304) else body)
    assert (peer.their_state is h11.MUST_CLOSE) == close


# Compression


@pytest.mark.parametrize(
    ("accept_encoding", "coding"),
    [
        ("", ""),
        ("gzip", "gzip"),
        ("GZip", "gzip"),
        ("x-gzip", "gzip"),
        ("deflate", "deflate"),
        ("gzip, deflate, br, zstd", "gzip"),
        ("deflate, gzip", "deflate"),
        ("br", ""),
        ("identity", ""),
        ("identity, gzip;q=0.1", "gzip"),
        ("gzip;q=0.5, deflate;q=0.8", "deflate"),
        ("gzip;q=0.8, deflate;q=0.8", "gzip"),
        ("gzip ; q=0.1,deflate;Q=0.2", "deflate"),
        ("gzip;q=0", ""),
        ("gzip;q=0.000", ""),
        ("gzip;q=0.001", "gzip"),
        ("gzip;q=0, deflate", "deflate"),
        ("*", "gzip"),
        ("*;q=0", ""),
        ("gzip;q=0, *", "deflate"),
        ("*;q=0.5, deflate", "deflate"),
        ("*, deflate;q=0.5", "gzip"),
        ("*, deflate", "deflate"),
        ("gzip;q=0, deflate;q=0, *", ""),
        ("gzip;q=x, deflate", "deflate"),
        ("gzip;q=-1, gzip;q=2", ""),
        (",,;;=,q=1", ""),
    ],
)
def test_choice_of_a_coding(accept_encoding: str, coding: str) -> None:
    assert choose_coding(accept_encoding) == coding
    body, chosen = compress_body(b"a" * 2_000, accept_encoding, 1_024)
    assert chosen == coding
    if coding == "gzip":
        assert gzip.decompress(body) == b"a" * 2_000
    elif coding == "deflate":
        assert zlib.decompress(body) == b"a" * 2_000
    else:
        assert body == b"a" * 2_000


def test_the_threshold() -> None:
    assert compress_body(b"a" * 99, "gzip", 100) == (b"a" * 99, "")
    assert compress_body(b"a" * 100, "gzip", 100)[1] == "gzip"


def test_what_would_grow_is_left_alone() -> None:
    assert compress_body(b"a", "gzip", 0) == (b"a", "")
    assert compress_body(bytes(range(256)), "deflate", 0) == (bytes(range(256)), "")


@given(st.text(st.sampled_from("gzipdeflat*;q=01. ,"), max_size=30))
def test_any_header_can_be_read(accept_encoding: str) -> None:
    assert choose_coding(accept_encoding) in ("", "gzip", "deflate")


def test_choices_are_bounded() -> None:
    for number in range(200):
        compress_body(b"a" * 100, f"gzip;q=0.{number}, x{number}", 1)
    assert compress_body(b"a" * 100, "deflate", 1)[1] == "deflate"


# Requests that are for another process


def owner_of(head: bytes) -> int:
    """``/2`` is for process 2, and so on; ``/`` for this one."""
    return int(head[5:6]) if head[5:6].isdigit() else -1


@given(cuts=st.lists(st.integers(0, 300), max_size=6), after=st.binary(max_size=40))
def test_a_misdirected_request_is_kept_with_all_that_follows(cuts: list[int], after: bytes) -> None:
    mine = post(b"Content-Length: 5", body=b"hello")
    other = get(b"Cookie: a=b", line=b"GET /2 HTTP/1.1") + after
    reader = HttpReader(LIMITS, owner=owner_of)
    data = mine + GET + other
    start = 0
    for cut in [*sorted(cuts), len(data)]:
        reader.receive_data(data[start:cut])
        start = max(start, cut)
    *events, last = reader.events
    assert isinstance(last, Misdirected)
    assert last.owner == 2
    assert [event[0] for event in summary(events) if isinstance(event, tuple)] == ["POST", "GET"]
    assert reader.rest == other


def test_a_misdirected_request_waits_for_its_turn() -> None:
    reader = HttpReader(Limits(pipelined_requests=1), owner=owner_of)
    reader.receive_data(GET + GET + get(line=b"GET /3 HTTP/1.1"))
    assert reader.held
    reader.resume()
    reader.resume()
    last = reader.events[-1]
    assert isinstance(last, Misdirected)
    assert last.owner == 3


def test_the_next_request_may_be_kept_whoever_it_is_for() -> None:
    reader = HttpReader(LIMITS, owner=owner_of)
    reader.keep_next = True
    reader.receive_data(get(line=b"GET /2 HTTP/1.1") * 2)
    assert [type(event) for event in reader.events] == [Request, type(END), Misdirected]
