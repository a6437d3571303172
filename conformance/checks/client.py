"""The official client as a judge, in Node and in Chromium: one check for each scenario and place."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from conformance.bench import Bench
from conformance.client.chromium import run_in_chromium, run_served_bundle
from conformance.client.node import run_in_node
from conformance.model import Check, Mark, check, register

SOURCE = "socket.io-client 4.8"
TIMEOUT = 15.0


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    sentence: str
    profile: str = "base"
    fresh: bool = False


SCENARIOS = (
    Scenario("polling", "The client works over polling alone."),
    Scenario("websocket", "The client works over WebSocket alone."),
    Scenario("upgrade", "The client upgrades by itself."),
    Scenario("upgrade-traffic", "A hundred events each way around the upgrade arrive once and in order."),
    Scenario("fall-back", "Where WebSocket is not offered the client falls back to polling.", "polling"),
    Scenario("acknowledgement", "Acknowledgements work both ways, as callbacks and promises."),
    Scenario("acknowledgement-timeout", "An acknowledgement may time out."),
    Scenario("retries", "Events are retried until acknowledged, and keep their order."),
    Scenario("binary", "Binary data passes over both transports."),
    Scenario("large", "Large texts and large binary data pass over both transports."),
    Scenario("multiplexing", "Namespaces share one connection, and are left one by one."),
    Scenario("auth", "Credentials may be computed, and reach the application."),
    Scenario("refused", "A refusal carries message and data; with other credentials the client gets in."),
    Scenario("invalid-namespace", "A namespace that does not exist is a connection error."),
    Scenario("buffering", "Events emitted offline are sent after the reconnection; volatile ones are not."),
    Scenario("volatile", "A volatile event reaches an idle client."),
    Scenario("catch-all", "Catch-all listeners see what comes and goes."),
    Scenario("rooms", "An event for a room reaches its members."),
    Scenario("server-disconnects", "Disconnected by the server, the client stays away until told otherwise."),
    Scenario("client-disconnects", "The server knows that the client left on purpose."),
    Scenario("heartbeat", "The heartbeat keeps a quiet connection.", "timing"),
    Scenario(
        "recovery", "After a loss the client recovers its id, rooms, data and what it missed.", "recovery"
    ),
    Scenario("not-recovered", "Back too late, the client is a new one.", "recovery"),
    Scenario("parser", "The msgpack parser works over both transports.", "msgpack"),
    Scenario("restart", "The client survives a restart of the server.", fresh=True),
    Scenario("shutdown", "A server that shuts down closes the transport.", fresh=True),
)


def in_node(scenario: str) -> Callable[[Bench], Awaitable[None]]:
    async def run(bench: Bench) -> None:
        await run_in_node(bench, scenario)

    return run


def in_chromium(scenario: str, origin: str | None = None) -> Callable[[Bench], Awaitable[None]]:
    async def run(bench: Bench) -> None:
        await run_in_chromium(bench, bench.chromium, scenario, origin)

    return run


for scenario in SCENARIOS:
    marks: frozenset[Mark] = frozenset({"heavy", "fresh"} if scenario.fresh else {"heavy"})
    for place, body in (("node", in_node(scenario.name)), ("chromium", in_chromium(scenario.name))):
        name = f"client.{place}.{scenario.name}"
        register(Check(name, scenario.sentence, SOURCE, body, scenario.profile, marks, TIMEOUT))

register(
    Check(
        "client.node.old",
        "The client of Socket.IO v2 works, both transports and binary data included.",
        "socket.io-client 2.5",
        in_node("old"),
        "eio3",
        frozenset({"heavy"}),
        TIMEOUT,
    )
)

OTHER_PAGE = "http://localhost:8765"

register(
    Check(
        "client.chromium.cross-origin",
        "A page of an allowed origin connects, with credentials, over both transports.",
        SOURCE,
        in_chromium("cross-origin", OTHER_PAGE),
        "cors",
        frozenset({"heavy"}),
        TIMEOUT,
    )
)
register(
    Check(
        "client.chromium.cross-origin-refused",
        "Without CORS headers the browser keeps the answers from a page of another origin.",
        SOURCE,
        in_chromium("cross-origin-refused", OTHER_PAGE),
        "base",
        frozenset({"heavy"}),
        TIMEOUT,
    )
)


@check(
    "client.chromium.served", "The client file that the server offers loads and connects.", SOURCE, "heavy"
)
async def served(bench: Bench) -> None:
    await run_served_bundle(bench, bench.chromium)
