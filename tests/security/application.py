"""``python -m tests.security.application SHELL``: the servers that are attacked, on one port; prints it first.

Several Socket.IO servers share the listener, each under a path of its own and with options of its own. All have the
same events. Times are short, so that what a time bounds is seen to end; everything else is as it is by default.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import gc
import logging
import os
import re
import resource
import signal
import socket
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
import anyio.lowlevel
import psutil
import trio

from chat_app.__main__ import STATIC
from sio_core import ConnectError, Cookie, Cors, Limits, Namespace, Recovery, Server

SHELLS = ("uvloop", "trio", "uvicorn")
OWN_WEBSOCKETS = "uvicorn-protocol"
"""uvicorn again, with our own connection code for the WebSockets of ``/socket.io/``."""

TIMES: dict[str, Any] = {
    "header_time": 1.0,
    "body_time": 1.5,
    "keep_alive_time": 1.5,
    "write_stall_time": 1.5,
    "close_time": 1.0,
    "fragment_time": 1.0,
    "attachment_time": 1.0,
}

CAPS: dict[str, Any] = {
    "sessions_per_address": 24,
    "sessions": 32,
    "unconnected_sessions": 16,
    "events_per_second": 50,
    "namespaces_per_connection": 4,
    "rooms_per_socket": 8,
    "integer_bits": 53,
    "dynamic_namespaces": 20,
    "acks_per_socket": 10,
}

OPTIONS: dict[str, dict[str, Any]] = {
    "/socket.io/": {},
    "/capped/": {"limits": Limits(**TIMES, **CAPS), "connect_timeout": 1.0},
    "/recovery/": {
        "connection_state_recovery": Recovery(max_disconnection_duration=30.0),
        "limits": Limits(**TIMES, recovery_packets=50, recovery_sessions=5),
    },
    "/cors/": {
        "cors": Cors(origins=["https://good.example", "http://good.example:8080"], credentials=True),
        "cookie": Cookie(name="io", secure=True),
    },
    "/deflate/": {"per_message_deflate": True},
    "/eio3/": {"allow_eio3": True},
    "/msgpack/": {"parser": "msgpack"},
    "/calm/": {"connect_timeout": 45, "ping_interval": 25, "ping_timeout": 20},
    "/refusing/": {"allow_request": lambda request: "allow" in request.params},
}


ERRORS_OF_UVICORN = {
    "ASGI callable returned without completing handshake.",  # it is refused, with a response of our own
    "Invalid UTF-8 sequence received from client.",
}
"""What it logs as an error when it has done what it should."""


class Journal(logging.Handler):
    """Keeps what is logged at ERROR or with a traceback, and everything else that a peer could have written into."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.errors: list[str] = []
        self.lines: list[str] = []
        self.setFormatter(logging.Formatter("%(levelname)s %(name)s %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if record.name == "uvicorn.error" and record.getMessage() in ERRORS_OF_UVICORN:
            return
        if record.levelno >= logging.ERROR or record.exc_info:
            self.errors.append(text)
        if len(self.lines) < 1_000:
            self.lines.append(text)


class Inspector:
    """Says what the process holds: asked by the witness, over its own connection."""

    def __init__(self, journal: Journal, count_tasks: Callable[[], int]) -> None:
        self._journal = journal
        self._count_tasks = count_tasks
        self._process = psutil.Process()
        self._libc = ctypes.CDLL(None)
        self.happened: list[list[Any]] = []
        self.servers: dict[str, Server[Any]] = {}

    def census(self) -> dict[str, Any]:
        gc.collect()
        with suppress(AttributeError):  # another C library than glibc
            self._libc.malloc_trim(0)
        objects = Counter(
            type(thing).__name__
            for thing in gc.get_objects()
            if type(thing).__module__.startswith("sio_core")
        )
        return {
            "memory": self._process.memory_info().rss,
            "tasks": self._count_tasks(),
            "files": len(os.listdir("/proc/self/fd")),
            "objects": dict(objects),
        }

    def cpu(self) -> float:
        """Seconds of processor time so far."""
        times = self._process.cpu_times()
        return times.user + times.system

    def limit_hits(self) -> dict[str, dict[str, int]]:
        """How often each limit of each server was hit so far."""
        return {path: server.stats()["limit_hits"] for path, server in self.servers.items()}

    def errors(self) -> list[str]:
        """Take what was logged at ERROR."""
        errors, self._journal.errors = self._journal.errors, []
        return errors

    def lines(self) -> list[str]:
        """Take all that was logged."""
        lines, self._journal.lines = self._journal.lines, []
        return lines

    def take_happened(self) -> list[list[Any]]:
        """Take what the listeners have seen."""
        happened, self.happened = self.happened, []
        return happened


class Class(Namespace[Any]):
    """A namespace in the form of a class: what it has beside its listeners is not for clients."""

    def __init__(self, inspector: Inspector) -> None:
        super().__init__("/class")
        self._inspector = inspector

    def on_connection(self, client: Any) -> None:
        self._inspector.happened.append(["connection", self.name])
        client.emit("auth", client.handshake.auth)

    def on_disconnect(self, client: Any, *args: Any) -> None:
        self._inspector.happened.append(["disconnect", *args])

    def on_echo(self, client: Any, *args: Any) -> tuple[Any, ...]:
        return args

    def ran(self, *args: Any) -> None:
        self._inspector.happened.append(["ran", *args])


def build(path: str, inspector: Inspector) -> Server[Any]:
    io: Server[Any] = Server(
        **{
            "path": path,
            "ping_interval": 0.5,
            "ping_timeout": 5.0,
            "upgrade_timeout": 1.0,
            "connect_timeout": 1.5,
            "cleanup_empty_child_namespaces": True,
            "limits": Limits(**TIMES),
            **OPTIONS[path],
        }
    )
    io.of("/slow").use(let_in_slowly)
    io.of("/guarded").use(refuse_without_token)
    io.use(refuse_banned)
    io.register(Class(inspector))
    for namespace in (
        io.of("/"),
        io.of("/other"),
        io.of("/slow"),
        io.of("/guarded"),
        io.of(re.compile(r"^/dynamic-[a-z0-9]+$")),
    ):
        add_listeners(namespace, inspector)
    return io


async def let_in_slowly(client: Any) -> None:
    await anyio.sleep(0.2)
    if client.handshake.auth.get("refuse"):
        raise ConnectError("not you")


def refuse_without_token(client: Any) -> None:
    if client.handshake.auth.get("token") != "right":
        raise ConnectError("a token is needed", {"code": "E_TOKEN"})


def refuse_banned(client: Any) -> None:
    """Bans hold for those who come back too, and a session belongs to who began it."""
    auth = client.handshake.auth
    if auth.get("banned") or (client.recovered and client.data.get("user") != auth.get("user")):
        raise ConnectError("not you")
    if auth.get("fail"):
        raise ValueError(f"a secret of the application, {auth['fail']}")


def add_listeners(namespace: Any, inspector: Inspector) -> None:
    @namespace.on("connection")
    def connected(client: Any) -> None:
        client.data["user"] = client.handshake.auth.get("user")
        inspector.happened.append(["connection", client.namespace.name])
        client.emit("auth", client.handshake.auth)

    @namespace.on("disconnect")
    def disconnected(client: Any, *args: Any) -> None:
        inspector.happened.append(["disconnect", *args])

    @namespace.on("disconnecting")
    def disconnecting(client: Any, *args: Any) -> None:
        inspector.happened.append(["disconnecting", *args])

    @namespace.on("ran")
    def ran(client: Any, *args: Any) -> None:
        inspector.happened.append(["ran", *args])

    @namespace.on("echo")
    def echo(client: Any, *args: Any) -> tuple[Any, ...]:
        return args

    @namespace.on("relay")
    def relay(client: Any, *args: Any) -> None:
        client.broadcast.emit("relayed", *args)

    @namespace.on("join")
    def join(client: Any, *rooms: str) -> list[str]:
        client.join(*rooms)
        return sorted(client.rooms - {client.id})

    @namespace.on("say")
    def say(client: Any, room: str, *args: Any) -> None:
        client.to(room).emit("said", *args)

    @namespace.on("pour")
    def pour(client: Any, count: int, size: int) -> None:
        for _ in range(count):
            client.emit("poured", "x" * size)

    @namespace.on("ask")
    async def ask(client: Any, timeout: float) -> Any:
        try:
            return await client.emit_with_ack("question", timeout=timeout)
        except Exception as error:
            return type(error).__name__

    @namespace.on("fail")
    def fail(client: Any) -> None:
        raise ValueError("a secret of the application")

    @namespace.on("fail later")
    async def fail_later(client: Any) -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError("a secret of the application")

    @namespace.on("inspect")
    def inspect(client: Any, what: str) -> Any:
        return getattr(inspector, what)()


def count_trio_tasks() -> int:
    return trio.lowlevel.current_statistics().tasks_living


def count_asyncio_tasks() -> int:
    return len(asyncio.all_tasks())


async def serve(servers: list[Server[Any]], port: int) -> None:
    first, *others = servers
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async with first.listen(port=port, static=STATIC, engines=others) as listening:
            announce(listening.port)
            async for _ in signals:
                return


def serve_uvicorn(servers: list[Server[Any]], port: int, **options: Any) -> None:
    import uvicorn

    *others, last = servers
    app: Any = last
    for server in reversed(others):
        app = server.wrap(app)
    with socket.socket() as handle:
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        handle.bind(("127.0.0.1", port))
        handle.listen(2_048)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it raises the signal once more at its end
        settings = {"log_config": None, "timeout_graceful_shutdown": 1, "timeout_keep_alive": 2, **options}

        class Announcing(uvicorn.Server):
            async def startup(self, sockets: Any = None) -> None:
                await super().startup(sockets)
                announce(handle.getsockname()[1])

        Announcing(uvicorn.Config(app, loop="uvloop", http="httptools", **settings)).run(sockets=[handle])


def announce(port: int) -> None:
    """Say where, once all that stays is there: it is not counted any more."""
    gc.collect()
    gc.freeze()
    print(port, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shell", choices=[*SHELLS, OWN_WEBSOCKETS])
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--files", type=int, help="descriptors that the process may have")
    options = parser.parse_args()
    if options.files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (options.files, options.files))
    journal = Journal()
    logging.basicConfig(level=logging.INFO, handlers=[journal])
    inspector = Inspector(journal, count_trio_tasks if options.shell == "trio" else count_asyncio_tasks)
    inspector.servers = {path: build(path, inspector) for path in OPTIONS}
    servers = list(inspector.servers.values())
    if options.shell == "uvicorn":
        serve_uvicorn(servers, options.port)
    elif options.shell == OWN_WEBSOCKETS:
        serve_uvicorn(servers, options.port, ws=servers[0].uvicorn_protocol)
    elif options.shell == "trio":
        anyio.run(serve, servers, options.port, backend="trio")
    else:
        anyio.run(serve, servers, options.port, backend_options={"use_uvloop": True})
    for error in journal.errors:
        print(error, file=sys.stderr)


if __name__ == "__main__":
    main()
