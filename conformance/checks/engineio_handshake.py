"""How a session is opened: the OPEN packet, its response, cookies, paths and header hooks."""

from __future__ import annotations

import re

from conformance.bench import Bench
from conformance.expect import expect, expect_equal
from conformance.model import OFFICIAL, Transport, check, check_both, eio
from conformance.peer.engineio import decode_payload, parse_open
from conformance.peer.http import Response

HANDSHAKE = eio("Handshake")
KEYS = ["sid", "upgrades", "pingInterval", "pingTimeout", "maxPayload"]
SID = re.compile(r"[A-Za-z0-9_-]{16,}")


async def handshake(bench: Bench, *headers: tuple[str, str], **query: str) -> Response:
    response = await bench.request("GET", bench.target(**query), headers)
    expect_equal(response.status, 200, "status")
    return response


@check_both("engineio.handshake.keys", "The OPEN packet holds exactly the five keys.", HANDSHAKE)
async def keys(bench: Bench, transport: Transport) -> None:
    session = await bench.link(transport)
    expect_equal(sorted(session.opened), sorted(KEYS))


@check(
    "engineio.handshake.exact-text",
    "The OPEN packet is `0` and compact JSON whose keys stand in the order sid, upgrades, pingInterval, "
    "pingTimeout, maxPayload.",
    OFFICIAL,
)
async def exact_text(bench: Bench) -> None:
    text = (await handshake(bench)).text
    pattern = (
        r'0\{"sid":"[\w-]+","upgrades":\["websocket"\],"pingInterval":25000,"pingTimeout":20000,'
        r'"maxPayload":1000000\}'
    )
    expect(re.fullmatch(pattern, text) is not None, pattern, text)


@check("engineio.handshake.content-type", "The response is text/plain in UTF-8.", OFFICIAL)
async def content_type(bench: Bench) -> None:
    expect_equal((await handshake(bench)).header("content-type"), "text/plain; charset=UTF-8")


@check("engineio.handshake.no-store", "The response must not be cached.", OFFICIAL)
async def no_store(bench: Bench) -> None:
    expect_equal((await handshake(bench)).header("cache-control"), "no-store")


@check("engineio.handshake.length", "The response says its length in bytes.", OFFICIAL)
async def length(bench: Bench) -> None:
    response = await handshake(bench)
    expect_equal(response.header("content-length"), str(len(response.body)))


@check_both("engineio.handshake.sid", "A session id is long, and made of URL-safe characters.", HANDSHAKE)
async def sid_form(bench: Bench, transport: Transport) -> None:
    session = await bench.link(transport)
    expect(SID.fullmatch(session.sid) is not None, "16 or more URL-safe characters", session.sid)


@check("engineio.handshake.sid-unique", "Each session has an id of its own.", HANDSHAKE)
async def sid_unique(bench: Bench) -> None:
    sids = {(await bench.polling()).sid for _ in range(20)}
    expect_equal(len(sids), 20, "different ids")


@check("engineio.handshake.upgrades.polling", "A polling session may be upgraded to websocket.", HANDSHAKE)
async def upgrades_polling(bench: Bench) -> None:
    expect_equal((await bench.polling()).opened["upgrades"], ["websocket"])


@check("engineio.handshake.upgrades.websocket", "A WebSocket session has no upgrades.", HANDSHAKE)
async def upgrades_websocket(bench: Bench) -> None:
    expect_equal((await bench.websocket()).opened["upgrades"], [])


@check(
    "engineio.handshake.upgrades.not-allowed",
    "With `allowUpgrades: false` no upgrade is offered.",
    OFFICIAL,
    profile="options",
)
async def upgrades_not_allowed(bench: Bench) -> None:
    expect_equal((await bench.polling()).opened["upgrades"], [])


@check(
    "engineio.handshake.upgrades.not-enabled",
    "Only enabled transports are offered as upgrades.",
    OFFICIAL,
    profile="polling",
)
async def upgrades_not_enabled(bench: Bench) -> None:
    expect_equal((await bench.polling()).opened["upgrades"], [])


@check_both(
    "engineio.handshake.advertised-timing",
    "The configured ping interval and ping timeout are advertised in milliseconds.",
    HANDSHAKE,
    profile="timing",
)
async def advertised_timing(bench: Bench, transport: Transport) -> None:
    session = await bench.link(transport)
    seen = (session.opened["pingInterval"], session.opened["pingTimeout"])
    expect_equal(seen, (300, 200))


@check_both(
    "engineio.handshake.max-payload",
    "The configured maximum of a payload is advertised.",
    HANDSHAKE,
    profile="options",
)
async def max_payload(bench: Bench, transport: Transport) -> None:
    session = await bench.link(transport)
    expect_equal(session.opened["maxPayload"], 10000)


@check(
    "engineio.handshake.websocket-only",
    "A server with the websocket transport alone opens sessions over it.",
    OFFICIAL,
    profile="websocket",
)
async def websocket_only(bench: Bench) -> None:
    session = await bench.websocket()
    expect_equal(session.opened["upgrades"], [])


