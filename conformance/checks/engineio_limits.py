"""``maxHttpBufferSize`` from both sides, on both transports: the limit itself is allowed, one more is not."""

from __future__ import annotations

import struct

from conformance.bench import Bench
from conformance.checks.engineio_errors import expect_alive
from conformance.expect import expect_equal
from conformance.model import OFFICIAL, Transport, check, check_both
from conformance.peer.engineio import PollingSession, WebSocketSession
from conformance.peer.http import Connection, request_head
from conformance.peer.socketio import Client
from conformance.peer.websocket import BINARY, CONTINUATION, TEXT

LIMIT = 10000
EMPTY = '42["message",""]'


def message_of(length: int) -> str:
    """An event of exactly that many bytes, packet type included."""
    return f'42["message","{"x" * (length - len(EMPTY))}"]'


async def polling_client(bench: Bench) -> tuple[Client, PollingSession]:
    session = await bench.polling()
    client = Client(session)
    await client.connect()
    return client, session


async def websocket_client(bench: Bench) -> tuple[str, WebSocketSession]:
    session = await bench.websocket()
    return await Client(session).connect(), session


@check_both(
    "engineio.limit.exact",
    "A payload or message as long as the limit is accepted.",
    OFFICIAL,
    profile="options",
)
async def exact(bench: Bench, transport: Transport) -> None:
    client = await bench.client(transport)
    await client.send(message_of(LIMIT))
    await client.receive_event("message-back")


@check(
    "engineio.limit.polling.over",
    "A payload of one byte more is answered with 413 and an empty body, and dropped.",
    OFFICIAL,
    profile="options",
)
async def polling_over(bench: Bench) -> None:
    client, session = await polling_client(bench)
    response = await session.post(message_of(LIMIT + 1))
    expect_equal((response.status, response.body), (413, b""))
    await client.expect_silence()


@check(
    "engineio.limit.polling.over-survives",
    "A payload that is too large does not end the session.",
    OFFICIAL,
    profile="options",
)
async def polling_over_survives(bench: Bench) -> None:
    client, session = await polling_client(bench)
    await session.post(message_of(LIMIT + 1))
    await expect_alive(client)


@check(
    "engineio.limit.polling.chunked",
    "The limit is on the bytes that come, not on a length that is declared.",
    OFFICIAL,
    profile="options",
)
async def polling_chunked(bench: Bench) -> None:
    _, session = await polling_client(bench)
    connection = await bench.connection()
    chunked = [("Transfer-Encoding", "chunked")]
    await connection.send(request_head("POST", session.target, connection.host, chunked))
    await send_chunks(connection)
    expect_equal((await connection.read_response()).status, 413, "status")


async def send_chunks(connection: Connection) -> None:
    body = message_of(LIMIT + 1).encode()
    for start in range(0, len(body), 5000):
        chunk = body[start : start + 5000]
        await connection.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
    await connection.send(b"0\r\n\r\n")


@check(
    "engineio.limit.polling.bytes",
    "The limit counts bytes, not characters.",
    OFFICIAL,
    profile="options",
)
async def polling_bytes(bench: Bench) -> None:
    _, session = await polling_client(bench)
    response = await session.post(f'42["message","{"€" * 3400}"]')
    expect_equal(response.status, 413, "status")


@check(
    "engineio.limit.polling.many-packets",
    "The limit is on the payload, not on the number of its packets.",
    OFFICIAL,
    profile="options",
)
async def polling_many_packets(bench: Bench) -> None:
    client, _ = await polling_client(bench)
    await client.send(*["3"] * (LIMIT // 2))
    await expect_alive(client)


@check(
    "engineio.limit.websocket.text",
    "A text message of one byte more closes the WebSocket with 1009.",
    OFFICIAL,
    profile="options",
)
async def websocket_text(bench: Bench) -> None:
    sid, session = await websocket_client(bench)
    await session.send(message_of(LIMIT + 1))
    expect_equal(await session.wait_ended(), "a close frame with status code 1009")
    await bench.expect_reason(sid, "transport error")


@check(
    "engineio.limit.websocket.binary",
    "A binary message of one byte more closes the WebSocket with 1009.",
    OFFICIAL,
    profile="options",
)
async def websocket_binary(bench: Bench) -> None:
    sid, session = await websocket_client(bench)
    await session.send('451-["message",{"_placeholder":true,"num":0}]', bytes(LIMIT + 1))
    expect_equal(await session.wait_ended(), "a close frame with status code 1009")
    await bench.expect_reason(sid, "transport error")


@check(
    "engineio.limit.websocket.binary-exact",
    "A binary message as long as the limit is accepted.",
    OFFICIAL,
    profile="options",
)
async def websocket_binary_exact(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.emit("message", bytes(LIMIT))
    await client.expect_event("message-back", bytes(LIMIT))


@check(
    "engineio.limit.websocket.fragments",
    "The limit is on the message, however it is cut into frames.",
    OFFICIAL,
    profile="options",
)
async def websocket_fragments(bench: Bench) -> None:
    _, session = await websocket_client(bench)
    body = message_of(LIMIT + 1).encode()
    await session.websocket.send_frame(TEXT, body[:6000], fin=False)
    await session.websocket.send_frame(CONTINUATION, body[6000:])
    expect_equal(await session.wait_ended(), "a close frame with status code 1009")


@check(
    "engineio.limit.websocket.declared",
    "A frame that declares too much is refused before its payload comes.",
    OFFICIAL,
    profile="options",
)
async def websocket_declared(bench: Bench) -> None:
    _, session = await websocket_client(bench)
    await session.websocket.connection.send(struct.pack("!BBQ", 0x80 | BINARY, 0x80 | 127, 2**40) + b"mask")
    expect_equal(await session.wait_ended(), "a close frame with status code 1009")


@check_both(
    "engineio.limit.outgoing",
    "The limit is on what comes in: the server may send more.",
    OFFICIAL,
    profile="options",
)
async def outgoing(bench: Bench, transport: Transport) -> None:
    client = await bench.client(transport)
    await client.emit("big", 3 * LIMIT)
    await client.expect_event("big", "x" * 3 * LIMIT)
