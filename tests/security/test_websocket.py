"""Threats to WebSockets: rows T21 to T30 of docs/threat-model.md."""

from __future__ import annotations

import asyncio
import socket
import zlib

import pytest

from conformance.peer.http import request_head
from conformance.peer.websocket import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Closed,
    WebSocket,
    encode_frame,
    upgrade_headers,
)
from sio_core import Cors, Limits
from sio_core.wire.websocket import WebSocket as ServerWebSocket
from tests.security.application import OWN_WEBSOCKETS, SHELLS
from tests.security.witness import PATIENCE, Peer, Stand

pytestmark = pytest.mark.anyio

LIMIT = 1_000_000
FRAGMENTS = 4_096
KEY = "A" * 22 + "=="

own_frames = pytest.mark.parametrize("shell", ["uvloop", "trio", OWN_WEBSOCKETS])
"""What reads frames is our own code there."""
own_frames_of_all_servers = pytest.mark.parametrize("shell", ["uvloop", "trio"])
every_reader = pytest.mark.parametrize("shell", [*SHELLS, OWN_WEBSOCKETS])


async def open_websocket(peer: Peer) -> WebSocket:
    """Open a session by WebSocket and take its handshake."""
    websocket = await peer.open_websocket(peer.target("websocket"))
    assert str(await websocket.receive()).startswith("0{")
    return websocket


async def closed_by(websocket: WebSocket) -> int | None:
    """Wait for the end, whatever comes before; return the code of the close frame."""
    async with asyncio.timeout(PATIENCE):
        while True:
            opcode, payload, _ = await websocket.receive_frame()
            if opcode == CLOSE:
                return int.from_bytes(payload[:2], "big") if payload else None


async def answered(websocket: WebSocket, message: str) -> None:
    """Wait for a message."""
    async with asyncio.timeout(PATIENCE):
        while (received := await websocket.receive()) != message:
            assert not isinstance(received, Closed), received


# T21 to T24


@pytest.mark.threat("T21")
@pytest.mark.parametrize("length", [2**63 - 1, 17 * LIMIT])
@every_reader
async def test_a_frame_that_is_announced_too_large_is_refused_unread(stand: Stand, length: int) -> None:
    websocket = await open_websocket(stand.peer())
    await websocket.connection.send(b"\x81\xff" + length.to_bytes(8, "big") + b"maskx")
    assert await closed_by(websocket) == 1009


