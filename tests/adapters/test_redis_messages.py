"""The classic adapter's messages: what the official one has sent is read, and written the same."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sio_core import Server
from sio_core.adapters.messages import (
    BROADCAST,
    FETCH_SOCKETS_RESPONSE,
    RESPONSES,
    SERVER_SIDE_EMIT,
    Codec,
    Message,
)
from sio_core.adapters.redis import ClassicRedisAdapter, Redis
from sio_core.adapters.redis_messages import (
    ALL_ROOMS_RESPONSE,
    encode_broadcast,
    encode_request,
    encode_response,
    read_broadcast,
    read_request,
    read_response,
)
from sio_core.errors import InvalidPacket
from tests.adapters.recorded import commands

CODEC = Codec()
RECORDINGS = ["redis-classic", "redis-classic-specific", "redis-emitters"]


def namespace_of(channel: bytes) -> str:
    return channel.decode().split("#")[1]


@pytest.mark.parametrize("recording", RECORDINGS)
def test_what_the_official_packages_sent_is_written_the_same(recording: str) -> None:
    kinds: set[int] = set()
    for channel, payload in commands(recording, "PUBLISH"):
        name = namespace_of(channel)
        if channel.startswith(b"socket.io#"):
            message = read_broadcast(payload, name)
            assert message is not None
            assert message.data is not None
            opts = message.data["opts"]
            assert encode_broadcast(CODEC, message.uid, name, message.data["packet"]["data"], opts) == payload
        elif channel.startswith(b"socket.io-request#"):
            message = read_request(payload, name)
            assert message is not None
            uid = message.uid if b"uid" in payload else None
            assert encode_request(CODEC, message, uid) == payload
        else:
            message = read_response(payload, name)
            assert encode_response(CODEC, message) == payload
        assert message.nsp == name
        kinds.add(message.type)
    if recording != "redis-emitters":
        assert kinds >= {*range(3, 8), *RESPONSES, SERVER_SIDE_EMIT, ALL_ROOMS_RESPONSE}


@pytest.mark.parametrize("recording", RECORDINGS[:2])
def test_it_goes_to_the_same_channels(recording: str) -> None:
    """Also where two nodes use the recorded names."""
    specific = recording == "redis-classic-specific"
    driver = Redis("redis://nowhere", publish_on_specific_response_channel=specific)
    io: Server[object] = Server(adapter=driver)
    for channel, payload in commands(recording, "PUBLISH"):
        adapter = io.of(namespace_of(channel)).adapter
        assert isinstance(adapter, ClassicRedisAdapter)
        if channel.startswith(b"socket.io-response#"):
            message, target = read_response(payload, adapter.name), channel.decode().split("#")[2] or "anyone"
        elif channel.startswith(b"socket.io-request#"):
            message, target = read_request(payload, adapter.name), None
        else:
            message, target = read_broadcast(payload, adapter.name), None
        assert message is not None
        if message.type == 10 and target is not None:
            target = "anyone"
        message.payload = payload
        name, words = adapter.command(message, target)
        assert name == b"PUBLISH"
        if target != "anyone":
            assert words == (channel.decode(), payload)


def test_binary_data_that_was_json_is_binary_data_again() -> None:
    message = read_request(b'{"uid":"x","type":6,"data":["e",{"type":"Buffer","data":[1,255]}]}', "/")
    assert message == Message(SERVER_SIDE_EMIT, "x", "/", {"packet": ["e", b"\x01\xff"]})
    for other in (
        b'{"type":"Buffer","data":[256]}',
        b'{"type":"Buffer","data":[],"a":1}',
        b'{"type":"Buffer"}',
    ):
        message = read_request(b'{"uid":"x","type":6,"data":["e",' + other + b"]}", "/")
        assert message is not None
        assert message.data is not None
        assert isinstance(message.data["packet"][1], dict)
    response = read_response(
        b'{"requestId":"r","sockets":[{"id":"a","data":{"type":"Buffer","data":[7]}}]}', "/"
    )
    assert response.type == FETCH_SOCKETS_RESPONSE
    assert response.data == {"requestId": "r", "sockets": [{"id": "a", "data": b"\x07"}]}


def test_every_response_counts_as_another_nodes() -> None:
    payload = b'{"requestId":"r","sockets":[]}'
    assert read_response(payload, "/").uid != read_response(payload, "/").uid


def test_a_broadcast_without_a_namespace_is_of_the_main_one() -> None:
    payload = CODEC.msgpack(["emitter", {"type": 2, "data": ["e"]}, {"rooms": [], "except": []}])
    assert read_broadcast(payload, "/custom") is None
    message = read_broadcast(payload, "/")
    assert message is not None
    assert message.type == BROADCAST


def test_the_requests_of_old_nodes_are_about_one_socket() -> None:
    message = read_request(b'{"requestId":"r","type":2,"sid":"abc","room":"red"}', "/")
    assert message is not None
    assert message.data == {"requestId": "r", "opts": {"rooms": ["abc"], "except": []}, "rooms": ["red"]}


@pytest.mark.parametrize(
    "payload", [b"", b"\xc1", b"\x93\xa1x\x01\x01", b"[]", b"{", b"\x80", b"\x91\x01", b"null"]
)
def test_junk_is_no_broadcast(payload: bytes) -> None:
    with pytest.raises(InvalidPacket):
        read_broadcast(payload, "/")


@given(st.binary(max_size=64) | st.binary(max_size=64).map(lambda tail: b"{" + tail))
def test_junk_is_refused_and_nothing_else_happens(payload: bytes) -> None:
    for read in (read_broadcast, read_request, read_response):
        with contextlib.suppress(InvalidPacket):
            read(payload, "/")