@check(
    "engineio.handshake.generated-id",
    "An id made by the application becomes the session id.",
    OFFICIAL,
    profile="options",
)
async def generated_id(bench: Bench) -> None:
    session = await bench.polling()
    expect(re.fullmatch(r"custom-\d+", session.sid) is not None, "custom-<number>", session.sid)
    response = await session.post("40")
    expect_equal(response.status, 200, "status of a POST to that id")


@check("engineio.handshake.cookie.none", "By default no cookie is set.", OFFICIAL)
async def cookie_none(bench: Bench) -> None:
    expect_equal((await handshake(bench)).all("set-cookie"), [])


@check(
    "engineio.handshake.cookie.default",
    "`cookie: true` sets `io` to the session id, with path, HttpOnly and SameSite=Lax.",
    OFFICIAL,
    profile="polling",
)
async def cookie_default(bench: Bench) -> None:
    response = await handshake(bench)
    sid = parse_open(response.text)["sid"]
    expect_equal(response.all("set-cookie"), [f"io={sid}; Path=/; HttpOnly; SameSite=Lax"])


@check(
    "engineio.handshake.cookie.options",
    "Name, path, maximum age and SameSite of the cookie follow the options.",
    OFFICIAL,
    profile="options",
)
async def cookie_options(bench: Bench) -> None:
    response = await handshake(bench)
    sid = parse_open(response.text)["sid"]
    wanted = f"sticky={sid}; Max-Age=86400; Path=/realtime; HttpOnly; SameSite=Strict"
    expect_equal(response.all("set-cookie"), [wanted])


@check(
    "engineio.handshake.cookie.first-response-only",
    "Only the response that opens a session sets the cookie.",
    OFFICIAL,
    profile="options",
)
async def cookie_once(bench: Bench) -> None:
    session = await bench.polling()
    response = await session.post("40")
    expect_equal(response.all("set-cookie"), [])


@check(
    "engineio.handshake.cookie.websocket",
    "A session opened over WebSocket sets no cookie.",
    OFFICIAL,
    profile="options",
)
async def cookie_websocket(bench: Bench) -> None:
    session = await bench.websocket()
    expect_equal(session.websocket.response.all("set-cookie"), [])


@check(
    "engineio.handshake.path.longer",
    "A path that begins with the configured one is the engine's.",
    OFFICIAL,
)
async def path_longer(bench: Bench) -> None:
    target = bench.target().replace("/?", "/some/thing?")
    expect_equal((await bench.request("GET", target)).status, 200, "status")


@check(
    "engineio.handshake.path.no-slash", "Without its trailing slash the path is not the engine's.", OFFICIAL
)
async def path_no_slash(bench: Bench) -> None:
    target = bench.target().replace("/?", "?")
    expect_equal((await bench.request("GET", target)).status, 404, "status")


@check("engineio.handshake.path.other", "Another path is not the engine's: the server answers 404.", OFFICIAL)
async def path_other(bench: Bench) -> None:
    response = await bench.request("GET", "/elsewhere?EIO=4&transport=polling")
    expect_equal(response.status, 404, "status")


@check(
    "engineio.handshake.path.slash-optional",
    "With `addTrailingSlash: false` the path is accepted without and with the slash.",
    OFFICIAL,
    profile="polling",
)
async def path_slash_optional(bench: Bench) -> None:
    for target in (bench.target(), bench.target().replace("/?", "?")):
        expect_equal((await bench.request("GET", target)).status, 200, f"status of {target}")


@check(
    "engineio.handshake.path.custom",
    "With another `path` the default one is not the engine's.",
    OFFICIAL,
    profile="options",
)
async def path_custom(bench: Bench) -> None:
    response = await bench.request("GET", "/socket.io/?EIO=4&transport=polling")
    expect_equal(response.status, 404, "status")


@check("engineio.handshake.query.repeated", "Of a repeated parameter the last value counts.", OFFICIAL)
async def query_repeated(bench: Bench) -> None:
    target = f"{bench.server.path}?EIO=3&EIO=4&transport=nothing&transport=polling"
    expect_equal((await bench.request("GET", target)).status, 200, "status")


@check(
    "engineio.handshake.query.unknown", "Parameters that the protocol does not know are ignored.", HANDSHAKE
)
async def query_unknown(bench: Bench) -> None:
    await handshake(bench, t="abc123", b64="1", anything="else")


@check("engineio.handshake.query.encoded", "Parameters may be percent-encoded.", OFFICIAL)
async def query_encoded(bench: Bench) -> None:
    target = f"{bench.server.path}?%45IO=%34&transport=poll%69ng"
    expect_equal((await bench.request("GET", target)).status, 200, "status")


@check(
    "engineio.handshake.query.empty-sid", "An empty `sid` is no session id: a session is opened.", OFFICIAL
)
async def query_empty_sid(bench: Bench) -> None:
    expect((await handshake(bench, sid="")).text.startswith("0{"), "an OPEN packet", "another body")


