"""Plain connections on trio, without tasks that move their bytes: one task waits for all their sockets at once.

An epoll descriptor can itself be waited for (epoll(7)). So each socket is registered once and told when it can be read
or written, where a loop of tasks would register it, and wake a task, for each read.
"""

from __future__ import annotations

import logging
import os
import select
import socket
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.abc

from sio_core.engineio.engine import Pending
from sio_core.serving.connection import Connection, Driver
from sio_core.serving.site import Siblings
from sio_core.serving.sockets import reset_on_close
from sio_core.wire.message import Response

if TYPE_CHECKING:
    from sio_core.serving.trio_shell import StreamShell

__all__ = ["HIGH_WATER", "POLLS", "PolledDriver", "Poller", "hand_over"]

POLLS: Final = hasattr(select, "epoll")
"""Whether the system has epoll."""

READABLE: Final = getattr(select, "EPOLLIN", 1)
WRITABLE: Final = getattr(select, "EPOLLOUT", 4)

READ_SIZE: Final = 65_536
HIGH_WATER: Final = 65_536
"""Bytes that wait when the peer counts as taking nothing; with a quarter of them it takes some again."""
GATHERED: Final = 64
"""Waiting pieces that one write takes."""

logger = logging.getLogger(__name__)


class Poller:
    """The sockets of one listener's connections, and who is told of each."""

    __slots__ = ("_buffer", "_drivers", "_epoll")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._drivers: dict[int, PolledDriver] = {}
        self._buffer = memoryview(bytearray(READ_SIZE))

    async def run(self) -> None:
        """Tell the drivers what their sockets can do, until cancelled."""
        epoll, drivers = self._epoll, self._drivers
        try:
            while True:
                await anyio.wait_readable(epoll)
                for descriptor, events in epoll.poll(0):
                    driver = drivers.get(descriptor)
                    if driver is not None:  # one before it in this turn may have ended it
                        driver.ready(events)
        finally:
            drivers.clear()
            epoll.close()

    def watch(self, descriptor: int, driver: PolledDriver, events: int) -> None:
        """Have ``driver.ready`` called for these events from now on, and when the connection breaks."""
        if descriptor in self._drivers:
            self._epoll.modify(descriptor, events)
        elif not self._epoll.closed:
            self._epoll.register(descriptor, events)
            self._drivers[descriptor] = driver

    def forget(self, descriptor: int) -> None:
        """Call nobody any more. To be done before a socket is closed, for another process may have it too."""
        if self._drivers.pop(descriptor, None) is not None:
            self._epoll.unregister(descriptor)

    def read(self, handle: socket.socket) -> bytes:
        """Read what a socket has; it must not block.

        ``recv`` would take memory for the most there may be and give back nearly all of it. What is allocated
        meanwhile then lies in between, and the heap grows for hours.

        :raises BlockingIOError: if it has nothing.
        :raises OSError: if the connection is broken.
        """
        return bytes(self._buffer[: handle.recv_into(self._buffer)])


