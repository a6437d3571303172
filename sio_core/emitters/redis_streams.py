"""Emitters for clusters on a stream of Redis: what :mod:`sio_core.adapters.redis_streams` and its official counterpart
read. An event that is added while a server or a client is away is not lost to it.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Any

from sio_core.adapters.messages import Codec, Message
from sio_core.adapters.redis_entries import encode_data, entry_words, stream_key
from sio_core.emitters.redis_forms import TIMEOUT, AsyncRedisPublisher, Form, RedisPublisher, Words

__all__ = ["AsyncRedisStreamsEmitter", "RedisStreamsEmitter"]


class StreamForm(Form):
    """As ``@socket.io/redis-streams-emitter`` writes them.

    :param stream_name: the key of the stream, or what the keys of several start with.
    :param stream_count: how many streams there are.
    :param max_len: about how many entries a stream keeps.
    """

    def __init__(self, stream_name: str, stream_count: int, max_len: int) -> None:
        self._stream_name = stream_name
        self._stream_count = stream_count
        self._max_len = max_len

    def command(self, codec: Codec, message: Message) -> Words:
        data = dict(message.data or {})
        if "opts" in data and "flags" not in data["opts"]:
            data["opts"] = {**data["opts"], "flags": {}}
        message = Message(message.type, message.uid, message.nsp, data)
        stream = stream_key(self._stream_name, self._stream_count, message.nsp)
        return b"XADD", entry_words(stream, self._max_len, message, encode_data(codec, message, False))


class RedisStreamsEmitter(RedisPublisher):
    """For code that waits: ``with RedisStreamsEmitter(url) as emitter: emitter.emit("news")``.

    :param url: ``redis://[[user]:password@]host[:port][/db]``, ``rediss://`` for TLS, or ``unix://`` and a path.
    :param stream_name: the key of the stream, or what the keys of several start with, as for the servers.
    :param stream_count: how many streams there are, as for the servers.
    :param max_len: about how many entries a stream keeps.
    :param timeout: seconds to wait for the connection, and for Redis.
    :param ssl_context: for ``rediss://``; by default certificates are verified.
    :param default: converts what nobody else can, as in :func:`json.dumps`.
    :raises ValueError: for a bad URL.

    Socket.IO documentation, "Redis Streams adapter".
    """

    def __init__(
        self,
        url: str,
        *,
        stream_name: str = "socket.io",
        stream_count: int = 1,
        max_len: int = 10_000,
        timeout: float = TIMEOUT,
        ssl_context: ssl.SSLContext | None = None,
        default: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(url, StreamForm(stream_name, stream_count, max_len), timeout, ssl_context, default)


class AsyncRedisStreamsEmitter(AsyncRedisPublisher):
    """For coroutines: ``async with AsyncRedisStreamsEmitter(url) as emitter: await emitter.emit("news")``.

    :param url: ``redis://[[user]:password@]host[:port][/db]``, ``rediss://`` for TLS, or ``unix://`` and a path.
    :param stream_name: the key of the stream, or what the keys of several start with, as for the servers.
    :param stream_count: how many streams there are, as for the servers.
    :param max_len: about how many entries a stream keeps.
    :param connection: further options of ``coredis.Redis.from_url()``, such as ``ssl_context``.
    :param default: converts what nobody else can, as in :func:`json.dumps`.

    Socket.IO documentation, "Redis Streams adapter".
    """

    def __init__(
        self,
        url: str,
        *,
        stream_name: str = "socket.io",
        stream_count: int = 1,
        max_len: int = 10_000,
        connection: Mapping[str, Any] | None = None,
        default: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(url, StreamForm(stream_name, stream_count, max_len), connection, default)
