import pytest

from benchmarks.micro.baseline import Baseline, Record, differences, environment
from benchmarks.micro.cases import CASES

HERE = {"python": "CPython 3.11.7", "orjson": "3.13.0"}
THERE = {"python": "CPython 3.12.1", "orjson": "3.13.0"}


def test_counts_within_three_percent_are_the_same():
    assert differences({"a": 10_000, "b": 10_000}, {"a": 10_300, "b": 9_700}) == []


def test_counts_that_are_off_either_way():
    found = differences({"a": 10_000, "b": 10_000}, {"a": 10_301, "b": 9_699})
    assert [str(difference) for difference in found] == [
        "a: 10,000 instructions recorded, 10,301 now (+3.0%)",
        "b: 10,000 instructions recorded, 9,699 now (-3.0%)",
    ]


def test_cases_without_a_partner():
    found = differences({"old": 1}, {"new": 2_000})
    assert [str(difference) for difference in found] == [
        "new: 2,000 instructions, and none recorded",
        "old: recorded, and gone",
    ]


def test_only_the_same_environment_is_comparable(tmp_path):
    path = tmp_path / "baseline.json"
    baseline = Baseline.read(path)
    assert baseline.find(HERE) is None
    baseline.put(Record(HERE, {"a": 1}))
    baseline.put(Record(THERE, {"a": 2}))
    baseline.put(Record(HERE, {"a": 3}))
    baseline.write(path)
    again = Baseline.read(path)
    assert again.find(HERE) == Record(HERE, {"a": 3})
    assert again.find(THERE) == Record(THERE, {"a": 2})
    assert again.find({**HERE, "orjson": "4"}) is None


def test_environment_names_the_versions_that_count():
    assert {"python", "compiler", "machine", "libc", "sio_core", "orjson"} <= environment().keys()


@pytest.mark.parametrize("name", CASES)
def test_every_case_gives_the_right_answer(name):
    CASES[name]()(1)
