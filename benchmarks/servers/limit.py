"""The physical limit: a bare loop that answers prepared bytes and knows no protocol.

It completes the handshakes, turns the first request it sees into a reply, and from then on only counts
the bytes that arrive: so many requests' worth in, so many replies out. What a server costs above this is
its own; what it costs below this does not exist on this machine in Python.

Two loops carry it: epoll by hand, and a protocol on uvloop. The second is what any server on uvloop starts from.
"""

import asyncio
import select
import socket
from collections.abc import Callable
from typing import cast

from benchmarks import frames
from benchmarks.servers.options import BACKLOG, HOST, read_options

OPENING = frames.UPGRADED + frames.server_frame(
    b'0{"sid":"aaaaaaaaaaaaaaaaaaaa","upgrades":[],"pingInterval":25000,"pingTimeout":20000,'
    b'"maxPayload":1000000}'
)
CONNECTED = frames.server_frame(b'40{"sid":"bbbbbbbbbbbbbbbbbbbb"}')
CLOSED = bytes.fromhex("880203e8")
CLOSE_FRAME_SIZE = 8


class Answers:
    """What all connections have learned from the first request: its size, and the reply to it."""

    def __init__(self) -> None:
        self.peers: set[Peer] = set()
        self.request_size = 0
        self.reply = b""
        self.is_broadcast = False


class Peer:
    """One connection: how far its handshake is, and what of a request has arrived.

    :ivar send: writes to the peer; of an asyncio loop the transport's own method, with nothing between.
    :ivar close: closes the connection.
    """

    __slots__ = ("_answers", "_fed", "_rest", "receive")

    send: Callable[[bytes], object]
    close: Callable[[], object]

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._fed = 0
        self._rest = b""
        self.receive = self._upgrade
        answers.peers.add(self)

    def forget(self) -> None:
        """The connection is gone."""
        self._answers.peers.discard(self)

    def _upgrade(self, data: bytes) -> None:
        self._rest += data
        if self._rest.endswith(b"\r\n\r\n"):
            self._rest = b""
            self.receive = self._connect
            self.send(OPENING)

    def _connect(self, data: bytes) -> None:
        self.receive = self._learn
        self.send(CONNECTED)

    def _learn(self, data: bytes) -> None:
        if data.endswith(frames.CLOSE_FRAME):
            self.send(CLOSED)
            self.close()
            return
        self._rest += data
        answers = self._answers
        if not answers.reply:
            exchange = frames.answer(self._rest)
            if exchange is None:
                return
            answers.request_size, answers.reply = exchange
            answers.is_broadcast = b'"broadcast"' in answers.reply[:32]
        self.receive = self._broadcast if answers.is_broadcast else self._count
        data, self._rest = self._rest, b""
        self.receive(data)

    def _count(self, data: bytes) -> None:
        answers = self._answers
        size = answers.request_size
        fed = self._fed + len(data)
        requests = fed // size
        self._fed = fed - requests * size
        if requests:
            self.send(answers.reply if requests == 1 else answers.reply * requests)

    def _broadcast(self, data: bytes) -> None:
        answers = self._answers
        fed = self._fed + len(data)
        requests = fed // answers.request_size
        self._fed = fed - requests * answers.request_size
        if requests:
            reply = answers.reply * requests
            for receiver in answers.peers:
                receiver.send(reply)


class PolledPeer(Peer):
    """A connection in the epoll loop."""

    __slots__ = ("_loop", "_unsent", "socket")

    def __init__(self, answers: Answers, loop: "EpollLoop", connection: socket.socket) -> None:
        super().__init__(answers)
        self._loop = loop
        self._unsent = b""
        self.socket = connection

    def send(self, data: bytes) -> None:
        if self._unsent:
            self._unsent += data
            return
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._unsent = data[sent:]
            self._loop.poller.modify(self.socket, select.EPOLLIN | select.EPOLLOUT)

    def flush(self) -> None:
        """The peer takes bytes again."""
        data, self._unsent = self._unsent, b""
        self.send(data)
        if not self._unsent:
            self._loop.poller.modify(self.socket, select.EPOLLIN)

    def close(self) -> None:
        self._loop.forget(self)
        self.forget()
        self.socket.close()


class EpollLoop:
    """Listens, and reads what comes."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server((HOST, port), backlog=BACKLOG)
        self._listener.setblocking(False)
        self._answers = Answers()
        self._peers: dict[int, PolledPeer] = {}
        self.poller = select.epoll()

    def run(self) -> None:
        """Serve until terminated."""
        listener = self._listener.fileno()
        self.poller.register(listener, select.EPOLLIN)
        peers = self._peers
        poll = self.poller.poll
        while True:
            for fd, events in poll():
                if fd == listener:
                    self._accept()
                    continue
                peer = peers[fd]
                if events & select.EPOLLOUT:
                    peer.flush()
                    continue
                try:
                    data = peer.socket.recv(65_536)
                except ConnectionResetError:
                    data = b""
                if data:
                    peer.receive(data)
                else:
                    peer.close()

    def forget(self, peer: PolledPeer) -> None:
        """A connection is closed."""
        del self._peers[peer.socket.fileno()]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._peers[connection.fileno()] = PolledPeer(self._answers, self, connection)
            self.poller.register(connection, select.EPOLLIN)


class LoopPeer(Peer, asyncio.Protocol):
    """A connection of an asyncio loop."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.send = self._transport.write
        self.close = self._transport.close

    def data_received(self, data: bytes) -> None:
        self.receive(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.forget()


async def _serve(port: int) -> None:
    answers = Answers()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: LoopPeer(answers), HOST, port, backlog=BACKLOG)
    await server.serve_forever()


def main() -> None:
    """Serve until terminated."""
    options = read_options("epoll", "uvloop")
    if options.variant == "epoll":
        EpollLoop(options.port).run()
    else:
        import uvloop

        uvloop.run(_serve(options.port))


if __name__ == "__main__":
    main()
