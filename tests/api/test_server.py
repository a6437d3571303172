"""The servers: their options, their engine's hooks, and everything around one listener."""

from __future__ import annotations

import gzip
import logging
import pkgutil
import re
import ssl
import zlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
import trustme
from anyio.streams.tls import TLSStream

import sio_core
from sio_core import (
    Cookie,
    Cors,
    Decoder,
    Deflate,
    EngineServer,
    JsonParser,
    Limits,
    MsgpackParser,
    Packet,
    Parser,
    Recovery,
    Request,
    Response,
    Server,
    Session,
    Socket,
)
from sio_core.adapters.memory import MemoryAdapter, RecoveringMemoryAdapter
from sio_core.server import make_parser
from sio_core.socketio.packet import is_packet_valid
from sio_core.testing import TestClient, VirtualClock, settle
from tests.api.peer import Peer, running

pytestmark = pytest.mark.anyio

USER: ContextVar[str] = ContextVar("user", default="nobody")
HANDSHAKE = "/socket.io/?EIO=4&transport=polling"


@asynccontextmanager
async def serving(**options: Any) -> AsyncGenerator[Peer, None]:
    async with running(Server(**options)) as peer:
        yield peer


# Options


@pytest.mark.feature(83)
@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("path", "socket.io"),
        ("transports", ["carrier pigeon"]),
        ("transports", []),
        ("allow_upgrades", 1),
        ("ping_interval", 0),
        ("ping_timeout", "20"),
        ("upgrade_timeout", -1),
        ("connect_timeout", 0),
        ("connect_timeout", "45"),
        ("connect_timeout", True),
        ("max_http_buffer_size", 0.5),
        ("cors", 5),
        ("check_origin", None),
        ("cookie", "io"),
        ("allow_request", "yes"),
        ("per_message_deflate", 5),
        ("http_compression", -1),
        ("serve_client", "yes"),
        ("allow_eio3", 1),
        ("add_trailing_slash", None),
        ("destroy_upgrade", 0),
        ("destroy_upgrade_timeout", 0),
        ("initial_packet", 5),
        ("generate_id", "id"),
        ("cleanup_empty_child_namespaces", None),
        ("parser", "xml"),
        ("adapter", "redis"),
        ("data_factory", {}),
        ("health_path", "healthz"),
        ("connection_state_recovery", 120),
        ("limits", {}),
        ("trusted_proxies", "127.0.0.1"),
    ],
)
def test_a_bad_value_is_named(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        Server(**{option: value})


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(TypeError, match="unknown option 'pingInterval'"):
        Server(pingInterval=25_000)
    with pytest.raises(TypeError, match="unknown option 'parser'"):
        EngineServer(parser="json")


@pytest.mark.feature(49, 83)
def test_the_defaults() -> None:
    io = Server()
    options = io.engine.options
    assert (options.path, options.transports, options.allow_upgrades) == (
        "/socket.io/",
        ("polling", "websocket"),
        True,
    )
    assert (options.ping_interval, options.ping_timeout, options.upgrade_timeout) == (25.0, 20.0, 10.0)
    assert (options.max_http_buffer_size, options.http_compression) == (1_000_000, 1_024)
    assert (options.cookie, options.cors, options.per_message_deflate, options.allow_eio3) == (
        None,
        None,
        None,
        False,
    )
    assert EngineServer().engine.options.path == "/engine.io/"


def test_short_forms_of_options() -> None:
    options = Server(cookie=True, per_message_deflate=True, http_compression=True, cors="*").engine.options
    assert options.cookie == Cookie()
    assert options.per_message_deflate == Deflate()
    assert options.http_compression == 0
    assert options.cors == Cors()
    options = Server(
        cookie=False, per_message_deflate=False, http_compression=False, cors=False
    ).engine.options
    assert (options.cookie, options.per_message_deflate, options.http_compression, options.cors) == (
        None,
    ) * 4


@pytest.mark.feature(6, 7, 8)
def test_the_options_of_recovery() -> None:
    assert Server().sockets.hub.recovery is None
    for value in (None, False):
        assert Server(connection_state_recovery=value).sockets.hub.recovery is None
    recovery = Server(connection_state_recovery=True).sockets.hub.recovery
    assert recovery is not None
    assert recovery.window == 120.0
    options = Recovery(max_disconnection_duration=5.0, skip_middlewares=True)
    hub = Server(connection_state_recovery=options).sockets.hub
    assert hub.recovery is not None
    assert hub.recovery.window == 5.0
    bad: Any
    for bad in (0, -1, "120", True, float("inf")):
        with pytest.raises(ValueError, match="max_disconnection_duration must be a positive"):
            Recovery(max_disconnection_duration=bad)
    with pytest.raises(ValueError, match="skip_middlewares must be True or False, not 1"):
        Recovery(skip_middlewares=1)  # type: ignore[arg-type]


@pytest.mark.feature(3, 62, 90, 201, 202)
def test_adapters() -> None:
    assert type(Server().sockets.adapter) is MemoryAdapter
    assert type(Server(connection_state_recovery=True).of("/x").adapter) is RecoveringMemoryAdapter

    class Own(MemoryAdapter):
        pass

    io = Server(adapter=Own)
    assert type(io.sockets.adapter) is type(io.of("/x").adapter) is Own
    assert io.of("/x").adapter.name == "/x"


class LineDecoder(Decoder):
    def add(self, message: str | bytes) -> Packet | None:
        kind, namespace, data = eval(message)
        packet = Packet(kind, namespace, data)
        assert is_packet_valid(packet)
        return packet


class LineParser(Parser):
    """Packets as Python writes tuples."""

    def encode(self, packet: Packet) -> list[str | bytes]:
        return [repr((packet.type, packet.namespace, packet.data))]

    def decoder(self, limits: Limits) -> Decoder:
        return LineDecoder()


@pytest.mark.feature(4, 219, 221)
async def test_a_parser_of_the_application() -> None:
    assert isinstance(make_parser("json", Limits()), JsonParser)
    assert isinstance(make_parser("msgpack", Limits()), MsgpackParser)
    io = Server(parser=LineParser())
    io.on("echo", lambda socket, *args: socket.emit("echo", *args) and None)
    async with running(io) as peer:
        client = await peer.open()
        sid = (await client.connect("4(0, '/', None)"))[19:39]
        assert list(io.sockets.sockets) == [sid]
        await client.post("4(2, '/', ['echo', (1, 2)])")
        assert await client.get() == "4(2, '/', ['echo', (1, 2)])"


# Requests


@pytest.mark.feature(1, 41, 59)
async def test_the_path() -> None:
    async with serving(path="/a/b") as peer:
        assert (await peer.fetch("/a/b/?EIO=4&transport=polling")).status == 200
        for wrong in ("/a/b?EIO=4&transport=polling", HANDSHAKE, "/"):
            reply = await peer.fetch(wrong)
            assert (reply.status, reply.text) == (404, "Socket.IO is at /a/b/\n")
    async with serving(path="/a/b", add_trailing_slash=False) as peer:
        for target in ("/a/b?EIO=4&transport=polling", "/a/b/?EIO=4&transport=polling"):
            assert (await peer.fetch(target)).status == 200


@pytest.mark.feature(10, 11, 13, 15, 16, 164, 193)
async def test_the_handshake_tells_the_options() -> None:
    options: dict[str, Any] = {"ping_interval": 0.3, "ping_timeout": 0.2, "max_http_buffer_size": 500}
    async with serving(**options) as peer:
        text = (await peer.fetch(HANDSHAKE)).text
        assert re.fullmatch(
            r'0{"sid":"[\w-]{20}","upgrades":\["websocket"\],'
            r'"pingInterval":300,"pingTimeout":200,"maxPayload":500}',
            text,
        )
    for changes in ({"allow_upgrades": False}, {"transports": ["polling"]}):
        async with serving(**changes) as peer:
            assert '"upgrades":[]' in (await peer.fetch(HANDSHAKE)).text
    async with serving(transports=["websocket"]) as peer:
        reply = await peer.fetch(HANDSHAKE)
        assert (reply.status, reply.text) == (400, '{"code":0,"message":"Transport unknown"}')


@pytest.mark.feature(13)
async def test_a_body_that_is_too_large() -> None:
    async with serving(max_http_buffer_size=100) as peer:
        client = await peer.open()
        await client.connect()
        assert (await client.post("4" * 100)).text == "ok"
        client = await peer.open()
        assert (await client.post("4" * 101)).status == 413
        assert client.session.state == "open"


@pytest.mark.feature(10, 11, 188)
async def test_the_heartbeat() -> None:
    clock = VirtualClock()
    io = Server(ping_interval=1.0, ping_timeout=1.0)
    async with running(io, clock) as peer:
        client = await peer.open()
        await clock.advance(1.1)
        assert await client.get() == "2"
        await client.post("3")
        await clock.advance(1.1)
        assert await client.get() == "2"
        await clock.advance(1.1)
        assert io.engine.clients_count == 0


@pytest.mark.feature(14)
@pytest.mark.parametrize("asynchronous", [False, True])
async def test_allow_request(asynchronous: bool) -> None:
    seen: list[str] = []

    def decide(request: Request) -> bool | str:
        seen.append(request.method)
        answers: dict[str, bool | str] = {"good": True, "bad": False, "ugly": "Thou shall not pass"}
        return answers[request.headers["x-who"]]

    async def decide_later(request: Request) -> bool | str:
        await anyio.lowlevel.checkpoint()
        return decide(request)

    errors: list[Any] = []
    io = Server(allow_request=decide_later if asynchronous else decide)
    io.engine.on("connection_error", errors.append)
    async with running(io) as peer:
        client = await peer.open(X_Who="good")
        await client.post("40")
        assert seen == ["GET"]
        reply = await peer.fetch(HANDSHAKE, X_Who="bad")
        assert (reply.status, reply.text) == (403, '{"code":4,"message":"Forbidden"}')
        reply = await peer.fetch(HANDSHAKE, X_Who="ugly")
        assert (reply.status, reply.text) == (403, '{"code":4,"message":"Thou shall not pass"}')
        assert [(error["code"], error["message"], error["context"]["message"]) for error in errors] == [
            (4, "Forbidden", None),
            (4, "Forbidden", "Thou shall not pass"),
        ]


@pytest.mark.feature(27)
async def test_the_initial_packet() -> None:
    async with serving(initial_packet="hello") as peer:
        assert (await peer.fetch(HANDSHAKE)).text.endswith("}\x1e4hello")


@pytest.mark.feature(28, 29, 30)
async def test_cookies() -> None:
    async with serving() as peer:
        assert "set-cookie" not in (await peer.fetch(HANDSHAKE)).headers
    async with serving(cookie=True) as peer:
        reply = await peer.fetch(HANDSHAKE)
        sid = reply.text[9:29]
        assert reply.headers["set-cookie"] == f"io={sid}; Path=/; HttpOnly; SameSite=Lax"
    cookie = Cookie(
        name="id",
        path=None,
        http_only=False,
        same_site="none",
        secure=True,
        domain="example.org",
        max_age=5,
        expires="Thu, 01 Jan 2026 00:00:00 GMT",
        partitioned=True,
        priority="high",
    )
    async with serving(cookie=cookie) as peer:
        reply = await peer.fetch(HANDSHAKE)
        assert reply.headers["set-cookie"] == (
            f"id={reply.text[9:29]}; Max-Age=5; Domain=example.org; Expires=Thu, 01 Jan 2026 00:00:00 GMT; "
            "Secure; Partitioned; Priority=High; SameSite=None"
        )
        client = await peer.open()
        assert "set-cookie" not in (await client.post("40")).headers


@pytest.mark.feature(31, 32, 33, 34, 35, 36, 37, 39)
async def test_cross_origin_requests() -> None:
    cors = Cors(
        origins=["http://a.example", re.compile(r"https://.*\.b\.example")],
        credentials=True,
        methods=["GET", "POST"],
        allowed_headers=["X-Token"],
        exposed_headers="X-Answer",
        max_age=60,
        options_success_status=200,
    )
    async with serving(cors=cors) as peer:
        reply = await peer.fetch(HANDSHAKE, "OPTIONS", Origin="http://a.example")
        assert reply.status == 200
        headers = {name: value for name, value in reply.headers.items() if name.startswith("access-")}
        assert headers == {
            "access-control-allow-origin": "http://a.example",
            "access-control-allow-credentials": "true",
            "access-control-allow-methods": "GET,POST",
            "access-control-allow-headers": "X-Token",
            "access-control-expose-headers": "X-Answer",
            "access-control-max-age": "60",
        }
        for origin in ("http://a.example", "https://x.b.example"):
            reply = await peer.fetch(HANDSHAKE, Origin=origin)
            assert reply.status == 200
            assert reply.headers["access-control-allow-origin"] == origin
            assert reply.headers["vary"] == "Origin"
        reply = await peer.fetch(HANDSHAKE, Origin="http://evil.example")
        assert reply.status == 403
        assert "access-control-allow-origin" not in reply.headers
    async with serving(cors="*") as peer:
        reply = await peer.fetch(HANDSHAKE, Origin="http://anywhere.example")
        assert reply.headers["access-control-allow-origin"] == "*"


@pytest.mark.feature(38)
async def test_a_preflight_may_go_on() -> None:
    async with serving(cors=Cors(preflight_continue=True)) as peer:
        reply = await peer.fetch(HANDSHAKE, "OPTIONS", Origin="http://a.example")
        assert (reply.status, reply.headers["access-control-allow-origin"]) == (400, "*")


@pytest.mark.feature(23, 24)
async def test_compression_of_polling() -> None:
    text = "x" * 2_000
    for option, length, header, expected in (
        (1_024, 2_000, "gzip, deflate", "gzip"),
        (1_024, 2_000, "deflate", "deflate"),
        (1_024, 1_000, "gzip", None),
        (1_024, 2_000, "", None),
        (True, 100, "gzip", "gzip"),
        (False, 2_000, "gzip", None),
        (3_000, 2_000, "gzip", None),
    ):
        async with serving(http_compression=option) as peer:
            client = await peer.open()
            client.session.send(text[:length])
            reply = await client.poll(Accept_Encoding=header)
            assert reply.headers.get("content-encoding") == expected
            body = reply.body
            if expected == "gzip":
                body = gzip.decompress(body)
            elif expected == "deflate":
                body = zlib.decompress(body)
            assert body == b"4" + text[:length].encode()
            assert reply.headers["cache-control"] == "no-store"


@pytest.mark.feature(12)
async def test_the_time_of_an_upgrade() -> None:
    clock = VirtualClock()
    async with running(Server(upgrade_timeout=2.0), clock) as peer:
        client = await peer.open()
        request = peer.start(
            f"/socket.io/?EIO=4&transport=websocket&sid={client.sid}",
            Connection="Upgrade",
            Upgrade="websocket",
            Sec_WebSocket_Version="13",
            Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAAAA==",
        )
        assert (await request.reply()).status == 101
        await clock.advance(2.1)
        assert request._buffer.endswith(b"\x88\x00")
        assert client.session.transport == "polling"


@pytest.mark.feature(17, 192)
async def test_compression_and_subprotocol_of_a_websocket() -> None:
    for option, extension in ((False, None), (True, "permessage-deflate")):
        async with serving(per_message_deflate=option) as peer:
            request = peer.start(
                "/socket.io/?EIO=4&transport=websocket",
                Connection="Upgrade",
                Upgrade="websocket",
                Sec_WebSocket_Version="13",
                Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAAAA==",
                Sec_WebSocket_Extensions="permessage-deflate",
                Sec_WebSocket_Protocol="first, second",
            )
            reply = await request.reply()
            assert reply.headers.get("sec-websocket-extensions") == extension
            assert reply.headers["sec-websocket-protocol"] == "first"


@pytest.mark.feature(42, 43)
async def test_upgrades_that_are_for_nobody() -> None:
    for destroy in (True, False):
        clock = VirtualClock()
        io = Server(destroy_upgrade=destroy, destroy_upgrade_timeout=2.0)
        async with running(io, clock) as peer:
            request = peer.start("/elsewhere", Connection="Upgrade", Upgrade="websocket")
            await clock.advance(1.9)
            assert not request.connection.closing
            await clock.advance(0.2)
            assert request.connection.closing is destroy
            assert not request.answered


# The engine


@pytest.mark.feature(81, 156, 157, 172, 174)
async def test_sessions() -> None:
    io = Server()
    assert io.engine.clients_count == 0
    async with TestClient(io) as client, running(io) as peer:
        polling = await peer.open()
        assert io.engine.clients_count == 2
        session = client.socket.conn
        assert io.engine.clients == {session.id: session, polling.sid: polling.session}
        assert (session.protocol, session.state, session.transport) == (4, "open", "websocket")
        assert session.remote_address == "127.0.0.1"
        assert session.writable
        assert polling.session.transport == "polling"
        assert not polling.session.writable
        assert repr(session) == f"<Session {session.id[:6]}… websocket open>"
        with pytest.raises(ValueError, match="a session has no event 'open'"):
            session.on("open")


@pytest.mark.feature(158)
async def test_ids_of_the_application() -> None:
    async def generate(request: Request) -> str:
        await anyio.lowlevel.checkpoint()
        return request.params["id"]

    errors: list[Any] = []
    io = Server(generate_id=generate)
    io.engine.on("connection_error", errors.append)
    async with running(io) as peer:
        assert '"sid":"abc"' in (await peer.fetch(f"{HANDSHAKE}&id=abc")).text
        assert list(io.engine.clients) == ["abc"]
        reply = await peer.fetch(f"{HANDSHAKE}&id=abc")
        assert (reply.status, reply.text) == (400, '{"code":3,"message":"Bad request"}')
        assert errors[0]["context"]["name"] == "ID_GENERATION_ERROR"


@pytest.mark.feature(159)
async def test_middlewares_of_the_engine() -> None:
    io = Server()
    log: list[str] = []

    @io.engine.use
    def first(request: Request, headers: dict[str, str]) -> None:
        log.append(f"first {request.method}")
        headers["X-First"] = "1"

    @io.engine.use
    async def second(request: Request) -> Response | None:
        await anyio.lowlevel.checkpoint()
        log.append("second")
        if "maintenance" in request.params:
            return Response(503, [("Retry-After", "5")], b"later")
        if "broken" in request.params:
            raise ValueError("broken")
        return None

    async with running(io) as peer:
        client = await peer.open()
        assert client.handshake is not None
        assert client.handshake.headers["x-first"] == "1"
        assert (await client.post("40")).headers["x-first"] == "1"
        assert log == ["first GET", "second", "first POST", "second"]
        reply = await peer.fetch(f"{HANDSHAKE}&maintenance=1")
        assert (reply.status, reply.text, reply.headers["retry-after"]) == (503, "later", "5")
        reply = await peer.fetch(f"{HANDSHAKE}&broken=1")
        assert (reply.status, reply.text) == (400, '{"code":3,"message":"Bad request"}')
        request = peer.start(
            "/socket.io/?EIO=4&transport=websocket",
            Connection="Upgrade",
            Upgrade="websocket",
            Sec_WebSocket_Version="13",
            Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAAAA==",
        )
        reply = await request.reply()
        assert (reply.status, reply.headers["x-first"]) == (101, "1")


@pytest.mark.feature(163)
async def test_the_engine_closes_every_session() -> None:
    io = Server()
    reasons: list[str] = []
    io.on("disconnect", lambda socket, reason: reasons.append(reason))
    async with TestClient(io) as client:
        io.engine.close()
        assert await client.wait_disconnected() == "transport close"
        await settle()
        assert reasons == ["forced close"]
        assert io.engine.clients_count == 0


@pytest.mark.feature(166, 168, 169)
async def test_hooks_of_the_engine() -> None:
    io = Server()
    log: list[Any] = []

    @io.engine.on("connection")
    def connected(session: Session) -> None:
        log.append(("connection", session.id))

    @io.engine.on("initial_headers")
    def initial(headers: dict[str, str], request: Request) -> None:
        headers["X-Initial"] = request.method

    @io.engine.on("headers")
    def every(headers: dict[str, str], request: Request) -> None:
        headers["X-Every"] = request.method

    async with running(io) as peer:
        client = await peer.open()
        assert log == [("connection", client.sid)]
        assert client.handshake is not None
        headers = client.handshake.headers
        assert (headers["x-initial"], headers["x-every"]) == ("GET", "GET")
        reply = await client.post("40")
        assert "x-initial" not in reply.headers
        assert reply.headers["x-every"] == "POST"
        assert "x-every" not in (await peer.fetch("/socket.io/?EIO=4")).headers


@pytest.mark.feature(167, 171)
async def test_every_refusal_is_reported() -> None:
    io = Server(allow_request=lambda request: "allowed" in request.params)
    errors: list[Any] = []
    io.engine.on("connection_error", errors.append)
    async with running(io) as peer:
        for target, method, code in (
            ("/socket.io/?EIO=4&transport=tube", "GET", 0),
            (f"{HANDSHAKE}&sid=unknown", "GET", 1),
            (HANDSHAKE, "OPTIONS", 2),
            ("/socket.io/?EIO=4&transport=websocket", "GET", 3),
            (HANDSHAKE, "GET", 4),
            ("/socket.io/?EIO=3&transport=polling&allowed=1", "GET", 5),
        ):
            reply = await peer.fetch(target, method)
            assert reply.status == (403 if code == 4 else 400)
            assert reply.text.startswith(f'{{"code":{code},"message":"')
            error = errors.pop()
            assert error["code"] == code
            assert error["request"].target == target
            assert error["message"] in reply.text
            assert isinstance(error["context"], dict)
        assert errors == []


@pytest.mark.feature(176, 177)
async def test_raw_messages_and_the_end_of_a_session() -> None:
    io = Server()
    async with running(io) as peer:
        client = await peer.open()
        session = client.session
        session.send("text", compress=False)
        session.send(b"\x01")
        with pytest.raises(TypeError, match="a message is str or bytes, not int"):
            session.send(5)  # type: ignore[arg-type]
        session.close()
        assert session.state == "closing"
        assert await client.get() == "4text\x1ebAQ=="
        assert await client.get() == "6\x1e1"
        assert session.state == "closed"
        client = await peer.open()
        client.session.send("dropped")
        session = client.session
        session.close(discard=True)
        assert session.state == "closed"
        assert (await client.poll()).status == 400


@pytest.mark.feature(160, 161)
async def test_requests_by_hand() -> None:
    """A server is an ASGI application: whoever has a request, or an upgrade, calls it."""
    io = Server()
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/socket.io/",
        "raw_path": b"/socket.io/",
        "query_string": b"EIO=4&transport=polling",
        "root_path": "",
        "headers": [(b"host", b"testserver")],
        "scheme": "http",
        "client": ("192.0.2.1", 5),
    }
    async with io.lifespan():
        await io(scope, receive, send)
        assert sent[0]["status"] == 200
        assert sent[1]["body"].startswith(b'0{"sid":"')


