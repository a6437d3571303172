"""TLS handshakes on an asyncio loop, each counted among the connections from the start: it costs a file.

The loop can accept TLS by itself, but then nobody hears of a connection before its handshake has ended, nor of one
whose handshake takes too long.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import cast

from sio_core.serving.asyncio_shell import AsyncioProtocol, AsyncioShell, peer_of

__all__ = ["TlsHandshake"]


class TlsHandshake(asyncio.Protocol):
    """One accepted connection until its TLS handshake has ended."""

    __slots__ = ("_address", "_context", "_counted", "_received", "_shell", "_task", "_transport")

    def __init__(self, shell: AsyncioShell, context: ssl.SSLContext) -> None:
        self._shell = shell
        self._context = context
        self._address = ""
        self._counted = False
        self._received = b""
        self._task: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None

    # What the loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        shell = self._shell
        self._transport = raw = cast("asyncio.Transport", transport)  # uvloop's is none by its class
        self._address, _ = peer_of(transport)
        self._counted = True
        shell.connections.add(self)
        if shell.site.connection_made(self._address) is not None or shell.closed:
            self.abort()
            return
        raw.pause_reading()  # what comes is for TLS, which goes on by itself; uvloop reads all the same
        self._task = shell.loop.create_task(self._shake_hands(raw))

    def data_received(self, data: bytes) -> None:
        """What is said right behind the handshake; on uvloop also what comes before it can begin."""
        self._received += data

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    # What the shell calls

    def close(self) -> None:
        """The listener is going away, and nobody is served here yet."""
        self.abort()

    def abort(self) -> None:
        """Drop the connection now."""
        if self._transport is not None:
            self._transport.abort()
        self._end()

    async def _shake_hands(self, transport: asyncio.Transport) -> None:
        shell, seconds = self._shell, self._shell.site.limits.tls_handshake_time
        until = shell.loop.time() + seconds
        secure: asyncio.Transport | None = None
        if self._received:
            shell.loop.call_soon(self._hand_back, transport)
        try:
            secure = await shell.loop.start_tls(
                transport, self, self._context, server_side=True, ssl_handshake_timeout=seconds
            )
        except (OSError, RuntimeError):
            # It is no TLS, or the peer has gone, or has taken too long: the transport has been dropped.
            if shell.loop.time() >= until and self._counted:
                shell.site.count_limit("tls_handshake_time")
        if secure is None or not self._counted:
            self.abort()
            return
        self._counted = False
        shell.connections.discard(self)
        protocol = AsyncioProtocol(shell, self._received, is_counted=True)
        secure.set_protocol(cast("asyncio.Protocol", protocol))
        protocol.connection_made(secure)

    def _hand_back(self, transport: asyncio.Transport) -> None:
        """Give TLS what has come before it was there. Until this has run it reads nothing by itself."""
        early, self._received = self._received, b""
        protocol = cast("asyncio.BufferedProtocol", transport.get_protocol())  # uvloop's is none by its class
        while early:
            buffer = memoryview(protocol.get_buffer(len(early)))
            size = min(len(buffer), len(early))
            buffer[:size] = early[:size]
            protocol.buffer_updated(size)
            early = early[size:]

    def _end(self) -> None:
        if self._counted:
            self._counted = False
            self._shell.connections.discard(self)
            self._shell.site.connection_lost(self._address)
