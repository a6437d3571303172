"""Redis with classic publish and subscribe, for clusters with ``createAdapter()`` of ``@socket.io/redis-adapter``.

What is published while a node is not connected is lost to it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

from sio_core.adapters.base import LocalSockets
from sio_core.adapters.messages import (
    BROADCAST,
    DISCONNECT_SOCKETS,
    RESPONSES,
    SOCKETS_JOIN,
    SOCKETS_LEAVE,
    Message,
    options_from_wire,
    text_list,
)
from sio_core.adapters.redis_connection import Command, RedisAdapter, RedisDriver
from sio_core.adapters.redis_messages import (
    ALL_ROOMS,
    ALL_ROOMS_RESPONSE,
    SOCKETS,
    SOCKETS_RESPONSE,
    encode_broadcast,
    encode_request,
    encode_response,
    is_broadcast,
    read_broadcast,
    read_request,
    read_response,
)
from sio_core.errors import ClusterTimeout, InvalidPacket

__all__ = ["ClassicRedisAdapter", "Redis"]

ANSWERS: Final = RESPONSES | {SOCKETS_RESPONSE, ALL_ROOMS_RESPONSE}

OPERATIONS: Final = frozenset((SOCKETS_JOIN, SOCKETS_LEAVE, DISCONNECT_SOCKETS))

GLOB: Final = str.maketrans({character: "\\" + character for character in "*?[]\\"})


class Redis(RedisDriver):
    """Classic publish and subscribe: ``Server(adapter=Redis("redis://127.0.0.1:6379"))``.

    :param url: ``redis://[[user]:password@]host[:port][/db]``, ``rediss://`` for TLS, or ``unix://`` and a path.
    :param key: what the names of channels start with.
    :param requests_timeout: seconds other nodes may take to answer.
    :param publish_on_specific_response_channel: publish answers on a channel of the node that asked.
    :param connection: further options of ``coredis.Redis.from_url()``, such as ``ssl_context``.
    :raises ValueError: for a bad value; the message names the option.

    Socket.IO documentation, "Redis adapter".
    """

    def __init__(
        self,
        url: str,
        *,
        key: str = "socket.io",
        requests_timeout: float | None = None,
        publish_on_specific_response_channel: bool = False,
        connection: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(url, key, sharded=False, connection=connection)
        if requests_timeout is not None and not requests_timeout > 0:
            raise ValueError(f"requests_timeout must be a positive number, not {requests_timeout!r}")
        self.requests_timeout = requests_timeout
        self.specific_responses = publish_on_specific_response_channel

    def make_adapter(self, name: str, local: LocalSockets) -> ClassicRedisAdapter:
        return ClassicRedisAdapter(name, local, self)


class ClassicRedisAdapter(RedisAdapter):
    """The rooms of one namespace on every node, by way of :class:`Redis`."""

    def __init__(self, name: str, local: LocalSockets, driver: Redis) -> None:
        super().__init__(name, local, driver)
        self.uid = secrets.token_urlsafe(9)[:6]
        if driver.requests_timeout is not None:
            self.request_time = driver.requests_timeout
        self._specific_responses = driver.specific_responses
        key = driver.prefix
        self._channel = f"{key}#{name}#"
        self._pattern = f"{key}#{name}#".translate(GLOB) + "*"
        self._requests_channel = f"{key}-request#{name}#"
        self._responses_channel = f"{key}-response#{name}#"
        self._own_channel = f"{key}-response#{name}#{self.uid}#"
        self._own_start = self.codec.msgpack([self.uid, None, None])[: 2 + len(self.uid)]

    # Life

    def start(self) -> None:
        super().start()
        driver = self.driver
        driver.subscribe_pattern(self._pattern, self._take_broadcast)
        driver.subscribe(self._requests_channel, self._take_request)
        driver.subscribe(self._responses_channel, self._take_response)
        driver.subscribe(self._own_channel, self._take_response)

    async def close(self) -> None:
        driver = self.driver
        driver.unsubscribe_pattern(self._pattern, self._take_broadcast)
        driver.unsubscribe(self._requests_channel, self._take_request)
        driver.unsubscribe(self._responses_channel, self._take_response)
        driver.unsubscribe(self._own_channel, self._take_response)
        await super().close()

    async def count_nodes(self) -> int:
        return await self.driver.count_subscribers(self._requests_channel)

    # Speaking

    def prepare(self, message: Message) -> None:
        if is_broadcast(message):
            assert message.data is not None
            data = message.data["packet"]["data"]
            message.payload = encode_broadcast(self.codec, self.uid, self.name, data, message.data["opts"])
        elif message.type in ANSWERS:
            message.payload = encode_response(self.codec, message)
        else:
            message.payload = encode_request(self.codec, message, self.uid)

    def command(self, message: Message, target: str | None) -> Command:
        return self.driver.publication(self._channel_of(message, target), message.payload)

    def _channel_of(self, message: Message, target: str | None) -> str:
        if target is not None:
            return (
                f"{self._responses_channel}{target}#" if self._specific_responses else self._responses_channel
            )
        if message.type == BROADCAST and is_broadcast(message):
            assert message.data is not None
            rooms = message.data["opts"]["rooms"]
            return f"{self._channel}{rooms[0]}#" if len(rooms) == 1 else self._channel
        return self._requests_channel

    async def all_rooms(self) -> set[str]:
        """Return the rooms of every node.

        :raises ClusterTimeout: with the rooms of those that answered, if not all did.
        """
        own = list(self.rooms.rooms)
        try:
            return {*own, *await self.request(ALL_ROOMS, {}, self.request_time)}
        except ClusterTimeout as error:
            error.partial[:0] = own
            raise

    # Hearing

    def _take_broadcast(self, channel: bytes, payload: bytes) -> None:
        name = channel.decode(errors="replace")
        if not name.startswith(self._channel) or payload.startswith(self._own_start):
            return
        room = name[len(self._channel) : -1]
        if room and room not in self.rooms.rooms:
            return  # it is for others: it needs no reading
        try:
            message = read_broadcast(payload, self.name)
        except InvalidPacket as error:
            self.driver.drop(str(error))
            return
        if message is not None:
            self.receive(message)

    def _take_request(self, payload: bytes) -> None:
        try:
            message = read_request(payload, self.name)
        except InvalidPacket as error:
            self.driver.drop(str(error))
            return
        if message is not None:
            self.receive(message)

    def _take_response(self, payload: bytes) -> None:
        try:
            message = read_response(payload, self.name)
        except InvalidPacket as error:
            self.driver.drop(str(error))
            return
        self.receive(message)

    def handle(self, message: Message, offset: str | None) -> None:
        data = message.data or {}
        request_id = data.get("requestId")
        if not isinstance(request_id, str):
            super().handle(message, offset)
        elif message.type == ALL_ROOMS_RESPONSE:
            self.answered(request_id, message.uid, text_list(data.get("rooms")))
        elif message.type == ALL_ROOMS:
            self.respond(
                message.uid, ALL_ROOMS_RESPONSE, {"requestId": request_id, "rooms": list(self.rooms.rooms)}
            )
        elif message.type == SOCKETS:
            options = options_from_wire({"rooms": data.get("rooms"), "except": []})
            sockets = list(self.select(options))
            self.respond(message.uid, SOCKETS_RESPONSE, {"requestId": request_id, "sockets": sockets})
        else:
            super().handle(message, offset)
            if message.type in OPERATIONS:  # before version 7 they were about one socket, and answered
                self.respond(message.uid, SOCKETS_RESPONSE, {"requestId": request_id})
