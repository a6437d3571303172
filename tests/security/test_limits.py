"""Both sides of every bound of connections, HTTP and WebSocket: lived with for long, and passed once."""

from __future__ import annotations

import resource
import ssl
from contextlib import suppress
from typing import Any

import anyio
import pytest
import trustme
from anyio.streams.tls import TLSStream

from sio_core import Limits
from sio_core.serving.listeners import open_files_bound
from tests.security.place import serving
from tests.security.rawclient import ENDS, Raw, frame
from tests.security.timewarp import ASYNCIO, TRIO, pass_time

pytestmark = pytest.mark.anyio

REQUEST = "GET /x HTTP/1.1\r\nHost: localhost\r\n\r\n"
TIMES = 10


@pytest.fixture(params=[pytest.param(ASYNCIO, id="asyncio"), pytest.param(TRIO, id="trio")])
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    """Our own listeners."""
    return request.param


@pytest.fixture
def shell(anyio_backend: Any) -> str:
    name: str = anyio_backend[0]
    return name


def request(*headers: str, target: str = "/x") -> str:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: localhost", *headers, "", ""])


async def answers(raw: Raw, data: str, count: int = 1) -> list[int]:
    await raw.send(data)
    return [(await raw.response()).status for _ in range(count)]


# Heads of requests


@pytest.mark.limit("header_line")
async def test_the_length_of_a_line(shell: str) -> None:
    async with serving(shell, Limits(header_line=200)) as place:
        raw = await place.raw()
        longest = request("X: " + "x" * 197, target="/" + "x" * (200 - len("GET / HTTP/1.1")))
        for _ in range(TIMES * 10):
            assert await answers(raw, longest) == [404]
        assert place.hits == {}
        for data, status in (
            (request("X: " + "x" * 198), 431),
            (request(target="/" + "x" * (201 - len("GET / HTTP/1.1"))), 414),
            (request()[:-2] + "X: " + "x" * 250, 431),  # its end need not come
            ("GET /" + "x" * 250, 414),
        ):
            raw = await place.raw()
            assert await answers(raw, data) == [status]
            assert await raw.ended() == b""
            assert place.hits == {"header_line": 1}


@pytest.mark.limit("header_count")
async def test_the_number_of_headers(shell: str) -> None:
    async with serving(shell, Limits(header_count=5)) as place:
        raw = await place.raw()
        for _ in range(TIMES * 10):
            assert await answers(raw, request(*["X: x"] * 4)) == [404]
        assert place.hits == {}
        assert await answers(raw, request(*["X: x"] * 5)) == [431]
        assert await raw.ended() == b""
        assert place.hits == {"header_count": 1}


@pytest.mark.limit("header_bytes")
async def test_the_bytes_of_all_headers(shell: str) -> None:
    async with serving(shell, Limits(header_bytes=300)) as place:
        raw = await place.raw()
        rest = 300 - len("Host: localhost\r\n") - 2 * len("X: \r\n")
        for _ in range(TIMES * 10):
            assert await answers(raw, request("X: " + "x" * 100, "X: " + "x" * (rest - 100))) == [404]
        assert place.hits == {}
        assert await answers(raw, request("X: " + "x" * 100, "X: " + "x" * (rest - 99))) == [431]
        assert await raw.ended() == b""
        raw = await place.raw()
        assert await answers(raw, request("X: " + "x" * 200)[:-2] + "X: " + "x" * 200) == [431]
        assert place.hits == {"header_bytes": 2}


@pytest.mark.limit("header_time")
async def test_the_time_of_a_head(shell: str) -> None:
    async with serving(shell, Limits(header_time=10.0)) as place:
        raw = await place.raw()
        for _ in range(TIMES):
            await raw.send(REQUEST[:10])
            await pass_time(5)
            await raw.send(REQUEST[10:20])
            await pass_time(4.5)
            assert await answers(raw, REQUEST[20:]) == [404]
        assert place.hits == {}
        await raw.send(REQUEST[:10])
        await pass_time(9)
        await raw.send(REQUEST[10:20])  # no new time begins with it
        await pass_time(2)
        assert (await raw.response()).status == 408
        assert await raw.ended() == b""
        assert place.hits == {"header_time": 1}
        silent = await place.raw()
        await pass_time(11)
        assert await silent.ended() == b""
        assert place.hits == {"header_time": 1}


