"""The shell for trio (or any loop anyio knows).

Plain connections are polled (:mod:`sio_core.serving.trio_polling`). Those with TLS, and all where there is no epoll,
are byte streams with a task for each direction.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable
from traceback import clear_frames
from typing import Any

import anyio
import anyio.abc
from anyio.streams.tls import TLSStream

from sio_core.runtime import Runtime
from sio_core.serving.site import Site
from sio_core.serving.sockets import hand_over
from sio_core.serving.trio_driver import HIGH_WATER, LOW_WATER, Accepted, TrioDriver
from sio_core.serving.trio_polling import PolledDriver, Poller

__all__ = ["StreamDriver", "StreamShell"]

READ_SIZE = 65_536
WRITE_SIZE = 65_536

logger = logging.getLogger(__name__)


class StreamShell:
    """What the connections of one listener share, and who has output in this turn."""

    __slots__ = ("_poller", "_ready", "_runtime", "connections", "site", "task_group")

    def __init__(
        self, site: Site, task_group: anyio.abc.TaskGroup, runtime: Runtime, poller: Poller | None
    ) -> None:
        """:param poller: of plain connections; ``None`` where there is no epoll."""
        self.site = site
        self.task_group = task_group
        self.connections: set[TrioDriver | TlsHandshake] = set()
        self._ready: list[TrioDriver] = []
        self._runtime = runtime
        self._poller = poller

    def now(self) -> float:
        """Seconds on the loop's monotonic clock."""
        return self._runtime.now()

    def output_ready(self, driver: TrioDriver) -> None:
        """Have a connection write soon."""
        self._ready.append(driver)
        if len(self._ready) == 1:
            self._runtime.call_soon(self._flush)

    def _flush(self) -> None:
        ready, self._ready = self._ready, []
        for driver in ready:
            driver.flush()

    async def serve(
        self,
        stream: anyio.abc.ByteStream,
        *,
        context: ssl.SSLContext | None = None,
        unread: bytes = b"",
        keep_next: bool = False,
    ) -> None:
        """Serve one accepted connection until it ends.

        :param context: what its TLS handshake is made with.
        :param unread: what was read of it elsewhere.
        :param keep_next: see :class:`Connection`.
        """
        peer: Any = stream.extra(anyio.abc.SocketAttribute.remote_address, None)
        address, port = (str(peer[0]), int(peer[1])) if isinstance(peer, tuple) else ("", 0)
        refusal = self.site.connection_made(address)
        try:
            secure: anyio.abc.ByteStream | None = stream
            if context is not None:
                secure = await self._shake_hands(stream, context) if refusal is None else None
            if secure is None:
                await anyio.aclose_forcefully(stream)
                return
            handle: Any = stream.extra(anyio.abc.SocketAttribute.raw_socket)
            accepted = Accepted(handle, address, port, context is not None, unread, keep_next)
            driver: TrioDriver
            if self._poller is not None and not accepted.secure:
                driver = PolledDriver(self, accepted, self._poller)
            else:
                driver = StreamDriver(self, accepted, secure)
            self.connections.add(driver)
            if refusal is not None:
                driver.refuse(refusal)
            try:
                await driver.run()
            finally:
                self.connections.discard(driver)
        finally:
            self.site.connection_lost(address)

    async def _shake_hands(
        self, stream: anyio.abc.ByteStream, context: ssl.SSLContext
    ) -> anyio.abc.ByteStream | None:
        handshake = TlsHandshake(self.site.limits.tls_handshake_time)
        self.connections.add(handshake)
        try:
            secure = await handshake.run(stream, context)
        except BaseException:  # it is cancelled, and nobody else knows of this connection
            await anyio.aclose_forcefully(stream)
            raise
        finally:
            self.connections.discard(handshake)
        if handshake.timed_out:
            self.site.count_limit("tls_handshake_time")
        return secure


