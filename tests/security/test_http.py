"""Threats to Engine.IO over HTTP: rows T01 to T20 of docs/threat-model.md."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import time
from collections import Counter
from urllib.parse import quote

import pytest

from conformance.peer.engineio import PollingSession
from conformance.peer.http import DisconnectedError, Response, request_head
from sio_core import Cookie, Cors
from sio_core.ids import make_id
from sio_core.wire.message import Response as OwnResponse
from tests.security.witness import CALM_PATH, KEPT_FOR_RECOVERY, PATIENCE, Peer, Stand, eventually

pytestmark = pytest.mark.anyio

LIMIT = 1_000_000
"""Bytes of a body: ``max_http_buffer_size`` by default, and announced as ``maxPayload``."""

standalone = pytest.mark.parametrize("shell", ["uvloop", "trio"])
"""What reads HTTP is our own code there. Under ASGI it is the other server's."""


def head_of(session: PollingSession, *headers: tuple[str, str], method: str = "POST") -> bytes:
    return request_head(method, session.target, "localhost", headers)


def chunked(body: bytes, size: int = 65_536) -> bytes:
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


def expect_error(response: Response, *codes: int) -> None:
    """The answer is one of the protocol's errors, in its fixed words."""
    assert response.status in {400, 403}, response
    assert response.json["code"] in codes, response
    assert set(response.json) == {"code", "message"}


# T01 to T06


@pytest.mark.threat("T01")
async def test_a_body_over_the_limit_is_refused_from_its_head(stand: Stand) -> None:
    peer = stand.peer()
    session = await peer.polling()
    response = await peer.exchange(head_of(session, ("Content-Length", str(LIMIT + 1))))
    assert response.status == 413
    await peer.join(session)  # a client's mistake, not the end of its session
    assert await stand.hits("max_http_buffer_size") == 1


@pytest.mark.threat("T01", "T42")
async def test_the_worst_body_within_the_limit_is_cheap(stand: Stand) -> None:
    """As many packets as may be, as long as they may be; and one packet as long as may be, in tiny pieces."""
    peer = stand.peer()
    session = await peer.polling()
    await session.send("40")
    packet = '42["none",' + "1" * 80 + "]"
    body = "\x1e".join([packet] * 10_000)
    assert LIMIT * 0.9 < len(body) < LIMIT
    async with stand.cpu() as spent:
        assert (await session.post(body)).status == 200
    assert spent[0] < 2.0
    large = b"4" + b'2["none","' + b"x" * (LIMIT - 20) + b'"]'
    async with stand.cpu() as spent:
        response = await peer.exchange(
            head_of(session, ("Transfer-Encoding", "chunked")) + chunked(large, 100)
        )
    assert response.status == 200
    assert spent[0] < 2.0


@pytest.mark.threat("T01", "T02")
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"\x1e" * (LIMIT - 1), id="separators"),
        pytest.param(b"\x1e".join([b'42["x"]'] * 10_001), id="too many packets"),
        pytest.param(b"4\x1e" * 400_000, id="messages without content"),
    ],
)
async def test_a_body_of_too_many_packets_ends_the_session_at_once(stand: Stand, body: bytes) -> None:
    peer = stand.peer()
    session = await peer.polling()
    async with stand.cpu() as spent:
        await session.post(body)
    assert spent[0] < 2.0
    expect_error(await session.get(), 1)


@pytest.mark.threat("T03")
async def test_a_post_of_octets_is_answered_and_ends_its_session(stand: Stand) -> None:
    peer = stand.peer()
    sessions = [await peer.polling() for _ in range(50)]
    for session in sessions:
        response = await session.post(b"\x04abc", [("Content-Type", "application/octet-stream")])
        assert response.status == 400
        expect_error(await session.get(), 1)


@pytest.mark.threat("T04")
async def test_the_limit_counts_what_has_come_and_not_what_was_announced(stand: Stand) -> None:
    peer = stand.peer()
    session = await peer.polling()
    connection = await peer.send(head_of(session, ("Transfer-Encoding", "chunked")))
    chunk = b"10000\r\n" + b"4" * 65_536 + b"\r\n"
    assert await peer.flood(connection, chunk, times=1_000), "the server has read what it had refused"
    assert await stand.hits("max_http_buffer_size") >= 1


