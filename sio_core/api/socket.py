"""One client in one namespace."""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from threading import get_ident
from typing import TYPE_CHECKING, Any, Final, Generic, overload

import anyio
import anyio.lowlevel

from sio_core.api.answers import Answer, PendingAck
from sio_core.api.broadcast import DONE, BroadcastOperator, check_event, unpack
from sio_core.api.generics import Data, Function
from sio_core.api.handlers import CATCH_ALL, SOCKET_LIFECYCLE, Ack, Handler, Handlers, key_of
from sio_core.api.handshake import Handshake
from sio_core.api.held import Waiting
from sio_core.api.outgoing import MESSAGE, encoded
from sio_core.api.socket_operator import SocketOperator
from sio_core.engineio.packet import Encoded
from sio_core.engineio.session import Session
from sio_core.engineio.states import CLOSED
from sio_core.errors import LocalProtocolError, SioError, SocketClosed
from sio_core.ids import SocketId
from sio_core.runtime import AsyncFunction, Waiter, as_error
from sio_core.socketio.packet import DISCONNECT, RESERVED_EVENTS, Packet
from sio_core.wire.message import Request

if TYPE_CHECKING:
    from sio_core.api.connected_client import ConnectedClient
    from sio_core.api.namespace import Namespace

__all__ = ["Socket"]

AckCallback = Callable[["list[Any] | None", "Exception | None"], None]
Backlog = deque[tuple[Callable[..., object], tuple[Any, ...], int]]
"""What to call, with which arguments, and the bytes of memory that takes."""

logger = logging.getLogger(__name__)

RECOVERABLE: Final = frozenset(
    (
        "transport error",
        "transport close",
        "forced close",
        "ping timeout",
        "server shutting down",
        "forced server close",
    )
)
"""The disconnect reasons after which the client may come back for what it missed."""

NO_BACKLOG: Final[Backlog | None] = None
"""Said of an attribute that a call will change behind the back of the type checker: a plain ``None`` would stay."""


class Drained:
    """Ends when the socket's buffer is below the low-water mark, or the socket is closed."""

    __slots__ = ("_socket",)

    def __init__(self, socket: Socket[Any]) -> None:
        self._socket = socket

    def __await__(self) -> Generator[Any, None, None]:
        if self._socket.has_room:
            return
        yield from self._socket.wait_for_room().__await__()


