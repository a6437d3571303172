"""Our adapters and emitters, by the names of ``drivers.py``."""

from __future__ import annotations

from typing import Any

__all__ = ["make_adapter", "make_emitter"]


def make_adapter(driver: str, url: str, options: dict[str, Any]) -> Any:
    """Return the adapter of a driver."""
    if driver == "redis":
        from sio_core.adapters.redis import Redis

        return Redis(url, **options)
    if driver == "redis-streams":
        from sio_core.adapters.redis_streams import RedisStreams

        return RedisStreams(url, **options)
    if driver == "redis-sharded":
        from sio_core.adapters.redis_sharded import ShardedRedis

        return ShardedRedis(url, **options)
    if driver == "postgres":
        from sio_core.adapters.postgres import Postgres

        return Postgres(url, **options)
    if driver == "mongo":
        from sio_core.adapters.mongo import Mongo

        return Mongo(url, database="cluster", **options)
    raise ValueError(f"there is no driver {driver!r}")


def make_emitter(driver: str, url: str, options: dict[str, Any], is_async: bool) -> Any:
    """Return the emitter of a driver, for coroutines or for code that waits."""
    if driver == "redis":
        from sio_core.emitters.redis import AsyncRedisEmitter, RedisEmitter

        return AsyncRedisEmitter(url, **options) if is_async else RedisEmitter(url, **options)
    if driver == "redis-sharded":
        from sio_core.emitters.redis_sharded import AsyncShardedRedisEmitter, ShardedRedisEmitter

        return AsyncShardedRedisEmitter(url, **options) if is_async else ShardedRedisEmitter(url, **options)
    if driver == "redis-streams":
        from sio_core.emitters.redis_streams import AsyncRedisStreamsEmitter, RedisStreamsEmitter

        return AsyncRedisStreamsEmitter(url, **options) if is_async else RedisStreamsEmitter(url, **options)
    if driver == "postgres":
        from sio_core.emitters.postgres import AsyncPostgresEmitter, PostgresEmitter

        return AsyncPostgresEmitter(url, **options) if is_async else PostgresEmitter(url, **options)
    if driver == "mongo":
        from sio_core.emitters.mongo import AsyncMongoEmitter, MongoEmitter

        kind = AsyncMongoEmitter if is_async else MongoEmitter
        return kind(url, database="cluster", **options)
    raise ValueError(f"there is no emitter for {driver!r}")
