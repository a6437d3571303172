"""sio_core.engineio.engine: the verdict about every request, in the official server's order."""

from __future__ import annotations

import gc
import logging
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sio_core.engineio.engine import (
    Answer,
    Open,
    Pending,
    Poll,
    Post,
    Refused,
    Upgrade,
    Verdict,
    is_header_value,
)
from sio_core.engineio.session import Application, Session
from sio_core.limits import Limits
from sio_core.wire.cors import Cors
from sio_core.wire.message import Request, Response
from tests.engineio.world import Link, World, make_request, settle, value_of

CODES = {
    0: b'{"code":0,"message":"Transport unknown"}',
    1: b'{"code":1,"message":"Session ID unknown"}',
    2: b'{"code":2,"message":"Bad handshake method"}',
    3: b'{"code":3,"message":"Bad request"}',
    4: b'{"code":4,"message":"Forbidden"}',
    5: b'{"code":5,"message":"Unsupported protocol version"}',
}


def refuse(world: World, request: Request, code: int, context: dict[str, Any], status: int = 400) -> Refused:
    """Have a request refused, with that code and one ``connection_error``."""
    world.errors.clear()
    verdict = settle(world.admit(request))
    assert isinstance(verdict, Refused)
    assert (verdict.status, verdict.code) == (status, code)
    standard = re.search(rb'message":"(.*)"', CODES[code])
    assert standard is not None
    message = standard[1].decode()
    assert world.errors == [{"request": request, "code": code, "message": message, "context": context}]
    return verdict


# The answers


@pytest.mark.parametrize("code", range(6))
def test_the_answer_to_a_plain_request(code: int) -> None:
    world = World(allow_request=lambda request: False)
    requests = [
        make_request("nothing"),
        make_request(sid="nobody"),
        make_request(method="POST"),
        make_request("websocket"),
        make_request(),
        make_request(protocol=3),
    ]
    if code == 5:
        world = World()
    verdict = world.admit(requests[code])
    assert isinstance(verdict, Refused)
    response = verdict.response()
    assert response.status == (403 if code == 4 else 400)
    assert response.headers == [("Content-Type", "application/json")]
    assert response.body == CODES[code]


def test_the_answer_to_an_upgrade_request_is_always_400_and_text() -> None:
    world = World(allow_request=lambda request: "not today")
    verdict = refuse(world, make_request("websocket", upgrade=True), 4, {"message": "not today"}, 403)
    response = verdict.upgrade_response()
    assert (response.status, response.body) == (400, b"not today")
    assert response.headers == [("Content-Type", "text/html")]


# The checks, in their order


@pytest.mark.parametrize("transport", [None, "", "nothing", "webtransport", "Polling", "__proto__"])
def test_transport_unknown(transport: str | None) -> None:
    world = World()
    refuse(world, make_request(transport, method="POST", sid="nobody"), 0, {"transport": transport})


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_transport_not_enabled(transport: str) -> None:
    world = World(transports=["websocket" if transport == "polling" else "polling"])
    refuse(world, make_request(transport, upgrade=transport == "websocket"), 0, {"transport": transport})


@pytest.mark.parametrize("origin", ["http://a\x00", "http://a\x7f", "http://a\n", "http://€"])
def test_an_origin_that_no_header_may_carry(origin: str) -> None:
    world = World(check_origin=False)
    request = make_request(sid="nobody", headers={"origin": origin})
    refuse(world, request, 3, {"name": "INVALID_ORIGIN", "origin": origin})
    assert "origin" not in request.headers


@pytest.mark.parametrize("origin", ["http://a.example", "tab\there", "\x80\xff", ""])
def test_an_origin_that_a_header_may_carry(origin: str) -> None:
    assert is_header_value(origin)
    world = World(check_origin=False)
    assert isinstance(world.admit(make_request(headers={"origin": origin})), Open)


@pytest.mark.parametrize("upgrade", [False, True])
@pytest.mark.parametrize("sid", ["nobody", "__proto__", "constructor", "%00", "a" * 2_000])
def test_session_unknown(sid: str, upgrade: bool) -> None:
    world = World()
    request = make_request("websocket" if upgrade else "polling", upgrade=upgrade, protocol=3, sid=sid)
    refuse(world, request, 1, {"sid": request.params["sid"]})