@pytest.mark.feature(162)
async def test_an_engine_alone(caplog: pytest.LogCaptureFixture) -> None:
    engine = EngineServer(ping_interval=0.5)
    log: list[Any] = []

    @engine.use
    def middleware(request: Request, headers: dict[str, str]) -> None:
        headers["X-Engine"] = "1"

    @engine.on("connection")
    def connected(session: Session) -> None:
        @session.on("message")
        async def message(data: str | bytes) -> None:
            log.append(data)
            if data == "fail":
                raise ValueError("async")
            session.send(data)

        @session.on("message")
        def again(data: str | bytes) -> None:
            if data == "fail":
                raise ValueError("sync")

        session.on("close", lambda reason, details: log.append((reason, details)))

    async with engine.listen() as listening, httpx.AsyncClient(base_url=listening.url) as client:
        url = "/engine.io/?EIO=4&transport=polling"
        reply = await client.get(url)
        assert reply.headers["x-engine"] == "1"
        url = f"{url}&sid={reply.text[9:29]}"
        assert engine.clients_count == len(engine.clients) == 1
        assert (await client.post(url, content="4text\x1ebAQ==")).text == "ok"
        got: list[str] = []
        while len(got) < 2:
            got += (await client.get(url)).text.split("\x1e")
        assert sorted(got) == ["4text", "bAQ=="]  # async listeners of trio begin in any order
        await client.post(url, content="4fail")
        await client.post(url, content="1")
        assert sorted(map(str, log)) == sorted(["text", "b'\\x01'", "fail", "('transport close', None)"])
        assert caplog.text.count("a listener of session") == 2
        assert engine.clients_count == 0
        assert (await client.get("/socket.io/")).text == "Socket.IO is at /engine.io/\n"