class TlsHandshake:
    """The TLS handshake of one accepted connection.

    :ivar timed_out: it has taken too long.
    """

    __slots__ = ("_scope", "_seconds", "timed_out")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._scope = anyio.CancelScope()
        self.timed_out = False

    async def run(self, stream: anyio.abc.ByteStream, context: ssl.SSLContext) -> anyio.abc.ByteStream | None:
        """Return the encrypted stream, ``None`` if there is none to be had."""
        with self._scope:
            with anyio.move_on_after(self._seconds) as scope:
                try:
                    return await TLSStream.wrap(
                        stream, server_side=True, ssl_context=context, standard_compatible=False
                    )
                except (OSError, anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError):
                    return None  # it is no TLS, or the peer has gone
                except anyio.get_cancelled_exc_class() as cancelled:
                    clear_frames(cancelled.__traceback__)  # as StreamDriver does
                    raise
            self.timed_out = scope.cancelled_caught
        return None

    def close(self) -> None:
        """The listener is going away, and nobody is served here yet."""
        self._scope.cancel()

    def abort(self) -> None:
        """Drop the connection now."""
        self._scope.cancel()


class StreamDriver(TrioDriver):
    """One connection on a byte stream."""

    __slots__ = ("_output", "_reading", "_scope", "_stream", "_wakeup")

    def __init__(self, shell: StreamShell, accepted: Accepted, stream: anyio.abc.ByteStream) -> None:
        super().__init__(shell, accepted)
        self._stream = stream
        self._output: list[bytes] = []
        self._wakeup = anyio.Event()
        self._reading = anyio.Event()
        self._reading.set()
        self._scope = anyio.CancelScope()

    async def run(self) -> None:
        try:
            with self._scope:
                async with anyio.create_task_group() as task_group:
                    task_group.start_soon(self._until_lost, self._write)
                    await self._until_lost(self._read)
        except* Exception:
            self._fail()
        finally:
            self._lose()
            await anyio.aclose_forcefully(self._stream)

    async def _until_lost(self, move: Callable[[], Awaitable[None]]) -> None:
        """Move bytes one way, and end the other one when the connection is lost.

        An exception that left the task group would keep all of this until garbage is collected. So would a cancelled
        one: anyio's streams hold what they raise again in their frames, which it holds.
        """
        try:
            await move()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, anyio.EndOfStream, OSError):
            self._scope.cancel()  # with TLS, it is found out while writing too that the peer has gone
        except anyio.get_cancelled_exc_class() as cancelled:
            clear_frames(cancelled.__traceback__)
            raise

    async def _read(self) -> None:
        connection = self._connection
        while True:
            if self._unread:
                data, self._unread = self._unread, b""
            else:
                try:
                    data = await self._stream.receive(READ_SIZE)
                except anyio.EndOfStream:
                    connection.receive_eof(self._shell.now())
                    self._take()
                    return
            connection.receive_data(data, self._shell.now())
            self._take()
            if not self._wants_input:
                self._reading = anyio.Event()
                await self._reading.wait()

    @property
    def _wants_input(self) -> bool:
        return not (self._connection.paused or self._connection.closing)

    def _take(self) -> None:
        """Take what is to be written, for the task that writes."""
        connection = self._connection
        output = connection.data_to_send()
        if output:
            self._output.append(output)
            self._unsent += len(output)
            if self._unsent > HIGH_WATER and not connection.blocked:
                connection.pause_writing(self._shell.now())
            self._wakeup.set()
        if connection.changed:
            connection.changed = False
            if self._wants_input:
                self._reading.set()
            if connection.aborting:
                self.abort()
            self._wakeup.set()

    async def _write(self) -> None:
        connection = self._connection
        while True:
            if not self._output:
                if connection.departing:
                    hand_over(self._shell.site.siblings, self._socket.fileno(), connection)
                if connection.closing or connection.departing:
                    self._scope.cancel()
                    return
                await self._wakeup.wait()
                self._wakeup = anyio.Event()
                continue
            output, self._output = b"".join(self._output), []
            for start in range(0, len(output), WRITE_SIZE):  # so that it is seen what the peer takes
                part = output[start : start + WRITE_SIZE]
                await self._stream.send(part)
                self._unsent -= len(part)
            if connection.blocked and self._unsent <= LOW_WATER:
                connection.resume_writing(self._shell.now())

    def _drop(self) -> None:
        self._scope.cancel()
