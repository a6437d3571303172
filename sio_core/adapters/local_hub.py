"""The middle of the local adapter: it takes what one worker publishes to the others.

It runs in the supervisor. It understands nothing of what it carries, and never waits: what a worker does not take
waits in that worker's channel up to a bound, then it is dropped and counted.
"""

from __future__ import annotations

import logging
import struct
from typing import Final

from sio_core.channel import Channel, ChannelMessage

__all__ = ["DIRECT", "MEMBERS", "PUBLISH", "LocalHub", "pack_direct", "unpack_from", "unpack_members"]

# From a worker.
PUBLISH: Final = 1
"""A message for every other worker."""
DIRECT: Final = 2
"""A message for one worker: which one, and the message."""

# To a worker; PUBLISH and DIRECT come with the number of the worker that has sent them.
MEMBERS: Final = 3
"""Which workers there are now."""

INDEX: Final = struct.Struct("!H")

WAITING_BYTES: Final = 67_108_864
"""Bytes that may wait for a worker which does not take them. More messages for it are dropped."""

logger = logging.getLogger(__name__)


class LocalHub:
    """See the module's docstring.

    :ivar dropped: messages that a worker was too slow for.
    """

    def __init__(self) -> None:
        self._channels: dict[int, Channel] = {}
        self._slow: set[int] = set()
        self.dropped = 0

    def attach(self, index: int, channel: Channel) -> None:
        """A worker has come."""
        self._channels[index] = channel
        self._tell_members()

    def detach(self, index: int) -> None:
        """A worker has gone."""
        if self._channels.pop(index, None) is not None:
            self._slow.discard(index)
            self._tell_members()

    def receive(self, index: int, messages: list[ChannelMessage]) -> None:
        """Take what a worker has sent."""
        source = INDEX.pack(index)
        for message in messages:
            if message.kind == PUBLISH:
                data = source + message.data
                for other in list(self._channels):
                    if other != index:
                        self._send(other, PUBLISH, data)
            elif message.kind == DIRECT:
                (other,) = INDEX.unpack_from(message.data)
                self._send(other, DIRECT, source + message.data[INDEX.size :])

    def _send(self, index: int, kind: int, data: bytes) -> None:
        channel = self._channels.get(index)
        if channel is None:
            return
        if channel.waiting > WAITING_BYTES:
            self.dropped += 1
            if index not in self._slow:
                self._slow.add(index)
                logger.error("worker %d takes no messages of the others: they are dropped", index)
            return
        self._slow.discard(index)
        channel.send(kind, data)

    def _tell_members(self) -> None:
        data = b"".join([INDEX.pack(index) for index in sorted(self._channels)])
        for index in list(self._channels):
            self._send(index, MEMBERS, data)


def pack_direct(index: int, data: bytes) -> bytes:
    """Make the content of DIRECT, as a worker sends it."""
    return INDEX.pack(index) + data


def unpack_from(data: bytes) -> tuple[int, bytes]:
    """Return which worker has sent PUBLISH or DIRECT, and the message."""
    (index,) = INDEX.unpack_from(data)
    return index, data[INDEX.size :]


def unpack_members(data: bytes) -> set[int]:
    """Return the workers that MEMBERS names."""
    return {index for (index,) in INDEX.iter_unpack(data)}
