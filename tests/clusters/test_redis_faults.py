"""Redis killed, hung, full of junk, and its connections cut: what is promised holds, and nobody waits.

With publish and subscribe, what is said while a node does not hear is lost to it, and it says so. With a stream nothing
is lost, and nothing comes twice. In every case what is local goes on.
"""

from __future__ import annotations

import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, Self

import pytest
from anyio.from_thread import start_blocking_portal

from tests.clusters.cluster import PATIENCE, Cluster, wait_until
from tests.clusters.drivers import DRIVERS, Driver
from tests.clusters.engines import Redis
from tests.clusters.peers import Peer
from tests.faults.proxy import FaultProxy

LOSSLESS = frozenset(("redis-streams", "mongo"))
"""The drivers whose engine keeps a log."""

LATE = frozenset(("postgres",))
"""The drivers whose engine, when it goes on, does what was given up while it hung."""

FAMILY = [
    driver
    for driver in DRIVERS
    if driver.name in {"redis", "redis, sharded, dynamic", "redis streams", "redis streams, recovery"}
]

SERVERS = ("p1", "p2", "n1")

HEALED = 6.0
"""Seconds after which a cluster whose engine is back is whole again."""

AT_ONCE = 0.5
"""Seconds in which what is local happens, whatever the engine does."""


