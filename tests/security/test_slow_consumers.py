"""Clients that do not take what is sent to them cost their own connection, and nobody else anything."""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import anyio
import pytest

from sio_core import Limits
from tests.helpers.processes import ServerProcess
from tests.security.place import serving
from tests.security.rawclient import frame
from tests.security.timewarp import ASYNCIO, TRIO, settle

SIZE = 50_000
MESSAGES = 1_000
BATCH = 2
MEGABYTE = 1 << 20

OVERHEAD = 12 * MEGABYTE
"""Memory beside what is bounded: of an allocator, and of messages that are on their way to those who read."""

PATIENCE = 20.0

HANDSHAKE = (
    "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\n"
    "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)

HEAD_SIZE = 128
"""Bytes of a message that are looked at: its event and its number."""


BUFFER = bytearray(MEGABYTE)
"""Where everybody reads: what is not looked at is not copied."""


class Client:
    """A WebSocket that counts the news: they must come in order, and none may be missing.

    :ivar expected: the number of the next.
    :ivar last: the beginning of the latest.
    :ivar others: every other message.
    """

    def __init__(self, port: int, buffer: int | None = None) -> None:
        self.handle = socket.socket()
        if buffer is not None:
            self.handle.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.handle.connect(("127.0.0.1", port))
        self.handle.settimeout(PATIENCE)
        self.handle.sendall(HANDSHAKE.encode())
        self.expected = 0
        self.last = b""
        self.others: list[str] = []
        self._skip = 0  # bytes of the message that is being read
        self._rest = b""
        while b"\r\n\r\n" not in self._rest:
            self._rest += self.handle.recv(4_096)
        self._rest = self._rest.partition(b"\r\n\r\n")[2]

    def say(self, message: str) -> None:
        self.handle.sendall(frame(message))

    def read(self) -> bool:
        """Take what there is; ``False`` at the end of the connection."""
        try:
            count = self.handle.recv_into(BUFFER)
        except ConnectionError:
            return False
        self._take(memoryview(BUFFER)[:count])
        return bool(count)

    def _take(self, data: memoryview[int] | bytes) -> None:
        position = min(self._skip, len(data))
        self._skip -= position
        if self._skip:
            return
        if self._rest:
            data = self._rest + data[position:]
            position = 0
        while len(data) - position >= 2:
            length, start = data[position + 1], position + 2
            if length >= 126:
                start += 2 if length == 126 else 8
                length = int.from_bytes(data[position + 2 : start], "big")
            if len(data) < start + min(length, HEAD_SIZE):
                break
            self._see(bytes(data[start : start + min(length, HEAD_SIZE)]))
            position = min(start + length, len(data))
            self._skip = start + length - position
        self._rest = bytes(data[position:])

    def _see(self, head: bytes) -> None:
        if head.startswith(b'42["news",'):
            number = int(head[10 : head.index(b",", 10)])
            assert number == self.expected, f"{number} came instead of {self.expected}"
            self.expected += 1
            self.last = head
        elif head == b"2":
            self.say("3")
        else:
            self.others.append(head.decode(errors="replace"))

    def wait_for(self, beginning: str) -> str:
        """Read until a message has come that is none of the news."""
        while not any([message.startswith(beginning) for message in self.others]):
            assert self.read(), f"no {beginning} has come, but {self.others}"
        return next(message for message in self.others if message.startswith(beginning))


class Audience:
    """A server, those who read, and the one who tells it to broadcast."""

    def __init__(self, port: int, healthy: int, stack: ExitStack) -> None:
        self.port = port
        self._stack = stack
        self._selector = stack.enter_context(selectors.DefaultSelector())
        self.healthy = [self.client() for _ in range(healthy)]
        for client in self.healthy:
            client.say("40")
            client.wait_for("40")
            self._selector.register(client.handle, selectors.EVENT_READ, client)
        self._control = self.client()
        self._control.say("40/control,")
        self._control.wait_for("40/control,")

    def client(self, buffer: int | None = None) -> Client:
        client = Client(self.port, buffer)
        self._stack.callback(client.handle.close)
        return client

    def broadcast(self, first: int, count: int, size: int = SIZE) -> dict[str, Any]:
        """Have messages broadcast, and wait until everybody who reads has them."""
        self._control.say(f'42/control,1["broadcast",{first},{count},{size}]')
        answer = b""
        while not answer.endswith(b"]"):
            answer += self._control.handle.recv(65_536)
            if answer == b"\x81\x012":  # a ping
                self._control.say("3")
                answer = b""
        until = time.monotonic() + PATIENCE
        while any([client.expected < first + count for client in self.healthy]):
            assert time.monotonic() < until, "somebody who reads does not get everything"
            for key, _ in self._selector.select(0.1):
                assert key.data.read(), "somebody who reads was disconnected"
        result: dict[str, Any] = json.loads(answer[answer.index(b"[") :])[0]
        return result


@contextmanager
def audience(shell: str, healthy: int, recovery_bytes: int = 0) -> Iterator[Audience]:
    with ExitStack() as stack:
        arguments = ("tests.security.broadcaster", shell, "--recovery-bytes", str(recovery_bytes))
        server = stack.enter_context(ServerProcess(*arguments))
        yield Audience(server.port, healthy, stack)


def broadcast_everything(there: Audience, first: int) -> tuple[int, dict[str, Any]]:
    """Broadcast to the end; return by how many bytes the server has grown at most, and what it says in the end."""
    report = there.broadcast(first, BATCH)
    before = most = report["memory"]
    for number in range(first + BATCH, MESSAGES, BATCH):
        report = there.broadcast(number, BATCH)
        most = max(most, report["memory"])
    return most - before, report


class Stalled:
    """Reads the first news, and then nothing.

    :ivar session: what it needs to come back.
    """

    def __init__(self, there: Audience) -> None:
        self._there = there
        self.client = there.client(buffer=16_384)
        self.client.say("40")
        self.session = json.loads(self.client.wait_for("40")[2:])
        there.broadcast(0, BATCH, size=1)
        while self.client.expected < BATCH:
            assert self.client.read()

    def come_back(self) -> tuple[bool, Client]:
        """Come back on a new connection; return whether the session is the old one."""
        client = self._there.client()
        client.expected = self.client.expected
        offset = json.loads(self.client.last[2:])[-1]
        client.say(f"40{json.dumps({'pid': self.session['pid'], 'offset': offset})}")
        return json.loads(client.wait_for("40")[2:])["sid"] == self.session["sid"], client


@pytest.mark.timeout(240)  # ten gigabytes, where two hundred read
@pytest.mark.parametrize(
    ("shell", "healthy"),
    [("uvloop", 200), ("trio", 10), ("uvicorn", 10)],
    ids=["uvloop", "trio", "uvicorn"],
)
def test_one_that_stalls_costs_nobody_anything_and_misses_nothing(shell: str, healthy: int) -> None:
    with audience(shell, healthy, recovery_bytes=64 * MEGABYTE) as there:
        stalled = Stalled(there)
        grown, report = broadcast_everything(there, BATCH)
        assert [client.expected for client in there.healthy] == [MESSAGES] * healthy
        assert grown < MESSAGES * SIZE + MEGABYTE + OVERHEAD  # the log, and what waited for one
        check_end(report)
        recovered, client = stalled.come_back()
        assert recovered
        while client.expected < MESSAGES:  # it checks that none is missing
            assert client.read()
        assert not any(["volatile" in message for message in client.others])
        there.broadcast(MESSAGES, 1)
        while client.expected <= MESSAGES:
            assert client.read()


def check_end(report: dict[str, Any]) -> None:
    """Only one was disconnected, as soon as the bound was reached."""
    ((reason, details),) = report["ends"]
    assert reason == "transport close"
    assert details["limit"] == "outbox_bytes"
    assert MEGABYTE <= details["value"] < MEGABYTE + 2 * SIZE
    assert report["hits"]["outbox_bytes"] == 1


@pytest.mark.parametrize("shell", ["uvloop", "trio"])
def test_more_than_is_kept_is_not_recovered_in_part(shell: str) -> None:
    with audience(shell, 5, recovery_bytes=1) as there:
        stalled = Stalled(there)
        grown, report = broadcast_everything(there, BATCH)
        assert grown < 32 * MEGABYTE + MEGABYTE + OVERHEAD
        check_end(report)
        recovered, client = stalled.come_back()
        assert not recovered
        assert client.expected == BATCH  # nothing of what it missed
        client.expected = MESSAGES
        there.broadcast(MESSAGES, 1)
        while client.expected <= MESSAGES:
            assert client.read()


@pytest.mark.parametrize("shell", ["uvloop", "uvicorn"])
def test_without_recovery_nothing_is_kept(shell: str) -> None:
    with audience(shell, 5) as there:
        there.client(buffer=16_384).say("40")
        grown, report = broadcast_everything(there, 0)
        assert grown < MEGABYTE + OVERHEAD
        check_end(report)


# The three ways to send


@pytest.fixture(params=["asyncio", "trio", "uvicorn"])
def running_shell(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def anyio_backend(running_shell: str) -> Any:
    return TRIO if running_shell == "trio" else ASYNCIO


@pytest.mark.anyio
async def test_what_is_dropped_what_waits_and_what_does_not(running_shell: str) -> None:
    async with serving(running_shell, Limits(outbox_low_water=100_000)) as place:
        raw = await place.member()
        slow = place.socket(raw)
        news = 0
        while not slow.conn.blocked or not slow.conn.outbox_bytes:
            slow.emit("news", news, "x" * 10_000)
            news += 1
            await settle()
        waiting = slow.conn.outbox_bytes
        other = await place.member()

        for _ in range(20):
            slow.volatile.emit("volatile")
            place.io.volatile.emit("volatile")
            assert await other.text() == '42["volatile"]'
        assert slow.conn.outbox_bytes == waiting  # dropped, for the slow one alone

        with anyio.fail_after(1):
            while slow.conn.outbox_bytes < 300_000:  # broadcasts wait for nobody
                await place.io.emit("news", news, "x" * 10_000)
                news += 1
        sent = False

        async def send() -> None:
            nonlocal sent
            await slow.emit("news", news, "x" * 10_000)  # this does
            sent = True

        async with anyio.create_task_group() as task_group:
            task_group.start_soon(send)
            await settle()
            assert not sent
            for number in range(news + 1):  # all of them, in their order
                assert (await raw.text()).startswith(f'42["news",{number},')
            await place.until(lambda: sent)
        assert slow.connected
