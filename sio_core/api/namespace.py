"""A namespace: its sockets, listeners, middlewares and adapter. The ``LocalSockets`` of its adapter."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Generator, Iterable
from threading import get_ident
from typing import TYPE_CHECKING, Any, ClassVar, Generic, overload

from sio_core.adapters.base import (
    Adapter,
    BroadcastOptions,
    Held,
    Host,
    LocalSockets,
    RecoverySettings,
    SavedSession,
    SocketDetails,
)
from sio_core.adapters.memory import MemoryAdapter
from sio_core.api.broadcast import DONE, BroadcastOperator, RemoteSocket, check_event
from sio_core.api.generics import Data, Function
from sio_core.api.handlers import NO_LIFECYCLE, Handlers
from sio_core.api.held import Place
from sio_core.api.outgoing import send_to
from sio_core.api.socket import Socket, remove_from
from sio_core.engineio.deadlines import NEVER, Timed
from sio_core.engineio.packet import Encoded
from sio_core.errors import AdapterError, LocalProtocolError
from sio_core.ids import SocketId

if TYPE_CHECKING:
    from sio_core.api.connected_client import ConnectedClient
    from sio_core.api.hub import Hub

__all__ = ["Namespace", "ParentNamespace", "event"]

Matcher = Callable[[str, Any], "bool | Awaitable[bool]"]

SERVER_RESERVED = frozenset(("connect", "connection", "new_namespace"))


def event(name: str) -> Callable[[Function], Function]:
    """Mark a method of a :class:`Namespace` subclass as the listener of an event whose name is no identifier."""

    def mark(function: Function) -> Function:
        setattr(function, "socketio_event", name)  # noqa: B010 - a function takes any attribute; mypy knows none
        return function

    return mark


class AckExpiry(Timed):
    """Forgets the answers to a broadcast that did not come in time."""

    __slots__ = ("_ack_id", "_sockets")

    def __init__(self, sockets: list[Socket[Any]], ack_id: int) -> None:
        super().__init__()
        self._sockets = sockets
        self._ack_id = ack_id

    def handle_deadline(self, now: float) -> None:
        self.deadline = NEVER
        for socket in self._sockets:
            socket.forget_ack(self._ack_id)


class Namespace(LocalSockets, Generic[Data]):
    """The sockets of one name, ``/`` by default.

    It is used as it is (``io.of("/chat")``), or subclassed: in a subclass ``on_connection``, ``on_disconnecting`` and
    ``on_disconnect`` listen to the lifecycle, every other ``on_...`` method to the event of that name. The table of
    them is built when the class is made, so no name that a client sends can reach another method.

    :ivar name: the name, with its leading slash.
    :ivar sockets: the connected sockets by their id.
    :ivar pending: the clients whose sockets are being let in, or refused.
    :ivar waiting: how many sockets wait for the offset of an event.
    :ivar by_pid: those that can be recovered, and those being recovered, by their private id.
    :ivar adapter: the adapter, with the rooms.
    """

    listeners_of_class: ClassVar[list[tuple[str, str]]] = []

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        table = dict(cls.listeners_of_class)
        for attribute, value in vars(cls).items():
            marked = getattr(value, "socketio_event", None)
            if marked is not None:
                table[attribute] = marked
            elif attribute.startswith("on_") and callable(value) and attribute not in INHERITED:
                table[attribute] = attribute.removeprefix("on_")
        cls.listeners_of_class = list(table.items())

    def __init__(self, name: str = "/") -> None:
        self.name = name if name.startswith("/") else "/" + name
        self.sockets: dict[str, Socket[Data]] = {}
        self.by_pid: dict[str, Socket[Data]] = {}
        self.pending: set[ConnectedClient] = set()
        self.handlers = Handlers(leading=1)
        self.server_handlers = Handlers(leading=0, lifecycle_names=NO_LIFECYCLE)
        self.middlewares: list[Callable[..., Any]] = []
        self.watched: set[str] = set()
        self.waiting = 0
        self.parent: ParentNamespace[Data] | None = None
        self.adapter: Adapter = MemoryAdapter(self.name, self)
        self._ack_id = 0
        self._hub: Hub | None = None
        for attribute, listened in self.listeners_of_class:
            self.handlers.add(listened, getattr(self, attribute))

    def bind(self, hub: Hub) -> None:
        """Make it a namespace of a server."""
        self._hub = hub
        self.adapter = hub.make_adapter(self.name, self)

    @property
    def hub(self) -> Hub:
        """The server's inner half.

        :raises AdapterError: if the namespace belongs to no server yet.
        """
        if self._hub is None:
            raise AdapterError(f"namespace {self.name!r} belongs to no server: io.register(...) it first")
        return self._hub

    def __repr__(self) -> str:
        return f"<Namespace {self.name}>"

    # Listening

    @overload
    def on(
        self, name: str, function: Function, *, ordered: bool = False, thread: bool = False
    ) -> Function: ...
    @overload
    def on(
        self, name: str, function: None = None, *, ordered: bool = False, thread: bool = False
    ) -> Callable[[Function], Function]: ...
    def on(
        self,
        name: str,
        function: Callable[..., Any] | None = None,
        *,
        ordered: bool = False,
        thread: bool = False,
    ) -> Any:
        """Listen to a lifecycle event or to an event of any socket; the socket is the first argument.

        As a call or as a decorator. ``"*"`` catches the events that nothing else listens to, their name first.

        :param ordered: run an ``async`` listener for one event of a socket at a time.
        :param thread: run the listener in a worker thread.
        """
        return self.handlers.add(name, function, ordered=ordered, thread=thread)

    @overload
    def once(self, name: str, function: Function) -> Function: ...
    @overload
    def once(self, name: str, function: None = None) -> Callable[[Function], Function]: ...
    def once(self, name: str, function: Callable[..., Any] | None = None) -> Any:
        """Listen to the next such event only."""
        return self.handlers.add(name, function, once=True)

    def off(self, name: str | None = None, function: Callable[..., Any] | None = None) -> None:
        """Stop listening: one listener, all of a name, or all."""
        self.handlers.remove(name, function)

    def event(self, function: Function) -> Function:
        """Listen to the event that has the function's name."""
        self.handlers.add(function.__name__, function)
        return function

    def listeners(self, name: str) -> list[Callable[..., Any]]:
        """The listeners of a name."""
        return self.handlers.functions(name)

    def event_names(self) -> list[str]:
        """The names that are listened to."""
        return self.handlers.names()

    @overload
    def on_server_event(self, name: str, function: Function) -> Function: ...
    @overload
    def on_server_event(self, name: str, function: None = None) -> Callable[[Function], Function]: ...
    def on_server_event(self, name: str, function: Callable[..., Any] | None = None) -> Any:
        """Listen to an event that other nodes of the cluster send with ``server_side_emit``."""
        return self.server_handlers.add(name, function)

    def on_any(self, function: Function) -> Function:
        """Call ``function(socket, event, *args)`` for every event that comes, before its listeners."""
        self.handlers.incoming.append(function)
        return function

    def prepend_any(self, function: Function) -> Function:
        """The same, before those registered so far."""
        self.handlers.incoming.insert(0, function)
        return function

    def off_any(self, function: Callable[..., Any] | None = None) -> None:
        """Stop that, for one function or for all."""
        remove_from(self.handlers.incoming, function)

    def listeners_any(self) -> list[Callable[..., Any]]:
        """The functions called for every event that comes."""
        return list(self.handlers.incoming)

    def on_any_outgoing(self, function: Function) -> Function:
        """Call ``function(event, *args)`` once for every broadcast of this namespace."""
        self.handlers.outgoing.append(function)
        return function

    def prepend_any_outgoing(self, function: Function) -> Function:
        """The same, before those registered so far."""
        self.handlers.outgoing.insert(0, function)
        return function

    def off_any_outgoing(self, function: Callable[..., Any] | None = None) -> None:
        """Stop that, for one function or for all."""
        remove_from(self.handlers.outgoing, function)

    def listeners_any_outgoing(self) -> list[Callable[..., Any]]:
        """The functions called for every broadcast."""
        return list(self.handlers.outgoing)

    def use(self, middleware: Function) -> Function:
        """Run ``middleware(socket)`` before a socket is connected; it may be ``async``.

        It raises :class:`~sio_core.errors.ConnectError` to refuse the client; any other exception refuses it too.
        """
        self.middlewares.append(middleware)
        return middleware

    # Sending

    def emit(self, event: str, *args: Any) -> Awaitable[None]:
        """Send an event to every socket of the namespace, on every node.

        :raises ValueError: if the name is reserved.
        """
        check_event(event)
        return self.broadcast([event, *args], BroadcastOptions())

    def send(self, *args: Any) -> Awaitable[None]:
        """Send the event ``message`` to every socket."""
        return self.emit("message", *args)

    async def emit_with_ack(self, event: str, *args: Any, timeout: float | None = None) -> list[Any]:
        """Send an event and collect every client's answer. See :meth:`BroadcastOperator.emit_with_ack`."""
        return await BroadcastOperator(self).emit_with_ack(event, *args, timeout=timeout)

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> list[Any]:
        """The same as :meth:`emit_with_ack`."""
        return await self.emit_with_ack(event, *args, timeout=timeout)

    def to(self, *rooms: str) -> BroadcastOperator[Data]:
        """Choose the members of rooms."""
        return BroadcastOperator(self, rooms)

    def in_(self, *rooms: str) -> BroadcastOperator[Data]:
        """The same as :meth:`to`."""
        return BroadcastOperator(self, rooms)

    def except_(self, *rooms: str) -> BroadcastOperator[Data]:
        """Leave out the members of rooms."""
        return BroadcastOperator(self, (), rooms)

    def timeout(self, seconds: float) -> BroadcastOperator[Data]:
        """Wait that long for acknowledgements."""
        return BroadcastOperator(self, timeout=seconds)

    def compress(self, compress: bool) -> BroadcastOperator[Data]:
        """Say whether polling responses that carry this may be compressed."""
        return BroadcastOperator(self, compress=compress)

    @property
    def volatile(self) -> BroadcastOperator[Data]:
        """Drop the event where it cannot leave at once."""
        return BroadcastOperator(self, volatile=True)

    @property
    def local(self) -> BroadcastOperator[Data]:
        """Reach only the sockets of this process."""
        return BroadcastOperator(self, local=True)

    async def fetch_sockets(self) -> list[RemoteSocket[Data]]:
        """Return every socket of the namespace, of every node."""
        return await BroadcastOperator(self).fetch_sockets()

    def sockets_join(self, *rooms: str) -> Awaitable[None]:
        """Put every socket into rooms."""
        return BroadcastOperator(self).sockets_join(*rooms)

    def sockets_leave(self, *rooms: str) -> Awaitable[None]:
        """Take every socket out of rooms."""
        return BroadcastOperator(self).sockets_leave(*rooms)

    def disconnect_sockets(self, close: bool = False) -> Awaitable[None]:
        """Disconnect every socket."""
        return BroadcastOperator(self).disconnect_sockets(close)

    def server_side_emit(self, event: str, *args: Any) -> Awaitable[None]:
        """Send an event to the other nodes, for their ``on_server_event``.

        :raises ValueError: if the name is reserved.
        :raises AdapterError: if the adapter has no other nodes.
        """
        check_server_event(event)
        return self.call_adapter(self.adapter.server_side_emit, [event, *args])

    async def server_side_emit_with_ack(
        self, event: str, *args: Any, timeout: float | None = None
    ) -> list[Any]:
        """Send an event to the other nodes and return their answers.

        :raises ClusterTimeout: with the answers that came, if not all did.
        """
        check_server_event(event)
        return await self.adapter.server_side_emit_with_ack([event, *args], timeout)

    def broadcast(self, data: list[Any], options: BroadcastOptions) -> Awaitable[None]:
        """Send the event ``[name, *args]`` to those whom ``options`` choose."""
        hub = self.hub
        if get_ident() != hub.thread and hub.thread:
            hub.runtime.call_from_thread(self.broadcast, data, options)
            return DONE
        for function in list(self.handlers.outgoing):
            hub.run(function, data, f"on_any_outgoing of {data[0]!r}", None)
        return self.adapter.broadcast(data, options) or DONE

    def call_adapter(self, function: Callable[..., Awaitable[None] | None], *args: Any) -> Awaitable[None]:
        """Have the adapter do something, in the thread of the event loop."""
        hub = self.hub
        if get_ident() != hub.thread and hub.thread:
            hub.runtime.call_from_thread(function, *args)
            return DONE
        return function(*args) or DONE

    def broadcast_with_ack(
        self,
        data: list[Any],
        options: BroadcastOptions,
        client_count: Callable[[int], None],
        ack: Callable[[list[Any]], None],
    ) -> Callable[[], None]:
        """Send an event that is to be answered; returns what ends the waiting."""
        for function in list(self.handlers.outgoing):
            self.hub.run(function, data, f"on_any_outgoing of {data[0]!r}", None)
        first = self._ack_id
        self.adapter.broadcast_with_ack(data, options, client_count, ack)
        # The first is the one of this event. Listeners to what is sent may have taken more since, for their own.
        ids = range(first, self._ack_id)[:1]

        def forget() -> None:
            for socket in self.sockets.values():
                for ack_id in ids:
                    socket.forget_ack(ack_id)

        return forget

    def next_ack_id(self) -> int:
        """Return a number for an acknowledgement; each is given out once."""
        ack_id = self._ack_id
        self._ack_id += 1
        return ack_id

    # Sockets

    def accept(self, socket: Socket[Data]) -> None:
        """A socket has passed the middlewares: it can be reached from now on."""
        self.pending.discard(socket.client)
        self.sockets[socket.id] = socket
        if socket.pid is not None:
            self.by_pid[socket.pid] = socket
        socket.connected = True
        self.adapter.add_all(socket.id, (socket.id,))

    def forget_pending(self, client: ConnectedClient) -> None:
        """A client is not let in, before there was a socket for it."""
        self.pending.discard(client)
        self.sessions_gone()

    def remove(self, socket: Socket[Data]) -> None:
        """A socket is gone, or was refused."""
        if not socket.connected:
            self.pending.discard(socket.client)
        if self.sockets.get(socket.id, socket) is socket:
            self.sockets.pop(socket.id, None)
            self.adapter.remove_all(socket.id)
            self.watched.discard(socket.id)
        if socket.pid is not None and self.by_pid.get(socket.pid) is socket:
            del self.by_pid[socket.pid]
        self.sessions_gone()

    def save(self, socket: Socket[Data]) -> None:
        """Keep what a socket that lost its connection may claim back."""
        if socket.pid is not None:
            self.adapter.save_session(
                SavedSession(socket.id, socket.pid, list(socket.rooms), socket.data, socket.conn.confirmed_at)
            )

    # What the adapter asks for

    @property
    def host(self) -> Host:
        return self.hub.host

    @property
    def recovery(self) -> RecoverySettings | None:
        return self.hub.recovery

    def sessions_gone(self) -> None:
        empty = not self.sockets and not self.pending and not self.adapter.keeps_sessions
        if empty and self.parent is not None:
            self.parent.child_is_empty(self)

    def encode(self, data: list[Any], options: BroadcastOptions, offset: str | None) -> list[Encoded]:
        return self.hub.encode_event(
            self.name, data if offset is None else [*data, offset], None, options.compress
        )

    def hold(self, ids: Iterable[str], data: list[Any]) -> Held:
        place = Place([self.sockets[member] for member in ids if member in self.sockets])
        if self.watched:  # what they send is sent after this event, and has a later offset
            self._notify_watchers(ids, data)
        return place

    def deliver(self, ids: Iterable[str], data: list[Any], options: BroadcastOptions) -> None:
        packets = self.encode(data, options, None)
        if self.waiting:
            for member in ids:
                socket = self.sockets.get(member)
                if socket is not None:
                    socket.write_packets(packets, options.volatile)
            if self.watched:
                self._notify_watchers(ids, data)
        else:
            self.deliver_encoded(ids, packets, data, options)

    def deliver_encoded(
        self, ids: Iterable[str], packets: list[Encoded], data: list[Any], options: BroadcastOptions
    ) -> None:
        send_to(self.sockets, ids, packets, options.volatile)
        if self.watched:  # what they send is sent after this event, and has a later offset
            self._notify_watchers(ids, data)

    def deliver_with_ack(
        self,
        ids: Iterable[str],
        data: list[Any],
        options: BroadcastOptions,
        ack: Callable[[list[Any]], None],
        forget_after: float | None = None,
    ) -> int:
        ack_id = self.next_ack_id()
        packets = self.hub.encode_event(self.name, data, ack_id, options.compress)
        if self.watched:
            self._notify_watchers(ids, data)

        def answered(answer: list[Any] | None, error: Exception | None) -> None:
            if answer is not None:
                ack(answer)

        chosen = [self.sockets[member] for member in ids if member in self.sockets]
        for socket in chosen:
            try:
                socket.expect_ack(ack_id, answered)
            except LocalProtocolError:
                continue  # it has left too many unanswered: this one it will not answer either
            socket.write_packets(packets, options.volatile)
        if forget_after is not None and chosen:
            hub = self.hub
            expiry = AckExpiry(chosen, ack_id)
            expiry.deadline = hub.runtime.now() + forget_after
            hub.deadlines.schedule(expiry)
        return len(chosen)

    def _notify_watchers(self, ids: Iterable[str], data: list[Any]) -> None:
        for member in [member for member in ids if member in self.watched]:
            socket = self.sockets.get(member)
            if socket is not None:
                socket.notify_outgoing(data)

    def details(self, ids: Iterable[str]) -> list[SocketDetails]:
        found = [self.sockets[member] for member in ids if member in self.sockets]
        return [SocketDetails(s.id, s.handshake, sorted(s.rooms), s.data) for s in found]

    def disconnect(self, ids: Iterable[str], close: bool) -> None:
        for member in ids:
            socket = self.sockets.get(member)
            if socket is not None:
                socket.disconnect(close)

    def receive_server_event(self, args: list[Any], ack: Callable[..., None] | None) -> None:
        name = args[0]
        for handler in list(self.server_handlers.events.get(name, ())):
            self.hub.run_server_event(handler, str(name), args[1:], ack)

    def server_events(self) -> list[str | int]:
        """The names that ``on_server_event`` listens to."""
        return list(self.server_handlers.events)


