"""The rooms of one namespace on every worker of a machine, with recovery of lost clients or without."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sio_core.adapters.base import LocalSockets, RecoverySettings
from sio_core.adapters.heartbeats import HeartbeatClusterAdapter
from sio_core.adapters.messages import Message, decode, decode_msgpack
from sio_core.adapters.outgoing import Outgoing
from sio_core.adapters.recovering import RecoveringClusterAdapter, is_recoverable, options_of
from sio_core.errors import AdapterError

if TYPE_CHECKING:
    from sio_core.adapters.local import Local

__all__ = ["LocalAdapter", "RecoveringLocalAdapter"]


class LocalAdapter(HeartbeatClusterAdapter):
    """Without recovery.

    A worker says once that it has the namespace, and the others answer; after that the supervisor says who is gone. Who
    has to answer a request is asked each time, since that is known for certain only then.
    """

    driver: Local

    async def publish(self, message: Message) -> str | None:
        self.driver.send(message, None, self.is_logged(message))
        return None

    async def publish_response(self, uid: str, message: Message) -> None:
        self.driver.send(message, uid, False)

    def enqueue(self, message: Message, target: str | None) -> Outgoing:
        """Publish at once: it never waits, so nothing is to be queued once the adapter has started."""
        if not self._started or self._queue:
            return super().enqueue(message, target)
        self.prepare(message)
        outgoing = Outgoing(message, target)
        try:
            self.driver.send(message, target, target is None and self.is_logged(message))
        except AdapterError as error:
            self.fail(outgoing, error)
        else:
            outgoing.settle()
        return outgoing

    def is_logged(self, message: Message) -> bool:
        """Whether a message goes through the log, for those who miss it."""
        return False

    async def count_nodes(self) -> int:
        """One that has gone since counts: what it had to say before, it has said."""
        return len(await self.driver.call_roll(self.name, self._limits.cluster_publish_time / 2)) + 1

    async def others(self, seconds: float) -> tuple[int, set[str]]:
        names = await self.driver.call_roll(self.name, seconds / 2)
        names &= self.nodes.keys()  # one that has gone since is not waited for
        return len(names), names

    def forget(self, uid: str) -> None:
        """A worker is gone, or has another adapter for this namespace."""
        self._heartbeats.forget(uid)


class RecoveringLocalAdapter(RecoveringClusterAdapter, LocalAdapter):
    """With recovery, by the log of the hub: a lost client comes back at any worker."""

    def __init__(self, name: str, local: LocalSockets, driver: Local, settings: RecoverySettings) -> None:
        RecoveringClusterAdapter.__init__(self, name, local, driver, settings)

    def start(self) -> None:
        self.position = self.driver.position
        super().start()

    def is_logged(self, message: Message) -> bool:
        return is_recoverable(message) and not options_of(message).volatile

    def offset_key(self, offset: str) -> int:
        return self.driver.place_of(offset)

    async def store_session(self, pid: str, fields: dict[str, Any], seconds: float) -> None:
        await self.driver.ask("store", self._key(pid), self.codec.msgpack(fields), seconds)

    async def find_session(self, pid: str) -> dict[str, Any] | None:
        session = await self.driver.ask("find", self._key(pid))
        fields: dict[str, Any] | None = decode_msgpack(session) if session is not None else None
        return fields

    async def remove_session(self, pid: str) -> bool:
        removed: bool = await self.driver.ask("remove", self._key(pid))
        return removed

    def _key(self, pid: str) -> str:
        """A session belongs to one namespace: another knows nothing of it."""
        return f"{self.name}#{pid}"

    async def read_log(self, offset: str) -> list[Message] | None:
        messages: list[Message] = []
        number = self.offset_key(offset)
        while True:
            page = await self.driver.ask("log", self.name, number)
            if page is None:
                return None
            entries, until = page
            for place, payload in entries:
                message = decode(payload)
                message.offset = self.driver.offset_at(place)
                messages.append(message)
            if until == number:
                return messages
            number = until
