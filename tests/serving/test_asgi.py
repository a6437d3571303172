"""The server as an ASGI application, called by a server that this test is."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import sniffio

from sio_core import AdapterError, Cors, EngineServer, Limits, Response, Server, Session, Socket
from sio_core.adapters.memory import MemoryAdapter
from sio_core.engineio.engine import Engine
from sio_core.runtime import Runtime
from sio_core.serving.asgi_scope import split_path
from tests.serving.asgi_server import (
    PATIENCE,
    AsgiServer,
    Call,
    HttpCall,
    WebSocketCall,
    http_scope,
    websocket_scope,
)

pytestmark = pytest.mark.anyio

POLLING = "EIO=4&transport=polling"
WEBSOCKET = "EIO=4&transport=websocket"


@asynccontextmanager
async def serving(app: Any, service: Any = None) -> AsyncGenerator[AsgiServer, None]:
    """Call ``app`` while the server runs; at its end every call must come to its own."""
    async with anyio.create_task_group() as task_group, (service or app).lifespan():
        yield AsgiServer(app, task_group)


async def open_polling(server: AsgiServer, path: str = "/socket.io/", more: str = "") -> str:
    """Open a session; return the query of its further requests."""
    answer = await server.get(path, POLLING + more).answer()
    assert answer.status == 200, answer
    return f"{POLLING}&sid={json.loads(answer.body[1:])['sid']}"


async def connect(server: AsgiServer) -> WebSocketCall:
    """Open a WebSocket and join the namespace."""
    call = server.websocket(query=WEBSOCKET)
    await call.hear("websocket.accept")
    assert (await call.text())[0] == "0"
    call.tell("websocket.receive", text="40")
    assert (await call.text())[:2] == "40"
    return call


async def wait_until(condition: Any) -> None:
    with anyio.fail_after(PATIENCE):
        while not condition():
            await anyio.lowlevel.checkpoint()


def make_io(**options: Any) -> tuple[Server[Any], list[Any]]:
    """A server, and a list of what happens to its sockets."""
    io: Server[Any] = Server(**options)
    events: list[Any] = []

    @io.on("connection")
    def connected(socket: Socket[Any]) -> None:
        events.append(socket)

    @io.on("disconnect")
    def disconnected(socket: Socket[Any], reason: str, details: Any) -> None:
        events.append((reason, details))

    @io.on("echo")
    def echo(socket: Socket[Any], *args: Any) -> list[Any]:
        return list(args)

    return io, events


# Where it is


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"path": "/socket.io/"}, ("", "/socket.io/")),
        ({"path": "/socket.io/", "raw_path": b"/socket.io/"}, ("", "/socket.io/")),
        ({"path": "/a/b", "root_path": "/a"}, ("/a", "/b")),
        ({"path": "/a/b", "root_path": "/a", "raw_path": b"/a/b"}, ("/a", "/b")),
        ({"path": "/a/b", "root_path": "/a/", "raw_path": b"/a/b?x"}, ("/a", "/b")),
        ({"path": "/b", "root_path": "/a"}, ("/a", "/b")),
        ({"path": "/b", "root_path": "/a", "raw_path": b"/a/b"}, ("/a", "/b")),
        ({"path": "/b/", "root_path": "", "raw_path": b"/a/b"}, ("/a", "/b")),
        ({"path": "/", "root_path": "", "raw_path": b"/a"}, ("/a", "")),
        ({"path": "/b", "root_path": "/a", "raw_path": b"/b"}, ("", "/b")),
        ({"path": "/ab", "root_path": "/a"}, ("/a", "/ab")),
        ({"path": "/a", "root_path": "/a"}, ("/a", "")),
        ({"path": "/\xe4/b", "root_path": "/\xe4", "raw_path": b"/%C3%A4/b"}, ("/\xe4", "/b")),
    ],
)
def test_the_mount_point(scope: dict[str, Any], expected: tuple[str, str]) -> None:
    assert split_path(scope) == expected


MOUNTS = [
    pytest.param({}, "/socket.io/", id="not mounted"),
    pytest.param({"root_path": "/socket.io"}, "/socket.io/", id="path is whole"),
    pytest.param({"root_path": "/socket.io", "raw_path": b"/socket.io/"}, "/", id="path is the rest"),
    pytest.param({"root_path": "/socket.io", "raw_path": None}, "/", id="path is the rest, no raw path"),
    pytest.param({"raw_path": b"/socket.io/"}, "/", id="root path stays empty"),
    pytest.param(
        {"raw_path": b"/proxy/socket.io/", "root_path": "/proxy"}, "/", id="only the server has a root path"
    ),
    pytest.param({"root_path": "/proxy/socket.io"}, "/proxy/socket.io/", id="below the server's root path"),
    pytest.param({"root_path": "/proxy"}, "/socket.io/", id="a root path that the proxy has cut off"),
    pytest.param({"root_path": "/api"}, "/api/socket.io/", id="mounted above the path"),
    pytest.param({"root_path": "/chat"}, "/chat/", id="mounted elsewhere"),
    pytest.param({"root_path": "/socket.io"}, "/socket.io/any/thing", id="below the path"),
]


@pytest.mark.parametrize(("scope", "path"), MOUNTS)
async def test_it_answers_wherever_it_is_mounted(scope: dict[str, Any], path: str) -> None:
    io, _ = make_io()
    async with serving(io) as server:
        answer = await server.get(path, POLLING, **scope).answer()
        assert answer.status == 200
        call = server.websocket(path, WEBSOCKET, **scope)
        await call.hear("websocket.accept")
        call.tell("websocket.disconnect", code=1001)


@pytest.mark.parametrize(
    ("scope", "path", "text"),
    [
        ({}, "/elsewhere", b"Socket.IO is at /socket.io/\n"),
        ({}, "/", b"Socket.IO is at /socket.io/\n"),
        ({"root_path": "/api"}, "/api/elsewhere", b"Socket.IO is at /api/socket.io/\n"),
        ({"raw_path": b"/api/elsewhere"}, "/elsewhere/", b"Socket.IO is at /api/socket.io/\n"),
    ],
)
async def test_a_wrong_path_names_the_right_one(scope: dict[str, Any], path: str, text: bytes) -> None:
    io, _ = make_io()
    async with serving(io) as server:
        answer = await server.get(path, POLLING, **scope).answer()
        assert answer == (404, text)
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        call = server.websocket(path, WEBSOCKET, **scope)
        assert (await call.hear("websocket.http.response.start"))["status"] == 404
        assert (await call.hear("websocket.http.response.body"))["body"] == text
        await call.end()


async def test_the_path_of_the_server_counts_under_a_mount_too() -> None:
    engine = EngineServer("/api/engine/")
    async with serving(engine) as server:
        assert (await server.get("/api/engine/", POLLING, root_path="/api").answer()).status == 200


async def test_the_client_files_are_there() -> None:
    io, _ = make_io()
    async with serving(io) as server:
        for path, scope in [
            ("/socket.io/socket.io.js", {}),
            ("/socket.io/socket.io.js", {"root_path": "/socket.io"}),
            ("/socket.io.js/", {"raw_path": b"/socket.io/socket.io.js"}),
        ]:
            answer = await server.get(path, **scope).answer()
            assert answer.status == 200
            assert answer.headers["content-type"] == "application/javascript; charset=utf-8"
        head = await server.get("/socket.io/socket.io.js", method="HEAD").answer()
        assert head == (200, b"")
        assert int(head.headers["content-length"]) > 10_000
        etag = {"if-none-match": head.headers["etag"]}
        again = await server.get("/socket.io/socket.io.js", headers=etag).answer()
        assert again == (304, b"")
        assert "content-length" not in again.headers


async def test_health() -> None:
    io, _ = make_io(health_path="/healthz")
    async with serving(io) as server:
        assert await server.get("/healthz").answer() == (200, b"ok")
        await io.close()
        assert await server.get("/healthz").answer() == (503, b"draining")


async def test_contradicting_headers_are_refused() -> None:
    io, _ = make_io()
    async with serving(io) as server:
        headers = [(b"host", b"a"), (b"host", b"b")]
        call = server.get(query=POLLING)
        call.scope["headers"] = headers
        assert await call.answer() == (400, b"")
        websocket = server.websocket(query=WEBSOCKET)
        websocket.scope["headers"] = headers
        assert (await websocket.hear("websocket.http.response.start"))["status"] == 400
        await websocket.hear("websocket.http.response.body")


# What the application sees of a request


async def test_the_handshake_is_the_client_s_request() -> None:
    io, events = make_io(check_origin=False)
    async with serving(io) as server:
        headers = {"cookie": "a=1", "origin": "https://other.example", "user-agent": "t\xe4st"}
        call = server.websocket(query=WEBSOCKET + "&name=J%C3%BCrgen+K", scheme="wss", headers=headers)
        call.scope["headers"].append((b"cookie", b"b=2"))
        await call.hear("websocket.accept")
        await call.text()
        call.tell("websocket.receive", text="40")
        await call.text()
        handshake = events[0].handshake
        assert handshake.address == "192.0.2.7"
        assert handshake.secure
        assert handshake.xdomain
        assert handshake.url == "/socket.io/?EIO=4&transport=websocket&name=J%C3%BCrgen+K"
        assert handshake.query["name"] == "J\xfcrgen K"
        assert handshake.headers["cookie"] == "a=1; b=2"
        assert handshake.headers["user-agent"] == "t\xe4st"
        assert io.engine.clients[events[0].conn.id].request.port == 4711
        call.tell("websocket.disconnect", code=1001)


async def test_a_client_may_have_no_address() -> None:
    io, events = make_io()
    async with serving(io) as server:
        call = server.get(query=POLLING, client=None)
        query = f"{POLLING}&sid={json.loads((await call.answer()).body[1:])['sid']}"
        await server.post(query, b"40").answer()
        assert events[0].handshake.address == ""
        assert not events[0].handshake.secure
        await io.close()


# Polling


async def test_polling() -> None:
    io, events = make_io(cookie=True)
    async with serving(io) as server:
        opened = await server.get(query=POLLING).answer()
        assert opened.headers["content-type"] == "text/plain; charset=UTF-8"
        assert opened.headers["cache-control"] == "no-store"
        assert opened.headers["set-cookie"].startswith("io=")
        query = f"{POLLING}&sid={json.loads(opened.body[1:])['sid']}"
        posted = await server.post(query, b"40").answer()
        assert posted == (200, b"ok")
        assert posted.headers["content-type"] == "text/html"
        sid = events[0].id
        assert await server.get(query=query).answer() == (200, b'40{"sid":"%s"}' % sid.encode())
        held = server.get(query=query)
        split = server.http(query=query, method="POST")
        split.tell("http.request", body=b'421["echo",', more_body=True)
        split.tell("http.request", body=b'"\xc3\xa4"]', more_body=True)
        split.tell("http.request", body=b"", more_body=False)
        assert await split.answer() == (200, b"ok")
        assert await held.answer() == (200, '431[["ä"]]'.encode())
        held = server.get(query=query)
        await wait_until(lambda: held.received > 1)
        events[0].emit("hello", b"\x01")
        assert await held.answer() == (200, b'451-["hello",{"_placeholder":true,"num":0}]\x1ebAQ==')


async def test_a_large_answer_is_compressed() -> None:
    io, events = make_io()
    async with serving(io) as server:
        query = await open_polling(server)
        await server.post(query, b"40").answer()
        events[0].emit("large", "x" * 10_000)
        answer = await server.get(query=query, headers={"accept-encoding": "gzip"}).answer()
        assert answer.headers["content-encoding"] == "gzip"


async def test_a_get_that_the_client_gives_up_ends_the_session() -> None:
    io, events = make_io()
    async with serving(io) as server:
        query = await open_polling(server)
        await server.post(query, b"40").answer()
        await server.get(query=query).answer()
        held = server.get(query=query)
        await wait_until(lambda: held.received > 1)
        held.tell("http.disconnect")
        await held.end()
        assert events[1][0] == "transport error"
        assert events[1][1]["message"] == "poll connection closed prematurely"
        assert io.engine.clients_count == 0


async def test_a_post_that_the_client_gives_up_ends_the_session() -> None:
    io, events = make_io()
    async with serving(io) as server:
        query = await open_polling(server)
        await server.post(query, b"40").answer()
        call = server.http(query=query, method="POST")
        call.tell("http.request", body=b"4", more_body=True)
        call.tell("http.disconnect")
        await call.end()
        assert events[1][0] == "transport error"
        assert events[1][1]["message"] == "data request connection closed prematurely"


@pytest.mark.parametrize("announced", [None, "0", "5", "999"])
async def test_the_bound_of_a_body_is_on_what_comes(announced: str | None) -> None:
    io, _ = make_io(max_http_buffer_size=10)
    async with serving(io) as server:
        query = await open_polling(server)
        headers = {} if announced is None else {"content-length": announced}
        call = server.http(query=query, method="POST", headers=headers)
        for _ in range(20):
            call.tell("http.request", body=b"4aaaa", more_body=True)
        answer = await call.answer()
        assert answer == (413, b"")
        assert answer.headers["connection"] == "close"
        assert call.received == (0 if announced == "999" else 3), "it has stopped reading"
        assert await server.post(query, b"40").answer() == (200, b"ok"), "the session goes on"
        assert io.stats()["limit_hits"] == {"max_http_buffer_size": 1}


async def test_http_2_has_no_connection_header() -> None:
    io, _ = make_io(max_http_buffer_size=1)
    async with serving(io) as server:
        query = await open_polling(server)
        answer = await server.post(query, b"40", http_version="2").answer()
        assert answer == (413, b"")
        assert "connection" not in answer.headers


async def test_a_body_that_does_not_come_in_time() -> None:
    io, _ = make_io(limits=Limits(body_time=0.05))
    async with serving(io) as server:
        query = await open_polling(server)
        call = server.http(query=query, method="POST")
        call.tell("http.request", body=b"4", more_body=True)
        assert await call.answer() == (408, b"")
        assert io.engine.clients_count == 0


async def test_two_gets_at_a_time() -> None:
    io, _ = make_io()
    async with serving(io) as server:
        query = await open_polling(server)
        first = server.get(query=query)
        await wait_until(lambda: first.received > 1)
        assert await server.get(query=query).answer() == (400, b"")
        assert await first.answer() == (200, b"1")


async def test_two_posts_at_a_time() -> None:
    io, _ = make_io()
    async with serving(io) as server:
        query = await open_polling(server)
        first = server.http(query=query, method="POST")
        await wait_until(lambda: first.received > 0)
        second = await server.post(query, b"40").answer()
        assert second == (400, b"")
        cut = await first.answer()
        assert cut == (400, b"")
        assert cut.headers["connection"] == "close"


async def test_what_the_engine_refuses() -> None:
    io, _ = make_io()
    async with serving(io) as server:
        answer = await server.get(query="EIO=4&transport=none").answer()
        assert answer == (400, b'{"code":0,"message":"Transport unknown"}')
        assert answer.headers["content-type"] == "application/json"
        assert (await server.get(query=WEBSOCKET).answer()).status == 400


async def test_an_application_that_must_be_awaited_decides() -> None:
    async def allow(request: Any) -> bool | str:
        await anyio.lowlevel.checkpoint()
        if request.params["who"] == "broken":
            raise RuntimeError
        return True if request.params["who"] == "friend" else "strangers stay outside"

    io, _ = make_io(allow_request=allow)
    async with serving(io) as server:
        assert (await server.get(query=POLLING + "&who=friend").answer()).status == 200
        refused = await server.get(query=POLLING + "&who=else").answer()
        assert refused == (403, b'{"code":4,"message":"strangers stay outside"}')
        assert (await server.get(query=POLLING + "&who=broken").answer()).status == 403
        call = server.websocket(query=WEBSOCKET + "&who=else")
        assert (await call.hear("websocket.http.response.start"))["status"] == 400
        assert (await call.hear("websocket.http.response.body"))["body"] == b"strangers stay outside"


async def test_a_middleware_answers() -> None:
    io, _ = make_io()

    @io.engine.use
    def teapot(request: Any, headers: dict[str, str]) -> Response | None:
        headers["x-seen"] = "yes"
        return Response(418, [("x-own", "too")], b"short and stout") if "tea" in request.params else None

    async with serving(io) as server:
        answer = await server.get(query=POLLING + "&tea=1").answer()
        assert answer == (418, b"short and stout")
        assert answer.headers["x-seen"] == "yes"
        assert answer.headers["x-own"] == "too"
        assert (await server.get(query=POLLING).answer()).headers["x-seen"] == "yes"
        call = server.websocket(query=WEBSOCKET + "&tea=1")
        start = await call.hear("websocket.http.response.start")
        assert start["status"] == 418
        assert (b"x-own", b"too") in start["headers"]
        call = server.websocket(query=WEBSOCKET)
        accept = await call.hear("websocket.accept")
        assert accept["headers"] == [(b"x-seen", b"yes")]
        call.tell("websocket.disconnect", code=1001)


async def test_an_error_of_our_own_is_500(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    io, _ = make_io()

    def broken(self: object, request: object) -> None:
        raise KeyError("ours")

    async with serving(io) as server:
        monkeypatch.setattr(Engine, "admit", broken)
        assert await server.get(query=POLLING).answer() == (500, b"")
        call = server.websocket(query=WEBSOCKET)
        await call.end()
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2
    caplog.clear()


# Cross-origin rules


async def test_cross_origin_headers_are_there_only_if_asked_for() -> None:
    origin = {"origin": "https://page.example", "host": "api.example"}
    plain, _ = make_io(check_origin=False)
    async with serving(plain) as server:
        answer = await server.get(query=POLLING, headers=origin).answer()
        assert answer.status == 200
        assert not [name for name in answer.headers if name.startswith("access-control") or name == "vary"]
    guarded, _ = make_io()
    async with serving(guarded) as server:
        assert (await server.get(query=POLLING, headers=origin).answer()).status == 403
    sharing, _ = make_io(cors=Cors(origins=["https://page.example"], credentials=True))
    async with serving(sharing) as server:
        answer = await server.get(query=POLLING, headers=origin).answer()
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == "https://page.example"
        assert answer.headers["access-control-allow-credentials"] == "true"
        preflight = await server.http(query=POLLING, headers=origin, method="OPTIONS").answer()
        assert preflight == (204, b"")
        assert preflight.headers["content-length"] == "0"


# WebSocket


async def test_websocket() -> None:
    io, events = make_io()
    async with serving(io) as server:
        call = server.websocket(query=WEBSOCKET, subprotocols=["one", "two"])
        accept = await call.hear("websocket.accept")
        assert accept["subprotocol"] == "one"
        handshake = json.loads((await call.text())[1:])
        assert handshake["upgrades"] == []
        call.tell("websocket.receive", text="40", bytes=None)
        assert await call.text() == f'40{{"sid":"{events[0].id}"}}'
        call.tell("websocket.receive", text='451-1["echo",{"_placeholder":true,"num":0}]')
        call.tell("websocket.receive", bytes=b"\x00\xff", text=None)
        assert await call.text() == '461-1[[{"_placeholder":true,"num":0}]]'
        assert await call.binary() == b"\x00\xff"
        call.tell("websocket.disconnect", code=1001)
        await call.end()
        assert events[1] == ("transport close", None)


@pytest.mark.parametrize(
    ("code", "reason"), [(1000, "transport close"), (1002, "transport error"), (1009, "transport error")]
)
async def test_how_a_websocket_ends(code: int, reason: str) -> None:
    io, events = make_io()
    async with serving(io) as server:
        call = await connect(server)
        call.tell("websocket.disconnect", code=code)
        await call.end()
        assert events[1][0] == reason


@pytest.mark.parametrize(
    "message", [{"text": "4" + "x" * 100}, {"bytes": b"x" * 101}, {"text": "4" + "ä" * 50}]
)
async def test_a_message_that_is_too_large(message: dict[str, Any]) -> None:
    io, events = make_io(max_http_buffer_size=100)
    async with serving(io) as server:
        call = await connect(server)
        call.tell("websocket.receive", **message)
        assert await call.closed() == 1009
        assert events[1][0] == "transport error"
        assert io.stats()["limit_hits"] == {"max_http_buffer_size": 1}


async def test_the_server_closes() -> None:
    io, events = make_io()
    async with serving(io) as server:
        call = await connect(server)
        events[0].emit("last", "words")
        events[0].disconnect(True)
        assert await call.text() == '42["last","words"]'
        assert await call.text() == "41"
        assert await call.closed() == 1000
        call = await connect(server)
        call.tell("websocket.receive", text="garbage")
        assert await call.closed() == 1000
        assert events[-1][0] == "parse error"


async def test_a_refusal_without_the_extension_is_a_close() -> None:
    io, _ = make_io()
    async with serving(io) as server:
        for extensions in ({}, None):
            call = server.websocket(query="EIO=4&transport=none", extensions=extensions)
            assert await call.closed() == 1000


async def test_polling_by_websocket_is_accepted_and_closed() -> None:
    io, _ = make_io()
    async with serving(io) as server:
        call = server.websocket(query=POLLING)
        await call.hear("websocket.accept")
        assert await call.closed() == 1000
        assert io.engine.clients_count == 0


async def test_a_server_without_websockets_refuses_them() -> None:
    io, _ = make_io(transports=["polling"])
    async with serving(io) as server:
        for query in (POLLING, WEBSOCKET):
            call = server.websocket(query=query)
            assert (await call.hear("websocket.http.response.start"))["status"] == 400
            await call.hear("websocket.http.response.body")
            await call.end()


async def test_upgrade() -> None:
    io, events = make_io()
    async with serving(io) as server:
        query = await open_polling(server)
        await server.post(query, b"40").answer()
        await server.get(query=query).answer()
        held = server.get(query=query)
        await wait_until(lambda: held.received > 1)
        call = server.websocket(query=query.replace("polling", "websocket"))
        await call.hear("websocket.accept")
        call.tell("websocket.receive", text="2probe")
        assert await call.text() == "3probe"
        assert await held.answer() == (200, b"6")
        events[0].emit("between")
        call.tell("websocket.receive", text="5")
        assert await call.text() == '42["between"]'
        assert events[0].conn.transport == "websocket"
        second = server.websocket(query=query.replace("polling", "websocket"))
        if (await second.hear())["type"] == "websocket.accept":
            assert await second.closed() == 1000
        call.tell("websocket.disconnect", code=1001)
        await call.end()
        assert events[1] == ("transport close", None)


async def test_an_upgrade_that_fails_leaves_the_session_where_it_was() -> None:
    io, _ = make_io(upgrade_timeout=0.05)
    async with serving(io) as server:
        query = await open_polling(server)
        upgrade = query.replace("polling", "websocket")
        call = server.websocket(query=upgrade)
        await call.hear("websocket.accept")
        call.tell("websocket.disconnect", code=1006)
        await call.end()
        call = server.websocket(query=upgrade)
        await call.hear("websocket.accept")
        assert await call.closed() == 1000, "after the time an upgrade may take"
        assert await server.post(query, b"40").answer() == (200, b"ok")


async def test_each_websocket_says_whether_it_takes_binary_messages() -> None:
    io, sockets = make_io()
    for first, second, form in (("", "&b64=1", "bAQ=="), ("&b64=1", "", b"\x01")):
        async with serving(io) as server:
            query = await open_polling(server, more=first)
            await server.post(query, b"40").answer()
            await server.get(query=query).answer()
            call = server.websocket(query=query.replace("polling", "websocket") + second)
            await call.hear("websocket.accept")
            call.tell("websocket.receive", text="2probe")
            assert await call.text() == "3probe"
            call.tell("websocket.receive", text="5")
            sockets[-1].emit("event", b"\x01")
            await call.text()
            assert await (call.text() if second else call.binary()) == form
            call.tell("websocket.disconnect", code=1001)
            await call.end()


async def test_an_old_client_gets_its_own_packets() -> None:
    engine = EngineServer(allow_eio3=True)

    @engine.on("connection")
    def connected(session: Session) -> None:
        session.send(b"\x01")

    async with serving(engine) as server:
        call = server.websocket("/engine.io/", "EIO=3&transport=websocket&b64=1")
        await call.hear("websocket.accept")
        await call.text()
        assert await call.text() == "b4AQ=="
        call.tell("websocket.disconnect", code=1001)


# A slow client


class Stuck(WebSocketCall):
    """A WebSocket whose server takes nothing after the handshake, until it is told to."""

    def __init__(self, app: Any, scope: dict[str, Any]) -> None:
        super().__init__(app, scope)
        self.free = anyio.Event()

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] != "websocket.accept":
            await self.free.wait()
        await super()._send(message)


async def test_a_websocket_that_was_given_up_says_nothing_for_another() -> None:
    io, _ = make_io()
    async with serving(io) as server:
        query = await open_polling(server)
        upgrade = query.replace("polling", "websocket")
        (session,) = io.engine.clients.values()
        first = Stuck(server.app, websocket_scope(query=upgrade))  # so that it cannot be closed at once
        server.task_group.start_soon(first.run)
        first.tell("websocket.connect")
        await first.hear("websocket.accept")
        first.tell("websocket.receive", text="4message")
        await wait_until(lambda: session._probe is None)
        second = server.websocket(query=upgrade)
        await second.hear("websocket.accept")
        first.tell("websocket.receive", text="5")
        await wait_until(lambda: first.received == 4)
        assert session.transport == "polling"
        second.tell("websocket.receive", text="2probe")
        assert await second.text() == "3probe"
        second.tell("websocket.disconnect", code=1001)
        first.free.set()
        assert await first.closed() == 1000


async def stick(server: AsgiServer) -> Stuck:
    """A client that joins the namespace, and then takes nothing."""
    call = Stuck(server.app, websocket_scope(query=WEBSOCKET))
    server.task_group.start_soon(call.run)
    call.tell("websocket.connect")
    await call.hear("websocket.accept")
    call.tell("websocket.receive", text="40")
    return call


async def test_what_a_client_does_not_take_is_bounded() -> None:
    io, events = make_io(limits=Limits(outbox_packets=10, outbox_burst_time=0.05, close_time=0.05))
    async with serving(io) as server:
        call = await stick(server)
        await wait_until(lambda: events)
        await wait_until(lambda: events[0].conn.blocked)
        events[0].volatile.emit("dropped")
        for number in range(10):
            events[0].emit("number", number)
        await wait_until(lambda: len(events) == 2)
        assert events[1][0] == "transport close"
        assert io.stats()["limit_hits"] == {"outbox_packets": 1}
        with anyio.fail_after(PATIENCE):
            await call.ended.wait()


async def test_a_slow_client_gets_everything_in_the_end() -> None:
    io, events = make_io()
    async with serving(io) as server:
        call = await stick(server)
        await wait_until(lambda: events)
        for number in range(100):
            events[0].emit("number", number)
        call.free.set()
        await call.text()
        await call.text()
        assert [await call.text() for _ in range(100)] == [f'42["number",{number}]' for number in range(100)]
        call.tell("websocket.disconnect", code=1001)


async def test_reading_pauses_while_the_application_has_enough() -> None:
    release = anyio.Event()
    io, _ = make_io(limits=Limits(handlers_per_socket=1, queued_events=1))
    seen: list[int] = []

    @io.on("slow")
    async def slow(socket: Socket[Any], number: int) -> None:
        seen.append(number)
        await release.wait()

    async with serving(io) as server:
        call = await connect(server)
        before = call.received
        for number in range(50):
            call.tell("websocket.receive", text=f'42["slow",{number}]')
        await wait_until(lambda: seen)
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        assert call.received < before + 10
        release.set()
        await wait_until(lambda: len(seen) == 50)
        assert seen == list(range(50))
        call.tell("websocket.disconnect", code=1001)


# The life of a server


async def test_its_own_lifespan() -> None:
    io, events = make_io()
    async with anyio.create_task_group() as task_group:
        server = AsgiServer(io, task_group)
        life = server.lifespan()
        life.tell("lifespan.startup")
        await life.hear("lifespan.startup.complete")
        call = await connect(server)
        query = await open_polling(server)
        held = server.get(query=query)
        await wait_until(lambda: held.received > 1)
        life.tell("lifespan.shutdown")
        assert await call.closed() == 1000
        assert await held.answer() == (200, b"1")
        await life.hear("lifespan.shutdown.complete")
        await life.end()
        assert events[1][0] == "server shutting down"


async def test_a_listener_of_disconnect_ends_before_the_server_is_gone() -> None:
    io: Server[Any] = Server()
    saved: list[str] = []

    @io.on("disconnect")
    async def disconnected(socket: Socket[Any], reason: str) -> None:
        await anyio.sleep(0.01)
        saved.append(reason)

    async with serving(io) as server:
        call = await connect(server)
    assert saved == ["server shutting down"]
    assert await call.closed() == 1000


async def test_nobody_is_let_in_while_it_closes() -> None:
    io, _ = make_io()
    async with serving(io) as server:
        await io.close()
        answer = await server.get(query=POLLING).answer()
        assert answer.status == 503
        assert answer.headers["retry-after"] == "10"
        call = server.websocket(query=WEBSOCKET)
        assert (await call.hear("websocket.http.response.start"))["status"] == 503
        await call.hear("websocket.http.response.body")
    async with serving(io) as server:
        assert (await server.get(query=POLLING).answer()).status == 200


async def test_an_error_inside_the_lifespan_stays_what_it_is() -> None:
    io, _ = make_io()
    with pytest.raises(KeyError, match="mine"):
        async with io.lifespan():
            raise KeyError("mine")


async def test_every_request_to_a_server_that_cannot_start_ends() -> None:
    class Unsuited(MemoryAdapter):
        def check(self, runtime: Runtime) -> None:
            raise AdapterError(f"not on {type(runtime).__name__}")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        await anyio.sleep_forever()

    io: Server[Any] = Server(adapter=Unsuited)
    for _ in range(2):
        with anyio.fail_after(PATIENCE):
            await io(http_scope(query=POLLING), receive, send)
        assert not io.running
    assert not sent  # the server that called it answers for it


async def test_without_a_lifespan_the_first_request_starts_the_clock() -> None:
    io, _ = make_io(ping_interval=0.05)
    async with anyio.create_task_group() as task_group:
        server = AsgiServer(io, task_group)
        first, second = server.get(query=POLLING), server.get(query=POLLING)
        query = f"{POLLING}&sid={json.loads((await first.answer()).body[1:])['sid']}"
        assert (await second.answer()).status == 200
        assert io.running
        assert await server.get(query=query).answer() == (200, b"2")
        await io.close()
    async with serving(io) as server:
        assert io.running


def test_it_starts_again_on_another_event_loop() -> None:
    io, _ = make_io()

    async def handshake() -> int:
        async with anyio.create_task_group() as task_group:
            return (await AsgiServer(io, task_group).get(query=POLLING).answer()).status

    for backend in ("asyncio", "trio", "asyncio"):
        assert anyio.run(handshake, backend=backend) == 200
        assert not io.running


async def test_a_scope_of_another_type_is_an_error() -> None:
    io, _ = make_io()
    with pytest.raises(ValueError, match="carrier pigeon"):
        await io({"type": "carrier pigeon"}, None, None)  # type: ignore[arg-type]


# Together with another application


class Other:
    """An application that keeps a record; its lifespan is one of several."""

    def __init__(self, style: str) -> None:
        self.style = style
        self.record: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            self.record.append(scope["type"])
            if scope["type"] == "http":
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b"other", "more_body": False})
            return
        if self.style == "raises":
            raise ValueError("no lifespan")
        if self.style == "returns":
            return
        message = await receive()
        self.record.append(message["type"])
        if self.style == "raises late":
            raise ValueError("no lifespan")
        if self.style == "fails":
            await send({"type": "lifespan.startup.failed", "message": "no database"})
            return
        await send({"type": "lifespan.startup.complete"})
        message = await receive()
        self.record.append(message["type"])
        await send({"type": "lifespan.shutdown.complete"})


@pytest.mark.parametrize("style", ["whole", "raises", "raises late", "returns"])
async def test_both_lifespans_run(style: str) -> None:
    io, events = make_io()
    other = Other(style)
    io.on("disconnect", lambda socket: other.record.append("disconnect"))
    async with anyio.create_task_group() as task_group:
        server = AsgiServer(io.wrap(other), task_group)
        life = server.lifespan()
        life.tell("lifespan.startup")
        await life.hear("lifespan.startup.complete")
        assert io.running
        call = await connect(server)
        life.tell("lifespan.shutdown")
        assert await call.closed() == 1000
        await life.hear("lifespan.shutdown.complete")
        await life.end()
        assert not io.running
    expected = {
        "whole": ["lifespan.startup", "disconnect", "lifespan.shutdown"],
        "raises late": ["lifespan.startup", "disconnect"],
    }
    assert other.record == expected.get(style, ["disconnect"])
    assert events[1][0] == "server shutting down"


async def test_a_start_that_fails_is_handed_on() -> None:
    io, _ = make_io()
    async with anyio.create_task_group() as task_group:
        life = AsgiServer(io.wrap(Other("fails")), task_group).lifespan()
        life.tell("lifespan.startup")
        assert (await life.hear("lifespan.startup.failed"))["message"] == "no database"
        await life.end()
    assert not io.running


async def test_everything_else_goes_to_the_other_application() -> None:
    io, _ = make_io(health_path="/healthz")
    other = Other("whole")
    async with serving(io.wrap(other), io) as server:
        assert (await server.get(query=POLLING).answer()).status == 200
        assert (await server.get("/api/socket.io/", POLLING, root_path="/api").answer()).status == 200
        assert await server.get("/healthz").answer() == (200, b"ok")
        for path, root in [("/", ""), ("/socket.iox", ""), ("/socket.io", ""), ("/api/", "/api")]:
            assert await server.get(path, root_path=root).answer() == (200, b"other")
        await server.websocket("/live").end()
        assert other.record == ["http"] * 4 + ["websocket"]
        call = await connect(server)
        call.tell("websocket.disconnect", code=1001)


async def test_two_servers_in_one_application() -> None:
    io, _ = make_io()
    engine = EngineServer()
    app = io.wrap(engine)
    async with anyio.create_task_group() as task_group:
        server = AsgiServer(app, task_group)
        life = server.lifespan()
        life.tell("lifespan.startup")
        await life.hear("lifespan.startup.complete")
        assert (await server.get("/engine.io/", POLLING).answer()).status == 200
        assert (await server.get(query=POLLING).answer()).status == 200
        assert engine.clients_count == 1
        life.tell("lifespan.shutdown")
        await life.hear("lifespan.shutdown.complete")
    assert engine.clients_count == 0


# A server that takes its time


class Hesitant(WebSocketCall):
    """A server that accepts a WebSocket only when it is told to."""

    def __init__(self, app: Any, scope: dict[str, Any]) -> None:
        super().__init__(app, scope)
        self.asked = anyio.Event()
        self.free = anyio.Event()

    async def _send(self, message: dict[str, Any]) -> None:
        if message["type"] == "websocket.accept":
            self.asked.set()
            await self.free.wait()
        await super()._send(message)


@pytest.mark.parametrize(
    "bound",
    [
        "sessions",
        "unconnected_sessions",
        "sessions_per_address",
        "unconnected_sessions_per_address",
    ],
)
async def test_a_session_has_its_place_while_its_websocket_is_accepted(bound: str) -> None:
    limits: dict[str, Any] = {bound: 2}
    io, _ = make_io(limits=Limits(**limits))
    async with serving(io) as server:
        calls = [Hesitant(io, websocket_scope(query=WEBSOCKET)) for _ in range(2)]
        for call in calls:
            server.task_group.start_soon(call.run)
            call.tell("websocket.connect")
            await call.asked.wait()
        status = 429 if bound.endswith("address") else 503
        assert (await server.get(query=POLLING).answer()).status == status
        assert io.engine.clients_count == 0
        for call in calls:
            call.free.set()
            await call.hear("websocket.accept")
            assert (await call.text())[0] == "0"
        assert io.engine.clients_count == 2
        assert (await server.get(query=POLLING).answer()).status == status
        for call in calls:
            call.tell("websocket.disconnect", code=1001)
            await call.end()
        assert (await server.get(query=POLLING).answer()).status == 200
    assert io.stats()["limit_hits"] == {bound: 2}


async def test_an_id_is_not_given_twice_while_a_websocket_is_accepted() -> None:
    io, _ = make_io(generate_id=lambda request: "the-only-one")
    async with serving(io) as server:
        call = Hesitant(io, websocket_scope(query=WEBSOCKET))
        server.task_group.start_soon(call.run)
        call.tell("websocket.connect")
        await call.asked.wait()
        assert (await server.get(query=POLLING).answer()).status == 400
        call.free.set()
        await call.hear("websocket.accept")
        assert json.loads((await call.text())[1:])["sid"] == "the-only-one"
        call.tell("websocket.disconnect", code=1001)
        await call.end()
        assert (await server.get(query=POLLING).answer()).status == 200


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_server_that_nobody_has_started_ends_with_its_loop(
    backend: str, caplog: pytest.LogCaptureFixture
) -> None:
    io, events = make_io()
    farewells: list[str] = []

    @io.on("disconnect")
    async def say_goodbye(socket: Socket[Any], reason: str) -> None:
        await anyio.sleep(0.01)
        farewells.append(reason)

    async def main() -> None:
        async with anyio.create_task_group() as task_group:
            server = AsgiServer(io, task_group)
            query = await open_polling(server)
            assert (await server.post(query, b"40").answer()).status == 200
            await wait_until(lambda: events)

    for count in (1, 2):
        anyio.run(main, backend=backend)
        assert not io.running
        assert (io.engine.clients, io.engine.unconnected, dict(io.sockets.sockets)) == ({}, 0, {})
        assert events[1:] == [("server shutting down", None)]
        assert farewells == ["server shutting down"] * count
        events.clear()
    assert not caplog.records


# A server that misbehaves


class Rude(Call):
    """A server that raises in ``send`` from some message on, as some do when the client has gone."""

    def __init__(self, app: Any, scope: dict[str, Any], patience: int, error: Exception) -> None:
        super().__init__(app, scope)
        self.patience = patience
        self.error = error

    async def _send(self, message: dict[str, Any]) -> None:
        self.patience -= 1
        if self.patience < 0:
            raise self.error
        await super()._send(message)


@pytest.mark.threat("T30")
@pytest.mark.parametrize("patience", range(5))
@pytest.mark.parametrize("error", [OSError("gone"), RuntimeError("Unexpected ASGI message")])
async def test_a_server_whose_send_raises(
    patience: int, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    io, _ = make_io()
    async with io.lifespan():
        call: Call = Rude(io, websocket_scope(query=WEBSOCKET), patience, error)
        call.tell("websocket.connect")
        call.tell("websocket.receive", text="40")
        call.tell("websocket.receive", text='421["echo"]')
        call.tell("websocket.receive", text='422["echo"]')
        call.tell("websocket.disconnect", code=1006)
        with anyio.fail_after(PATIENCE):
            await call.run()
        assert io.engine.clients_count == 0
        call = Rude(io, http_scope(query=POLLING), patience, error)
        call.tell("http.request", body=b"", more_body=False)
        with anyio.fail_after(PATIENCE):
            await call.run()
    assert not caplog.records


HTTP_MESSAGES = [
    {"type": "http.request", "body": b"40", "more_body": True},
    {"type": "http.request", "more_body": False},
    {"type": "http.request"},
    {"type": "http.disconnect"},
    {"type": "nonsense"},
]
WEBSOCKET_MESSAGES = [
    {"type": "websocket.connect"},
    {"type": "websocket.receive", "text": "40"},
    {"type": "websocket.receive", "bytes": b"\x00"},
    {"type": "websocket.receive"},
    {"type": "websocket.disconnect", "code": 1006},
    {"type": "websocket.disconnect"},
]


@pytest.mark.threat("T30")
async def test_messages_in_any_order(caplog: pytest.LogCaptureFixture) -> None:
    """None makes the application raise, say what it may not, or keep a session."""
    io, _ = make_io()
    async with serving(io) as server:
        scope = websocket_scope(query=WEBSOCKET)
        for messages in itertools.product(WEBSOCKET_MESSAGES, repeat=3):
            call: Call = WebSocketCall(io, scope)
            for message in (*messages, {"type": "websocket.disconnect"}):
                call.tell(**{"kind" if key == "type" else key: value for key, value in message.items()})
            with anyio.fail_after(PATIENCE):
                await call.run()
        assert io.engine.clients_count == 0
        for method, messages in itertools.product(
            ("GET", "POST"), itertools.product(HTTP_MESSAGES, repeat=2)
        ):
            query = await open_polling(server)
            call = HttpCall(io, http_scope(query=query, method=method))
            for message in (*messages, {"type": "http.disconnect"}):
                call.tell(**{"kind" if key == "type" else key: value for key, value in message.items()})
            with anyio.fail_after(PATIENCE):
                await call.run()
        await io.close()
    assert not caplog.records


@pytest.mark.threat("T30")
async def test_a_server_whose_receive_raises(caplog: pytest.LogCaptureFixture) -> None:
    io, _ = make_io()

    async def receive() -> Any:
        raise OSError("gone")

    async def send(message: Any) -> None:
        raise OSError("gone")

    async with serving(io) as server:
        query = await open_polling(server)
        for method in ("GET", "POST"):
            await io(http_scope(query=query, method=method), receive, send)
        await io(websocket_scope(query=WEBSOCKET), receive, send)
    assert caplog.records
    caplog.clear()


# A server that gives up


async def test_a_held_request_that_is_cancelled() -> None:
    io, events = make_io()
    async with serving(io) as server:
        query = await open_polling(server)
        await server.post(query, b"40").answer()
        await server.get(query=query).answer()
        call = HttpCall(io, http_scope(query=query))
        call.tell("http.request", body=b"", more_body=False)
        if sniffio.current_async_library() == "asyncio":
            task = asyncio.get_running_loop().create_task(call.run())
            await wait_until(lambda: call.received > 1)
            task.cancel()
            assert await call.answer() == (200, b"1"), "its client is told"
            await task
        else:
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(call.run)
                await wait_until(lambda: call.received > 1)
                task_group.cancel_scope.cancel()
            await call.end()
        assert len(events) == 2
        assert io.engine.clients_count == 0


async def test_a_websocket_that_is_cancelled() -> None:
    io, events = make_io()
    async with serving(io) as server:
        async with anyio.create_task_group() as task_group:
            call = await connect(AsgiServer(io, task_group))
            task_group.cancel_scope.cancel()
        assert events[1] == ("transport close", None)
        assert call.ended.is_set()
        assert server.app is io
