"""Compression: of polling responses (``httpCompression``), of WebSocket messages (``perMessageDeflate``)."""

from __future__ import annotations

import gzip
import zlib

from conformance.bench import Bench
from conformance.expect import MismatchError, expect, expect_equal
from conformance.model import OFFICIAL, check
from conformance.peer.http import Response
from conformance.peer.websocket import TEXT, WebSocket

GZIP = ("Accept-Encoding", "gzip, deflate")
OFFER = ("Sec-WebSocket-Extensions", "permessage-deflate")
TAIL = b"\x00\x00\xff\xff"
"""What the end of a compressed message leaves out (RFC 7692, section 7.2.1)."""


async def big_poll(bench: Bench, event: str, size: int, *headers: tuple[str, str]) -> Response:
    """The poll that carries an event of about that size."""
    session = await bench.polling()
    await session.send("40")
    await session.get()
    await session.send(f'42["{event}",{size}]')
    await bench.settle()
    return await session.get(headers)


def payload_of(size: int) -> bytes:
    return f'42["big","{"x" * size}"]'.encode()


@check("compression.polling.gzip", "A payload above the threshold is compressed with gzip.", OFFICIAL, "wire")
async def polling_gzip(bench: Bench) -> None:
    response = await big_poll(bench, "big", 2000, GZIP)
    expect_equal(response.header("content-encoding"), "gzip")
    expect_equal(gzip.decompress(response.body), payload_of(2000))


@check("compression.polling.deflate", "Or with deflate, if the client takes nothing else.", OFFICIAL, "wire")
async def polling_deflate(bench: Bench) -> None:
    response = await big_poll(bench, "big", 2000, ("Accept-Encoding", "deflate"))
    expect_equal(response.header("content-encoding"), "deflate")
    expect_equal(zlib.decompress(response.body), payload_of(2000))


@check(
    "compression.polling.refused-coding",
    "A coding with quality 0 is not taken.",
    "RFC 9110, section 12.5.3",
    "wire",
)
async def polling_quality(bench: Bench) -> None:
    response = await big_poll(bench, "big", 2000, ("Accept-Encoding", "gzip;q=0, deflate"))
    expect_equal(response.header("content-encoding"), "deflate")


@check("compression.polling.below", "A payload below the threshold is not compressed.", OFFICIAL)
async def polling_below(bench: Bench) -> None:
    response = await big_poll(bench, "big", 900, GZIP)
    expect_equal((response.header("content-encoding"), response.body), (None, payload_of(900)))


@check("compression.polling.not-asked", "Nor one for a client that names no coding.", OFFICIAL)
async def polling_not_asked(bench: Bench) -> None:
    response = await big_poll(bench, "big", 2000)
    expect_equal((response.header("content-encoding"), response.body), (None, payload_of(2000)))


@check("compression.polling.other-coding", "Nor one for a client that takes another coding.", OFFICIAL)
async def polling_other(bench: Bench) -> None:
    response = await big_poll(bench, "big", 2000, ("Accept-Encoding", "br, zstd"))
    expect_equal(response.header("content-encoding"), None)


@check("compression.polling.flag", "Nor one that the application does not want compressed.", OFFICIAL)
async def polling_flag(bench: Bench) -> None:
    response = await big_poll(bench, "big-plain", 2000, GZIP)
    expect_equal((response.header("content-encoding"), response.body), (None, payload_of(2000)))


@check("compression.polling.off", "With `httpCompression: false` nothing is.", OFFICIAL, profile="options")
async def polling_off(bench: Bench) -> None:
    response = await big_poll(bench, "big", 2000, GZIP)
    expect_equal((response.header("content-encoding"), response.body), (None, payload_of(2000)))


async def deflating(bench: Bench, offer: str = OFFER[1]) -> WebSocket:
    """A WebSocket with compression, joined to `/`; the first packets are passed over as frames."""
    websocket = await bench.open_websocket(bench.target("websocket"), [(OFFER[0], offer)])
    await websocket.receive_frame()
    await websocket.send("40")
    await websocket.receive_frame()
    await websocket.receive_frame()
    return websocket


def agreed(websocket: WebSocket) -> list[str]:
    header = websocket.response.header("sec-websocket-extensions") or ""
    return [part.strip() for part in header.split(";")]


async def receive_message(websocket: WebSocket, inflate: zlib._Decompress) -> bytes:
    opcode, payload, fin = await websocket.receive_frame()
    if not fin or opcode != TEXT:
        raise MismatchError("a whole text message", f"opcode {opcode}, fin {fin}")
    if websocket.last_rsv & 0x4:
        return inflate.decompress(payload + TAIL)
    return payload


