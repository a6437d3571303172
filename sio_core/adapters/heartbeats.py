"""Who is still there, for engines that cannot count their listeners."""

from __future__ import annotations

import logging
from collections.abc import Callable
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

__all__ = ["HeartbeatClusterAdapter", "Heartbeats"]

PROOFS_OF_LIFE: Final = frozenset((INITIAL_HEARTBEAT, HEARTBEAT, FETCH_SOCKETS, SERVER_SIDE_EMIT))
"""What spares a node its next heartbeat, as with the official adapters; and a broadcast that is to be answered."""

logger = logging.getLogger(__name__)


class Heartbeats:
    """The heartbeats of one adapter, and those of the other nodes.

    :param interval: seconds after which a node that had nothing else to say to all says so.
    :param timeout: seconds after which a node that was not heard is counted no more.
    :param gone: called with the uid of a node that is given up.
    :ivar nodes: when each other node was heard last.
    """

    __slots__ = ("_adapter", "_gone", "_host", "_interval", "_next", "_timeout", "_timer", "nodes")

    def __init__(
        self, adapter: ClusterAdapter, interval: float, timeout: float, gone: Callable[[str], None]
    ) -> None:
        self.nodes: dict[str, float] = {}
        self._adapter = adapter
        self._host = adapter.driver.host
        self._interval = interval
        self._timeout = timeout
        self._gone = gone
        self._next = NEVER
        self._timer = Timer(self._host, self._on_time)

    def start(self) -> None:
        """Tell the others that this node is there, and ask who they are."""
        self._adapter.send_message(INITIAL_HEARTBEAT, None)
        self._set_timer()

    def stop(self) -> None:
        """Say nothing more, and know nobody."""
        self._timer.stop()
        self._next = NEVER
        self.nodes.clear()

    def note_sent(self, kind: int, data: dict[str, Any] | None) -> None:
        """A message was sent; some spare the next heartbeat."""
        if kind in PROOFS_OF_LIFE or (kind == BROADCAST and data is not None and "requestId" in data):
            self._next = self._host.runtime.now() + self._interval

    def hear(self, message: Message) -> bool:
        """A message has come. Returns whether that was a heartbeat and no more."""
        uid, nodes = message.uid, self.nodes
        if uid != EMITTER_UID:
            if uid in nodes or len(nodes) < self._host.limits.cluster_nodes:
                nodes[uid] = self._host.runtime.now()
                if len(nodes) == 1:
                    self._set_timer()
            else:
                self._host.count_limit("cluster_nodes")
        if message.type == INITIAL_HEARTBEAT:
            self._adapter.send_message(HEARTBEAT, None)
        return message.type in {INITIAL_HEARTBEAT, HEARTBEAT}

    def forget(self, uid: str) -> None:
        """A node is gone."""
        self.nodes.pop(uid, None)
        self._gone(uid)

    def _set_timer(self) -> None:
        """Come again for the next heartbeat, or when the node that was silent longest is to be given up."""
        silent = min(self.nodes.values(), default=NEVER)
        self._timer.set(min(self._next, silent + self._timeout))

    def _on_time(self, now: float) -> None:
        for uid, heard in list(self.nodes.items()):
            if heard + self._timeout <= now:
                logger.warning("namespace %r: node %s is silent, and given up", self._adapter.name, uid)
                self.forget(uid)
        if now >= self._next:
            self._adapter.send_message(HEARTBEAT, None)
        self._set_timer()


class HeartbeatClusterAdapter(ClusterAdapter):
    """For engines that cannot count: each node says every few seconds that it is there.

    :ivar says_farewell: whether a node says that it goes; without that the others will miss its heartbeats.
    """

    says_farewell: bool = True

    def __init__(self, name: str, local: LocalSockets, driver: Driver) -> None:
        super().__init__(name, local, driver)
        self._heartbeats = Heartbeats(self, driver.heartbeat_interval, driver.heartbeat_timeout, self.give_up)

    @property
    def nodes(self) -> dict[str, float]:
        """When each other node was heard last."""
        return self._heartbeats.nodes

    def start(self) -> None:
        super().start()
        self._heartbeats.start()

    async def close(self) -> None:
        self._heartbeats.stop()
        if self._started and self.says_farewell:
            self.send_message(ADAPTER_CLOSE, None)
        await super().close()

    def reconnected(self) -> None:
        self.send_message(INITIAL_HEARTBEAT, None)  # the others have given this node up, or this one them

    async def count_nodes(self) -> int:
        return len(self.nodes) + 1

    async def others(self, seconds: float) -> tuple[int, set[str] | None]:
        return len(self.nodes), set(self.nodes)

    def send_message(self, kind: int, data: dict[str, Any] | None) -> Outgoing:
        outgoing = super().send_message(kind, data)
        self._heartbeats.note_sent(kind, data)
        return outgoing

    def handle(self, message: Message, offset: str | None) -> None:
        if self.closing:
            return  # to answer now would be to come back from the dead
        if message.type == ADAPTER_CLOSE:
            self._heartbeats.forget(message.uid)
        elif not self._heartbeats.hear(message):
            super().handle(message, offset)
