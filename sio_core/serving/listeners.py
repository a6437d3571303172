"""Sockets that listen, and what each event loop does with the connections that come in."""

from __future__ import annotations

import asyncio
import socket
import ssl as tls
import sys
from collections.abc import Callable, Sequence
from typing import Final, cast

import anyio
import anyio.abc
import sniffio

from sio_core.runtime import Runtime
from sio_core.serving.accepting import SocketAcceptor, accept_sockets
from sio_core.serving.asyncio_shell import AsyncioProtocol, AsyncioShell
from sio_core.serving.asyncio_tls import TlsHandshake
from sio_core.serving.site import Site
from sio_core.serving.trio_polling import POLLS, Poller
from sio_core.serving.trio_shell import StreamShell

if sys.platform != "win32":
    import resource

__all__ = ["Shell", "accept", "bind", "make_shell", "open_files_bound", "raise_file_limit"]

Shell = AsyncioShell | StreamShell

BACKLOG: Final = 2_048


def make_shell(site: Site, task_group: anyio.abc.TaskGroup, runtime: Runtime) -> Shell:
    """Return what serves connections in the event loop that runs this."""
    if sniffio.current_async_library() == "asyncio":
        return AsyncioShell(site, asyncio.get_running_loop())
    poller = Poller() if POLLS else None
    if poller is not None:
        task_group.start_soon(poller.run)
    return StreamShell(site, task_group, runtime, poller)


async def accept(
    shell: Shell,
    handles: Sequence[socket.socket],
    context: tls.SSLContext | None,
    task_group: anyio.abc.TaskGroup,
) -> Callable[[], None]:
    """Have a shell serve what these sockets accept, and return what ends that."""
    if isinstance(shell, AsyncioShell):
        return await accept_asyncio(shell, handles, context)
    return accept_streams(shell, handles, context, task_group)


async def accept_asyncio(
    shell: AsyncioShell, handles: Sequence[socket.socket], context: tls.SSLContext | None
) -> Callable[[], None]:
    """Accept in an asyncio loop."""

    def make_protocol() -> asyncio.Protocol:
        if context is not None:
            return TlsHandshake(shell, context)
        return cast("asyncio.Protocol", AsyncioProtocol(shell))

    servers: list[asyncio.Server | SocketAcceptor] = []
    for handle in handles:
        if isinstance(shell.loop, asyncio.SelectorEventLoop):
            servers.append(SocketAcceptor(shell.loop, handle, make_protocol))
        else:
            servers.append(await shell.loop.create_server(make_protocol, sock=handle, backlog=BACKLOG))

    def stop() -> None:
        shell.closed = True
        for server in servers:
            server.close()

    return stop


def accept_streams(
    shell: StreamShell,
    handles: Sequence[socket.socket],
    context: tls.SSLContext | None,
    task_group: anyio.abc.TaskGroup,
) -> Callable[[], None]:
    """Accept in any other loop."""
    scopes = [anyio.CancelScope() for _ in handles]

    async def serve(stream: anyio.abc.SocketStream) -> None:
        await shell.serve(stream, context=context)

    async def accept_of(handle: socket.socket, scope: anyio.CancelScope) -> None:
        with scope:
            await accept_sockets(handle, serve, task_group)

    def stop() -> None:
        for scope in scopes:
            scope.cancel()

    for handle, scope in zip(handles, scopes, strict=True):
        task_group.start_soon(accept_of, handle, scope)
    return stop


def raise_file_limit() -> None:
    """Let the process open as many files as it may: each connection is one."""
    if sys.platform != "win32":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != hard:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def open_files_bound() -> int | None:
    """Return how many connections leave files for everything else; ``None`` where there is no bound on files."""
    if sys.platform == "win32":
        return None
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return None if files == resource.RLIM_INFINITY else max(files * 9 // 10 - 100, files // 2, 1)


def bind(host: str, port: int) -> list[socket.socket]:
    """Return listening sockets for every address of a host, all on one port.

    :raises OSError: if one cannot be bound.
    """
    handles: list[socket.socket] = []
    addresses = dict.fromkeys(
        (family, address)
        for family, _, _, _, address in socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
    )
    try:
        for family, address in addresses:
            handle = socket.socket(family, socket.SOCK_STREAM)
            handles.append(handle)
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                handle.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            handle.setblocking(False)
            chosen = (
                address[0],
                port or (handles[0].getsockname()[1] if len(handles) > 1 else 0),
                *address[2:],
            )
            handle.bind(chosen)
            handle.listen(BACKLOG)
    except OSError as error:
        for handle in handles:
            handle.close()
        raise OSError(error.errno, f"cannot listen on {host}:{port}: {error.strerror}") from error
    return handles
