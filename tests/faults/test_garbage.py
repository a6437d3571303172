"""What a gone client leaves is freed at once: nothing of it waits until garbage is collected, which may take minutes.

A server for many clients has many objects, and the interpreter looks for cycles among all of them only when a quarter
of them are new. What waits till then is memory for clients that are no longer there, and the heap grows around it.
"""

from __future__ import annotations

import gc
import socket
import ssl
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import product
from typing import Any, Final

import anyio
import pytest
import trustme

from sio_core import Recovery, Server
from tests.faults.client import BROKEN, Client, Ended
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.anyio

CLIENTS = 5

WAYS: Final = {
    "leaves": {"client namespace disconnect"},
    "resets": {"transport close", "transport error", "ping timeout"},  # the last if no GET was waiting
    "falls silent": {"ping timeout"},
    "breaks the protocol": {"parse error", "forced close", "forced server close"},
    "is disconnected": {"server namespace disconnect"},
}
"""How a client goes, and what the server may say of it."""

Tls = tuple[ssl.SSLContext, ssl.SSLContext]


@contextmanager
def garbage() -> Iterator[Counter[str]]:
    """Collect nothing in the block; then count what the server had in cycles, by type."""
    found: Counter[str] = Counter()
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        kinds = [type(item) for item in gc.garbage]
        found.update(kind.__qualname__ for kind in kinds if kind.__module__.startswith("sio_core."))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def garbage_of(transport: str, how: str, tls: Tls | None = None) -> Counter[str]:
    """Have clients of a server that goes on come and go in that way; return what was left in cycles."""
    io: Server[Any] = Server(ping_interval=0.4, ping_timeout=1.0, connection_state_recovery=Recovery())
    reasons: list[str] = []
    io.on("echo", lambda socket, value: value)
    io.on("disconnect", lambda socket, reason: reasons.append(reason))
    io.on("end me", lambda socket: socket.disconnect(True))
    server_context, client_context = tls or (None, None)
    async with io.listen(ssl=server_context) as listening:
        tasks = len(anyio.get_running_tasks())
        with garbage() as found:
            async with anyio.create_task_group() as task_group:
                for _ in range(CLIENTS):
                    client = Client(listening.port, transport=transport, tls=client_context)
                    task_group.start_soon(live, client, how)
            await eventually(lambda: len(reasons) == CLIENTS)
            await eventually(lambda: not listening.site.connections)
            await eventually(lambda: len(anyio.get_running_tasks()) <= tasks)
        assert io.stats()["sessions"] == 0
    assert set(reasons) <= WAYS[how]
    return found


async def live(client: Client, how: str) -> None:
    """Come, talk, and go in that way."""
    with suppress(Ended, *BROKEN):
        async with anyio.create_task_group() as task_group:
            await client.open()
            task_group.start_soon(client.run)
            await client.wait_joined()
            assert await client.call("echo", "hello") == "hello"
            if how == "leaves":
                await client.leave()
            elif how == "falls silent":
                client.answers_pings = False
            elif how == "breaks the protocol":
                await client.send("4nonsense")
            elif how == "is disconnected":
                await client.emit("end me")
            else:
                client.reset_on_close()
                task_group.cancel_scope.cancel()
            await client.wait_ended()
            task_group.cancel_scope.cancel()
    await client.close()


@pytest.mark.parametrize(
    ("transport", "how"),
    # A session that is closed on polling waits for its last GET, which this client does not send.
    [
        pair
        for pair in product(["websocket", "polling", "upgrade"], WAYS)
        if pair != ("polling", "is disconnected")
    ],
)
async def test_a_gone_client_leaves_no_garbage(transport: str, how: str) -> None:
    assert not await garbage_of(transport, how)


@pytest.mark.parametrize("transport", ["websocket", "polling"])
@pytest.mark.parametrize("how", ["leaves", "resets"])
async def test_nor_does_one_with_tls(transport: str, how: str) -> None:
    authority = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    assert not await garbage_of(transport, how, (server_context, client_context))


async def test_what_is_read_takes_no_more_memory_than_it_is_long() -> None:
    """Memory that is given back at once leaves holes in the heap, which grows for hours then."""
    request = b"GET /nothing HTTP/1.1\r\nHost: a\r\n\r\n"

    async def ask(client: socket.socket) -> bytes:
        client.sendall(request)
        await anyio.wait_readable(client)
        return client.recv(1_000)

    async with Server[Any]().listen() as listening:
        with socket.create_connection(("127.0.0.1", listening.port), timeout=15) as client:
            await ask(client)
            tracemalloc.start()
            try:
                answer = await ask(client)
                assert answer.startswith(b"HTTP/1.1 404 ")
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert peak < 32_000
