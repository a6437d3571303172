"""What the official adapters and emitters have sent to Redis, as it was recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent / "vectors"


def commands(name: str, command: str) -> list[list[bytes]]:
    """Return the arguments of every such command in a recording."""
    steps = json.loads((HERE / f"{name}.json").read_text())["steps"]
    found = [[word(argument) for argument in entry["argv"]] for step in steps for entry in step["commands"]]
    return [argv[1:] for argv in found if argv[0].upper() == command.encode()]


def word(argument: dict[str, Any]) -> bytes:
    return bytes.fromhex(argument["hex"]) if "hex" in argument else argument["utf8"].encode()
