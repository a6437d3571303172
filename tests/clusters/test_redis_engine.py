"""The engine on Redis: its options, and its channels on a real Redis."""

from __future__ import annotations

import logging
from typing import Any

import anyio
import coredis
import pytest

from sio_core import AdapterError, Server
from sio_core.adapters.engine_messages import decode_engine_message
from sio_core.adapters.redis_engine import RedisEngine
from tests.clusters.engines import Redis
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.anyio


def test_bad_options_name_themselves() -> None:
    with pytest.raises(ValueError, match="url must start with"):
        RedisEngine("http://127.0.0.1")
    with pytest.raises(ValueError, match="channel_prefix"):
        RedisEngine("redis://127.0.0.1", channel_prefix="")


def test_it_is_no_adapter() -> None:
    with pytest.raises(ValueError, match="adapter must make"):
        Server(adapter=RedisEngine("redis://127.0.0.1"))  # type: ignore[arg-type]


@pytest.mark.feature(224)
async def test_it_speaks_on_the_channels_of_the_official_package(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    with Redis() as redis:
        engine = RedisEngine(redis.url, channel_prefix="shared")
        io: Server[Any] = Server(cluster_engine=engine)
        async with io.listen() as listening, coredis.Redis.from_url(redis.url) as client:
            await eventually(lambda: not engine.degraded)
            channels = {channel.decode() for channel in await client.pubsub_channels()}
            assert channels >= {"shared#", f"shared#{engine.node_id}#"}
            async with client.pubsub() as listener:
                await listener.subscribe("shared#")
                stream = await anyio.connect_tcp("127.0.0.1", listening.port)
                request = (
                    f"GET /socket.io/?EIO=4&transport=polling&sid={'A' * 20} HTTP/1.1\r\nHost: h\r\n\r\n"
                )
                await stream.send(request.encode())
                with anyio.fail_after(10):
                    async for published in listener:
                        if published["type"] == "message":
                            break
                message = decode_engine_message(published["data"])
                assert message is not None
                assert (message.type, message.sender, message.recipient) == (0, engine.node_id, None)
                assert message.data == {"sid": "A" * 20, "transportName": "polling", "type": "read"}
                with anyio.fail_after(10):
                    assert (await stream.receive()).startswith(b"HTTP/1.1 400 ")
                await stream.aclose()
        assert engine.stats()["queued"] == 0


async def test_a_server_starts_while_redis_is_away(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    engine = RedisEngine("redis://127.0.0.1:1")
    io: Server[Any] = Server(cluster_engine=engine, health_path="/healthz")
    async with io.listen() as listening, await anyio.connect_tcp("127.0.0.1", listening.port) as stream:
        await stream.send(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
        with anyio.fail_after(5):
            answer = await stream.receive()
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert answer.endswith(b"degraded")
    with pytest.raises(AdapterError):
        Server(cluster_engine=engine)
