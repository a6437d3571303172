"""The WebSocket transport: messages in every form, and the close code of every violation."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from conformance.bench import Bench
from conformance.checks.engineio_errors import expect_alive
from conformance.expect import expect, expect_equal
from conformance.model import OFFICIAL, Check, check, eio, register
from conformance.peer.engineio import ENDED_WEBSOCKET, WebSocketSession, expect_ended
from conformance.peer.packets import encode
from conformance.peer.socketio import Client
from conformance.peer.websocket import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Closed, encode_frame

WEBSOCKET = eio("WebSocket")
EVENT = b'42["message","in pieces"]'


async def joined(bench: Bench) -> tuple[Client, WebSocketSession, str]:
    session = await bench.websocket()
    client = Client(session)
    return client, session, await client.connect()


@check("engineio.websocket.text", "Each packet is one text message of its own.", WEBSOCKET)
async def text(bench: Bench) -> None:
    _, session, _ = await joined(bench)
    await session.send('42["many",3]')
    received = [await session.receive() for _ in range(3)]
    expect_equal(received, ['42["many",0]', '42["many",1]', '42["many",2]'])


@check(
    "engineio.websocket.binary", "Binary messages go both ways as binary frames without prefix.", WEBSOCKET
)
async def binary(bench: Bench) -> None:
    _, session, _ = await joined(bench)
    await session.send('451-["message",{"_placeholder":true,"num":0}]', b"\x00\x01\xff")
    expect_equal(await session.receive(), '451-["message-back",{"_placeholder":true,"num":0}]')
    expect_equal(await session.receive(), b"\x00\x01\xff")


@check("engineio.websocket.binary-empty", "A binary message may be empty.", WEBSOCKET)
async def binary_empty(bench: Bench) -> None:
    client, _, _ = await joined(bench)
    await client.emit("message", b"")
    await client.expect_event("message-back", b"")


@check(
    "engineio.websocket.base64-in",
    "A text message that begins with `b` is a binary message in base64.",
    OFFICIAL,
)
async def base64_in(bench: Bench) -> None:
    client, _, _ = await joined(bench)
    await client.send('451-["message",{"_placeholder":true,"num":0}]', "bAQIDBA==")
    await client.expect_event("message-back", b"\x01\x02\x03\x04")


@check(
    "engineio.websocket.base64-out",
    "A client that asked for `b64` gets binary messages in base64.",
    OFFICIAL,
)
async def base64_out(bench: Bench) -> None:
    session = await bench.websocket(b64="1")
    await Client(session).connect()
    await session.send('451-["message",{"_placeholder":true,"num":0}]', b"\x01\x02\x03\x04")
    await session.receive()
    expect_equal(await session.receive(), "bAQIDBA==")


@check("engineio.websocket.fragments", "A message may come in several frames.", "RFC 6455, section 5.4")
async def fragments(bench: Bench) -> None:
    client, session, _ = await joined(bench)
    await session.websocket.send_frame(TEXT, EVENT[:5], fin=False)
    await session.websocket.send_frame(CONTINUATION, EVENT[5:9], fin=False)
    await session.websocket.send_frame(CONTINUATION, b"", fin=False)
    await session.websocket.send_frame(CONTINUATION, EVENT[9:])
    await client.expect_event("message-back", "in pieces")


@check("engineio.websocket.fragments-utf8", "A character may be cut by two frames.", "RFC 6455, section 5.6")
async def fragments_utf8(bench: Bench) -> None:
    client, session, _ = await joined(bench)
    body = '42["message","€"]'.encode()
    await session.websocket.send_frame(TEXT, body[:14], fin=False)
    await session.websocket.send_frame(CONTINUATION, body[14:])
    await client.expect_event("message-back", "€")


@check("engineio.websocket.fragments-binary", "A binary message may come in frames.", "RFC 6455, section 5.4")
async def fragments_binary(bench: Bench) -> None:
    client, session, _ = await joined(bench)
    await session.send('451-["message",{"_placeholder":true,"num":0}]')
    await session.websocket.send_frame(BINARY, b"\x01\x02", fin=False)
    await session.websocket.send_frame(CONTINUATION, b"\x03")
    await client.expect_event("message-back", b"\x01\x02\x03")


@check(
    "engineio.websocket.control-between",
    "A control frame may come between the frames of a message.",
    "RFC 6455, section 5.4",
)
async def control_between(bench: Bench) -> None:
    _, session, _ = await joined(bench)
    await session.websocket.send_frame(TEXT, EVENT[:5], fin=False)
    await session.websocket.send_frame(PING, b"now")
    await session.websocket.send_frame(CONTINUATION, EVENT[5:])
    frames = [(await session.websocket.receive_frame())[:2] for _ in range(2)]
    expect_equal(sorted(frames), [(TEXT, b'42["message-back","in pieces"]'), (PONG, b"now")])


@check("engineio.websocket.pong", "A WebSocket ping is answered with its payload.", "RFC 6455, section 5.5.3")
async def pong(bench: Bench) -> None:
    _, session, _ = await joined(bench)
    await session.websocket.send_frame(PING, b"payload \x00\xff")
    opcode, payload, _ = await session.websocket.receive_frame()
    expect_equal((opcode, payload), (PONG, b"payload \x00\xff"))


@check(
    "engineio.websocket.pong-unasked",
    "A WebSocket pong that nobody asked for is ignored.",
    "RFC 6455, section 5.5.3",
)
async def pong_unasked(bench: Bench) -> None:
    client, session, _ = await joined(bench)
    await session.websocket.send_frame(PONG, b"unasked")
    await expect_alive(client)


@check("engineio.websocket.dribbled", "A frame may come byte by byte.", "RFC 6455, section 5.2")
async def dribbled(bench: Bench) -> None:
    client, session, _ = await joined(bench)
    for byte in encode_frame(TEXT, EVENT):
        await session.websocket.connection.send(bytes([byte]))
        await asyncio.sleep(0)
    await client.expect_event("message-back", "in pieces")


@check("engineio.websocket.together", "Several frames may come in one segment.", "RFC 6455, section 5.2")
async def together(bench: Bench) -> None:
    client, session, _ = await joined(bench)
    frames = [encode_frame(TEXT, b'42["message",%d]' % number) for number in range(20)]
    await session.websocket.connection.send(b"".join(frames))
    for number in range(20):
        await client.expect_event("message-back", number)


@check(
    "engineio.websocket.lengths",
    "All three forms of a frame's length are understood.",
    "RFC 6455, section 5.2",
)
async def lengths(bench: Bench) -> None:
    client, _, _ = await joined(bench)
    for size in (108, 109, 110, 65518, 65519, 65520, 200_000):
        await client.emit("message", "x" * size)
        await client.expect_event("message-back", "x" * size)


@check(
    "engineio.websocket.length-not-minimal",
    "A length in a longer form than needed is still that length.",
    OFFICIAL,
    "wire",
)
async def length_not_minimal(bench: Bench) -> None:
    client, session, _ = await joined(bench)
    mask = b"\x00\x00\x00\x00"
    await session.websocket.connection.send(struct.pack("!BBH", 0x81, 0xFE, len(EVENT)) + mask + EVENT)
    await client.expect_event("message-back", "in pieces")


@check(
    "engineio.websocket.server-frames",
    "A server's frames are whole, unmasked and without reserved bits.",
    "RFC 6455, section 5.1",
)
async def server_frames(bench: Bench) -> None:
    _, session, _ = await joined(bench)
    await session.send('42["message",1]')
    opcode, _, fin = await session.websocket.receive_frame()
    expect_equal((opcode, fin, session.websocket.last_rsv), (TEXT, True, 0))


@check(
    "engineio.websocket.close-packet", "Over WebSocket a close packet of the client means nothing.", OFFICIAL
)
async def close_packet(bench: Bench) -> None:
    client, _, _ = await joined(bench)
    await client.send("1")
    await expect_alive(client)


@check("engineio.websocket.ignored", "OPEN, UPGRADE and NOOP packets of a client mean nothing.", OFFICIAL)
async def ignored(bench: Bench) -> None:
    client, _, _ = await joined(bench)
    await client.send("0", "5", "6", '0{"sid":"x"}', "3", "3probe")
    await expect_alive(client)


@check("engineio.websocket.close.client", "A client's close is a transport close.", eio("Close"))
async def close_client(bench: Bench) -> None:
    _, session, sid = await joined(bench)
    await session.websocket.close()
    await session.websocket.wait_closed()
    session.websocket.connection.close()
    await bench.expect_reason(sid, "transport close")


@check(
    "engineio.websocket.close.echo",
    "A close frame is answered with its status code.",
    "RFC 6455, section 5.5.1",
    "wire",
)
async def close_echo(bench: Bench) -> None:
    for code in (1000, 1001, 3000, 4999):
        _, session, _ = await joined(bench)
        await session.websocket.close(code)
        expect_equal(await session.websocket.wait_closed(), Closed(framed=True, code=code))


@check(
    "engineio.websocket.close.end",
    "After the closing handshake the server ends the connection.",
    "RFC 6455, section 7.1.1",
)
async def close_end(bench: Bench) -> None:
    _, session, _ = await joined(bench)
    await session.websocket.close(1000)
    await session.websocket.wait_closed()
    expect_equal(await session.websocket.connection.read_to_end(), b"", "bytes after the close frame")


@check("engineio.websocket.close.lost", "A lost connection is a transport close.", OFFICIAL)
async def close_lost(bench: Bench) -> None:
    _, session, sid = await joined(bench)
    session.websocket.connection.abort()
    await bench.expect_reason(sid, "transport close")


@check("engineio.websocket.close.forgets", "A closed session is unknown.", eio("Close"))
async def close_forgets(bench: Bench) -> None:
    _, session, sid = await joined(bench)
    await session.websocket.close()
    await session.websocket.wait_closed()
    session.websocket.connection.close()
    await bench.reasons(sid)
    response = await bench.request("GET", bench.target(sid=session.sid))
    expect_equal((response.status, response.json["code"]), (400, 1))


@check(
    "engineio.websocket.close.server",
    "A server closes with a close frame without status code, and is the forced one to the application.",
    OFFICIAL,
    "wire",
)
async def close_server(bench: Bench) -> None:
    _, session, sid = await joined(bench)
    await session.send('42["close-connection"]')
    expect_equal(await session.wait_ended(), ENDED_WEBSOCKET)
    await bench.expect_reason(sid, "forced close")


@check(
    "engineio.websocket.close.server-buffered",
    "What was emitted before the server closes still arrives.",
    OFFICIAL,
)
async def close_server_buffered(bench: Bench) -> None:
    _, session, _ = await joined(bench)
    await session.send('42["burst-close",3]')
    received = [await session.receive() for _ in range(3)]
    expect_equal(received, ['42["many",0]', '42["many",1]', '42["many",2]'])
    expect((await session.websocket.wait_closed()).framed, "a close frame", "none")


@dataclass(frozen=True, slots=True)
class Violation:
    name: str
    sentence: str
    code: int
    frames: tuple[bytes, ...]
    section: str


VIOLATIONS = (
    Violation(
        "unmasked", "A client masks its frames", 1002, (encode_frame(TEXT, EVENT, masked=False),), "5.1"
    ),
    Violation("opcode", "Opcodes 3 to 7 are reserved", 1002, (encode_frame(0x3, b"x"),), "5.2"),
    Violation("control-opcode", "Opcodes 11 to 15 are reserved", 1002, (encode_frame(0xB, b"x"),), "5.2"),
    Violation(
        "rsv1", "Reserved bits are zero without extension", 1002, (encode_frame(TEXT, EVENT, rsv=4),), "5.2"
    ),
    Violation(
        "rsv2", "Reserved bits are zero without extension", 1002, (encode_frame(TEXT, EVENT, rsv=2),), "5.2"
    ),
    Violation(
        "control-long",
        "A control frame holds at most 125 bytes",
        1002,
        (encode_frame(PING, bytes(126)),),
        "5.5",
    ),
    Violation(
        "control-fragment", "A control frame is whole", 1002, (encode_frame(PING, b"x", fin=False),), "5.5"
    ),
    Violation(
        "continuation", "A continuation continues something", 1002, (encode_frame(CONTINUATION, b"x"),), "5.4"
    ),
    Violation(
        "interleaved",
        "A message ends before the next begins",
        1002,
        (encode_frame(TEXT, b"4", fin=False), encode_frame(TEXT, b"4")),
        "5.4",
    ),
    Violation("close-short", "A status code has two bytes", 1002, (encode_frame(CLOSE, b"\x03"),), "5.5.1"),
    Violation("close-reserved", "1005 is never sent", 1002, (encode_frame(CLOSE, b"\x03\xed"),), "7.4.1"),
    Violation("close-low", "Status codes begin at 1000", 1002, (encode_frame(CLOSE, b"\x03\xe7"),), "7.4.2"),
    Violation("utf8", "Text is UTF-8", 1007, (encode_frame(TEXT, b'42["message","\xff"]'),), "8.1"),
    Violation(
        "utf8-surrogate", "Surrogates are no UTF-8", 1007, (encode_frame(TEXT, b'42["\xed\xa0\x80"]'),), "8.1"
    ),
    Violation(
        "utf8-overlong", "Overlong forms are no UTF-8", 1007, (encode_frame(TEXT, b'42["\xc0\xaf"]'),), "8.1"
    ),
)


def violating(violation: Violation) -> Callable[[Bench], Awaitable[None]]:
    async def run(bench: Bench) -> None:
        _, session, sid = await joined(bench)
        await session.websocket.connection.send(b"".join(violation.frames))
        expect_equal(await session.wait_ended(), f"a close frame with status code {violation.code}")
        await bench.expect_reason(sid, "transport error")

    return run


for violation in VIOLATIONS:
    register(
        Check(
            f"engineio.websocket.violation.{violation.name}",
            f"{violation.sentence}: otherwise the close code is {violation.code}, a transport error.",
            f"RFC 6455, section {violation.section}",
            violating(violation),
            marks=frozenset({"wire"}),
        )
    )

INVALID = {"unknown-type": "abc", "empty": "", "number": "7", "space": " 42", "separator": "\x1e"}


def invalid_packet(packet: str) -> Callable[[Bench], Awaitable[None]]:
    async def run(bench: Bench) -> None:
        _, session, sid = await joined(bench)
        await session.send(packet)
        await expect_ended(session)
        await bench.expect_reason(sid, "parse error")

    return run


for name, packet in INVALID.items():
    register(
        Check(
            f"engineio.websocket.invalid.{name}",
            f"The text {encode(packet)} is no packet: the WebSocket is closed, a parse error.",
            eio("Packet encoding"),
            invalid_packet(packet),
        )
    )


@check(
    "engineio.websocket.invalid.close-code",
    "The close frame after a packet that cannot be decoded has no status code.",
    OFFICIAL,
    "wire",
)
async def invalid_close_code(bench: Bench) -> None:
    _, session, _ = await joined(bench)
    await session.send("abc")
    expect_equal(await session.wait_ended(), ENDED_WEBSOCKET)


def wrong_ping(packet: str) -> Callable[[Bench], Awaitable[None]]:
    async def run(bench: Bench) -> None:
        _, session, sid = await joined(bench)
        await session.send(packet)
        await expect_ended(session)
        await bench.expect_reason(sid, "transport error")

    return run


for name, packet in {"ping": "2", "probe": "2probe"}.items():
    register(
        Check(
            f"engineio.websocket.invalid.{name}",
            f"`{packet}` of a client, outside a probe, is in the wrong direction: a transport error.",
            eio("Heartbeat"),
            wrong_ping(packet),
        )
    )
