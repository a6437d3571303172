"""Our adapters, by the names of ``drivers.py``."""

from __future__ import annotations

from typing import Any

__all__ = ["make_adapter"]


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
