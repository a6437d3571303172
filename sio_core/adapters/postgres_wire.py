"""How messages are written for PostgreSQL: notifications, and a table for what those cannot hold."""

from __future__ import annotations

import re
from typing import Any, Final

from sio_core.adapters.messages import (
    BROADCAST,
    BROADCAST_ACK,
    SERVER_SIDE_EMIT,
    SERVER_SIDE_EMIT_RESPONSE,
    Codec,
    Message,
)
from sio_core.adapters.postgres_connection import Value
from sio_core.errors import AdapterError

__all__ = ["PostgresWire", "quote"]

CHANNEL_BYTES: Final = 63
"""Bytes of a channel's name: PostgreSQL does not notify a longer one."""

NOTIFICATION_BYTES: Final = 8_000
"""Bytes that a notification must stay below."""

WITH_ATTACHMENT: Final = frozenset((BROADCAST, SERVER_SIDE_EMIT, SERVER_SIDE_EMIT_RESPONSE, BROADCAST_ACK))
"""The types that go to the table as MessagePack if they hold binary data. In the others it is written as JSON."""

TABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)?").fullmatch

OPENING_BRACE: Final = 0x7B

SOURCE: Final = "_sio_adapter"
"""By this the processes of one machine under Node's cluster module know a message that is meant for them."""


class PostgresWire:
    """The names and bounds that all nodes of a cluster must have in common.

    :param channel_prefix: begins the name of each namespace's channel.
    :param table: where attachments are, with its schema if it needs one; written as in SQL without quotes.
    :param payload_threshold: bytes from which on a message is an attachment; 1 to 8,000.
    :raises ValueError: if one of them is not possible.
    """

    __slots__ = ("channel_prefix", "table", "threshold")

    def __init__(self, channel_prefix: str, table: str, payload_threshold: int) -> None:
        if not TABLE(table):
            raise ValueError(
                f"table must be a name like 'socket_io_attachments' or 'schema.table', not {table!r}"
            )
        if not 1 <= payload_threshold <= NOTIFICATION_BYTES:
            raise ValueError(
                f"payload_threshold must be 1 to {NOTIFICATION_BYTES} bytes, all that PostgreSQL allows, "
                f"not {payload_threshold!r}"
            )
        if not channel_prefix or "\0" in channel_prefix:
            raise ValueError(f"channel_prefix must be a text that is not empty, not {channel_prefix!r}")
        self.channel_prefix = channel_prefix
        self.table = table
        self.threshold = payload_threshold

    def channel_of(self, nsp: str) -> str:
        """Return the channel of a namespace.

        :raises AdapterError: if PostgreSQL cannot have it.
        """
        channel = f"{self.channel_prefix}#{nsp}"
        if len(channel.encode()) > CHANNEL_BYTES or "\0" in channel:
            room = CHANNEL_BYTES - len(self.channel_prefix.encode()) - 1
            raise AdapterError(
                f"PostgreSQL has no channel for namespace {nsp!r}: its name may have {room} bytes"
            )
        return channel

    def nsp_of(self, channel: str) -> str:
        """Return the namespace of a channel."""
        return channel[len(self.channel_prefix) + 1 :]

    def encode(self, codec: Codec, message: Message) -> bytes:
        """Return a message as JSON for a notification, or as MessagePack for the table.

        :raises TypeError: if something in it cannot be sent.
        :raises ValueError: if it is circular, or nested too deeply.
        """
        envelope = {**message.to_wire(), "source": SOURCE}
        text, has_binary = codec.json_and_binary(envelope)
        if (has_binary and message.type in WITH_ATTACHMENT) or len(text) >= self.threshold:
            return codec.msgpack(envelope)
        return text

    def statements(
        self, codec: Codec, channel: str, messages: list[Message]
    ) -> list[tuple[str, list[Value]]]:
        """Return the statements, with their values, that publish encoded messages in their order."""
        found: list[tuple[str, list[Value]]] = []
        together: list[Value] = [channel]
        for message in messages:
            payload: bytes = message.payload
            if payload[0] != OPENING_BRACE:
                found.append(notify_all(together))
                together = [channel]
                found.append(self._attach(codec, channel, message))
            else:
                text = payload.decode()
                if text in together:  # one transaction delivers the same notification only once
                    found.append(notify_all(together))
                    together = [channel]
                together.append(text)
        found.append(notify_all(together))
        return [statement for statement in found if statement[0]]

    def _attach(self, codec: Codec, channel: str, message: Message) -> tuple[str, list[Value]]:
        header: dict[str, Any] = {"uid": message.uid, "type": message.type, "attachmentId": ""}
        before, after = codec.json(header)[:-2].decode(), f'","source":"{SOURCE}"}}'
        return (
            f"WITH attachment AS (INSERT INTO {self.table} (payload) VALUES ($1) RETURNING id) "  # noqa: S608
            "SELECT pg_notify($2, $3::text || id || $4::text) FROM attachment",
            [message.payload, channel, before, after],
        )


def notify_all(values: list[Value]) -> tuple[str, list[Value]]:
    """Return a statement for the channel and the payloads in ``values``; an empty one if there are no payloads."""
    calls = [f"pg_notify($1, ${number})" for number in range(2, len(values) + 1)]
    return ("SELECT " + ", ".join(calls) if calls else "", values)


def quote(name: str) -> str:
    """Return a name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'
