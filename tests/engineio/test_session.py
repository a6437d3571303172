"""sio_core.engineio.session: heartbeat, polling slots, upgrade, ends, and what waits for a slow client."""

from __future__ import annotations

from typing import Any

import pytest

from sio_core.engineio.packet import Encoded
from sio_core.engineio.session import Session
from sio_core.limits import Limits
from tests.engineio.world import Link, World, make_request

TRANSPORT_CLOSE = ("transport close", None)
FORCED_CLOSE = ("forced close", None)
PING_TIMEOUT = ("ping timeout", None)
PARSE_ERROR = ("parse error", None)
WRONG_DIRECTION = ("transport error", {"message": "invalid heartbeat direction"})


def taken(session: Session) -> list[bytes]:
    return [packet.data for packet in session.take_packets()]


def pinged(world: World) -> Session:
    """A polling session with a ping outstanding since just now."""
    session = world.open()
    world.advance(25)
    assert world.get(session) == b"2"
    return session


# Heartbeat, Engine.IO 4


@pytest.mark.feature(188)
def test_the_server_pings_after_the_interval() -> None:
    world = World()
    session, link = world.open_websocket()
    world.advance(24.999)
    assert link.ready == 0
    world.advance(0.001)
    assert link.ready == 1
    assert taken(session) == [b"2"]


def test_a_waiting_get_is_answered_with_the_ping() -> None:
    world = World()
    session = world.open()
    link = world.poll(session)
    world.advance(25)
    assert link.ready == 1
    assert session.take_payload().body == b"2"


def test_a_client_that_does_not_answer_is_closed() -> None:
    world = World()
    session, link = world.open_websocket()
    world.advance(44.999)
    assert world.closing(session) is None
    world.advance(0.001)
    assert world.closing(session) == PING_TIMEOUT
    assert link.released == [None]
    assert len(world.deadlines) == 0


def test_the_timeout_counts_from_queueing() -> None:
    world = World()
    session = world.open()
    world.advance(45)
    assert world.closing(session) == PING_TIMEOUT


def test_a_get_that_waits_at_the_timeout_gets_a_close_packet() -> None:
    world = World()
    session = pinged(world)
    link = world.poll(session)
    world.advance(20)
    assert link.ready == 1
    assert session.take_payload().body == b"1"
    assert world.closing(session) == PING_TIMEOUT


def test_a_pong_restarts_the_interval() -> None:
    world = World()
    session = pinged(world)
    world.advance(5)
    assert world.post(session, "3")
    link = world.poll(session)
    world.advance(24.999)
    assert link.ready == 0
    world.advance(0.001)
    assert session.take_payload().body == b"2"
    assert world.closing(session) is None


def test_an_unsolicited_pong_is_legal_and_restarts_the_interval() -> None:
    world = World()
    session, link = world.open_websocket()
    world.advance(24)
    for _ in range(1_000):
        session.receive_message("3", world.now)
    assert len(world.deadlines) == 1
    world.advance(24.999)
    assert link.ready == 0
    world.advance(0.001)
    assert taken(session) == [b"2"]


@pytest.mark.parametrize("protocol", [4, 3])
def test_time_in_which_the_server_stood_still_is_given_back_once(protocol: int) -> None:
    world = World(allow_eio3=True)
    world.deadlines.stood_still = 100.0  # before it came
    session = world.open("websocket", protocol)
    world.advance(30)
    world.deadlines.stood_still += 2
    world.advance(10)
    world.deadlines.stood_still += 3
    world.advance(9.5)
    assert world.closing(session) is None
    world.advance(0.5)
    assert world.closing(session) == PING_TIMEOUT


def test_who_is_not_read_is_not_judged_and_goes_on_getting_pings() -> None:
    world = World()
    session, _ = world.open_websocket()
    session.pause(True)
    world.advance(25)
    first = world.now
    for _ in range(10):  # its pongs wait in the network
        assert taken(session) == [b"2"]
        world.advance(20)
    assert world.closing(session) is None
    session.pause(False)
    session.receive_message("3", world.now)
    assert session.confirmed_at == first
    world.advance(24.999)
    assert world.closing(session) is None
    world.advance(0.001)
    assert taken(session) == [b"2"]
    world.advance(20)
    assert world.closing(session) == PING_TIMEOUT


def test_a_client_of_engine_3_that_is_not_read_is_not_judged() -> None:
    world = World(allow_eio3=True)
    session = world.open("websocket", protocol=3)
    session.pause(True)
    world.advance(100)
    assert world.closing(session) is None
    session.pause(False)
    world.advance(20)
    assert world.closing(session) == PING_TIMEOUT


@pytest.mark.parametrize("packet", ["4hello", "6", "5", "0", "bAQ=="])
@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_the_first_other_packet_refreshes_the_timeout_once(packet: str, transport: str) -> None:
    world = World()
    session = world.open(transport)

    def receive(text: str) -> None:
        if transport == "polling":
            world.post(session, text)
        else:
            session.receive_message(text, world.now)

    world.advance(25 + 15)
    receive(packet)
    world.advance(15)
    receive(packet)
    assert world.closing(session) is None
    world.advance(4.999)
    assert world.closing(session) is None
    world.advance(0.001)
    assert world.closing(session) == PING_TIMEOUT


def test_each_ping_may_be_refreshed() -> None:
    world = World()
    session, _ = world.open_websocket()
    for _ in range(3):
        world.advance(25 + 19)
        session.receive_message("4", world.now)
        world.advance(19)
        session.receive_message("3", world.now)
    assert world.closing(session) is None


