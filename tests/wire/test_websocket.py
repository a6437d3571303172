"""The WebSocket handshake and frames: literal bytes, every limit, and the Sans-I/O half of ``websockets`` as oracle."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tracemalloc
import zlib
from ast import literal_eval
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import DATA_OPCODES, Close, Frame, Opcode
from websockets.protocol import CLIENT, SERVER, Protocol
from websockets.speedups import apply_mask

from sio_core.limits import Limits
from sio_core.wire.http import HttpReader
from sio_core.wire.message import Request
from sio_core.wire.websocket import (
    Accepted,
    Compression,
    Deflate,
    Rejected,
    WebSocket,
    accept,
    binary_frame,
    text_frame,
)

LIMITS = Limits()
MASK = b"\x37\xfa\x21\x3d"
CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
RSV1, RSV2, RSV3 = 0x40, 0x20, 0x10


def test_without_the_extension_of_websockets_frames_are_unmasked_all_the_same() -> None:
    program = (
        "import sys; sys.modules['websockets.speedups'] = None; "
        "from sio_core.wire import websocket; "
        "assert websocket.apply_mask.__module__ == 'websockets.utils'; "
        "print(websocket.apply_mask(bytes([1, 2, 3, 4, 5]), bytes([0, 1, 2, 3])))"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert literal_eval(ran.stdout) == bytes([1, 3, 1, 7, 5])


def frame(
    opcode: int,
    payload: bytes = b"",
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    length: int | None = None,
) -> bytes:
    """Return a frame as a client sends it; ``length`` is what the header claims."""
    claimed = len(payload) if length is None else length
    head = bytes([(0x80 if fin else 0) | rsv | opcode])
    bit = 0x80 if masked else 0
    if claimed < 126:
        head += bytes([bit | claimed])
    elif claimed < 65_536:
        head += bytes([bit | 126]) + claimed.to_bytes(2, "big")
    else:
        head += bytes([bit | 127]) + claimed.to_bytes(8, "big")
    return head + (MASK + apply_mask(payload, MASK) if masked else payload)


def fragments(opcode: int, *parts: bytes, rsv: int = 0) -> bytes:
    last = len(parts) - 1
    return b"".join(
        frame(CONT if index else opcode, part, fin=index == last, rsv=0 if index else rsv)
        for index, part in enumerate(parts)
    )


def deflated(payload: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


def websocket(max_size: int = 1_000, limits: Limits = LIMITS, *, deflate: bool = False) -> WebSocket:
    return WebSocket(max_size, limits, (compression(),) if deflate else ())


def compression(deflate: Deflate | None = None, offer: str = "permessage-deflate") -> Compression:
    accepted = accept(handshake(sec_websocket_extensions=offer), deflate=deflate or Deflate())
    assert isinstance(accepted, Accepted)
    (extension,) = accepted.extensions
    return extension


Outcome = tuple[list[str | bytes], bytes, tuple[int, str, str] | None]


def feed(ws: WebSocket, data: bytes, size: int = 0) -> Outcome:
    """Give ``data`` to ``ws``, ``size`` bytes at a time; return messages, what is sent, and how it closed."""
    messages: list[str | bytes] = []
    sent = b""
    step = size or len(data) or 1
    for start in range(0, len(data), step):
        messages += ws.receive_data(data[start : start + step])
        sent += ws.data_to_send()
    closed = ws.closed
    return messages, sent, None if closed is None else (closed.code, closed.reason, closed.error)


# The opening handshake


def handshake(method: str = "GET", upgrade: bool = True, **headers: str | None) -> Request:
    fields: dict[str, str | None] = {
        "host": "a",
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec_websocket_key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec_websocket_version": "13",
        **headers,
    }
    present = {name.replace("_", "-"): value for name, value in fields.items() if value is not None}
    return Request(method=method, headers=present, upgrade=upgrade)


ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
)


def response(request: Request, deflate: Deflate | None = None) -> bytes:
    outcome = accept(request, deflate=deflate)
    if isinstance(outcome, Rejected):
        return outcome.encode()
    return outcome.response


def rejection(status: bytes, text: bytes, header: bytes = b"") -> bytes:
    return (
        b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Type: text/html\r\nContent-Length: %d\r\n%s\r\n%s"
        % (status, len(text), header, text)
    )


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        (handshake(), b""),
        (handshake(sec_websocket_version="8"), b""),
        (handshake(sec_websocket_protocol="chat"), b"Sec-WebSocket-Protocol: chat\r\n"),
        (handshake(sec_websocket_protocol="b, a"), b"Sec-WebSocket-Protocol: b\r\n"),
        (handshake(sec_websocket_protocol="b,a"), b"Sec-WebSocket-Protocol: b\r\n"),
        # Without the option nobody looks at the offers.
        (handshake(sec_websocket_extensions="permessage-deflate"), b""),
        (handshake(sec_websocket_extensions="(junk"), b""),
    ],
)
def test_accepted(request_: Request, line: bytes) -> None:
    outcome = accept(request_)
    assert isinstance(outcome, Accepted)
    assert outcome.response == ACCEPTED + line + b"\r\n"
    assert outcome.extensions == ()


def test_the_upgrade_is_named_in_any_case() -> None:
    request = handshake()
    request.headers["upgrade"] = "WebSocket"
    assert isinstance(accept(request), Accepted)


METHOD = rejection(b"405 Method Not Allowed", b"Invalid HTTP method")
UPGRADE = rejection(b"400 Bad Request", b"Invalid Upgrade header")
KEY = rejection(b"400 Bad Request", b"Missing or invalid Sec-WebSocket-Key header")
VERSION = rejection(
    b"400 Bad Request",
    b"Missing or invalid Sec-WebSocket-Version header",
    b"Sec-WebSocket-Version: 13, 8\r\n",
)
PROTOCOL = rejection(b"400 Bad Request", b"Invalid Sec-WebSocket-Protocol header")
EXTENSIONS = rejection(b"400 Bad Request", b"Invalid or unacceptable Sec-WebSocket-Extensions header")


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (handshake("POST"), METHOD),
        (handshake("HEAD"), METHOD),
        (handshake(upgrade=False), UPGRADE),
        *[(handshake(sec_websocket_key=key), KEY) for key in (
            None, "", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25jZQ=", "dGhlIHNhbXBsZSBub25jZQ===",
            "!GhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ==, dGhlIHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZSBub25jZQ==\n", "dGhlIHNhbXBsZSBub25j\xe4Q==",
        )],
        *[(handshake(sec_websocket_version=version), VERSION) for version in (
            None, "", "0", "7", "14", "13, 8", "13.0", "+13", "1_3", "\xb9\xb3",
        )],
        *[(handshake(sec_websocket_protocol=protocol), PROTOCOL) for protocol in (
            "", " ", "a,a", "a, b,a", "a,,b", "a,", ",a", "a b", "\xe4", "a;b", '"a"',
        )],
    ],
)  # fmt: skip
def test_rejected(request_: Request, expected: bytes) -> None:
    assert response(request_) == expected


def test_a_rejection_is_three_values() -> None:
    outcome = accept(handshake(sec_websocket_version="7"))
    assert isinstance(outcome, Rejected)
    assert (outcome.status, outcome.reason) == (400, "Missing or invalid Sec-WebSocket-Version header")
    assert outcome.headers == [("Sec-WebSocket-Version", "13, 8")]
    assert repr(outcome) == "<Rejected 400 Missing or invalid Sec-WebSocket-Version header>"


@pytest.mark.parametrize("upgrade", ["h2c", "websocket, h2c", "", " websocket"])
def test_another_upgrade(upgrade: str) -> None:
    request = handshake()
    request.headers["upgrade"] = upgrade
    assert response(request) == UPGRADE


def test_further_headers() -> None:
    outcome = accept(handshake(sec_websocket_protocol="a"), headers=[("X", "1"), ("Set-Cookie", "io=2")])
    assert isinstance(outcome, Accepted)
    assert outcome.response == ACCEPTED + b"Sec-WebSocket-Protocol: a\r\nX: 1\r\nSet-Cookie: io=2\r\n\r\n"
    with pytest.raises(ValueError, match="invalid value"):
        accept(handshake(), headers=[("X", "1\r\nY: 2")])


def test_from_the_bytes_of_a_request() -> None:
    reader = HttpReader(LIMITS)
    reader.receive_data(
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n" + frame(TEXT, b"hi")
    )
    request = reader.events[0]
    assert isinstance(request, Request)
    assert response(request) == ACCEPTED + b"\r\n"
    assert websocket().receive_data(reader.rest) == ["hi"]


@pytest.mark.feature(17, 19, 20, 192)
@pytest.mark.parametrize(
    ("offer", "options", "answer"),
    [
        # What ws 8.21 answers; None: no extension, but a connection.
        ("permessage-deflate", {}, ""),
        ("permessage-deflate; client_max_window_bits", {}, ""),
        ("permessage-deflate; client_max_window_bits=10", {}, "; client_max_window_bits=10"),
        ("permessage-deflate; server_max_window_bits=10", {}, "; server_max_window_bits=10"),
        ('permessage-deflate; client_max_window_bits="12"', {}, "; client_max_window_bits=12"),
        ("permessage-deflate; server_no_context_takeover; client_no_context_takeover", {},
         "; server_no_context_takeover; client_no_context_takeover"),
        ("foo", {}, None),
        ("foo, permessage-deflate", {}, ""),
        ("permessage-deflate;server_max_window_bits=9, permessage-deflate", {}, "; server_max_window_bits=9"),
        ("permessage-deflate", {"server_no_context_takeover": True, "client_no_context_takeover": True},
         "; server_no_context_takeover; client_no_context_takeover"),
        ("permessage-deflate; server_no_context_takeover", {"server_no_context_takeover": True},
         "; server_no_context_takeover"),
        ("permessage-deflate; client_max_window_bits", {"client_max_window_bits": 11}, "; client_max_window_bits=11"),
        ("permessage-deflate; client_max_window_bits=15", {"client_max_window_bits": 11},
         "; client_max_window_bits=11"),
        ("permessage-deflate; server_max_window_bits=15", {"server_max_window_bits": 10},
         "; server_max_window_bits=10"),
        ("permessage-deflate", {"server_max_window_bits": 10}, "; server_max_window_bits=10"),
        ("permessage-deflate; server_max_window_bits=9, permessage-deflate; server_max_window_bits=11",
         {"server_max_window_bits": 10}, "; server_max_window_bits=10"),
        # zlib cannot write with a window of 8 bits, so that offer is passed over.
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", {}, ""),
        # An empty element is no offer (RFC 9110 section 5.6.1.2).
        ("permessage-deflate,,", {}, ""),
    ],
)  # fmt: skip
def test_negotiation(offer: str, options: dict[str, Any], answer: str | None) -> None:
    line = "" if answer is None else f"Sec-WebSocket-Extensions: permessage-deflate{answer}\r\n"
    request = handshake(sec_websocket_extensions=offer)
    assert response(request, Deflate(**options)) == ACCEPTED + line.encode() + b"\r\n"


@pytest.mark.parametrize(
    ("offer", "options"),
    [
        ("permessage-deflate; foo", {}),
        ("permessage-deflate, permessage-deflate; foo", {}),
        ("permessage-deflate; server_max_window_bits", {}),
        ("permessage-deflate; server_max_window_bits=16", {}),
        ("permessage-deflate; server_max_window_bits=07", {}),
        ("permessage-deflate; server_max_window_bits=8", {}),
        ("permessage-deflate; client_max_window_bits=7", {}),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits", {}),
        ("permessage-deflate; server_no_context_takeover=1", {}),
        ("permessage-deflate; server_no_context_takeover", {"server_no_context_takeover": False}),
        ("permessage-deflate; server_max_window_bits=9", {"server_max_window_bits": 10}),
        ("permessage-deflate", {"client_max_window_bits": 11}),
        ("permessage-deflate; client_max_window_bits=10", {"client_max_window_bits": 11}),
        ("permessage-deflate; =", {}),
        ("permessage-deflate foo", {}),
        ("(", {}),
        ("", {}),
    ],
)
def test_offers_that_are_refused(offer: str, options: dict[str, Any]) -> None:
    assert response(handshake(sec_websocket_extensions=offer), Deflate(**options)) == EXTENSIONS


@pytest.mark.parametrize(
    "value", ["(" * 8_000, "a;" * 4_000, "a," * 4_000, 'a; b="' + "\\a" * 4_000, " " * 8_000]
)
def test_long_offers_are_read_in_linear_time(value: str) -> None:
    accept(handshake(sec_websocket_extensions=value, sec_websocket_protocol=value[:7_000]), deflate=Deflate())


@pytest.mark.feature(17, 22)
@pytest.mark.parametrize(
    "options",
    [
        {"threshold": -1},
        {"level": 0},
        {"level": 10},
        {"mem_level": 0},
        {"mem_level": 10},
        {"server_max_window_bits": 8},
        {"server_max_window_bits": 16},
        {"client_max_window_bits": 7},
        {"client_max_window_bits": 16},
    ],
)
def test_options_out_of_range(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=f"deflate: {name} must be between"):
        Deflate(**options)


def test_options_that_are_no_integers() -> None:
    for value in (9.5, "9"):
        # Compiled, it is a TypeError.
        with pytest.raises((TypeError, ValueError)):
            Deflate(client_max_window_bits=value)  # type: ignore[arg-type]


def test_options_are_frozen() -> None:
    with pytest.raises(AttributeError):
        Deflate().level = 1  # type: ignore[misc]


# Frames from the client


@pytest.mark.parametrize("size", [0, 1, 2, 3, 5, 7])
@pytest.mark.parametrize(
    ("data", "messages"),
    [
        (b"", []),
        (b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", ["Hello"]),
        (frame(TEXT), [""]),
        (frame(BINARY), [b""]),
        (frame(BINARY, b"\x00\xff"), [b"\x00\xff"]),
        (frame(TEXT, "äöü €\U0001f600\0".encode()), ["äöü €\U0001f600\0"]),
        (frame(TEXT, b"a") + frame(BINARY, b"b") + frame(TEXT, b"c"), ["a", b"b", "c"]),
        *[(frame(TEXT, b"x" * n) + frame(BINARY, b"y"), ["x" * n, b"y"]) for n in (124, 125, 126, 127, 999, 1_000)],
        (b"\x82\xfe\x00\x01" + MASK + apply_mask(b"a", MASK), [b"a"]),
        (b"\x82\xff\x00\x00\x00\x00\x00\x00\x00\x01" + MASK + apply_mask(b"a", MASK), [b"a"]),
        (fragments(TEXT, b"a", b"b", b"c"), ["abc"]),
        (fragments(BINARY, b"a", b"", b""), [b"a"]),
        (fragments(TEXT, b"", b""), [""]),
        (fragments(TEXT, b"\xe2", b"\x82", b"\xac"), ["€"]),
        (fragments(TEXT, b"x" * 500, b"y" * 500) + frame(TEXT, b"z"), ["x" * 500 + "y" * 500, "z"]),
        (frame(PONG) + frame(TEXT, b"a") + frame(PONG, b"x" * 125), ["a"]),
        (frame(TEXT, b"a", fin=False) + frame(PONG, b"p") + frame(CONT, b"b"), ["ab"]),
    ],
)  # fmt: skip
def test_messages(data: bytes, messages: list[str | bytes], size: int) -> None:
    assert feed(websocket(), data, size) == (messages, b"", None)


@pytest.mark.parametrize("size", [0, 1, 4])
@pytest.mark.parametrize(
    ("data", "messages", "sent"),
    [
        (frame(PING), [], b"\x8a\x00"),
        (frame(PING, b"abc"), [], b"\x8a\x03abc"),
        (frame(PING, b"x" * 125), [], b"\x8a\x7d" + b"x" * 125),
        (frame(PING, b"1") + frame(TEXT, b"a") + frame(PING, b"2"), ["a"], b"\x8a\x011\x8a\x012"),
        (frame(TEXT, b"a", fin=False) + frame(PING, b"p") + frame(CONT, b"b"), ["ab"], b"\x8a\x01p"),
        # They are not a part of the message, and not bound by its size.
        (frame(TEXT, b"a" * 1_000, fin=False) + frame(PING, b"p") + frame(CONT), ["a" * 1_000], b"\x8a\x01p"),
    ],
)
def test_pings(data: bytes, messages: list[str | bytes], sent: bytes, size: int) -> None:
    assert feed(websocket(), data, size) == (messages, sent, None)


@pytest.mark.parametrize("size", [0, 1, 4])
@pytest.mark.parametrize(
    ("payload", "code", "reason"),
    [
        (b"", 1005, ""),
        (b"\x03\xe8", 1000, ""),
        (b"\x03\xe9bye", 1001, "bye"),
        (b"\x03\xe8" + "ä".encode(), 1000, "ä"),
        (b"\x03\xe8" + b"r" * 123, 1000, "r" * 123),
        *[
            (code.to_bytes(2, "big"), code, "")
            for code in (1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999)
        ],
    ],
)
def test_the_peer_closes(payload: bytes, code: int, reason: str, size: int) -> None:
    ws = websocket()
    data = frame(TEXT, b"a") + frame(CLOSE, payload) + frame(TEXT, b"late") + frame(PING)
    expected = bytes([0x88, len(payload)]) + payload
    assert feed(ws, data, size) == (["a"], expected, (code, reason, ""))
    assert ws.close_sent
    ws.receive_eof()
    assert (ws.closed is not None and ws.closed.code) == code


def test_the_peer_closes_within_a_message() -> None:
    # RFC 6455 section 5.4: control frames may come between fragments.
    ws = websocket()
    data = frame(TEXT, b"a", fin=False) + frame(CLOSE, b"\x03\xe8bye")
    messages, sent, closed = feed(ws, data)
    assert (messages, closed) == ([], (1000, "bye", ""))
    ((opcode, payload),) = received(client(), sent)
    assert opcode is Opcode.CLOSE
    assert Close.parse(payload) == Close(1000, "bye")
    assert ws.close_sent
    assert not ws.fragment_open


INVALID = "Invalid WebSocket frame: "


@pytest.mark.parametrize("size", [0, 1, 3])
@pytest.mark.parametrize(
    ("data", "code", "error"),
    [
        # The words and codes of ws 8.21.
        *[(frame(opcode), 1002, f"{INVALID}invalid opcode {opcode}") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)],
        (frame(TEXT, b"a", masked=False), 1002, f"{INVALID}MASK must be set"),
        (frame(PING, masked=False), 1002, f"{INVALID}MASK must be set"),
        (frame(TEXT, b"a", rsv=RSV1), 1002, f"{INVALID}RSV1 must be clear"),
        (frame(TEXT, b"a", rsv=RSV2), 1002, f"{INVALID}RSV2 and RSV3 must be clear"),
        (frame(BINARY, b"a", rsv=RSV3), 1002, f"{INVALID}RSV2 and RSV3 must be clear"),
        (frame(PING, rsv=RSV1), 1002, f"{INVALID}RSV1 must be clear"),
        (frame(CLOSE, rsv=RSV2), 1002, f"{INVALID}RSV2 and RSV3 must be clear"),
        (frame(PING, fin=False), 1002, f"{INVALID}FIN must be set"),
        (frame(CLOSE, fin=False), 1002, f"{INVALID}FIN must be set"),
        (frame(PING, b"x" * 126), 1002, f"{INVALID}invalid payload length 126"),
        (frame(PONG, b"x" * 126), 1002, f"{INVALID}invalid payload length 126"),
        (frame(CLOSE, b"\x03\xe8" + b"x" * 124), 1002, f"{INVALID}invalid payload length 126"),
        (frame(CONT, b"a"), 1002, f"{INVALID}invalid opcode 0"),
        (frame(CONT, b"a", fin=False), 1002, f"{INVALID}invalid opcode 0"),
        (frame(TEXT, b"a", fin=False) + frame(TEXT, b"b"), 1002, f"{INVALID}invalid opcode 1"),
        (frame(TEXT, b"a", fin=False) + frame(BINARY, b"b", fin=False), 1002, f"{INVALID}invalid opcode 2"),
        (frame(CLOSE, b"\x03"), 1002, f"{INVALID}invalid payload length 1"),
        *[(frame(CLOSE, status.to_bytes(2, "big")), 1002, f"{INVALID}invalid status code {status}")
          for status in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535)],
        (frame(CLOSE, b"\x03\xe8\xff"), 1007, f"{INVALID}invalid UTF-8 sequence"),
        (frame(CLOSE, b"\x03\xe7\xff"), 1007, f"{INVALID}invalid UTF-8 sequence"),
        *[(frame(TEXT, text), 1007, f"{INVALID}invalid UTF-8 sequence")
          for text in (b"\xff", b"a\x80", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82")],
        (fragments(TEXT, b"\xe2", b"\x28\xa1"), 1007, f"{INVALID}invalid UTF-8 sequence"),
        (fragments(TEXT, b"a", b"\xff"), 1007, f"{INVALID}invalid UTF-8 sequence"),
        (frame(BINARY, b"x" * 1_001), 1009, "Max payload size exceeded"),
        (frame(TEXT, b"x" * 1_001), 1009, "Max payload size exceeded"),
        (fragments(TEXT, b"x" * 1_000, b"x"), 1009, "Max payload size exceeded"),
        (fragments(TEXT, b"x" * 600, b"x" * 400, b"x"), 1009, "Max payload size exceeded"),
    ],
)  # fmt: skip
def test_failures(data: bytes, code: int, error: str, size: int) -> None:
    ws = websocket()
    before, after = frame(TEXT, b"a"), frame(TEXT, b"late") + frame(PING) + frame(CLOSE)
    expected = (["a"], b"\x88\x02" + code.to_bytes(2, "big"), (code, "", error))
    assert feed(ws, before + data + after, size) == expected
    assert ws.close_sent
    assert not ws.fragment_open
    assert ws.receive_data(after) == []
    ws.receive_eof()
    ws.close()
    assert ws.data_to_send() == b""
    assert ws.closed is not None
    assert ws.closed.error == error
    assert error in repr(ws.closed)


@pytest.mark.parametrize(
    ("head", "code"),
    [
        # Refused before the payload is there.
        (frame(BINARY, length=1_001)[:4], 1009),
        (frame(BINARY, length=65_536)[:10], 1009),
        (frame(BINARY, length=2**63 - 1)[:10], 1009),
        (frame(BINARY, length=2**64 - 1)[:10], 1009),
        (frame(CONT, length=2**63)[:10], 1009),
        (frame(TEXT, b"x" * 900, fin=False) + frame(CONT, length=101)[:2], 1009),
        (frame(TEXT, b"x" * 900, fin=False) + frame(CONT, length=101)[:1], None),
        (frame(TEXT, b"x" * 800, fin=False) + frame(CONT, length=201)[:4], 1009),
        (frame(TEXT, b"x" * 800, fin=False) + frame(CONT, length=201)[:3], None),
        (frame(PING, length=126)[:2], 1002),
        (frame(CLOSE, length=2**63)[:2], 1002),
        (frame(TEXT, length=10, masked=False)[:2], 1002),
        (frame(PING, length=10, masked=False)[:2], 1002),
        (frame(3, length=10)[:2], 1002),
        (frame(3, length=10)[:1], None),
        (frame(BINARY, length=1_000)[:4], None),
        # These websockets judges with their last byte.
        (frame(TEXT, length=10, rsv=RSV1)[:6], None),
        (frame(TEXT, b"x" * 10, rsv=RSV1), 1002),
        (frame(CONT, length=10)[:6], None),
        (frame(CONT, b"x" * 10), 1002),
    ],
)
def test_headers_are_judged_early(head: bytes, code: int | None) -> None:
    for size in (0, 1):
        ws = websocket()
        _, sent, closed = feed(ws, head, size)
        if code is None:
            assert (sent, closed) == (b"", None)
        else:
            assert closed is not None
            assert closed[0] == code
            assert sent == b"\x88\x02" + code.to_bytes(2, "big")


def test_exactly_as_large_as_allowed() -> None:
    for data in (frame(BINARY, b"x" * 1_000), fragments(BINARY, b"x" * 999, b"x", b"")):
        assert feed(websocket(), data) == ([b"x" * 1_000], b"", None)
    assert feed(websocket(0), frame(TEXT)) == ([""], b"", None)
    assert feed(websocket(0), frame(PING, b"a")) == ([], b"\x8a\x01a", None)
    assert feed(websocket(0), frame(TEXT, b"a"))[2] == (1009, "", "Max payload size exceeded")


def test_number_of_fragments() -> None:
    limits = Limits(fragments=16)
    empty = frame(TEXT, fin=False) + frame(CONT, fin=False) * 14
    assert feed(websocket(limits=limits), (empty + frame(CONT)) * 3) == ([""] * 3, b"", None)
    assert feed(websocket(limits=limits), empty + frame(CONT, fin=False))[2] is None
    for fin in (True, False):
        data = empty + frame(CONT, fin=False) + frame(CONT, fin=fin)
        expected = (1008, "", "Too many message fragments")
        assert feed(websocket(limits=limits), data) == ([], b"\x88\x02\x03\xf0", expected)


def test_many_plain_messages_are_no_fragments() -> None:
    ws = websocket()
    data = frame(TEXT, b"a") * 500
    assert sum(len(ws.receive_data(data)) for _ in range(100)) == 50_000


def test_fragment_open() -> None:
    ws = websocket()
    for data, open_ in (
        (frame(TEXT, b"a"), False),
        (frame(TEXT, b"a", fin=False), True),
        (frame(PING), True),
        (frame(CONT, b"b", fin=False), True),
        (frame(CONT, b"c")[:3], True),
        (frame(CONT, b"c")[3:], False),
    ):
        ws.receive_data(data)
        assert ws.fragment_open == open_


def test_eventful() -> None:
    ws = websocket()

    def after(data: bytes) -> tuple[bool, bool]:
        ws.receive_data(data)
        before = ws.eventful
        ws.data_to_send()
        return before, ws.eventful

    assert after(frame(TEXT, b"a") + frame(PONG)) == (False, False)
    assert after(frame(PING)) == (True, False)
    assert after(frame(TEXT, b"a", fin=False)) == (True, True)
    assert after(frame(TEXT, b"a", fin=False)[:0]) == (True, True)
    assert after(frame(CONT, b"a")) == (True, False)
    assert after(frame(CLOSE)) == (True, True)
    ws = websocket()
    ws.close()
    assert ws.eventful
    ws = websocket()
    ws.receive_eof()
    assert ws.eventful


# Memory and time


def peak(action: Any) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_large_message_in_small_reads() -> None:
    payload = os.urandom(2_000_000)
    data = frame(BINARY, payload)
    ws = websocket(len(payload))
    messages: list[str | bytes] = []

    def read() -> None:
        for start in range(0, len(data), 1_000):
            messages.extend(ws.receive_data(data[start : start + 1_000]))

    # The buffer, its copy, the masked and the plain payload.
    assert peak(read) < 4.5 * len(payload)
    assert messages == [payload]


def test_a_declared_length_allocates_nothing() -> None:
    ws = websocket(10**9)
    data = frame(BINARY, length=10**9)
    assert peak(lambda: feed(ws, data + b"x" * 100)) < 10_000


@pytest.mark.parametrize("size", [0, 1, 16])
def test_fragments_are_kept_as_bytes_only(size: int) -> None:
    ws = websocket(10_000)
    data = frame(BINARY, b"x" * size, fin=False) + frame(CONT, b"x" * size, fin=False) * 4_000
    size_of_object = 33
    assert peak(lambda: ws.receive_data(data[: len(data) // 2])) < 4_000 * 16 + len(data) + size_of_object
    if size < 2:
        ws.receive_data(data[len(data) // 2 :])
        assert ws.fragment_open


def test_a_flood_of_fragments_keeps_nothing() -> None:
    ws = websocket(10**6)
    data = frame(BINARY, fin=False) + frame(CONT, fin=False) * 100_000
    assert peak(lambda: ws.receive_data(data)) < 50_000
    assert ws.closed is not None
    assert ws.closed.code == 1008


def test_pongs_are_bounded() -> None:
    ws = websocket(limits=Limits(pending_pongs=3))
    ws.receive_data(b"".join(frame(PING, b"%d" % number) for number in range(2)))
    assert ws.data_to_send() == b"\x8a\x010\x8a\x011"
    ws.receive_data(b"".join(frame(PING, b"%d" % number) for number in range(3)))
    assert ws.data_to_send() == b"\x8a\x010\x8a\x011\x8a\x012"
    ws.receive_data(b"".join(frame(PING, b"%d" % number) for number in range(10)))
    assert ws.data_to_send() == b"\x8a\x010\x8a\x011\x8a\x019"
    assert ws.data_to_send() == b""


def test_a_blocked_connection_answers_the_newest_ping_only() -> None:
    ws = websocket()
    ws.blocked = True
    for number in range(10):
        ws.receive_data(frame(PING, b"%d" % number))
    ws.blocked = False
    assert ws.data_to_send() == b"\x8a\x019"
    ws.receive_data(frame(PING, b"a") + frame(PING, b"b"))
    assert ws.data_to_send() == b"\x8a\x01a\x8a\x01b"


def test_a_flood_of_pings_keeps_nothing() -> None:
    ws = websocket()
    data = frame(PING, b"x" * 125) * 1_000

    def flood() -> None:
        for _ in range(10):
            ws.receive_data(data)

    assert peak(flood) < 20_000


def protocols() -> int:
    return sum(isinstance(thing, Protocol) for thing in gc.get_objects())


def test_plain_frames_need_no_protocol() -> None:
    before = protocols()
    ws = websocket()
    feed(ws, frame(TEXT, b"a" * 200) + frame(BINARY, b"b") + frame(TEXT), 3)
    ws.encode(b"a", False)
    assert protocols() == before
    feed(ws, frame(PING))
    assert protocols() == before + 1
    # And none waits for the garbage collector.
    gc.disable()
    try:
        feed(ws, frame(CLOSE))
        assert protocols() == before
    finally:
        gc.enable()


# Closing


def test_close() -> None:
    ws = websocket()
    assert ws.data_to_send() == b""
    ws.receive_data(frame(PING))
    ws.close()
    assert ws.close_sent
    assert ws.data_to_send() == b"\x8a\x00\x88\x00"
    ws.close(1001, "again")
    assert ws.data_to_send() == b""
    # Until the peer closes too, messages and pings still come; its close frame is not answered.
    assert ws.receive_data(frame(TEXT, b"a") + frame(PING)) == ["a"]
    assert ws.data_to_send() == b"\x8a\x00"
    assert ws.closed is None
    ws.receive_data(frame(CLOSE, b"\x03\xe8ok"))
    assert ws.data_to_send() == b""
    assert ws.closed is not None
    assert (ws.closed.code, ws.closed.reason, ws.closed.error) == (1000, "ok", "")
    assert repr(ws.closed) == "<Closed 1000 ok>"


def test_control_frames_after_close() -> None:
    ws = websocket()
    ws.close(1001)
    assert ws.receive_data(frame(PING, b"a") + frame(TEXT, b"b")) == ["b"]
    assert ws.data_to_send() == b"\x8a\x01a\x88\x02\x03\xe9"
    ws.receive_data(frame(CLOSE, b"\x03\xe9"))
    assert ws.data_to_send() == b""
    assert ws.closed is not None
    assert (ws.closed.code, ws.closed.error) == (1001, "")


def test_failing_after_close_sends_nothing() -> None:
    ws = websocket()
    ws.close(1000)
    assert ws.data_to_send() == b"\x88\x02\x03\xe8"
    ws.receive_data(frame(3))
    assert ws.data_to_send() == b""
    assert ws.closed is not None
    assert ws.closed.code == 1002


@pytest.mark.parametrize(
    ("code", "reason", "payload"),
    [
        (None, "", b""),
        (1000, "", b"\x03\xe8"),
        (1013, "try later", b"\x03\xf5try later"),
        (4999, "ä", b"\x13\x87\xc3\xa4"),
        (1000, "r" * 123, b"\x03\xe8" + b"r" * 123),
    ],
)
def test_close_frames(code: int | None, reason: str, payload: bytes) -> None:
    ws = websocket()
    ws.close(code, reason)
    assert ws.data_to_send() == bytes([0x88, len(payload)]) + payload


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (None, "why"),
        (1000, "r" * 124),
        (1000, "ä" * 62),
        *[(code, "") for code in (0, 999, 1004, 1005, 1006, 1015, 5000)],
    ],
)
def test_close_frames_that_must_not_be_sent(code: int | None, reason: str) -> None:
    ws = websocket()
    with pytest.raises(ValueError, match=r"reason|code"):
        ws.close(code, reason)
    assert not ws.close_sent
    assert ws.data_to_send() == b""


def test_eof() -> None:
    ws = websocket()
    ws.receive_data(frame(TEXT, b"a", fin=False) + frame(PING)[:3])
    ws.receive_eof()
    assert ws.closed is not None
    assert (ws.closed.code, ws.closed.reason, ws.closed.error) == (1006, "", "")
    assert not ws.close_sent
    assert not ws.fragment_open
    assert ws.receive_data(frame(TEXT, b"a")) == []


# Frames to the client


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (0, b"\x00"),
        (1, b"\x01"),
        (125, b"\x7d"),
        (126, b"\x7e\x00\x7e"),
        (65_535, b"\x7e\xff\xff"),
        (65_536, b"\x7f\x00\x00\x00\x00\x00\x01\x00\x00"),
    ],
)
def test_frames(length: int, header: bytes) -> None:
    payload = b"x" * length
    assert text_frame(payload) == b"\x81" + header + payload
    assert binary_frame(payload) == b"\x82" + header + payload
    assert websocket().encode(payload, False) == text_frame(payload)
    assert websocket().encode(payload, True) == binary_frame(payload)


def test_extended() -> None:
    assert not websocket().extended
    assert websocket(deflate=True).extended


# Compression


@pytest.mark.parametrize("size", [0, 1, 5])
@pytest.mark.parametrize(
    ("data", "messages"),
    [
        # RFC 7692 section 7.2.3: the examples.
        (frame(TEXT, bytes.fromhex("f248cdc9c90700"), rsv=RSV1), ["Hello"]),
        (fragments(TEXT, bytes.fromhex("f248cd"), bytes.fromhex("c9c90700"), rsv=RSV1), ["Hello"]),
        (frame(TEXT, bytes.fromhex("f248cdc9c90700"), rsv=RSV1) + frame(TEXT, bytes.fromhex("f200110000"), rsv=RSV1),
         ["Hello", "Hello"]),
        (frame(TEXT, bytes.fromhex("000500faff48656c6c6f00"), rsv=RSV1), ["Hello"]),
        (frame(TEXT, bytes.fromhex("f348cdc9c90700"), rsv=RSV1), ["Hello"]),
        (frame(TEXT, bytes.fromhex("f248050000 00ffff cac9c90700"), rsv=RSV1), ["Hello"]),
        # A final block ends the context, not the connection.
        (frame(TEXT, bytes.fromhex("f348cdc9c90700"), rsv=RSV1) * 2 + frame(TEXT, deflated(b"again"), rsv=RSV1),
         ["Hello", "Hello", "again"]),
        (fragments(TEXT, bytes.fromhex("f348cdc9c907"), b"\x00", b"junk", rsv=RSV1) + frame(TEXT, b"x"),
         ["Hello", "x"]),
        (frame(TEXT, b"plain") + frame(BINARY, b"too"), ["plain", b"too"]),
        (fragments(TEXT, b"pl", b"ain"), ["plain"]),
        (frame(BINARY, deflated(b""), rsv=RSV1) + frame(TEXT, b"\x00", rsv=RSV1), [b"", ""]),
        (frame(BINARY, deflated(b"a" * 1_000), rsv=RSV1), [b"a" * 1_000]),
        (fragments(BINARY, deflated(b"a" * 1_000)[:5], deflated(b"a" * 1_000)[5:], b"", rsv=RSV1), [b"a" * 1_000]),
    ],
)  # fmt: skip
def test_compressed_messages(data: bytes, messages: list[str | bytes], size: int) -> None:
    assert feed(websocket(deflate=True), data, size) == (messages, b"", None)


@pytest.mark.parametrize(
    ("data", "code", "error"),
    [
        (frame(BINARY, deflated(b"a" * 1_001), rsv=RSV1), 1009, "Max payload size exceeded"),
        (frame(BINARY, deflated(b"a" * 10**7)[:900], rsv=RSV1), 1009, "Max payload size exceeded"),
        (fragments(BINARY, deflated(b"a" * 1_001)[:5], deflated(b"a" * 1_001)[5:], rsv=RSV1),
         1009, "Max payload size exceeded"),
        (frame(BINARY, length=1_001, rsv=RSV1), 1009, "Max payload size exceeded"),
        (frame(TEXT, b"junk!", rsv=RSV1), 1002, f"{INVALID}invalid compressed data"),
        (frame(TEXT, deflated(b"\xff"), rsv=RSV1), 1007, f"{INVALID}invalid UTF-8 sequence"),
        (frame(CONT, rsv=RSV1), 1002, f"{INVALID}RSV1 must be clear"),
        (frame(TEXT, b"a", fin=False, rsv=RSV1) + frame(CONT, b"b", rsv=RSV1), 1002, f"{INVALID}RSV1 must be clear"),
        (frame(PING, b"a", rsv=RSV1), 1002, f"{INVALID}RSV1 must be clear"),
        (frame(TEXT, b"a", rsv=RSV1 | RSV2), 1002, f"{INVALID}RSV2 and RSV3 must be clear"),
    ],
)  # fmt: skip
def test_compressed_failures(data: bytes, code: int, error: str) -> None:
    _, sent, closed = feed(websocket(deflate=True), data)
    assert closed == (code, "", error)
    assert sent == b"\x88\x02" + code.to_bytes(2, "big")


def test_a_fault_of_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode(*_: object, **__: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(PerMessageDeflate, "decode", decode)
    _, sent, closed = feed(websocket(deflate=True), frame(TEXT, deflated(b"a"), rsv=RSV1))
    assert (sent, closed) == (b"\x88\x02\x03\xf3", (1011, "", "Internal error"))


def test_a_bomb_does_not_explode() -> None:
    bomb = frame(BINARY, deflated(b"\0" * 50_000_000), rsv=RSV1)
    ws = websocket(1_000_000, deflate=True)
    assert peak(lambda: ws.receive_data(bomb)) < 3_000_000
    assert ws.closed is not None
    assert ws.closed.code == 1009


def test_a_final_block_collects_nothing() -> None:
    ws = websocket(100_000, deflate=True)
    data = frame(BINARY, bytes.fromhex("f348cdc9c90700"), rsv=RSV1, fin=False) + frame(
        CONT, b"x" * 50_000, fin=False
    )
    feed(ws, data)
    more = frame(CONT, b"x" * 50_000, fin=False)

    def read() -> None:
        for _ in range(200):
            ws.receive_data(more)

    assert peak(read) < 500_000
    assert ws.receive_data(frame(CONT)) == [b"Hello"]


def client(extension: PerMessageDeflate | None = None) -> Protocol:
    protocol = Protocol(CLIENT, max_size=None)
    if extension is not None:
        protocol.extensions = [extension]
    return protocol


def received(protocol: Protocol, data: bytes) -> list[tuple[Opcode, bytes]]:
    protocol.receive_data(data)
    return [
        (event.opcode, bytes(event.data)) for event in protocol.events_received() if isinstance(event, Frame)
    ]


@pytest.mark.parametrize(
    ("offer", "options", "parameters"),
    [
        # no context takeover by the client and the server, window bits of the client and the server
        ("", {}, (False, False, 15, 15)),
        ("", {"server_no_context_takeover": True}, (False, True, 15, 15)),
        ("; client_no_context_takeover", {}, (True, False, 15, 15)),
        ("; server_max_window_bits=9", {}, (False, False, 15, 9)),
        ("; client_max_window_bits=9; server_no_context_takeover", {}, (False, True, 9, 15)),
        (
            "; client_max_window_bits",
            {"client_max_window_bits": 10, "server_max_window_bits": 11},
            (False, False, 10, 11),
        ),
        ("", {"level": 9, "mem_level": 9, "threshold": 0}, (False, False, 15, 15)),
    ],
)
def test_both_ways_with_a_client(
    offer: str, options: dict[str, Any], parameters: tuple[bool, bool, int, int]
) -> None:
    ws = WebSocket(10**6, LIMITS, (compression(Deflate(**options), "permessage-deflate" + offer),))
    client_reset, server_reset, client_bits, server_bits = parameters
    peer = client(PerMessageDeflate(server_reset, client_reset, server_bits, max(client_bits, 9)))
    for number in range(30):
        payload = (b"some text %d " % (number % 5)) * (number * 20)
        peer.send_text(payload)
        peer.send_binary(payload)
        data = b"".join(peer.data_to_send())
        assert ws.receive_data(data) == [payload.decode(), payload]
        answer = ws.encode(payload, False) + ws.encode(payload, True)
        assert received(peer, answer) == [(Opcode.TEXT, payload), (Opcode.BINARY, payload)]
    assert ws.closed is None
    assert len(data) < len(payload)
    assert len(answer) < len(payload)


@pytest.mark.feature(18)
def test_the_threshold_counts_without_context_takeover_only() -> None:
    options = Deflate(threshold=100, server_no_context_takeover=True)
    ws = WebSocket(1_000, LIMITS, (compression(options),))
    assert ws.encode(b"a" * 99, False) == text_frame(b"a" * 99)
    assert ws.encode(b"a" * 99, True) == binary_frame(b"a" * 99)
    assert ws.encode(b"a" * 100, False)[0] == 0xC1
    assert ws.encode(b"a" * 100, True)[0] == 0xC2
    ws = WebSocket(1_000, LIMITS, (compression(Deflate(threshold=100)),))
    assert ws.encode(b"", False) == b"\xc1\x01\x00"
    assert ws.encode(b"a", True)[0] == 0xC2


def test_the_context_is_used() -> None:
    payload = os.urandom(300)
    ws = WebSocket(1_000, LIMITS, (compression(),))
    assert len(ws.encode(payload, True)) > 300
    assert len(ws.encode(payload, True)) < 30
    ws = WebSocket(1_000, LIMITS, (compression(Deflate(server_no_context_takeover=True, threshold=0)),))
    assert len(ws.encode(payload, True)) > 300
    assert len(ws.encode(payload, True)) > 300


def test_an_idle_compressed_connection_is_small() -> None:
    def make() -> None:
        kept.extend(WebSocket(1_000, LIMITS, (compression(),)) for _ in range(100))

    kept: list[WebSocket] = []
    assert peak(make) < 100 * 3_000


# Against websockets


def oracle(
    frames: list[bytes], max_size: int, deflate: bool
) -> tuple[list[str | bytes], list[bytes], tuple[int, int] | None]:
    """Return messages, pongs and close codes (the one it ended with, and ours), as the protocol of ``websockets`` has
    them.

    Four things are not its own: control frames have no part in the size of a message, what comes out of a compressed
    frame is measured at once, a final block ends a compressed stream and not all reading, and UTF-8 is checked.
    """
    protocol = Protocol(SERVER, max_size=max_size)
    extension = PerMessageDeflate(False, False, 15, 15)
    if deflate:
        protocol.extensions = [extension]
    messages: list[str | bytes] = []
    pongs: list[bytes] = []
    opcode = 0
    content = b""
    for data in frames:
        protocol.max_message_size = None if data[0] & 8 else max_size
        protocol.receive_data(data)
        for event in protocol.events_received():
            assert isinstance(event, Frame)
            if event.opcode is Opcode.PING:
                pongs.append(bytes(event.data))
            elif event.opcode in DATA_OPCODES:
                opcode = opcode if event.opcode is Opcode.CONT else event.opcode
                content += bytes(event.data)
                if len(content) > max_size:
                    return messages, pongs, (1009, 1009)
                if event.fin:
                    try:
                        messages.append(content.decode() if opcode == TEXT else content)
                    except UnicodeDecodeError:
                        return messages, pongs, (1007, 1007)
                    content = b""
                    if extension.decoder.eof:
                        extension.decoder = zlib.decompressobj(-15)
        sent = protocol.close_sent
        if sent is not None:
            return messages, pongs, ((protocol.close_rcvd or sent).code, sent.code)
    return messages, pongs, None


payloads = st.one_of(
    st.binary(max_size=20),
    st.text(max_size=10).map(str.encode),
    st.sampled_from([b"", b"a" * 125, b"a" * 126, b"a" * 127, b"b" * 200, b"\xff", b"\xe2\x82"]),
)
closes = st.one_of(
    st.sampled_from([b"", b"\x03", b"\x03\xe8", b"\x03\xe8bye", b"\x03\xed", b"\x03\xe8\xff", b"\x0f\xa0"]),
    st.builds(
        lambda code, reason: code.to_bytes(2, "big") + reason, st.integers(990, 1020), st.binary(max_size=3)
    ),
)
controls = st.one_of(
    st.builds(frame, st.sampled_from([PING, PONG]), st.binary(max_size=125)),
    st.builds(frame, st.just(CLOSE), closes),
)
odd = st.builds(
    frame,
    st.integers(0, 15),
    payloads,
    fin=st.booleans(),
    rsv=st.sampled_from([0, 0, 0, RSV1, RSV2, RSV3]),
    masked=st.sampled_from([True, True, True, False]),
)


class Message:
    """A message in parts, with control frames between them."""

    def __init__(
        self, opcode: int, payload: bytes, compressed: bool, cuts: list[int], between: list[bytes]
    ) -> None:
        self.opcode, self.payload, self.compressed = opcode, payload, compressed
        self.cuts, self.between = cuts, between

    def __repr__(self) -> str:
        return f"Message({self.opcode}, {self.payload!r}, {self.compressed}, {self.cuts}, {self.between})"

    def frames(self, compressor: Any) -> list[bytes]:
        payload, rsv = self.payload, 0
        if compressor is not None and self.compressed:
            payload = (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]
            rsv = RSV1
        edges = [0, *sorted(min(cut, len(payload)) for cut in self.cuts), len(payload)]
        result: list[bytes] = []
        for index, (start, stop) in enumerate(pairwise(edges)):
            part, last = payload[start:stop], index == len(edges) - 2
            result.append(frame(CONT if index else self.opcode, part, fin=last, rsv=0 if index else rsv))
            if not last:
                result.extend(self.between)
        return result


messages_sent = st.builds(
    Message,
    st.sampled_from([TEXT, BINARY]),
    payloads | st.text(max_size=60).map(str.encode),
    st.booleans(),
    st.lists(st.integers(0, 60), max_size=3),
    st.lists(controls, max_size=1),
)


@settings(max_examples=600)
@given(
    st.lists(messages_sent | messages_sent | controls | odd, max_size=8),
    st.lists(st.integers(0, 600), max_size=8),
    st.sampled_from([50, 126, 10_000]),
    st.booleans(),
)
@example([Message(TEXT, b"a" * 100, True, [5], []), frame(PING)], [1], 50, True)
@example([Message(TEXT, b"abc", False, [1], [frame(CLOSE, b"\x03\xe8")])], [], 50, False)
@example([frame(TEXT, b"a", fin=False), frame(TEXT, b"b")], [], 50, False)
def test_websockets_agrees(
    items: list[Message | bytes], cuts: list[int], max_size: int, deflate: bool
) -> None:
    compressor = zlib.compressobj(wbits=-15) if deflate else None
    frames: list[bytes] = []
    for item in items:
        frames += [item] if isinstance(item, bytes) else item.frames(compressor)
    messages, pongs, codes = oracle(frames, max_size, deflate)
    stream = b"".join(frames)
    ws = websocket(max_size, Limits(pending_pongs=1_000), deflate=deflate)
    ours: list[str | bytes] = []
    start = 0
    for cut in [*sorted(cuts), len(stream)]:
        ours += ws.receive_data(stream[start:cut])
        start = max(cut, start)
    assert ours == messages
    replies = received(client(), ws.data_to_send())
    closed = None if ws.closed is None else (ws.closed.code, Close.parse(replies[-1][1]).code)
    answers = [data for opcode, data in replies if opcode is Opcode.PONG]
    if deflate and closed == (1009, 1009):
        # Of a fragment that is too large, websockets may notice so with the next one only.
        assert answers == pongs[: len(answers)]
    elif ws.closed is not None and not ws.closed.error and codes is not None:
        # RFC 6455 section 5.4: a close frame may come between fragments; websockets answers it with 1002.
        assert closed == (codes[0], codes[0])
        assert answers == pongs
    else:
        assert closed == codes
        assert answers == pongs


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5), st.booleans())
def test_any_bytes_may_come(data: bytes, cuts: list[int], deflate: bool) -> None:
    whole = websocket(100, deflate=deflate)
    parts = websocket(100, deflate=deflate)
    expected = feed(whole, data)
    messages: list[str | bytes] = []
    start = 0
    for cut in [*sorted(cuts), len(data)]:
        messages += parts.receive_data(data[start:cut])
        start = max(cut, start)
    assert (messages, parts.data_to_send()) == expected[:2]
    assert parts.fragment_open == whole.fragment_open


@given(st.binary(max_size=300), st.booleans())
def test_a_client_reads_our_frames(payload: bytes, binary: bool) -> None:
    opcode = Opcode.BINARY if binary else Opcode.TEXT
    assert received(client(), websocket().encode(payload, binary)) == [(opcode, payload)]
    peer = client(PerMessageDeflate(False, False, 15, 15))
    assert received(peer, websocket(deflate=True).encode(payload, binary)) == [(opcode, payload)]
