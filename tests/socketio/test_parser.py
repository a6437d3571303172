"""The JSON parser: literal messages both ways, everything that is refused, and what Hypothesis finds."""

from __future__ import annotations

import array
import enum
import itertools
import math
import sys
import uuid
from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import FrameType, MappingProxyType
from typing import Any

import msgspec
import orjson
import pydantic
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sio_core.errors import InvalidPacket, LocalProtocolError
from sio_core.limits import Limits
from sio_core.socketio import parser as parser_module
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
)
from sio_core.socketio.parser import Decoder, JsonParser, Parser
from tests.socketio.strategies import packet_like, packets, values

PARSER = JsonParser()


def decode(*messages: str | bytes, limits: Limits | None = None, parser: Parser = PARSER) -> Packet:
    """Return the packet of the messages, which all of them belong to."""
    decoder = parser.decoder(limits or Limits())
    packet: Packet | None = None
    for message in messages:
        assert packet is None
        packet = decoder.add(message)
        assert decoder.waiting is (packet is None)
    assert packet is not None
    return packet


def refusal(*messages: str | bytes, limits: Limits | None = None, parser: Parser = PARSER) -> str:
    """Return why the last of the messages is refused."""
    decoder = parser.decoder(limits or Limits())
    for message in messages[:-1]:
        assert decoder.add(message) is None
    with pytest.raises(InvalidPacket) as caught:
        decoder.add(messages[-1])
    assert not decoder.waiting
    return str(caught.value)


def encode_data(*arguments: Any, parser: JsonParser = PARSER) -> str:
    """Return the JSON of an event's arguments."""
    messages = parser.encode(Packet(EVENT, "/", ["x", *arguments]))
    assert len(messages) == 1
    text = messages[0]
    assert isinstance(text, str)
    assert text.startswith('2["x",')
    return text[len('2["x",') : -1]


# Plain packets, both ways

PLAIN = [
    (Packet(CONNECT), "0"),
    (Packet(CONNECT, "/admin"), "0/admin,"),
    (Packet(CONNECT, "/", {"sid": "x"}), '0{"sid":"x"}'),
    (Packet(CONNECT, "/woot", {"token": "123"}), '0/woot,{"token":"123"}'),
    (Packet(CONNECT, "/", {}), "0{}"),
    (Packet(DISCONNECT), "1"),
    (Packet(DISCONNECT, "/woot"), "1/woot,"),
    (Packet(EVENT, "/", ["hey"]), '2["hey"]'),
    (Packet(EVENT, "/", ["a", 1, {}]), '2["a",1,{}]'),
    (Packet(EVENT, "/", [1, "a", {}]), '2[1,"a",{}]'),
    (Packet(EVENT, "/", ["hey"], 12), '212["hey"]'),
    (Packet(EVENT, "/test", ["a", 1, {}], 1), '2/test,1["a",1,{}]'),
    (Packet(EVENT, "/admin", ["hey"]), '2/admin,["hey"]'),
    (Packet(EVENT, "/", ["é€😀"]), '2["é€😀"]'),
    (Packet(EVENT, "/é", ["x"]), '2/é,["x"]'),
    (Packet(ACK, "/", ["a", 1, {}], 123), '3123["a",1,{}]'),
    (Packet(ACK, "/", [], 12), "312[]"),
    (Packet(ACK, "/admin", [], 0), "3/admin,0[]"),
    (Packet(CONNECT_ERROR, "/", "Unauthorized"), '4"Unauthorized"'),
    (Packet(CONNECT_ERROR, "/", {"message": "Unauthorized"}), '4{"message":"Unauthorized"}'),
    (Packet(CONNECT_ERROR, "/a", {"message": "x", "data": None}), '4/a,{"message":"x","data":null}'),
]


@pytest.mark.feature(219)
@pytest.mark.parametrize(("packet", "text"), PLAIN, ids=[text for _, text in PLAIN])
def test_plain_packet(packet: Packet, text: str) -> None:
    assert PARSER.encode(packet) == [text]
    assert PARSER.encode_messages(packet, b"4") == (b"4" + text.encode(), [])
    assert decode(text) == packet


def placeholder(number: int) -> str:
    return '{"_placeholder":true,"num":%d}' % number  # noqa: UP031 - braces


P0, P1 = placeholder(0), placeholder(1)

BINARY = [
    (Packet(EVENT, "/", ["a", b"abc"]), [f'51-["a",{P0}]', b"abc"]),
    (Packet(EVENT, "/", ["a", b"\x00", b""], 12), [f'52-12["a",{P0},{P1}]', b"\x00", b""]),
    (Packet(EVENT, "/admin", ["test", b"1"], 13), [f'51-/admin,13["test",{P0}]', b"1"]),
    (Packet(EVENT, "/", ["a", {"b": [None, b"1"]}]), [f'51-["a",{{"b":[null,{P0}]}}]', b"1"]),
    (Packet(ACK, "/", [b"1"], 1), [f"61-1[{P0}]", b"1"]),
    (Packet(ACK, "/back", ["a", b"abc", {}], 127), [f'61-/back,127["a",{P0},{{}}]', b"abc"]),
]


@pytest.mark.feature(142, 219)
@pytest.mark.parametrize(("packet", "messages"), BINARY, ids=[str(messages[0]) for _, messages in BINARY])
def test_binary_packet(packet: Packet, messages: list[str | bytes]) -> None:
    assert PARSER.encode(packet) == messages
    assert PARSER.encode_messages(packet, b"4") == (b"4" + str(messages[0]).encode(), messages[1:])
    assert decode(*messages) == packet


