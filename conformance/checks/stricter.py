"""Requirements that go beyond the official server: asked for by ``--stricter``, and never part of the score.

They are the lessons of published attacks: what the official server leaves to the application, or lets pass.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from conformance.bench import Bench
from conformance.checks.engineio_errors import expect_alive
from conformance.expect import MismatchError, expect, expect_equal
from conformance.model import Check, Mark, check, register
from conformance.peer.engineio import expect_ended
from conformance.peer.http import Connection, request_head
from conformance.peer.websocket import CONTINUATION, PING, TEXT, RefusedError

ORIGIN = "protection against cross-site requests (RFC 6455, section 10.2)"
BOUNDS = "protection against amplification"
SMUGGLING = "RFC 9112, section 11.2"

FOREIGN = ("http://evil.example", "http://127.0.0.1.evil.example", "http://127.0.0.1:1", "null", "http://")


@check(
    "stricter.origin.polling",
    "A handshake from a page of another host is forbidden: 403, code 4.",
    ORIGIN,
    "stricter",
    profile="stricter",
)
async def origin_polling(bench: Bench) -> None:
    for origin in FOREIGN:
        response = await bench.request("GET", bench.target(), [("Origin", origin)])
        seen = (response.status, response.body)
        expect_equal(seen, (403, b'{"code":4,"message":"Forbidden"}'), origin)


@check(
    "stricter.origin.websocket",
    "So is a WebSocket: 400 with the message as text.",
    ORIGIN,
    "stricter",
    profile="stricter",
)
async def origin_websocket(bench: Bench) -> None:
    for origin in FOREIGN:
        try:
            await bench.open_websocket(bench.target("websocket"), [("Origin", origin)])
        except RefusedError as refused:
            expect_equal((refused.response.status, refused.response.body), (400, b"Forbidden"), origin)
        else:
            raise MismatchError("a refusal", "101")


@check(
    "stricter.origin.session",
    "So are the requests of a session that exists, an upgrade included.",
    ORIGIN,
    "stricter",
    profile="stricter",
)
async def origin_session(bench: Bench) -> None:
    client = await bench.client("polling")
    foreign = [("Origin", "http://evil.example")]
    for method, body in (("GET", None), ("POST", b'42["message",1]')):
        response = await bench.request(method, bench.target(sid=client.link.sid), foreign, body)
        expect_equal(response.status, 403, f"status of the {method}")
    try:
        await bench.open_websocket(bench.target("websocket", sid=client.link.sid), foreign)
    except RefusedError:
        await client.expect_silence()
    else:
        raise MismatchError("a refusal of the upgrade", "101")


@check(
    "stricter.origin.same",
    "A page of the same host is allowed, over either scheme.",
    ORIGIN,
    "stricter",
    profile="stricter",
)
async def origin_same(bench: Bench) -> None:
    origin = f"http://{bench.server.host}:{bench.server.port}"
    for allowed in (origin, origin.replace("http://", "https://")):
        await bench.polling([("Origin", allowed)])
        await bench.websocket([("Origin", allowed)])


@check(
    "stricter.origin.none",
    "A client that is no browser sends no Origin and is allowed.",
    ORIGIN,
    "stricter",
    profile="stricter",
)
async def origin_none(bench: Bench) -> None:
    await bench.polling()
    await bench.websocket()


MARKS: frozenset[Mark] = frozenset({"stricter", "fresh"})
"""Of the check that ends the process of a server which recurses into what it received."""

PLACEHOLDER = '{"_placeholder":true,"num":0}'

REFUSED: dict[str, tuple[str, tuple[str | bytes, ...]]] = {
    "placeholder.reused": (
        "An attachment is used once: otherwise a small packet becomes a large one.",
        (f'451-["message",{PLACEHOLDER},{PLACEHOLDER}]', b"\x01"),
    ),
    "placeholder.fraction": (
        "The number of a placeholder is an integer.",
        ('452-["message",{"_placeholder":true,"num":0.5}]', b"\x01", b"\x02"),
    ),
    "number.infinite": ("A number that no double holds is refused.", ('42["message",1e400]',)),
    "type.blank": ("A blank is no type.", ("4 ",)),
    "count.exponent": (
        "The number of attachments is made of digits.",
        (f'451e0-["message",{PLACEHOLDER}]', b"\x01"),
    ),
    "count.hexadecimal": (
        "The number of attachments is made of decimal digits.",
        (f'450x1-["message",{PLACEHOLDER}]', b"\x01"),
    ),
    "depth": ("Data nested very deeply is refused.", ('42["message",' + "[" * 5000 + "]" * 5000 + "]",)),
}


def refused(packets: tuple[str | bytes, ...]) -> Callable[[Bench], Awaitable[None]]:
    async def run(bench: Bench) -> None:
        client = await bench.client("websocket")
        await client.send(*packets)
        await expect_ended(client.link)

    return run


for name, (sentence, packets) in REFUSED.items():
    register(
        Check(
            f"stricter.codec.{name}",
            f"{sentence} Otherwise the connection is closed.",
            BOUNDS,
            refused(packets),
            "stricter",
            marks=MARKS if name == "depth" else frozenset({"stricter"}),
        )
    )


@check(
    "stricter.recovery.once",
    "A lost session belongs to one connection at a time: whoever recovers it last has it alone.",
    "protection of sessions",
    "stricter",
    profile="recovery",
)
async def recovery_once(bench: Bench) -> None:
    from conformance.checks.recovery import come_back, pair

    lost, _ = await pair(bench)
    await lost.lose(bench)
    client, _, first = await come_back(bench, lost)
    _, _, second = await come_back(bench, lost)
    expect_equal(first.data["sid"], lost.sid, "sid of the first that comes back")
    if second.data["sid"] == lost.sid:
        await expect_ended(client.link)


@check(
    "stricter.upgrade.version-before-101",
    "An unsupported version is refused before the WebSocket is opened.",
    "RFC 6455, section 4.2.2",
    "stricter",
    profile="stricter",
)
async def version_before_101(bench: Bench) -> None:
    try:
        await bench.open_websocket(bench.target("websocket", "3"))
    except RefusedError as error:
        expect_equal((error.response.status, error.response.body), (400, b"Unsupported protocol version"))
    else:
        raise MismatchError("a refusal", "101")


@check(
    "stricter.polling.plain-websocket",
    "A plain request for a WebSocket session is answered, and does not hang.",
    "robustness",
    "stricter",
    profile="stricter",
)
async def plain_websocket(bench: Bench) -> None:
    client = await bench.client("websocket")
    async with asyncio.timeout(2):
        response = await bench.request("GET", bench.target("websocket", sid=client.link.sid))
    expect_equal(response.status, 400, "status")
    await expect_alive(client)


def smuggled(headers: list[tuple[str, str]], body: bytes) -> Callable[[Bench], Awaitable[None]]:
    async def run(bench: Bench) -> None:
        client = await bench.client("polling")
        connection = await bench.connection()
        target = bench.target(sid=client.link.sid)
        await connection.send(request_head("POST", target, connection.host, headers) + body)
        await expect_bad_request(connection)

    return run


async def expect_bad_request(connection: Connection) -> None:
    seen = await connection.read_to_end()
    expect(seen == b"" or seen.startswith(b"HTTP/1.1 400"), "400 and the end of the connection", seen)


MESSAGE = b'42["message",1]'
CHUNKED = b'f\r\n42["message",1]\r\n0\r\n\r\n'
SMUGGLED: dict[str, tuple[str, list[tuple[str, str]], bytes]] = {
    "both-lengths": (
        "A request has a length or chunks, not both.",
        [("Content-Length", "15"), ("Transfer-Encoding", "chunked")],
        CHUNKED,
    ),
    "two-lengths": (
        "A request has one length.",
        [("Content-Length", "15"), ("Content-Length", "14")],
        MESSAGE,
    ),
    "length-sign": ("A length is made of digits.", [("Content-Length", "+15")], MESSAGE),
    "length-underscore": ("A length is made of nothing but digits.", [("Content-Length", "1_5")], MESSAGE),
    "coding": ("The only transfer coding is `chunked`.", [("Transfer-Encoding", "xchunked")], CHUNKED),
    "chunk-size": (
        "The size of a chunk is hexadecimal.",
        [("Transfer-Encoding", "chunked")],
        b'0x0f\r\n42["message",1]\r\n0\r\n\r\n',
    ),
}

for name, (sentence, headers, body) in SMUGGLED.items():
    register(
        Check(
            f"stricter.http.{name}",
            f"{sentence} Otherwise the request is refused and the connection ended.",
            SMUGGLING,
            smuggled(headers, body),
            "stricter",
            marks=frozenset({"stricter", "wire"}),
            timeout=3.0,
        )
    )


@check(
    "stricter.websocket.fragments",
    "A message in endless empty frames is cut off, at 1008 or 1009.",
    BOUNDS,
    "stricter",
    "wire",
    profile="stricter",
)
async def websocket_fragments(bench: Bench) -> None:
    client = await bench.client("websocket")
    websocket = client.link.websocket  # type: ignore[attr-defined]
    await websocket.send_frame(TEXT, b"4", fin=False)
    empty = b"\x00\x80\x00\x00\x00\x00" * 1000
    for _ in range(150):
        await websocket.connection.send(empty)
    await websocket.send_frame(CONTINUATION, b"")
    closed = await websocket.wait_closed()
    expect(closed.code in (1008, 1009), "close code 1008 or 1009", closed)


@check(
    "stricter.websocket.ping-flood",
    "A flood of pings from a client that does not read harms nobody else.",
    BOUNDS,
    "stricter",
    "wire",
    profile="stricter",
)
async def websocket_ping_flood(bench: Bench) -> None:
    witness = await bench.client("websocket")
    client = await bench.client("websocket")
    websocket = client.link.websocket  # type: ignore[attr-defined]
    for _ in range(500):
        await websocket.send_frame(PING, bytes(125))
    await expect_alive(witness)