def test_a_packet_without_a_ping_refreshes_nothing() -> None:
    world = World()
    session, link = world.open_websocket()
    world.advance(20)
    session.receive_message("4a", world.now)
    world.advance(5)
    assert link.ready == 1
    world.advance(20)
    assert world.closing(session) == PING_TIMEOUT


@pytest.mark.parametrize("packet", ["2", "2probe", "2hello"])
def test_a_client_does_not_ping(packet: str) -> None:
    world = World()
    polling, (websocket, link) = world.open(), world.open_websocket()
    waiting = world.poll(polling)
    assert world.post(polling, packet)
    assert waiting.ready == 1
    assert polling.take_payload().body == b"1"
    websocket.receive_message(packet, world.now)
    websocket.deliver()
    assert link.released == [None]
    assert world.closing(polling) == world.closing(websocket) == WRONG_DIRECTION


def test_pings_do_not_pile_up() -> None:
    world = World()
    session = world.open()
    for _ in range(100):
        world.advance(25)
        world.post(session, "3")
    assert world.get(session) == b"2"


def test_a_ping_over_polling_may_be_answered_over_websocket() -> None:
    world = World()
    session = pinged(world)
    world.upgrade(session)
    world.advance(19)
    session.receive_message("3", world.now)
    world.advance(20)
    assert world.closing(session) is None


def test_the_heartbeat_goes_on_through_an_upgrade() -> None:
    world = World()
    session = pinged(world)
    world.upgrade(session)
    world.advance(20)
    assert world.closing(session) == PING_TIMEOUT


# Heartbeat, Engine.IO 3


@pytest.mark.feature(188)
@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_the_client_of_engine_io_3_pings(transport: str) -> None:
    world = World(allow_eio3=True)
    session = world.open(transport, 3)
    world.advance(44.999)
    if transport == "polling":
        assert world.post(session, "6:2hello", EIO="3")
        assert world.get(session) == b"1:3"
    else:
        session.receive_message("2hello", world.now)
        assert taken(session) == [b"3"]
    world.advance(44.999)
    assert world.closing(session) is None
    world.advance(0.001)
    assert world.closing(session) == PING_TIMEOUT


def test_the_server_of_engine_io_3_does_not_ping() -> None:
    world = World(allow_eio3=True)
    session = world.open("websocket", 3)
    world.advance(30)
    session.receive_message("4a", world.now)
    world.advance(14.999)
    assert taken(session) == []
    world.advance(0.001)
    assert world.closing(session) == PING_TIMEOUT


def test_a_pong_of_engine_io_3_goes_the_wrong_way() -> None:
    world = World(allow_eio3=True)
    session = world.open("websocket", 3)
    session.receive_message("3", world.now)
    session.deliver()
    assert world.closing(session) == WRONG_DIRECTION


# Polling


def test_a_get_takes_what_waits_at_once() -> None:
    world = World()
    session = world.open()
    session.send("one")
    session.send(b"\x01\x02\x03\x04")
    session.send("two")
    assert world.get(session) == b"4one\x1ebAQIDBA==\x1e4two"
    link = world.poll(session)
    assert link.ready == 0
    session.send("three")
    session.send("four")
    assert link.ready == 1
    payload = session.take_payload()
    assert (payload.body, payload.content_type) == (b"4three\x1e4four", "text/plain; charset=UTF-8")


def test_a_payload_may_be_compressed_if_one_of_its_packets_may() -> None:
    world = World()
    session = world.open()
    for flags in ([False, False], [False, True], [True]):
        for flag in flags:
            session.send("a", compress=flag)
        world.poll(session)
        assert session.take_payload().compress is any(flags)
    session.close()
    world.poll(session)
    assert session.take_payload().compress is False


def test_messages_of_a_post_arrive_in_order() -> None:
    world = World()
    session = world.open()
    assert world.post(session, "4a\x1ebAQ==\x1e6\x1e0\x1e5\x1e4")
    assert world.messages(session) == ["a", b"\x01", ""]
    assert world.closing(session) is None


def test_two_gets_at_a_time_close_the_session() -> None:
    world = World()
    session = world.open()
    first = world.poll(session)
    assert not session.receive_poll(Link())
    assert first.ready == 1
    assert session.take_payload().body == b"1"
    session.deliver()
    assert world.closing(session) == ("transport error", {"message": "overlap from client"})


def test_a_closed_session_takes_no_get() -> None:
    world = World()
    session = world.open()
    session.close(discard=True)
    assert not session.receive_poll(Link())


def test_two_posts_at_a_time_close_the_session() -> None:
    world = World()
    session = world.open()
    waiting, first, second = world.poll(session), Link(), Link()
    assert session.receive_post(first)
    assert not session.receive_post(second)
    session.deliver()
    assert (first.released, second.released) == ([None], [])
    assert waiting.ready == 1
    assert session.take_payload().body == b"1"
    assert world.closing(session) == ("transport error", {"message": "data request overlap from client"})


def test_one_get_and_one_post_at_a_time_are_the_rule() -> None:
    world = World()
    session = world.open()
    for number in range(3):
        link = world.poll(session)
        assert world.post(session, f"4{number}")
        session.send("answer")
        assert link.ready == 1
        session.take_payload()
    assert world.messages(session) == ["0", "1", "2"]


def test_a_get_that_is_aborted_closes_the_session() -> None:
    world = World()
    session = world.open()
    link = world.poll(session)
    session.poll_lost(Link())
    assert session.state == "open"
    session.poll_lost(link)
    session.deliver()
    assert world.closing(session) == ("transport error", {"message": "poll connection closed prematurely"})


