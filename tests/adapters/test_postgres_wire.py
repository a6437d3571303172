"""Messages as they stand in notifications and in the table, against traffic recorded from the official packages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sio_core.adapters.messages import BROADCAST, FETCH_SOCKETS_RESPONSE, Codec, Message, decode, message_from
from sio_core.adapters.postgres_wire import PostgresWire, quote
from sio_core.errors import AdapterError

RECORDED = Path(__file__).parent / "vectors" / "postgres.json"
WIRE = PostgresWire("socket.io", "socket_io_attachments", 8_000)
CODEC = Codec()


def queries(with_emitter: bool) -> list[dict[str, Any]]:
    steps = json.loads(RECORDED.read_text())["steps"]
    found = [query for step in steps for query in step["queries"] if "params" in query]
    return [query for query in found if with_emitter or query.get("node") in {"A", "B"}]


def without_source(payload: bytes) -> bytes:
    """Take away what ours add: by it the official cluster of Node processes knows them."""
    if payload[:1] == b"{":
        return payload.replace(b',"source":"_sio_adapter"', b"")
    source = b"\xa6source\xac_sio_adapter"
    assert payload.endswith(source)
    return bytes([payload[0] - 1]) + payload[1:].removesuffix(source)


def of_recording(value: Any) -> Any:
    if isinstance(value, dict):
        if "$binary" in value:
            return bytes.fromhex(value["$binary"])
        return {key: of_recording(item) for key, item in value.items()}
    return [of_recording(item) for item in value] if isinstance(value, list) else value


def test_every_recorded_notification_is_read_and_written_the_same() -> None:
    count = 0
    for query in queries(with_emitter=False):
        if "pg_notify" not in query["sql"] or "attachmentId" in query["decoded"]:
            continue
        channel, payload = query["params"]
        message = decode(payload.encode())
        assert message.to_wire() == query["decoded"]
        assert channel == WIRE.channel_of(message.nsp)
        assert WIRE.nsp_of(channel) == message.nsp
        assert without_source(WIRE.encode(CODEC, message)).decode() == payload
        count += 1
    assert count > 30


def test_every_recorded_attachment_is_read_and_written_the_same() -> None:
    count = 0
    for query in queries(with_emitter=False):
        if "INSERT" in query["sql"]:
            payload = bytes.fromhex(query["params"][0]["hex"])
            message = decode(payload)
            assert message.to_wire() == of_recording(query["decoded_payload"])
            assert without_source(WIRE.encode(CODEC, message)) == payload
            count += 1
    assert count > 4


def test_the_header_of_an_attachment_is_the_recorded_one() -> None:
    headers = [
        query["params"][1]
        for query in queries(with_emitter=False)
        if "attachmentId" in query.get("decoded", {})
    ]
    assert headers
    for header in headers:
        value = json.loads(header)
        message = Message(value["type"], value["uid"], "/")
        message.payload = b"\x80"
        ((statement, values),) = WIRE.statements(CODEC, "socket.io#/", [message])
        assert statement.startswith("WITH attachment AS (INSERT INTO socket_io_attachments ")
        assert values[:2] == [b"\x80", "socket.io#/"]
        made = f"{values[2]}{value['attachmentId']}{values[3]}"
        assert made.replace(',"source":"_sio_adapter"', "") == header


def test_what_the_official_emitter_writes_gets_its_namespace_from_the_channel() -> None:
    count = 0
    for query in queries(with_emitter=True):
        if query.get("decoded", {}).get("uid") == "emitter" and "attachmentId" not in query["decoded"]:
            channel, payload = query["params"]
            assert "nsp" not in json.loads(payload)
            assert message_from(json.loads(payload), WIRE.nsp_of(channel)).nsp == channel.partition("#")[2]
            count += 1
    assert count > 4


@pytest.mark.parametrize(
    ("length", "is_attachment"), [(7_998, False), (7_999, False), (8_000, True), (8_001, True)]
)
def test_a_notification_stays_below_8000_bytes(length: int, is_attachment: bool) -> None:
    empty = len(WIRE.encode(CODEC, message_saying("")))
    payload = WIRE.encode(CODEC, message_saying("x" * (length - empty)))
    assert (payload[:1] != b"{") is is_attachment
    if not is_attachment:
        assert len(payload) == length


def message_saying(text: str, kind: int = BROADCAST) -> Message:
    event = {"packet": {"type": 2, "data": ["hello", text]}, "opts": {"rooms": [], "except": [], "flags": {}}}
    return Message(kind, "0123456789abcdef", "/", event)


def test_bytes_of_a_fetch_response_stay_in_the_notification() -> None:
    data = {"requestId": "0", "sockets": [{"id": "a", "handshake": {}, "rooms": [], "data": b"\x01\x02"}]}
    payload = WIRE.encode(CODEC, Message(FETCH_SOCKETS_RESPONSE, "u", "/", data))
    assert b'"data":{"type":"Buffer","data":[1,2]}' in payload


def test_messages_are_published_together_unless_they_are_the_same() -> None:
    messages = [message_saying(text) for text in ("a", "b", "b", "x" * 9_000, "c")]
    for message in messages:
        message.payload = WIRE.encode(CODEC, message)
    statements = WIRE.statements(CODEC, "socket.io#/", messages)
    assert [statement for statement, _ in statements] == [
        "SELECT pg_notify($1, $2), pg_notify($1, $3)",
        "SELECT pg_notify($1, $2)",
        "WITH attachment AS (INSERT INTO socket_io_attachments (payload) VALUES ($1) RETURNING id) "
        "SELECT pg_notify($2, $3::text || id || $4::text) FROM attachment",
        "SELECT pg_notify($1, $2)",
    ]


def test_a_channel_of_more_than_63_bytes_is_refused_by_its_name() -> None:
    assert len(WIRE.channel_of("/" + "n" * 52)) == 63
    for name in ("/" + "n" * 53, "/" + "ž" * 27, "/\0"):
        with pytest.raises(AdapterError, match=r"its name may have 53 bytes"):
            WIRE.channel_of(name)


def test_names_are_quoted() -> None:
    assert quote('socket.io#/a"b') == '"socket.io#/a""b"'


@pytest.mark.parametrize("table", ["", "a b", "a;b", 'a"b', "a.b.c", "1a", "ä"])
def test_a_table_that_is_no_name_is_refused(table: str) -> None:
    with pytest.raises(ValueError, match="table must be a name"):
        PostgresWire("socket.io", table, 8_000)


@pytest.mark.parametrize("threshold", [0, 8_001])
def test_a_threshold_that_postgresql_would_not_have_is_refused(threshold: int) -> None:
    with pytest.raises(ValueError, match="payload_threshold"):
        PostgresWire("socket.io", "t", threshold)


@pytest.mark.parametrize("prefix", ["", "a\0"])
def test_a_prefix_that_is_none_is_refused(prefix: str) -> None:
    with pytest.raises(ValueError, match="channel_prefix"):
        PostgresWire(prefix, "t", 8_000)