@pytest.mark.threat("T04")
async def test_a_body_longer_than_its_length_is_no_request(stand: Stand) -> None:
    peer = stand.peer()
    for length in (0, 2):
        session = await peer.polling()
        connection = await peer.send(
            head_of(session, ("Content-Length", str(length))) + b"4040404040\r\n\r\n"
        )
        answers = await peer.until_end(connection)
        assert re.findall(rb"HTTP/1.1 (\d+)", answers)[-1:] == [b"400"]


@pytest.mark.threat("T04")
async def test_a_body_shorter_than_its_length_ends_its_session(stand: Stand) -> None:
    peer = stand.peer()
    session = await peer.polling()
    connection = await peer.send(head_of(session, ("Content-Length", "100")) + b"40")
    await asyncio.sleep(0.05)
    connection.abort()

    async def has_ended() -> bool:
        return (await session.get()).status == 400

    await eventually(has_ended)


@pytest.mark.threat("T05")
@standalone
@pytest.mark.parametrize("frame", [b"\xf1\x80abcd", b"\xc1\x80abcd", b"\x83\x80abcd", b"\x81\x05plain"])
async def test_a_bad_frame_in_the_segment_of_the_handshake(stand: Stand, frame: bytes) -> None:
    peer = stand.peer()
    head = request_head("GET", peer.target("websocket"), "localhost", UPGRADE)
    answer = await peer.until_end(await peer.send(head + frame))
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert answer.endswith(b"\x88\x02\x03\xea")  # a close frame with 1002
    await stand.peer().client("websocket")


UPGRADE = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
]


@pytest.mark.threat("T06")
async def test_a_reset_at_every_step_of_a_handshake(stand: Stand) -> None:
    """Each prefix of a handshake that is accepted and of some that are refused, then RST, with and without answer."""
    peer = stand.peer()
    heads = [
        request_head("GET", peer.target("websocket"), "localhost", UPGRADE) + b"\x81\x82abcd\x55\x52",
        request_head("GET", peer.target("websocket", sid="unknown"), "localhost", UPGRADE),
        request_head("GET", "/elsewhere", "localhost", UPGRADE),
        request_head("GET", peer.target("polling"), "localhost"),
        request_head("POST", peer.target("polling"), "localhost", [("Content-Length", "5")]) + b"12",
    ]
    for head in heads:
        for length in range(1, len(head) + 1, 23):
            (await peer.send(head[:length])).abort()
        for _ in range(5):
            connection = await peer.send(head)
            await asyncio.sleep(0.01)  # in the middle of the answer, or after it
            connection.abort()
    await stand.peer().client("websocket")


# T07 to T12

SOME_ID = "A" * 20

ODD_QUERIES = {
    "no transport": "EIO=4",
    "empty transport": "EIO=4&transport=",
    "__proto__ as transport": "EIO=4&transport=__proto__",
    "constructor as transport": "EIO=4&transport=constructor",
    "transport in capitals": "EIO=4&transport=POLLING",
    "webtransport": "EIO=4&transport=webtransport",
    "__proto__ as sid": "EIO=4&transport=polling&sid=__proto__",
    "constructor as sid": "EIO=4&transport=polling&sid=constructor",
    "toString as sid": "EIO=4&transport=polling&sid=toString",
    "NUL in sid": "EIO=4&transport=polling&sid=%00",
    "no UTF-8": "EIO=4&transport=polling&sid=%ff%fe",
    "half an escape": "EIO=4&transport=polling&sid=%z",
    "a lone percent": "EIO=4&transport=polling&sid=%",
    "CR LF in sid": "EIO=4&transport=polling&sid=a%0d%0aX-Injected:%201",
    "path as sid": "EIO=4&transport=polling&sid=../../etc/passwd",
    "long sid": "EIO=4&transport=polling&sid=" + "a" * 4_000,
    "repeated sid": f"EIO=4&transport=polling&sid={SOME_ID}&sid={SOME_ID}",
    "sid as array": f"EIO=4&transport=polling&sid[]={SOME_ID}&sid={SOME_ID}",
    "many parameters": "EIO=4&transport=polling&sid=x&" + "&".join(f"p{n}=1" for n in range(500)),
    "separators": "EIO=4&transport=polling&sid=x" + "&" * 3_000,
    "no protocol": "transport=polling",
    "protocol 0": "EIO=0&transport=polling",
    "protocol 5": "EIO=5&transport=polling",
    "protocol as text": "EIO=four&transport=polling",
    "protocol twice": "EIO=3&EIO=3&transport=polling",
}


