"""Both sides of every bound of Socket.IO: packets, namespaces, listeners, recovery."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from sio_core import AckTimeout, Limits, LocalProtocolError
from tests.security.place import Place, serving
from tests.security.rawclient import Raw
from tests.security.timewarp import ASYNCIO, TRIO, pass_time, settle

pytestmark = pytest.mark.anyio

TIMES = 10


@pytest.fixture(params=["asyncio", "trio", "uvicorn"])
def shell(request: pytest.FixtureRequest) -> str:
    """Our own listeners, and ASGI."""
    return str(request.param)


@pytest.fixture
def anyio_backend(shell: str) -> Any:
    return TRIO if shell == "trio" else ASYNCIO


@asynccontextmanager
async def echoing(shell: str, **limits: Any) -> AsyncGenerator[tuple[Place, Raw], None]:
    """A server whose listener answers with what it got, and a client of it."""
    async with serving(shell, Limits(**limits)) as place:
        place.io.on("echo", lambda socket, *args: args)
        yield place, await place.member()


async def refused(place: Place, raw: Raw, *messages: str | bytes) -> dict[str, int]:
    """Say what is over a bound: it costs the client its connection. Return what was counted."""
    await raw.say(*messages)
    await raw.closed()
    assert place.io.engine.clients == {}
    return place.hits


# What a packet holds


@pytest.mark.limit("attachments")
async def test_the_attachments_of_a_packet(shell: str) -> None:
    async with echoing(shell, attachments=3) as (place, raw):
        places = [{"_placeholder": True, "num": number} for number in range(3)]
        for _ in range(TIMES * 3):
            await raw.say(f"453-1{json.dumps(['echo', *places])}", b"a", b"b", b"c")
            assert (await raw.text()).startswith("463-1[")
            assert [await raw.message() for _ in range(3)] == [b"a", b"b", b"c"]
        assert place.hits == {}
        assert await refused(place, raw, '454-["echo"]') == {"attachments": 1}


@pytest.mark.limit("attachment_bytes")
async def test_the_bytes_of_attachments(shell: str) -> None:
    async with echoing(shell, attachment_bytes=1_000) as (place, raw):
        head = '452-["ignored",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'
        for _ in range(TIMES * 10):
            await raw.say(head, bytes(600), bytes(400))
        assert await raw.ask("echo") == []
        assert place.hits == {}
        assert await refused(place, raw, head, bytes(600), bytes(401)) == {"attachment_bytes": 1}


@pytest.mark.limit("attachment_time")
async def test_the_time_of_attachments(shell: str) -> None:
    async with echoing(shell, attachment_time=60.0) as (place, raw):
        head = '451-1["echo",{"_placeholder":true,"num":0}]'
        for _ in range(TIMES):
            await raw.say(head)
            await pass_time(59)
            await raw.say(b"late")
            assert (await raw.text()).startswith("461-1[")
            assert await raw.message() == b"late"
        assert place.hits == {}
        await raw.say(head)
        await pass_time(61)
        await raw.closed()
        assert place.io.engine.clients == {}
        assert place.hits == {"attachment_time": 1}


@pytest.mark.limit("json_depth")
async def test_the_depth_of_a_packet(shell: str) -> None:
    async with echoing(shell, json_depth=5) as (place, raw):
        for _ in range(TIMES * 10):
            assert await raw.ask("echo", [[[[]]]]) == [[[[[]]]]]
        assert place.hits == {}
        assert await refused(place, raw, '42["echo",[[[[[]]]]]]') == {"json_depth": 1}
        assert await refused(place, await place.member(), "42" + "[" * 100_000) == {"json_depth": 1}


@pytest.mark.limit("json_items")
async def test_the_values_of_a_packet(shell: str) -> None:
    async with echoing(shell, json_items=100) as (place, raw):
        for _ in range(TIMES * 10):
            assert await raw.ask("echo", [0] * 97) == [[0] * 97]
        assert place.hits == {}
        assert await refused(place, raw, f"42{json.dumps(['echo', [0] * 200])}") == {"json_items": 1}


@pytest.mark.limit("integer_bits")
async def test_the_size_of_integers(shell: str) -> None:
    async with echoing(shell, integer_bits=53) as (place, raw):
        for _ in range(TIMES * 10):
            assert await raw.ask("echo", 2**53 - 1, 1 - 2**53) == [2**53 - 1, 1 - 2**53]
        assert place.hits == {}
        assert await refused(place, raw, f'42["echo",{2**53}]') == {"integer_bits": 1}


# Namespaces


@pytest.mark.limit("namespace_length")
async def test_the_length_of_names(shell: str) -> None:
    async with serving(shell, Limits(namespace_length=10)) as place:
        place.io.of(re.compile("/x+"))
        raw = await place.websocket()
        for _ in range(TIMES * 10):
            assert "sid" in await raw.join("/xxxxxxxxx")
            await raw.say("41/xxxxxxxxx,")
        assert place.hits == {}
        assert await refused(place, raw, "40/xxxxxxxxxx,") == {"namespace_length": 1}


@pytest.mark.limit("namespaces_per_connection")
async def test_the_namespaces_of_a_client(shell: str) -> None:
    async with serving(shell, Limits(namespaces_per_connection=3)) as place:
        names = ["/a", "/b", "/c", "/d"]
        for name in names:
            place.io.of(name)
        raw = await place.websocket()
        for _ in range(TIMES * 5):
            for name in names[:3]:
                assert "sid" in await raw.join(name)
            for name in names[:3]:
                await raw.say(f"41{name},")
        assert place.hits == {}
        for name in names[:3]:
            await raw.join(name)
        assert await raw.join("/d") == {"message": "Invalid namespace"}
        assert place.hits == {"namespaces_per_connection": 1}
        await raw.say("41/a,")
        assert "sid" in await raw.join("/d")


@pytest.mark.limit("dynamic_namespaces")
async def test_the_namespaces_that_clients_make(shell: str) -> None:
    limits = Limits(dynamic_namespaces=3)
    async with serving(shell, limits, cleanup_empty_child_namespaces=True) as place:
        place.io.of(re.compile("/room-[0-9]+"))
        raw = await place.websocket()
        for _ in range(TIMES * 5):
            for number in range(3):
                assert "sid" in await raw.join(f"/room-{number}")
            for number in range(3):
                await raw.say(f"41/room-{number},")
        assert place.hits == {}
        for number in range(3):
            await raw.join(f"/room-{number}")
        assert await raw.join("/room-3") == {"message": "Invalid namespace"}
        assert place.hits == {"dynamic_namespaces": 1}
        assert len(place.io._hub.namespaces) == 4
        await raw.say("41/room-0,")
        assert "sid" in await raw.join("/room-3")


# Rooms and acknowledgements


@pytest.mark.limit("rooms_per_socket", "room_length")
async def test_the_rooms_of_a_socket(shell: str) -> None:
    async with serving(shell, Limits(rooms_per_socket=3, room_length=20)) as place:

        @place.io.on("join")
        def join(socket: Any, *rooms: str) -> str:
            try:
                socket.join(*rooms)
            except LocalProtocolError as error:
                return str(error)
            return "joined"

        place.io.on("leave", lambda socket, *rooms: socket.leave(*rooms) and None)
        raw = await place.member()
        for number in range(TIMES * 5):
            rooms = [f"{number:020}", "b"]  # and that of its own id
            assert await raw.ask("join", *rooms) == ["joined"]
            await raw.ask("leave", *rooms)
        assert place.hits == {}
        assert await raw.ask("join", "a", "b", "c") == ["a socket may be in 3 rooms"]
        assert place.hits == {"rooms_per_socket": 1}
        assert await raw.ask("join", "x" * 21) == ["the name of a room may have 20 characters"]
        assert place.hits == {"room_length": 1}
        assert len(place.io.sockets.adapter.rooms.rooms) == 1


@pytest.mark.limit("acks_per_socket")
async def test_the_answers_that_are_awaited(shell: str) -> None:
    async with serving(shell, Limits(acks_per_socket=3)) as place:
        raw = await place.member()
        socket = place.socket(raw)
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await socket.emit_with_ack("question"))

        async with anyio.create_task_group() as task_group:
            for turn in range(TIMES * 5):
                for _ in range(3):
                    task_group.start_soon(ask)
                for _ in range(3):
                    question = await raw.text()
                    await raw.say(f"43{question[2 : question.index('[')]}[1]")
                await place.until(lambda: len(answers) == 3 * (turn + 1))  # noqa: B023
            assert place.hits == {}
            for _ in range(3):
                task_group.start_soon(ask)
            await place.until(lambda: len(socket._acks) == 3)
            with pytest.raises(LocalProtocolError, match="too many acknowledgements"):
                await socket.emit_with_ack("question")
            assert place.hits == {"acks_per_socket": 1}
            task_group.cancel_scope.cancel()
        assert socket._acks == {}


@pytest.mark.limit("ack_timeout")
async def test_the_time_to_answer(shell: str) -> None:
    async with serving(shell, Limits(ack_timeout=20.0)) as place:
        raw = await place.member()
        outcomes: list[Any] = []

        async def ask() -> None:
            try:
                outcomes.append(await place.io.emit_with_ack("question"))
            except AckTimeout as error:
                outcomes.append(error.missing)

        async with anyio.create_task_group() as task_group:
            for _ in range(TIMES):
                task_group.start_soon(ask)
                question = await raw.text()
                await pass_time(19)
                await raw.say(f"43{question[2 : question.index('[')]}[1]")
                await place.until(lambda: outcomes)
                assert outcomes.pop() == [1]
            assert place.hits == {}
            task_group.start_soon(ask)
            await raw.text()
            await pass_time(21)
            assert outcomes == [1]
        assert place.hits == {"ack_timeout": 1}


# Listeners


class Work:
    """Listeners that wait until they are told to end."""

    def __init__(self, place: Place, *, ordered: bool = False) -> None:
        self.running = 0
        self.done: list[Any] = []
        self.errors: list[str] = []
        self._go = anyio.Event()
        place.io.on("work", self._work, ordered=ordered)
        place.io.on_error(lambda error, what, socket: self.errors.append(str(error)))

    async def _work(self, socket: Any, number: Any) -> None:
        self.running += 1
        try:
            await self._go.wait()
            self.done.append(number)
        finally:
            self.running -= 1

    def finish(self) -> None:
        """Have those that run end, and those that come wait anew."""
        self._go.set()
        self._go = anyio.Event()


@pytest.mark.limit("handlers_per_socket")
async def test_the_listeners_that_run(shell: str) -> None:
    async with serving(shell, Limits(handlers_per_socket=3)) as place:
        work = Work(place)
        raw = await place.member()
        for _ in range(TIMES * 5):
            await raw.say(*[f'42["work",{number}]' for number in range(3)])
            await place.until(lambda: work.running == 3)
            work.finish()
            await place.until(lambda: work.running == 0)
        assert place.hits == {}
        await raw.say(*[f'42["work",{number}]' for number in range(4)])
        await place.until(lambda: work.running == 3)
        await settle()
        assert work.running == 3
        assert place.hits == {"handlers_per_socket": 1}
        work.finish()
        await place.until(lambda: sorted(work.done[-3:]) == [0, 1, 2] and work.running == 1)
        work.finish()
        await place.until(lambda: work.done[-1] == 3)


@pytest.mark.limit("handler_time")
async def test_the_time_of_a_listener(shell: str) -> None:
    async with serving(shell, Limits(handler_time=10.0)) as place:
        work = Work(place)
        raw = await place.member()
        for _ in range(TIMES):
            await raw.say('421["work",1]')
            await place.until(lambda: work.running == 1)
            await pass_time(9.5)
            work.finish()
            assert await raw.text() == "431[]"
        assert (work.errors, place.hits) == ([], {})
        await raw.say('421["work",2]')
        await place.until(lambda: work.running == 1)
        await pass_time(10.5)
        await place.until(lambda: work.running == 0)
        assert work.errors == ["it was cancelled after 10.0 s"]
        assert 2 not in work.done
        assert place.hits == {"handler_time": 1}


@pytest.mark.limit("queued_events")
@pytest.mark.parametrize("ordered", [False, True], ids=["side by side", "ordered"])
async def test_the_events_that_wait(shell: str, ordered: bool) -> None:
    """An ordered listener is one that runs; the others wait behind it as behind a bound."""
    bound = 1_000 if ordered else 1
    async with serving(shell, Limits(handlers_per_socket=bound, queued_events=10)) as place:
        work = Work(place, ordered=ordered)
        raw = await place.member()
        conn = place.socket(raw).conn
        for _ in range(TIMES):
            for number in range(10):
                await raw.say(f'42["work",{number}]')
                await settle()
            await place.until(lambda: work.running == 1)
            assert not conn.paused
            await finish_all(place, work, 10)
        assert "queued_events" not in place.hits
        for number in range(40):
            await raw.say(f'42["work",{number}]')
            await settle()
        await place.until(lambda: conn.paused)
        assert place.hits.get("queued_events") == 1
        await finish_all(place, work, 40)  # nothing is lost
        await place.until(lambda: not conn.paused)


async def finish_all(place: Place, work: Work, count: int) -> None:
    work.done.clear()
    while len(work.done) < count:
        before = len(work.done)
        work.finish()
        await place.until(lambda: len(work.done) > before)  # noqa: B023
        if len(work.done) < count:
            await place.until(lambda: work.running == 1)
    assert work.done == list(range(count))


@pytest.mark.limit("queued_bytes")
async def test_the_bytes_that_wait_for_listeners(shell: str) -> None:
    async with serving(shell, Limits(queued_bytes=10_000)) as place:
        work = Work(place, ordered=True)
        raw = await place.member()
        conn = place.socket(raw).conn
        for _ in range(TIMES):
            for _ in range(9):  # one runs
                await raw.say(f'42["work","{"x" * 1_000}"]')
                await settle()
            assert not conn.paused
            while work.running:
                work.finish()
                await settle()
        assert place.hits == {}
        for _ in range(12):
            await raw.say(f'42["work","{"x" * 1_000}"]')
            await settle()
        await place.until(lambda: conn.paused)
        assert place.hits == {"queued_bytes": 1}
        while len(work.done) < TIMES * 9 + 12:
            work.finish()
            await settle()
        await place.until(lambda: not conn.paused)


async def test_an_answer_behind_events_that_wait_is_read(shell: str) -> None:
    """What a listener waits for stands behind events that wait for the listener."""
    async with serving(shell, Limits(queued_events=10)) as place:
        heard: list[Any] = []

        @place.io.on("work", ordered=True)
        async def work(socket: Any, number: int) -> None:
            heard.append(await socket.emit_with_ack("question") if number == 0 else number)

        raw = await place.member()
        await raw.say('42["work",0]')
        question = await raw.text()
        for number in range(1, 50):
            await raw.say(f'42["work",{number}]')
        await raw.say(f"43{question[2 : question.index('[')]}[1000]")
        await place.until(lambda: len(heard) == 50)
        assert heard == [1_000, *range(1, 50)]


@pytest.mark.limit("events_per_second")
async def test_the_rate_of_events(shell: str) -> None:
    async with serving(shell, Limits(events_per_second=10.0)) as place:
        heard: list[int] = []
        place.io.on("event", lambda socket, number: heard.append(number))
        raw = await place.member()
        conn = place.socket(raw).conn
        for number in range(TIMES * 10):
            await raw.say(f'42["event",{number}]')
            await place.until(lambda: len(heard) == number + 1)  # noqa: B023
            await pass_time(0.11, 0.11)
        assert not conn.paused
        assert place.hits == {}
        heard.clear()
        for number in range(30):
            await raw.say(f'42["event",{number}]')
            await settle()
        await place.until(lambda: conn.paused)
        assert 10 <= len(heard) < 30
        assert place.hits == {"events_per_second": 1}
        await pass_time(5, 0.1)
        await place.until(lambda: heard == list(range(30)))  # it is only read more slowly
        await pass_time(5, 0.1)
        assert not conn.paused


# Recovery


class Returning:
    """A server with recovery, and a client that loses its connection and comes back.

    :ivar offset: of the last event that it has seen.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.raw: Raw
        self.session: dict[str, str] = {}
        self.offset = ""

    async def come(self) -> dict[str, Any]:
        """Be there, the first time or again; return whether it is recovered, and what it missed."""
        self.raw = raw = await self.place.websocket()
        auth = {"pid": self.session["pid"], "offset": self.offset} if self.session else None
        answer = await raw.join("/", auth)
        recovered = answer["sid"] == self.session.get("sid")
        self.session = answer
        missed = [json.loads(packet[2:]) for packet in raw.before]
        if missed:
            self.offset = missed[-1][-1]
        return {"recovered": recovered, "missed": [packet[1] for packet in missed]}

    async def see(self) -> None:
        """See one event."""
        self.offset = json.loads((await self.raw.text())[2:])[-1]

    async def lose(self) -> Any:
        """Lose the connection; return the socket that was."""
        socket = self.socket
        await self.raw.close()
        await self.place.until(lambda: not socket.connected)
        return socket

    @property
    def socket(self) -> Any:
        return self.place.socket(self.raw)


