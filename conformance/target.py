"""The server under test: one that runs already, or one that is started for each profile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import socket
from dataclasses import dataclass, field
from urllib.parse import urlsplit

UNSUPPORTED_EXIT = 64
"""Exit code of an application that cannot offer a profile."""

START_TIMEOUT = 20.0
STOP_TIMEOUT = 5.0
LOG_TAIL = 4000

PATHS = {"options": "/realtime/"}
"""Profiles whose server answers on another path than ``/socket.io/``."""


class UnsupportedProfileError(Exception):
    """The application says that its server cannot offer this profile."""


class StartError(Exception):
    """The server did not begin to listen."""


@dataclass(slots=True)
class Server:
    """Where one profile of the server under test is reached."""

    host: str
    port: int
    path: str
    profile: str
    process: asyncio.subprocess.Process | None = None
    command: str = ""
    output: bytearray = field(default_factory=bytearray)
    """The last of what the process printed, for the report of a server that ended by itself."""
    _reader: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def running(self) -> bool:
        return self.process is None or self.process.returncode is None

    async def start(self) -> None:
        self.process = await asyncio.create_subprocess_exec(
            *shlex.split(self.command),
            "--profile",
            self.profile,
            "--port",
            str(self.port),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = asyncio.create_task(self._read_output(self.process))
        try:
            async with asyncio.timeout(START_TIMEOUT):
                await self._wait_listening(self.process)
        except TimeoutError as error:
            await self.stop()
            raise StartError(f"{self.command} did not listen in {START_TIMEOUT:g} s\n{self.log}") from error
        except asyncio.CancelledError:  # another server did not start, and nobody will stop this one
            await self.stop()
            raise

    async def _wait_listening(self, process: asyncio.subprocess.Process) -> None:
        while True:
            if process.returncode == UNSUPPORTED_EXIT:
                raise UnsupportedProfileError(self.profile)
            if process.returncode is not None:
                await asyncio.sleep(0)
                raise StartError(f"{self.command} exited with {process.returncode}\n{self.log}")
            try:
                _, writer = await asyncio.open_connection(self.host, self.port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return

    async def _read_output(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while chunk := await process.stdout.read(4096):
            self.output += chunk
            del self.output[:-LOG_TAIL]

    @property
    def log(self) -> str:
        return self.output.decode("utf-8", "replace")

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End the process, and with it whatever it has started: it leads a process group of its own."""
        if self.process is None:
            return
        group = self.process.pid
        for attempt in (how, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(group, attempt)
            try:
                async with asyncio.timeout(STOP_TIMEOUT):
                    await self.process.wait()
            except TimeoutError:
                continue
            break
        if self._reader is not None:
            self._reader.cancel()


def server_at(url: str, profile: str) -> Server:
    parts = urlsplit(url)
    path = parts.path if parts.path not in ("", "/") else PATHS.get(profile, "/socket.io/")
    return Server(parts.hostname or "127.0.0.1", parts.port or 80, path, profile)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def server_of(command: str, profile: str) -> Server:
    path = PATHS.get(profile, "/socket.io/")
    return Server("127.0.0.1", free_port(), path, profile, command=command)