def test_a_post_that_is_aborted_closes_the_session() -> None:
    world = World()
    session = world.open()
    waiting, link = world.poll(session), Link()
    session.receive_post(link)
    session.post_lost(Link())
    assert session.state == "open"
    session.post_lost(link)
    session.deliver()
    assert session.take_payload().body == b"1"
    assert (waiting.ready, link.released) == (1, [])
    expected = ("transport error", {"message": "data request connection closed prematurely"})
    assert world.closing(session) == expected


def test_a_post_that_was_too_large_leaves_the_session_alone() -> None:
    world = World()
    session = world.open()
    session.receive_post(Link())
    session.post_answered()
    assert world.post(session, "4after")
    assert world.messages(session) == ["after"]


def test_binary_bodies_are_not_for_engine_io_4() -> None:
    world = World()
    session = world.open()
    world.poll(session)
    assert not world.post(session, "4a", "application/octet-stream")
    assert session.take_payload().body == b"1"
    assert world.messages(session) == []
    assert world.closing(session) == ("transport error", {"message": "invalid content"})


@pytest.mark.parametrize(
    "content_type",
    ["application/octet-stream; charset=UTF-8", "Application/Octet-Stream", "application/json", ""],
)
def test_any_other_content_type_is_text(content_type: str) -> None:
    world = World()
    session = world.open()
    assert world.post(session, "4a", content_type)
    assert world.messages(session) == ["a"]


@pytest.mark.parametrize("body", ["", "abc", "\x1e", "7"])
def test_a_body_that_is_no_payload(body: str) -> None:
    world = World()
    session = world.open()
    world.poll(session)
    assert world.post(session, body)
    assert session.take_payload().body == b"1"
    assert world.closing(session) == PARSE_ERROR


@pytest.mark.parametrize(
    ("rest", "reason"),
    [("x\x1e4lost", PARSE_ERROR), ("2\x1e4lost", WRONG_DIRECTION), ("1\x1e4lost", TRANSPORT_CLOSE)],
)
@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_what_came_before_the_end_is_delivered_while_the_session_is_open(
    rest: str, reason: Any, transport: str
) -> None:
    world = World()
    session = world.open(transport)
    states: list[str] = []
    world.upper.on_message = lambda session, message: states.append(session.state)
    if transport == "polling":
        world.post(session, f"4a\x1e4b\x1e{rest}")
    elif rest[0] == "1":
        return  # the close packet means nothing there
    else:
        for message in ("4a", "4b", *rest.split("\x1e")):
            session.receive_message(message, world.now)
        session.deliver()
    assert world.messages(session) == ["a", "b"]
    assert states == ["open", "open"]
    assert world.closing(session) == reason


def test_a_payload_of_too_many_packets() -> None:
    world = World(limits=Limits(payload_packets=3))
    session = world.open()
    assert world.post(session, "4a\x1e4b\x1e4c")
    assert world.messages(session) == ["a", "b", "c"]
    assert world.post(session, "4a\x1e4b\x1e4c\x1e4d")
    assert world.messages(session) == ["a", "b", "c"]
    assert world.closing(session) == PARSE_ERROR
    assert world.engine.limit_hits == {"payload_packets": 1}


def test_the_close_packet() -> None:
    world = World()
    session = world.open()
    link = world.poll(session)
    assert world.post(session, "4a\x1e1\x1e4b")
    assert link.ready == 1
    assert session.take_payload().body == b"6"
    assert world.messages(session) == ["a"]
    assert world.closing(session) == TRANSPORT_CLOSE


def test_the_close_packet_means_nothing_over_websocket() -> None:
    world = World()
    session, _ = world.open_websocket()
    for message in ("1", "0", "5", "6"):
        session.receive_message(message, world.now)
    assert world.closing(session) is None


def test_a_closed_session_answers_posts_without_looking() -> None:
    world = World()
    session = world.open()
    session.receive_post(Link())
    session.close(discard=True)
    request = make_request(method="POST", sid=session.id, body=b"4a")
    assert session.receive_payload(request, world.now)
    assert world.closing(session) == FORCED_CLOSE
    assert world.messages(session) == []


# Engine.IO 3 and JSONP


@pytest.mark.parametrize(
    ("body", "content_type", "messages"),
    [
        ("2:4a7:bAQIDBA", "text/plain", "a"),
        ("2:4a10:b4AQIDBA==3:4€€", "text/plain", ["a", b"\x01\x02\x03\x04", "€€"]),
        (b"\x00\x02\xff4a\x01\x03\xff\x04\x01\x02", "application/octet-stream", ["a", b"\x01\x02"]),
        ("", "text/plain", None),
        ("x", "text/plain", None),
        ("3:4a", "text/plain", None),
        (b"\x02\x02\xff4a", "application/octet-stream", None),
        ("2:xa", "text/plain", None),
        ("2:4a2:7a", "text/plain", "a"),
    ],
)
def test_payloads_of_engine_io_3(body: str | bytes, content_type: str, messages: Any) -> None:
    world = World(allow_eio3=True)
    session = world.open(protocol=3)
    assert world.post(session, body, content_type)
    if isinstance(messages, list):
        assert world.messages(session) == messages
        assert world.closing(session) is None
    else:
        assert world.messages(session) == list(messages or "")
        assert world.closing(session) == PARSE_ERROR


def test_the_packets_of_engine_io_3_are_bounded() -> None:
    world = World(allow_eio3=True, limits=Limits(payload_packets=2))
    session = world.open(protocol=3)
    world.post(session, "2:4a2:4b")
    assert world.messages(session) == ["a", "b"]
    world.post(session, "2:4a2:4b2:4c")
    assert world.closing(session) == PARSE_ERROR


