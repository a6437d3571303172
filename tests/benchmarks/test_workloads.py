import pytest

from benchmarks import fleet, workloads
from benchmarks.generator.plan import plan_lines
from benchmarks.workloads import WORKLOADS, shares


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=list(WORKLOADS))
def test_groups_fit_the_connections(workload):
    assert workload.connections % workload.group_size == 0
    assert workload.receivers <= workload.group_size
    assert workload.sender_first + workload.sender_count <= workload.group_size


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=list(WORKLOADS))
def test_requests_of_all_groups_have_one_size(workload):
    sizes = {len(request.client_bytes()) for _, request in workload.group_requests()}
    assert len(sizes) <= 1


def test_plan_of_an_echo():
    lines = dict(line.partition(" ")[::2] for line in plan_lines(WORKLOADS["pipelined"], 4321))
    assert lines["mode"] == "websocket"
    assert lines["port"] == "4321"
    assert lines["connections"] == "10"
    assert lines["window"] == "64"
    assert bytes.fromhex(lines["request"]) == WORKLOADS["pipelined"].request.client_bytes()
    first_byte, minimum, maximum, prefix = lines["reply"].split()
    assert (first_byte, minimum) == ("129", maximum)
    assert bytes.fromhex(prefix) == WORKLOADS["pipelined"].reply.text


def test_numbers_come_before_the_tables_they_size():
    lines = list(plan_lines(WORKLOADS["rooms"], 1))
    tables = lines.index("tables now")
    assert any(line.startswith("connections ") for line in lines[:tables])
    assert sum(line.startswith("setup ") for line in lines[tables:]) == 1_000
    assert sum(line.startswith("group_request ") for line in lines[tables:]) == 100
    assert lines[-1] == "end"


def test_growing_rooms_make_as_many_rooms_as_they_say():
    for size in (1, 100, 10_000):
        workload = WORKLOADS[f"rooms-{size}"]
        assert workload.connections // workload.group_size + workload.extra_rooms == size


def test_shares_add_up():
    assert shares(10, 3) == [4, 3, 3]
    assert shares(2, 3) == [1, 1, 0]


def test_selecting_by_name_and_by_family():
    assert [load.name for load in workloads.select(["ack", "rooms-1"])] == ["ack", "rooms-1"]
    assert [load.name for load in workloads.select(["connection-growth"])] == [
        "connections-100",
        "connections-1000",
        "connections-10000",
    ]
    assert workloads.select(None) == list(WORKLOADS.values())
    with pytest.raises(ValueError, match="no workload"):
        workloads.select(["nothing"])


def test_servers_lack_only_what_exists():
    known = set(WORKLOADS) | {workload.family for workload in WORKLOADS.values()}
    for server in fleet.SERVERS.values():
        assert server.lacks <= known
    with pytest.raises(ValueError, match="no server"):
        fleet.select(["nothing"])


def test_command_line_of_a_server():
    command = fleet.SERVERS["sio_core-trio"].command(WORKLOADS["recovery"], 99)
    assert " ".join(command[1:]) == (
        "-m benchmarks.servers.ours trio --port 99 --ping-interval 25 --recovery"
    )