@check(
    "engineio.handshake.headers.initial",
    "The `initial_headers` hook shapes the first response of a session, and `headers` every one.",
    OFFICIAL,
)
async def headers_initial(bench: Bench) -> None:
    response = await handshake(bench)
    expect_equal((response.header("x-initial"), response.header("x-every")), ("polling", "yes"))


@check(
    "engineio.handshake.headers.later",
    "Later responses of a session pass the `headers` hook alone.",
    OFFICIAL,
)
async def headers_later(bench: Bench) -> None:
    session = await bench.polling()
    posted = await session.post("40")
    polled = await session.get()
    for response in (posted, polled):
        expect_equal((response.header("x-initial"), response.header("x-every")), (None, "yes"))


@check(
    "engineio.handshake.headers.websocket",
    "Both hooks shape the 101 of a direct WebSocket.",
    OFFICIAL,
    "wire",
)
async def headers_websocket(bench: Bench) -> None:
    response = (await bench.websocket()).websocket.response
    expect_equal((response.header("x-initial"), response.header("x-every")), ("websocket", "yes"))


@check(
    "engineio.handshake.headers.upgrade",
    "The 101 of an upgrade passes the `headers` hook alone.",
    OFFICIAL,
    "wire",
)
async def headers_upgrade(bench: Bench) -> None:
    session = await bench.polling()
    response = (await bench.probe(session)).response
    expect_equal((response.header("x-initial"), response.header("x-every")), (None, "yes"))


@check("engineio.handshake.headers.refused", "A refused request passes neither hook.", OFFICIAL)
async def headers_refused(bench: Bench) -> None:
    response = await bench.request("GET", bench.target(deny="1"))
    expect_equal((response.header("x-initial"), response.header("x-every")), (None, None))


@check(
    "engineio.handshake.middleware.headers",
    "Headers set by an engine middleware are on every response, refusals and 101 included.",
    OFFICIAL,
)
async def middleware_headers(bench: Bench) -> None:
    opened = await handshake(bench)
    refused = await bench.request("GET", bench.target(transport="none"))
    upgraded = (await bench.websocket()).websocket.response
    seen = [response.header("x-middleware") for response in (opened, refused, upgraded)]
    expect_equal(seen, ["seen", "seen", "seen"])


@check(
    "engineio.handshake.internet-explorer",
    "Internet Explorer is told not to use its XSS filter on polling responses.",
    OFFICIAL,
)
async def internet_explorer(bench: Bench) -> None:
    agent = "Mozilla/5.0 (Windows NT 6.1; WOW64; Trident/7.0; rv:11.0) like Gecko"
    response = await handshake(bench, ("User-Agent", agent))
    expect_equal(response.header("x-xss-protection"), "0")


@check(
    "engineio.handshake.subprotocol.first",
    "Of the offered WebSocket subprotocols the first is chosen.",
    OFFICIAL,
)
async def subprotocol_first(bench: Bench) -> None:
    session = await bench.websocket([("Sec-WebSocket-Protocol", "one, two")])
    expect_equal(session.websocket.response.header("sec-websocket-protocol"), "one")


@check("engineio.handshake.subprotocol.none", "Without an offer no subprotocol is chosen.", OFFICIAL)
async def subprotocol_none(bench: Bench) -> None:
    session = await bench.websocket()
    expect_equal(session.websocket.response.header("sec-websocket-protocol"), None)


@check(
    "engineio.handshake.extensions.none",
    "By default an offered permessage-deflate is declined.",
    OFFICIAL,
    "wire",
)
async def extensions_none(bench: Bench) -> None:
    session = await bench.websocket([("Sec-WebSocket-Extensions", "permessage-deflate")])
    expect_equal(session.websocket.response.header("sec-websocket-extensions"), None)


@check(
    "engineio.handshake.keep-alive",
    "Several requests may follow one another on a connection.",
    eio("HTTP long-polling"),
)
async def keep_alive(bench: Bench) -> None:
    connection = await bench.connection()
    sids = set()
    for _ in range(3):
        await connection.send_request("GET", bench.target())
        sids.add(parse_open((await connection.read_response()).text)["sid"])
    expect_equal(len(sids), 3, "sessions opened on one connection")


@check(
    "engineio.handshake.connection-close",
    "A session goes on when each of its requests asks for the connection to be closed.",
    eio("HTTP long-polling"),
)
async def connection_close(bench: Bench) -> None:
    closing = [("Connection", "close")]
    session = await bench.polling(closing)
    expect_equal((await session.post("40", closing)).status, 200, "status of the POST")
    connection = await bench.connection()
    await connection.send_request("GET", session.target, closing)
    response = await connection.read_response()
    expect(response.text.startswith("40{"), "a CONNECT packet", response.text)
    expect_equal(await connection.read_to_end(), b"", "after the response")


@check(
    "engineio.handshake.no-packets-before-open",
    "The first packet of a session is OPEN, and nothing else comes with it.",
    HANDSHAKE,
)
async def nothing_else(bench: Bench) -> None:
    packets = decode_payload((await handshake(bench)).text)
    expect_equal(len(packets), 1, "packets in the first response")
