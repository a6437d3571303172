"""The entries of a stream in Redis, as ``@socket.io/redis-streams-adapter`` writes them.

An entry has the fields ``uid``, ``nsp``, ``type`` and ``data``: JSON, or MessagePack in base64 if there is binary data.
Ours have ``seq`` besides, which counts what one node has added: an entry that was added twice, because the connection
was lost before it was answered, is told by it.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from typing import Any, Final

from sio_core.adapters.messages import WITH_BINARY, Codec, Message, decode_json, decode_msgpack, message_from
from sio_core.errors import InvalidPacket

__all__ = [
    "BEGINNING",
    "encode_data",
    "entry_key",
    "entry_words",
    "newest_command",
    "newest_in",
    "next_entry",
    "read_entry",
    "stream_index",
    "stream_indexes",
    "stream_key",
]

BEGINNING: Final = "0-0"
"""The id before all others."""

ENTRY_ID: Final = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")


def encode_data(codec: Codec, message: Message, only_plaintext: bool) -> bytes:
    """Return the field ``data``; empty if the message has none."""
    if message.data is None:
        return b""
    text, binary = codec.json_and_binary(message.data)
    if binary and not only_plaintext and message.type in WITH_BINARY:
        return b64encode(codec.msgpack(message.data))
    return text


def entry_words(stream: str, max_len: int, message: Message, data: bytes) -> tuple[str | bytes | int, ...]:
    """Return the words behind ``XADD``."""
    words: list[str | bytes | int] = [stream, b"MAXLEN", b"~", max_len, b"*"]
    words += [b"uid", message.uid, b"nsp", message.nsp, b"type", str(message.type)]
    if data:
        words += [b"data", data]
    if message.seq is not None:
        words += [b"seq", str(message.seq)]
    return tuple(words)


def read_entry(fields: list[bytes]) -> Message:
    """Return the message of an entry: names and values in turn.

    :raises InvalidPacket: if it is none.
    """
    entry = dict(zip(fields[::2], fields[1::2], strict=False))
    data = entry.get(b"data", b"")
    try:
        envelope: dict[str, Any] = {
            "type": int(entry[b"type"]),
            "uid": entry[b"uid"].decode(),
            "nsp": entry[b"nsp"].decode(),
        }
        seq = int(entry[b"seq"]) if b"seq" in entry else None
        if data.startswith(b"{"):
            envelope["data"] = decode_json(data)
        elif data:
            envelope["data"] = decode_msgpack(b64decode(data))
    except (KeyError, ValueError) as error:
        raise InvalidPacket(f"an entry of the stream is no message: {error!r}") from None
    message = message_from(envelope)
    message.seq = seq
    return message


def entry_key(entry_id: str) -> tuple[int, int]:
    """Return something by which the ids of entries can be compared.

    :raises ValueError: if it is none.
    """
    if ENTRY_ID.fullmatch(entry_id) is None:
        raise ValueError(f"{entry_id!r} is no id of an entry")
    milliseconds, _, count = entry_id.partition("-")
    return int(milliseconds), int(count)


def next_entry(entry_id: str) -> str:
    """Return the smallest id after another."""
    milliseconds, count = entry_key(entry_id)
    return f"{milliseconds}-{count + 1}"


def newest_command(stream: str) -> tuple[bytes, tuple[str | bytes | int, ...]]:
    """Return the command that asks for the newest entry of a stream, and its arguments."""
    return b"XREVRANGE", (stream, b"+", b"-", b"COUNT", 1)


def newest_in(reply: Any) -> str:
    """Return the id in the answer to that; the one before all others if there is no entry."""
    return reply[0][0].decode() if reply else BEGINNING


def stream_index(namespace: str, count: int) -> int:
    """Return which of several streams a namespace uses: what the official adapter computes, negative numbers too."""
    value = 0
    units = namespace.encode("utf-16-le", "surrogatepass")
    for position in range(0, len(units), 2):
        value = (value * 31 + int.from_bytes(units[position : position + 2], "little")) & 0xFFFFFFFF
    if value >= 0x80000000:
        return -((0x100000000 - value) % count)
    return value % count


def stream_key(name: str, count: int, namespace: str) -> str:
    """Return the key of the stream that a namespace uses."""
    return name if count == 1 else f"{name}-{stream_index(namespace, count)}"


def stream_indexes(count: int) -> range:
    """Return every number that :func:`stream_index` may give. The official adapter reads only those from 0 on."""
    return range(1 - count, count)
