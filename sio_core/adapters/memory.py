"""The adapter of a server that is alone: rooms in this process's memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sio_core.adapters.base import Adapter, BroadcastOptions, SocketDetails

__all__ = ["MemoryAdapter"]


class MemoryAdapter(Adapter):
    """Broadcasts to the sockets of this process. Everything takes effect before the call returns."""

    __slots__ = ()

    def broadcast(self, data: list[Any], options: BroadcastOptions) -> None:
        self.local.deliver(self.select(options), data, options)

    def broadcast_with_ack(
        self,
        data: list[Any],
        options: BroadcastOptions,
        client_count: Callable[[int], None],
        ack: Callable[[list[Any]], None],
    ) -> None:
        client_count(self.local.deliver_with_ack(self.select(options), data, options, ack))

    async def fetch_sockets(self, options: BroadcastOptions) -> list[SocketDetails]:
        return self.local.details(self.select(options))

    def add_sockets(self, options: BroadcastOptions, rooms: list[str]) -> None:
        for member in list(self.select(options)):
            self.rooms.join(member, rooms)

    def remove_sockets(self, options: BroadcastOptions, rooms: list[str]) -> None:
        for member in list(self.select(options)):
            self.rooms.leave(member, rooms)

    def disconnect_sockets(self, options: BroadcastOptions, close: bool) -> None:
        self.local.disconnect(list(self.select(options)), close)
