"""The wire against Node.js: ``ws``, ``cors``, ``accepts``, its query strings and its headers."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Close, Opcode

from sio_core.limits import Limits
from sio_core.wire.cors import Cors, cors_headers, preflight
from sio_core.wire.http import choose_coding
from sio_core.wire.message import Fields, Request, parse_query
from sio_core.wire.websocket import Accepted, Closed, Deflate, Rejected, accept
from tests.wire.peer import Peer, open_peer
from tests.wire.test_websocket import (
    CLOSE,
    CONT,
    PING,
    PONG,
    RSV1,
    RSV2,
    TEXT,
    Message,
    client,
    controls,
    deflated,
    frame,
    handshake,
    messages_sent,
    odd,
    received,
    websocket,
)


@pytest.fixture(scope="module")
def peer() -> Iterator[Peer]:
    with open_peer() as opened:
        yield opened


# The opening handshake

extensions = st.lists(
    st.sampled_from(
        [
            "permessage-deflate",
            "foo",
            "; ",
            ", ",
            ";",
            ",",
            "=",
            "server_no_context_takeover",
            "client_no_context_takeover",
        ]
        + [f"{side}_max_window_bits={bits}" for side in ("server", "client") for bits in (7, 9, 12, 15, 16)]
        + ["client_max_window_bits", "; client_max_window_bits", "permessage-deflate; "]
    ),
    min_size=1,
    max_size=7,
).map("".join)
options_of_both = st.fixed_dictionaries(
    {},
    optional={
        "server_no_context_takeover": st.booleans(),
        "client_no_context_takeover": st.just(True),
        "server_max_window_bits": st.sampled_from([9, 10, 15]),
        "client_max_window_bits": st.sampled_from([9, 10, 15]),
    },
)
NAMES = {
    "server_no_context_takeover": "serverNoContextTakeover",
    "client_no_context_takeover": "clientNoContextTakeover",
    "server_max_window_bits": "serverMaxWindowBits",
    "client_max_window_bits": "clientMaxWindowBits",
}


def check_handshake(peer: Peer, request: Request, options: dict[str, Any] | None) -> None:
    deflate = None if options is None else Deflate(**options)
    theirs: Any = False if options is None else {NAMES[name]: value for name, value in options.items()}
    outcome = accept(request, deflate=deflate)
    ours = outcome.encode() if isinstance(outcome, Rejected) else outcome.response
    assert ours == peer.handshake(request.method, request.headers, {"perMessageDeflate": theirs})


@given(extensions, options_of_both)
@example("permessage-deflate; client_max_window_bits, permessage-deflate; foo", {})
def test_extensions(peer: Peer, header: str, options: dict[str, Any]) -> None:
    elements = [element.strip(" \t") for element in header.split(",")]
    if "" in elements or "server_max_window_bits=8" in header:
        # We skip empty elements of a list, as RFC 9110 section 5.6.1.2 asks for.
        return
    check_handshake(peer, handshake(sec_websocket_extensions=header), options)


@given(st.text(st.sampled_from('abc-,, ;="\t\u00e4'), max_size=12))
def test_subprotocols(peer: Peer, header: str) -> None:
    check_handshake(peer, handshake(sec_websocket_protocol=header.strip(" \t")), None)


def test_handshakes(peer: Peer) -> None:
    for method, upgrade, key, version in product(
        ["GET", "POST", "HEAD"],
        ["websocket", "WebSocket", "h2c", "websocket, h2c"],
        ["dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ", "", None],
        ["13", "8", "7", "", None, "x"],
    ):
        request = handshake(method, sec_websocket_version=version, sec_websocket_key=key)
        request.headers["upgrade"] = upgrade
        check_handshake(peer, request, None)


# Frames


def check_frames(peer: Peer, stream: bytes, max_size: int, deflate: bool, *, words: bool) -> None:
    request = handshake(sec_websocket_extensions="permessage-deflate")
    accepted = accept(request, deflate=Deflate() if deflate else None)
    assert isinstance(accepted, Accepted)
    options = {"maxPayload": max_size, "perMessageDeflate": deflate, "maxFragments": 16}
    messages, sent, error = peer.frames(request.headers, options, stream)
    ws = websocket(max_size, Limits(fragments=16, pending_pongs=1_000), deflate=deflate)
    assert ws.receive_data(stream) == messages
    ours = ws.data_to_send()
    if ours != sent and not words:
        check_difference(ws.closed, error, received(client(), ours), received(client(), sent))
    else:
        assert ours == sent
    if words:
        ws.receive_eof()
        assert ws.closed is not None
        assert ws.closed.error == error


Sent = list[tuple[Opcode, bytes]]


def check_difference(closed: Closed | None, error: str, ours: Sent, theirs: Sent) -> None:
    """Two close codes are those of websockets, and not of ws."""
    assert closed is not None
    assert ours[:-1] == theirs[:-1]
    codes = Close.parse(ours[-1][1]).code, Close.parse(theirs[-1][1]).code
    if closed.error.endswith("invalid UTF-8 sequence"):
        # A bad reason counts more than a bad code.
        assert codes == (1007, 1002)
        assert "invalid status code" in error
    else:
        assert closed.error.endswith("invalid compressed data")
        assert codes == (1002, 1007)


@pytest.mark.parametrize(
    "stream",
    [
        frame(TEXT, b"a", fin=False) + frame(PING) + frame(CLOSE, b"\x03\xe8"),
        frame(TEXT, b"a", fin=False) + frame(CLOSE),
        *[frame(CLOSE, code.to_bytes(2, "big") + b"\xff") for code in (999, 1004, 1015, 5000)],
        frame(TEXT, b"junk!", rsv=RSV1),
    ],
)
def test_differences(peer: Peer, stream: bytes) -> None:
    check_frames(peer, stream, 1_000, True, words=False)


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize(
    "stream",
    [
        *[frame(opcode) for opcode in range(16)],
        frame(TEXT, b"a", rsv=RSV2),
        frame(PING, b"a", fin=False),
        frame(PING, b"a" * 126),
        frame(CLOSE, b"\x03\xe8" + b"r" * 124),
        frame(TEXT, b"a", masked=False),
        frame(CONT, b"a", rsv=RSV1),
        frame(TEXT, b"a", fin=False) + frame(TEXT),
        frame(TEXT, b"\xff"),
        frame(TEXT, b"a" * 1_000) + frame(TEXT, b"a" * 1_001),
        frame(TEXT, b"a" * 1_000, fin=False) + frame(PONG, b"a" * 125) + frame(CONT) + frame(PING),
        frame(TEXT, b"a" * 1_000, fin=False) + frame(CONT, b"a"),
        frame(TEXT, fin=False) + frame(CONT, fin=False) * 14 + frame(CONT),
        frame(TEXT, fin=False) + frame(CONT, fin=False) * 15,
        frame(TEXT, fin=False) + frame(CONT, fin=False) * 16,
        *[frame(CLOSE, code.to_bytes(2, "big") + reason) for code in (999, 1000, 1004, 1014, 1015, 3000, 4999, 5000)
          for reason in (b"", b"why")],
        *[frame(CLOSE, code.to_bytes(2, "big") + b"\xff") for code in (1000, 1014, 3000, 4999)],
        frame(CLOSE, b"\x03"),
        frame(PING, b"1") + frame(PING, b"2") + frame(CLOSE) + frame(PING, b"3"),
        frame(TEXT, b"plain") + frame(TEXT),
    ],
)  # fmt: skip
def test_frames(peer: Peer, stream: bytes, deflate: bool) -> None:
    check_frames(peer, stream, 1_000, deflate, words=True)


@pytest.mark.parametrize(
    "stream",
    [
        frame(TEXT, deflated(b"hello"), rsv=RSV1) * 2,
        frame(TEXT, deflated(b"a" * 1_000), rsv=RSV1) + frame(TEXT, b"a"),
        frame(TEXT, deflated(b"a" * 1_001), rsv=RSV1) + frame(TEXT, b"a"),
        frame(TEXT, deflated(b"\xff"), rsv=RSV1),
        frame(TEXT, bytes.fromhex("f348cdc9c90700"), rsv=RSV1) * 2,
        frame(TEXT, deflated(b"hello")[:3], rsv=RSV1, fin=False)
        + frame(PING)
        + frame(CONT, deflated(b"hello")[3:]),
        frame(TEXT, b"a", rsv=RSV1, fin=False) + frame(CONT, rsv=RSV1),
        frame(PING, rsv=RSV1),
    ],
)
def test_compressed_frames(peer: Peer, stream: bytes) -> None:
    check_frames(peer, stream, 1_000, True, words=True)


@given(st.lists(messages_sent | messages_sent | controls | odd, max_size=8), st.booleans())
def test_streams(peer: Peer, items: list[Message | bytes], deflate: bool) -> None:
    compressor = zlib.compressobj(wbits=-15) if deflate else None
    stream = b""
    for item in items:
        if isinstance(item, bytes):
            if deflate and item[0] & 0x40:
                # Odd bytes may end the compressed stream by chance, and then both sides start anew.
                continue
            stream += item
        else:
            stream += b"".join(item.frames(compressor))
    check_frames(peer, stream, 10_000, deflate, words=False)


@given(st.lists(messages_sent | controls, max_size=5), st.integers(20, 60))
def test_sizes(peer: Peer, items: list[Message | bytes], max_size: int) -> None:
    stream = b"".join(item if isinstance(item, bytes) else b"".join(item.frames(None)) for item in items)
    check_frames(peer, stream, max_size, False, words=False)


def test_the_order_of_faults_is_ours() -> None:
    """A frame with two faults: ws looks at the reserved bits first, we at the size, as websockets does."""
    ws = websocket(1)
    ws.receive_data(frame(TEXT, b"ab", rsv=RSV2))
    ((opcode, payload),) = received(client(), ws.data_to_send())
    assert opcode is Opcode.CLOSE
    assert Close.parse(payload).code == 1009


# CORS

ORIGINS: list[Any] = ["*", "http://a", ["http://a", "http://b"], ["http://c"], True]


@pytest.mark.parametrize(
    ("options", "theirs"),
    [
        ({}, {}),
        ({"max_age": 0}, {"maxAge": 0}),
        ({"max_age": 60, "methods": ["GET", "POST"]}, {"maxAge": 60, "methods": ["GET", "POST"]}),
        ({"allowed_headers": ["a", "b"]}, {"allowedHeaders": ["a", "b"]}),
        ({"exposed_headers": "a,b"}, {"exposedHeaders": "a,b"}),
        ({"options_success_status": 200}, {"optionsSuccessStatus": 200}),
        ({"preflight_continue": True}, {"preflightContinue": True}),
        ({"credentials": True}, {"credentials": True}),
    ],
)
def test_cors(peer: Peer, options: dict[str, Any], theirs: dict[str, Any]) -> None:
    for origins, origin, asked, method in product(
        ORIGINS, ["http://a", "http://b", "null", None], ["x-a,x-b", None], ["GET", "OPTIONS"]
    ):
        if origins == "*" and "credentials" in options:
            continue
        cors = Cors(origins=origins, **options)
        headers = {"origin": origin, "access-control-request-headers": asked}
        present = {name: value for name, value in headers.items() if value is not None}
        request = Request(method=method, headers=present)
        expected = peer.ask("cors", method=method, headers=present, options={"origin": origins, **theirs})
        response = preflight(cors, request)
        assert (response is not None) == expected["ended"]
        ours = cors_headers(cors, request) if response is None else response.headers
        assert sorted(map(list, ours)) == sorted(expected["headers"])
        if response is not None:
            assert response.status == expected["status"]


# Codings, query strings, headers

codings = st.lists(
    st.builds(
        "{}{}".format,
        st.sampled_from(["gzip", "deflate", "br", "identity", "*"]),
        st.sampled_from(["", ";q=0", ";q=0.5", "; q=0.8", ";q=1", ";q=1.000", " ;q=0.001"]),
    ),
    max_size=5,
    unique_by=lambda item: item.partition(";")[0].strip(),
)


@given(codings, st.sampled_from([",", ", ", " , "]))
def test_codings(peer: Peer, items: list[str], separator: str) -> None:
    header = separator.join(items)
    assert choose_coding(header) == peer.ask("coding", header=header)


@given(st.text(st.sampled_from("abE=&&%%+2c3A41fF8e;?./:[]\\\"<>^`{|}~'*_"), max_size=20))
@example("%f0%9f%98%80=%f0%9f%98&%ed%a0%80=%c0%80&%ef%bb%bfa=1")
def test_query_strings(peer: Peer, query: str) -> None:
    assert parse_query(query) == peer.ask("query", query=query)


names = st.sampled_from(
    [
        *[
            "Accept",
            "Age",
            "Authorization",
            "Connection",
            "Content-Type",
            "Cookie",
            "Date",
            "ETag",
            "Expires",
            "From",
        ],
        *[
            "If-Modified-Since",
            "If-Unmodified-Since",
            "Last-Modified",
            "Location",
            "Max-Forwards",
            "Origin",
            "Upgrade",
        ],
        *[
            "Proxy-Authorization",
            "Referer",
            "Retry-After",
            "Sec-WebSocket-Key",
            "Server",
            "User-Agent",
            "Vary",
            "X-A",
        ],
    ]
)


@given(st.lists(st.tuples(names | names.map(str.lower), st.sampled_from(["", "a", "b", "a, b"])), max_size=8))
def test_repeated_headers(peer: Peer, lines: list[tuple[str, str]]) -> None:
    fields = Fields()
    for name, value in lines:
        fields.on_header(name.encode(), value.encode())
    assert fields.headers == peer.ask("headers", lines=lines)
