"""Cancelling code at each place where it can be cancelled: at its first suspension, at its second, and so on."""

from __future__ import annotations

import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Final

import anyio

__all__ = ["cancel_at_every_step"]

MOST_STEPS: Final = 1_000
"""Suspensions after which code counts as one that never ends."""


@types.coroutine
def count_steps(
    coroutine: Coroutine[Any, Any, Any], suspends: Callable[[int], None]
) -> Generator[Any, Any, Any]:
    """Run a coroutine, and call ``suspends`` with the number of each suspension."""
    resume: Callable[[Any], Any] = coroutine.send
    argument: Any = None
    number = 0
    while True:
        try:
            trap = resume(argument)
        except StopIteration as stop:
            return stop.value
        number += 1
        suspends(number)
        try:
            argument = yield trap
            resume = coroutine.send
        except BaseException as error:
            argument = error
            resume = coroutine.throw


async def cancel_at_every_step(
    function: Callable[[], Coroutine[Any, Any, Any]], check: Callable[[], Awaitable[None]]
) -> int:
    """Run a function again and again, cancelled one suspension later each time, until it is not any more.

    :param check: is awaited after each run, to see what is left.
    :returns: how often it suspends.
    """
    for step in range(1, MOST_STEPS):
        with anyio.CancelScope() as scope:

            def suspends(number: int, step: int = step, scope: anyio.CancelScope = scope) -> None:
                if number == step:
                    scope.cancel()

            await count_steps(function(), suspends)
        await check()
        if not scope.cancel_called:
            return step - 1
    raise AssertionError(f"it has not ended after {MOST_STEPS} suspensions")
