"""What all emitters share: how a process that is no server says whom it sends to.

Each engine has an emitter for code that waits (Celery, Django's views, scripts) and one for coroutines. They differ in
what publishing returns, nothing or something to await, and in nothing else: so everything here returns what publishing
does. The messages are those of the official emitters; servers of either language understand them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection
from typing import Any, Generic, Self, TypeVar

from sio_core.adapters.messages import (
    BROADCAST,
    DISCONNECT_SOCKETS,
    EMITTER_UID,
    SERVER_SIDE_EMIT,
    SOCKETS_JOIN,
    SOCKETS_LEAVE,
    Codec,
    Message,
)
from sio_core.socketio.packet import EVENT, RESERVED_EVENTS

__all__ = ["AsyncEmitter", "Emitter", "EmitterOperator", "SyncEmitter"]

Result = TypeVar("Result")

SERVER_RESERVED = frozenset(("connect", "connection", "new_namespace"))
"""Names that the servers keep for themselves among their own events."""


class EmitterOperator(Generic[Result]):
    """Chooses a namespace and its sockets, and sends to them. Each step returns a new operator.

    Rooms form a union; a socket receives one copy. No room at all means everyone.
    """

    __slots__ = ("_compress", "_droppable", "_except", "_namespace", "_publish", "_rooms")

    def __init__(
        self,
        publish: Callable[[Message], Result],
        namespace: str = "/",
        rooms: Collection[str] = (),
        except_: Collection[str] = (),
        volatile: bool = False,
        compress: bool = True,
    ) -> None:
        self._publish = publish
        self._namespace = namespace
        self._rooms = rooms
        self._except = except_
        self._droppable = volatile
        self._compress = compress

    def _copy(self) -> EmitterOperator[Result]:
        return EmitterOperator(
            self._publish, self._namespace, self._rooms, self._except, self._droppable, self._compress
        )

    def of(self, namespace: str) -> EmitterOperator[Result]:
        """Choose a namespace; those sockets that were chosen of another are not kept."""
        name = namespace if namespace.startswith("/") else "/" + namespace
        return EmitterOperator(self._publish, name)

    def to(self, *rooms: str) -> EmitterOperator[Result]:
        """Choose the members of these rooms too; a socket's id is a room."""
        operator = self._copy()
        operator._rooms = tuple(dict.fromkeys([*self._rooms, *rooms]))
        return operator

    def in_(self, *rooms: str) -> EmitterOperator[Result]:
        """The same as :meth:`to`."""
        return self.to(*rooms)

    def except_(self, *rooms: str) -> EmitterOperator[Result]:
        """Leave out the members of these rooms."""
        operator = self._copy()
        operator._except = tuple(dict.fromkeys([*self._except, *rooms]))
        return operator

    def compress(self, compress: bool) -> EmitterOperator[Result]:
        """Say whether polling responses that carry this may be compressed."""
        operator = self._copy()
        operator._compress = compress
        return operator

    @property
    def volatile(self) -> EmitterOperator[Result]:
        """Drop the event where it cannot leave at once."""
        operator = self._copy()
        operator._droppable = True
        return operator

    def emit(self, event: str, *args: Any) -> Result:
        """Send an event to the chosen sockets of every server.

        :raises ValueError: if the name is reserved.
        :raises TypeError: if an argument cannot be sent.
        """
        if event in RESERVED_EVENTS:
            raise ValueError(f'"{event}" is a reserved event name')
        flags: dict[str, Any] = {}
        if self._droppable:
            flags["volatile"] = True
        if not self._compress:
            flags["compress"] = False
        packet = {"type": EVENT, "data": [event, *args], "nsp": self._namespace}
        opts = {"rooms": list(self._rooms), "flags": flags, "except": list(self._except)}
        return self._send(BROADCAST, {"packet": packet, "opts": opts})

    def send(self, *args: Any) -> Result:
        """Send the event ``message``."""
        return self.emit("message", *args)

    def sockets_join(self, *rooms: str) -> Result:
        """Put the chosen sockets into rooms."""
        return self._send(SOCKETS_JOIN, {"opts": self._opts(), "rooms": list(rooms)})

    def sockets_leave(self, *rooms: str) -> Result:
        """Take the chosen sockets out of rooms."""
        return self._send(SOCKETS_LEAVE, {"opts": self._opts(), "rooms": list(rooms)})

    def disconnect_sockets(self, close: bool = False) -> Result:
        """Disconnect the chosen sockets from the namespace, or with ``close`` their clients altogether."""
        return self._send(DISCONNECT_SOCKETS, {"opts": self._opts(), "close": close})

    def server_side_emit(self, event: str, *args: Any) -> Result:
        """Send an event to the servers, for their ``on_server_event``. There are no answers to an emitter.

        :raises ValueError: if the name is reserved.
        """
        if event in SERVER_RESERVED:
            raise ValueError(f'"{event}" is a reserved event name')
        return self._send(SERVER_SIDE_EMIT, {"packet": [event, *args]})

    def _opts(self) -> dict[str, Any]:
        return {"rooms": list(self._rooms), "except": list(self._except)}

    def _send(self, kind: int, data: dict[str, Any]) -> Result:
        return self._publish(Message(kind, EMITTER_UID, self._namespace, data))


class Emitter(EmitterOperator[Result], ABC):
    """An engine, as a process that is no server uses it.

    :param default: converts what nobody else can, as in :func:`json.dumps`.
    """

    __slots__ = ("codec",)

    def __init__(self, default: Callable[[Any], Any] | None = None) -> None:
        super().__init__(self.publish)
        self.codec = Codec(default)

    @abstractmethod
    def publish(self, message: Message) -> Result:
        """Have the engine carry a message to every server.

        ``opts`` is there as the official emitters write it: without ``flags``, but in a broadcast. The message is
        encoded before this returns: the application may change its objects afterwards.
        """


class SyncEmitter(Emitter[None]):
    """One whose methods return when the message is published. Its engine's connection is closed by :meth:`close`."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()


class AsyncEmitter(Emitter[Awaitable[None]]):
    """One whose methods return something to await: it ends when the message is published."""

    __slots__ = ()

    @abstractmethod
    async def aclose(self) -> None:
        """Close the connection."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *args: object) -> None:
        await self.aclose()
