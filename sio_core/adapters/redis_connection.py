"""What the drivers for Redis share: a connection to speak, one to hear, both made again whenever they end.

The client is coredis, which runs on asyncio and on trio. Redis 6 or later is needed (RESP3), for sharded channels
Redis 7; Valkey is as good.
"""

from __future__ import annotations

import logging
import secrets
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

import anyio

from sio_core.adapters.cluster import ClusterAdapter
from sio_core.adapters.driver import Driver
from sio_core.adapters.messages import Message
from sio_core.adapters.outgoing import Outgoing
from sio_core.adapters.supervisor import Supervisor
from sio_core.errors import AdapterError
from sio_core.runtime import Waiter

try:
    import coredis
    from coredis.connection import BaseConnection
except ImportError as error:
    raise ImportError("the adapters for Redis need coredis: pip install 'sio-core[redis]'") from error

__all__ = ["BATCH", "Command", "RedisAdapter", "RedisDriver"]

Word = str | bytes | int
Command = tuple[bytes, tuple[Word, ...]]
"""A command and its arguments."""

Handler = Callable[[bytes], None]
PatternHandler = Callable[[bytes, bytes], None]

CONNECT_TIME: Final = 5.0
"""Seconds a connection may take to be made."""

BATCH: Final = 128
"""Messages that are published together, without waiting for the answer to each."""

SCHEMES: Final = ("redis://", "rediss://", "unix://")

logger = logging.getLogger(__name__)


