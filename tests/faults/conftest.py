"""What holds for every fault: nothing is logged as an error, unless the test says that it is what it looks for."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(
    params=[
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
        pytest.param(("trio", {}), id="trio"),
    ]
)
def anyio_backend(request: pytest.FixtureRequest) -> object:
    """Two loops are enough here: the plain one of asyncio differs in how it accepts, and is tried there."""
    return request.param


@pytest.fixture(autouse=True)
def _nothing_is_logged_as_an_error(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A test that expects errors looks at them, and calls ``caplog.clear()``."""
    yield
    gc.collect()  # a task whose exception nobody has retrieved says so when it is freed
    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not errors, [record.getMessage() for record in errors]
