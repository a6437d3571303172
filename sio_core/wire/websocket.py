"""WebSocket as a server speaks it: the opening handshake, and frames (RFC 6455, RFC 7692).

:func:`accept` answers the handshake; then a :class:`WebSocket` takes the bytes of one connection and gives
messages. A plain frame (a whole, masked, unfragmented message, not compressed) is read here: a slice, an
unmasking, a decoding. So is the closing handshake as everybody does it. Every other frame goes, once it is whole, to
the protocol of ``websockets``, made when it is first needed: that judges control frames, reserved bits, masks, the
order of fragments and what is wrong with a close frame, and inflates. Sizes and numbers are bounded here, UTF-8 is
checked here.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from websockets.exceptions import InvalidHeaderFormat, PayloadTooBig, ProtocolError
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import EXTERNAL_CLOSE_CODES, CloseCode, Frame, Opcode
from websockets.headers import parse_extension
from websockets.protocol import SERVER, Protocol
from websockets.utils import accept_key

from sio_core.limits import Limits
from sio_core.wire.message import Request, header_line

try:
    from websockets.speedups import apply_mask
except ImportError:  # there are wheels without the extension
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


_DEFAULT_WINDOW_BITS: Final = 12
# RFC 7692 section 7.2.3.4: a block with the bit BFINAL, here without content.
_FINAL_BLOCK: Final = b"\x03\x00"


class Compression:
    """The negotiated permessage-deflate of one connection.

    :ivar threshold: messages shorter than this many bytes are sent as they are.
    """

    __slots__ = ("_deflate", "_extension", "_parameters", "threshold")

    def __init__(self, deflate: Deflate, parameters: dict[str, int]) -> None:
        self._deflate: Deflate = deflate
        self._parameters: dict[str, int] = parameters
        self._extension: PerMessageDeflate | None = None
        # With context takeover the peer may refer to any message before, so all are compressed.
        self.threshold: int = deflate.threshold if "server_no_context_takeover" in parameters else 0

    @property
    def extension(self) -> PerMessageDeflate:
        """The extension of ``websockets``, made when first needed: its windows are most of a connection's memory."""
        extension = self._extension
        if extension is None:
            parameters = self._parameters
            extension = self._extension = PerMessageDeflate(
                remote_no_context_takeover="client_no_context_takeover" in parameters,
                local_no_context_takeover="server_no_context_takeover" in parameters,
                remote_max_window_bits=parameters.get("client_max_window_bits", 15),
                local_max_window_bits=parameters.get("server_max_window_bits", _DEFAULT_WINDOW_BITS),
                compress_settings={"level": self._deflate.level, "memLevel": self._deflate.mem_level},
            )
        return extension

    def renew(self, fin: bool) -> None:
        """Forget a stream that a final block has ended (RFC 7692 section 7.2.3.4).

        Nothing that follows in its message counts, and the next message begins anew; zlib would collect what
        follows, without bound, and read nothing more.

        :param fin: whether the frame just read was the last of its message.
        """
        extension = self.extension
        # Without context takeover there is none between messages.
        decoder = getattr(extension, "decoder", None)
        if decoder is not None and decoder.eof:
            extension.decoder = zlib.decompressobj(-extension.remote_max_window_bits)
            if not fin:
                extension.decoder.decompress(_FINAL_BLOCK)


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
        f"Sec-WebSocket-Accept: {accept_key(key)}\r\n".encode(),
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
    text = _EXTENSION
    for name, bits in offer.items():
        text += f"; {name}={bits}" if bits else f"; {name}"
    return text, Compression(deflate, offer)


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
    """Return the header of an unmasked frame that is not short (RFC 6455 section 5.2)."""
    if length < _LONG:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")


# RFC 6455 section 5.5.
_CONTROL_MAX: Final = 125

_CLOSE: Final = 0x88
_CLOSE_CODES: Final = frozenset([int(code) for code in EXTERNAL_CLOSE_CODES])


def _is_close_code(code: int) -> bool:
    """Say whether a close frame may carry ``code`` (RFC 6455 section 7.4)."""
    return code in _CLOSE_CODES or 3000 <= code < 5000