def test_bodies_for_engine_io_3() -> None:
    world = World(allow_eio3=True)
    session = world.open(protocol=3)
    session.send("a€")
    assert world.get(session) == "3:4a€".encode()
    session.send("a")
    session.send(b"\x01\x02")
    world.poll(session)
    payload = session.take_payload()
    assert payload.content_type == "application/octet-stream"
    assert payload.body == b"\x00\x02\xff4a\x01\x03\xff\x04\x01\x02"
    session.close()
    assert world.get(session) == b"1:61:1"


def test_bodies_for_engine_io_3_without_binary() -> None:
    world = World(allow_eio3=True)
    session = world.open(protocol=3, b64="1")
    session.send("a")
    session.send(b"\x01\x02\x03\x04")
    world.poll(session)
    payload = session.take_payload()
    assert payload.content_type == "text/plain; charset=UTF-8"
    assert payload.body == b"2:4a10:b4AQIDBA=="


def test_websocket_messages_of_engine_io_3() -> None:
    world = World(allow_eio3=True)
    session = world.open("websocket", 3)
    session.receive_message("4a", world.now)
    session.receive_message(b"\x04\x01", world.now)
    session.receive_message("b4AQ==", world.now)
    session.deliver()
    assert world.messages(session) == ["a", b"\x01", b"\x01"]
    assert session.websocket_form(Encoded(b"4a")) == (b"4a", False)
    assert session.websocket_form(Encoded(b"\x01", True)) == (b"\x04\x01", True)
    assert not session.plain_frames
    base64 = world.open("websocket", 3, b64="1")
    assert base64.websocket_form(Encoded(b"\x01", True)) == (b"b4AQ==", False)


@pytest.mark.parametrize("message", [b"", b"\x01", b"4a", "", "7", "bAQ==", "b"])
def test_bad_websocket_messages_of_engine_io_3(message: str | bytes) -> None:
    world = World(allow_eio3=True)
    session = world.open("websocket", 3)
    session.receive_message(message, world.now)
    session.deliver()
    assert world.closing(session) == PARSE_ERROR


@pytest.mark.parametrize(("protocol", "body"), [(4, "d=4a%2Bb"), (3, "d=4:4a%2Bb")])
def test_a_jsonp_client_posts_a_form(protocol: int, body: str) -> None:
    world = World(allow_eio3=True)
    session = world.open(protocol=protocol)
    assert world.post(session, body, "application/x-www-form-urlencoded", j="0")
    assert world.messages(session) == ["a+b"]


@pytest.mark.parametrize("protocol", [3, 4])
def test_a_form_without_a_payload(protocol: int) -> None:
    world = World(allow_eio3=True)
    session = world.open(protocol=protocol)
    assert world.post(session, "e=4a", j="0")
    assert world.closing(session) == PARSE_ERROR


# WebSocket


def test_messages_over_websocket() -> None:
    world = World()
    session, _ = world.open_websocket()
    for message in ("4hello", "4", b"", b"\x01", "bAQ=="):
        session.receive_message(message, world.now)
    session.deliver()
    assert world.messages(session) == ["hello", "", b"", b"\x01", b"\x01"]


def test_forms_over_websocket() -> None:
    world = World()
    session, _ = world.open_websocket()
    assert session.plain_frames
    assert session.websocket_form(Encoded(b"4a")) == (b"4a", False)
    assert session.websocket_form(Encoded(b"\x01", True)) == (b"\x01", True)
    base64 = world.open("websocket", b64="1")
    assert not base64.plain_frames
    assert base64.websocket_form(Encoded(b"\x01", True)) == (b"bAQ==", False)
    assert base64.websocket_form(Encoded(b"4a")) == (b"4a", False)


@pytest.mark.parametrize("message", ["", "abc", "7"])
def test_a_message_that_is_no_packet(message: str) -> None:
    world = World()
    session, link = world.open_websocket()
    session.receive_message("4a", world.now)
    session.receive_message(message, world.now)
    session.receive_message("4b", world.now)
    assert world.messages(session) == ["a"]
    session.deliver()
    assert link.released == [None]
    assert world.closing(session) == PARSE_ERROR
    assert world.messages(session) == ["a"]


def test_the_websocket_is_lost() -> None:
    world = World()
    left, failed, other = world.open_websocket(), world.open_websocket(), world.open_websocket()
    left[0].websocket_lost(left[1], None)
    failed[0].websocket_lost(failed[1], "Max payload size exceeded")
    other[0].websocket_lost(Link(), None)
    for session, _ in (left, failed, other):
        session.deliver()
    assert world.closing(left[0]) == TRANSPORT_CLOSE
    assert world.closing(failed[0]) == ("transport error", {"message": "Max payload size exceeded"})
    assert world.closing(other[0]) is None


# Closing


def test_close_while_a_get_waits() -> None:
    world = World()
    session = world.open()
    link = world.poll(session)
    session.close()
    assert session.state == "closed"
    assert world.upper.deferred == [session]
    assert link.ready == 1
    assert session.take_payload().body == b"1"
    assert world.closing(session) == FORCED_CLOSE


def test_close_while_no_get_waits() -> None:
    world = World()
    session = world.open()
    session.close()
    session.close()
    assert session.state == "closing"
    assert world.closing(session) is None
    assert world.get(session) == b"6\x1e1"
    session.deliver()
    assert world.closing(session) == FORCED_CLOSE


