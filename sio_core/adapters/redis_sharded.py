"""Redis 7 with sharded publish and subscribe, for clusters with ``createShardedAdapter()`` of
``@socket.io/redis-adapter``.

What is published while a node is not connected is lost to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sio_core.adapters.base import LocalSockets
from sio_core.adapters.messages import BROADCAST, Message
from sio_core.adapters.redis_connection import Command, RedisAdapter, RedisDriver

__all__ = ["ShardedRedis", "ShardedRedisAdapter"]

DYNAMIC: Final = "dynamic"
STATIC: Final = "static"
DYNAMIC_PRIVATE: Final = "dynamic-private"
MODES: Final = (DYNAMIC, STATIC, DYNAMIC_PRIVATE)

SOCKET_ID_LENGTH: Final = 20
"""What a node cannot know of a room elsewhere, its length tells: that it is the room of one socket."""


class ShardedRedis(RedisDriver):
    """Sharded publish and subscribe: ``Server(adapter=ShardedRedis("redis://127.0.0.1:6379"))``.

    :param url: ``redis://[[user]:password@]host[:port][/db]``, ``rediss://`` for TLS, or ``unix://`` and a path.
    :param channel_prefix: what the names of channels start with.
    :param subscription_mode: which rooms have a channel of their own, so that what is for one of them reaches only the
        nodes that have it: ``"dynamic"`` (those that are not of one socket), ``"dynamic-private"`` (all) or
        ``"static"`` (none). The same on every node.
    :param connection: further options of ``coredis.Redis.from_url()``, such as ``ssl_context``.
    :raises ValueError: for a bad value; the message names the option.

    Socket.IO documentation, "Redis adapter", "With sharded Pub/Sub".
    """

    def __init__(
        self,
        url: str,
        *,
        channel_prefix: str = "socket.io",
        subscription_mode: str = DYNAMIC,
        connection: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(url, channel_prefix, sharded=True, connection=connection)
        if subscription_mode not in MODES:
            raise ValueError(
                f"subscription_mode must be one of {', '.join(MODES)}, not {subscription_mode!r}"
            )
        self.subscription_mode = subscription_mode

    def make_adapter(self, name: str, local: LocalSockets) -> ShardedRedisAdapter:
        return ShardedRedisAdapter(name, local, self)


class ShardedRedisAdapter(RedisAdapter):
    """The rooms of one namespace on every node, by way of :class:`ShardedRedis`."""

    def __init__(self, name: str, local: LocalSockets, driver: ShardedRedis) -> None:
        super().__init__(name, local, driver)
        self._mode = driver.subscription_mode
        self._channel = f"{driver.prefix}#{name}#"
        self._own_channel = f"{self._channel}{self.uid}#"
        self._room_channels: set[str] = set()
        if self._mode != STATIC:
            self.rooms.on("create-room", self._open_room)
            self.rooms.on("delete-room", self._close_room)

    # Life

    def start(self) -> None:
        super().start()
        for channel in (self._channel, self._own_channel, *self._room_channels):
            self.driver.subscribe(channel, self._take_payload)

    async def close(self) -> None:
        for channel in (self._channel, self._own_channel, *self._room_channels):
            self.driver.unsubscribe(channel, self._take_payload)
        await super().close()

    def _open_room(self, room: str) -> None:
        # The room of a socket is made by that socket, which is a member then.
        if self._mode == DYNAMIC_PRIVATE or room not in self.rooms.members:
            channel = f"{self._channel}{room}#"
            self._room_channels.add(channel)
            if self._started:
                self.driver.subscribe(channel, self._take_payload)

    def _close_room(self, room: str) -> None:
        channel = f"{self._channel}{room}#"
        if channel in self._room_channels:
            self._room_channels.discard(channel)
            self.driver.unsubscribe(channel, self._take_payload)

    async def count_nodes(self) -> int:
        return await self.driver.count_subscribers(self._channel)

    # Speaking and hearing

    def command(self, message: Message, target: str | None) -> Command:
        return self.driver.publication(self._channel_of(message, target), message.payload)

    def _channel_of(self, message: Message, target: str | None) -> str:
        if target is not None:
            return f"{self._channel}{target}#"
        data = message.data
        if message.type != BROADCAST or data is None or "requestId" in data or self._mode == STATIC:
            return self._channel
        rooms = data["opts"]["rooms"]
        if len(rooms) != 1 or (self._mode == DYNAMIC and length(rooms[0]) == SOCKET_ID_LENGTH):
            return self._channel
        return f"{self._channel}{rooms[0]}#"

    def _take_payload(self, payload: bytes) -> None:
        self.driver.receive_payload(payload, self.name)


def length(text: str) -> int:
    """Return the length of a text as JavaScript counts it, in UTF-16 units."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
