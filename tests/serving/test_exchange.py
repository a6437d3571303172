"""One polling request and its answer, without anybody who carries them."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from sio_core.engineio.options import Cookie
from sio_core.engineio.packet import Encoded
from sio_core.serving.exchange import Exchange, is_websocket, upgrade_answer
from sio_core.wire.message import Request, Response
from tests.engineio.world import World


class Driver:
    """Writes down what exchanges say."""

    def __init__(self) -> None:
        self.ready: list[Exchange] = []
        self.cut: list[Exchange] = []

    def exchange_ready(self, exchange: Exchange) -> None:
        self.ready.append(exchange)

    def exchange_cut(self, exchange: Exchange) -> None:
        self.cut.append(exchange)


class Polling:
    """A client that polls, and what answers it."""

    def __init__(self, **options: Any) -> None:
        self.world = World(**options)
        self.driver = Driver()
        self.sid = ""

    def begin(self, method: str = "GET", query: str = "", headers: dict[str, str] | None = None) -> Exchange:
        """Begin a request, up to the end of its head."""
        target = f"/engine.io/?EIO=4&transport=polling{query}"
        if self.sid:
            target += f"&sid={self.sid}"
        request = Request(method=method, target=target, headers={"host": "here", **(headers or {})})
        exchange = Exchange(self.driver, request, self.world.engine, False)
        exchange.begin(self.world.engine, self.world.admit(request), self.world.now)
        return exchange

    def get(self, query: str = "", headers: dict[str, str] | None = None) -> Exchange:
        exchange = self.begin("GET", query, headers)
        exchange.end(self.world.now)
        return exchange

    def post(self, *chunks: bytes, query: str = "", headers: dict[str, str] | None = None) -> Exchange:
        exchange = self.begin("POST", query, headers)
        for chunk in chunks:
            exchange.receive_body(chunk)
        exchange.end(self.world.now)
        return exchange

    def open(self) -> Response:
        response = self.get().take_response()
        assert response is not None
        (self.session,) = self.world.engine.clients.values()
        self.sid = self.session.id
        return response


def seen(exchange: Exchange) -> tuple[int, bytes] | None:
    """What the client gets."""
    response = exchange.take_response()
    return None if response is None else (response.status, response.body)


def test_a_handshake() -> None:
    polling = Polling(cookie=Cookie())
    response = polling.open()
    headers = dict(response.headers)
    assert response.status == 200
    assert headers["Content-Type"] == "text/plain; charset=UTF-8"
    assert headers["cache-control"] == "no-store"
    assert headers["Set-Cookie"] == f"io={polling.sid}; Path=/; HttpOnly; SameSite=Lax"
    assert polling.world.upper.opened_sessions == [polling.session]


def test_a_get_waits_until_there_is_something() -> None:
    polling = Polling()
    polling.open()
    exchange = polling.get()
    assert not exchange.ready
    assert not exchange.answered
    assert exchange.complete
    assert seen(exchange) is None
    polling.session.send("hello")
    assert polling.driver.ready[-1] is exchange
    assert exchange.ready
    assert seen(exchange) == (200, b"4hello")
    assert seen(exchange) == (200, b"4hello"), "taking it twice changes nothing"


def test_a_post() -> None:
    polling = Polling()
    polling.open()
    exchange = polling.begin("POST")
    assert exchange.reads_body
    exchange.receive_body(b"4a\x1e")
    exchange.receive_body(b"4b")
    exchange.end(polling.world.now)
    assert not exchange.reads_body
    assert seen(exchange) == (200, b"ok")
    assert polling.world.upper.events[polling.sid] == ["a", "b"]


def test_what_is_not_acceptable() -> None:
    polling = Polling()
    polling.open()
    binary = {"content-type": "application/octet-stream"}
    assert seen(polling.post(b"4a", headers=binary)) == (400, b"")
    assert seen(polling.get()) == (400, b'{"code":1,"message":"Session ID unknown"}')


def test_a_session_that_ends_while_a_post_is_read() -> None:
    polling = Polling()
    polling.open()
    exchange = polling.begin("POST")
    polling.session.close(discard=True)
    assert polling.driver.cut == [exchange]
    exchange.receive_body(b"4late")
    exchange.end(polling.world.now)
    assert seen(exchange) is None
    assert polling.sid not in polling.world.upper.events, "nothing was delivered"


def test_two_at_a_time() -> None:
    polling = Polling()
    polling.open()
    first = polling.get()
    assert seen(polling.get()) == (400, b"")
    assert seen(first) == (200, b"1")
    polling = Polling()
    polling.open()
    first = polling.begin("POST")
    second = polling.post(b"4a")
    assert seen(second) == (400, b"")
    assert second.close
    assert polling.driver.cut == [first]


@pytest.mark.parametrize("headers", [{}, {"content-length": "11"}, {"content-length": "nonsense"}])
def test_a_body_that_is_too_large(headers: dict[str, str]) -> None:
    polling = Polling(max_http_buffer_size=10)
    polling.open()
    exchange = polling.begin("POST", headers=headers)
    exchange.receive_body(b"4" * 10)
    exchange.receive_body(b"4")
    assert seen(exchange) == (413, b"")
    assert exchange.close
    assert not exchange.read_on
    assert polling.world.engine.limit_hits["max_http_buffer_size"] > 0
    assert seen(polling.post(b"4a")) == (200, b"ok"), "the session goes on"


def test_a_get_with_too_large_a_body_is_lost() -> None:
    polling = Polling(max_http_buffer_size=10)
    polling.open()
    exchange = polling.begin("GET")
    exchange.receive_body(b"4" * 11)
    assert seen(exchange) == (413, b"")
    assert not polling.world.engine.clients


def test_a_body_that_nobody_reads_is_bounded_too() -> None:
    driver = Driver()
    exchange = Exchange(driver, Request(method="POST"), None, False)
    exchange.answer(Response(404))
    exchange.receive_body(b"x" * 1_000_000)
    assert exchange.read_on
    exchange.receive_body(b"x")
    assert not exchange.read_on
    assert seen(exchange) == (404, b"")


@pytest.mark.parametrize(("method", "reason"), [("GET", "poll"), ("POST", "data request")])
def test_a_client_that_leaves(method: str, reason: str) -> None:
    polling = Polling()
    polling.open()
    exchange = polling.begin(method)
    exchange.lost()
    (closed,) = polling.world.upper.events[polling.sid]
    assert closed.details == {"message": f"{reason} connection closed prematurely"}
    assert seen(exchange) is None
    exchange.lost()


def test_those_who_give_up_still_have_an_answer() -> None:
    polling = Polling()
    polling.open()
    exchange = polling.get()
    exchange.abandon()
    assert seen(exchange) == (200, b"1")
    exchange.abandon()
    assert not polling.world.engine.clients


def test_compression_is_for_those_who_want_it_and_have_enough() -> None:
    polling = Polling()
    polling.open()
    accepting = {"accept-encoding": "gzip"}
    polling.session.send("x" * 2_000)
    response = polling.get(headers=accepting).take_response()
    assert response is not None
    assert dict(response.headers)["Content-Encoding"] == "gzip"
    assert gzip.decompress(response.body) == b"4" + b"x" * 2_000
    for text, compress, headers in [
        ("x", True, accepting),
        ("x" * 2_000, False, accepting),
        ("x" * 2_000, True, {}),
    ]:
        polling.session.send(text, compress)
        assert seen(polling.get(headers=headers)) == (200, b"4" + text.encode())


def test_jsonp_and_old_browsers() -> None:
    polling = Polling()
    polling.open()
    polling.session.send('"')
    response = polling.get("&j=0", {"user-agent": "Mozilla/5.0 (Trident/7.0)"}).take_response()
    assert response is not None
    assert response.body == b'___eio[0]("4\\"");'
    assert dict(response.headers)["X-XSS-Protection"] == "0"
    assert seen(polling.post(b"d=4a", query="&j=0")) == (200, b"ok")
    assert polling.world.upper.events[polling.sid] == ["a"]


def test_hooks_add_to_what_succeeds() -> None:
    polling = Polling()

    @polling.world.engine.on("headers")
    def add(headers: dict[str, str], request: Request) -> None:
        headers["x-hook"] = request.method

    assert ("x-hook", "GET") in polling.open().headers
    posted = polling.post(b"4a").take_response()
    assert posted is not None
    assert ("x-hook", "POST") in posted.headers
    refused = polling.get("&transport=none").take_response()
    assert refused is not None
    assert refused.status == 400
    assert not [name for name, _ in refused.headers if name == "x-hook"]


def test_upgrade_requests() -> None:
    world = World()
    request = Request(
        target="/engine.io/?EIO=4&transport=websocket&sid=none",
        headers={"upgrade": "websocket"},
        upgrade=True,
    )
    assert is_websocket(world.engine, request)
    assert not is_websocket(World(transports=["polling"]).engine, request)
    answer = upgrade_answer(world.admit(request))
    assert answer is not None
    assert (answer.status, answer.body) == (400, b"Session ID unknown")
    world.engine.use(lambda request: Response(418, [], b"tea"))
    answer = upgrade_answer(world.admit(request))
    assert answer is not None
    assert answer.status == 418
    accepted = World().admit(Request(target="/engine.io/?EIO=4&transport=websocket", upgrade=True))
    assert upgrade_answer(accepted) is None


def test_what_a_polling_request_cannot_do() -> None:
    exchange = Exchange(Driver(), Request(), None, False)
    exchange.pause(True)
    with pytest.raises(AssertionError, match="probe"):
        exchange.send_probe(Encoded(b"3probe", False, False))


# A layer above that has enough


def test_the_answer_to_a_post_waits_while_the_layer_above_has_enough() -> None:
    polling = Polling()
    polling.open()
    polling.world.upper.on_message = lambda session, event: session.pause(True)
    first = polling.post(b"4first")
    assert seen(first) is None
    assert polling.world.messages(polling.session) == ["first"]
    polling.session.pause(True)
    assert seen(first) is None
    polling.session.pause(False)
    assert seen(first) == (200, b"ok")
    polling.world.upper.on_message = None
    assert seen(polling.post(b"4second")) == (200, b"ok")


def test_a_post_that_waits_is_one_at_a_time() -> None:
    polling = Polling()
    polling.open()
    polling.session.pause(True)
    first = polling.post(b"4first")
    second = polling.post(b"4second")
    assert seen(first) == (200, b"ok")
    assert seen(second) == (400, b"")
    assert polling.driver.cut == []
    details = {"message": "data request overlap from client"}
    assert polling.world.closing(polling.session) == ("transport error", details)


def test_a_client_may_go_while_its_post_waits() -> None:
    polling = Polling()
    polling.open()
    polling.session.pause(True)
    post = polling.post(b"4first")
    post.lost()
    details = {"message": "data request connection closed prematurely"}
    assert polling.world.closing(polling.session) == ("transport error", details)
    assert seen(post) is None


def test_a_post_that_is_being_read_is_not_answered_by_going_on() -> None:
    polling = Polling()
    polling.open()
    post = polling.begin("POST")
    polling.session.pause(True)
    polling.session.pause(False)
    assert seen(post) is None
    post.receive_body(b"4first")
    post.end(polling.world.now)
    assert seen(post) == (200, b"ok")
