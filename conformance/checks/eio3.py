"""``allowEIO3``: clients of Socket.IO v2, which speak Engine.IO v3."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from conformance.bench import Bench
from conformance.checks.engineio_errors import expect_refused
from conformance.expect import expect, expect_equal
from conformance.model import OFFICIAL, check, eio3
from conformance.peer.engineio import describe
from conformance.peer.engineio3 import decode_payload, encode_binary_payload, encode_payload
from conformance.peer.http import Response
from conformance.peer.websocket import WebSocket

PROFILE = "eio3"
AUTH = '42["auth",{}]'


class OldPolling:
    """A polling session of version 3, joined to `/` as the server does by itself."""

    def __init__(self, bench: Bench, target: str, opened: dict[str, Any], first: list[str]) -> None:
        self.bench = bench
        self.target = target
        self.opened = opened
        self.received = first

    @classmethod
    async def open(cls, bench: Bench, **query: str) -> OldPolling:
        target = bench.target("polling", "3", **query)
        response = await bench.request("GET", target)
        expect_equal(response.status, 200, "status of the handshake")
        first, *rest = packets_of(response)
        expect(first.startswith("0{"), "an OPEN packet", first)
        opened = json.loads(first[1:])
        return cls(bench, f"{target}&sid={opened['sid']}", opened, rest)

    async def get(self) -> Response:
        return await self.bench.request("GET", self.target)

    async def post(self, body: bytes, content_type: str = "text/plain;charset=UTF-8") -> Response:
        return await self.bench.request("POST", self.target, [("Content-Type", content_type)], body)

    async def send(self, *packets: str) -> None:
        response = await self.post(encode_payload(*packets).encode())
        expect_equal((response.status, response.body), (200, b"ok"))

    async def receive(self) -> str:
        while not self.received:
            response = await self.get()
            expect_equal(response.status, 200, "status of a poll")
            self.received += packets_of(response)
        return self.received.pop(0)

    async def joined(self) -> OldPolling:
        expect_equal(await self.receive(), "40", "first message")
        expect_equal(await self.receive(), AUTH, "second message")
        return self


def packets_of(response: Response) -> list[str]:
    text = response.text
    if text.startswith("___eio["):
        text = json.loads(text[text.index("(") + 1 : -2])
    return decode_payload(text)


async def old_websocket(bench: Bench) -> tuple[WebSocket, dict[str, Any]]:
    websocket = await bench.open_websocket(bench.target("websocket", "3"))
    first = await websocket.receive()
    expect(isinstance(first, str) and first.startswith("0{"), "an OPEN packet", first)
    expect_equal(await websocket.receive(), "40", "first message")
    expect_equal(await websocket.receive(), AUTH, "second message")
    return websocket, json.loads(str(first)[1:])


@check(
    "eio3.handshake.framing",
    "A payload of version 3 is the length of each packet, a colon, and the packet.",
    eio3("Payload encoding"),
    profile=PROFILE,
)
async def framing(bench: Bench) -> None:
    response = await bench.request("GET", bench.target("polling", "3"))
    length, _, rest = response.text.partition(":")
    expect(rest.startswith("0{"), "an OPEN packet", rest)
    expect(int(length) <= len(rest), "a length within the payload", length)


@check(
    "eio3.handshake.keys",
    "The OPEN packet tells sid, upgrades, ping interval and ping timeout.",
    eio3("Handshake"),
    profile=PROFILE,
)
async def keys(bench: Bench) -> None:
    session = await OldPolling.open(bench)
    expect(
        {"sid", "upgrades", "pingInterval", "pingTimeout"} <= set(session.opened),
        "the four keys",
        session.opened,
    )


@check("eio3.handshake.no-version", "A request without version is of version 3.", OFFICIAL, profile=PROFILE)
async def no_version(bench: Bench) -> None:
    response = await bench.request("GET", bench.target("polling", None))
    expect(response.status == 200 and ":0{" in response.text, "a payload of version 3", response)


@check("eio3.handshake.version-4", "Clients of version 4 are served beside.", OFFICIAL, profile=PROFILE)
async def version_4(bench: Bench) -> None:
    await bench.client("polling")
    await bench.client("websocket")


@check("eio3.handshake.refused", "Without the option version 3 is refused.", OFFICIAL)
async def refused(bench: Bench) -> None:
    expect_refused(await bench.request("GET", bench.target("polling", "3")), 5)


@check("eio3.connect.main", "The server joins an old client to `/` by itself.", OFFICIAL, profile=PROFILE)
async def connect_main(bench: Bench) -> None:
    await (await OldPolling.open(bench)).joined()
    await old_websocket(bench)


@check("eio3.connect.id", "The socket id of `/` is the session id.", OFFICIAL, profile=PROFILE)
async def connect_id(bench: Bench) -> None:
    websocket, opened = await old_websocket(bench)
    await websocket.send('421["info"]')
    info = json.loads(str(await websocket.receive())[3:])[0]
    expect_equal((info["id"], info["engine"], info["protocol"]), (opened["sid"], opened["sid"], 3))


@check(
    "eio3.connect.namespace",
    "Another namespace is joined by name; its socket id is built from both.",
    OFFICIAL,
    profile=PROFILE,
)
async def connect_namespace(bench: Bench) -> None:
    websocket, opened = await old_websocket(bench)
    await websocket.send("40/custom,")
    expect_equal(await websocket.receive(), "40/custom,")
    expect_equal(await websocket.receive(), '42/custom,["auth",{}]')
    await websocket.send('42/custom,1["info"]')
    answer = str(await websocket.receive())
    info = json.loads(answer.removeprefix("43/custom,1"))[0]
    expect_equal(info["id"], f"/custom#{opened['sid']}")


@check("eio3.connect.query", "The query of a namespace becomes its auth payload.", OFFICIAL, profile=PROFILE)
async def connect_query(bench: Bench) -> None:
    websocket, _ = await old_websocket(bench)
    await websocket.send("40/custom?token=123&a=b%20c,")
    expect_equal(await websocket.receive(), "40/custom,")
    expect_equal(await websocket.receive(), '42/custom,["auth",{"token":"123","a":"b c"}]')


@check("eio3.connect.invalid", "A namespace that does not exist is refused.", OFFICIAL, profile=PROFILE)
async def connect_invalid(bench: Bench) -> None:
    websocket, _ = await old_websocket(bench)
    await websocket.send("40/random,")
    expect_equal(await websocket.receive(), '44/random,{"message":"Invalid namespace"}')


@check(
    "eio3.connect.refused",
    "A middleware's refusal is its message alone, or its data.",
    OFFICIAL,
    profile=PROFILE,
)
async def connect_refused(bench: Bench) -> None:
    websocket, _ = await old_websocket(bench)
    await websocket.send("40/protected?mode=plain,")
    expect_equal(await websocket.receive(), '44/protected,"not authorized"')
    await websocket.send("40/protected?mode=data,")
    expect_equal(await websocket.receive(), '44/protected,{"code":"E1","retry":false}')


@check(
    "eio3.polling.echo",
    "Events go both ways in payloads of version 3.",
    eio3("Payload encoding"),
    profile=PROFILE,
)
async def polling_echo(bench: Bench) -> None:
    session = await (await OldPolling.open(bench)).joined()
    await session.send('42["message",1]', '42["message","two"]')
    expect_equal(
        [await session.receive(), await session.receive()],
        ['42["message-back",1]', '42["message-back","two"]'],
    )


@check(
    "eio3.polling.length",
    "Lengths count characters of JavaScript, not bytes.",
    eio3("Payload encoding"),
    profile=PROFILE,
)
async def polling_length(bench: Bench) -> None:
    session = await (await OldPolling.open(bench)).joined()
    await session.send('42["message","€𝄞"]')
    expect_equal((await session.get()).text, '24:42["message-back","€𝄞"]')


@check(
    "eio3.polling.binary-in",
    "A binary payload holds packets of both kinds.",
    eio3("Payload encoding"),
    profile=PROFILE,
)
async def polling_binary_in(bench: Bench) -> None:
    session = await (await OldPolling.open(bench, b64="1")).joined()
    header = '451-["message",{"_placeholder":true,"num":0}]'
    body = encode_binary_payload([header, b"\x01\x02\x03"])
    response = await session.post(body, "application/octet-stream")
    expect_equal((response.status, response.body), (200, b"ok"))
    expect_equal(await session.receive(), '451-["message-back",{"_placeholder":true,"num":0}]')
    expect_equal(await session.receive(), "b4AQID")


@check(
    "eio3.polling.binary-out",
    "A client that takes binary gets a binary payload.",
    eio3("Payload encoding"),
    profile=PROFILE,
)
async def polling_binary_out(bench: Bench) -> None:
    session = await (await OldPolling.open(bench)).joined()
    await session.send('451-["message",{"_placeholder":true,"num":0}]', "b4AQID")
    await bench.settle()
    response = await session.get()
    wanted = encode_binary_payload(['451-["message-back",{"_placeholder":true,"num":0}]', b"\x01\x02\x03"])
    expect_equal((response.header("content-type"), response.body), ("application/octet-stream", wanted))


@check(
    "eio3.polling.base64-out",
    "A client that takes none gets base64.",
    eio3("Payload encoding"),
    profile=PROFILE,
)
async def polling_base64_out(bench: Bench) -> None:
    session = await (await OldPolling.open(bench, b64="1")).joined()
    await session.send('451-["message",{"_placeholder":true,"num":0}]', "b4AQIDBA==")
    await session.receive()
    expect_equal(await session.receive(), "b4AQIDBA==")


@check(
    "eio3.polling.invalid",
    "A payload without lengths ends the session.",
    eio3("Payload encoding"),
    profile=PROFILE,
)
async def polling_invalid(bench: Bench) -> None:
    session = await (await OldPolling.open(bench)).joined()
    await session.post(b"abc")
    await session.get()
    expect_refused(await session.get(), 1)


@check("eio3.polling.close", "A close packet ends the session.", eio3("Close"), profile=PROFILE)
async def polling_close(bench: Bench) -> None:
    session = await (await OldPolling.open(bench)).joined()
    await session.send("1")
    expect_refused(await session.get(), 1)


@check(
    "eio3.polling.overlap",
    "A second poll at the same time ends the session.",
    eio3("Polling"),
    profile=PROFILE,
)
async def polling_overlap(bench: Bench) -> None:
    session = await (await OldPolling.open(bench)).joined()
    first = asyncio.create_task(session.get())
    await bench.settle()
    expect_equal((await session.get()).status, 400, "status of the second poll")
    expect_equal((await first).text, "1:1", "first poll")


@check(
    "eio3.heartbeat.polling", "The client pings and the server answers.", eio3("Heartbeat"), profile=PROFILE
)
async def heartbeat_polling(bench: Bench) -> None:
    session = await (await OldPolling.open(bench)).joined()
    for _ in range(2):
        await session.send("2")
        expect_equal(await session.receive(), "3")


@check(
    "eio3.heartbeat.websocket",
    "So it is over WebSocket; what comes with a ping is not repeated.",
    OFFICIAL,
    profile=PROFILE,
)
async def heartbeat_websocket(bench: Bench) -> None:
    websocket, _ = await old_websocket(bench)
    for ping in ("2", "2hello"):
        await websocket.send(ping)
        expect_equal(await websocket.receive(), "3")


@check("eio3.heartbeat.pong", "A pong of the client is in the wrong direction.", OFFICIAL, profile=PROFILE)
async def heartbeat_pong(bench: Bench) -> None:
    websocket, _ = await old_websocket(bench)
    await websocket.send("3")
    how = describe(await websocket.wait_closed())
    expect("close frame" in how, "a close frame", how)


@check("eio3.websocket.echo", "Events go both ways as text.", eio3("Packet encoding"), profile=PROFILE)
async def websocket_echo(bench: Bench) -> None:
    websocket, _ = await old_websocket(bench)
    await websocket.send('42["message","é"]')
    expect_equal(await websocket.receive(), '42["message-back","é"]')


@check(
    "eio3.websocket.binary",
    "A binary message has its type in front, as a byte.",
    eio3("Packet encoding"),
    profile=PROFILE,
)
async def websocket_binary(bench: Bench) -> None:
    websocket, _ = await old_websocket(bench)
    await websocket.send('451-["message",{"_placeholder":true,"num":0}]')
    await websocket.send(b"\x04\x01\x02")
    expect_equal(await websocket.receive(), '451-["message-back",{"_placeholder":true,"num":0}]')
    expect_equal(await websocket.receive(), b"\x04\x01\x02")


@check("eio3.upgrade", "An old session is upgraded as a new one is.", eio3("Upgrade"), profile=PROFILE)
async def upgrade(bench: Bench) -> None:
    session = await (await OldPolling.open(bench)).joined()
    target = bench.target("websocket", "3", sid=session.opened["sid"])
    websocket = await bench.open_websocket(target)
    await websocket.send("2probe")
    expect_equal(await websocket.receive(), "3probe")
    await websocket.send("5")
    await websocket.send('42["message",1]')
    expect_equal(await websocket.receive(), '42["message-back",1]')


@check("eio3.mismatch", "An old session is not continued in version 4.", OFFICIAL, profile=PROFILE)
async def mismatch(bench: Bench) -> None:
    session = await (await OldPolling.open(bench)).joined()
    expect_refused(await bench.request("GET", bench.target("polling", "4", sid=session.opened["sid"])), 3)


@check(
    "eio3.jsonp.get",
    "With `j` the payload is a call of a function in JavaScript.",
    eio3("JSONP"),
    profile=PROFILE,
)
async def jsonp_get(bench: Bench) -> None:
    response = await bench.request("GET", bench.target("polling", "3", j="7"))
    text = response.text
    expect(text.startswith("___eio[7](") and text.endswith(");"), "___eio[7](…);", text)
    payload = json.loads(text[len("___eio[7](") : -2])
    expect(decode_payload(payload)[0].startswith("0{"), "an OPEN packet", payload)


@check("eio3.jsonp.post", "A JSONP client sends its payload as a form.", eio3("JSONP"), profile=PROFILE)
async def jsonp_post(bench: Bench) -> None:
    session = await (await OldPolling.open(bench, j="0")).joined()
    form = b"d=15%3A42%5B%22message%22%2C1%5D"
    response = await session.post(form, "application/x-www-form-urlencoded")
    expect_equal((response.status, response.body), (200, b"ok"))
    text = (await session.get()).text
    expect_equal(text, '___eio[0]("20:42[\\"message-back\\",1]");')


@check("eio3.ack", "Acknowledgements work as ever.", OFFICIAL, profile=PROFILE)
async def ack(bench: Bench) -> None:
    websocket, _ = await old_websocket(bench)
    await websocket.send('425["message-with-ack",1,2]')
    expect_equal(await websocket.receive(), "435[1,2]")


@check(
    "eio3.broadcast",
    "Clients of both versions are reached by one broadcast, binary ones in their own form.",
    OFFICIAL,
    profile=PROFILE,
)
async def broadcast(bench: Bench) -> None:
    namespace = bench.dynamic()
    old, _ = await old_websocket(bench)
    await old.send(f"40{namespace},")
    await old.receive()
    await old.receive()
    client = await bench.client("websocket", namespace)
    await client.emit("all", b"\x01", namespace=namespace)
    await client.expect_event("all", b"\x01", namespace=namespace)
    header = f'451-{namespace},["all",{{"_placeholder":true,"num":0}}]'
    expect_equal([await old.receive(), await old.receive()], [header, b"\x04\x01"])
