"""The physical limit: a bare epoll loop that answers prepared bytes and knows no protocol.

It completes the handshakes, turns the first request it sees into a reply, and from then on only counts
the bytes that arrive: so many requests' worth in, so many replies out. What a server costs above this is
its own; what it costs below this does not exist on this machine in Python.
"""

import select
import socket
from collections.abc import Callable

from benchmarks import frames
from benchmarks.servers.options import BACKLOG, HOST, read_options

OPENING = frames.UPGRADED + frames.server_frame(
    b'0{"sid":"aaaaaaaaaaaaaaaaaaaa","upgrades":[],"pingInterval":25000,"pingTimeout":20000,'
    b'"maxPayload":1000000}'
)
CONNECTED = frames.server_frame(b'40{"sid":"bbbbbbbbbbbbbbbbbbbb"}')
CLOSED = bytes.fromhex("880203e8")
CLOSE_FRAME_SIZE = 8


class _Peer:
    """One connection: how far its handshake is, and what of a request has arrived."""

    __slots__ = ("fed", "on_data", "rest", "socket", "unsent")

    def __init__(self, connection: socket.socket, on_data: Callable[["_Peer", bytes], None]) -> None:
        self.socket = connection
        self.on_data = on_data
        self.rest = b""
        self.fed = 0
        self.unsent = b""


class Loop:
    """Listens, and answers prepared bytes."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server((HOST, port), backlog=BACKLOG)
        self._listener.setblocking(False)
        self._poller = select.epoll()
        self._peers: dict[int, _Peer] = {}
        self._request_size = 0
        self._reply = b""
        self._is_broadcast = False

    def run(self) -> None:
        """Serve until terminated."""
        listener = self._listener.fileno()
        self._poller.register(listener, select.EPOLLIN)
        peers = self._peers
        poll = self._poller.poll
        while True:
            for fd, events in poll():
                if fd == listener:
                    self._accept()
                    continue
                peer = peers[fd]
                if events & select.EPOLLOUT:
                    self._write(peer, b"")
                    continue
                try:
                    data = peer.socket.recv(262_144)
                except ConnectionResetError:
                    data = b""
                if data:
                    peer.on_data(peer, data)
                else:
                    self._close(peer)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            connection.setblocking(False)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._peers[connection.fileno()] = _Peer(connection, self._upgrade)
            self._poller.register(connection, select.EPOLLIN)

    def _close(self, peer: _Peer) -> None:
        del self._peers[peer.socket.fileno()]
        peer.socket.close()

    def _write(self, peer: _Peer, data: bytes) -> None:
        data = peer.unsent + data
        try:
            sent = peer.socket.send(data)
        except BlockingIOError:
            sent = 0
        had_unsent = bool(peer.unsent)
        peer.unsent = data[sent:]
        if bool(peer.unsent) != had_unsent:
            self._poller.modify(peer.socket, select.EPOLLIN | (select.EPOLLOUT if peer.unsent else 0))

    def _upgrade(self, peer: _Peer, data: bytes) -> None:
        peer.rest += data
        if peer.rest.endswith(b"\r\n\r\n"):
            peer.rest = b""
            peer.on_data = self._connect
            peer.socket.send(OPENING)

    def _connect(self, peer: _Peer, data: bytes) -> None:
        peer.on_data = self._learn
        peer.socket.send(CONNECTED)

    def _learn(self, peer: _Peer, data: bytes) -> None:
        if data.endswith(frames.CLOSE_FRAME):
            peer.socket.send(CLOSED)
            self._close(peer)
            return
        peer.rest += data
        if not self._reply:
            exchange = frames.answer(peer.rest)
            if exchange is None:
                return
            self._request_size, self._reply = exchange
            self._is_broadcast = b'"broadcast"' in self._reply[:32]
        peer.on_data = self._broadcast if self._is_broadcast else self._count
        data, peer.rest = peer.rest, b""
        peer.on_data(peer, data)

    def _count(self, peer: _Peer, data: bytes) -> None:
        fed = peer.fed + len(data)
        requests = fed // self._request_size
        peer.fed = fed - requests * self._request_size
        if requests == 1 and not peer.unsent:
            sent = peer.socket.send(self._reply)
            if sent < len(self._reply):
                self._write(peer, self._reply[sent:])
        elif requests:
            self._write(peer, self._reply * requests)

    def _broadcast(self, peer: _Peer, data: bytes) -> None:
        fed = peer.fed + len(data)
        requests = fed // self._request_size
        peer.fed = fed - requests * self._request_size
        if requests:
            reply = self._reply * requests
            for receiver in self._peers.values():
                self._write(receiver, reply)


if __name__ == "__main__":
    Loop(read_options("limit").port).run()
