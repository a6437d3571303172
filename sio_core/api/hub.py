"""The junction of the two protocols: sessions below, namespaces and sockets above.

``process`` takes what a session reports and hands it to the client's sockets; it is safe to call again from inside a
listener. Everything here is synchronous; what the application awaits runs through :meth:`Hub.run_steps`.
"""

from __future__ import annotations

import inspect
import logging
import re
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Generator, Iterator
from functools import partial
from typing import Any, Final

import anyio.to_thread

from sio_core.adapters.base import Adapter, AdapterFactory, Host, LocalSockets, RecoverySettings, SavedSession
from sio_core.adapters.memory import MemoryAdapter, RecoveringMemoryAdapter
from sio_core.api.connected_client import Allowance, AttachmentTimeout, ConnectedClient, ConnectTimeout
from sio_core.api.handlers import Ack, Handler
from sio_core.api.handshake import Handshake
from sio_core.api.namespace import Namespace, ParentNamespace, make_socket_id
from sio_core.api.outgoing import MESSAGE, encoded
from sio_core.api.socket import Socket
from sio_core.engineio.deadlines import Deadlines
from sio_core.engineio.engine import Engine
from sio_core.engineio.options import EngineOptions
from sio_core.engineio.packet import Encoded
from sio_core.engineio.session import Application, Closed, Session
from sio_core.engineio.states import OPEN
from sio_core.errors import AdapterError, ConnectError, InvalidPacket, PayloadTooLarge, UnexpectedPacket
from sio_core.ids import PrivateSessionId, make_id
from sio_core.runtime import Runtime, as_error, is_cancelled
from sio_core.socketio.client import ABSENT
from sio_core.socketio.packet import ACK, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, Packet
from sio_core.socketio.parser import Parser
from sio_core.wire.message import parse_query

__all__ = ["Hub"]

Steps = Generator[Awaitable[Any], Any, None]

CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
"""Characters that no dynamic namespace has in its name."""

logger = logging.getLogger(__name__)


