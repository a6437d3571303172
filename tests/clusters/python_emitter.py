"""An emitter of ours; obeys the commands of ``node_emitter.cjs``.

Its argument is a JSON object: driver, url, options, kind (``sync``, or the event loop of an async one).
"""

from __future__ import annotations

import inspect
import json
import sys
from typing import Any

import anyio

from tests.clusters.python_adapters import make_emitter
from tests.clusters.python_commands import Commands, obey


def commands_of(emitter: Any) -> Commands:
    def choose(options: dict[str, Any]) -> Any:
        chosen: Any = emitter.of(options["nsp"]) if "nsp" in options else emitter
        chosen = chosen.to(*options.get("rooms", [])).except_(*options.get("except", []))
        if options.get("volatile"):
            chosen = chosen.volatile
        return chosen.compress(options["compress"]) if "compress" in options else chosen

    async def done(outcome: Any) -> None:
        if inspect.isawaitable(outcome):
            await outcome

    return {
        "emit": lambda event, args, **options: done(choose(options).emit(event, *args)),
        "sockets_join": lambda names, **options: done(choose(options).sockets_join(*names)),
        "sockets_leave": lambda names, **options: done(choose(options).sockets_leave(*names)),
        "disconnect_sockets": lambda close, **options: done(choose(options).disconnect_sockets(close)),
        "server_side_emit": lambda event, args: done(emitter.server_side_emit(event, *args)),
    }


async def main(settings: dict[str, Any]) -> None:
    emitter = make_emitter(
        settings["driver"], settings["url"], settings["options"], settings["kind"] != "sync"
    )
    if settings["kind"] == "sync":
        with emitter:
            await obey(commands_of(emitter), {})
    else:
        async with emitter:
            await obey(commands_of(emitter), {})


if __name__ == "__main__":
    chosen: dict[str, Any] = json.loads(sys.argv[1])
    anyio.run(main, chosen, backend="trio" if chosen["kind"] == "trio" else "asyncio")
