"""Whatever other nodes say, of any type and with anything in it: it is acted on, ignored or dropped, and no more."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sio_core import Server
from sio_core.adapters.messages import Message
from sio_core.testing import TestClient, settle
from tests.adapters.bus import Bus, BusAdapter, BusDriver, HeartbeatBusAdapter, LogBusAdapter

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5)
)
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
ROOMS = st.lists(st.sampled_from(["room", 5, 1.5, None, ["room"]]), max_size=2) | ANYTHING
FLAGS = st.dictionaries(
    st.sampled_from(["volatile", "compress", "timeout", "expectSingleResponse"]), ANYTHING
)
OPTS = (
    st.fixed_dictionaries({}, optional={"rooms": ROOMS, "except": ROOMS, "flags": FLAGS | ANYTHING})
    | ANYTHING
)
EVENT = st.fixed_dictionaries({"type": st.just(2), "data": st.lists(ANYTHING, max_size=3)})
DATA = st.fixed_dictionaries(
    {},
    optional={
        "packet": EVENT | st.lists(ANYTHING, max_size=3) | ANYTHING,
        "opts": OPTS,
        "requestId": st.just("request") | ANYTHING,
        "rooms": ROOMS,
        "close": ANYTHING,
        "sockets": st.lists(st.fixed_dictionaries({"id": ANYTHING, "rooms": ROOMS, "handshake": ANYTHING}))
        | ANYTHING,
        "clientCount": ANYTHING,
    },
)
MESSAGES = st.lists(
    st.tuples(st.integers(0, 15), st.none() | DATA, st.none() | st.integers(1, 9)), max_size=8
)


async def scenario(kind: type[Any], messages: list[tuple[int, dict[str, Any] | None, int | None]]) -> None:
    bus = Bus()
    driver = BusDriver(bus, kind)
    io: Server[Any] = Server(adapter=driver, connection_state_recovery=True)
    io.on_server_event("x", lambda *args: args[0] if args else None)
    async with TestClient(io) as client:
        await settle()
        for number, data, index in messages:
            message = Message(number, "stranger", "/", data)
            driver.receive(message, None if index is None else f"{index:06}")
        await settle()
        client.events.clear()
        if client.connected:
            io.local.emit("alive")
            await settle()
            assert [event[0] for event in client.events] == ["alive"]
        assert driver.dropped <= len(messages)


@pytest.mark.parametrize("kind", [BusAdapter, HeartbeatBusAdapter, LogBusAdapter])
@settings(max_examples=40)
@given(messages=MESSAGES)
def test_anything_may_come(
    kind: type[Any], messages: list[tuple[int, dict[str, Any] | None, int | None]]
) -> None:
    anyio.run(scenario, kind, messages)
