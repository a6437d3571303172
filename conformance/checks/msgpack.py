"""The msgpack parser: each packet is one MessagePack map in one binary message."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from conformance.bench import Bench
from conformance.expect import MismatchError, expect, expect_equal
from conformance.model import OFFICIAL, Check, Transport, check, check_both, register
from conformance.peer.engineio import Link, expect_ended

PROFILE = "msgpack"
SOURCE = "socket.io-msgpack-parser"
UNDEFINED = msgspec.msgpack.Ext(0, b"\x00")
"""How JavaScript's ``undefined`` is written: an extension of type 0 with one zero byte."""


def encode(**packet: Any) -> bytes:
    return msgspec.msgpack.encode(packet)


async def receive(link: Link) -> dict[str, Any]:
    """The next packet, without what stands for absent values."""
    message = await link.receive()
    if isinstance(message, str):
        raise MismatchError("a binary message", message)
    packet = msgspec.msgpack.decode(message)
    if not isinstance(packet, dict):
        raise MismatchError("a map", repr(packet))
    return {key: without_undefined(value) for key, value in packet.items() if value != UNDEFINED}


def without_undefined(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_undefined(item) for key, item in value.items() if item != UNDEFINED}
    return value


async def joined(bench: Bench, transport: Transport = "websocket") -> Link:
    link = await bench.link(transport)
    await link.send(encode(type=0, nsp="/"))
    packet = await receive(link)
    expect_equal((packet["type"], packet["nsp"], sorted(packet["data"])), (0, "/", ["sid"]))
    expect_equal(await receive(link), {"type": 2, "nsp": "/", "data": ["auth", {}]})
    return link


@check_both(
    "msgpack.connect", "A namespace is joined with a map of type and namespace.", SOURCE, profile=PROFILE
)
async def connect(bench: Bench, transport: Transport) -> None:
    await joined(bench, transport)


@check(
    "msgpack.connect-undefined",
    "An undefined payload, as the official client writes it, is none.",
    SOURCE,
    profile=PROFILE,
)
async def connect_undefined(bench: Bench) -> None:
    link = await bench.link("websocket")
    await link.send(bytes.fromhex("83a47479706500a464617461d40000a36e7370a12f"))
    expect_equal((await receive(link))["type"], 0)
    expect_equal(await receive(link), {"type": 2, "nsp": "/", "data": ["auth", {}]})


@check("msgpack.auth", "The auth payload reaches the application.", SOURCE, profile=PROFILE)
async def auth(bench: Bench) -> None:
    link = await bench.link("websocket")
    await link.send(encode(type=0, nsp="/custom", data={"token": "x"}))
    expect_equal((await receive(link))["nsp"], "/custom")
    expect_equal((await receive(link))["data"], ["auth", {"token": "x"}])


@check("msgpack.invalid-namespace", "A namespace that does not exist is refused.", SOURCE, profile=PROFILE)
async def invalid_namespace(bench: Bench) -> None:
    link = await bench.link("websocket")
    await link.send(encode(type=0, nsp="/random"))
    expect_equal(await receive(link), {"type": 4, "nsp": "/random", "data": {"message": "Invalid namespace"}})


@check("msgpack.refused", "A middleware's refusal carries message and data.", SOURCE, profile=PROFILE)
async def refused(bench: Bench) -> None:
    link = await joined(bench)
    await link.send(encode(type=0, nsp="/protected", data={"mode": "data"}))
    data = {"message": "not authorized", "data": {"code": "E1", "retry": False}}
    expect_equal(await receive(link), {"type": 4, "nsp": "/protected", "data": data})


VALUES: dict[str, list[Any]] = {
    "scalars": [1, -1, 127, 128, 255, 256, 65536, -32, -33, -129, -40000, True, False, None, "", "é€𝄞"],
    "integers": [2**32 - 1, 2**32, -(2**31), -(2**31) - 1, 2**53 - 1, -(2**53) + 1],
    "floats": [0.5, -1.25, 3.141592653589793, 1e-300],
    "texts": ["x" * 31, "x" * 32, "x" * 255, "x" * 256, "x" * 65536],
    "arrays": [[], list(range(15)), list(range(16)), list(range(70000))],
    "maps": [{}, {"a": {"b": [1]}}, {f"k{number}": number for number in range(20)}],
    "binary": [b"", b"\x00\xff", bytes(255), bytes(256), bytes(65536), {"nested": [b"\x01"]}],
}


def echo(values: list[Any], transport: Transport) -> Callable[[Bench], Awaitable[None]]:
    async def run(bench: Bench) -> None:
        link = await joined(bench, transport)
        await link.send(encode(type=2, nsp="/", data=["message", *values]))
        expect_equal(await receive(link), {"type": 2, "nsp": "/", "data": ["message-back", *values]})

    return run


for value_name, values in VALUES.items():
    for transport in ("polling", "websocket"):
        register(
            Check(
                f"msgpack.echo.{value_name}.{transport}",
                f"Values of every form come back as they were: {value_name}.",
                SOURCE,
                echo(values, transport),
                PROFILE,
            )
        )


@check("msgpack.one-message", "A binary event is one message: nothing follows it.", SOURCE, profile=PROFILE)
async def one_message(bench: Bench) -> None:
    link = await joined(bench)
    await link.send(encode(type=2, nsp="/", data=["message", b"\x01"]))
    await link.send(encode(type=2, nsp="/", data=["message", 2]))
    received = [(await receive(link))["data"] for _ in range(2)]
    expect_equal(received, [["message-back", b"\x01"], ["message-back", 2]])


