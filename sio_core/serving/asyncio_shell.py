"""The shell for asyncio and uvloop: a protocol that moves the bytes of one connection.

About two kilobytes a connection, where a stream and its two tasks cost seventeen. What is sent while one read is
processed leaves in one write; what is sent otherwise leaves once per turn of the loop. Both loops set TCP_NODELAY.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from abc import abstractmethod
from contextvars import copy_context
from typing import Any, Protocol, cast

from sio_core.engineio.engine import Pending
from sio_core.runtime import as_error
from sio_core.serving.connection import Connection, Driver
from sio_core.serving.site import Site
from sio_core.serving.sockets import hand_over, reset_on_close

__all__ = ["AsyncioProtocol", "AsyncioShell", "OpenConnection", "peer_of"]

logger = logging.getLogger(__name__)


class OpenConnection(Protocol):
    """What is told when the listener goes away."""

    @abstractmethod
    def close(self) -> None:
        """End after what is being done."""

    @abstractmethod
    def abort(self) -> None:
        """End now."""


class AsyncioShell:
    """What the connections of one listener share: the loop, and who has output in this turn.

    :ivar ready: the connections that write before the loop waits again.
    :ivar closed: the listener is gone; a connection whose TLS handshake ends only now is not served any more.
    """

    __slots__ = ("_tasks", "closed", "connections", "loop", "ready", "site")

    def __init__(self, site: Site, loop: asyncio.AbstractEventLoop) -> None:
        self.site = site
        self.loop = loop
        self.closed = False
        self.connections: set[OpenConnection] = set()
        self.ready: list[AsyncioProtocol] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def flush(self) -> None:
        """Have the connections write that have something to write in this turn."""
        ready, self.ready = self.ready, []
        for protocol in ready:
            protocol.flush()

    def end(self) -> None:
        """Nobody waits for the application any more."""
        for task in self._tasks:
            task.cancel()

    def wait_for(self, protocol: AsyncioProtocol, pending: Pending) -> None:
        """Await the application for a connection."""
        task = self.loop.create_task(self._wait_for(protocol, pending))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def adopt(self, handle: socket.socket, unread: bytes, keep_next: bool) -> None:
        """Serve a connection that was accepted elsewhere. See :class:`AsyncioProtocol`."""
        task = self.loop.create_task(self._adopt(handle, unread, keep_next))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _adopt(self, handle: socket.socket, unread: bytes, keep_next: bool) -> None:
        await self.loop.connect_accepted_socket(
            lambda: cast("asyncio.Protocol", AsyncioProtocol(self, unread, keep_next)), handle
        )

    async def _wait_for(self, protocol: AsyncioProtocol, pending: Pending) -> None:
        try:
            result = await pending.awaitable
        except asyncio.CancelledError as error:
            protocol.resume(pending, None, as_error(error))
        except Exception as error:
            protocol.resume(pending, None, error)
        else:
            protocol.resume(pending, result, None)


class AsyncioProtocol(Driver):
    """One connection on an asyncio loop: an :class:`asyncio.Protocol` in all but name, so that it can be compiled."""

    __slots__ = (
        "_connection",
        "_context",
        "_is_counted",
        "_keep_next",
        "_reading",
        "_shell",
        "_transport",
        "_unread",
    )

    def __init__(
        self, shell: AsyncioShell, unread: bytes = b"", keep_next: bool = False, is_counted: bool = False
    ) -> None:
        """For a connection that comes from a sibling, or out of a TLS handshake.

        :param unread: what was read of it there.
        :param keep_next: see :class:`Connection`.
        :param is_counted: it counts among the connections already.
        """
        self._shell = shell
        self._context = copy_context()  # uvloop has one for all connections of a listener
        self._is_counted = is_counted
        self._unread = unread
        self._keep_next = keep_next
        self._connection: Connection | None = None
        self._transport: asyncio.Transport | None = None
        self._reading = True

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        shell = self._shell
        self._transport = transport  # type: ignore[assignment]
        if shell.closed:
            self.abort()
            return
        address, port = peer_of(transport)
        secure = transport.get_extra_info("sslcontext") is not None
        self._connection = Connection(
            shell.site,
            self,
            shell.loop.time(),
            address=address,
            port=port,
            secure=secure,
            keep_next=self._keep_next,
        )
        shell.connections.add(self)
        refusal = shell.site.connection_made(address) if not self._is_counted else None
        if refusal is not None:
            self._connection.refuse(refusal)
        if self._unread:
            unread, self._unread = self._unread, b""
            self.data_received(unread)

    def data_received(self, data: bytes) -> None:
        connection = self._connection
        if connection is None or self._transport is None:
            return
        try:
            self._context.run(connection.receive_data, data, self._shell.loop.time())
            output = connection.data_to_send()
        except Exception:
            logger.exception("a connection is dropped after an internal error")
            self._transport.abort()
            return
        if output:
            self._transport.write(output)
        if connection.changed:
            self._settle(connection)

    def eof_received(self) -> bool:
        if self._connection is not None:
            self._connection.receive_eof(self._shell.loop.time())
            self.flush()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        connection, self._connection = self._connection, None
        self._transport = None
        if connection is not None:
            self._shell.connections.discard(self)
            self._shell.site.connection_lost(connection.address)
            self._context.run(connection.connection_lost, self._shell.loop.time())
            connection.detach()

    def pause_writing(self) -> None:
        if self._connection is not None:
            self._connection.pause_writing(self._shell.loop.time())

    def resume_writing(self) -> None:
        if self._connection is not None:
            self._connection.resume_writing(self._shell.loop.time())
            if self._connection.departing:
                self._depart(self._connection)

    # What the connection calls

    def output_ready(self) -> None:
        shell = self._shell
        shell.ready.append(self)
        if len(shell.ready) == 1:
            shell.loop.call_soon(shell.flush)

    def wait_for(self, pending: Pending) -> None:
        self._shell.wait_for(self, pending)

    def unsent(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    # What the shell calls

    def flush(self) -> None:
        """Write what is due."""
        connection, transport = self._connection, self._transport
        if connection is None or transport is None:
            return
        try:
            output = connection.data_to_send()
        except Exception:
            logger.exception("a connection is dropped after an internal error")
            transport.abort()
            return
        if output:
            transport.write(output)
        if connection.changed:
            self._settle(connection)

    def resume(self, pending: Pending, result: Any, error: Exception | None) -> None:
        """The application has answered."""
        if self._connection is not None:
            try:
                self._connection.resume(pending, result, error, self._shell.loop.time())
            except Exception:
                logger.exception("a connection is dropped after an internal error")
                self.abort()

    def close(self) -> None:
        """The listener is going away."""
        if self._connection is not None:
            self._connection.close()

    def abort(self) -> None:
        """Drop the connection now."""
        transport = self._transport
        if transport is not None:
            reset_on_close(transport.get_extra_info("socket"))
            transport.abort()

    def _settle(self, connection: Connection) -> None:
        connection.changed = False
        transport = self._transport
        if transport is None:
            return
        if connection.aborting:
            self.abort()
        elif connection.closing:
            transport.close()
        elif connection.departing:
            self._depart(connection)
        elif connection.paused is self._reading:
            self._reading = not connection.paused
            if connection.paused:
                transport.pause_reading()
            else:
                transport.resume_reading()

    def _depart(self, connection: Connection) -> None:
        """Hand the connection over, once everything was written."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        if self._reading:
            self._reading = False
            transport.pause_reading()
        if transport.get_write_buffer_size():
            transport.set_write_buffer_limits(high=0)  # so that it says when nothing is left
        else:
            hand_over(self._shell.site.siblings, transport.get_extra_info("socket").fileno(), connection)
            transport.abort()


def peer_of(transport: asyncio.BaseTransport) -> tuple[str, int]:
    """Return the address and the port of the peer; empty and 0 if it has none."""
    peer = transport.get_extra_info("peername")
    return (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) else ("", 0)
