"""What the nodes of a cluster say to each other about the requests of sessions that others have.

The protocol of the official package ``@socket.io/cluster-engine``: MessagePack, and in each message ``_source``, by
which it is told from others on the same channel.
"""

from __future__ import annotations

from typing import Any, Final

from sio_core.adapters.messages import Codec, decode_msgpack
from sio_core.engineio.packet import Encoded, encode_text
from sio_core.errors import InvalidPacket

__all__ = [
    "ACQUIRE_LOCK",
    "ACQUIRE_LOCK_RESPONSE",
    "CLOSE",
    "DRAIN",
    "PACKET",
    "UPGRADE",
    "UPGRADE_RESPONSE",
    "EngineMessage",
    "decode_engine_message",
    "encode_engine_message",
    "packet_from_wire",
    "packet_to_wire",
]

ACQUIRE_LOCK: Final = 0
ACQUIRE_LOCK_RESPONSE: Final = 1
DRAIN: Final = 2
PACKET: Final = 3
UPGRADE: Final = 4
UPGRADE_RESPONSE: Final = 5
CLOSE: Final = 6

SOURCE: Final = "_eio"

KINDS: Final = ("open", "close", "ping", "pong", "message", "upgrade", "noop")
"""The names of the packet types, by their digit. Engine.IO protocol v4, "Packet types"."""

TEXTS: Final[dict[int, tuple[str, ...]]] = {
    ACQUIRE_LOCK: ("sid", "transportName", "type"),
    DRAIN: ("sid",),
    PACKET: ("sid",),
    UPGRADE: ("sid",),
    CLOSE: ("sid", "reason"),
}
"""What must be text in the data of a message."""

REQUESTS: Final = frozenset((ACQUIRE_LOCK, ACQUIRE_LOCK_RESPONSE, UPGRADE, UPGRADE_RESPONSE))

CODEC: Final = Codec()


class EngineMessage:
    """One message.

    :ivar recipient: the node it is for; ``None``: all.
    :ivar request_id: the number of the question, among those of the node that asks; 0 if it is none.
    """

    __slots__ = ("data", "recipient", "request_id", "sender", "type")

    def __init__(
        self,
        type: int,  # noqa: A002
        sender: str,
        recipient: str | None,
        data: dict[str, Any],
        request_id: int = 0,
    ) -> None:
        self.type = type
        self.sender = sender
        self.recipient = recipient
        self.data = data
        self.request_id = request_id


def encode_engine_message(message: EngineMessage) -> bytes:
    """Return a message as it is published."""
    envelope: dict[str, Any] = {}
    if message.request_id:
        envelope["requestId"] = message.request_id
    envelope["senderId"] = message.sender
    if message.recipient is not None:
        envelope["recipientId"] = message.recipient
    envelope["type"] = message.type
    envelope["data"] = message.data
    envelope["_source"] = SOURCE
    return CODEC.msgpack(envelope)


def decode_engine_message(payload: bytes) -> EngineMessage | None:
    """Read a message; ``None`` if it is none of this protocol.

    :raises InvalidPacket: if it is a bad one.
    """
    envelope = decode_msgpack(payload)
    if not isinstance(envelope, dict) or envelope.get("_source") != SOURCE:
        return None
    kind, sender, recipient = envelope.get("type"), envelope.get("senderId"), envelope.get("recipientId")
    data, request_id = envelope.get("data"), envelope.get("requestId", 0)
    if (
        type(kind) is not int
        or not ACQUIRE_LOCK <= kind <= CLOSE
        or not isinstance(sender, str)
        or not (recipient is None or isinstance(recipient, str))
        or type(request_id) is not int
        or (kind in REQUESTS and request_id < 1)
        or not isinstance(data, dict)
        or not all([isinstance(data.get(key), str) for key in TEXTS.get(kind, ())])
    ):
        raise InvalidPacket("a message between engines is malformed")
    return EngineMessage(kind, sender, recipient, data, request_id)


def packet_to_wire(packet: str | bytes, compress: bool | None = None) -> dict[str, Any]:
    """Return one Engine.IO packet as the messages hold it.

    :param packet: a text packet whole, or the data of a binary message.
    :param compress: the option that goes along; ``None`` for a packet that a client has sent.
    """
    binary = isinstance(packet, bytes)
    kind = "message" if isinstance(packet, bytes) else KINDS[int(packet[0])]
    data: str | bytes = packet if isinstance(packet, bytes) else packet[1:]
    wire: dict[str, Any] = {"type": kind}
    if compress is not None and kind not in {"close", "noop"}:
        wire["options"] = {"compress": compress}
    if data or binary or kind == "message":
        wire["data"] = data
    return wire


def packet_from_wire(wire: object) -> Encoded:
    """Return the packet that a message holds.

    :raises InvalidPacket: if it holds none.
    """
    if not isinstance(wire, dict) or wire.get("type") not in KINDS:
        raise InvalidPacket("a message between engines holds no packet")
    kind, data, options = wire["type"], wire.get("data"), wire.get("options")
    compress = not isinstance(options, dict) or options.get("compress") is not False
    if isinstance(data, bytes) and kind == "message":
        return Encoded(data, True, compress)
    if data is not None and not isinstance(data, str):
        raise InvalidPacket("a message between engines holds no packet")
    return Encoded(b"%d" % KINDS.index(kind) + encode_text(data or ""), False, compress)
