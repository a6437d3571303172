"""sio_core.engineio.session: a replay, which may be longer than what may wait."""

from __future__ import annotations

from sio_core.engineio.packet import Encoded
from sio_core.engineio.session import REPLAY_STEP, Session
from sio_core.limits import Limits
from tests.engineio.world import World

BIG = REPLAY_STEP // 2 + 1


def encoded(name: str, size: int = 0) -> Encoded:
    return Encoded(f"4{name}".encode().ljust(size, b"."))


def names(packets: list[Encoded]) -> list[str]:
    return [packet.data.decode().rstrip(".")[1:] for packet in packets]


def take_all(session: Session) -> list[list[str]]:
    parts = []
    while part := session.take_packets():
        parts.append(names(part))
    return parts


def test_a_short_one_leaves_at_once_with_what_surrounds_it() -> None:
    world = World()
    session, link = world.open_websocket()
    session.send_packet(encoded("before"))
    session.replay([encoded("one"), encoded("two")])
    session.send_packet(encoded("after"))
    assert link.ready == 1
    assert take_all(session) == [["before", "one", "two", "after"]]
    assert session.outbox_bytes == 0


def test_a_long_one_leaves_in_parts_in_order_outside_the_bounds() -> None:
    world = World(limits=Limits(outbox_bytes=100, outbox_packets=3))
    session, link = world.open_websocket()
    session.send_packet(encoded("before"))
    session.replay([encoded(str(number), BIG) for number in range(6)])
    assert names(session.take_packets()) == ["before", "0", "1"]
    assert link.ready == 2  # there is more
    assert names(session.take_packets()) == ["2", "3"]
    assert names(session.take_packets()) == ["4"]
    assert take_all(session) == [["5"]]
    session.send_packet(encoded("after"))
    assert take_all(session) == [["after"]]


def test_what_is_sent_meanwhile_comes_behind_it() -> None:
    world = World()
    session, _ = world.open_websocket()
    session.replay([encoded(str(number), BIG) for number in range(3)])
    session.send_packet(encoded("behind"))
    assert names(session.take_packets()) == ["0", "1"]
    session.send_packet(encoded("also behind"))
    session.send_packet(encoded("volatile"), volatile=True)
    assert not session.writable
    assert take_all(session) == [["2", "behind", "also behind"]]
    assert session.writable


def test_two_replays_of_one_session() -> None:
    world = World()
    session, _ = world.open_websocket()
    session.replay([encoded(f"a{number}", BIG) for number in range(3)])
    session.send_packet(encoded("connect a"))
    session.replay([encoded(f"b{number}", BIG) for number in range(3)])
    session.send_packet(encoded("connect b"))
    parts = take_all(session)
    assert [name for part in parts for name in part] == [
        *("a0", "a1", "a2", "connect a"),
        *("b0", "b1", "b2", "connect b"),
    ]
    assert session.outbox_bytes == 0
    assert session._replay_bytes == 0


def test_each_get_fetches_a_part() -> None:
    world = World()
    session = world.open()
    session.replay([encoded(str(number), BIG) for number in range(3)])
    session.send_packet(encoded("connect"))
    bodies = [world.get(session) for _ in range(2)]
    parts = [[part.rstrip(b".") for part in body.split(b"\x1e")] for body in bodies if body]
    assert parts == [[b"40", b"41"], [b"42", b"4connect"]]


def test_a_ping_overtakes_and_confirms_nothing() -> None:
    world = World()
    session, _ = world.open_websocket()
    world.advance(25)
    assert session.take_packets()[0].data == b"2"
    session.receive_message("3", world.now)
    assert session.confirmed_at == world.now
    before = session.confirmed_at
    session.replay([encoded(str(number), BIG) for number in range(5)])
    assert names(session.take_packets()) == ["0", "1"]
    world.advance(25)
    assert session.take_packets()[0].data == b"2"
    session.receive_message("3", world.now)
    assert session.confirmed_at == before
    take_all(session)
    world.advance(25)
    assert session.take_packets()[0].data == b"2"
    session.receive_message("3", world.now)
    assert session.confirmed_at == world.now


def test_only_an_answer_to_a_ping_confirms() -> None:
    world = World()
    session, _ = world.open_websocket()
    world.advance(10)
    session.receive_message("3", world.now)
    assert session.confirmed_at == 0.0


def test_it_ends_with_the_session() -> None:
    world = World()
    session, link = world.open_websocket()
    session.replay([encoded(str(number), BIG) for number in range(5)])
    session.websocket_lost(link, None)
    assert session.take_packets() == []
    session.replay([encoded("late")])
    assert session.take_packets() == []


def test_a_closing_session_sends_all_of_it_first() -> None:
    world = World()
    session, _ = world.open_websocket()
    session.replay([encoded(str(number), BIG) for number in range(3)])
    session.close()
    assert world.closing(session) is None
    assert take_all(session) == [["0", "1"], ["2"]]
    session.deliver()
    assert world.closing(session) == ("forced close", None)
