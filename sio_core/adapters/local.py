"""The workers of one machine as a cluster, without a broker: ``io.run(workers=4)`` uses it by itself.

What a worker publishes goes through a Unix socket to the supervisor, which hands it to the others
(:mod:`sio_core.adapters.local_hub`). Who is there is known from the supervisor too: a worker that dies is missed at
once, and nobody waits for its answers.
"""

from __future__ import annotations

import logging
import math
from typing import Final

import anyio

from sio_core.adapters.base import LocalSockets
from sio_core.adapters.cluster import ClusterAdapter
from sio_core.adapters.driver import Driver
from sio_core.adapters.heartbeats import HeartbeatClusterAdapter
from sio_core.adapters.local_hub import DIRECT, MEMBERS, PUBLISH, pack_direct, unpack_from, unpack_members
from sio_core.adapters.messages import Message, decode
from sio_core.adapters.outgoing import Outgoing
from sio_core.adapters.timers import pause
from sio_core.channel import Channel, ChannelMessage, run_channel
from sio_core.errors import AdapterError, InvalidPacket
from sio_core.runtime import Waiter

__all__ = ["Local", "LocalAdapter"]

LAST_WORDS: Final = 100
"""How often, each hundredth of a second, it is looked whether the last messages have left."""

logger = logging.getLogger(__name__)


class LocalAdapter(HeartbeatClusterAdapter):
    """The rooms of one namespace on every worker.

    A worker says once that it has the namespace, and the others answer; after that the supervisor says who is gone.
    """

    driver: Local

    def __init__(self, name: str, local: LocalSockets, driver: Local) -> None:
        super().__init__(name, local, driver, math.inf, math.inf)

    async def publish(self, message: Message) -> str | None:
        self.driver.send(message, None)
        return None

    async def publish_response(self, uid: str, message: Message) -> None:
        self.driver.send(message, uid)

    def enqueue(self, message: Message, target: str | None) -> Outgoing:
        """Publish at once: it never waits, so nothing is to be queued once the adapter has started."""
        if not self._started or self._queue:
            return super().enqueue(message, target)
        self.prepare(message)
        outgoing = Outgoing(message, target)
        try:
            self.driver.send(message, target)
        except AdapterError as error:
            self.fail(outgoing, error)
        else:
            outgoing.settle()
        return outgoing

    def forget(self, uid: str) -> None:
        """A worker is gone, or has another adapter for this namespace."""
        self._heartbeats.forget(uid)


class Local(Driver):
    """The other workers of this machine: ``Server(adapter=Local())`` with ``io.run(workers=4)``.

    Without workers the server is a cluster of one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._channel: Channel | None = None
        self._life: anyio.CancelScope | None = None
        self._ended: Waiter | None = None
        self._uids: dict[tuple[int, str], str] = {}
        self._workers: dict[str, int] = {}

    def join(self, channel: Channel) -> None:
        """Be one of several workers: this is the way to the others."""
        self._channel = channel

    def make_adapter(self, name: str, local: LocalSockets) -> ClusterAdapter:
        return LocalAdapter(name, local, self)

    @property
    def degraded(self) -> bool:
        return self._channel is not None and self._channel.closed

    def open(self) -> None:
        if self._channel is not None:
            self._ended = Waiter()
            self.host.runtime.spawn(self._run, self._channel, self._ended)

    async def close(self) -> None:
        for _ in range(LAST_WORDS):
            if self._channel is None or not self._channel.waiting:
                break
            await pause(self.host, 0.01)
        if self._life is not None:
            self._life.cancel()
        if self._ended is not None:
            await self._ended.wait()
        self._uids.clear()
        self._workers.clear()

    async def _run(self, channel: Channel, ended: Waiter) -> None:
        try:
            with anyio.CancelScope() as self._life:
                await run_channel(channel, self._receive)
                logger.error("the other workers cannot be reached any more")
        finally:
            self._life = None
            ended.set()

    def send(self, message: Message, target: str | None) -> None:
        """Send a message to the other workers, or to the one that has the adapter ``target``.

        :raises AdapterError: if the supervisor is gone, or takes nothing any more.
        """
        channel = self._channel
        if channel is None:
            return
        if channel.closed:
            raise AdapterError("the other workers cannot be reached: their supervisor is gone")
        if channel.waiting > self.host.limits.cluster_queue_bytes:
            self.host.count_limit("cluster_queue_bytes")
            raise AdapterError("too much waits to be published (limits.cluster_queue_bytes)")
        payload: bytes = message.payload
        worker = self._workers.get(target) if target is not None else None
        if worker is None:
            channel.send(PUBLISH, payload)
        else:
            channel.send(DIRECT, pack_direct(worker, payload))

    def _receive(self, messages: list[ChannelMessage]) -> None:
        for message in messages:
            if message.kind == MEMBERS:
                self._set_members(unpack_members(message.data))
            else:
                worker, payload = unpack_from(message.data)
                try:
                    received = decode(payload)
                except InvalidPacket as error:
                    self.drop(str(error))
                    continue
                self._note(worker, received)
                self.receive(received)

    def _note(self, worker: int, message: Message) -> None:
        """Remember whose adapter this is: answers go there, and it goes with its worker."""
        key = worker, message.nsp
        before = self._uids.get(key)
        if before == message.uid or message.nsp not in self.adapters:
            return
        if before is not None:
            self._let_go(key, before)
        self._uids[key] = message.uid
        self._workers[message.uid] = worker

    def _set_members(self, members: set[int]) -> None:
        for key, uid in list(self._uids.items()):
            if key[0] not in members:
                self._let_go(key, uid)

    def _let_go(self, key: tuple[int, str], uid: str) -> None:
        del self._uids[key]
        del self._workers[uid]
        adapter = self.adapters.get(key[1])
        if isinstance(adapter, LocalAdapter):
            adapter.forget(uid)
