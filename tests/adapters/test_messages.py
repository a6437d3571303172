"""The messages between nodes, against what the official packages were seen to send."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sio_core.adapters.base import BroadcastOptions
from sio_core.adapters.messages import (
    BROADCAST,
    FETCH_SOCKETS_RESPONSE,
    HEARTBEAT,
    SOCKETS_JOIN,
    Codec,
    Message,
    RemoteHandshake,
    decode,
    decode_json,
    decode_msgpack,
    details_from_wire,
    details_to_wire,
    event_of,
    js_date,
    make_uid,
    message_from,
    options_from_wire,
    options_to_wire,
    text_list,
)
from sio_core.errors import InvalidPacket

VECTORS = Path(__file__).parent / "vectors"
CODEC = Codec()
CAPTURES = [
    "redis-classic",
    "redis-classic-specific",
    "redis-emitters",
    "redis-sharded",
    "redis-sharded-dynamic-private",
    "redis-sharded-static",
    "redis-streams",
    "redis-streams-csr",
    "redis-streams-multi",
    "redis-streams-shardedps",
    "postgres",
]


def plain(value: Any) -> Any:
    """A value of the captures, without their markers."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        if "$binary" in value:
            return bytes.fromhex(value["$binary"])
        if "$date" in value:
            return datetime.fromisoformat(value["$date"])
        return {key: plain(item) for key, item in value.items()}
    return value


def payload_of(argument: dict[str, str] | str) -> bytes:
    if isinstance(argument, str):
        return argument.encode()
    return argument["utf8"].encode() if "utf8" in argument else bytes.fromhex(argument["hex"])


def captured(name: str) -> Iterator[tuple[bytes, Any]]:
    """Each payload of a capture, and what it says."""
    for step in json.loads((VECTORS / f"{name}.json").read_text())["steps"]:
        for command in step.get("commands", []):
            for key in ("decoded", "decoded_data"):
                if key in command and command["argv"][0]["utf8"] != "SET":
                    payload = payload_of(command["argv"][-1])
                    if payload[:1] != b"{" and command.get("data_format", "").startswith("base64"):
                        payload = base64.b64decode(payload)
                    yield payload, plain(command[key])
        for query in step.get("queries", []):
            if "decoded" in query:
                yield payload_of(query["params"][1]), plain(query["decoded"])
            if "decoded_payload" in query:
                yield payload_of(query["params"][0]), plain(query["decoded_payload"])


@pytest.mark.parametrize("name", CAPTURES)
def test_what_was_captured_is_read_and_written_byte_for_byte(name: str) -> None:
    count = 0
    for payload, value in captured(name):
        count += 1
        if payload[:1] == b"{":
            assert decode_json(payload) == value
            assert CODEC.json(value) == payload
        else:
            assert decode_msgpack(payload) == value
            assert CODEC.msgpack(value) == payload
        if isinstance(value, dict) and "uid" in value and "nsp" in value:
            message = decode(payload)
            assert (message.type, message.uid, message.nsp) == (value["type"], value["uid"], value["nsp"])
            assert message.data == value.get("data")
            if list(value) == ["type", "data", "uid", "nsp"] and name != "redis-streams":
                written = CODEC.json if payload[:1] == b"{" else CODEC.msgpack
                assert written(message.to_wire()) == payload
    assert count > 15


@pytest.mark.parametrize("name", ["redis-sharded", "redis-sharded-static", "redis-sharded-dynamic-private"])
def test_the_form_is_chosen_as_by_the_official_adapter(name: str) -> None:
    kinds = set()
    for payload, value in captured(name):
        message = message_from(value)
        kinds.add((message.type, payload[:1] == b"{"))
        assert CODEC.encode(message) == payload
    assert {(3, True), (3, False), (9, False), (10, False), (12, False), (8, True)} <= kinds


def test_what_a_node_cluster_says_is_understood() -> None:
    steps = json.loads((VECTORS / "node-cluster.json").read_text())["steps"]
    messages = [message_from(plain(m["message"])) for step in steps for m in step["messages"]]
    assert {message.type for message in messages} == {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13}


def test_opts_and_events_come_out_as_they_went_in() -> None:
    seen = 0
    for name in CAPTURES:
        for _, value in captured(name):
            data = value.get("data", value) if isinstance(value, dict) else None
            if (
                not isinstance(data, dict)
                or "opts" not in data
                or "emitter" in json.dumps(value, default=str)
            ):
                continue
            options = options_from_wire(data["opts"])
            written = options_to_wire(options)
            if list(data["opts"]) == ["rooms", "except", "flags"]:
                assert CODEC.json(written) == CODEC.json(data["opts"])
            elif "flags" in data["opts"]:  # an emitter's
                assert written == data["opts"]
            else:
                assert {**data["opts"], "flags": {}} == written
            if "packet" in data and isinstance(data["packet"], dict):
                assert event_of(data["packet"]) == data["packet"]["data"]
            seen += 1
    assert seen > 100


