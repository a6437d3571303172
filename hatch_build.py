"""Wheels: with the compiled core where a C compiler is there, pure Python otherwise, or with ``SIO_CORE_PURE=1``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILER = ["mypy[mypyc]==2.4.1", "setuptools>=75"]
RUN_TIME = "mypy-extensions>=1.0"
"""What the compiled modules import beside what the pure ones do."""


def can_compile() -> bool:
    """Whether there is a C compiler, and nobody has said not to use it."""
    if os.environ.get("SIO_CORE_PURE") or sys.implementation.name != "cpython":
        return False
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    return compiler is not None and Path(sysconfig.get_path("include"), "Python.h").exists()


def is_current(root: Path, target: Path, suffix: str) -> bool:
    """Whether what was compiled last is of the present source, and for this Python."""
    stamp = target / ".done"
    if not stamp.exists() or not any(target.glob(f"*{suffix}")):
        return False
    sources = [root / ".ci" / "compile", *(root / "sio_core").rglob("*.py")]
    return all(source.stat().st_mtime <= stamp.stat().st_mtime for source in sources)


class CompiledCore(BuildHookInterface[Any]):
    """Puts the extension modules that ``.ci/compile`` makes beside their sources: Python imports them first."""

    def dependencies(self) -> list[str]:
        """What compiling needs, the packages whose types it reads among it."""
        return [*COMPILER, *self.metadata.core.dependencies] if can_compile() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, for a wheel that is no editable one. pip asks twice, for the metadata and for the wheel."""
        if version != "standard" or not can_compile():
            return
        root = Path(self.root)
        target = root / "build" / "compiled"
        suffix = sysconfig.get_config_var("EXT_SUFFIX")
        if not is_current(root, target, suffix):
            done = subprocess.run([sys.executable, ".ci/compile", str(target)], cwd=root, check=False)
            if done.returncode != 0:
                self.app.display_warning("The core could not be compiled: the wheel is pure Python.")
                return
            (target / ".done").touch()
        for library in [*target.glob(f"*{suffix}"), *(target / "sio_core").rglob(f"*{suffix}")]:
            build_data["force_include"][str(library)] = library.relative_to(target).as_posix()
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["dependencies"].append(RUN_TIME)
