"""CORS as the ``cors`` module of Node has it, and the question whether an origin is our own."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sio_core.wire.cors import Cors, allows, cors_headers, preflight, same_origin
from sio_core.wire.http import encode_response
from sio_core.wire.message import Request

A = "http://a.example"
B = "http://b.example:3000"


def request(method: str = "GET", origin: str | None = A, asked: str | None = None) -> Request:
    headers = {}
    if origin is not None:
        headers["origin"] = origin
    if asked is not None:
        headers["access-control-request-headers"] = asked
    return Request(method=method, headers=headers)


def short(headers: list[tuple[str, str]]) -> dict[str, str]:
    """Return headers by the end of their names; none is there twice."""
    assert len({name for name, _ in headers}) == len(headers)
    return {name.removeprefix("Access-Control-"): value for name, value in headers}


METHODS = {"Allow-Methods": "GET,HEAD,PUT,PATCH,POST,DELETE"}
ASKED = "Access-Control-Request-Headers"
NAMED = {"Allow-Origin": A, "Vary": "Origin"}, {"Allow-Origin": A, "Vary": f"Origin, {ASKED}"}


@pytest.mark.feature(31, 32, 33, 34, 35, 36, 37)
@pytest.mark.parametrize(
    ("cors", "origin", "actual", "preflighted"),
    [
        (Cors(), A, {"Allow-Origin": "*"}, {"Allow-Origin": "*", "Vary": ASKED}),
        (Cors(), None, {"Allow-Origin": "*"}, {"Allow-Origin": "*", "Vary": ASKED}),
        # One origin is always named, so that caches may keep the answer.
        *[(Cors(origins=A), origin, *NAMED) for origin in (A, B, "null", None)],
        *[(Cors(origins=origins), A, *NAMED) for origins in (
            [A, B], (B, A), True, re.compile(r"http://[ab]\.example"), [re.compile("x"), re.compile(".*")],
            lambda origin: True, lambda origin: [A], lambda origin: origin == A, lambda origin: A,
        )],
        *[(Cors(origins=origins), A, {"Vary": "Origin"}, {"Vary": f"Origin, {ASKED}"})
          for origins in ([B], (), re.compile("a"), re.compile(r"http://a\.exampl"), lambda origin: [B])],
        (Cors(origins=[A]), None, {"Vary": "Origin"}, {"Vary": f"Origin, {ASKED}"}),
        (Cors(origins=True), None, {"Vary": "Origin"}, {"Vary": f"Origin, {ASKED}"}),
        (Cors(origins=True), "null", {"Allow-Origin": "null", "Vary": "Origin"},
         {"Allow-Origin": "null", "Vary": f"Origin, {ASKED}"}),
        (Cors(origins=lambda origin: "*"), A, {"Allow-Origin": "*"}, {"Allow-Origin": "*", "Vary": ASKED}),
        # Credentials, even for an origin that is not named.
        (Cors(origins=[A], credentials=True), B, {"Allow-Credentials": "true", "Vary": "Origin"},
         {"Allow-Credentials": "true", "Vary": f"Origin, {ASKED}"}),
        (Cors(exposed_headers="X-A"), A, {"Allow-Origin": "*", "Expose-Headers": "X-A"},
         {"Allow-Origin": "*", "Expose-Headers": "X-A", "Vary": ASKED}),
        (Cors(exposed_headers=["X-A", "X-B"]), A, {"Allow-Origin": "*", "Expose-Headers": "X-A,X-B"},
         {"Allow-Origin": "*", "Expose-Headers": "X-A,X-B", "Vary": ASKED}),
        (Cors(max_age=0), A, {"Allow-Origin": "*"}, {"Allow-Origin": "*", "Max-Age": "0", "Vary": ASKED}),
        (Cors(max_age=600), A, {"Allow-Origin": "*"}, {"Allow-Origin": "*", "Max-Age": "600", "Vary": ASKED}),
        (Cors(allowed_headers="X-A"), A, {"Allow-Origin": "*"}, {"Allow-Origin": "*", "Allow-Headers": "X-A"}),
        (Cors(allowed_headers=["X-A", "X-B"]), A, {"Allow-Origin": "*"},
         {"Allow-Origin": "*", "Allow-Headers": "X-A,X-B"}),
    ],
)  # fmt: skip
def test_headers(cors: Cors, origin: str | None, actual: dict[str, str], preflighted: dict[str, str]) -> None:
    for method in ("GET", "POST", "HEAD"):
        assert short(cors_headers(cors, request(method, origin))) == actual
        assert preflight(cors, request(method, origin)) is None
    assert short(cors_headers(cors, request("OPTIONS", origin))) == {**METHODS, **preflighted}
    response = preflight(cors, request("OPTIONS", origin))
    assert response is not None
    assert response.status == 204
    assert short(response.headers) == {**METHODS, **preflighted, "Content-Length": "0"}
    data = encode_response(response, request("OPTIONS", origin), close=False)
    assert data.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert data.endswith(b"Content-Length: 0\r\n\r\n")


def test_what_is_asked_for_is_allowed() -> None:
    headers = short(cors_headers(Cors(), request("OPTIONS", asked="x-a, x-b")))
    assert headers["Allow-Headers"] == "x-a, x-b"
    assert "Allow-Headers" not in short(cors_headers(Cors(), request("OPTIONS", asked="")))
    assert "Allow-Headers" not in short(cors_headers(Cors(), request("GET", asked="x-a")))
    headers = short(cors_headers(Cors(allowed_headers="x-c"), request("OPTIONS", asked="x-a")))
    assert headers["Allow-Headers"] == "x-c"


@pytest.mark.feature(33, 39)
def test_methods_and_status_of_a_preflight() -> None:
    cors = Cors(methods=["GET", "POST"], options_success_status=200)
    response = preflight(cors, request("OPTIONS"))
    assert response is not None
    assert response.status == 200
    assert short(response.headers)["Allow-Methods"] == "GET,POST"


@pytest.mark.feature(38)
def test_preflights_that_go_on() -> None:
    cors = Cors(preflight_continue=True)
    assert preflight(cors, request("OPTIONS")) is None
    assert short(cors_headers(cors, request("OPTIONS"))) == {**METHODS, "Allow-Origin": "*", "Vary": ASKED}


@pytest.mark.parametrize("answer", [False, None, ""])
def test_a_function_may_opt_out(answer: Any) -> None:
    cors = Cors(origins=lambda origin: answer)
    assert cors_headers(cors, request()) == []
    assert cors_headers(cors, request("OPTIONS")) == []
    assert preflight(cors, request("OPTIONS")) is None
    assert not allows(cors, A)


@pytest.mark.feature(32)
def test_a_function_is_given_the_origin() -> None:
    seen: list[str | None] = []

    def origins(origin: str | None) -> bool:
        seen.append(origin)
        return False

    cors = Cors(origins=origins)
    cors_headers(cors, request(origin=B))
    cors_headers(cors, request(origin=None))
    assert seen == [B, None]


def test_what_a_function_must_not_return() -> None:
    class Coroutine:
        pass

    answers: list[Any] = [Coroutine(), 1, {A}]
    cors = Cors(origins=lambda origin: answers.pop())
    while answers:
        with pytest.raises(TypeError, match="the function for origins returned"):
            cors_headers(cors, request())
    with pytest.raises(ValueError, match="browsers refuse them"):
        cors_headers(Cors(origins=lambda origin: "*", credentials=True), request())


@pytest.mark.parametrize("value", ["http://a\r\nSet-Cookie: b", "http://a\0", " ", "http://a "])
def test_nothing_is_reflected_that_is_no_header_value(value: str) -> None:
    assert "Allow-Origin" not in short(cors_headers(Cors(origins=True), request(origin=value)))
    response = preflight(Cors(), request("OPTIONS", asked=value))
    assert response is not None
    assert "Allow-Headers" not in short(response.headers)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"credentials": True}, "browsers refuse them"),
        ({"origins": "*", "credentials": True}, "browsers refuse them"),
        ({"origins": ["*"]}, "cannot stand in a sequence"),
        ({"origins": [A, 1]}, "cannot stand in a sequence"),
        ({"origins": [True]}, "cannot stand in a sequence"),
        ({"origins": ""}, "must not be empty"),
        ({"origins": False}, "must not be False"),
        ({"origins": "http://a\r\nX: y"}, "invalid value"),
        ({"methods": "GET\r\nX: y"}, "invalid value"),
        ({"methods": ["GET", "\n"]}, "invalid value"),
        ({"allowed_headers": "\0"}, "invalid value"),
        ({"exposed_headers": ["a\r"]}, "invalid value"),
        ({"max_age": -1}, "max_age must be"),
        ({"max_age": True}, "max_age must be"),
    ],
)
def test_rules_that_make_no_sense(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Cors(**options)


def test_rules_are_frozen() -> None:
    origins = [A]
    cors = Cors(origins=origins, credentials=True)
    origins.append(B)
    assert not allows(cors, B)
    with pytest.raises(AttributeError):
        cors.credentials = False  # type: ignore[misc]


@pytest.mark.parametrize(
    ("value", "rules"),
    [
        (None, None),
        (False, None),
        (True, Cors()),
        ("*", Cors()),
        (A, Cors(origins=A)),
        ([A, B], Cors(origins=(A, B))),
        ((A, B), Cors(origins=(A, B))),
        ({A}, Cors(origins=(A,))),
        (re.compile("a"), Cors(origins=re.compile("a"))),
        (Cors(max_age=1), Cors(max_age=1)),
    ],
)
def test_short_forms(value: object, rules: Cors | None) -> None:
    assert Cors.parse(value) == rules


def test_short_form_of_a_function() -> None:
    rules = Cors.parse(lambda origin: origin == A)
    assert rules is not None
    assert allows(rules, A)
    assert not allows(rules, B)


@pytest.mark.parametrize("value", [1, 1.5, b"*", {"origin": "*"}, object()])
def test_what_is_no_short_form(value: object) -> None:
    with pytest.raises(ValueError, match="cors must be"):
        Cors.parse(value)


@pytest.mark.parametrize(
    ("origins", "allowed", "refused"),
    [
        ("*", [A, B, "null", "junk"], []),
        (True, [A, B, "null"], []),
        (A, [A, "http://A.Example", "http://a.example:80"],
         [B, "https://a.example", "http://a.example:81", "http://a.example.evil", "http://evil-a.example", "null", "",
          "http://a.example/", "http://b@a.example", "http://a.example:80:80", "http://a.example#", "a.example"]),
        ("HTTP://A.example:80", [A], [B]),
        ([A, B], [A, B, "http://b.example:3000"], ["http://b.example", "http://a.example:3000"]),
        (["null"], ["null"], [A, "NULL"]),
        # The whole origin, unlike JavaScript's test(): no look-alikes.
        (re.compile(r"https://.*\.example"), ["https://x.example"], ["https://x.example.evil", "http://x.example"]),
        (re.compile(r"example\.com$"), [], ["https://example.com", "https://evilexample.com"]),
        ([re.compile("https?://a"), B], ["http://a", "https://a", B], ["https://ab"]),
        ((), [], [A, "null"]),
    ],
)  # fmt: skip
def test_allows(origins: Any, allowed: list[str], refused: list[str]) -> None:
    cors = Cors(origins=origins)
    for origin in allowed:
        assert allows(cors, origin), origin
    for origin in refused:
        assert not allows(cors, origin), origin


SAME = [
    ("http://a", "a"),
    ("https://a", "a"),
    ("http://a:80", "a"),
    ("http://a", "a:80"),
    ("https://a:443", "a"),
    ("https://a", "a:443"),
    ("ws://a", "a:80"),
    ("wss://a", "a:443"),
    ("http://a:3000", "a:3000"),
    ("https://a:3000", "a:3000"),
    ("http://a:80", "a:80"),
    ("http://A.Example", "a.eXample"),
    ("HTTP://a", "a:80"),
    ("http://a_b-c.d", "a_b-c.d"),
    ("http://127.0.0.1:3000", "127.0.0.1:3000"),
    ("http://[::1]:3000", "[::1]:3000"),
    ("http://[::1]", "[::1]:80"),
    ("http://[FE80::1]", "[fe80::1]"),
    ("http://a", "a:"),
    ("capacitor://localhost", "localhost"),
]
OTHER = [
    ("http://a", "b"),
    ("http://a", "a:81"),
    ("http://a:81", "a"),
    ("https://a", "a:80"),
    ("http://a", "a:443"),
    ("https://a:80", "a"),
    ("http://a:3000", "a:3001"),
    ("http://a.evil", "a"),
    ("http://evil.a", "a"),
    ("http://evila", "a"),
    ("http://a", "evil.a"),
    ("http://a.", "a"),
    ("null", "a"),
    ("null", "null"),
    ("", "a"),
    ("", ""),
    ("http://", ""),
    ("http://a", ""),
    ("a", "a"),
    ("//a", "a"),
    ("http:a", "a"),
    ("http:/a", "a"),
    ("http://a/", "a"),
    ("http://a/b", "a"),
    ("http://a?b", "a"),
    ("http://a#b", "a"),
    ("http://evil@a", "a"),
    ("http://evil:x@a", "a"),
    ("http://a@evil", "a"),
    ("http://a\\@evil", "a"),
    ("http://a evil", "a"),
    ("http://a, http://b", "a"),
    ("http://a http://b", "a"),
    (" http://a", "a"),
    ("http://a ", "a"),
    ("http://a\n", "a"),
    ("http://a\0", "a"),
    ("http://a:", "a"),
    ("http://a:80:80", "a"),
    ("http://a:+80", "a"),
    ("http://a:8_0", "a"),
    ("http://a:\u0668\u0660", "a"),
    ("http://a:080", "a"),
    ("http://a:0", "a:0"),
    ("http://a:-1", "a"),
    ("http://\u00e4", "\u00e4"),
    ("http://a%2e", "a%2e"),
    ("http://*", "*"),
    ("http://[::1", "[::1"),
    ("http://::1", "::1"),
    ("http://[::1]:3000", "[::1]"),
    ("http://[::1]x", "[::1]"),
    ("http://a", "a/b"),
    ("http://a", "x@a"),
    ("http://a", "a, b"),
    ("http://a", "a\n"),
    ("http://a", "a:x"),
    ("http://a", "a:80:80"),
    ("capacitor://localhost", "localhost:3000"),
    ("file://", "a"),
    ("1http://a", "a"),
]


@pytest.mark.parametrize(("origin", "host"), SAME)
def test_same_origin(origin: str, host: str) -> None:
    assert same_origin(origin, host)


@pytest.mark.parametrize(("origin", "host"), OTHER)
def test_another_origin(origin: str, host: str) -> None:
    assert not same_origin(origin, host)


hosts = st.from_regex(r"(?:[a-z]{1,4}(?:\.[a-z]{1,3})?|\[::[0-9a-f]\])(?::(?:80|443|81))?", fullmatch=True)


@given(hosts, hosts, st.sampled_from(["http", "https"]))
@example("a", "a:80", "http")
def test_only_default_ports_may_be_left_out(one: str, two: str, scheme: str) -> None:
    def full(host: str) -> str:
        if host.endswith("]") or ":" not in host.rpartition("]")[2]:
            return f"{host}:{80 if scheme == 'http' else 443}"
        return host

    assert same_origin(f"{scheme}://{one}", two) == (full(one) == full(two))


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_may_come(origin: str, host: str) -> None:
    if same_origin(origin, host):
        assert host.partition(":")[0].lower() in origin.lower()
    allows(Cors(origins=[A]), origin)