def test_names_and_acks_need_no_packet_object() -> None:
    assert PARSER.encode_event("/", ("a", 1), None, b"4") == (b'42["a",1]', [])
    assert PARSER.encode_event("/b", ["a"], 7, b"") == (b'2/b,7["a"]', [])
    assert PARSER.encode_event("/", ["a", b"1"], None, b"4") == (b'451-["a",' + P0.encode() + b"]", [b"1"])
    assert PARSER.encode_ack("/", [], 7, b"4") == (b"437[]", [])
    assert PARSER.encode_ack("/b", (b"1",), 7, b"4") == (b"461-/b,7[" + P0.encode() + b"]", [b"1"])


# Encoding


def test_binary_types_are_chosen_by_the_data() -> None:
    assert PARSER.encode(Packet(BINARY_EVENT, "/", ["a"])) == ['2["a"]']
    assert PARSER.encode(Packet(BINARY_ACK, "/", [b"1"], 2)) == [f"61-2[{P0}]", b"1"]


@pytest.mark.parametrize("kind", [-1, 7, 100])
def test_unknown_type_is_not_sent(kind: int) -> None:
    with pytest.raises(LocalProtocolError, match="packet type"):
        PARSER.encode(Packet(kind))


def test_disconnect_has_no_payload() -> None:
    assert PARSER.encode(Packet(DISCONNECT, "/", {"a": 1})) == ["1"]


def test_event_without_data() -> None:
    assert PARSER.encode(Packet(EVENT)) == ["2"]
    assert PARSER.encode(Packet(ACK, "/", None, 1)) == ["31"]


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (bytearray(b"abc"), b"abc"),
        (memoryview(b"abc")[1:], b"bc"),
        (memoryview(b"abcd")[::2], b"ac"),
        (memoryview(array.array("B", [1, 2, 3])), b"\x01\x02\x03"),
        (memoryview(array.array("h", [1, 2])), array.array("h", [1, 2]).tobytes()),
    ],
)
def test_other_binary_types(value: Any, sent: bytes) -> None:
    assert PARSER.encode(Packet(EVENT, "/", ["a", value])) == [f'51-["a",{P0}]', sent]


def test_deeply_nested_binary() -> None:
    data = ["a", {"b": [{"c": {"d": [b"1", {"e": b"2"}]}}]}, b"3"]
    text, *attachments = PARSER.encode(Packet(EVENT, "/", data))
    assert text == (f'53-["a",{{"b":[{{"c":{{"d":[{P0},{{"e":{P1}}}]}}}}]}},{placeholder(2)}]')
    assert attachments == [b"1", b"2", b"3"]
    assert decode(text, *attachments).data == data


def test_encoding_does_not_change_the_data() -> None:
    inner = {"b": bytearray(b"1"), 2: math.nan, "c": [b"3"]}
    data = ["a", inner]
    PARSER.encode(Packet(EVENT, "/", data))
    assert data == ["a", inner]
    assert list(inner) == ["b", 2, "c"]
    assert inner["b"] == bytearray(b"1")
    assert inner["c"] == [b"3"]


def test_data_may_change_after_encoding() -> None:
    buffer = bytearray(b"123")
    messages = PARSER.encode(Packet(EVENT, "/", ["a", buffer, memoryview(buffer)]))
    buffer[:] = b"abc"
    assert messages[1:] == [b"123", b"123"]


class Point(msgspec.Struct):
    x: int
    label: Any = None


class Tagged(msgspec.Struct, tag=True, rename="camel", omit_defaults=True):
    some_name: int
    other: int = 0


class Model(pydantic.BaseModel):
    name: str
    raw: bytes = b""
    more: Any = None


class Plain(pydantic.BaseModel):
    more: Any


@dataclass
class Record:
    name: str
    value: Any
    _hidden: int = 0


class Color(enum.Enum):
    RED = "red"
    LARGE = 2**70


class Number(enum.IntEnum):
    ONE = 1


class Fraction(float):
    pass


Pair = namedtuple("Pair", "left right")  # noqa: PYI024 - no types are needed here

MOMENT = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
UUID = uuid.UUID(int=1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, "null"),
        (math.inf, "null"),
        (-math.inf, "null"),
        ((1, (2,)), "[1,[2]]"),
        (Pair(1, "x"), '[1,"x"]'),
        (Fraction(1.5), "1.5"),
        ({1: 1, 1.5: 2, 2.0: 3, None: 4}, '{"1":1,"1.5":2,"2":3,"null":4}'),
        ({True: 1}, '{"true":1}'),
        ({False: 1, -7: 2, math.nan: 3, math.inf: 4, -math.inf: 5}, None),
        ({1e21: 1, 1e20: 2}, '{"1e+21":1,"100000000000000000000":2}'),
        ({UUID: 1, date(2020, 1, 2): 2, Color.RED: 3, Number.ONE: 4}, None),
        (2**64, "18446744073709551616"),
        (-(2**63) - 1, "-9223372036854775809"),
        (2**64 - 1, "18446744073709551615"),
        ("\ud800", '"\ufffd"'),
        ("a\udc00\ud83d\ude00b", '"a\ufffd😀b"'),
        ({"\udfff": 1}, '{"\ufffd":1}'),
        ("\x00\x1e\u2028", '"\\u0000\\u001e\u2028"'),
        (MOMENT, '"2020-01-02T03:04:05.000Z"'),
        ([MOMENT, 2**70], f'["2020-01-02T03:04:05.000Z",{2**70}]'),
        (datetime(2020, 1, 2, 1, 4, 5, 678_912, timezone(timedelta(hours=-2))), '"2020-01-02T03:04:05.678Z"'),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2))), '"0001-01-01T00:00:00+02:00"'),
        (datetime(2020, 1, 2, 3, 4, 5, 678_912), '"2020-01-02T03:04:05.678912"'),
        (date(2020, 1, 2), '"2020-01-02"'),
        (time(3, 4, 5), '"03:04:05"'),
        (UUID, f'"{UUID}"'),
        (Color.RED, '"red"'),
        (Number.ONE, "1"),
        (Record("a", 1), '{"name":"a","value":1}'),
        (Point(1), '{"x":1,"label":null}'),
        (Tagged(1), '{"type":"Tagged","someName":1}'),
        ([Point(1, {"a": Point(2)})], '[{"x":1,"label":{"a":{"x":2,"label":null}}}]'),
        (Point(1, MOMENT), '{"x":1,"label":"2020-01-02T03:04:05.000Z"}'),
        (MappingProxyType({"a": 1}), '{"a":1}'),
        (orjson.Fragment(b'{"raw":1}'), '{"raw":1}'),
    ],
)
def test_what_can_be_sent(value: Any, text: str | None) -> None:
    sent = encode_data(value)
    if text is None:
        text = {
            5: '{"false":1,"-7":2,"NaN":3,"Infinity":4,"-Infinity":5}',
            4: f'{{"{UUID}":1,"2020-01-02":2,"red":3,"1":4}}',
        }[len(value)]
    assert sent == text


