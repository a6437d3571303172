"""Socket.IO packets as values, so that a check compares meaning and not white space.

The few checks about exact bytes compare the text itself.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

PACKET = re.compile(
    r"(?P<type>[0-6])(?:(?P<attachments>\d+)-)?(?P<namespace>/[^,]*)?,?(?P<id>\d+)?(?P<data>.*)", re.DOTALL
)

NAMES = ("CONNECT", "DISCONNECT", "EVENT", "ACK", "CONNECT_ERROR", "BINARY_EVENT", "BINARY_ACK")


class Missing:
    """Stands for the absence of data, which is not the same as ``null``."""

    def __repr__(self) -> str:
        return "nothing"


MISSING = Missing()


@dataclass(frozen=True, slots=True)
class Packet:
    type: int
    namespace: str = "/"
    data: Any = MISSING
    id: int | None = None
    attachments: int | None = None

    def __str__(self) -> str:
        return f"{NAMES[self.type]} {self.namespace} id={self.id} data={self.data!r}"


def parse_message(message: str) -> Packet:
    """Read what a server sent, from its ``4`` on; ValueError when it is no Socket.IO packet."""
    matched = PACKET.fullmatch(message[1:]) if message.startswith("4") else None
    if matched is None:
        raise ValueError(f"not a Socket.IO packet: {message!r}")
    number, attachments, data = matched["id"], matched["attachments"], matched["data"]
    return Packet(
        int(matched["type"]),
        matched["namespace"] or "/",
        json.loads(data) if data else MISSING,
        None if number is None else int(number),
        None if attachments is None else int(attachments),
    )


def head(
    kind: int, namespace: str = "/", *, attachments: int | None = None, ack_id: int | None = None
) -> str:
    """What comes before the data: ``4``, type, attachments, namespace and id."""
    count = "" if attachments is None else f"{attachments}-"
    space = "" if namespace == "/" else f"{namespace},"
    return f"4{kind}{count}{space}{'' if ack_id is None else ack_id}"


def encode(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def deconstruct(value: Any, attachments: list[bytes]) -> Any:
    """Replace each binary part by its placeholder, depth first, and collect it."""
    if isinstance(value, bytes):
        attachments.append(value)
        return {"_placeholder": True, "num": len(attachments) - 1}
    if isinstance(value, list | tuple):
        return [deconstruct(item, attachments) for item in value]
    if isinstance(value, dict):
        return {key: deconstruct(item, attachments) for key, item in value.items()}
    return value


def reconstruct(value: Any, attachments: list[bytes]) -> Any:
    if isinstance(value, dict):
        if value.get("_placeholder") is True:
            return attachments[value["num"]]
        return {key: reconstruct(item, attachments) for key, item in value.items()}
    if isinstance(value, list):
        return [reconstruct(item, attachments) for item in value]
    return value


def encode_packet(kind: int, namespace: str, args: list[Any], ack_id: int | None = None) -> list[str | bytes]:
    """The Engine.IO messages of an EVENT (2) or ACK (3): the header, then its attachments."""
    attachments: list[bytes] = []
    data = encode(deconstruct(args, attachments))
    if not attachments:
        return [head(kind, namespace, ack_id=ack_id) + data]
    return [head(kind + 3, namespace, attachments=len(attachments), ack_id=ack_id) + data, *attachments]
