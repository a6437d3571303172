"""What an adapter is: it knows the rooms of one namespace, here or on every node of a cluster.

The seam to the sockets of this process is :class:`LocalSockets`, which the namespace implements: adapters depend on
it and never on the layers above. The methods are those of the official server's adapters.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Final

from sio_core.engineio.deadlines import Deadlines
from sio_core.engineio.packet import Encoded
from sio_core.errors import AdapterError
from sio_core.limits import Limits
from sio_core.runtime import Runtime
from sio_core.socketio.rooms import Rooms

__all__ = [
    "Adapter",
    "AdapterFactory",
    "BroadcastOptions",
    "Held",
    "Host",
    "LocalSockets",
    "RecoverySettings",
    "SavedSession",
    "SocketDetails",
]

NOBODY: Final[frozenset[str]] = frozenset()


class BroadcastOptions:
    """Whom a broadcast is for, and how it travels.

    :ivar rooms: their members receive it; empty: everyone.
    :ivar except_: the members of these rooms do not.
    :ivar volatile: it may be dropped where it cannot leave at once.
    :ivar local: only for the sockets of this process.
    :ivar compress: whether polling responses that carry it may be compressed.
    :ivar timeout: seconds to wait for answers; ``None`` for the default.
    :ivar single: it is for one socket, whose answer is all that is waited for.
    """

    __slots__ = ("compress", "except_", "local", "rooms", "single", "timeout", "volatile")

    def __init__(
        self,
        rooms: Collection[str] = NOBODY,
        except_: Collection[str] = NOBODY,
        volatile: bool = False,
        local: bool = False,
        compress: bool = True,
        timeout: float | None = None,
        single: bool = False,
    ) -> None:
        self.rooms = rooms
        self.except_ = except_
        self.volatile = volatile
        self.local = local
        self.compress = compress
        self.timeout = timeout
        self.single = single


@dataclass(slots=True)
class SocketDetails:
    """What one node tells another about a socket."""

    id: str
    handshake: Any
    rooms: list[str]
    data: Any


@dataclass(slots=True)
class SavedSession:
    """What recovery gives back to a client: its socket id, rooms and data.

    :ivar confirmed: what was sent before this moment has arrived; on the clock of :class:`RecoverySettings`.
    """

    id: str
    pid: str
    rooms: list[str]
    data: Any
    confirmed: float = 0.0


class RecoverySettings:
    """What an adapter that recovers sessions needs of its server.

    :ivar window: seconds a lost client may be away.
    :ivar grace: seconds that may pass before a lost connection is noticed.
    :ivar clock: the event loop's monotonic clock.
    :ivar count_limit: counts a bound that was hit, by its name.
    """

    __slots__ = ("clock", "count_limit", "deadlines", "grace", "limits", "window")

    def __init__(
        self,
        window: float,
        grace: float,
        limits: Limits,
        clock: Callable[[], float],
        deadlines: Deadlines,
        count_limit: Callable[[str], None],
    ) -> None:
        self.window = window
        self.grace = grace
        self.limits = limits
        self.clock = clock
        self.deadlines = deadlines
        self.count_limit = count_limit


class Host:
    """The server, as an adapter of a cluster sees it.

    :ivar count_limit: counts a bound that was hit, by its name.
    :ivar default: the parser's way to convert what nobody else can; ``None`` if it has none.
    """

    __slots__ = ("_runtime", "count_limit", "deadlines", "default", "limits")

    def __init__(
        self,
        limits: Limits,
        deadlines: Deadlines,
        runtime: Callable[[], Runtime | None],
        count_limit: Callable[[str], None],
        default: Callable[[Any], Any] | None,
    ) -> None:
        self.limits = limits
        self.deadlines = deadlines
        self._runtime = runtime
        self.count_limit = count_limit
        self.default = default

    @property
    def running(self) -> bool:
        """Whether the server belongs to an event loop now."""
        return self._runtime() is not None

    @property
    def runtime(self) -> Runtime:
        """The event loop the server belongs to.

        :raises AdapterError: if it does not run.
        """
        runtime = self._runtime()
        if runtime is None:
            raise AdapterError("the server is not running")
        return runtime


class Held(ABC):
    """The place of an event in what its receivers are sent: what they are sent after it waits until it is filled."""

    __slots__ = ()

    @abstractmethod
    def fill(self, packets: list[Encoded]) -> None:
        """Send the event, and what waited behind it. A second call does nothing.

        :param packets: the event; none if it is not to be sent at all.
        """


class LocalSockets(ABC):
    """The sockets of one namespace in this process, as an adapter sees them."""

    __slots__ = ()

    @property
    def host(self) -> Host:
        """The server they belong to.

        :raises AdapterError: if there is none.
        """
        raise AdapterError("these sockets belong to no server")

    @property
    def recovery(self) -> RecoverySettings | None:
        """How sessions are to be recovered; ``None`` if they are not."""
        return None

    @abstractmethod
    def encode(self, data: list[Any], options: BroadcastOptions, offset: str | None) -> list[Encoded]:
        """Encode an event, with an offset behind its arguments if it has one. ``data`` stays as it is."""

    @abstractmethod
    def deliver_encoded(
        self, ids: Iterable[str], packets: list[Encoded], data: list[Any], options: BroadcastOptions
    ) -> None:
        """Send an event that is encoded already, at once. ``ids`` as for :meth:`deliver`."""

    def hold(self, ids: Iterable[str], data: list[Any]) -> Held:
        """Keep a place for an event whose offset is not known yet. ``ids`` as for :meth:`deliver`.

        :raises AdapterError: if these sockets cannot wait.
        """
        raise AdapterError("these sockets cannot wait for an offset")

    def sessions_gone(self) -> None:  # noqa: B027
        """The last lost session is gone: an empty namespace is of no use any more."""

    @abstractmethod
    def deliver(self, ids: Iterable[str], data: list[Any], options: BroadcastOptions) -> None:
        """Send an event to sockets, after what they wait for.

        ``ids`` may hold some that are not connected here; they are passed over.
        """

    @abstractmethod
    def deliver_with_ack(
        self,
        ids: Iterable[str],
        data: list[Any],
        options: BroadcastOptions,
        ack: Callable[[list[Any]], None],
        forget_after: float | None = None,
    ) -> int:
        """Send an event to sockets and have ``ack`` called with each answer; return how many sockets there are.

        :param forget_after: seconds after which no answer is expected any more; ``None`` if the caller of
            ``Namespace.broadcast_with_ack`` says when.
        """

    @abstractmethod
    def details(self, ids: Iterable[str]) -> list[SocketDetails]:
        """Describe sockets to another node."""

    @abstractmethod
    def disconnect(self, ids: Iterable[str], close: bool) -> None:
        """Disconnect sockets."""

    @abstractmethod
    def receive_server_event(self, args: list[Any], ack: Callable[..., None] | None) -> None:
        """Another node has sent an event to this one."""


class Adapter(ABC):
    """The rooms of one namespace. The base class has those of this process; a cluster adds the other nodes.

    :ivar name: the namespace's name.
    :ivar rooms: the local rooms; its ``on`` reports ``create-room``, ``delete-room``, ``join-room``, ``leave-room``.
    """

    __slots__ = ("local", "name", "rooms")

    def __init__(self, name: str, local: LocalSockets) -> None:
        self.name = name
        self.local = local
        self.rooms = Rooms()

    def check(self, runtime: Runtime) -> None:  # noqa: B027 - most adapters run anywhere
        """Called before the server starts.

        :raises AdapterError: if the adapter does not work on this event loop.
        """

    def start(self) -> None:  # noqa: B027 - most adapters have nothing to start
        """Called when the server starts, or when the namespace is made by a running server, before anybody is in it.

        What takes time is for tasks of ``local.host.runtime``.
        """

    async def close(self) -> None:  # noqa: B027
        """Called when the namespace is gone or the server closes."""

    async def server_count(self) -> int:
        """How many nodes there are, this one included."""
        return 1

    def is_kept(self, member: str) -> bool:
        """Whether this is the id of a lost socket that may come back here."""
        return False

    def add_all(self, member: str, rooms: Iterable[str]) -> None:
        """Put a local socket into rooms."""
        self.rooms.join(member, rooms)

    def remove(self, member: str, rooms: Iterable[str]) -> None:
        """Take a local socket out of rooms."""
        self.rooms.leave(member, rooms)

    def remove_all(self, member: str) -> None:
        """Take a local socket out of every room."""
        self.rooms.leave_all(member)

    def select(self, options: BroadcastOptions) -> Iterable[str]:
        """The local sockets that a broadcast is for."""
        return self.rooms.select(options.rooms, options.except_)

    @abstractmethod
    def broadcast(self, data: list[Any], options: BroadcastOptions) -> Awaitable[None] | None:
        """Send the event ``[name, *args]``; what is returned ends when it is published, ``None`` if at once."""

    @abstractmethod
    def broadcast_with_ack(
        self,
        data: list[Any],
        options: BroadcastOptions,
        client_count: Callable[[int], None],
        ack: Callable[[list[Any]], None],
    ) -> None:
        """Send an event; call ``client_count`` once for each node and ``ack`` once for each client's answer."""

    @abstractmethod
    async def fetch_sockets(self, options: BroadcastOptions) -> list[SocketDetails]:
        """Describe the sockets that ``options`` choose, of every node."""

    @abstractmethod
    def add_sockets(self, options: BroadcastOptions, rooms: list[str]) -> Awaitable[None] | None:
        """Put the sockets that ``options`` choose into rooms."""

    @abstractmethod
    def remove_sockets(self, options: BroadcastOptions, rooms: list[str]) -> Awaitable[None] | None:
        """Take the sockets that ``options`` choose out of rooms."""

    @abstractmethod
    def disconnect_sockets(self, options: BroadcastOptions, close: bool) -> Awaitable[None] | None:
        """Disconnect the sockets that ``options`` choose."""

    def server_side_emit(self, args: list[Any]) -> Awaitable[None] | None:
        """Send an event to the other nodes."""
        raise AdapterError("this adapter has no other nodes: server_side_emit is not supported")

    async def server_side_emit_with_ack(self, args: list[Any], timeout: float | None) -> list[Any]:
        """Send an event to the other nodes and return their answers."""
        raise AdapterError("this adapter has no other nodes: server_side_emit_with_ack is not supported")

    # Connection state recovery. An adapter without it keeps these.

    @property
    def recovers(self) -> bool:
        """Whether sessions are kept. Without it, the rest here is never called."""
        return False

    @property
    def keeps_sessions(self) -> bool:
        """Whether a lost session waits for its client here."""
        return False

    def send(self, member: str, data: list[Any], compress: bool) -> Awaitable[None] | None:
        """Send the event ``[name, *args]``, with an offset, to one local socket. As :meth:`broadcast`.

        It may be lost at the moment, and come back for it.
        """
        raise AdapterError("this adapter does not recover sessions")

    def begin_session(self, member: str, session: SavedSession | None) -> list[list[Encoded]] | None:
        """A socket is let in: keep from now on what it may miss.

        :param session: what :meth:`restore_session` gave, if it is the continuation of another.
        :returns: the events to be sent again, in their order, with their old offsets; ``None`` if they cannot be had
            any more, and the client must start again.
        """
        return []

    def save_session(self, session: SavedSession) -> None:  # noqa: B027
        """Keep what a client that lost its connection may claim back. Followed by :meth:`remove_all`."""

    def restore_session(self, pid: str, offset: str) -> SavedSession | Awaitable[SavedSession | None] | None:
        """Find what a client claims; ``None`` if it cannot get back all of it.

        It is claimed, not consumed: :meth:`begin_session` or :meth:`release_session` follows.

        :param offset: the last offset the client has seen; empty if none since it got its session.
        """
        return None

    def release_session(self, session: SavedSession) -> None:  # noqa: B027
        """The client was not let in, for now: it may claim the session again."""


AdapterFactory = Callable[[str, LocalSockets], Adapter]
"""Makes the adapter of a namespace."""
