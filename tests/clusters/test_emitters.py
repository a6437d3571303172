"""Every emitter of ours drives our servers and official ones, and so does every official emitter that works."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.clusters.cluster import HERE, NAMES, OFFICIAL_EMITTER, PATIENCE, Cluster, wait_until
from tests.clusters.drivers import DRIVERS, Driver
from tests.clusters.peers import Peer
from tests.clusters.test_mixed import EMITS

KINDS = ("sync", "asyncio", "trio", OFFICIAL_EMITTER)


def emitter_of(driver: Driver, url: str, kind: str) -> Peer:
    """Return an emitter as a program."""
    settings: dict[str, Any] = {"driver": driver.adapter, "url": url, "kind": kind}
    if kind == OFFICIAL_EMITTER:
        settings["options"] = driver.official_emitter
        return Peer("node", str(HERE / "node_emitter.cjs"), json.dumps(settings))
    settings["options"] = driver.emitter
    return Peer(
        sys.executable, "-P", "-W", "error", "-m", "tests.clusters.python_emitter", json.dumps(settings)
    )


pytestmark = pytest.mark.parametrize(
    "driver",
    [driver for driver in DRIVERS if driver.emitter is not None or driver.official_emitter is not None],
    indirect=True,
    ids=lambda driver: driver.name,
)


@pytest.fixture(scope="module")
def emitters(cluster: Cluster) -> Iterator[list[str]]:
    """The names of all emitters that go with the driver. To the cluster they are senders like its servers."""
    driver, names = cluster.driver, []
    with ExitStack() as stack:
        for kind in KINDS:
            if (driver.official_emitter if kind == OFFICIAL_EMITTER else driver.emitter) is not None:
                emitter = emitter_of(driver, cluster.engine.url, kind)
                cluster.servers[kind] = stack.enter_context(emitter)
                names.append(kind)
        yield names
        for name in names:
            del cluster.servers[name]


def test_every_way_to_emit(cluster: Cluster, emitters: list[str]) -> None:
    for name in emitters:
        emitter = cluster.servers[name]
        for target, args, receivers in EMITS.values():
            emitter("emit", event="hello", args=args, **target)
            reached = tuple([receiver for receiver in receivers if receiver in cluster.reached_by(name)])
            cluster.expect(name, ["hello", *args], reached)
        for receiver in cluster.reached_by(name):
            emitter("emit", event="private", args=[], rooms=[cluster.ids[receiver]])
            cluster.expect(name, ["private"], (receiver,))


def test_order(cluster: Cluster, emitters: list[str]) -> None:
    for name in emitters:
        for number in range(50):
            cluster.servers[name]("emit", event="count", args=[number])
        cluster.fence(name)
        for client in cluster.reached_by(name):
            numbers: list[int] = []

            def arrived(client: str = client, numbers: list[int] = numbers) -> bool:
                numbers[:] = [args[1] for args in cluster.received(client)]
                return len(numbers) == 50

            wait_until(arrived, f"{client} hears {name}")
            assert cluster.keeps_order(name) <= (numbers == list(range(50)))
            assert sorted(numbers) == list(range(50))
            cluster.clients("clear", name=client)


def test_namespaces(cluster: Cluster, emitters: list[str]) -> None:
    for client in NAMES:
        cluster.clients("connect", name=f"{client} custom", url=cluster.url(client), nsp="/custom")
    for name in emitters:

        def heard(name: str = name) -> bool:
            cluster.servers[name]("emit", nsp="/custom", event="custom", args=[name])
            received = [
                cluster.clients("wait", name=f"{client} custom", last=["custom", name], seconds=0.5)
                for client in cluster.reached_by(name)
            ]
            return all([any([args[:2] == ["custom", name] for args in of_one]) for of_one in received])

        wait_until(heard, f"every client of /custom hears {name}")
        cluster.fence(name)
    for client in NAMES:
        assert cluster.received(client) == []
        cluster.clients("disconnect", name=f"{client} custom")


def test_what_servers_do(cluster: Cluster, emitters: list[str]) -> None:
    def members(asker: str) -> list[str]:
        found = cluster.servers[asker]("fetch_sockets", rooms=["told"])
        return sorted([socket["data"]["name"] for socket in found])

    for name in emitters:
        emitter, reached = cluster.servers[name], cluster.reached_by(name)
        joined = [client for client in ("n1", "p2") if client in reached]
        emitter("sockets_join", rooms=["red", "blue"], **{"except": ["green"]}, names=["told", "more"])
        for asker in NAMES:
            wait_until(
                lambda asker=asker, joined=joined: members(asker) == joined, f"{asker} sees who joined"
            )
        emitter("sockets_leave", rooms=["more"], names=["told", "more"])
        for asker in NAMES:
            wait_until(lambda asker=asker: members(asker) == [], f"{asker} sees who left")
        for server in NAMES:
            cluster.servers[server]("server_events")
        emitter("server_side_emit", event="note", args=[1, {"two": [3]}])
        for server in reached:
            events: list[Any] = []

            def arrived(server: str = server, events: list[Any] = events) -> bool:
                events.extend(cluster.servers[server]("server_events"))
                return bool(events)

            wait_until(arrived, f"{server} hears {name}")
            assert events == [[1, {"two": [3]}]]


@pytest.mark.parametrize("close", [False, True])
def test_disconnect(cluster: Cluster, emitters: list[str], close: bool) -> None:
    for name in emitters:
        servers = cluster.reached_by(name)
        guests = [f"guest of {server}" for server in servers]
        for guest, server in zip(guests, servers, strict=True):
            cluster.clients("connect", name=guest, url=cluster.url(server))
            cluster.clients("ask", name=guest, event="join", args=["leaving"])
        cluster.servers[name]("disconnect_sockets", rooms=["leaving"], close=close)
        for guest in guests:
            reasons = cluster.clients("wait_disconnected", name=guest, seconds=PATIENCE)
            assert reasons == ["io server disconnect"], f"{guest}, by {name}"
