"""WebSocket as a server speaks it: the opening handshake, and frames (RFC 6455, RFC 7692).

:func:`accept` answers the handshake; then a :class:`WebSocket` takes the bytes of one connection and gives
messages. A whole, masked, unfragmented data frame within one read is a message at once: a slice, an
unmasking, a decoding. Every other frame takes the long way, and whatever grows there has a bound. What is
wrong is refused as soon as the bytes that say so have come: the opcode, the mask, the length, then the rest.

Of the package ``websockets`` only functions are used: unmasking, the accept key, the parser of extensions.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from websockets.exceptions import InvalidHeaderFormat
from websockets.headers import parse_extension
from websockets.utils import accept_key

from sio_core.limits import Limits
from sio_core.wire.message import Request, header_line

try:
    from websockets.speedups import apply_mask
except ImportError:  # pragma: no cover - there are wheels without the extension
    from websockets.utils import apply_mask

__all__ = [
    "Accepted",
    "Closed",
    "Compression",
    "Deflate",
    "Rejected",
    "WebSocket",
    "accept",
    "binary_frame",
    "text_frame",
]


@dataclass(frozen=True, kw_only=True)
class Deflate:
    """The options of the extension permessage-deflate (RFC 7692 section 7.1).

    :raises ValueError: if a number is out of range.
    """

    threshold: int = 1024
    """Bytes below which a message is not worth compressing. Counts only without context takeover."""

    server_no_context_takeover: bool | None = None
    """Compress each message on its own: less memory, larger messages. ``False``: refuse offers of it."""

    client_no_context_takeover: bool = False
    """Ask the client to compress each message on its own."""

    server_max_window_bits: int | None = None
    """The window of this side, 9 to 15, stated in the handshake. ``None``: what the client asks for, else 12,
    without a word, since the client must be ready for 15."""

    client_max_window_bits: int | None = None
    """The window the client may use, 8 to 15. ``None``: what it offers."""

    level: int = 6
    """The effort, 1 to 9 (zlib)."""

    mem_level: int = 5
    """The memory of the compressor, 1 to 9 (zlib): 5 takes 16 kB beside the window, 8 takes 128 kB."""

    def __post_init__(self) -> None:
        _check_range("threshold", self.threshold, 0, 1 << 31)
        _check_range("level", self.level, 1, 9)
        _check_range("mem_level", self.mem_level, 1, 9)
        if self.server_max_window_bits is not None:
            _check_range("server_max_window_bits", self.server_max_window_bits, 9, 15)
        if self.client_max_window_bits is not None:
            _check_range("client_max_window_bits", self.client_max_window_bits, 8, 15)


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"deflate: {name} must be between {low} and {high}, not {value!r}")


# RFC 7692 section 7.2.1: each message ends with this, and it is not sent.
_TAIL: Final = b"\x00\x00\xff\xff"
_DEFAULT_WINDOW_BITS: Final = 12


class Compression:
    """The negotiated permessage-deflate of one connection.

    :ivar threshold: messages shorter than this many bytes are sent as they are.
    """

    __slots__ = (
        "_client_bits",
        "_client_reset",
        "_deflater",
        "_inflater",
        "_level",
        "_mem_level",
        "_server_bits",
        "_server_reset",
        "threshold",
    )

    def __init__(
        self, deflate: Deflate, *, client_bits: int, client_reset: bool, server_bits: int, server_reset: bool
    ) -> None:
        self._client_bits: int = client_bits
        self._client_reset: bool = client_reset
        self._server_bits: int = server_bits
        self._server_reset: bool = server_reset
        self._level: int = deflate.level
        self._mem_level: int = deflate.mem_level
        # With context takeover the peer may refer to any message before, so all are compressed.
        self.threshold: int = deflate.threshold if server_reset else 0
        # Made when first needed: they are the largest part of a connection.
        self._inflater: zlib._Decompress | None = None
        self._deflater: zlib._Compress | None = None

    def inflate(self, data: bytes, fin: bool, room: int) -> bytes | None:
        """Return what one frame of a compressed message holds, ``None`` if that is more than ``room`` bytes.

        :param fin: whether it is the last frame of its message.
        :raises zlib.error: if it is not compressed data.
        """
        inflater = self._inflater
        if inflater is None:
            inflater = self._inflater = zlib.decompressobj(-self._client_bits)
        result = b""
        # A final block ends the stream for zlib, which only collects what comes behind it. RFC 7692 section
        # 7.2.3.4 allows one, with nothing behind it that would count.
        if not inflater.eof:
            # 0 would mean "unlimited", and one byte too many tells what is too large.
            result = inflater.decompress(data + _TAIL if fin else data, room + 1)
        if fin and (self._client_reset or inflater.eof):
            self._inflater = None
        return result if len(result) <= room else None

    def deflate(self, payload: bytes) -> bytes:
        """Return the payload of one compressed message."""
        deflater = self._deflater
        if deflater is None:
            deflater = zlib.compressobj(self._level, zlib.DEFLATED, -self._server_bits, self._mem_level)
            if not self._server_reset:
                self._deflater = deflater
        result = deflater.compress(payload) + deflater.flush(zlib.Z_SYNC_FLUSH)
        return result[:-4]


class Accepted:
    """The handshake succeeded.

    :ivar response: the bytes of the 101.
    :ivar extensions: what :class:`WebSocket` is to be given.
    """

    __slots__ = ("extensions", "response")

    def __init__(self, response: bytes, extensions: tuple[Compression, ...]) -> None:
        self.response: bytes = response
        self.extensions: tuple[Compression, ...] = extensions


class Rejected:
    """The handshake failed.

    :ivar status: the status code.
    :ivar reason: the text of the body.
    :ivar headers: further headers of the response.
    """

    __slots__ = ("headers", "reason", "status")

    def __init__(self, status: int, reason: str, headers: list[tuple[str, str]] | None = None) -> None:
        self.status: int = status
        self.reason: str = reason
        self.headers: list[tuple[str, str]] = [] if headers is None else headers

    def encode(self) -> bytes:
        """Return the bytes of the response, after which the connection is closed."""
        body = self.reason.encode()
        head = (
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n"
            f"Connection: close\r\nContent-Type: text/html\r\nContent-Length: {len(body)}\r\n"
        ).encode()
        return b"".join([head, *[header_line(name, value) for name, value in self.headers], b"\r\n", body])

    def __repr__(self) -> str:
        return f"<Rejected {self.status} {self.reason}>"


_KEY: Final = re.compile(r"[+/0-9A-Za-z]{22}==").fullmatch
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+").fullmatch
_WINDOW_BITS: Final = {str(bits): bits for bits in range(8, 16)}
_EXTENSION: Final = "permessage-deflate"


def accept(
    request: Request, *, deflate: Deflate | None = None, headers: Sequence[tuple[str, str]] = ()
) -> Accepted | Rejected:
    """Answer an opening handshake (RFC 6455 section 4.2), in the words of the ``ws`` package.

    :param deflate: the options of permessage-deflate; ``None`` if it is not offered.
    :param headers: further headers of the 101.
    :raises ValueError: if one of ``headers`` could not be sent as it is.
    """
    fields = request.headers
    if request.method != "GET":
        return Rejected(405, "Invalid HTTP method")
    if not request.upgrade or fields.get("upgrade", "").lower() != "websocket":
        return Rejected(400, "Invalid Upgrade header")
    key = fields.get("sec-websocket-key", "")
    if not _KEY(key):
        return Rejected(400, "Missing or invalid Sec-WebSocket-Key header")
    # Version 8 is draft 8 of RFC 6455, of which the wire is the same.
    if fields.get("sec-websocket-version") not in ("13", "8"):
        return Rejected(
            400, "Missing or invalid Sec-WebSocket-Version header", [("Sec-WebSocket-Version", "13, 8")]
        )
    lines = [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
        header_line("Sec-WebSocket-Accept", accept_key(key)),
    ]
    offered = fields.get("sec-websocket-protocol")
    if offered is not None:
        # RFC 6455 section 4.1, item 10: the elements are unique tokens.
        protocols = [item.strip(" \t") for item in offered.split(",")]
        if not all(map(_TOKEN, protocols)) or len(set(protocols)) != len(protocols):
            return Rejected(400, "Invalid Sec-WebSocket-Protocol header")
        lines.append(header_line("Sec-WebSocket-Protocol", protocols[0]))
    extensions: tuple[Compression, ...] = ()
    offers = fields.get("sec-websocket-extensions")
    if deflate is not None and offers is not None:
        try:
            negotiated = _negotiate(deflate, offers)
        except ValueError:
            return Rejected(400, "Invalid or unacceptable Sec-WebSocket-Extensions header")
        if negotiated is not None:
            lines.append(header_line("Sec-WebSocket-Extensions", negotiated[0]))
            extensions = (negotiated[1],)
    for name, value in headers:
        lines.append(header_line(name, value))
    lines.append(b"\r\n")
    return Accepted(b"".join(lines), extensions)


def _negotiate(deflate: Deflate, header: str) -> tuple[str, Compression] | None:
    """Return the header of the first offer that is acceptable, and its extension; ``None`` without an offer.

    :raises ValueError: if an offer is invalid, or none is acceptable.
    """
    try:
        parsed = parse_extension(header)
    except InvalidHeaderFormat as error:
        raise ValueError("malformed") from error
    offers = [_read_offer(parameters) for name, parameters in parsed if name == _EXTENSION]
    if not offers:
        return None
    for offer in offers:
        if _is_acceptable(deflate, offer):
            break
    else:
        raise ValueError("no offer is acceptable")
    # 0 stands for a parameter without a value.
    if deflate.server_no_context_takeover:
        offer["server_no_context_takeover"] = 0
    if deflate.client_no_context_takeover:
        offer["client_no_context_takeover"] = 0
    if deflate.server_max_window_bits is not None:
        offer["server_max_window_bits"] = deflate.server_max_window_bits
    if deflate.client_max_window_bits is not None:
        offer["client_max_window_bits"] = deflate.client_max_window_bits
    elif offer.get("client_max_window_bits") == 0:
        del offer["client_max_window_bits"]
    server_bits = offer.get("server_max_window_bits")
    extension = Compression(
        deflate,
        client_bits=offer.get("client_max_window_bits", 15),
        client_reset="client_no_context_takeover" in offer,
        server_bits=_DEFAULT_WINDOW_BITS if server_bits is None else server_bits,
        server_reset="server_no_context_takeover" in offer,
    )
    text = _EXTENSION
    for name, bits in offer.items():
        text += f"; {name}={bits}" if bits else f"; {name}"
    return text, extension


def _read_offer(parameters: Sequence[tuple[str, str | None]]) -> dict[str, int]:
    """Return the parameters of one offer, 0 for those without a value (RFC 7692 section 7.1)."""
    offer: dict[str, int] = {}
    for name, value in parameters:
        if name in offer:
            raise ValueError("repeated parameter")
        if name in ("server_no_context_takeover", "client_no_context_takeover"):
            if value is not None:
                raise ValueError("unexpected value")
            offer[name] = 0
        elif name == "client_max_window_bits" and value is None:
            offer[name] = 0
        elif name in ("server_max_window_bits", "client_max_window_bits") and value in _WINDOW_BITS:
            offer[name] = _WINDOW_BITS[value]
        else:
            raise ValueError("unknown parameter or invalid value")
    return offer


def _is_acceptable(deflate: Deflate, offer: dict[str, int]) -> bool:
    if deflate.server_no_context_takeover is False and "server_no_context_takeover" in offer:
        return False
    server_bits = offer.get("server_max_window_bits")
    # zlib cannot write with a window of 8 bits.
    if server_bits is not None and server_bits < max(9, deflate.server_max_window_bits or 0):
        return False
    if deflate.client_max_window_bits is not None:
        client_bits = offer.get("client_max_window_bits")
        if client_bits is None or (client_bits and deflate.client_max_window_bits > client_bits):
            return False
    return True


_SHORT: Final = 126
_LONG: Final = 65_536
_TEXT_HEADERS: Final = tuple(bytes((0x81, length)) for length in range(_SHORT))
_BINARY_HEADERS: Final = tuple(bytes((0x82, length)) for length in range(_SHORT))


def text_frame(payload: bytes) -> bytes:
    """Return the frame of a text message; ``payload`` is its UTF-8 form."""
    length = len(payload)
    if length < _SHORT:
        return _TEXT_HEADERS[length] + payload
    return _header(0x81, length) + payload


def binary_frame(payload: bytes) -> bytes:
    """Return the frame of a binary message."""
    length = len(payload)
    if length < _SHORT:
        return _BINARY_HEADERS[length] + payload
    return _header(0x82, length) + payload


def _header(first: int, length: int) -> bytes:
    """Return the header of an unmasked frame (RFC 6455 section 5.2)."""
    if length < _SHORT:
        return bytes((first, length))
    if length < _LONG:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")


# RFC 6455 section 7.4.1, and the registry of its section 11.7: codes that may stand in a frame.
_CLOSE_CODES: Final = frozenset((1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014))
_NO_STATUS: Final = 1005
_ABNORMAL: Final = 1006
_PROTOCOL_ERROR: Final = 1002
_INVALID_DATA: Final = 1007
_POLICY_VIOLATION: Final = 1008
_TOO_BIG: Final = 1009
_REASON_MAX: Final = 123

_CONTINUATION: Final = 0x0
_TEXT: Final = 0x1
_BINARY: Final = 0x2
_CLOSE: Final = 0x8
_PING: Final = 0x9
_PONG: Final = 0xA
_OPCODES: Final = frozenset((_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG))


def _is_close_code(code: int) -> bool:
    return code in _CLOSE_CODES or 3000 <= code < 5000


class Closed:
    """Why nothing more will be read.

    :ivar code: the peer's close code; 1005 if its frame had none, 1006 if there was no frame; after a failure
        the code sent to it.
    :ivar reason: the peer's reason.
    :ivar error: what the peer did wrong; empty if it closed, or the connection was lost.
    """

    __slots__ = ("code", "error", "reason")

    def __init__(self, code: int, reason: str = "", error: str = "") -> None:
        self.code: int = code
        self.reason: str = reason
        self.error: str = error

    def __repr__(self) -> str:
        return f"<Closed {self.code} {self.error or self.reason}>"


class WebSocket:
    """One open WebSocket, at the server.

    :ivar closed: set once nothing more will be read: the peer's close frame came, it broke a rule, or the
        connection is gone.
    :ivar close_sent: a close frame was handed out or waits in :meth:`data_to_send`.
    :ivar blocked: set by the caller while what it writes waits; pongs are then reduced to the newest.
    :ivar eventful: something but plain messages is going on: control frames, a fragmented message, the end.
    :ivar extended: an extension was negotiated, so messages are to be sent with :meth:`encode`.
    """

    __slots__ = (
        "_buffer",
        "_close",
        "_compressed",
        "_compression",
        "_count",
        "_limits",
        "_max_size",
        "_message",
        "_need",
        "_opcode",
        "_pongs",
        "blocked",
        "close_sent",
        "closed",
        "eventful",
        "extended",
    )

    def __init__(self, max_size: int, limits: Limits, extensions: Sequence[Compression] = ()) -> None:
        self._max_size: int = max_size
        self._limits: Limits = limits
        self._compression: Compression | None = extensions[0] if extensions else None
        # A frame of which the end has not come, and how many bytes are needed to go on with it.
        self._buffer: bytearray | None = None
        self._need: int = 0
        # The fragmented message that is open: its opcode (0: none), its content and its number of frames.
        self._opcode: int = 0
        self._message: bytearray | None = None
        self._count: int = 0
        self._compressed: bool = False
        self._pongs: list[bytes] | None = None
        self._close: bytes = b""
        self.blocked: bool = False
        self.close_sent: bool = False
        self.closed: Closed | None = None
        self.eventful: bool = False
        self.extended: bool = self._compression is not None

    @property
    def fragment_open(self) -> bool:
        """Whether a fragmented message waits for its last frame."""
        return self._opcode != 0

    def receive_data(self, data: bytes) -> list[str | bytes]:
        """Take bytes from the peer; return the messages they complete, text as ``str``."""
        messages: list[str | bytes] = []
        if self.closed is not None:
            return messages
        buffer = self._buffer
        if buffer is not None:
            buffer += data
            if len(buffer) < self._need:
                return messages
            data = bytes(buffer)
            self._buffer = None
        end = len(data)
        pos = 0
        max_size = self._max_size
        while pos + 6 <= end:
            first = data[pos]
            length = data[pos + 1] - 0x80
            if not 0x81 <= first <= 0x82 or self._opcode or length < 0:
                pos = self._read_frame(data, pos, messages)
                if pos < 0:
                    return messages
                continue
            start = pos + 6
            if length >= 126:
                if length == 126:
                    start = pos + 8
                    length = data[pos + 2] << 8 | data[pos + 3]
                else:
                    start = pos + 14
                    if start > end:
                        break
                    length = int.from_bytes(data[pos + 2 : pos + 10], "big")
            if length > max_size:
                self._fail(_TOO_BIG, "Max payload size exceeded")
                return messages
            stop = start + length
            if stop > end:
                self._keep(data, pos, stop - pos)
                return messages
            payload = apply_mask(data[start:stop], data[start - 4 : start])
            if first == 0x81:
                try:
                    messages.append(payload.decode())
                except UnicodeDecodeError:
                    self._fail(_INVALID_DATA, "Invalid WebSocket frame: invalid UTF-8 sequence")
                    return messages
            else:
                messages.append(payload)
            pos = stop
        if pos < end:
            self._read_frame(data, pos, messages)
        return messages

    def _keep(self, data: bytes, pos: int, need: int) -> None:
        """Keep the bytes from ``pos`` on until there are ``need`` of them."""
        self._buffer = bytearray(data[pos:] if pos else data)
        self._need = need

    def _read_frame(self, data: bytes, pos: int, messages: list[str | bytes]) -> int:
        """Read the frame at ``pos`` (RFC 6455 section 5.2); return where the next begins, -1 to stop."""
        end = len(data)
        if end - pos < 2:
            self._keep(data, pos, 2)
            return -1
        first = data[pos]
        opcode = first & 0x0F
        length = data[pos + 1] - 0x80
        if opcode not in _OPCODES:
            return self._fail(_PROTOCOL_ERROR, f"Invalid WebSocket frame: invalid opcode {opcode}")
        if length < 0:
            return self._fail(_PROTOCOL_ERROR, "Invalid WebSocket frame: MASK must be set")
        start = pos + 6
        if length == 126:
            start = pos + 8
        elif length == 127:
            start = pos + 14
        if length >= 126:
            if end < start - 4:
                self._keep(data, pos, start - 4 - pos)
                return -1
            length = int.from_bytes(data[pos + 2 : start - 4], "big")
        message = self._message
        room = self._max_size if message is None else self._max_size - len(message)
        if length > room and opcode < _CLOSE:
            return self._fail(_TOO_BIG, "Max payload size exceeded")
        error = self._check_header(first, opcode, length)
        if error:
            return self._fail(_PROTOCOL_ERROR, error)
        stop = start + length
        if stop > end:
            self._keep(data, pos, stop - pos)
            return -1
        payload = apply_mask(data[start:stop], data[start - 4 : start])
        if opcode >= _CLOSE:
            if opcode == _CLOSE:
                self._receive_close(payload)
                return -1
            if opcode == _PING:
                self._receive_ping(payload)
            return stop
        if not self._receive_fragment(opcode, first, payload, room, messages):
            return -1
        return stop

    def _check_header(self, first: int, opcode: int, length: int) -> str:
        """Return what is wrong with the header of a frame (RFC 6455 sections 5.2, 5.4, 5.5), if anything."""
        # RFC 7692 section 6: RSV1 stands at the first frame of a compressed message.
        if first & 0x70:
            if first & 0x30:
                return "Invalid WebSocket frame: RSV2 and RSV3 must be clear"
            if self._compression is None or opcode not in (_TEXT, _BINARY):
                return "Invalid WebSocket frame: RSV1 must be clear"
        if opcode >= _CLOSE:
            if not first & 0x80:
                return "Invalid WebSocket frame: FIN must be set"
            if length > 125:
                return f"Invalid WebSocket frame: invalid payload length {length}"
        elif (opcode == _CONTINUATION) != (self._opcode != 0):
            return f"Invalid WebSocket frame: invalid opcode {opcode}"
        return ""

    def _receive_fragment(
        self, opcode: int, first: int, payload: bytes, room: int, messages: list[str | bytes]
    ) -> bool:
        """Take the content of a data frame; return whether to go on."""
        fin = first >= 0x80
        if opcode != _CONTINUATION:
            self._compressed = first & 0x40 != 0
            self._count = 0
        self._count += 1
        if self._count > self._limits.fragments:
            self._fail(_POLICY_VIOLATION, "Too many message fragments")
            return False
        compression = self._compression
        if self._compressed and compression is not None:
            try:
                inflated = compression.inflate(payload, fin, room)
            except zlib.error:
                self._fail(_INVALID_DATA, "Invalid WebSocket frame: invalid compressed data")
                return False
            if inflated is None:
                self._fail(_TOO_BIG, "Max payload size exceeded")
                return False
            payload = inflated
        message = self._message
        if opcode != _CONTINUATION and not fin:
            self._opcode = opcode
            self._message = bytearray(payload)
            self.eventful = True
            return True
        if message is not None:
            opcode = self._opcode
            message += payload
            if not fin:
                return True
            payload = bytes(message)
            self._message = None
            self._opcode = 0
        if opcode == _BINARY:
            messages.append(payload)
            return True
        try:
            messages.append(payload.decode())
        except UnicodeDecodeError:
            self._fail(_INVALID_DATA, "Invalid WebSocket frame: invalid UTF-8 sequence")
            return False
        return True

    def _receive_ping(self, payload: bytes) -> None:
        # RFC 6455 section 5.5.3: of several pings, only the most recent must be answered.
        self.eventful = True
        frame = _header(0x8A, len(payload)) + payload
        pongs = self._pongs
        if pongs is None:
            self._pongs = [frame]
        elif self.blocked or len(pongs) >= self._limits.pending_pongs:
            pongs[-1] = frame
        else:
            pongs.append(frame)

    def _receive_close(self, payload: bytes) -> None:
        # RFC 6455 section 5.5.1.
        code = _NO_STATUS
        reason = ""
        if payload:
            if len(payload) < 2:
                self._fail(_PROTOCOL_ERROR, "Invalid WebSocket frame: invalid payload length 1")
                return
            code = payload[0] << 8 | payload[1]
            if not _is_close_code(code):
                self._fail(_PROTOCOL_ERROR, f"Invalid WebSocket frame: invalid status code {code}")
                return
            try:
                reason = payload[2:].decode()
            except UnicodeDecodeError:
                self._fail(_INVALID_DATA, "Invalid WebSocket frame: invalid UTF-8 sequence")
                return
        self._send_close(payload)
        self._end(Closed(code, reason))

    def _send_close(self, payload: bytes) -> None:
        if not self.close_sent:
            self.close_sent = True
            self.eventful = True
            self._close = _header(0x88, len(payload)) + payload

    def _fail(self, code: int, error: str) -> int:
        """Fail the connection (RFC 6455 section 7.1.7): tell the peer the code, and read nothing more."""
        self._send_close(code.to_bytes(2, "big"))
        self._end(Closed(code, "", error))
        return -1

    def _end(self, closed: Closed) -> None:
        self.closed = closed
        self.eventful = True
        self._buffer = None
        self._message = None
        self._opcode = 0

    def receive_eof(self) -> None:
        """Take notice that the connection is gone."""
        if self.closed is None:
            self._end(Closed(_ABNORMAL))

    def data_to_send(self) -> bytes:
        """Return the control frames that are due, and forget them."""
        self.eventful = self.closed is not None or self._opcode != 0
        pongs = self._pongs
        if pongs is None:
            if not self._close:
                return b""
            data = self._close
        else:
            pongs.append(self._close)
            data = b"".join(pongs)
            self._pongs = None
        self._close = b""
        return data

    def encode(self, payload: bytes, binary: bool) -> bytes:
        """Return the frame of a message, compressed if that was negotiated; ``payload`` is UTF-8 for text.

        Frames must be sent in the order in which they were encoded.
        """
        compression = self._compression
        if compression is None or len(payload) < compression.threshold:
            return binary_frame(payload) if binary else text_frame(payload)
        payload = compression.deflate(payload)
        return _header(0xC2 if binary else 0xC1, len(payload)) + payload

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Queue a close frame, unless there was one.

        :param code: the close code; ``None`` for a frame without one.
        :raises ValueError: if the code must not be sent, or the reason is too long or has no code.
        """
        payload = b""
        if code is not None:
            payload = code.to_bytes(2, "big") + reason.encode() if _is_close_code(code) else b""
            if not payload or len(payload) > _REASON_MAX + 2:
                raise ValueError(f"invalid close code {code} or reason of more than {_REASON_MAX} bytes")
        elif reason:
            raise ValueError("a reason needs a code")
        self._send_close(payload)
