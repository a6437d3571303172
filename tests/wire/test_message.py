"""Requests, responses and header fields."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sio_core.wire import message
from sio_core.wire.message import Fields, Request, Response, header_line, is_field_value, parse_query, share

# Query strings


@pytest.mark.parametrize(
    ("query", "params"),
    [
        # What URLSearchParams of Node makes of them.
        ("", {}),
        ("EIO=4&transport=polling", {"EIO": "4", "transport": "polling"}),
        ("a=1&b=2&a=3", {"a": "3", "b": "2"}),
        ("a", {"a": ""}),
        ("a=", {"a": ""}),
        ("=a", {"": "a"}),
        ("&&a=1&", {"a": "1"}),
        ("a=b=c", {"a": "b=c"}),
        ("a+b=c+d", {"a b": "c d"}),
        ("a=%2B%20%26", {"a": "+ &"}),
        ("%61=%c3%a4", {"a": "ä"}),
        ("a=%ff", {"a": "\ufffd"}),
        ("a=%e2%82", {"a": "\ufffd"}),
        ("a=%zz%4", {"a": "%zz%4"}),
        ("a=%00", {"a": "\0"}),
        ("?a=1", {"?a": "1"}),
        ("a=1;b=2", {"a": "1;b=2"}),
        ("__proto__=1", {"__proto__": "1"}),
    ],
)
def test_query(query: str, params: dict[str, str]) -> None:
    assert parse_query(query) == params


@given(st.text(st.sampled_from("ab=&+%2c3A41ff;?#"), max_size=30))
@example("a=%" + "&" * 10)
def test_query_agrees_with_the_standard_library(query: str) -> None:
    assert parse_query(query) == dict(parse_qsl(query, keep_blank_values=True))


@given(st.dictionaries(st.text("abc_.-0", max_size=5), st.text("abc_.-0", max_size=5), max_size=5))
def test_plain_queries_need_no_decoding(params: dict[str, str]) -> None:
    query = "&".join(f"{name}={value}" for name, value in params.items())
    assert parse_query(query) == params
    assert parse_query(query + "&x=%20") == {**params, "x": " "}


# Requests


def test_the_target_is_split_at_the_first_question_mark() -> None:
    request = Request(target="/a/b?c=d?e")
    assert (request.path, request.query) == ("/a/b", "c=d?e")
    assert request.params == {"c": "d?e"}


def test_path_and_query_of_another_server_count() -> None:
    request = Request(target="/prefix/x?y=1", path="/x", query="y=2")
    assert (request.target, request.path, request.query) == ("/prefix/x?y=1", "/x", "y=2")
    assert Request(target="/p/x?y=1", path="/x").query == "y=1"
    assert Request(target="/p/x?y=1", query="").path == "/p/x"


def test_params_are_parsed_once() -> None:
    request = Request(target="/?a=1")
    assert request.params is request.params


def test_defaults() -> None:
    request = Request()
    assert (request.method, request.target, request.path, request.query) == ("GET", "/", "/", "")
    assert (request.version, request.secure, request.address, request.port) == ("1.1", False, "", 0)
    assert (request.headers, request.body, request.upgrade) == ({}, b"", False)


def test_repr_keeps_the_session_id_to_itself() -> None:
    assert repr(Request(target="/socket.io/?sid=secret")) == "<Request GET '/socket.io/'>"


def test_a_request_has_no_other_attributes() -> None:
    with pytest.raises(AttributeError):
        Request().session = None  # type: ignore[attr-defined]


# Header fields of a request


def fields(*lines: tuple[bytes, bytes]) -> Fields:
    result = Fields()
    for name, value in lines:
        result.on_header(name, value)
    return result


@pytest.mark.parametrize(
    ("name", "joined"),
    [
        # As Node 20 joins "a" and "b".
        ("Accept", "a, b"),
        ("X-Anything", "a, b"),
        ("Upgrade", "a, b"),
        ("Sec-WebSocket-Key", "a, b"),
        ("Sec-WebSocket-Protocol", "a, b"),
        ("X-Forwarded-For", "a, b"),
        ("Origin", "a, b"),
        ("Cookie", "a; b"),
        ("Authorization", "a"),
        ("Content-Type", "a"),
        ("Proxy-Authorization", "a"),
        ("Referer", "a"),
        ("User-Agent", "a"),
        ("If-Modified-Since", "a"),
        ("Max-Forwards", "a"),
    ],
)
def test_repeated_fields(name: str, joined: str) -> None:
    result = fields((name.encode(), b"a"), (name.upper().encode(), b"b"))
    assert result.headers == {name.lower(): joined}
    assert result.count == 2
    assert result.problem == ""


@pytest.mark.parametrize("name", [b"Host", b"Content-Length", b"TRANSFER-ENCODING"])
def test_fields_that_must_not_be_repeated(name: bytes) -> None:
    assert fields((name, b"a")).problem == ""
    assert fields((name, b"a"), (name.lower(), b"a")).problem == "repeated header"


@pytest.mark.parametrize("name", [b"", b"a b", b" a", b"a\t", b"a:b", b"\xe4", b"a\x00", b"(a)", b'"a"'])
def test_names_that_are_no_tokens(name: bytes) -> None:
    assert fields((name, b"a")).problem == "invalid header name"


def test_values_are_stripped_of_white_space_only() -> None:
    result = fields((b"a", b" \t x y\t "), (b"b", b"\xa0\xe4\x85"), (b"c", b""), (b"accept", b" */* "))
    assert result.headers == {"a": "x y", "b": "\xa0ä\x85", "c": "", "accept": "*/*"}


def test_names_and_common_values_are_shared() -> None:
    lines = ((b"User-Agent", b"Mozilla/5.0 (X)"), (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ=="))
    one, two = fields(*lines).headers, fields(*lines).headers
    for (name, value), (other_name, other_value) in zip(one.items(), two.items(), strict=True):
        assert name is other_name
        assert (value is other_value) == (name == "user-agent")


@pytest.mark.parametrize(
    "spelling", [b"Sec-WebSocket-Key", b"sec-websocket-key", b"Sec-Websocket-Key", b"SEC-WEBSOCKET-KEY"]
)
def test_every_spelling_of_a_name_is_one(spelling: bytes) -> None:
    assert fields((spelling, b"x")).headers == {"sec-websocket-key": "x"}


def test_shared_values_are_bounded() -> None:
    for number in range(3_000):
        assert share(b"%d" % number) == str(number)
        assert len(message._VALUES) <= 1_024
    long = b"x" * 300
    assert share(long) == long.decode()
    assert long not in message._VALUES


# Responses


CONTROLS = [*map(chr, range(0x20)), "\x7f"]


@pytest.mark.parametrize("control", CONTROLS, ids=ascii)
def test_control_characters_are_refused(control: str) -> None:
    for value in (f"a{control}b", control, f"{control}a", f"a{control}"):
        if value == "a\tb":
            continue
        with pytest.raises(ValueError, match="invalid value of the header X"):
            Response(200, [("X", value)])
    with pytest.raises(ValueError, match="invalid header name"):
        Response(200, [(f"X{control}", "a")])


@pytest.mark.parametrize("name", ["", " ", "a b", "a:", "ä", "a\r\nb", "(a)"])
def test_names_are_tokens(name: str) -> None:
    with pytest.raises(ValueError, match="invalid header name"):
        header_line(name, "a")


@pytest.mark.parametrize("value", [" a", "a ", "\u20ac", "\ud800", "a\u2028b"])
def test_values_that_cannot_be_sent(value: str) -> None:
    with pytest.raises(ValueError, match="invalid value"):
        header_line("X", value)


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("X", "", b"X: \r\n"),
        ("Set-Cookie", 'io="a b"; Path=/', b'Set-Cookie: io="a b"; Path=/\r\n'),
        ("X", "a\tb", b"X: a\tb\r\n"),
        ("X", "ä", b"X: \xe4\r\n"),
    ],
)
def test_lines(name: str, value: str, line: bytes) -> None:
    assert header_line(name, value) == line
    assert header_line(name, value) == line
    assert is_field_value(value)


@given(st.text(max_size=8), st.text(max_size=8))
@example("Content-Type", "text/plain\r\nSet-Cookie: a=b")
@example("Content-Type: a\r\nX", "b")
def test_a_line_is_one_line_or_refused(name: str, value: str) -> None:
    try:
        line = header_line(name, value)
    except ValueError:
        return
    assert line.endswith(b"\r\n")
    assert not set(line[:-2]) & {0, 10, 13}
    assert line == f"{name}: {value}\r\n".encode("latin-1")


def test_known_lines_are_bounded() -> None:
    for number in range(1_000):
        header_line("Date", f"day {number}")
        assert len(message._LINES) <= 256


def test_secrets_are_not_remembered() -> None:
    header_line("Set-Cookie", "io=secret")
    assert ("Set-Cookie", "io=secret") not in message._LINES


def test_headers_are_added_and_replaced() -> None:
    response = Response(200, [("A", "1"), ("B", "2"), ("a", "3")])
    response.add_header("b", "4")
    response.set_header("A", "5")
    assert response.headers == [("B", "2"), ("b", "4"), ("A", "5")]
    for method in (response.add_header, response.set_header):
        with pytest.raises(ValueError, match="invalid value"):
            method("A", "1\r\nB: 2")
    assert response.headers == [("B", "2"), ("b", "4"), ("A", "5")]


def test_responses_do_not_share_headers() -> None:
    one, two = Response(200), Response(200)
    one.add_header("A", "1")
    assert two.headers == []
    assert repr(one) == "<Response 200, 0 bytes>"