@pytest.mark.parametrize(
    "value",
    [Color.LARGE, Record("a", 2**70), {1: Record("a", 2**70)}, Plain(more=2**70), [Point(2**70)]],
)
def test_objects_in_a_second_attempt(value: Any) -> None:
    # What only the second attempt can write does not change how the rest is written.
    assert str(2**70) in encode_data(value)
    others = [Record("a", Point(1)), Color.RED, UUID, date(2020, 1, 2), MOMENT, (1,), 1.5]
    assert encode_data(others, value).startswith(encode_data(others) + ",")


def test_objects_that_hold_binary_data() -> None:
    data = ["a", Point(1, b"1"), Model(name="m", raw=b"2"), Record("r", bytearray(b"3")), Point(2, [b"4"])]
    text, *attachments = PARSER.encode(Packet(EVENT, "/", data))
    assert attachments == [b"1", b"2", b"3", b"4"]
    assert decode(text, *attachments).data == [
        "a",
        {"x": 1, "label": b"1"},
        {"name": "m", "raw": b"2", "more": None},
        {"name": "r", "value": b"3"},
        {"x": 2, "label": [b"4"]},
    ]


def test_placeholders_start_again_in_a_second_attempt() -> None:
    text, *attachments = PARSER.encode(Packet(EVENT, "/", ["a", b"1", {"b": b"2"}, 2**70, b"3"]))
    assert text == f'53-["a",{P0},{{"b":{P1}}},{2**70},{placeholder(2)}]'
    assert attachments == [b"1", b"2", b"3"]


@pytest.mark.parametrize(
    "value",
    [
        object(),
        {1, 2},
        Decimal(1),
        1j,
        range(3),
        print,
        Model,
        Point,
        Point(1, object()),
        {"a": [object()]},
        {b"a": 1},
        {(1,): 1},
        {"a": 2**70, "b": {1}},
    ],
)
def test_what_cannot_be_sent(value: Any) -> None:
    with pytest.raises(TypeError):
        PARSER.encode(Packet(EVENT, "/", ["a", value]))


def test_error_names_the_type() -> None:
    with pytest.raises(TypeError, match="complex"):
        PARSER.encode(Packet(EVENT, "/", ["a", 1j]))
    with pytest.raises(TypeError, match="bytes"):
        PARSER.encode(Packet(EVENT, "/", ["a", {b"key": 1}]))


@pytest.mark.parametrize("kind", [CONNECT, CONNECT_ERROR])
def test_only_events_and_acks_carry_binary_data(kind: int) -> None:
    with pytest.raises(TypeError, match="bytes"):
        PARSER.encode(Packet(kind, "/", {"a": b"1"}))
    assert PARSER.encode(Packet(kind, "/", {"a": Point(1)})) == [f'{kind}{{"a":{{"x":1,"label":null}}}}']


def circular_list() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def circular_dict() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["a"] = [value]
    return value


def circular_struct() -> Point:
    value = Point(1)
    value.label = value
    return value


def circular_record() -> Record:
    value = Record("a", None)
    value.value = [value]
    return value


@pytest.mark.parametrize("make", [circular_list, circular_dict, circular_struct, circular_record])
def test_circular_data(make: Callable[[], Any]) -> None:
    for data in (["a", make()], ["a", make(), b"1"], ["a", 2**70, make()]):
        with pytest.raises(ValueError, match="circular"):
            PARSER.encode(Packet(EVENT, "/", data))


def test_default_hook() -> None:
    def default(value: Any) -> Any:
        if isinstance(value, set):
            return sorted(value)
        if isinstance(value, complex):
            return {"re": value.real, "raw": b"im"}
        raise TypeError(f"no {type(value).__name__}")

    parser = JsonParser(default=default)
    assert encode_data({2, 1}, parser=parser) == "[1,2]"
    assert encode_data({2, 1}, 2**70, parser=parser) == f"[1,2],{2**70}"
    assert encode_data(Point(1, {3}), parser=parser) == '{"x":1,"label":[3]}'
    assert parser.encode(Packet(EVENT, "/", ["a", 1j])) == [f'51-["a",{{"re":0.0,"raw":{P0}}}]', b"im"]
    with pytest.raises(TypeError, match="no Decimal"):
        parser.encode(Packet(EVENT, "/", ["a", Decimal(1)]))


def test_error_of_the_default_hook_reaches_the_caller() -> None:
    def default(value: Any) -> Any:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        JsonParser(default=default).encode(Packet(EVENT, "/", ["a", 1j]))


