"""The emitters for Redis: what they publish is what the official ones publish, and connections come and go."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from sio_core.adapters.messages import Message, decode
from sio_core.emitters.emitter import EmitterOperator, SyncEmitter
from sio_core.emitters.redis import AsyncRedisEmitter, ClassicForm, RedisEmitter
from sio_core.emitters.redis_forms import Form
from sio_core.emitters.redis_sharded import AsyncShardedRedisEmitter, ShardedForm, ShardedRedisEmitter
from sio_core.emitters.redis_socket import RedisSocket
from sio_core.emitters.redis_streams import AsyncRedisStreamsEmitter, RedisStreamsEmitter, StreamForm
from sio_core.errors import AdapterError
from tests.adapters.recorded import commands
from tests.clusters.engines import Redis

DATE = datetime.fromtimestamp(1_700_000_000.123, UTC)

Operator = EmitterOperator[None]

RECORDED: list[Callable[[Operator], None]] = [
    lambda emitter: emitter.emit("hello", 1, "two"),
    lambda emitter: emitter.to("room1").except_("r2").emit("x"),
    lambda emitter: emitter.to("a", "b").emit("x"),
    lambda emitter: emitter.volatile.compress(False).emit("v"),
    lambda emitter: emitter.emit("bin", b"\x01\x02"),
    lambda emitter: emitter.emit("date", DATE),
    lambda emitter: emitter.of("/custom").emit("hello"),
    lambda emitter: emitter.sockets_join("room7"),
    lambda emitter: emitter.in_("room7").sockets_join("room8", "room9"),
    lambda emitter: emitter.in_("room7").sockets_leave("room8"),
    lambda emitter: emitter.server_side_emit("sse", 1, {"a": [2]}),
    lambda emitter: emitter.in_("room9").disconnect_sockets(True),
]
"""What the official emitters were told when they were recorded."""


class Noting(SyncEmitter):
    """Notes the commands."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        self._form = form
        self.commands: list[list[bytes]] = []

    def publish(self, message: Message) -> None:
        name, words = self._form.command(self.codec, message)
        plain = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        self.commands.append([name, *plain])

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("form", "command"),
    [(ClassicForm("socket.io"), "PUBLISH"), (StreamForm("socket.io", 1, 10_000), "XADD")],
    ids=["classic", "streams"],
)
def test_the_same_bytes_as_the_official_emitters(form: Form, command: str) -> None:
    emitter = Noting(form)
    for tell in RECORDED:
        tell(emitter)
    recorded = [[command.encode(), *words] for words in commands("redis-emitters", command)]
    assert emitter.commands == recorded


def test_sharded_channels_get_what_servers_write() -> None:
    emitter = Noting(ShardedForm("chat"))
    emitter.to("red").emit("hello", b"\x01")
    ((name, channel, payload),) = emitter.commands
    assert (name, channel) == (b"SPUBLISH", b"chat#/#")  # no server listens to that of a room only
    assert decode(payload).to_wire() == {
        "type": 3,
        "data": {
            "packet": {"type": 2, "data": ["hello", b"\x01"], "nsp": "/"},
            "opts": {"rooms": ["red"], "flags": {}, "except": []},
        },
        "uid": "emitter",
        "nsp": "/",
    }


def test_a_namespace_has_its_stream() -> None:
    emitter = Noting(StreamForm("s", 2, 10))
    for namespace in ("/", "/custom", "/my-namespace"):
        emitter.of(namespace).emit("hello")
    assert [words[1] for words in emitter.commands] == [b"s-1", b"s-0", b"s--1"]


@pytest.fixture(scope="module")
def redis() -> Iterator[Redis]:
    with Redis() as redis:
        yield redis


@pytest.fixture
def connection(redis: Redis) -> Iterator[RedisSocket]:
    connection = RedisSocket(redis.url, 2.0)
    yield connection
    connection.close()


def test_every_kind_of_answer(connection: RedisSocket) -> None:
    assert connection.execute("PING") == b"PONG"
    assert connection.execute("SET", "key", b"\x00\r\n" * 50_000) == b"OK"
    assert connection.execute("GET", "key") == b"\x00\r\n" * 50_000
    assert connection.execute("GET", "none") is None
    assert connection.execute("INCR", "number") == 1
    connection.execute("RPUSH", "list", "a", 2, "")
    assert connection.execute("LRANGE", "list", 0, -1) == [b"a", b"2", b""]
    with pytest.raises(AdapterError, match="unknown command"):
        connection.execute("NONSENSE")
    assert connection.execute("PING") == b"PONG"


