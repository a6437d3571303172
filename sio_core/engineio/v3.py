"""The payload of Engine.IO 3, and JSONP: what clients of Socket.IO 2 speak over HTTP long-polling.

Pure functions between bodies and Engine.IO packets. A packet is the ``str`` of a text packet with its type
in front (``"4hello"``), or the ``bytes`` of a binary message without it. Whether the type of a text packet
exists is for the session to say, as for packets that came over WebSocket.

Engine.IO protocol v3, "Encoding".
"""

from __future__ import annotations

import binascii
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import unquote_to_bytes

import orjson

from sio_core.errors import InvalidPacket, PayloadTooLarge

__all__ = [
    "decode_base64",
    "decode_binary",
    "decode_form",
    "decode_payload",
    "encode_base64",
    "encode_binary",
    "encode_binary_payload",
    "encode_text_payload",
    "jsonp_response",
]

# "message" is the only type a packet with binary data has.
_MESSAGE_BYTE: Final = b"\x04"
_BASE64_HEAD: Final = "b4"

# The digits of a length in a binary payload: bytes of their own value.
_DIGIT_BYTES: Final = bytes.maketrans(b"0123456789", bytes(range(10)))

_MAX_LENGTH_DIGITS: Final = 10
_MAX_FORM_FIELDS: Final = 1_000


def encode_base64(data: bytes) -> str:
    """Return a binary message as text, for transports that carry nothing else: ``b4`` and base64."""
    return _BASE64_HEAD + binascii.b2a_base64(data, newline=False).decode("ascii")


def decode_base64(packet: str) -> bytes:
    """Return the data of a text packet that starts with ``b``.

    Missing padding and the URL-safe alphabet are accepted, as Node.js does.

    :raises InvalidPacket: if it is no message, or no base64 (RFC 4648 section 4).
    """
    if not packet.startswith(_BASE64_HEAD):
        raise InvalidPacket("parser error")
    text = packet[2:]
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        pass
    text = text.rstrip("=").replace("-", "+").replace("_", "/")
    data: bytes | None
    try:
        data = binascii.a2b_base64(text + "=" * (-len(text) % 4), strict_mode=True)
    except ValueError:
        data = None
    if data is None:
        raise InvalidPacket("parser error")
    return data


def encode_binary(data: bytes) -> bytes:
    """Return a binary message as a WebSocket frame or a binary payload has it: after its type, the byte 4."""
    return _MESSAGE_BYTE + data


def decode_binary(packet: bytes) -> bytes:
    """Return the data of a binary packet.

    :raises InvalidPacket: if its first byte is not 4, a message.
    """
    if packet[:1] != _MESSAGE_BYTE:
        raise InvalidPacket("parser error")
    return packet[1:]


def encode_text_payload(packets: Iterable[str | bytes]) -> bytes:
    """Return a body of ``<length>:<packet>`` for each packet, binary ones in base64.

    The length counts characters as JavaScript does: UTF-16 code units.
    """
    parts: list[str] = []
    for packet in packets:
        text = packet if isinstance(packet, str) else encode_base64(packet)
        if text.isascii():
            length = len(text)
        else:
            units = text.encode("utf-16-le", "surrogatepass")
            length = len(units) // 2
            text = units.decode("utf-16-le", "replace")
        parts.append(f"{length}:{text}")
    return "".join(parts).encode() if parts else b"0:"


def encode_binary_payload(packets: Iterable[str | bytes]) -> bytes:
    """Return a body of ``<0 text, 1 binary><length><255><packet>`` for each packet.

    The length counts bytes; each of its decimal digits is a byte of that value.
    """
    parts: list[bytes] = []
    for packet in packets:
        if isinstance(packet, str):
            parts.append(b"\x00")
            if not packet.isascii():
                packet = packet.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
            data = packet.encode()
        else:
            parts.append(b"\x01")
            data = encode_binary(packet)
        parts.append(str(len(data)).encode().translate(_DIGIT_BYTES))
        parts.append(b"\xff")
        parts.append(data)
    return b"".join(parts)