def test_close_delivers_what_waits_first() -> None:
    world = World()
    session = world.open()
    session.send("a")
    session.close()
    session.send("too late")
    assert world.get(session) == b"4a"
    assert world.closing(session) is None
    assert world.get(session) == b"6\x1e1"
    session.deliver()
    assert world.closing(session) == FORCED_CLOSE


@pytest.mark.parametrize("waits", [False, True])
def test_a_closing_session_waits_30_seconds(waits: bool) -> None:
    world = World(ping_interval=100)
    session = world.open()
    if waits:
        session.send("a")
    session.close()
    world.advance(29.999)
    assert world.closing(session) is None
    if waits:
        assert world.get(session) == b"4a"
        world.advance(29.999)
        assert world.closing(session) is None
    world.advance(0.001)
    assert world.closing(session) == FORCED_CLOSE


def test_a_closing_session_may_time_out() -> None:
    world = World(ping_interval=5, ping_timeout=5)
    session = world.open()
    session.close()
    world.advance(9.999)
    assert world.closing(session) is None
    world.advance(0.001)
    assert world.closing(session) == PING_TIMEOUT


def test_a_closing_session_takes_posts_and_ignores_them() -> None:
    world = World(ping_interval=5, ping_timeout=5)
    session = world.open()
    world.advance(5)
    session.close()
    for body in ("4a", "3", "2", "1", "", "xyz"):
        assert world.post(session, body)
    assert world.messages(session) == []
    assert world.closing(session) is None
    world.advance(5)
    assert world.closing(session) == PING_TIMEOUT


@pytest.mark.parametrize("waiting", [False, True])
def test_close_at_once_discards_what_waits(waiting: bool) -> None:
    world = World()
    session = world.open()
    link = world.poll(session) if waiting else None
    session.send("a")
    session.close(discard=True)
    assert session.outbox_bytes == 0
    if link is not None:
        assert link.ready >= 1
        assert session.take_payload().body == b"1"
    assert world.closing(session) == FORCED_CLOSE
    session.close(discard=True)
    session.close()
    assert world.closing(session) == FORCED_CLOSE


def test_close_at_once_ends_a_closing_session() -> None:
    world = World()
    session = world.open()
    session.close()
    session.close(discard=True)
    assert world.closing(session) == FORCED_CLOSE


def test_close_over_websocket() -> None:
    world = World()
    idle, idle_link = world.open_websocket()
    idle.close()
    assert idle_link.released == [None]
    assert world.closing(idle) == FORCED_CLOSE
    busy, busy_link = world.open_websocket()
    busy.on("drain", lambda: None)
    busy.send("last")
    busy.close()
    busy.receive_message("4ignored", world.now)
    assert busy_link.released == []
    assert taken(busy) == [b"4last"]
    assert busy_link.released == [None]
    busy.deliver()
    assert world.closing(busy) == FORCED_CLOSE
    assert world.messages(busy) == []


def test_close_cuts_a_post_that_is_being_read() -> None:
    world = World()
    session = world.open()
    link = Link()
    session.receive_post(link)
    session.close()
    assert link.released == []
    session.close(discard=True)
    assert link.released == [None]


# Upgrade


@pytest.mark.feature(184)
def test_the_upgrade() -> None:
    world = World()
    session = world.open()
    session.on("upgrading", lambda transport: None)
    session.on("upgrade", lambda transport: None)
    link = world.probe(session)
    assert (session.transport, session.upgraded) == ("polling", False)
    assert session.receive_probe("5", False, world.now)
    session.deliver()
    assert (session.transport, session.upgraded) == ("websocket", True)
    assert world.observed(session) == [("upgrading", "websocket"), ("upgrade", "websocket")]
    session.send("a")
    assert (link.ready, taken(session)) == (1, [b"4a"])
    world.advance(24)
    assert world.closing(session) is None


def test_upgrade_without_a_probe() -> None:
    world = World()
    session = world.open()
    link = Link()
    assert session.websocket_opened(link, world.now)
    assert session.receive_probe("5ignored", False, world.now)
    assert session.transport == "websocket"
    assert link.probes == []


def test_a_probe_may_be_repeated() -> None:
    world = World()
    session = world.open()
    link = world.probe(session)
    for _ in range(3):
        assert not session.receive_probe("2probe", False, world.now)
    assert link.probes == [b"3probe"] * 4
    assert session.receive_probe("5", False, world.now)


def test_a_second_websocket_is_not_taken() -> None:
    world = World()
    session = world.open()
    link = Link()
    assert session.websocket_opened(link, world.now)
    assert not session.websocket_opened(Link(), world.now)
    session.receive_probe("2probe", False, world.now)
    assert not session.websocket_opened(Link(), world.now)
    session.receive_probe("5", False, world.now)
    assert not session.websocket_opened(Link(), world.now)
    assert link.released == []
    assert not world.open("websocket").websocket_opened(Link(), world.now)
    session.close(discard=True)
    assert not session.websocket_opened(Link(), world.now)


@pytest.mark.parametrize("probed", [False, True])
@pytest.mark.parametrize(
    "message", ["2", "2probing", "4a", "3", "3probe", "1", "6", "0", "", "x", b"5", b"2probe"]
)
def test_any_other_packet_ends_the_try_and_not_the_session(message: str | bytes, probed: bool) -> None:
    world = World()
    session = world.open()
    link = Link()
    assert session.websocket_opened(link, world.now)
    if probed:
        session.receive_probe("2probe", False, world.now)
    assert not session.receive_probe(message, False, world.now)
    assert link.released == [None]
    assert not session.receive_probe("5", False, world.now)
    session.websocket_lost(link, None)
    assert world.messages(session) == []
    session.send("still here")
    assert world.get(session) == b"4still here"
    assert world.closing(session) is None
    world.upgrade(session)


