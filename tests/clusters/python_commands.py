"""Commands for a program of ours, as ``node_commands.cjs`` takes them."""

from __future__ import annotations

import inspect
import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

import anyio
import anyio.abc

from tests.clusters.peers import pack, unpack

__all__ = ["obey"]

Commands = dict[str, Callable[..., Any]]


async def obey(commands: Commands, ready: dict[str, Any]) -> None:
    """Tell that the program is ready, and do what it is told until its input ends."""
    write({"ready": ready})
    async with anyio.create_task_group() as tasks:
        async for line in anyio.wrap_file(sys.stdin):
            options = unpack(json.loads(line))
            tasks.start_soon(answer, commands, options.pop("id"), options.pop("command"), options)
        tasks.cancel_scope.cancel()


async def answer(commands: Commands, number: int, command: str, options: dict[str, Any]) -> None:
    try:
        result = commands[command](**options)
        if inspect.isawaitable(result):
            result = await result
    except Exception:
        write({"id": number, "error": traceback.format_exc()})
    else:
        write({"id": number, "result": pack(result)})


def write(line: dict[str, Any]) -> None:
    print(json.dumps(line), flush=True)
