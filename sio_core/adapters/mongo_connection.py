"""A collection of MongoDB that is awaited: with pymongo's asynchronous client on asyncio, in threads elsewhere."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import anyio
import anyio.to_thread
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument
from pymongo import AsyncMongoClient, MongoClient
from pymongo.errors import BulkWriteError, CollectionInvalid, OperationFailure, PyMongoError

from sio_core.adapters.mongo_documents import READING

__all__ = ["RAW", "Events", "Stream", "is_lost_token", "is_made_already", "make_client", "making"]

WAIT: Final = 1_000
"""Milliseconds after which MongoDB tells a reader that there is nothing."""

THREADS: Final = 8
"""Operations at a time where each takes a thread."""

CONNECT_TIME: Final = 2_000
"""Milliseconds that finding and connecting to a server may take, if the address does not say."""

DUPLICATE: Final = 11_000
"""The code of a document that is there already."""

EXISTS: Final = 48
"""The code of a collection that is there already."""

LOST: Final = frozenset((9, 136, 222, 280, 286))
"""The codes that say that reading cannot go on where it was: the place is not known, or not any more."""

RAW: Final = CodecOptions(document_class=RawBSONDocument)
"""Documents stay as they are."""


def make_client(url: str, is_asyncio: bool) -> Any:
    """Return a client, of pymongo's two kinds, that does not wait for a server for long."""
    settings: dict[str, Any] = {"appname": "sio_core"}
    query = url.partition("?")[2].lower()
    for name in ("serverSelectionTimeoutMS", "connectTimeoutMS"):
        if name.lower() not in query:
            settings[name] = CONNECT_TIME
    return (AsyncMongoClient if is_asyncio else MongoClient)(url, **settings)


def making(database: Any, name: str, capped_size: int, expire_after: float | None) -> list[Callable[[], Any]]:
    """Return what is to be called to make a collection; the first fails if it is there.

    :param expire_after: seconds for which documents are kept; ``None`` if it is bounded by its size, in bytes.
    """
    if expire_after is None:
        return [functools.partial(database.create_collection, name, capped=True, size=capped_size)]
    index = functools.partial(
        database[name].create_index, [("createdAt", 1)], expireAfterSeconds=round(expire_after)
    )
    return [functools.partial(database.create_collection, name), index]


def is_made_already(error: PyMongoError) -> bool:
    """Whether a collection could not be made because it is there."""
    return isinstance(error, CollectionInvalid) or (
        isinstance(error, OperationFailure) and error.code == EXISTS
    )


class Events:
    """The collection in which all nodes write.

    It is made if it is not there, before anything else is done with it.

    :param capped_size: its size in bytes, if it is bounded by that.
    :param expire_after: seconds for which documents are kept; ``None`` if it is bounded by its size.
    :param is_asyncio: whether the event loop is asyncio's.
    """

    def __init__(
        self,
        url: str,
        database: str,
        collection: str,
        capped_size: int,
        expire_after: float | None,
        is_asyncio: bool,
    ) -> None:
        self._capped_size = capped_size
        self._expire_after = expire_after
        self._making = anyio.Lock()
        self._is_made = False
        self._is_asyncio = is_asyncio
        self._threads = anyio.CapacityLimiter(THREADS)
        self._client = make_client(url, is_asyncio)
        self._database = self._client[database]
        self._name = collection
        self._raw = self._database.get_collection(collection, codec_options=RAW)
        self._collection = self._database.get_collection(collection, codec_options=READING)

    async def call(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call a method of the client that may wait."""
        if self._is_asyncio:
            return await function(*args, **options)
        work = functools.partial(function, *args, **options)
        return await anyio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=self._threads)

    async def _make(self) -> None:
        async with self._making:
            if not self._is_made:
                try:
                    for step in making(self._database, self._name, self._capped_size, self._expire_after):
                        await self.call(step)
                except PyMongoError as error:
                    if not is_made_already(error):
                        raise
                self._is_made = True

    async def insert(self, documents: list[bytes]) -> None:
        """Insert documents in their order. What is there already, of an attempt that seemed to fail, stays."""
        if not self._is_made:
            await self._make()
        waiting = [RawBSONDocument(document) for document in documents]
        while waiting:
            try:
                await self.call(self._raw.insert_many, waiting, ordered=True)
            except BulkWriteError as error:
                failed = (error.details or {})["writeErrors"][0]
                if failed["code"] != DUPLICATE:
                    raise
                waiting = waiting[failed["index"] + 1 :]
            else:
                return

    async def find(self, query: dict[str, Any], order: str, limit: int) -> list[RawBSONDocument]:
        """Return documents as they are stored.

        :param order: a field, or ``$natural`` for the order in which they were inserted.
        """
        cursor = self._raw.find(query).sort(order, 1)
        found: list[RawBSONDocument] = await self.call(cursor.to_list, limit)
        await self.call(cursor.close)
        return found

    async def take_out(self, query: dict[str, Any]) -> bool:
        """Delete the newest document that matches; ``False`` if there is none."""
        return await self.call(self._collection.find_one_and_delete, query, sort=[("_id", -1)]) is not None

    async def watch(self, token: Any) -> Stream:
        """Read what is inserted from now on, or behind a place where reading has ended.

        :raises pymongo.errors.PyMongoError: if that is impossible; see :func:`is_lost_token`.
        """
        await self._make()
        pipeline = [{"$match": {"operationType": "insert"}}]
        stream = await self.call(self._raw.watch, pipeline, resume_after=token, max_await_time_ms=WAIT)
        return Stream(self, stream)

    async def close(self) -> None:
        """Close the connections."""
        await self.call(self._client.close)


class Stream:
    """A change stream: https://www.mongodb.com/docs/manual/changeStreams/"""

    def __init__(self, events: Events, stream: Any) -> None:
        self._events = events
        self._stream = stream

    @property
    def token(self) -> Any:
        """The place up to which it was read; ``None`` if it is not known yet."""
        return self._stream.resume_token

    @property
    def ended(self) -> bool:
        """Whether nothing more comes, as the collection is gone."""
        return not self._stream.alive

    async def next(self) -> bytes | None:
        """Wait for a document, and return it; ``None`` after a while without one."""
        change = await self._events.call(self._stream.try_next)
        if change is None:
            return None
        document: bytes = change["fullDocument"].raw
        return document

    async def close(self) -> None:
        """End it."""
        await self._events.call(self._stream.close)


def is_lost_token(error: Exception) -> bool:
    """Whether reading failed because its place is not known any more, or never was."""
    return isinstance(error, OperationFailure) and (
        error.code in LOST or error.has_error_label("NonResumableChangeStreamError")
    )
