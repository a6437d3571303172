"""A blocking connection to Redis: all that a script, a Celery task or a Django view needs to publish something.

It takes nothing but the standard library, so it goes wherever sockets go, also where they are patched (gevent).
Redis serialization protocol specification, version 2.
"""

from __future__ import annotations

import os
import selectors
import socket
import ssl
import threading
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from sio_core.errors import AdapterError

__all__ = ["RedisSocket"]

Word = str | bytes | int

DEFAULT_PORT: Final = 6379
READ_SIZE: Final = 65_536


class RedisSocket:
    """One connection, made when it is needed, and made again if it was lost. Threads may share it.

    :param url: ``redis://[[user]:password@]host[:port][/db]``, ``rediss://`` for TLS, or ``unix://`` and a path.
    :param timeout: seconds to wait for the connection, and for each answer.
    :param ssl_context: for ``rediss://``; by default certificates are verified.
    :raises ValueError: for another URL.
    """

    def __init__(self, url: str, timeout: float, ssl_context: ssl.SSLContext | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"redis", "rediss", "unix"}:
            raise ValueError(f"url must start with redis://, rediss:// or unix://, not be {url!r}")
        self._parts = parts
        self._timeout = timeout
        self._ssl_context = ssl_context
        self._user = unquote(parts.username or "")
        self._password = unquote(parts.password or "")
        database = parse_qs(parts.query).get("db", [""])[0] or (
            parts.path.strip("/") if parts.scheme != "unix" else ""
        )
        if database and not database.isdigit():
            raise ValueError(f"url must name a database by its number, not {database!r}")
        self._database = int(database or 0)
        self._socket: socket.socket | None = None
        self._received = b""
        self._pid = 0
        self._lock = threading.Lock()

    def execute(self, *words: Word) -> Any:
        """Send a command and return the answer.

        :raises AdapterError: if Redis refuses it.
        :raises OSError: if there is no connection. It may have been executed if the answer is what was lost.
        """
        with self._lock:
            if self._socket is not None and (self._pid != os.getpid() or self._is_lost(self._socket)):
                self._disconnect()
            if self._socket is None:
                self._connect()
            return self._call(*words)

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._disconnect()

    def _connect(self) -> None:
        parts = self._parts
        if parts.scheme == "unix":
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(self._timeout)
            try:
                connection.connect(parts.path)
            except OSError:
                connection.close()
                raise
        else:
            host = parts.hostname or "localhost"
            connection = socket.create_connection((host, parts.port or DEFAULT_PORT), self._timeout)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if parts.scheme == "rediss":
                context = self._ssl_context or ssl.create_default_context()
                connection = context.wrap_socket(connection, server_hostname=host)
        self._socket = connection
        self._received = b""
        self._pid = os.getpid()
        try:
            if self._password:
                self._call("AUTH", *([self._user] if self._user else []), self._password)
            if self._database:
                self._call("SELECT", self._database)
        except BaseException:
            self._disconnect()  # or what is said next would be said to another database
            raise

    @staticmethod
    def _is_lost(connection: socket.socket) -> bool:
        # Nothing is expected: what can be read is the end.
        with selectors.DefaultSelector() as selector:  # select() alone takes no descriptors over 1,023
            selector.register(connection, selectors.EVENT_READ)
            return bool(selector.select(0))

    def _disconnect(self) -> None:
        connection, self._socket = self._socket, None
        if connection is not None:
            connection.close()

    def _call(self, *words: Word) -> Any:
        plain = [word if isinstance(word, bytes) else str(word).encode() for word in words]
        request = b"*%d\r\n" % len(plain) + b"".join([b"$%d\r\n%b\r\n" % (len(word), word) for word in plain])
        assert self._socket is not None
        try:
            self._socket.sendall(request)
            answer = self._read()
        except BaseException:  # an answer that comes later must not be taken for that of the next command
            self._disconnect()
            raise
        if isinstance(answer, AdapterError):
            raise answer
        return answer

    def _read(self) -> Any:
        line = self._read_line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return rest
        if kind == b"-":
            return AdapterError(f"Redis: {rest.decode(errors='replace')}")
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return self._read_bytes(int(rest)) if rest != b"-1" else None
        if kind == b"*":
            return [self._read() for _ in range(int(rest))]
        raise ConnectionError(f"this is no answer of Redis: {line[:40]!r}")

    def _read_line(self) -> bytes:
        while b"\r\n" not in self._received:
            self._receive()
        line, _, self._received = self._received.partition(b"\r\n")
        return line

    def _read_bytes(self, size: int) -> bytes:
        while len(self._received) < size + 2:
            self._receive()
        value, self._received = self._received[:size], self._received[size + 2 :]
        return value

    def _receive(self) -> None:
        assert self._socket is not None
        piece = self._socket.recv(READ_SIZE)
        if not piece:
            raise ConnectionError("Redis has closed the connection")
        self._received += piece