@pytest.mark.threat("T07", "T11")
async def test_odd_queries_are_refused_in_fixed_words(stand: Stand) -> None:
    peer = stand.peer()
    for name, query in ODD_QUERIES.items():
        target = f"/socket.io/?{query}"
        response = await peer.request("GET", target)
        expect_error(response, 0, 1, 3, 5)
        assert response.json["message"] in MESSAGES, name
        response = await peer.request("POST", target, [], b"40")
        expect_error(response, 0, 1, 2, 3, 5)
        response = await peer.refused(target.replace("polling", "websocket"))
        assert response.status in {400, 403}, name
        assert not response.body or response.text in MESSAGES, name
        assert response.header("x-injected") is None


MESSAGES = {
    "Transport unknown",
    "Session ID unknown",
    "Bad handshake method",
    "Bad request",
    "Forbidden",
    "Unsupported protocol version",
}


@pytest.mark.threat("T08")
async def test_unasked_pongs_start_nothing(stand: Stand) -> None:
    peer = stand.peer()
    client = await peer.client("websocket")
    frame = b"\x81\x81\x00\x00\x00\x003"
    connection = client.link.websocket.connection  # type: ignore[attr-defined]
    before = await stand.witness.inspect("census")
    for _ in range(50):
        await connection.send(frame * 1_000)
    assert await client.call("echo", "alive") == ["alive"]
    after = await stand.witness.inspect("census")
    assert after["tasks"] <= before["tasks"]
    assert after["objects"].get("Session") == before["objects"].get("Session")


@pytest.mark.threat("T08")
@pytest.mark.parametrize("transport", ["polling", "websocket"])
async def test_a_ping_of_the_client_ends_its_session(stand: Stand, transport: str) -> None:
    peer = stand.peer(CALM_PATH)
    link = await peer.link(transport)  # type: ignore[arg-type]
    await link.send("2")
    await peer.until_ended(link)


@pytest.mark.threat("T08")
async def test_no_heartbeat_begins_before_the_handshake_is_allowed(stand: Stand) -> None:
    peer = stand.peer("/refusing/")
    for _ in range(50):
        expect_error(await peer.request("GET", peer.target("polling")), 4)
    await peer.refused(peer.target("websocket"))
    assert (await stand.witness.inspect("census"))["objects"].get("Session") == 1  # the witness's
    await peer.polling(allow="1")


@pytest.mark.threat("T09")
async def test_mixed_protocols_and_transports_of_one_session(stand: Stand) -> None:
    peer = stand.peer()
    session = await peer.polling()
    other = session.target.replace("EIO=4", "EIO=3")
    expect_error(await peer.request("GET", other), 3)
    expect_error(await peer.request("GET", session.target.replace("polling", "websocket")), 3)
    response = await peer.refused(session.target.replace("EIO=4", "EIO=3").replace("polling", "websocket"))
    assert response.status == 400
    upgraded = await peer.upgrade(session)
    await upgraded.send("40")
    expect_error(await session.get(), 3)
    expect_error(await session.post("42"), 3)
    second = await peer.open_websocket(peer.target("websocket", sid=session.sid))
    async with asyncio.timeout(PATIENCE):
        await second.wait_closed()
    assert str(await upgraded.receive()).startswith("40")


