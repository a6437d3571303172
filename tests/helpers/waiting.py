"""Waiting for a condition, instead of for a time."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio

__all__ = ["eventually", "wait_until"]


async def eventually(condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Wait until a condition is met.

    :raises TimeoutError: if it is not met in time.
    """
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - the condition is of code that does not know of this
            await anyio.sleep(0.005)


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait until a condition is met, in a test without an event loop.

    :raises TimeoutError: if it is not met in time.
    """
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError("the condition is not met")
        time.sleep(0.02)