def test_parser_can_be_used_while_it_is_used() -> None:
    inner: list[Any] = []

    def default(value: Any) -> Any:
        inner.append(parser.encode(Packet(EVENT, "/", ["inner", b"i", b"j"])))
        return b"d"

    parser = JsonParser(default=default)
    messages = parser.encode(Packet(EVENT, "/", ["a", b"1", 1j, b"2"]))
    assert messages == [f'53-["a",{P0},{P1},{placeholder(2)}]', b"1", b"d", b"2"]
    assert inner == [[f'52-["inner",{P0},{P1}]', b"i", b"j"]]


def test_more_attachments_than_clients_accept() -> None:
    assert len(PARSER.encode(Packet(EVENT, "/", ["a", *[b""] * 10]))) == 11
    with pytest.raises(LocalProtocolError, match="too many attachments: 11"):
        PARSER.encode(Packet(EVENT, "/", ["a", *[b""] * 11]))
    assert len(JsonParser(max_attachments=11).encode(Packet(ACK, "/", [b""] * 11, 1))) == 12


# What is refused: the texts of the JavaScript implementation


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("9", "unknown packet type 9"),
        ("7[]", "unknown packet type 7"),
        ("a", "unknown packet type NaN"),
        ("", "unknown packet type NaN"),
        (" ", "unknown packet type NaN"),
        ("٣[]", "unknown packet type NaN"),
        ("-1", "unknown packet type NaN"),
        ("5", "Illegal attachments"),
        ("51", "Illegal attachments"),
        ("6", "Illegal attachments"),
        ("5a-", "Illegal attachments"),
        ("5-", "Illegal attachments"),
        ("50-", "Illegal attachments"),
        ("500-", "Illegal attachments"),
        ('50-["a"]', "Illegal attachments"),
        ('60-1["a"]', "Illegal attachments"),
        ("51.23-", "Illegal attachments"),
        ("5-1-", "Illegal attachments"),
        ("5+1-", "Illegal attachments"),
        ("51e1-", "Illegal attachments"),
        ("50x2-", "Illegal attachments"),
        ("5 1-", "Illegal attachments"),
        ("51 -", "Illegal attachments"),
        ("5٣-", "Illegal attachments"),
        ("5²-", "Illegal attachments"),
        ('511-["a"]', "too many attachments"),
        ("51" + "0" * 5_000 + "-", "too many attachments"),
        ("59" * 4 + "-", "too many attachments"),
        ('2["hey"', "invalid payload"),
        ('2["hey"]]', "invalid payload"),
        ('2["hey"]["hey"]', "invalid payload"),
        ('2["hey",]', "invalid payload"),
        ("2['hey']", "invalid payload"),
        ('2["a",NaN]', "invalid payload"),
        ('2["a",Infinity]', "invalid payload"),
        ('2["a",-Infinity]', "invalid payload"),
        ('2["a",1e400]', "invalid payload"),
        ('2["a",-1e400]', "invalid payload"),
        ('2["a",undefined]', "invalid payload"),
        ('2["a",01]', "invalid payload"),
        ('2["a",.5]', "invalid payload"),
        ('2["a",+1]', "invalid payload"),
        ('2["\n"]', "invalid payload"),
        ('2["\\x41"]', "invalid payload"),
        ('2["\\u12"]', "invalid payload"),
        ('2["\ud800"]', "invalid payload"),
        ('\ufeff2["a"]', "unknown packet type NaN"),
        ('2\ufeff["a"]', "invalid payload"),
        ("0[]", "invalid payload"),
        ("0null", "invalid payload"),
        ('0"x"', "invalid payload"),
        ("0 1", "invalid payload"),
        ("0/admin,[]", "invalid payload"),
        ("0{", "invalid payload"),
        ("1{}", "invalid payload"),
        ('1/admin,{"a":1}', "invalid payload"),
        ("1null", "invalid payload"),
        ("1x", "invalid payload"),
        ("2{}", "invalid payload"),
        ('2{"a":[1]}', "invalid payload"),
        ("2[]", "invalid payload"),
        ("2[true]", "invalid payload"),
        ("2[false]", "invalid payload"),
        ("2[null]", "invalid payload"),
        ("2[{}]", "invalid payload"),
        ("2[[]]", "invalid payload"),
        ('2"hey"', "invalid payload"),
        ("2true", "invalid payload"),
        ("2/admin,[]", "invalid payload"),
        ("212[]", "invalid payload"),
        ("51-[]", "invalid payload"),
        ("51-{}", "invalid payload"),
        ('2abc["a"]', "invalid payload"),
        ('2-1["a"]', "invalid payload"),
        ('21.5["a"]', "invalid payload"),
        ('2٣["a"]', "invalid payload"),
        ('2²["a"]', "invalid payload"),
        ('212345678901234567["a"]', "invalid packet id"),
        ("312345678901234567[]", "invalid packet id"),
        ("01234567890123456789{}", "invalid packet id"),
        ("2" + "1" * 5_000, "invalid packet id"),
        ("3{}", "invalid payload"),
        ("31{}", "invalid payload"),
        ("3null", "invalid payload"),
        ('3"x"', "invalid payload"),
        ("61-{}", "invalid payload"),
        ("4[]", "invalid payload"),
        ("4null", "invalid payload"),
        ("4 1", "invalid payload"),
        ("4true", "invalid payload"),
        ('2/admin["a"]x', None),
    ],
)
def test_refused_text(text: str, reason: str | None) -> None:
    if reason is None:
        # Everything up to the comma is the namespace.
        assert decode(text) == Packet(EVENT, text[1:], [])
    else:
        assert refusal(text) == reason


