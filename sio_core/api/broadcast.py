"""Whom to send to: operators, chained and immutable, and the sockets of other nodes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Collection, Generator
from typing import TYPE_CHECKING, Any, Final, Generic

from sio_core.adapters.base import BroadcastOptions, SocketDetails
from sio_core.api.generics import Data
from sio_core.engineio.deadlines import NEVER, Timed
from sio_core.errors import AckTimeout, AdapterError, ClusterTimeout
from sio_core.runtime import Waiter
from sio_core.socketio.packet import RESERVED_EVENTS

if TYPE_CHECKING:
    from sio_core.api.namespace import Namespace

__all__ = ["DONE", "BroadcastOperator", "Done", "RemoteSocket", "check_event", "unpack"]

NOBODY: Final[frozenset[str]] = frozenset()

logger = logging.getLogger(__name__)


class Done:
    """An awaitable that has ended already."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, None, None]:
        return
        yield


DONE: Final = Done()


def check_event(event: str) -> None:
    """Refuse what may not be emitted.

    :raises ValueError: for a reserved name.
    """
    if event in RESERVED_EVENTS:
        raise ValueError(f'"{event}" is a reserved event name')


def unpack(answer: list[Any]) -> Any:
    """Return an acknowledgement as Python would: ``None``, the one argument, or a tuple of several."""
    if not answer:
        return None
    return answer[0] if len(answer) == 1 else tuple(answer)


class Answers(Timed):
    """The acknowledgements of one broadcast, as they come.

    Complete when every node has said how many clients it has, and as many answers have come.

    :param single: it is for one client: its answer is enough, whatever other nodes have to say.
    """

    __slots__ = ("_clients", "_nodes", "_nodes_expected", "_single", "answers", "waiter")

    def __init__(self, single: bool) -> None:
        super().__init__()
        self._single = single
        self._nodes_expected = -1
        self._nodes = 0
        self._clients = 0
        self.answers: list[Any] = []
        self.waiter = Waiter()

    def expect(self, nodes: int) -> None:
        """The number of nodes is known."""
        self._nodes_expected = nodes
        self._check()

    def count(self, clients: int) -> None:
        """A node has said how many clients it has."""
        self._nodes += 1
        self._clients += clients
        self._check()

    def add(self, answer: list[Any]) -> None:
        """A client has answered; only the first argument is kept, as by the official server."""
        if not self.waiter.done:
            self.answers.append(answer[0] if answer else None)
            self._check()

    def _check(self) -> None:
        counted = self._nodes == self._nodes_expected and len(self.answers) >= self._clients
        if counted or (self._single and self.answers):
            self.waiter.set(self.answers)

    def handle_deadline(self, now: float) -> None:
        self.deadline = NEVER
        missing = max(self._clients - len(self.answers), 0) or int(self._single)
        self.waiter.set(error=AckTimeout(self.answers, missing))


