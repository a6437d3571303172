"""What one server of a cluster does reaches the others, whoever wrote them: in every direction, on every driver."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clusters.cluster import NAMES, PATIENCE, ROOMS, Cluster, wait_until
from tests.clusters.drivers import DRIVERS

VALUES = [
    1,
    -3.5,
    2**40,
    True,
    None,
    "",
    "žluťoučký 🦊",
    [],
    {},
    {"nested": [{"deeper": [1, "two"]}]},
    "2026-01-01",
]
BYTES = [b"\x01\x02\x03", {"nested": [b"\xff", b""]}, "text"]
LONG = ["x" * 20_000, "ž" * 4_000]

EMITS: dict[str, tuple[dict[str, Any], list[Any], tuple[str, ...]]] = {
    "to everyone": ({}, VALUES, NAMES),
    "no argument": ({}, [], NAMES),
    "to a room": ({"rooms": ["red"]}, ["text"], ROOMS["red"]),
    "to a room whose name is a number": ({"rooms": ["17"]}, ["text"], ROOMS["17"]),
    "to two rooms": ({"rooms": ["red", "green"]}, ["text"], ("p1", "n1", "n2")),
    "to a room nobody is in": ({"rooms": ["empty"]}, ["text"], ()),
    "except a room": ({"except": ["green"]}, ["text"], ("p2", "n1")),
    "to rooms, except rooms": ({"rooms": ["red", "blue"], "except": ["green"]}, ["text"], ("p2", "n1")),
    "to a room, except the same": ({"rooms": ["red"], "except": ["red"]}, ["text"], ()),
    "bytes": ({}, BYTES, NAMES),
    "bytes to a room": ({"rooms": ["blue"]}, BYTES, ROOMS["blue"]),
    "long": ({}, LONG, NAMES),
    "long bytes": ({}, [b"\x07" * 20_000], NAMES),
    "volatile": ({"volatile": True}, ["text"], NAMES),
    "not compressed": ({"compress": False}, ["text"], NAMES),
}


@pytest.mark.parametrize("case", EMITS)
@pytest.mark.feature(207, 208, 210, 211, 212)
def test_emit(cluster: Cluster, case: str) -> None:
    target, args, receivers = EMITS[case]
    for sender in NAMES:
        cluster.servers[sender]("emit", event="hello", args=[sender, *args], **target)
        cluster.expect(sender, ["hello", sender, *args], receivers)


def test_emit_to_one_socket(cluster: Cluster) -> None:
    for sender in NAMES:
        for receiver in NAMES:
            cluster.servers[sender]("emit", event="private", args=[sender], rooms=[cluster.ids[receiver]])
            cluster.expect(sender, ["private", sender], (receiver,))


def test_emit_here_only(cluster: Cluster) -> None:
    for sender in NAMES:
        cluster.servers[sender]("emit", event="local", args=[sender], local=True)
        cluster.expect(sender, ["local", sender], (sender,))


def test_a_socket_broadcasts(cluster: Cluster) -> None:
    for sender in NAMES:
        cluster.clients("emit", name=sender, event="shout", args=[sender])
        others = tuple([name for name in NAMES if name != sender])
        wait_until(lambda others=others: all([cluster.received(o) for o in others]), "the others hear it")
        cluster.expect(sender, ["shout", sender], others)


@pytest.mark.parametrize("room", ["a#b", "*", "[ab]?", "with space", "ž", "a" * 20, "#"])
def test_rooms_of_any_name(cluster: Cluster, room: str) -> None:
    for member in ("p1", "n2"):
        cluster.clients("ask", name=member, event="join", args=[room])
    for sender in NAMES:
        wait_until(
            lambda sender=sender: len(cluster.servers[sender]("fetch_sockets", rooms=[room])) == 2,
            "the room has two members",
        )

        def reached(sender: str = sender) -> bool:
            # Where the room has a channel of its own, the others learn of it a moment later.
            cluster.servers[sender]("emit", event="named", args=[room], rooms=[room])
            cluster.fence(sender)
            return all([cluster.received(member) for member in ("p1", "n2")])

        wait_until(reached, f"{sender} reaches the room {room!r}")
        for client in NAMES:
            assert bool(cluster.received(client)) == (client in {"p1", "n2"})
            cluster.clients("clear", name=client)
    cluster.servers["p1"]("sockets_leave", rooms=[room], names=[room])
    for name in NAMES:
        wait_until(
            lambda name=name: not cluster.servers[name]("fetch_sockets", rooms=[room]), "the room is empty"
        )
    cluster.clear()


def test_namespaces_are_apart(cluster: Cluster) -> None:
    for name in NAMES:
        cluster.clients("connect", name=f"{name} custom", url=cluster.url(name), nsp="/custom")
    for sender in NAMES:

        def heard(sender: str = sender) -> bool:
            cluster.servers[sender]("emit", nsp="/custom", event="custom", args=[sender])
            heard = [
                cluster.clients("wait", name=f"{client} custom", last=["custom", sender], seconds=0.5)
                for client in NAMES
            ]
            return all([any([args[:2] == ["custom", sender] for args in received]) for received in heard])

        wait_until(heard, f"{sender} reaches every client of /custom")
        cluster.fence(sender)
    for name in NAMES:
        assert cluster.received(name) == []
        cluster.clients("disconnect", name=f"{name} custom")
        assert len(cluster.clients("received", name=f"{name} custom")) >= len(NAMES)


def test_the_events_of_one_server_stay_in_order(cluster: Cluster) -> None:
    count = 50
    running = [
        (sender, cluster.servers[sender].start("emit", event="count", args=[sender, number]))
        for number in range(count)
        for sender in NAMES
    ]
    for sender, command in running:
        cluster.servers[sender].finish(command)
    for sender in NAMES:
        cluster.fence(sender)
    for client in NAMES:
        received = cluster.received(client)
        for sender in NAMES:
            numbers = [args[2] for args in received if args[1] == sender]
            if not cluster.keeps_order(sender):
                numbers.sort()
            assert numbers == list(range(count)), f"{client}, from {sender}"
        cluster.clients("clear", name=client)


def test_fetch_sockets(cluster: Cluster) -> None:
    for asker in NAMES:
        found = cluster.servers[asker]("fetch_sockets")
        by_name = {socket["data"]["name"]: socket for socket in found}
        assert sorted(by_name) == sorted(NAMES)
        assert len(found) == len(NAMES)
        for name, socket in by_name.items():
            assert socket["id"] == cluster.ids[name]
            own = [room for room, members in ROOMS.items() if name in members]
            assert sorted(socket["rooms"]) == sorted([cluster.ids[name], *own]), f"{name}, asked by {asker}"
            assert socket["auth"] == {"name": name}
            assert socket["url"].startswith("/socket.io/?EIO=4&transport=websocket")


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ({"rooms": ["red"]}, ["n1", "p1"]),
        ({"rooms": ["red", "blue"], "except": ["green"]}, ["n1", "p2"]),
        ({"rooms": ["empty"]}, []),
    ],
)
def test_fetch_chosen_sockets(cluster: Cluster, target: dict[str, Any], names: list[str]) -> None:
    for asker in NAMES:
        found = cluster.servers[asker]("fetch_sockets", **target)
        assert sorted([socket["data"]["name"] for socket in found]) == names
    for asker in NAMES:
        found = cluster.servers[asker]("fetch_sockets", local=True)
        assert [socket["data"]["name"] for socket in found] == [asker]


def test_join_and_leave(cluster: Cluster) -> None:
    for sender in NAMES:
        room = f"of {sender}"

        def members(asker: str, room: str = room) -> list[str]:
            found = cluster.servers[asker]("fetch_sockets", rooms=[room])
            return sorted([socket["data"]["name"] for socket in found])

        cluster.servers[sender]("sockets_join", rooms=["red", "blue"], **{"except": ["green"]}, names=[room])
        for asker in NAMES:
            wait_until(lambda asker=asker: members(asker) == ["n1", "p2"], f"{asker} sees who joined {room}")
        cluster.servers[sender]("sockets_leave", rooms=["17"], names=[room, "red"])
        for asker in NAMES:
            wait_until(lambda asker=asker: members(asker) == [], f"{asker} sees who left {room}")
        assert members(sender, "red") == ["p1"]
        cluster.servers[sender]("sockets_join", rooms=[cluster.ids["n1"]], names=["red"])
        wait_until(lambda: members("p2", "red") == ["n1", "p1"], "the client is back in its room")
        wait_until(lambda: members("n2", "red") == ["n1", "p1"], "the client is back in its room")


@pytest.mark.parametrize("close", [False, True])
def test_disconnect(cluster: Cluster, close: bool) -> None:
    for sender in NAMES:
        guests = [f"guest of {name}" for name in NAMES]
        for guest, name in zip(guests, NAMES, strict=True):
            cluster.clients("connect", name=guest, url=cluster.url(name))
            cluster.clients("ask", name=guest, event="join", args=["leaving"])
        wait_until(
            lambda sender=sender: len(cluster.servers[sender]("fetch_sockets", rooms=["leaving"])) == 4,
            "the guests are there",
        )
        cluster.servers[sender]("disconnect_sockets", rooms=["leaving"], close=close)
        for guest in guests:
            reasons = cluster.clients("wait_disconnected", name=guest, seconds=PATIENCE)
            assert reasons == ["io server disconnect"], f"{guest}, by {sender}"
        assert len(cluster.servers[sender]("fetch_sockets")) == len(NAMES)


def test_server_side_emit(cluster: Cluster) -> None:
    for name in NAMES:
        cluster.servers[name]("server_events")
    for sender in NAMES:
        cluster.servers[sender]("server_side_emit", event="note", args=[sender, *VALUES])
        for name in NAMES:
            events: list[Any] = []

            def arrived(name: str = name, events: list[Any] = events) -> bool:
                events.extend(cluster.servers[name]("server_events"))
                return bool(events)

            if name != sender:
                wait_until(arrived, f"{name} hears {sender}")
                assert events == [[sender, *VALUES]]
        assert cluster.servers[sender]("server_events") == []


def test_server_side_emit_with_answers(cluster: Cluster) -> None:
    for sender in NAMES:
        outcome = cluster.servers[sender]("server_side_emit_with_ack", event="question", args=[42])
        others = sorted([f"{name}:42" for name in NAMES if name != sender])
        assert {**outcome, "answers": sorted(outcome["answers"])} == {"timed_out": False, "answers": others}


def test_server_side_emit_of_bytes(cluster: Cluster) -> None:
    json_only = cluster.driver.json_server_events
    for sender in NAMES:
        cluster.servers[sender]("server_side_emit", event="note", args=[b"\x01\x02"])
        for name in NAMES:
            if name == sender:
                continue
            events: list[Any] = []

            def arrived(name: str = name, events: list[Any] = events) -> bool:
                events.extend(cluster.servers[name]("server_events"))
                return bool(events)

            wait_until(arrived, f"{name} hears {sender}")
            # The official server leaves them as JSON has them.
            as_json = json_only and name.startswith("n")
            assert events == [[{"type": "Buffer", "data": [1, 2]} if as_json else b"\x01\x02"]]
        if not json_only:
            outcome = cluster.servers[sender](
                "server_side_emit_with_ack", event="question in bytes", args=[b"\x01"]
            )
            assert outcome == {"timed_out": False, "answers": [b"\x01\xff"] * 3}


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ({}, NAMES),
        ({"rooms": ["red"]}, ROOMS["red"]),
        ({"rooms": ["red", "blue"], "except": ["green"]}, ("n1", "p2")),
        ({"rooms": ["empty"]}, ()),
    ],
)
def test_broadcast_with_answers(cluster: Cluster, target: dict[str, Any], names: tuple[str, ...]) -> None:
    for sender in NAMES:
        outcome = cluster.servers[sender]("emit_with_ack", event="ask", args=[sender], timeout=5, **target)
        assert not outcome["timed_out"]
        assert sorted(outcome["answers"]) == sorted([f"{name}:{sender}" for name in names])
    cluster.clear()


def test_broadcast_of_bytes_with_answers(cluster: Cluster) -> None:
    for sender in NAMES:
        outcome = cluster.servers[sender](
            "emit_with_ack", event="ask in bytes", args=[b"\x0a"], timeout=5, rooms=["green"]
        )
        assert outcome == {"timed_out": False, "answers": [b"\x0a\x07"] * 2}
    cluster.clear()


def test_broadcast_that_nobody_answers(cluster: Cluster) -> None:
    for sender in NAMES:
        outcome = cluster.servers[sender]("emit_with_ack", event="no answer", args=[], timeout=0.3)
        assert outcome == {"timed_out": True, "answers": []}
    cluster.clear()


def test_ask_one_socket(cluster: Cluster) -> None:
    for sender in NAMES:
        for receiver in NAMES:
            answer = cluster.servers[sender](
                "ask_one", socket=cluster.ids[receiver], event="ask", args=[sender], timeout=5
            )
            assert answer == f"{receiver}:{sender}"
    cluster.clear()


@pytest.mark.parametrize(
    "driver",
    [driver for driver in DRIVERS if driver.all_rooms],
    indirect=True,
    ids=lambda driver: driver.name,
)
@pytest.mark.feature(209)
def test_all_rooms(cluster: Cluster) -> None:
    for asker in NAMES:
        assert cluster.servers[asker]("all_rooms") == sorted([*ROOMS, *cluster.ids.values()])
