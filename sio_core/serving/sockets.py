"""What is asked of the sockets of connections."""

from __future__ import annotations

import logging
import os
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sio_core.serving.connection import Connection
    from sio_core.serving.site import Siblings

__all__ = ["hand_over", "reset_on_close"]

LINGER_ZERO: Final = struct.pack("ii", 1, 0)

logger = logging.getLogger(__name__)


def reset_on_close(handle: Any) -> None:
    """Have a socket end with RST when it is closed: the kernel would offer what it holds, and FIN, for minutes.

    :param handle: a socket, or what event loops give out for one; ``None`` for none.
    """
    if handle is not None:
        with suppress(OSError):
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)


def hand_over(siblings: Siblings | None, descriptor: int, connection: Connection) -> None:
    """Give a connection to another process, once everything was written; the descriptor here is to be closed."""
    if siblings is None:
        return
    try:
        copy = os.dup(descriptor)
    except OSError as error:
        logger.warning("a connection for a sibling is dropped: %s", error)
    else:
        siblings.hand_over(copy, *connection.depart())
