"""A member of the room: keeps its messages in flight and notes what it sees. Does no I/O."""

import time
from collections.abc import Callable

from benchmarks.chat import wire
from benchmarks.frames import client_frame
from benchmarks.generator.client import LoadError


class Member:
    """One connection to the chat.

    :ivar places: the places in the room's log of the messages seen, in the order of arrival: those of others when
        they are delivered, its own when they are acknowledged.
    :ivar ids: the senders' ids of the same messages.
    :ivar has_joined: whether it is in the room.
    """

    def __init__(
        self,
        number: int,
        in_flight: int,
        latencies: list[float],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """:param latencies: where the seconds from sending to acknowledgement are added, shared by all members."""
        self._number = number
        self._in_flight = in_flight
        self._latencies = latencies
        self._clock = clock
        self._reader = wire.FrameReader()
        self._sent_at: dict[int, float] = {}
        self._sent = 0
        self._is_sending = False
        self.places: list[int] = []
        self.ids: list[str] = []
        self.has_joined = False

    @property
    def unanswered(self) -> int:
        """How many of its messages wait for their acknowledgement."""
        return len(self._sent_at)

    def start(self) -> bytes:
        """Begin to send; the bytes to write."""
        self._is_sending = True
        now = self._clock()
        return b"".join([self._next(now) for _ in range(self._in_flight)])

    def stop(self) -> None:
        """Send nothing new."""
        self._is_sending = False

    def received(self, data: bytes) -> bytes:
        """Take what has arrived; the bytes to write.

        One reading of the clock serves the whole of it, so what the load itself takes is part of the latency.

        :raises LoadError: if a message was refused, or the server says what it should not.
        """
        now = self._clock()
        replies = []
        try:
            for payload in self._reader.feed(data):
                if payload.startswith(wire.DELIVERY):
                    self._note(wire.delivered(payload))
                elif payload.startswith(wire.ANSWER):
                    replies.append(self._acknowledged(payload, now))
                elif payload == wire.PING:
                    replies.append(client_frame(wire.PONG))
                elif payload.startswith(wire.CONNECTED):
                    replies.append(wire.join_frame())
                elif payload.startswith(wire.OPENED):
                    replies.append(wire.connect_frame(self._number))
        except ValueError as error:
            raise LoadError(f"member {self._number} does not understand the server: {error}") from error
        return b"".join(replies)

    def _acknowledged(self, payload: bytes, now: float) -> bytes:
        number, message = wire.answered(payload)
        if message.error:
            raise LoadError(f"member {self._number} was refused: {message.error}")
        if number == wire.JOIN:
            self.has_joined = True
            return b""
        sent_at = self._sent_at.pop(number, None)
        if sent_at is None:
            raise LoadError(f"member {self._number}: message {number} was acknowledged twice")
        self._latencies.append(now - sent_at)
        self._note(message)
        return self._next(now) if self._is_sending else b""

    def _note(self, message: wire.Stored) -> None:
        self.places.append(message.seq)
        self.ids.append(message.id)

    def _next(self, now: float) -> bytes:
        self._sent += 1
        self._sent_at[self._sent] = now
        return wire.message_frame(self._sent, f"{self._number}-{self._sent}")