@pytest.mark.parametrize("name", sorted(RESERVED_EVENTS))
@pytest.mark.parametrize("head", ["2", "21", "2/admin,", "2/admin,1", "51-", "51-/admin,1"])
def test_reserved_names_are_refused(head: str, name: str) -> None:
    assert refusal(f'{head}["{name}"]') == "invalid payload"
    # However it is written.
    escaped = "".join(f"\\u{ord(character):04x}" for character in name)
    assert refusal(f'{head}["{escaped}"]') == "invalid payload"


@pytest.mark.parametrize(
    "name", ["error", "connection", "message", "", "__class__", "Connect", "disconnect "]
)
def test_other_names_are_names(name: str) -> None:
    assert decode(f'2["{name}"]').data == [name]


@pytest.mark.parametrize("message", [None, 1, 1.5, {}, [], object()])
def test_neither_text_nor_binary(message: Any) -> None:
    assert refusal(message).startswith("Unknown type: ")


def test_binary_when_none_is_expected() -> None:
    assert refusal(b"x") == "got binary data when not reconstructing a packet"
    assert refusal(b"") == "got binary data when not reconstructing a packet"


def test_text_when_binary_is_expected() -> None:
    assert refusal(f'51-["a",{P0}]', '2["b"]') == "got plaintext data when reconstructing a packet"
    assert refusal(f'52-["a",{P0}]', b"1", "1") == "got plaintext data when reconstructing a packet"
    assert refusal("51-", "") == "got plaintext data when reconstructing a packet"


@pytest.mark.parametrize(
    "number", ['"0"', '"splice"', "-1", "1", "0.5", "0.0", "null", "true", "false", "[]", "1e0"]
)
def test_number_of_a_placeholder(number: str) -> None:
    text = f'51-["a",{{"_placeholder":true,"num":{number}}}]'
    assert refusal(text, b"x") == "illegal attachments"


def test_no_packet_ever_waits_for_nothing() -> None:
    # With zero attachments nothing would complete the packet, and binary data would pile up.
    decoder = PARSER.decoder(Limits())
    with pytest.raises(InvalidPacket):
        decoder.add('50-["a"]')
    for _ in range(1_000):
        with pytest.raises(InvalidPacket):
            decoder.add(b"x")
    assert decoder.add('2["a"]') == Packet(EVENT, "/", ["a"])


# What is accepted, odd as it is


@pytest.mark.parametrize(
    ("text", "packet"),
    [
        ("2", Packet(EVENT, "/", [])),
        ("212", Packet(EVENT, "/", [], 12)),
        ("2/admin,", Packet(EVENT, "/admin", [])),
        ("2/admin,12", Packet(EVENT, "/admin", [], 12)),
        ("3", Packet(ACK, "/", [])),
        ("31", Packet(ACK, "/", [], 1)),
        ("4", Packet(CONNECT_ERROR, "/", None)),
        ("0/admin", Packet(CONNECT, "/admin")),
        ("1/admin", Packet(DISCONNECT, "/admin")),
        ("0/admin?x=1&y=2,", Packet(CONNECT, "/admin?x=1&y=2")),
        ("0/", Packet(CONNECT, "/")),
        ("0/,{}", Packet(CONNECT, "/", {})),
        ("01{}", Packet(CONNECT, "/", {}, 1)),
        ('2[0,"a"]', Packet(EVENT, "/", [0, "a"])),
        ("2[1.5]", Packet(EVENT, "/", [1.5])),
        ("2[-1]", Packet(EVENT, "/", [-1])),
        ('2[ "a" , 1 ]', Packet(EVENT, "/", ["a", 1])),
        ('0 {"a":1}', Packet(CONNECT, "/", {"a": 1})),
        ('200["a"]', Packet(EVENT, "/", ["a"], 0)),
        ('21234567890123456["a"]', Packet(EVENT, "/", ["a"], 1234567890123456)),
        ('2["a",{"b":1,"b":2}]', Packet(EVENT, "/", ["a", {"b": 2}])),
        ('2["a","\\u0000"]', Packet(EVENT, "/", ["a", "\x00"])),
        (f'2["a",{P0}]', Packet(EVENT, "/", ["a", {"_placeholder": True, "num": 0}])),
        ('2["a",{"__proto__":1}]', Packet(EVENT, "/", ["a", {"__proto__": 1}])),
        ('2["a",1e308]', Packet(EVENT, "/", ["a", 1e308])),
    ],
)
def test_accepted_text(text: str, packet: Packet) -> None:
    assert decode(text) == packet


def test_binary_packet_without_payload() -> None:
    assert decode("51-", b"x") == Packet(EVENT, "/", [])
    assert decode("61-5", b"x") == Packet(ACK, "/", [], 5)


def test_fewer_placeholders_than_attachments() -> None:
    assert decode(f'52-["a",{P1}]', b"0", b"1").data == ["a", b"1"]
    assert decode('51-["a"]', b"0").data == ["a"]


def test_placeholders_in_any_order() -> None:
    assert decode(f'52-["a",{P1},{{"b":{P0}}}]', b"0", b"1").data == ["a", b"1", {"b": b"0"}]


def test_attachment_used_twice() -> None:
    # A packet that grows when it is sent on: refused unless the application asks for it.
    text = f'51-["a",{P0},{P0}]'
    assert refusal(text, b"x") == "illegal attachments"
    assert decode(text, b"x", parser=JsonParser(allow_placeholder_reuse=True)).data == ["a", b"x", b"x"]


