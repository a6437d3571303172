"""The type variables of the public classes."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

if sys.version_info >= (3, 13):
    from typing import TypeVar
else:
    from typing_extensions import TypeVar

__all__ = ["Data", "Function"]

Data = TypeVar("Data", default=dict[str, Any])
"""What an application keeps in ``socket.data``: what its ``data_factory`` makes."""

Function = TypeVar("Function", bound=Callable[..., Any])
"""A listener or a middleware: a decorator returns what it was given."""
