"""What the disk and SQLite allow without a server: the physical limit of the chat."""

import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from benchmarks.workloads import SMALL
from chat_app.sqlite_log import INSERT, SCHEMA

BLOCK = 4096
"""Bytes of a page of SQLite, and of what is written before each sync of the bare disk."""
BLOCKS = 1000
"""Blocks written before beginning again, as many as a write-ahead log has before its checkpoint."""
IN_MEMORY = frozenset({"tmpfs", "ramfs"})


def file_system(path: Path, mounts: str) -> str:
    """The type of the file system of an absolute path, from the contents of /proc/mounts."""
    place, kind = "", "unknown"
    for line in mounts.splitlines():
        _, mounted, found, *_ = line.split(" ")
        mounted = mounted.replace("\\040", " ")
        if len(mounted) >= len(place) and path.is_relative_to(mounted):
            place, kind = mounted, found
    return kind


def disk_folder(*candidates: Path) -> tuple[Path, str]:
    """The first of the folders that is not in memory, and the type of its file system.

    :raises ValueError: if there is none: a sync of memory takes no time.
    """
    mounts = Path("/proc/mounts").read_text()
    for candidate in candidates:
        if candidate.is_dir() and (kind := file_system(candidate.resolve(), mounts)) not in IN_MEMORY:
            return candidate, kind
    raise ValueError("no folder on a disk: name one with --folder")


def syncs_per_second(folder: Path, duration: float) -> float:
    """How often a block is written over and synced to the disk, for so many seconds."""
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        block = os.urandom(BLOCK)
        file.write(block * BLOCKS)
        os.fsync(file.fileno())

        def sync(number: int) -> None:
            os.pwrite(file.fileno(), block, number % BLOCKS * BLOCK)
            os.fdatasync(file.fileno())

        return _per_second(sync, duration)


def commits_per_second(folder: Path, group: int, duration: float) -> float:
    """How often a group of messages is committed with the chat's own statements and pragmas, for so many seconds."""
    with (
        tempfile.TemporaryDirectory(dir=folder) as place,
        closing(sqlite3.connect(Path(place) / "limit.db", isolation_level=None)) as connection,
    ):
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(SCHEMA)

        def commit(number: int) -> None:
            connection.execute("BEGIN IMMEDIATE")
            for member in range(group):
                connection.execute(INSERT, _values(member, number)).fetchall()
            connection.execute("COMMIT")

        return _per_second(commit, duration)


def _values(member: int, number: int) -> dict[str, str | int]:
    return {
        "room": "benchmark",
        "author": f"{member:016x}",
        "client_offset": f"{member}-{number}",
        "nickname": f"Member {member}",
        "text": SMALL,
        "time": time.time_ns() // 1_000_000,
    }


def _per_second(step: Callable[[int], None], duration: float) -> float:
    began = time.perf_counter()
    done = 0
    while time.perf_counter() - began < duration:
        step(done)
        done += 1
    return done / (time.perf_counter() - began)
