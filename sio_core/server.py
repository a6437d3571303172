"""The public servers: :class:`Server` for Socket.IO, :class:`EngineServer` for Engine.IO alone."""

from __future__ import annotations

import inspect
import logging
import re
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar, overload

from sio_core.adapters.base import AdapterFactory
from sio_core.adapters.cluster_engine import ClusterEngine
from sio_core.adapters.driver import Driver
from sio_core.adapters.local import Local
from sio_core.api.broadcast import BroadcastOperator, RemoteSocket
from sio_core.api.generics import Data, Function
from sio_core.api.hub import Hub
from sio_core.api.namespace import Namespace
from sio_core.engineio.deadlines import Deadlines
from sio_core.engineio.engine import Engine
from sio_core.engineio.options import Cookie, EngineOptions
from sio_core.engineio.session import Application, Session
from sio_core.limits import Limits
from sio_core.runtime import Runtime, as_error
from sio_core.serving.client_files import ClientFiles
from sio_core.serving.site import Resource
from sio_core.serving.standalone import Service
from sio_core.serving.worker_link import WorkerLink
from sio_core.socketio.msgpack import MsgpackParser
from sio_core.socketio.parser import JsonParser, Parser
from sio_core.wire.cors import Cors
from sio_core.wire.message import Request, Response
from sio_core.wire.websocket import Deflate

__all__ = ["EngineServer", "Recovery", "Server"]

AnyNamespace = TypeVar("AnyNamespace", bound=Namespace[Any])

logger = logging.getLogger(__name__)

ENGINE_OPTIONS = frozenset(field.name for field in fields(EngineOptions))


def check_seconds(name: str, value: object) -> None:
    """Refuse what is no time to wait.

    :raises ValueError: naming the option.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 10**7:
        raise ValueError(f"{name} must be a positive number of seconds, not {value!r}")


def check_flag(name: str, value: object) -> None:
    """Refuse what is neither true nor false.

    :raises ValueError: naming the option.
    """
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, not {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """The options of connection state recovery.

    :raises ValueError: for a bad value; the message names the option.
    """

    max_disconnection_duration: float = 120.0
    """Seconds a lost client may stay away."""
    skip_middlewares: bool = False
    """Whether a client that recovers is let in without the namespace's middlewares."""

    def __post_init__(self) -> None:
        check_seconds("max_disconnection_duration", self.max_disconnection_duration)
        check_flag("skip_middlewares", self.skip_middlewares)


def make_engine_options(options: dict[str, Any], **defaults: Any) -> EngineOptions:
    """Check the engine's options and bring them into one form.

    :raises TypeError: for an unknown option.
    :raises ValueError: for a bad value.
    """
    unknown = set(options) - ENGINE_OPTIONS
    if unknown:
        raise TypeError(
            f"unknown option {sorted(unknown)[0]!r}; there are {', '.join(sorted(ENGINE_OPTIONS))}"
        )
    values = {**defaults, **options}
    values["cors"] = Cors.parse(values.get("cors"))
    cookie = values.get("cookie")
    if cookie is True:
        values["cookie"] = Cookie()
    elif cookie is False:
        values["cookie"] = None
    deflate = values.get("per_message_deflate")
    if isinstance(deflate, bool):
        values["per_message_deflate"] = Deflate() if deflate else None
    compression = values.get("http_compression", 1_024)
    if isinstance(compression, bool):
        values["http_compression"] = 0 if compression else None
    return EngineOptions(**values)


def make_data() -> dict[str, Any]:
    """Return what ``socket.data`` starts as, unless the application says otherwise."""
    return {}


class Health(Resource):
    """Answers a load balancer: 200, or 503 while the server drains or is cut off from its cluster.

    :param trouble: says what is wrong, in one word; empty if nothing is.
    """

    __slots__ = ("_path", "_trouble")

    def __init__(self, path: str, trouble: Callable[[], str]) -> None:
        self._path = path
        self._trouble = trouble

    def respond(self, request: Request) -> Response | None:
        if request.path != self._path:
            return None
        trouble = self._trouble()
        return Response(503 if trouble else 200, [("Content-Type", "text/plain")], (trouble or "ok").encode())


