"""The engines that a chat on many nodes may use, by the beginning of their addresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from chat_app.log import MessageLog

if TYPE_CHECKING:
    from sio_core.adapters.driver import Driver

__all__ = ["is_postgres", "make_adapter", "opener_of"]

EXTRAS = {
    "redis": "redis",
    "rediss": "redis",
    "postgresql": "postgres",
    "postgres": "postgres",
    "mongodb": "mongo",
    "mongodb+srv": "mongo",
}
"""What is to be installed for each kind of address."""


def scheme_of(url: str) -> str:
    """Return the beginning of an address; empty if it is none."""
    scheme, separator, _ = url.partition("://")
    return scheme if separator else ""


def is_postgres(database: str) -> bool:
    """Whether the messages are kept in PostgreSQL, and not in a file."""
    return EXTRAS.get(scheme_of(database)) == "postgres"


def make_adapter(url: str) -> Driver:
    """Return the adapter by which the nodes hear of each other.

    :raises ValueError: if there is none for this address, or its driver is not installed.
    """
    extra = EXTRAS.get(scheme_of(url))
    if extra is None:
        known = ", ".join([f"{scheme}://" for scheme in EXTRAS])
        raise ValueError(f"an adapter's address begins with one of {known}, not {scheme_of(url) + '://'!r}")
    try:
        if extra == "redis":
            from sio_core.adapters.redis import Redis  # noqa: PLC0415 - the drivers are optional

            return Redis(url)
        if extra == "postgres":
            from sio_core.adapters.postgres import Postgres  # noqa: PLC0415

            return Postgres(url)
        from sio_core.adapters.mongo import Mongo  # noqa: PLC0415

        return Mongo(url)
    except ImportError as error:
        raise missing(extra) from error


def opener_of(database: str) -> Callable[..., MessageLog]:
    """Return what opens the log: of a file, or of PostgreSQL.

    :raises ValueError: if its driver is not installed.
    """
    if not is_postgres(database):
        from chat_app.sqlite_log import SqliteLog  # noqa: PLC0415

        return SqliteLog.open
    try:
        from chat_app.postgres_log import PostgresLog  # noqa: PLC0415
    except ImportError as error:
        raise missing("postgres") from error
    return PostgresLog.open


def missing(extra: str) -> ValueError:
    """Return the error that says what is to be installed."""
    return ValueError(f"a driver is missing: pip install 'sio-core[{extra}]'")
