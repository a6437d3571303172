"""The rooms of one namespace on every node, by way of a collection in MongoDB."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from bson import ObjectId

from sio_core.adapters.base import LocalSockets, RecoverySettings
from sio_core.adapters.heartbeats import HeartbeatClusterAdapter
from sio_core.adapters.messages import HEARTBEAT, Message
from sio_core.adapters.mongo_documents import SESSION, offset_of, read_document
from sio_core.adapters.outgoing import Outgoing
from sio_core.adapters.recovering import RecoveringClusterAdapter
from sio_core.errors import AdapterError, InvalidPacket
from sio_core.runtime import Waiter

if TYPE_CHECKING:
    from sio_core.adapters.mongo import Mongo

__all__ = ["MongoAdapter"]

BATCH: Final = 100
"""Documents inserted at once."""

PLACES: Final = 20_000
"""The newest documents whose order is remembered."""

MOST_MISSED: Final = 100_000
"""Documents that are read for one client. Has it missed more, it had better start again."""

SKEW: Final = timedelta(seconds=60)
"""How far the clocks of nodes may differ: an ``_id`` says when its node thought that it was made."""


class MongoAdapter(RecoveringClusterAdapter, HeartbeatClusterAdapter):
    """The rooms of one namespace on every node, by way of :class:`~sio_core.adapters.mongo.Mongo`.

    The offset of an event is the ``_id`` of its document. Each node makes those of its own, so their order is not that
    of the collection; the order is that in which the change stream brings them, which is the same for every node.

    :param settings: how sessions are recovered; ``None`` if they are not.
    """

    driver: Mongo
    batch = BATCH
    says_farewell = False  # as with the official adapter

    def __init__(
        self, name: str, local: LocalSockets, driver: Mongo, settings: RecoverySettings | None
    ) -> None:
        super().__init__(name, local, driver, settings)
        self.driver = driver
        self._numbers: dict[str, int] = {}  # by offset: which of the messages that were sent here it is
        self._places: dict[str, int] = {}  # by offset: its place in the change stream
        self._read = 0
        self._awaited: dict[str, Waiter] = {}

    # Speaking

    def prepare(self, message: Message) -> None:
        number = ObjectId()
        message.payload = self.driver.encode(message, number)
        if message.seq is not None:
            self._numbers[str(number)] = message.seq

    async def publish_batch(self, batch: list[Outgoing]) -> list[str | None]:
        await self.driver.events.insert([outgoing.message.payload for outgoing in batch])
        return [offset_of(outgoing.message.payload) for outgoing in batch]

    async def publish(self, message: Message) -> str | None:
        await self.driver.events.insert([message.payload])
        return offset_of(message.payload)

    def fail(self, outgoing: Outgoing, error: Exception) -> None:
        self._numbers.pop(offset_of(outgoing.message.payload), None)
        super().fail(outgoing, error)

    async def publish_response(self, uid: str, message: Message) -> None:
        await self.publish(message)

    # Hearing

    def receive(self, message: Message, offset: str | None = None) -> None:
        if offset is not None:
            if offset in self._places:
                return
            self._read += 1
            self._places[offset] = self._read
            if len(self._places) > PLACES:
                del self._places[next(iter(self._places))]
            awaited = self._awaited.pop(offset, None)
            if awaited is not None:
                awaited.set()
            if message.uid == self.uid:
                message.seq = self._numbers.pop(offset, None)
        super().receive(message, offset)

    # Recovery

    def offset_key(self, offset: str) -> Any:
        """Compare by the place in the stream; what was before this node came, by the time in the ``_id``."""
        place = self._places.get(offset)
        if place is not None:
            return 1, place
        if not ObjectId.is_valid(offset):
            raise ValueError(f"{offset!r} is no offset")
        return 0, int(offset, 16)

    async def store_session(self, pid: str, fields: dict[str, Any], seconds: float) -> None:
        await self._insert(Message(SESSION, self.uid, self.name, fields))

    async def _insert(self, message: Message) -> ObjectId:
        number = ObjectId()
        await self.driver.events.insert([self.driver.encode(message, number)])
        return number

    async def find_session(self, pid: str) -> dict[str, Any] | None:
        found = await self._sessions(pid)
        if not found:
            await self._catch_up()  # the node that the client comes from may be storing it now
            found = await self._sessions(pid)
        if not found or found[-1].data is None or "sid" not in found[-1].data:
            return None
        return found[-1].data

    async def _sessions(self, pid: str) -> list[Message]:
        """Return what is stored of a session, the newest last."""
        order = "$natural" if self.driver.is_capped else "_id"
        found = await self.driver.events.find({"type": SESSION, "data.pid": pid}, order, PLACES)
        return [read_document(document.raw) for document in found]

    async def remove_session(self, pid: str) -> bool:
        if not self.driver.is_capped:
            return await self.driver.events.take_out({"type": SESSION, "data.pid": pid})
        # Nothing can be deleted. Who is the first to say that the session was claimed, has it.
        tombstone = Message(SESSION, self.uid, self.name, {"pid": pid, "tombstone": True})
        own = str(await self._insert(tombstone))
        first: str | None = None
        for entry in await self._sessions(pid):
            if entry.data is not None and "sid" in entry.data:
                first = None
            elif first is None:
                first = entry.offset
        return first == own

    async def read_log(self, offset: str) -> list[Message] | None:
        start = ObjectId(offset).generation_time - SKEW
        query = {"nsp": self.name, "_id": {"$gte": ObjectId.from_datetime(start)}}
        messages: list[Message] = []
        for document in await self.driver.events.find(query, "$natural", MOST_MISSED + 1):
            try:
                message = read_document(document.raw)
            except InvalidPacket:
                continue  # the reader has counted it
            if not has_ack(message):
                messages.append(message)
        if len(messages) > MOST_MISSED:
            raise AdapterError(f"there are more than {MOST_MISSED} entries after it")
        offsets = [message.offset for message in messages]
        if offset not in offsets:
            return None
        await self._catch_up()
        place = self._places.get(offset)
        if place is None:
            before = [m for m in messages[offsets.index(offset) + 1 :] if m.offset not in self._places]
            after = [m for m in messages if m.offset in self._places]
        else:
            before, after = [], [m for m in messages if self._places.get(m.offset or "", 0) > place]
        return before + sorted(after, key=lambda m: self._places[m.offset or ""])

    async def _catch_up(self) -> None:
        """Wait until everything that is in the log now was read here."""
        barrier = Message(HEARTBEAT, self.uid, self.name)
        number = ObjectId()
        waiter = self._awaited[str(number)] = Waiter()
        try:
            await self.driver.events.insert([self.driver.encode(barrier, number)])
            await waiter.wait()
        finally:
            self._awaited.pop(str(number), None)


def has_ack(message: Message) -> bool:
    """Whether it is an event that a socket of an official server alone can answer; they leave it in the log."""
    packet = (message.data or {}).get("packet")
    return isinstance(packet, dict) and packet.get("id") is not None
