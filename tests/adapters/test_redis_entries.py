"""The entries of a stream: what the official packages have added is read, and written the same."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sio_core.adapters.messages import BROADCAST, Codec, Message
from sio_core.adapters.redis_entries import (
    encode_data,
    entry_key,
    entry_words,
    next_entry,
    read_entry,
    stream_index,
    stream_indexes,
)
from sio_core.errors import InvalidPacket
from tests.adapters.recorded import commands

CODEC = Codec()


def plain(words: tuple[str | bytes | int, ...]) -> list[bytes]:
    return [word if isinstance(word, bytes) else str(word).encode() for word in words]


@pytest.mark.parametrize(
    "recording",
    [
        "redis-streams",
        "redis-streams-csr",
        "redis-streams-multi",
        "redis-streams-shardedps",
        "redis-emitters",
    ],
)
def test_what_the_official_packages_added_is_written_the_same(recording: str) -> None:
    added = commands(recording, "XADD")
    for words in added:
        message = read_entry(words[5:])
        data = encode_data(CODEC, message, False)
        assert plain(entry_words(words[0].decode(), int(words[3]), message, data)) == words
    assert len(added) >= 10


def test_ours_count() -> None:
    message = Message(BROADCAST, "a", "/", {"packet": {"type": 2, "data": ["e"]}})
    message.seq = 7
    words = entry_words("s", 10, message, encode_data(CODEC, message, False))
    assert plain(words[-2:]) == [b"seq", b"7"]
    again = read_entry(plain(words[5:]))
    assert again == message
    assert again.seq == 7


def test_where_there_is_no_binary_data_it_is_not_looked_for() -> None:
    message = Message(BROADCAST, "a", "/", {"packet": {"type": 2, "data": [b"\x01"]}})
    assert encode_data(CODEC, message, True) == b'{"packet":{"type":2,"data":[{"type":"Buffer","data":[1]}]}}'
    assert encode_data(CODEC, message, False) == b"gaZwYWNrZXSCpHR5cGUCpGRhdGGRxAEB"


@pytest.mark.parametrize(
    ("namespace", "index"),
    [("/", 47), ("/custom", 1708878944), ("/admin", 1438238848), ("/my-namespace", -1403629527)],
)
def test_a_namespace_has_the_stream_it_has_in_javascript(namespace: str, index: int) -> None:
    assert stream_index(namespace, 2**40) == index
    for count in (1, 2, 3, 7):
        assert stream_index(namespace, count) == (index % count if index >= 0 else -(-index % count))


@given(st.text(), st.integers(1, 20))
def test_every_stream_is_read(namespace: str, count: int) -> None:
    assert stream_index(namespace, count) in stream_indexes(count)


def test_ids_are_compared_as_numbers() -> None:
    assert entry_key("9-2") < entry_key("9-10") < entry_key("10-0")
    assert next_entry("17-9") == "17-10"
    for wrong in ("", "1", "1-", "-1", "1-1-1", "a-1", "１-1", "1-1\n", "9" * 30 + "-0"):
        with pytest.raises(ValueError, match="no id of an entry"):
            entry_key(wrong)


@given(
    st.lists(
        st.sampled_from([b"uid", b"nsp", b"type", b"data", b"seq", b"3", b"{}", b"{", b"/"]) | st.binary()
    )
)
def test_junk_is_refused_and_nothing_else_happens(fields: list[bytes]) -> None:
    with suppress(InvalidPacket):
        read_entry(fields)
