"""The log: once, in order, on disk before it is answered; and what happens when the database fails."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import anyio
import pytest

from chat_app import sqlite_log
from chat_app.log import PAGE, WAITING, Draft, Message, MessageLog, StorageError
from chat_app.sqlite_log import SqliteLog, Turns, explain

pytestmark = pytest.mark.anyio


class Follower:
    """What was published and answered, in the order in which it happened."""

    def __init__(self, log: MessageLog) -> None:
        self.log = log
        self.published: list[Message] = []
        self.order: list[str] = []

    def publish(self, message: Message, origin: str) -> None:
        self.published.append(message)
        self.order.append(f"publish {message.client_offset} from {origin}")

    async def say(self, client_offset: str, text: str = "hi", room: str = "lobby") -> Message | StorageError:
        """Have one draft stored, and return the answer."""
        outcomes: list[Message | StorageError] = []
        done = anyio.Event()

        def answer(outcome: Message | StorageError) -> None:
            outcomes.append(outcome)
            self.order.append(f"answer {client_offset}")
            done.set()

        self.log.append(Draft(room, "ann", client_offset, "Ann", text, "socket"), answer)
        with anyio.fail_after(20):
            await done.wait()
        return outcomes[0]


@asynccontextmanager
async def follow(path: Path) -> AsyncIterator[Follower]:
    with closing(SqliteLog.open(path)) as log:
        follower = Follower(log)
        async with log.running(follower.publish):
            yield follower


async def test_a_message_is_on_disk_when_it_is_answered(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    async with follow(path) as follower:
        message = await follower.say("one")
        with closing(sqlite3.connect(path)) as other:
            assert other.execute("SELECT room, seq, text FROM messages").fetchall() == [("lobby", 1, "hi")]
    assert isinstance(message, Message)
    assert (message.seq, message.author, message.nickname) == (1, "ann", "Ann")
    assert follower.order == ["publish one from socket", "answer one"]


async def test_each_room_counts_for_itself_and_everything_is_published_in_the_order_of_the_log(
    tmp_path: Path,
) -> None:
    async with follow(tmp_path / "chat.db") as follower, anyio.create_task_group() as task_group:
        for number in range(300):
            task_group.start_soon(follower.say, str(number), "hi", f"room{number % 3}")
    ids = [message.id for message in follower.published]
    assert ids == list(range(1, 301))
    for room in ("room0", "room1", "room2"):
        assert [m.seq for m in follower.published if m.room == room] == list(range(1, 101))


async def test_saying_the_same_again_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    async with follow(path) as follower:
        first = await follower.say("one")
        assert await follower.say("one") == first
        assert len(follower.published) == 1
    async with follow(path) as follower:  # a restart does not forget
        assert await follower.say("one") == first
        assert follower.published == []


async def test_copies_at_the_same_time_make_one_row(tmp_path: Path) -> None:
    answers: list[Message | StorageError] = []

    async with follow(tmp_path / "chat.db") as follower:

        async def say() -> None:
            answers.append(await follower.say("one"))

        async with anyio.create_task_group() as task_group:
            for _ in range(20):
                task_group.start_soon(say)
    assert len(follower.published) == 1
    assert answers == follower.published * 20


@pytest.mark.parametrize(("text", "room"), [("other", "lobby"), ("hi", "red")])
async def test_the_same_id_for_something_else_is_refused(tmp_path: Path, text: str, room: str) -> None:
    async with follow(tmp_path / "chat.db") as follower:
        await follower.say("one")
        outcome = await follower.say("one", text, room)
        assert isinstance(outcome, StorageError)
        assert not outcome.retry
        assert len(follower.published) == 1


async def test_reading_by_pages(tmp_path: Path) -> None:
    async with follow(tmp_path / "chat.db") as follower:
        async with anyio.create_task_group() as task_group:
            for number in range(250):
                task_group.start_soon(follower.say, str(number))
        log = follower.log
        assert [m.seq for m in await log.after("lobby", 0, 1_000)] == list(range(1, PAGE + 1))
        assert [m.seq for m in await log.after("lobby", 248)] == [249, 250]
        assert [m.seq for m in await log.before("lobby", 251, 1_000)] == list(range(151, 251))
        assert [m.seq for m in await log.before("lobby", 3, 50)] == [1, 2]
        assert await log.after("red", 0) == []
        assert log.heads() == {"lobby": 250}


async def test_the_store_has_a_name_of_its_own(tmp_path: Path) -> None:
    with (
        closing(SqliteLog.open(tmp_path / "one.db")) as one,
        closing(SqliteLog.open(tmp_path / "two.db")) as two,
    ):
        assert one.epoch != two.epoch
        epoch = one.epoch
    with closing(SqliteLog.open(tmp_path / "one.db")) as one:
        assert one.epoch == epoch


async def test_every_commit_reaches_the_disk_and_the_reader_only_reads(tmp_path: Path) -> None:
    with closing(SqliteLog.open(tmp_path / "chat.db")) as log:
        settings = {
            name: log._writer.execute(f"PRAGMA {name}").fetchone()[0]
            for name in ("journal_mode", "synchronous")
        }
        assert settings == {"journal_mode": "wal", "synchronous": 2}
        assert log._reader.execute("PRAGMA wal_autocheckpoint").fetchone()[0] == 0
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            log._reader.execute("DELETE FROM messages")


async def test_a_locked_database_is_waited_for_then_refused_and_heals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat_app.sqlite_log.BUSY_TIME", 0.2)
    path = tmp_path / "chat.db"
    async with follow(path) as follower:
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            outcome = await follower.say("one")
            assert isinstance(outcome, StorageError)
            assert outcome.retry
            assert "locked" in str(outcome)
            assert await follower.log.after("lobby", 0) == []  # reading goes on
            other.execute("ROLLBACK")
        assert follower.published == []
        message = await follower.say("one")
        assert isinstance(message, Message)
        assert message.seq == 1


async def test_a_lock_that_ends_in_time_is_not_noticed(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    async with follow(path) as follower:
        other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        with closing(other):
            other.execute("BEGIN EXCLUSIVE")
            release = threading.Timer(0.2, other.execute, ["ROLLBACK"])
            release.start()
            assert isinstance(await follower.say("one"), Message)
            release.join()


async def test_a_full_disk_refuses_everything_of_a_commit_and_heals(tmp_path: Path) -> None:
    async with follow(tmp_path / "chat.db") as follower:
        await follower.say("one")
        pages = follower.log._writer.execute("PRAGMA page_count").fetchone()[0]
        follower.log._writer.execute(f"PRAGMA max_page_count = {pages}")
        outcome = await follower.say("two", "x" * 100_000)
        assert isinstance(outcome, StorageError)
        assert "full" in str(outcome)
        assert outcome.retry
        follower.log._writer.execute("PRAGMA max_page_count = 1000000")
        message = await follower.say("two", "x" * 100_000)
        assert isinstance(message, Message)
        assert message.seq == 2  # no hole
        assert [m.client_offset for m in follower.published] == ["one", "two"]


async def test_a_database_that_becomes_read_only_refuses(tmp_path: Path) -> None:
    async with follow(tmp_path / "chat.db") as follower:
        follower.log._writer.execute("PRAGMA query_only = ON")
        outcome = await follower.say("one")
        assert isinstance(outcome, StorageError)
        assert "read-only" in str(outcome)
        follower.log._writer.execute("PRAGMA query_only = OFF")
        assert isinstance(await follower.say("one"), Message)


async def test_a_mistake_of_ours_does_not_end_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with follow(tmp_path / "chat.db") as follower:
        with monkeypatch.context() as patch:

            def fail(draft: Draft) -> int:
                raise ZeroDivisionError("a mistake")

            patch.setattr(follower.log, "_insert", fail)
            assert isinstance(await follower.say("one"), StorageError)
        assert isinstance(await follower.say("one"), Message)


async def test_what_could_not_be_followed_is_followed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with follow(tmp_path / "chat.db") as follower:
        fails = iter([True])
        read = follower.log._follow

        def follow_later() -> list[Message]:
            return [] if next(fails, False) else read()

        monkeypatch.setattr(follower.log, "_follow", follow_later)
        await follower.say("one")  # nobody else says anything meanwhile
        await follower.say("two")
    assert follower.order == [
        "publish one from socket",
        "answer one",
        "publish two from socket",
        "answer two",
    ]


async def test_a_log_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    async with follow(tmp_path / "chat.db") as follower:
        follower.log._reader.close()
        with pytest.raises(StorageError):
            await follower.log.after("lobby", 0)
        with pytest.raises(StorageError):
            follower.log.heads()


async def test_too_many_drafts_are_refused_at_once(tmp_path: Path) -> None:
    with closing(SqliteLog.open(tmp_path / "chat.db")) as log:  # nobody writes
        outcomes: list[Message | StorageError] = []
        for number in range(WAITING + 1):
            log.append(Draft("lobby", "ann", str(number), "Ann", "hi"), outcomes.append)
        assert [str(outcome) for outcome in outcomes] == ["The server has too much to do. Try again."]


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in range(4_096 + 64, len(content), 512):
        content[place : place + 64] = b"\xff" * 64
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: 3 * 4_096 + 100])


def replace_by_text(path: Path) -> None:
    path.write_text("this is no database, but a text of some length\n" * 200)


@pytest.mark.parametrize("spoil", [damage, cut_short, replace_by_text])
async def test_a_damaged_file_is_refused_and_left_as_it_is(
    tmp_path: Path, spoil: Callable[[Path], None]
) -> None:
    path = tmp_path / "chat.db"
    async with follow(path) as follower, anyio.create_task_group() as task_group:
        for number in range(50):
            task_group.start_soon(follower.say, str(number), "text " * 200)
    spoil(path)
    before = path.read_bytes()
    with pytest.raises(StorageError, match=r"cannot be used"):
        SqliteLog.open(path)
    assert path.read_bytes() == before


async def test_the_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE messages (id)")
    with pytest.raises(StorageError, match="belongs to another program"):
        SqliteLog.open(path)


async def test_places_where_no_database_can_be_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be opened"):
        SqliteLog.open(tmp_path / "nowhere" / "chat.db")
    with pytest.raises(StorageError, match="cannot be opened"):
        SqliteLog.open(tmp_path)
    with pytest.raises(StorageError, match="write-ahead log"):
        SqliteLog.open("")


async def test_a_log_that_was_torn_off_ends_where_it_was_whole(tmp_path: Path) -> None:
    path = tmp_path / "chat.db"
    async with follow(path) as follower:
        for number in range(10):
            await follower.say(str(number))
        copy = tmp_path / "copy.db"  # as after a crash: the file and its log, without a clean end
        copy.write_bytes(path.read_bytes())
        journal = (tmp_path / "chat.db-wal").read_bytes()
        (tmp_path / "copy.db-wal").write_bytes(journal[: len(journal) - 1_000])
    with closing(SqliteLog.open(copy)) as log:
        assert log.heads() == {"lobby": 9}


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (sqlite3.SQLITE_IOERR, "disk has failed"),
        (sqlite3.SQLITE_IOERR_FSYNC, "disk has failed"),
        (sqlite3.SQLITE_CORRUPT, "damaged"),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, "locked"),
        (sqlite3.SQLITE_MISUSE, "boom"),
    ],
)
async def test_every_fault_is_said_in_words(code: int, words: str) -> None:
    error = sqlite3.OperationalError("boom")
    error.sqlite_errorcode = code
    assert words in str(explain(error))


async def test_a_read_only_file_is_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "chat.db"
    SqliteLog.open(path).close()

    def connect(path: Path) -> sqlite3.Connection:
        return sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)

    monkeypatch.setattr("chat_app.sqlite_log.connect", connect)
    with pytest.raises(StorageError, match="read-only"):
        SqliteLog.open(path)


# Several processes


def test_processes_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_log, "BUSY_TIME", 0.05)
    one, two = Turns(str(tmp_path / "turns")), Turns(str(tmp_path / "turns"))
    with one.mine(), pytest.raises(StorageError, match="locked by another program"), two.mine():
        pytest.fail("it is the turn of another")
    with two.mine():
        pass
    one.close()
    with two.mine():
        two.close()
    three = Turns(str(tmp_path / "turns"))  # who is gone has no turn any more
    with three.mine():
        pass
    three.close()


def test_a_log_that_others_write_too_waits_for_its_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_log, "BUSY_TIME", 0.05)
    turns = Turns(str(tmp_path / "chat.db-turns"))
    with turns.mine(), pytest.raises(StorageError, match="locked by another program"):
        SqliteLog.open(tmp_path / "chat.db", look_every=1.0)
    turns.close()
    SqliteLog.open(tmp_path / "chat.db", look_every=1.0).close()