def test_a_lost_connection_is_made_again(redis: Redis, connection: RedisSocket) -> None:
    connection.execute("PING")
    redis.call("CLIENT", "KILL", "TYPE", "normal")
    assert connection.execute("PING") == b"PONG"
    redis.restart()
    assert connection.execute("PING") == b"PONG"
    connection.close()
    assert connection.execute("PING") == b"PONG"


def test_nobody_waits_for_an_engine_that_is_away(redis: Redis) -> None:
    connection = RedisSocket(redis.url, 0.2)
    connection.execute("PING")
    redis.pause()
    try:
        with pytest.raises(TimeoutError):
            connection.execute("PING")
    finally:
        redis.resume()
    assert connection.execute("ECHO", "mine") == b"mine"  # and not the answer to what was asked before
    redis.kill()
    with pytest.raises(OSError):
        connection.execute("PING")
    redis.start()
    assert connection.execute("PING") == b"PONG"
    connection.close()


def test_a_forked_process_has_a_connection_of_its_own(connection: RedisSocket) -> None:
    own = connection.execute("CLIENT", "ID")
    connection._pid = os.getpid() - 1  # as in a child: forking with threads about is another matter
    other = connection.execute("CLIENT", "ID")
    assert other != own


def test_passwords_and_databases(redis: Redis) -> None:
    redis.call("ACL", "SETUSER", "ann", "on", ">se:cret", "~*", "&*", "+@all")
    address = redis.url.removeprefix("redis://")
    connection = RedisSocket(f"redis://ann:se%3Acret@{address}/3", 2.0)
    assert connection.execute("ACL", "WHOAMI") == b"ann"
    connection.execute("SET", "only", "here")
    assert connection.execute("DBSIZE") == 1
    connection.close()
    wrong = RedisSocket(f"redis://ann:wrong@{address}", 2.0)
    no_such = RedisSocket(f"redis://ann:se%3Acret@{address}/99", 2.0)
    for _ in range(2):  # and no second time on the same connection, as somebody else or in another database
        with pytest.raises(AdapterError, match="WRONGPASS"):
            wrong.execute("PING")
        with pytest.raises(AdapterError, match="index is out of range"):
            no_such.execute("PING")
    wrong.close()
    no_such.close()


@pytest.mark.parametrize("url", ["http://a", "127.0.0.1:6379", "redis://a/b"])
def test_wrong_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="url must"):
        RedisEmitter(url)


def test_what_is_no_redis_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        connection = RedisSocket(f"redis://127.0.0.1:{listener.getsockname()[1]}", 2.0)

        def answer() -> None:
            peer, _ = listener.accept()
            with peer:
                peer.recv(100)
                peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(ConnectionError, match="no answer of Redis: b'HTTP"):
            connection.execute("PING")
        thread.join()


SYNC = [RedisEmitter, ShardedRedisEmitter, RedisStreamsEmitter]
ASYNC = [AsyncRedisEmitter, AsyncShardedRedisEmitter, AsyncRedisStreamsEmitter]


@pytest.mark.parametrize("kind", SYNC)
def test_an_emitter_for_code_that_waits(redis: Redis, kind: Callable[[str], Any]) -> None:
    with kind(redis.url) as emitter:
        emitter.to("red").emit("hello", b"\x01")
        with pytest.raises(TypeError):
            emitter.emit("hello", object())
        redis.kill()
        with pytest.raises(AdapterError, match="not published"):
            emitter.emit("hello")
        redis.start()
        emitter.emit("hello again")


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ASYNC)
async def test_an_emitter_for_coroutines(redis: Redis, kind: Callable[[str], Any]) -> None:
    emitter = kind(redis.url)
    with pytest.raises(AdapterError, match="async with Async"):
        emitter.emit("hello")
    async with emitter:
        await emitter.to("red").emit("hello", b"\x01")
        with pytest.raises(TypeError):
            emitter.emit("hello", object())
        redis.call("CLIENT", "KILL", "TYPE", "normal")
        with suppress(AdapterError):  # whether it is known that the connection is lost, or not
            await emitter.emit("hello")
        await emitter.emit("hello again")
