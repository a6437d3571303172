"""A server without a network: connections that take bytes and give bytes, and a loop that is a list."""

from collections import deque
from collections.abc import Callable
from typing import Any

from benchmarks import frames
from sio_core.runtime import AsyncFunction, Runtime
from sio_core.server import EngineServer, Server
from sio_core.serving.connection import Connection
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

    def turn(self) -> None:
        """Make the calls that are due."""
        due = self._due
        while due:
            function, args = due.popleft()
            function(*args)


class Wire:
    """One TCP connection to the server."""

    __slots__ = ("_connection", "_sent", "_turns")

    def __init__(self, site: Site, turns: Turns) -> None:
        self._turns = turns
        self._sent: list[bytes] = []
        self._connection = Connection(site, self, NOW, address="127.0.0.1", port=50_000, secure=False)

    def exchange(self, data: bytes) -> bytes:
        """Give bytes to the server as one read; what it writes in answer."""
        self._connection.receive_data(data, NOW)
        return self._connection.data_to_send()

    def output_ready(self) -> None:
        """The server has something to write in the next turn."""
        self._turns.call_soon(self._flush)

    def _flush(self) -> None:
        self._sent.append(self._connection.data_to_send())

    def sent(self) -> bytes:
        """What the server wrote in the turns since this was last asked."""
        data = b"".join(self._sent)
        self._sent.clear()
        return data

    def wait_for(self, pending: Any) -> None:
        """Nothing in a micro-benchmark is asynchronous."""
        raise AssertionError("the server waits for the application")

    def flush(self) -> None:
        """Nothing is ever behind here."""

    def unsent(self) -> int:
        """The peer takes everything at once."""
        return 0


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
        self._site = Site([server.engine], server.engine.options.limits, server.deadlines)
        server.start(self.turns)

    def connect(self) -> Wire:
        """A new connection, before its first byte."""
        return Wire(self._site, self.turns)

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
