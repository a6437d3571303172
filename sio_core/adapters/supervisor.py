"""The supervised subscriber: a connection that is made again whenever it ends, or has gone deaf."""

from __future__ import annotations

import logging
import random
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from typing import Final

import anyio

from sio_core.adapters.base import Host
from sio_core.adapters.timers import Timer, pause, within
from sio_core.runtime import Waiter, as_error

__all__ = ["Supervisor"]

FIRST_DELAY: Final = 0.1
"""Seconds until the first attempt to connect again, doubled with each."""

LAST_DELAY: Final = 5.0
"""The most that becomes of them."""

SILENCE: Final = 5.0
"""Seconds without a sign of life after which the connection is asked for one."""

PATIENCE: Final = 10.0
"""Seconds it may take to give one, or to be connected. So none is deaf for longer than 15 s unnoticed."""

logger = logging.getLogger(__name__)


class Supervisor:
    """Runs ``connect_and_read(supervisor)`` for ever, one at a time.

    That function connects, subscribes, calls :meth:`up`, and then reads until the connection ends; it calls
    :meth:`heard` for whatever comes. It may end in any way: it is called again, after a delay that grows with each
    failure, half of it by chance, so that the nodes of a cluster do not come all at once.

    :param what: names the connection in the log.
    :param probe: publishes something that this connection must hear, by way of another; ``None`` to trust it.
    :param on_up: called when it hears again after it was lost.
    :ivar connected: whether it hears.
    """

    __slots__ = (
        "_asked",
        "_asking",
        "_attempt",
        "_connect_and_read",
        "_delay",
        "_ended",
        "_heard_at",
        "_host",
        "_life",
        "_lost",
        "_on_up",
        "_probe",
        "_stopping",
        "_timer",
        "_what",
        "connected",
    )

    def __init__(
        self,
        host: Host,
        what: str,
        connect_and_read: Callable[[Supervisor], Awaitable[object]],
        *,
        probe: Callable[[], Awaitable[object]] | None = None,
        on_up: Callable[[], object] | None = None,
    ) -> None:
        self.connected = False
        self._host = host
        self._what = what
        self._connect_and_read = connect_and_read
        self._probe = probe
        self._on_up = on_up
        self._timer = Timer(host, self._on_time)
        self._life: anyio.CancelScope | None = None
        self._attempt: anyio.CancelScope | None = None
        self._asking: anyio.CancelScope | None = None
        self._ended: Waiter | None = None
        self._stopping = False
        self._lost = False
        self._asked = False
        self._heard_at = 0.0
        self._delay = FIRST_DELAY

    def start(self) -> None:
        """Connect, as a task of the server."""
        self._stopping = False
        self._lost = False
        self._delay = FIRST_DELAY
        self._ended = Waiter()
        self._host.runtime.spawn(self._run, self._ended)

    async def stop(self) -> None:
        """End the connection; returns when its task has ended."""
        self._stopping = True
        for scope in (self._asking, self._life):
            if scope is not None:
                scope.cancel()
        if self._ended is not None:
            await self._ended.wait()

    def up(self) -> None:
        """The connection hears from now on."""
        self.connected = True
        self._delay = FIRST_DELAY
        self.heard()
        self._timer.set(self._heard_at + SILENCE)
        if self._lost:
            self._lost = False
            logger.warning("%s: connected again", self._what)
            if self._on_up is not None:
                self._on_up()

    def heard(self) -> None:
        """Something has come by the connection."""
        self._heard_at = self._host.runtime.now()
        self._asked = False

    def restart(self) -> None:
        """Give the connection up, and make another."""
        if self._attempt is not None:
            self._attempt.cancel()

    async def _run(self, ended: Waiter) -> None:
        try:
            with anyio.CancelScope() as self._life:
                while not self._stopping:
                    error = await self._connect()
                    if not self._lost:  # once for each time it is away
                        logger.error(
                            "%s: lost, and connected again as soon as possible: %r", self._what, error
                        )
                    self._lost = True
                    delay = self._delay * random.uniform(0.5, 1.0)  # noqa: S311 - it is no secret
                    self._delay = min(2 * self._delay, LAST_DELAY)
                    await pause(self._host, delay)
        finally:
            self._life = None
            ended.set()

    async def _connect(self) -> Exception:
        """Connect and read, until that ends; return why."""
        self._asked = False
        self._timer.set_after(PATIENCE)
        try:
            with anyio.CancelScope() as self._attempt:
                await self._connect_and_read(self)
                return ConnectionError("the connection has ended")
        except CancelledError as error:  # of something that it has awaited, or of this task
            return as_error(error)
        except Exception as error:
            return error
        finally:
            self.connected = False
            self._attempt = None
            self._timer.stop()
        return TimeoutError("nothing was heard")

    def _on_time(self, now: float) -> None:
        """Nothing was heard for a while: ask for a sign of life, or give up."""
        if not self.connected or self._asked:
            self.restart()
        elif now < self._heard_at + SILENCE:
            self._timer.set(self._heard_at + SILENCE)
        elif self._probe is not None:
            self._asked = True
            self._timer.set(now + PATIENCE)
            self._host.runtime.spawn(self._ask, self._probe)

    async def _ask(self, probe: Callable[[], Awaitable[object]]) -> None:
        with anyio.CancelScope() as self._asking:
            try:
                await within(self._host, PATIENCE, "a sign of life", probe())
            except Exception as error:  # then it is not heard, either
                logger.debug("%s: %r", self._what, error)
        self._asking = None
