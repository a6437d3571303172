"""The rooms of one namespace on every node, by way of a stream in Redis."""

from __future__ import annotations

from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any, Final

from sio_core.adapters.base import LocalSockets, RecoverySettings
from sio_core.adapters.messages import (
    BROADCAST,
    FETCH_SOCKETS,
    RESPONSES,
    SERVER_SIDE_EMIT,
    Message,
    decode_msgpack,
)
from sio_core.adapters.outgoing import Outgoing
from sio_core.adapters.recovering import RecoveringClusterAdapter
from sio_core.adapters.redis_connection import BATCH, Command
from sio_core.adapters.redis_entries import (
    BEGINNING,
    encode_data,
    entry_key,
    entry_words,
    next_entry,
    read_entry,
)
from sio_core.errors import AdapterError, InvalidPacket

if TYPE_CHECKING:
    from sio_core.adapters.redis_streams import RedisStreams

__all__ = ["StreamsAdapter"]

PAGE: Final = 1_000
"""Entries that are read of a log at a time."""

MAX_PAGES: Final = 100
"""Then the client has missed so much that it had better start again."""


class StreamsAdapter(RecoveringClusterAdapter):
    """The rooms of one namespace on every node, by way of :class:`~sio_core.adapters.redis_streams.RedisStreams`.

    :param settings: how sessions are recovered; ``None`` if they are not.
    :ivar stream: the key of the stream.
    """

    driver: RedisStreams
    batch = BATCH

    def __init__(
        self, name: str, local: LocalSockets, driver: RedisStreams, settings: RecoverySettings | None
    ) -> None:
        super().__init__(name, local, driver, settings)
        self.driver = driver
        self.stream = driver.stream_of(name)
        # The newest entry when what is being published was published first, or the last one in which it was looked for;
        # and what was found of it: the offsets by `seq`.
        self._before = ""
        self._added: dict[int | None, str | None] = {}
        self._channel = f"{driver.prefix}#{name}#"
        self._own_channel = f"{self._channel}{self.uid}#"

    # Life

    def start(self) -> None:
        self.position = self.driver.position_in(self.stream)
        super().start()
        for channel in (self._channel, self._own_channel):
            self.driver.subscribe(channel, self._take_payload)

    async def close(self) -> None:
        for channel in (self._channel, self._own_channel):
            self.driver.unsubscribe(channel, self._take_payload)
        await super().close()

    async def count_nodes(self) -> int:
        return await self.driver.count_subscribers(self._channel)

    # Speaking and hearing

    def prepare(self, message: Message) -> None:
        if message.type in RESPONSES or is_ephemeral(message):
            message.payload = self.codec.msgpack(message.to_wire())
        else:
            message.payload = encode_data(self.codec, message, self.driver.only_plaintext)

    def command(self, message: Message, target: str | None) -> Command:
        """Return the command that carries a message."""
        driver = self.driver
        if target is not None:
            return driver.publication(f"{self._channel}{target}#", message.payload)
        if is_ephemeral(message):
            return driver.publication(self._channel, message.payload)
        return b"XADD", entry_words(self.stream, driver.max_len, message, message.payload)

    def is_durable(self, outgoing: Outgoing) -> bool:
        """What is not in the stream cannot be found there: it is not known whether another attempt doubles it."""
        return not is_ephemeral(outgoing.message) and super().is_durable(outgoing)

    async def publish_batch(self, batch: list[Outgoing]) -> list[str | None]:
        added = self._added
        if batch[0].message.attempt and self._before:
            await self._find_added()
        else:
            added.clear()
            self._before = ""  # if it cannot be found out, nothing is added either
            self._before = self.position or await self.driver.newest(self.stream)
        missing = [one for one in batch if one.message.seq not in added]
        newest = max([seq for seq in added if seq is not None], default=0)
        if any([(one.message.seq or newest) < newest for one in missing]):
            self.renumber(added)  # Redis has refused one entry, and taken a later one
        offsets = iter(await self.driver.carry([self.command(one.message, one.target) for one in missing]))
        return [added.get(one.message.seq) or next(offsets) for one in batch]

    async def _find_added(self) -> None:
        """Find out what was added to the stream by attempts that seemed to fail.

        Where the connection is the same this comes after that attempt, and sees all of it. Should there be more than
        can be read in time, the next attempt goes on where this one ends.
        """
        following: str | None = next_entry(self._before)
        while following is not None:
            entries, self._before, following = await self._read_page(following)
            for entry in entries:
                if entry.uid == self.uid and entry.seq is not None:
                    self._added[entry.seq] = entry.offset

    async def publish(self, message: Message) -> str | None:
        return (await self.driver.carry([self.command(message, None)]))[0]

    async def publish_response(self, uid: str, message: Message) -> None:
        await self.driver.carry([self.command(message, uid)])

    def _take_payload(self, payload: bytes) -> None:
        self.driver.receive_payload(payload, self.name)

    # Recovery

    def offset_key(self, offset: str) -> Any:
        return entry_key(offset)

    async def store_session(self, pid: str, fields: dict[str, Any], seconds: float) -> None:
        value = b64encode(self.codec.msgpack(fields))
        await self.driver.execute((b"SET", (self._key(pid), value, b"PX", round(seconds * 1000))))

    async def find_session(self, pid: str) -> dict[str, Any] | None:
        (value,) = await self.driver.execute((b"GET", (self._key(pid),)))
        if value is None:
            return None
        fields = decode_msgpack(b64decode(value))
        return fields if isinstance(fields, dict) else None

    async def remove_session(self, pid: str) -> bool:
        (count,) = await self.driver.execute((b"DEL", (self._key(pid),)))
        return bool(count)

    def _key(self, pid: str) -> str:
        return self.driver.session_key_prefix + pid

    async def read_log(self, offset: str) -> list[Message] | None:
        if not await self._reaches_back_to(offset):
            return None
        return await self._read_from(next_entry(offset))

    async def _read_from(self, start: str) -> list[Message]:
        """Return the entries of this namespace from an id on.

        :raises AdapterError: if there are too many.
        """
        messages: list[Message] = []
        for _ in range(MAX_PAGES):
            found, _, following = await self._read_page(start)
            messages += found
            if following is None:
                return messages
            start = following
        raise AdapterError(f"there are more than {PAGE * MAX_PAGES} entries to read")

    async def _read_page(self, start: str) -> tuple[list[Message], str, str | None]:
        """Return entries of this namespace, the id of the last entry that was read, and where the next page starts."""
        (page,) = await self.driver.execute((b"XRANGE", (self.stream, start, b"+", b"COUNT", PAGE)))
        messages: list[Message] = []
        for entry_id, fields in page:
            try:
                message = read_entry(fields)
            except InvalidPacket:
                continue  # the reader has counted it
            if message.nsp == self.name:
                message.offset = entry_id.decode()
                messages.append(message)
        last = page[-1][0].decode() if page else self._before
        return messages, last, next_entry(last) if len(page) == PAGE else None

    async def _reaches_back_to(self, offset: str) -> bool:
        """Whether the stream still has an entry, and so all after it."""
        if offset != BEGINNING:
            (found,) = await self.driver.execute((b"XRANGE", (self.stream, offset, offset)))
            return bool(found)
        (exists,) = await self.driver.execute((b"EXISTS", (self.stream,)))
        if not exists:
            return True
        (state,) = await self.driver.execute((b"XINFO STREAM", (self.stream,)))
        return bool(state[b"length"] == state.get(b"entries-added"))


def is_ephemeral(message: Message) -> bool:
    """Whether a message is of no use later: it is answered at once, or not at all."""
    if message.type == BROADCAST:
        return message.data is not None and "requestId" in message.data
    return message.type in {FETCH_SOCKETS, SERVER_SIDE_EMIT}