@pytest.mark.threat("T21")
@every_reader
async def test_a_message_of_the_limit_passes_and_one_byte_more_does_not(stand: Stand) -> None:
    peer = stand.peer()
    client = await peer.client("websocket")
    head = '42["none","'
    await client.send(head + "x" * (LIMIT - len(head) - 2) + '"]')
    assert await client.call("echo", 1) == [1]
    await client.send(head + "x" * (LIMIT - len(head) - 1) + '"]')
    assert "1009" in await peer.until_ended(client.link)
    websocket = await open_websocket(peer)
    await websocket.send_frame(BINARY, bytes(LIMIT // 2), fin=False)
    await websocket.send_frame(CONTINUATION, bytes(LIMIT // 2 + 1))
    assert await closed_by(websocket) == 1009


@pytest.mark.threat("T21", "T42")
async def test_a_message_in_a_thousand_pieces_is_read_in_linear_time(stand: Stand) -> None:
    websocket = await open_websocket(stand.peer())
    frame = encode_frame(TEXT, b'42["none","' + b"x" * (LIMIT - 20) + b'"]')
    await websocket.send("40")
    async with stand.cpu() as spent:
        for start in range(0, len(frame), 1_000):
            await websocket.connection.send(frame[start : start + 1_000])
            await asyncio.sleep(0)
        await websocket.send('421["echo",7]')
        await answered(websocket, "431[7]")
    assert spent[0] < 2.0


@pytest.mark.threat("T21", "T32b")
async def test_unfinished_messages_cost_what_was_sent_of_them(stand: Stand) -> None:
    """Nearly whole frames behind the attachments of packets that lack their last."""
    peer = stand.peer()
    before = await stand.witness.inspect("census")
    for _ in range(10):
        websocket = await open_websocket(peer)
        await websocket.send("40")
        await websocket.send('452-["none",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
        await websocket.send(bytes(LIMIT))
        await websocket.connection.send(encode_frame(BINARY, bytes(LIMIT))[:-1])
    during = await stand.witness.inspect("census")
    assert during["memory"] - before["memory"] < 2 * 10 * 2 * LIMIT


async def negotiated(peer: Peer, offer: str = "permessage-deflate") -> tuple[WebSocket, str | None]:
    """Open a WebSocket with an offer; return the extensions that were accepted too."""
    headers = [("Sec-WebSocket-Extensions", offer)]
    websocket = await peer.open_websocket(peer.target("websocket"), headers)
    return websocket, websocket.response.header("sec-websocket-extensions")


@pytest.mark.threat("T22")
@own_frames
async def test_compression_is_off_unless_it_was_asked_for(stand: Stand) -> None:
    _, extensions = await negotiated(stand.peer())
    assert extensions is None


@pytest.mark.threat("T22")
async def test_a_bomb_of_compressed_zeros(stand: Stand) -> None:
    """50 MB in 50 kB. It is refused before it is inflated beyond the limit."""
    websocket, extensions = await negotiated(stand.peer("/deflate/"))
    assert extensions is not None
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = compressor.compress(bytes(50 * LIMIT)) + compressor.flush(zlib.Z_SYNC_FLUSH)
    before = await stand.witness.inspect("census")
    async with stand.cpu() as spent:
        await websocket.send_frame(BINARY, bomb[:-4], rsv=4)
        assert await closed_by(websocket) == 1009
    after = await stand.witness.inspect("census")
    assert spent[0] < 2.0
    assert after["memory"] - before["memory"] < 8 * LIMIT


@pytest.mark.threat("T22")
@own_frames_of_all_servers
async def test_odd_offers_of_compression_are_refused(stand: Stand) -> None:
    peer = stand.peer("/deflate/")
    for offer in (
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; client_max_window_bits=0",
        "permessage-deflate; client_max_window_bits=08",
        "permessage-deflate; server_max_window_bits=15; server_max_window_bits=15",
        "permessage-deflate; unknown",
        "permessage-deflate; server_no_context_takeover=1",
    ):
        response = await peer.refused(peer.target("websocket"), [("Sec-WebSocket-Extensions", offer)])
        assert response.status == 400, offer


@pytest.mark.threat("T23")
@own_frames
async def test_endless_fragments_are_refused(stand: Stand) -> None:
    peer = stand.peer()
    for content in (b"", b"x"):
        websocket = await open_websocket(peer)
        await websocket.send_frame(TEXT, content, fin=False)
        frames = encode_frame(CONTINUATION, content, fin=False) * 1_000
        async with stand.cpu() as spent:
            assert await peer.flood(websocket.connection, frames, times=1_000)
        assert spent[0] < 2.0
    exact = await open_websocket(peer)
    await exact.send("40")
    await exact.send_frame(TEXT, b'421["echo"', fin=False)
    await exact.connection.send(encode_frame(CONTINUATION, b" ", fin=False) * (FRAGMENTS - 2))
    await exact.send_frame(CONTINUATION, b",9]")
    await answered(exact, "431[9]")
    await exact.send_frame(TEXT, b"x", fin=False)
    await exact.connection.send(encode_frame(CONTINUATION, b" ", fin=False) * FRAGMENTS)
    assert await closed_by(exact) == 1008


@pytest.mark.threat("T23")
@own_frames
async def test_a_message_may_not_stay_unfinished(stand: Stand) -> None:
    websocket = await open_websocket(stand.peer())
    await websocket.send("40")
    await websocket.send_frame(TEXT, b"42", fin=False)
    assert await closed_by(websocket) == 1008
    assert await stand.hits("fragment_time") >= 1


@pytest.mark.threat("T23")
@every_reader
async def test_many_ordinary_messages_are_no_flood(stand: Stand) -> None:
    """Just below each bound, and for a long time: whole messages and fragmented ones, on one connection."""
    client = await stand.peer().client("websocket")
    connection = client.link.websocket.connection  # type: ignore[attr-defined]
    whole = encode_frame(TEXT, b'42["none"]')
    parted = encode_frame(TEXT, b'42["no', fin=False) + encode_frame(CONTINUATION, b'ne"]')
    for _ in range(20):
        await connection.send(whole * 500 + parted * 250)
    assert await client.call("echo", "still here") == ["still here"]


@pytest.mark.threat("T24")
@own_frames
async def test_pings_of_a_peer_that_does_not_read_do_not_pile_up(stand: Stand) -> None:
    peer = stand.peer()
    before = await stand.witness.inspect("census")
    loop = asyncio.get_running_loop()
    with socket.socket() as flooder:
        flooder.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        flooder.connect(("127.0.0.1", peer.server.port))
        flooder.sendall(request_head("GET", peer.target("websocket"), "localhost", upgrade_headers(KEY)))
        flooder.setblocking(False)
        pings = encode_frame(PING, b"p" * 125) * 100
        sent = 0
        try:
            async with asyncio.timeout(2.0):
                for _ in range(1_500):  # 20 MB
                    await loop.sock_sendall(flooder, pings)
                    sent += len(pings)
        except (TimeoutError, ConnectionError):
            pass
        during = await stand.witness.inspect("census")
        assert sent > 3 * LIMIT
        assert during["memory"] - before["memory"] < 3 * LIMIT


@pytest.mark.threat("T24")
async def test_pings_and_pongs_in_great_number(stand: Stand) -> None:
    client = await stand.peer().client("websocket")
    connection = client.link.websocket.connection  # type: ignore[attr-defined]
    for _ in range(5):
        await connection.send(encode_frame(PING, b"x") * 1_000 + encode_frame(PONG, b"") * 1_000)
    assert await client.call("echo", 1) == [1]


# T25 to T28

BAD_FRAMES = {
    "RSV1": (1002, encode_frame(TEXT, b"x", rsv=4)),
    "RSV2": (1002, encode_frame(TEXT, b"x", rsv=2)),
    "RSV3": (1002, encode_frame(TEXT, b"x", rsv=1)),
    "an unknown opcode": (1002, encode_frame(0x3, b"x")),
    "an unknown control opcode": (1002, encode_frame(0xB, b"x")),
    "no mask": (1002, encode_frame(TEXT, b"x", masked=False)),
    "a long ping": (1002, encode_frame(PING, b"x" * 126)),
    "a fragmented ping": (1002, encode_frame(PING, b"x", fin=False)),
    "a fragmented close": (1002, encode_frame(CLOSE, b"\x03\xe8", fin=False)),
    "a continuation of nothing": (1002, encode_frame(CONTINUATION, b"x")),
    "a message within a message": (1002, encode_frame(TEXT, b"x", fin=False) + encode_frame(TEXT, b"x")),
    "a close of one byte": (1002, encode_frame(CLOSE, b"\x03")),
    "close code 1005": (1002, encode_frame(CLOSE, b"\x03\xed")),
    "close code 1006": (1002, encode_frame(CLOSE, b"\x03\xee")),
    "close code 999": (1002, encode_frame(CLOSE, b"\x03\xe7")),
    "close code 5000": (1002, encode_frame(CLOSE, b"\x13\x88")),
    "no UTF-8": (1007, encode_frame(TEXT, b"4\xff\xfe")),
    "half a character": (1007, encode_frame(TEXT, b"4\xe2\x82")),
    "an encoded surrogate": (1007, encode_frame(TEXT, b"4\xed\xa0\x80")),
    "an overlong form": (1007, encode_frame(TEXT, b"4\xc0\xaf")),
    "no UTF-8, in fragments": (
        1007,
        encode_frame(TEXT, b"4\xe2", fin=False) + encode_frame(CONTINUATION, b"\x28\xa1"),
    ),
    "no UTF-8 in a reason": (1007, encode_frame(CLOSE, b"\x03\xe8\xff\xfe")),
}


@pytest.mark.threat("T25", "T26")
@every_reader
async def test_frames_that_break_the_protocol(stand: Stand) -> None:
    peer = stand.peer()
    for name, (code, frames) in BAD_FRAMES.items():
        websocket = await open_websocket(peer)
        await websocket.connection.send(frames)
        assert await closed_by(websocket) == code, name


@pytest.mark.threat("T26")
async def test_a_character_in_two_fragments_is_one(stand: Stand) -> None:
    websocket = await open_websocket(stand.peer())
    await websocket.send("40")
    await websocket.send_frame(TEXT, b'421["echo","\xe2\x82', fin=False)
    await websocket.send_frame(CONTINUATION, b'\xac"]')
    await answered(websocket, '431["€"]')


PATHOLOGICAL = [
    ("Sec-WebSocket-Protocol", "a" + " " * 7_900 + "b"),
    ("Sec-WebSocket-Protocol", "a," * 3_900 + "a"),
    ("Sec-WebSocket-Protocol", "a ," * 2_600),
    ("Sec-WebSocket-Extensions", "x;" * 3_900 + "x"),
    ("Sec-WebSocket-Extensions", 'permessage-deflate; a="' + "\\\\" * 3_800),
    ("Sec-WebSocket-Extensions", "permessage-deflate" + " ;\t" * 2_600),
    ("Sec-WebSocket-Key", "A" * 7_900),
    ("Connection", "Upgrade" + ", " * 3_900),
    ("Connection", "Upgrade" + " " * 7_900 + ","),
    ("Upgrade", "websocket" + " ," * 3_900),
    ("Cookie", "a=" * 3_900),
    ("Origin", "http://" + "a." * 3_900 + ":"),
]


@pytest.mark.threat("T27")
async def test_headers_are_read_in_linear_time(stand: Stand) -> None:
    peer = stand.peer("/deflate/")
    for name, value in PATHOLOGICAL:
        given = [pair for pair in upgrade_headers(KEY) if pair[0] != name]
        head = request_head("GET", peer.target("websocket"), "localhost", [*given, (name, value)])
        async with stand.cpu() as spent:
            for _ in range(3):
                connection = await peer.send(head)
                async with asyncio.timeout(PATIENCE):
                    await connection.reader.read(12)
        assert spent[0] < 0.5, (name, value[:40])


@pytest.mark.threat("T28")
def test_a_close_reason_is_checked_where_it_is_made() -> None:
    too_long = [(1000, "x" * 124), (1000, "€" * 42)]
    for code, reason in [*too_long, (None, "no code"), (999, ""), (1005, ""), (1006, "")]:
        with pytest.raises(ValueError, match=r"close (code|frame)"):
            ServerWebSocket(LIMIT, Limits()).close(code, reason)
    with pytest.raises((AttributeError, TypeError)):  # a number is not taken for a length of memory
        ServerWebSocket(LIMIT, Limits()).close(1000, 123)  # type: ignore[arg-type]
    websocket = ServerWebSocket(LIMIT, Limits())
    websocket.close(1000, "x" * 123)
    assert websocket.data_to_send() == b"\x88\x7d\x03\xe8" + b"x" * 123


# T29

LOOK_ALIKES = [
    "https://evil.example",
    "null",
    "https://good.example.evil",
    "https://evilgood.example",
    "https://good.example@evil.example",
    "https://good.example:8443",
    "http://good.example",
    "http://good.example:8081",
    "https://good.exampleX",
    "https://good.example/",
    "https://sub.good.example",
    "https://good_example",
    "file://",
    "https://good.example https://good.example",
    "*",
]


@pytest.mark.threat("T29")
@pytest.mark.parametrize("path", ["/socket.io/", "/cors/"])
async def test_pages_of_other_origins_are_refused(stand: Stand, path: str) -> None:
    """By polling, by WebSocket, and by an upgrade of a session of ours."""
    peer = stand.peer(path)
    session = await peer.polling()
    for origin in LOOK_ALIKES:
        headers = [("Origin", origin)]
        response = await peer.request("GET", peer.target(), headers)
        assert (response.status, response.json["code"]) == (403, 4), origin
        assert response.header("access-control-allow-origin") is None
        assert (await peer.refused(peer.target("websocket"), headers)).text == "Forbidden"
        assert (await peer.refused(peer.target("websocket", sid=session.sid), headers)).text == "Forbidden"
        assert (await session.get(headers)).status == 403
        assert (await session.post("42", [*headers, ("Content-Type", "text/plain")])).status == 403
    await peer.join(session)


@pytest.mark.threat("T29")
async def test_pages_of_allowed_origins_are_let_in(stand: Stand) -> None:
    peer = stand.peer("/cors/")
    for origin in ("https://good.example", "http://good.example:8080"):
        session = await peer.polling([("Origin", origin)])
        response = await session.post("40", [("Origin", origin), ("Content-Type", "text/plain")])
        assert response.status == 200
        assert response.header("access-control-allow-origin") == origin
        assert "Origin" in str(response.header("vary"))
        await peer.websocket([("Origin", origin)])
    await peer.websocket()  # who is no browser has none


@pytest.mark.threat("T29")
def test_everybody_with_credentials_cannot_be_asked_for() -> None:
    with pytest.raises(ValueError, match="credentials"):
        Cors(origins="*", credentials=True)


# T30: see also tests/serving/test_asgi.py


@pytest.mark.threat("T30")
@pytest.mark.parametrize("shell", ["uvicorn", OWN_WEBSOCKETS])
async def test_websockets_that_vanish_under_asgi(stand: Stand) -> None:
    """Before and after every message, with and without a closing handshake."""
    peer = stand.peer()
    said = ["40", '421["echo"]', '42["pour",3,1000]', "41", "1"]
    for count in range(len(said) + 1):
        for farewell in ("reset", "close", "half"):
            websocket = await peer.open_websocket(peer.target("websocket"))
            for message in said[:count]:
                await websocket.send(message)
            if farewell == "close":
                await websocket.close(1000)
            elif farewell == "half":
                websocket.connection.writer.write_eof()
            else:
                websocket.connection.abort()