def test_sockets_come_out_as_they_went_in() -> None:
    seen = 0
    for name in CAPTURES:
        for _, value in captured(name):
            data = value.get("data", value) if isinstance(value, dict) else {}
            if not isinstance(data, dict):
                continue
            for socket in data.get("sockets", ()):
                if isinstance(socket, dict):
                    details = details_from_wire(socket)
                    assert isinstance(details.handshake, RemoteHandshake)
                    assert CODEC.json(details_to_wire(details)) == CODEC.json(socket)
                    assert details.handshake.query["EIO"] == "4"
                    seen += 1
    assert seen > 10


CODEC_VECTORS = json.loads((VECTORS / "codec.json").read_text())

# What JavaScript does to its own values, or by mistake; there is nothing to be equal to.
OWN_VALUES = {
    "NaN",
    "Infinity",
    "undefined",
    "map with undefined",
    "array with undefined",
    "lone surrogate",
    "Uint16Array [258]",
    "1e300",  # notepack writes it wrong
    "2^53",  # the two libraries differ
}


@pytest.mark.parametrize(
    "vector",
    [v for v in CODEC_VECTORS["encode"] if v["name"] not in OWN_VALUES],
    ids=lambda v: str(v["name"]),
)
def test_values_are_written_as_by_both_libraries(vector: dict[str, Any]) -> None:
    value = plain(vector["value"])
    for library in ("notepack", "msgpack_msgpack"):
        written = vector.get(library)
        if written is None or vector["name"] == "ArrayBuffer":
            continue
        assert CODEC.msgpack(value).hex() == written
        assert decode_msgpack(bytes.fromhex(written)) == value


@pytest.mark.parametrize("vector", CODEC_VECTORS["encode"], ids=lambda v: str(v["name"]))
def test_values_are_read_from_both_libraries(vector: dict[str, Any]) -> None:
    for library in ("notepack", "msgpack_msgpack"):
        if vector["name"] == "lone surrogate":
            continue  # it is no UTF-8
        if library not in vector:
            continue
        expected = plain(vector[f"{library}_decoded"])
        found = decode_msgpack(bytes.fromhex(vector[library]))
        if expected == "NaN":
            assert math.isnan(found)
        elif expected == "Infinity":
            assert found == math.inf
        else:
            assert found == expected


def test_the_forms_of_an_older_notepack_are_read() -> None:
    undefined, date, buffer = (bytes.fromhex(v["hex"]) for v in CODEC_VECTORS["legacy_decode"])
    assert decode_msgpack(undefined) is None
    assert decode_msgpack(date) == datetime(2023, 11, 14, 22, 13, 20, 123_000, UTC)
    assert decode_msgpack(buffer) == b"\x03\x04"


def test_binary_data_and_moments_in_json() -> None:
    moment = datetime(2023, 11, 14, 23, 13, 20, 123_456, timezone(timedelta(hours=1)))
    assert CODEC.json([b"\x01\x02", moment]) == (
        b'[{"type":"Buffer","data":[1,2]},"2023-11-14T22:13:20.123Z"]'
    )
    assert CODEC.json(datetime(2023, 1, 2, 3, 4, 5)) == b'"2023-01-02T03:04:05"'
    assert CODEC.json([math.nan, math.inf, "é", 2**70]) == '[null,null,"é",1.1805916207174113e+21]'.encode()
    assert CODEC.json({1: memoryview(b"\x03"), "when": moment}) == (
        b'{"1":{"type":"Buffer","data":[3]},"when":"2023-11-14T22:13:20.123Z"}'
    )


def test_binary_data_decides_the_form_only_where_it_may() -> None:
    with_binary = {"packet": {"type": 2, "data": ["x", {"deep": [bytearray(b"1")]}]}, "opts": {}}
    assert CODEC.encode(Message(BROADCAST, "u", "/", with_binary))[:1] == b"\x84"
    assert CODEC.encode(Message(BROADCAST, "u", "/", {"packet": {"data": ["x"]}}))[:1] == b"{"
    assert CODEC.encode(Message(SOCKETS_JOIN, "u", "/", with_binary))[:1] == b"{"
    for data, form in (([1, {"a": memoryview(b"")}], b"\x84"), ([{1: [b""]}], b"\x84"), (["bytes"], b"{")):
        assert CODEC.encode(Message(BROADCAST, "u", "/", {"packet": data}))[:1] == form


def test_lone_surrogates_and_large_integers_are_mended() -> None:
    assert decode_msgpack(CODEC.msgpack(["\ud800", 2**70, {1: 2}])) == ["\ufffd", float(2**70), {"1": 2}]
    assert decode_json(CODEC.json(["\ud800", 2**70, {1: 2}])) == ["\ufffd", float(2**70), {"1": 2}]


class Money:
    pass


def test_what_cannot_be_sent_is_named() -> None:
    for write in (CODEC.json, CODEC.msgpack):
        with pytest.raises(TypeError, match="Money cannot be sent"):
            write([Money()])
    own = Codec(lambda value: {"amount": 5})
    assert own.json([Money()]) == b'[{"amount":5}]'
    assert own.msgpack([Money()]) == bytes.fromhex("9181a6616d6f756e7405")


