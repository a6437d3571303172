"""Emitters for clusters on sharded channels of Redis: what :mod:`sio_core.adapters.redis_sharded` and its official
counterpart hear. There is no official one.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Any

from sio_core.adapters.messages import Codec, Message
from sio_core.emitters.redis_forms import TIMEOUT, AsyncRedisPublisher, Form, RedisPublisher, Words

__all__ = ["AsyncShardedRedisEmitter", "ShardedRedisEmitter"]


class ShardedForm(Form):
    """As a server writes them, and on the channel that all servers hear, whatever their subscription mode.

    :param channel_prefix: what the names of channels start with.
    """

    def __init__(self, channel_prefix: str) -> None:
        self._prefix = channel_prefix

    def command(self, codec: Codec, message: Message) -> Words:
        return b"SPUBLISH", (f"{self._prefix}#{message.nsp}#", codec.encode(message))


class ShardedRedisEmitter(RedisPublisher):
    """For code that waits: ``with ShardedRedisEmitter(url) as emitter: emitter.emit("news")``.

    :param url: ``redis://[[user]:password@]host[:port][/db]``, ``rediss://`` for TLS, or ``unix://`` and a path.
    :param channel_prefix: what the names of channels start with, as for the servers.
    :param timeout: seconds to wait for the connection, and for Redis.
    :param ssl_context: for ``rediss://``; by default certificates are verified.
    :param default: converts what nobody else can, as in :func:`json.dumps`.
    :raises ValueError: for a bad URL.
    """

    def __init__(
        self,
        url: str,
        *,
        channel_prefix: str = "socket.io",
        timeout: float = TIMEOUT,
        ssl_context: ssl.SSLContext | None = None,
        default: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(url, ShardedForm(channel_prefix), timeout, ssl_context, default)


class AsyncShardedRedisEmitter(AsyncRedisPublisher):
    """For coroutines: ``async with AsyncShardedRedisEmitter(url) as emitter: await emitter.emit("news")``.

    :param url: ``redis://[[user]:password@]host[:port][/db]``, ``rediss://`` for TLS, or ``unix://`` and a path.
    :param channel_prefix: what the names of channels start with, as for the servers.
    :param connection: further options of ``coredis.Redis.from_url()``, such as ``ssl_context``.
    :param default: converts what nobody else can, as in :func:`json.dumps`.
    """

    def __init__(
        self,
        url: str,
        *,
        channel_prefix: str = "socket.io",
        connection: Mapping[str, Any] | None = None,
        default: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(url, ShardedForm(channel_prefix), connection, default)