# Around one listener


@pytest.mark.feature(47, 48, 50, 51)
async def test_two_servers_on_one_listener(tmp_path: Path) -> None:
    io = Server(health_path="/healthz")
    engine = EngineServer()
    (tmp_path / "index.html").write_text("<p>page")
    async with (
        io.listen(static=tmp_path, engines=[engine]) as listening,
        httpx.AsyncClient(base_url=listening.url) as client,
    ):
        assert listening.port > 0
        assert listening.url == f"http://127.0.0.1:{listening.port}"
        assert (await client.get(HANDSHAKE)).status_code == 200
        assert (await client.get("/engine.io/?EIO=4&transport=polling")).status_code == 200
        assert (io.engine.clients_count, engine.clients_count) == (1, 1)
        page = await client.get("/")
        assert (page.text, page.headers["content-type"]) == ("<p>page", "text/html; charset=utf-8")
        assert (await client.get("/", headers={"If-None-Match": page.headers["etag"]})).status_code == 304
        assert (await client.get("/../pyproject.toml")).status_code == 404
        assert (await client.get("/healthz")).text == "ok"
        assert (await client.get("/nothing")).status_code == 404
    async with httpx.AsyncClient(base_url=listening.url) as client:
        with pytest.raises(httpx.ConnectError):
            await client.get("/")


