"""Each mutant, what is wrong with it, and the checks that must say so.

A mutant is caught when every check listed for it fails: the list names the cause, not all the damage.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    name: str
    fault: str
    caught_by: tuple[str, ...]


def mutant(name: str, fault: str, *caught_by: str) -> Mutant:
    return Mutant(name, fault, caught_by)


CATALOGUE = (
    mutant("open-extra-key", "a sixth key in the OPEN packet", "engineio.handshake.keys.polling"),
    mutant("open-seconds", "the ping interval in seconds", "engineio.handshake.advertised-timing.polling"),
    mutant(
        "open-websocket-upgrades", "upgrades offered over WebSocket", "engineio.handshake.upgrades.websocket"
    ),
    mutant("open-no-max-payload", "no maxPayload", "engineio.handshake.max-payload.polling"),
    mutant("cookie-for-scripts", "a cookie that scripts may read", "engineio.handshake.cookie.options"),
    mutant("path-any", "a path without its slash", "engineio.handshake.path.no-slash"),
    mutant("status-unknown-sid", "404 for an unknown session", "engineio.error.sid.unknown"),
    mutant("status-forbidden", "400 for a forbidden request", "engineio.error.forbidden.standard"),
    mutant("status-too-large", "400 for a payload too large", "engineio.limit.polling.over"),
    mutant("error-as-text", "errors as text/plain", "engineio.error.transport.unknown"),
    mutant("overlapping-polls", "two polls at once", "engineio.polling.overlap.get"),
    mutant("overlapping-posts", "two POSTs at once", "engineio.polling.overlap.post"),
    mutant("close-packet-ignored", "close packets ignored", "engineio.polling.close.client"),
    mutant("octet-stream-accepted", "binary bodies", "engineio.polling.content-type.octet-stream"),
    mutant("limit-ignored", "no limit on payloads", "engineio.limit.polling.over"),
    mutant("limit-one-less", "a limit that is one too small", "engineio.limit.exact.polling"),
    mutant(
        "websocket-limit-closes-normally", "another limit than advertised", "engineio.limit.websocket.text"
    ),
    mutant("packets-reversed", "a buffer flushed backwards", "engineio.polling.get.buffered"),
    mutant("packet-lost", "the last of several packets lost", "engineio.polling.get.buffered"),
    mutant("poll-aborted-unnoticed", "aborted polls unnoticed", "engineio.polling.abort.get"),
    mutant("close-code-1000", "a status code in close frames", "engineio.websocket.close.server"),
    mutant("binary-as-base64", "base64 over WebSocket", "engineio.websocket.binary"),
    mutant("packets-in-one-message", "a payload as one message", "engineio.websocket.text"),
    mutant(
        "client-ping-answered",
        "pings in the wrong direction answered",
        "engineio.websocket.invalid.ping",
        "engineio.polling.invalid.ping",
    ),
    mutant("unknown-packet-ignored", "invalid packets ignored", "engineio.websocket.invalid.unknown-type"),
    mutant("probe-answered-bare", "`3` for `2probe`", "engineio.upgrade.probe-answer"),
    mutant("poll-not-released", "no NOOP during a probe", "engineio.upgrade.poll-released"),
    mutant("lost-on-upgrade", "packets lost on upgrade", "engineio.upgrade.buffered"),
    mutant("doubled-on-upgrade", "packets doubled on upgrade", "engineio.upgrade.buffered"),
    mutant(
        "failed-probe-closes-session", "a failed probe ends the session", "engineio.upgrade.wrong.message"
    ),
    mutant("upgrade-never-times-out", "no upgrade timeout", "engineio.upgrade.timeout"),
    mutant(
        "no-ping", "no heartbeat", "engineio.heartbeat.first.polling", "engineio.heartbeat.first.websocket"
    ),
    mutant("ping-with-data", "pings with data", "engineio.heartbeat.ping-is-bare.websocket"),
    mutant(
        "late-pong-accepted",
        "a pong is never too late",
        "engineio.heartbeat.late-pong",
        "engineio.heartbeat.missing-pong.websocket",
    ),
    mutant("connect-timeout-never", "no connect timeout", "socketio.connect-timeout.idle.websocket"),
    mutant("wrong-close-reason", "a close is an error", "engineio.websocket.close.client"),
    mutant("wrong-leave-reason", "leaving is a close", "socketio.disconnect.client.websocket"),
    mutant("early-event-ignored", "events before CONNECT ignored", "socketio.connect.not-joined.event"),
    mutant("second-connect-ignored", "a second CONNECT ignored", "socketio.connect.twice.websocket"),
    mutant(
        "malformed-ignored",
        "malformed packets ignored",
        "socketio.codec.refused.json.trailing",
        "socketio.codec.refused.event.object",
        "socketio.codec.refused.type.9",
    ),
    mutant("invalid-namespace-text", "another message for unknown namespaces", "socketio.connect.invalid"),
    mutant("refusal-without-data", "data of a refusal lost", "socketio.middleware.data"),
    mutant("engine-id-as-socket-id", "the session id given away", "socketio.connect.id"),
    mutant("disconnect-unsaid", "no DISCONNECT packet", "socketio.disconnect.server.websocket"),
    mutant("disconnect-answered", "a DISCONNECT answered", "socketio.disconnect.not-answered"),
    mutant("ack-id-wrong", "acks with another id", "socketio.ack.echo.websocket"),
    mutant("ack-repeated", "acks repeated", "socketio.ack.once"),
    mutant("ack-unasked", "acks that nobody asked for", "socketio.ack.not-asked"),
    mutant("ack-null-as-nothing", "null as nothing", "socketio.ack.null"),
    mutant("attachments-swapped", "attachments in reverse order", "socketio.binary.order"),
    mutant("eleven-attachments", "any number of attachments", "socketio.codec.refused.count.eleven"),
    mutant(
        "reserved-names-accepted",
        "payloads not validated",
        "socketio.codec.refused.event.reserved.disconnect",
        "socketio.codec.refused.connect.array",
    ),
    mutant("namespace-always-written", "`/` written out", "socketio.codec.text.connect"),
    mutant(
        "broadcast-to-sender",
        "nobody left out of a broadcast",
        "socketio.broadcast.sender",
        "socketio.broadcast.except",
    ),
    mutant("room-is-everybody", "rooms without walls", "socketio.broadcast.room"),
    mutant("room-never-left", "rooms that cannot be left", "socketio.room.leave"),
    mutant("volatile-kept", "volatile events buffered", "socketio.volatile.no-poll"),
    mutant("missed-lost", "missed packets lost", "recovery.back.missed"),
    mutant("missed-doubled", "missed packets doubled", "recovery.back.missed"),
    mutant("missed-late", "missed packets behind the CONNECT answer", "recovery.back.missed"),
    mutant("recovered-after-expiry", "sessions that never expire", "recovery.fresh.expired"),
    mutant(
        "recovered-after-leaving",
        "recovery after leaving on purpose",
        "recovery.fresh.left",
        "recovery.fresh.disconnected",
    ),
    mutant("recovered-through-middlewares", "middlewares not skipped", "recovery.back.middlewares"),
    mutant("cors-everybody", "every origin echoed", "cors.actual.other-origin"),
    mutant("cors-no-credentials", "credentials not allowed", "cors.actual.headers"),
    mutant("compression-forced", "the compress flag ignored", "compression.polling.flag"),
    mutant("compression-never", "no compression", "compression.polling.gzip"),
    mutant("not-modified-as-200", "no 304", "files.not-modified"),
)