@pytest.fixture(scope="module", params=FAMILY, ids=lambda driver: driver.name)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A running cluster. A test leaves it whole."""
    driver: Driver = request.param
    with Redis() as engine, Cluster(driver, engine, SERVERS) as cluster:
        yield cluster


def redis_of(cluster: Cluster) -> Redis:
    assert isinstance(cluster.engine, Redis)
    return cluster.engine


def stats(server: Peer) -> dict[str, Any]:
    counts: dict[str, Any] = server("stats", within=AT_ONCE)["adapter"]
    return counts


def degraded(cluster: Cluster) -> list[bool]:
    return [stats(cluster.servers[name])["degraded"] for name in ("p1", "p2")]


class Talk:
    """One server counts aloud, and its own client must hear each number at once.

    :ivar sent: how many numbers it has said.
    :ivar slowest: seconds the slowest of them took to be heard.
    """

    def __init__(self, cluster: Cluster, interval: float = 0.05) -> None:
        cluster.clear()
        self._cluster = cluster
        self._interval = interval
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.sent = 0
        self.slowest = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        clients, server = self._cluster.clients, self._cluster.servers["p1"]
        while not self._stop.wait(self._interval):
            start = time.monotonic()
            server("emit", event="talk", args=[self.sent])
            clients("wait", name="p1", last=["talk", self.sent], seconds=PATIENCE)
            self.slowest = max(self.slowest, time.monotonic() - start)
            self.sent += 1


def heard(cluster: Cluster, client: str) -> list[int]:
    return [args[1] for args in cluster.received(client) if args[0] == "talk"]


def check(cluster: Cluster, talk: Talk, whole: tuple[str, ...] = ("p2",)) -> None:
    """Check what was heard, once the cluster is whole again."""
    wait_until(lambda: degraded(cluster) == [False, False], "no server is degraded", HEALED)
    if cluster.driver.adapter in LOSSLESS:
        for client in whole:
            cluster.clients("wait", name=client, last=["talk", talk.sent - 1], seconds=PATIENCE)
            assert heard(cluster, client) == list(range(talk.sent)), client
    assert heard(cluster, "p1") == list(range(talk.sent))
    for client in SERVERS:
        numbers = heard(cluster, client)
        if cluster.driver.adapter in LATE:
            numbers.sort()
        assert numbers == sorted(set(numbers)), client
    cluster.settle()
    for sender in SERVERS:
        cluster.servers[sender]("emit", event="again", args=[sender])
        cluster.expect(sender, ["again", sender], SERVERS)


def test_the_engine_is_killed_and_restarted(cluster: Cluster) -> None:
    engine = redis_of(cluster)
    counts = [stats(cluster.servers[name]) for name in ("p1", "p2")]
    with Talk(cluster) as talk:
        wait_until(lambda: talk.sent > 10, "they talk")
        engine.kill()
        wait_until(lambda: degraded(cluster) == [True, True], "the servers know that they are cut off", 1.0)
        assert status(cluster, "p1") == (503, b"degraded")
        before = talk.sent
        wait_until(lambda: talk.sent > before + 20, "the talk goes on without the engine")
        engine.start()
        wait_until(lambda: degraded(cluster) == [False, False], "the servers are connected", HEALED)
        assert status(cluster, "p1") == (200, b"ok")
        before = talk.sent
        wait_until(lambda: talk.sent > before + 10, "they talk")
    assert talk.slowest < AT_ONCE + hold_time(cluster)
    check(cluster, talk)
    for name, before_that in zip(("p1", "p2"), counts, strict=True):
        now = stats(cluster.servers[name])
        assert now["reconnects"] == before_that["reconnects"] + 1
        if cluster.driver.adapter in LOSSLESS:
            assert now["lost"] == before_that["lost"]


def hold_time(cluster: Cluster) -> float:
    """Where an event gets an offset, its receivers wait a little for that."""
    return 1.0 if cluster.driver.recovery else 0.0


def status(cluster: Cluster, name: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"{cluster.url(name)}/healthz", timeout=2) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def test_connections_are_killed(cluster: Cluster) -> None:
    engine = redis_of(cluster)
    with Talk(cluster, 0.01) as talk:
        for kind in ("pubsub", "normal", "pubsub", "normal"):
            before = talk.sent
            wait_until(lambda before=before: talk.sent > before + 20, "they talk")
            engine.call("CLIENT", "KILL", "TYPE", kind)
            wait_until(lambda: degraded(cluster) == [False, False], "the servers are connected", HEALED)
    assert talk.slowest < AT_ONCE + hold_time(cluster)
    check(cluster, talk)


def hang(cluster: Cluster, seconds: float) -> None:
    engine = cluster.engine
    with Talk(cluster) as talk:
        wait_until(lambda: talk.sent > 10, "they talk")
        engine.pause()
        end = time.monotonic() + seconds
        before = talk.sent
        while time.monotonic() < end:
            start = time.monotonic()
            stats(cluster.servers["p1"])
            stats(cluster.servers["p2"])
            assert time.monotonic() - start < AT_ONCE
            time.sleep(0.1)
        assert talk.sent > before + 10, "the talk goes on without the engine"
        wait_until(
            lambda: stats(cluster.servers["p1"])["degraded"], "the speaker knows that it is cut off", 5.0
        )
        engine.resume()
        wait_until(lambda: degraded(cluster) == [False, False], "the servers are connected", HEALED)
        before = talk.sent
        wait_until(lambda: talk.sent > before + 10, "they talk")
    assert talk.slowest < AT_ONCE + hold_time(cluster)
    check(cluster, talk)


def test_the_engine_hangs(cluster: Cluster) -> None:
    hang(cluster, 3.0)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_engine_hangs_for_long(cluster: Cluster) -> None:
    hang(cluster, 30.0)


def test_a_node_is_killed(cluster: Cluster) -> None:
    assert len(cluster.servers["p1"]("fetch_sockets")) == 3
    cluster.servers["p2"].kill()
    wait_until(lambda: cluster.servers["p1"]("server_count") == 2, "the node is missed")
    found = cluster.servers["p1"]("fetch_sockets")
    assert sorted([socket["data"]["name"] for socket in found]) == ["n1", "p1"]
    outcome = cluster.servers["n1"]("server_side_emit_with_ack", event="question", args=[1])
    assert outcome == {"timed_out": False, "answers": ["p1:1"]}
    cluster.add_server("p2")
    cluster.ids["p2"] = cluster.connect("p2", "p2")["id"]
    cluster.settle()
    assert len(cluster.servers["n1"]("fetch_sockets")) == 3


def test_a_node_hangs(cluster: Cluster) -> None:
    talk = Talk(cluster, 0.01)
    cluster.servers["p2"].pause()
    try:
        outcome = cluster.servers["p1"]("emit_with_ack", event="ask", args=[1], timeout=0.5)
        assert outcome["timed_out"]
        assert sorted(outcome["answers"]) == ["n1:1", "p1:1"]
        with talk:
            wait_until(lambda: talk.sent > 50, "they talk")
    finally:
        cluster.servers["p2"].resume()
    assert talk.slowest < AT_ONCE
    cluster.clients("wait", name="p2", last=["talk", talk.sent - 1], seconds=PATIENCE)
    check(cluster, talk)


JUNK = [
    b"",
    b"\x00",
    b"{",
    b"{}",
    b"[]",
    b"null",
    b"\xc1",
    b"\x93\xa1x\x80\x80",
    b"\xdd\xff\xff\xff\xff",
    b"[" * 5_000,
    b"\x91" * 5_000,
    b'{"type":3,"uid":"x","nsp":"/"}',
    b'{"type":3,"uid":"x","nsp":"/","data":{"packet":{"type":2,"data":[]},"opts":{"rooms":[],"except":[]}}}',
    b'{"type":3,"uid":"x","nsp":"/","data":{"packet":{"type":2,"data":["connect"]},"opts":{"rooms":[],"except":[]}}}',
    b'{"type":3,"uid":"x","nsp":"/","data":{"packet":7,"opts":{"rooms":7,"except":{}}}}',
    b'{"type":4,"uid":"x","nsp":"/","data":{"opts":{"rooms":[],"except":[]},"rooms":7}}',
    b'{"type":7,"uid":"x","nsp":"/","data":{"opts":null,"requestId":1}}',
    b'{"type":1e999,"uid":"x","nsp":"/"}',
    b'{"type":"3","uid":[],"nsp":{}}',
    b'{"uid":"x","type":5,"requestId":"r","opts":7}',
    b'{"uid":"x","type":6,"requestId":"r","data":[]}',
    b'{"uid":"x","type":2,"opts":{"rooms":[[]],"except":[]},"rooms":[]}',
]


@pytest.mark.parametrize("driver", FAMILY, ids=lambda driver: driver.name)
def test_junk_is_dropped_and_counted(driver: Driver) -> None:
    with Redis() as engine, Cluster(driver, engine, ("p1", "p2")) as cluster:
        before = [stats(cluster.servers[name])["dropped"] for name in ("p1", "p2")]
        assert before == [0, 0]
        for payload in JUNK:
            for channel in (
                "socket.io#/#",
                "socket.io#/#red#",
                "socket.io-request#/#",
                "socket.io-response#/#",
            ):
                for command in ("PUBLISH", "SPUBLISH"):
                    engine.call(command, channel, payload)
            engine.call("XADD", "socket.io", "*", "uid", "x", "nsp", "/", "type", "3", "data", payload)
            engine.call("XADD", "socket.io", "*", "uid", payload, "nsp", payload, "type", payload)
        engine.call("XADD", "socket.io", "*", "nothing", "known")
        for sender in ("p1", "p2"):
            cluster.servers[sender]("emit", event="after", args=[sender])
            cluster.expect(sender, ["after", sender], ("p1", "p2"))
        for name in ("p1", "p2"):
            assert stats(cluster.servers[name])["dropped"] >= len(JUNK) // 2
            assert not stats(cluster.servers[name])["degraded"]
            assert "Traceback" not in cluster.servers[name].errors()


def test_an_engine_that_is_full_refuses_for_a_while(cluster: Cluster) -> None:
    if cluster.driver.adapter not in LOSSLESS:
        return  # what is published is not stored
    engine = redis_of(cluster)
    with Talk(cluster) as talk:
        wait_until(lambda: talk.sent > 10, "they talk")
        engine.call("CONFIG", "SET", "maxmemory", "1")
        wait_until(lambda: stats(cluster.servers["p1"])["degraded"], "the speaker is refused")
        before = talk.sent
        wait_until(lambda: talk.sent > before + 20, "the talk goes on")
        engine.call("CONFIG", "SET", "maxmemory", "0")
        wait_until(lambda: degraded(cluster) == [False, False], "the engine takes what is said", HEALED)
    check(cluster, talk)


def test_a_stream_that_was_trimmed_too_early_is_noticed() -> None:
    driver = next(driver for driver in FAMILY if driver.name == "redis streams")
    with Redis() as engine, Cluster(driver, engine, ("p1", "p2")) as cluster:
        cluster.servers["p2"].pause()
        for number in range(300):
            cluster.servers["p1"]("emit", event="talk", args=[number])
        engine.call("XTRIM", "socket.io", "MAXLEN", "10")
        cluster.servers["p2"].resume()
        cluster.clients("wait", name="p2", last=["talk", 299], seconds=PATIENCE)
        numbers = heard(cluster, "p2")
        assert numbers == sorted(set(numbers))
        assert len(numbers) < 300
        wait_until(lambda: stats(cluster.servers["p2"])["gaps"] == 1, "the gap is counted")


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("driver", FAMILY, ids=lambda driver: driver.name)
def test_a_node_that_has_gone_deaf_notices(driver: Driver) -> None:
    """Its connections stay open, and nothing comes: it must not take that for silence."""
    with (
        Redis() as engine,
        Cluster(driver, engine, ("p1",)) as cluster,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(FaultProxy(engine.port).running()) as proxy,
    ):
        cluster.engine = Redis()  # of which only the address is used
        cluster.engine.port = proxy.port
        cluster.add_server("p2")
        cluster.ids["p2"] = cluster.connect("p2", "p2")["id"]
        cluster.names = ("p1", "p2")
        cluster.settle()
        talk = Talk(cluster)
        for link in proxy.links:
            portal.call(link.down.hold)
        start = time.monotonic()
        with talk:
            wait_until(lambda: stats(cluster.servers["p2"])["degraded"], "the deaf one notices", 16.0)
            noticed = time.monotonic() - start
            wait_until(lambda: degraded(cluster) == [False, False], "it hears again", HEALED)
            before = talk.sent
            wait_until(lambda: talk.sent > before + 10, "they talk")
        assert noticed <= 15.5
        assert talk.slowest < AT_ONCE + hold_time(cluster)
        cluster.clients("wait", name="p2", last=["talk", talk.sent - 1], seconds=PATIENCE)
        numbers = heard(cluster, "p2")
        if driver.adapter in LOSSLESS:
            assert numbers == list(range(talk.sent))
        else:
            assert numbers == sorted(set(numbers))
            assert len(numbers) < talk.sent