INHERITED = frozenset(name for name in vars(Namespace) if name.startswith("on_"))
"""Methods of the class itself that are no listeners."""


class ParentNamespace(Namespace[Data]):
    """Makes namespaces by a pattern or a function; its children start with its middlewares and lifecycle listeners.

    :ivar children: the namespaces it has made.
    """

    def __init__(self, name: str, matcher: re.Pattern[str] | Matcher) -> None:
        super().__init__(name)
        self.matcher = matcher
        self.children: dict[str, Namespace[Data]] = {}

    def bind(self, hub: Hub) -> None:
        self._hub = hub  # it has no sockets: its children have adapters, it needs none

    def matches(self, name: str, auth: Any) -> Generator[Awaitable[Any], Any, bool]:
        """Whether a namespace of this name is to be made for a client with this auth payload."""
        if isinstance(self.matcher, re.Pattern):
            return self.matcher.search(name) is not None
        try:
            outcome: Any = self.matcher(name, auth)
            if isinstance(outcome, Awaitable):
                outcome = yield outcome
        except Exception as error:
            self.hub.report(error, f"the function of dynamic namespaces, for {name!r}", None)
            return False
        return outcome is True

    def matches_pattern(self, name: str) -> bool:
        """Whether it has a pattern, and the pattern matches."""
        return isinstance(self.matcher, re.Pattern) and self.matcher.search(name) is not None

    def adopt(self, child: Namespace[Data]) -> None:
        """Make a namespace a child of this one."""
        child.parent = self
        child.middlewares.extend(self.middlewares)
        child.handlers.extend(self.handlers)
        self.children[child.name] = child

    def child_is_empty(self, child: Namespace[Data]) -> None:
        """The last socket of a child has gone."""
        if self.hub.cleanup_empty_child_namespaces and child.name in self.children:
            del self.children[child.name]
            self.hub.forget_namespace(child)

    def broadcast(self, data: list[Any], options: BroadcastOptions) -> Awaitable[None]:
        """Send an event in every child."""
        for child in list(self.children.values()):
            child.broadcast(list(data), options)
        return DONE

    async def fetch_sockets(self) -> list[RemoteSocket[Data]]:
        """Not possible here.

        :raises AdapterError: always, as in the official server.
        """
        raise AdapterError("fetch_sockets() is not supported on parent namespaces")


def check_server_event(name: str) -> None:
    """Refuse what may not be sent to other nodes.

    :raises ValueError: for a reserved name.
    """
    if name in SERVER_RESERVED:
        raise ValueError(f'"{name}" is a reserved event name')


def make_socket_id(saved: SavedSession | None, generate: Callable[[], str]) -> SocketId:
    """Return the id of a new socket, or the one it had."""
    return SocketId(saved.id if saved is not None else generate())
