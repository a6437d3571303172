"""Joining and leaving namespaces, and what belongs to none."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from conformance.bench import Bench
from conformance.checks.engineio_errors import expect_alive
from conformance.expect import expect, expect_equal
from conformance.model import OFFICIAL, Check, Transport, check, check_both, register, sio
from conformance.peer.engineio import EndedError, PollingSession, expect_ended
from conformance.peer.socketio import CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, Client

CONNECTION = sio("Connection to a namespace")
DISCONNECTION = sio("Disconnection from a namespace")


@check_both("socketio.connect.main", "A CONNECT is answered with a socket id.", CONNECTION)
async def main(bench: Bench, transport: Transport) -> None:
    client = Client(await bench.link(transport))
    await client.send("40")
    packet = await client.receive()
    expect_equal((packet.type, packet.namespace, sorted(packet.data)), (CONNECT, "/", ["sid"]))


@check_both(
    "socketio.connect.nothing-before", "The server sends nothing until a namespace is joined.", CONNECTION
)
async def nothing_before(bench: Bench, transport: Transport) -> None:
    client = Client(await bench.link(transport))
    await bench.settle()
    await client.connect("/custom")


@check("socketio.connect.id", "A socket id is long, and not the session id.", CONNECTION)
async def identifier(bench: Bench) -> None:
    client = Client(await bench.link("websocket"))
    sids = {await client.connect(), await client.connect("/custom"), client.link.sid}
    expect_equal(len(sids), 3, "different ids")
    expect(all(len(sid) >= 16 for sid in sids), "16 characters or more", sids)


@check("socketio.connect.id-known", "The id that is sent is the one the application knows.", CONNECTION)
async def identifier_known(bench: Bench) -> None:
    client = Client(await bench.link("websocket"))
    sid = await client.connect()
    (info,) = await client.call("info")
    expect_equal((info["id"], info["engine"], info["protocol"]), (sid, client.link.sid, 4))


@check_both("socketio.connect.custom", "A custom namespace is joined by its name.", CONNECTION)
async def custom(bench: Bench, transport: Transport) -> None:
    client = await bench.client(transport, "/custom")
    await client.emit("message", 1, namespace="/custom")
    await client.expect_event("message-back", 1, namespace="/custom")


@check_both("socketio.connect.auth", "The payload of a CONNECT reaches the application.", CONNECTION)
async def auth(bench: Bench, transport: Transport) -> None:
    for namespace in ("/", "/custom"):
        await bench.client(transport, namespace, {"token": "123", "nested": {"a": [1, None]}})


@check("socketio.connect.auth-empty", "Without payload it is an empty object.", OFFICIAL)
async def auth_empty(bench: Bench) -> None:
    client = Client(await bench.link("websocket"))
    await client.send("40")
    await client.receive()
    await client.expect_event("auth", {})


@check("socketio.connect.auth-each", "Each namespace has the payload of its own CONNECT.", CONNECTION)
async def auth_each(bench: Bench) -> None:
    client = Client(await bench.link("websocket"))
    await client.connect("/", {"of": "main"})
    await client.connect("/custom", {"of": "custom"})
    (main_handshake,) = await client.call("handshake")
    (custom_handshake,) = await client.call("handshake", namespace="/custom")
    expect_equal((main_handshake["auth"], custom_handshake["auth"]), ({"of": "main"}, {"of": "custom"}))


@check("socketio.connect.together", "CONNECTs of several namespaces may come in one payload.", CONNECTION)
async def together(bench: Bench) -> None:
    client = Client(await bench.link("polling"))
    await client.send("40", "40/custom,", "40/dynamic-together,")
    packets = [await client.receive() for _ in range(6)]
    for namespace in ("/", "/custom", "/dynamic-together"):
        kinds = [packet.type for packet in packets if packet.namespace == namespace]
        expect_equal(kinds, [CONNECT, EVENT], f"packets of {namespace}")


@check(
    "socketio.connect.reply-first",
    "The answer to a CONNECT comes before what the application emits.",
    OFFICIAL,
)
async def reply_first(bench: Bench) -> None:
    client = Client(await bench.link("polling"))
    await client.send("40")
    kinds = [(await client.receive()).type for _ in range(2)]
    expect_equal(kinds, [CONNECT, EVENT])


@check("socketio.connect.invalid", "A namespace that does not exist is refused by name.", CONNECTION)
async def invalid(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.send("40/random,")
    expect_equal(await client.receive_text(), '44/random,{"message":"Invalid namespace"}')
    await expect_alive(client)


@check("socketio.connect.invalid-query", "A query is part of the name of a namespace.", OFFICIAL)
async def invalid_query(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.send("40/custom?x=1,")
    expect_equal(await client.receive_text(), '44/custom?x=1,{"message":"Invalid namespace"}')


@check("socketio.connect.invalid-first", "A refused client may try another namespace.", CONNECTION)
async def invalid_first(bench: Bench) -> None:
    client = Client(await bench.link("websocket"))
    await client.send("40/random,")
    await client.expect_packet(CONNECT_ERROR, {"message": "Invalid namespace"}, namespace="/random")
    await client.connect("/custom")


@check_both(
    "socketio.connect.twice",
    "A second CONNECT of a joined namespace is a violation: the connection is closed.",
    OFFICIAL,
)
async def twice(bench: Bench, transport: Transport) -> None:
    client = await bench.client(transport)
    await client.send("40")
    await expect_ended(client.link)


@check("socketio.connect.main-not-needed", "`/` need not be joined.", CONNECTION)
async def main_not_needed(bench: Bench) -> None:
    client = await bench.client("websocket", "/custom")
    await client.send('42["message",1]')
    await expect_ended(client.link)


VIOLATIONS = {
    "event": '42["message",1]',
    "event-custom": '42/custom,["message",1]',
    "ack": "430[]",
    "disconnect": "41",
    "disconnect-custom": "41/custom,",
    "binary-event": '451-["message",{"_placeholder":true,"num":0}]',
}


def not_joined(packet: str) -> Callable[[Bench], Awaitable[None]]:
    async def run(bench: Bench) -> None:
        link = await bench.link("websocket")
        await link.send(packet)
        if packet.startswith("451-"):
            await link.send(b"\x01")
        await expect_ended(link)

    return run


for name, packet in VIOLATIONS.items():
    register(
        Check(
            f"socketio.connect.not-joined.{name}",
            f"`{packet}` for a namespace that was not joined closes the connection.",
            CONNECTION,
            not_joined(packet),
        )
    )


@check(
    "socketio.connect.first-payload",
    "An event in the payload of its CONNECT may come too early: it is answered, or the connection is closed.",
    OFFICIAL,
)
async def first_payload(bench: Bench) -> None:
    session = await bench.polling()
    await session.send("40", '421["message-with-ack","early"]')
    packets: list[str] = []
    try:
        while '431["early"]' not in packets:
            packets.append(str(await session.receive()))
    except EndedError as ended:
        expect("answered with 400" in ended.how, "the answer, or the end of the session", ended.how)


@check(
    "socketio.connect.not-joined.reason",
    "To a joined namespace such a violation is a forced close; no packet says so to the client.",
    OFFICIAL,
)
async def violation_reason(bench: Bench) -> None:
    client = Client(await bench.link("websocket"))
    sid = await client.connect("/custom")
    await client.send('42["message",1]')
    await expect_ended(client.link)
    await bench.expect_reason(sid, "forced close")


@check(
    "socketio.connect.not-joined.reason-polling",
    "When the close packet must wait for a poll, the reason is `forced server close`.",
    OFFICIAL,
)
async def violation_reason_polling(bench: Bench) -> None:
    client = Client(await bench.link("polling"))
    sid = await client.connect("/custom")
    await client.send('42["message",1]')
    await bench.expect_reason(sid, "forced server close")
    session = client.link
    assert isinstance(session, PollingSession)
    expect_equal((await session.get()).body, b"6\x1e1")


# Dynamic namespaces


@check("socketio.dynamic.regex", "A namespace may be matched by a regular expression.", OFFICIAL)
async def dynamic_regex(bench: Bench) -> None:
    namespace = bench.dynamic()
    client = await bench.client("websocket", namespace)
    await client.emit("message", 1, namespace=namespace)
    await client.expect_event("message-back", 1, namespace=namespace)


@check("socketio.dynamic.anchored", "It matches as written, so a longer name is refused.", OFFICIAL)
async def dynamic_anchored(bench: Bench) -> None:
    client = await bench.client("websocket")
    for name in ("/dynamic-", "/dynamic-1/2", "/dynamic-A", "/x/dynamic-1"):
        await client.send(f"40{name},")
        await client.expect_packet(CONNECT_ERROR, {"message": "Invalid namespace"}, namespace=name)


@check("socketio.dynamic.function", "A namespace may be allowed by a function of name and auth.", OFFICIAL)
async def dynamic_function(bench: Bench) -> None:
    name = f"/function-{bench.dynamic()[1:]}"
    client = await bench.client("websocket")
    await client.send(f'40{name},{{"token":"wrong"}}')
    await client.expect_packet(CONNECT_ERROR, {"message": "Invalid namespace"}, namespace=name)
    await client.connect(name, {"token": "secret"})


@check("socketio.dynamic.separate", "Namespaces of one expression are separate.", OFFICIAL)
async def dynamic_separate(bench: Bench) -> None:
    one, two = bench.dynamic(), bench.dynamic()
    first = await bench.client("websocket", one)
    second = await bench.client("websocket", two)
    await first.emit("all", "one", namespace=one)
    await first.expect_event("all", "one", namespace=one)
    await second.expect_silence(two)


@check(
    "socketio.dynamic.shared", "Clients of one name share one namespace, however fast they come.", OFFICIAL
)
async def dynamic_shared(bench: Bench) -> None:
    namespace = bench.dynamic()
    clients = [Client(await bench.link("websocket")) for _ in range(5)]
    for client in clients:
        await client.send(f"40{namespace},")
    for client in clients:
        expect_equal((await client.receive()).type, CONNECT)
        await client.expect_event("auth", {}, namespace=namespace)
    (count,) = await clients[0].call("count", namespace=namespace)
    expect_equal(count, 5)


# Disconnection


@check_both(
    "socketio.disconnect.client",
    "A DISCONNECT of the client leaves one namespace and keeps the connection.",
    DISCONNECTION,
)
async def disconnect_client(bench: Bench, transport: Transport) -> None:
    client = Client(await bench.link(transport))
    sid = await client.connect("/custom")
    await client.connect()
    await client.send("41/custom,")
    await expect_alive(client)
    await bench.expect_reason(sid, "client namespace disconnect")


@check("socketio.disconnect.not-answered", "A DISCONNECT is not answered.", DISCONNECTION)
async def disconnect_not_answered(bench: Bench) -> None:
    client = Client(await bench.link("websocket"))
    await client.connect("/custom")
    await client.connect()
    await client.send("41/custom,")
    await client.expect_silence()


@check("socketio.disconnect.last", "Leaving the last namespace keeps the connection open too.", DISCONNECTION)
async def disconnect_last(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.send("41")
    await bench.settle()
    await client.connect("/custom")


@check(
    "socketio.disconnect.again", "A namespace that was left may be joined again, under a new id.", CONNECTION
)
async def disconnect_again(bench: Bench) -> None:
    client = Client(await bench.link("websocket"))
    first = await client.connect()
    await client.send("41")
    await bench.settle()
    second = await client.connect()
    expect(first != second, "a new socket id", second)


@check(
    "socketio.disconnect.then-event",
    "An event for a namespace that was left closes the connection.",
    OFFICIAL,
)
async def disconnect_then_event(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.connect("/custom")
    await client.send("41/custom,")
    await bench.settle()
    await client.send('42/custom,["message",1]')
    await expect_ended(client.link)


@check(
    "socketio.disconnect.event-before",
    "An event that is followed by a DISCONNECT in one payload is delivered or dropped; the client leaves, and "
    "its connection stays.",
    OFFICIAL,
)
async def disconnect_event_before(bench: Bench) -> None:
    client = Client(await bench.link("polling"))
    sid = await client.connect("/custom")
    await client.send('42/custom,["message",1]', "41/custom,")
    await bench.expect_reason(sid, "client namespace disconnect")
    await client.send("40")
    while (packet := await client.receive()).namespace == "/custom":
        expect_equal(packet.data, ["message-back", 1])
    expect_equal((packet.type, packet.namespace), (CONNECT, "/"))


@check_both(
    "socketio.disconnect.server",
    "A server that disconnects a socket says so with a DISCONNECT.",
    DISCONNECTION,
)
async def disconnect_server(bench: Bench, transport: Transport) -> None:
    client = Client(await bench.link(transport))
    sid = await client.connect("/custom")
    await client.connect()
    await client.emit("leave-namespace", namespace="/custom")
    await client.expect_packet(DISCONNECT, namespace="/custom")
    await expect_alive(client)
    await bench.expect_reason(sid, "server namespace disconnect")


@check(
    "socketio.disconnect.server-all",
    "`disconnect(true)` leaves every namespace and closes the connection.",
    OFFICIAL,
)
async def disconnect_server_all(bench: Bench) -> None:
    client = Client(await bench.link("websocket"))
    sids = [await client.connect(), await client.connect("/custom")]
    await client.emit("leave-server")
    await client.expect_event("last")
    left = [await client.receive(), await client.receive()]
    expect_equal(
        sorted((packet.type, packet.namespace) for packet in left),
        [(DISCONNECT, "/"), (DISCONNECT, "/custom")],
    )
    await expect_ended(client.link)
    for sid in sids:
        await bench.expect_reason(sid, "server namespace disconnect")


@check(
    "socketio.disconnect.server-all-polling",
    "Over polling the last events and the DISCONNECT are delivered before the close packet.",
    OFFICIAL,
)
async def disconnect_server_all_polling(bench: Bench) -> None:
    session = await bench.polling()
    await Client(session).connect()
    await session.send('42["leave-server"]')
    received = [await session.receive() for _ in range(2)]
    expect_equal(received, ['42["last"]', "41"])
    await expect_ended(session)


@check(
    "socketio.disconnect.rooms",
    "While disconnecting a socket has its rooms; disconnected it has none.",
    OFFICIAL,
)
async def disconnect_rooms(bench: Bench) -> None:
    client = Client(await bench.link("websocket"))
    sid = await client.connect()
    await client.call("join", "a room")
    await client.send("41")
    reason = "client namespace disconnect"
    wanted = [["disconnecting", reason, sorted([sid, "a room"])], ["disconnect", reason, []]]
    expect_equal(await bench.reasons(sid), wanted)


@check(
    "socketio.disconnect.every-namespace",
    "A lost connection disconnects the sockets of all its namespaces.",
    DISCONNECTION,
)
async def disconnect_every(bench: Bench) -> None:
    client = Client(await bench.link("polling"))
    sids = [await client.connect(), await client.connect("/custom")]
    await client.send("1")
    for sid in sids:
        await bench.expect_reason(sid, "transport close")


@check("socketio.disconnect.once", "A socket is disconnected once, whatever comes together.", OFFICIAL)
async def disconnect_once(bench: Bench) -> None:
    client = Client(await bench.link("polling"))
    sid = await client.connect()
    await client.send("41", "1")
    happened = await bench.reasons(sid)
    expect_equal([entry[0] for entry in happened], ["disconnecting", "disconnect"])


# The server as a whole


@check(
    "socketio.shutdown.websocket",
    "A server that shuts down closes WebSockets without a DISCONNECT packet.",
    OFFICIAL,
    "fresh",
)
async def shutdown_websocket(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.emit("shutdown")
    left = []
    try:
        while True:
            left.append(await client.link.receive())
    except EndedError:
        expect_equal(left, [], "packets before the close")


@check(
    "socketio.shutdown.polling",
    "A server that shuts down answers waiting polls with a close packet.",
    OFFICIAL,
    "fresh",
)
async def shutdown_polling(bench: Bench) -> None:
    session = await bench.polling()
    await Client(session).connect()
    pending = await session.begin_poll()
    await bench.settle()
    other = await bench.client("websocket")
    await other.emit("shutdown")
    expect_equal((await pending.read_response()).body, b"1")
