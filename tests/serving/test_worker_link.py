"""Whom a request is for, as its first line says."""

from __future__ import annotations

import pytest

from sio_core.ids import make_worker_session_id
from sio_core.serving.worker_link import (
    ANYBODY,
    NOBODY,
    pack_connection,
    requested_worker,
    unpack_connection,
)

SID = "r" * 18 + make_worker_session_id(65)[18:]


@pytest.mark.parametrize(
    ("line", "worker"),
    [
        (f"GET /socket.io/?EIO=4&transport=polling&sid={SID} HTTP/1.1", 65),
        (f"POST /socket.io/?sid={SID}&EIO=4 HTTP/1.1", 65),
        (f"GET /anything?sid={SID}", 65),
        (f"GET /socket.io/?EIO=4&sid={SID}x HTTP/1.1", NOBODY),
        (f"GET /socket.io/?EIO=4&nosid={SID} HTTP/1.1", NOBODY),
        ("GET /socket.io/?EIO=4&sid=short HTTP/1.1", NOBODY),
        (f"GET /socket.io/?EIO=4&sid=%{SID} HTTP/1.1", NOBODY),
        ("GET /socket.io/?EIO=4&transport=polling HTTP/1.1", ANYBODY),
        ("GET /socket.io/?transport=polling&EIO=3 HTTP/1.1", ANYBODY),
        ("GET / HTTP/1.1", NOBODY),
        ("GET /EIO=4 HTTP/1.1", NOBODY),
        ("", NOBODY),
    ],
)
def test_the_first_line_says_whom_a_request_is_for(line: str, worker: int) -> None:
    head = f"{line}\r\nHost: here\r\nReferer: http://here/?sid={make_worker_session_id(1)}&EIO=4\r\n\r\n"
    assert requested_worker(head.encode()) == worker
    assert requested_worker(line.encode()) == worker  # a part of a head


@pytest.mark.parametrize("is_placed", [True, False])
@pytest.mark.parametrize("unread", [b"", b"\0\1", b"GET"])
def test_a_connection_is_packed(is_placed: bool, unread: bytes) -> None:
    assert unpack_connection(pack_connection(is_placed, unread)) == (is_placed, unread)
