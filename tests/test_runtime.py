"""What the layers above the protocols need of an event loop."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from sio_core.runtime import Runtime, Waiter
from sio_core.testing import settle

pytestmark = pytest.mark.anyio


async def test_several_tasks_may_wait_for_one_value() -> None:
    waiter = Waiter()
    got: list[Any] = []

    async def wait() -> None:
        got.append(await waiter.wait())

    async with anyio.create_task_group() as task_group:
        task_group.start_soon(wait)
        task_group.start_soon(wait)
        await settle()
        waiter.set(5)
        waiter.set(6)
    assert got == [5, 5]


@pytest.mark.parametrize("anyio_backend", ["trio"])
async def test_a_task_that_fails_does_not_end_the_others(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise ValueError("no")

    async with anyio.create_task_group() as task_group:
        runtime = Runtime.current(task_group)
        runtime.spawn(fail)
        await runtime.join()
        assert "a task of the server has failed" in caplog.text
        assert not task_group.cancel_scope.cancel_called