class BroadcastOperator(Generic[Data]):
    """Chooses sockets, and sends to them. Each step returns a new operator.

    Rooms form a union; a socket receives one copy. No room at all means everyone.
    """

    __slots__ = (
        "_compress",
        "_droppable",
        "_except",
        "_local",
        "_namespace",
        "_rooms",
        "_single",
        "_timeout",
    )

    def __init__(
        self,
        namespace: Namespace[Data],
        rooms: Collection[str] = NOBODY,
        except_: Collection[str] = NOBODY,
        volatile: bool = False,
        local: bool = False,
        compress: bool = True,
        timeout: float | None = None,
        single: bool = False,
    ) -> None:
        self._namespace = namespace
        self._rooms = rooms
        self._except = except_
        self._droppable = volatile
        self._local = local
        self._compress = compress
        self._timeout = timeout
        self._single = single

    @property
    def namespace(self) -> Namespace[Data]:
        """The namespace whose sockets are chosen from."""
        return self._namespace

    def _copy(self) -> BroadcastOperator[Data]:
        return BroadcastOperator(
            self._namespace,
            self._rooms,
            self._except,
            self._droppable,
            self._local,
            self._compress,
            self._timeout,
            self._single,
        )

    def _options(self) -> BroadcastOptions:
        return BroadcastOptions(
            self._rooms,
            self._except,
            self._droppable,
            self._local,
            self._compress,
            self._timeout,
            self._single,
        )

    def to(self, *rooms: str) -> BroadcastOperator[Data]:
        """Choose the members of these rooms too."""
        operator = self._copy()
        operator._rooms = tuple(dict.fromkeys([*self._rooms, *rooms]))
        return operator

    def in_(self, *rooms: str) -> BroadcastOperator[Data]:
        """The same as :meth:`to`."""
        return self.to(*rooms)

    def except_(self, *rooms: str) -> BroadcastOperator[Data]:
        """Leave out the members of these rooms."""
        operator = self._copy()
        operator._except = tuple(dict.fromkeys([*self._except, *rooms]))
        return operator

    def timeout(self, seconds: float) -> BroadcastOperator[Data]:
        """Wait that long for acknowledgements."""
        operator = self._copy()
        operator._timeout = seconds
        return operator

    def compress(self, compress: bool) -> BroadcastOperator[Data]:
        """Say whether polling responses that carry this may be compressed."""
        operator = self._copy()
        operator._compress = compress
        return operator

    @property
    def volatile(self) -> BroadcastOperator[Data]:
        """Drop the event where it cannot leave at once."""
        operator = self._copy()
        operator._droppable = True
        return operator

    @property
    def local(self) -> BroadcastOperator[Data]:
        """Reach only the sockets of this process."""
        operator = self._copy()
        operator._local = True
        return operator

    def emit(self, event: str, *args: Any) -> Awaitable[None]:
        """Send an event. Awaiting the result waits for the cluster, never for a receiver.

        :raises ValueError: if the name is reserved.
        """
        check_event(event)
        return self._namespace.broadcast([event, *args], self._options())

    def send(self, *args: Any) -> Awaitable[None]:
        """Send the event ``message``."""
        return self.emit("message", *args)

    async def emit_with_ack(self, event: str, *args: Any, timeout: float | None = None) -> list[Any]:
        """Send an event and return each client's answer: its first argument, in the order of arrival.

        :param timeout: seconds; by default those of :meth:`timeout`, else ``Limits.ack_timeout``.
        :raises AckTimeout: with the answers that came, if not all did.
        :raises ValueError: if the name is reserved.
        """
        check_event(event)
        namespace = self._namespace
        seconds = timeout if timeout is not None else self._timeout
        given = seconds is not None
        if seconds is None:
            seconds = namespace.hub.limits.ack_timeout
        options = self._options()
        options.timeout = seconds
        answers = Answers(self._single)
        forget = namespace.broadcast_with_ack([event, *args], options, answers.count, answers.add)
        deadlines = namespace.hub.deadlines
        answers.deadline = namespace.hub.runtime.now() + seconds
        deadlines.schedule(answers)
        try:
            if self._local:
                answers.expect(1)
            else:  # the answers, or the end of the time, may come before the nodes are counted
                namespace.hub.runtime.spawn(expect_nodes, answers, namespace)
            result: list[Any] = await answers.waiter.wait()
            return result
        except AckTimeout:
            if not given:
                namespace.hub.count_limit("ack_timeout")
            raise
        finally:
            deadlines.cancel(answers)
            forget()

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> list[Any]:
        """The same as :meth:`emit_with_ack`."""
        return await self.emit_with_ack(event, *args, timeout=timeout)

    async def fetch_sockets(self) -> list[RemoteSocket[Data]]:
        """Return the chosen sockets, of every node.

        :raises ClusterTimeout: with the sockets that were found, if not all nodes have answered in time.
        :raises AdapterError: if the other nodes cannot be asked.
        """
        namespace = self._namespace
        try:
            found = await namespace.adapter.fetch_sockets(self._options())
        except ClusterTimeout as error:
            error.partial[:] = [RemoteSocket(namespace, details) for details in error.partial]
            raise
        return [RemoteSocket(namespace, details) for details in found]

    def sockets_join(self, *rooms: str) -> Awaitable[None]:
        """Put the chosen sockets into rooms."""
        namespace = self._namespace
        return namespace.call_adapter(namespace.adapter.add_sockets, self._options(), list(rooms))

    def sockets_leave(self, *rooms: str) -> Awaitable[None]:
        """Take the chosen sockets out of rooms."""
        namespace = self._namespace
        return namespace.call_adapter(namespace.adapter.remove_sockets, self._options(), list(rooms))

    def disconnect_sockets(self, close: bool = False) -> Awaitable[None]:
        """Disconnect the chosen sockets from the namespace, or with ``close`` their clients altogether."""
        namespace = self._namespace
        return namespace.call_adapter(namespace.adapter.disconnect_sockets, self._options(), close)