@check("msgpack.extra-keys", "Keys that the protocol does not know are ignored.", SOURCE, profile=PROFILE)
async def extra_keys(bench: Bench) -> None:
    link = await joined(bench)
    await link.send(encode(type=2, data=["message", 1], options={"compress": True}, nsp="/"))
    expect_equal((await receive(link))["data"], ["message-back", 1])


@check("msgpack.ack", "An event with an id is answered with an ack.", SOURCE, profile=PROFILE)
async def ack(bench: Bench) -> None:
    link = await joined(bench)
    await link.send(encode(type=2, nsp="/", id=7, data=["message-with-ack", b"\x01", 2]))
    expect_equal(await receive(link), {"type": 3, "nsp": "/", "id": 7, "data": [b"\x01", 2]})


@check("msgpack.asked", "The server may ask for an ack.", SOURCE, profile=PROFILE)
async def asked(bench: Bench) -> None:
    link = await joined(bench)
    await link.send(encode(type=2, nsp="/", data=["ask", 1]))
    question = await receive(link)
    expect_equal(question["data"], ["question", 1])
    await link.send(encode(type=3, nsp="/", id=question["id"], data=["yes"]))
    expect_equal((await receive(link))["data"], ["answer", "yes"])


@check("msgpack.disconnect", "A DISCONNECT has type and namespace.", SOURCE, profile=PROFILE)
async def disconnect(bench: Bench) -> None:
    link = await joined(bench)
    await link.send(encode(type=2, nsp="/", data=["leave-namespace"]))
    expect_equal(await receive(link), {"type": 1, "nsp": "/"})


@check("msgpack.broadcast", "A broadcast reaches both transports.", OFFICIAL, profile=PROFILE)
async def broadcast(bench: Bench) -> None:
    namespace = bench.dynamic()
    links = [await bench.link("polling"), await bench.link("websocket")]
    for link in links:
        await link.send(encode(type=0, nsp=namespace))
        await receive(link)
        await receive(link)
    await links[1].send(encode(type=2, nsp=namespace, data=["all", b"\x01"]))
    for link in links:
        expect_equal((await receive(link))["data"], ["all", b"\x01"])


MALFORMED: dict[str, tuple[str | bytes, str]] = {
    "text": ('42["message",1]', "Packets are not text."),
    "empty": (b"", "A packet is not empty."),
    "truncated": (encode(type=2, nsp="/", data=["message", 1])[:-1], "A packet is complete."),
    "trailing": (encode(type=2, nsp="/", data=["message", 1]) + b"\x00", "Nothing follows a packet."),
    "no-map": (msgspec.msgpack.encode([2, "/", ["message"]]), "A packet is a map."),
    "type.missing": (encode(nsp="/", data=["message"]), "A packet has a type."),
    "type.5": (encode(type=5, nsp="/", data=["message"]), "There are no binary types."),
    "type.negative": (encode(type=-1, nsp="/", data=["message"]), "A type is not negative."),
    "type.text": (encode(type="2", nsp="/", data=["message"]), "A type is a number."),
    "type.fraction": (encode(type=2.5, nsp="/", data=["message"]), "A type is an integer."),
    "namespace.missing": (encode(type=2, data=["message"]), "A packet has a namespace."),
    "namespace.number": (encode(type=2, nsp=1, data=["message"]), "A namespace is text."),
    "data.missing": (encode(type=2, nsp="/"), "An event has data."),
    "data.map": (encode(type=2, nsp="/", data={"a": 1}), "The data of an event is an array."),
    "ack.text": (encode(type=3, nsp="/", id=1, data="x"), "The data of an ack is an array."),
    "connect.array": (encode(type=0, nsp="/custom", data=[1]), "The payload of a CONNECT is an object."),
    "connect.text": (encode(type=0, nsp="/custom", data="x"), "The payload of a CONNECT is an object."),
    "disconnect.data": (encode(type=1, nsp="/", data={}), "A DISCONNECT has no payload."),
    "id.text": (encode(type=2, nsp="/", id="1", data=["message"]), "An id is a number."),
    "id.fraction": (encode(type=2, nsp="/", id=1.5, data=["message"]), "An id is an integer."),
}


def malformed(packet: str | bytes) -> Callable[[Bench], Awaitable[None]]:
    async def run(bench: Bench) -> None:
        link = await joined(bench)
        await link.send(packet)
        await expect_ended(link)

    return run


for case_name, (packet, sentence) in MALFORMED.items():
    register(
        Check(
            f"msgpack.refused.{case_name}",
            f"{sentence} Otherwise the connection is closed.",
            SOURCE,
            malformed(packet),
            PROFILE,
        )
    )


@check("msgpack.upgrade", "Packets stay whole across an upgrade.", OFFICIAL, profile=PROFILE)
async def upgrade(bench: Bench) -> None:
    session = await bench.polling()
    await session.send(encode(type=0, nsp="/"))
    await receive(session)
    await receive(session)
    websocket = await bench.probe(session)
    await session.send(encode(type=2, nsp="/", data=["message", "posted"]))
    await websocket.send("5")
    message = await websocket.receive()
    expect(isinstance(message, bytes), "a binary message", message)
    assert isinstance(message, bytes)
    expect_equal(msgspec.msgpack.decode(message)["data"], ["message-back", "posted"])
