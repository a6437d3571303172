"""Sessions shared by the nodes that publish on the same Redis.

Socket.IO documentation, "Cluster engine": the channels and messages are those of its ``RedisEngine``, so nodes of both
servers can share sessions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sio_core.adapters.base import Host, LocalSockets
from sio_core.adapters.cluster import ClusterAdapter
from sio_core.adapters.cluster_engine import ClusterEngine, Publication
from sio_core.adapters.redis_connection import RedisDriver
from sio_core.errors import AdapterError

__all__ = ["RedisEngine"]


class EngineLinks(RedisDriver):
    """The connections of an engine: those of a driver that has no adapters."""

    def __init__(
        self, engine: RedisEngine, url: str, prefix: str, connection: Mapping[str, Any] | None
    ) -> None:
        super().__init__(url, prefix, sharded=False, connection=connection)
        self._engine = engine

    def belong_to(self, host: Host) -> None:
        """Be the connections of this server."""
        self._host = host

    def make_adapter(self, name: str, local: LocalSockets) -> ClusterAdapter:
        raise AdapterError("a cluster engine has no adapters")

    def reconnected(self) -> None:
        super().reconnected()
        self._engine.lose_all("the connection to Redis was lost")

    @property
    def degraded(self) -> bool:
        return not all([link.connected for link in self.links])


class RedisEngine(ClusterEngine):
    """Classic publish and subscribe: ``Server(cluster_engine=RedisEngine("redis://127.0.0.1:6379"))``.

    With it any node can serve any request of a session, so the load balancer need not be sticky.

    :param url: ``redis://[[user]:password@]host[:port][/db]``, ``rediss://`` for TLS, or ``unix://`` and a path.
    :param channel_prefix: what the names of channels start with.
    :param connection: further options of ``coredis.Redis.from_url()``, such as ``ssl_context``.
    :raises ValueError: for a bad value; the message names the option.
    """

    def __init__(
        self,
        url: str,
        *,
        channel_prefix: str = "engine.io",
        connection: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(channel_prefix, str) or not channel_prefix:
            raise ValueError(f"channel_prefix must be text, not {channel_prefix!r}")
        self._links = EngineLinks(self, url, channel_prefix, connection)
        self._channel = f"{channel_prefix}#"

    def open(self) -> None:
        self._links.belong_to(self.host)
        self._links.subscribe(self._channel, self.receive)
        self._links.subscribe(self._channel_of(self.node_id), self.receive)
        self._links.open()

    async def disconnect(self) -> None:
        await self._links.close()

    async def publish(self, batch: list[Publication]) -> list[bool]:
        commands = [self._links.publication(self._channel_of(target), payload) for target, payload in batch]
        return [bool(reply) for reply in await self._links.execute(*commands)]

    @property
    def degraded(self) -> bool:
        return self._links.degraded

    def _channel_of(self, node: str | None) -> str:
        return self._channel if node is None else f"{self._channel}{node}#"
