"""What a member of the chat reads and writes, bytes only."""

from collections.abc import Iterator

import msgspec

from benchmarks.frames import client_frame
from benchmarks.workloads import SMALL

ROOM = "benchmark"
JOIN = 0
"""The number of the acknowledgement that answers joining; messages begin after it."""
TEXT_FRAME = 0x81
PING, PONG = b"2", b"3"
OPENED, CONNECTED, DELIVERY, ANSWER = b"0{", b"40{", b'42["message",', b"43"


class Stored(msgspec.Struct, gc=False):
    """A message as it comes from the log, or why it is not in there."""

    seq: int = 0
    id: str = ""
    error: str = ""


class _Delivery(msgspec.Struct, array_like=True, gc=False):
    name: str
    message: Stored


_delivery = msgspec.json.Decoder(_Delivery)
_answer = msgspec.json.Decoder(tuple[Stored])


def upgrade_request(port: int) -> bytes:
    """The HTTP request that opens a WebSocket without compression."""
    return (
        "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()


def connect_frame(member: int) -> bytes:
    """The packet that names a member to the chat."""
    return client_frame(
        f'40{{"client":"benchmark-member-{member:06d}","nickname":"Member {member}"}}'.encode()
    )


def join_frame() -> bytes:
    """The packet with which a member enters the room."""
    return client_frame(f'42{JOIN}["join","{ROOM}"]'.encode())


def message_frame(number: int, client_offset: str) -> bytes:
    """The packet with which a member says something."""
    return client_frame(f'42{number}["message","{ROOM}","{SMALL}","{client_offset}"]'.encode())


def delivered(payload: bytes) -> Stored:
    """The message that somebody else has sent."""
    return _delivery.decode(payload[2:]).message


def answered(payload: bytes) -> tuple[int, Stored]:
    """The number of an acknowledgement, and the message that it confirms."""
    bracket = payload.index(b"[")
    return int(payload[2:bracket]), _answer.decode(payload[bracket:])[0]


class FrameReader:
    """Divides what a server sends into text frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The payloads of the frames that have become whole.

        :raises ValueError: if a frame is anything but a whole text.
        """
        if self._rest:
            data, self._rest = self._rest + data, b""
        at, end = 0, len(data)
        while end - at >= 2:
            if data[at] != TEXT_FRAME:
                raise ValueError(f"a frame that begins with {data[at]:#x}")
            size, begin = data[at + 1], at + 2
            if size > 125:
                begin = at + (4 if size == 126 else 10)
                if begin > end:
                    break
                size = int.from_bytes(data[at + 2 : begin], "big")
            if begin + size > end:
                break
            at = begin + size
            yield data[begin:at]
        self._rest = data[at:]
