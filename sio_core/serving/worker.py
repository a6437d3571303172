"""A worker: it serves the connections that its supervisor gives it, and gives back those that are for another."""

from __future__ import annotations

import logging
import socket
from typing import Final

import anyio
import anyio.abc

from sio_core.channel import ChannelMessage, run_channel
from sio_core.serving.asyncio_shell import AsyncioShell
from sio_core.serving.listeners import Shell
from sio_core.serving.site import Siblings, Site
from sio_core.serving.trio_shell import StreamShell
from sio_core.serving.worker_link import (
    ANYBODY,
    CONNECTION,
    NOBODY,
    WorkerLink,
    requested_worker,
    unpack_connection,
)

__all__ = ["Intake", "OtherWorkers"]

logger = logging.getLogger(__name__)

REPORT_INTERVAL: Final = 0.5
"""Seconds between two reports of how many connections are open."""


class OtherWorkers(Siblings):
    """The workers beside this one."""

    __slots__ = ("_link",)

    def __init__(self, link: WorkerLink) -> None:
        self._link = link

    def owner(self, head: bytes) -> int:
        # Who opens a session on a connection that is in use already may be on a busy worker: a browser's tabs share
        # connections, and so do the clients of a proxy.
        worker = requested_worker(head)
        if worker == self._link.index or self._link.count <= worker != ANYBODY:
            return NOBODY
        return worker

    def hand_over(self, descriptor: int, owner: int, unread: bytes) -> None:
        self._link.move(descriptor, owner, unread)


class Intake:
    """Takes connections from the supervisor.

    :ivar ended: set when none will come any more, or none is wanted.
    """

    def __init__(self, link: WorkerLink, site: Site) -> None:
        self._link = link
        self._site = site
        self._given = 0
        self._stopped = False
        self.ended = anyio.Event()

    async def run(self, shell: Shell, task_group: anyio.abc.TaskGroup) -> None:
        """Take connections until the supervisor is gone."""

        def receive(messages: list[ChannelMessage]) -> None:
            for message in messages:
                if message.kind == CONNECTION:
                    self._given += 1
                    if message.descriptor >= 0:  # more files may be opened
                        self._take(shell, task_group, message)

        task_group.start_soon(self._report)
        await run_channel(self._link.channel, receive)
        if not self._stopped:
            logger.error("the supervisor is gone: worker %d ends too", self._link.index)
        self.ended.set()

    def stop(self) -> None:
        """Take no connections any more: what is on its way here is given back."""
        if not self._stopped:
            self._stopped = True
            self._link.leave()
            self.ended.set()

    def _take(self, shell: Shell, task_group: anyio.abc.TaskGroup, message: ChannelMessage) -> None:
        is_placed, unread = unpack_connection(message.data)
        if self._stopped:
            self._link.move(message.descriptor, ANYBODY, unread)
            return
        handle = socket.socket(fileno=message.descriptor)
        handle.setblocking(False)
        if isinstance(shell, AsyncioShell):
            shell.adopt(handle, unread, is_placed)
        else:
            task_group.start_soon(self._serve, shell, handle, unread, is_placed)

    async def _serve(self, shell: StreamShell, handle: socket.socket, unread: bytes, is_placed: bool) -> None:
        try:
            stream = await anyio.abc.SocketStream.from_socket(handle)
        except ValueError:  # the client has gone on the way
            handle.close()
        else:
            await shell.serve(stream, unread=unread, keep_next=is_placed)

    async def _report(self) -> None:
        while True:
            await anyio.sleep(REPORT_INTERVAL)
            if not self._link.channel.waiting:
                self._link.report(self._site.connections, self._given)
