"""What packets may hold, for Hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from sio_core.socketio.packet import ACK, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, RESERVED_EVENTS, Packet

# Beyond this JavaScript has no exact integers.
SAFE = 2**53 - 1

# JavaScript sets an object's prototype where Python sets a key.
keys = st.text(max_size=6).filter(lambda key: key not in {"__proto__", "_placeholder"})


def values(*more: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return JSON values, and ``more`` scalars beside JSON's own."""
    scalars = st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-SAFE, SAFE),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=40),
        *more,
    )
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
        max_leaves=12,
    )


def has_few_attachments(value: Any) -> bool:
    return count_attachments(value) <= 10


def count_attachments(value: Any) -> int:
    if isinstance(value, bytes):
        return 1
    if isinstance(value, list):
        return sum(map(count_attachments, value))
    if isinstance(value, dict):
        return sum(map(count_attachments, value.values()))
    return 0


names = st.text(max_size=10).filter(lambda name: name not in RESERVED_EVENTS) | st.integers(-SAFE, SAFE)
namespaces = st.just("/") | st.text(max_size=10).map(lambda name: "/" + name.replace(",", ""))


def packets(*more: st.SearchStrategy[Any]) -> st.SearchStrategy[Packet]:
    """Return packets of every type that are valid on the wire; with ``more`` scalars beside JSON's own."""
    binary = st.lists(values(st.binary(max_size=20), *more), max_size=4).filter(has_few_attachments)
    objects = st.dictionaries(keys, values(*more), max_size=4)
    events = st.builds(
        lambda namespace, name, data, ack_id: Packet(EVENT, namespace, [name, *data], ack_id),
        namespaces,
        names,
        binary,
        st.none() | st.integers(0, SAFE),
    )
    return st.one_of(
        events,
        st.builds(Packet, st.just(ACK), namespaces, binary, st.integers(0, SAFE)),
        st.builds(Packet, st.just(CONNECT), namespaces, st.none() | objects),
        st.builds(Packet, st.just(CONNECT_ERROR), namespaces, st.text(max_size=10) | objects),
        st.builds(Packet, st.just(DISCONNECT), namespaces),
    )


# Text made of the pieces packets are made of, so that it fails late, if at all.
packet_like = st.lists(
    st.sampled_from(
        [
            *'0123456789-/,[]{}":. \\\x00',
            "2[",
            '["a"',
            '"b"',
            "]",
            "/admin,",
            "51-",
            "62-",
            '{"_placeholder":true,"num":0}',
            '{"_placeholder":true,"num":1}',
            "true",
            "null",
            "1e400",
            "NaN",
            "\\ud800",
            "\\udc00",
            '"connect"',
            "٣",
            "²",
            "\ud800",
            "[" * 70,
            "]" * 70,
        ]
    ),
    max_size=12,
).map("".join)
