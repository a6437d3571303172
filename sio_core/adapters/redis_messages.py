"""What the classic adapter for Redis says, as ``@socket.io/redis-adapter`` writes it.

Broadcasts are MessagePack ``[uid, packet, opts]`` on a channel of the namespace, or of the one room they are for.
Everything else is a request on one channel and its response on another, each JSON, or MessagePack where there may be
binary data::

    0 SOCKETS      {uid, requestId, type, rooms}           {requestId, sockets: [id]}
    1 ALL_ROOMS    {uid, requestId, type}                  {requestId, rooms}
    2 JOIN         {uid, type, opts, rooms}
    3 LEAVE        {uid, type, opts, rooms}
    4 DISCONNECT   {uid, type, opts, close}
    5 FETCH        {uid, requestId, type, opts}            {requestId, sockets: [{id, handshake, rooms, data}]}
    6 SERVER EVENT {uid, requestId?, type, data}           {type, requestId, data}
    7 BROADCAST    {uid, requestId, type, packet, opts}    8 {type, requestId, clientCount}, 9 {type, requestId, packet}

Here they become the messages of :mod:`sio_core.adapters.messages`, and back.
"""

from __future__ import annotations

from typing import Any, Final

from sio_core.adapters.messages import (
    BROADCAST,
    BROADCAST_ACK,
    BROADCAST_CLIENT_COUNT,
    DISCONNECT_SOCKETS,
    EMITTER_UID,
    FETCH_SOCKETS,
    FETCH_SOCKETS_RESPONSE,
    SERVER_SIDE_EMIT,
    SERVER_SIDE_EMIT_RESPONSE,
    SOCKETS_JOIN,
    SOCKETS_LEAVE,
    Codec,
    Message,
    decode_json,
    decode_msgpack,
    make_uid,
)
from sio_core.errors import InvalidPacket

__all__ = [
    "ALL_ROOMS",
    "ALL_ROOMS_RESPONSE",
    "SOCKETS",
    "SOCKETS_RESPONSE",
    "encode_broadcast",
    "encode_request",
    "encode_response",
    "is_broadcast",
    "read_broadcast",
    "read_request",
    "read_response",
]

# Messages that only this adapter has, beside those of `messages`.
SOCKETS: Final = 100
SOCKETS_RESPONSE: Final = 101
ALL_ROOMS: Final = 102
ALL_ROOMS_RESPONSE: Final = 103

REQUEST_TYPES: Final = {
    SOCKETS: 0,
    ALL_ROOMS: 1,
    SOCKETS_JOIN: 2,
    SOCKETS_LEAVE: 3,
    DISCONNECT_SOCKETS: 4,
    FETCH_SOCKETS: 5,
    SERVER_SIDE_EMIT: 6,
    BROADCAST: 7,
}
KINDS: Final = {number: kind for kind, number in REQUEST_TYPES.items()}

SERVER_EVENT: Final = 6
CLIENT_COUNT: Final = 8
CLIENT_ACK: Final = 9


def is_broadcast(message: Message) -> bool:
    """Whether a message is a broadcast that nobody answers: it is no request."""
    return message.type == BROADCAST and (message.data is None or "requestId" not in message.data)


# Writing


def encode_broadcast(codec: Codec, uid: str, name: str, data: list[Any], opts: dict[str, Any]) -> bytes:
    """Return a broadcast of the event ``[name, *args]``."""
    return codec.msgpack([uid, packet_of(data, name), opts])


def packet_of(data: list[Any], name: str) -> dict[str, Any]:
    return {"type": 2, "data": data, "nsp": name}


def encode_request(codec: Codec, message: Message, uid: str | None) -> bytes:
    """Return a request.

    :param uid: who asks; ``None`` to leave it out, as the official emitter does.
    """
    kind, data = message.type, message.data or {}
    request: dict[str, Any] = {} if uid is None else {"uid": uid}
    if "requestId" in data:
        request["requestId"] = data["requestId"]
    request["type"] = REQUEST_TYPES[kind]
    if kind == SERVER_SIDE_EMIT:
        request["data"] = data["packet"]
    elif kind == BROADCAST:
        request["packet"] = packet_of(data["packet"]["data"], message.nsp)
        request["opts"] = data["opts"]
        return codec.msgpack(request)
    elif kind != ALL_ROOMS:
        opts = data["opts"]
        request["opts"] = {"rooms": opts["rooms"], "except": opts["except"]}
        for key in ("rooms", "close"):
            if key in data:
                request[key] = data[key]
    return codec.json(request)