@pytest.mark.feature(58)
async def test_closing_and_listening_again() -> None:
    io = Server()
    log: list[Any] = []

    @io.on("disconnect")
    async def disconnected(socket: Socket, reason: str) -> None:
        await anyio.lowlevel.checkpoint()
        log.append(reason)

    for _ in range(2):
        async with io.listen() as listening, httpx.AsyncClient(base_url=listening.url) as client:
            reply = await client.get(HANDSHAKE)
            url = f"{HANDSHAKE}&sid={reply.text[9:29]}"
            await client.post(url, content="40")
            await client.get(url)
            await io.close()
            await io.close()
            assert io.engine.clients_count == 0
        assert log == ["server shutting down"]
        log.clear()


@pytest.mark.feature(2, 60, 196, 197, 198, 199, 200)
async def test_the_browser_client() -> None:
    async with serving(cors="*") as peer:
        for name in ("socket.io.js", "socket.io.min.js", "socket.io.msgpack.min.js", "socket.io.esm.min.js"):
            reply = await peer.fetch(f"/socket.io/{name}")
            assert reply.status == 200
            assert reply.headers["content-type"] == "application/javascript; charset=utf-8"
            assert reply.headers["cache-control"] == "public, max-age=0"
            assert reply.headers["access-control-allow-origin"] == "*"
            assert re.fullmatch(r'"4\.\d+\.\d+"', reply.headers["etag"])
            etag = reply.headers["etag"]
            for known in (etag, f"W/{etag}"):
                cached = await peer.fetch(f"/socket.io/{name}", If_None_Match=known)
                assert (cached.status, cached.body) == (304, b"")
            packed = await peer.fetch(f"/socket.io/{name}", Accept_Encoding="gzip")
            assert packed.headers["content-encoding"] == "gzip"
            assert gzip.decompress(packed.body) == reply.body
            packed = await peer.fetch(f"/socket.io/{name}", Accept_Encoding="deflate")
            assert zlib.decompress(packed.body) == reply.body
            source = await peer.fetch(f"/socket.io/{name}.map")
            assert source.headers["content-type"] == "application/json; charset=utf-8"
        reply = await peer.fetch("/socket.io/package.json")
        assert (reply.status, reply.text) == (400, '{"code":0,"message":"Transport unknown"}')
    async with serving(serve_client=False) as peer:
        assert (await peer.fetch("/socket.io/socket.io.js")).status == 400


