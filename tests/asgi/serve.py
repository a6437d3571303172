"""``python -m tests.asgi.serve SERVER APPLICATION``: run one of other people's servers; prints its port first."""

from __future__ import annotations

import argparse
import signal
import socket
import sys
import threading
import time
from functools import partial
from typing import Any

from sio_core import Server
from tests.asgi.applications import APPLICATIONS, build


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("server", choices=SERVERS)
    parser.add_argument("application", choices=APPLICATIONS)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    app, io = build(options.application)
    with socket.socket() as handle:
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        handle.bind(("127.0.0.1", options.port))
        SERVERS[options.server](app, io, handle)


def announce(handle: socket.socket) -> None:
    """Say the port; who connects from now on waits until he is accepted."""
    handle.listen(100)
    print(handle.getsockname()[1], flush=True)


def run_uvicorn(app: Any, handle: socket.socket, **settings: Any) -> None:
    import uvicorn

    announce(handle)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it raises the signal once more at its end
    uvicorn.Server(uvicorn.Config(app, log_level="warning", **settings)).run(sockets=[handle])


def uvicorn(app: Any, io: Server[Any], handle: socket.socket) -> None:
    run_uvicorn(app, handle, loop="uvloop", http="httptools", timeout_graceful_shutdown=1)


def uvicorn_h11(app: Any, io: Server[Any], handle: socket.socket) -> None:
    run_uvicorn(app, handle, loop="asyncio", http="h11", ws="wsproto", root_path="/behind/a/proxy")


def uvicorn_protocol(app: Any, io: Server[Any], handle: socket.socket) -> None:
    run_uvicorn(app, handle, loop="uvloop", http="httptools", ws=io.uvicorn_protocol)


def uvicorn_protocol_h11(app: Any, io: Server[Any], handle: socket.socket) -> None:
    run_uvicorn(app, handle, loop="asyncio", http="h11", ws=io.uvicorn_protocol)


def hypercorn_config(handle: socket.socket) -> Any:
    from hypercorn.config import Config

    config = Config()
    config.loglevel = "WARNING"
    config.graceful_timeout = 1.0
    announce(handle)
    config.bind = [f"fd://{handle.detach()}"]
    return config


def hypercorn(app: Any, io: Server[Any], handle: socket.socket) -> None:
    import asyncio

    from hypercorn.asyncio import serve

    asyncio.run(serve(app, hypercorn_config(handle)))


def hypercorn_trio(app: Any, io: Server[Any], handle: socket.socket) -> None:
    import trio
    from hypercorn.trio import serve

    async def terminated() -> None:
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            async for _ in signals:
                return

    trio.run(partial(serve, app, hypercorn_config(handle), shutdown_trigger=terminated))


def granian(app: Any, io: Server[Any], handle: socket.socket) -> None:
    """It binds for itself, makes the application in a process of its own, and does not say when it is ready."""
    from granian import Granian
    from granian.constants import Interfaces

    port = handle.getsockname()[1]
    handle.close()
    threading.Thread(target=announce_once_ready, args=(port,), daemon=True).start()
    Granian(
        "tests.asgi.serve:application_of_this_process",
        port=port,
        interface=Interfaces.ASGI,
        factory=True,
        log_enabled=False,
        workers_kill_timeout=1,
    ).serve()


def application_of_this_process() -> Any:
    return build(sys.argv[2])[0]


def announce_once_ready(port: int) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.02)
        else:
            print(port, flush=True)
            return


SERVERS = {
    run.__name__.replace("_", "-"): run
    for run in (
        uvicorn,
        uvicorn_h11,
        uvicorn_protocol,
        uvicorn_protocol_h11,
        hypercorn,
        hypercorn_trio,
        granian,
    )
}


if __name__ == "__main__":
    main()
