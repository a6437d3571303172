"""The workers of one machine as a cluster, without a broker: ``io.run(workers=4)`` uses it by itself.

What a worker publishes goes through a Unix socket to the supervisor, which hands it to the others
(:mod:`sio_core.adapters.local_hub`). Who is there is known from the supervisor too: a worker that dies is missed at
once, and nobody waits for its answers.
"""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import Any, Final

import anyio
import msgspec

from sio_core.adapters.base import LocalSockets
from sio_core.adapters.cluster import ClusterAdapter
from sio_core.adapters.driver import Driver
from sio_core.adapters.local_adapter import LocalAdapter, RecoveringLocalAdapter
from sio_core.adapters.local_hub import (
    ANSWER,
    ASK,
    DIRECT,
    ENTRY,
    HERE,
    JOIN,
    LEAVE,
    MEMBERS,
    POSITION,
    PUBLISH,
    WHO,
    pack_direct,
    pack_entry,
    unpack_entry,
    unpack_from,
    unpack_members,
)
from sio_core.adapters.messages import ADAPTER_CLOSE, HEARTBEAT, Message, decode, make_uid
from sio_core.adapters.requests import Roll
from sio_core.adapters.timers import pause
from sio_core.channel import Channel, ChannelMessage, run_channel
from sio_core.errors import AdapterError, InvalidPacket
from sio_core.runtime import Waiter

__all__ = ["Local"]

ROLL_TIME: Final = 1.0
"""Seconds that a worker may take to say whether it has a namespace. Then it is judged by what it has said before."""

LAST_WORDS: Final = 100
"""How often, each hundredth of a second, it is looked whether the last messages have left."""

logger = logging.getLogger(__name__)