@pytest.mark.feature(190, 191)
async def test_tls_with_certificates_of_clients(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    known = ssl.create_default_context()
    authority.configure_trust(known)
    authority.issue_cert("client@example.org").configure_cert(known)
    io = Server()
    seen: list[bool] = []
    io.on("connection", lambda socket: seen.append(socket.handshake.secure))
    logging.disable(logging.ERROR)
    async with io.listen(ssl=context) as listening:
        assert listening.url.startswith("https://")
        async with httpx.AsyncClient(verify=known, base_url=listening.url) as client:
            reply = await client.get(HANDSHAKE)
            assert reply.status_code == 200
            assert reply.http_version == "HTTP/1.1"
            url = f"{HANDSHAKE}&sid={reply.text[9:29]}"
            await client.post(url, content="40")
            assert seen == [True]
        async with httpx.AsyncClient(verify=trusting, base_url=listening.url) as client:
            with pytest.raises(httpx.TransportError):
                await client.get(HANDSHAKE)
    logging.disable(logging.NOTSET)


async def test_context_variables_are_those_of_one_connection() -> None:
    io = Server()

    @io.on("login")
    def login(socket: Socket, name: str) -> None:
        USER.set(name)

    @io.on("who")
    def who(socket: Socket) -> str:
        return USER.get()

    async with io.listen() as listening:
        for name, expected in (("ann", "ann"), (None, "nobody")):
            async with httpx.AsyncClient(base_url=listening.url) as client:
                reply = await client.get(HANDSHAKE)
                url = f"{HANDSHAKE}&sid={reply.text[9:29]}"
                packets = (
                    ["40", '420["who"]'] if name is None else ["40", f'42["login","{name}"]', '420["who"]']
                )
                for packet in packets:
                    await client.post(url, content=packet)
                assert (await client.get(url)).text.endswith(f'430["{expected}"]')


async def test_counts() -> None:
    io = Server()
    assert io.stats().items() >= {"sessions": 0, "sockets": 0, "namespaces": 1, "limit_hits": {}}.items()
    io.of("/other")
    async with TestClient(io) as client:
        await client.join("/other")
        assert io.stats().items() >= {"sessions": 1, "sockets": 2, "namespaces": 2, "limit_hits": {}}.items()


async def test_health_while_it_drains() -> None:
    io = Server(health_path="/healthz")
    async with running(io) as peer:
        assert ((await peer.fetch("/healthz")).status, (await peer.fetch("/healthz")).text) == (200, "ok")
        assert (await peer.fetch("/healthz/")).status == 404
        await io.close()
        reply = await peer.fetch("/healthz")
        assert (reply.status, reply.text) == (503, "draining")


async def test_a_server_that_does_not_run_has_no_loop() -> None:
    io = Server()
    io.emit("to nobody")
    with pytest.raises(RuntimeError, match="the server is not running"):
        io.sockets.hub.runtime  # noqa: B018


@pytest.mark.feature(66)
async def test_send() -> None:
    io = Server()
    async with TestClient(io) as client:
        await io.send("hello")
        await io.sockets.send("again")
        assert await client.receive("message") == ["hello"]
        assert await client.receive("message") == ["again"]


@pytest.mark.feature(69)
async def test_local() -> None:
    io = Server()
    async with TestClient(io) as client:
        assert await io.local.fetch_sockets()
        await io.local.emit("event")
        assert await client.receive() == ["event"]


@pytest.mark.feature(181)
async def test_a_broadcast_is_encoded_once() -> None:
    encoded: list[Any] = []

    class Counting(JsonParser):
        def encode_event(self, namespace: str, data: Any, id: int | None, prefix: bytes) -> Any:  # noqa: A002
            encoded.append(data)
            return super().encode_event(namespace, data, id, prefix)

    io = Server(parser=Counting())
    async with TestClient(io) as a, TestClient(io) as b, TestClient(io) as c:
        io.emit("event", 1)
        for client in (a, b, c):
            assert await client.receive() == ["event", 1]
        assert encoded == [["event", 1]]


@pytest.mark.feature(232)
async def test_loggers_have_the_names_of_the_modules(caplog: pytest.LogCaptureFixture) -> None:
    modules = {module.name for module in pkgutil.walk_packages(sio_core.__path__, "sio_core.")}
    known = {name for name in logging.root.manager.loggerDict if name.startswith("sio_core.")}
    assert (
        {"sio_core.api.hub", "sio_core.engineio.engine", "sio_core.server"}
        <= known
        <= modules | {package.rpartition(".")[0] for package in modules}
    )
    assert not logging.getLogger("sio_core").handlers
    io = Server()
    with caplog.at_level(logging.DEBUG, logger="sio_core"):
        async with TestClient(io) as client:
            client._transport.send_message("40")
            await settle()
    assert "a client may not send CONNECT in a namespace that is connected" in caplog.text
    assert client.server is io


async def test_what_has_come_and_gone_is_counted() -> None:
    io: Server[Any] = Server()

    @io.on("echo")
    def echo(socket: Socket[Any], text: str) -> None:
        socket.emit("echo", text)

    async with TestClient(io) as client:
        before = io.stats()
        await client.emit("echo", "hello")
        await client.receive("echo")
        after = io.stats()
    frame = len('42["echo","hello"]')
    assert after["messages_received"] - before["messages_received"] == 1
    assert after["bytes_received"] - before["bytes_received"] == frame
    assert after["packets_sent"] - before["packets_sent"] == 1
    assert after["bytes_sent"] - before["bytes_sent"] == frame
    assert (after["sessions"], after["sockets"], after["namespaces"]) == (1, 1, 1)


async def test_an_error_inside_the_block_comes_out_as_it_is() -> None:
    io = Server()
    with pytest.raises(ValueError, match=r"^mine$"):
        async with io.listen():
            raise ValueError("mine")
    assert not io.running


async def test_a_connection_whose_tls_handshake_ends_too_late_is_not_served() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    io = Server()
    async with io.listen(ssl=context) as listening:
        stream = await anyio.connect_tcp("127.0.0.1", listening.port)
        await settle()

    async def fetch() -> None:
        secure = await TLSStream.wrap(stream, hostname="127.0.0.1", ssl_context=trusting)
        await secure.send(b"GET %s HTTP/1.1\r\nHost: here\r\n\r\n" % HANDSHAKE.encode())
        await secure.receive()

    with anyio.fail_after(5), pytest.raises((anyio.BrokenResourceError, anyio.EndOfStream, ssl.SSLError)):
        await fetch()
    assert not io.engine.clients
    await anyio.aclose_forcefully(stream)


class StubbornAdapter(MemoryAdapter):
    """An adapter that cannot be closed."""

    async def close(self) -> None:
        raise RuntimeError("no")


async def test_an_adapter_that_cannot_be_closed_keeps_no_client(caplog: pytest.LogCaptureFixture) -> None:
    io = Server(adapter=StubbornAdapter)
    async with running(io) as peer:
        await peer.fetch(HANDSHAKE)
        assert io.engine.clients_count == 1
        await io.close()
        assert io.engine.clients_count == 0
    assert "could not be closed" in caplog.text
