"""Threats to the Socket.IO parser and its packets: rows T31 to T43 of docs/threat-model.md."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import pytest

from sio_core import LocalProtocolError
from sio_core.socketio.packet import EVENT, Packet
from sio_core.socketio.parser import JsonParser
from tests.security.witness import CALM_PATH, Stand, eventually

pytestmark = pytest.mark.anyio

LIMIT = 1_000_000


async def expect_end(stand: Stand, *messages: str | bytes, path: str = CALM_PATH) -> None:
    """A client that sends this loses its connection, and no listener has run."""
    client = await stand.peer(path).client("websocket")
    await client.send(*messages)
    await stand.peer(path).until_ended(client.link)
    happened = await stand.happened()
    shown = repr(messages)[:300]
    assert [entry for entry in happened if entry[0] == "ran"] == [], shown
    assert "ping timeout" not in [entry[1] for entry in happened], f"the session went on after {shown}"


async def expect_good(stand: Stand, *messages: str | bytes, path: str = "/socket.io/") -> list[Any]:
    """A client that sends this is answered afterwards; return what the listener ``ran`` got."""
    client = await stand.peer(path).client("websocket")
    await client.send(*messages)
    assert await client.call("echo", "still here") == ["still here"]
    return [entry[1:] for entry in await stand.happened() if entry[0] == "ran"]


def place(*numbers: Any) -> str:
    return ",".join(f'{{"_placeholder":true,"num":{number}}}' for number in numbers)


# T31 to T33: attachments


@pytest.mark.threat("T31")
async def test_as_many_attachments_as_are_allowed_and_one_more(stand: Stand) -> None:
    blobs = [bytes([number]) for number in range(10)]
    client = await stand.peer().client("websocket")
    assert await client.call("echo", *blobs) == blobs
    for count in ("11", "99", "010", "1000000000", "9" * 400):
        await expect_end(stand, f'45{count}-["ran",{place(*range(11))}]')


@pytest.mark.threat("T31")
def test_more_attachments_are_not_sent_either() -> None:
    parser = JsonParser()
    parser.encode(Packet(EVENT, "/", ["x", *[b"x"] * 10]))
    with pytest.raises(LocalProtocolError, match="too many attachments: 11"):
        parser.encode(Packet(EVENT, "/", ["x", *[b"x"] * 11]))


@pytest.mark.threat("T32")
async def test_a_binary_packet_has_at_least_one_attachment(stand: Stand) -> None:
    for head in (
        '450-["ran"]',
        '450-["ran",1]',
        "450-",
        '45-["ran"]',
        '45["ran"]',
        '4600-1["ran"]',
        "460-1[]",
    ):
        await expect_end(stand, head)
    client = await stand.peer(CALM_PATH).client("websocket")
    await client.send('450-["ran"]', *[bytes(1_000)] * 100)
    await stand.peer(CALM_PATH).until_ended(client.link)


@pytest.mark.threat("T32b")
async def test_attachments_that_belong_to_nothing(stand: Stand) -> None:
    """Before CONNECT, for a namespace one is not in, after the last one, and instead of text."""
    early = await stand.peer(CALM_PATH).websocket()
    await early.send(f'451-["ran",{place(0)}]', b"x")
    await stand.peer(CALM_PATH).until_ended(early)
    await expect_end(stand, f'451-/other,["ran",{place(0)}]', b"x")
    await expect_end(stand, b"x")
    await expect_end(stand, f'451-["none",{place(0)}]', b"x", b"y")
    await expect_end(stand, f'451-["ran",{place(0)}]', '42["ran"]')


@pytest.mark.threat("T32b")
async def test_attachments_that_do_not_come(stand: Stand) -> None:
    client = await stand.peer().client("websocket")
    await client.send(f'452-["ran",{place(0, 1)}]', bytes(LIMIT))
    await stand.peer().until_ended(client.link)
    assert await stand.hits("attachment_time") >= 1


@pytest.mark.threat("T32b")
async def test_attachments_of_those_who_leave_are_freed(stand: Stand) -> None:
    """50 MB that are never complete: the process is as large as before, once their senders have gone."""
    peer = stand.peer()
    for _ in range(10):
        client = await peer.client("websocket")
        await client.send(f'456-["none",{place(*range(6))}]')
        for _ in range(5):
            await client.send(bytes(LIMIT))


@pytest.mark.threat("T33", "T33b")
async def test_placeholders_name_each_attachment_once(stand: Stand) -> None:
    for number in (
        "-1",
        '"0"',
        "1",
        "9",
        "0.0",
        "0.5",
        "true",
        "null",
        "[]",
        "{}",
        "1e0",
        '"length"',
        "4294967296",
    ):
        await expect_end(stand, f'451-["ran",{place(number)}]', b"x")
    for data in (
        place(0, 0),  # twice
        f'[[{place(0)}],{{"a":{place(0)}}}]',
        f'{place(0)},{{"_placeholder":true}}',
        f'{place(0)},{{"_placeholder":true,"num":0}}',
    ):
        await expect_end(stand, f'451-["ran",{data}]', b"x")
    await expect_end(stand, f'452-["ran",{place(0, 0)}]', b"x", b"y")
    await expect_end(stand, f'451-["ran",{place(*[0] * 20_000)}]', b"x")
    client = await stand.peer().client("websocket")
    assert await client.call("echo", [b"y", {"a": [b"x"]}]) == [[b"y", {"a": [b"x"]}]]


# T34, T35: types and names

BAD_PACKETS = [
    "4", "47", "48", "49", "4a", "4 2", "4-1", "4٢", "4\x00", "42{}", "42[]", "42[{}]", "42[[]]", "42[null]",
    "42[true]", '42"ran"', "42true", "42null", "42[", '42["ran"', '42["ran"]]', '42["ran"] x',
    "42['ran']", '42["ran",]', '42["ran",undefined]', '421"ran"', '42,["ran"]', '42x["ran"]', "43{}", "431{}", '431"x"',
    '40"x"', "401", "40[]", "40true", "41x", '41["ran"]', '44{"message":"x"}',
    '44"x"', '45["ran"]', '451-"ran"', "451-{}", "451-[]", '461-1"x"', "461-1{}", '461-["x"]', "45", "451", "451-",
    '42["ran"]\x00', '\ufeff42["ran"]', '4２["ran"]', '42["\x01"]',
]  # fmt: skip


@pytest.mark.threat("T34", "T43")
async def test_packets_that_are_none(stand: Stand) -> None:
    for packet in BAD_PACKETS:
        await expect_end(stand, packet)


@pytest.mark.threat("T34", "T47")
async def test_packets_that_say_nothing_do_nothing(stand: Stand) -> None:
    """The official server takes them; there is no name to be heard, nor anything to be acknowledged."""
    assert await expect_good(stand, "42", "421", "42[1.5]", '42[7,"ran"]', "43", '43["ran"]', "431") == []


@pytest.mark.threat("T34")
async def test_packets_that_are_none_by_polling(stand: Stand) -> None:
    peer = stand.peer(CALM_PATH)
    for packet in BAD_PACKETS[::6]:
        client = await peer.client("polling")
        await client.send(packet)
        await peer.until_ended(client.link)
    assert [entry for entry in await stand.happened() if entry[0] == "ran"] == []


RESERVED = ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"]


@pytest.mark.threat("T35")
async def test_reserved_names_are_no_events(stand: Stand) -> None:
    for name in RESERVED:
        await expect_end(stand, f'42["{name}","forged"]')
        await expect_end(stand, f'421["{name}"]')
        await expect_end(stand, f'451-["{name}",{place(0)}]', b"x")
        await expect_end(stand, "40/class,", f'42/class,["{name}","forged"]')
        await expect_end(stand, json.dumps(name).join(["42[", "]"]).replace("c", "\\u0063", 1))
    entries = await stand.happened()
    assert "forged" not in json.dumps(entries)


INTERNALS = [
    "connection", "on_connection", "on_disconnect", "_connection", "__class__", "__init__", "_inspector",
    "ran", "emit", "adapter", "sockets", "on_echo", "__proto__", "constructor", "", " ", "echo\x00", "ECHO",
    "e" * 5_000,
]  # fmt: skip


@pytest.mark.threat("T35")
async def test_no_name_reaches_what_is_no_listener(stand: Stand) -> None:
    """Neither the lifecycle of a namespace, nor what a class has besides."""
    client = await stand.peer().client("websocket")
    await client.connect("/class")
    await stand.happened()
    for name in INTERNALS:
        await client.emit(name, "forged", namespace="/class", ack_id=7)
    assert await client.call("echo", 1, namespace="/class") == [1]
    await client.emit("connection", "forged")
    assert await client.call("echo", 1) == [1]
    assert await stand.happened() == []


@pytest.mark.threat("T34", "T35")
async def test_packets_that_are_none_in_msgpack(stand: Stand) -> None:
    encode = msgspec.msgpack.encode
    event: dict[str, Any] = {"type": 2, "nsp": "/", "data": ["ran"]}
    connect = encode({"type": 0, "nsp": "/"})
    for packet in (
        encode({**event, "data": []}), encode({**event, "data": [{}]}), encode({**event, "data": "ran"}),
        encode({**event, "data": ["disconnect"]}), encode({**event, "type": 9}), encode({**event, "type": "2"}),
        encode({**event, "nsp": 1}), encode({**event, "nsp": None}), encode({"type": 2}), encode([1, 2]), encode(1),
        encode({**event, "id": -1}), encode({**event, "id": "1"}), encode({**event, "id": 1.5}), b"", b"\xc1",
        encode(event)[:-1], encode(event) + b"\x00", b"\xdf\xff\xff\xff\xff", b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff", b"\x91" * 500_000, encode({**event, "data": ["ran", {1: 2}]}),
    ):  # fmt: skip
        link = await stand.peer("/msgpack/").websocket()
        await link.send(connect, packet)
        await stand.peer().until_ended(link)
        happened = await stand.happened()
        assert [entry for entry in happened if entry[0] == "ran"] == [], packet[:100]
        assert "ping timeout" not in [entry[1] for entry in happened], packet[:100]
    good = await stand.peer("/msgpack/").websocket()
    await good.send(
        connect, encode({**event, "data": ["ran", math.nan]}), encode({**event, "data": ["ran", b"x"]})
    )

    async def has_run() -> bool:
        return ["ran", None] in await stand.happened()  # not a number is none in the JSON of the witness

    await eventually(has_run)


# T36 to T41: values


@pytest.mark.threat("T36")
async def test_nesting_is_bounded(stand: Stand) -> None:
    for opening, inside, closing in (("[", "1", "]"), ('{"a":', "1", "}")):
        deep = opening * 63 + inside + closing * 63
        assert await expect_good(stand, f'42["ran",{deep}]') == [[json.loads(deep)]]
        for depth in (64, 1_000, 100_000):
            await expect_end(stand, f'42["ran",{opening * depth}{inside}{closing * depth}]')
            await expect_end(stand, f'42["ran",{opening * depth}')
            await expect_end(stand, f"40{opening * depth}{inside}{closing * depth}")
    await expect_end(stand, '42["ran",' + "[" * (LIMIT - 100))
    inside_text = "[" * 5_000 + '\\"' * 5_000
    assert await expect_good(stand, f'42["ran","{inside_text}"]') == [["[" * 5_000 + '"' * 5_000]]


@pytest.mark.threat("T37")
async def test_many_values_cost_little_or_the_connection(stand: Stand) -> None:
    before = await stand.witness.inspect("census")
    peer = stand.peer()
    for item in ("{}", "[]", '""', "0", '{"a":0}'):
        count = LIMIT // (len(item) + 1) - 10
        async with stand.cpu() as spent:
            await expect_end(stand, f'42["none",[{",".join([item] * count)}]]')
        assert spent[0] < 1.0
    allowed = f'42["none",[{",".join(["{}"] * 30_000)}]]'
    clients = [await peer.client("websocket") for _ in range(16)]
    for client in clients:
        await client.send(allowed)
    for client in clients:
        assert await client.call("echo") == []
    after = await stand.witness.inspect("census")
    assert after["memory"] - before["memory"] < 50_000_000


@pytest.mark.threat("T38")
async def test_numbers_that_javascript_cannot_read_go_nowhere(stand: Stand) -> None:
    listening = await stand.peer().client("websocket")
    for number in (
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400",
        "-1e400",
        "1e999999999",
        "nan",
        "0x10",
        "01",
        "1_0",
        "+1",
        ".5",
    ):
        await expect_end(stand, f'42["relay",{number}]')
        await expect_end(stand, f'42["ran",{{"a":[{number}]}}]')
        await expect_end(stand, f'40/other,{{"a":{number}}}')
    sender = await stand.peer().client("websocket")
    await sender.send('42["relay",1e308,-0.0,5e-324,1e16]')
    heard = await listening.receive_text()
    assert json.loads(heard[2:], parse_constant=refuse) == ["relayed", 1e308, -0.0, 5e-324, 1e16]


def refuse(constant: str) -> float:
    raise AssertionError(f"{constant} is no JSON")


@pytest.mark.threat("T39")
async def test_halves_of_pairs_and_nul_pass_through_harmlessly(stand: Stand) -> None:
    """To another client, back to the sender, and in the name of a room."""
    poison = r"\ud800", r"x\udc00y", r"\udc00\ud800", r"\u0000", r"\ufffe", r"\ud83d\ude00"
    healed = "\ufffd", "x\ufffdy", "\ufffd\ufffd", "\x00", "\ufffe", "\U0001f600"
    listening = await stand.peer().client("websocket")
    sender = await stand.peer().client("websocket")
    for sent, seen in zip(poison, healed, strict=True):
        await sender.send(f'42["relay","{sent}",{{"{sent}":1}}]')
        await listening.expect_event("relayed", seen, {seen: 1})
        await sender.send(f'427["echo","{sent}"]')
        await sender.expect_packet(3, [seen], ack_id=7)
        await sender.send(f'427["join","{sent}"]')
        assert seen in (await sender.receive()).data[0]
        await sender.send(f'42["{sent}"]', f'40/other{sent},{{"a":"{sent}"}}')
        assert (await sender.receive()).type == 4


@pytest.mark.threat("T40")
async def test_large_integers(stand: Stand) -> None:
    """They pass as they are, unless ``integer_bits`` says what is too large."""
    client = await stand.peer().client("websocket")
    for number in (2**53, -(2**63), 2**64 - 1):
        await client.send(f'421["echo",{number}]')
        assert await client.receive_text() == f"431[{number}]"
    for number in (2**53 - 1, 1 - 2**53):
        assert await expect_good(stand, f'42["ran",{number}]', path="/capped/") == [[number]]
    for digits in (str(2**53), str(-(2**53)), str(2**64), "1" * 4_400):
        await expect_end(stand, f'42["ran",{digits}]', path="/capped/")
        await expect_end(stand, f'42["ran",{{"a":[{digits}]}}]', path="/capped/")


@pytest.mark.threat("T40", "T15b")
async def test_acknowledgement_ids_have_up_to_16_digits(stand: Stand) -> None:
    client = await stand.peer().client("websocket")
    for number in ("0", "9" * 15, "9007199254740991"):
        await client.send(f'42{number}["echo"]')
        assert await client.receive_text() == f"43{number}[]"
    for number in ("9" * 17, "1" * 5_000, "-1", "1.0", "1e3", "0x1", "１"):
        await expect_end(stand, f'42{number}["ran"]')
        await expect_end(stand, f"43{number}[]")


@pytest.mark.threat("T41")
async def test_of_equal_keys_the_last_counts(stand: Stand) -> None:
    """As in every JavaScript client, so that no two parties read a packet differently."""
    got = await expect_good(stand, '42["ran",{"a":1,"b":0,"a":2,"\\u0061":3}]')
    assert got == [[{"a": 3, "b": 0}]]
    client = await stand.peer().client("websocket")
    await client.send('421["echo",{"role":"user","role":"admin"}]')
    assert await client.receive_text() == '431[{"role":"admin"}]'


# T42, T43: size and order


@pytest.mark.threat("T42")
async def test_reading_a_packet_takes_time_linear_in_its_size(stand: Stand) -> None:
    client = await stand.peer().client("websocket")
    times = []
    for size in (450_000, 900_000):
        texts = ",".join(['"' + "\\u00e9\\ud83d\\ude00" * 4 + '"'] * (size // 75))
        spent_of = []
        for _ in range(3):
            async with stand.cpu() as spent:
                for _ in range(3):
                    await client.send(f'42["none",[{texts}]]')
                await client.call("echo")
            spent_of.append(spent[0])
        times.append(min(spent_of))
    assert times[1] < 4 * times[0] + 0.1
    assert times[1] < 2.0


OUT_OF_ORDER: list[tuple[str | bytes, ...]] = [
    ("40",),  # twice
    ("40", "40"),
    ("41", "41"),
    ("41", '42["ran"]'),
    ("41", "431[]"),
    ('42/other,["ran"]',),
    ("41/other,",),
    ("40/other,", "40/other,"),
    ("431/other,[]",),
    ('44/other,{"message":"x"}',),
    (b"\x00",),
    ("40/slow,", '42/slow,["ran"]'),
    ("40/slow,", "40/slow,"),
    ("40/slow,", "41/slow,"),
]


@pytest.mark.threat("T43")
async def test_packets_out_of_order(stand: Stand) -> None:
    for messages in OUT_OF_ORDER:
        await expect_end(stand, *messages)


@pytest.mark.threat("T43")
@pytest.mark.parametrize(
    "message", ['42["ran"]', "41", "431[]", b"x", '44{"message":"x"}', '42/other,["ran"]']
)
async def test_packets_before_the_first_connect(stand: Stand, message: str | bytes) -> None:
    link = await stand.peer(CALM_PATH).websocket()
    await link.send(message)
    await stand.peer(CALM_PATH).until_ended(link)
    assert await stand.happened() == []
