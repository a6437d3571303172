"""What is fuzzed. A target takes any bytes, and fails with an exception that is not one of the documented ones.

Each also states what must hold of what was read, so that not only crashes are found: how the bytes were cut changes
nothing, and what was decoded can be encoded and decoded again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from typing import Final

from sio_core.engineio import payload, v3
from sio_core.engineio.packet import Encoded, decode_packet
from sio_core.errors import InvalidPacket, LocalProtocolError, PayloadTooLarge
from sio_core.limits import Limits
from sio_core.socketio.msgpack import MsgpackParser
from sio_core.socketio.packet import Packet
from sio_core.socketio.parser import Decoder, JsonParser, Parser
from sio_core.wire.http import BadRequest, HttpEvent, HttpReader
from sio_core.wire.message import Request
from sio_core.wire.websocket import Compression, Deflate, WebSocket

LIMITS: Final = Limits()
MAX_SIZE: Final = 10_000
MAX_PACKETS: Final = 100


def cut(data: bytes) -> tuple[list[bytes], bytes]:
    """Return bytes whole and in parts; the first byte says how long the parts are."""
    step = data[0] % 64 + 1 if data else 1
    whole = data[1:]
    edges = [*range(0, len(whole), step), len(whole)]
    return [whole[start:stop] for start, stop in pairwise(edges)], whole


def http(data: bytes) -> None:
    """Requests on one connection (RFC 9112)."""
    parts, whole = cut(data)
    assert describe(read_requests(parts)) == describe(read_requests([whole]))


def read_requests(parts: list[bytes]) -> list[HttpEvent]:
    """What a reader reports of one stream, up to an upgrade."""
    reader = HttpReader(LIMITS)
    events: list[HttpEvent] = []
    for part in parts:
        reader.receive_data(part)
        events += reader.events
        reader.events.clear()
        while reader.held:
            reader.resume()
            events += reader.events
            reader.events.clear()
    return events


def describe(events: list[HttpEvent]) -> list[object]:
    """The events without their identity, bodies joined: how they are cut depends on the reads."""
    result: list[object] = []
    body = b""
    for event in events:
        if isinstance(event, bytes):
            body += event
            continue
        result.append(body)
        body = b""
        if isinstance(event, Request):
            result.append((event.method, event.target, dict(event.headers)))
        else:
            result.append(event.status if isinstance(event, BadRequest) else "end")
    return [*result, body]


def frames(data: bytes) -> None:
    """WebSocket frames, plain and compressed (RFC 6455 section 5, RFC 7692)."""
    parts, whole = cut(data)
    for extensions in ((), (Deflate(),)):
        outcomes = [
            read_frames(
                WebSocket(MAX_SIZE, LIMITS, [Compression(deflate, {}) for deflate in extensions]), reads
            )
            for reads in (parts, [whole])
        ]
        assert outcomes[0] == outcomes[1]


def read_frames(websocket: WebSocket, parts: list[bytes]) -> tuple[list[str | bytes], int | None, bytes]:
    """The messages of a stream, the code it ended with, and what is answered."""
    messages = [message for part in parts for message in websocket.receive_data(part)]
    for message in messages:
        assert len(message if isinstance(message, bytes) else message.encode()) <= MAX_SIZE
    code = None if websocket.closed is None else websocket.closed.code
    return messages, code, websocket.data_to_send()


def engineio(data: bytes) -> None:
    """Packets and polling payloads, of version 4 and 3."""
    read_payload(payload.decode_payload(data, MAX_PACKETS), payload.encode_payload)
    for binary in (False, True):
        read_payload(v3.decode_payload(data, binary, MAX_PACKETS), None)
    with suppress(InvalidPacket):
        v3.decode_form(data)


def read_payload(packets: Iterator[str | bytes], encode: Callable[[list[Encoded]], bytes] | None) -> None:
    """Read every packet; what was read must come back when it is sent."""
    try:
        read = list(packets)
    except (InvalidPacket, PayloadTooLarge):
        return
    assert len(read) <= MAX_PACKETS
    if encode is not None:
        sent = [Encoded(p, True) if isinstance(p, bytes) else Encoded(p.encode()) for p in read]
        assert list(payload.decode_payload(encode(sent), MAX_PACKETS)) == read
        for packet in sent:
            assert decode_packet(packet.text().decode()) in read


def socketio(data: bytes) -> None:
    """Socket.IO packets in their default form: text, each line a message; attachments behind a zero byte."""
    read_packets(JsonParser(), [as_message(line) for line in data.split(b"\n")])


def as_message(line: bytes) -> str | bytes:
    """A line as a message of Engine.IO."""
    return line[1:] if line.startswith(b"\0") else line.decode("utf-8", "replace")


def msgpack(data: bytes) -> None:
    """Socket.IO packets of the msgpack parser."""
    read_packets(MsgpackParser(), [data])


def read_packets(parser: Parser, messages: list[str | bytes]) -> None:
    """Read messages; each packet they make must come back when it is sent."""
    decoder = parser.decoder(LIMITS)
    for message in messages:
        packet = add(decoder, message)
        if packet is None or packet.data == []:  # without a payload it is read, and cannot be written
            continue
        try:
            sent = parser.encode(packet)
        except LocalProtocolError:  # more attachments than clients take
            continue
        again = parser.decoder(LIMITS)
        returned = [add(again, part) for part in sent][-1]
        assert returned is not None
        assert repr(returned) == repr(packet)


def add(decoder: Decoder, message: str | bytes) -> Packet | None:
    """Hand over a message; what is refused leaves nothing behind."""
    try:
        return decoder.add(message)
    except InvalidPacket:
        assert not decoder.waiting
        return None


TARGETS: Final = {
    "http": http,
    "frames": frames,
    "engineio": engineio,
    "socketio": socketio,
    "msgpack": msgpack,
}