class Local(Driver):
    """The other workers of this machine: ``Server(adapter=Local())`` with ``io.run(workers=4)``.

    Without workers the server is a cluster of one, and recovers nobody.

    :ivar position: the offset of the newest event that has come.
    """

    heartbeat_interval = heartbeat_timeout = math.inf  # the supervisor says who is gone

    def __init__(self) -> None:
        super().__init__()
        self.position = ""
        self._epoch = ""
        self._channel: Channel | None = None
        self._life: anyio.CancelScope | None = None
        self._ended: Waiter | None = None
        self._uids: dict[tuple[int, str], str] = {}
        self._workers: dict[str, int] = {}
        self._asked = 0
        self._questions: dict[int, Waiter] = {}
        self._rolls: dict[str, Roll] = {}
        self._listening = False

    def join(self, channel: Channel) -> None:
        """Be one of several workers: this is the way to the others."""
        self._channel = channel

    def make_adapter(self, name: str, local: LocalSockets) -> ClusterAdapter:
        settings = local.recovery
        if settings is None or self._channel is None:
            return LocalAdapter(name, local, self)
        return RecoveringLocalAdapter(name, local, self, settings)

    # The connection

    @property
    def degraded(self) -> bool:
        return self._channel is not None and self._channel.closed

    def open(self) -> None:
        if self._channel is not None:
            self._ended = Waiter()
            self._listening = True
            self._channel.send(JOIN)
            self.host.runtime.spawn(self._run, self._channel, self._ended)

    async def detach(self, adapter: ClusterAdapter) -> None:
        if self.adapters.get(adapter.name) is adapter:
            for (worker, nsp), uid in list(self._uids.items()):
                if nsp == adapter.name:
                    self._let_go((worker, nsp), uid)
        await super().detach(adapter)

    async def close(self) -> None:
        self._listening = False
        if self._channel is not None:
            self._channel.send(LEAVE)
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
            for waiter in (*self._questions.values(), *[roll.waiter for roll in self._rolls.values()]):
                waiter.set(error=AdapterError("the supervisor cannot be reached any more"))
            ended.set()

    # Sending

    def send(self, message: Message, target: str | None, is_kept: bool) -> None:
        """Send a message to the other workers, or to the one that has the adapter ``target``.

        :param is_kept: it comes back to this worker too, with an offset.
        :raises AdapterError: if the supervisor is gone, or takes nothing any more.
        """
        payload: bytes = message.payload
        worker = self._workers.get(target) if target is not None else None
        if self._channel is None:
            return
        if is_kept:
            assert message.seq is not None
            self._write(self._channel, ENTRY, pack_entry(message.nsp, message.seq, payload))
        elif worker is not None:
            self._write(self._channel, DIRECT, pack_direct(worker, payload))
        else:
            self._write(self._channel, PUBLISH, payload)

    def _write(self, channel: Channel, kind: int, data: bytes) -> None:
        if channel.closed:
            raise AdapterError("the other workers cannot be reached: their supervisor is gone")
        if channel.waiting > self.host.limits.cluster_queue_bytes:
            self.host.count_limit("cluster_queue_bytes")
            raise AdapterError("too much waits to be published (limits.cluster_queue_bytes)")
        channel.send(kind, data)

    async def ask(self, what: str, *arguments: Any) -> Any:
        """Ask the supervisor for something it keeps.

        :raises AdapterError: if it is gone.
        """
        if self._channel is None:
            raise AdapterError("there is no supervisor")
        self._asked += 1
        number = self._asked
        waiter = self._questions[number] = Waiter()
        try:
            self._write(self._channel, ASK, msgspec.msgpack.encode((number, what, *arguments)))
            return await waiter.wait()
        finally:
            del self._questions[number]

    async def call_roll(self, nsp: str, seconds: float) -> set[str]:
        """Ask every other worker for its adapter of a namespace; return the uids of those that have one.

        What a worker has said before does not tell: it may have got the namespace, and clients in it, a moment ago. Of
        one that does not respond there is nothing else.

        :param seconds: that it may take at most; it takes no more than :data:`ROLL_TIME`.
        :raises AdapterError: if the supervisor is gone, or takes nothing any more.
        """
        if self._channel is None or not self._listening:
            return set()
        name = make_uid()  # a worker that takes the place of this one does not mistake an answer for its own
        roll = Roll()
        roll.deadline = self.host.runtime.now() + min(ROLL_TIME, seconds)
        self._rolls[name] = roll
        self.host.deadlines.schedule(roll)
        try:
            self._write(self._channel, WHO, msgspec.msgpack.encode((name, nsp)))
            await roll.waiter.wait()
        finally:
            self.host.deadlines.cancel(roll)
            del self._rolls[name]
        if roll.complete:
            return roll.uids
        silent = {uid for (worker, of), uid in self._uids.items() if of == nsp and roll.is_missing(worker)}
        return roll.uids | silent

    # Receiving

    def _receive(self, messages: list[ChannelMessage]) -> None:
        for message in messages:
            kind, data = message.kind, message.data
            if kind == ENTRY:
                worker, place, seq, payload = unpack_entry(data)
                self.position = self.offset_at(place)
                self._take(worker, payload, self.position, seq)
            elif kind in {PUBLISH, DIRECT}:
                self._take(*unpack_from(data))
            elif kind == MEMBERS:
                self._set_members(unpack_members(data))
            elif kind == ANSWER:
                key, value = msgspec.msgpack.decode(data)
                if key in self._questions:
                    self._questions[key].set(value)
                elif key in self._rolls:
                    self._rolls[key].expect(value)
            elif kind == WHO:
                self._say_here(*unpack_from(data))
            elif kind == HERE:
                self._hear(*unpack_from(data))
            elif kind == POSITION:
                self._set_position(data)

    def _take(self, worker: int, payload: bytes, offset: str | None = None, seq: int | None = None) -> None:
        try:
            message = decode(payload)
        except InvalidPacket as error:
            self.drop(str(error))
            return
        message.seq = seq
        if message.type == ADAPTER_CLOSE:
            if self._uids.get((worker, message.nsp)) == message.uid:
                self._let_go((worker, message.nsp), message.uid)
        else:
            self._note(worker, message)
        self.receive(message, offset)

    def _say_here(self, worker: int, question: bytes) -> None:
        """Another worker calls the roll."""
        name, nsp = msgspec.msgpack.decode(question)
        adapter = self.adapters.get(nsp)
        uid = adapter.uid if adapter is not None and not adapter.closing else ""
        assert self._channel is not None
        with suppress(AdapterError):  # the other one does not wait for long
            self._write(self._channel, HERE, pack_direct(worker, msgspec.msgpack.encode((name, nsp, uid))))

    def _hear(self, worker: int, answer: bytes) -> None:
        """Another worker has answered to the roll; with an adapter that is a heartbeat, perhaps the first."""
        name, nsp, uid = msgspec.msgpack.decode(answer)
        if uid:
            message = Message(HEARTBEAT, uid, nsp, None)
            self._note(worker, message)
            self.receive(message)
        if name in self._rolls:
            self._rolls[name].answer(worker, uid)

    def _note(self, worker: int, message: Message) -> None:
        """Remember whose adapter this is: answers go there, and it goes with its worker."""
        key = worker, message.nsp
        before = self._uids.get(key)
        adapter = self.adapters.get(message.nsp)
        if before == message.uid or adapter is None or adapter.uid == message.uid:
            return
        if before is not None:
            self._let_go(key, before)
        self._uids[key] = message.uid
        self._workers[message.uid] = worker

    def _set_members(self, members: set[int]) -> None:
        for key, uid in list(self._uids.items()):
            if key[0] not in members:
                self._let_go(key, uid)
        for roll in list(self._rolls.values()):
            roll.keep(members)

    def _let_go(self, key: tuple[int, str], uid: str) -> None:
        del self._uids[key]
        del self._workers[uid]
        adapter = self.adapters.get(key[1])
        if isinstance(adapter, LocalAdapter):
            adapter.forget(uid)

    # The log

    def _set_position(self, data: bytes) -> None:
        self._epoch, place = msgspec.msgpack.decode(data)
        self.position = self.offset_at(place)
        for adapter in self.adapters.values():
            if isinstance(adapter, RecoveringLocalAdapter):
                adapter.position = self.position

    def offset_at(self, place: int) -> str:
        """Return the offset of a place in the log."""
        return f"{self._epoch}.{place}"

    def place_of(self, offset: str) -> int:
        """Return the place that an offset stands for.

        :raises ValueError: if it is none of this log.
        """
        epoch, _, place = offset.partition(".")
        if epoch != self._epoch or not (place.isascii() and place.isdecimal() and len(place) < 16):
            raise ValueError("it is an offset of another log")
        return int(place)