class Socket(Generic[Data]):
    """One client in one namespace.

    :ivar id: the public id, also the name of a room of its own.
    :ivar namespace: the namespace.
    :ivar client: the connection that all its namespaces share.
    :ivar conn: the Engine.IO session of that connection.
    :ivar handshake: how the client came.
    :ivar data: the application's own, made by ``data_factory``, kept by recovery.
    :ivar connected: whether it is in the namespace now.
    :ivar recovered: whether it is the continuation of a lost connection.
    :ivar waiting: what it is sent behind an event that cannot leave yet; ``None`` if there is none.
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_acks",
        "_at_bound",
        "_backlog",
        "_closed",
        "_drained",
        "_draining",
        "_held",
        "_hub",
        "_leaving",
        "_listeners",
        "_middlewares",
        "_ordered",
        "_queued",
        "_queued_bytes",
        "_running",
        "_scopes",
        "_superseded",
        "client",
        "conn",
        "connected",
        "data",
        "handshake",
        "id",
        "namespace",
        "pid",
        "recovered",
        "waiting",
    )

    def __init__(
        self,
        namespace: Namespace[Data],
        client: ConnectedClient,
        socket_id: SocketId,
        pid: str | None,
        handshake: Handshake,
        data: Data,
    ) -> None:
        self.id = socket_id
        self.pid = pid
        self.namespace = namespace
        self.client = client
        self._hub = namespace.hub
        self.handshake = handshake
        self.data = data
        self.connected = False
        self.recovered = False
        self.conn: Session = client.conn
        self._closed = False
        self._leaving = False
        self._listeners: Handlers | None = None
        self._middlewares: list[Callable[..., Any]] | None = None
        self._acks: dict[int, AckCallback] | None = None
        self._drained: Drained | None = None
        self._backlog: Backlog | None = None
        self._held = 0
        self._draining = False
        self._running = 0
        self._ordered: deque[tuple[Handler, list[Any], Answer | None, str, int]] | None = None
        self._at_bound = False  # of running listeners, since the backlog was empty
        self._queued = 0
        self._queued_bytes = 0
        self._scopes: set[anyio.CancelScope] | None = None
        self._superseded: Waiter | None = None
        self.waiting: Waiting | None = None

    # What it is

    @property
    def request(self) -> Request | None:
        """The first HTTP request of the session."""
        return self.conn.request

    @property
    def disconnected(self) -> bool:
        """The opposite of ``connected``."""
        return not self.connected

    @property
    def rooms(self) -> set[str]:
        """The rooms it is in, its own id among them."""
        return set(self.namespace.adapter.rooms.members.get(self.id, ()))

    def __repr__(self) -> str:
        return f"<Socket {self.id} of {self.namespace.name}>"

    # Listening

    @property
    def handlers(self) -> Handlers:
        """The listeners of this socket alone."""
        if self._listeners is None:
            self._listeners = Handlers(leading=0, lifecycle_names=SOCKET_LIFECYCLE)
        return self._listeners

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
        """Listen to an event of this socket, as a call or as a decorator; listeners get the event's arguments."""
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

    def listeners(self, name: str) -> list[Callable[..., Any]]:
        """The listeners of a name."""
        return self.handlers.functions(name)

    def event_names(self) -> list[str]:
        """The names that are listened to."""
        return self.handlers.names()

    def on_any(self, function: Function) -> Function:
        """Call ``function(event, *args)`` for every event that comes, before its listeners."""
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
        """Call ``function(event, *args)`` for every event that is sent to this socket."""
        self.handlers.outgoing.append(function)
        self.namespace.watched.add(self.id)
        return function

    def prepend_any_outgoing(self, function: Function) -> Function:
        """The same, before those registered so far."""
        self.handlers.outgoing.insert(0, function)
        self.namespace.watched.add(self.id)
        return function

    def off_any_outgoing(self, function: Callable[..., Any] | None = None) -> None:
        """Stop that, for one function or for all."""
        remove_from(self.handlers.outgoing, function)

    def listeners_any_outgoing(self) -> list[Callable[..., Any]]:
        """The functions called for every event that is sent."""
        return list(self.handlers.outgoing)

    def use(self, middleware: Function) -> Function:
        """Run ``middleware(event, args)`` before each event; it may be ``async``.

        It may change ``args``, and rename the event by returning another name. If it raises, the event is dropped and
        the error goes to the listeners of ``error``.
        """
        if self._middlewares is None:
            self._middlewares = []
        self._middlewares.append(middleware)
        return middleware

    # Sending

    def emit(self, event: str, *args: Any) -> Awaitable[None]:
        """Send an event. Awaiting the result waits until the socket's buffer has room again.

        :raises ValueError: if the name is reserved.
        :raises TypeError: if an argument cannot be sent.
        """
        return self.send_event([event, *args], False, True)

    def send(self, *args: Any) -> Awaitable[None]:
        """Send the event ``message``."""
        return self.send_event(["message", *args], False, True)

    async def emit_with_ack(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """Send an event and return the client's answer: ``None``, its one argument, or a tuple of several.

        :param timeout: seconds; by default it waits until the socket is closed.
        :raises AckTimeout: if no answer came in time.
        :raises SocketClosed: if the socket was closed first.
        """
        return await self.send_with_ack([event, *args], False, True, timeout)

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> Any:
        """The same as :meth:`emit_with_ack`."""
        return await self.emit_with_ack(event, *args, timeout=timeout)

    @property
    def volatile(self) -> SocketOperator[Data]:
        """Drop the event if it cannot leave at once."""
        return SocketOperator(self, volatile=True)

    def compress(self, compress: bool) -> SocketOperator[Data]:
        """Say whether polling responses that carry this may be compressed."""
        return SocketOperator(self, compress=compress)

    def timeout(self, seconds: float) -> SocketOperator[Data]:
        """Wait that long for the acknowledgement."""
        return SocketOperator(self, timeout=seconds)

    @property
    def broadcast(self) -> BroadcastOperator[Data]:
        """Everyone in the namespace but this socket."""
        return BroadcastOperator(self.namespace, (), (self.id,))

    @property
    def local(self) -> BroadcastOperator[Data]:
        """Everyone of this process but this socket."""
        return BroadcastOperator(self.namespace, (), (self.id,), local=True)

    def to(self, *rooms: str) -> BroadcastOperator[Data]:
        """The members of these rooms, but this socket."""
        return self.broadcast.to(*rooms)

    def in_(self, *rooms: str) -> BroadcastOperator[Data]:
        """The same as :meth:`to`."""
        return self.broadcast.to(*rooms)

    def except_(self, *rooms: str) -> BroadcastOperator[Data]:
        """Everyone but this socket and the members of these rooms."""
        return self.broadcast.except_(*rooms)

    def send_event(self, data: list[Any], volatile: bool, compress: bool) -> Awaitable[None]:
        """Send the event ``[name, *args]``."""
        if data[0] in RESERVED_EVENTS:
            check_event(data[0])
        hub = self._hub
        if get_ident() != hub.thread and hub.thread:
            hub.runtime.call_from_thread(self.send_event, data, volatile, compress)
            return DONE
        if self.pid is not None and not volatile and (self.connected or self._closed):
            self.namespace.adapter.send(
                self.id, data, compress
            )  # after it has gone, too: it may come back for it
        elif not self._closed:
            self.write_event(data, None, volatile, compress)
        drained = self._drained
        if drained is None:
            drained = self._drained = Drained(self)
        return drained

    def write_event(self, data: list[Any], ack_id: int | None, volatile: bool, compress: bool) -> None:
        """Encode an event and hand it to the session."""
        if self._listeners is not None and self._listeners.outgoing:
            self.notify_outgoing(data)
        text, attachments = self._hub.parser.encode_event(self.namespace.name, data, ack_id, MESSAGE)
        if not attachments and self.waiting is None:
            self.conn.send_packet(Encoded(text, False, compress), volatile)
        else:
            self.write_packets(encoded(text, attachments, compress), volatile)

    def write_packets(self, packets: list[Encoded], volatile: bool = False) -> None:
        """Send what is encoded already, after what waits."""
        if self.waiting is None:
            self.conn.send_packets(packets, volatile)
        else:
            self.waiting.add(packets, volatile)

    def hold_packets(self) -> Waiting:
        """What is sent from now on waits."""
        if self.waiting is None:
            self.waiting = Waiting(self)
            self.namespace.waiting += 1
        return self.waiting

    def release_packets(self) -> None:
        """Nothing waits any more."""
        if self.waiting is not None:
            self.waiting = None
            self.namespace.waiting -= 1

    def notify_outgoing(self, data: list[Any]) -> None:
        """Tell those who listen to what is sent."""
        if self._listeners is not None:
            for function in list(self._listeners.outgoing):
                self._hub.run(function, data, f"on_any_outgoing of {data[0]!r}", self)

    async def send_with_ack(
        self, data: list[Any], volatile: bool, compress: bool, timeout: float | None
    ) -> Any:
        """Send the event ``[name, *args]`` and wait for its answer."""
        check_event(data[0])
        if self._closed or self._leaving:
            raise SocketClosed("the socket has been disconnected")
        hub = self._hub
        ack_id = self.namespace.next_ack_id()
        pending = PendingAck(lambda: self.forget_ack(ack_id))
        self.expect_ack(ack_id, pending.resolve)
        if timeout is not None:
            pending.deadline = hub.runtime.now() + timeout
            hub.deadlines.schedule(pending)
        try:
            self.write_event(data, ack_id, volatile, compress)
            return unpack(await pending.waiter.wait())
        finally:
            hub.deadlines.cancel(pending)
            self.forget_ack(ack_id)

    def expect_ack(self, ack_id: int, callback: AckCallback) -> None:
        """Have ``callback(answer, error)`` called once for an acknowledgement.

        :raises LocalProtocolError: if too many are awaited from this socket.
        """
        if self._acks is None:
            self._acks = {}
        if len(self._acks) >= self._hub.limits.acks_per_socket:
            self._hub.count_limit("acks_per_socket")
            raise LocalProtocolError("too many acknowledgements are awaited from this socket")
        self._acks[ack_id] = callback
        if self._queued:  # the answer stands behind what is not read
            self._pause_reading()

    def forget_ack(self, ack_id: int) -> None:
        """Nobody waits for that acknowledgement any more."""
        if self._acks is not None:
            self._acks.pop(ack_id, None)

    @property
    def has_room(self) -> bool:
        """Whether the buffer is below the low-water mark, or the socket is closed."""
        session = self.conn
        return session.outbox_bytes <= self._hub.limits.outbox_low_water or session.state is CLOSED

    async def wait_for_room(self) -> None:
        """Wait until :attr:`has_room`."""
        if not self.has_room:
            self._hub.count_limit("outbox_low_water")
        while not self.has_room:
            waiter = Waiter()
            self.conn.notify_when_taken(waiter.set)
            await waiter.wait()

    # Rooms and the end

    def join(self, *rooms: str) -> Awaitable[None]:
        """Join rooms.

        :raises LocalProtocolError: if it would be in more than ``Limits.rooms_per_socket``, the name of one is longer
            than ``Limits.room_length``, or one is the own room of another socket: what is sent there is for that one
            alone.
        """
        hub = self._hub
        if get_ident() != hub.thread and hub.thread:
            hub.runtime.call_from_thread(self.join, *rooms)
        elif not self._closed:
            bound = hub.limits.rooms_per_socket
            if bound is not None and len(self.rooms.union(rooms)) > bound:
                hub.count_limit("rooms_per_socket")
                raise LocalProtocolError(f"a socket may be in {bound} rooms")
            length = hub.limits.room_length
            if length is not None and any([len(room) > length for room in rooms]):
                hub.count_limit("room_length")
                raise LocalProtocolError(f"the name of a room may have {length} characters")
            namespace = self.namespace
            for room in rooms:
                if room != self.id and (room in namespace.sockets or namespace.adapter.is_kept(room)):
                    raise LocalProtocolError("a socket may not join the room of another socket's id")
            namespace.adapter.add_all(self.id, rooms)
        return DONE

    def leave(self, *rooms: str) -> Awaitable[None]:
        """Leave rooms."""
        hub = self._hub
        if get_ident() != hub.thread and hub.thread:
            hub.runtime.call_from_thread(self.leave, *rooms)
        else:
            self.namespace.adapter.remove(self.id, rooms)
        return DONE

    def disconnect(self, close: bool = False) -> None:
        """Disconnect from the namespace, or with ``close`` end the whole connection, after what was sent has left."""
        hub = self._hub
        if get_ident() != hub.thread and hub.thread:
            hub.runtime.call_from_thread(self.disconnect, close)
        elif close:
            hub.disconnect_client(self.client)
        elif self.connected:
            if not self._leaving:
                self.write_packets(hub.encode_packet(Packet(DISCONNECT, self.namespace.name)))
            self.close("server namespace disconnect", None)

    def spawn(self, function: AsyncFunction, *args: Any) -> None:
        """Run an async function as a task that ends with the socket."""
        if not self._closed:
            self._hub.runtime.spawn(self._run_scoped, function, args)

    async def _run_scoped(self, function: AsyncFunction, args: tuple[Any, ...]) -> None:
        if self._closed:
            return
        if self._scopes is None:
            self._scopes = set()
        with anyio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                await function(*args)
            except Exception as error:
                self._hub.report(error, "a spawned task", self)
            finally:
                self._scopes.discard(scope)

    def close(self, reason: str, details: Any) -> None:
        """The socket is over: tell the application, leave the rooms. Waits behind events that came before."""
        if not self.connected or self._closed:
            return
        if not self._leaving:
            self._leaving = True
            members = self.client.members
            if members.get(self.namespace.name) is self:
                del members[self.namespace.name]  # the client may come again at once
            self.client.pause(self, False)
        if self._held and self._backlog is not None:
            self._backlog.append((self.close, (reason, details), 0))
            self._fail_acks()  # what this waits for may itself wait for an answer, which will not come
            return
        while self._backlog:  # at the bound of running listeners; a disconnection does not wait for them
            function, args, _ = self._backlog.popleft()
            function(*args)
        if self.closed:  # by one of them
            return
        self._closed = True
        self._notify_lifecycle("disconnecting", reason, details)
        if self._held:  # an async listener has not had its first step yet, and may look at the rooms
            self._backlog = deque([(self._leave, (reason, details), 0)])
        else:
            self._leave(reason, details)

    def _leave(self, reason: str, details: Any) -> None:
        if self.waiting is not None and reason != "server namespace disconnect":
            self.waiting.drop()
        if reason in RECOVERABLE:
            self.namespace.save(self)
        self.discard()
        self.connected = False
        self._notify_lifecycle("disconnect", reason, details)
        self._fail_acks()
        for scope in list(self._scopes or ()):
            scope.cancel()
        if self._superseded is not None:
            self._superseded.set()

    def _fail_acks(self) -> None:
        """The client will give no answer any more."""
        acks, self._acks = self._acks, None
        for callback in (acks or {}).values():
            callback(None, SocketClosed("the socket has been disconnected"))

    def supersede(self) -> Awaitable[None] | None:
        """The client has come back by another connection before the loss of this one was noticed: it is over.

        :returns: what ends when it is; ``None`` if it is now.
        """
        if not self.connected:  # it was being let in, and is given up for the one that came later
            self.discard()
            return None
        self.close("transport close", {"message": "the client has come back by another connection"})
        if not self.connected:
            return None
        if self._superseded is None:
            self._superseded = Waiter()
        return self._superseded.wait()

    @property
    def closed(self) -> bool:
        """Whether it is over, or is to be as soon as what came before has been dealt with."""
        return self._closed

    def discard(self) -> None:
        """Forget the socket: it leaves its rooms and its namespace."""
        self._closed = True
        self.namespace.remove(self)

    def notify_connected(self) -> None:
        """Tell the application that the socket is connected."""
        namespace = self.namespace
        for handler in list(namespace.handlers.lifecycle.get("connection", ())):
            if handler.once:
                namespace.handlers.discard("connection", handler)
            self._start(handler, [self], None, "connection")

    def _notify_lifecycle(self, name: str, *args: Any) -> None:
        handlers = self.namespace.handlers
        for handler in list(handlers.lifecycle.get(name, ())):
            if handler.once:
                handlers.discard(name, handler)
            self._start(handler, [self, *args], None, name)
        own = self._listeners
        if own is not None:
            for handler in list(own.lifecycle.get(name, ())):
                if handler.once:
                    own.discard(name, handler)
                self._start(handler, list(args), None, name)

    def notify_error(self, error: Exception) -> None:
        """Tell the listeners of ``error``."""
        self._notify_lifecycle("error", error)

    # Receiving

    def receive_ack(self, answer: list[Any], ack_id: int | None) -> None:
        """An acknowledgement has come. One that nobody waits for is ignored."""
        if self._acks is not None and ack_id is not None:
            callback = self._acks.pop(ack_id, None)
            if callback is not None:
                callback(answer, None)

    def receive_event(self, data: list[Any], ack_id: int | None) -> None:
        """An event has come."""
        if self._backlog is not None or self._running >= self._hub.max_handlers:
            self._queue(self.dispatch, data, ack_id)
        else:
            self.dispatch(data, ack_id)

    def _queue(self, function: Callable[..., object], data: list[Any], ack_id: int | None) -> None:
        if self._backlog is None:
            self._backlog = deque()
        if self._running >= self._hub.max_handlers:
            self._wait_for_listeners()
        size = memory_of(data)
        self._backlog.append((function, (data, ack_id), size))
        self._count_queued(size)

    def _count_queued(self, size: int) -> None:
        """One more event waits: read no more if that is enough."""
        self._queued += 1
        self._queued_bytes += size
        if self._pause_reading():
            self._hub.count_limit(
                "queued_bytes" if self._queued_bytes >= self._hub.limits.queued_bytes else "queued_events"
            )

    def _pause_reading(self) -> bool:
        """Read from the client, or not, by what waits; ``True`` if that ends its reading just now.

        What the application waits for, an answer, stands behind the events: so these are read on for it, to a bound.
        """
        limits = self._hub.limits
        enough = self._queued_bytes >= limits.queued_bytes or (
            self._queued >= limits.queued_events and not self._acks
        )
        return self.client.pause(self, enough and not self._leaving)

    def _wait_for_listeners(self) -> None:
        """As many listeners run as may: what has come waits for one to end."""
        if not self._at_bound:
            self._at_bound = True
            self._hub.count_limit("handlers_per_socket")

    def _dequeued(self, size: int) -> None:
        """An event waits no more. Reading goes on once none does."""
        self._queued -= 1
        self._queued_bytes -= size
        if not self._queued and self._backlog is None:
            self.client.pause(self, False)

    def dispatch(self, data: list[Any], ack_id: int | None) -> None:
        """Hand an event to its listeners."""
        namespace = self.namespace
        own = self._listeners
        if not data:
            return
        if namespace.handlers.incoming or (own is not None and own.incoming):
            self._notify_incoming(data)
        if self._middlewares:
            self._hub.run_steps(self._filter(data, ack_id), self)
            return
        if own is None:
            handlers = namespace.handlers.events.get(data[0])
            if handlers is not None and len(handlers) == 1 and not self._closed:
                handler = handlers[0]
                if handler.exact == len(data) and not handler.asynchronous and not handler.once:
                    data[0] = self  # the event's name has done its work: its place is the socket's
                    try:
                        result = handler.function(*data)
                    except Exception as error:
                        self._hub.report(error, f"the listener of {find_name(namespace, handler)!r}", self)
                    else:
                        if ack_id is not None:
                            self.send_ack(ack_id, result)
                    return
        self._deliver(data, ack_id)

    def _deliver(self, data: list[Any], ack_id: int | None) -> None:
        """The general way to the listeners: any number, of any kind."""
        if self._closed:
            return
        name = data[0]
        key = key_of(name)
        namespace_handlers = self.namespace.handlers
        calls = [(namespace_handlers, handler, True) for handler in namespace_handlers.events.get(key, ())]
        if self._listeners is not None:
            calls.extend(
                [(self._listeners, handler, False) for handler in self._listeners.events.get(key, ())]
            )
        leading: list[Any] = []
        if not calls:
            leading = [name]
            key = CATCH_ALL
            calls.extend(
                [(namespace_handlers, handler, True) for handler in namespace_handlers.others.get(key, ())]
            )
            if self._listeners is not None:
                calls.extend(
                    [(self._listeners, handler, False) for handler in self._listeners.others.get(key, ())]
                )
        if not calls:
            return
        answer = Answer(self, ack_id, len(calls)) if ack_id is not None else None
        for table, handler, of_namespace in calls:
            if handler.once:
                table.discard(key, handler)
            args = [self, *leading, *data[1:]] if of_namespace else [*leading, *data[1:]]
            self._start(handler, args, answer, str(name))

    def _start(self, handler: Handler, args: list[Any], answer: Answer | None, event: str) -> None:
        """Call a listener, or start it as a task."""
        hub = self._hub
        try:
            if handler.exact != len(args):
                ack = answer.take() if answer is not None and handler.takes_ack else Ack(None)
                args = handler.fit(event, args, ack)
            if not handler.asynchronous:
                result = handler.function(*args)
                if answer is not None:
                    answer.add(result)
                return
        except Exception as error:
            hub.report(error, f"the listener of {event!r}", self)
            return
        if handler.ordered:
            if self._ordered is not None:
                size = memory_of(args)
                self._ordered.append((handler, args, answer, event, size))
                self._count_queued(size)
                return
            self._ordered = deque()
        self._spawn(handler, args, answer, event)

    def _spawn(self, handler: Handler, args: list[Any], answer: Answer | None, event: str) -> None:
        runtime = self._hub.runtime
        self._running += 1
        if not runtime.starts_at_once:
            self.hold()
        runtime.spawn(self._run, handler, args, answer, event)

    async def _run(self, handler: Handler, args: list[Any], answer: Answer | None, event: str) -> None:
        hub = self._hub
        bound = hub.limits.handler_time
        if not hub.runtime.starts_at_once:
            hub.runtime.call_soon(
                self.release
            )  # after the first step of the listener, which is a part of this one
        try:
            while True:
                try:
                    if handler.thread:
                        result = await anyio.to_thread.run_sync(handler.function, *args)
                    else:
                        result = handler.function(*args)
                        if isinstance(result, Awaitable):
                            result = await (result if bound is None else in_time(result, bound))
                    if answer is not None:
                        answer.add(result)
                except CancelledError as error:
                    hub.report(as_error(error), f"the listener of {event!r}", self)
                except Exception as error:
                    if isinstance(error, HandlerTimeout):
                        hub.count_limit("handler_time")
                    hub.report(error, f"the listener of {event!r}", self)
                if not handler.ordered or not self._ordered:
                    break
                # The next one runs in this task: one that started at once, inside this, would nest without bound.
                await anyio.lowlevel.cancel_shielded_checkpoint()
                handler, args, answer, event, size = self._ordered.popleft()
                self._dequeued(size)
        finally:
            self._running -= 1
            if handler.ordered and self._ordered is not None:
                if self._ordered:  # this task was cancelled
                    handler, args, answer, event, size = self._ordered.popleft()
                    self._dequeued(size)
                    self._spawn(handler, args, answer, event)
                else:
                    self._ordered = None
            if self._backlog is not None:
                hub.runtime.call_soon(self._drain)

    def hold(self) -> None:
        """What comes from here on waits, until :meth:`release`."""
        self._held += 1
        if self._backlog is None:
            self._backlog = deque()

    def release(self) -> None:
        """What this held has happened: what came after it may go on."""
        self._held -= 1
        self._drain()

    def _drain(self) -> None:
        if self._draining:  # a task that started and ended at once, below, has released what it held
            return
        bound = self._hub.max_handlers
        while self._backlog is not None and not self._held and (self._running < bound or self._leaving):
            if not self._backlog:
                self._backlog = None
                self._at_bound = False
                if not self._queued:
                    self.client.pause(self, False)
                return
            waiting = self._backlog
            function, args, size = waiting.popleft()
            self._backlog = NO_BACKLOG  # so that the function acts, instead of queueing itself again
            self._draining = True
            try:
                function(*args)
            finally:
                self._draining = False
            if self._backlog is not None:
                waiting.extend(self._backlog)
            self._backlog = waiting
            if size:
                self._dequeued(size)
        if self._backlog and not self._held:
            self._wait_for_listeners()

    def _notify_incoming(self, data: list[Any]) -> None:
        hub = self._hub
        what = f"on_any of {data[0]!r}"
        for function in list(self.namespace.handlers.incoming):
            hub.run(function, [self, *data], what, self)
        if self._listeners is not None:
            for function in list(self._listeners.incoming):
                hub.run(function, data, what, self)

    def _filter(self, data: list[Any], ack_id: int | None) -> Generator[Awaitable[Any], Any, None]:
        """Run the middlewares of this socket, then the listeners."""
        name, args = data[0], data[1:]
        for middleware in list(self._middlewares or ()):
            try:
                outcome = middleware(name, args)
                if isinstance(outcome, Awaitable):
                    outcome = yield outcome
            except Exception as error:
                self.notify_error(error)
                return
            if isinstance(outcome, str):
                name = outcome
        self._deliver([name, *args], ack_id)

    def send_ack(self, ack_id: int, result: Any) -> None:
        """Answer an event with what its listener returned."""
        if result is None:
            answer: list[Any] = []
        elif type(result) is tuple:
            answer = list(result)
        else:
            answer = [result]
        self.write_ack(ack_id, answer)

    def write_ack(self, ack_id: int, answer: list[Any]) -> None:
        """Send an acknowledgement."""
        try:
            if self.waiting is None:
                self._hub.send_ack(self.conn, self.namespace.name, answer, ack_id)
            else:
                self.waiting.add(self._hub.encode_ack(self.namespace.name, answer, ack_id), False)
        except Exception as error:
            self._hub.report(error, f"acknowledgement {ack_id}", self)


class HandlerTimeout(SioError):
    """An ``async`` listener has run for longer than ``Limits.handler_time``."""


async def in_time(outcome: Awaitable[Any], seconds: float) -> Any:
    """Return what an awaitable gives.

    :raises HandlerTimeout: if it takes longer; it is cancelled then.
    """
    with anyio.move_on_after(seconds):
        return await outcome
    raise HandlerTimeout(f"it was cancelled after {seconds} s")


MEMORY_OF_VALUE: Final = 64
"""Bytes that a value takes beside its characters, roughly."""


def memory_of(data: list[Any]) -> int:
    """Return how many bytes of memory an event takes, roughly. A packet holds at most ``Limits.json_items`` values."""
    total = 0
    values: list[Any] = [data]
    while values:
        value = values.pop()
        total += MEMORY_OF_VALUE
        if isinstance(value, (str, bytes)):
            total += len(value)
        elif isinstance(value, list):
            values.extend(value)
        elif isinstance(value, dict):
            values.extend(value)
            values.extend(value.values())
    return total


def find_name(namespace: Namespace[Any], handler: Handler) -> str:
    """Return the event that a listener was registered for, for a log line."""
    for name, handlers in namespace.handlers.events.items():
        if handler in handlers:
            return name
    return getattr(handler.function, "__name__", "?")


def remove_from(functions: list[Callable[..., Any]], function: Callable[..., Any] | None) -> None:
    """Remove a function from a list, or all with ``None``."""
    if function is None:
        functions.clear()
    elif function in functions:
        functions.remove(function)
