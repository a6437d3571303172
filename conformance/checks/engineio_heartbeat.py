"""PING and PONG, from both sides, and what happens when one is missing."""

from __future__ import annotations

import asyncio
import time

from conformance.bench import Bench
from conformance.checks.engineio_errors import expect_refused
from conformance.expect import expect, expect_equal
from conformance.model import OFFICIAL, Transport, check, check_both, eio, sio
from conformance.peer.engineio import EndedError, Link, PollingSession
from conformance.peer.socketio import Client

HEARTBEAT = eio("Heartbeat")
INTERVAL, TIMEOUT = 0.3, 0.2
LATE = 0.9
"""What a busy machine may add to any of these lengths of time."""


async def joined(bench: Bench, transport: Transport) -> tuple[Link, str]:
    """A session that has joined a namespace, so that the connect timeout does not interfere."""
    link = await bench.link(transport)
    return link, await Client(link).connect()


async def expect_ping(link: Link) -> float:
    expect_equal(await link.receive(), "2")
    return time.monotonic()


async def ended_at(link: Link) -> float:
    try:
        while True:
            await link.receive()
    except EndedError:
        return time.monotonic()


@check_both(
    "engineio.heartbeat.first",
    "The first PING comes one interval after the handshake.",
    HEARTBEAT,
    "timing",
    profile="timing",
)
async def first(bench: Bench, transport: Transport) -> None:
    started_at = time.monotonic()
    link, _ = await joined(bench, transport)
    waited = await expect_ping(link) - started_at
    expect(INTERVAL - 0.05 <= waited <= INTERVAL + LATE, f"a PING after {INTERVAL} s", f"{waited:.3f} s")


@check_both(
    "engineio.heartbeat.cycles", "Each PONG starts the next interval.", HEARTBEAT, "timing", profile="timing"
)
async def cycles(bench: Bench, transport: Transport) -> None:
    link, _ = await joined(bench, transport)
    await expect_ping(link)
    for _ in range(3):
        await asyncio.sleep(0.1)
        await link.send("3")
        ponged_at = time.monotonic()
        waited = await expect_ping(link) - ponged_at
        expect(INTERVAL - 0.05 <= waited <= INTERVAL + LATE, f"a PING after {INTERVAL} s", f"{waited:.3f} s")


@check_both(
    "engineio.heartbeat.missing-pong",
    "Without PONG the session ends one ping timeout after the PING.",
    HEARTBEAT,
    "timing",
    profile="timing",
)
async def missing_pong(bench: Bench, transport: Transport) -> None:
    link, sid = await joined(bench, transport)
    pinged_at = await expect_ping(link)
    waited = await ended_at(link) - pinged_at
    expect(TIMEOUT - 0.06 <= waited <= TIMEOUT + LATE, f"the end after {TIMEOUT} s", f"{waited:.3f} s")
    await bench.expect_reason(sid, "ping timeout")


@check(
    "engineio.heartbeat.never-polled",
    "A client that never polls is pinged in vain, and its session ends.",
    HEARTBEAT,
    "timing",
    profile="timing",
)
async def never_polled(bench: Bench) -> None:
    session = await bench.polling()
    await asyncio.sleep(INTERVAL + TIMEOUT + LATE)
    expect_refused(await session.get(), 1)


@check(
    "engineio.heartbeat.late-pong",
    "A PONG after the timeout revives nothing.",
    HEARTBEAT,
    "timing",
    profile="timing",
)
async def late_pong(bench: Bench) -> None:
    session = await bench.polling()
    sid = await Client(session).connect()
    await expect_ping(session)
    await asyncio.sleep(TIMEOUT + LATE / 2)
    expect_refused(await session.post("3"), 1)
    await bench.expect_reason(sid, "ping timeout")


@check_both(
    "engineio.heartbeat.pong-in-time",
    "A PONG shortly before the timeout keeps the session.",
    HEARTBEAT,
    "timing",
    profile="timing",
)
async def pong_in_time(bench: Bench, transport: Transport) -> None:
    link, _ = await joined(bench, transport)
    await expect_ping(link)
    await asyncio.sleep(TIMEOUT / 2)
    await link.send("3")
    await expect_ping(link)