def _close_frame(payload: bytes) -> bytes:
    return bytes((_CLOSE, len(payload))) + payload


class Closed:
    """Why nothing more will be read.

    :ivar code: the peer's close code; 1005 if its frame had none, 1006 if there was no frame; after a failure
        the code sent to it.
    :ivar reason: the peer's reason.
    :ivar error: what the peer did wrong; empty if it closed, or the connection was lost.
    """

    __slots__ = ("code", "error", "reason")

    def __init__(self, code: int, reason: str = "", error: str = "") -> None:
        self.code: int = int(code)
        self.reason: str = reason
        self.error: str = error

    def __repr__(self) -> str:
        return f"<Closed {self.code} {self.error or self.reason}>"


# What ws says, for what websockets says.
_TOO_BIG: Final = "Max payload size exceeded"
_INVALID: Final = "Invalid WebSocket frame: "
_INVALID_UTF8: Final = _INVALID + "invalid UTF-8 sequence"
_WORDS: Final = {
    "unexpected continuation frame": "invalid opcode",
    "expected a continuation frame": "invalid opcode",
    "incorrect masking": "MASK must be set",
    "fragmented control frame": "FIN must be set",
    "reserved bits must be 0": "RSV1 must be clear",
    "RSV1 bit set in continuation frame": "RSV1 must be clear",
    "close frame too short": "invalid payload length 1",
    "decompression failed": "invalid compressed data",
}


def _refusal(error: Exception | None, frame: bytes) -> Closed:
    """Return how a connection ends of which ``websockets`` has refused a frame."""
    if isinstance(error, PayloadTooBig):
        return Closed(CloseCode.MESSAGE_TOO_BIG, "", _TOO_BIG)
    if isinstance(error, UnicodeDecodeError):
        return Closed(CloseCode.INVALID_DATA, "", _INVALID_UTF8)
    if not isinstance(error, ProtocolError):
        return Closed(CloseCode.INTERNAL_ERROR, "", "Internal error")
    words = _WORDS.get(str(error), str(error))
    if words == "invalid opcode":
        words += f" {frame[0] & 0x0F}"
    elif words == "invalid status code":
        words += f" {int.from_bytes(apply_mask(frame[6:8], frame[2:6]), 'big')}"
    elif words == "RSV1 must be clear" and frame[0] & 0x30:
        words = "RSV2 and RSV3 must be clear"
    return Closed(CloseCode.PROTOCOL_ERROR, "", _INVALID + words)