class Hub(Application):
    """The inner half of a server: everything but the serving.

    :ivar host: what the adapters see of the server.
    :ivar namespaces: by their name.
    :ivar recovery: how lost sessions are recovered; ``None`` if they are not.
    :ivar thread: the thread the server belongs to; 0 before it runs.
    """

    __slots__ = (
        "_adapter_factory",
        "_connect_bound",
        "_connect_timeout",
        "_data_factory",
        "_deferred",
        "_error_handlers",
        "_parents",
        "_rate",
        "_runtime",
        "_skip_middlewares",
        "_unannounced",
        "cleanup_empty_child_namespaces",
        "deadlines",
        "engine",
        "host",
        "limits",
        "main",
        "max_handlers",
        "namespaces",
        "parser",
        "recovery",
        "thread",
    )

    def __init__(
        self,
        engine_options: EngineOptions,
        *,
        parser: Parser,
        adapter: AdapterFactory | None,
        connect_timeout: float,
        cleanup_empty_child_namespaces: bool,
        recovery_window: float | None,
        skip_middlewares: bool,
        data_factory: Callable[[], Any],
    ) -> None:
        self.limits = engine_options.limits
        self.max_handlers = self.limits.handlers_per_socket
        self._rate = self.limits.events_per_second
        self.deadlines = Deadlines()
        self.engine = Engine(engine_options, self, self.deadlines, self._now)
        self.host = Host(
            self.limits, self.deadlines, lambda: self._runtime, self.engine.count_limit, parser.default
        )
        self.cleanup_empty_child_namespaces = cleanup_empty_child_namespaces
        self.namespaces: dict[str, Namespace[Any]] = {}
        self.recovery: RecoverySettings | None = None
        if recovery_window is not None:
            grace = engine_options.ping_interval + 2 * engine_options.ping_timeout
            self.recovery = RecoverySettings(
                recovery_window, grace, self.limits, self._now, self.deadlines, self.engine.count_limit
            )
        self.thread = 0
        self._runtime: Runtime | None = None
        self._adapter_factory = adapter
        connect_time = self.limits.connect_time
        self._connect_bound = "connect_timeout"
        self._connect_timeout = connect_timeout
        if connect_time is not None and connect_time < connect_timeout:
            self._connect_bound = "connect_time"
            self._connect_timeout = connect_time
        self._data_factory = data_factory
        self._deferred: list[Session] = []
        self._error_handlers: list[Callable[..., Any]] = []
        self._parents: list[ParentNamespace[Any]] = []
        self.parser = parser
        self._skip_middlewares = skip_middlewares
        # To async listeners, which cannot run before the server does.
        self._unannounced: list[tuple[Handler, Namespace[Any]]] = []
        self.main = self.of("/")

    # Running

    @property
    def runtime(self) -> Runtime:
        """The event loop the server belongs to.

        :raises RuntimeError: if it does not run.
        """
        if self._runtime is None:
            raise RuntimeError("the server is not running")
        return self._runtime

    @property
    def running(self) -> bool:
        """Whether the server belongs to an event loop now."""
        return self._runtime is not None

    def start(self, runtime: Runtime) -> None:
        """The server belongs to this event loop from now on."""
        self._runtime = runtime
        self.thread = runtime.thread
        if self._deferred:  # since nothing ran
            runtime.call_soon(self.process_deferred)
        for handler, namespace in self._unannounced:
            self._announce_to(handler, namespace)
        self._unannounced.clear()

    def stop(self) -> None:
        """The server belongs to no event loop any more."""
        self._runtime = None
        self.thread = 0

    def _now(self) -> float:
        return self._runtime.now() if self._runtime is not None else 0.0

    # Sessions

    def opened(self, session: Session) -> None:
        timeout = ConnectTimeout(self, session)
        timeout.deadline = self._now() + self._connect_timeout
        self.deadlines.schedule(timeout)
        client = ConnectedClient(session, self.parser, self.limits, timeout)
        session.context = client
        if session.protocol == 3:  # a client of Socket.IO 2 is in "/" without asking
            self._connect(client, Packet(CONNECT, "/"))

    def process(self, session: Session) -> None:
        if session.processing:
            return  # the loop below goes on with what was added
        session.processing = True
        try:
            while session.events:
                events = session.events
                session.events = []
                for event in events:
                    if isinstance(event, (str, bytes)):  # a tuple: a union would be made anew at each call
                        self._receive(session, event)
                    elif isinstance(event, Closed):
                        self._closed(session, event)
                    if session.listeners is not None:
                        self._notify_session(session, event)
        except Exception:
            logger.exception("session %s… is closed after an internal error", session.id[:6])
            session.processing = False  # so that the end is deferred, and delivered
            session.close(discard=True)
        finally:
            session.processing = False

    def defer(self, session: Session) -> None:
        if session.processing:
            return
        self._deferred.append(session)
        if len(self._deferred) == 1 and self._runtime is not None:
            self._runtime.call_soon(self.process_deferred)

    def process_deferred(self) -> None:
        """Process the sessions that got events where none could be delivered."""
        deferred, self._deferred = self._deferred, []
        for session in deferred:
            self.process(session)

    def _notify_session(self, session: Session, event: Any) -> None:
        for function, args in session.notifications(event):
            self.run(function, args, "a listener of a session", None)

    def _receive(self, session: Session, message: str | bytes) -> None:
        if session.state is not OPEN:
            return
        client: ConnectedClient = session.context
        try:
            packet = client.receive(message)
        except InvalidPacket as error:
            if isinstance(error, PayloadTooLarge):
                self.engine.count_limit(error.limit)
            for socket in list(client.members.values()):
                socket.notify_error(error)
            session.close()
            return
        except UnexpectedPacket as error:
            logger.debug("session %s…: %s", session.id[:6], error)
            self._violation(client)
            return
        if packet is None:
            if isinstance(message, str):
                self._await_attachments(client)
            return
        kind = packet.type
        if kind == EVENT:
            if self._rate is not None:
                self._spend(client, self._rate)
            client.members[packet.namespace].receive_event(packet.data, packet.id)
        elif kind == ACK:
            client.members[packet.namespace].receive_ack(packet.data, packet.id)
        elif kind == DISCONNECT:
            client.members[packet.namespace].close("client namespace disconnect", None)
        else:
            self._connect(client, packet)

    def connect_late(self, session: Session) -> None:
        """The client has joined no namespace in time."""
        self.engine.count_limit(self._connect_bound)
        session.close()

    def _await_attachments(self, client: ConnectedClient) -> None:
        timeout = client.attachment_timeout
        if timeout is None:
            timeout = client.attachment_timeout = AttachmentTimeout(self, client)
        timeout.deadline = self._now() + self.limits.attachment_time
        self.deadlines.schedule(timeout)

    def attachments_late(self, client: ConnectedClient) -> None:
        """The attachments of a packet have not come in time."""
        self.engine.count_limit("attachment_time")
        client.reset()
        for socket in list(client.members.values()):
            socket.notify_error(InvalidPacket("the attachments of a packet have not come in time"))
        client.conn.close()

    def _spend(self, client: ConnectedClient, rate: float) -> None:
        now = self._now()
        allowance = client.allowance
        if allowance is None:
            allowance = client.allowance = Allowance(client, rate, now)
        if not allowance.spend(now):
            self.engine.count_limit("events_per_second")
            self.deadlines.schedule(allowance)

    def _closed(self, session: Session, event: Closed) -> None:
        client: ConnectedClient = session.context
        for timed in (client.connect_timeout, client.attachment_timeout, client.allowance):
            if timed is not None:
                self.deadlines.cancel(timed)
        client.reset()
        for socket in list(client.members.values()):
            socket.close(event.reason, event.details)
        session.context = None  # they would hold each other until garbage is collected

    def _violation(self, client: ConnectedClient) -> None:
        """The client broke the protocol of namespaces: the connection ends, and its sockets at once."""
        client.conn.close()
        client.conn.deliver()
        for socket in list(client.members.values()):
            socket.close("forced close" if client.conn.state == "closed" else "forced server close", None)

    def disconnect_client(self, client: ConnectedClient) -> None:
        """Disconnect a client from every namespace, and end its connection."""
        waiting = [socket.waiting for socket in client.members.values() if socket.waiting is not None]
        for socket in list(client.members.values()):
            socket.disconnect()
        if not waiting:
            client.conn.close()
            return
        left = len(waiting)

        def close() -> None:
            nonlocal left
            left -= 1
            if not left:
                client.conn.close()

        for packets in waiting:
            packets.call(close)

    # Packets

    def encode_event(
        self, namespace: str, data: list[Any], ack_id: int | None, compress: bool
    ) -> list[Encoded]:
        """Encode an event once, for any number of receivers."""
        text, attachments = self.parser.encode_event(namespace, data, ack_id, MESSAGE)
        return encoded(text, attachments, compress)

    def send_ack(self, session: Session, namespace: str, answer: list[Any], ack_id: int) -> None:
        """Send an acknowledgement to one session."""
        text, attachments = self.parser.encode_ack(namespace, answer, ack_id, MESSAGE)
        if not attachments:
            session.send_packet(Encoded(text))
        else:
            session.send_packets(encoded(text, attachments, True))

    def send_packet(self, session: Session, packet: Packet) -> None:
        """Send a packet that is neither an event nor an acknowledgement."""
        session.send_packets(self.encode_packet(packet))

    def encode_packet(self, packet: Packet) -> list[Encoded]:
        """Encode a packet that is neither an event nor an acknowledgement."""
        text, attachments = self.parser.encode_messages(packet, MESSAGE)
        return encoded(text, attachments, True)

    def encode_ack(self, namespace: str, answer: list[Any], ack_id: int) -> list[Encoded]:
        """Encode an acknowledgement."""
        text, attachments = self.parser.encode_ack(namespace, answer, ack_id, MESSAGE)
        return encoded(text, attachments, True)

    # Namespaces

    def of(self, name: str | re.Pattern[str] | Callable[..., Any]) -> Namespace[Any]:
        """Return the namespace of a name, made if need be; or a parent namespace.

        :raises TypeError: for anything else.
        """
        if isinstance(name, str):
            name = name if name.startswith("/") else "/" + name
            namespace = self.namespaces.get(name)
            return namespace if namespace is not None else self.register(Namespace(name))
        if not callable(name) and not isinstance(name, re.Pattern):
            raise TypeError(f"of() takes a name, a pattern or a function, not {name!r}")
        parent: ParentNamespace[Any] = ParentNamespace(f"/_{len(self._parents)}", name)
        parent.bind(self)
        self._parents.append(parent)
        return parent

    def register(self, namespace: Namespace[Any]) -> Namespace[Any]:
        """Add a namespace; one of the same name that nobody is in yet gives way to it.

        :raises ValueError: if the name is taken.
        """
        known = self.namespaces.get(namespace.name)
        if known is not None:
            if known.sockets or known.pending or type(known) is not Namespace:
                raise ValueError(f"there is a namespace {namespace.name!r} already")
            namespace.middlewares[:0] = known.middlewares
            namespace.handlers.extend(known.handlers)
            namespace.server_handlers.extend(known.server_handlers)
            namespace.parent = known.parent
        namespace.bind(self)
        self.namespaces[namespace.name] = namespace
        if known is not None and self._runtime is not None:
            self._runtime.spawn(known.adapter.close)
        if namespace.name == "/":
            self.main = namespace
            self._start_adapter(namespace)
            return namespace
        if namespace.parent is not None:  # it has what that gives
            namespace.parent.children[namespace.name] = namespace
        else:
            self._find_parent(namespace)
        self._announce(namespace)
        return namespace

    def _find_parent(self, namespace: Namespace[Any]) -> None:
        for parent in self._parents:
            if parent.matches_pattern(namespace.name):
                parent.adopt(namespace)
                return

    def _start_adapter(self, namespace: Namespace[Any]) -> None:
        if self._runtime is not None:
            namespace.adapter.start()

    def _announce(self, namespace: Namespace[Any]) -> None:
        self._start_adapter(namespace)
        for handler in list(self.main.handlers.lifecycle.get("new_namespace", ())):
            if handler.once:
                self.main.handlers.discard("new_namespace", handler)
            if handler.asynchronous and self._runtime is None:
                self._unannounced.append((handler, namespace))
            else:
                self._announce_to(handler, namespace)

    def _announce_to(self, handler: Handler, namespace: Namespace[Any]) -> None:
        self.run(call_fitting, [handler, "new_namespace", namespace], "a listener of 'new_namespace'", None)

    def forget_namespace(self, namespace: Namespace[Any]) -> None:
        """A child namespace is empty, and is not kept."""
        if self.namespaces.get(namespace.name) is namespace:
            del self.namespaces[namespace.name]
            if self._runtime is not None:
                self._runtime.spawn(namespace.adapter.close)

    def use_adapter(self, factory: AdapterFactory) -> None:
        """Have other adapters from now on, before anybody is connected; who listens to the rooms still does."""
        self._adapter_factory = factory
        for namespace in self.namespaces.values():
            rooms = namespace.adapter.rooms
            namespace.adapter = factory(namespace.name, namespace)
            namespace.adapter.rooms = rooms

    def make_adapter(self, name: str, local: LocalSockets) -> Adapter:
        """Make the adapter of a namespace."""
        if self._adapter_factory is not None:
            return self._adapter_factory(name, local)
        if self.recovery is not None:
            return RecoveringMemoryAdapter(name, local, self.recovery)
        return MemoryAdapter(name, local)

    def _make_namespace(self, name: str, auth: Any) -> Generator[Awaitable[Any], Any, Namespace[Any] | None]:
        """Make a namespace if there is a parent that wants it."""
        if CONTROL.search(name) is not None:  # in Python `$` matches before a newline at the end too
            return None
        for parent in list(self._parents):
            allowed = yield from parent.matches(name, auth)
            if not allowed:
                continue
            namespace = self.namespaces.get(name)  # it may have been made while the function was awaited
            if namespace is None:
                if sum([len(p.children) for p in self._parents]) >= self.limits.dynamic_namespaces:
                    self.count_limit("dynamic_namespaces")
                    return None
                namespace = Namespace(name)
                try:
                    namespace.bind(self)
                except AdapterError as error:
                    logger.info("a client wants a namespace that cannot be: %s", error)
                    return None
                parent.adopt(namespace)
                self.namespaces[name] = namespace
                self._announce(namespace)
            return namespace
        return None

    # Connecting

    def _connect(self, client: ConnectedClient, packet: Packet) -> None:
        if client.conn.protocol == 3 and "?" in packet.namespace:
            # a client of Socket.IO 2 has no payload: what it has to say stands behind the name
            name, _, query = packet.namespace.partition("?")
            if client.state(name) is not ABSENT:
                self._violation(client)
                return
            packet = Packet(CONNECT, name, parse_query(query))
        client.begin_connecting(packet.namespace)
        self.run_steps(self._connect_steps(client, packet), None)

    def _connect_steps(self, client: ConnectedClient, packet: Packet) -> Steps:
        """Let a client in or refuse it. One about whom nobody decides, since that was cancelled, is refused."""
        name = packet.namespace
        try:
            yield from self._admit(client, packet)
        except GeneratorExit:
            raise
        except BaseException:
            if name in client.connecting:
                logger.info(
                    "a client of %r is refused: what decides about it has failed, or was cancelled", name
                )
                client.end_connecting(name)
                namespace = self.namespaces.get(name)
                if namespace is not None:
                    namespace.forget_pending(client)
                self._send_refusal(client, name, {"message": "internal error"}, None)
            raise

    def _admit(self, client: ConnectedClient, packet: Packet) -> Steps:
        name, session = packet.namespace, client.conn
        auth: dict[str, Any] = packet.data if isinstance(packet.data, dict) else {}
        bound = self.limits.namespaces_per_connection
        namespace: Namespace[Any] | None = None
        if bound is not None and len(client.members) + len(client.connecting) > bound:
            self.count_limit("namespaces_per_connection")
        elif name in self.namespaces:
            namespace = self.namespaces[name]
        else:
            namespace = yield from self._make_namespace(name, auth)
        if namespace is None:
            client.end_connecting(name)
            self.send_packet(session, Packet(CONNECT_ERROR, name, {"message": "Invalid namespace"}))
            return
        namespace.pending.add(client)
        saved: SavedSession | None = None
        if self.recovery is not None and "pid" in auth:
            saved = yield from self._restore(namespace, auth)
        try:
            data = saved.data if saved is not None else self._data_factory()
        except Exception as error:
            self.report(error, "data_factory", None)
            client.end_connecting(name)
            namespace.forget_pending(client)
            self._send_refusal(client, name, {"message": "internal error"}, None)
            return
        socket = self._make_socket(namespace, client, auth, saved, data)
        if saved is None or not self._skip_middlewares:
            for middleware in list(namespace.middlewares):
                try:
                    outcome = middleware(socket)
                    if inspect.isawaitable(outcome):
                        yield outcome
                except ConnectError as error:
                    self._refuse(socket, {"message": error.message}, error.data, saved)
                    return
                except Exception as error:
                    self.report(error, f"a middleware of {name!r}", socket)
                    self._refuse(socket, {"message": "internal error"}, None, saved)
                    return
                except BaseException:  # what it awaited was cancelled
                    self._refuse(socket, {"message": "internal error"}, None, saved)
                    raise
        client.end_connecting(name)
        if session.state is not OPEN or socket.closed:
            self._abandon(socket, saved)
            return
        self._accept(socket, client, saved)

    def _restore(
        self, namespace: Namespace[Any], auth: dict[str, Any]
    ) -> Generator[Awaitable[Any], Any, SavedSession | None]:
        """Find the session that a client claims. Whoever still holds it has lost it."""
        pid, offset = auth["pid"], auth.get("offset")
        if offset is None:
            offset = ""
        if not namespace.adapter.recovers or not isinstance(pid, str) or not isinstance(offset, str):
            return None
        try:
            while (old := namespace.by_pid.get(pid)) is not None:
                ended = old.supersede()
                if ended is not None:
                    yield ended
                if not old.client.members:
                    old.conn.close(discard=True)
            restored: Any = namespace.adapter.restore_session(pid, offset)
            saved: SavedSession | None = (yield restored) if inspect.isawaitable(restored) else restored
        except Exception as error:
            self.report(error, "the recovery of a session", None)
            return None
        return saved

    def _make_socket(
        self,
        namespace: Namespace[Any],
        client: ConnectedClient,
        auth: dict[str, Any],
        saved: SavedSession | None,
        data: Any,
    ) -> Socket[Any]:
        handshake = Handshake(client.conn.request, auth, client.issued)
        pid = None
        if self.recovery is not None and namespace.adapter.recovers and client.conn.protocol != 3:
            pid = saved.pid if saved is not None else PrivateSessionId(make_id())
        if client.conn.protocol == 3:
            socket_id = client.conn.id if namespace.name == "/" else f"{namespace.name}#{client.conn.id}"
            return Socket(namespace, client, make_socket_id(None, lambda: socket_id), pid, handshake, data)
        socket: Socket[Any] = Socket(namespace, client, make_socket_id(saved, make_id), pid, handshake, data)
        if saved is not None:
            socket.recovered = True
            namespace.adapter.add_all(socket.id, saved.rooms)
            namespace.by_pid[saved.pid] = socket
        return socket

    def _abandon(self, socket: Socket[Any], saved: SavedSession | None) -> None:
        """Forget a socket that was not let in. What it was to continue waits for another attempt."""
        if socket.closed:  # another connection has taken over
            socket.conn.close()
            return
        socket.discard()
        if saved is not None:
            socket.namespace.adapter.release_session(saved)

    def _refuse(
        self, socket: Socket[Any], payload: dict[str, Any], data: Any, saved: SavedSession | None
    ) -> None:
        client, name = socket.client, socket.namespace.name
        client.end_connecting(name)
        self._abandon(socket, saved)
        self._send_refusal(client, name, payload, data)

    def _send_refusal(self, client: ConnectedClient, name: str, payload: dict[str, Any], data: Any) -> None:
        full: Any = payload if data is None else {**payload, "data": data}
        plain: Any = payload
        if client.conn.protocol == 3:
            full, plain = data if data else payload["message"], payload["message"]
        try:
            self.send_packet(client.conn, Packet(CONNECT_ERROR, name, full))
        except Exception as error:
            self.report(error, f"sending the data of a ConnectError of {name!r}", None)
            self.send_packet(client.conn, Packet(CONNECT_ERROR, name, plain))

    def _accept(self, socket: Socket[Any], client: ConnectedClient, saved: SavedSession | None) -> None:
        session, namespace = client.conn, socket.namespace
        missed = namespace.adapter.begin_session(socket.id, saved) if socket.pid is not None else []
        if missed is None:  # lost while the middlewares ran, which have seen the old id: start again
            self._abandon(socket, saved)
            session.close()
            return
        client.members[namespace.name] = socket
        namespace.accept(socket)
        if socket.closed:  # by a listener of rooms
            return
        if client.connect_timeout is not None:
            self.deadlines.cancel(client.connect_timeout)
            client.connect_timeout = None
        self.engine.join(session)
        if missed:
            session.replay([packet for packets in missed for packet in packets])
        payload: dict[str, Any] | None = None
        if session.protocol != 3:
            payload = {"sid": socket.id} if socket.pid is None else {"sid": socket.id, "pid": socket.pid}
        self.send_packet(session, Packet(CONNECT, namespace.name, payload))
        socket.notify_connected()

    # The application's code

    def on_error(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Call ``function(error, what, socket)`` for every exception of the application's code."""
        self._error_handlers.append(function)
        return function

    def report(self, error: Exception, what: str, socket: Socket[Any] | None) -> None:
        """An exception came out of the application's code: log it, tell who asked for it, and go on."""
        if isinstance(error, InvalidPacket) and socket is not None:
            logger.info("socket %s: %s", socket.id, error)
            socket.notify_error(error)
            return
        logger.error("%s raised an exception (socket %s)", what, socket.id if socket else "-", exc_info=error)
        for function in list(self._error_handlers):
            try:
                outcome = function(error, what, socket)
            except Exception:
                logger.exception("a listener of on_error raised an exception")
            else:
                if inspect.isawaitable(outcome):
                    self.runtime.spawn(self._await_quietly, outcome)

    async def _await_quietly(self, outcome: Awaitable[Any]) -> None:
        try:
            await outcome
        except Exception:
            logger.exception("a listener of on_error raised an exception")

    def run(
        self, function: Callable[..., Any], args: list[Any], what: str, socket: Socket[Any] | None
    ) -> None:
        """Call a function of the application, which may be ``async``."""
        try:
            outcome = function(*args)
        except Exception as error:
            self.report(error, what, socket)
            return
        if inspect.isawaitable(outcome):
            self.runtime.spawn(self._await, outcome, what, socket)

    async def _await(self, outcome: Awaitable[Any], what: str, socket: Socket[Any] | None) -> None:
        try:
            await outcome
        except CancelledError as error:
            self.report(as_error(error), what, socket)
        except Exception as error:
            self.report(error, what, socket)

    def run_server_event(
        self, handler: Handler, name: str, args: list[Any], ack: Callable[..., None] | None
    ) -> None:
        """Call a listener of another node's event; what it returns is the answer, once."""
        self.runtime.spawn(self._run_server_event, handler, name, args, ack)

    async def _run_server_event(
        self, handler: Handler, name: str, args: list[Any], ack: Callable[..., None] | None
    ) -> None:
        try:
            own = Ack(None if ack is None else partial(answer_with_first, ack)) if handler.takes_ack else None
            outcome = handler.function(*handler.fit(name, args, own))
            if inspect.isawaitable(outcome):
                outcome = await outcome
            if ack is not None and own is None:
                ack(outcome)
        except CancelledError as error:
            self.report(as_error(error), f"the listener of the server event {name!r}", None)
        except Exception as error:
            self.report(error, f"the listener of the server event {name!r}", None)

    def run_steps(self, steps: Steps, socket: Socket[Any] | None) -> None:
        """Run a sequence of the application's code; as a task from the first thing that must be awaited.

        With a socket, its later events wait until the sequence has ended.
        """
        try:
            awaitable = next(steps)
        except StopIteration:
            return
        if socket is not None:
            socket.hold()
        self.runtime.spawn(self._finish_steps, steps, awaitable, socket)

    async def _finish_steps(
        self, steps: Steps, awaitable: Awaitable[Any], socket: Socket[Any] | None
    ) -> None:
        try:
            while True:
                try:
                    result = await awaitable
                except BaseException as error:  # cancelled, too: the steps must know
                    if isinstance(error, CancelledError) and not is_cancelled():
                        error = as_error(error)
                    awaitable = steps.throw(error)
                else:
                    awaitable = steps.send(result)
        except StopIteration:
            pass
        except Exception as error:
            self.report(error, "the connection of a client", socket)
        finally:
            if socket is not None:
                socket.release()

    def count_limit(self, name: str) -> None:
        """A bound was hit: count it."""
        self.engine.count_limit(name)

    def sockets(self) -> Iterator[Socket[Any]]:
        """Every connected socket of every namespace."""
        for namespace in list(self.namespaces.values()):
            yield from list(namespace.sockets.values())


def call_fitting(handler: Handler, name: str, *args: Any) -> Any:
    """Call a listener with as many arguments as it takes, in a thread if it wants one."""
    fitting = handler.fit(name, list(args), None)
    if handler.thread:
        return anyio.to_thread.run_sync(handler.function, *fitting)
    return handler.function(*fitting)


def answer_with_first(ack: Callable[..., None], answer: list[Any]) -> None:
    """Answer another node, which takes one value."""
    ack(answer[0] if answer else None)
