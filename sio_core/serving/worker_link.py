"""What a supervisor and its workers say to each other, and whom a request is for."""

from __future__ import annotations

import re
import struct
from typing import Final

from sio_core.channel import Channel
from sio_core.ids import worker_of

__all__ = [
    "ANYBODY",
    "CONNECTION",
    "LEAVING",
    "LOAD",
    "MOVE",
    "NOBODY",
    "READY",
    "WorkerLink",
    "pack_connection",
    "requested_worker",
    "unpack_connection",
    "unpack_load",
    "unpack_move",
]

# From the supervisor.
CONNECTION: Final = 1
"""A connection to be served: whether its first request is known and must be answered here, and what was read of it."""

# From a worker.
READY: Final = 16
"""It can take connections."""
LOAD: Final = 17
"""How many connections it has open, and how many it was ever given."""
MOVE: Final = 18
"""A connection for another worker: which one (or whichever has the least to do), and what was read."""

LEAVING: Final = 19
"""It takes no connections any more."""

SESSION_ID: Final = re.compile(rb"[?&]sid=([A-Za-z0-9_-]{20})(?=[& \r\n#]|$)").search
"""The session id in the query of a request line. Engine.IO protocol v4, "HTTP long-polling"."""

OPENS_SESSION: Final = re.compile(rb"[?&]EIO=[0-9]").search
"""A request for a session of Engine.IO; it opens one if it names none."""

LOAD_FORMAT: Final = struct.Struct("!IQ")
MOVE_FORMAT: Final = struct.Struct("!H")

NOBODY: Final = -1
"""Stands for no worker."""

ANYBODY: Final = 65_535
"""Stands for the worker with the least to do."""


class WorkerLink:
    """What a worker is given by its supervisor.

    :ivar index: which worker it is, counted from 0.
    :ivar count: how many there are.
    :ivar channel: to the supervisor, for connections.
    :ivar bus: to the other workers, for the local adapter.
    :ivar host: the address that the supervisor is bound to.
    :ivar announced: it was said that connections can be taken.
    """

    __slots__ = ("announced", "bus", "channel", "count", "host", "index", "port")

    def __init__(self, index: int, count: int, channel: Channel, bus: Channel, host: str, port: int) -> None:
        self.index = index
        self.count = count
        self.channel = channel
        self.bus = bus
        self.host = host
        self.port = port
        self.announced = False

    def announce(self) -> None:
        """Say that connections can be taken."""
        self.announced = True
        self.channel.send(READY)

    def leave(self) -> None:
        """Say that no connections can be taken any more."""
        self.channel.send(LEAVING)

    def report(self, open_connections: int, given: int) -> None:
        """Say how many connections are open, and how many were ever given to this worker."""
        self.channel.send(LOAD, LOAD_FORMAT.pack(open_connections, given))

    def move(self, descriptor: int, worker: int, unread: bytes) -> None:
        """Give a connection back, for another worker."""
        self.channel.send(MOVE, MOVE_FORMAT.pack(worker) + unread, descriptor)


def requested_worker(head: bytes) -> int:
    """Return the worker whose session a request is for, as its first line says.

    :data:`ANYBODY` for a request that opens a session, :data:`NOBODY` for any other. A worker that does not exist is
    returned like any other. An id that is written in another way than it was given (percent-encoded, say) names none.
    """
    end = head.find(b"\n")
    if end < 0:
        end = len(head)
    match = SESSION_ID(head, 0, end)
    if match is not None:
        return worker_of(match[1].decode())
    return ANYBODY if OPENS_SESSION(head, 0, end) and head.find(b"sid=", 0, end) < 0 else NOBODY


def pack_connection(is_placed: bool, unread: bytes) -> bytes:
    """Make the content of CONNECTION."""
    return (b"\1" if is_placed else b"\0") + unread


def unpack_connection(data: bytes) -> tuple[bool, bytes]:
    """Return whether the first request must be answered here, and what was read."""
    return data[0] == 1, data[1:]


def unpack_load(data: bytes) -> tuple[int, int]:
    """Return how many connections are open, and how many the worker was ever given."""
    open_connections, given = LOAD_FORMAT.unpack(data)
    return open_connections, given


def unpack_move(data: bytes) -> tuple[int, bytes]:
    """Return the worker that is to go on, and what was read."""
    (worker,) = MOVE_FORMAT.unpack_from(data)
    return worker, data[MOVE_FORMAT.size :]