@check(
    "compression.websocket.negotiated",
    "An offered permessage-deflate is accepted.",
    OFFICIAL,
    "wire",
    profile="deflate",
)
async def websocket_negotiated(bench: Bench) -> None:
    expect_equal(agreed(await deflating(bench))[0], "permessage-deflate")


@check(
    "compression.websocket.not-offered",
    "What was not offered is not used.",
    "RFC 7692, section 5",
    profile="deflate",
)
async def websocket_not_offered(bench: Bench) -> None:
    session = await bench.websocket()
    expect_equal(session.websocket.response.header("sec-websocket-extensions"), None)
    await session.send("40")
    expect(str(await session.receive()).startswith("40{"), "a plain CONNECT packet", "another message")


@check(
    "compression.websocket.unknown-offer",
    "An extension that nobody knows is declined.",
    "RFC 6455, section 9.1",
    profile="deflate",
)
async def websocket_unknown(bench: Bench) -> None:
    session = await bench.websocket([(OFFER[0], "x-unknown; a=b")])
    expect_equal(session.websocket.response.header("sec-websocket-extensions"), None)


@check(
    "compression.websocket.out",
    "A large message comes compressed and whole.",
    "RFC 7692, section 7.2.1",
    "wire",
    profile="deflate",
)
async def websocket_out(bench: Bench) -> None:
    websocket = await deflating(bench, "permessage-deflate; server_no_context_takeover")
    await websocket.send('42["big",20000]')
    expect_equal(await receive_message(websocket, zlib.decompressobj(-15)), payload_of(20000))
    expect_equal(websocket.last_rsv, 0x4, "reserved bits of the frame")


@check(
    "compression.websocket.no-takeover",
    "`server_no_context_takeover` is agreed to: messages stand alone.",
    "RFC 7692, section 7.1.1.1",
    "wire",
    profile="deflate",
)
async def websocket_no_takeover(bench: Bench) -> None:
    websocket = await deflating(bench, "permessage-deflate; server_no_context_takeover")
    expect(
        "server_no_context_takeover" in agreed(websocket), "the parameter in the answer", agreed(websocket)
    )
    for _ in range(2):
        await websocket.send('42["big",20000]')
        expect_equal(await receive_message(websocket, zlib.decompressobj(-15)), payload_of(20000))


@check(
    "compression.websocket.in",
    "A compressed message of the client is understood.",
    "RFC 7692, section 7.2.2",
    "wire",
    profile="deflate",
)
async def websocket_in(bench: Bench) -> None:
    websocket = await deflating(
        bench, "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
    )
    deflate = zlib.compressobj(wbits=-15)
    packet = f'42["big-plain",{1500}]'.encode()
    data = deflate.compress(packet) + deflate.flush(zlib.Z_SYNC_FLUSH)
    await websocket.send_frame(TEXT, data.removesuffix(TAIL), rsv=0x4)
    expect_equal(await receive_message(websocket, zlib.decompressobj(-15)), payload_of(1500))


@check(
    "compression.websocket.plain-in",
    "An uncompressed one is too.",
    "RFC 7692, section 6",
    "wire",
    profile="deflate",
)
async def websocket_plain_in(bench: Bench) -> None:
    websocket = await deflating(bench, "permessage-deflate; server_no_context_takeover")
    await websocket.send('42["big",1500]')
    expect_equal(await receive_message(websocket, zlib.decompressobj(-15)), payload_of(1500))


@check(
    "compression.websocket.bomb",
    "The limit of a message is on its inflated size.",
    OFFICIAL,
    "wire",
    profile="deflate",
)
async def websocket_bomb(bench: Bench) -> None:
    websocket = await deflating(bench)
    deflate = zlib.compressobj(9, wbits=-15)
    data = deflate.compress(b"4" + b"0" * 5_000_000) + deflate.flush(zlib.Z_SYNC_FLUSH)
    await websocket.send_frame(TEXT, data.removesuffix(TAIL), rsv=0x4)
    closed = await websocket.wait_closed()
    expect_equal((closed.framed, closed.code), (True, 1009))


@check(
    "compression.websocket.garbage",
    "What cannot be inflated ends the WebSocket.",
    "RFC 7692, section 7.2.2",
    "wire",
    profile="deflate",
)
async def websocket_garbage(bench: Bench) -> None:
    websocket = await deflating(bench)
    await websocket.send_frame(TEXT, b"\xff\xff\xff\xff", rsv=0x4)
    closed = await websocket.wait_closed()
    expect(closed.code in (1002, 1007), "close code 1002 or 1007", closed)
