"""The servers that are attacked: started once, and attacked by all tests one after the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.chat.conftest import browser
from tests.helpers.processes import ServerProcess
from tests.security.application import SHELLS
from tests.security.witness import Stand, opening

__all__ = ["anyio_backend", "browser", "processes", "shell", "stand"]


@pytest.fixture
def anyio_backend() -> object:
    """The attackers run on asyncio; what the servers run on is the parameter ``shell``."""
    return "asyncio"


@pytest.fixture(scope="session")
def processes() -> Iterator[Callable[[str], ServerProcess]]:
    """Start a server when it is first asked for. At its end its standard error must have no traceback."""
    with ExitStack() as stack:
        running: dict[str, ServerProcess] = {}

        def get(shell: str) -> ServerProcess:
            if shell not in running:
                running[shell] = stack.enter_context(ServerProcess("tests.security.application", shell))
            return running[shell]

        yield get


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    """What the server runs on."""
    return str(request.param)


@pytest.fixture
async def stand(processes: Callable[[str], ServerProcess], shell: str) -> AsyncIterator[Stand]:
    """A server under attack, with a witness."""
    async with opening(processes(shell), shell) as stand:
        yield stand
