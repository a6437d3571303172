"""An engine of lists: what one node publishes waits for the others until the test delivers it, in an order it chooses.

What one node sends to another arrives in the order in which it was sent, as with every real engine; beyond that
anything may happen.
"""

from __future__ import annotations

import random
from collections import deque
from typing import Any

from sio_core.adapters.base import LocalSockets
from sio_core.adapters.cluster import ClusterAdapter
from sio_core.adapters.driver import Driver
from sio_core.adapters.heartbeats import HeartbeatClusterAdapter
from sio_core.adapters.messages import Message


class Bus:
    """The engine that the drivers of a test share.

    :ivar immediate: whether messages arrive as soon as they are published.
    :ivar away: whether publishing fails.
    """

    def __init__(self, immediate: bool = True) -> None:
        self.drivers: list[BusDriver] = []
        self.immediate = immediate
        self.away = False
        self.published: list[bytes] = []
        self._pipes: dict[tuple[BusDriver, BusDriver], deque[bytes]] = {}

    def send(self, sender: BusDriver, payload: bytes, target: str | None) -> None:
        if self.away:
            raise ConnectionError("the bus is away")
        self.published.append(payload)
        for driver in self.drivers:
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
        (_, receiver), pipe = choice.choice(pipes) if choice is not None else pipes[0]
        payload = pipe.popleft()
        if receiver in self.drivers:
            receiver.receive_payload(payload)
        return True

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