def encode_response(codec: Codec, message: Message) -> bytes:
    """Return the response to a request."""
    kind, data = message.type, message.data or {}
    request_id = data["requestId"]
    if kind == BROADCAST_CLIENT_COUNT:
        return codec.json({"type": CLIENT_COUNT, "requestId": request_id, "clientCount": data["clientCount"]})
    if kind == BROADCAST_ACK:
        return codec.msgpack({"type": CLIENT_ACK, **data})
    if kind == SERVER_SIDE_EMIT_RESPONSE:
        response = {"type": SERVER_EVENT, "requestId": request_id}
        if "packet" in data:
            response["data"] = data["packet"]
        return codec.json(response)
    return codec.json(data)


# Reading


def read_broadcast(payload: bytes, name: str) -> Message | None:
    """Return a broadcast; ``None`` if it is of another namespace.

    :raises InvalidPacket: if it is none.
    """
    value = decode_msgpack(payload)
    if not isinstance(value, list) or len(value) < 3 or not isinstance(value[1], dict):
        raise InvalidPacket("a broadcast of the cluster is no [uid, packet, opts]")
    uid, packet, opts = value[:3]
    namespace = packet.get("nsp")
    if (namespace if namespace is not None else "/") != name:
        return None
    return Message(BROADCAST, uid if isinstance(uid, str) else "", name, {"packet": packet, "opts": opts})


def read_request(payload: bytes, name: str) -> Message | None:
    """Return a request; ``None`` if its type is unknown.

    :raises InvalidPacket: if it is none.
    """
    value = read(payload)
    number = value.get("type")
    kind = KINDS.get(number) if isinstance(number, int) else None
    if kind is None:
        return None
    uid = value.get("uid")
    data: dict[str, Any] = {
        key: value[key] for key in ("requestId", "packet", "opts", "rooms", "close") if key in value
    }
    if kind == SERVER_SIDE_EMIT:
        data["packet"] = revive(value.get("data"))
    elif "opts" not in value and isinstance(value.get("sid"), str):  # as before version 7
        data["opts"] = {"rooms": [value["sid"]], "except": []}
        data["rooms"] = [value.get("room")]
    return Message(kind, uid if isinstance(uid, str) else EMITTER_UID, name, data)


def read_response(payload: bytes, name: str) -> Message:
    """Return a response. Nothing in it says who answers: each counts as another node's.

    :raises InvalidPacket: if it is none.
    """
    value = read(payload)
    number = value.get("type")
    data: dict[str, Any] = {
        key: value[key] for key in ("requestId", "packet", "clientCount", "sockets", "rooms") if key in value
    }
    if number == CLIENT_COUNT:
        kind = BROADCAST_CLIENT_COUNT
    elif number == CLIENT_ACK:
        kind = BROADCAST_ACK
    elif number == SERVER_EVENT:
        kind = SERVER_SIDE_EMIT_RESPONSE
        if "data" in value:
            data["packet"] = revive(value["data"])
    elif "rooms" in value:
        kind = ALL_ROOMS_RESPONSE
    else:
        kind = FETCH_SOCKETS_RESPONSE
        data = revive(data)
    return Message(kind, make_uid(), name, data)


def read(payload: bytes) -> dict[str, Any]:
    value = decode_json(payload) if payload[:1] == b"{" else decode_msgpack(payload)
    if not isinstance(value, dict):
        raise InvalidPacket("a request or response of the cluster is no object")
    return value


def revive(value: Any) -> Any:
    """Return a value in which what was binary data before it became JSON is that again."""
    if isinstance(value, list):
        return [revive(inner) for inner in value]
    if isinstance(value, dict):
        if len(value) == 2 and value.get("type") == "Buffer" and isinstance(value.get("data"), list):
            try:
                return bytes(value["data"])
            except (TypeError, ValueError):
                return value
        return {key: revive(inner) for key, inner in value.items()}
    return value