@asynccontextmanager
async def returning(shell: str, **limits: Any) -> AsyncGenerator[Returning, None]:
    async with serving(shell, Limits(**limits), connection_state_recovery=True) as place:
        client = Returning(place)
        await client.come()
        place.io.emit("seen", "first")
        await client.see()
        yield client


@pytest.mark.limit("recovery_packets")
async def test_the_events_that_are_kept(shell: str) -> None:
    async with returning(shell, recovery_packets=20) as client:
        io = client.place.io
        for _ in range(TIMES):
            await client.lose()
            for number in range(20):
                io.emit("event", number)
            assert await client.come() == {"recovered": True, "missed": list(range(20))}
        client.place.hits.clear()
        await client.lose()
        for number in range(21):
            io.emit("event", number)
        assert client.place.hits["recovery_packets"] >= 1
        assert await client.come() == {"recovered": False, "missed": []}  # never a part


@pytest.mark.limit("recovery_bytes")
async def test_the_bytes_that_are_kept(shell: str) -> None:
    async with returning(shell, recovery_bytes=20_000) as client:
        io = client.place.io
        for _ in range(TIMES):
            await client.lose()
            for _ in range(8):
                io.emit("event", "x" * 1_000)
            assert await client.come() == {"recovered": True, "missed": ["x" * 1_000] * 8}
        client.place.hits.clear()
        await client.lose()
        for _ in range(21):
            io.emit("event", "x" * 1_000)
        assert client.place.hits["recovery_bytes"] >= 1
        assert await client.come() == {"recovered": False, "missed": []}


