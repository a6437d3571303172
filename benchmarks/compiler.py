"""Compile the small C programs of the benchmarks; what is built is kept outside the repository."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path


class CompilerError(RuntimeError):
    """There is no C compiler, or it refused."""


def compiled(name: str, sources: Sequence[Path], flags: Sequence[str], headers: Sequence[Path] = ()) -> Path:
    """The path of what these sources give, compiled now if they never were."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise CompilerError(
            f"{name} is written in C and no compiler was found: install one "
            "(Debian and Ubuntu: apt-get install gcc libc6-dev; Alpine: apk add gcc musl-dev)"
        )
    digest = hashlib.sha256(" ".join((compiler, *flags)).encode())
    for file in (*sources, *headers):
        digest.update(file.read_bytes())
    folder = Path(tempfile.gettempdir()) / f"sio-core-benchmarks-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    binary = folder / f"{name}-{digest.hexdigest()[:16]}"
    if not binary.exists():
        unfinished = binary.with_suffix(f".{os.getpid()}")
        command = [compiler, "-O2", "-std=gnu11", "-o", str(unfinished), *map(str, sources), *flags]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise CompilerError(f"{name} does not compile: {done.stderr.strip()}")
        unfinished.replace(binary)
    return binary
