"""Messages as documents, against those recorded from the official packages."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import ObjectId, json_util
from hypothesis import given
from hypothesis import strategies as st

from sio_core.adapters.messages import BROADCAST, FETCH_SOCKETS_RESPONSE, Message
from sio_core.adapters.mongo_documents import READING, DocumentCodec, database_of, offset_of, read_document
from sio_core.errors import InvalidPacket

VECTORS = Path(__file__).parent / "vectors"
CODEC = DocumentCodec()
NUMBER = ObjectId("0123456789abcdef01234567")


def inserted(name: str) -> list[dict[str, Any]]:
    steps = json.loads((VECTORS / name).read_text())["steps"]
    return [op for step in steps for op in step.get("ops", []) if op["op"] == "insertOne"]


@pytest.mark.parametrize("name", ["mongo.json", "mongo-ttl.json"])
def test_every_recorded_document_is_read_and_written_the_same(name: str) -> None:
    count = 0
    for operation in inserted(name):
        recorded = bytes.fromhex(operation["bson_hex"])
        message = read_document(recorded)
        document = bson.decode(recorded, READING)
        assert message.offset == str(document["_id"])
        assert message.to_wire() == {
            key: value for key, value in document.items() if key not in {"_id", "createdAt"}
        }
        written = CODEC.encode(message, document["_id"], document.get("createdAt"))
        assert offset_of(written) == message.offset
        if message.type == FETCH_SOCKETS_RESPONSE:  # JavaScript writes large integers as doubles
            assert bson.decode(written, READING) == document
        else:
            assert written == recorded
            count += 1
    assert count > 30


def message_of(*args: Any) -> Message:
    return Message(BROADCAST, "u", "/", {"packet": {"type": 2, "data": ["x", *args]}, "opts": {"rooms": []}})


def roundtrip(*args: Any) -> list[Any]:
    data = read_document(CODEC.encode(message_of(*args), NUMBER)).data
    assert data is not None
    read: list[Any] = data["packet"]["data"][1:]
    return read


MOMENT = datetime(2026, 1, 2, 3, 4, 5, 6_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (2**40, 2**40),
        (2**63 - 1, 2**63 - 1),
        (2**70, float(2**70)),
        (b"\x01", b"\x01"),
        (bytearray(b"\x01"), b"\x01"),
        (memoryview(b"\x01"), b"\x01"),
        (("a", {"b": (1,)}), ["a", {"b": [1]}]),
        ({5: "a", None: "b", True: "c"}, {"5": "a", "null": "b", "true": "c"}),
        (MOMENT, MOMENT),
        ("\ud800", "\ufffd"),
        (None, None),
        ({"$ref": {"a.b": 1}}, {"$ref": {"a.b": 1}}),
    ],
)
def test_values_of_an_application_arrive(value: object, read: object) -> None:
    assert roundtrip(value, [value]) == [read, [read]]


def test_values_of_a_type_that_the_parser_knows_arrive() -> None:
    codec = DocumentCodec(lambda value: {"complex": [value.real, value.imag]})
    data = read_document(codec.encode(message_of(1 + 2j), NUMBER)).data
    assert data is not None
    assert data["packet"]["data"][1] == {"complex": [1.0, 2.0]}


@pytest.mark.parametrize("value", [object(), {1, 2}, {(): 1}])
def test_what_cannot_be_sent_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        roundtrip(value)


def test_circles_and_names_with_zero_bytes_are_refused() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(ValueError, match="nested too deeply"):
        roundtrip(circle)
    with pytest.raises(ValueError, match="cannot be written as BSON"):
        roundtrip({"a\0": 1})


@pytest.mark.parametrize(
    "value",
    [
        {"$numberDecimal": "1.5"},
        {"$oid": "0123456789abcdef01234567"},
        {"$regularExpression": {"pattern": "a", "options": ""}},
        {"$minKey": 1},
        {"$timestamp": {"t": 1, "i": 2}},
    ],
)
def test_types_that_json_has_not_become_text(value: dict[str, Any]) -> None:
    document = {
        "type": 3,
        "data": {"packet": json_util.loads(json.dumps(value))},
        "uid": "u",
        "nsp": "/",
        "_id": NUMBER,
    }
    data = read_document(bson.encode(document)).data
    assert data is not None
    assert isinstance(data["packet"], str)


def test_binary_data_of_any_subtype_is_bytes() -> None:
    document = {"type": 3, "data": {"a": bson.Binary(b"\x01", 5)}, "uid": "u", "nsp": "/", "_id": NUMBER}
    assert read_document(bson.encode(document)).data == {"a": b"\x01"}


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"type": "3", "uid": "u", "nsp": "/"},
        {"type": 3, "nsp": "/"},
        {"type": 3, "uid": "u"},
        {"type": 3, "uid": "u", "nsp": 5},
        {"type": 3, "uid": "u", "nsp": "/", "data": []},
        {"type": 3.5, "uid": "u", "nsp": "/"},
    ],
)
def test_documents_that_are_no_messages_are_refused(document: dict[str, Any]) -> None:
    with pytest.raises(InvalidPacket):
        read_document(bson.encode({**document, "_id": NUMBER}))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text() | st.binary(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text().filter(lambda k: "\0" not in k), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON)
def test_any_value_comes_back(value: object) -> None:
    assert roundtrip(value) == [value]


def test_the_database_is_that_of_the_address_unless_it_is_named() -> None:
    assert database_of("mongodb://user:secret@host:1,other:2/app?replicaSet=r", None) == "app"
    assert database_of("mongodb://host/app", "other") == "other"
    assert database_of("mongodb://host", None) == "socket_io"
    assert database_of("mongodb+srv://host/", None) == "socket_io"
    for url in ("redis://user:secret@host", "mongodb://", "host:1"):
        with pytest.raises(ValueError, match="must begin with mongodb") as caught:
            database_of(url, None)
        assert "secret" not in str(caught.value)
