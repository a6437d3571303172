"""The bytes of the load, prepared once: masked requests, and what the right reply looks like.

Every client frame carries the same mask. A server must undo it whatever it is, so nothing is gained
or lost by it, and a request can be prepared before the run.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

TEXT = 0x81
BINARY = 0x82
MASK = bytes.fromhex("37fa213d")
UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
)


def masked(payload: bytes) -> bytes:
    """Apply the mask, which is also how it is undone."""
    size = len(payload)
    mask = (MASK * (size // len(MASK) + 1))[:size]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(size, "big")


def header(first_byte: int, length: int, mask_bit: int = 0) -> bytes:
    """The head of one unfragmented frame."""
    if length < 126:
        return bytes((first_byte, mask_bit | length))
    if length < 65_536:
        return bytes((first_byte, mask_bit | 126)) + length.to_bytes(2, "big")
    return bytes((first_byte, mask_bit | 127)) + length.to_bytes(8, "big")


def client_frame(payload: bytes, first_byte: int = TEXT) -> bytes:
    """One frame as a client sends it."""
    return header(first_byte, len(payload), 0x80) + MASK + masked(payload)


def server_frame(payload: bytes, first_byte: int = TEXT) -> bytes:
    """One frame as a server sends it."""
    return header(first_byte, len(payload)) + payload


CLOSE_FRAME = client_frame((1000).to_bytes(2, "big"), 0x88)


@dataclass(frozen=True, slots=True)
class Event:
    """One Socket.IO event or acknowledgement of the default namespace, as Engine.IO messages."""

    text: bytes
    attachments: tuple[bytes, ...] = ()

    def client_bytes(self) -> bytes:
        """The event as a client puts it on a WebSocket."""
        return client_frame(self.text) + b"".join(client_frame(part, BINARY) for part in self.attachments)


def event(*args: Any, ack_id: int | None = None) -> Event:
    """An EVENT (or BINARY_EVENT) packet; `bytes` among the arguments travel as attachments."""
    return _packet("2", "5", args, ack_id)


def acknowledgement(ack_id: int, *args: Any) -> Event:
    """The ACK (or BINARY_ACK) packet that answers it."""
    return _packet("3", "6", args, ack_id)


def _packet(kind: str, binary_kind: str, args: tuple[Any, ...], ack_id: int | None) -> Event:
    attachments = tuple(arg for arg in args if isinstance(arg, bytes))
    numbers = iter(range(len(attachments)))
    plain = [{"_placeholder": True, "num": next(numbers)} if isinstance(arg, bytes) else arg for arg in args]
    head = f"4{binary_kind}{len(attachments)}-" if attachments else f"4{kind}"
    number = "" if ack_id is None else str(ack_id)
    return Event(f"{head}{number}{json.dumps(plain, separators=(',', ':'))}".encode(), attachments)


@dataclass(frozen=True, slots=True)
class ReplyFrame:
    """One frame of the right reply: its first byte, the bounds of its payload, and how that begins."""

    first_byte: int
    minimum: int
    maximum: int
    prefix: bytes


OFFSET_ROOM = (len(',""'), 64)
"""A logged event ends in its offset, a string whose length is the server's own affair."""


def reply_frames(reply: Event, *, with_offset: bool = False) -> tuple[ReplyFrame, ...]:
    """What the generator shall accept as the reply."""
    text = reply.text
    least, most = (0, 0)
    if with_offset:
        text = text.removesuffix(b"]")
        least, most = OFFSET_ROOM
    size = len(reply.text)
    frames = [ReplyFrame(TEXT, size + least, size + most, text)]
    frames += [ReplyFrame(BINARY, len(part), len(part), part) for part in reply.attachments]
    return tuple(frames)


def _client_frames(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Whole frames at the start of the data: first byte, unmasked payload, end."""
    at = 0
    while len(data) >= at + 2:
        first_byte, length = data[at], data[at + 1] & 0x7F
        head = {126: 4, 127: 10}.get(length, 2)
        if head > 2:
            length = int.from_bytes(data[at + 2 : at + head], "big")
        begin = at + head + len(MASK)
        at = begin + length
        if len(data) < at:
            return
        yield first_byte, masked(data[begin:at]), at


def answer(data: bytes) -> tuple[int, bytes] | None:
    """The size of the first whole request in the data and the bytes that answer it, or None."""
    reply = b""
    missing = 0
    for first_byte, payload, end in _client_frames(data):
        if reply:
            missing -= 1
        elif payload.startswith(b"45"):
            missing = int(payload[2 : payload.index(b"-")])
        elif payload[2:3].isdigit():
            payload = b"43" + payload[2:].replace(b'"ack",', b"", 1)
        reply += server_frame(payload, first_byte)
        if not missing:
            return end, reply
    return None
