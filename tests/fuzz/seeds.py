"""Where fuzzing begins, and what it has found: inputs that once made a target fail."""

from __future__ import annotations

from typing import Final

STEP: Final = b"\x06"
"""The first byte of what is read in parts: seven bytes at a time."""

TEXT_FRAME: Final = b"\x81\x85\x00\x00\x00\x00hello"

SEEDS: Final[dict[str, list[bytes]]] = {
    "http": [
        STEP + b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n",
        STEP + b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.0\r\n\r\n",
        STEP
        + b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nA: b\r\n\r\n",
        STEP
        + b"GET / HTTP/1.1\r\nHost: [::1]:80\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x80",
        STEP + b"GET http://a/b?c HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
        STEP + b"OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nUpgrade: h2c\r\n\r\n",
    ],
    "frames": [
        STEP + TEXT_FRAME + b"\x82\x81\x01\x02\x03\x04\xff" + b"\x88\x82\x00\x00\x00\x00\x03\xe8",
        STEP + b"\x01\x81\x00\x00\x00\x00a" + b"\x89\x81\x00\x00\x00\x00?" + b"\x80\x81\x00\x00\x00\x00b",
        STEP + b"\x81\xfe\x00\x7e\x00\x00\x00\x00" + b"x" * 126,
        STEP + b"\x82\xff\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00y",
        STEP + b"\xc1\x87\x00\x00\x00\x00\xf2\x48\xcd\xc9\xc9\x07\x00",
        STEP + b"\x81\x82\x00\x00\x00\x00\xc3\x28",
    ],
    "engineio": [
        b"4hello\x1e2\x1ebAQIDBA==\x1e6",
        b"6:4hello2:4\xe2\x82\xac10:b4AQIDBA==",
        b"\x00\x06\xff4hello\x01\x05\xff\x04\x01\x02\x03\x04",
        b"d=6%3A4hello%5C%5Cn",
    ],
    "socketio": [
        b'2["hello",1,{"a":null}]\n0{"token":"x"}\n0/admin,{}\n1/admin,',
        b'213["hello"]\n3/admin,13["ok",1.5e3,-0]',
        b'51-/n,1["file",{"_placeholder":true,"num":0}]\n\0\x01\x02',
        b'4{"message":"no"}\n62-5[{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]\n\0a\n\0b',
        b'2["\\ud800",1e400,{"__proto__":1}]',
    ],
    "msgpack": [
        b"\x83\xa4type\x02\xa4data\x92\xa5hello\x01\xa3nsp\xa1/",
        b"\x84\xa4type\x03\xa4data\x91\xc4\x02\x01\x02\xa2id\x07\xa3nsp\xa6/admin",
        b"\x82\xa4type\x00\xa3nsp\xa1/",
        b"\x83\xa4type\x02\xa4data\x92\xa1t\xd6\xff\x00\x00\x00\x01\xa3nsp\xa1/",
        b"\x83\xa4type\x02\xa4data\x93\xa1u\xd4\x00\x00\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00\xa3nsp\xa1/",
    ],
}
"""By target."""

FOUND: Final[dict[str, list[bytes]]] = {}
"""By target; each stays here once it is mended."""