@pytest.mark.parametrize("probed", [False, True])
def test_a_try_that_is_lost(probed: bool) -> None:
    world = World()
    session = world.open()
    link = Link()
    session.websocket_opened(link, world.now)
    if probed:
        session.receive_probe("2probe", False, world.now)
    session.websocket_lost(Link(), None)
    assert not session.websocket_opened(Link(), world.now)
    session.websocket_lost(link, "Invalid WebSocket frame")
    assert link.released == []
    waiting = world.poll(session)
    world.advance(20)
    assert waiting.ready == 0
    assert world.closing(session) is None
    world.upgrade(session)


@pytest.mark.parametrize("probed", [False, True])
def test_a_try_takes_10_seconds_at_most(probed: bool) -> None:
    world = World()
    session = world.open()
    link = Link()
    session.websocket_opened(link, world.now)
    if probed:
        session.receive_probe("2probe", False, world.now)
    world.advance(9.999)
    assert link.released == []
    world.advance(0.001)
    assert link.released == [None]
    assert world.closing(session) is None
    world.upgrade(session)


def test_a_session_that_closes_takes_its_probe_with_it() -> None:
    world = World()
    session = world.open()
    link = world.probe(session)
    session.close(discard=True)
    assert link.released == [None]
    assert not session.receive_probe("5", False, world.now)
    assert not session.receive_probe("2probe", False, world.now)
    session.websocket_lost(link, None)
    assert world.closing(session) == FORCED_CLOSE
    assert link.probes == [b"3probe"]


@pytest.mark.parametrize("waits", [False, True])
def test_a_closing_session_closes_when_it_is_upgraded(waits: bool) -> None:
    world = World()
    session = world.open()
    link = world.probe(session)
    if waits:
        session.send("a")
    session.close()
    assert session.receive_probe("5", False, world.now)
    session.deliver()
    if waits:
        assert link.released == []
        assert taken(session) == [b"4a"]
        session.deliver()
    assert link.released == [None]
    assert world.closing(session) == FORCED_CLOSE


def test_noops_release_the_gets() -> None:
    world = World()
    session = world.open()
    first = world.poll(session)
    world.probe(session)
    assert first.ready == 1
    assert session.take_payload().body == b"6"
    for _ in range(2):
        link = world.poll(session)
        world.advance(0.09)
        assert link.ready == 0
        world.advance(0.01)
        assert link.ready == 1
        payload = session.take_payload()
        assert (payload.body, payload.compress) == (b"6", False)
    world.advance(0.35)
    late = world.poll(session)
    assert late.ready == 0
    world.advance(0.06)
    assert late.ready == 1


def test_there_are_no_noops_before_the_probe_and_after_the_try() -> None:
    world = World()
    session = world.open()
    link, waiting = Link(), world.poll(session)
    session.websocket_opened(link, world.now)
    world.advance(5)
    assert waiting.ready == 0
    session.receive_probe("2probe", False, world.now)
    session.take_payload()
    session.websocket_lost(link, None)
    waiting = world.poll(session)
    world.advance(5)
    assert waiting.ready == 0


def test_polling_goes_on_delivering_during_the_try() -> None:
    world = World()
    session = world.open()
    link = Link()
    session.websocket_opened(link, world.now)
    waiting = world.poll(session)
    session.send("a")
    assert waiting.ready == 1
    assert session.take_payload().body == b"4a"
    session.receive_probe("2probe", False, world.now)
    session.send("b")
    assert world.get(session) == b"4b"
    assert world.post(session, "4c")
    assert world.messages(session) == ["c"]
    session.send("d")
    assert session.receive_probe("5", False, world.now)
    assert (link.ready, taken(session)) == (1, [b"4d"])


def test_what_is_sent_behind_a_noop_waits_for_the_next_carrier() -> None:
    world = World()
    session = world.open()
    waiting = world.poll(session)
    link = world.probe(session)
    session.send("a")
    session.send_packet(Encoded(b"4volatile"), volatile=True)
    assert waiting.ready == 1
    assert session.take_payload().body == b"6"
    assert session.receive_probe("5", False, world.now)
    assert (link.ready, taken(session)) == (1, [b"4a"])


def test_a_noop_that_was_not_taken_does_not_silence_the_websocket() -> None:
    world = World()
    session = world.open()
    world.poll(session)
    link = world.upgrade(session)
    session.send("a")
    assert link.ready == 1
    assert session.take_payload().body == b"1"
    session.send("b")
    assert (link.ready, taken(session)) == (1, [b"4a", b"4b"])


@pytest.mark.parametrize("waits", [False, True])
def test_a_get_that_still_waits_is_closed_by_the_upgrade(waits: bool) -> None:
    world = World()
    session = world.open()
    link = Link()
    session.websocket_opened(link, world.now)
    waiting = world.poll(session)
    if waits:
        session.send("a")
    assert session.receive_probe("5", False, world.now)
    assert waiting.ready >= 1
    session.send("b")
    signals = link.ready
    assert session.take_payload().body == b"1"
    session.send("c")
    assert link.ready == signals == 1
    assert taken(session) == ([b"4a"] if waits else []) + [b"4b", b"4c"]


