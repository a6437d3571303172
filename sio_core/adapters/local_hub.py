"""The middle of the local adapter: it takes what one worker publishes to the others.

It runs in the supervisor. It understands nothing of the messages it carries, and never waits: what a worker does not
take waits in that worker's channel up to a bound, then it is dropped and counted. Where lost clients are recovered it
keeps the events in a log, in whose order all workers get them.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from typing import Any, Final

import msgspec

from sio_core.adapters.local_log import LocalLog
from sio_core.channel import Channel, ChannelMessage

__all__ = [
    "ANSWER",
    "ASK",
    "DIRECT",
    "ENTRY",
    "HERE",
    "JOIN",
    "LEAVE",
    "MEMBERS",
    "POSITION",
    "PUBLISH",
    "WHO",
    "LocalHub",
    "pack_direct",
    "pack_entry",
    "unpack_entry",
    "unpack_from",
    "unpack_members",
]

# From a worker.
PUBLISH: Final = 1
"""A message for every other worker."""
DIRECT: Final = 2
"""A message for one worker: which one, and the message."""
ENTRY: Final = 3
"""An event for every worker, the sender too, that is kept: its namespace, the sender's number for it, the message."""
ASK: Final = 4
"""A question about what is kept: its number, what is asked for, and the arguments of that."""
JOIN: Final = 5
"""The worker listens from now on: it can be asked."""
LEAVE: Final = 6
"""It listens no more."""
WHO: Final = 7
"""A question for every other worker that listens: its name, and the namespace. The hub answers which these are; each of
them says HERE."""
HERE: Final = 8
"""For one worker: which one, the name of its question, the namespace, and the uid of the adapter here, empty if there
is none."""

# To a worker. PUBLISH, DIRECT, WHO and HERE begin with the number of the worker that has sent them, ENTRY also with its
# place and the sender's number for it.
MEMBERS: Final = 16
"""Which workers listen now."""
POSITION: Final = 17
"""What the log is called, and how long it is: what a worker is told first."""
ANSWER: Final = 18
"""The number or name of the question, and the answer."""

INDEX: Final = struct.Struct("!H")
ENTRY_HEAD: Final = struct.Struct("!HQ")
PLACE: Final = struct.Struct("!HQQ")

WAITING_BYTES: Final = 67_108_864
"""Bytes that may wait for a worker which does not take them. More messages for it are dropped."""

logger = logging.getLogger(__name__)


class LocalHub:
    """See the module's docstring.

    :param clock: seconds on a monotonic clock.
    :ivar dropped: messages that a worker was too slow for.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._log = LocalLog()
        self._channels: dict[int, Channel] = {}
        self._members: set[int] = set()
        self._slow: set[int] = set()
        self.dropped = 0

    def attach(self, index: int, channel: Channel) -> None:
        """A worker has come."""
        self._channels[index] = channel
        self._send(index, POSITION, msgspec.msgpack.encode((self._log.epoch, self._log.last)))

    def detach(self, index: int) -> None:
        """A worker has gone."""
        if self._channels.pop(index, None) is not None:
            self._slow.discard(index)
            self._set_members(self._members - {index})

    def receive(self, index: int, messages: list[ChannelMessage]) -> None:
        """Take what a worker has sent."""
        source = INDEX.pack(index)
        for message in messages:
            if message.kind == PUBLISH:
                data = source + message.data
                for other in list(self._channels):
                    if other != index:
                        self._send(other, PUBLISH, data)
            elif message.kind in {DIRECT, HERE}:
                (other,) = INDEX.unpack_from(message.data)
                self._send(other, message.kind, source + message.data[INDEX.size :])
            elif message.kind == ENTRY:
                nsp, seq, payload = split_entry(message.data)
                data = PLACE.pack(index, self._log.append(nsp, payload), seq) + payload
                for other in list(self._channels):
                    self._send(other, ENTRY, data)
            elif message.kind == ASK:
                number, what, *arguments = msgspec.msgpack.decode(message.data)
                self._send(index, ANSWER, msgspec.msgpack.encode((number, self._answer(what, arguments))))
            elif message.kind == WHO:
                others = self._members - {index}
                name, _ = msgspec.msgpack.decode(message.data)
                self._send(index, ANSWER, msgspec.msgpack.encode((name, sorted(others))))
                for other in others:
                    self._send(other, WHO, source + message.data)
            elif message.kind == JOIN:
                self._set_members(self._members | {index})
            elif message.kind == LEAVE:
                self._set_members(self._members - {index})

    def _answer(self, what: str, arguments: list[Any]) -> Any:
        """Answer a question of a :class:`Local` driver."""
        log, now = self._log, self._clock()
        if what == "log":
            nsp, number = arguments
            return log.after(nsp, number)
        name = arguments[0]
        if what == "find":
            return log.find(name, now)
        if what == "remove":
            return log.remove(name)
        _, session, seconds = arguments
        log.store(name, session, now + seconds, now)
        return True

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

    def _set_members(self, members: set[int]) -> None:
        self._members = members
        data = b"".join([INDEX.pack(index) for index in sorted(members)])
        for index in list(self._channels):
            self._send(index, MEMBERS, data)


def pack_direct(index: int, data: bytes) -> bytes:
    """Make the content of DIRECT or HERE, as a worker sends it."""
    return INDEX.pack(index) + data


def pack_entry(nsp: str, seq: int, data: bytes) -> bytes:
    """Make the content of ENTRY, as a worker sends it."""
    name = nsp.encode()
    return ENTRY_HEAD.pack(len(name), seq) + name + data


def split_entry(data: bytes) -> tuple[str, int, bytes]:
    """Return the namespace, the sender's number and the message of ENTRY, as a worker sends it."""
    length, seq = ENTRY_HEAD.unpack_from(data)
    end = ENTRY_HEAD.size + length
    return data[ENTRY_HEAD.size : end].decode(), seq, data[end:]


def unpack_entry(data: bytes) -> tuple[int, int, int, bytes]:
    """Return which worker has sent ENTRY, its place in the log, the sender's number for it, and the message."""
    index, number, seq = PLACE.unpack_from(data)
    return index, number, seq, data[PLACE.size :]


def unpack_from(data: bytes) -> tuple[int, bytes]:
    """Return which worker has sent PUBLISH, DIRECT, WHO or HERE, and what."""
    (index,) = INDEX.unpack_from(data)
    return index, data[INDEX.size :]


def unpack_members(data: bytes) -> set[int]:
    """Return the workers that MEMBERS names."""
    return {index for (index,) in INDEX.iter_unpack(data)}