class WebSocket:
    """One open WebSocket, at the server.

    :ivar closed: set once nothing more will be read: the peer's close frame came, it broke a rule, or the
        connection is gone.
    :ivar close_sent: a close frame was handed out or waits in :meth:`data_to_send`.
    :ivar blocked: set by the caller while what it writes waits; pongs are then reduced to the newest.
    :ivar completed: a fragmented message has come to its end since the caller set this to ``False``.
    :ivar crowded: not every ping is answered, since more came than ``limits.pending_pongs``, or since ``blocked``.
    :ivar eventful: something but plain messages is going on: control frames, a fragmented message, the end.
    :ivar extended: an extension was negotiated, so messages are to be sent with :meth:`encode`.
    """

    __slots__ = (
        "_buffer",
        "_close",
        "_compression",
        "_count",
        "_limits",
        "_max_size",
        "_message",
        "_need",
        "_pongs",
        "_protocol",
        "_text",
        "blocked",
        "close_sent",
        "closed",
        "completed",
        "crowded",
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
        self._protocol: Protocol | None = None
        # The content of the fragmented message that is open, its number of frames, and whether it is text.
        self._message: bytearray | None = None
        self._count: int = 0
        self._text: bool = False
        self._pongs: list[bytes] | None = None
        self._close: bytes = b""
        self.blocked: bool = False
        self.close_sent: bool = False
        self.closed: Closed | None = None
        self.completed: bool = False
        self.crowded: bool = False
        self.eventful: bool = False
        self.extended: bool = self._compression is not None

    @property
    def fragment_open(self) -> bool:
        """Whether a fragmented message waits for its last frame."""
        return self._message is not None

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
            if not 0x81 <= first <= 0x82 or self._message is not None or length < 0:
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
                break
            stop = start + length
            if stop > end:
                self._keep(data, pos, stop - pos)
                return messages
            payload = apply_mask(data[start:stop], data[start - 4 : start])
            if first == 0x81:
                try:
                    messages.append(payload.decode())
                except UnicodeDecodeError:
                    self._fail(CloseCode.INVALID_DATA, _INVALID_UTF8)
                    return messages
            else:
                messages.append(payload)
            pos = stop
        if pos < end:
            self._read_frame(data, pos, messages)
        return messages

    def _keep(self, data: bytes, pos: int, need: int) -> int:
        """Keep the bytes from ``pos`` on until there are ``need`` of them."""
        self._buffer = bytearray(data[pos:] if pos else data)
        self._need = need
        return -1

    def _read_frame(self, data: bytes, pos: int, messages: list[str | bytes]) -> int:
        """Read the frame at ``pos`` (RFC 6455 section 5.2); return where the next begins, -1 to stop."""
        end = len(data)
        if end - pos < 2:
            return self._keep(data, pos, 2)
        first, second = data[pos], data[pos + 1]
        if second < 0x80 or first & 0x07 > 2:
            # Not masked, or an opcode that is reserved: refused for these two bytes.
            return self._hand_over(data, pos, pos + 2, messages)
        control = first & 0x08 != 0
        length = second & 0x7F
        start = pos + 6
        if length > _CONTROL_MAX:
            if control:
                return self._fail(CloseCode.PROTOCOL_ERROR, f"{_INVALID}invalid payload length {length}")
            start += 2 if length == 126 else 8
            if end < start - 4:
                return self._keep(data, pos, start - 4 - pos)
            length = int.from_bytes(data[pos + 2 : start - 4], "big")
        message = self._message
        if not control and length > self._max_size - (0 if message is None else len(message)):
            return self._fail(CloseCode.MESSAGE_TOO_BIG, _TOO_BIG)
        stop = start + length
        if stop > end:
            return self._keep(data, pos, stop - pos)
        if first == _CLOSE and self._protocol is None and self._receive_close(data, start, stop):
            return -1
        return self._hand_over(data, pos, stop, messages)

    def _receive_close(self, data: bytes, start: int, stop: int) -> bool:
        """Read a close frame and answer it (RFC 6455 section 5.5.1); ``False`` if there is something wrong with it."""
        payload = apply_mask(data[start:stop], data[start - 4 : start])
        code: int = CloseCode.NO_STATUS_RCVD.value
        reason = ""
        if payload:
            code = int.from_bytes(payload[:2], "big")
            try:
                reason = payload[2:].decode()
            except UnicodeDecodeError:
                return False
            if len(payload) < 2 or not _is_close_code(code):
                return False
        if not self.close_sent:
            self._close = _close_frame(payload)
            self.close_sent = True
        self._end(Closed(code, reason))
        return True

    def _get_protocol(self) -> Protocol:
        protocol = self._protocol
        if protocol is None:
            # It counts control frames as a part of the message they come within. What is received is measured here.
            protocol = self._protocol = Protocol(SERVER, max_size=self._max_size + _CONTROL_MAX)
            if self._compression is not None:
                protocol.extensions = [self._compression.extension]
            if self.close_sent:
                protocol.send_close()
                protocol.data_to_send()
        return protocol

    def _hand_over(self, data: bytes, pos: int, stop: int, messages: list[str | bytes]) -> int:
        """Have ``websockets`` read the frame from ``pos`` to ``stop``; return ``stop``, or -1 to stop."""
        if self._message is not None and data[pos] & 0x0F == Opcode.CLOSE:
            # RFC 6455 section 5.4: it may come within a fragmented message; websockets refuses that.
            self._message = None
            self._forget_protocol()
        protocol = self._get_protocol()
        protocol.receive_data(data[pos:stop])
        events = protocol.events_received()
        if protocol.eof_sent:
            close = protocol.close_rcvd
            if close is None:
                return self._end(_refusal(protocol.parser_exc, data[pos:stop]))
            # RFC 6455 section 5.5.1: it has answered.
            self._take_close(protocol)
            return self._end(Closed(close.code, close.reason))
        if data[pos] & 0x08:
            pong = b"".join(protocol.data_to_send())
            if pong:
                self._queue_pong(pong)
            return stop
        (frame,) = events
        assert isinstance(frame, Frame)
        if self._compression is not None:
            self._compression.renew(frame.fin)
        payload = bytes(frame.data)
        message = self._message
        if message is None:
            self._text = frame.opcode is Opcode.TEXT
            self._count = 0
            if not frame.fin:
                message = self._message = bytearray()
                self.eventful = True
        self._count += 1
        if self._count > self._limits.fragments:
            return self._fail(CloseCode.POLICY_VIOLATION, "Too many message fragments")
        if message is not None:
            message += payload
        if len(payload if message is None else message) > self._max_size:
            return self._fail(CloseCode.MESSAGE_TOO_BIG, _TOO_BIG)
        if not frame.fin:
            return stop
        if message is not None:
            payload = bytes(message)
            self._message = None
            self.completed = True
        try:
            messages.append(payload.decode() if self._text else payload)
        except UnicodeDecodeError:
            return self._fail(CloseCode.INVALID_DATA, _INVALID_UTF8)
        return stop

    def _queue_pong(self, pong: bytes) -> None:
        # RFC 6455 section 5.5.3: of several pings, only the most recent must be answered.
        self.eventful = True
        pongs = self._pongs
        if pongs is None:
            self._pongs = [pong]
        elif self.blocked or len(pongs) >= self._limits.pending_pongs:
            pongs[-1] = pong
            self.crowded = True
        else:
            pongs.append(pong)

    def _fail(self, code: int, error: str) -> int:
        return self._end(Closed(code, "", error))

    def _take_close(self, protocol: Protocol) -> None:
        self._close += b"".join(protocol.data_to_send())
        self.close_sent = True
        self.eventful = True

    def _end(self, closed: Closed) -> int:
        """Read nothing more; tell the peer the code if it has broken a rule (RFC 6455 section 7.1.7)."""
        if closed.error and not self.close_sent:
            # The code alone, as ws sends it; websockets would add its words.
            self._close = _close_frame(closed.code.to_bytes(2, "big"))
            self.close_sent = True
        self.closed = closed
        self.eventful = True
        self._buffer = None
        self._message = None
        self._forget_protocol()
        return -1

    def _forget_protocol(self) -> None:
        if self._protocol is not None:
            # Its parser refers to it: only a garbage collection would free the two.
            self._protocol.parser.close()
            self._protocol = None

    def receive_eof(self) -> None:
        """Take notice that the connection is gone."""
        if self.closed is None:
            self._end(Closed(CloseCode.ABNORMAL_CLOSURE))

    def data_to_send(self) -> bytes:
        """Return the control frames that are due, and forget them."""
        self.eventful = self.closed is not None or self._message is not None
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
        frame = Frame(Opcode.BINARY if binary else Opcode.TEXT, payload)
        return frame.serialize(mask=False, extensions=[compression.extension])

    def close(self, code: int | None = None, reason: str = "") -> None:
        """Queue a close frame, unless there was one.

        :param code: the close code; ``None`` for a frame without one.
        :raises ValueError: if the code must not be sent, or the reason is too long or has no code.
        """
        if self.close_sent:
            return
        payload = b""
        if code is not None:
            if not _is_close_code(code):
                raise ValueError(f"invalid close code {code}")
            payload = code.to_bytes(2, "big") + reason.encode()
        elif reason:
            raise ValueError("the reason of a close frame needs a code")
        if len(payload) > _CONTROL_MAX:
            raise ValueError("the reason of a close frame is too long")
        if self._protocol is not None:
            self._protocol.send_close(code, reason)
            self._take_close(self._protocol)
        else:
            self._close = _close_frame(payload)
            self.close_sent = True
            self.eventful = True