def test_a_get_that_is_lost_after_the_upgrade_is_no_loss() -> None:
    world = World()
    session = world.open()
    waiting = world.poll(session)
    link = Link()
    session.websocket_opened(link, world.now)
    session.receive_probe("5", False, world.now)
    session.poll_lost(waiting)
    assert world.closing(session) is None
    session.websocket_lost(link, None)
    session.deliver()
    assert world.closing(session) == TRANSPORT_CLOSE


def test_a_get_that_waits_when_an_upgraded_session_ends() -> None:
    world = World()
    session = world.open()
    world.poll(session)
    link = Link()
    session.websocket_opened(link, world.now)
    session.receive_probe("5", False, world.now)
    session.websocket_lost(link, None)
    assert session.take_payload().body == b"1"


def test_a_post_that_is_being_read_is_cut_by_the_upgrade() -> None:
    world = World()
    session = world.open()
    post = Link()
    session.receive_post(post)
    world.upgrade(session)
    assert post.released == [None]
    session.post_lost(post)
    assert world.closing(session) is None


def test_the_form_of_packets_after_the_upgrade_is_that_of_its_request() -> None:
    world = World(allow_eio3=True)
    session = world.open(protocol=3, b64="1")
    session.websocket_opened(Link(), world.now)
    session.receive_probe("5", False, world.now)
    assert session.websocket_form(Encoded(b"\x01", True)) == (b"\x04\x01", True)
    session = world.open()
    session.websocket_opened(Link(), world.now)
    session.receive_probe("5", True, world.now)
    assert session.websocket_form(Encoded(b"\x01", True)) == (b"bAQ==", False)


# What waits for a slow client


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_the_bytes_that_wait_are_bounded(transport: str) -> None:
    world = World(limits=Limits(outbox_bytes=10))
    session = world.open(transport)
    session.send_packet(Encoded(b"4" * 9))
    assert session.outbox_bytes == 9
    session.send_packet(Encoded(b"4" * 1_000))  # below the bound one packet is always accepted
    assert session.outbox_bytes == 1_009
    assert session.state == "open"
    session.send_packet(Encoded(b"4"))
    assert world.upper.deferred == [session]
    assert world.closing(session) == ("transport close", {"limit": "outbox_bytes", "value": 1_009})
    assert world.engine.limit_hits == {"outbox_bytes": 1}
    assert session.take_packets() == []
    if transport == "websocket":
        link = session._carrier
        assert isinstance(link, Link)
        assert link.released == [1013]


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_the_packets_that_wait_are_bounded(transport: str) -> None:
    world = World(limits=Limits(outbox_packets=3, outbox_burst_time=5.0))
    session = world.open(transport)
    for _ in range(20):
        session.send("a")  # a burst
    world.advance(4.9)
    assert session.state == "open"
    assert len(session.take_packets()) == 20
    for _ in range(4):
        session.send("a")
    world.advance(4.9)
    assert session.state == "open"
    world.advance(0.2)
    assert world.closing(session) == ("transport close", {"limit": "outbox_packets", "value": 4})
    assert world.engine.limit_hits == {"outbox_packets": 1}


def test_who_takes_one_burst_after_another_is_not_slow() -> None:
    world = World(limits=Limits(outbox_packets=3, outbox_burst_time=5.0))
    session = world.open()
    for _ in range(6):
        for _ in range(10):
            session.send("a")
        world.advance(3)
        session.take_packets()
        for _ in range(10):
            session.send("a")
        world.advance(3)
        session.take_packets()
    assert session.state == "open"
    assert world.engine.limit_hits == {}


def test_a_burst_has_its_bound_too() -> None:
    world = World(limits=Limits(outbox_packets=3))
    session = world.open()
    for _ in range(3 * 16):
        session.send("a")
    assert session.state == "open"
    session.send("a")
    assert world.closing(session) == ("transport close", {"limit": "outbox_packets", "value": 48})


def test_a_get_that_waits_takes_the_first_part_of_a_burst() -> None:
    world = World(limits=Limits(outbox_bytes=10))
    session = world.open()
    link = Link()
    taken: list[bytes] = []
    link.flush = lambda: taken.append(session.take_payload().body)  # type: ignore[method-assign]
    assert session.receive_poll(link)
    for _ in range(10):
        session.send("a")  # 20 bytes
    assert (taken, session.outbox_bytes) == ([b"\x1e".join([b"4a"] * 5)], 10)
    assert session.state == "open"
    session.send("a")
    assert world.closing(session) == ("transport close", {"limit": "outbox_bytes", "value": 10})


def test_a_ping_is_sent_even_if_the_bound_is_reached() -> None:
    world = World(limits=Limits(outbox_packets=1))
    session = world.open()
    session.send("a")
    world.advance(25)
    assert world.get(session) == b"4a\x1e2"


def test_a_packet_and_its_attachments_wait_together_or_not_at_all() -> None:
    world = World(limits=Limits(outbox_packets=2, outbox_bytes=100))
    session = world.open()
    packets = [Encoded(b"451-"), Encoded(b"\x01", True), Encoded(b"\x02", True)]
    session.send_packets(packets)
    assert session.outbox_bytes == 6
    session.send_packets(packets)
    assert session.outbox_bytes == 12
    world.advance(6)
    assert world.closing(session) == ("transport close", {"limit": "outbox_packets", "value": 6})
    session.send_packets(packets)
    assert session.take_packets() == []


class Impatient(Link):
    """Takes everything as soon as it is told that there is something."""

    def __init__(self, session: Session) -> None:
        super().__init__()
        self.session = session
        self.batches: list[list[bytes]] = []

    def output_ready(self) -> None:
        super().output_ready()
        self.batches.append([packet.data for packet in self.session.take_packets()])


