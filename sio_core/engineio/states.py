"""The state machines of a session, as data. What is absent is refused.

::

    SESSION    OPEN ──close──► CLOSING ──outbox taken──► CLOSED
                 └───────────── lost, by any cause ────────► CLOSED

    TRANSPORT  POLLING ──opened──► PROBING ──probe──► PROBED ──upgrade──► WEBSOCKET
                  ▲                   │ └──────────── upgrade ──────────────►│
                  └────── lost ───────┴───────── lost (PROBED)

A session opened by WebSocket starts in WEBSOCKET. The official server accepts the upgrade packet without a probe
before it, and a probe more than once. Engine.IO protocol v4, "Upgrade".
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "CLOSED",
    "CLOSING",
    "OPEN",
    "POLLING",
    "PROBED",
    "PROBE_RECEIVED",
    "PROBING",
    "SESSION",
    "TRANSPORT",
    "UPGRADE_RECEIVED",
    "WEBSOCKET",
    "WEBSOCKET_LOST",
    "WEBSOCKET_OPENED",
]

# states of a session
OPEN: Final = "open"
CLOSING: Final = "closing"
CLOSED: Final = "closed"

# its inputs
CLOSE_REQUESTED: Final = "close requested"
LOST: Final = "lost"

SESSION: Final[dict[str, dict[str, str]]] = {
    OPEN: {CLOSE_REQUESTED: CLOSING, LOST: CLOSED},
    CLOSING: {LOST: CLOSED},
    CLOSED: {},
}

# states of its transport
POLLING: Final = "polling"
PROBING: Final = "probing"
PROBED: Final = "probed"
WEBSOCKET: Final = "websocket"

# its inputs
WEBSOCKET_OPENED: Final = "websocket opened"
WEBSOCKET_LOST: Final = "websocket lost"
PROBE_RECEIVED: Final = "probe received"
UPGRADE_RECEIVED: Final = "upgrade received"

TRANSPORT: Final[dict[str, dict[str, str]]] = {
    POLLING: {WEBSOCKET_OPENED: PROBING},
    PROBING: {PROBE_RECEIVED: PROBED, UPGRADE_RECEIVED: WEBSOCKET, WEBSOCKET_LOST: POLLING},
    PROBED: {PROBE_RECEIVED: PROBED, UPGRADE_RECEIVED: WEBSOCKET, WEBSOCKET_LOST: POLLING},
    WEBSOCKET: {},
}
