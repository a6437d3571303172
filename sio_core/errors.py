"""Every exception of the package.

::

    SioError
    ├── ProtocolError              a rule of Engine.IO, Socket.IO or WebSocket was broken
    │   ├── RemoteProtocolError    by the peer; costs the peer its own connection and nothing else
    │   │   ├── InvalidPacket      it cannot be parsed
    │   │   │   └── PayloadTooLarge    it is over a limit, which is named
    │   │   └── UnexpectedPacket   it is well formed, and not allowed now
    │   └── LocalProtocolError     by this side: the application asked for the impossible
    ├── ConnectError               raised by a middleware to refuse a client; becomes CONNECT_ERROR
    ├── SocketClosed               an answer can no longer come: the socket is gone
    ├── AckTimeout                 not every answer came in time; carries those that did
    └── AdapterError               the cluster failed
        └── ClusterTimeout         some nodes did not answer in time; carries the answers that came

A refused request is a value (``engineio.engine.Refused``), not an exception: strangers who knock are normal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "AckTimeout",
    "AdapterError",
    "ClusterTimeout",
    "ConnectError",
    "InvalidPacket",
    "LocalProtocolError",
    "PayloadTooLarge",
    "ProtocolError",
    "RemoteProtocolError",
    "SioError",
    "SocketClosed",
    "UnexpectedPacket",
]


class SioError(Exception):
    """The base of every exception this package raises."""


class ProtocolError(SioError):
    """A rule of one of the protocols was broken."""


class RemoteProtocolError(ProtocolError):
    """The peer broke a rule. It can at worst end the peer's own connection."""


class InvalidPacket(RemoteProtocolError):
    """What the peer sent cannot be parsed."""


class UnexpectedPacket(RemoteProtocolError):
    """What the peer sent is well formed, but not allowed in this state."""


class PayloadTooLarge(InvalidPacket):
    """What the peer sent is over a limit.

    :ivar limit: the name of the field of :class:`~sio_core.limits.Limits` or of the option.
    """

    def __init__(self, message: str, limit: str) -> None:
        super().__init__(message)
        self.limit = limit


class LocalProtocolError(ProtocolError):
    """The application asked for something the protocol cannot express."""


class ConnectError(SioError):
    """Refuses a client: raised by a namespace middleware, sent as a CONNECT_ERROR packet.

    :param message: becomes ``err.message`` at the client.
    :param data: becomes ``err.data`` at the client; anything that can be serialised, ``None`` for none.

    Socket.IO protocol v5, "Connection to a namespace".
    """

    def __init__(self, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.data = data


class SocketClosed(SioError):
    """The socket was disconnected before its client had answered."""


class AckTimeout(SioError):
    """Not every client acknowledged in time.

    :ivar partial: the answers that came, in the order of their arrival.
    :ivar missing: how many answers did not come.
    """

    def __init__(self, partial: Sequence[Any] = (), missing: int = 1) -> None:
        super().__init__("operation has timed out")
        self.partial = list(partial)
        self.missing = missing


class AdapterError(SioError):
    """The adapter could not do what was asked of it."""


class ClusterTimeout(AdapterError):
    """Some nodes of the cluster did not answer in time.

    :ivar partial: the answers that came.
    :ivar missing: how many nodes did not answer.
    :ivar nodes: the names of those, where the adapter knows its nodes by name; empty where it only counts them.
    """

    def __init__(self, partial: Sequence[Any], missing: int, nodes: Sequence[str] = ()) -> None:
        names = f" ({', '.join(nodes)})" if nodes else ""
        super().__init__(f"timeout reached: missing {missing} responses{names}")
        self.partial = list(partial)
        self.missing = missing
        self.nodes = list(nodes)