@pytest.mark.limit("recovery_sessions")
async def test_the_lost_clients_that_are_kept(shell: str) -> None:
    async with returning(shell, recovery_sessions=3) as client:
        others = [Returning(client.place) for _ in range(3)]
        for other in others:
            await other.come()
        for _ in range(TIMES):
            await client.lose()
            for other in others[:2]:
                await other.lose()
            for one in (client, *others[:2]):
                assert (await one.come())["recovered"]
        assert client.place.hits == {}
        for one in (client, *others):
            await one.lose()
        assert client.place.hits == {"recovery_sessions": 1}
        assert not (await client.come())["recovered"]  # the first that went
        for other in others:
            assert (await other.come())["recovered"]


@pytest.mark.limit("recovery_private_packets")
async def test_the_private_events_that_are_kept(shell: str) -> None:
    async with returning(shell, recovery_private_packets=20) as client:
        for _ in range(TIMES):
            socket = await client.lose()
            for number in range(20):
                socket.emit("event", number)
            assert await client.come() == {"recovered": True, "missed": list(range(20))}
        client.place.hits.clear()
        socket = await client.lose()
        for number in range(21):
            socket.emit("event", number)
        assert client.place.hits["recovery_private_packets"] >= 1
        assert await client.come() == {"recovered": False, "missed": []}


