"""The micro-benchmarks: what happens once per event, per frame, per receiver or per request.

A case prepares itself once and returns a function that does the work a given number of times. Each checks
its answer before it is measured.
"""

from collections.abc import Callable
from typing import Any

from benchmarks import frames
from benchmarks.frames import BINARY
from benchmarks.micro.wire import Served, Wire
from benchmarks.workloads import LARGE_SIZE, SMALL
from sio_core.engineio.packet import Encoded
from sio_core.engineio.payload import decode_payload, encode_payload
from sio_core.limits import Limits
from sio_core.server import EngineServer, Server
from sio_core.socketio.parser import JsonParser
from sio_core.socketio.rooms import Rooms
from sio_core.wire.websocket import WebSocket, text_frame

Work = Callable[[int], None]

CASES: dict[str, Callable[[], Work]] = {}
MESSAGE = b"4"
SHORT = frames.event("echo", SMALL)
RECEIVERS = 1_000
BATCH = 64


def case(function: Callable[[], Work]) -> Callable[[], Work]:
    """Register a case by the name of its function."""
    CASES[function.__name__.replace("_", "-")] = function
    return function


def _repeat(function: Callable[[], Any], expected: Any) -> Work:
    assert function() == expected

    def work(times: int) -> None:
        for _ in range(times):
            function()

    return work


# ---- codec -------------------------------------------------------------------------------------------


def _decoding(event: frames.Event) -> Work:
    decoder = JsonParser().decoder(Limits())
    messages: list[str | bytes] = [event.text[1:].decode(), *event.attachments]

    def decode() -> Any:
        packet = None
        for message in messages:
            packet = decoder.add(message)
        assert packet is not None
        return packet.data

    data: Any = event.attachments[0] if event.attachments else SMALL
    return _repeat(decode, ["echo", data])


@case
def decode_event() -> Work:
    """A small event."""
    return _decoding(SHORT)


@case
def decode_event_with_id() -> Work:
    """A small event that wants an acknowledgement."""
    return _decoding(frames.event("echo", SMALL, ack_id=7))


@case
def decode_event_with_attachment() -> Work:
    """An event with one small attachment."""
    return _decoding(frames.event("echo", b"\x01" * 32))


@case
def encode_event() -> Work:
    """A small event."""
    parser = JsonParser()
    data = ["echo", SMALL]
    return _repeat(lambda: parser.encode_event("/", data, None, MESSAGE), (SHORT.text, []))


@case
def encode_ack() -> Work:
    """A small acknowledgement."""
    parser = JsonParser()
    data = [SMALL]
    expected = frames.acknowledgement(7, SMALL).text
    return _repeat(lambda: parser.encode_ack("/", data, 7, MESSAGE), (expected, []))


@case
def encode_event_with_attachment() -> Work:
    """An event with one small attachment."""
    parser = JsonParser()
    blob = b"\x01" * 32
    data = ["echo", blob]
    expected = frames.event("echo", blob).text
    return _repeat(lambda: parser.encode_event("/", data, None, MESSAGE), (expected, [blob]))


@case
def polling_payload() -> Work:
    """Ten packets in one body, there and back."""
    packets = [Encoded(SHORT.text) for _ in range(10)]
    expected = [SHORT.text.decode()] * 10
    return _repeat(lambda: list(decode_payload(encode_payload(packets), 100)), expected)


# ---- frames ------------------------------------------------------------------------------------------


def _reading(data: bytes, expected: list[str | bytes]) -> Work:
    websocket = WebSocket(1_000_000, Limits())
    return _repeat(lambda: websocket.receive_data(data), expected)


@case
def read_frame() -> Work:
    """One small text frame in one read."""
    return _reading(SHORT.client_bytes(), [SHORT.text.decode()])


@case
def read_frames() -> Work:
    """64 small text frames in one read."""
    return _reading(SHORT.client_bytes() * BATCH, [SHORT.text.decode()] * BATCH)


@case
def read_large_frame() -> Work:
    """One binary frame of 16 kB."""
    blob = b"\x01" * LARGE_SIZE
    return _reading(frames.client_frame(blob, BINARY), [blob])


@case
def write_frame() -> Work:
    """One small text frame."""
    return _repeat(lambda: text_frame(SHORT.text), frames.server_frame(SHORT.text))


# ---- session and dispatch ----------------------------------------------------------------------------


