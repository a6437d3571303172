"""The command line: ``python -m chat_app --port 3000 --database chat.db``."""

from __future__ import annotations

import argparse
import logging
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anyio

from chat_app.app import Chat
from chat_app.engines import is_postgres, make_adapter, opener_of
from chat_app.log import MessageLog, StorageError
from sio_core import Server

STATIC = Path(__file__).with_name("static")
LOOK_EVERY = 1.0
"""Seconds between two looks for what other workers have written, besides those they ask for."""

logger = logging.getLogger(__name__)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m chat_app",
        description="A chat on sio_core. Open the address it prints in two windows.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for everybody")
    parser.add_argument("--port", type=int, default=3000, help="port to listen on; 0 for any that is free")
    parser.add_argument(
        "--database",
        metavar="FILE",
        help="where the messages are kept: a file, or postgresql://... (default: chat.db)",
    )
    parser.add_argument(
        "--adapter",
        metavar="URL",
        help="serve one chat from many nodes: redis://..., postgresql://... or mongodb://..., the same for each; "
        "the messages are then kept in PostgreSQL, by default in the adapter's",
    )
    parser.add_argument(
        "--cors",
        action="append",
        metavar="ORIGIN",
        help="let pages of another origin connect; may be repeated",
    )
    parser.add_argument("--backend", choices=["asyncio", "trio"], default="asyncio", help="the event loop")
    parser.add_argument("--workers", type=int, default=1, help="processes that serve the chat together")
    parser.add_argument("--verbose", action="store_true", help="tell about every event")
    options = parser.parse_args(arguments)
    if options.database is None:
        options.database = options.adapter if is_postgres(options.adapter or "") else "chat.db"
    return options


def check(options: argparse.Namespace) -> None:
    """Make sure that the options fit together.

    :raises ValueError: if they do not.
    """
    if options.adapter and not is_postgres(options.database):
        raise ValueError(
            "many nodes need one log, and a file of this machine is none: add --database postgresql://..."
        )
    if options.adapter and options.workers != 1:
        raise ValueError("--workers is for one machine, --adapter for many nodes: start a node for each core")


async def serve(options: argparse.Namespace, log: MessageLog, **server_options: Any) -> None:
    """Serve the chat until SIGINT or SIGTERM.

    With other nodes connection state recovery is off: each tells its own clients what the log has, and they ask for the
    rest.
    """
    shared = options.adapter is not None
    if shared:
        server_options["adapter"] = make_adapter(options.adapter)
    io: Server[dict[str, Any]] = Server(
        cors=options.cors, connection_state_recovery=None if shared else True, **server_options
    )
    chat = Chat(log, shared=shared)
    io.register(chat)
    if options.verbose:
        log_events(chat)
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with io.listen(options.host, options.port, static=STATIC) as listening, chat.running():
            say_where(listening.url)
            async for _ in signals:
                break
            await io.close()


def serve_workers(
    options: argparse.Namespace, open_log: Callable[..., MessageLog], **server_options: Any
) -> None:
    """Serve the chat in several processes, all on one log, until SIGINT or SIGTERM.

    Connection state recovery is off: each worker tells its own clients what the log has, and they ask for the rest.
    """

    @asynccontextmanager
    async def chatting(io: Server[dict[str, Any]]) -> AsyncGenerator[None, None]:
        with closing(open_log(options.database, look_every=LOOK_EVERY)) as log:
            chat = Chat(log, shared=True)
            io.register(chat)
            if options.verbose:
                log_events(chat)
            async with chat.running():
                yield

    Server(cors=options.cors, **server_options).run(
        options.host,
        options.port,
        static=STATIC,
        workers=options.workers,
        backend=options.backend,
        lifespan=chatting,
        on_listening=say_where,
    )


def log_events(chat: Chat) -> None:
    """Tell about every event."""
    chat.on_any(lambda socket, name, *args: logger.info("%s from %s: %r", name, socket.id, args))


def say_where(url: str) -> None:
    """Print where the chat is."""
    print(f"The chat is at {url} (Ctrl-C ends it)", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """Run the command; what is wrong is said in one line."""
    options = parse(arguments)
    logging.basicConfig(
        level=logging.INFO if options.verbose else logging.WARNING, format="%(asctime)s %(name)s: %(message)s"
    )
    backend_options = {}
    if options.backend == "asyncio":
        backend_options["use_uvloop"] = find_spec("uvloop") is not None
    try:
        check(options)
        open_log = opener_of(options.database)
        if options.workers != 1:
            open_log(options.database).close()  # so that what is wrong is said once
            serve_workers(options, open_log)
            return
        with closing(open_log(options.database)) as log:
            anyio.run(serve, options, log, backend=options.backend, backend_options=backend_options)
    except (StorageError, OSError, ValueError, RuntimeError) as error:
        sys.exit(f"chat_app: {error}")


if __name__ == "__main__":
    main()