def decode_payload(body: bytes, binary: bool, max_packets: int = 10_000) -> Iterator[str | bytes]:
    """Yield the packets of a request body.

    A text is read packet by packet: those before an error have been yielded. A binary body is read as a whole.
    What is not UTF-8 in a text body is replaced. All of this is as in the official server.

    :param binary: whether it came as ``application/octet-stream``.
    :param max_packets: how many packets are allowed.
    :raises PayloadTooLarge: if there are more.
    :raises InvalidPacket: if the body cannot be parsed.
    """
    if not body:
        raise InvalidPacket("parser error")
    if binary:
        yield from _decode_binary_payload(body, max_packets)
        return
    text = body.decode("utf-8", "replace")
    # The lengths count UTF-16 code units. Only a text with characters of two units needs another form.
    units = b"" if text.isascii() or max(text) <= "\uffff" else text.encode("utf-16-le")
    size = len(units) // 2 if units else len(text)
    position = 0
    entries = 0
    while position < size:
        entries += 1
        if entries > max_packets:
            raise _too_many(max_packets)
        # The length and its colon are characters of one unit, so cutting here can only spoil what follows.
        end = position + _MAX_LENGTH_DIGITS + 1
        head = units[2 * position : 2 * end].decode("utf-16-le", "replace") if units else text[position:end]
        digits, colon, _ = head.partition(":")
        if not colon or not digits.isascii() or not digits.isdigit():
            raise InvalidPacket("parser error")
        start = position + len(digits) + 1
        position = start + int(digits)
        if position > size:
            raise InvalidPacket("parser error")
        if position == start:
            # "0:" is how an empty payload is written.
            continue
        packet = _decode_units(units[2 * start : 2 * position]) if units else text[start:position]
        yield decode_base64(packet) if packet.startswith("b") else packet


def _decode_binary_payload(body: bytes, max_packets: int) -> list[str | bytes]:
    packets: list[str | bytes] = []
    size = len(body)
    position = 0
    while position < size:
        if len(packets) >= max_packets:
            raise _too_many(max_packets)
        kind = body[position]
        end = body.find(b"\xff", position + 1, position + _MAX_LENGTH_DIGITS + 2)
        if kind > 1 or end <= position + 1:
            raise InvalidPacket("parser error")
        length = 0
        for digit in body[position + 1 : end]:
            if digit > 9:
                raise InvalidPacket("parser error")
            length = length * 10 + digit
        position = end + 1 + length
        if position > size:
            raise InvalidPacket("parser error")
        data = body[end + 1 : position]
        if kind == 1:
            packets.append(decode_binary(data))
        else:
            packet = _decode_text(data)
            packets.append(decode_base64(packet) if packet.startswith("b") else packet)
    return packets


def _too_many(max_packets: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"more than {max_packets} packets in one payload", "payload_packets")


def _decode_text(data: bytes) -> str:
    text: str | None
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = None
    if text is None:
        raise InvalidPacket("parser error")
    return text


def _decode_units(data: bytes) -> str:
    text: str | None
    try:
        text = data.decode("utf-16-le")
    except UnicodeDecodeError:
        text = None
    if text is None:
        # The length cut a character in two.
        raise InvalidPacket("parser error")
    return text


def decode_form(body: bytes) -> bytes:
    """Return the payload in the form a JSONP client posts: the field ``d``.

    Browsers turn newlines in forms into CR LF, so the client wrote a newline as ``\\n``, and ``\\n`` as
    ``\\\\n``.

    :raises InvalidPacket: if there is no such field.
    """
    for field in body.split(b"&", _MAX_FORM_FIELDS)[:_MAX_FORM_FIELDS]:
        name, _, value = field.partition(b"=")
        if name == b"d":
            payload = unquote_to_bytes(value.replace(b"+", b" "))
            return b"\\n".join(part.replace(b"\\n", b"\n") for part in payload.split(b"\\\\n"))
    raise InvalidPacket("parser error")


def jsonp_response(index: str, payload: str | bytes) -> bytes:
    """Return the script that hands a payload to the callback of a JSONP client.

    :param index: the query parameter ``j``; only its digits are used, so that it cannot carry a script.
    """
    if isinstance(payload, bytes):
        payload = payload.decode("utf-8", "replace")
    digits = "".join(character for character in index if character in "0123456789")
    # JSON may hold two line separators that a string of JavaScript could not, before 2019.
    text = orjson.dumps(payload).replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return b"___eio[" + digits.encode() + b"](" + text + b");"
