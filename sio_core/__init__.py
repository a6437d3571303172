"""A Socket.IO server, written at protocol level, for the official JavaScript client.

::

    server                    Server and EngineServer, what applications make
    serving                   connections and the shells that move bytes: asyncio, trio, ASGI
    api                       namespaces, sockets, operators, handlers
    adapters                  rooms and broadcasts, here or across nodes
    ---------------------------------------------------- below: no I/O, no clock, no await
    engineio  |  socketio     the two protocols, which do not know each other
    wire                      HTTP/1.1, CORS, WebSocket frames
"""

from sio_core.adapters.base import Adapter, BroadcastOptions
from sio_core.api.broadcast import BroadcastOperator, RemoteSocket
from sio_core.api.handlers import Ack
from sio_core.api.handshake import Handshake
from sio_core.api.namespace import Namespace, event
from sio_core.api.payloads import InvalidPayload
from sio_core.api.socket import Socket
from sio_core.engineio.options import Cookie
from sio_core.engineio.session import Session
from sio_core.errors import (
    AckTimeout,
    AdapterError,
    ClusterTimeout,
    ConnectError,
    InvalidPacket,
    LocalProtocolError,
    PayloadTooLarge,
    ProtocolError,
    RemoteProtocolError,
    SioError,
    SocketClosed,
    UnexpectedPacket,
)
from sio_core.limits import Limits
from sio_core.server import EngineServer, Recovery, Server
from sio_core.socketio.msgpack import MsgpackParser
from sio_core.socketio.packet import Packet
from sio_core.socketio.parser import Decoder, JsonParser, Parser
from sio_core.wire.cors import Cors
from sio_core.wire.message import Request, Response
from sio_core.wire.websocket import Deflate

__all__ = [
    "Ack",
    "AckTimeout",
    "Adapter",
    "AdapterError",
    "BroadcastOperator",
    "BroadcastOptions",
    "ClusterTimeout",
    "ConnectError",
    "Cookie",
    "Cors",
    "Decoder",
    "Deflate",
    "EngineServer",
    "Handshake",
    "InvalidPacket",
    "InvalidPayload",
    "JsonParser",
    "Limits",
    "LocalProtocolError",
    "MsgpackParser",
    "Namespace",
    "Packet",
    "Parser",
    "PayloadTooLarge",
    "ProtocolError",
    "Recovery",
    "RemoteProtocolError",
    "RemoteSocket",
    "Request",
    "Response",
    "Server",
    "Session",
    "SioError",
    "Socket",
    "SocketClosed",
    "UnexpectedPacket",
    "event",
]

__version__ = "0.1.0"