async def expect_nodes(answers: Answers, namespace: Namespace[Any]) -> None:
    """Find out how many nodes will say how many clients they have."""
    try:
        answers.expect(await namespace.adapter.server_count())
    except AdapterError as error:  # those that can answer still may, until the time is over
        logger.warning("the nodes of namespace %r cannot be counted: %s", namespace.name, error)


class RemoteSocket(Generic[Data]):
    """A socket of this or another node, as it was when it was fetched.

    :ivar id: its public id.
    :ivar handshake: the details of its handshake.
    :ivar rooms: the rooms it was in.
    :ivar data: what the application kept with it.
    """

    __slots__ = ("_operator", "data", "handshake", "id", "rooms")

    def __init__(self, namespace: Namespace[Data], details: SocketDetails) -> None:
        self._operator: BroadcastOperator[Data] = BroadcastOperator(namespace, (details.id,), single=True)
        self.id = details.id
        self.handshake = details.handshake
        self.rooms = set(details.rooms)
        self.data: Data = details.data

    def emit(self, event: str, *args: Any) -> Awaitable[None]:
        """Send an event to this socket."""
        return self._operator.emit(event, *args)

    def send(self, *args: Any) -> Awaitable[None]:
        """Send the event ``message``."""
        return self._operator.send(*args)

    def timeout(self, seconds: float) -> RemoteSocket[Data]:
        """Wait that long for the acknowledgement."""
        return self._through(self._operator.timeout(seconds))

    def compress(self, compress: bool) -> RemoteSocket[Data]:
        """Say whether polling responses that carry this may be compressed."""
        return self._through(self._operator.compress(compress))

    @property
    def volatile(self) -> RemoteSocket[Data]:
        """Drop the event if it cannot leave at once."""
        return self._through(self._operator.volatile)

    def _through(self, operator: BroadcastOperator[Data]) -> RemoteSocket[Data]:
        details = SocketDetails(self.id, self.handshake, list(self.rooms), self.data)
        other = RemoteSocket(operator.namespace, details)
        other._operator = operator
        return other

    async def emit_with_ack(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """Send an event and return the first argument of the answer.

        :raises AckTimeout: if none came in time, or the socket is gone.
        """
        answers = await self._operator.emit_with_ack(event, *args, timeout=timeout)
        if not answers:
            raise AckTimeout((), 1)
        return answers[0]

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """The same as :meth:`emit_with_ack`."""
        return await self.emit_with_ack(event, *args, timeout=timeout)

    def join(self, *rooms: str) -> Awaitable[None]:
        """Put this socket into rooms."""
        return self._operator.sockets_join(*rooms)

    def leave(self, *rooms: str) -> Awaitable[None]:
        """Take this socket out of rooms."""
        return self._operator.sockets_leave(*rooms)

    def disconnect(self, close: bool = False) -> Awaitable[None]:
        """Disconnect this socket, or with ``close`` its client altogether."""
        return self._operator.disconnect_sockets(close)
