"""Compile the generator; the binary is kept outside the repository, named after its sources."""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCES = Path(__file__).parent
FLAGS = ("-O2", "-std=c11", "-Wall", "-Wextra")


class NoCompilerError(RuntimeError):
    """There is no C compiler on this machine."""


def compiled() -> Path:
    """The path of the generator's binary, compiled now if these sources never were."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise NoCompilerError(
            "the load generator is a C program and no compiler was found: install one "
            "(Debian and Ubuntu: apt-get install gcc libc6-dev; Alpine: apk add gcc musl-dev)"
        )
    sources = sorted(SOURCES.glob("*.c"))
    digest = hashlib.sha256(" ".join((compiler, *FLAGS)).encode())
    for file in (*sources, *sorted(SOURCES.glob("*.h"))):
        digest.update(file.read_bytes())
    folder = Path(tempfile.gettempdir()) / f"sio-core-benchmarks-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    binary = folder / f"loadgen-{digest.hexdigest()[:16]}"
    if not binary.exists():
        unfinished = binary.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, *FLAGS, "-o", unfinished, *sources, "-lm"], check=True)
        unfinished.replace(binary)
    return binary
