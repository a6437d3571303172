"""Client transcripts: those of the official client, as recorded, and those that Hypothesis makes up."""

from __future__ import annotations

import json
from dataclasses import dataclass

from hypothesis import strategies

from conformance.model import Transport

Sent = str | bytes


@dataclass(frozen=True, slots=True)
class Conversation:
    """Packets that a client sends one after the other over one session."""

    transport: Transport
    packets: tuple[Sent, ...]


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request. ``session`` says whose id it carries."""

    method: str
    transport: str | None
    eio: str | None
    session: str
    extra: tuple[tuple[str, str], ...]
    body: str | None


PLACEHOLDER = '{"_placeholder":true,"num":0}'

RECORDED: tuple[tuple[Sent, ...], ...] = (
    ("40", '42["message",1,"2",{"3":[null]}]', "41"),
    ("40", '420["message-with-ack",1,"a"]', '421["message-with-ack",{"a":1}]', "41"),
    (
        "40",
        f'451-["message",{PLACEHOLDER}]',
        b"\x01\x02\xff",
        f'451-0["message-with-ack",{PLACEHOLDER}]',
        b"\x03",
    ),
    ("40", "40/custom,", '42["message","main"]', '42/custom,["message","custom"]', "41/custom,", "41"),
    ('40/custom,{"token":"t","list":[1]}', '42/custom,0["info-unknown"]', "41/custom,"),
    ('40/protected,{"mode":"data"}', '40/protected,{"mode":"pass"}', '42/protected,["message"]'),
    ("40/nowhere,", "40", '42["leave-namespace"]', "40", '42["message","again"]'),
    ("40", '42["ask","who"]', '430["who!",2]', '42["message","end"]'),
    ("40", '420["join","room"]', '42["to-room",["room"],"hello"]', '421["leave","room"]'),
    ("40", '42["many",20]', '42["leave-server"]'),
    ("40", '42["close-connection"]'),
    ("40", '42["burst-close",3]'),
    ("40", "3", '42["message","after an unasked pong"]', "1"),
)
"""What the official client sent in its scenarios (``client/scenarios.mjs``), heartbeats left out."""

NAMESPACES = ("", "/custom,", "/protected,", "/dynamic-shared,", "/nowhere,")

values = strategies.recursive(
    strategies.none()
    | strategies.booleans()
    | strategies.integers(-(2**53) + 1, 2**53 - 1)
    | strategies.text(max_size=8),
    lambda inner: (
        strategies.lists(inner, max_size=3)
        | strategies.dictionaries(strategies.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=6,
)

EVENTS = ("message", "message-with-ack", "ack-none", "ack-null", "ack-twice", "send", "nobody", "blocked", "")


def dump(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


@strategies.composite
def events(draw: strategies.DrawFn) -> str:
    namespace = draw(strategies.sampled_from(NAMESPACES[:4]))
    name = draw(strategies.sampled_from(EVENTS))
    args = (
        draw(strategies.lists(values, max_size=3)) if name in ("message", "message-with-ack", "send") else []
    )
    ack_id = draw(strategies.integers(0, 99)) if "ack" in name else draw(strategies.sampled_from(["", 5]))
    return f"42{namespace}{ack_id}{dump([name, *args])}"


LITERALS = (
    *(f"40{namespace}" for namespace in NAMESPACES),
    *(f"41{namespace}" for namespace in NAMESPACES[:2]),
    '40{"token":"x"}',
    '40/protected,{"mode":"plain"}',
    '42["many",3]',
    '42["leave-namespace"]',
    '42["leave-server"]',
    '42["close-connection"]',
    '427["rooms-unknown"]',
    f'451-["message",{PLACEHOLDER}]',
    f'452-["message",{PLACEHOLDER},{{"_placeholder":true,"num":1}}]',
    "430[]",
    "3",
    "5",
    "6",
)


@strategies.composite
def edited(draw: strategies.DrawFn) -> str:
    """A packet with one character changed, taken out or put in."""
    packet: str = draw(events() | strategies.sampled_from(LITERALS))
    place = draw(strategies.integers(1, len(packet)))
    put_in: str = draw(strategies.sampled_from([*'0123456789-,[]{}"/:ntfx\\', ""]))
    taken = draw(strategies.integers(0, 1))
    return packet[:place] + put_in + packet[place + taken :]


packets = strategies.one_of(
    events(),
    events(),
    strategies.sampled_from(LITERALS),
    edited(),
    strategies.binary(max_size=4),
)


@strategies.composite
def conversations(draw: strategies.DrawFn) -> Conversation:
    transport: Transport = draw(strategies.sampled_from(["websocket", "polling"]))
    opening: tuple[Sent, ...] = draw(strategies.sampled_from([("40",), ("40", "40/custom,"), ()]))
    return Conversation(transport, opening + tuple(draw(strategies.lists(packets, min_size=1, max_size=5))))


requests = strategies.builds(
    Request,
    method=strategies.sampled_from(["GET", "GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]),
    transport=strategies.sampled_from(
        ["polling", "polling", "websocket", "webtransport", "", "__proto__", None]
    ),
    eio=strategies.sampled_from(["4", "4", "3", "5", "", None]),
    session=strategies.sampled_from(["none", "none", "unknown", "polling", "websocket"]),
    extra=strategies.lists(
        strategies.sampled_from(
            [("deny", "1"), ("deny", "why"), ("fail", "1"), ("t", "x"), ("b64", "1"), ("j", "0")]
        ),
        max_size=2,
        unique_by=lambda pair: pair[0],
    ).map(tuple),
    body=strategies.sampled_from([None, "40", '42["message"]', "2", "abc", ""]),
)