@case
def session() -> Work:
    """One message into an Engine.IO session and one out of it: no Socket.IO."""
    engine = EngineServer()

    def connected(session: Any) -> None:
        session.on("message", session.send)

    engine.on("connection", connected)
    wire = Served(engine).upgraded()
    sent = frames.client_frame(b"4" + SMALL.encode())
    return _repeat(lambda: wire.exchange(sent), frames.server_frame(b"4" + SMALL.encode()))


def application() -> Server[Any]:
    """A server with the listeners that the cases call."""
    io: Server[Any] = Server()

    def echo(socket: Any, data: Any) -> None:
        socket.emit("echo", data)

    def ack(socket: Any, data: Any) -> Any:
        return data

    def broadcast(socket: Any, data: Any) -> None:
        io.emit("broadcast", data)

    for listener in (echo, ack, broadcast):
        io.on(listener.__name__, listener)
    return io


def _dispatching(request: frames.Event, reply: frames.Event, times: int = 1) -> Work:
    wire = Served(application()).joined()
    sent = request.client_bytes() * times
    answer = frames.server_frame(reply.text)
    answer += b"".join(frames.server_frame(part, BINARY) for part in reply.attachments)
    return _repeat(lambda: wire.exchange(sent), answer * times)


@case
def dispatch_event() -> Work:
    """From the bytes of an event to the bytes of the one its listener emits."""
    return _dispatching(SHORT, SHORT)


@case
def dispatch_events() -> Work:
    """64 of them in one read."""
    return _dispatching(SHORT, SHORT, BATCH)


@case
def dispatch_event_with_ack() -> Work:
    """From the bytes of an event to the bytes of its acknowledgement."""
    return _dispatching(frames.event("ack", SMALL, ack_id=7), frames.acknowledgement(7, SMALL))


@case
def dispatch_event_with_attachment() -> Work:
    """From the bytes of an event with an attachment to those of its echo."""
    message = frames.event("echo", b"\x01" * 32)
    return _dispatching(message, message)


@case
def dispatch_broadcast() -> Work:
    """One event to 1,000 receivers, their frames taken."""
    served = Served(application())
    wires: list[Wire] = [served.joined() for _ in range(RECEIVERS)]
    sent = frames.event("broadcast", SMALL).client_bytes()
    expected = frames.server_frame(frames.event("broadcast", SMALL).text)
    sender = wires[0]

    def broadcast() -> set[bytes]:
        own = sender.exchange(sent)
        served.turns.turn()
        return {own, *[wire.sent() for wire in wires[1:]]}

    return _repeat(broadcast, {expected})


@case
def polling_echo() -> Work:
    """A GET that waits, the POST of an event, and both answers."""
    poller = Served(application()).polling()

    def echo() -> bool:
        waits = poller.poll() == b""
        return waits and poller.post(SHORT.text).endswith(SHORT.text)

    return _repeat(echo, True)


@case
def connect() -> Work:
    """Upgrade, OPEN and CONNECT of one client, and its end."""
    served = Served(application())

    def live() -> None:
        wire = served.joined()
        wire.exchange(frames.client_frame(b"41") + frames.CLOSE_FRAME)
        served.turns.turn()
        wire.lose()

    return _repeat(live, None)


# ---- rooms -------------------------------------------------------------------------------------------


def _rooms(count: int, size: int) -> Rooms:
    rooms = Rooms()
    for member in range(count * size):
        rooms.join(f"socket{member}", (f"socket{member}", f"room{member % count}"))
    return rooms


@case
def select_room() -> Work:
    """The 10 members of one room among 1,000."""
    rooms = _rooms(1_000, 10)
    wanted = frozenset(("room7",))
    return _repeat(lambda: len(list(rooms.select(wanted, frozenset()))), 10)


@case
def select_rooms() -> Work:
    """The union of three rooms less a fourth, and less the sender."""
    rooms = _rooms(1_000, 10)
    wanted, unwanted = ("room7", "room8", "room9"), frozenset(("room10", "socket7"))
    return _repeat(lambda: len(list(rooms.select(wanted, unwanted))), 29)


@case
def join_and_leave() -> Work:
    """One member into one room and out of it."""
    rooms = _rooms(1_000, 10)

    def move() -> None:
        rooms.join("socket1", ("room5",))
        rooms.leave("socket1", ("room5",))

    return _repeat(move, None)
