"""An emitter of ours; obeys the commands of ``node_emitter.cjs``.

Its argument is a JSON object: driver, url, options.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import anyio

from tests.clusters.python_adapters import make_emitter
from tests.clusters.python_commands import obey


async def main() -> None:
    settings: dict[str, Any] = json.loads(sys.argv[1])
    async with make_emitter(settings["driver"], settings["url"], settings["options"]) as emitter:

        def choose(options: dict[str, Any]) -> Any:
            chosen: Any = emitter.of(options["nsp"]) if "nsp" in options else emitter
            chosen = chosen.to(*options.get("rooms", [])).except_(*options.get("except", []))
            if options.get("volatile"):
                chosen = chosen.volatile
            return chosen.compress(options["compress"]) if "compress" in options else chosen

        async def emit(event: str, args: list[Any], **options: Any) -> None:
            await choose(options).emit(event, *args)

        async def sockets_join(names: list[str], **options: Any) -> None:
            await choose(options).sockets_join(*names)

        async def sockets_leave(names: list[str], **options: Any) -> None:
            await choose(options).sockets_leave(*names)

        async def disconnect_sockets(close: bool, **options: Any) -> None:
            await choose(options).disconnect_sockets(close)

        async def server_side_emit(event: str, args: list[Any], **options: Any) -> None:
            await emitter.server_side_emit(event, *args)

        await obey(
            {
                "emit": emit,
                "sockets_join": sockets_join,
                "sockets_leave": sockets_leave,
                "disconnect_sockets": disconnect_sockets,
                "server_side_emit": server_side_emit,
            },
            {},
        )


if __name__ == "__main__":
    anyio.run(main)
