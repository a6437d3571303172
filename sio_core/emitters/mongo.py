"""Emitters for clusters on MongoDB: what :mod:`sio_core.adapters.mongo` and its official counterpart hear."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import sniffio
from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo.errors import PyMongoError

from sio_core.adapters.messages import Message
from sio_core.adapters.mongo_connection import RAW, Events, is_made_already, make_client, making
from sio_core.adapters.mongo_documents import EVENTS, DocumentCodec, database_of
from sio_core.emitters.emitter import AsyncEmitter, SyncEmitter
from sio_core.errors import AdapterError

__all__ = ["AsyncMongoEmitter", "MongoEmitter"]


class Documents:
    """How an emitter makes documents, and of which collection they are.

    :raises ValueError: if one of the settings is not possible.
    """

    __slots__ = ("_codec", "by_age", "capped_size", "collection", "database", "expire_after", "url")

    def __init__(
        self,
        url: str,
        database: str | None,
        collection: str,
        add_created_at_field: bool,
        capped_size: int,
        expire_after: float,
        default: Callable[[Any], Any] | None,
    ) -> None:
        self.url = url
        self.database = database_of(url, database)
        self.collection = collection
        self.by_age = add_created_at_field
        self.capped_size = capped_size
        self.expire_after = expire_after if add_created_at_field else None
        self._codec = DocumentCodec(default)

    def encode(self, message: Message) -> bytes:
        """Return the document of a message."""
        return self._codec.encode(message, ObjectId(), datetime.now(UTC) if self.by_age else None)


class MongoEmitter(SyncEmitter):
    """For code that waits: ``with MongoEmitter("mongodb://localhost/app") as emitter: emitter.emit("news")``.

    Any thread may use it. The collection is made if it is not there.

    :param url: ``mongodb://...`` or ``mongodb+srv://...``.
    :param database: its name; by default that in ``url``, or ``socket_io``.
    :param collection: its name, as for the servers.
    :param add_created_at_field: whether documents say when they were written, as for the servers.
    :param capped_size: bytes of the collection, if it is made here and bounded by size.
    :param expire_after: seconds for which documents are kept, if it is made here and bounded by age.
    :param default: converts what nobody else can, as in :func:`json.dumps`.
    :raises ValueError: if one of them is not possible.

    Publishing raises :class:`~sio_core.AdapterError` if MongoDB cannot be reached or refuses.

    Socket.IO documentation, "MongoDB adapter", "Emitter".
    """

    __slots__ = ("_client", "_documents", "_is_made", "_lock")

    def __init__(
        self,
        url: str,
        *,
        database: str | None = None,
        collection: str = EVENTS,
        add_created_at_field: bool = False,
        capped_size: int = 1_000_000,
        expire_after: float = 3_600.0,
        default: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(default)
        self._documents = Documents(
            url, database, collection, add_created_at_field, capped_size, expire_after, default
        )
        self._client = make_client(url, is_asyncio=False)
        self._is_made = False
        self._lock = threading.Lock()

    def publish(self, message: Message) -> None:
        documents = self._documents
        document = RawBSONDocument(documents.encode(message))
        database = self._client[documents.database]
        try:
            with self._lock:
                if not self._is_made:
                    self._make(database)
                    self._is_made = True
            database.get_collection(documents.collection, codec_options=RAW).insert_one(document)
        except PyMongoError as error:
            raise AdapterError(f"not published: {error}") from error

    def _make(self, database: Any) -> None:
        documents = self._documents
        try:
            for step in making(database, documents.collection, documents.capped_size, documents.expire_after):
                step()
        except PyMongoError as error:
            if not is_made_already(error):
                raise

    def close(self) -> None:
        self._client.close()


class AsyncMongoEmitter(AsyncEmitter):
    """For coroutines: ``async with AsyncMongoEmitter(url) as emitter: await emitter.emit("news")``.

    On trio, every operation takes a thread. The collection is made if it is not there.

    :param url: ``mongodb://...`` or ``mongodb+srv://...``.
    :param database: its name; by default that in ``url``, or ``socket_io``.
    :param collection: its name, as for the servers.
    :param add_created_at_field: whether documents say when they were written, as for the servers.
    :param capped_size: bytes of the collection, if it is made here and bounded by size.
    :param expire_after: seconds for which documents are kept, if it is made here and bounded by age.
    :param default: converts what nobody else can, as in :func:`json.dumps`.
    :raises ValueError: if one of them is not possible.

    Publishing raises :class:`~sio_core.AdapterError` if MongoDB cannot be reached or refuses.

    Socket.IO documentation, "MongoDB adapter", "Emitter".
    """

    __slots__ = ("_documents", "_events")

    def __init__(
        self,
        url: str,
        *,
        database: str | None = None,
        collection: str = EVENTS,
        add_created_at_field: bool = False,
        capped_size: int = 1_000_000,
        expire_after: float = 3_600.0,
        default: Callable[[Any], Any] | None = None,
    ) -> None:
        super().__init__(default)
        self._documents = Documents(
            url, database, collection, add_created_at_field, capped_size, expire_after, default
        )
        self._events: Events | None = None

    def publish(self, message: Message) -> Awaitable[None]:
        return self._insert(self._documents.encode(message))

    async def _insert(self, document: bytes) -> None:
        documents = self._documents
        if self._events is None:
            self._events = Events(
                documents.url,
                documents.database,
                documents.collection,
                documents.capped_size,
                documents.expire_after,
                sniffio.current_async_library() == "asyncio",
            )
        try:
            await self._events.insert([document])
        except PyMongoError as error:
            raise AdapterError(f"not published: {error}") from error

    async def aclose(self) -> None:
        if self._events is not None:
            await self._events.close()