@pytest.mark.threat("T09")
async def test_an_upgrade_that_does_not_happen_leaves_polling_usable(stand: Stand) -> None:
    """It never goes on; it begins with the wrong packet; it is one of two."""
    peer = stand.peer()
    session = await peer.polling()
    silent = await peer.probe(session)
    rival = await peer.open_websocket(peer.target("websocket", sid=session.sid))
    async with asyncio.timeout(PATIENCE):
        await rival.wait_closed()
    async with asyncio.timeout(PATIENCE):
        await silent.wait_closed()
    wrong = await peer.open_websocket(peer.target("websocket", sid=session.sid))
    await wrong.send('42["ran"]')
    async with asyncio.timeout(PATIENCE):
        await wrong.wait_closed()
    await peer.join(session)
    assert [entry for entry in await stand.happened() if entry[0] == "ran"] == []


@pytest.mark.threat("T10")
async def test_two_gets_at_once_end_the_session(stand: Stand) -> None:
    peer = stand.peer(CALM_PATH)  # where no ping comes between
    session = await peer.polling()
    first = await session.begin_poll()
    await peer.settle()
    assert (await session.get()).status == 400
    async with asyncio.timeout(PATIENCE):
        assert (await first.read_response()).text == "1"
    expect_error(await session.get(), 1)


@pytest.mark.threat("T10")
async def test_two_posts_at_once_end_the_session(stand: Stand) -> None:
    peer = stand.peer(CALM_PATH)  # where no ping comes between
    session = await peer.polling()
    await peer.send(head_of(session, ("Content-Length", "10")) + b"40")
    await peer.settle()
    assert (await session.post("40")).status == 400
    expect_error(await session.get(), 1)