@pytest.mark.limit("recovery_private_bytes")
async def test_the_private_bytes_that_are_kept(shell: str) -> None:
    async with returning(shell, recovery_private_bytes=20_000) as client:
        for _ in range(TIMES):
            socket = await client.lose()
            for _ in range(8):
                socket.emit("event", "x" * 1_000)
            assert await client.come() == {"recovered": True, "missed": ["x" * 1_000] * 8}
        client.place.hits.clear()
        socket = await client.lose()
        for _ in range(21):
            socket.emit("event", "x" * 1_000)
        assert client.place.hits["recovery_private_bytes"] >= 1
        assert await client.come() == {"recovered": False, "missed": []}


@pytest.mark.limit("recovery_departures")
async def test_the_rooms_left_that_are_kept(shell: str) -> None:
    async with returning(shell, recovery_departures=10) as client:
        io = client.place.io
        for _ in range(TIMES):
            await stay(client, 10)
            io.emit("seen", "again")
            for _ in range(11):
                await client.see()
            await client.lose()
            assert await client.come() == {"recovered": True, "missed": []}
        client.place.hits.clear()
        io.emit("seen", "again")
        await client.see()
        offset = client.offset
        await stay(client, 11)
        assert client.place.hits["recovery_departures"] >= 1
        client.offset = offset  # as if it had seen nothing of that
        await client.lose()
        assert await client.come() == {"recovered": False, "missed": []}


async def stay(client: Returning, count: int) -> None:
    """Be in rooms for a while, and hear something in each."""
    for number in range(count):
        client.socket.join(f"room {number}")
        client.place.io.to(f"room {number}").emit("event", number)
        client.socket.leave(f"room {number}")