def test_transport_mismatch() -> None:
    world = World()
    polling, websocket = world.open(), world.open("websocket")
    context = {"name": "TRANSPORT_MISMATCH", "transport": "websocket", "previousTransport": "polling"}
    refuse(world, make_request("websocket", sid=polling.id, protocol=3), 3, context)
    context = {"name": "TRANSPORT_MISMATCH", "transport": "polling", "previousTransport": "websocket"}
    refuse(world, make_request(sid=websocket.id), 3, context)
    refuse(world, make_request(sid=websocket.id, method="POST"), 3, context)
    world.upgrade(polling)
    refuse(world, make_request(sid=polling.id), 3, context)


@pytest.mark.parametrize("upgrade", [False, True])
def test_protocol_mismatch(upgrade: bool) -> None:
    world = World(allow_eio3=True)
    new, old = world.open(), world.open(protocol=3)
    transport = "websocket" if upgrade else "polling"
    context = {"name": "PROTOCOL_MISMATCH", "protocol": 3, "previousProtocol": 4}
    refuse(world, make_request(transport, upgrade=upgrade, sid=new.id, protocol=3), 3, context)
    refuse(world, make_request(transport, upgrade=upgrade, sid=new.id, protocol=None), 3, context)
    context = {"name": "PROTOCOL_MISMATCH", "protocol": 4, "previousProtocol": 3}
    refuse(world, make_request(transport, upgrade=upgrade, sid=old.id), 3, context)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "get"])
def test_bad_handshake_method(method: str) -> None:
    world = World(allow_request=lambda request: False)
    refuse(world, make_request(method=method, protocol=3), 2, {"method": method})
    refuse(world, make_request("websocket", method=method, upgrade=True), 2, {"method": method})


def test_a_websocket_without_an_upgrade() -> None:
    world = World(allow_request=lambda request: False)
    refuse(world, make_request("websocket"), 3, {"name": "TRANSPORT_HANDSHAKE_ERROR"})
    session = World().open("websocket")
    world.engine.clients[session.id] = session
    refuse(world, make_request("websocket", sid=session.id), 3, {"name": "TRANSPORT_HANDSHAKE_ERROR"})


def test_an_upgrade_to_polling() -> None:
    world = World()
    session = world.open()
    request = make_request("polling", upgrade=True, sid=session.id)
    refuse(world, request, 3, {"name": "TRANSPORT_HANDSHAKE_ERROR"})


def test_an_upgrade_where_websocket_is_not_enabled_is_a_plain_request() -> None:
    world = World(transports=["polling"])
    session = world.open()
    assert isinstance(world.admit(make_request(upgrade=True, sid=session.id)), Poll)
    assert isinstance(world.admit(make_request(upgrade=True)), Open)


@pytest.mark.parametrize("sid", [None, ""])
def test_the_protocol_is_looked_at_after_the_application(sid: str | None) -> None:
    params: Any = {} if sid is None else {"sid": sid}
    world = World(allow_request=lambda request: False)
    refuse(world, make_request(protocol=3, **params), 4, {"message": None}, 403)
    world = World()
    for protocol in (None, 3, 5):
        refuse(world, make_request(protocol=protocol, **params), 5, {"protocol": 3})
    assert isinstance(World(allow_eio3=True).admit(make_request(protocol=3, **params)), Open)


def test_what_a_session_is_asked() -> None:
    world = World()
    session = world.open()
    get, post = (
        world.admit(make_request(sid=session.id)),
        world.admit(make_request(sid=session.id, method="POST")),
    )
    upgrade = world.admit(make_request("websocket", upgrade=True, sid=session.id))
    assert isinstance(get, Poll)
    assert isinstance(post, Post)
    assert isinstance(upgrade, Upgrade)
    assert get.session is post.session is upgrade.session is session
    assert world.errors == []


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"])
def test_other_methods_leave_the_session_alone(method: str) -> None:
    world = World()
    session = world.open()
    verdict = world.admit(make_request(sid=session.id, method=method))
    assert isinstance(verdict, Refused)
    response = verdict.response()
    assert (response.status, response.headers, response.body) == (500, [], b"")
    assert world.errors == []
    assert session.state == "open"