@check_both(
    "engineio.heartbeat.unasked-pong",
    "A PONG that answers nothing starts the interval anew.",
    OFFICIAL,
    "timing",
    profile="timing",
)
async def unasked_pong(bench: Bench, transport: Transport) -> None:
    link, _ = await joined(bench, transport)
    await asyncio.sleep(INTERVAL / 2)
    await link.send("3")
    ponged_at = time.monotonic()
    waited = await expect_ping(link) - ponged_at
    expect(waited >= INTERVAL - 0.05, f"a PING after {INTERVAL} s", f"{waited:.3f} s")


@check_both(
    "engineio.heartbeat.data-extends-once",
    "While a PING is out, the first packet that is no PONG starts the timeout anew; a second does not.",
    OFFICIAL,
    "timing",
    profile="timing",
)
async def data_extends_once(bench: Bench, transport: Transport) -> None:
    link, _ = await joined(bench, transport)
    pinged_at = await expect_ping(link)
    ended = asyncio.create_task(ended_at(link))
    for moment in (0.12, 0.24):
        await asyncio.sleep(pinged_at + moment - time.monotonic())
        await link.send('42["volatile-after"]')
    waited = await ended - pinged_at
    expect(
        0.12 + TIMEOUT - 0.06 <= waited <= 0.24 + TIMEOUT - 0.02,
        "the end 0.32 s after the PING",
        f"{waited:.3f} s",
    )


@check_both(
    "engineio.heartbeat.ping-is-bare",
    "A PING of the server is the character `2` alone.",
    HEARTBEAT,
    "timing",
    profile="timing",
)
async def ping_is_bare(bench: Bench, transport: Transport) -> None:
    link, _ = await joined(bench, transport)
    if isinstance(link, PollingSession):
        expect_equal((await link.get()).body, b"2")
    else:
        expect_equal(await link.receive(), "2")


CONNECT_TIMEOUT = 1.0


async def lifetime(link: Link) -> float:
    """How long the session lives when its client answers the heartbeat and does nothing else."""
    started_at = time.monotonic()
    try:
        while True:
            if await link.receive() == "2":
                await link.send("3")
    except EndedError:
        return time.monotonic() - started_at


@check_both(
    "socketio.connect-timeout.idle",
    "A client that joins no namespace is closed after `connectTimeout`.",
    sio("Connection to a namespace"),
    "timing",
    profile="timing",
)
async def connect_timeout_idle(bench: Bench, transport: Transport) -> None:
    lived = await lifetime(await bench.link(transport))
    expect(CONNECT_TIMEOUT - 0.1 <= lived <= CONNECT_TIMEOUT + LATE, "the end after 1 s", f"{lived:.3f} s")


@check(
    "socketio.connect-timeout.refused",
    "Being refused by a namespace does not stop that time.",
    OFFICIAL,
    "timing",
    profile="timing",
)
async def connect_timeout_refused(bench: Bench) -> None:
    link = await bench.link("websocket")
    await link.send("40/unknown,")
    lived = await lifetime(link)
    expect(CONNECT_TIMEOUT - 0.1 <= lived <= CONNECT_TIMEOUT + LATE, "the end after 1 s", f"{lived:.3f} s")


@check(
    "socketio.connect-timeout.undecided",
    "Nor does a middleware that never decides.",
    OFFICIAL,
    "timing",
    profile="timing",
)
async def connect_timeout_undecided(bench: Bench) -> None:
    link = await bench.link("websocket")
    await link.send('40/protected,{"mode":"pending"}')
    lived = await lifetime(link)
    expect(CONNECT_TIMEOUT - 0.1 <= lived <= CONNECT_TIMEOUT + LATE, "the end after 1 s", f"{lived:.3f} s")


@check_both(
    "socketio.connect-timeout.joined",
    "A client that has joined a namespace stays.",
    sio("Connection to a namespace"),
    "timing",
    profile="timing",
)
async def connect_timeout_joined(bench: Bench, transport: Transport) -> None:
    link = await bench.link(transport)
    client = Client(link)
    await client.connect()
    until = time.monotonic() + CONNECT_TIMEOUT + 0.5
    while time.monotonic() < until:
        expect_equal(await link.receive(), "2")
        await link.send("3")
    await client.expect_silence()


@check(
    "socketio.connect-timeout.left",
    "A client that has left every namespace again stays too.",
    OFFICIAL,
    "timing",
    profile="timing",
)
async def connect_timeout_left(bench: Bench) -> None:
    link = await bench.link("websocket")
    client = Client(link)
    await client.connect()
    await client.send("41")
    until = time.monotonic() + CONNECT_TIMEOUT + 0.5
    while time.monotonic() < until:
        expect_equal(await link.receive(), "2")
        await link.send("3")
    await client.connect()
