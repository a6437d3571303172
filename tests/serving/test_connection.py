"""One TCP connection as bytes in and bytes out, without a network; the time is a number."""

from __future__ import annotations

from typing import Any

import pytest

from sio_core.engineio.engine import Pending
from sio_core.limits import Limits
from sio_core.serving.connection import Connection, Driver
from sio_core.serving.site import Resource, Siblings, Site
from sio_core.wire.message import Request, Response
from tests.engineio.world import World

POLLING = "/engine.io/?EIO=4&transport=polling"
WEBSOCKET = "/engine.io/?EIO=4&transport=websocket"
HIGH_WATER = 65_536


class Page(Resource):
    """A page of many bytes."""

    def respond(self, request: Request) -> Response | None:
        return Response(200, [], b"x" * 100_000) if request.path == "/page" else None


class Others(Siblings):
    """Whoever asks for ``/elsewhere`` asks for process 7."""

    def owner(self, head: bytes) -> int:
        return 7 if head.startswith(b"GET /elsewhere") else -1

    def hand_over(self, descriptor: int, owner: int, unread: bytes) -> None:
        raise AssertionError("there is no descriptor here")


class Peer(Driver):
    """The other end of a connection, and the shell between: what is not taken piles up as in a transport."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.buffer = b""
        self.reads = True
        self.received = b""
        self.pending: list[Pending] = []
        self.due = False
        site = self.site = Site([world.engine], world.options.limits, world.deadlines, [], [Page()])
        self.connection = Connection(site, self, world.now, address="192.0.2.1", port=5, secure=False)

    def connect_again(self, keep_next: bool = False) -> None:
        """Be another connection, of a process that has siblings."""
        self.site.siblings = Others()
        self.connection = Connection(
            self.site, self, self.world.now, address="192.0.2.1", port=5, secure=False, keep_next=keep_next
        )

    # What the connection calls

    def output_ready(self) -> None:
        self.due = True

    def flush(self) -> None:
        self.write(self.connection.data_to_send())

    def wait_for(self, pending: Pending) -> None:
        self.pending.append(pending)

    def unsent(self) -> int:
        return len(self.buffer)

    # What the tests call

    def write(self, data: bytes) -> None:
        self.buffer += data
        if self.reads:
            self.take()
        elif len(self.buffer) > HIGH_WATER and not self.connection.blocked:
            self.connection.pause_writing(self.world.now)

    def take(self, count: int | None = None) -> None:
        """Take bytes from the transport."""
        count = len(self.buffer) if count is None else count
        self.received += self.buffer[:count]
        self.buffer = self.buffer[count:]
        if self.connection.blocked and len(self.buffer) <= HIGH_WATER // 4:
            self.connection.resume_writing(self.world.now)
            self.settle()

    def settle(self) -> None:
        while self.due:
            self.due = False
            self.flush()

    def send(self, data: bytes | str) -> None:
        self.connection.receive_data(data.encode() if isinstance(data, str) else data, self.world.now)
        self.flush()
        self.settle()

    def request(self, target: str, method: str = "GET", **headers: str) -> None:
        lines = [f"{method} {target} HTTP/1.1", "Host: here"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.send("\r\n".join([*lines, "", ""]))

    def upgrade(self, target: str = WEBSOCKET) -> None:
        self.request(
            target,
            Connection="Upgrade",
            Upgrade="websocket",
            Sec_WebSocket_Version="13",
            Sec_WebSocket_Key="AAAAAAAAAAAAAAAAAAAAAA==",
        )

    def advance(self, seconds: float) -> None:
        self.world.advance(seconds)
        self.settle()

    def seen(self) -> bytes:
        """What has come since the last look."""
        received, self.received = self.received, b""
        return received

    @property
    def statuses(self) -> list[int]:
        """Of the responses that have come since the last look."""
        return [int(line[:3]) for line in self.seen().decode("latin-1").split("HTTP/1.1 ")[1:]]

    @property
    def ended(self) -> bool:
        """Whether the shell has been told to close the connection, and has nothing to wait for."""
        connection = self.connection
        return connection.aborting or (connection.closing and not self.buffer)


def peer(limits: Limits | None = None, **options: Any) -> Peer:
    return Peer(World(limits=limits or Limits(), **options))


def frame(opcode: int, payload: bytes = b"", fin: bool = True) -> bytes:
    return bytes([(0x80 if fin else 0) | opcode, 0x80 | len(payload)]) + bytes(4) + payload


CLOSE = frame(8)


# Several requests at once


def test_only_the_last_of_several_requests_closes_the_connection() -> None:
    client = peer()
    client.send(
        "GET /page HTTP/1.1\r\nHost: here\r\n\r\nGET /no HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
    )
    assert client.statuses == [200, 404]
    assert client.ended


def test_a_request_before_one_that_is_none_has_its_answer() -> None:
    client = peer()
    client.send("GET /page HTTP/1.1\r\nHost: here\r\n\r\nno request\r\n\r\n")
    assert client.statuses == [200, 400]
    assert client.ended


def test_a_poll_before_a_request_that_is_not_completed_is_given_up() -> None:
    client = peer(Limits(header_time=10.0))
    session = client.world.open()
    client.send(f"GET {POLLING}&sid={session.id} HTTP/1.1\r\nHost: here\r\n\r\nGET /pa")
    client.advance(10.0)
    assert client.statuses == [408]
    assert client.ended
    assert client.world.upper.events[session.id][-1].reason == "transport error"


def test_nothing_is_upgraded_behind_a_request_without_an_answer() -> None:
    client = peer()
    session = client.world.open()
    client.request(f"{POLLING}&sid={session.id}")
    client.upgrade(f"{WEBSOCKET}&sid={session.id}")
    assert client.statuses == []
    session.send("hello")
    client.settle()
    assert client.statuses == [200, 400]
    assert client.ended
    assert client.world.engine.clients == {session.id: session}


def test_time_in_which_the_server_stood_still_is_not_the_peer_s() -> None:
    client = peer(Limits(keep_alive_time=5.0))
    client.request("/page")
    assert client.statuses == [200]
    client.advance(4.0)
    client.world.deadlines.stood_still += 3.0
    client.advance(3.9)
    assert not client.ended
    client.advance(0.1)
    assert client.ended


# Bodies of requests that have their answer


@pytest.mark.parametrize(("target", "status"), [(POLLING + "&sid=unknown", 400), ("/elsewhere", 404)])
def test_a_body_comes_after_the_answer(target: str, status: int) -> None:
    client = peer()
    client.request(target, "POST", Content_Length="6")
    assert client.statuses == [status]
    client.send("4he")
    client.send("llo")
    assert client.statuses == []
    client.request(POLLING)
    assert client.statuses == [200]


def test_the_body_of_an_answered_request_is_bounded() -> None:
    client = peer(max_http_buffer_size=10)
    client.request(POLLING + "&sid=unknown", "POST", Content_Length="1000")
    assert client.statuses == [400]
    client.send("x" * 10)
    assert not client.ended
    client.send("x")
    assert client.statuses == []
    assert client.ended
    assert client.world.engine.limit_hits == {"max_http_buffer_size": 1}


def test_the_body_of_an_answered_request_has_its_time() -> None:
    client = peer(Limits(body_time=15.0, keep_alive_time=5.0))
    client.request("/elsewhere", "POST", Content_Length="1000")
    assert client.statuses == [404]
    client.advance(14.9)
    client.send("x")
    assert not client.ended
    client.advance(0.1)
    assert client.ended
    assert client.statuses == []
    assert client.world.engine.limit_hits == {"body_time": 1}


# A peer that takes nothing


def test_no_request_is_taken_while_the_peer_takes_nothing() -> None:
    client = peer()
    client.reads = False
    for _ in range(100):
        client.request("/page")
    assert client.connection.paused
    assert len(client.buffer) < 300_000
    client.reads = True
    client.take()
    assert client.statuses == [200] * 100
    assert not client.connection.paused


def test_requests_do_not_put_off_the_end_of_a_peer_that_takes_nothing() -> None:
    client = peer(Limits(write_stall_time=30.0))
    client.reads = False
    for _ in range(10):
        client.request("/page")
        client.advance(2.9)
    assert not client.ended
    client.advance(1.0)
    assert client.ended
    assert client.world.engine.limit_hits == {"write_stall_time": 1}


def test_a_connection_that_is_to_be_closed_is_dropped_if_the_peer_takes_nothing() -> None:
    client = peer(Limits(write_stall_time=30.0))
    client.reads = False
    client.send(
        "GET /page HTTP/1.1\r\nHost: here\r\n\r\nGET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n"
    )
    client.take(50_000)
    client.advance(29.0)
    assert not client.ended
    client.advance(35.0)
    assert client.ended


def test_what_is_left_behind_the_end_of_a_peer_must_be_taken_in_time_too() -> None:
    client = peer(Limits(write_stall_time=30.0))
    client.reads = False
    client.send("GET /page HTTP/1.1\r\nHost: here\r\n\r\n")
    client.connection.receive_eof(client.world.now)
    assert client.connection.closing
    client.advance(29.0)
    assert not client.connection.aborting
    client.advance(35.0)
    assert client.connection.aborting


def test_large_answers_to_pipelined_requests_are_made_one_after_the_other() -> None:
    client = peer()
    client.reads = False
    client.send("GET /page HTTP/1.1\r\nHost: here\r\n\r\n" * 16)
    assert len(client.buffer) < 210_000
    client.reads = True
    client.take()
    assert client.statuses == [200] * 16
    assert client.world.engine.limit_hits == {}


def test_a_peer_that_takes_a_little_is_not_dropped() -> None:
    client = peer(Limits(write_stall_time=30.0))
    client.reads = False
    client.send("GET /page HTTP/1.1\r\nHost: here\r\n\r\n")
    for _ in range(8):
        client.take(10_000)
        client.advance(29.0)
        assert not client.connection.aborting


def test_a_body_that_drips_in_has_its_time_though_the_peer_was_slow_to_read() -> None:
    client = peer(Limits(body_time=15.0))
    client.request(POLLING)
    (sid,) = client.world.engine.clients
    client.seen()
    client.reads = False
    client.send(
        "GET /page HTTP/1.1\r\nHost: here\r\n\r\n"
        f"POST {POLLING}&sid={sid} HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\n4"
    )
    assert client.connection.blocked
    client.advance(1.0)
    client.reads = True
    client.take()
    assert client.statuses == [200]
    client.send("x")
    client.advance(15.0)
    assert client.statuses == [408]
    assert client.ended


def test_a_close_frame_is_waited_for_though_the_peer_was_slow_to_read() -> None:
    client = peer(Limits(close_time=5.0))
    client.upgrade()
    (session,) = client.world.engine.clients.values()
    client.reads = False
    session.send("x" * 70_000)
    client.settle()
    assert client.connection.blocked
    session.close(discard=True)
    client.settle()
    client.reads = True
    client.take()
    assert not client.ended
    client.advance(5.0)
    assert client.ended


def test_a_fragment_has_its_time_though_the_peer_was_slow_to_read() -> None:
    client = peer(Limits(fragment_time=10.0))
    client.upgrade()
    (session,) = client.world.engine.clients.values()
    client.send(frame(1, b"4a", fin=False))
    client.reads = False
    session.send("x" * 70_000)
    client.settle()
    assert client.connection.blocked
    client.reads = True
    client.take()
    client.seen()
    client.advance(10.0)
    assert client.seen() == b"\x88\x02" + (1008).to_bytes(2, "big")
    assert client.world.engine.limit_hits == {"fragment_time": 1}


def test_fragmented_messages_of_which_one_is_always_open_have_their_time_each() -> None:
    client = peer(Limits(fragment_time=5.0))
    client.upgrade()
    (session,) = client.world.engine.clients.values()
    client.send(frame(1, b"4a", fin=False))
    for _ in range(5):
        client.advance(4.0)
        client.send(frame(0, b"b") + frame(1, b"4a", fin=False))
    assert client.world.upper.events[session.id] == ["ab"] * 5
    client.seen()
    client.advance(4.0)
    client.send(frame(0, b"b", fin=False))
    client.advance(1.0)
    assert client.seen() == b"\x88\x02" + (1008).to_bytes(2, "big")
    assert client.world.engine.limit_hits == {"fragment_time": 1}


def test_fragments_do_not_put_off_the_end_of_a_websocket_that_is_closed() -> None:
    client = peer(Limits(fragment_time=60.0, close_time=5.0))
    client.upgrade()
    (session,) = client.world.engine.clients.values()
    client.send(frame(1, b"4a", fin=False))
    session.close(discard=True)
    client.settle()
    client.advance(4.0)
    client.send(frame(0, b"b") + frame(1, b"4a", fin=False))
    client.advance(1.0)
    assert client.ended


def test_a_peer_that_takes_nothing_has_one_pong_made_for_all_its_pings() -> None:
    client = peer(Limits(pending_pongs=4))
    client.upgrade()
    (session,) = client.world.engine.clients.values()
    client.reads = False
    session.send("x" * 70_000)
    client.settle()
    assert client.connection.blocked
    waiting = len(client.buffer)
    for number in range(1_000):
        client.send(frame(9, b"%d" % number))
    assert len(client.buffer) == waiting
    client.reads = True
    client.take()
    assert client.seen().endswith(b"x" + b"\x8a\x03999")
    assert client.world.engine.limit_hits["pending_pongs"] > 0


# The end of a WebSocket


def test_the_answer_to_a_close_frame_ends_the_connection() -> None:
    client = peer()
    client.upgrade()
    (session,) = client.world.engine.clients.values()
    session.close()
    client.settle()
    assert client.seen().endswith(b"\x88\x00")
    assert not client.ended
    client.send(CLOSE)
    assert client.ended


def test_the_answer_to_a_close_frame_ends_a_websocket_that_was_not_wanted() -> None:
    first = peer()
    first.upgrade()
    (sid,) = first.world.engine.clients
    client = Peer(first.world)
    client.upgrade(f"{WEBSOCKET}&sid={sid}")
    assert client.seen().endswith(b"\x88\x00")
    client.send(frame(1, b"2probe"))
    assert not client.ended
    client.send(CLOSE)
    assert client.ended
    assert client.seen() == b""


def test_a_close_frame_is_waited_for_though_the_peer_was_silent_for_long() -> None:
    client = peer(Limits(close_time=5.0))
    client.upgrade()
    client.advance(20)
    client.seen()
    next(iter(client.world.engine.clients.values())).close()
    client.settle()
    assert client.seen()[-2:] == b"\x88\x00"
    client.advance(4.9)
    assert not client.ended
    client.send(CLOSE)
    assert client.ended
    assert client.world.engine.limit_hits == {}


def test_a_request_that_waited_for_long_is_followed_by_another() -> None:
    client = peer(Limits(keep_alive_time=5.0))
    client.request(POLLING)
    (session,) = client.world.engine.clients.values()
    client.seen()
    client.request(f"{POLLING}&sid={session.id}")
    client.advance(20)
    session.send("at last")
    client.settle()
    assert client.statuses == [200]
    client.advance(4.9)
    client.request("/elsewhere")
    assert client.statuses == [404]
    assert client.world.engine.limit_hits == {}


def test_what_comes_for_an_upgrade_of_nobody_is_dropped() -> None:
    client = peer(destroy_upgrade=False)
    client.request("/elsewhere", Connection="Upgrade", Upgrade="websocket")
    for _ in range(100):
        client.send(b"x" * 100_000)
    assert not client.ended
    assert client.statuses == []
    assert client.connection._reader is None


# The end of the listener


def test_a_request_that_the_application_decides_upon_is_given_up() -> None:
    async def allow(request: Request) -> bool:
        return True

    for upgrade in (False, True):
        client = peer(allow_request=allow)
        if upgrade:
            client.upgrade()
        else:
            client.request(POLLING)
        (pending,) = client.pending
        client.connection.close()
        client.settle()
        assert client.statuses == [503]
        assert client.ended
        pending.awaitable.close()  # type: ignore[attr-defined]
        client.connection.resume(pending, True, None, client.world.now)
        client.settle()
        assert client.seen() == b""
        assert not client.world.engine.clients


def test_a_pong_leaves_before_what_is_said_to_the_message_behind_the_ping() -> None:
    # As ws does; a close frame leaves last (RFC 6455 section 5.5.1).
    client = peer()
    client.world.upper.on_message = lambda session, message: session.send(message)
    client.upgrade()
    client.received = b""
    ping, hello, goodbye = frame(9, b"?"), frame(1, b"4hello"), frame(8, b"\x03\xe8")
    client.send(ping + hello)
    assert client.received == b"\x8a\x01?" + b"\x81\x064hello"
    client.received = b""
    client.send(ping + goodbye)
    assert client.received == b"\x8a\x01?" + b"\x88\x02\x03\xe8"


# Requests for another process


def test_a_connection_departs_with_a_request_that_is_for_another() -> None:
    client = peer()
    client.connect_again()
    client.request("/page")
    assert client.statuses == [200]
    client.send("GET /elsewhere HTTP/1.1\r\nHost: here\r\n\r\nand more")
    assert client.connection.departing
    assert client.connection.paused
    client.connection.receive_data(b" and more", client.world.now)
    assert client.connection.depart() == (
        7,
        b"GET /elsewhere HTTP/1.1\r\nHost: here\r\n\r\nand more and more",
    )
    assert client.seen() == b""
    client.advance(100)
    assert not client.connection.closing


def test_it_departs_after_the_answers_before() -> None:
    client = peer()
    client.connect_again()
    session = client.world.open()
    client.send(
        f"GET {POLLING}&sid={session.id} HTTP/1.1\r\nHost: here\r\n\r\n"
        "GET /elsewhere HTTP/1.1\r\nHost: here\r\n\r\n"
    )
    assert not client.connection.departing
    assert client.connection.paused
    session.send("hello")
    client.world.flush()
    client.settle()
    assert client.statuses == [200]
    assert client.connection.departing


def test_nothing_departs_behind_an_answer_that_closes() -> None:
    client = peer()
    client.connect_again()
    client.send(
        "GET /page HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\nGET /elsewhere HTTP/1.1\r\n\r\n"
    )
    assert client.statuses == [200]
    assert client.ended
    assert not client.connection.departing


def test_a_request_that_must_be_answered_here_is() -> None:
    client = peer()
    client.connect_again(keep_next=True)
    client.request("/elsewhere")
    assert client.statuses == [404]
    client.request("/elsewhere")
    assert client.connection.departing