class RedisDriver(Driver):
    """Redis, as one server uses it.

    :param url: ``redis://[[user]:password@]host[:port][/db]``, ``rediss://`` for TLS, or ``unix://`` and a path.
    :param prefix: what the names of channels start with.
    :param sharded: whether channels are sharded ones (``SSUBSCRIBE``).
    :param connection: further options of ``coredis.Redis.from_url()``, such as ``ssl_context``.
    :raises ValueError: for another URL.
    """

    def __init__(
        self, url: str, prefix: str, sharded: bool, connection: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__()
        if not isinstance(url, str) or not url.startswith(SCHEMES):
            raise ValueError(f"url must start with one of {', '.join(SCHEMES)}, not be {url!r}")
        self.prefix = prefix
        self._url = url
        self._options = {"connect_timeout": CONNECT_TIME, **(connection or {})}
        self._publish = b"SPUBLISH" if sharded else b"PUBLISH"
        self._subscribe = b"SSUBSCRIBE" if sharded else b"SUBSCRIBE"
        self._unsubscribe = b"SUNSUBSCRIBE" if sharded else b"UNSUBSCRIBE"
        self._count = b"PUBSUB SHARDNUMSUB" if sharded else b"PUBSUB NUMSUB"
        self._sign = f"{prefix}#{secrets.token_hex(8)}#"
        self._channels: dict[bytes, Handler] = {}
        self._patterns: dict[bytes, PatternHandler] = {}
        self._speaking: BaseConnection | None = None
        self._hearing: BaseConnection | None = None
        self._speaks = Waiter()

    # Life

    def open(self) -> None:
        host = self.host
        self._speaker = Supervisor(host, "Redis, to publish", self._speak, probe=self._ping)
        self._hearer = Supervisor(
            host, "Redis, to subscribe", self._hear, probe=self._give_sign, on_up=self.reconnected
        )
        self.links = [self._speaker, self._hearer]
        for link in self.links:
            link.start()

    async def close(self) -> None:
        links, self.links = self.links, []
        for link in links:
            await link.stop()
        self._channels.clear()
        self._patterns.clear()
        self._speaks.set(error=AdapterError("the connection to Redis is closed"))
        self._speaks = Waiter()

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[BaseConnection]:
        """Make a connection that is used for one thing and then closed."""
        client = coredis.Redis.from_url(self._url, **self._options)
        location = client.connection_pool.location
        if location is not None and not await location.check():  # then coredis leaves nothing unclosed
            raise AdapterError(f"nobody listens at {location}")
        async with client, client.connection_pool.acquire() as connection:
            yield connection

    # Speaking

    async def _speak(self, link: Supervisor) -> None:
        async with self.connect() as connection:
            self._speaking = connection
            link.up()
            self._speaks.set()
            self._note_accepting()
            try:
                async with aclosing(connection.push_messages) as pushes:
                    async for _ in pushes:
                        pass  # none is asked for: this ends with the connection
            finally:
                self._speaking = None
                self._speaks = Waiter()

    async def _ping(self) -> None:
        await self.execute((b"PING", ()))
        self._note_accepting()

    def _note_accepting(self) -> None:
        """Redis answers. Where nothing waits to be published, nothing else will show that it accepts that again."""
        if not any([adapter.queued for adapter in self.adapters.values()]):
            self.publishing = True

    async def execute(self, *commands: Command) -> list[Any]:
        """Have Redis execute commands, in their order, and return its answers.

        It waits for a connection if there is none. What is cancelled may be executed all the same.

        :raises Exception: whatever coredis raises, for the first that fails.
        """
        connection = self._speaking
        if connection is None:
            await self._speaks.wait()
            connection = self._speaking
        if connection is None:
            raise AdapterError("there is no connection to Redis")
        requests = [connection.create_request(name, *words) for name, words in commands]
        replies = [await request for request in requests]
        self._speaker.heard()
        return replies

    async def carry(self, commands: list[Command]) -> list[str | None]:
        """Execute commands that publish; return the ids of the entries that they have added to a stream."""
        replies = await self.execute(*commands)
        return [reply.decode() if isinstance(reply, bytes) else None for reply in replies]

    def publication(self, channel: str, payload: bytes) -> Command:
        """Return the command that publishes something."""
        return self._publish, (channel, payload)

    async def count_subscribers(self, channel: str) -> int:
        """How many connections listen to a channel."""
        (reply,) = await self.execute((self._count, (channel,)))
        count: int = (list(reply.values()) if isinstance(reply, dict) else reply)[-1]
        return count

    # Hearing

    def subscribe(self, channel: str, handler: Handler) -> None:
        """Call ``handler(payload)`` for what is published on a channel."""
        name = channel.encode()
        self._channels[name] = handler
        self._tell(self._subscribe, name)

    def unsubscribe(self, channel: str, handler: Handler) -> None:
        """Listen to a channel no more, unless another handler has taken this one's place."""
        name = channel.encode()
        if self._channels.get(name) == handler:
            del self._channels[name]
            self._tell(self._unsubscribe, name)

    def subscribe_pattern(self, pattern: str, handler: PatternHandler) -> None:
        """Call ``handler(channel, payload)`` for what is published on any channel of a pattern."""
        name = pattern.encode()
        self._patterns[name] = handler
        self._tell(b"PSUBSCRIBE", name)

    def unsubscribe_pattern(self, pattern: str, handler: PatternHandler) -> None:
        """As :meth:`unsubscribe`."""
        name = pattern.encode()
        if self._patterns.get(name) == handler:
            del self._patterns[name]
            self._tell(b"PUNSUBSCRIBE", name)

    def _tell(self, command: bytes, name: bytes) -> None:
        connection = self._hearing
        if connection is not None and connection.usable:
            connection.send_command(command, name)

    async def _hear(self, link: Supervisor) -> None:
        async with self.connect() as connection, anyio.create_task_group() as tasks:
            tasks.start_soon(self._fail_with_errors, connection)
            self._hearing = connection
            try:
                for name in list(self._channels):
                    connection.send_command(self._subscribe, name)
                for name in list(self._patterns):
                    connection.send_command(b"PSUBSCRIBE", name)
                sign = self._sign.encode()
                connection.send_command(self._subscribe, sign)
                async with aclosing(connection.push_messages) as pushes:
                    async for push in pushes:
                        link.heard()
                        if push[1] != sign:
                            self._take_safely(push)
                        elif push[0] == self._subscribe.lower():  # the last that was asked for
                            link.up()
            finally:
                self._hearing = None
                tasks.cancel_scope.cancel()

    @staticmethod
    async def _fail_with_errors(connection: BaseConnection) -> None:
        """What is subscribed to is answered like a message; anything else is a refusal."""
        async with aclosing(connection.streamed_messages) as replies:
            async for reply in replies:
                raise AdapterError(f"Redis refuses to subscribe: {reply!r}")

    async def _give_sign(self) -> None:
        """Publish something for this node alone, which shows that it hears."""
        await self.execute(self.publication(self._sign, b""))

    def _take_safely(self, push: Any) -> None:
        """Nothing that anybody publishes ends the reading."""
        try:
            self._take(push)
        except Exception as error:
            logger.debug("a message on %r", push[1], exc_info=True)
            self.drop(f"a message that cannot be understood: {error!r}")

    def _take(self, push: Any) -> None:
        kind = push[0]
        if kind in {b"message", b"smessage"}:
            handler = self._channels.get(push[1])
            if handler is not None and self._is_small(push[2]):
                handler(push[2])
        elif kind == b"pmessage":
            pattern_handler = self._patterns.get(push[1])
            if pattern_handler is not None and self._is_small(push[3]):
                pattern_handler(push[2], push[3])

    def _is_small(self, payload: bytes) -> bool:
        if len(payload) <= self.host.limits.cluster_message_bytes:
            return True
        self.host.count_limit("cluster_message_bytes")
        self.drop(f"a message of {len(payload)} bytes")
        return False


class RedisAdapter(ClusterAdapter):
    """The rooms of one namespace on every node, by way of Redis."""

    driver: RedisDriver
    batch = BATCH

    def __init__(self, name: str, local: Any, driver: RedisDriver) -> None:
        super().__init__(name, local, driver)
        self.driver = driver

    @abstractmethod
    def command(self, message: Message, target: str | None) -> Command:
        """Return the command that carries a message to all nodes, or to one."""

    async def publish_batch(self, batch: list[Outgoing]) -> list[str | None]:
        return await self.driver.carry([self.command(one.message, one.target) for one in batch])

    async def publish(self, message: Message) -> str | None:
        return (await self.driver.carry([self.command(message, None)]))[0]

    async def publish_response(self, uid: str, message: Message) -> None:
        await self.driver.carry([self.command(message, uid)])
