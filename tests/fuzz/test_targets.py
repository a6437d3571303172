"""The seeds, and what fuzzing has found, once more without it."""

from __future__ import annotations

import pytest

from tests.fuzz.seeds import FOUND, SEEDS
from tests.fuzz.targets import TARGETS

INPUTS = [(name, data) for corpus in (SEEDS, FOUND) for name, inputs in corpus.items() for data in inputs]


def test_every_target_has_seeds() -> None:
    assert set(SEEDS) == set(TARGETS)
    assert set(FOUND) <= set(TARGETS)


@pytest.mark.parametrize(("name", "data"), INPUTS, ids=[f"{name}-{i}" for i, (name, _) in enumerate(INPUTS)])
def test_an_input_of_the_corpus(name: str, data: bytes) -> None:
    TARGETS[name](data)


def test_a_target_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.targets.MAX_SIZE", 3)  # of the target, and not of what it reads
    monkeypatch.setattr("tests.fuzz.targets.read_frames", lambda websocket, parts: len(parts))
    with pytest.raises(AssertionError):
        TARGETS["frames"](SEEDS["frames"][0])