@pytest.mark.limit("keep_alive_time")
async def test_the_time_between_requests(shell: str) -> None:
    async with serving(shell, Limits(keep_alive_time=5.0)) as place:
        raw = await place.raw()
        for _ in range(TIMES):
            assert await answers(raw, REQUEST) == [404]
            await pass_time(4.5)
        assert place.hits == {}
        assert await answers(raw, REQUEST) == [404]
        await pass_time(5.5)
        assert await raw.ended() == b""
        assert place.hits == {"keep_alive_time": 1}


@pytest.mark.limit("pipelined_requests")
async def test_the_number_of_unanswered_requests(shell: str) -> None:
    async with serving(shell, Limits(pipelined_requests=5)) as place:
        raw = await place.raw()
        for _ in range(TIMES * 10):
            assert await answers(raw, REQUEST * 4, 4) == [404] * 4
        assert place.hits == {}
        assert await answers(raw, REQUEST * 12, 12) == [404] * 12  # it is only read more slowly
        assert place.hits["pipelined_requests"] >= 1


# Connections


@pytest.mark.limit("connections")
async def test_the_number_of_connections(shell: str) -> None:
    async with serving(shell, Limits(connections=3)) as place:
        for _ in range(TIMES * 2):
            three = [await place.raw() for _ in range(3)]
            for raw in three:
                assert await answers(raw, REQUEST) == [404]
                await raw.close()
            await place.until(lambda: place.io.engine.connections == 0)
        assert place.hits == {}
        three = [await place.raw() for _ in range(3)]
        assert [await answers(raw, REQUEST) for raw in three] == [[404]] * 3
        one_too_many = await place.raw()
        response = await one_too_many.response()
        assert (response.status, response.headers["retry-after"]) == (503, "10")
        assert await one_too_many.ended() == b""
        assert place.hits == {"connections": 1}
        assert [await answers(raw, REQUEST) for raw in three] == [[404]] * 3
        await three[0].close()
        await place.until(lambda: place.io.engine.connections == 2)
        assert await answers(await place.raw(), REQUEST) == [404]


async def test_files_are_left_for_everything_else(shell: str) -> None:
    most = open_files_bound()
    for connections in (None, 1 << 40):
        async with serving(shell, Limits(connections=connections)) as place:
            assert place.site is not None
            assert place.site.connections_bound == (most if most is not None else connections)


