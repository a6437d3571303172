"""HTTP long-polling: polls, posts, what may not overlap, and how a session ends."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from conformance.bench import Bench
from conformance.checks.engineio_errors import expect_alive, expect_refused
from conformance.expect import expect, expect_equal
from conformance.model import OFFICIAL, Check, check, eio, register
from conformance.peer.engineio import PollingSession, decode_payload
from conformance.peer.http import request_head
from conformance.peer.packets import encode
from conformance.peer.socketio import Client

POLLING = eio("HTTP long-polling")
CLOSE = eio("Close")
PACKETS = eio("Packet encoding")


async def expect_unknown(session: PollingSession) -> None:
    expect_refused(await session.get(), 1)


@check("engineio.polling.post.answer", "A POST is answered with 200 and the body `ok`.", POLLING)
async def post_answer(bench: Bench) -> None:
    response = await (await bench.polling()).post("40")
    expect_equal((response.status, response.body), (200, b"ok"))


@check(
    "engineio.polling.post.headers",
    "The answer to a POST is text/html, has a length and must not be cached.",
    OFFICIAL,
)
async def post_headers(bench: Bench) -> None:
    response = await (await bench.polling()).post("40")
    names = ("content-type", "content-length", "cache-control")
    expect_equal(tuple(response.header(name) for name in names), ("text/html", "2", "no-store"))


@check(
    "engineio.polling.get.headers",
    "The answer to a poll is text/plain in UTF-8, has a length and must not be cached.",
    OFFICIAL,
)
async def get_headers(bench: Bench) -> None:
    session = await bench.polling()
    await session.send("40")
    response = await session.get()
    expect_equal(response.header("content-type"), "text/plain; charset=UTF-8")
    expect_equal(response.header("content-length"), str(len(response.body)))
    expect_equal(response.header("cache-control"), "no-store")


@check("engineio.polling.get.held", "A poll is held until there is something to send.", POLLING)
async def get_held(bench: Bench) -> None:
    session = await bench.polling()
    pending = await session.begin_poll()
    reading = asyncio.create_task(pending.read_response())
    done, _ = await asyncio.wait([reading], timeout=0.25)
    expect(not done, "no response yet", "a response")
    await session.send("40")
    expect((await reading).text.startswith("40{"), "the CONNECT packet", reading.result())


@check("engineio.polling.get.buffered", "What waits is sent in one payload as soon as a poll comes.", POLLING)
async def get_buffered(bench: Bench) -> None:
    session = await bench.polling()
    await Client(session).connect()
    await session.send('42["many",3]')
    await bench.settle()
    expect_equal(await session.poll(), ['42["many",0]', '42["many",1]', '42["many",2]'])


@check(
    "engineio.polling.post.without-poll",
    "Packets are handled at once, whether a poll waits or not.",
    POLLING,
)
async def post_without_poll(bench: Bench) -> None:
    namespace = bench.dynamic()
    watcher = await bench.client("websocket", namespace)
    client = await bench.client("polling", namespace)
    await client.emit("broadcast", "now", namespace=namespace)
    await watcher.expect_event("broadcast", "now", namespace=namespace)


@check("engineio.polling.payload.in", "A payload holds several packets, handled in their order.", PACKETS)
async def payload_in(bench: Bench) -> None:
    client = await bench.client("polling")
    await client.send(*(f'42["message",{number}]' for number in range(50)))
    for number in range(50):
        await client.expect_event("message-back", number)


@check("engineio.polling.payload.separator", "Packets of a payload are separated by 0x1E alone.", PACKETS)
async def payload_separator(bench: Bench) -> None:
    session = await bench.polling()
    await Client(session).connect()
    await session.send('42["many",2]')
    await bench.settle()
    expect_equal((await session.get()).body, b'42["many",0]\x1e42["many",1]')


@check("engineio.polling.payload.binary-in", "A binary message is sent as `b` and base64.", PACKETS)
async def payload_binary_in(bench: Bench) -> None:
    client = await bench.client("polling")
    await client.send('451-["message",{"_placeholder":true,"num":0}]', b"\x01\x02\x03\x04")
    await client.expect_event("message-back", b"\x01\x02\x03\x04")


@check("engineio.polling.payload.binary-out", "A binary message comes as `b` and padded base64.", PACKETS)
async def payload_binary_out(bench: Bench) -> None:
    client = await bench.client("polling")
    await client.send('451-["message",{"_placeholder":true,"num":0}]', b"\x01\x02\x03\x04")
    await bench.settle()
    session = client.link
    assert isinstance(session, PollingSession)
    body = (await session.get()).body
    expect_equal(body, b'451-["message-back",{"_placeholder":true,"num":0}]\x1ebAQIDBA==')


@check(
    "engineio.polling.payload.base64-unpadded",
    "Base64 without its padding is understood.",
    OFFICIAL,
)
async def base64_unpadded(bench: Bench) -> None:
    client = await bench.client("polling")
    await client.send('451-["message",{"_placeholder":true,"num":0}]', "bAQIDBA")
    await client.expect_event("message-back", b"\x01\x02\x03\x04")


@check(
    "engineio.polling.payload.ignored", "OPEN, UPGRADE and NOOP packets of a client mean nothing.", OFFICIAL
)
async def payload_ignored(bench: Bench) -> None:
    client = await bench.client("polling")
    for packet in ("0", "5", "6", "6ignored"):
        await client.send(packet)
    await expect_alive(client)


@check("engineio.polling.post.utf8", "A body is UTF-8, wherever it is cut into segments.", POLLING)
async def post_utf8(bench: Bench) -> None:
    client = await bench.client("polling")
    session = client.link
    assert isinstance(session, PollingSession)
    text = "héllo € 𝄞 你好"
    body = f'42["message","{text}"]'.encode()
    connection = await bench.connection()
    length = [("Content-Length", str(len(body)))]
    await connection.send(request_head("POST", session.target, connection.host, length))
    for index in range(len(body)):
        await connection.send(body[index : index + 1])
    expect_equal((await connection.read_response()).status, 200, "status")
    await client.expect_event("message-back", text)


@check(
    "engineio.polling.post.chunked", "A body may come in chunked transfer coding.", "RFC 9112, section 7.1"
)
async def post_chunked(bench: Bench) -> None:
    client = await bench.client("polling")
    session = client.link
    assert isinstance(session, PollingSession)
    connection = await bench.connection()
    chunked = [("Transfer-Encoding", "chunked")]
    await connection.send_request("POST", session.target, chunked, b'8\r\n42["mess\r\n')
    await bench.settle()
    await connection.send(b'c;name=value\r\nage","pieces\r\n2\r\n"]\r\n0\r\n\r\n')
    expect_equal((await connection.read_response()).status, 200, "status")
    await client.expect_event("message-back", "pieces")


def content_type(value: str | None) -> Callable[[Bench], Awaitable[None]]:
    async def run(bench: Bench) -> None:
        client = await bench.client("polling")
        session = client.link
        assert isinstance(session, PollingSession)
        headers = [("Content-Type", value)] if value else [("X-Other", "1")]
        response = await session.post('42["message","typed"]', headers)
        expect_equal(response.status, 200, "status")
        await client.expect_event("message-back", "typed")

    return run


for name, value in {
    "text": "text/plain",
    "json": "application/json",
    "form": "application/x-www-form-urlencoded",
    "none": None,
    "octet-stream-parameter": "application/octet-stream; charset=utf-8",
}.items():
    register(
        Check(
            f"engineio.polling.content-type.{name}",
            f"A body is read as text whatever its type says: {value or 'no type'}.",
            OFFICIAL,
            content_type(value),
        )
    )


@check(
    "engineio.polling.content-type.octet-stream",
    "The binary bodies of version 3 are gone: 400 with an empty body, and the session ends.",
    OFFICIAL,
)
async def octet_stream(bench: Bench) -> None:
    client = await bench.client("polling")
    session = client.link
    assert isinstance(session, PollingSession)
    response = await session.post(b"\x00\x01", [("Content-Type", "application/octet-stream")])
    expect_equal((response.status, response.body), (400, b""))
    await expect_unknown(session)


@check(
    "engineio.polling.overlap.get",
    "A second poll at the same time ends the session: the first is answered with a close packet, the second "
    "with 400, and the session is unknown from then on.",
    POLLING,
)
async def overlap_get(bench: Bench) -> None:
    session = await bench.polling()
    first = await session.begin_poll()
    await bench.settle()
    second = await session.get()
    expect_equal((second.status, second.body), (400, b""), "second poll")
    response = await first.read_response()
    expect_equal((response.status, response.body), (200, b"1"), "first poll")
    await expect_unknown(session)


@check(
    "engineio.polling.overlap.get-reason",
    "To the application, overlapping polls are a transport error.",
    OFFICIAL,
)
async def overlap_get_reason(bench: Bench) -> None:
    session = await bench.polling()
    sid = await Client(session).connect()
    await session.begin_poll()
    await bench.settle()
    await session.get()
    await bench.expect_reason(sid, "transport error")


async def begin_post(bench: Bench, session: PollingSession) -> Callable[[], Awaitable[bytes]]:
    """Send a POST whose body does not end; what comes back is read later."""
    connection = await bench.connection()
    head = request_head("POST", session.target, connection.host, [("Content-Length", "100")])
    await connection.send(head + b'42["mess')
    await bench.settle()
    return connection.read_to_end


@check(
    "engineio.polling.overlap.post",
    "A second POST at the same time ends the session and is answered with 400; a waiting poll gets a close "
    "packet.",
    POLLING,
)
async def overlap_post(bench: Bench) -> None:
    session = await bench.polling()
    poll = await session.begin_poll()
    await begin_post(bench, session)
    second = await session.post("40")
    expect_equal((second.status, second.body), (400, b""), "second POST")
    expect_equal((await poll.read_response()).body, b"1", "the poll")
    await expect_unknown(session)


@check(
    "engineio.polling.overlap.post-first",
    "Of two overlapping POSTs the first is cut off without a response.",
    OFFICIAL,
    "wire",
)
async def overlap_post_first(bench: Bench) -> None:
    session = await bench.polling()
    read_first = await begin_post(bench, session)
    await session.post("40")
    expect_equal(await read_first(), b"", "bytes before the end of the connection")


@check(
    "engineio.polling.overlap.post-reason",
    "To the application, overlapping POSTs are a transport error.",
    OFFICIAL,
)
async def overlap_post_reason(bench: Bench) -> None:
    session = await bench.polling()
    sid = await Client(session).connect()
    await begin_post(bench, session)
    await session.post("3")
    await bench.expect_reason(sid, "transport error")


@check(
    "engineio.polling.abort.get",
    "A client that drops its waiting poll loses the session, as a transport error.",
    OFFICIAL,
)
async def abort_get(bench: Bench) -> None:
    session = await bench.polling()
    sid = await Client(session).connect()
    pending = await session.begin_poll()
    await bench.settle()
    pending.abort()
    await bench.expect_reason(sid, "transport error")
    await expect_unknown(session)


@check(
    "engineio.polling.abort.post",
    "A client that drops an unfinished POST loses the session, as a transport error.",
    OFFICIAL,
)
async def abort_post(bench: Bench) -> None:
    session = await bench.polling()
    sid = await Client(session).connect()
    connection = await bench.connection()
    head = request_head("POST", session.target, connection.host, [("Content-Length", "100")])
    await connection.send(head + b'42["message"')
    await bench.settle()
    connection.abort()
    await bench.expect_reason(sid, "transport error")
    await expect_unknown(session)


@check(
    "engineio.polling.close.client",
    "A close packet is answered with `ok`, releases the waiting poll with a NOOP and ends the session.",
    CLOSE,
)
async def close_client(bench: Bench) -> None:
    session = await bench.polling()
    pending = await session.begin_poll()
    await bench.settle()
    response = await session.post("1")
    expect_equal((response.status, response.body), (200, b"ok"), "the POST")
    expect_equal((await pending.read_response()).body, b"6", "the poll")
    await expect_unknown(session)


@check("engineio.polling.close.client-reason", "A close packet is a transport close.", OFFICIAL)
async def close_client_reason(bench: Bench) -> None:
    session = await bench.polling()
    sid = await Client(session).connect()
    await session.post("1")
    await bench.expect_reason(sid, "transport close")


@check(
    "engineio.polling.close.rest-ignored", "What follows a close packet in its payload is ignored.", OFFICIAL
)
async def close_rest_ignored(bench: Bench) -> None:
    namespace = bench.dynamic()
    watcher = await bench.client("websocket", namespace)
    client = await bench.client("polling", namespace)
    await client.send("1", f'42{namespace},["broadcast",1]')
    await watcher.expect_silence(namespace)


@check(
    "engineio.polling.close.server-waiting",
    "A server that closes answers the waiting poll with a close packet.",
    CLOSE,
)
async def close_server_waiting(bench: Bench) -> None:
    session = await bench.polling()
    sid = await Client(session).connect()
    pending = await session.begin_poll()
    await bench.settle()
    await session.send('42["close-connection"]')
    expect_equal((await pending.read_response()).body, b"1")
    await expect_unknown(session)
    await bench.expect_reason(sid, "forced close")


@check(
    "engineio.polling.close.server-later",
    "Without a waiting poll the server keeps its close packet for the next one, behind a NOOP.",
    OFFICIAL,
)
async def close_server_later(bench: Bench) -> None:
    session = await bench.polling()
    await Client(session).connect()
    await session.send('42["close-connection"]')
    await bench.settle()
    expect_equal((await session.get()).body, b"6\x1e1")
    await expect_unknown(session)


@check(
    "engineio.polling.close.server-buffered",
    "A server that closes delivers first what it still has to send.",
    OFFICIAL,
)
async def close_server_buffered(bench: Bench) -> None:
    session = await bench.polling()
    await Client(session).connect()
    await session.send('42["burst-close",2]')
    await bench.settle()
    expect_equal((await session.get()).body, b'42["many",0]\x1e42["many",1]', "first poll")
    expect_equal((await session.get()).body, b"6\x1e1", "second poll")
    await expect_unknown(session)


@check(
    "engineio.polling.close.server-deaf",
    "While a close packet waits to be fetched, POSTs are answered `ok` and ignored.",
    OFFICIAL,
)
async def close_server_deaf(bench: Bench) -> None:
    namespace = bench.dynamic()
    watcher = await bench.client("websocket", namespace)
    client = await bench.client("polling", namespace)
    await client.emit("close-connection", namespace=namespace)
    await bench.settle()
    await client.emit("broadcast", 1, namespace=namespace)
    await watcher.expect_silence(namespace)


INVALID = {
    "unknown-type": "abc",
    "number": "7",
    "empty": "",
    "separator": "\x1e",
    "trailing-separator": '42["message",1]\x1e',
    "leading-separator": '\x1e42["message",1]',
    "space": " ",
    "after-valid": "3\x1ex",
}


def invalid_payload(payload: str) -> Callable[[Bench], Awaitable[None]]:
    async def run(bench: Bench) -> None:
        session = await bench.polling()
        sid = await Client(session).connect()
        pending = await session.begin_poll()
        await bench.settle()
        response = await session.post(payload)
        expect_equal((response.status, response.body), (200, b"ok"), "the POST")
        packets = decode_payload((await pending.read_response()).text)
        expect_equal(packets[-1], "1", "last packet of the poll")
        await expect_unknown(session)
        await bench.expect_reason(sid, "parse error")

    return run


for name, payload in INVALID.items():
    register(
        Check(
            f"engineio.polling.invalid.{name}",
            f"The payload {encode(payload)} is no payload: the session ends as a parse error.",
            PACKETS,
            invalid_payload(payload),
        )
    )


@check(
    "engineio.polling.invalid.ping",
    "A PING of the client is in the wrong direction: the session ends as a transport error.",
    eio("Heartbeat"),
)
async def invalid_ping(bench: Bench) -> None:
    session = await bench.polling()
    sid = await Client(session).connect()
    await session.post("2")
    await expect_unknown(session)
    await bench.expect_reason(sid, "transport error")


@check("engineio.polling.pong-unasked", "A PONG that answers no PING does no harm.", OFFICIAL)
async def pong_unasked(bench: Bench) -> None:
    client = await bench.client("polling")
    await client.send("3", "3")
    await expect_alive(client)


@check(
    "engineio.polling.post.interrupted",
    "A server that closes while a POST is still coming cuts it off.",
    OFFICIAL,
    "wire",
)
async def post_interrupted(bench: Bench) -> None:
    namespace = bench.dynamic()
    session = await bench.polling()
    sid = await Client(session).connect(namespace)
    other = await bench.client("websocket", namespace)
    await session.begin_poll()
    read_post = await begin_post(bench, session)
    await other.emit("close-of", sid, namespace=namespace)
    expect_equal(await read_post(), b"", "bytes before the end of the connection")
