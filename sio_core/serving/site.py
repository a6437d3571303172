"""What one listener serves: engines by their path, and beside them plain answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import Final

from sio_core.engineio.deadlines import Deadlines
from sio_core.engineio.engine import Engine
from sio_core.limits import Limits
from sio_core.wire.message import Request, Response

__all__ = ["Resource", "Siblings", "Site", "not_found"]

NOT_FOUND: Final = 404


class Resource(ABC):
    """Something that answers requests which are for no engine."""

    __slots__ = ()

    @abstractmethod
    def respond(self, request: Request) -> Response | None:
        """Return the answer, or ``None`` if the request is not for this resource."""


class Siblings(ABC):
    """The other processes that serve the same address."""

    __slots__ = ()

    @abstractmethod
    def owner(self, head: bytes) -> int:
        """Return which other process a request is for, from its head; -1 if this one answers it.

        Not asked for a first request that was given to this one on purpose.
        """

    @abstractmethod
    def hand_over(self, descriptor: int, owner: int, unread: bytes) -> None:
        """Give a connection to another process.

        :param descriptor: the connection's, closed by this.
        :param unread: what was read of it and not answered.
        """


class Site:
    """The engines and resources of one listener.

    :ivar resources_first: asked before the engines: the client files lie under an engine's path.
    :ivar resources: asked after them.
    :ivar connections: how many connections are open.
    :ivar connections_bound: how many the process may have open; ``None``: any number.
    :ivar on_idle: called when the last connection has ended.
    :ivar siblings: the other processes that serve the same address, if there are any.
    """

    __slots__ = (
        "_date",
        "_date_until",
        "connections",
        "connections_bound",
        "deadlines",
        "engines",
        "limits",
        "on_idle",
        "resources",
        "resources_first",
        "siblings",
    )

    def __init__(
        self,
        engines: Sequence[Engine],
        limits: Limits,
        deadlines: Deadlines,
        resources_first: Sequence[Resource] = (),
        resources: Sequence[Resource] = (),
        most_connections: int | None = None,
    ) -> None:
        self.engines: list[tuple[str, Engine]] = [(engine.options.prefix, engine) for engine in engines]
        self.limits = limits
        self.deadlines = deadlines
        self.resources_first = list(resources_first)
        self.resources = list(resources)
        self.connections = 0
        bounds = [bound for bound in (limits.connections, most_connections) if bound is not None]
        self.connections_bound: int | None = min(bounds) if bounds else None
        self.on_idle: Callable[[], object] | None = None
        self.siblings: Siblings | None = None
        self._date = ""
        self._date_until = 0.0

    def connection_made(self, address: str) -> Response | None:
        """A connection has been opened; the answer to it if it is one too many. It is told lost all the same."""
        self.connections += 1
        if not self.engines:
            return None
        return self.engines[0][1].admit_connection(address, self.connections_bound)

    def connection_lost(self, address: str) -> None:
        """A connection has ended."""
        self.connections -= 1
        if self.engines:
            self.engines[0][1].forget_connection(address)
        if not self.connections and self.on_idle is not None:
            self.on_idle()

    def now(self, otherwise: float) -> float:
        """Return the time by the clock of the event loop; ``otherwise`` if there is no engine that has one."""
        return self.engines[0][1].clock() if self.engines else otherwise

    def count_limit(self, name: str) -> None:
        """A bound was hit: count it."""
        if self.engines:
            self.engines[0][1].count_limit(name)

    def engine_for(self, request: Request) -> Engine | None:
        """Return the engine whose path the request's target starts with."""
        for prefix, engine in self.engines:
            if request.target.startswith(prefix):
                return engine
        return None

    def respond_first(self, request: Request) -> Response | None:
        """Return the answer of a resource that goes before the engines."""
        for resource in self.resources_first:
            response = resource.respond(request)
            if response is not None:
                return response
        return None

    def respond(self, request: Request) -> Response:
        """Return the answer to a request that is for no engine."""
        for resource in self.resources:
            response = resource.respond(request)
            if response is not None:
                return response
        return not_found([prefix for prefix, _ in self.engines])

    def date(self, now: float, wall_clock: Callable[[], str] = lambda: formatdate(usegmt=True)) -> str:
        """Return the value of the ``Date`` header, made once a second. RFC 9110 section 6.6.1."""
        if now >= self._date_until:
            self._date = wall_clock()
            self._date_until = now + 1.0
        return self._date


def not_found(paths: Sequence[str]) -> Response:
    """Return the answer to a request for nothing that is here, which says what is."""
    text = f"Socket.IO is at {' or '.join(paths)}\n"
    return Response(NOT_FOUND, [("Content-Type", "text/plain; charset=utf-8")], text.encode())
