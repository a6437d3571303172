"""The commands of the adapters for sharded channels and streams: those that the official adapters have sent."""

from __future__ import annotations

from typing import Any

import pytest

from sio_core import Server
from sio_core.adapters.messages import BROADCAST, RESPONSES, Message, decode
from sio_core.adapters.redis_entries import read_entry
from sio_core.adapters.redis_sharded import ShardedRedis
from sio_core.adapters.redis_streams import RedisStreams
from tests.adapters.recorded import commands


def adapter_of(io: Server[Any], message: Message) -> Any:
    """Return the adapter of the message's namespace, which has made that message itself."""
    adapter: Any = io.of(message.nsp).adapter
    adapter.uid = message.uid
    return adapter


def target_of(channel: bytes, message: Message) -> str | None:
    return channel.decode().split("#")[2] if message.type in RESPONSES else None


def plain(words: tuple[str | bytes | int, ...]) -> list[bytes]:
    return [word if isinstance(word, bytes) else str(word).encode() for word in words]


@pytest.mark.parametrize(
    ("recording", "mode"),
    [
        ("redis-sharded", "dynamic"),
        ("redis-sharded-static", "static"),
        ("redis-sharded-dynamic-private", "dynamic-private"),
    ],
)
def test_sharded_channels(recording: str, mode: str) -> None:
    io: Server[Any] = Server(adapter=ShardedRedis("redis://nowhere", subscription_mode=mode))
    kinds: set[int] = set()
    for channel, payload in commands(recording, "SPUBLISH"):
        message = decode(payload)
        adapter = adapter_of(io, message)
        adapter.prepare(message)
        assert adapter.command(message, target_of(channel, message)) == (
            b"SPUBLISH",
            (channel.decode(), payload),
        )
        kinds.add(message.type)
    assert kinds == set(range(3, 13))


@pytest.mark.parametrize(
    ("room", "own_channel"),
    [
        ("red", True),
        ("a" * 19, True),
        ("a" * 20, False),
        ("ž" * 20, False),
        ("🦊" * 10, False),  # 20 units of UTF-16, which JavaScript counts
        ("🦊" * 20, True),
    ],
)
def test_a_room_that_may_be_a_socket_has_no_channel(room: str, own_channel: bool) -> None:
    io: Server[Any] = Server(adapter=ShardedRedis("redis://nowhere"))
    adapter: Any = io.sockets.adapter
    opts = {"rooms": [room], "except": [], "flags": {}}
    message = Message(BROADCAST, "a", "/", {"packet": {"type": 2, "data": ["e"]}, "opts": opts})
    adapter.prepare(message)
    _, (channel, _) = adapter.command(message, None)
    assert channel == (f"socket.io#/#{room}#" if own_channel else "socket.io#/#")


@pytest.mark.parametrize(
    ("recording", "options", "publish"),
    [
        ("redis-streams", {}, "PUBLISH"),
        ("redis-streams-csr", {}, "PUBLISH"),
        ("redis-streams-multi", {"stream_count": 2}, "PUBLISH"),
        ("redis-streams-shardedps", {"use_sharded_pub_sub": True}, "SPUBLISH"),
    ],
)
def test_streams(recording: str, options: dict[str, Any], publish: str) -> None:
    io: Server[Any] = Server(adapter=RedisStreams("redis://nowhere", **options))
    kinds: set[int] = set()
    for channel, payload in commands(recording, publish):
        message = decode(payload)
        adapter = adapter_of(io, message)
        adapter.prepare(message)
        name, words = adapter.command(message, target_of(channel, message))
        assert (name, plain(words)) == (publish.encode(), [channel, payload])
        kinds.add(message.type)
    for words in commands(recording, "XADD"):
        message = read_entry(words[5:])
        adapter = adapter_of(io, message)
        adapter.prepare(message)
        name, ours = adapter.command(message, None)
        assert (name, plain(ours)) == (b"XADD", words)
        kinds.add(message.type)
    assert kinds == set(range(3, 13))
