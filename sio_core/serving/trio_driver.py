"""What the connections of trio's shell have in common, whatever moves their bytes."""

from __future__ import annotations

import logging
import socket
from abc import abstractmethod
from typing import TYPE_CHECKING, Final, NamedTuple

from sio_core.engineio.engine import Pending
from sio_core.serving.connection import Connection, Driver
from sio_core.serving.sockets import reset_on_close
from sio_core.wire.message import Response

if TYPE_CHECKING:
    from sio_core.serving.trio_shell import StreamShell

__all__ = ["HIGH_WATER", "LOW_WATER", "Accepted", "TrioDriver"]

HIGH_WATER: Final = 65_536
"""Bytes that wait when the peer counts as taking nothing."""
LOW_WATER: Final = HIGH_WATER // 4
"""Bytes that wait when it takes some again."""

logger = logging.getLogger(__name__)


class Accepted(NamedTuple):
    """A connection that was accepted, here or by another process: what :class:`Connection` is told of it.

    :ivar handle: its socket.
    :ivar unread: what was read of it elsewhere.
    """

    handle: socket.socket
    address: str
    port: int
    secure: bool
    unread: bytes
    keep_next: bool


class TrioDriver(Driver):
    """One connection."""

    __slots__ = ("_connection", "_shell", "_socket", "_unread", "_unsent")

    def __init__(self, shell: StreamShell, accepted: Accepted) -> None:
        self._shell = shell
        self._socket = accepted.handle
        self._unread = accepted.unread
        self._unsent = 0
        self._connection = Connection(
            shell.site,
            self,
            shell.now(),
            address=accepted.address,
            port=accepted.port,
            secure=accepted.secure,
            keep_next=accepted.keep_next,
        )

    @abstractmethod
    async def run(self) -> None:
        """Move bytes both ways until the connection ends."""

    @abstractmethod
    def _take(self) -> None:
        """Take what is to be written."""

    @abstractmethod
    def _drop(self) -> None:
        """End :meth:`run`."""

    def _fail(self) -> None:
        """An exception of ours is being handled: it ends this connection, and nothing else."""
        logger.exception("a connection is dropped after an internal error")
        self._drop()

    def _lose(self) -> None:
        """The connection is gone."""
        try:
            self._connection.connection_lost(self._shell.now())
        except Exception:
            logger.exception("the end of a connection was not noticed everywhere, after an internal error")
        self._connection.detach()

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
            self._fail()

    # What the shell calls

    def refuse(self, response: Response) -> None:
        """This connection is one too many."""
        self._connection.refuse(response)

    def flush(self) -> None:
        """Write what is due."""
        try:
            self._take()
        except Exception:
            self._fail()

    def close(self) -> None:
        """The listener is going away."""
        self._connection.close()

    def abort(self) -> None:
        """Drop the connection now."""
        reset_on_close(self._socket)
        self._drop()
