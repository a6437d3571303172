"""Plain connections on trio, without tasks that move their bytes: one task waits for all their sockets at once.

An epoll descriptor can itself be waited for (epoll(7)). So each socket is registered once and told when it can be read
or written, where a loop of tasks would register it, and wake a task, for each read.
"""

from __future__ import annotations

import select
import socket
from collections import deque
from contextvars import copy_context
from itertools import islice
from typing import TYPE_CHECKING, Final

import anyio

from sio_core.serving.sockets import hand_over
from sio_core.serving.trio_driver import HIGH_WATER, LOW_WATER, Accepted, TrioDriver

if TYPE_CHECKING:
    from sio_core.serving.trio_shell import StreamShell

__all__ = ["POLLS", "PolledDriver", "Poller"]

POLLS: Final = hasattr(select, "epoll")
"""Whether the system has epoll."""

READABLE: Final = getattr(select, "EPOLLIN", 1)
WRITABLE: Final = getattr(select, "EPOLLOUT", 4)

READ_SIZE: Final = 65_536
GATHERED: Final = 64
"""Waiting pieces that one write takes."""
SMALL: Final = 4_096
"""Bytes below which pieces wait together, as a copy: what keeps one apart is larger than itself."""


class Poller:
    """The sockets of one listener's connections, and who is told of each."""

    __slots__ = ("_buffer", "_drivers", "_epoll")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._drivers: dict[int, PolledDriver] = {}
        self._buffer = memoryview(bytearray(READ_SIZE))

    async def run(self) -> None:
        """Tell the drivers what their sockets can do, until cancelled.

        What a client's listeners set of context variables is seen by that client's listeners alone.
        """
        epoll, drivers = self._epoll, self._drivers
        try:
            while True:
                await anyio.wait_readable(epoll)
                for descriptor, events in epoll.poll(0):
                    if descriptor in drivers:  # one before it in this turn may have ended it
                        drivers[descriptor].context.run(drivers[descriptor].ready, events)
        finally:
            drivers.clear()
            epoll.close()

    def watch(self, descriptor: int, driver: PolledDriver, events: int) -> None:
        """Have ``driver.ready`` called for these events from now on, and when the connection breaks.

        Nobody is called once :meth:`run` was cancelled, since the connections have been, too.
        """
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


class PolledDriver(TrioDriver):
    """One connection. What is due is written at once, as asyncio does; what the kernel does not take waits.

    :ivar context: the context in which the application's code for it runs.
    """

    __slots__ = ("_at_end", "_descriptor", "_ended", "_is_over", "_output", "_poller", "_watched", "context")

    def __init__(self, shell: StreamShell, accepted: Accepted, poller: Poller) -> None:
        super().__init__(shell, accepted)
        self.context = copy_context()
        self._poller = poller
        self._descriptor = accepted.handle.fileno()
        self._watched = 0
        self._at_end = False
        self._is_over = False
        self._output: deque[memoryview | bytearray] | None = None
        self._ended = anyio.Event()

    async def run(self) -> None:
        try:
            self._connection.changed = True  # so that it is settled what is waited for
            self.context.run(self.ready, READABLE)
            await self._ended.wait()
        finally:
            self._drop()
            self.context.run(self._lose)
            self._socket.close()

    # What the poller calls

    def ready(self, events: int) -> None:
        """The socket can be read or written. A broken connection counts as both: reading or writing tells how."""
        if self._is_over:
            return
        try:
            if events & ~READABLE and self._output is not None:
                self._write(self._output)
            if events & ~WRITABLE:
                self._read()
            self._take()
        except Exception:
            self._fail()

    def _read(self) -> None:
        connection = self._connection
        if not self._wants_input:
            return
        if self._unread:
            data, self._unread = self._unread, b""
        else:
            try:
                data = self._poller.read(self._socket)
            except BlockingIOError:
                return
            except OSError:
                self._drop()
                return
        if data:
            connection.receive_data(data, self._shell.now())
        else:
            self._at_end = True
            connection.receive_eof(self._shell.now())

    @property
    def _wants_input(self) -> bool:
        connection = self._connection
        return not (connection.paused or connection.closing or self._at_end or self._is_over)

    def _write(self, output: deque[memoryview | bytearray]) -> None:
        try:
            sent = self._socket.sendmsg(list(islice(output, GATHERED)))
        except BlockingIOError:
            return
        except OSError:
            self._drop()
            return
        self._unsent -= sent
        while sent:
            piece = output.popleft()
            if sent < len(piece):
                output.appendleft(memoryview(piece)[sent:])
                break
            sent -= len(piece)
        if not output:
            self._output = None
        if self._connection.blocked and self._unsent <= LOW_WATER:
            self._connection.resume_writing(self._shell.now())

    def _take(self) -> None:
        """Take what is to be written, and write what the kernel takes now."""
        if self._is_over:
            return
        connection = self._connection
        output = connection.data_to_send()
        if output:
            sent = 0
            if self._output is None:
                try:
                    sent = self._socket.send(output)
                except BlockingIOError:
                    pass
                except OSError:
                    self._drop()
                    return
            if sent < len(output):
                self._keep(memoryview(output)[sent:])
                if self._unsent > HIGH_WATER and not connection.blocked:
                    connection.pause_writing(self._shell.now())
        if connection.changed or (self._output is None) is bool(self._watched & WRITABLE):
            self._settle()

    def _keep(self, data: memoryview) -> None:
        """Have data wait until the kernel takes it."""
        output = self._output
        if output is None:
            output = self._output = deque()
        if len(data) >= SMALL:
            output.append(data)
        elif output and isinstance(output[-1], bytearray):
            output[-1] += data
        else:
            output.append(bytearray(data))
        self._unsent += len(data)

    def _settle(self) -> None:
        """Do what the connection wants of its socket."""
        connection = self._connection
        connection.changed = False
        if connection.aborting:
            self.abort()
            return
        if self._output is None:
            if connection.departing:
                hand_over(self._shell.site.siblings, self._descriptor, connection)
            if connection.departing or connection.closing:
                self._drop()
                return
        events = WRITABLE if self._output is not None else 0
        if self._wants_input:
            events |= READABLE
        if events != self._watched:
            self._watched = events
            if events:
                self._poller.watch(self._descriptor, self, events)
            else:
                self._poller.forget(self._descriptor)

    def _drop(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._poller.forget(self._descriptor)
            self._ended.set()
