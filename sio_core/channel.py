"""Messages, with file descriptors, between the processes of one server: a Unix stream socket that never blocks.

A message is a kind, some bytes, and perhaps a descriptor, which travels beside the first byte (``SCM_RIGHTS``,
unix(7)). Both ends are our own processes on one machine, made from one parent, so nothing is negotiated.
"""

from __future__ import annotations

import array
import errno
import os
import socket
import struct
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, NamedTuple

import anyio

__all__ = ["Channel", "ChannelMessage", "run_channel"]

HEADER: Final = struct.Struct("!BBI")
"""Kind, whether a descriptor comes along, and the length of the bytes that follow."""

READ_SIZE: Final = 65_536
READS: Final = 16
"""Reads in a row, before others get their turn."""

DESCRIPTORS: Final = 16
"""Descriptors that one read may give. Linux gives one at a time."""

DESCRIPTOR_SIZE: Final = array.array("i").itemsize
NOT_INHERITED: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)
"""Keeps what is received from programs that this one starts, where the system can."""

GATHERED: Final = 64
"""Waiting pieces that one write takes."""

NO_DESCRIPTOR: Final = -1
TOO_MANY_IN_FLIGHT: Final = errno.ETOOMANYREFS
"""More descriptors are on their way between processes than one user may have: wait until some have arrived."""


class ChannelMessage(NamedTuple):
    """What came through a channel.

    :ivar descriptor: for the receiver to close; -1 if there is none.
    """

    kind: int
    data: bytes
    descriptor: int


