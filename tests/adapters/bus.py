"""An engine of lists: what one node publishes waits for the others until the test delivers it, in an order it chooses.

What one node sends to another arrives in the order in which it was sent, as with every real engine; beyond that
anything may happen.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import anyio
import anyio.lowlevel

from sio_core.adapters.base import LocalSockets
from sio_core.adapters.cluster import ClusterAdapter
from sio_core.adapters.driver import Driver
from sio_core.adapters.heartbeats import HeartbeatClusterAdapter
from sio_core.adapters.messages import Message, decode
from sio_core.adapters.recovering import RecoveringClusterAdapter


class Bus:
    """The engine that the drivers of a test share.

    :ivar immediate: whether messages arrive as soon as they are published.
    :ivar away: whether publishing fails.
    :ivar deaf_ear: whether publishing fails although it does not: the answer is lost.
    :ivar log: what was published, for drivers that keep a log; an offset is a number of six digits.
    """

    def __init__(self, immediate: bool = True) -> None:
        self.deaf_ear = False
        self.log: list[Message] = []
        self.sessions: dict[str, dict[str, Any]] = {}
        self.drivers: list[BusDriver] = []
        self.immediate = immediate
        self.away = False
        self.published: list[bytes] = []
        self._pipes: dict[tuple[BusDriver, BusDriver], deque[bytes | int]] = {}

    def send(self, sender: BusDriver, payload: bytes, target: str | None) -> None:
        if self.away:
            raise ConnectionError("the bus is away")
        if sender not in self.drivers:
            return  # cut off, without noticing
        self.published.append(payload)
        for driver in self.drivers:
            if driver is sender:
                continue
            if target is None or target in [adapter.uid for adapter in driver.adapters.values()]:
                self._pipes.setdefault((sender, driver), deque()).append(payload)
        if self.immediate:
            self.deliver()

    @property
    def waiting(self) -> int:
        """How many messages have not arrived."""
        return sum(len(pipe) for pipe in self._pipes.values())

    def deliver_one(self, choice: random.Random | None = None) -> bool:
        """Have one message arrive; ``False`` if there was none."""
        pipes = [(key, pipe) for key, pipe in self._pipes.items() if pipe]
        if not pipes:
            return False
        (sender, receiver), _ = choice.choice(pipes) if choice is not None else pipes[0]
        return self.deliver_from(sender, receiver)

    def deliver_from(self, sender: BusDriver, receiver: BusDriver) -> bool:
        """Have the next message from one node to another arrive; ``False`` if there was none."""
        pipe = self._pipes.get((sender, receiver))
        if not pipe:
            return False
        item = pipe.popleft()
        if receiver not in self.drivers:
            return True
        if isinstance(item, int):
            entry = self.log[item]
            message = decode(entry.payload)
            message.seq = entry.seq
            receiver.receive(message, offset_of(item))
        else:
            receiver.receive_payload(item)
        return True

    def lose_from(self, sender: BusDriver, receiver: BusDriver) -> None:
        """The next message from one node to another never arrives; those of the log come from the receiver itself."""
        self._pipes[sender, receiver].popleft()

    def append(self, message: Message) -> str:
        """Add an entry to the log; every node reads it."""
        if self.away:
            raise ConnectionError("the bus is away")
        index = len(self.log)
        entry = Message(message.type, message.uid, message.nsp)
        entry.payload, entry.seq = message.payload, message.seq
        self.log.append(entry)
        for driver in self.drivers:
            self._pipes.setdefault((driver, driver), deque()).append(index)
        if self.deaf_ear:
            raise ConnectionError("the answer of the bus is lost")
        if self.immediate:
            self.deliver()
        return offset_of(index)

    def deliver(self, choice: random.Random | None = None) -> None:
        """Have everything arrive."""
        while self.deliver_one(choice):
            pass


class BusAdapter(ClusterAdapter):
    driver: BusDriver

    async def publish(self, message: Message) -> str | None:
        self.driver.bus.send(self.driver, message.payload, None)
        return None

    async def publish_response(self, uid: str, message: Message) -> None:
        self.driver.bus.send(self.driver, message.payload, uid)

    async def count_nodes(self) -> int:
        return len([driver for driver in self.driver.bus.drivers if self.name in driver.adapters])


class HeartbeatBusAdapter(HeartbeatClusterAdapter):
    driver: BusDriver

    async def publish(self, message: Message) -> str | None:
        self.driver.bus.send(self.driver, message.payload, None)
        return None

    async def publish_response(self, uid: str, message: Message) -> None:
        self.driver.bus.send(self.driver, message.payload, uid)


class LogBusAdapter(RecoveringClusterAdapter):
    """What is no request goes to the log, which each node reads in its own time."""

    driver: BusDriver

    def __init__(self, name: str, local: LocalSockets, driver: BusDriver) -> None:
        assert local.recovery is not None
        super().__init__(name, local, driver, local.recovery)
        self.position = offset_of(len(driver.bus.log) - 1)

    async def publish(self, message: Message) -> str | None:
        if message.seq is None:
            self.driver.bus.send(self.driver, message.payload, None)
            return None
        return self.driver.bus.append(message)

    async def publish_response(self, uid: str, message: Message) -> None:
        self.driver.bus.send(self.driver, message.payload, uid)

    async def count_nodes(self) -> int:
        return len([driver for driver in self.driver.bus.drivers if self.name in driver.adapters])

    async def store_session(self, pid: str, fields: dict[str, Any], seconds: float) -> None:
        await anyio.lowlevel.checkpoint()
        self.driver.bus.sessions[pid] = fields

    async def find_session(self, pid: str) -> dict[str, Any] | None:
        await anyio.lowlevel.checkpoint()
        return self.driver.bus.sessions.get(pid)

    async def remove_session(self, pid: str) -> bool:
        return self.driver.bus.sessions.pop(pid, None) is not None

    async def read_log(self, offset: str) -> list[Message] | None:
        found = []
        for index, entry in enumerate(self.driver.bus.log):
            message = decode(entry.payload)
            message.seq, message.offset = entry.seq, offset_of(index)
            if message.offset > offset and message.nsp == self.name:
                found.append(message)
        await anyio.lowlevel.checkpoint()
        return found

    def offset_key(self, offset: str) -> Any:
        return int(offset)


def offset_of(index: int) -> str:
    """The offset of an entry of the log, by its index."""
    return f"{index + 1:06}"


class BusDriver(Driver):
    """One node's way to the bus."""

    def __init__(self, bus: Bus, kind: type[Any] = BusAdapter) -> None:
        super().__init__()
        self.bus = bus
        self._kind = kind

    def make_adapter(self, name: str, local: LocalSockets) -> ClusterAdapter:
        adapter: ClusterAdapter = self._kind(name, local, self)
        return adapter

    def open(self) -> None:
        self.bus.drivers.append(self)

    async def close(self) -> None:
        self.bus.drivers.remove(self)
