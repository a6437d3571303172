"""Listeners: what they are called with, how they answer, and where they are kept."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from sio_core import Ack, InvalidPayload, Limits, Server, Socket
from sio_core.api.handlers import Handler, Handlers
from sio_core.testing import TestClient, settle

pytestmark = pytest.mark.anyio


def made(function: Callable[..., Any], leading: int = 0, **options: Any) -> Handler:
    return Handler(function, leading=leading, **options)


def test_arguments_fit_as_in_javascript() -> None:
    def one(a: Any) -> None: ...
    def two(a: Any, b: Any = 5) -> None: ...
    def any_number(*args: Any) -> None: ...
    def first_and_rest(a: Any, *args: Any, key: int = 1) -> None: ...

    assert made(one).fit("e", [], None) == [None]
    assert made(one).fit("e", [1, 2, 3], None) == [1]
    assert made(two).fit("e", [], None) == [None]
    assert made(two).fit("e", [1, 2, 3], None) == [1, 2]
    assert made(any_number).fit("e", [1, 2, 3], None) == [1, 2, 3]
    assert made(first_and_rest).fit("e", [], None) == [None]
    assert made(first_and_rest).fit("e", [1, 2], None) == [1, 2]


def test_who_fits_exactly_needs_no_look() -> None:
    assert made(lambda a, b: None).exact == 2
    assert made(lambda a, b=1: None).exact == -1
    assert made(lambda *a: None).exact == -1

    def typed(a: int) -> None: ...

    def with_ack(a: Any, ack: Ack) -> None: ...

    assert made(typed).exact == -1
    assert made(with_ack).exact == -1
    assert made(with_ack).takes_ack


def test_an_ack_stands_where_it_is_asked_for() -> None:
    ack = Ack(None)

    def last(a: Any, b: Any, ack: Ack) -> None: ...
    def first(ack: Ack, a: Any) -> None: ...

    assert made(last).fit("e", [1], ack) == [1, None, ack]
    assert made(last).fit("e", [1, 2, 3], ack) == [1, 2, ack]
    assert made(first).fit("e", [1], ack) == [ack, 1]


def test_an_ack_answers_once() -> None:
    sent: list[list[Any]] = []
    ack = Ack(sent.append)
    assert ack.wanted
    ack(1, 2)
    ack(3)
    assert sent == [[1, 2]]
    nobody = Ack(None)
    assert not nobody.wanted
    nobody(1)


def test_what_is_async() -> None:
    async def coroutine() -> None: ...

    def plain() -> None: ...

    @functools.wraps(plain)
    async def wrapper() -> None: ...

    @functools.wraps(coroutine)
    def outer() -> Any:
        return coroutine()

    class Asynchronous:
        async def __call__(self) -> None: ...

    class Plain:
        def __call__(self) -> None: ...

    for function in (coroutine, wrapper, outer, Asynchronous(), functools.partial(coroutine)):
        assert made(function).asynchronous, function
    for function in (plain, functools.partial(plain), Plain()):
        assert not made(function).asynchronous, function
    assert made(plain, thread=True).asynchronous
    with pytest.raises(TypeError, match="cannot run in a thread"):
        made(coroutine, thread=True)


def test_annotations_of_every_kind_of_function() -> None:
    class Listener:
        def method(self, number: int) -> None: ...

        def __call__(self, number: int) -> None: ...

    def plain(number: int) -> None: ...

    def bound(first: Any, number: int) -> None: ...

    for function in (Listener().method, Listener(), plain, functools.partial(bound, 1)):
        with pytest.raises(InvalidPayload, match="number"):
            made(function).fit("e", ["x"], None)
    assert made(print).fit("e", [1, 2], None) == [1, 2]


@pytest.mark.feature(233)
def test_a_wrong_annotation_is_refused_when_the_listener_is_registered() -> None:
    io = Server()

    def with_socket(socket: Socket) -> None: ...

    def with_callback(text: str, callback: Callable[..., None]) -> None: ...

    def with_unknown(value: NotThere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    def leading_unknown(socket: NotThere, value: int) -> NotThere: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(TypeError, match=r"cannot have the type .*Socket"):
        Handlers(leading=0).add("x", with_socket)
    with pytest.raises(TypeError, match=r"cannot have the type .*Callable"):
        Handlers(leading=0).add("x", with_callback)
    with pytest.raises(TypeError, match="cannot be resolved: name 'NotThere'"):
        Handlers(leading=0).add("x", with_unknown)
    io.on("x", leading_unknown)
    assert io.listeners("x") == [leading_unknown]


def test_a_listener_has_a_name_and_a_function() -> None:
    handlers = Handlers(leading=0)
    wrong: Any = None
    with pytest.raises(TypeError, match="takes the name of an event, not None"):
        handlers.add(wrong, print)
    with pytest.raises(TypeError, match="and a function"):
        handlers.add("x", wrong or 5)


@pytest.mark.feature(87, 133)
def test_the_table_of_listeners() -> None:
    handlers = Handlers(leading=0)

    def first() -> None: ...
    def second() -> None: ...

    handlers.add("x", first)
    handlers.add("x", second)
    handlers.add("connect", first)
    handlers.add("y", None)(first)
    assert handlers.names() == ["connection", "x", "y"]
    assert handlers.functions("x") == [first, second]
    assert handlers.functions("connection") == handlers.functions("connect") == [first]
    handlers.remove("x", first)
    assert handlers.functions("x") == [second]
    handlers.remove("x", None)
    handlers.remove("y", first)
    handlers.remove("z", first)
    assert handlers.names() == ["connection"]
    handlers.remove(None, None)
    assert handlers.names() == []


@pytest.mark.feature(143)
async def test_names_that_are_numbers() -> None:
    io = Server()
    seen: list[Any] = []
    io.on("1", lambda socket, value: seen.append(value))
    io.sockets.handlers.add(1.5, lambda socket, value: seen.append(value))
    io.on("*", lambda socket, name, value: seen.append((name, value)))
    async with TestClient(io) as client:
        name: Any
        for name, value in ((1, "a"), (1.0, "b"), ("1", "c"), (1.5, "d"), (2, "e")):
            await client.emit(name, value)
        assert seen == ["a", "b", "c", "d", (2, "e")]
        await client.socket.send_event([7, "f"], False, True)
        assert await client.receive() == [7, "f"]


@pytest.mark.feature(141)
async def test_what_a_listener_returns_is_the_answer() -> None:
    io = Server()
    answers: dict[str, Any] = {
        "nothing": None,
        "one": 1,
        "two": (1, 2),
        "none": (),
        "null": (None,),
        "list": [1, 2],
    }
    io.on("ask", lambda socket, what: answers[what])
    wire = {"nothing": None, "one": 1, "two": [1, 2], "none": None, "null": None, "list": [1, 2]}
    async with TestClient(io) as client:
        for what, answer in wire.items():
            assert await client.emit_with_ack("ask", what) == answer


@pytest.mark.feature(141)
async def test_an_async_listener_answers_when_it_returns() -> None:
    io = Server()
    go = anyio.Event()

    @io.on("slow")
    async def slow(socket: Socket, value: int) -> int:
        await go.wait()
        return value

    @io.on("quick")
    def quick(socket: Socket) -> None:
        go.set()

    async with TestClient(io) as client, anyio.create_task_group() as task_group:
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await client.emit_with_ack("slow", 5))

        task_group.start_soon(ask)
        await settle()
        assert answers == []
        await client.emit("quick")
        await settle()
        assert answers == [5]


@pytest.mark.feature(141)
async def test_a_listener_that_takes_ack_answers_by_itself() -> None:
    io = Server()
    kept: list[Ack] = []

    @io.on("later")
    def later(socket: Socket, ack: Ack) -> str:
        kept.append(ack)
        return "not the answer"

    @io.on("thread", thread=True)
    def thread(socket: Socket, ack: Ack) -> None:
        ack("from a thread")

    async with TestClient(io) as client, anyio.create_task_group() as task_group:
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await client.emit_with_ack("later"))

        task_group.start_soon(ask)
        await settle()
        assert kept[0].wanted
        assert answers == []
        kept[0](1, 2)
        kept[0](3)
        await settle()
        assert answers == [[1, 2]]
        await client.emit("later")
        assert not kept[1].wanted
        kept[1]("nobody asked")
        assert await client.emit_with_ack("thread") == "from a thread"


@pytest.mark.feature(141)
async def test_the_first_answer_of_several_listeners_counts() -> None:
    io = Server()
    calls: list[str] = []

    def listener(name: str, result: Any) -> Callable[..., Any]:
        def listen(*args: Any) -> Any:
            calls.append(name)
            return result

        return listen

    io.on("some", listener("a", None))
    io.on("some", listener("b", "B"))
    io.on("some", listener("c", "C"))
    io.on("none", listener("d", None))
    io.on("none", listener("e", None))

    @io.on("connection")
    def connected(socket: Socket) -> None:
        socket.on("some", listener("own", "own"))
        socket.on("none", listener("own", None))

    async with TestClient(io) as client:
        assert await client.emit_with_ack("some") == "B"
        assert calls == ["a", "b", "c", "own"]
        calls.clear()
        assert await client.emit_with_ack("none") is None
        assert calls == ["d", "e", "own"]


async def test_who_takes_ack_is_before_those_behind_it() -> None:
    io = Server()
    kept: list[Ack] = []
    io.on("x", lambda socket: None)

    @io.on("x")
    def first(socket: Socket, ack: Ack) -> None:
        kept.append(ack)

    @io.on("x")
    def second(socket: Socket, ack: Ack) -> str:
        kept.append(ack)
        return "ignored"

    async with TestClient(io) as client, anyio.create_task_group() as task_group:
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await client.emit_with_ack("x"))

        task_group.start_soon(ask)
        await settle()
        assert [ack.wanted for ack in kept] == [True, False]
        kept[0]("first")
        await settle()
        assert answers == ["first"]


async def test_an_exception_is_logged_and_reported_and_answers_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    io = Server()
    errors: list[tuple[str, str, str | None]] = []

    @io.on_error
    def on_error(error: Exception, what: str, socket: Socket | None) -> None:
        errors.append((str(error), what, socket.id if socket else None))
        raise RuntimeError("even this one is caught")

    @io.on("sync")
    def sync(socket: Socket) -> None:
        raise ValueError("sync failed")

    @io.on("async")
    async def asynchronous(socket: Socket) -> None:
        raise ValueError("async failed")

    @io.on("thread", thread=True)
    def thread(socket: Socket) -> None:
        raise ValueError("thread failed")

    @io.on("several")
    def several(socket: Socket, *args: Any) -> None:
        raise ValueError("several failed")

    io.on("several", lambda socket: "answer")
    io.on("fine", lambda socket: "still here")
    async with TestClient(io) as client:
        with caplog.at_level(logging.CRITICAL):
            for name in ("sync", "async"):
                await client.emit(name)
            assert await client.emit_with_ack("several") == "answer"
            await client.emit("thread")
            assert await client.emit_with_ack("fine") == "still here"
            with anyio.fail_after(5):
                while len(errors) < 4:
                    await anyio.lowlevel.checkpoint()
        assert sorted(errors) == [
            (f"{name} failed", f"the listener of {name!r}", client.id)
            for name in ("async", "several", "sync", "thread")
        ]
        assert client.connected


async def test_an_error_names_the_event_and_the_socket(caplog: pytest.LogCaptureFixture) -> None:
    io = Server()

    @io.on("chat message")
    def chat(socket: Socket) -> None:
        raise ValueError("no")

    async with TestClient(io) as client:
        await client.emit("chat message")
        (record,) = caplog.records
        assert "'chat message'" in record.getMessage()
        assert client.id in record.getMessage()
        assert record.exc_info is not None


async def test_async_listeners_run_side_by_side_unless_they_are_ordered() -> None:
    io = Server()
    gates = [anyio.Event(), anyio.Event()]
    log: list[str] = []

    def register(name: str, **options: bool) -> None:
        @io.on(name, **options)
        async def listener(socket: Socket, index: int) -> int:
            log.append(f"{name} {index} begins")
            await gates[index].wait()
            log.append(f"{name} {index} ends")
            return index

    register("free")
    register("ordered", ordered=True)
    async with TestClient(io) as client:
        for name in ("free", "ordered"):
            await client.emit(name, 0)
            await client.emit(name, 1)
        assert log == ["free 0 begins", "free 1 begins", "ordered 0 begins"]
        log.clear()
        gates[1].set()
        await settle()
        assert log == ["free 1 ends"]
        log.clear()
        gates[0].set()
        await settle()
        assert [line for line in log if line.startswith("ordered")] == [
            "ordered 0 ends",
            "ordered 1 begins",
            "ordered 1 ends",
        ]
        assert await client.emit_with_ack("ordered", 1) == 1


async def test_a_listener_in_a_thread() -> None:
    io = Server()
    loop_thread = threading.get_ident()
    threads: list[int] = []

    @io.on("work", thread=True)
    def work(socket: Socket, value: int) -> int:
        threads.append(threading.get_ident())
        socket.emit("progress", value)
        socket.join("workers")
        io.to("workers").emit("done", value)
        return value * 2

    async with TestClient(io) as client:
        assert await client.emit_with_ack("work", 21) == 42
        assert threads[0] != loop_thread
        assert await client.receive("progress") == [21]
        assert await client.receive("done") == [21]
        assert client.rooms == {"workers"}


async def test_lifecycle_names_and_client_events_never_meet() -> None:
    io = Server()
    lifecycle: list[str] = []
    caught: list[list[Any]] = []
    for name in ("connection", "disconnecting", "disconnect", "error", "new_namespace"):
        io.on(name, lambda *args, name=name: lifecycle.append(name))
    io.on("*", lambda socket, *args: caught.append(list(args)))
    async with TestClient(io) as client:
        lifecycle.clear()
        for name in ("connection", "error", "new_namespace", "*"):
            await client.emit(name, "forged")
        assert lifecycle == []
        assert caught == [[name, "forged"] for name in ("connection", "error", "new_namespace", "*")]


async def test_bound_of_running_listeners() -> None:
    io = Server(limits=Limits(handlers_per_socket=2, queued_events=3))
    go = anyio.Event()
    log: list[int] = []

    @io.on("work")
    async def work(socket: Socket, number: int) -> None:
        log.append(number)
        await go.wait()

    io.on("quick", lambda socket: log.append(-1))
    async with TestClient(io) as client:
        for number in range(4):
            await client.emit("work", number)
        await client.emit("quick")
        assert log == [0, 1]
        assert client.socket.conn.paused
        assert io.stats()["limit_hits"] == {"handlers_per_socket": 1, "queued_events": 1}
        go.set()
        await settle()
        assert log == [0, 1, 2, 3, -1]
        assert not client.socket.conn.paused


async def test_any_number_of_ordered_events_may_wait() -> None:
    io = Server()
    go = anyio.Event()
    log: list[int] = []

    @io.on("step", ordered=True)
    async def step(socket: Socket, number: int) -> None:
        if number == 0:
            await go.wait()
        log.append(number)

    async with TestClient(io) as client:
        for number in range(2_000):
            await client.emit("step", number)
        go.set()
        assert await client.emit_with_ack("step", 2_000) is None
        assert log == list(range(2_001))


async def test_a_client_is_read_again_only_when_nothing_of_it_waits() -> None:
    io = Server(limits=Limits(handlers_per_socket=1, queued_events=3))
    go = anyio.Event()
    paused: list[bool] = []

    async def middleware(name: str, args: list[Any]) -> None:
        """It has nothing to wait for: where tasks start at once, it has ended when it has started."""

    io.on("connection", lambda socket: socket.use(middleware))

    @io.on("work")
    async def work(socket: Socket) -> None:
        paused.append(socket.conn.paused)
        if not go.is_set():
            await go.wait()

    async with TestClient(io) as client:
        for _ in range(4):
            await client.emit("work")
        await settle()
        assert client.socket.conn.paused
        go.set()
        for _ in range(4):
            await settle()
        assert paused == [False, True, True, True]
        assert not client.socket.conn.paused


async def test_a_listener_of_error_on_a_socket_hears_clients_too() -> None:
    io = Server()
    heard: list[Any] = []
    caught: list[Any] = []
    io.on("*", lambda socket, *args: caught.append(args))

    @io.on("connection")
    def connected(socket: Socket) -> None:
        socket.once("error", heard.append)
        socket.on("connection", heard.append)

    async with TestClient(io) as client:
        await client.emit("error", "from the client")
        await client.emit("error", "again")
        await client.emit("connection", "too")
        assert heard == ["from the client", "too"]
        assert caught == [("error", "again")]
        assert client.socket.event_names() == ["connection"]
        client.socket.off("connection")
        assert client.socket.listeners("connection") == []
