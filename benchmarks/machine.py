"""The machine and the versions behind the figures; nothing that names a host, a path or a person."""

import json
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.network import congestion_control

ROOT = Path(__file__).parent.parent
PYTHON_PACKAGES = (
    "uvloop",
    "uvicorn",
    "httptools",
    "websockets",
    "orjson",
    "msgspec",
    "anyio",
    "trio",
    "python-socketio",
    "python-engineio",
    "aiohttp",
)
NODE_PACKAGES = ("socket.io", "engine.io", "ws", "bufferutil")


def machine() -> dict[str, str | int | float]:
    """The hardware and the kernel, as far as they matter."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30, 1),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "congestion_control": congestion_control(),
    }


def versions() -> dict[str, str]:
    """The versions of everything that took part."""
    found = {platform.python_implementation(): platform.python_version(), "sio_core": own_build()}
    for package in PYTHON_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    if node := shutil.which("node"):
        found["Node"] = _output(node, "--version").removeprefix("v")
    for package in NODE_PACKAGES:
        manifest = ROOT / "node_modules" / package / "package.json"
        if manifest.exists():
            found[package] = json.loads(manifest.read_text())["version"]
    return found


def own_build() -> str:
    """The commit of this repository, and whether modules of sio_core are compiled."""
    commit = _output("git", "rev-parse", "--short", "HEAD") or "unknown commit"
    changed = "+" if _output("git", "status", "--porcelain", "sio_core") else ""
    compiled = sum(1 for _ in (ROOT / "sio_core").rglob("*.so"))
    return f"{commit}{changed}, {f'{compiled} modules compiled' if compiled else 'pure Python'}"


def _output(*command: str) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
