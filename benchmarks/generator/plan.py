"""A workload as the lines the generator reads."""

from collections.abc import Iterator

from benchmarks.workloads import Workload

PARALLEL_CONNECTS = 32


def plan_lines(workload: Workload, port: int, receivers_port: int = 0) -> Iterator[str]:
    """The plan of one run against one port, or two: all but the first of a group are at the other."""
    yield f"mode {workload.mode}"
    yield f"port {port}"
    yield f"receivers_port {receivers_port}"
    for key in (
        "connections",
        "group_size",
        "active_groups",
        "sender_first",
        "sender_count",
        "receivers",
        "window",
        "sources",
    ):
        yield f"{key} {getattr(workload, key)}"
    yield f"connecting {PARALLEL_CONNECTS}"
    yield "tables now"
    for frame in workload.expected():
        yield f"reply {frame.first_byte} {frame.minimum} {frame.maximum} {frame.prefix.hex()}"
    if workload.request is not None:
        is_frame = workload.mode == "websocket"
        request = workload.request.client_bytes() if is_frame else workload.request.text
        yield f"request {request.hex()}"
    for group, request_event in workload.group_requests():
        yield f"group_request {group} {request_event.client_bytes().hex()}"
    for connection, setup in workload.setups():
        yield f"setup {connection} {setup.client_bytes().hex()}"
    yield "end"
