"""A client that was away comes back, at whichever server, and gets what it missed: all of it, once, in order."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.clusters.cluster import NAMES, PATIENCE, Cluster, wait_until
from tests.clusters.drivers import DRIVERS, Driver
from tests.clusters.engines import Redis

RECOVERING = [driver for driver in DRIVERS if driver.recovery]


def on(drivers: list[Driver]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("driver", drivers, indirect=True, ids=lambda driver: driver.name)


GUEST = "traveller"


@pytest.fixture
def guest(cluster: Cluster) -> Iterator[str]:
    """A client that is away at times, and in a room of its own."""
    yield GUEST
    cluster.clients("disconnect", name=GUEST)
    wait_until(lambda: len(cluster.servers["p1"]("fetch_sockets")) == len(NAMES), "the guest has left")
    cluster.clear()


def arrive(cluster: Cluster, home: str) -> str:
    """Connect the guest; return its id. It has seen an offset then."""
    guest_id: str = cluster.clients("connect", name=GUEST, url=cluster.url(home))["id"]
    cluster.clients("ask", name=GUEST, event="join", args=["abroad"])
    cluster.servers[home]("emit", rooms=["abroad"], event="welcome", args=[])
    received = cluster.clients("wait", name=GUEST, count=1, seconds=PATIENCE)
    assert [args[0] for args in received] == ["welcome"]
    return guest_id


def go_away(cluster: Cluster) -> None:
    """Have the guest lose its connection, and its server notice."""
    cluster.clients("cut", name=GUEST)
    for name in NAMES:
        wait_until(
            lambda name=name: len(cluster.servers[name]("fetch_sockets")) == len(NAMES),
            "the guest's server notices",
        )


@on(RECOVERING)
@pytest.mark.parametrize(("home", "other"), list(itertools.product(NAMES, NAMES)))
def test_what_was_missed_comes_back(cluster: Cluster, guest: str, home: str, other: str) -> None:
    guest_id = arrive(cluster, home)
    go_away(cluster)
    expected: list[list[Any]] = []
    for number, sender in enumerate(NAMES):
        for target, args, for_guest in (
            ({}, [number, {"bytes": b"\x01\x02"}], True),
            ({"rooms": ["abroad"]}, [number, "room"], True),
            ({"rooms": ["elsewhere"]}, [number, "other room"], False),
            ({"rooms": [guest_id]}, [number, "private"], True),
            ({"except": ["abroad"]}, [number, "excepted"], False),
        ):
            cluster.servers[sender]("emit", event="missed", args=args, **target)
            if for_guest:
                expected.append(["missed", *args])
            cluster.fence(sender)  # before the next: so that there is one order
            expected.append(["fence"])
    outcome = cluster.clients("back", name=guest, url=cluster.url(other))
    assert outcome == {"id": guest_id, "recovered": True}
    for sender in NAMES:
        cluster.servers[sender]("emit", rooms=["abroad"], event="back", args=[sender])
        received = cluster.clients("wait", name=guest, last=["back", sender], seconds=PATIENCE)
        expected.append(["back", sender])
    if cluster.driver.node_recovers_all or other.startswith("p"):
        assert len(received) - 1 == len(expected)
        heard = [args[:-1] for args in received[1:] if args[0] != "fence"]
        wanted = [args for args in expected if args[0] != "fence"]
        if not cluster.driver.node_keeps_order:
            heard.sort(key=repr)
            wanted.sort(key=repr)
        assert heard == wanted
    (found,) = cluster.servers[home]("fetch_sockets", rooms=["abroad"])
    assert found["id"] == guest_id
    assert found["data"] == {"name": GUEST}
    assert sorted(found["rooms"]) == sorted([guest_id, "abroad"])


@on(RECOVERING)
@pytest.mark.parametrize("other", ["p1", "n1"])
def test_who_left_in_order_starts_again(cluster: Cluster, guest: str, other: str) -> None:
    guest_id = arrive(cluster, "p1")
    cluster.clients("disconnect", name=guest)
    outcome = cluster.clients("back", name=guest, url=cluster.url(other))
    assert not outcome["recovered"]
    assert outcome["id"] != guest_id


@on(RECOVERING)
def test_a_session_is_given_back_once(cluster: Cluster, guest: str) -> None:
    arrive(cluster, "p1")
    go_away(cluster)
    assert cluster.clients("back", name=guest, url=cluster.url("p2"))["recovered"]
    go_away(cluster)
    assert cluster.clients("back", name=guest, url=cluster.url("p1"))["recovered"]


@on([driver for driver in RECOVERING if driver.engine is Redis])  # the one that is quick enough
def test_nothing_is_lost_or_doubled_on_a_long_journey(cluster: Cluster, guest: str) -> None:
    """While everyone talks, the guest is cut off again and again and comes back at another server of ours."""
    arrive(cluster, "p1")
    senders = ("p1", "p2", "n1")
    stop = threading.Event()
    sent = dict.fromkeys(senders, 0)

    def talk(sender: str) -> None:
        while not stop.wait(0.004):
            cluster.servers[sender]("emit", rooms=["abroad"], event="talk", args=[sender, sent[sender]])
            sent[sender] += 1

    talkers = [threading.Thread(target=talk, args=[sender]) for sender in senders]
    for talker in talkers:
        talker.start()
    choice = random.Random(7)
    try:
        home = "p1"
        for _ in range(12):
            stop.wait(choice.uniform(0.0, 0.15))
            cluster.clients("cut", name=guest)
            wait_until(
                lambda home=home: len(cluster.servers[home]("fetch_sockets", local=True)) == 1,
                "the guest's server notices",
            )
            stop.wait(choice.uniform(0.0, 0.15))
            home = choice.choice(["p1", "p2"])
            outcome = cluster.clients("back", name=guest, url=cluster.url(home))
            assert outcome["recovered"]
    finally:
        stop.set()
        for talker in talkers:
            talker.join()
    for sender in senders:
        cluster.servers[sender]("emit", rooms=["abroad"], event="talk", args=[sender, "end"])
    for sender in senders:
        received = cluster.clients("wait", name=guest, last=["talk", sender, "end"], seconds=PATIENCE)
    for sender in senders:
        heard = [args[2] for args in received if args[0] == "talk" and args[1] == sender]
        assert heard == [*range(sent[sender]), "end"], f"from {sender}"
        assert sent[sender] > 100
