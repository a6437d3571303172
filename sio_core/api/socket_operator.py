"""What is said of one event before it is sent: ``socket.volatile.timeout(5).emit(...)``."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Generic

from sio_core.api.broadcast import BroadcastOperator
from sio_core.api.generics import Data

if TYPE_CHECKING:
    from sio_core.api.socket import Socket

__all__ = ["SocketOperator"]


class SocketOperator(Generic[Data]):
    """A socket with flags for what is sent next. Each step returns a new operator."""

    __slots__ = ("_compress", "_droppable", "_socket", "_timeout")

    def __init__(
        self,
        socket: Socket[Data],
        volatile: bool = False,
        compress: bool = True,
        timeout: float | None = None,
    ) -> None:
        self._socket = socket
        self._droppable = volatile
        self._compress = compress
        self._timeout = timeout

    @property
    def volatile(self) -> SocketOperator[Data]:
        """Drop the event if it cannot leave at once."""
        return SocketOperator(self._socket, True, self._compress, self._timeout)

    def compress(self, compress: bool) -> SocketOperator[Data]:
        """Say whether polling responses that carry this may be compressed."""
        return SocketOperator(self._socket, self._droppable, compress, self._timeout)

    def timeout(self, seconds: float) -> SocketOperator[Data]:
        """Wait that long for the acknowledgement."""
        return SocketOperator(self._socket, self._droppable, self._compress, seconds)

    @property
    def broadcast(self) -> BroadcastOperator[Data]:
        """Everyone in the namespace but this socket."""
        socket = self._socket
        return BroadcastOperator(
            socket.namespace, (), (socket.id,), self._droppable, False, self._compress, self._timeout
        )

    @property
    def local(self) -> BroadcastOperator[Data]:
        """Everyone of this process but this socket."""
        return self.broadcast.local

    def to(self, *rooms: str) -> BroadcastOperator[Data]:
        """The members of these rooms, but this socket."""
        return self.broadcast.to(*rooms)

    def in_(self, *rooms: str) -> BroadcastOperator[Data]:
        """The same as :meth:`to`."""
        return self.broadcast.to(*rooms)

    def except_(self, *rooms: str) -> BroadcastOperator[Data]:
        """Everyone but this socket and the members of these rooms."""
        return self.broadcast.except_(*rooms)

    def emit(self, event: str, *args: Any) -> Awaitable[None]:
        """Send an event. See :meth:`Socket.emit`."""
        return self._socket.send_event([event, *args], self._droppable, self._compress)

    def send(self, *args: Any) -> Awaitable[None]:
        """Send the event ``message``."""
        return self.emit("message", *args)

    async def emit_with_ack(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """Send an event and return the client's answer. See :meth:`Socket.emit_with_ack`."""
        seconds = timeout if timeout is not None else self._timeout
        return await self._socket.send_with_ack([event, *args], self._droppable, self._compress, seconds)

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """The same as :meth:`emit_with_ack`."""
        return await self.emit_with_ack(event, *args, timeout=timeout)
