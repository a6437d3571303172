"""What is asked of the sockets of connections."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from typing import Any, Final

__all__ = ["reset_on_close"]

LINGER_ZERO: Final = struct.pack("ii", 1, 0)


def reset_on_close(handle: Any) -> None:
    """Have a socket end with RST when it is closed: the kernel would offer what it holds, and FIN, for minutes.

    :param handle: a socket, or what event loops give out for one; ``None`` for none.
    """
    if handle is not None:
        with suppress(OSError):
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO)
