"""A server without a network: connections that take bytes and give bytes, and a loop that is a list."""

from collections import deque
from collections.abc import Callable
from typing import Any

from benchmarks import frames
from sio_core.runtime import AsyncFunction, Runtime
from sio_core.server import EngineServer, Server
from sio_core.serving.asyncio_shell import AsyncioProtocol, AsyncioShell
from sio_core.serving.site import Site

UPGRADE = (
    b"GET %s?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:3000\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
POLL = b"GET %s?EIO=4&transport=polling%s HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n\r\n"
POST = (
    b"POST %s?EIO=4&transport=polling%s HTTP/1.1\r\nHost: 127.0.0.1:3000\r\n"
    b"Content-Type: text/plain;charset=UTF-8\r\nContent-Length: %d\r\n\r\n%s"
)
NOW = 1.0


class Turns(Runtime):
    """An event loop whose turns are taken by hand, and whose clock stands still."""

    __slots__ = ("_due",)

    def __init__(self) -> None:
        super().__init__(starts_at_once=False)
        self._due: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()

    def now(self) -> float:
        """The one moment there is."""
        return NOW

    time = now

    def spawn(self, function: AsyncFunction, *args: Any) -> None:
        """Run a coroutine that never waits, such as the start of the adapter in memory."""
        try:
            function(*args).__await__().__next__()
        except StopIteration:
            return
        raise AssertionError("a task of a micro-benchmark waits for something")

    def call_soon(self, function: Callable[..., object], *args: Any) -> None:
        """Keep the call for the next turn."""
        self._due.append((function, args))

    call_from_thread = call_soon

    async def join(self) -> None:
        """No task outlives `spawn`."""

    def cancel(self) -> None:
        """No task outlives `spawn`."""

    def turn(self) -> None:
        """Make the calls that are due."""
        due = self._due
        while due:
            function, args = due.popleft()
            function(*args)


class Transport:
    """The half of a TCP connection that belongs to the loop, as `asyncio.Transport` has it."""

    __slots__ = ("written",)

    def __init__(self) -> None:
        self.written: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Take what the server says."""
        self.written.append(data)

    def get_extra_info(self, name: str) -> Any:
        """The peer's address, and neither a socket nor TLS."""
        return ("127.0.0.1", 50_000) if name == "peername" else None

    def close(self) -> None:
        """The server is done."""

    abort = pause_reading = resume_reading = close


class Wire:
    """One TCP connection to the server."""

    __slots__ = ("_protocol", "_transport")

    def __init__(self, shell: AsyncioShell) -> None:
        self._transport = Transport()
        self._protocol = AsyncioProtocol(shell)
        transport: Any = self._transport
        self._protocol.connection_made(transport)

    def exchange(self, data: bytes) -> bytes:
        """Give bytes to the server as one read; what it writes in answer."""
        self._protocol.data_received(data)
        return self.sent()

    def sent(self) -> bytes:
        """What the server wrote since this was last asked."""
        written = self._transport.written
        data = b"".join(written)
        written.clear()
        return data

    def lose(self) -> None:
        """The connection is gone."""
        self._protocol.connection_lost(None)


class Poller:
    """A client over HTTP long-polling: one connection for its GETs, one for its POSTs."""

    __slots__ = ("_get", "_path", "_post", "_sid", "_turns")

    def __init__(self, get: Wire, post: Wire, turns: Turns, path: bytes) -> None:
        self._get, self._post, self._turns, self._path = get, post, turns, path
        self._sid = b""
        handshake = self.poll()
        self._sid = b"&sid=" + handshake.split(b'"sid":"')[1].split(b'"')[0]

    def _sent(self, wire: Wire, request: bytes) -> bytes:
        answer = wire.exchange(request)
        self._turns.turn()
        return answer + wire.sent()

    def poll(self) -> bytes:
        """The answer to a GET, if there is one yet."""
        return self._sent(self._get, POLL % (self._path, self._sid))

    def post(self, packets: bytes) -> bytes:
        """What the POST of some packets is answered with, and behind it the answer to the GET that waited."""
        answer = self._sent(self._post, POST % (self._path, self._sid, len(packets), packets))
        return answer + self._get.sent()


class Served:
    """A server in its loop, ready for connections."""

    def __init__(self, server: Server[Any] | EngineServer) -> None:
        self.turns = Turns()
        self._path = server.engine.options.path.encode()
        loop: Any = self.turns
        self._shell = AsyncioShell(
            Site([server.engine], server.engine.options.limits, server.deadlines), loop
        )
        server.start(self.turns)

    def connect(self) -> Wire:
        """A new connection, before its first byte."""
        return Wire(self._shell)

    def upgraded(self) -> Wire:
        """A WebSocket with its session open."""
        wire = self.connect()
        answer = wire.exchange(UPGRADE % self._path)
        self.turns.turn()
        if b"101" not in answer[:16] or b'0{"sid"' not in answer + wire.sent():
            raise AssertionError(f"no session: {answer!r}")
        return wire

    def joined(self) -> Wire:
        """A WebSocket whose client is in the default namespace."""
        wire = self.upgraded()
        answer = wire.exchange(frames.client_frame(b"40"))
        self.turns.turn()
        if b"40{" not in answer + wire.sent():
            raise AssertionError(f"not connected: {answer!r}")
        return wire

    def polling(self) -> Poller:
        """A polling client that is in the default namespace."""
        poller = Poller(self.connect(), self.connect(), self.turns, self._path)
        answer = poller.post(b"40") + poller.poll()
        if b"40{" not in answer:
            raise AssertionError(f"not connected: {answer!r}")
        return poller
