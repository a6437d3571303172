"""Requests at nodes that do not have their session: they are served all the same."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import anyio
import anyio.lowlevel
import msgspec
import pytest

from sio_core import AdapterError, Limits, Server
from sio_core.adapters.engine_messages import EngineMessage, decode_engine_message, encode_engine_message
from sio_core.testing import settle
from tests.adapters.engine_nodes import BusEngine, EngineBus, Wire, advance, engine_nodes, until

pytestmark = pytest.mark.anyio

UNKNOWN = "Session ID unknown"


async def upgraded(wire: Wire, poll: Wire | None = None) -> Wire:
    """Go through an upgrade as the official client does."""
    await settle()
    assert wire.status == 101
    assert wire.reads
    wire.send_message("2probe")
    await settle()
    assert wire.messages() == ["3probe"]
    if poll is not None:
        assert poll.body == "6"
    wire.send_message("5")
    await settle()
    return wire


@pytest.mark.feature(223)
async def test_a_session_may_be_used_at_another_node_from_the_second_request_on() -> None:
    async with engine_nodes() as (a, b):
        sid = json.loads(a.request("GET", "transport=polling").body[1:])["sid"]
        post = b.post(sid, "40")
        assert post.status == 0
        await settle()
        assert (post.status, post.body) == (200, "ok")
        poll = b.get(sid)
        await settle()
        assert poll.body.startswith('40{"sid":')
        assert len(a.io.sockets.sockets) == 1
        assert b.io.engine.clients_count == 0


async def test_a_poll_waits_at_the_other_node_until_there_is_something() -> None:
    async with engine_nodes() as (a, b):
        sid = await a.handshake()
        poll = b.get(sid)
        await settle()
        assert poll.status == 0
        a.emit("one")
        a.emit("two")
        await settle()
        assert poll.body == '42["say","one"]\x1e42["say","two"]'
        assert b.engine.stats()["borrowed"] == 0


async def test_binary_data_goes_through_both_ways() -> None:
    async with engine_nodes() as (a, b):
        sid = await a.handshake()
        b.post(sid, '451-["say",{"_placeholder":true,"num":0}]\x1ebAAEC')
        a.emit(b"\x00\xff")
        poll = b.get(sid)
        await settle()
        assert a.events == [[b"\x00\x01\x02"]]
        assert poll.body == '451-["say",{"_placeholder":true,"num":0}]\x1ebAP8='


@pytest.mark.parametrize("seed", range(5))
async def test_what_is_posted_at_changing_nodes_arrives_in_order(seed: int) -> None:
    chance = random.Random(seed)
    async with engine_nodes(3, EngineBus(chance)) as nodes:
        sid = await nodes[0].handshake()
        for number in range(60):
            post = chance.choice(nodes).post(sid, f'42["say",{2 * number}]\x1e42["say",{2 * number + 1}]')
            await until(lambda: post.status)  # noqa: B023
            assert post.body == "ok"
        assert nodes[0].events == [[number] for number in range(120)]


@pytest.mark.parametrize("seed", range(5))
async def test_what_is_sent_is_polled_in_order_at_changing_nodes(seed: int) -> None:
    chance = random.Random(seed)
    async with engine_nodes(3, EngineBus(chance)) as nodes:
        sid = await nodes[0].handshake()
        bodies: list[str] = []
        sent = 0
        while sent < 100:
            poll = chance.choice(nodes).get(sid)
            while not poll.status:
                if chance.random() < 0.2:
                    nodes[0].emit(sent)
                    sent += 1
                await anyio.lowlevel.checkpoint()
            assert poll.status == 200
            bodies += poll.body.split("\x1e")
        if len(bodies) < sent:
            poll = nodes[1].get(sid)
            await until(lambda: poll.status)
            bodies += poll.body.split("\x1e")
        assert bodies == [f'42["say",{number}]' for number in range(sent)]


async def test_an_unknown_session_is_refused_when_no_node_has_answered_in_time() -> None:
    async with engine_nodes() as nodes:
        wires = [
            nodes[1].get("A" * 20),
            nodes[1].post("A" * 20, "4x"),
            nodes[1].websocket("A" * 20),
        ]
        await settle()
        assert [wire.status for wire in wires] == [0, 0, 0]
        await advance(nodes, 1.1)
        assert [wire.status for wire in wires] == [400, 400, 400]
        assert json.loads(wires[0].body) == {"code": 1, "message": UNKNOWN}


async def test_a_session_id_of_another_length_is_refused_without_asking() -> None:
    bus = EngineBus()
    async with engine_nodes(bus=bus) as (a, _):
        wire = a.get("short")
        await settle()
        assert wire.status == 400
        assert bus.published == []


async def test_a_session_of_engine_io_3_is_not_looked_for() -> None:
    async with engine_nodes() as (a, _):
        assert a.request("GET", f"EIO=3&transport=polling&sid={'A' * 20}").status == 400


@pytest.mark.limit("cluster_lookups")
async def test_no_more_than_so_many_requests_wait_for_an_answer() -> None:
    async with engine_nodes(limits=Limits(cluster_lookups=2)) as nodes:
        a, b = nodes
        sid = await b.handshake()
        for number in range(20):
            posts = [a.post(sid, f'42["say",{number}]') for _ in range(2)]
            await settle()
            assert [post.body for post in posts] == ["ok", "ok"]
        assert a.io.stats()["limit_hits"] == {}
        wires = []
        for letter in "ABC":
            wires.append(a.get(letter * 20))
            await settle()
        assert [wire.status for wire in wires] == [0, 0, 400]
        assert a.io.stats()["limit_hits"] == {"cluster_lookups": 1}
        await advance(nodes, 1.1)
        post = a.post(sid, '42["say",1]')
        await settle()
        assert post.body == "ok"


@pytest.mark.feature(224)
@pytest.mark.limit("cluster_lookup_time")
async def test_the_time_of_an_answer() -> None:
    bus = EngineBus()
    async with engine_nodes(bus=bus, ping_interval=900, limits=Limits(cluster_lookup_time=3.0)) as nodes:
        a, b = nodes
        sid = await a.handshake()
        for number in range(20):
            a.emit(number)
            bus.held = []
            poll = b.get(sid)
            await advance(nodes, 2.8)
            bus.release()
            await settle()
            assert poll.body == f'42["say",{number}]'
            poll.lose()
        assert b.io.stats()["limit_hits"] == {}
        bus.held = []
        poll = b.get(sid)
        await advance(nodes, 3.1)
        assert poll.status == 400
        assert b.io.stats()["limit_hits"] == {"cluster_lookup_time": 1}


@pytest.mark.parametrize("first", [0, 1])
async def test_a_second_get_elsewhere_is_refused_and_the_first_goes_on(first: int) -> None:
    async with engine_nodes(3) as nodes:
        sid = await nodes[0].handshake()
        poll = nodes[first].get(sid)
        await settle()
        second = nodes[2].get(sid)
        await settle()
        assert second.status == 400
        nodes[0].emit("x")
        await settle()
        assert poll.body == '42["say","x"]'


async def test_a_second_get_at_the_sessions_own_node_closes_it_as_ever() -> None:
    async with engine_nodes() as (a, b):
        sid = await a.handshake()
        poll = b.get(sid)
        await settle()
        assert a.get(sid).status == 400
        await settle()
        assert poll.body == "1"
        assert a.events == ["transport error"]


async def test_a_get_that_is_aborted_elsewhere_ends_the_session() -> None:
    async with engine_nodes() as (a, b):
        sid = await a.handshake()
        poll = b.get(sid)
        await settle()
        poll.lose()
        await settle()
        assert a.events == ["transport error"]
        assert a.engine.stats()["lent"] == 0


async def test_a_post_that_is_aborted_elsewhere_ends_the_session() -> None:
    async with engine_nodes() as (a, b):
        sid = await a.handshake()
        wire = Wire(b)
        wire.send(
            f"POST /socket.io/?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: h\r\n"
            "Content-Length: 9\r\n\r\n42".encode()
        )
        await settle()
        wire.lose()
        await settle()
        assert a.events == ["transport error"]


async def test_a_body_that_is_too_large_is_refused_elsewhere_and_the_session_goes_on() -> None:
    async with engine_nodes(max_http_buffer_size=50) as (a, b):
        sid = await a.handshake()
        wire = b.post(sid, "4" * 51)
        await settle()
        assert wire.status == 413
        b.post(sid, '42["say",1]')
        await settle()
        assert a.events == [[1]]
        assert b.engine.stats()["borrowed"] == 0


async def test_a_parse_error_elsewhere_ends_the_session_after_what_came_before_it() -> None:
    async with engine_nodes() as (a, b):
        sid = await a.handshake()
        b.post(sid, '42["say",1]\x1eabc')
        await settle()
        assert a.events == [[1], "parse error"]


async def test_a_client_that_leaves_by_a_close_packet_elsewhere_is_gone() -> None:
    async with engine_nodes() as (a, b):
        sid = await a.handshake()
        poll = b.get(sid)
        await settle()
        assert b.post(sid, "1").status == 0
        await settle()
        assert poll.body == "6"
        assert a.events == ["transport close"]


async def test_a_session_that_the_server_closes_closes_its_get_elsewhere() -> None:
    async with engine_nodes() as (a, b):
        sid = await a.handshake()
        poll = b.get(sid)
        await settle()
        a.io.engine.clients[sid].close()
        await settle()
        assert poll.body == "1"
        assert a.io.engine.clients_count == 0


async def test_a_session_that_is_closed_between_two_gets_is_told_elsewhere() -> None:
    async with engine_nodes() as (a, b):
        sid = await a.handshake()
        a.io.disconnect_sockets(close=True)
        await settle()
        assert a.io.engine.clients_count == 1  # its client has to be told
        first, second = b.get(sid), None
        await settle()
        assert first.body == "41"
        second = b.get(sid)
        await settle()
        assert second.body == "6\x1e1"
        assert a.io.engine.clients_count == 0


async def test_a_post_whose_packets_end_the_session_is_answered_at_once() -> None:
    async with engine_nodes() as (a, b):
        sid = await a.handshake()
        post = b.post(sid, "9")
        other = b.post(sid, "42[")
        await settle()
        assert (post.status, other.status) == (200, 200)
        assert a.events == ["parse error"]


async def test_heartbeats_go_through_polling() -> None:
    async with engine_nodes(ping_interval=5, ping_timeout=2) as (a, b):
        sid = await a.handshake()
        for _ in range(3):
            poll = b.get(sid)
            await advance([a, b], 5.2)
            assert poll.body == "2"
            b.post(sid, "3")
            await settle()
        assert a.io.engine.clients_count == 1


async def test_an_upgrade_elsewhere_and_messages_both_ways() -> None:
    async with engine_nodes(ping_interval=5, ping_timeout=2) as (a, b):
        sid = await a.handshake()
        poll = a.get(sid)
        wire = await upgraded(b.websocket(sid), poll)
        wire.send_message('42["say",1]')
        wire.send_message('420["ask","x"]')
        a.emit(b"\x01")
        await settle()
        assert a.events == [[1]]
        assert wire.messages() == [
            "3probe",
            '451-["say",{"_placeholder":true,"num":0}]',
            b"\x01",
            '430["x"]',
        ] or wire.messages() == [
            "3probe",
            '430["x"]',
            '451-["say",{"_placeholder":true,"num":0}]',
            b"\x01",
        ]
        assert a.io.engine.clients[sid].transport == "websocket"
        for number in range(1, 11):
            await advance([a, b], 5.1)
            assert wire.messages().count("2") == number
            wire.send_message("3")
            await settle()
        assert b.engine.stats()["borrowed"] == 1


async def test_an_upgrade_at_the_sessions_own_node_lets_the_get_elsewhere_go() -> None:
    async with engine_nodes() as (a, b):
        sid = await a.handshake()
        poll = b.get(sid)
        await settle()
        wire = await upgraded(a.websocket(sid), poll)
        a.emit(1)
        await settle()
        assert wire.messages()[1:] == ['42["say",1]']


@pytest.mark.parametrize("seed", range(20))
async def test_nothing_is_lost_doubled_or_reordered_by_an_upgrade(seed: int) -> None:
    chance = random.Random(seed)
    async with engine_nodes(3, EngineBus(chance)) as nodes:
        a = nodes[0]
        sid = await a.handshake()
        sent = received = 0

        async def go_on(condition: Callable[[], object]) -> None:
            """Have the server send now and then, until a condition holds."""
            nonlocal sent
            with anyio.fail_after(5):
                while not condition():
                    if chance.random() < 0.1:
                        a.emit(sent)
                        sent += 1
                    await anyio.lowlevel.checkpoint()

        poll = chance.choice(nodes).get(sid)
        wire = chance.choice(nodes).websocket(sid)
        await go_on(lambda: wire.status)
        assert wire.status == 101
        wire.send_message("2probe")
        for _ in range(chance.randrange(3)):
            post = chance.choice(nodes).post(sid, f'42["say",{received}]\x1e42["say",{received + 1}]')
            received += 2
            await go_on(lambda: post.status)  # noqa: B023
            assert post.body == "ok"
        await go_on(lambda: poll.status and "3probe" in wire.messages())
        texts: list[str | bytes] = [*poll.body.split("\x1e")]
        wire.send_message("5")
        for _ in range(5):
            wire.send_message(f'42["say",{received}]')
            received += 1
            await go_on(lambda: chance.random() < 0.2)
        a.emit(sent)
        sent += 1
        await until(lambda: len(a.events) >= received and wire.messages()[-1] == f'42["say",{sent - 1}]')
        assert a.events == [[number] for number in range(received)]
        texts += [text for text in wire.messages() if text not in {"6", "3probe"}]
        assert [text for text in texts if text != "6"] == [f'42["say",{n}]' for n in range(sent)]


async def test_what_comes_between_an_upgrade_and_its_answer_arrives_though_the_client_leaves() -> None:
    async with engine_nodes() as (a, b):
        sid = await a.handshake()
        poll = a.get(sid)
        wire = b.websocket(sid)
        await settle()
        wire.send_message("2probe")
        await settle()
        assert poll.body == "6"
        for message in ("5", '42["say",1]', '42["say",2]', "41"):
            wire.send_message(message)
        wire.lose()
        await settle()
        assert a.events == [[1], [2], "client namespace disconnect"]


async def test_a_websocket_that_is_lost_elsewhere_ends_the_session() -> None:
    async with engine_nodes() as (a, b):
        wire = await upgraded(b.websocket(await a.handshake()))
        wire.lose()
        await settle()
        assert a.events == ["transport close"]
        assert b.engine.stats()["borrowed"] == 0


async def test_a_session_that_the_server_closes_closes_its_websocket_elsewhere() -> None:
    async with engine_nodes() as (a, b):
        wire = await upgraded(b.websocket(await a.handshake()))
        a.emit("last")
        a.io.disconnect_sockets(close=True)
        await settle()
        assert wire.messages()[1:] == ['42["say","last"]', "41", "close"]
        assert (a.engine.stats()["lent"], b.engine.stats()["borrowed"]) == (0, 0)


async def test_a_probe_that_fails_elsewhere_leaves_the_session_polling() -> None:
    async with engine_nodes() as nodes:
        a, b = nodes
        sid = await a.handshake()
        for how in ("lost", "silent", "wrong"):
            wire = b.websocket(sid)
            await settle()
            assert wire.status == 101
            if how == "lost":
                wire.lose()
            elif how == "wrong":
                wire.send_message("4x")
            else:
                await advance(nodes, 10.2)
            await settle()
            a.emit(how)
            poll = b.get(sid)
            await settle()
            assert poll.body == f'42["say","{how}"]'
        await upgraded(b.websocket(sid))
        assert a.io.engine.clients[sid].transport == "websocket"


async def test_a_second_websocket_is_refused_while_one_is_tried() -> None:
    async with engine_nodes(3) as (a, b, c):
        sid = await a.handshake()
        wire = b.websocket(sid)
        await settle()
        second = c.websocket(sid)
        await settle()
        assert second.status == 400
        await upgraded(wire)


async def test_a_node_that_dies_takes_its_sessions_with_it() -> None:
    bus = EngineBus()
    async with engine_nodes(bus=bus) as nodes:
        a, b = nodes
        sid = await a.handshake()
        wire = await upgraded(b.websocket(sid))
        bus.engines.remove(a.engine)
        wire.send_message('42["say",1]')
        await settle()
        assert wire.messages()[1:] == ["close"]
        late = b.get(sid)
        await advance([b], 1.1)
        assert late.status == 400


async def test_a_silent_node_is_noticed() -> None:
    bus = EngineBus()
    async with engine_nodes(bus=bus, ping_interval=5, ping_timeout=2) as (a, b):
        sid = await a.handshake()
        poll = b.get(sid)
        await settle()
        bus.engines.remove(a.engine)
        await advance([b], 8.5)
        assert poll.body == "1"


async def test_the_node_with_the_client_dies() -> None:
    bus = EngineBus()
    async with engine_nodes(bus=bus) as (a, b):
        await upgraded(b.websocket(await a.handshake()))
        bus.engines.remove(b.engine)
        a.emit(1)
        await settle()
        assert a.events == ["transport error"]


async def test_a_bus_that_fails_ends_what_it_may_have_lost_and_nothing_else() -> None:
    bus = EngineBus()
    async with engine_nodes(bus=bus) as (a, b):
        wire = await upgraded(b.websocket(await a.handshake()))
        own = await a.handshake()
        bus.away = True
        a.emit(1)
        await settle()
        assert a.events == ["transport error"]
        assert list(a.io.engine.clients) == [own]
        wire.send_message('42["say",1]')
        await settle()
        assert wire.messages()[-1] == "close"
        assert a.engine.stats()["lost"] > 0


async def test_an_answer_that_comes_too_late_gives_the_session_back() -> None:
    bus = EngineBus()
    async with engine_nodes(bus=bus) as nodes:
        a, b = nodes
        sid = await a.handshake()
        bus.held = []
        poll = b.get(sid)
        await advance(nodes, 1.1)
        assert poll.status == 400
        bus.release()
        await settle()
        assert a.events == ["transport error"]  # its client was told that it is unknown


async def test_a_client_that_leaves_before_the_answer_is_noticed() -> None:
    bus = EngineBus()
    async with engine_nodes(bus=bus) as nodes:
        a, b = nodes
        sid = await a.handshake()
        bus.held = []
        poll = b.get(sid)
        await settle()
        poll.lose()
        bus.release()
        await advance(nodes, 1.2)
        assert a.events == ["transport error"]


async def test_closing_a_node_ends_what_it_carries_for_others() -> None:
    async with engine_nodes() as (a, b):
        wire = await upgraded(b.websocket(await a.handshake()))
        await b.io.close()
        await settle()
        assert a.events == ["transport close"]
        assert wire.messages()[-1] == "close"


async def test_a_session_that_the_official_server_gives_away_goes_on_here() -> None:
    """A node of the official package hands over a session that it has not announced yet."""
    bus = EngineBus()
    async with engine_nodes(1, bus) as (b,):
        sid = "S" * 20

        def tell(kind: int, request_id: int, data: dict[str, object]) -> None:
            b.engine.receive(
                encode_engine_message(EngineMessage(kind, "0ff1c1", b.engine.node_id, data, request_id))
            )

        class Official(BusEngine):
            """Hears, and is answered for by the test."""

            def receive(self, payload: bytes) -> None:
                message = decode_engine_message(payload)
                assert message is not None
                heard.append(message)

        heard: list[EngineMessage] = []
        official = Official(bus)
        official.node_id = "0ff1c1"
        bus.engines.append(official)
        wire = b.websocket(sid)
        await settle()
        tell(1, heard[-1].request_id, {"success": True})
        await settle()
        wire.send_message("2probe")
        wire.send_message("5")
        wire.send_message('42["say",2]')
        await settle()
        assert heard[-1].type == 4
        connect = [{"type": "message", "data": "0"}, {"type": "message", "data": '2["say",1]'}]
        tell(5, heard[-1].request_id, {"takeOver": True, "packets": connect})
        await settle()
        b.emit("hello")
        await settle()
        assert b.events == [[1], [2]]
        assert b.io.engine.clients[sid].upgraded
        assert wire.messages()[-1] == '42["say","hello"]'
        wire.lose()
        await settle()
        assert b.events[2:] == ["transport close"]
        assert b.io.engine.clients_count == 0


@pytest.mark.parametrize("seed", range(5))
async def test_junk_on_the_channel_changes_nothing(seed: int) -> None:
    chance = random.Random(seed)
    bus = EngineBus()
    async with engine_nodes(bus=bus) as (a, b):
        sid = await a.handshake()
        wire = await upgraded(b.websocket(sid))
        values: list[object] = [
            None,
            1,
            "x",
            [],
            {},
            sid,
            "polling",
            "read",
            b.engine.node_id,
            [{"type": "x"}],
        ]
        for _ in range(500):
            envelope = {
                "type": chance.choice([*range(8), "0", None]),
                "senderId": chance.choice(["bad", 1]),
                "requestId": chance.choice([0, 1, 2, 3, 4, "1"]),
                "recipientId": chance.choice([None, b.engine.node_id, a.engine.node_id]),
                "data": {
                    key: chance.choice(values)
                    for key in ("sid", "packet", "packets", "reason", "transportName", "type")
                },
                "_source": chance.choice(["_eio", "_eio", "x"]),
            }
            for node in (a, b):
                node.engine.receive(msgspec.msgpack.encode(envelope))
        await settle()
        a.engine.receive(b"\xc1")
        assert a.engine.stats()["dropped"] > 0
        wire.send_message('42["say",1]')
        a.emit(2)
        await settle()
        assert a.events == [[1]]
        assert wire.messages()[1:] == ['42["say",2]']


async def test_what_the_other_node_sends_too_fast_is_bounded() -> None:
    async with engine_nodes(limits=Limits(queued_bytes=10_000, queued_events=1)) as (a, b):

        @a.io.sockets.on("connection")
        def connected(socket: object) -> None:
            pass

        sid = await a.handshake()
        wire = await upgraded(b.websocket(sid))
        session = a.io.engine.clients[sid]
        session.pause(True)
        for _ in range(200):
            wire.send_message('42["say","' + "x" * 90 + '"]')
        await settle()
        assert sid not in a.io.engine.clients
        assert a.io.stats()["limit_hits"]["queued_bytes"] == 1


async def test_what_is_too_large_for_the_cluster_ends_its_session() -> None:
    async with engine_nodes(limits=Limits(cluster_message_bytes=2_000)) as (a, b):
        for elsewhere in (b.get, b.websocket):
            sid = await a.handshake()
            wire = elsewhere(sid)
            if elsewhere == b.websocket:
                await upgraded(wire)
            await settle()
            a.io.engine.clients[sid].send("x" * 1_900)
            a.io.engine.clients[sid].send("x" * 100)
            await settle()
            assert sid not in a.io.engine.clients
        assert a.io.stats()["limit_hits"] == {"cluster_message_bytes": 2}
        assert wire.messages()[-1] == "close"


async def test_a_server_shares_sessions_again_when_it_runs_again() -> None:
    bus = EngineBus()
    async with engine_nodes(bus=bus) as (a, b):
        await b.io.close()
        assert bus.engines == [a.engine]
        b.io.end()
        b.io.begin(b.runtime, lambda *args: None)
        post = b.post(await a.handshake(), '42["say",1]')
        await settle()
        assert post.body == "ok"


async def test_an_engine_belongs_to_one_server() -> None:
    engine = BusEngine(EngineBus())
    with pytest.raises(AdapterError, match="no server"):
        _ = engine.host
    Server(cluster_engine=engine)
    with pytest.raises(AdapterError, match="another server"):
        Server(cluster_engine=engine)
    with pytest.raises(ValueError, match="cluster_engine"):
        Server(cluster_engine="redis://")  # type: ignore[arg-type]
