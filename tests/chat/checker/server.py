"""The chat, which kills itself at a named point: ``CHAT_CRASH=after_commit:7`` at the seventh time it gets there.

The points lie between the steps of storing, publishing and answering, so they are set around the log from outside;
the chat knows nothing of them. ``CHAT_MISTAKE`` plants a mistake that the checker must find.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from secrets import token_hex
from typing import Final

import anyio

from chat_app.__main__ import parse, serve, serve_workers
from chat_app.engines import is_postgres
from chat_app.log import Answer, Draft, Message, MessageLog, Publish, StorageError
from chat_app.postgres_log import PostgresLog
from chat_app.sqlite_log import SqliteLog

POINTS: Final = ("after_insert", "after_commit", "after_broadcast")
MISTAKES: Final = ("answers_before_commit", "stores_every_copy", "forgets_to_publish")
TIME_TO_LEAVE: Final = 0.03
"""Seconds for a broadcast to leave the process before it dies."""


class CrashingLog(MessageLog):
    """A log, with a death at one point."""

    point, _, count = os.environ.get("CHAT_CRASH", "").partition(":")
    mistake = os.environ.get("CHAT_MISTAKE", "")
    left = int(count or 0)

    def arrive(self, point: str, die: Callable[[], object] | None = None) -> bool:
        """Be at a point; tell whether this is the end."""
        if point != self.point:
            return False
        self.left -= 1
        if self.left == 0:
            (die or kill)()
        return self.left <= 0

    @asynccontextmanager
    async def running(self, publish: Publish) -> AsyncGenerator[None, None]:
        forgotten = 0

        def publish_or_die(message: Message, origin: str) -> None:
            nonlocal forgotten
            self.arrive("after_commit")
            forgotten += 1
            if self.mistake != "forgets_to_publish" or forgotten % 3:
                publish(message, origin)

        async with super().running(publish_or_die):
            yield

    def append(self, draft: Draft, answer: Answer) -> None:
        if self.mistake == "stores_every_copy":
            draft = replace(draft, author=f"{draft.author}/{token_hex(4)}")  # so that no id is known already

        def answer_or_die(outcome: Message | StorageError) -> None:
            if not self.arrive("after_broadcast", threading.Timer(TIME_TO_LEAVE, kill).start):
                answer(outcome)

        if self.mistake == "answers_before_commit":
            answer(
                Message(0, draft.room, 0, draft.author, draft.client_offset, draft.nickname, draft.text, 0)
            )
            answer_or_die = ignore
        super().append(draft, answer_or_die)


class CrashingSqliteLog(CrashingLog, SqliteLog):
    """The log in a file."""

    @asynccontextmanager
    async def running(self, publish: Publish) -> AsyncGenerator[None, None]:
        self._writer.set_trace_callback(
            lambda statement: statement == "COMMIT" and self.arrive("after_insert")
        )
        async with super().running(publish):
            yield


class CrashingPostgresLog(CrashingLog, PostgresLog):
    """The log in PostgreSQL."""

    def _insert(self, messages: list[Message]) -> None:
        super()._insert(messages)
        self.arrive("after_insert")


def ignore(outcome: Message | StorageError) -> None:
    """It has been answered."""


def kill() -> None:
    """Die at once, as by a power cut of the process."""
    os.kill(os.getpid(), signal.SIGKILL)


def main() -> None:
    """Serve the chat, with heartbeats quick enough to notice connections that lead nowhere."""
    options = parse()
    heartbeats = {"ping_interval": 1.0, "ping_timeout": 1.5}
    open_log = CrashingPostgresLog.open if is_postgres(options.database) else CrashingSqliteLog.open
    if options.workers > 1:
        serve_workers(options, open_log, **heartbeats)
        return
    with closing(open_log(options.database)) as log:
        anyio.run(functools.partial(serve, options, log, **heartbeats))


if __name__ == "__main__":
    main()
