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
    :ivar emitter: options of our emitter; ``None`` if there is none.
    :ivar official_emitter: options of the official one; ``None`` if there is none that is published and works.
    :ivar all_rooms: whether it has ``all_rooms()``.
    :ivar official_emitter_reaches: how the names of the servers start that hear the official emitter.
    :ivar official_emitter_keeps_order: whether what it publishes stays in order.
    :ivar node_keeps_order: whether what an official server publishes stays in order.
    :ivar node_recovers_all: whether a client that comes back at an official server gets just what it missed.
    :ivar json_server_events: whether bytes in the events of servers become JSON, as its official counterpart has it.
    """

    name: str
    engine: type[Engine]
    adapter: str
    python: dict[str, Any] = field(default_factory=dict)
    node: dict[str, Any] = field(default_factory=dict)
    recovery: bool = False
    loops: tuple[str, str] = ("uvloop", "trio")
    emitter: dict[str, Any] | None = None
    official_emitter: dict[str, Any] | None = None
    official_emitter_reaches: str = "pn"
    official_emitter_keeps_order: bool = True
    all_rooms: bool = False
    node_keeps_order: bool = True
    node_recovers_all: bool = True
    json_server_events: bool = False


DRIVERS = [
    Driver(
        "redis",
        Redis,
        "redis",
        emitter={},
        official_emitter={},
        all_rooms=True,
        json_server_events=True,
    ),
    Driver(
        "redis, specific response channel",
        Redis,
        "redis",
        {"key": "chat", "publish_on_specific_response_channel": True},
        {"key": "chat", "publishOnSpecificResponseChannel": True},
        emitter={"key": "chat"},
        official_emitter={"key": "chat"},
        all_rooms=True,
        json_server_events=True,
    ),
    Driver("redis, sharded, dynamic", Redis, "redis-sharded", emitter={}),
    Driver(
        "redis, sharded, static",
        Redis,
        "redis-sharded",
        {"subscription_mode": "static"},
        {"subscriptionMode": "static"},
        emitter={},
    ),
    Driver(
        "redis, sharded, dynamic-private",
        Redis,
        "redis-sharded",
        {"subscription_mode": "dynamic-private"},
        {"subscriptionMode": "dynamic-private"},
        emitter={},
    ),
    Driver("redis streams", Redis, "redis-streams", emitter={}),
    Driver("redis streams, recovery", Redis, "redis-streams", recovery=True, emitter={}),
    Driver(
        "redis streams, two of them, sharded pub/sub",
        Redis,
        "redis-streams",
        {"stream_count": 2, "use_sharded_pub_sub": True},
        {"streamCount": 2, "useShardedPubSub": True},
        emitter={"stream_count": 2},
    ),
    Driver(
        "postgres",
        PostgreSQL,
        "postgres",
        emitter={},
        official_emitter={},
        official_emitter_reaches="p",
        official_emitter_keeps_order=False,
    ),
    Driver(
        "postgres, almost everything in the table",
        PostgreSQL,
        "postgres",
        {"channel_prefix": "chat", "payload_threshold": 100},
        {"channelPrefix": "chat", "payloadThreshold": 100},
        emitter={"channel_prefix": "chat", "payload_threshold": 100},
    ),
    Driver(
        "mongo, by age",
        MongoDB,
        "mongo",
        {"add_created_at_field": True},
        {"addCreatedAtField": True},
        node_keeps_order=False,
        emitter={"add_created_at_field": True},
        official_emitter={"addCreatedAtField": True},
        official_emitter_keeps_order=False,
    ),
    Driver(
        "mongo, capped, recovery",
        MongoDB,
        "mongo",
        recovery=True,
        node_keeps_order=False,
        node_recovers_all=False,
    ),
]
