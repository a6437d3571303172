"""Requests that are refused: every code with its status, content type and body, in the order of the tests."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from conformance.bench import Bench
from conformance.expect import MismatchError, expect, expect_equal
from conformance.model import OFFICIAL, Check, Mark, check, eio, register
from conformance.peer.http import DisconnectedError, Response
from conformance.peer.socketio import Client
from conformance.peer.websocket import Closed, RefusedError, upgrade_headers

MESSAGES = {
    0: "Transport unknown",
    1: "Session ID unknown",
    2: "Bad handshake method",
    3: "Bad request",
    4: "Forbidden",
    5: "Unsupported protocol version",
}


def expect_refused(response: Response, code: int, message: str | None = None) -> None:
    status = 403 if code == 4 else 400
    body = json.dumps({"code": code, "message": message or MESSAGES[code]}, separators=(",", ":")).encode()
    seen = (response.status, response.header("content-type"), response.body)
    expect_equal(seen, (status, "application/json", body))


async def expect_alive(client: Client) -> None:
    await client.emit("message", "still here")
    await client.expect_event("message-back", "still here")


@dataclass(frozen=True, slots=True)
class Refusal:
    name: str
    sentence: str
    code: int
    method: str = "GET"
    transport: str | None = "polling"
    eio: str | None = "4"
    query: tuple[tuple[str, str], ...] = ()
    message: str | None = None

    def target(self, bench: Bench) -> str:
        return bench.target(self.transport, self.eio, **dict(self.query))


SID = (("sid", "abcdefghijklmnopqrst"),)

REFUSALS = (
    Refusal("transport.missing", "A request names its transport.", 0, transport=None),
    Refusal("transport.unknown", "The transport must be a known one.", 0, transport="tobi"),
    Refusal("transport.empty", "An empty transport is unknown.", 0, transport=""),
    Refusal("transport.case", "Names of transports are compared exactly.", 0, transport="Polling"),
    Refusal(
        "transport.webtransport", "WebTransport is not opened over HTTP/1.1.", 0, transport="webtransport"
    ),
    Refusal("transport.constructor", "A name of the language is no transport.", 0, transport="constructor"),
    Refusal("transport.proto", "Nor is the name of the prototype.", 0, transport="__proto__"),
    Refusal("sid.unknown", "The session must exist.", 1, query=SID),
    Refusal("sid.proto", "The name of the prototype is no session.", 1, query=(("sid", "__proto__"),)),
    Refusal("sid.constructor", "A name of the language is no session.", 1, query=(("sid", "constructor"),)),
    Refusal("sid.unknown-post", "The session of a POST must exist.", 1, "POST", query=SID),
    Refusal("method.post", "A session is opened with GET, not POST.", 2, "POST"),
    Refusal("method.put", "A session is opened with GET, not PUT.", 2, "PUT"),
    Refusal("method.delete", "A session is opened with GET, not DELETE.", 2, "DELETE"),
    Refusal("method.patch", "A session is opened with GET, not PATCH.", 2, "PATCH"),
    Refusal("method.options", "Without `cors` an OPTIONS request is no preflight.", 2, "OPTIONS"),
    Refusal("request.no-upgrade", "A WebSocket session needs an upgrade request.", 3, transport="websocket"),
    Refusal("request.middleware", "A failing engine middleware is a bad request.", 3, query=(("fail", "1"),)),
    Refusal("forbidden.standard", "`allowRequest` may refuse.", 4, query=(("deny", "1"),)),
    Refusal("forbidden.message", "It may say why.", 4, query=(("deny", "because so"),), message="because so"),
    Refusal("version.missing", "The protocol version must be given.", 5, eio=None),
    Refusal("version.3", "Version 3 needs `allowEIO3`.", 5, eio="3"),
    Refusal("version.5", "A later version is not supported.", 5, eio="5"),
    Refusal("version.text", "The version is a number.", 5, eio="abc"),
    Refusal("version.04", "The version is compared as text.", 5, eio="04"),
    Refusal(
        "order.transport-sid", "The transport is tested before the session id.", 0, "GET", "none", query=SID
    ),
    Refusal("order.transport-method", "The transport is tested before the method.", 0, "POST", "none"),
    Refusal("order.sid-version", "The session id is tested before the version.", 1, eio="3", query=SID),
    Refusal(
        "order.method-forbidden",
        "The method is tested first, then `allowRequest`.",
        2,
        "POST",
        query=(("deny", "1"),),
    ),
    Refusal("order.method-version", "The method is tested before the version.", 2, "POST", eio="3"),
    Refusal(
        "order.forbidden-version",
        "`allowRequest` comes before the version.",
        4,
        eio="3",
        query=(("deny", "1"),),
    ),
    Refusal(
        "order.middleware-first",
        "Middlewares come before every test.",
        3,
        transport="none",
        query=(("fail", "1"),),
    ),
)


def refused(case: Refusal) -> Callable[[Bench], Awaitable[None]]:
    async def run(bench: Bench) -> None:
        body = b"" if case.method in ("POST", "PUT", "PATCH") else None
        response = await bench.request(case.method, case.target(bench), body=body)
        expect_refused(response, case.code, case.message)

    return run


for refusal in REFUSALS:
    register(
        Check(
            f"engineio.error.{refusal.name}",
            f"{refusal.sentence} Otherwise: code {refusal.code}.",
            OFFICIAL if refusal.code in (3, 4) else eio("Handshake"),
            refused(refusal),
        )
    )

UPGRADE_REFUSALS = (
    Refusal("transport", "The transport of an upgrade must be a known one.", 0, transport="tobi"),
    Refusal("transport-proto", "The name of the prototype is no transport.", 0, transport="__proto__"),
    Refusal("sid", "The session of an upgrade must exist.", 1, transport="websocket", query=SID),
    Refusal("middleware", "A middleware may refuse it.", 3, transport="websocket", query=(("fail", "1"),)),
    Refusal("forbidden", "`allowRequest` may refuse it.", 4, transport="websocket", query=(("deny", "1"),)),
    Refusal(
        "message",
        "It may say why.",
        4,
        transport="websocket",
        query=(("deny", "why not"),),
        message="why not",
    ),
)


def upgrade_refused(case: Refusal) -> Callable[[Bench], Awaitable[None]]:
    async def run(bench: Bench) -> None:
        try:
            await bench.open_websocket(case.target(bench))
        except RefusedError as refused:
            response = refused.response
        else:
            raise MismatchError("a refusal before 101", "101")
        expect_equal(response.status, 400, "status")
        expect_equal(response.text, case.message or MESSAGES[case.code], "body")
        expect_equal((response.header("connection") or "").lower(), "close", "Connection header")
        expect_equal(
            (response.header("content-type") or "").lower().split(";")[0], "text/html", "content type"
        )

    return run


WIRE: frozenset[Mark] = frozenset({"wire"})

for refusal in UPGRADE_REFUSALS:
    register(
        Check(
            f"engineio.error.upgrade.{refusal.name}",
            f"{refusal.sentence} Otherwise: status 400 whatever the code, the message as text.",
            OFFICIAL,
            upgrade_refused(refusal),
            marks=WIRE,
        )
    )

    async def no_session(bench: Bench, case: Refusal = refusal) -> None:
        await expect_no_session(bench, case.target(bench))

    register(
        Check(
            f"engineio.error.upgrade.{refusal.name}.no-session",
            f"{refusal.sentence} Otherwise no session is opened.",
            eio("Handshake"),
            no_session,
        )
    )


async def expect_no_session(bench: Bench, target: str) -> None:
    """The upgrade is refused, or the WebSocket ends before any message."""
    try:
        websocket = await bench.open_websocket(target)
        received = await websocket.receive()
    except (RefusedError, DisconnectedError):
        return
    expect(isinstance(received, Closed), "no message", received)


@check(
    "engineio.error.upgrade.version",
    "Over WebSocket too, an unsupported protocol version opens no session.",
    eio("Handshake"),
)
async def upgrade_version(bench: Bench) -> None:
    for version in ("3", "abc", None):
        await expect_no_session(bench, bench.target("websocket", version))


@check(
    "engineio.error.upgrade.polling",
    "An upgrade request for the polling transport opens no session.",
    eio("Handshake"),
)
async def upgrade_polling(bench: Bench) -> None:
    await expect_no_session(bench, bench.target("polling"))


@check(
    "engineio.error.websocket.version",
    "A WebSocket version other than 13 is refused with 400 and the versions that are known.",
    "RFC 6455, section 4.4",
    "wire",
)
async def websocket_version(bench: Bench) -> None:
    headers = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Version", "12")]
    headers.append(("Sec-WebSocket-Key", "AAAAAAAAAAAAAAAAAAAAAA=="))
    response = await bench.request("GET", bench.target("websocket"), headers)
    expect_equal(response.status, 400, "status")
    versions = (response.header("sec-websocket-version") or "").replace(" ", "").split(",")
    expect("13" in versions, "a Sec-WebSocket-Version header with 13", versions)


@check("engineio.error.websocket.key", "A bad key is refused with 400.", "RFC 6455, section 4.2.1", "wire")
async def websocket_key(bench: Bench) -> None:
    headers = [pair if pair[0] != "Sec-WebSocket-Key" else (pair[0], "short") for pair in upgrade_headers("")]
    response = await bench.request("GET", bench.target("websocket"), headers)
    expect_equal(response.status, 400, "status")


@check(
    "engineio.error.origin-character",
    "An Origin header with a character that no header may have is a bad request.",
    OFFICIAL,
    "wire",
)
async def origin_character(bench: Bench) -> None:
    response = await bench.request("GET", bench.target(), [("Origin", "http://a\x7fb.example")])
    expect_equal(response.status, 400, "status")


@check("engineio.error.head", "A HEAD request opens no session.", OFFICIAL)
async def head(bench: Bench) -> None:
    response = await bench.request("HEAD", bench.target())
    expect_equal((response.status, response.header("set-cookie")), (400, None))


@check(
    "engineio.error.mismatch.polling-session",
    "A plain request for the websocket transport with a polling session is refused; the session goes on.",
    OFFICIAL,
)
async def mismatch_polling(bench: Bench) -> None:
    session = await bench.polling()
    response = await bench.request("GET", bench.target("websocket", sid=session.sid))
    expect_refused(response, 3)
    client = Client(session)
    await client.connect()
    await expect_alive(client)


@check(
    "engineio.error.mismatch.websocket-session",
    "A polling request with a WebSocket session is refused; the session goes on.",
    eio("Upgrade"),
)
async def mismatch_websocket(bench: Bench) -> None:
    client = await bench.client("websocket")
    for method in ("GET", "POST"):
        body = b"40" if method == "POST" else None
        response = await bench.request(method, bench.target(sid=client.link.sid), body=body)
        expect_refused(response, 3)
    await expect_alive(client)


@check(
    "engineio.error.mismatch.version",
    "A request whose protocol version is not that of its session is refused; the session goes on.",
    OFFICIAL,
)
async def mismatch_version(bench: Bench) -> None:
    client = await bench.client("polling")
    response = await bench.request("GET", bench.target(eio="3", sid=client.link.sid))
    expect_refused(response, 3)
    await expect_alive(client)


def wrong_method(method: str) -> Callable[[Bench], Awaitable[None]]:
    async def run(bench: Bench) -> None:
        client = await bench.client("polling")
        response = await bench.request(method, bench.target(sid=client.link.sid))
        expect_equal((response.status, response.body), (500, b""))
        await expect_alive(client)

    return run


for wrong in ("PUT", "DELETE", "PATCH", "OPTIONS"):
    register(
        Check(
            f"engineio.error.session-method.{wrong.lower()}",
            f"A {wrong} request to a session is answered with 500 and nothing else happens.",
            OFFICIAL,
            wrong_method(wrong),
        )
    )


@check("engineio.error.forbidden-once", "`allowRequest` is asked only when a session is opened.", OFFICIAL)
async def forbidden_once(bench: Bench) -> None:
    session = await bench.polling()
    session.target += "&deny=1"
    expect_equal((await session.post("40")).status, 200, "status of a POST of the session")


@check(
    "engineio.error.polling-not-enabled",
    "A transport that is not enabled is unknown: polling.",
    OFFICIAL,
    profile="websocket",
)
async def polling_not_enabled(bench: Bench) -> None:
    expect_refused(await bench.request("GET", bench.target()), 0)


@check(
    "engineio.error.websocket-not-enabled",
    "A transport that is not enabled is unknown: websocket.",
    OFFICIAL,
    profile="polling",
)
async def websocket_not_enabled(bench: Bench) -> None:
    try:
        await bench.open_websocket(bench.target("websocket"))
    except RefusedError as refused:
        expect_equal(refused.response.status, 400, "status")
    else:
        raise MismatchError("a refusal", "101")


@check(
    "engineio.error.foreign-upgrade",
    "An upgrade on a path of nobody is ended after a while, without a response.",
    OFFICIAL,
    "wire",
    "timing",
)
async def foreign_upgrade(bench: Bench) -> None:
    connection = await bench.connection()
    headers = upgrade_headers("AAAAAAAAAAAAAAAAAAAAAA==")
    await connection.send_request("GET", "/elsewhere", headers)
    expect_equal(await connection.read_to_end(), b"", "bytes before the end of the connection")


@check(
    "engineio.error.garbage-after-upgrade",
    "Bytes that are no frame, right behind an upgrade request, harm nobody else.",
    "RFC 6455, section 5.2",
)
async def garbage_after_upgrade(bench: Bench) -> None:
    witness = await bench.client("websocket")
    session = await bench.polling()
    for target in (bench.target("websocket"), bench.target("websocket", sid=session.sid)):
        connection = await bench.connection()
        await connection.send_request("GET", target, upgrade_headers("AAAAAAAAAAAAAAAAAAAAAA=="))
        await connection.send(bytes(range(255, 0, -1)))
        await bench.settle()
        connection.abort()
    await expect_alive(witness)