def test_a_circle_is_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    for write in (CODEC.json, CODEC.msgpack):
        with pytest.raises(ValueError, match="circular"):
            write(circle)


def test_absent_is_not_null() -> None:
    assert CODEC.encode(Message(HEARTBEAT, "u", "/")) == b'{"type":2,"uid":"u","nsp":"/"}'
    assert options_to_wire(BroadcastOptions()) == {"rooms": [], "except": [], "flags": {}}
    read = options_from_wire({"rooms": [], "except": [], "flags": {"volatile": None, "compress": None}})
    assert (read.volatile, read.compress, read.timeout, read.single) == (False, True, None, False)
    assert options_from_wire({"rooms": ["a"], "except": []}).rooms == ["a"]


def test_flags() -> None:
    options = BroadcastOptions(("a",), ("b",), volatile=True, compress=False, timeout=0.25, single=True)
    assert options_to_wire(options) == {
        "rooms": ["a"],
        "except": ["b"],
        "flags": {"volatile": True, "compress": False, "expectSingleResponse": True, "timeout": 250},
    }
    again = options_from_wire(options_to_wire(options))
    assert (again.volatile, again.compress, again.timeout, again.single) == (True, False, 0.25, True)
    assert options_from_wire({"rooms": [], "except": [], "flags": {"timeout": -1}}).timeout is None


def test_rooms_that_are_numbers() -> None:
    assert text_list([1, "a", 2.0, 1.5]) == ["1", "a", "2", "1.5"]
    for bad in ([None], [True], [["a"]], "a", None, {"a": 1}):
        with pytest.raises(InvalidPacket):
            text_list(bad)


def test_the_time_of_a_handshake_is_javascripts() -> None:
    assert js_date(1795343744586) == "Sun Nov 22 2026 10:35:44 GMT+0000 (Coordinated Universal Time)"


def test_a_name_of_a_node() -> None:
    names = {make_uid() for _ in range(100)}
    assert len(names) == 100
    assert all(len(name) == 16 and int(name, 16) >= 0 for name in names)


@pytest.mark.parametrize(
    "junk",
    [
        b"",
        b"{",
        b"{}",
        b"[]",
        b"null",
        b'{"type":3}',
        b'{"type":true,"uid":"u","nsp":"/"}',
        b'{"type":3,"uid":5,"nsp":"/"}',
        b'{"type":3,"uid":"u","nsp":[]}',
        b'{"type":3,"uid":"u","nsp":"/","data":[]}',
        b"\xc1",
        b"\x84\xa4type",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 100_000 + b"\xc0",
        b'{"type":' + b"[" * 100_000,
        b"\x81\x90\xc0",
        bytes.fromhex("c70cff3b9aca000000000000000000"),
    ],
)
def test_junk_is_refused(junk: bytes) -> None:
    with pytest.raises(InvalidPacket):
        decode(junk)


def test_the_namespace_may_be_known_from_elsewhere() -> None:
    assert decode(b'{"type":2,"uid":"emitter"}', "/chat").nsp == "/chat"
    assert decode(b'{"type":2,"uid":"emitter","nsp":null}', "/chat").nsp == "/chat"


@pytest.mark.parametrize(
    "packet",
    [
        None,
        [],
        {},
        {"type": 3, "data": ["x"]},
        {"type": 2},
        {"type": 2, "data": []},
        {"type": 2, "data": ["connect"]},
    ],
)
def test_a_broadcast_must_hold_an_event(packet: Any) -> None:
    with pytest.raises(InvalidPacket):
        event_of(packet)


@pytest.mark.parametrize(
    "opts", [None, [], {"rooms": 5, "except": []}, {"rooms": [], "except": [], "flags": []}]
)
def test_opts_must_be_opts(opts: Any) -> None:
    with pytest.raises(InvalidPacket):
        options_from_wire(opts)


@pytest.mark.parametrize("socket", [None, {}, {"id": 5}, {"id": "x"}, {"id": "x", "rooms": "y"}])
def test_a_socket_must_have_an_id_and_rooms(socket: Any) -> None:
    with pytest.raises(InvalidPacket):
        details_from_wire(socket)


def test_a_socket_of_a_stranger() -> None:
    details = details_from_wire({"id": "x", "rooms": [], "handshake": "none", "data": None})
    assert (details.id, details.rooms, details.data) == ("x", [], {})
    assert (details.handshake.headers, details.handshake.address, details.handshake.issued) == ({}, "", 0)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(payload: bytes) -> None:
    for prefix in (b"", b"{", b'{"type":3,"uid":"u","nsp":"/","data":{'):
        try:
            message = decode(prefix + payload)
        except InvalidPacket:
            continue
        assert isinstance(message.type, int)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(st.lists(VALUES, max_size=4), st.sampled_from([BROADCAST, FETCH_SOCKETS_RESPONSE]))
def test_what_is_written_is_read(values: list[Any], kind: int) -> None:
    message = Message(kind, make_uid(), "/chat", {"packet": values})
    payload = CODEC.encode(message)
    assert (payload[:1] == b"{") == (not CODEC.json_and_binary(values)[1])
    assert decode(payload) == message
