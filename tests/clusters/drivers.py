"""Every driver, and every way of using one that changes what is on the wire."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.clusters.engines import Engine, MongoDB, PostgreSQL, Redis

__all__ = ["DRIVERS", "Driver"]


@dataclass(frozen=True)
class Driver:
    """A driver, and how it is set up on both sides.

    :ivar name: names it in the tests.
    :ivar adapter: its name in ``python_adapters.py`` and ``node_adapters.cjs``.
    :ivar python: options of ours.
    :ivar node: the same for the official one.
    :ivar recovery: whether sessions are recovered.
    :ivar loops: the event loops of the two servers of ours.
    :ivar emitter: the name of the emitter that goes with it.
    :ivar official_emitter: whether the official emitter goes with it, and works.
    :ivar all_rooms: whether it has ``all_rooms()``.
    :ivar node_keeps_order: whether what an official server publishes stays in order.
    :ivar json_server_events: whether bytes in the events of servers become JSON, as its official counterpart has it.
    """

    name: str
    engine: type[Engine]
    adapter: str
    python: dict[str, Any] = field(default_factory=dict)
    node: dict[str, Any] = field(default_factory=dict)
    recovery: bool = False
    loops: tuple[str, str] = ("uvloop", "trio")
    emitter: str | None = None
    official_emitter: bool = False
    all_rooms: bool = False
    node_keeps_order: bool = True
    json_server_events: bool = False


DRIVERS = [
    Driver(
        "redis",
        Redis,
        "redis",
        emitter="redis",
        official_emitter=True,
        all_rooms=True,
        json_server_events=True,
    ),
    Driver(
        "redis, specific response channel",
        Redis,
        "redis",
        {"key": "chat", "publish_on_specific_response_channel": True},
        {"key": "chat", "publishOnSpecificResponseChannel": True},
        all_rooms=True,
        json_server_events=True,
    ),
    Driver("redis, sharded, dynamic", Redis, "redis-sharded"),
    Driver(
        "redis, sharded, static",
        Redis,
        "redis-sharded",
        {"subscription_mode": "static"},
        {"subscriptionMode": "static"},
    ),
    Driver(
        "redis, sharded, dynamic-private",
        Redis,
        "redis-sharded",
        {"subscription_mode": "dynamic-private"},
        {"subscriptionMode": "dynamic-private"},
    ),
    Driver("redis streams", Redis, "redis-streams", emitter="redis-streams"),
    Driver("redis streams, recovery", Redis, "redis-streams", recovery=True, emitter="redis-streams"),
    Driver(
        "redis streams, two of them, sharded pub/sub",
        Redis,
        "redis-streams",
        {"stream_count": 2, "use_sharded_pub_sub": True},
        {"streamCount": 2, "useShardedPubSub": True},
    ),
    Driver("postgres", PostgreSQL, "postgres"),
    Driver(
        "postgres, almost everything in the table",
        PostgreSQL,
        "postgres",
        {"channel_prefix": "chat", "payload_threshold": 100},
        {"channelPrefix": "chat", "payloadThreshold": 100},
    ),
    Driver(
        "mongo, by age",
        MongoDB,
        "mongo",
        {"add_created_at_field": True},
        {"addCreatedAtField": True},
        node_keeps_order=False,
    ),
    Driver("mongo, capped", MongoDB, "mongo", node_keeps_order=False),
]
