"""How strict the Socket.IO decoder is, packet by packet, and the exact text of what the server encodes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from conformance.bench import Bench
from conformance.checks.engineio_errors import expect_alive
from conformance.expect import expect, expect_equal
from conformance.model import OFFICIAL, Check, Transport, check, register, sio
from conformance.peer.engineio import expect_ended
from conformance.peer.socketio import Client

ENCODING = sio("Packet encoding")
PLACEHOLDER = '{"_placeholder":true,"num":0}'


@dataclass(frozen=True, slots=True)
class Malformed:
    name: str
    sentence: str
    packets: tuple[str | bytes, ...]
    source: str = ENCODING


def one(name: str, packet: str, sentence: str, source: str = ENCODING) -> Malformed:
    return Malformed(name, sentence, (packet,), source)


MALFORMED = (
    one("empty", "4", "A packet has a type."),
    one("type.7", '47["message",1]', "Types end at 6."),
    one("type.9", "49", "Types end at 6."),
    one("type.letter", '4a["message",1]', "A type is a digit."),
    one("type.bracket", '4["message",1]', "A type is a digit, not the beginning of the data."),
    one("count.missing", "45", "A binary event says how many attachments follow."),
    one("count.no-dash", '451["message"]', "The number of attachments ends with `-`."),
    one("count.text", '45a-["message"]', "The number of attachments is a number."),
    one("count.fraction", '451.5-["message"]', "The number of attachments is an integer."),
    one("count.negative", '45-1-["message"]', "The number of attachments is not negative."),
    one("count.zero", '450-["message"]', "A binary event has at least one attachment.", OFFICIAL),
    one("count.empty", '45-["message"]', "The number of attachments is not left out.", OFFICIAL),
    one("count.eleven", f'4511-["message",{PLACEHOLDER}]', "A packet has at most ten attachments.", OFFICIAL),
    one("count.huge", f'459999999999-["message",{PLACEHOLDER}]', "Nor may it announce very many.", OFFICIAL),
    one("count.ack", "46", "A binary ack says how many attachments follow."),
    one("json.unclosed-array", '42["message"', "Data is complete JSON."),
    one("json.unclosed-string", '42["message', "Data is complete JSON."),
    one("json.trailing", '42["message"]]', "Nothing follows the data."),
    one("json.second-value", '42["message"]["message"]', "Data is one JSON value."),
    one("json.comma", '42["message",]', "JSON has no trailing comma."),
    one("json.nan", '42["message",NaN]', "JSON knows no NaN."),
    one("json.infinity", '42["message",Infinity]', "JSON knows no Infinity."),
    one("json.minus-infinity", '42["message",-Infinity]', "JSON knows no negative Infinity."),
    one("json.undefined", '42["message",undefined]', "JSON knows no undefined."),
    one("json.capital", '42["message",True]', "JSON's literals are in lower case."),
    one("json.leading-zero", '42["message",01]', "JSON's numbers have no leading zero."),
    one("json.plus", '42["message",+1]', "JSON's numbers have no plus sign."),
    one("json.bare-fraction", '42["message",.5]', "JSON's numbers have a digit before the point."),
    one("json.point", '42["message",1.]', "JSON's numbers have a digit after the point."),
    one("json.hexadecimal", '42["message",0x1]', "JSON's numbers are decimal."),
    one("json.quotes", "42['message']", "JSON's strings stand in double quotes."),
    one("json.escape", r'42["message","\x41"]', "JSON has few escapes, and this is none."),
    one("json.short-escape", r'42["message","\u12"]', "A Unicode escape has four digits."),
    one("json.newline", '42["message","a\nb"]', "JSON's strings hold no raw control characters."),
    one("json.comment", '42["message"/**/]', "JSON has no comments."),
    one("json.key", '42["message",{a:1}]', "JSON's keys are strings."),
    one("json.bom", '42["message",\ufeff1]', "A byte order mark is no part of JSON."),
    one("event.object", "42{}", "The data of an event is an array."),
    one("event.string", '42"message"', "The data of an event is an array."),
    one("event.null", "42null", "The data of an event is an array."),
    one("event.empty", "42[]", "An event has a name."),
    one("event.name.true", "42[true]", "The name of an event is no boolean."),
    one("event.name.null", "42[null]", "The name of an event is not null."),
    one("event.name.object", "42[{}]", "The name of an event is no object."),
    one("event.name.array", '42[["message"]]', "The name of an event is no array."),
    one("event.id", '42abc["message",1]', "Between type and data stands nothing but namespace and id."),
    one("ack.object", "431{}", "The data of an ack is an array."),
    one("ack.string", '431"x"', "The data of an ack is an array."),
    one("ack.null", "431null", "The data of an ack is an array."),
    one("connect.array", "40/custom,[]", "The payload of a CONNECT is an object."),
    one("connect.null", "40/custom,null", "The payload of a CONNECT is not null."),
    one("connect.string", '40/custom,"token"', "The payload of a CONNECT is an object."),
    one("connect.number", "40/custom,1.5", "The payload of a CONNECT is an object."),
    one("connect.json", "40/custom,{", "The payload of a CONNECT is JSON."),
    one("disconnect.object", "41{}", "A DISCONNECT has no payload."),
    one("disconnect.string", '41"bye"', "A DISCONNECT has no payload."),
    one("connect-error.text", '44"no"', "A client sends no CONNECT_ERROR.", OFFICIAL),
    one("connect-error.object", '44{"message":"no"}', "A client sends no CONNECT_ERROR.", OFFICIAL),
    one("connect-error.number", "44{1}", "The payload of a CONNECT_ERROR is JSON."),
    one("namespace.unfinished", '42/custom["message",1]', "A namespace ends with a comma."),
    *(
        one(f"event.reserved.{name}", f'42["{name}"]', f"`{name}` is a reserved name.", OFFICIAL)
        for name in (
            "connect",
            "connect_error",
            "disconnect",
            "disconnecting",
            "newListener",
            "removeListener",
        )
    ),
    Malformed("binary.alone", "Attachments follow a binary packet.", (b"\x01\x02",)),
    Malformed("binary.after-event", "A plain event has no attachments.", ('42["ack-none"]', b"\x01")),
    Malformed(
        "binary.too-many",
        "Attachments are as many as announced.",
        (f'451-["message",{PLACEHOLDER}]', b"\x01", b"\x02"),
    ),
    Malformed(
        "binary.text-between",
        "No other packet comes between a binary packet and its attachments.",
        (f'451-["message",{PLACEHOLDER}]', '42["message",1]'),
    ),
    Malformed(
        "binary.num-text",
        "The number of a placeholder is a number.",
        ('451-["message",{"_placeholder":true,"num":"0"}]', b"\x01"),
    ),
    Malformed(
        "binary.num-high",
        "The number of a placeholder is that of an attachment.",
        ('451-["message",{"_placeholder":true,"num":1}]', b"\x01"),
    ),
    Malformed(
        "binary.num-negative",
        "The number of a placeholder is not negative.",
        ('451-["message",{"_placeholder":true,"num":-1}]', b"\x01"),
    ),
    Malformed(
        "binary.num-missing",
        "A placeholder has a number.",
        ('451-["message",{"_placeholder":true}]', b"\x01"),
    ),
    Malformed(
        "binary.num-nested",
        "Placeholders are looked for at any depth.",
        ('451-["message",{"a":[{"_placeholder":true,"num":7}]}]', b"\x01"),
    ),
    one("binary.data", "451-{}", "The data of a binary event is an array."),
    one(
        "binary.reserved",
        f'451-["disconnect",{PLACEHOLDER}]',
        "Nor may a binary event have a reserved name.",
        OFFICIAL,
    ),
    one("binary.ack-data", "461-1{}", "The data of a binary ack is an array."),
)

ON_POLLING = ("empty", "type.9", "count.eleven", "json.trailing", "event.object", "event.reserved.disconnect")
"""Those that are sent over polling as well: the decoder is the same, the way to it is not."""


def malformed(case: Malformed, transport: Transport) -> Callable[[Bench], Awaitable[None]]:
    async def run(bench: Bench) -> None:
        client = await bench.client(transport)
        await client.send(*case.packets)
        await expect_ended(client.link)

    return run


for case in MALFORMED:
    transports: tuple[Transport, ...] = (
        ("websocket", "polling") if case.name in ON_POLLING else ("websocket",)
    )
    for transport in transports:
        suffix = ".polling" if transport == "polling" else ""
        register(
            Check(
                f"socketio.codec.refused.{case.name}{suffix}",
                f"{case.sentence} Otherwise the connection is closed.",
                case.source,
                malformed(case, transport),
            )
        )


@check(
    "socketio.codec.refused.reason",
    "A packet that cannot be decoded is an error of each socket of the client, and then a forced close.",
    OFFICIAL,
)
async def refused_reason(bench: Bench) -> None:
    client = await bench.client("websocket")
    sids = [await client.connect("/custom"), await client.connect("/dynamic-refused")]
    await client.send("42{}")
    for sid in sids:
        happened = await bench.reasons(sid)
        expect_equal(
            [entry[:2] for entry in happened],
            [["error"], ["disconnecting", "forced close"], ["disconnect", "forced close"]],
        )


@check("socketio.codec.refused.others-live", "One client's malformed packet is nothing to another.", ENCODING)
async def others_live(bench: Bench) -> None:
    witness = await bench.client("websocket")
    for packet in ("42{}", "4", '45woooot["x"]', "44{}"):
        client = await bench.client("websocket")
        await client.send(packet)
        await client.link.wait_ended()
    await expect_alive(witness)


@check(
    "socketio.codec.refused.before-connect",
    "A malformed packet closes the connection before any namespace is joined too.",
    ENCODING,
)
async def before_connect(bench: Bench) -> None:
    link = await bench.link("websocket")
    await link.send("4abc")
    await expect_ended(link)


ACCEPTED = {
    "no-payload": ("42", "An event without payload is accepted and does nothing."),
    "no-payload-id": ("4212", "So is one with an id."),
    "ack-no-payload": ("431", "An ack without payload is accepted."),
    "ack-unknown": ("43999[1]", "An ack that nobody waits for is ignored."),
    "number-name": ("42[1,2]", "An event may be named by a number."),
    "empty-name": ('42[""]', "An event may have an empty name."),
    "unknown-name": ('42["nobody listens"]', "An event that nobody listens to is ignored."),
    "error-name": ('42["error",{"message":"x"}]', "`error` is the name of an event like another."),
    "connection-name": ('42["connection",1]', "So is `connection`."),
    "proto-name": ('42["__proto__",1]', "So is `__proto__`."),
    "space": ('42[ "nobody" , 1 ] ', "White space may stand around JSON's tokens."),
}


def accepted(packet: str) -> Callable[[Bench], Awaitable[None]]:
    async def run(bench: Bench) -> None:
        client = await bench.client("websocket")
        await client.send(packet)
        await client.expect_silence()

    return run


for name, (packet, sentence) in ACCEPTED.items():
    register(Check(f"socketio.codec.accepted.{name}", sentence, OFFICIAL, accepted(packet)))


@dataclass(frozen=True, slots=True)
class Echo:
    """Literal data of a ``message`` event, and of the answer: the same where not given, or another that is as good."""

    name: str
    sentence: str
    sent: str
    received: str | None = None
    source: str = ENCODING
    or_received: str | None = None


ECHOES = (
    Echo("scalars", "Scalars are JSON's.", '"a",1,-2.5,true,false,null'),
    Echo("nested", "Arguments nest.", '{"a":[{"b":[[],{}]}]}'),
    Echo("unicode", "Text outside ASCII is sent as it is.", '"é€𝄞你好"'),
    Echo("escapes", "What JSON must escape is escaped.", r'"\"\\\n\t"'),
    Echo("control", "Control characters are escaped.", r'"\u0000\u001e\u001f"'),
    Echo("unescaped", "What need not be escaped is not.", r'"\u00e9\/"', '"é/"', OFFICIAL),
    Echo("separators", "U+2028 is sent as it is.", r'"\u2028"', '"\u2028"', OFFICIAL),
    Echo(
        "surrogate",
        "A lone surrogate stays an escape, or becomes U+FFFD: RFC 8259 section 8.2 leaves it open.",
        r'"\ud800"',
        source=OFFICIAL,
        or_received='"\ufffd"',
    ),
    Echo("pair", "An escaped pair is one character.", r'"\ud834\udd1e"', '"𝄞"', OFFICIAL),
    Echo(
        "white-space",
        "Data is written without white space.",
        ' { "a" : [ 1 , 2 ] } ',
        '{"a":[1,2]}',
        OFFICIAL,
    ),
    Echo("keys", "Keys keep their order.", '{"b":1,"a":2,"c":3}', source=OFFICIAL),
    Echo("empty-key", "A key may be empty.", '{"":1}'),
    Echo("constructor", "Names of the language are keys like others.", '{"constructor":1,"toString":2}'),
    Echo("large", "Integers are exact up to 2^53 - 1.", "9007199254740991,-9007199254740991"),
    Echo(
        "placeholder",
        "In a plain event an object that looks like a placeholder is an object.",
        PLACEHOLDER,
        source=OFFICIAL,
    ),
    Echo("duplicate-key", "Of a repeated key the last value counts.", '{"a":1,"a":2}', '{"a":2}', OFFICIAL),
    Echo("no-arguments", "An event may have no arguments.", "", ""),
    Echo("many", "An event may have many arguments.", ",".join(str(number) for number in range(200))),
    Echo("deep", "Fifty levels are not too deep.", "[" * 50 + "]" * 50),
)


def echoed(case: Echo) -> Callable[[Bench], Awaitable[None]]:
    def text(name: str, data: str) -> str:
        return f'42["{name}",{data}]' if data else f'42["{name}"]'

    async def run(bench: Bench) -> None:
        client = await bench.client("websocket")
        await client.send(text("message", case.sent))
        answer = case.sent if case.received is None else case.received
        received = await client.receive_text()
        if case.or_received is None or received != text("message-back", case.or_received):
            expect_equal(received, text("message-back", answer))

    return run


for echo in ECHOES:
    register(Check(f"socketio.codec.data.{echo.name}", echo.sentence, echo.source, echoed(echo)))


@check("socketio.codec.data.numbers", "Numbers keep their value, however they are written.", ENCODING)
async def data_numbers(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.send('42["message",1.0,1e2,1e-7,1e21,-0.5]')
    packet = await client.receive()
    expect(packet.data == ["message-back", 1, 100, 1e-7, 1e21, -0.5], "the same numbers", packet)


@check("socketio.codec.text.connect", "The answer to a CONNECT of `/` is `40` and the sid.", ENCODING)
async def text_connect(bench: Bench) -> None:
    link = await bench.link("websocket")
    await link.send("40")
    answer = str(await link.receive())
    sid = answer[10:-2]
    expect_equal(answer, f'40{{"sid":"{sid}"}}')
    expect_equal(await link.receive(), '42["auth",{}]')


@check(
    "socketio.codec.text.namespace",
    "A namespace other than `/` stands before the data, with a comma.",
    ENCODING,
)
async def text_namespace(bench: Bench) -> None:
    link = await bench.link("websocket")
    await link.send("40/custom,")
    expect(str(await link.receive()).startswith('40/custom,{"sid":"'), '40/custom,{"sid":…}', "another text")
    expect_equal(await link.receive(), '42/custom,["auth",{}]')
    await link.send('42/custom,7["ack-none"]', '42/custom,["leave-namespace"]')
    expect_equal(await link.receive(), "43/custom,7[]")
    expect_equal(await link.receive(), "41/custom,")


@check("socketio.codec.text.disconnect", "A DISCONNECT from `/` is `41`.", ENCODING)
async def text_disconnect(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.emit("leave-namespace")
    expect_equal(await client.receive_text(), "41")


@check("socketio.codec.text.ack", "An ack is `43`, the id of the event, and an array.", ENCODING)
async def text_ack(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.send('42456["message-with-ack",1,"2",{"3":[false]}]')
    expect_equal(await client.receive_text(), '43456[1,"2",{"3":[false]}]')


@check(
    "socketio.codec.text.namespace-unfinished",
    "In a CONNECT the comma after the namespace may be left out.",
    OFFICIAL,
)
async def namespace_unfinished(bench: Bench) -> None:
    client = Client(await bench.link("websocket"))
    await client.send("40/custom")
    packet = await client.receive()
    expect_equal((packet.type, packet.namespace), (0, "/custom"))


@check("socketio.codec.text.namespace-explicit", "`/` may be written out.", OFFICIAL)
async def namespace_explicit(bench: Bench) -> None:
    client = Client(await bench.link("websocket"))
    await client.send("40/,")
    packet = await client.receive()
    expect_equal((packet.type, packet.namespace), (0, "/"))


@check("socketio.codec.text.id-large", "An id may have many digits.", OFFICIAL)
async def id_large(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.send('429007199254740991["ack-none"]')
    expect_equal(await client.receive_text(), "439007199254740991[]")


@dataclass(frozen=True, slots=True)
class Binary:
    name: str
    sentence: str
    args: tuple[Any, ...]


BINARIES = (
    Binary("one", "An argument may be binary.", (b"\x01\x02\x03",)),
    Binary(
        "two", "Several arguments may be binary, and keep their order.", (b"\x01", b"\x02", "text", b"\x03")
    ),
    Binary("nested", "A binary part may be at any depth.", ({"a": [{"b": b"\x01"}], "c": b"\x02"},)),
    Binary("null-beside", "Other values stand beside binary ones.", ({"a": None, "b": b"\x01", "c": 0},)),
    Binary("empty", "A binary part may be empty.", (b"",)),
    Binary("equal", "Equal binary parts are separate attachments.", (b"\x01", b"\x01")),
    Binary("ten", "Ten attachments are not too many.", tuple(bytes([number]) for number in range(10))),
    Binary("all-bytes", "Every byte value passes.", (bytes(range(256)),)),
    Binary("large", "A binary part may be large.", (bytes(100_000),)),
)


def binary_echo(case: Binary, transport: Transport) -> Callable[[Bench], Awaitable[None]]:
    async def run(bench: Bench) -> None:
        client = await bench.client(transport)
        await client.emit("message", *case.args)
        await client.expect_event("message-back", *case.args)

    return run


for binary in BINARIES:
    for transport in ("polling", "websocket"):
        register(
            Check(
                f"socketio.binary.{binary.name}.{transport}",
                binary.sentence,
                ENCODING,
                binary_echo(binary, transport),
            )
        )


@check(
    "socketio.binary.order", "Attachments follow in the order of their placeholders, depth first.", ENCODING
)
async def binary_order(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.emit("message", {"x": [b"\x0a", {"y": b"\x0b"}]}, b"\x0c")
    expect_equal(
        await client.receive_text(),
        '453-["message-back",{"x":[{"_placeholder":true,"num":0},{"y":{"_placeholder":true,"num":1}}]},'
        '{"_placeholder":true,"num":2}]',
    )
    expect_equal([await client.link.receive() for _ in range(3)], [b"\x0a", b"\x0b", b"\x0c"])


@check("socketio.binary.permuted", "Placeholders may name the attachments in any order.", OFFICIAL)
async def binary_permuted(bench: Bench) -> None:
    client = await bench.client("websocket")
    names = '{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}'
    await client.send(f'452-["message",{names}]', b"\x0a", b"\x0b")
    await client.expect_event("message-back", b"\x0b", b"\x0a")


@check("socketio.binary.namespace", "Binary events of two namespaces do not mix.", ENCODING)
async def binary_namespace(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.connect("/custom")
    await client.emit("message", b"\x01", namespace="/custom")
    await client.emit("message", b"\x02")
    await client.expect_event("message-back", b"\x01", namespace="/custom")
    await client.expect_event("message-back", b"\x02")


@check(
    "socketio.binary.across-posts",
    "A binary packet and its attachments may come in different payloads.",
    OFFICIAL,
)
async def binary_across_posts(bench: Bench) -> None:
    client = await bench.client("polling")
    await client.send(f'452-["message",{PLACEHOLDER},{{"_placeholder":true,"num":1}}]', b"\x01")
    await client.send(b"\x02")
    await client.expect_event("message-back", b"\x01", b"\x02")


@check(
    "socketio.binary.forgotten",
    "A client that leaves between a binary packet and its attachments leaves nothing behind.",
    ENCODING,
)
async def binary_forgotten(bench: Bench) -> None:
    client = await bench.client("polling")
    await client.send(f'451-["message",{PLACEHOLDER}]', "1")
    await expect_alive(await bench.client("polling"))
