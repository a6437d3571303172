"""Redis with a stream, for clusters with ``@socket.io/redis-streams-adapter`` 0.3.

What must not be lost is added to a stream: a node that was not connected goes on reading where it was, and a client
that was not gets what it missed, from any node. What is answered at once, or of no use later, is published on channels.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from sio_core.adapters.base import LocalSockets
from sio_core.adapters.redis_connection import RedisDriver
from sio_core.adapters.redis_entries import (
    BEGINNING,
    entry_key,
    newest_command,
    newest_in,
    read_entry,
    stream_indexes,
    stream_key,
)
from sio_core.adapters.redis_streams_adapter import StreamsAdapter
from sio_core.adapters.supervisor import Supervisor
from sio_core.errors import InvalidPacket

__all__ = ["RedisStreams"]

logger = logging.getLogger(__name__)


class RedisStreams(RedisDriver):
    """A stream: ``Server(adapter=RedisStreams("redis://127.0.0.1:6379"))``.

    :param url: ``redis://[[user]:password@]host[:port][/db]``, ``rediss://`` for TLS, or ``unix://`` and a path.
    :param stream_name: the key of the stream, or what the keys of several start with.
    :param stream_count: how many streams the namespaces are spread over.
    :param channel_prefix: what the names of channels start with.
    :param use_sharded_pub_sub: whether the channels are sharded ones, for which Redis 7 is needed.
    :param max_len: about how many entries a stream keeps.
    :param read_count: how many entries are read at a time.
    :param block_time: seconds that Redis lets a reader wait for an entry; 5 at most.
    :param session_key_prefix: what the keys of lost sessions start with.
    :param only_plaintext: do not look for binary data, because there is none.
    :param connection: further options of ``coredis.Redis.from_url()``, such as ``ssl_context``.
    :ivar gaps: how often entries may have been trimmed before they were read.
    :raises ValueError: for a bad value; the message names the option.

    Socket.IO documentation, "Redis Streams adapter".
    """

    def __init__(
        self,
        url: str,
        *,
        stream_name: str = "socket.io",
        stream_count: int = 1,
        channel_prefix: str = "socket.io",
        use_sharded_pub_sub: bool = False,
        max_len: int = 10_000,
        read_count: int = 100,
        block_time: float = 5.0,
        session_key_prefix: str = "sio:session:",
        only_plaintext: bool = False,
        connection: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(url, channel_prefix, sharded=use_sharded_pub_sub, connection=connection)
        for name, value in (("stream_count", stream_count), ("max_len", max_len), ("read_count", read_count)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        if not 0 < block_time <= 5:
            raise ValueError(f"block_time must be a number of seconds up to 5, not {block_time!r}")
        self.stream_name = stream_name
        self.stream_count = stream_count
        self.max_len = max_len
        self.session_key_prefix = session_key_prefix
        self.only_plaintext = only_plaintext
        self.gaps = 0
        self._read_count = read_count
        self._block_milliseconds = max(round(block_time * 1000), 1)
        self._positions: dict[str, str] = {}

    def make_adapter(self, name: str, local: LocalSockets) -> StreamsAdapter:
        return StreamsAdapter(name, local, self, local.recovery)

    def stream_of(self, namespace: str) -> str:
        """Return the key of the stream that a namespace uses."""
        return stream_key(self.stream_name, self.stream_count, namespace)

    def _streams(self) -> list[str]:
        if self.stream_count == 1:
            return [self.stream_name]
        return [f"{self.stream_name}-{index}" for index in stream_indexes(self.stream_count)]

    def position_in(self, stream: str) -> str:
        """Return the id of the entry that was read last; empty if it is not known yet."""
        return self._positions.get(stream, "")

    async def newest(self, stream: str) -> str:
        """Return the id of the newest entry of a stream."""
        (reply,) = await self.execute(newest_command(stream))
        return newest_in(reply)

    def stats(self) -> dict[str, Any]:
        return {**super().stats(), "gaps": self.gaps}

    # Reading

    def open(self) -> None:
        super().open()
        reader = Supervisor(self.host, "Redis, to read", self._read, probe=self._ping)
        self.links.append(reader)
        reader.start()

    async def close(self) -> None:
        await super().close()
        self._positions.clear()  # another run of the server is another node

    async def _read(self, link: Supervisor) -> None:
        async with self.connect() as connection:
            for stream in self._streams():
                await self._find_position(connection, stream)
            link.up()
            while True:
                checks = [
                    connection.create_request(b"XRANGE", stream, at, at)
                    for stream, at in self._positions.items()
                    if at != BEGINNING
                ]
                words: list[str | bytes | int] = [
                    b"COUNT",
                    self._read_count,
                    b"BLOCK",
                    self._block_milliseconds,
                ]
                words += [b"STREAMS", *self._positions, *self._positions.values()]
                reading = connection.create_request(b"XREAD", *words)
                for check in checks:
                    if not await check:
                        self._note_gap()
                entries: Any = await reading
                link.heard()
                for stream, found in (entries or {}).items():
                    for offset, fields in found:
                        self._take_entry(stream.decode(), offset.decode(), fields)

    async def _find_position(self, connection: Any, stream: str) -> None:
        """Find out where to read on."""
        name, words = newest_command(stream)
        end = newest_in(await connection.create_request(name, *words))
        position = self._positions.get(stream)
        if position is not None and entry_key(end) >= entry_key(position):
            return
        if position is not None:
            self._note_gap()  # it is another stream, or an older state of it
        self._positions[stream] = end
        for adapter in self.adapters.values():
            if isinstance(adapter, StreamsAdapter) and adapter.stream == stream:
                adapter.position = end

    def _note_gap(self) -> None:
        self.gaps += 1
        logger.error("entries may have been trimmed from the stream before they were read here")

    def _take_entry(self, stream: str, offset: str, fields: list[bytes]) -> None:
        self._positions[stream] = offset
        try:
            message = read_entry(fields)
        except InvalidPacket as error:
            self.drop(str(error))
            return
        self.receive(message, offset)
