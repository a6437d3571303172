"""What the emitters for Redis share: each knows the form of its messages, and speaks it with or without waiting."""

from __future__ import annotations

import ssl
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Final, Self

from sio_core.adapters.messages import Codec, Message
from sio_core.emitters.emitter import AsyncEmitter, SyncEmitter
from sio_core.emitters.redis_socket import RedisSocket
from sio_core.errors import AdapterError

__all__ = ["AsyncRedisPublisher", "Form", "RedisPublisher"]

TIMEOUT: Final = 5.0
"""Seconds that a connection, and an answer, may take by default."""

Words = tuple[bytes, tuple[str | bytes | int, ...]]


class Form(ABC):
    """How the messages of an emitter are written."""

    @abstractmethod
    def command(self, codec: Codec, message: Message) -> Words:
        """Return the command, and its arguments, that publishes a message."""


class RedisPublisher(SyncEmitter):
    """An emitter for code that waits. See the classes made of it.

    What publishes raises ``AdapterError`` if Redis cannot be reached, or refuses.
    """

    def __init__(
        self,
        url: str,
        form: Form,
        timeout: float,
        ssl_context: ssl.SSLContext | None,
        default: Callable[[Any], Any] | None,
    ) -> None:
        super().__init__(default)
        self._form = form
        self._redis = RedisSocket(url, timeout, ssl_context)

    def publish(self, message: Message) -> None:
        name, words = self._form.command(self.codec, message)
        try:
            self._redis.execute(name, *words)
        except OSError as error:
            raise AdapterError(f"not published: {error!r}") from error

    def close(self) -> None:
        self._redis.close()


class AsyncRedisPublisher(AsyncEmitter):
    """An emitter for coroutines. See the classes made of it.

    Awaiting what publishes raises ``AdapterError`` if Redis cannot be reached, or refuses.
    """

    def __init__(
        self,
        url: str,
        form: Form,
        connection: Mapping[str, Any] | None,
        default: Callable[[Any], Any] | None,
    ) -> None:
        super().__init__(default)
        try:
            import coredis.exceptions  # noqa: PLC0415 - the emitters that wait need no client
        except ImportError as error:
            raise ImportError("this emitter needs coredis: pip install 'sio-core[redis]'") from error
        self._form = form
        self._errors = (coredis.exceptions.RedisError, TimeoutError)
        options: dict[str, Any] = {
            "connect_timeout": TIMEOUT,
            "stream_timeout": TIMEOUT,
            **(connection or {}),
        }
        self._client: Any = coredis.Redis.from_url(url, **options)
        self._stack = AsyncExitStack()
        self._entered = False

    async def __aenter__(self) -> Self:
        await self._stack.enter_async_context(self._client)
        self._entered = True
        return self

    def publish(self, message: Message) -> Awaitable[None]:
        if not self._entered:
            raise AdapterError(
                f"use it as a context manager: async with {type(self).__name__}(...) as emitter"
            )
        name, words = self._form.command(self.codec, message)
        return self._execute(name, words)

    async def _execute(self, name: bytes, words: tuple[str | bytes | int, ...]) -> None:
        try:
            async with self._client.connection_pool.acquire() as connection:
                await connection.create_request(name, *words)
        except self._errors as error:
            raise AdapterError(f"not published: {error!r}") from error

    async def aclose(self) -> None:
        self._entered = False
        await self._stack.aclose()
