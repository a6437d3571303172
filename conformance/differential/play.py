"""Plays a transcript to a server and writes down everything that comes back."""

from __future__ import annotations

import asyncio

from conformance.bench import Bench
from conformance.client.chromium import Chromium
from conformance.differential.normalise import normalise
from conformance.differential.transcripts import Conversation, Request
from conformance.peer.engineio import EndedError, Link, PollingSession
from conformance.peer.http import DisconnectedError
from conformance.target import Server

PAUSE = 0.006
"""Seconds between two packets: what a server does in the next turn of its loop is done by then."""

LONG_PAUSE = 0.02
LIMIT = 1.0
"""Seconds without any packet after which a server that should answer is taken to have nothing to say."""

FENCE = "/dynamic-fence"


async def play(server: Server, played: Conversation | Request, pace: float = 1) -> list[str]:
    """``pace`` lengthens the pauses."""
    bench = Bench(server, Chromium())
    try:
        if isinstance(played, Request):
            return await play_request(bench, played)
        return await play_conversation(bench, played, pace)
    finally:
        bench.close()


async def play_conversation(bench: Bench, conversation: Conversation, pace: float) -> list[str]:
    link = await bench.link(conversation.transport)
    try:
        for packet in conversation.packets:
            await link.send(packet)
            joins_or_leaves = isinstance(packet, str) and (packet[:2] in ("40", "41") or '["leave' in packet)
            await asyncio.sleep(pace * (LONG_PAUSE if joins_or_leaves else PAUSE))
        await link.send(f"40{FENCE},")
        await asyncio.sleep(pace * LONG_PAUSE)
        await link.send(f'42{FENCE},9["ack-none"]')
    except (AssertionError, DisconnectedError):
        pass  # the session has ended: what it said before is still to be read
    return await everything(link)


async def everything(link: Link) -> list[str]:
    """All packets up to the answer to the fence, or to the end of the session."""
    lines: list[str] = []
    while True:
        try:
            async with asyncio.timeout(LIMIT):
                packet = await link.receive()
        except EndedError as ended:
            return [*lines, normalise(f"ended: {ended.how}")]
        except (TimeoutError, DisconnectedError):
            return [*lines, "silence"]
        line = packet.hex() if isinstance(packet, bytes) else normalise(packet)
        lines.append(line)
        if line == f"43{FENCE},9[]":
            return lines


async def play_request(bench: Bench, request: Request) -> list[str]:
    query = dict(request.extra)
    if request.session == "unknown":
        query["sid"] = "abcdefghijklmnopqrst"
    elif request.session == "polling":
        session: PollingSession = await bench.polling()
        query["sid"] = session.sid
        await session.send("40")
        await asyncio.sleep(LONG_PAUSE)
    elif request.session == "websocket":
        query["sid"] = (await bench.websocket()).sid
    target = bench.target(request.transport, request.eio, **query)
    body = None if request.body is None or request.method == "GET" else request.body.encode()
    try:
        async with asyncio.timeout(LIMIT):
            response = await bench.request(request.method, target, body=body)
    except (TimeoutError, DisconnectedError):
        return ["no answer"]
    names = ("content-type", "cache-control", "x-middleware", "x-initial", "x-every", "set-cookie")
    headers = [f"{name}: {response.header(name)}" for name in names]
    return [str(response.status), *headers, normalise(response.text)]