def test_numbers_that_no_float_can_hold() -> None:
    # Refused unless the application asks for them; then they are what they are in JavaScript, there and back.
    parser = JsonParser(allow_nonfinite=True)
    for text, value in (
        ("1e400", math.inf),
        ("-1e400", -math.inf),
        ("1e-400", 0.0),
        (r'["\ud800",1e999]', ["\ufffd", math.inf]),
    ):
        assert decode(f'2["a",{text}]', parser=parser).data == ["a", value]
    assert parser.encode(Packet(EVENT, "/", ["a", math.inf])) == ['2["a",null]']
    for text in ("NaN", "Infinity", "-Infinity", "1e400,", "[" * 65 + "1e400" + "]" * 65, "1" * 5_000):
        assert refusal(f'2["a",{text}]', parser=parser).startswith("invalid payload"), text


def test_count_with_leading_zeros() -> None:
    assert decode(f'5001-["a",{P0}]', b"x").data == ["a", b"x"]
    assert decode(f'5{"0" * 50}1-["a",{P0}]', b"x").data == ["a", b"x"]


@pytest.mark.parametrize("make", [bytearray, memoryview])
def test_attachments_become_bytes(make: Callable[[bytes], Any]) -> None:
    packet = decode(f'51-["a",{P0}]', make(b"x"))
    assert type(packet.data[1]) is bytes


# Surrogates: RFC 8259 section 8.2


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("\\ud800", "\ufffd"),
        ("\\uDFFF", "\ufffd"),
        ("a\\ud800b", "a\ufffdb"),
        ("\\ud83d\\ude00", "😀"),
        ("\\uD83D\\uDE00", "😀"),
        ("\\ude00\\ud83d", "\ufffd\ufffd"),
        ("\\ud83d\\ud83d\\ude00", "\ufffd😀"),
        ("\\ud83d\\ude00\\ude00", "😀\ufffd"),
        ("\\\\ud800", "\\ud800"),
        ("\\\\\\ud800", "\\\ufffd"),
        ("\\\\\\\\ud800\\ud800", "\\\\ud800\ufffd"),
        ("\\ud800\\n\\u0041", "\ufffd\nA"),
        ("\\ud800\\\\udc00", "\ufffd\\udc00"),
        ('\\ud800\\"', '\ufffd"'),
    ],
)
def test_lone_surrogates_become_replacement_characters(text: str, value: str) -> None:
    for data in (f'["a","{text}"]', f'["a","{text}",{{"{text}":1}},"{"x" * 300}"]'):
        packet = decode("2" + data)
        assert packet.data[1] == value
        for more in packet.data[2:3]:
            assert more == {value: 1}


def test_lone_surrogate_in_a_name_does_not_help_it() -> None:
    assert decode('2["\\ud800"]').data == ["\ufffd"]
    assert refusal('2["connect","\\ud800"]') == "invalid payload"
    assert refusal('2["\\ud800",]') == "invalid payload"


# Bounds


def nested(depth: int, head: str = '["a",', tail: str = "]") -> str:
    return "2" + head + "[" * (depth - 1) + "]" * (depth - 1) + tail


def test_depth() -> None:
    decode(nested(64))
    assert refusal(nested(65)) == "invalid payload: nested too deeply"
    assert refusal(nested(1_000)) == "invalid payload: nested too deeply"
    assert refusal(nested(100_000)).startswith("invalid payload")
    assert refusal("2" + "[" * 100_000).startswith("invalid payload")
    assert refusal('2["a",' + '{"a":' * 64 + "1" + "}" * 64 + "]") == "invalid payload: nested too deeply"
    assert refusal('0{"a":' + '{"a":' * 64 + "1" + "}" * 65) == "invalid payload: nested too deeply"
    assert refusal(nested(3), limits=Limits(json_depth=2)) == "invalid payload: nested too deeply"
    decode(nested(500), limits=Limits(json_depth=500))


def test_brackets_in_strings_are_no_depth() -> None:
    decode('2["a","' + "[" * 500 + '"]')
    decode('2["a","' + '\\"[' * 500 + '"]')
    decode('2["a","' + "\\\\" * 5 + "{[" * 500 + '",{"' + "}" * 200 + '":[]}]')
    # They cannot hide depth, either.
    hidden = '2["a",' + '["]",' * 64 + "1" + ',"["]' * 64 + "]"
    assert refusal(hidden) == "invalid payload: nested too deeply"
    hidden = '2["a",' + '[{"},{":1},' * 64 + "1" + "]" * 64 + "]"
    assert refusal(hidden) == "invalid payload: nested too deeply"


def test_tables_are_no_depth() -> None:
    rows = [{"id": number, "tags": ["a", "b"], "point": {"x": 1}} for number in range(500)]
    assert decode("2" + orjson.dumps(["rows", rows]).decode()).data == ["rows", rows]
    matrix = [[[1, 2], [3, 4]]] * 100
    assert decode("2" + orjson.dumps(["matrix", matrix]).decode()).data == ["matrix", matrix]


def json_depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(json_depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(json_depth, value), default=0)
    return 0


@given(values(st.text(alphabet='[]{},"\\:', max_size=8)), st.integers(1, 8), st.booleans())
def test_depth_is_exact(value: Any, limit: int, spaces: bool) -> None:
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 if spaces else None).decode()
    assert parser_module._is_deeper(text, limit) == (json_depth(value) > limit)
    if parser_module._is_shallow(text, limit):
        assert json_depth(value) <= limit


