"""The packet type, and which packets are valid."""

from __future__ import annotations

from typing import Any

import pytest

from sio_core.socketio import packet
from sio_core.socketio.packet import (
    ACK,
    BINARY_ACK,
    BINARY_EVENT,
    CONNECT,
    CONNECT_ERROR,
    DISCONNECT,
    EVENT,
    RESERVED_EVENTS,
    Packet,
    is_event_data,
    is_packet_valid,
)
from tests.helpers import COMPILED


def test_types_have_the_numbers_of_the_protocol() -> None:
    # Socket.IO protocol v5, "Packet encoding": the table of packet types.
    assert list(range(7)) == [CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT, BINARY_ACK]
    for number, name in enumerate(packet.PACKET_NAMES):
        assert getattr(packet, name) == number


def test_reserved_names() -> None:
    assert {
        "connect",
        "connect_error",
        "disconnect",
        "disconnecting",
        "newListener",
        "removeListener",
    } == RESERVED_EVENTS


def test_packet_defaults() -> None:
    made = Packet(CONNECT)
    assert (made.type, made.namespace, made.data, made.id) == (0, "/", None, None)


def test_packets_are_compared_by_their_fields() -> None:
    assert Packet(EVENT, "/", ["a"], 1) == Packet(EVENT, "/", ["a"], 1)
    for other in (
        Packet(ACK, "/", ["a"], 1),
        Packet(EVENT, "/b", ["a"], 1),
        Packet(EVENT, "/", ["b"], 1),
        Packet(EVENT, "/", ["a"], 2),
        "a",
    ):
        assert Packet(EVENT, "/", ["a"], 1) != other


def test_packet_shows_its_type_by_name() -> None:
    assert repr(Packet(EVENT, "/", ["a"], 1)) == "Packet(EVENT, '/', ['a'], 1)"
    assert repr(Packet(9)) == "Packet(9, '/', None, None)"


@pytest.mark.parametrize("data", [["a"], ["a", 1], [1], [0], [1.5], ["error"], [""]])
def test_event_data(data: Any) -> None:
    assert is_event_data(data)


@pytest.mark.parametrize(
    "data",
    [[], None, {}, "a", ("a",), [True], [None], [{}], [[]], [b"a"], *([name] for name in RESERVED_EVENTS)],
)
def test_not_event_data(data: Any) -> None:
    assert not is_event_data(data)


@pytest.mark.parametrize(
    "valid",
    [
        Packet(CONNECT),
        Packet(CONNECT, "/admin", {"token": "x"}),
        Packet(DISCONNECT),
        Packet(EVENT, "/", ["a"]),
        Packet(EVENT, "/", [1], 12),
        Packet(ACK, "/", []),
        Packet(ACK, "/", [None], 1),
        Packet(CONNECT_ERROR, "/", "no"),
        Packet(CONNECT_ERROR, "/", {"message": "no"}),
    ],
    ids=repr,
)
def test_valid_packet(valid: Packet) -> None:
    assert is_packet_valid(valid)


@pytest.mark.parametrize(
    ("kind", "namespace", "data", "ack_id"),
    [
        (CONNECT, 1, None, None),
        (CONNECT, None, None, None),
        (CONNECT, "/", None, "1"),
        (CONNECT, "/", None, 1.5),
        (CONNECT, "/", None, True),
        (CONNECT, "/", [], None),
        (CONNECT, "/", "x", None),
        (DISCONNECT, "/", {}, None),
        (EVENT, "/", None, None),
        (EVENT, "/", [], None),
        (EVENT, "/", [None], None),
        (EVENT, "/", ["disconnecting"], None),
        (ACK, "/", None, 1),
        (ACK, "/", {}, 1),
        (CONNECT_ERROR, "/", None, None),
        (CONNECT_ERROR, "/", 1, None),
        (BINARY_EVENT, "/", ["a"], None),
        (BINARY_ACK, "/", [], None),
        (7, "/", None, None),
    ],
)
def test_invalid_packet(kind: int, namespace: Any, data: Any, ack_id: Any) -> None:
    if COMPILED and not (isinstance(namespace, str) and isinstance(ack_id, int | None)):
        with pytest.raises(TypeError, match="object expected; got"):  # no such packet can be made at all
            Packet(kind, namespace, data, ack_id)
        return
    assert not is_packet_valid(Packet(kind, namespace, data, ack_id))