class Server(Service, Generic[Data]):
    """A Socket.IO server.

    Everything of the namespace ``/`` is here too: ``on``, ``emit``, ``to``, ``use`` and so on.

    :param parser: ``"json"``, ``"msgpack"``, or a :class:`Parser`; the clients must use the same.
    :param adapter: makes the adapter of each namespace; by default rooms are kept in memory.
    :param cluster_engine: lets any node of a cluster serve any request of a session; by default a load balancer must be
        sticky.
    :param connect_timeout: seconds a client may take to join its first namespace, ``Limits.connect_time`` if that
        is shorter.
    :param connection_state_recovery: whether a client that lost its connection may come back for its id, rooms, data
        and the events it missed; ``True``, or :class:`Recovery` with options.
    :param serve_client: whether the browser client is served.
    :param data_factory: makes what ``socket.data`` starts as.
    :param health_path: answers 200, or 503 while the server drains or its adapter is degraded.
    :param options: those of :class:`EngineOptions`; ``path`` is ``/socket.io/`` by default.
    :raises TypeError: for an unknown option.
    :raises ValueError: for a bad value; the message names the option.
    """

    def __init__(
        self,
        *,
        parser: str | Parser = "json",
        adapter: AdapterFactory | None = None,
        cluster_engine: ClusterEngine | None = None,
        connect_timeout: float = 45.0,
        connection_state_recovery: bool | Recovery | None = None,
        serve_client: bool = True,
        cleanup_empty_child_namespaces: bool = False,
        data_factory: Callable[[], Data] = make_data,  # type: ignore[assignment]
        health_path: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        engine_options = make_engine_options(options, path="/socket.io/")
        check_seconds("connect_timeout", connect_timeout)
        check_flag("serve_client", serve_client)
        check_flag("cleanup_empty_child_namespaces", cleanup_empty_child_namespaces)
        if not callable(data_factory):
            raise ValueError(f"data_factory must be a function, not {data_factory!r}")
        if adapter is not None and not callable(adapter):
            raise ValueError(f"adapter must make the adapter of a namespace, not be {adapter!r}")
        if cluster_engine is not None and not isinstance(cluster_engine, ClusterEngine):
            raise ValueError(f"cluster_engine must be a ClusterEngine or None, not {cluster_engine!r}")
        if health_path is not None and (not isinstance(health_path, str) or not health_path.startswith("/")):
            raise ValueError(f"health_path must start with '/', not {health_path!r}")
        recovery = make_recovery(connection_state_recovery)
        self._hub = Hub(
            engine_options,
            parser=make_parser(parser, engine_options.limits),
            adapter=adapter,
            connect_timeout=connect_timeout,
            cleanup_empty_child_namespaces=cleanup_empty_child_namespaces,
            recovery_window=recovery.max_disconnection_duration if recovery is not None else None,
            skip_middlewares=recovery is not None and recovery.skip_middlewares,
            data_factory=data_factory,
        )
        self.engine = self._hub.engine
        self.deadlines = self._hub.deadlines
        self._cluster_engine = cluster_engine
        if cluster_engine is not None:
            cluster_engine.attach(self.engine, self._hub.host)
        self._driver = adapter if isinstance(adapter, Driver) else None
        self._chooses_adapter = adapter is None
        self._serve_client = serve_client
        self._health_path = health_path

    # Serving

    def start(self, runtime: Runtime) -> None:
        namespaces = list(self._hub.namespaces.values())
        for namespace in namespaces:
            namespace.adapter.check(runtime)
        self._hub.start(runtime)
        if self._cluster_engine is not None:
            self._cluster_engine.start()
        # One made from now on has started its adapter; one that gave way to it does not start.
        for namespace in namespaces:
            if self._hub.namespaces.get(namespace.name) is namespace:
                namespace.adapter.start()

    def stop(self) -> None:
        if self._cluster_engine is not None:
            self._cluster_engine.stop()
        self._hub.stop()

    def become_worker(self, link: WorkerLink) -> None:
        super().become_worker(link)
        if self._chooses_adapter:
            self._driver = Local()
        if isinstance(self._driver, Local):
            self._driver.join(link.bus)
            self._hub.use_adapter(self._driver)
        else:
            link.bus.close()

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            if self._cluster_engine is not None:
                await self._cluster_engine.close()

    async def shut_down(self) -> None:
        for socket in self._hub.sockets():
            socket.close("server shutting down", None)
        for namespace in list(self._hub.namespaces.values()):
            try:
                await namespace.adapter.close()
            except Exception:  # the clients must be let go all the same
                logger.exception("the adapter of %r could not be closed", namespace.name)

    def resources_first(self) -> list[Resource]:
        options = self.engine.options
        return [ClientFiles(options.path, options.cors)] if self._serve_client else []

    def resources(self) -> list[Resource]:
        path = self._health_path
        return [Health(path, self._trouble)] if path is not None else []

    def _trouble(self) -> str:
        if self.draining:
            return "draining"
        parts = (self._driver, self._cluster_engine)
        return "degraded" if any([part is not None and part.degraded for part in parts]) else ""

    def stats(self) -> dict[str, Any]:
        """Return counts: what there is now, what has come and gone, and how often each bound was hit.

        ``sessions``, ``sockets`` and ``namespaces`` are there now. ``messages_received`` and ``packets_sent`` are
        Engine.IO packets since the server was made, ``bytes_received`` and ``bytes_sent`` their content, without what
        carries it. ``limit_hits`` counts by the names of :class:`Limits` and of options. With the driver of a cluster,
        ``adapter`` has its counts, with a cluster engine ``cluster_engine``.
        """
        engine = self.engine
        counts: dict[str, Any] = {
            "messages_received": engine.messages_received,
            "bytes_received": engine.bytes_received,
            "packets_sent": engine.packets_sent,
            "bytes_sent": engine.bytes_sent,
            "sessions": engine.clients_count,
            "sockets": sum([len(namespace.sockets) for namespace in self._hub.namespaces.values()]),
            "namespaces": len(self._hub.namespaces),
            "limit_hits": dict(engine.limit_hits),
        }
        if self._driver is not None:
            counts["adapter"] = self._driver.stats()
        if self._cluster_engine is not None:
            counts["cluster_engine"] = self._cluster_engine.stats()
        return counts

    # Namespaces

    @property
    def sockets(self) -> Namespace[Data]:
        """The namespace ``/``."""
        return self._hub.main

    def of(self, name: str | re.Pattern[str] | Callable[..., Any]) -> Namespace[Data]:
        """Return a namespace by its name; or make a parent of dynamic namespaces, by a pattern or a function.

        The function is called with the name and the auth payload, may be ``async``, and returns ``True`` to allow.
        """
        return self._hub.of(name)

    def register(self, namespace: AnyNamespace) -> AnyNamespace:
        """Add a namespace made from a subclass of :class:`Namespace`."""
        self._hub.register(namespace)
        return namespace

    def on_error(self, function: Function) -> Function:
        """Call ``function(error, what, socket)`` for every exception that comes out of the application's code."""
        self._hub.on_error(function)
        return function

    # The main namespace's

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
        """See :meth:`Namespace.on`."""
        return self.sockets.on(name, function, ordered=ordered, thread=thread)

    @overload
    def once(self, name: str, function: Function) -> Function: ...
    @overload
    def once(self, name: str, function: None = None) -> Callable[[Function], Function]: ...
    def once(self, name: str, function: Callable[..., Any] | None = None) -> Any:
        """See :meth:`Namespace.once`."""
        return self.sockets.once(name, function)

    def off(self, name: str | None = None, function: Callable[..., Any] | None = None) -> None:
        """See :meth:`Namespace.off`."""
        self.sockets.off(name, function)

    def event(self, function: Function) -> Function:
        """See :meth:`Namespace.event`."""
        return self.sockets.event(function)

    def listeners(self, name: str) -> list[Callable[..., Any]]:
        """See :meth:`Namespace.listeners`."""
        return self.sockets.listeners(name)

    def event_names(self) -> list[str]:
        """See :meth:`Namespace.event_names`."""
        return self.sockets.event_names()

    @overload
    def on_server_event(self, name: str, function: Function) -> Function: ...
    @overload
    def on_server_event(self, name: str, function: None = None) -> Callable[[Function], Function]: ...
    def on_server_event(self, name: str, function: Callable[..., Any] | None = None) -> Any:
        """See :meth:`Namespace.on_server_event`."""
        return self.sockets.on_server_event(name, function)

    def on_any(self, function: Function) -> Function:
        """See :meth:`Namespace.on_any`."""
        return self.sockets.on_any(function)

    def prepend_any(self, function: Function) -> Function:
        """See :meth:`Namespace.prepend_any`."""
        return self.sockets.prepend_any(function)

    def off_any(self, function: Callable[..., Any] | None = None) -> None:
        """See :meth:`Namespace.off_any`."""
        self.sockets.off_any(function)

    def listeners_any(self) -> list[Callable[..., Any]]:
        """See :meth:`Namespace.listeners_any`."""
        return self.sockets.listeners_any()

    def on_any_outgoing(self, function: Function) -> Function:
        """See :meth:`Namespace.on_any_outgoing`."""
        return self.sockets.on_any_outgoing(function)

    def prepend_any_outgoing(self, function: Function) -> Function:
        """See :meth:`Namespace.prepend_any_outgoing`."""
        return self.sockets.prepend_any_outgoing(function)

    def off_any_outgoing(self, function: Callable[..., Any] | None = None) -> None:
        """See :meth:`Namespace.off_any_outgoing`."""
        self.sockets.off_any_outgoing(function)

    def listeners_any_outgoing(self) -> list[Callable[..., Any]]:
        """See :meth:`Namespace.listeners_any_outgoing`."""
        return self.sockets.listeners_any_outgoing()

    def use(self, middleware: Function) -> Function:
        """See :meth:`Namespace.use`."""
        return self.sockets.use(middleware)

    def emit(self, event: str, *args: Any) -> Awaitable[None]:
        """See :meth:`Namespace.emit`."""
        return self.sockets.emit(event, *args)

    def send(self, *args: Any) -> Awaitable[None]:
        """See :meth:`Namespace.send`."""
        return self.sockets.send(*args)

    async def emit_with_ack(self, event: str, *args: Any, timeout: float | None = None) -> list[Any]:
        """See :meth:`Namespace.emit_with_ack`."""
        return await self.sockets.emit_with_ack(event, *args, timeout=timeout)

    async def call(self, event: str, *args: Any, timeout: float | None = None) -> list[Any]:
        """The same as :meth:`emit_with_ack`."""
        return await self.emit_with_ack(event, *args, timeout=timeout)

    def to(self, *rooms: str) -> BroadcastOperator[Data]:
        """See :meth:`Namespace.to`."""
        return self.sockets.to(*rooms)

    def in_(self, *rooms: str) -> BroadcastOperator[Data]:
        """See :meth:`Namespace.in_`."""
        return self.sockets.in_(*rooms)

    def except_(self, *rooms: str) -> BroadcastOperator[Data]:
        """See :meth:`Namespace.except_`."""
        return self.sockets.except_(*rooms)

    def timeout(self, seconds: float) -> BroadcastOperator[Data]:
        """See :meth:`Namespace.timeout`."""
        return self.sockets.timeout(seconds)

    def compress(self, compress: bool) -> BroadcastOperator[Data]:
        """See :meth:`Namespace.compress`."""
        return self.sockets.compress(compress)

    @property
    def volatile(self) -> BroadcastOperator[Data]:
        """See :attr:`Namespace.volatile`."""
        return self.sockets.volatile

    @property
    def local(self) -> BroadcastOperator[Data]:
        """See :attr:`Namespace.local`."""
        return self.sockets.local

    async def fetch_sockets(self) -> list[RemoteSocket[Data]]:
        """See :meth:`Namespace.fetch_sockets`."""
        return await self.sockets.fetch_sockets()

    def sockets_join(self, *rooms: str) -> Awaitable[None]:
        """See :meth:`Namespace.sockets_join`."""
        return self.sockets.sockets_join(*rooms)

    def sockets_leave(self, *rooms: str) -> Awaitable[None]:
        """See :meth:`Namespace.sockets_leave`."""
        return self.sockets.sockets_leave(*rooms)

    def disconnect_sockets(self, close: bool = False) -> Awaitable[None]:
        """See :meth:`Namespace.disconnect_sockets`."""
        return self.sockets.disconnect_sockets(close)

    def server_side_emit(self, event: str, *args: Any) -> Awaitable[None]:
        """See :meth:`Namespace.server_side_emit`."""
        return self.sockets.server_side_emit(event, *args)

    async def server_side_emit_with_ack(
        self, event: str, *args: Any, timeout: float | None = None
    ) -> list[Any]:
        """See :meth:`Namespace.server_side_emit_with_ack`."""
        return await self.sockets.server_side_emit_with_ack(event, *args, timeout=timeout)


class EngineSessions(Application):
    """Hands the events of sessions to their listeners, for a server without Socket.IO."""

    __slots__ = ("engine", "runtime")

    def __init__(self) -> None:
        self.engine: Engine | None = None
        self.runtime: Runtime | None = None

    def opened(self, session: Session) -> None:
        if self.engine is not None:  # there are no namespaces: nobody is a stranger
            self.engine.join(session)

    def process(self, session: Session) -> None:
        if session.processing:
            return
        session.processing = True
        try:
            while session.events:
                for event in session.take_events():
                    for listener, args in session.notifications(event):
                        self._call(session, listener, args)
        finally:
            session.processing = False

    def defer(self, session: Session) -> None:
        if not session.processing and self.runtime is not None:
            self.runtime.call_soon(self.process, session)

    def _call(self, session: Session, listener: Callable[..., Any], args: list[Any]) -> None:
        try:
            outcome = listener(*args)
            if inspect.isawaitable(outcome) and self.runtime is not None:
                self.runtime.spawn(self._await, session, outcome)
        except Exception:
            logger.exception("a listener of session %s… raised an exception", session.id[:6])

    async def _await(self, session: Session, outcome: Awaitable[Any]) -> None:
        try:
            await outcome
        except CancelledError as error:
            logger.error(
                "a listener of session %s… raised an exception", session.id[:6], exc_info=as_error(error)
            )
        except Exception:
            logger.exception("a listener of session %s… raised an exception", session.id[:6])


class EngineServer(Service):
    """An Engine.IO server of its own, without Socket.IO: ``@engine.on("connection")`` gives each session.

    :param options: those of :class:`EngineOptions`.
    :raises TypeError: for an unknown option.
    :raises ValueError: for a bad value; the message names the option.
    """

    def __init__(self, path: str = "/engine.io/", **options: Any) -> None:
        super().__init__()
        self._sessions = EngineSessions()
        self.deadlines = Deadlines()
        self.engine = Engine(
            make_engine_options({"path": path, **options}), self._sessions, self.deadlines, self._now
        )
        self._sessions.engine = self.engine
        self.on = self.engine.on
        self.use = self.engine.use

    @property
    def clients(self) -> dict[str, Session]:
        """The open sessions by their id."""
        return self.engine.clients

    @property
    def clients_count(self) -> int:
        """How many sessions are open."""
        return self.engine.clients_count

    def become_worker(self, link: WorkerLink) -> None:
        super().become_worker(link)
        link.bus.close()  # there is nothing to tell the other workers

    def start(self, runtime: Runtime) -> None:
        self._sessions.runtime = runtime

    def stop(self) -> None:
        self._sessions.runtime = None

    async def shut_down(self) -> None:
        """There is nobody above the engine to be told."""

    def resources_first(self) -> list[Resource]:
        return []

    def resources(self) -> list[Resource]:
        return []

    def _now(self) -> float:
        runtime = self._sessions.runtime
        return runtime.now() if runtime is not None else 0.0


def make_recovery(option: bool | Recovery | None) -> Recovery | None:
    """Return what an option says of recovery.

    :raises ValueError: if it is something else.
    """
    if isinstance(option, Recovery):
        return option
    if option is None or isinstance(option, bool):
        return Recovery() if option else None
    raise ValueError(f"connection_state_recovery must be True, False or a Recovery, not {option!r}")


def make_parser(parser: str | Parser, limits: Limits) -> Parser:
    """Return the parser that an option names.

    :raises ValueError: for an unknown name.
    """
    if isinstance(parser, Parser):
        return parser
    if parser == "json":
        return JsonParser(max_attachments=limits.attachments)
    if parser == "msgpack":
        return MsgpackParser()
    raise ValueError(f"parser must be 'json', 'msgpack' or a Parser, not {parser!r}")