def test_number_of_values() -> None:
    limits = Limits(json_items=10)
    assert decode('2["a"' + ",1" * 9 + "]", limits=limits).data == ["a", *[1] * 9]
    assert refusal('2["a"' + ",1" * 10 + "]", limits=limits) == "invalid payload: too many values"
    assert refusal('2["a"' + ",[]" * 5 + "]", limits=limits) == "invalid payload: too many values"
    assert refusal('2["a"' + ",{}" * 5 + "]", limits=limits) == "invalid payload: too many values"
    assert decode('2["a","' + ",[{" * 50 + '"]', limits=limits).data == ["a", ",[{" * 50]
    assert decode('2["a","' + '\\",[{' * 50 + '"]', limits=limits).data == ["a", '",[{' * 50]


def test_number_of_values_by_default() -> None:
    decode('2["a"' + ",1" * 99_999 + "]")
    assert refusal('2["a"' + ",1" * 100_000 + "]") == "invalid payload: too many values"


def test_integers_have_no_bound_by_default() -> None:
    # As in JavaScript, they lose digits from some size on; here beyond 64 bits.
    assert decode('2["a",9007199254740993]').data == ["a", 2**53 + 1]
    assert decode('2["a",18446744073709551615]').data == ["a", 2**64 - 1]
    assert decode('2["a",18446744073709551616]').data == ["a", 2.0**64]
    assert decode('2["a",' + "9" * 300 + "]").data == ["a", 1e300]


@pytest.mark.parametrize("bits", [8, 53, 64, 100])
def test_integer_bits(bits: int) -> None:
    limits = Limits(integer_bits=bits)
    for sign in ("", "-"):
        assert decode(f'2["a",{sign}{2**bits - 1},"{10**40}",1e300,1.5]', limits=limits)
        for number in (2**bits, 10**40, 10**300, 2**bits * 10):
            for text in ('2["a",{}]', '2["a",{{"b":[{}]}}]', '0{{"a":{}}}', "31[{}]"):
                message = text.format(f"{sign}{number}")
                assert refusal(message, limits=limits) == "invalid payload: integer too large"


def test_namespace_length() -> None:
    limits = Limits(namespace_length=6)
    assert decode("0/12345", limits=limits).namespace == "/12345"
    assert refusal("0/123456", limits=limits) == "invalid namespace"
    assert refusal('2/123456,["a"]', limits=limits) == "invalid namespace"
    # Clients of Socket.IO 2 connect with their parameters behind the name.
    assert decode("0/12345?token=0123456789", limits=limits).namespace == "/12345?token=0123456789"
    assert refusal("0/123456?token=0123456789", limits=limits) == "invalid namespace"
    assert decode("0/a?" + "b" * 4_096, limits=limits)
    assert refusal("0/a?" + "b" * 4_097, limits=limits) == "invalid namespace"
    assert refusal("1/12345?token=0123456789", limits=limits) == "invalid namespace"


def test_number_of_attachments() -> None:
    assert decode("510-", *[b""] * 10).data == []
    assert refusal("511-") == "too many attachments"
    assert refusal("52-", limits=Limits(attachments=1)) == "too many attachments"
    assert decode("511-", *[b""] * 11, limits=Limits(attachments=11)).data == []


def test_size_of_attachments() -> None:
    limits = Limits(attachment_bytes=10)
    assert decode("52-", b"12345", b"67890", limits=limits)
    assert refusal("52-", b"12345", b"678901", limits=limits) == "attachments too large"
    assert refusal("52-", b"12345678901", limits=limits) == "attachments too large"
    decoder = PARSER.decoder(limits)
    for _ in range(3):
        # Counted for each packet alone.
        assert decoder.add("51-") is None
        assert decoder.add(b"1234567890") is not None


def test_reset() -> None:
    decoder = PARSER.decoder(Limits())
    decoder.reset()
    assert decoder.add(f'52-["a",{P0}]') is None
    assert decoder.add(b"1") is None
    assert decoder.waiting
    decoder.reset()
    assert not decoder.waiting
    assert decoder.add('2["b"]') == Packet(EVENT, "/", ["b"])
    decoder.add(f'51-["c",{P0}]')
    assert decoder.add(b"2") == Packet(EVENT, "/", ["c", b"2"])


def test_after_an_error_the_decoder_starts_again() -> None:
    decoder = PARSER.decoder(Limits(attachment_bytes=3))
    for last in ("2", b"1234"):
        decoder.add(f'51-["a",{P0}]')
        with pytest.raises(InvalidPacket):
            decoder.add(last)
        assert not decoder.waiting
        decoder.add(f'51-["a",{P0}]')
        assert decoder.add(b"1") == Packet(EVENT, "/", ["a", b"1"])


# The reviver, as of JSON.parse


@pytest.mark.feature(219)
def test_reviver() -> None:
    def reviver(key: str, value: Any) -> Any:
        return 3 if key == "a" else value

    parser = JsonParser(reviver=reviver)
    assert decode('2["b",{"a":1,"c":[{"a":2}]}]', parser=parser).data == ["b", {"a": 3, "c": [{"a": 3}]}]
    assert decode('0{"a":1}', parser=parser).data == {"a": 3}


def test_reviver_sees_inner_values_first_and_the_whole_last() -> None:
    seen: list[tuple[str, Any]] = []

    def reviver(key: str, value: Any) -> Any:
        seen.append((key, value))
        return value

    decode('3[1,{"a":[2]}]', parser=JsonParser(reviver=reviver))
    assert seen == [
        ("0", 1),
        ("0", 2),
        ("a", [2]),
        ("1", {"a": [2]}),
        ("", [1, {"a": [2]}]),
    ]


def test_result_of_the_reviver_is_checked() -> None:
    assert refusal('2["a"]', parser=JsonParser(reviver=lambda key, value: 1)) == "invalid payload"
    assert refusal('2["a"]', parser=JsonParser(reviver=lambda key, value: [])) == "invalid payload"