class PolledDriver(Driver):
    """One connection. What is due is written at once, as asyncio does; what the kernel does not take waits."""

    __slots__ = (
        "_at_end",
        "_connection",
        "_descriptor",
        "_ended",
        "_handle",
        "_output",
        "_poller",
        "_shell",
        "_stream",
        "_unread",
        "_unsent",
        "_watched",
    )

    def __init__(
        self,
        shell: StreamShell,
        poller: Poller,
        stream: anyio.abc.ByteStream,
        address: str,
        port: int,
        unread: bytes,
        keep_next: bool,
    ) -> None:
        self._shell = shell
        self._poller = poller
        self._stream = stream
        self._handle: Any = stream.extra(anyio.abc.SocketAttribute.raw_socket)
        self._descriptor: int = self._handle.fileno()
        self._unread = unread
        self._watched = 0
        self._at_end = False
        self._output: deque[memoryview] = deque()
        self._unsent = 0
        self._ended = anyio.Event()
        self._connection = Connection(
            shell.site,
            self,
            shell.now(),
            address=address,
            port=port,
            secure=False,
            keep_next=keep_next,
        )

    async def run(self) -> None:
        """Serve until the connection ends."""
        try:
            self._connection.changed = True  # so that it is settled what is waited for
            self.ready(READABLE)
            await self._ended.wait()
        finally:
            self._end()
            self._connection.connection_lost(self._shell.now())
            self._connection.detach()
            await anyio.aclose_forcefully(self._stream)

    # What the poller calls

    def ready(self, events: int) -> None:
        """The socket can be read or written, or the connection is broken: reading or writing tells how."""
        if self._handle is None:
            return
        try:
            if events & ~READABLE and self._output:
                self._write()
            if events & ~WRITABLE and self._handle is not None:
                self._read()
            self._take()
        except Exception:
            logger.exception("a connection is dropped after an internal error")
            self._end()

    def _read(self) -> None:
        connection = self._connection
        if connection.paused or self._at_end:
            return
        if self._unread:
            data, self._unread = self._unread, b""
        else:
            try:
                data = self._poller.read(self._handle)
            except BlockingIOError:
                return
            except OSError:
                self._end()
                return
        if data:
            connection.receive_data(data, self._shell.now())
        else:
            self._at_end = True
            connection.receive_eof(self._shell.now())

    def _write(self) -> None:
        output = self._output
        try:
            sent = self._handle.sendmsg(list(islice(output, GATHERED)))
        except BlockingIOError:
            return
        except OSError:
            self._end()
            return
        self._unsent -= sent
        while sent:
            piece = output.popleft()
            if sent < len(piece):
                output.appendleft(piece[sent:])
                break
            sent -= len(piece)
        if self._connection.blocked and self._unsent <= HIGH_WATER // 4:
            self._connection.resume_writing(self._shell.now())

    def _take(self) -> None:
        """Take what is to be written, and write what the kernel takes now."""
        connection, handle = self._connection, self._handle
        if handle is None:
            return
        output = connection.data_to_send()
        if output:
            sent = 0
            if not self._output:
                try:
                    sent = handle.send(output)
                except BlockingIOError:
                    pass
                except OSError:
                    self._end()
                    return
            if sent < len(output):
                self._output.append(memoryview(output)[sent:])
                self._unsent += len(output) - sent
                if self._unsent > HIGH_WATER and not connection.blocked:
                    connection.pause_writing(self._shell.now())
        if connection.changed or bool(self._output) is not bool(self._watched & WRITABLE):
            self._settle()

    def _settle(self) -> None:
        """Do what the connection wants of its socket."""
        connection = self._connection
        connection.changed = False
        if connection.aborting:
            self.abort()
            return
        if not self._output:
            if connection.departing:
                hand_over(self._shell.site.siblings, self._handle, connection)
            if connection.departing or connection.closing:
                self._end()
                return
        events = WRITABLE if self._output else 0
        if not connection.paused and not self._at_end:
            events |= READABLE
        if events != self._watched:
            self._watched = events
            if events:
                self._poller.watch(self._descriptor, self, events)
            else:
                self._poller.forget(self._descriptor)

    def _end(self) -> None:
        if self._handle is not None:
            self._handle = None
            self._poller.forget(self._descriptor)
            self._ended.set()

    # What the connection calls

    def output_ready(self) -> None:
        self._shell.output_ready(self)

    def wait_for(self, pending: Pending) -> None:
        self._shell.task_group.start_soon(self._wait_for, pending)

    def unsent(self) -> int:
        return self._unsent

    async def _wait_for(self, pending: Pending) -> None:
        result, failure = None, None
        try:
            result = await pending.awaitable
        except Exception as error:
            failure = error
        try:
            self._connection.resume(pending, result, failure, self._shell.now())
        except Exception:
            logger.exception("a connection is dropped after an internal error")
            self._end()

    # What the shell calls

    def refuse(self, response: Response) -> None:
        """This connection is one too many."""
        self._connection.refuse(response)

    def flush(self) -> None:
        """Write what is due."""
        self.ready(0)

    def close(self) -> None:
        """The listener is going away."""
        self._connection.close()

    def abort(self) -> None:
        """Drop the connection now."""
        reset_on_close(self._handle)
        self._end()


def hand_over(siblings: Siblings | None, handle: Any, connection: Connection) -> None:
    """Give a connection to another process: everything was written. Its own descriptor is to be closed."""
    if siblings is None:
        return
    try:
        descriptor = os.dup(handle.fileno())
    except OSError as error:
        logger.warning("a connection for a sibling is dropped: %s", error)
    else:
        siblings.hand_over(descriptor, *connection.depart())
