"""One sample: two nodes on one engine, the senders at the one, the receivers at the other."""

from dataclasses import dataclass

from benchmarks.fleet import RunningServer, ServerSpec, free_port
from benchmarks.frames import event
from benchmarks.generator.client import Generator, LoadError
from benchmarks.measure import Settings
from benchmarks.process import cpu_time
from benchmarks.workloads import QUIET, SMALL, Workload
from tests.clusters.engines import Engine

JOINING = 1.0
"""Seconds until the nodes of a cluster know each other."""

WORKLOADS = (
    Workload(
        "broadcast",
        "a broadcast to 500, all but one of them at the other node",
        500,
        event("broadcast", SMALL),
        event("broadcast", SMALL),
        group_size=500,
        receivers=500,
        ping_interval=QUIET,
        has_latency=False,
        unit="delivery",
    ),
    Workload(
        "rooms",
        "20 rooms of 10, a sender in each, 4 in flight; the other nine at the other node",
        200,
        None,
        event("room", SMALL),
        group_size=10,
        receivers=10,
        window=4,
        room_of_group=True,
        ping_interval=QUIET,
        has_latency=False,
        unit="delivery",
    ),
)


@dataclass(frozen=True, slots=True)
class ClusterSample:
    """What was measured in one round; seconds of processor time for each event that a client received."""

    rate: float
    """Deliveries per second."""
    nodes_cpu: float
    """Of both nodes together."""
    engine_cpu: float


def measure(
    spec: ServerSpec, adapter: str, engine: Engine, workload: Workload, settings: Settings
) -> ClusterSample:
    """Start two nodes, load them, and take the figures."""
    more = ["--adapter", adapter, "--engine", engine.url]
    ports = free_port(), free_port()
    with (
        RunningServer(
            [*spec.command(workload, ports[0]), *more], spec.place(), ports[0], settings.server_core
        ) as sending,
        RunningServer(
            [*spec.command(workload, ports[1]), *more], spec.place(), ports[1], settings.server_core
        ) as receiving,
        Generator(workload, ports[0], settings.generator_core, receivers_port=ports[1]) as generator,
    ):
        generator.wait(JOINING)
        generator.start_closed()
        generator.wait(settings.warm_up)

        def look() -> tuple[float, float]:
            nodes = cpu_time(sending.pid).total + cpu_time(receiving.pid).total
            return nodes, cpu_time(engine.pid).total

        nodes_before, engine_before = look()
        first = generator.mark()
        generator.wait(settings.duration)
        nodes_after, engine_after = look()
        last = generator.mark()
    deliveries = last.messages - first.messages
    if not deliveries:
        raise LoadError("nothing was delivered")
    return ClusterSample(
        rate=deliveries / (last.time - first.time),
        nodes_cpu=(nodes_after - nodes_before) / deliveries,
        engine_cpu=(engine_after - engine_before) / deliveries,
    )
