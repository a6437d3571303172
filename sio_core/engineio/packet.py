"""One Engine.IO packet: from a text or binary message, and to one.

Engine.IO protocol v4, "Packet encoding". A text packet is one type digit and its data; a binary packet is always
a message and carries no digit. Where the transport has no binary form, ``b`` and base64 stand for it.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from typing import Final

from sio_core.errors import InvalidPacket
from sio_core.wire.websocket import binary_frame, text_frame

__all__ = [
    "CLOSE",
    "MESSAGE",
    "NOOP",
    "OPEN",
    "PING",
    "PONG",
    "UPGRADE",
    "Encoded",
    "decode_base64",
    "decode_packet",
    "encode_text",
]

OPEN: Final = "0"
CLOSE: Final = "1"
PING: Final = "2"
PONG: Final = "3"
MESSAGE: Final = "4"
UPGRADE: Final = "5"
NOOP: Final = "6"

TYPES: Final = frozenset("0123456")
URL_SAFE: Final = str.maketrans("-_", "+/")
BASE64_ALPHABET: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")


class Encoded:
    """An outgoing packet, encoded once and shared by all its receivers.

    :ivar data: a text packet whole, its type digit in front, in UTF-8; or the bytes of a binary message.
    :ivar binary: which of the two it is.
    :ivar compress: whether a polling response that carries it may be compressed.
    """

    __slots__ = ("_base64", "_frame", "binary", "compress", "data")

    def __init__(self, data: bytes, binary: bool = False, compress: bool = True) -> None:
        self.data = data
        self.binary = binary
        self.compress = compress
        self._frame: bytes | None = None
        self._base64: bytes | None = None

    def frame(self) -> bytes:
        """Return the packet as one unmasked WebSocket frame, built at most once."""
        frame = self._frame
        if frame is None:
            data = self.data
            frame = self._frame = binary_frame(data) if self.binary else text_frame(data)
        return frame

    def text(self) -> bytes:
        """Return the packet in its textual form, with base64 for binary data, built at most once."""
        if not self.binary:
            return self.data
        text = self._base64
        if text is None:
            text = self._base64 = b"b" + b2a_base64(self.data, newline=False)
        return text

    def __repr__(self) -> str:
        return f"Encoded({self.data!r}, binary={self.binary})"


def encode_text(text: str) -> bytes:
    """Return ``text`` in UTF-8; half a surrogate pair becomes U+FFFD, as in JavaScript."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace").encode()


def decode_packet(message: str | bytes) -> str | bytes:
    """Check one packet as a transport delivered it.

    :returns: a text packet unchanged, or the data of a binary message.
    :raises InvalidPacket: if it is no packet.
    """
    if isinstance(message, bytes):
        return message
    kind = message[:1]
    if kind in TYPES:
        return message
    if kind == "b":
        return decode_base64(message[1:])
    raise InvalidPacket("parser error")


def decode_base64(text: str) -> bytes:
    """Decode base64 the lenient way of JavaScript servers: either alphabet, stray characters and padding ignored.

    RFC 4648 sections 4 and 5. Never raises.
    """
    try:
        return a2b_base64(text.encode("ascii"), strict_mode=True)
    except (Base64Error, UnicodeEncodeError):
        symbols = "".join([c for c in text.partition("=")[0].translate(URL_SAFE) if c in BASE64_ALPHABET])
        if len(symbols) % 4 == 1:
            symbols = symbols[:-1]
        return a2b_base64(symbols + "=" * (-len(symbols) % 4))
