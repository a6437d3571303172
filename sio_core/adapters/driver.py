"""One engine (Redis, PostgreSQL, ...) as one server uses it: the adapter factory, and what its namespaces share."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from sio_core.adapters.base import Adapter, Host, LocalSockets
from sio_core.adapters.messages import Message, decode
from sio_core.errors import AdapterError, InvalidPacket
from sio_core.runtime import Runtime

if TYPE_CHECKING:
    from sio_core.adapters.cluster import ClusterAdapter
    from sio_core.adapters.supervisor import Supervisor

__all__ = ["Driver"]

logger = logging.getLogger(__name__)


class Driver(ABC):
    """An engine, as one server uses it: ``Server(adapter=Redis("redis://127.0.0.1:6379"))``.

    It makes the adapter of each namespace. Its connections are opened by the first adapter that starts, closed with the
    last, and may be opened again by another run of the server.

    :ivar heartbeat_interval: seconds after which a node that had nothing else to say to all says that it is there, for
        engines that cannot count their listeners.
    :ivar heartbeat_timeout: seconds after which a node that was not heard is counted no more.
    :ivar adapters: the started adapters by the name of their namespace.
    :ivar links: the connections that bring what other nodes say, each under its supervisor.
    :ivar publishing: whether the engine has accepted what was published last.
    :ivar dropped: messages that came and could not be read.
    :ivar lost: messages that could not be published.
    :ivar reconnects: how often a connection was made anew.
    """

    heartbeat_interval: float = 5.0
    heartbeat_timeout: float = 10.0

    def __init__(self) -> None:
        self.adapters: dict[str, ClusterAdapter] = {}
        self.links: list[Supervisor] = []
        self.publishing = True
        self.dropped = 0
        self.lost = 0
        self.reconnects = 0
        self._host: Host | None = None

    # The factory

    def __call__(self, name: str, local: LocalSockets) -> Adapter:
        """Make the adapter of a namespace.

        :raises AdapterError: if the driver belongs to another server.
        """
        host = local.host
        if self._host is None:
            self._host = host
        elif self._host is not host:
            raise AdapterError(f"this {type(self).__name__} belongs to another server: make one for each")
        return self.make_adapter(name, local)

    @abstractmethod
    def make_adapter(self, name: str, local: LocalSockets) -> ClusterAdapter:
        """Make the adapter of a namespace."""

    @property
    def host(self) -> Host:
        """The server.

        :raises AdapterError: before the driver was given to one.
        """
        if self._host is None:
            raise AdapterError(f"this {type(self).__name__} belongs to no server yet")
        return self._host

    # The connections

    def check(self, runtime: Runtime) -> None:  # noqa: B027 - most engines work on any event loop
        """Called before the server starts.

        :raises AdapterError: if the driver does not work on this event loop.
        """

    @abstractmethod
    def open(self) -> None:
        """The first adapter starts: make the connections, as tasks of ``self.host.runtime``.

        It does not wait for them: a server starts without its engine, and is ``degraded`` until it comes.
        """

    @abstractmethod
    async def close(self) -> None:
        """The last adapter has closed: end the connections, and return when their tasks have ended."""

    def attach(self, adapter: ClusterAdapter) -> None:
        """An adapter starts."""
        if not self.adapters:
            self.publishing = True
            self.open()
        self.adapters[adapter.name] = adapter

    async def detach(self, adapter: ClusterAdapter) -> None:
        """An adapter is closed. One that was replaced under its name, or never started, is of no interest."""
        if self.adapters.get(adapter.name) is adapter:
            del self.adapters[adapter.name]
            if not self.adapters:
                await self.close()

    def publishing_failed(self) -> None:
        """The engine does not accept what is published, for now."""
        self.publishing = False
        for adapter in list(self.adapters.values()):
            adapter.publishing_failed()

    def note_reconnected(self) -> None:
        """The engine was away, and is there again."""
        self.reconnects += 1

    def reconnected(self) -> None:
        """What other nodes say is heard again: what was said meanwhile may be lost."""
        self.note_reconnected()
        for adapter in list(self.adapters.values()):
            adapter.reconnected()

    @property
    def degraded(self) -> bool:
        """Whether other nodes may not hear this one, or this one them."""
        if not self.adapters:
            return False
        return not self.publishing or not all([link.connected for link in self.links])

    def stats(self) -> dict[str, Any]:
        """Return counts since the driver was made, and what waits to be published now."""
        return {
            "degraded": self.degraded,
            "dropped": self.dropped,
            "lost": self.lost,
            "reconnects": self.reconnects,
            "queued": sum([adapter.queued for adapter in self.adapters.values()]),
        }

    # What comes

    def receive_payload(self, payload: bytes, nsp: str = "", offset: str | None = None) -> None:
        """Bytes have come from the engine: one message, as :meth:`Codec.encode` writes it. Junk is dropped.

        :param nsp: the namespace if the message names none.
        """
        if len(payload) > self.host.limits.cluster_message_bytes:
            self.host.count_limit("cluster_message_bytes")
            self.drop(f"a message of {len(payload)} bytes")
            return
        try:
            message = decode(payload, nsp)
        except InvalidPacket as error:
            self.drop(str(error))
            return
        self.receive(message, offset)

    def receive(self, message: Message, offset: str | None = None) -> None:
        """A message has come: hand it to the adapter of its namespace, if there is one here."""
        adapter = self.adapters.get(message.nsp)
        if adapter is not None:
            adapter.receive(message, offset)

    def drop(self, what: str) -> None:
        """Something that came is of no use: count it."""
        self.dropped += 1
        logger.warning("%s is dropped: %s", type(self).__name__, what)
