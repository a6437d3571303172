"""Who is still there, for engines that cannot count their listeners."""

from __future__ import annotations

import logging
from typing import Any, Final

from sio_core.adapters.base import LocalSockets
from sio_core.adapters.cluster import ClusterAdapter
from sio_core.adapters.driver import Driver
from sio_core.adapters.messages import (
    ADAPTER_CLOSE,
    BROADCAST,
    EMITTER_UID,
    FETCH_SOCKETS,
    HEARTBEAT,
    INITIAL_HEARTBEAT,
    SERVER_SIDE_EMIT,
    Message,
)
from sio_core.adapters.outgoing import Outgoing
from sio_core.adapters.timers import Timer
from sio_core.engineio.deadlines import NEVER

__all__ = ["HeartbeatClusterAdapter"]

PROOFS_OF_LIFE: Final = frozenset((INITIAL_HEARTBEAT, HEARTBEAT, FETCH_SOCKETS, SERVER_SIDE_EMIT))
"""What spares a node its next heartbeat, as with the official adapters; and a broadcast that is to be answered."""

logger = logging.getLogger(__name__)


class HeartbeatClusterAdapter(ClusterAdapter):
    """For engines that cannot count: each node says every few seconds that it is there.

    :param heartbeat_interval: seconds after which a node that had nothing else to say to all says so.
    :param heartbeat_timeout: seconds after which a node that was not heard is counted no more.
    """

    def __init__(
        self,
        name: str,
        local: LocalSockets,
        driver: Driver,
        heartbeat_interval: float = 5.0,
        heartbeat_timeout: float = 10.0,
    ) -> None:
        super().__init__(name, local, driver)
        self.nodes: dict[str, float] = {}
        self._interval = heartbeat_interval
        self._timeout = heartbeat_timeout
        self._next_heartbeat = NEVER
        self._timer = Timer(self._host, self._on_time)

    async def start(self) -> None:
        await super().start()
        self.send_message(INITIAL_HEARTBEAT, None)
        self._set_timer()

    async def close(self) -> None:
        self._timer.stop()
        self._next_heartbeat = NEVER
        if self._started:
            self.send_message(ADAPTER_CLOSE, None)
        self.nodes.clear()
        await super().close()

    def reconnected(self) -> None:
        self.send_message(INITIAL_HEARTBEAT, None)  # the others have given this node up, or this one them

    async def count_nodes(self) -> int:
        return len(self.nodes) + 1

    async def others(self) -> tuple[int, set[str] | None]:
        return len(self.nodes), set(self.nodes)

    def send_message(self, kind: int, data: dict[str, Any] | None) -> Outgoing:
        outgoing = super().send_message(kind, data)
        if kind in PROOFS_OF_LIFE or (kind == BROADCAST and data is not None and "requestId" in data):
            self._next_heartbeat = self._host.runtime.now() + self._interval
        return outgoing

    def handle(self, message: Message, offset: str | None) -> None:
        uid, kind = message.uid, message.type
        if kind == ADAPTER_CLOSE:
            self._forget(uid)
            return
        if uid != EMITTER_UID:
            self._note(uid)
        if kind == INITIAL_HEARTBEAT:
            self.send_message(HEARTBEAT, None)
        else:
            super().handle(message, offset)

    def _note(self, uid: str) -> None:
        """A node was heard."""
        nodes = self.nodes
        if uid not in nodes and len(nodes) >= self._limits.cluster_nodes:
            self._host.count_limit("cluster_nodes")
            return
        nodes[uid] = self._host.runtime.now()
        if len(nodes) == 1:
            self._set_timer()

    def _forget(self, uid: str) -> None:
        self.nodes.pop(uid, None)
        for request in list(self._requests.values()):
            request.give_up(uid)

    def _set_timer(self) -> None:
        """Come again for the next heartbeat, or when the node that was silent longest is to be given up."""
        silent = min(self.nodes.values(), default=NEVER)
        self._timer.set(min(self._next_heartbeat, silent + self._timeout))

    def _on_time(self, now: float) -> None:
        for uid, heard in list(self.nodes.items()):
            if heard + self._timeout <= now:
                logger.warning("namespace %r: node %s is silent, and given up", self.name, uid)
                self._forget(uid)
        if now >= self._next_heartbeat:
            self.send_message(HEARTBEAT, None)
        self._set_timer()
