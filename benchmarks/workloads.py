"""The workloads: what is sent, by how many, and what the right reply is."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from benchmarks.frames import Event, ReplyFrame, acknowledgement, event, reply_frames

Mode = Literal["websocket", "polling", "connects"]
Kind = Literal["messages", "connects", "idle"]

SMALL = "hello world, how are you today?!"
"""32 characters: the size of a chat line."""
LARGE_SIZE = 16_384
QUIET = 600.0
"""A ping interval, in seconds, that keeps heartbeats out of a measurement."""
NUMBER = 7
"""The number of the acknowledgement in every request; a server keeps nothing of it once it has answered."""


@dataclass(frozen=True, slots=True)
class Workload:
    """One load. Connections form groups; a request is done when all receivers of its group have it."""

    name: str
    title: str
    connections: int
    request: Event | None = None
    reply: Event | None = None
    mode: Mode = "websocket"
    kind: Kind = "messages"
    group_size: int = 1
    sender_first: int = 0
    sender_count: int = 1
    receivers: int = 1
    window: int = 1
    """Requests in flight in each group; in the open loop, requests that arrive together."""
    active_groups: int = 0
    """Groups that send; 0 is all of them."""
    has_latency: bool = True
    recovery: bool = False
    ping_interval: float = 25.0
    with_memory: bool = False
    room_of_group: bool = False
    """Each group is a room of its own, joined by its members."""
    extra_rooms: int = 0
    """Rooms with one member each that exist beside those in use."""
    unit: str = "message"
    family: str | None = None
    """The growth run this belongs to."""
    size: int = 0
    """Its place in the growth run."""
    notes: tuple[str, ...] = field(default=())

    @property
    def sources(self) -> int:
        """How many loopback addresses the load comes from, so that no port is needed twice."""
        return 64 if self.kind == "connects" else 1

    def group_requests(self) -> Iterator[tuple[int, Event]]:
        """The requests that differ from group to group."""
        if self.room_of_group:
            for group in range(self.connections // self.group_size):
                yield group, event("room", room_name(group), SMALL)

    def setups(self) -> Iterator[tuple[int, Event]]:
        """What connections send once before the load, each answered by an acknowledgement."""
        if self.request and self.request.text.startswith(b'42["direct"'):
            yield 0, event("sink", ack_id=0)
        if self.room_of_group:
            for connection in range(self.connections):
                yield connection, event("join", room_name(connection // self.group_size), ack_id=0)
        for connection, count in enumerate(shares(self.extra_rooms, self.connections)):
            if count:
                yield connection, event("join_many", f"extra{connection}", count, ack_id=1)

    def expected(self) -> tuple[ReplyFrame, ...]:
        """The frames of the right reply."""
        if self.reply is None:
            return ()
        return reply_frames(self.reply, with_offset=self.recovery)


def room_name(group: int) -> str:
    """The room of a group; all names have one length, so all requests have."""
    return f"room{group:05d}"


def shares(total: int, parts: int) -> list[int]:
    """Divide a number as evenly as it goes."""
    return [total // parts + (part < total % parts) for part in range(parts)]


def _echo(name: str, title: str, connections: int, **options: object) -> Workload:
    message = event("echo", SMALL)
    return Workload(name, title, connections, message, message, **options)  # type: ignore[arg-type]


def _of_size(name: str, title: str, data: str | bytes) -> Workload:
    message = event("echo", data)
    return Workload(name, title, 20, message, message)


def _rooms(name: str, title: str, connections: int, **options: object) -> Workload:
    return Workload(
        name,
        title,
        connections,
        None,
        event("room", SMALL),
        group_size=10,
        receivers=10,
        room_of_group=True,
        unit="delivery",
        **options,  # type: ignore[arg-type]
    )


def _growth() -> Iterator[Workload]:
    for size in (100, 1_000, 10_000):
        yield _echo(
            f"connections-{size}",
            f"echo of 50 connections while {size:,} are open",
            size,
            active_groups=50,
            has_latency=False,
            ping_interval=QUIET,
            with_memory=True,
            family="connection-growth",
            size=size,
        )
    for size in (1, 100, 10_000):
        yield _rooms(
            f"rooms-{size}",
            f"a room of 10, 4 in flight, while {size:,} {'room exists' if size == 1 else 'rooms exist'}",
            10,
            window=4,
            extra_rooms=size - 1,
            has_latency=False,
            ping_interval=QUIET,
            family="room-growth",
            size=size,
        )


WORKLOADS: dict[str, Workload] = {
    workload.name: workload
    for workload in (
        _echo("echo", "echo, 1 in flight x 50 connections", 50),
        _echo("pipelined", "echo, 64 in flight x 10 connections", 10, window=64),
        Workload(
            "ack",
            "event with acknowledgement x 50 connections",
            50,
            event("ack", SMALL, ack_id=NUMBER),
            acknowledgement(NUMBER, SMALL),
        ),
        _of_size("text-16k", "echo of 16 kB of text x 20 connections", "x" * LARGE_SIZE),
        _of_size("binary-16k", "echo of a 16 kB attachment x 20 connections", b"\x01" * LARGE_SIZE),
        Workload(
            "broadcast",
            "broadcast to 1,000 from one sender",
            1_000,
            event("broadcast", SMALL),
            event("broadcast", SMALL),
            group_size=1_000,
            receivers=1_000,
            unit="delivery",
        ),
        _rooms("rooms", "100 rooms of 10", 1_000),
        _echo("polling", "echo over HTTP long-polling x 50 clients", 50, mode="polling", ping_interval=QUIET),
        Workload(
            "connects",
            "connect + CONNECT + close, 20 at a time",
            20,
            mode="connects",
            kind="connects",
            has_latency=False,
            unit="connection",
            notes=("comes from 64 loopback addresses, so that ports in TIME_WAIT do not run out",),
        ),
        Workload(
            "idle",
            "10,000 idle connections with heartbeats",
            10_000,
            kind="idle",
            has_latency=False,
            ping_interval=5.0,
            with_memory=True,
            unit="heartbeat",
            notes=("the ping interval is 5 s instead of 25, to see enough heartbeats",),
        ),
        Workload(
            "fan-in",
            "100 senders, direct emits to one receiver",
            101,
            event("direct", SMALL),
            event("direct", SMALL),
            group_size=101,
            sender_first=1,
            sender_count=100,
            window=100,
            has_latency=False,
        ),
        _echo("recovery", "echo x 50 connections, recovery log on", 50, recovery=True),
        *_growth(),
    )
}


def select(names: list[str] | None) -> list[Workload]:
    """The workloads of these names, of these families, or all."""
    if not names:
        return list(WORKLOADS.values())
    chosen = []
    for name in names:
        found = [w for w in WORKLOADS.values() if name in (w.name, w.family)]
        if not found:
            raise ValueError(f"no workload {name!r}; there are {', '.join(WORKLOADS)}")
        chosen += found
    return chosen