@pytest.mark.threat("T11")
def test_ids_cannot_be_guessed() -> None:
    """20 characters of 64, of the system's secure source: 120 bits. Every place takes every character alike."""
    ids = [make_id() for _ in range(20_000)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{20}", one) for one in ids)
    expected = len(ids) / 64
    for place in range(20):
        counts = Counter(one[place] for one in ids)
        assert len(counts) == 64
        # 63 degrees of freedom: above 150 once in a hundred million places.
        assert sum((count - expected) ** 2 / expected for count in counts.values()) < 150


@pytest.mark.threat("T11")
async def test_the_ids_of_session_socket_and_recovery_differ(stand: Stand) -> None:
    peer = stand.peer("/recovery/")
    stand.may_keep = KEPT_FOR_RECOVERY
    session = await peer.websocket()
    await session.send("40")
    async with asyncio.timeout(PATIENCE):
        while not str(packet := await session.receive()).startswith("40"):
            pass
    given = json.loads(str(packet)[2:])
    assert len({session.sid, given["sid"], given["pid"]}) == 3
    assert session.sid not in "".join(await stand.witness.inspect("lines"))


@pytest.mark.threat("T12")
async def test_hoarded_sessions_are_capped_and_run_out(stand: Stand) -> None:
    peer = stand.peer("/capped/")
    statuses = Counter[int]()
    for _ in range(40):
        response = await peer.open()
        statuses[response.status] += 1
        if response.status != 200:
            assert response.header("retry-after")
    assert statuses == {200: 16, 503: 24}
    refused = await peer.refused(peer.target("websocket"))
    assert refused.status == 503

    async def is_let_in() -> bool:
        return (await peer.open()).status == 200

    started = time.monotonic()
    await eventually(is_let_in)  # after the time to connect, and the time to fetch the close packet
    assert time.monotonic() - started < 4.5, "they were kept until their heartbeat was missed"
    assert await stand.hits("unconnected_sessions", "/capped/") >= 24


@pytest.mark.threat("T12")
async def test_one_address_gets_only_its_share_of_sessions(stand: Stand) -> None:
    peer = stand.peer("/capped/")
    for _ in range(24):
        await peer.client("websocket")
    response = await peer.request("GET", peer.target())
    assert response.status == 429
    assert response.header("retry-after")
    assert (await peer.refused(peer.target("websocket"))).status == 429
    await peer.leave()

    async def is_let_in() -> bool:
        return (await peer.open()).status == 200

    await eventually(is_let_in)


# T13 to T15


async def drip(peer: Peer, head: bytes, rest: bytes) -> bytes:
    """Send the head at once and then a byte now and then; return what came when the server has had enough."""
    connection = await peer.send(head)
    for position in range(len(rest)):
        try:
            await connection.send(rest[position : position + 1])
            async with asyncio.timeout(0.2):
                return await connection.read_to_end()
        except TimeoutError:
            continue
        except DisconnectedError:
            break
    return await peer.until_end(connection)


@pytest.mark.threat("T13")
@standalone
async def test_dripped_heads_are_given_up(stand: Stand) -> None:
    peer = stand.peer()
    rest = b"X-Slow: " + b"a" * 60
    answers = await asyncio.gather(*(drip(peer, b"GET /socket.io/ HTTP/1.1\r\n", rest) for _ in range(60)))
    assert {answer.partition(b"\r\n")[0] for answer in answers} <= {b"HTTP/1.1 408 Request Timeout", b""}
    assert any(answers)


@pytest.mark.threat("T13")
async def test_dripped_bodies_are_given_up(stand: Stand) -> None:
    peer = stand.peer()
    sessions = [await peer.polling() for _ in range(20)]
    for session in sessions:
        await session.send("40")
    heads = [head_of(session, ("Content-Length", "100")) for session in sessions]
    answers = await asyncio.gather(*(drip(peer, head, b"4" * 90) for head in heads))
    assert {answer.partition(b"\r\n")[0] for answer in answers} <= {b"HTTP/1.1 408 Request Timeout", b""}
    for session in sessions:
        expect_error(await session.get(), 1)


@pytest.mark.threat("T13")
async def test_idle_connections_are_closed(stand: Stand) -> None:
    """Those that never say anything (standalone), and those that have had their answer."""
    peer = stand.peer()
    silent = [await peer.send(b"") for _ in range(20)] if stand.shell != "uvicorn" else []
    served = [await peer.send(request_head("GET", "/nothing", "localhost")) for _ in range(20)]
    for connection in served:
        await connection.read_response()
    for connection in silent + served:
        await peer.until_end(connection)


@pytest.mark.threat("T13")
@standalone
async def test_an_answer_that_is_not_taken_is_given_up(stand: Stand) -> None:
    peer = stand.peer()
    request = request_head("GET", "/socket.io/socket.io.js.map", "localhost")
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        reader.connect(("127.0.0.1", peer.server.port))
        reader.sendall(request * 16)  # megabytes, more than the system takes for a peer

        async def is_given_up() -> bool:
            return await stand.hits("write_stall_time") > 0

        await eventually(is_given_up)


HEADER_BOMBS = {
    "ten thousand headers": b"".join(b"X-H%d: 1\r\n" % number for number in range(10_000)),
    "one header ten thousand times": b"X-Same: 1\r\n" * 10_000,
    "one header too many": b"X-Same: 1\r\n" * 100,
    "a long header": b"X-Long: " + b"a" * 9_000 + b"\r\n",
    "an endless header": b"X-Long: " + b"a" * 200_000,
    "long together": b"".join(b"X-H%d: %s\r\n" % (number, b"a" * 4_000) for number in range(5)),
    "cookies": b"Cookie: " + b"a=1; " * 4_000 + b"\r\n",
    "many cookie lines": b"Cookie: a=1\r\n" * 200,
}


@pytest.mark.threat("T14")
@standalone
@pytest.mark.parametrize("name", HEADER_BOMBS)
async def test_header_bombs(stand: Stand, name: str) -> None:
    peer = stand.peer()
    head = b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\n"
    async with stand.cpu() as spent:
        connection = await peer.send(head + HEADER_BOMBS[name] + b"\r\n")
        assert (await connection.read_response()).status == 431
        await peer.until_end(connection)
    assert spent[0] < 1.0


@pytest.mark.threat("T14")
@standalone
async def test_as_many_headers_as_are_allowed(stand: Stand) -> None:
    """Just below the bounds, and for a long time: on one connection that is kept."""
    peer = stand.peer()
    target = b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n"
    connection = await peer.connection()
    for _ in range(100):
        await connection.send(target + b"X-Same: " + b"a" * 140 + b"\r\n" + b"X-Same: b\r\n" * 98 + b"\r\n")
        assert (await connection.read_response()).status == 404
    response = await peer.exchange(b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert response.status == 414


POST = b"POST /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n"

AMBIGUOUS = {
    "length and chunks": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 4\r\nContent-Length: 5\r\n\r\n4040",
    "two equal lengths": b"Content-Length: 4\r\nContent-Length: 4\r\n\r\n4040",
    "a list of lengths": b"Content-Length: 4, 4\r\n\r\n4040",
    "a signed length": b"Content-Length: +4\r\n\r\n4040",
    "a negative length": b"Content-Length: -4\r\n\r\n4040",
    "a length with an underscore": b"Content-Length: 1_0\r\n\r\n4040404040",
    "a length in other digits": "Content-Length: ٤\r\n\r\n4040".encode(),
    "a hexadecimal length": b"Content-Length: 0x4\r\n\r\n4040",
    "a length beyond numbers": b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n",
    "an empty length": b"Content-Length:\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "chunked in two lines": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "another coding": b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "a hidden coding": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded header": b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "a bare LF": b"X: 1\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare CR": b"X: 1\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "NUL in a value": b"X: 1\x00\r\n\r\n",
    "a header without a name": b": 1\r\n\r\n",
    "a header without a colon": b"Transfer-Encoding\r\n\r\n",
    "an odd name": b"Trans fer: 1\r\n\r\n",
    "a signed chunk size": b"Transfer-Encoding: chunked\r\n\r\n+2\r\n40\r\n0\r\n\r\n",
    "a hexadecimal prefix": b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n40\r\n0\r\n\r\n",
    "an underscore in a chunk size": b"Transfer-Encoding: chunked\r\n\r\n0_2\r\n40\r\n0\r\n\r\n",
    "a chunk size beyond numbers": b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 17 + b"\r\n",
    "a chunk that does not end": b"Transfer-Encoding: chunked\r\n\r\n2\r\n40xx0\r\n\r\n",
    "a chunk size that ends in LF": b"Transfer-Encoding: chunked\r\n\r\n2\n40\r\n0\r\n\r\n",
    "endless chunk extensions": b"Transfer-Encoding: chunked\r\n\r\n2;" + b"a" * 20_000 + b"\r\n",
    "endless trailers": b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: 1\r\n" * 5_000 + b"\r\n",
}


@pytest.mark.threat("T15", "T15b")
@standalone
async def test_requests_that_could_be_smuggled(stand: Stand) -> None:
    """Each is refused, its connection closed, and what lies behind it is never taken for a request."""
    peer = stand.peer()
    for name, rest in AMBIGUOUS.items():
        answer = await peer.until_end(await peer.send(POST + rest + SMUGGLED))
        statuses = re.findall(rb"HTTP/1\.1 (\d+)", answer)
        # A refused POST may have its own answer before the rest of its body turns out to be bad.
        assert statuses, name
        assert set(statuses) <= {b"400", b"413", b"431", b"501"}, (name, answer)
        assert b"404" not in statuses, name


@pytest.mark.threat("T15")
@standalone
async def test_chunks_in_http_1_0(stand: Stand) -> None:
    peer = stand.peer()
    request = (
        POST.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED
    )
    answer = await peer.until_end(await peer.send(request))
    assert re.findall(rb"HTTP/1\.1 (\d+)", answer) == [b"400"]


@pytest.mark.threat("T15b")
@pytest.mark.parametrize(
    "packet",
    ["2١[]", '2²["ran"]', '2 5["ran"]', '2+5["ran"]', '21_0["ran"]', '2' + "9" * 17 + '["ran"]',
     '5１-["ran",{"_placeholder":true,"num":0}]', '51_0-["ran"]', '5 1-["ran"]', "5" + "1" * 5_000 + "-[]"],
)  # fmt: skip
async def test_numbers_are_ascii_digits_and_few(stand: Stand, packet: str) -> None:
    peer = stand.peer(CALM_PATH)
    client = await peer.client("websocket")
    await client.send("4" + packet)
    await peer.until_ended(client.link)
    assert [entry for entry in await stand.happened() if entry[0] == "ran"] == []


# T16 to T20

INJECTION = "%0d%0aX-Injected:%201%0d%0a%0d%0a<script>"


@pytest.mark.threat("T16")
async def test_nothing_of_a_request_becomes_a_header(stand: Stand) -> None:
    peer = stand.peer("/cors/")
    for target in (f"/cors/?EIO=4&transport={INJECTION}", f"/cors/?EIO=4&transport=polling&sid={INJECTION}"):
        for method in ("GET", "POST", "OPTIONS"):
            for origin in (f"https://good.example{INJECTION}", "https://evil.example", "null", "a\tb", "é"):
                headers = [("Origin", origin), ("Access-Control-Request-Headers", INJECTION)]
                body = b"40" if method == "POST" else None
                response = await peer.request(method, target, headers, body)
                assert response.status in {204, 400, 403}
                assert response.header("x-injected") is None
                assert response.header("access-control-allow-origin") is None
                assert b"<script>" not in response.body


@pytest.mark.threat("T16")
def test_options_cannot_carry_a_second_header() -> None:
    for options in ({"path": "/; Domain=evil"}, {"domain": "a\r\nX: 1"}, {"name": "a b"}, {"expires": "x;y"}):
        with pytest.raises(ValueError, match="cookie"):
            Cookie(**options)  # type: ignore[arg-type]
    for origin in ("https://a\r\nX-Injected: 1", "https://a\n", "a\0b"):
        with pytest.raises(ValueError):
            Cors(origins=origin)
    for value in ("a\r\nX-Injected: 1", "a\0", "a\nb"):
        with pytest.raises(ValueError):
            OwnResponse(200, [("X-Own", value)], b"")


@pytest.mark.threat("T17")
async def test_a_log_line_is_one_line_without_control_characters(stand: Stand) -> None:
    peer = stand.peer()
    nasty = "\x1b[31mroot\r\nERROR sio_core forged\x00"
    await peer.request("GET", f"/{quote(nasty)}?{quote(nasty)}")
    await peer.request("GET", f"/socket.io/?EIO=4&transport={quote(nasty)}")
    client = await peer.client("websocket")
    await client.call("echo", nasty)
    await client.emit(nasty, nasty)
    await client.send('40/dynamic-"\x1b[31m\r\n,')
    await client.receive()  # the refusal
    await client.call("echo")
    await client.send("4" + nasty)
    await peer.until_ended(client.link)
    for line in await stand.witness.inspect("lines"):
        assert not re.search(r"[\x00-\x1f\x7f]", line), line
        assert len(line) < 400


ODD_HOSTS = [
    "localhost/socket.io",
    "localhost?x",
    "user@localhost",
    "good.example, localhost",
    "localhost:80:80",
    "[::1",
    "local host",
    "local\\host",
    "localhost:port",
    '"localhost"',
]


@pytest.mark.threat("T18")
@standalone
async def test_odd_hosts_are_refused(stand: Stand) -> None:
    peer = stand.peer()
    for host in ODD_HOSTS:
        response = await peer.request("GET", peer.target(), [("Host", host), ("Origin", f"http://{host}")])
        assert response.status == 400, host
        assert not response.body
    target = peer.target().encode()
    for head in (b"GET http://evil.example%s HTTP/1.1\r\nHost: localhost\r\n\r\n" % target,
                 b"GET %s HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n" % target,
                 b"GET %s HTTP/1.1\r\n\r\n" % target):  # fmt: skip
        assert (await peer.exchange(head)).status == 400


@pytest.mark.threat("T18")
async def test_an_origin_counts_as_the_same_only_if_host_and_port_are(stand: Stand) -> None:
    peer = stand.peer()
    for host, origin, allowed in [
        ("chat.example", "https://chat.example", True),
        ("chat.example:8080", "http://chat.example:8080", True),
        ("chat.example", "http://CHAT.example:80", True),
        ("[::1]:8080", "http://[::1]:8080", True),
        ("chat.example:8080", "http://chat.example", False),
        ("chat.example", "http://chat.example.evil", False),
        ("chat.example", "http://chat.example@evil", False),
        ("chat.example", "http://evil/chat.example", False),
        ("chat.example", "http://chat.example:80:80", False),
        ("chat.example", "http://chat.example http://evil", False),
        ("chat.example", "//chat.example", False),
        ("chat.example", "null", False),
    ]:
        response = await peer.request("GET", peer.target(), [("Host", host), ("Origin", origin)])
        assert response.status == (200 if allowed else 403), (host, origin)
        if allowed:
            sid = json.loads(response.text[1:])["sid"]
            await peer.request("POST", peer.target(sid=sid), [("Content-Type", "text/plain")], b"1")


@pytest.mark.threat("T18")
async def test_what_a_proxy_would_say_is_not_believed(stand: Stand) -> None:
    peer = stand.peer()
    headers = [
        ("Host", "chat.example"),
        ("Origin", "https://evil.example"),
        ("X-Forwarded-Host", "evil.example"),
    ]
    expect_error(await peer.request("GET", peer.target(), headers), 4)
    headers += [("X-Forwarded-For", "8.8.8.8"), ("Forwarded", "host=evil.example")]
    expect_error(await peer.request("GET", peer.target(), headers), 4)


TRAVERSALS = [
    "/../pyproject.toml",
    "/../../../../../../etc/passwd",
    "/%2e%2e/%2e%2e/%2e%2e/%2e%2e/etc/passwd",
    "/..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "/..\\..\\app.py",
    "/..%5c..%5capp.py",
    "//etc/passwd",
    "/%2fetc/passwd",
    "/./../app.py",
    "/%252e%252e/app.py",
    "/index.html%00.js",
    "/%00",
    "/" + "a" * 5_000,
    "/../static_twin/index.html",
    "/socket.io/../../etc/passwd",
    "/socket.io/package.json",
    "/socket.io/%2e%2e/standalone.py",
    "/socket.io/socket.io.js/../package.json",
    "/socket.io/socket.io.js%00",
]


@pytest.mark.threat("T19")
async def test_no_file_but_those_that_are_served(stand: Stand) -> None:
    peer = stand.peer()
    for path in TRAVERSALS:
        response = await peer.request("GET", path)
        assert response.status in {400, 404}, path
        assert b"root:" not in response.body
        assert b"import" not in response.body
        assert b'"name"' not in response.body


@pytest.mark.threat("T19")
async def test_ranges_are_not_taken_apart(stand: Stand) -> None:
    peer = stand.peer()
    ranges = "bytes=" + ",".join(f"{n}-" for n in range(1_500))
    whole = await peer.request("GET", "/socket.io/socket.io.js")
    async with stand.cpu() as spent:
        response = await peer.request("GET", "/socket.io/socket.io.js", [("Range", ranges)])
    assert response.status == 200
    assert response.body == whole.body
    assert spent[0] < 1.0


@pytest.mark.threat("T20")
async def test_a_callback_of_jsonp_is_a_number(stand: Stand) -> None:
    peer = stand.peer("/eio3/")
    for index in ("<script>alert(1)</script>7", "');alert(1)//7", "7\u2028", "alert`7`"):
        for protocol in ("3", "4"):
            response = await peer.request("GET", peer.target(eio=protocol, j=index))
            assert response.status == 200
            digits = re.sub(r"[^0-9]", "", index)
            assert response.text.startswith(f'___eio[{digits}]("')
            assert "alert" not in response.text
            assert "<" not in response.text
            assert response.header("content-type") == "text/plain; charset=UTF-8"
            sid = re.findall(r'sid\\":\\"([^\\]+)', response.text)[0]
            body = b"d=1" if protocol == "4" else b"d=1%3A1"
            form = [("Content-Type", "application/x-www-form-urlencoded")]
            await peer.request("POST", peer.target(eio=protocol, sid=sid, j="0"), form, body)