@given(
    st.dictionaries(
        st.sampled_from(["sid", "EIO", "transport", "t", "j", "b64"]) | st.text(max_size=5),
        st.sampled_from(["", "4", "polling", "websocket"]) | st.text(max_size=30),
    ),
    st.sampled_from(["GET", "POST", "OPTIONS", "X"]),
    st.booleans(),
)
def test_any_request_gets_a_verdict(params: dict[str, str], method: str, upgrade: bool) -> None:
    world = World()
    request = make_request(method=method, upgrade=upgrade)
    request._params = params
    verdict = world.admit(request)
    assert isinstance(verdict, Open | Refused)
    if isinstance(verdict, Refused):
        assert verdict.response().body == CODES[verdict.code or 0]


# Origin


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("http://example.org", True),
        ("https://example.org", True),
        ("http://example.org:8080", False),
        ("http://evil.example", False),
        ("http://example.org.evil.example", False),
        ("null", False),
        ("", False),
        (None, True),
    ],
)
@pytest.mark.parametrize("sid", [False, True])
def test_a_page_of_another_origin_may_not_use_the_server(
    origin: str | None, allowed: bool, sid: bool
) -> None:
    world = World()
    params: Any = {"sid": world.open().id} if sid else {}
    headers = {"host": "example.org"} | ({} if origin is None else {"origin": origin})
    for request in (
        make_request(headers=dict(headers), **params),
        make_request("websocket", upgrade=True, headers=dict(headers), **params),
    ):
        if allowed:
            assert not isinstance(world.admit(request), Refused)
        else:
            refuse(world, request, 4, {"name": "FORBIDDEN_ORIGIN", "origin": origin}, 403)
        assert not isinstance(
            World(check_origin=False, cors=None).admit(make_request(headers=headers)), Refused
        )


def test_origins_that_cors_names_may() -> None:
    world = World(cors=Cors(origins=["http://a.example"]))
    verdict = settle(world.admit(make_request(headers={"origin": "http://a.example"})))
    assert isinstance(verdict, Open)
    assert ("Access-Control-Allow-Origin", "http://a.example") in verdict.headers
    verdict = refuse(
        world,
        make_request(headers={"origin": "http://b.example"}),
        4,
        {"name": "FORBIDDEN_ORIGIN", "origin": "http://b.example"},
        403,
    )
    assert verdict.response().headers == [("Vary", "Origin"), ("Content-Type", "application/json")]


# CORS


def test_every_options_request_is_a_preflight_where_there_are_rules() -> None:
    world = World(cors=Cors())
    seen: list[Request] = []
    world.engine.use(seen.append)
    for request in (make_request(method="OPTIONS"), make_request("nothing", method="OPTIONS", sid="nobody")):
        verdict = world.admit(request)
        assert isinstance(verdict, Answer)
        assert verdict.response.status == 204
    assert seen == []
    refuse(World(), make_request(method="OPTIONS"), 2, {"method": "OPTIONS"})


def test_a_preflight_may_go_on() -> None:
    world = World(cors=Cors(preflight_continue=True))
    verdict = refuse(world, make_request(method="OPTIONS"), 2, {"method": "OPTIONS"})
    assert ("Access-Control-Allow-Origin", "*") in verdict.response().headers


def test_a_function_may_say_that_cors_does_not_apply() -> None:
    world = World(cors=Cors(origins=lambda origin: False))
    refuse(world, make_request(method="OPTIONS"), 2, {"method": "OPTIONS"})
    verdict = world.admit(make_request())
    assert isinstance(verdict, Open)
    assert verdict.headers == []


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_a_function_of_cors_that_fails(method: str) -> None:
    error = ValueError("broken")

    def origins(origin: str | None) -> bool:
        raise error

    world = World(cors=Cors(origins=origins))
    request = make_request(method=method, headers={"origin": "http://a.example"})
    refuse(world, request, 3, {"name": "MIDDLEWARE_FAILURE", "error": error})


def test_a_function_of_cors_that_fails_the_second_time() -> None:
    answers: list[Any] = [True]
    world = World(cors=Cors(origins=lambda origin: answers.pop()))
    verdict = world.admit(make_request(headers={"origin": "http://a.example"}))
    assert isinstance(verdict, Refused)
    assert verdict.code == 3


# Middlewares


