"""Messages with descriptors between processes, on two real ends."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sio_core.channel import Channel, ChannelMessage, run_channel
from tests.helpers.waiting import eventually

Pair = tuple[Channel, Channel]


@pytest.fixture
def pair() -> Iterator[Pair]:
    here, there = (Channel(handle) for handle in Channel.pair())
    yield here, there
    here.close()
    there.close()


def pipe_with(text: bytes) -> int:
    """Return a descriptor from which a text can be read."""
    reading, writing = os.pipe()
    os.write(writing, text)
    os.close(writing)
    return reading


def read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 100)
    finally:
        os.close(descriptor)


def is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def test_messages_come_in_their_order(pair: Pair) -> None:
    here, there = pair
    here.send(1, b"one")
    here.send(2)
    here.send(255, b"three")
    assert there.receive() == [
        ChannelMessage(1, b"one", -1),
        ChannelMessage(2, b"", -1),
        ChannelMessage(255, b"three", -1),
    ]
    assert there.receive() == []
    there.send(7, b"back")
    assert here.receive() == [ChannelMessage(7, b"back", -1)]


def test_each_descriptor_comes_with_its_message(pair: Pair) -> None:
    here, there = pair
    here.send(1, b"none")
    for number in range(40):
        here.send(2, str(number).encode(), pipe_with(b"pipe %d" % number))
        here.send(3)
    messages = there.receive() + there.receive() + there.receive()
    with_one = [message for message in messages if message.descriptor >= 0]
    assert [message.data for message in with_one] == [b"%d" % number for number in range(40)]
    assert not any(os.get_inheritable(message.descriptor) for message in with_one)
    assert [read(message.descriptor) for message in with_one] == [b"pipe %d" % number for number in range(40)]


def test_a_descriptor_is_closed_here_once_it_was_sent(pair: Pair) -> None:
    descriptor = pipe_with(b"")
    pair[0].send(1, b"", descriptor)
    assert not is_open(descriptor)


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 300_000), st.booleans()), max_size=12))
def test_what_the_kernel_does_not_take_waits(plan: list[tuple[int, int, bool]]) -> None:
    here, there = (Channel(handle) for handle in Channel.pair())
    for kind, size, with_descriptor in plan:
        here.send(kind, b"x" * size, pipe_with(b"%d" % size) if with_descriptor else -1)
    messages: list[ChannelMessage] = []
    while len(messages) < len(plan):
        messages += there.receive()
        here.flush()
    assert [(message.kind, len(message.data), message.descriptor >= 0) for message in messages] == plan
    for message in messages:
        if message.descriptor >= 0:
            assert read(message.descriptor) == b"%d" % len(message.data)
    assert here.waiting == 0
    here.close()
    there.close()


def test_an_end_that_is_gone_closes_the_other(pair: Pair) -> None:
    here, there = pair
    here.send(1, b"last")
    here.close()
    assert there.receive() == [ChannelMessage(1, b"last", -1)]
    assert there.closed
    assert there.receive() == []
    descriptor = pipe_with(b"")
    there.send(1, b"", descriptor)
    assert not is_open(descriptor)
    assert there.waiting == 0


def test_descriptors_on_their_way_are_closed_with_the_channel(pair: Pair) -> None:
    here, _ = pair
    here.send(1, b"x" * 4_000_000)
    descriptor = pipe_with(b"")
    here.send(1, b"", descriptor)
    assert is_open(descriptor)
    here.close()
    assert not is_open(descriptor)


def test_a_write_to_an_end_that_is_gone_closes(pair: Pair) -> None:
    here, there = pair
    there.close()
    here.send(1, b"lost")
    assert here.closed
    assert here.handle.fileno() >= 0
    assert here.receive() == []
    assert here.handle.fileno() < 0


@pytest.mark.anyio
async def test_running_ends_when_this_end_is_closed(pair: Pair) -> None:
    here, _ = pair
    with anyio.fail_after(5):
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(run_channel, here, lambda messages: None)
            await anyio.sleep(0.01)
            here.close()
    assert here.closed


@pytest.mark.anyio
async def test_running_ends_when_a_message_cannot_be_sent(pair: Pair) -> None:
    here, there = pair
    with anyio.fail_after(5):
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(run_channel, here, lambda messages: None)
            there.close()
            here.send(1, b"lost")
            assert here.closed


@pytest.mark.anyio
async def test_both_ends_run_in_an_event_loop(pair: Pair) -> None:
    here, there = pair
    received: list[ChannelMessage] = []
    total = 30
    async with anyio.create_task_group() as task_group:
        for number in range(total // 2):  # more than the kernel takes, before anything runs
            here.send(1, bytes([number]) * 100_000)
        assert here.waiting
        task_group.start_soon(run_channel, here, received.extend)
        task_group.start_soon(run_channel, there, received.extend)
        for number in range(total // 2, total):
            here.send(1, bytes([number]) * 100_000)
        await eventually(lambda: len(received) == total)
        assert [message.data[0] for message in received] == list(range(total))
        there.send(2, b"back")
        await eventually(lambda: len(received) == total + 1)
        there.close()
        task_group.cancel_scope.cancel()


@pytest.mark.anyio
async def test_running_ends_when_the_other_end_is_gone(pair: Pair) -> None:
    here, there = pair
    with anyio.fail_after(5):
        async with anyio.create_task_group() as task_group:
            task_group.start_soon(run_channel, here, lambda messages: None)
            await anyio.lowlevel.checkpoint()
            there.handle.shutdown(socket.SHUT_RDWR)
    assert here.closed
