"""From polling to WebSocket: the probe, its order, and every way in which it may fail without harm."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from conformance.bench import Bench
from conformance.checks.engineio_errors import expect_alive, expect_no_session, expect_refused
from conformance.expect import expect, expect_equal
from conformance.model import OFFICIAL, Check, check, eio, register
from conformance.peer.engineio import (
    PollingSession,
    WebSocketSession,
    decode_payload,
    describe,
)
from conformance.peer.http import DisconnectedError
from conformance.peer.socketio import Client
from conformance.peer.websocket import Closed, RefusedError

UPGRADE = eio("Upgrade")


async def joined(bench: Bench) -> tuple[PollingSession, Client]:
    session = await bench.polling()
    client = Client(session)
    await client.connect()
    return session, client


async def expect_closed(bench: Bench, target: str) -> None:
    """An upgrade that cannot be: the WebSocket is refused, or closed before any message."""
    await expect_no_session(bench, target)


@check("engineio.upgrade.complete", "Probe, answer, upgrade packet: then packets go over WebSocket.", UPGRADE)
async def complete(bench: Bench) -> None:
    session, _ = await joined(bench)
    client = Client(await bench.upgrade(session))
    await expect_alive(client)
    (info,) = await client.call("info")
    expect_equal((info["transport"], info["engine"]), ("websocket", session.sid))


@check("engineio.upgrade.probe-answer", "`2probe` is answered with `3probe` on the same WebSocket.", UPGRADE)
async def probe_answer(bench: Bench) -> None:
    await bench.probe(await bench.polling())


@check("engineio.upgrade.probe-repeated", "Each probe is answered.", OFFICIAL)
async def probe_repeated(bench: Bench) -> None:
    websocket = await bench.probe(await bench.polling())
    for _ in range(3):
        await websocket.send("2probe")
        expect_equal(await websocket.receive(), "3probe")


@check("engineio.upgrade.no-open", "A WebSocket of an upgrade gets no OPEN packet.", UPGRADE)
async def no_open(bench: Bench) -> None:
    session = await bench.polling()
    websocket = await bench.open_websocket(bench.target("websocket", sid=session.sid))
    await bench.settle()
    await websocket.send("2probe")
    expect_equal(await websocket.receive(), "3probe", "first message")


@check(
    "engineio.upgrade.poll-released",
    "After a probe the waiting poll is released with a NOOP, so that the client can stop polling.",
    UPGRADE,
)
async def poll_released(bench: Bench) -> None:
    session = await bench.polling()
    pending = await session.begin_poll()
    await bench.settle()
    await bench.probe(session)
    async with asyncio.timeout(1.5):
        expect_equal((await pending.read_response()).body, b"6")


@check(
    "engineio.upgrade.poll-released-again",
    "A poll that comes while the probe goes on is released too.",
    OFFICIAL,
)
async def poll_released_again(bench: Bench) -> None:
    session = await bench.polling()
    await bench.probe(session)
    async with asyncio.timeout(1.5):
        expect_equal((await session.get()).body, b"6", "first poll")
        expect_equal((await session.get()).body, b"6", "second poll")


@check(
    "engineio.upgrade.poll-at-upgrade",
    "A poll that still waits at the upgrade packet is answered.",
    OFFICIAL,
)
async def poll_at_upgrade(bench: Bench) -> None:
    session = await bench.polling()
    websocket = await bench.probe(session)
    pending = await session.begin_poll()
    await bench.settle()
    await websocket.send("5")
    async with asyncio.timeout(1.5):
        response = await pending.read_response()
    expect(response.body in (b"1", b"6"), "a close or NOOP packet", response)


@check(
    "engineio.upgrade.buffered",
    "What waits for a poll goes over WebSocket after the upgrade, in order and once.",
    UPGRADE,
)
async def buffered(bench: Bench) -> None:
    session, client = await joined(bench)
    websocket = await bench.probe(session)
    await client.send('42["many",5]')
    await bench.settle()
    await websocket.send("5")
    await websocket.send('42["message","end"]')
    received = [await websocket.receive() for _ in range(6)]
    expect_equal(received, [*(f'42["many",{number}]' for number in range(5)), '42["message-back","end"]'])


@check(
    "engineio.upgrade.poll-during",
    "Until the upgrade packet, polls carry what there is to send.",
    UPGRADE,
)
async def poll_during(bench: Bench) -> None:
    session, client = await joined(bench)
    await bench.probe(session)
    await client.send('42["many",2]')
    await bench.settle()
    expect_equal(await session.poll(), ['42["many",0]', '42["many",1]'])


@check(
    "engineio.upgrade.not-before",
    "Before the upgrade packet nothing but the probe's answer comes over WebSocket.",
    UPGRADE,
)
async def not_before(bench: Bench) -> None:
    session, client = await joined(bench)
    websocket = await bench.probe(session)
    await client.send('42["many",2]')
    await bench.settle()
    await websocket.send("2probe")
    expect_equal(await websocket.receive(), "3probe")
    expect_equal(await session.poll(), ['42["many",0]', '42["many",1]'])


@check("engineio.upgrade.post-during", "Until the upgrade packet, POSTs are handled.", UPGRADE)
async def post_during(bench: Bench) -> None:
    session, client = await joined(bench)
    websocket = await bench.probe(session)
    await client.send('42["message","posted"]')
    await websocket.send("5")
    expect_equal(await websocket.receive(), '42["message-back","posted"]')


@check(
    "engineio.upgrade.both-ways",
    "Fifty messages each way around an upgrade: none lost, none doubled, all in order.",
    UPGRADE,
)
async def both_ways(bench: Bench) -> None:
    session, client = await joined(bench)
    received: list[str] = []

    async def collect_polls() -> None:
        """As a client does: poll until told to stop by the probe, and no longer."""
        while True:
            response = await session.get()
            packets = [packet for packet in decode_payload(response.text) if isinstance(packet, str)]
            received.extend(packet for packet in packets if packet != "6")
            if probed.is_set() and "6" in packets:
                return

    probed = asyncio.Event()
    polls = asyncio.create_task(collect_polls())
    await client.send('42["many",25]', *(f'42["message",{number}]' for number in range(10)))
    websocket = await bench.probe(session)
    probed.set()
    await client.send(*(f'42["message",{number}]' for number in range(10, 25)))
    await polls
    await websocket.send("5")
    for number in range(25, 50):
        await websocket.send(f'42["message",{number}]')
    while len(received) < 75:
        message = await websocket.receive()
        expect(isinstance(message, str), "a message", message)
        received.append(str(message))
    many = [packet for packet in received if "many" in packet]
    back = [packet for packet in received if "message-back" in packet]
    expect_equal(many, [f'42["many",{number}]' for number in range(25)])
    expect_equal(back, [f'42["message-back",{number}]' for number in range(50)])


@check("engineio.upgrade.binary", "After the upgrade binary messages are frames, no longer base64.", UPGRADE)
async def binary(bench: Bench) -> None:
    session, _ = await joined(bench)
    upgraded = await bench.upgrade(session)
    await upgraded.send('451-["message",{"_placeholder":true,"num":0}]', b"\x01\x02")
    await upgraded.receive()
    expect_equal(await upgraded.receive(), b"\x01\x02")


@check("engineio.upgrade.then-get", "After the upgrade a poll is refused; the WebSocket goes on.", UPGRADE)
async def then_get(bench: Bench) -> None:
    session, _ = await joined(bench)
    client = Client(await bench.upgrade(session))
    await expect_alive(client)
    expect_refused(await session.get(), 3)
    await expect_alive(client)


@check("engineio.upgrade.then-post", "After the upgrade a POST is refused; the WebSocket goes on.", UPGRADE)
async def then_post(bench: Bench) -> None:
    session, _ = await joined(bench)
    client = Client(await bench.upgrade(session))
    await expect_alive(client)
    expect_refused(await session.post('42["many",3]'), 3)
    await client.expect_silence()


@check(
    "engineio.upgrade.then-second",
    "After the upgrade a second WebSocket is closed; the first goes on.",
    UPGRADE,
)
async def then_second(bench: Bench) -> None:
    session, _ = await joined(bench)
    client = Client(await bench.upgrade(session))
    await expect_alive(client)
    await expect_closed(bench, bench.target("websocket", sid=session.sid))
    await expect_alive(client)


@check(
    "engineio.upgrade.second-during",
    "During a probe a second WebSocket is closed; the probe goes on.",
    UPGRADE,
)
async def second_during(bench: Bench) -> None:
    session, _ = await joined(bench)
    websocket = await bench.probe(session)
    await expect_closed(bench, bench.target("websocket", sid=session.sid))
    await websocket.send("5")
    await expect_alive(Client(WebSocketSession(websocket, session.opened)))


@check(
    "engineio.upgrade.of-websocket",
    "A session opened over WebSocket cannot be upgraded: the new WebSocket gets no answer to its probe that "
    "would take the session over.",
    UPGRADE,
)
async def of_websocket(bench: Bench) -> None:
    client = await bench.client("websocket")
    try:
        websocket = await bench.open_websocket(bench.target("websocket", sid=client.link.sid))
        await websocket.send("2probe")
    except (RefusedError, DisconnectedError):
        pass
    await expect_alive(client)


@check("engineio.upgrade.without-probe", "An upgrade packet is enough: the probe may be left out.", OFFICIAL)
async def without_probe(bench: Bench) -> None:
    session, _ = await joined(bench)
    websocket = await bench.open_websocket(bench.target("websocket", sid=session.sid))
    await websocket.send("5")
    await expect_alive(Client(WebSocketSession(websocket, session.opened)))


@check(
    "engineio.upgrade.version",
    "An upgrade in another protocol version than the session's is refused; the session goes on.",
    OFFICIAL,
)
async def version(bench: Bench) -> None:
    session, client = await joined(bench)
    for revision in ("3", None):
        await expect_closed(bench, bench.target("websocket", revision, sid=session.sid))
    await expect_alive(client)


WRONG: dict[str, str | bytes] = {
    "ping": "2",
    "message": '42["message",1]',
    "close": "1",
    "pong": "3probe",
    "noop": "6",
    "invalid": "abc",
    "empty": "",
    "binary": b"\x01",
}


def wrong_packet(packet: str | bytes) -> Callable[[Bench], Awaitable[None]]:
    async def run(bench: Bench) -> None:
        session, client = await joined(bench)
        websocket = await bench.open_websocket(bench.target("websocket", sid=session.sid))
        await websocket.send(packet)
        received = await websocket.receive()
        expect(isinstance(received, Closed), "the end of the WebSocket", received)
        await expect_alive(client)
        await expect_alive(Client(await bench.upgrade(session)))

    return run


for name, packet in WRONG.items():
    register(
        Check(
            f"engineio.upgrade.wrong.{name}",
            f"{packet!r} on a WebSocket that has not been upgraded to closes it; the session goes on and may "
            "be upgraded later.",
            OFFICIAL,
            wrong_packet(packet),
        )
    )


@check(
    "engineio.upgrade.abandoned",
    "A probe that the client abandons leaves the session as it was, ready for another.",
    UPGRADE,
)
async def abandoned(bench: Bench) -> None:
    session, client = await joined(bench)
    for drop in ("close", "abort"):
        websocket = await bench.probe(session)
        if drop == "abort":
            websocket.connection.abort()
        else:
            await websocket.close(1000)
            await websocket.wait_closed()
            websocket.connection.close()
        await bench.settle()
        await expect_alive(client)
    await expect_alive(Client(await bench.upgrade(session)))


@check(
    "engineio.upgrade.closed-by-client",
    "A session that its client closes during a probe takes the probing WebSocket with it.",
    UPGRADE,
)
async def closed_by_client(bench: Bench) -> None:
    session = await bench.polling()
    websocket = await bench.probe(session)
    await session.send("1")
    await websocket.wait_closed()


@check(
    "engineio.upgrade.closed-by-server",
    "A session that the server closes during a probe takes the probing WebSocket with it.",
    OFFICIAL,
)
async def closed_by_server(bench: Bench) -> None:
    session, client = await joined(bench)
    websocket = await bench.probe(session)
    await client.send('42["close-connection"]')
    await bench.settle()
    await session.get()
    await websocket.wait_closed()


@check(
    "engineio.upgrade.closed-then-upgraded",
    "An upgrade packet that meets a session about to close ends the WebSocket.",
    OFFICIAL,
)
async def closed_then_upgraded(bench: Bench) -> None:
    session, client = await joined(bench)
    websocket = await bench.probe(session)
    await client.send('42["close-connection"]')
    await websocket.send("5")
    await websocket.wait_closed()
    expect_refused(await session.get(), 1)


@check(
    "engineio.upgrade.timeout",
    "A probe that leads to nothing is closed after `upgradeTimeout`; the session goes on.",
    OFFICIAL,
    "timing",
    profile="timing",
)
async def timeout(bench: Bench) -> None:
    session = await bench.polling()
    client = Client(session)
    await client.connect()
    started_at = time.monotonic()
    websocket = await bench.open_websocket(bench.target("websocket", sid=session.sid))
    closed = asyncio.create_task(websocket.wait_closed())
    alive = asyncio.create_task(keep_alive(client))
    how = describe(await closed)
    taken = time.monotonic() - started_at
    alive.cancel()
    expect(0.2 <= taken <= 1.5, "closed after about 0.3 s", f"{taken:.3f} s")
    expect("close frame" in how, "a close frame", how)


async def keep_alive(client: Client) -> None:
    """Answer the heartbeat, as a client does, until cancelled."""
    while True:
        await client.receive()


@check(
    "engineio.upgrade.heartbeat",
    "The heartbeat goes on over the new transport.",
    eio("Heartbeat"),
    "timing",
    profile="timing",
)
async def heartbeat(bench: Bench) -> None:
    session = await bench.polling()
    await Client(session).connect()
    upgraded = await bench.upgrade(session)
    for _ in range(3):
        expect_equal(await upgraded.receive(), "2")
        await upgraded.send("3")


@check(
    "engineio.upgrade.ping-before",
    "A PING that was sent over polling may be answered over WebSocket.",
    eio("Heartbeat"),
    "timing",
    profile="timing",
)
async def ping_before(bench: Bench) -> None:
    session = await bench.polling()
    await Client(session).connect()
    websocket = await bench.probe(session)
    while (await session.poll()) != ["2"]:
        pass
    await websocket.send("5")
    await websocket.send("3")
    for _ in range(2):
        expect_equal(await websocket.receive(), "2")
        await websocket.send("3")
