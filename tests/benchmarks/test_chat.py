"""The pure parts of the benchmark of the chat: what a member sends and notes, the checks, the report."""

import json
import sqlite3
from pathlib import Path

import pytest

from benchmarks.chat import check, disk, report, wire
from benchmarks.chat.measure import ChatSample, distribution
from benchmarks.chat.member import Member
from benchmarks.frames import MASK, client_frame, masked, server_frame
from benchmarks.generator.client import LoadError


def payload(seq, client_offset):
    return {"room": wire.ROOM, "seq": seq, "user": "u", "id": client_offset, "text": "hello", "time": 1}


def delivery(seq, client_offset, *more):
    return server_frame(
        b"42" + json.dumps(["message", payload(seq, client_offset), *more]).replace(" ", "").encode()
    )


def answer(number, content):
    return server_frame(f"43{number}{json.dumps([content])}".encode())


@pytest.fixture
def clock():
    return iter(range(100))


@pytest.fixture
def latencies():
    return []


@pytest.fixture
def member(clock, latencies):
    return Member(3, 2, latencies, lambda: next(clock))


# The wire


def test_frames_are_whole_wherever_the_data_is_cut():
    texts = [b"2", b"x" * 125, b"y" * 126, b"z" * 70_000]
    data = b"".join(map(server_frame, texts))
    for step in (1, 7, 4096, len(data)):
        reader = wire.FrameReader()
        found = [text for at in range(0, len(data), step) for text in reader.feed(data[at : at + step])]
        assert found == texts


def test_a_frame_that_is_no_text_is_refused():
    with pytest.raises(ValueError, match="0x88"):
        list(wire.FrameReader().feed(b"\x88\x02\x03\xe8"))


@pytest.mark.parametrize("size", [0, 1, 3, 4, 5, 130])
def test_masking_takes_the_key_in_turn(size):
    data = bytes(range(size))
    assert masked(data) == bytes(byte ^ MASK[at % 4] for at, byte in enumerate(data))
    assert masked(masked(data)) == data


# A member


def test_a_member_enters_the_room(member):
    assert member.received(server_frame(b'0{"sid":"a"}')) == wire.connect_frame(3)
    assert member.received(server_frame(b'40{"sid":"b"}')) == wire.join_frame()
    assert not member.has_joined
    assert member.received(answer(wire.JOIN, {"epoch": "e", "head": 0, "messages": []})) == b""
    assert member.has_joined


def test_a_member_keeps_its_messages_in_flight(member, latencies):
    assert member.start() == wire.message_frame(1, "3-1") + wire.message_frame(2, "3-2")
    assert member.unanswered == 2
    assert member.received(delivery(1, "4-1", "offset")) == b""
    assert member.received(answer(1, payload(2, "3-1"))) == wire.message_frame(3, "3-3")
    assert latencies == [2]
    member.stop()
    assert member.received(answer(2, payload(3, "3-2")) + answer(3, payload(4, "3-3"))) == b""
    assert latencies == [2, 3, 1]
    assert member.unanswered == 0
    assert member.places == [1, 2, 3, 4]
    assert member.ids == ["4-1", "3-1", "3-2", "3-3"]


def test_a_member_answers_heartbeats_and_ignores_other_events(member):
    assert member.received(server_frame(b'42["joined",{}]') + server_frame(b"2")) == client_frame(b"3")
    assert member.places == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (answer(1, {"error": "The disk is full.", "retry": True}), "refused: The disk is full"),
        (answer(9, payload(1, "3-9")), "acknowledged twice"),
        (server_frame(b'42["message",'), "does not understand"),
        (server_frame(b"43"), "does not understand"),
        (b"\x88\x00", "does not understand"),
    ],
)
def test_a_member_takes_nothing_else(member, data, reason):
    member.start()
    with pytest.raises(LoadError, match=reason):
        member.received(data)


# The checks, with planted faults


STORED = ["0-1", "1-1", "0-2"]


def test_nothing_is_wrong():
    assert check.fault_of_log(STORED, 3) is None
    assert check.fault_of_member(STORED, [1, 2, 3], STORED) is None


@pytest.mark.parametrize(
    ("stored", "acknowledged", "fault"),
    [
        (STORED, 4, "4 messages were acknowledged, 3 are stored"),
        (STORED, 2, "2 messages were acknowledged, 3 are stored"),
        (["0-1", "0-1"], 2, "a message is stored twice"),
    ],
)
def test_faults_of_the_log(stored, acknowledged, fault):
    assert check.fault_of_log(stored, acknowledged) == fault


