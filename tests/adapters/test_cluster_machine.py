"""Any sequence of calls on three nodes, delivered in any order: the rooms and the events are those of plain sets.

The model is one set of members for each room of each node, and one list for each way from a node to another. The bus
keeps the order of each way and no other, as real engines do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sio_core.adapters.base import BroadcastOptions, Host, LocalSockets, SocketDetails
from sio_core.engineio.deadlines import Deadlines
from sio_core.engineio.packet import Encoded
from sio_core.limits import Limits
from sio_core.runtime import Runtime
from sio_core.testing import settle
from tests.adapters.bus import Bus, BusAdapter, BusDriver

NODES = 3
ROOMS = ("red", "blue")
MEMBERS = [(node, f"{name}{node}") for node in range(NODES) for name in "ab"]


NEVER_ASKED = "the rules of this machine send plain events and change rooms, nothing else"


class Sockets(LocalSockets):
    """Notes who is sent what."""

    def __init__(self, runtime: Runtime) -> None:
        self.sent: list[tuple[str, Any]] = []
        self.members: set[str] = set()
        self.adapter: BusAdapter | None = None
        self._host = Host(Limits(), Deadlines(), lambda: runtime, lambda name: None, None)

    @property
    def host(self) -> Host:
        return self._host

    def deliver(self, ids: Iterable[str], data: list[Any], options: BroadcastOptions) -> None:
        self.sent.extend((member, data[1]) for member in ids)

    def disconnect(self, ids: Iterable[str], close: bool) -> None:
        assert self.adapter is not None
        for member in ids:
            self.adapter.remove_all(member)

    def encode(self, data: list[Any], options: BroadcastOptions, offset: str | None) -> list[Encoded]:
        raise AssertionError(NEVER_ASKED)

    def deliver_encoded(
        self, ids: Iterable[str], packets: list[Encoded], data: list[Any], options: BroadcastOptions
    ) -> None:
        raise AssertionError(NEVER_ASKED)

    def deliver_with_ack(
        self,
        ids: Iterable[str],
        data: list[Any],
        options: BroadcastOptions,
        ack: Callable[[list[Any]], None],
        forget_after: float | None = None,
    ) -> int:
        raise AssertionError(NEVER_ASKED)

    def details(self, ids: Iterable[str]) -> list[SocketDetails]:
        raise AssertionError(NEVER_ASKED)

    def receive_server_event(self, args: list[Any], ack: Callable[..., None] | None) -> None:
        raise AssertionError(NEVER_ASKED)


class Model:
    """Three nodes of plain sets."""

    def __init__(self) -> None:
        self.rooms: list[dict[str, set[str]]] = [{} for _ in range(NODES)]
        self.sent: list[list[tuple[str, Any]]] = [[] for _ in range(NODES)]
        self.ways: dict[tuple[int, int], deque[tuple[Any, ...]]] = {
            (a, b): deque() for a in range(NODES) for b in range(NODES) if a != b
        }

    def chosen(self, node: int, rooms: Iterable[str], except_: Iterable[str]) -> set[str]:
        everyone = self.rooms[node]
        found = {m for m, own in everyone.items() if not rooms or own & set(rooms)}
        return {m for m in found if not everyone[m] & set(except_)}

    def apply(self, node: int, operation: tuple[Any, ...]) -> None:
        kind, value, rooms, except_ = operation
        members = self.chosen(node, rooms, except_)
        for member in members:
            if kind == "emit":
                self.sent[node].append((member, value))
            elif kind == "join":
                self.rooms[node][member].add(value)
            elif kind == "leave":
                self.rooms[node][member].discard(value)
            else:
                del self.rooms[node][member]

    def call(self, node: int, operation: tuple[Any, ...], local: bool) -> None:
        self.apply(node, operation)
        if not local:
            for way, pipe in self.ways.items():
                if way[0] == node:
                    pipe.append(operation)


node_numbers = st.integers(0, NODES - 1)
chosen_rooms = st.lists(st.sampled_from([*ROOMS, *(m for _, m in MEMBERS)]), max_size=2, unique=True)
operators = st.tuples(
    st.just("call"),
    node_numbers,
    st.sampled_from(["emit", "emit", "join", "leave", "disconnect"]),
    st.sampled_from(ROOMS),
    chosen_rooms,
    chosen_rooms,
    st.sampled_from([False, False, False, True]),
)
own = st.tuples(
    st.sampled_from(["connect", "enter", "exit"]), st.sampled_from(MEMBERS), st.sampled_from(ROOMS)
)
deliveries = st.tuples(st.just("deliver"), st.integers(0, 5))
steps = st.lists(operators | own | deliveries, max_size=30)


async def scenario(script: list[tuple[Any, ...]]) -> None:
    async with anyio.create_task_group() as task_group:
        runtime = Runtime.current(task_group)
        bus = Bus(immediate=False)
        model = Model()
        locals_ = [Sockets(runtime) for _ in range(NODES)]
        drivers = [BusDriver(bus) for _ in range(NODES)]
        adapters: list[BusAdapter] = []
        for sockets, driver in zip(locals_, drivers, strict=True):
            adapter = driver("/", sockets)
            assert isinstance(adapter, BusAdapter)
            sockets.adapter = adapter
            adapters.append(adapter)
            adapter.start()
        counter = 0
        for step in script:
            if step[0] == "call":
                _, node, kind, room, rooms, except_, local = step
                counter += 1
                adapter = adapters[node]
                options = BroadcastOptions(rooms, except_, local=local)
                value: Any = room
                if kind == "emit":
                    value = counter
                    adapter.broadcast(["x", counter], options)
                elif kind == "join":
                    adapter.add_sockets(options, [room])
                elif kind == "leave":
                    adapter.remove_sockets(options, [room])
                else:
                    adapter.disconnect_sockets(options, False)
                model.call(node, (kind, value, rooms, except_), local)
                await settle()
            elif step[0] == "deliver":
                way = [way for way, pipe in model.ways.items() if pipe]
                if way:
                    a, b = way[step[1] % len(way)]
                    assert bus.deliver_from(drivers[a], drivers[b])
                    model.apply(b, model.ways[a, b].popleft())
            else:
                kind, (node, member), room = step
                known = model.rooms[node]
                if kind == "connect":
                    adapters[node].add_all(member, [member])
                    known.setdefault(member, {member})
                elif member in known:
                    if kind == "enter":
                        adapters[node].add_all(member, [room])
                        known[member].add(room)
                    else:
                        adapters[node].remove(member, [room])
                        known[member].discard(room)
            for node in range(NODES):
                rooms_now = {m: set(own) for m, own in adapters[node].rooms.members.items()}
                assert rooms_now == model.rooms[node]
                assert sorted(locals_[node].sent) == sorted(model.sent[node])
        for (a, b), pipe in model.ways.items():
            while pipe:
                assert bus.deliver_from(drivers[a], drivers[b])
                model.apply(b, pipe.popleft())
        assert bus.waiting == 0
        for node in range(NODES):
            assert {m: set(own) for m, own in adapters[node].rooms.members.items()} == model.rooms[node]
            assert sorted(locals_[node].sent) == sorted(model.sent[node])
            await adapters[node].close()
        assert [driver.dropped for driver in drivers] == [0, 0, 0]


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=60)
@given(script=steps)
def test_three_nodes_are_three_sets(backend: str, script: list[tuple[Any, ...]]) -> None:
    anyio.run(scenario, script, backend=backend)