def test_how_many_files_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    for files, bound in ((1_000, 800), (256, 130), (100, 50), (1, 1), (resource.RLIM_INFINITY, None)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert open_files_bound() == bound


@pytest.mark.limit("connections_per_address")
async def test_the_number_of_connections_of_an_address(shell: str) -> None:
    async with serving(shell, Limits(connections_per_address=2), trusted_proxies=["127.0.0.9"]) as place:
        for _ in range(TIMES * 2):
            two = [await place.raw() for _ in range(2)]
            for raw in two:
                assert await answers(raw, REQUEST) == [404]
                await raw.close()
            await place.until(lambda: place.io.engine.connections == 0)
        assert place.hits == {}
        two = [await place.raw() for _ in range(2)]
        assert [await answers(raw, REQUEST) for raw in two] == [[404]] * 2
        one_too_many = await place.raw()
        assert (await one_too_many.response()).status == 429
        assert await one_too_many.ended() == b""
        assert place.hits == {"connections_per_address": 1}
        assert await answers(await place.raw("127.0.0.2"), REQUEST) == [404]
        for _ in range(5):  # all clients of a proxy have its address
            assert await answers(await place.raw("127.0.0.9"), REQUEST) == [404]
        assert place.hits == {}


@pytest.mark.limit("tls_handshake_time")
async def test_the_time_of_a_tls_handshake(shell: str) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    async with serving(shell, Limits(tls_handshake_time=10.0, connections=3), context=context) as place:
        for _ in range(TIMES):
            stream = await anyio.connect_tcp("127.0.0.1", place.port)
            await place.until(lambda: place.io.engine.connections == 1)
            await pass_time(9)
            secure = await TLSStream.wrap(
                stream, hostname="127.0.0.1", ssl_context=trusting, standard_compatible=False
            )
            await secure.send(REQUEST.encode())
            assert (await secure.receive()).startswith(b"HTTP/1.1 404")
            await secure.aclose()
            await place.until(lambda: place.io.engine.connections == 0)
        assert place.hits == {}
        silent = [await place.raw() for _ in range(3)]
        await place.until(lambda: place.io.engine.connections == 3)
        assert await (await place.raw()).ended() == b""  # each is a connection before it has said anything
        assert place.hits == {"connections": 1}
        await pass_time(11)
        for raw in silent:
            assert await raw.ended() == b""
        await place.until(lambda: place.io.engine.connections == 0)
        assert place.hits == {"tls_handshake_time": 3}


# WebSockets


@pytest.mark.limit("write_stall_time")
async def test_the_time_in_which_a_peer_takes_nothing(shell: str) -> None:
    async with serving(shell, Limits(write_stall_time=30.0, outbox_bytes=10**9)) as place:
        raw = await place.member()
        socket = place.socket(raw)
        for _ in range(50):
            socket.emit("much", "x" * 1_000_000)
        await place.until(lambda: socket.conn.blocked)
        for _ in range(TIMES):
            await pass_time(25)
            for _ in range(32):
                await raw.stream.receive(65_536)
            await anyio.sleep(0.02)
        assert place.hits == {}
        assert socket.connected
        await pass_time(61)  # from one look to the next nothing was taken
        await place.until(lambda: not socket.connected)
        assert place.hits == {"write_stall_time": 1}
        with suppress(*ENDS):
            while await raw.stream.receive():
                pass


@pytest.mark.limit("close_time")
async def test_the_time_to_answer_a_close_frame(shell: str) -> None:
    async with serving(shell, Limits(close_time=5.0)) as place:
        for _ in range(TIMES):
            raw = await place.member()
            place.socket(raw).disconnect(True)
            assert await raw.text() == "41"
            assert await raw.text() == "close 1005"
            await pass_time(4.5)
            assert await raw.silent()
            await raw.send(frame(b"", opcode=8))
            assert await raw.ended() == b""
        assert place.hits == {}
        raw = await place.member()
        place.socket(raw).disconnect(True)
        assert await raw.closed() == "close 1005"
        await pass_time(5.5)
        assert await raw.ended() == b""
        assert place.hits == {"close_time": 1}


@pytest.mark.limit("fragments")
async def test_the_number_of_fragments(shell: str) -> None:
    async with serving(shell, Limits(fragments=8)) as place:
        place.io.on("echo", lambda socket, *args: args)
        raw = await place.member()
        message = '421["echo"]'
        eight = [message[:3], *message[3:9], message[9:]]
        for _ in range(TIMES * 10):
            await fragmented(raw, eight)
            assert await raw.text() == "431[]"
        assert place.hits == {}
        await fragmented(raw, [*message[:8], message[8:]])
        assert await raw.closed() == "close 1008"
        assert place.io.engine.clients == {}
        assert place.hits == {"fragments": 1}


async def fragmented(raw: Raw, parts: list[str]) -> None:
    first, *rest = parts
    frames = [frame(first, fin=False)]
    frames += [continuation(part, last=False) for part in rest[:-1]]
    await raw.send(b"".join([*frames, continuation(rest[-1], last=True)]))


def continuation(part: str, last: bool) -> bytes:
    data = bytearray(frame(part, fin=last))
    data[0] &= 0xF0
    return bytes(data)


@pytest.mark.limit("fragment_time")
async def test_the_time_of_a_fragmented_message(shell: str) -> None:
    async with serving(shell, Limits(fragment_time=60.0)) as place:
        place.io.on("echo", lambda socket, *args: args)
        raw = await place.member()
        for _ in range(TIMES):
            await raw.send(frame("421", fin=False))
            await pass_time(59)
            await raw.send(continuation('["echo"]', last=True))
            assert await raw.text() == "431[]"
        assert place.hits == {}
        await raw.send(frame("421", fin=False))
        # In longer steps the server would stand still, and give that time back.
        await pass_time(50, step=0.5)
        await raw.send(continuation("[", last=False))
        await pass_time(11, step=0.5)
        assert await raw.closed() == "close 1008"
        assert place.io.engine.clients == {}
        assert place.hits == {"fragment_time": 1}


@pytest.mark.limit("pending_pongs")
async def test_the_number_of_pongs(shell: str) -> None:
    async with serving(shell, Limits(pending_pongs=4)) as place:
        raw = await place.websocket()
        for number in range(TIMES * 10):
            await raw.send(frame(b"%d" % number, opcode=9) * 4)
            assert await pongs(raw, 4) == [b"%d" % number] * 4
        assert place.hits == {}
        await raw.send(b"".join([frame(b"%d" % number, opcode=9) for number in range(10)]))
        assert await pongs(raw, 4) == [b"0", b"1", b"2", b"9"]
        assert await raw.silent()
        assert place.hits == {"pending_pongs": 1}


async def pongs(raw: Raw, count: int) -> list[bytes]:
    payloads = []
    for _ in range(count):
        first, length = await raw._take(2)
        assert first == 0x8A
        payloads.append(await raw._take(length))
    return payloads