@pytest.mark.parametrize(
    ("places", "ids", "fault"),
    [
        ([1, 3], ["0-1", "0-2"], "place 3 came where 2 was due"),
        ([1, 2, 2, 3], ["0-1", "1-1", "1-1", "0-2"], "place 2 came where 3 was due"),
        ([2, 1, 3], ["1-1", "0-1", "0-2"], "place 2 came where 1 was due"),
        ([1, 2], ["0-1", "1-1"], "2 messages were seen, 3 are stored"),
        ([1, 2, 3], ["0-1", "0-2", "1-1"], "message 0-2 was seen at place 2, where 1-1 is stored"),
    ],
    ids=["lost", "doubled", "swapped", "last lost", "another"],
)
def test_faults_of_a_member(places, ids, fault):
    assert check.fault_of_member(STORED, places, ids) == fault


def test_stored_messages_come_in_the_order_of_their_room(tmp_path):
    database = tmp_path / "chat.db"
    connection = sqlite3.connect(database, isolation_level=None)
    connection.executescript(disk.SCHEMA)
    rows = [("other", 1, "9-1"), (wire.ROOM, 2, "1-1"), (wire.ROOM, 1, "0-1")]
    for room, seq, client_offset in rows:
        connection.execute(
            "INSERT INTO messages (room, seq, author, client_offset, nickname, text, time)"
            " VALUES (?, ?, 'a', ?, 'n', 't', 0)",
            (room, seq, client_offset),
        )
    connection.close()
    assert check.stored_ids(database) == ["0-1", "1-1"]


# The disk

MOUNTS = "/dev/vda / ext4 rw 0 0\ntmpfs /tmp tmpfs rw 0 0\n/dev/vdb /tmp/a\\040disk xfs rw 0 0\n"


@pytest.mark.parametrize(
    ("path", "kind"), [("/srv", "ext4"), ("/tmp/x", "tmpfs"), ("/tmpx", "ext4"), ("/tmp/a disk/b", "xfs")]
)
def test_the_file_system_of_a_folder(path, kind):
    assert disk.file_system(Path(path), MOUNTS) == kind


def test_a_folder_must_be_on_a_disk(monkeypatch, tmp_path):
    monkeypatch.setattr(disk, "IN_MEMORY", frozenset())
    assert disk.disk_folder(tmp_path / "nothing", tmp_path)[0] == tmp_path
    with pytest.raises(ValueError, match="--folder"):
        disk.disk_folder(tmp_path / "nothing")


# The figures


def test_percentiles_are_latencies_that_occurred():
    found = distribution([value / 1000 for value in range(1000, 0, -1)], 2.0)
    assert (found["p50"], found["p99"], found["p999"], found["maximum"]) == (0.5, 0.99, 0.999, 1.0)
    assert found["rate"] == 500
    assert distribution([0.25], 1.0)["p50"] == 0.25


def sample(rate, **more):
    latency = {
        "p50": 2e-3,
        "p99": 20e-3,
        "p999": 40e-3,
        "mean": 3e-3,
        "maximum": 0.1,
        "rate": rate,
        "missed": 0,
    }
    return ChatSample(rate, 50e-6, 20e-6, 0.5, 0.2, 0.0, latency=latency, messages=30_000, **more)


@pytest.fixture
def results():
    return report.ChatResults(
        {"members": 20, "rounds": 2, "duration": 10.0, "warm_up": 2.0, "compiled": False},
        {
            "processor": "a processor",
            "cores": 2,
            "memory_gib": 8.0,
            "system": "Linux 6",
            "congestion_control": "reno",
            "file_system": "ext4",
        },
        {"SQLite": "3", "CPython": "3.11"},
        {1: [sample(4_000), sample(4_200)]},
        {1: [2_000.0, 2_000.0], 20: [1_000.0, 1_050.0]},
        [3_000.0, 3_000.0],
    )


def test_the_report(results):
    text = report.markdown(results)
    assert (
        "| 1 | 4,100 ± 2% | 77,900 | 2.00 / 20.0 / 40.0 | 50.0 ± 0% | 20.0 | 50.0 | 20.0 | 20% | 60,000 |"
        in text
    )
    assert "| disk alone | 3,000 ± 0% |  |" in text
    assert "| 20 in a commit | 1,025 ± 2% | 20,500 |" in text
    assert "Be wary" not in text


def test_a_busy_machine_is_told(results):
    results.samples[1].append(sample(2_000, foreign_beside_generator=0.4))
    results.syncs.append(1_000.0)
    found = report.warnings(results)
    assert "1 in flight: something else took 40% of the generator's core" in found
    assert any(line.startswith("1 in flight: noisy, throughput spread over 5") for line in found)
    assert any(line.startswith("the disk alone: noisy") for line in found)
    assert "## Be wary" in report.markdown(results)


def test_both_forms_are_written(results, tmp_path):
    results.write(tmp_path)
    content = json.loads((tmp_path / "chat.json").read_text())
    assert content["samples"]["1"][0]["rate"] == 4_000
    assert (tmp_path / "chat.md").read_text() == report.markdown(results)
