"""`python -m benchmarks.micro.loops`: instructions that an event loop needs for one message and its answer.

In user mode, with a protocol that only answers: what any server on that loop starts from. A client in a process of
its own sends one message at a time. Each count is the difference of two runs, so that start and end fall out of it.
"""

import asyncio
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

MESSAGE, ANSWER = b"m" * 49, b"a" * 45
RUNS = (1_000, 3_000)
TOTALS = re.compile(r"^totals: (\d+)", re.MULTILINE)


class Answering(asyncio.Protocol):
    """Answers each read by a write."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(ANSWER)

    def connection_lost(self, exc: Exception | None) -> None:
        asyncio.get_running_loop().stop()


class Buffered(asyncio.BufferedProtocol):
    """The same with a buffer of its own."""

    buffer = bytearray(65_536)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        bytes(self.buffer[:nbytes])
        self.transport.write(ANSWER)

    def connection_lost(self, exc: Exception | None) -> None:
        asyncio.get_running_loop().stop()


class PastTheTransport(Answering):
    """The same with a system call of its own, while nothing waits in the transport."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.descriptor = transport.get_extra_info("socket").fileno()

    def data_received(self, data: bytes) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.write(ANSWER)
        else:
            os.write(self.descriptor, ANSWER)


CASES: dict[str, tuple[str, type[asyncio.BaseProtocol]]] = {
    "uvloop": ("uvloop", Answering),
    "uvloop, BufferedProtocol": ("uvloop", Buffered),
    "uvloop, os.write": ("uvloop", PastTheTransport),
    "asyncio": ("asyncio", Answering),
}
TRIO = "trio"


async def _answer_on_trio(listener: socket.socket) -> None:
    """Answer each read by a write, as soon as the loop says that the socket can be read."""
    import trio.lowlevel

    handle, _ = listener.accept()
    handle.setblocking(False)
    while True:
        await trio.lowlevel.wait_readable(handle)
        if not handle.recv(65_536):
            return
        handle.send(ANSWER)


def _serve(case: str, messages: int) -> None:
    """Answer a client that sends so many messages."""
    listener = socket.create_server(("127.0.0.1", 0))
    if os.fork() == 0:
        with socket.create_connection(listener.getsockname()) as client:
            for _ in range(messages):
                client.sendall(MESSAGE)
                client.recv(len(ANSWER))
        os._exit(0)
    if case == TRIO:
        import trio

        trio.run(_answer_on_trio, listener)
        return
    loop_name, protocol = CASES[case]
    if loop_name == "uvloop":
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    loop.run_until_complete(loop.create_server(protocol, sock=listener))
    loop.run_forever()


def _count(case: str, messages: int) -> int:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise SystemExit("valgrind is not installed (Debian and Ubuntu: apt-get install valgrind)")
    with tempfile.TemporaryDirectory() as folder:
        program = subprocess.Popen(
            [
                valgrind,
                "--quiet",
                "--tool=callgrind",
                f"--callgrind-out-file={folder}/%p",
                sys.executable,
                "-m",
                "benchmarks.micro.loops",
                case,
                str(messages),
            ]
        )
        if program.wait() != 0:
            raise SystemExit(f"{case} could not be counted")
        found = TOTALS.search(Path(folder, str(program.pid)).read_text())
        assert found is not None
        return int(found[1])


def main() -> None:
    """Print the table, or serve one case."""
    if len(sys.argv) == 3:
        _serve(sys.argv[1], int(sys.argv[2]))
        return
    fewer, more = RUNS
    for case in (*CASES, TRIO):
        instructions = (_count(case, more) - _count(case, fewer)) // (more - fewer)
        print(f"{case:28} {instructions:>8,}", flush=True)


if __name__ == "__main__":
    main()
