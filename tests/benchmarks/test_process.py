import os

from benchmarks import process


def test_times_of_a_process_whose_name_holds_brackets():
    fields = " ".join(["S", "1"] + ["0"] * 9 + ["250", "50", "7", "3"] + ["0"] * 10)
    assert process.parse_stat(f"12 (a) b) {fields}") == process.CpuTime(
        257 / process.TICKS, 53 / process.TICKS
    )


def test_memory_totals():
    text = "0-f ---p 0 00:00 0 [rollup]\nRss:   1708 kB\nPss:    401 kB\nPss_Dirty: 112 kB\n"
    assert process.parse_smaps_rollup(text) == process.Memory(1708 * 1024, 401 * 1024)


def test_pinning_is_undone():
    before = os.sched_getaffinity(0)
    with process.pinned(min(before)):
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before