def test_reviver_that_fails() -> None:
    def reviver(key: str, value: Any) -> Any:
        raise KeyError(key)

    assert refusal('2["a"]', parser=JsonParser(reviver=reviver)) == "invalid payload"


# Parsers of others


class Reversed(Parser):
    """A parser that writes a packet as given, to try what the interface makes of it."""

    def __init__(self, *messages: str | bytes) -> None:
        self.messages = list(messages)
        self.packets: list[Packet] = []

    def encode(self, packet: Packet) -> list[str | bytes]:
        self.packets.append(packet)
        return self.messages

    def decoder(self, limits: Limits) -> Decoder:
        return Never()


class Never(Decoder):
    def add(self, message: str | bytes) -> Packet | None:
        return None


@pytest.mark.feature(221)
@pytest.mark.parametrize(
    ("messages", "result"),
    [
        ([], (b"", [])),
        (["é"], (b"4\xc3\xa9", [])),
        ([""], (b"4", [])),
        ([b"a", b"b"], (b"", [b"a", b"b"])),
        (["a", b"b", b"c"], (b"4a", [b"b", b"c"])),
    ],
)
def test_messages_of_other_parsers(messages: list[str | bytes], result: tuple[bytes, list[bytes]]) -> None:
    parser = Reversed(*messages)
    assert parser.encode_messages(Packet(EVENT), b"4") == result
    assert parser.encode_event("/a", ("b", 1), 2, b"4") == result
    assert parser.encode_ack("/a", ("b",), 2, b"4") == result
    assert parser.packets == [Packet(EVENT), Packet(EVENT, "/a", ["b", 1], 2), Packet(ACK, "/a", ["b"], 2)]


@pytest.mark.parametrize("messages", [[b"a", "b"], ["a", b"b", "c"], ["a", "b"]])
def test_text_after_anything_else(messages: list[str | bytes]) -> None:
    with pytest.raises(LocalProtocolError):
        Reversed(*messages).encode_messages(Packet(EVENT), b"4")


def test_decoder_that_keeps_nothing() -> None:
    decoder = Reversed().decoder(Limits())
    assert not decoder.waiting
    decoder.reset()


# Properties


@given(packets())
def test_round_trip(packet: Packet) -> None:
    assert decode(*PARSER.encode(packet)) == packet


@given(st.lists(packets(), min_size=2, max_size=3))
@settings(max_examples=50)
def test_packets_one_after_the_other(sent: list[Packet]) -> None:
    decoder = PARSER.decoder(Limits())
    received = [decoder.add(message) for packet in sent for message in PARSER.encode(packet)]
    assert [packet for packet in received if packet is not None] == sent
    assert not decoder.waiting


@given(packets(), st.sampled_from([b"", b"4"]))
def test_ways_to_encode_agree(packet: Packet, prefix: bytes) -> None:
    messages = PARSER.encode(packet)
    expected = (prefix + str(messages[0]).encode(), messages[1:])
    assert PARSER.encode_messages(packet, prefix) == expected
    assert Parser.encode_messages(PARSER, packet, prefix) == expected
    if packet.type == EVENT:
        assert PARSER.encode_event(packet.namespace, tuple(packet.data), packet.id, prefix) == expected
    elif packet.type == ACK:
        assert packet.id is not None
        assert PARSER.encode_ack(packet.namespace, tuple(packet.data), packet.id, prefix) == expected


@given(st.lists(st.text() | st.binary() | packet_like, max_size=4))
@example(['51-["a",{"_placeholder":true,"num":0}]', b"", "2"])
def test_any_input_is_a_packet_or_not(messages: list[str | bytes]) -> None:
    for limits in (Limits(), Limits(integer_bits=53, json_depth=3, json_items=5, attachment_bytes=3)):
        decoder = PARSER.decoder(limits)
        for message in messages:
            try:
                packet = decoder.add(message)
            except InvalidPacket:
                assert not decoder.waiting
                continue
            if packet is None:
                assert decoder.waiting
                continue
            # What is given on can be sent on.
            assert packet.type in {CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR}
            if packet.namespace.isprintable():
                assert PARSER.encode(packet)


def call_at_depth(frames: int, call: Callable[[], Any]) -> Any:
    """Call with so many more frames on the stack."""
    if frames <= 0:
        return call()
    return call_at_depth(frames - 1, call)


def frames_left() -> int:
    depth = 0
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        depth += 1
        frame = frame.f_back
    return sys.getrecursionlimit() - depth


@pytest.mark.parametrize(
    "messages",
    [
        ['2["a"]'],
        ['2["a","\\ud800",' + "[" * 70 + "]" * 70 + "]"],
        ['212["a"]'],
        ['0/admin,{"a":1}'],
        [f'51-["a",{P0}]', b"x"],
        ['2["a",' + '{"b":[' * 20 + "1" + "]}" * 20 + "]"],
        ["9"],
        ["51-"],
    ],
    ids=lambda messages: str(messages[0])[:20],
)
def test_from_the_bottom_of_a_deep_stack(messages: list[str | bytes]) -> None:
    for limits in (Limits(), Limits(integer_bits=8)):
        outcomes = []
        for spare in range(40):
            decoder = PARSER.decoder(limits)
            try:
                for message in messages:
                    call_at_depth(frames_left() - spare, lambda: decoder.add(message))  # noqa: B023
            except RecursionError:
                outcomes.append("too deep")
            except InvalidPacket:
                outcomes.append("still waiting" if decoder.waiting else "refused")
            else:
                outcomes.append("read")
        # Where there is no frame left for add(), or none below it to make an exception in, nothing can be done.
        possible = list(itertools.dropwhile(lambda outcome: outcome == "too deep", outcomes))
        assert len(possible) > 20
        assert set(possible) <= {"refused", "read"}