def test_middlewares_run_in_order_for_every_request() -> None:
    world = World()
    seen: list[str] = []

    @world.engine.use
    def first(request: Request, headers: dict[str, str]) -> None:
        seen.append("first")
        headers["x-first"] = "1"

    @world.engine.use
    async def second(request: Request) -> None:
        seen.append("second")

    @world.engine.use
    def third(request: Request) -> None:
        seen.append("third")

    session = World().open()
    world.engine.clients[session.id] = session
    for request in (
        make_request(),
        make_request(sid=session.id),
        make_request(sid=session.id, method="POST"),
        make_request("websocket", sid=session.id, upgrade=True),
        make_request("nothing"),
        make_request(sid=session.id, method="PUT"),
    ):
        seen.clear()
        verdict = world.admit(request)
        assert isinstance(verdict, Pending)
        assert seen == ["first"]
        verdict = settle(verdict)
        assert seen == ["first", "second", "third"]
        assert verdict.headers == [("x-first", "1")]


@pytest.mark.parametrize("is_async", [False, True])
def test_a_middleware_that_fails(is_async: bool) -> None:
    world = World()
    error = ValueError("no")
    reached: list[Request] = []

    def fail(request: Request) -> None:
        raise error

    def wait(request: Request) -> Any:
        return value_of(error)

    world.engine.use(wait if is_async else fail)
    world.engine.use(reached.append)
    refuse(world, make_request("nothing"), 3, {"name": "MIDDLEWARE_FAILURE", "error": error})
    assert reached == []


def test_a_middleware_may_answer_itself() -> None:
    world = World(cors=Cors())

    def headers_only(request: Request, headers: dict[str, str]) -> None:
        headers["x-own"] = "yes"

    world.engine.use(headers_only)
    world.engine.use(lambda request: value_of(Response(401, [("x-why", "because")], b"no")))
    verdict = settle(world.admit(make_request("nothing")))
    assert isinstance(verdict, Answer)
    assert (verdict.response.status, verdict.response.body) == (401, b"no")
    expected = [("Access-Control-Allow-Origin", "*"), ("x-own", "yes"), ("x-why", "because")]
    assert verdict.response.headers == expected
    assert world.errors == []


@pytest.mark.parametrize(("name", "value"), [("x", "a\r\nb: c"), ("x y", "z"), ("x", 5)])
def test_a_middleware_cannot_break_a_response(name: str, value: Any) -> None:
    world = World()

    def break_out(request: Request, headers: dict[str, Any]) -> None:
        headers[name] = value

    world.engine.use(break_out)
    verdict = world.admit(make_request())
    assert isinstance(verdict, Refused)
    assert verdict.code == 3
    assert verdict.response().body == CODES[3]


