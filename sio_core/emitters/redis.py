"""Emitters for clusters on classic Redis: what :mod:`sio_core.adapters.redis` and its official counterpart hear."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Any

from sio_core.adapters.messages import BROADCAST, EMITTER_UID, SERVER_SIDE_EMIT, Codec, Message
from sio_core.adapters.redis_messages import encode_request
from sio_core.emitters.redis_forms import TIMEOUT, AsyncRedisPublisher, Form, RedisPublisher, Words

__all__ = ["AsyncRedisEmitter", "RedisEmitter"]


class ClassicForm(Form):
    """As ``@socket.io/redis-emitter`` writes them.

    :param key: what the names of channels start with.
    """

    def __init__(self, key: str) -> None:
        self._key = key

    def command(self, codec: Codec, message: Message) -> Words:
        data = message.data or {}
        if message.type == BROADCAST:
            rooms = data["opts"]["rooms"]
            channel = f"{self._key}#{message.nsp}#"
            if len(rooms) == 1:
                channel += f"{rooms[0]}#"
            return b"PUBLISH", (channel, codec.msgpack([EMITTER_UID, data["packet"], data["opts"]]))
        uid = EMITTER_UID if message.type == SERVER_SIDE_EMIT else None
        return b"PUBLISH", (f"{self._key}-request#{message.nsp}#", encode_request(codec, message, uid))


class RedisEmitter(RedisPublisher):
    """For code that waits: ``with RedisEmitter("redis://127.0.0.1:6379") as emitter: emitter.emit("news")``.

    :param url: ``redis://[[user]:password@]host[:port][/db]``, ``rediss://`` for TLS, or ``unix://`` and a path.
    :param key: what the names of channels start with, as for the servers.
    :param timeout: seconds to wait for the connection, and for Redis.
    :param ssl_context: for ``rediss://``; by default certificates are verified.
    :param default: converts what nobody else can, as in :func:`json.dumps`.
    :raises ValueError: for a bad URL.

    Socket.IO documentation, "Redis adapter", "Emitter".
    """

    def __init__(
        self,
        url: str,
        *,
        key: str = "socket.io",
        timeout: float = TIMEOUT,
        ssl_context: ssl.SSLContext | None = None,
        default: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(url, ClassicForm(key), timeout, ssl_context, default)


class AsyncRedisEmitter(AsyncRedisPublisher):
    """For coroutines: ``async with AsyncRedisEmitter(url) as emitter: await emitter.emit("news")``.

    :param url: ``redis://[[user]:password@]host[:port][/db]``, ``rediss://`` for TLS, or ``unix://`` and a path.
    :param key: what the names of channels start with, as for the servers.
    :param connection: further options of ``coredis.Redis.from_url()``, such as ``ssl_context``.
    :param default: converts what nobody else can, as in :func:`json.dumps`.

    Socket.IO documentation, "Redis adapter", "Emitter".
    """

    def __init__(
        self,
        url: str,
        *,
        key: str = "socket.io",
        connection: Mapping[str, Any] | None = None,
        default: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(url, ClassicForm(key), connection, default)
