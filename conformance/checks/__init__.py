"""The checks, one module for each group. Importing a module registers what it holds."""

from __future__ import annotations

import importlib
import pkgutil

from conformance.model import REGISTER, Check


def every_check() -> list[Check]:
    """All checks, module by module in alphabetical order, as each module lists them."""
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda found: found.name):
        importlib.import_module(f"{__name__}.{module.name}")
    return list(REGISTER.values())