def test_attachments_are_in_place_before_the_carrier_is_told() -> None:
    world = World()
    session = world.open("websocket")
    link = Impatient(session)
    session.carry_by_websocket(link, False)
    packets = [Encoded(b"451-"), Encoded(b"\x01", True)]
    session.send_packets(packets)
    session.send_packets(packets)
    session.send_packets([Encoded(b"4a")])
    assert link.batches == [[b"451-", b"\x01"], [b"451-", b"\x01"], [b"4a"]]


def test_a_carrier_is_told_once_until_it_takes() -> None:
    world = World()
    session, link = world.open_websocket()
    for _ in range(3):
        session.send("a")
    assert link.ready == 1
    assert len(session.take_packets()) == 3
    assert session.take_packets() == []
    session.send("b")
    assert link.ready == 2


def test_volatile_over_polling() -> None:
    world = World()
    session = world.open()
    assert not session.writable
    session.send_packet(Encoded(b"4lost"), volatile=True)
    waiting = world.poll(session)
    assert waiting.ready == 0
    assert session.writable
    session.send_packet(Encoded(b"4a"), volatile=True)
    assert not session.writable
    session.send_packet(Encoded(b"4lost"), volatile=True)
    session.send_packets([Encoded(b"451-"), Encoded(b"\x01", True)], volatile=True)
    assert session.take_payload().body == b"4a"


def test_volatile_over_websocket() -> None:
    world = World()
    session, _ = world.open_websocket()
    session.send_packets([Encoded(b"451-"), Encoded(b"\x01", True)], volatile=True)
    session.send_packet(Encoded(b"4lost"), volatile=True)
    assert taken(session) == [b"451-", b"\x01"]
    session.blocked = True
    session.send_packet(Encoded(b"4lost"), volatile=True)
    session.send_packets([Encoded(b"451-"), Encoded(b"\x01", True)], volatile=True)
    assert taken(session) == []
    session.blocked = False
    assert session.writable
    session.close(discard=True)
    assert not session.writable


def test_who_waits_for_room_is_told_once() -> None:
    world = World()
    told: list[str] = []
    session, polling = world.open("websocket"), world.open()
    for one in (session, polling):
        one.notify_when_taken(lambda: told.append("at once"))
        one.send("a")
        one.notify_when_taken(lambda: told.append("first"))
        one.notify_when_taken(lambda: told.append("second"))
    assert told == ["at once"] * 2
    session.take_packets()
    assert told == ["at once"] * 2 + ["first", "second"]
    world.get(polling)
    session.take_packets()
    assert told == ["at once"] * 2 + ["first", "second"] * 2


def test_who_waits_for_room_is_told_of_the_end() -> None:
    world = World()
    told: list[str] = []
    session = world.open()
    session.send("a")
    session.notify_when_taken(lambda: told.append(session.state))
    session.close(discard=True)
    assert told == ["closed"]
    session.notify_when_taken(lambda: told.append("late"))
    assert told == ["closed", "late"]


def test_the_layer_above_may_have_enough() -> None:
    world = World()
    session, link = world.open_websocket()
    session.pause(True)
    session.pause(False)
    assert link.pauses == [True, False]


@pytest.mark.parametrize("paused", [False, True])
def test_a_pause_outlives_the_upgrade(paused: bool) -> None:
    world = World()
    session = world.open()
    session.pause(True)
    session.pause(paused)
    link = world.upgrade(session)
    assert link.pauses == ([True] if paused else [])
    assert session.paused is paused


# Listeners


def test_listeners() -> None:
    world = World()
    session = world.open()
    heard: list[tuple[Any, ...]] = []
    for name in ("message", "close", "upgrading", "upgrade", "heartbeat", "packet", "drain"):

        def listener(*args: Any, name: str = name) -> None:
            heard.append((name, *args))

        assert session.on(name)(listener) is listener
    session.on("message", lambda data: heard.append(("again", data)))
    world.post(session, "4a\x1e3\x1ebAQ==\x1e6")
    assert heard == [
        ("packet", "4a"),
        ("message", "a"),
        ("again", "a"),
        ("packet", "3"),
        ("heartbeat",),
        ("packet", b"\x01"),
        ("message", b"\x01"),
        ("again", b"\x01"),
        ("packet", "6"),
    ]
    heard.clear()
    session.send("x")
    world.get(session)
    session.deliver()
    world.upgrade(session)
    assert heard == [("drain",), ("upgrading", "websocket"), ("upgrade", "websocket")]
    heard.clear()
    session.send("y")
    session.close()
    taken(session)
    session.deliver()
    assert heard == [("drain",), ("close", "forced close", None)]
    assert taken(session) == []
    assert not session.events


def test_a_session_has_no_other_events() -> None:
    session = World().open()
    with pytest.raises(ValueError, match="a session has no event 'data'"):
        session.on("data", print)


def test_send_takes_text_and_bytes() -> None:
    world = World()
    session = world.open()
    for data in ("é\ud800", b"\x01", bytearray(b"\x02"), memoryview(b"\x03")):
        session.send(data)
    assert world.get(session) == "4é�\x1ebAQ==\x1ebAg==\x1ebAw==".encode()
    wrong: Any = 5
    with pytest.raises(TypeError, match="a message is str or bytes, not int"):
        session.send(wrong)
    assert session.outbox_bytes == 0


def test_the_session_id_is_not_in_the_repr() -> None:
    session = World(generate_id=lambda request: "secretsecretsecret").open()
    assert repr(session) == "<Session secret… polling open>"