@pytest.mark.parametrize(("name", "value"), [("x", "a\r\nb: c"), ("x y", "z"), ("x", 5)])
def test_a_header_that_cannot_be_sent_is_left_out(
    name: str, value: Any, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()

    def add(headers: dict[str, Any], request: Request) -> None:
        headers["x-good"] = "yes"
        headers[name] = value

    world.engine.on("headers", add)
    assert world.engine.response_headers(make_request(), [("x-own", "1")]) == [
        ("x-own", "1"),
        ("x-good", "yes"),
    ]
    assert "cannot be sent" in caplog.text


def test_a_middleware_returns_a_response_or_nothing() -> None:
    world = World()
    middleware: Any = lambda request: True  # noqa: E731
    world.engine.use(middleware)
    verdict = world.admit(make_request())
    assert isinstance(verdict, Refused)
    assert str(world.errors[0]["context"]["error"]) == "a middleware returned bool, not a Response"


# allow_request


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("upgrade", [False, True])
@pytest.mark.parametrize(
    ("answer", "message"), [(False, None), ("not you", "not you"), ("", None), (None, None), (1, None)]
)
def test_the_application_refuses(answer: Any, message: str | None, upgrade: bool, is_async: bool) -> None:
    world = World(allow_request=lambda request: value_of(answer) if is_async else answer)
    request = make_request("websocket" if upgrade else "polling", upgrade=upgrade)
    verdict = refuse(world, request, 4, {"message": message}, 403)
    assert verdict.message == message or (message is None and verdict.message == "Forbidden")


@pytest.mark.parametrize("is_async", [False, True])
def test_a_check_that_fails_has_not_passed(is_async: bool) -> None:
    error = ValueError("broken")

    def allow(request: Request) -> Any:
        if is_async:
            return value_of(error)
        raise error

    world = World(allow_request=allow)
    refuse(world, make_request(), 4, {"message": None, "error": error}, 403)


@pytest.mark.parametrize("is_async", [False, True])
def test_the_application_is_asked_about_handshakes_only(is_async: bool) -> None:
    asked: list[Request] = []

    def allow(request: Request) -> Any:
        asked.append(request)
        return value_of(True) if is_async else True

    world = World(allow_request=allow)
    request = make_request()
    verdict = settle(world.admit(request))
    assert isinstance(verdict, Open)
    session = world.engine.open(verdict, request, world.now)
    assert asked == [request]
    world.admit(make_request(sid=session.id))
    world.admit(make_request("websocket", upgrade=True, sid=session.id))
    world.admit(make_request(method="POST"))
    assert asked == [request]
    # An empty sid is none, and no way around the question.
    settle(world.admit(make_request(sid="")))
    assert len(asked) == 2


# generate_id


@pytest.mark.feature(158)
@pytest.mark.parametrize("is_async", [False, True])
def test_the_application_makes_ids(is_async: bool) -> None:
    world = World(generate_id=lambda request: value_of("mine") if is_async else "mine")
    verdict = settle(world.admit(make_request()))
    assert isinstance(verdict, Open)
    assert verdict.sid == "mine"


def test_ids_are_random() -> None:
    world = World()
    ids = {world.open().id for _ in range(1_000)}
    assert len(ids) == 1_000
    assert all([re.fullmatch("[A-Za-z0-9_-]{20}", sid) for sid in ids])


@pytest.mark.parametrize("sid", ["", None, 5, "a\nb", "é", "\ud800"])
def test_an_id_must_fit_into_a_header(sid: Any) -> None:
    world = World(generate_id=lambda request: sid)
    verdict = world.admit(make_request())
    assert isinstance(verdict, Refused)
    assert world.errors[0]["context"]["name"] == "ID_GENERATION_ERROR"
    assert (verdict.status, verdict.code) == (400, 3)


@pytest.mark.parametrize("is_async", [False, True])
def test_ids_that_fail(is_async: bool) -> None:
    error = ValueError("broken")

    def generate(request: Request) -> Any:
        if is_async:
            return value_of(error)
        raise error

    world = World(generate_id=generate)
    refuse(world, make_request(), 3, {"name": "ID_GENERATION_ERROR", "error": error})


def test_an_id_is_new_when_the_session_opens() -> None:
    """Two handshakes wait for the application, which gives both the same id."""
    world = World(generate_id=lambda request: value_of("same"))
    pending = [world.admit(make_request()) for _ in range(2)]
    first, second = [settle(verdict) if number == 0 else verdict for number, verdict in enumerate(pending)]
    assert isinstance(first, Open)
    world.engine.open(first, make_request(), world.now)
    second = settle(second)
    assert isinstance(second, Refused)
    assert world.errors[0]["context"]["name"] == "ID_GENERATION_ERROR"


def test_several_hooks_are_awaited_one_after_the_other() -> None:
    order: list[str] = []

    def hook(name: str, value: Any) -> Any:
        async def run(request: Request) -> Any:
            order.append(name)
            return value

        return run

    world = World(allow_request=hook("allow", True), generate_id=hook("id", "mine"))
    world.engine.use(hook("middleware", None))
    verdict = world.admit(make_request())
    for name in ("middleware", "allow", "id"):
        assert isinstance(verdict, Pending)
        assert verdict.headers == []
        assert name not in order
        coroutine: Any = verdict.awaitable
        with pytest.raises(StopIteration) as stop:
            coroutine.send(None)
        verdict = verdict.resume(stop.value.value)
    assert isinstance(verdict, Open)
    assert order == ["middleware", "allow", "id"]


def test_a_session_that_ends_while_a_hook_runs_is_unknown() -> None:
    world = World()
    session = world.open()
    world.engine.use(lambda request: value_of(None))
    pending = world.admit(make_request(sid=session.id))
    session.close(discard=True)
    verdict = settle(pending)
    assert isinstance(verdict, Refused)
    assert verdict.code == 1


# Capacity


def verdicts(world: World, count: int, **request: Any) -> list[Verdict]:
    result = []
    for _ in range(count):
        asked = make_request(**request)
        verdict = settle(world.admit(asked))
        if isinstance(verdict, Open):
            world.engine.open(verdict, asked, world.now)
        result.append(verdict)
    return result


@pytest.mark.parametrize(
    ("limit", "status", "message"),
    [
        ("sessions", 503, "Service Unavailable"),
        ("unconnected_sessions", 503, "Service Unavailable"),
        ("sessions_per_address", 429, "Too Many Requests"),
        ("unconnected_sessions_per_address", 429, "Too Many Requests"),
    ],
)
def test_capacity(limit: str, status: int, message: str) -> None:
    bounds: dict[str, Any] = {limit: 3}
    world = World(limits=Limits(**bounds))
    *opened, refused = verdicts(world, 4)
    assert all([isinstance(verdict, Open) for verdict in opened])
    assert isinstance(refused, Refused)
    response = refused.response()
    assert (response.status, response.headers, response.body) == (status, [("Retry-After", "10")], b"")
    upgrade = refused.upgrade_response()
    assert (upgrade.status, upgrade.body) == (status, message.encode())
    assert world.engine.limit_hits == {limit: 1}
    assert world.errors == []
    # What exists goes on, and one that ends makes room for one.
    session = next(iter(world.engine.clients.values()))
    assert isinstance(world.admit(make_request(sid=session.id)), Poll)
    session.close(discard=True)
    assert [isinstance(verdict, Open) for verdict in verdicts(world, 2)] == [True, False]


def test_an_empty_sid_is_no_way_around_the_capacity() -> None:
    world = World(limits=Limits(sessions=1))
    assert [isinstance(verdict, Open) for verdict in verdicts(world, 2, sid="")] == [True, False]


def test_another_address_has_its_own_sessions() -> None:
    world = World(limits=Limits(sessions_per_address=1))
    verdicts(world, 1, address="192.0.2.1")
    assert isinstance(verdicts(world, 1, address="192.0.2.1")[0], Refused)
    assert isinstance(verdicts(world, 1, address="192.0.2.2")[0], Open)
    world.engine.close()
    assert world.engine._sessions_of is not None
    assert len(world.engine._sessions_of) == 0


def test_who_has_joined_a_namespace_is_no_stranger() -> None:
    world = World(limits=Limits(unconnected_sessions=1))
    session = world.open()
    assert world.engine.unconnected == 1
    world.engine.join(session)
    world.engine.join(session)
    assert world.engine.unconnected == 0
    stranger = world.open()
    assert isinstance(verdicts(world, 1)[0], Refused)
    stranger.close(discard=True)
    session.close(discard=True)
    assert world.engine.unconnected == 0


def test_hits_are_counted_and_logged_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    with caplog.at_level("INFO"):
        for _ in range(100):
            world.engine.count_limit("sessions")
        world.engine.count_limit("fragments")
        world.now += 10
        world.engine.count_limit("sessions")
    assert world.engine.limit_hits == {"sessions": 101, "fragments": 1}
    assert caplog.messages == [
        "the bound 'sessions' was hit (1 times so far)",
        "the bound 'fragments' was hit (1 times so far)",
        "the bound 'sessions' was hit (101 times so far)",
    ]


def test_without_limits_nothing_is_counted_by_address() -> None:
    world = World()
    verdicts(world, 10)
    assert world.engine._sessions_of is None
    assert world.engine.clients_count == 10


# Opening


def handshake(world: World, transport: str = "polling", **params: Any) -> list[bytes]:
    request = make_request(transport, upgrade=transport == "websocket", **params)
    verdict = world.admit(request)
    assert isinstance(verdict, Open)
    session = world.engine.open(verdict, request, world.now)
    if transport == "websocket":
        session.carry_by_websocket(Link(), False)
        return [packet.data for packet in session.take_packets()]
    session.receive_poll(Link())
    return [session.take_payload().body]


def test_the_open_packet() -> None:
    world = World(generate_id=lambda request: "lv_VI97HAXpY6yYWAAAC")
    body = (
        b'0{"sid":"lv_VI97HAXpY6yYWAAAC","upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000,'
        b'"maxPayload":1000000}'
    )
    assert handshake(world) == [body]
    world.engine.close()
    assert handshake(world, "websocket") == [body.replace(b'["websocket"]', b"[]")]


@pytest.mark.parametrize("options", [{"allow_upgrades": False}, {"transports": ["polling"]}])
def test_no_upgrades(options: dict[str, Any]) -> None:
    assert b'"upgrades":[]' in handshake(World(**options))[0]


def test_milliseconds_are_rounded() -> None:
    world = World(ping_interval=1.001, ping_timeout=16.1, max_http_buffer_size=5)
    assert handshake(world)[0].endswith(b'"pingInterval":1001,"pingTimeout":16100,"maxPayload":5}')


@pytest.mark.parametrize(
    ("first", "packet"), [("hi", b"4hi"), ("\ud800", b"4\xef\xbf\xbd"), (b"\x01", b"bAQ==")]
)
def test_the_initial_packet(first: str | bytes, packet: bytes) -> None:
    # Even where only one packet may wait.
    world = World(initial_packet=first, limits=Limits(outbox_packets=1, outbox_bytes=1))
    head, _, rest = handshake(world)[0].partition(b"\x1e")
    assert head.startswith(b'0{"sid":')
    assert rest == packet
    assert len(handshake(world, "websocket")) == 2


def test_the_application_is_told_after_the_handshake() -> None:
    world = World()
    seen: list[Session] = []
    hook = world.engine.on("connection")(seen.append)
    session = world.open()
    assert hook == seen.append
    assert world.upper.opened_sessions == seen == [session]
    assert session.request is not None
    assert (session.remote_address, session.protocol, session.transport) == ("192.0.2.1", 4, "polling")
    assert world.open("websocket").transport == "websocket"


def test_events_of_a_connection_hook_are_delivered() -> None:
    world = World()
    world.engine.on("connection", lambda session: session.close(discard=True))
    session = world.open()
    assert world.closing(session) == ("forced close", None)
    assert world.engine.clients_count == 0


# Hooks


@pytest.mark.feature(168, 169)
def test_header_hooks() -> None:
    world = World()
    calls: list[str] = []

    def initial(headers: dict[str, str], request: Request) -> None:
        calls.append("initial")
        headers["set-cookie"] = "a=b"

    def every(headers: dict[str, str], request: Request) -> None:
        calls.append("every")
        headers["x-every"] = "1"

    world.engine.on("initial_headers", initial)
    assert world.engine.on("headers")(every) is every
    given = [("x-given", "0")]
    expected = [*given, ("set-cookie", "a=b"), ("x-every", "1")]
    assert world.engine.response_headers(make_request(), given) == expected
    assert world.engine.response_headers(make_request(sid=""), given) == expected
    assert world.engine.response_headers(make_request(sid="x"), given) == [*given, ("x-every", "1")]
    assert calls == ["initial", "every", "initial", "every", "every"]
    assert given == [("x-given", "0")]
    assert World().engine.response_headers(make_request(), given) is given


@pytest.mark.parametrize("name", ["connection", "connection_error", "initial_headers", "headers"])
def test_a_hook_that_fails_is_logged(name: str, caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    seen: list[Any] = []

    def fail(*args: Any) -> None:
        raise ValueError("broken")

    world.engine.on(name, fail)
    world.engine.on(name, lambda *args: seen.append(args))
    with caplog.at_level(logging.ERROR):
        session = world.open()
        world.engine.response_headers(make_request(), [])
        verdict = world.admit(make_request("nothing"))
    assert isinstance(verdict, Refused)
    assert len(seen) == len(caplog.records) == 1
    assert session.state == "open"


def test_hooks_have_names_and_are_plain_functions() -> None:
    world = World()
    with pytest.raises(ValueError, match="an engine has no event 'open'"):
        world.engine.on("open")

    async def hook(session: Session) -> None: ...

    with pytest.raises(TypeError, match="plain function"):
        world.engine.on("connection", hook)


def test_an_application_ignores_everything_unless_it_does_not() -> None:
    application = Application()
    session = World().open()
    application.opened(session)
    application.process(session)
    application.defer(session)


# Closing


def test_the_engine_closes_every_session_at_once() -> None:
    world = World()
    polling, (websocket, link), closing = world.open(), world.open_websocket(), world.open()
    closing.close()
    polling.send("never delivered")
    world.engine.close()
    world.engine.close()
    assert [world.closing(session) for session in (polling, websocket, closing)] == [
        ("forced close", None)
    ] * 3
    assert link.released == [None]
    assert world.engine.clients_count == 0
    assert len(world.deadlines) == 0


def test_a_session_that_is_over_is_held_by_nobody() -> None:
    world = World()
    session = world.open()
    world.probe(session)
    world.upper.opened_sessions.clear()
    identity = id(session)
    session.close(discard=True)
    world.flush()
    world.upper.deferred.clear()
    del session
    gc.collect()
    assert not [item for item in gc.get_objects() if isinstance(item, Session) and id(item) == identity]