class Channel:
    """One end.

    :ivar closed: the other end is gone, or this one was closed: nothing can be sent any more.
    :ivar waiting: bytes that the kernel has not taken yet; call :meth:`flush` when the socket takes some again.
    :ivar on_waiting: called when a message has to wait.
    :ivar on_closing: called before the socket is closed.
    """

    def __init__(self, handle: socket.socket) -> None:
        handle.setblocking(False)
        self.handle = handle
        self.closed = False
        self.waiting = 0
        self.on_waiting: Callable[[], object] = ignore
        self.on_closing: Callable[[], object] = ignore
        self._output: deque[tuple[memoryview, int]] = deque()
        self._input = bytearray()
        self._descriptors: deque[int] = deque()

    @staticmethod
    def pair() -> tuple[socket.socket, socket.socket]:
        """Return two connected sockets, one for each process."""
        return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)

    def fileno(self) -> int:
        """The socket's descriptor, to wait for."""
        return self.handle.fileno()

    # Writing

    @property
    def messages_waiting(self) -> int:
        """How many messages the kernel has not taken yet, each with its descriptor."""
        return len(self._output)

    def send(self, kind: int, data: bytes = b"", descriptor: int = NO_DESCRIPTOR) -> None:
        """Send a message, after those that wait. The descriptor is closed once it was sent, or cannot be."""
        if self.closed:
            close(descriptor)
            return
        head = HEADER.pack(kind, descriptor >= 0, len(data))
        self._output.append((memoryview(head + data), descriptor))
        self.waiting += len(head) + len(data)
        if len(self._output) == 1:
            self.flush()
            if self.waiting:
                self.on_waiting()

    def flush(self) -> None:
        """Write what waits, as far as the kernel takes it."""
        output = self._output
        while output:
            data, descriptor = output[0]
            try:
                if descriptor >= 0:
                    sent = socket.send_fds(self.handle, [data], [descriptor])
                    close(descriptor)
                    output[0] = (data, NO_DESCRIPTOR)
                else:
                    sent = self.handle.sendmsg(self._plain_pieces())
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno == TOO_MANY_IN_FLIGHT:
                    return
                self._break()
                return
            self._written(sent)

    def _plain_pieces(self) -> list[memoryview]:
        """The next pieces that go without a descriptor: a descriptor begins a write of its own."""
        pieces: list[memoryview] = []
        for data, descriptor in self._output:
            if descriptor >= 0 or len(pieces) == GATHERED:
                break
            pieces.append(data)
        return pieces

    def _written(self, count: int) -> None:
        self.waiting -= count
        output = self._output
        while count:
            data, descriptor = output[0]
            if count < len(data):
                output[0] = (data[count:], descriptor)
                return
            count -= len(data)
            output.popleft()

    # Reading

    def receive(self) -> list[ChannelMessage]:
        """Return the messages that are there. Closes the channel if no more will come."""
        for _ in range(READS):
            if self.handle.fileno() < 0:
                break
            try:
                data, ancillary, flags, _ = self.handle.recvmsg(
                    READ_SIZE, socket.CMSG_SPACE(DESCRIPTORS * DESCRIPTOR_SIZE), NOT_INHERITED
                )
            except BlockingIOError:
                break
            except OSError:
                data, ancillary, flags = b"", [], 0
            self._take_descriptors(ancillary, flags)
            if not data:
                messages = self._messages()
                self.close()
                return messages
            self._input += data
        return self._messages()

    def _take_descriptors(self, ancillary: list[tuple[int, int, bytes]], flags: int) -> None:
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                descriptors = array.array("i")
                descriptors.frombytes(data[: len(data) - len(data) % DESCRIPTOR_SIZE])
                self._descriptors.extend(descriptors)
        if flags & socket.MSG_CTRUNC:  # this process may open no more files: one was lost
            self._descriptors.append(NO_DESCRIPTOR)

    def _messages(self) -> list[ChannelMessage]:
        messages: list[ChannelMessage] = []
        buffer = self._input
        pos = 0
        while len(buffer) - pos >= HEADER.size:
            kind, has_descriptor, length = HEADER.unpack_from(buffer, pos)
            end = pos + HEADER.size + length
            if len(buffer) < end:
                break
            descriptor = self._descriptors.popleft() if has_descriptor else NO_DESCRIPTOR
            messages.append(ChannelMessage(kind, bytes(buffer[pos + HEADER.size : end]), descriptor))
            pos = end
        del buffer[:pos]
        return messages

    def _break(self) -> None:
        """Nothing can be written any more; whoever reads finds the end."""
        self._discard_output()
        with suppress(OSError):
            self.handle.shutdown(socket.SHUT_RDWR)

    def _discard_output(self) -> None:
        self.closed = True
        for _, descriptor in self._output:
            close(descriptor)
        self._output.clear()
        self.waiting = 0

    def close(self) -> None:
        """Close the socket, and every descriptor that was on its way. Another process may still use the socket."""
        if self.handle.fileno() < 0:
            return
        self.on_closing()
        self._discard_output()
        self.handle.close()
        for descriptor in self._descriptors:
            close(descriptor)
        self._descriptors.clear()
        self._input.clear()


async def run_channel(channel: Channel, receive: Callable[[list[ChannelMessage]], object]) -> None:
    """Read and write a channel in an event loop, until it is closed.

    :param receive: called with the messages that have come. It must not raise.
    """
    waiting = anyio.Event()

    def wake() -> None:
        waiting.set()

    async def write() -> None:
        nonlocal waiting
        while True:
            await waiting.wait()
            waiting = anyio.Event()
            while channel.waiting:
                with suppress(anyio.ClosedResourceError):
                    await anyio.wait_writable(channel.handle)
                channel.flush()

    channel.on_waiting = wake
    channel.on_closing = lambda: anyio.notify_closing(channel.handle)
    if channel.waiting:
        wake()
    try:
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(write)
            while channel.handle.fileno() >= 0:
                with suppress(anyio.ClosedResourceError):
                    await anyio.wait_readable(channel.handle)
                receive(channel.receive())
            task_group.cancel_scope.cancel()
    finally:
        channel.on_waiting = channel.on_closing = ignore


def ignore() -> None:
    """Nobody waits for the channel."""


def close(descriptor: int) -> None:
    """Close a descriptor, if it is one."""
    if descriptor >= 0:
        with suppress(OSError):
            os.close(descriptor)
