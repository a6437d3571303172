"""A cluster by way of MongoDB: every message is a document, and every node reads the changes of the collection.

Understood by the official ``@socket.io/mongo-adapter`` 0.4. The collection is a log: what is said while MongoDB is away
waits here, and a node that lost its connection goes on reading where it was. So is a client that was lost: it gets what
it missed, from any node. MongoDB must be a replica set, for others have no change streams.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import anyio
import anyio.lowlevel
import sniffio
from bson import ObjectId

from sio_core.adapters.base import LocalSockets
from sio_core.adapters.driver import Driver
from sio_core.adapters.messages import HEARTBEAT, Message
from sio_core.adapters.mongo_adapter import MongoAdapter
from sio_core.adapters.mongo_connection import Events, is_lost_token
from sio_core.adapters.mongo_documents import EVENTS, DocumentCodec, database_of, read_document
from sio_core.adapters.supervisor import Supervisor
from sio_core.errors import InvalidPacket

__all__ = ["Mongo"]

CLOSE_TIME = 1.0
"""Seconds that ending a change stream may take."""

logger = logging.getLogger(__name__)


class Mongo(Driver):
    """Servers that have the same collection: ``Server(adapter=Mongo("mongodb://127.0.0.1:27017/app"))``.

    The collection is made if it is not there: bounded by its size, or by the age of what is in it if
    ``add_created_at_field`` is set. A client can be recovered for as long as what it has missed is in it. On trio,
    every operation takes a thread.

    :param url: ``mongodb://...`` or ``mongodb+srv://...``.
    :param database: its name; by default that in ``url``, or ``socket_io``.
    :param collection: its name, the same for all nodes.
    :param add_created_at_field: whether documents say when they were written, and are forgotten by that.
    :param capped_size: bytes of the collection, if it is made here and bounded by size.
    :param expire_after: seconds for which documents are kept, if it is made here and bounded by age.
    :param heartbeat_interval: seconds after which a node that had nothing else to say to all says that it is there.
    :param heartbeat_timeout: seconds after which a node that was not heard is counted no more.
    :ivar gaps: how often reading could not go on where it was, so that messages may be lost.
    :raises ValueError: if one of them is not possible.

    Socket.IO documentation, "MongoDB adapter".
    """

    def __init__(
        self,
        url: str,
        *,
        database: str | None = None,
        collection: str = EVENTS,
        add_created_at_field: bool = False,
        capped_size: int = 1_000_000,
        expire_after: float = 3_600.0,
        heartbeat_interval: float = 5.0,
        heartbeat_timeout: float = 10.0,
    ) -> None:
        super().__init__()
        for name, value in (("capped_size", capped_size), ("expire_after", expire_after)):
            if not value >= 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        self.is_capped = not add_created_at_field
        self.gaps = 0
        self._url = url
        self._database = database_of(url, database)
        self._collection = collection
        self._capped_size = capped_size
        self._expire_after = expire_after
        self.heartbeat_interval = heartbeat_interval
        self.heartbeat_timeout = heartbeat_timeout
        self._codec: DocumentCodec | None = None
        self._events: Events | None = None
        self._token: Any = None

    def make_adapter(self, name: str, local: LocalSockets) -> MongoAdapter:
        return MongoAdapter(name, local, self, local.recovery)

    def stats(self) -> dict[str, Any]:
        return {**super().stats(), "gaps": self.gaps}

    # The connections

    @property
    def events(self) -> Events:
        """The collection."""
        assert self._events is not None
        return self._events

    def open(self) -> None:
        is_asyncio = sniffio.current_async_library() == "asyncio"
        expire_after = None if self.is_capped else self._expire_after
        self._events = Events(
            self._url, self._database, self._collection, self._capped_size, expire_after, is_asyncio
        )
        reader = Supervisor(self.host, "MongoDB", self._read, probe=self._probe, on_up=self.note_reconnected)
        self.links = [reader]
        reader.start()

    async def close(self) -> None:
        for link in self.links:
            await link.stop()
        self.links = []
        self._token = None  # another run of the server is another node
        with anyio.move_on_after(CLOSE_TIME, shield=True):
            await self.events.close()

    async def _probe(self) -> None:
        for adapter in self.adapters.values():
            adapter.send_message(HEARTBEAT, None)
            return

    def encode(self, message: Message, number: ObjectId) -> bytes:
        """Return the document of a message."""
        if self._codec is None:
            self._codec = DocumentCodec(self.host.default)
        return self._codec.encode(message, number, None if self.is_capped else datetime.now(UTC))

    # Reading

    async def _read(self, link: Supervisor) -> None:
        events = self.events
        try:
            stream = await events.watch(self._token)
        except Exception as error:
            self._check_token(error)
            raise
        try:
            link.up()
            for adapter in list(self.adapters.values()):
                adapter.reconnected()  # who has answered before was not heard
            while not stream.ended:
                document = await stream.next()
                link.heard()
                if document is not None:
                    self._take(document)
                    await anyio.lowlevel.checkpoint()  # the next may be here already: others have their turn
                self._token = stream.token
            self._lose_token("the collection is gone")
        except Exception as error:
            self._check_token(error)
            raise
        finally:
            with anyio.move_on_after(CLOSE_TIME, shield=True):
                await stream.close()

    def _check_token(self, error: Exception) -> None:
        if is_lost_token(error):
            self._lose_token(str(error).partition(", full error")[0])

    def _lose_token(self, reason: str) -> None:
        """Reading cannot go on where it was: it will go on from now."""
        if self._token is not None:
            self._token = None
            self.gaps += 1
            logger.error("MongoDB: messages may be lost that were not read: %s", reason)

    def _take(self, document: bytes) -> None:
        if len(document) > self.host.limits.cluster_message_bytes:
            self.host.count_limit("cluster_message_bytes")
            self.drop(f"a document of {len(document)} bytes")
            return
        try:
            message = read_document(document)
        except InvalidPacket as error:
            self.drop(str(error))
        else:
            self.receive(message, message.offset)
