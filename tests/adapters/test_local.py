"""The workers of one machine: what one does reaches the sockets of the others, by way of the supervisor's hub."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

import anyio
import anyio.abc
import pytest

from sio_core import AdapterError, ClusterTimeout, Limits, Namespace, Server
from sio_core.adapters.local import Local
from sio_core.adapters.local_adapter import LocalAdapter
from sio_core.adapters.local_hub import JOIN, PUBLISH, WHO, LocalHub, unpack_from, unpack_members
from sio_core.adapters.messages import HEARTBEAT, INITIAL_HEARTBEAT, decode
from sio_core.channel import Channel, ChannelMessage, run_channel
from sio_core.testing import TestClient
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.anyio


class Machine:
    """A hub, and servers in the place of workers, all in this process."""

    def __init__(self, task_group: anyio.abc.TaskGroup) -> None:
        self.hub = LocalHub(time.monotonic)
        self.ends: dict[int, Channel] = {}
        self._given: list[Channel] = []
        self._task_group = task_group

    def connect(self, index: int) -> Channel:
        """Attach a worker, and return its end."""
        ours, theirs = (Channel(handle) for handle in Channel.pair())
        self.ends[index] = ours
        self._given.append(theirs)
        self.hub.attach(index, ours)
        self._task_group.start_soon(run_channel, ours, partial(self.hub.receive, index))
        return theirs

    def kill(self, index: int) -> None:
        """A worker is gone."""
        self.hub.detach(index)
        self.ends.pop(index).close()

    def close(self) -> None:
        for index in list(self.ends):
            self.kill(index)
        for channel in self._given:
            channel.close()


class Worker:
    """One server, with a client."""

    def __init__(self, machine: Machine, index: int, **options: Any) -> None:
        self.driver = Local()
        self.channel = machine.connect(index)
        self.driver.join(self.channel)
        self.io: Server[Any] = Server(adapter=self.driver, **options)
        self.client = TestClient(self.io)

    @property
    def others(self) -> int:
        """How many others have the main namespace, as far as this one knows."""
        adapter = self.io.sockets.adapter
        assert isinstance(adapter, LocalAdapter)
        return len(adapter.nodes)


@asynccontextmanager
async def workers(count: int = 3, **options: Any) -> AsyncGenerator[tuple[Machine, list[Worker]], None]:
    async with anyio.create_task_group() as task_group, AsyncExitStack() as stack:
        machine = Machine(task_group)
        started = [Worker(machine, index, **options) for index in range(count)]
        for worker in started:
            await stack.enter_async_context(worker.client)
        await eventually(lambda: all(worker.others == count - 1 for worker in started))
        yield machine, started
        await stack.aclose()
        machine.close()


@pytest.mark.feature(213)
async def test_a_broadcast_reaches_every_worker_once() -> None:
    async with workers() as (_, (one, two, three)):
        await one.io.emit("hello", 1, {"two": b"3"})
        one.io.emit("bye")
        for worker in (one, two, three):
            assert await worker.client.receive() == ["hello", 1, {"two": b"3"}]
            assert await worker.client.receive() == ["bye"]


async def test_rooms_and_exceptions_hold_everywhere() -> None:
    async with workers() as (_, (one, two, three)):
        await two.io.in_(two.client.id).sockets_join("room", "other")
        await one.io.in_(three.client.id).sockets_join("room")  # from another worker
        await eventually(lambda: three.client.id in three.io.sockets.adapter.rooms.rooms.get("room", ()))
        one.io.to("room").except_("other").emit("hello")
        one.io.emit("end")
        assert await three.client.receive() == ["hello"]
        for worker in (one, two, three):
            assert await worker.client.receive() == ["end"]


async def test_what_is_large_arrives_and_keeps_its_order() -> None:
    async with workers(2) as (_, (one, two)):
        sizes = [10, 700_000, 3, 1_500_000, 1]
        for size in sizes:
            one.io.emit("data", bytes(size))
        assert [len((await two.client.receive())[1]) for _ in sizes] == sizes


async def test_sockets_are_found_and_closed_on_every_worker() -> None:
    async with workers() as (_, (one, two, three)):
        found = await one.io.fetch_sockets()
        assert {socket.id for socket in found} == {worker.client.id for worker in (one, two, three)}
        await one.io.in_(two.client.id).disconnect_sockets()
        await eventually(lambda: not two.io.sockets.sockets)
        assert len(await three.io.fetch_sockets()) == 2


async def test_acknowledgements_come_from_every_worker() -> None:
    async with workers() as (_, started):
        for number, worker in enumerate(started):
            worker.client.on("ask", lambda number=number: number)
        answers = await started[0].io.timeout(5).emit_with_ack("ask")
        assert sorted(answers) == [0, 1, 2]


async def test_servers_talk_to_each_other() -> None:
    async with workers() as (_, (one, two, three)):
        heard: list[Any] = []

        def hear(number: int, *args: Any) -> int:
            heard.append((number, *args))
            return number

        for number, worker in enumerate((one, two, three), 1):
            worker.io.on_server_event("ping", partial(hear, number))
            worker.io.on_server_event("note", partial(hear, number))
        one.io.server_side_emit("note", 1)
        answers = await one.io.server_side_emit_with_ack("ping", "x")
        assert sorted(answers) == [2, 3]
        assert sorted(heard, key=str) == [(2, "x"), (2, 1), (3, "x"), (3, 1)]


async def test_a_worker_that_dies_is_not_waited_for() -> None:
    async with workers() as (machine, (one, two, three)):
        asked, over = anyio.Event(), anyio.Event()

        async def never_answer() -> None:
            asked.set()
            await over.wait()

        two.io.on_server_event("ping", never_answer)
        three.io.on_server_event("ping", lambda: "three")
        answers: list[Any] = []

        async def ask() -> None:
            answers.extend(await one.io.server_side_emit_with_ack("ping", timeout=30))

        with anyio.fail_after(5):
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(ask)
                await asked.wait()
                machine.kill(1)
        assert answers == ["three"]
        await eventually(lambda: (one.others, three.others) == (1, 1))
        assert len(await one.io.fetch_sockets()) == 2
        assert two.driver.degraded
        assert not one.driver.degraded
        with pytest.raises(AdapterError, match="cannot be reached"):
            await two.io.emit("into the void")
        over.set()


async def test_a_worker_that_comes_later_is_counted() -> None:
    async with workers(2) as (machine, (one, two)):
        late = Worker(machine, 2)
        async with late.client:
            await eventually(lambda: (one.others, two.others, late.others) == (2, 2, 2))
            assert len(await late.io.fetch_sockets()) == 3
        await eventually(lambda: (one.others, two.others) == (1, 1))


async def test_a_namespace_of_one_worker_alone_waits_for_nobody() -> None:
    async with workers(2) as (_, (one, _)):
        one.io.of("/mine")
        assert await one.io.of("/mine").server_side_emit_with_ack("anybody?") == []
        assert await one.io.of("/mine").adapter.server_count() == 1


def lose_heartbeats(worker: Worker, nsp: str) -> None:
    """From now on a worker is not told any more that others have a namespace."""
    take = worker.driver._take

    def take_others(index: int, payload: bytes, *place: Any) -> None:
        message = decode(payload)
        if message.nsp != nsp or message.type not in {INITIAL_HEARTBEAT, HEARTBEAT}:
            take(index, payload, *place)

    worker.driver._take = take_others  # type: ignore[method-assign]


async def fetch(namespace: Namespace[Any]) -> list[Any]:
    return [socket.id for socket in await namespace.fetch_sockets()]


async def emit_with_ack(namespace: Namespace[Any]) -> list[Any]:
    return await namespace.emit_with_ack("ask", timeout=5)


async def emit_to_servers(namespace: Namespace[Any]) -> list[Any]:
    return await namespace.server_side_emit_with_ack("ask", timeout=5)


@pytest.mark.parametrize("ask", [fetch, emit_with_ack, emit_to_servers])
async def test_who_has_a_namespace_that_nobody_has_heard_of_yet_answers(
    ask: Callable[[Namespace[Any]], Awaitable[list[Any]]],
) -> None:
    async with workers() as (_, (one, two, _)):
        lose_heartbeats(one, "/new")  # as if they were still on the way
        here, there = one.io.of("/new"), two.io.of("/new")
        async with TestClient(two.io, "/new") as client:
            client.on("ask", lambda: client.id)
            there.on_server_event("ask", lambda: client.id)
            with anyio.fail_after(0.9):
                assert await ask(here) == [client.id]


async def test_who_makes_a_namespace_has_it_at_once() -> None:
    async with workers(1) as (_, (one,)):
        namespace = one.io.of("/new")
        assert one.driver.adapters["/new"] is namespace.adapter


async def test_who_has_a_namespace_is_counted() -> None:
    async with workers() as (_, (one, two, _)):
        lose_heartbeats(one, "/new")
        here, _ = one.io.of("/new"), two.io.of("/new")
        assert await here.adapter.server_count() == 2


async def test_a_worker_that_does_not_respond_is_judged_by_what_it_said_before() -> None:
    async with workers(2) as (_, (one, two)):
        one.io.of("/new")
        two.driver._say_here = lambda worker, question: None  # type: ignore[method-assign]
        with anyio.fail_after(5):
            assert len(await one.io.fetch_sockets()) == 2
            assert await one.io.of("/new").adapter.server_count() == 1


async def test_a_worker_that_dies_is_not_in_the_roll() -> None:
    async with workers() as (machine, (one, two, three)):
        asked = anyio.Event()
        two.driver._say_here = lambda worker, question: asked.set()  # type: ignore[method-assign]
        found: list[Any] = []

        async def ask() -> None:
            found.extend(await one.io.fetch_sockets())

        with anyio.fail_after(0.9):
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(ask)
                await asked.wait()
                machine.kill(1)
        assert {socket.id for socket in found} == {one.client.id, three.client.id}


async def test_a_worker_that_closes_is_not_waited_for_and_waits_for_nobody() -> None:
    async with workers() as (_, (one, two, three)):
        await two.io.close()
        with anyio.fail_after(0.9):
            assert len(await one.io.fetch_sockets()) == 2
            assert await two.io.fetch_sockets() == []
        assert two.client.id not in {socket.id for socket in await three.io.fetch_sockets()}


async def test_before_a_worker_starts_it_is_alone() -> None:
    async with workers(1) as (machine, (one,)):
        worker = Worker(machine, 1)
        assert await worker.io.fetch_sockets() == []
        assert len(await one.io.fetch_sockets()) == 1


async def test_an_answer_for_the_worker_whose_place_was_taken_counts_for_nothing() -> None:
    async with workers(2) as (machine, (one, two)):
        say_here, questions = two.driver._say_here, list[tuple[int, bytes]]()
        two.driver._say_here = lambda *question: questions.append(question)  # type: ignore[method-assign]
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(one.io.of("/x").fetch_sockets)
            await eventually(lambda: questions)
            machine.kill(0)
            task_group.cancel_scope.cancel()
        successor = Worker(machine, 0)
        async with successor.client, anyio.create_task_group() as task_group:
            found: list[Any] = []

            async def ask() -> None:
                found.extend(await successor.io.fetch_sockets())

            await eventually(lambda: successor.others == 1)
            task_group.start_soon(ask)
            await eventually(lambda: len(questions) == 2)
            for question in questions:
                say_here(*question)
            await eventually(lambda: len(found) == 2)


async def test_nothing_is_kept_of_namespaces_that_are_gone() -> None:
    async with workers(2) as (_, (one, two)):
        for name in ("/theirs", "/ours"):
            await one.io.of(name).adapter.server_count()
            await two.io.of(name).adapter.server_count()
            await eventually(lambda name=name: (1, name) in one.driver._uids)
        await two.io.of("/theirs").adapter.close()
        await one.io.of("/ours").adapter.close()
        await eventually(lambda: list(one.driver._uids) == [(1, "/")])
        assert len(one.driver._workers) == 1


async def test_a_worker_that_only_starts_is_not_waited_for() -> None:
    async with workers(2) as (machine, (one, _)):
        starting = machine.connect(2)
        with anyio.fail_after(0.9):
            assert len(await one.io.fetch_sockets()) == 2
        assert WHO not in {message.kind for message in starting.receive()}


async def test_a_silent_worker_is_named_by_the_timeout() -> None:
    async with workers(2) as (_, (one, two)):
        over = anyio.Event()

        async def never_answer() -> None:
            await over.wait()

        two.io.on_server_event("ping", never_answer)
        with pytest.raises(ClusterTimeout) as caught:
            await one.io.server_side_emit_with_ack("ping", timeout=0.1)
        assert caught.value.missing == 1
        assert caught.value.partial == []
        over.set()


async def test_a_server_without_workers_is_a_cluster_of_one() -> None:
    io: Server[Any] = Server(adapter=Local())
    client = TestClient(io)
    async with client:
        io.emit("hello")
        assert await client.receive() == ["hello"]
        assert len(await io.fetch_sockets()) == 1
        assert await io.server_side_emit_with_ack("anybody?") == []


async def test_what_cannot_leave_is_bounded() -> None:
    async with workers(2, limits=Limits(cluster_queue_bytes=1_000_000)) as (machine, (one, _)):
        machine.hub.receive = lambda index, messages: None  # type: ignore[method-assign]
        published = [one.io.emit("data", "x" * 400_000) for _ in range(8)]  # nothing runs meanwhile
        with pytest.raises(AdapterError, match="cluster_queue_bytes"):
            await published[-1]
        assert one.io.stats()["limit_hits"] == {"cluster_queue_bytes": 4}
        assert one.io.stats()["adapter"]["lost"] == 4


async def test_junk_is_dropped_and_counted() -> None:
    async with workers(2) as (_, (one, two)):
        for junk in (b"", b"\xff", b"{}", b'{"type":3,"uid":"x","nsp":"/","data":{}}'):
            one.channel.send(PUBLISH, junk)
        one.io.emit("hello")
        assert await two.client.receive() == ["hello"]
        assert two.driver.stats()["dropped"] == 4


# The hub


def drain(channel: Channel) -> list[ChannelMessage]:
    return channel.receive()


async def test_a_worker_that_takes_nothing_is_passed_over_by_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hub = LocalHub(time.monotonic)
    pairs = [[Channel(handle) for handle in Channel.pair()] for _ in range(3)]
    for index, (ours, _) in enumerate(pairs):
        hub.attach(index, ours)
        hub.receive(index, [ChannelMessage(JOIN, b"", -1)])
    assert [unpack_members(drain(theirs)[-1].data) for _, theirs in pairs] == [{0, 1, 2}] * 3
    received = 0
    total = 80
    for _ in range(total):
        hub.receive(0, [ChannelMessage(PUBLISH, bytes(1_000_000), -1)])
        while True:  # worker 1 reads, worker 2 does not
            messages = drain(pairs[1][1])
            pairs[1][0].flush()
            received += len(messages)
            if not pairs[1][0].waiting and not messages:
                break
    received += len(drain(pairs[1][1]))
    assert received == total
    assert 5 < hub.dropped < 20
    assert caplog.text.count("worker 2 takes no messages") == 1
    received = 0
    while pairs[2][0].waiting or received < total - hub.dropped:  # it reads at last
        messages = drain(pairs[2][1])
        pairs[2][0].flush()
        assert {unpack_from(message.data) for message in messages} <= {(0, bytes(1_000_000))}
        received += len(messages)
    assert received == total - hub.dropped
    for ours, theirs in pairs:
        ours.close()
        theirs.close()


# Recovery


@asynccontextmanager
async def come_back(worker: Worker, lost: TestClient, offset: str) -> AsyncGenerator[TestClient, None]:
    """Connect to a worker with what a lost client knows."""
    async with TestClient(worker.io, auth={"pid": lost.pid, "offset": offset}) as client:
        yield client


async def test_a_lost_client_recovers_at_any_worker() -> None:
    async with workers(connection_state_recovery=True) as (_, (one, two, three)):
        lost = one.client
        lost.socket.join("room")
        lost.socket.data["name"] = "ann"
        three.io.emit("seen")
        _, offset = await lost.receive()
        lost.lose_connection()
        await eventually(lambda: not one.io.sockets.sockets)
        two.io.to("room").emit("missed", b"\1")
        two.io.emit("then")
        await three.client.receive("then")
        three.io.to("elsewhere").emit("not for you")
        three.io.except_("room").emit("not for you either")
        one.io.emit("missed too")
        await two.client.receive("missed too")
        async with come_back(two, lost, offset) as again:
            assert again.socket.recovered
            assert again.id == lost.id
            assert again.rooms == {"room"}
            assert again.socket.data == {"name": "ann"}
            missed = [await again.receive() for _ in range(3)]
            assert [event[:-1] for event in missed] == [["missed", b"\1"], ["then"], ["missed too"]]
            one.io.to("room").emit("live")
            assert (await again.receive())[:-1] == ["live"]
        async with come_back(three, lost, offset) as twice:  # that session is continued already
            assert not twice.socket.recovered


async def test_recovery_outlives_the_worker_that_sent() -> None:
    async with workers(connection_state_recovery=True) as (machine, (one, two, three)):
        one.io.emit("seen")
        _, offset = await two.client.receive()
        two.client.lose_connection()
        await eventually(lambda: not two.io.sockets.sockets)
        one.io.emit("missed")
        await three.client.receive("missed")
        machine.kill(0)
        async with come_back(three, two.client, offset) as again:
            assert again.socket.recovered
            assert (await again.receive())[:-1] == ["missed"]


@pytest.mark.parametrize("offset", ["other.1", "1", "x.y", "{epoch}.999999", "{epoch}.-1"])
async def test_what_is_no_offset_of_this_log_recovers_nobody(offset: str) -> None:
    async with workers(2, connection_state_recovery=True) as (_, (one, two)):
        one.io.emit("seen")
        _, seen = await two.client.receive()
        two.client.lose_connection()
        await eventually(lambda: not two.io.sockets.sockets)
        epoch = seen.partition(".")[0]
        async with come_back(one, two.client, offset.format(epoch=epoch)) as again:
            assert not again.socket.recovered


async def test_who_has_seen_nothing_gets_all_since_it_came() -> None:
    async with workers(2, connection_state_recovery=True) as (_, (one, two)):
        one.io.emit("before")
        await two.client.receive("before")
        async with TestClient(two.io) as lost:
            lost.lose_connection()
            await eventually(lambda: len(two.io.sockets.sockets) == 1)
            one.io.emit("missed")
            await two.client.receive("missed")
            async with come_back(one, lost, "") as again:
                assert again.socket.recovered
                assert (await again.receive())[0] == "missed"


async def test_all_clients_get_events_in_one_order() -> None:
    async with workers(connection_state_recovery=True) as (_, started):
        for number in range(20):
            for worker in started:
                worker.io.emit("event", number, worker.client.id)
        heard = [[await worker.client.receive() for _ in range(60)] for worker in started]
        assert heard[0] == heard[1] == heard[2]
        offsets = [int(event[-1].partition(".")[2]) for event in heard[0]]
        assert offsets == list(range(1, 61))


async def test_a_worker_that_was_too_slow_for_its_own_event_gives_it_no_other_offset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with workers(2, connection_state_recovery=True) as (machine, (one, two)):
        one.io.emit("seen")
        _, before = await two.client.receive()
        assert await one.client.receive() == ["seen", before]
        with monkeypatch.context() as patch:
            patch.setattr("sio_core.adapters.local_hub.WAITING_BYTES", -1)
            one.io.emit("dropped")
            await eventually(lambda: machine.hub.dropped == 2)
        one.io.emit("found")
        _, offset = await two.client.receive()
        assert await one.client.receive() == ["dropped"]
        assert await one.client.receive() == ["found", offset]
