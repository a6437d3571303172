"""Events, acknowledgements both ways, middlewares, the handshake object, volatile events."""

from __future__ import annotations

from conformance.bench import Bench
from conformance.checks.engineio_errors import expect_alive
from conformance.expect import expect, expect_equal
from conformance.model import OFFICIAL, Transport, check, check_both, sio
from conformance.peer.engineio import PollingSession
from conformance.peer.socketio import ACK, CONNECT, CONNECT_ERROR, Client

EVENTS = sio("Sending and receiving data")
ACKS = sio("Acknowledgement")
REFUSAL = sio("Connection to a namespace")


@check_both("socketio.event.echo", "Events go both ways with their arguments.", EVENTS)
async def echo(bench: Bench, transport: Transport) -> None:
    client = await bench.client(transport)
    await client.emit("message", 1, "2", {"3": [True, None]})
    await client.expect_event("message-back", 1, "2", {"3": [True, None]})


@check_both("socketio.event.order", "Events arrive in the order in which they were emitted.", EVENTS)
async def order(bench: Bench, transport: Transport) -> None:
    client = await bench.client(transport)
    for number in range(30):
        await client.emit("message", number)
    for number in range(30):
        await client.expect_event("message-back", number)


@check_both("socketio.event.order-server", "So do those that the server emits in one go.", EVENTS)
async def order_server(bench: Bench, transport: Transport) -> None:
    client = await bench.client(transport)
    await client.emit("many", 200)
    for number in range(200):
        await client.expect_event("many", number)


@check_both("socketio.event.large", "An event may be large.", EVENTS)
async def large(bench: Bench, transport: Transport) -> None:
    client = await bench.client(transport)
    text = "x" * 300_000
    await client.emit("message", text)
    await client.expect_event("message-back", text)


@check("socketio.event.send", "`send` is the event `message`.", OFFICIAL)
async def send(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.emit("send", "a", 1)
    await client.expect_event("message", "a", 1)


@check("socketio.event.namespaces-apart", "Events of one namespace do not reach another.", EVENTS)
async def namespaces_apart(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.connect("/custom")
    await client.emit("message", "of custom", namespace="/custom")
    await client.emit("message", "of main")
    await client.expect_event("message-back", "of custom", namespace="/custom")
    await client.expect_event("message-back", "of main")


@check("socketio.event.multibyte", "Text of any script passes, as name of an event too.", EVENTS)
async def multibyte(bench: Bench) -> None:
    for transport in ("polling", "websocket"):
        client = await bench.client(transport)
        await client.emit("message", "てすと", {"ключ": "значение"})
        await client.expect_event("message-back", "てすと", {"ключ": "значение"})


# Acknowledgements


@check_both("socketio.ack.echo", "An event with an id is answered once, with that id.", ACKS)
async def ack_echo(bench: Bench, transport: Transport) -> None:
    client = await bench.client(transport)
    await client.emit("message-with-ack", 1, "2", {"3": [False]}, ack_id=456)
    await client.expect_packet(ACK, [1, "2", {"3": [False]}], ack_id=456)


@check("socketio.ack.zero", "0 is an id.", ACKS)
async def ack_zero(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.emit("message-with-ack", "zero", ack_id=0)
    await client.expect_packet(ACK, ["zero"], ack_id=0)


@check_both("socketio.ack.binary", "An ack may be binary.", ACKS)
async def ack_binary(bench: Bench, transport: Transport) -> None:
    client = await bench.client(transport)
    await client.emit("message-with-ack", b"\x01\x02", {"a": b"\x03"}, ack_id=789)
    await client.expect_packet(ACK, [b"\x01\x02", {"a": b"\x03"}], ack_id=789)


@check("socketio.ack.binary-text", "A binary ack is `46`, the number of its attachments, and the id.", ACKS)
async def ack_binary_text(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.emit("message-with-ack", b"\x01", ack_id=789)
    expect_equal(await client.receive_text(), '461-789[{"_placeholder":true,"num":0}]')
    expect_equal(await client.link.receive(), b"\x01")


@check("socketio.ack.none", "An ack may have no arguments: an empty array.", ACKS)
async def ack_none(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.emit("ack-none", ack_id=3)
    expect_equal(await client.receive_text(), "433[]")


@check("socketio.ack.null", "An ack of null is not an empty one.", ACKS)
async def ack_null(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.emit("ack-null", ack_id=3)
    expect_equal(await client.receive_text(), "433[null]")


@check("socketio.ack.once", "An event is acknowledged once, however often the application tries.", ACKS)
async def ack_once(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.emit("ack-twice", ack_id=8)
    await client.expect_packet(ACK, [1], ack_id=8)
    await client.expect_silence()


@check("socketio.ack.not-asked", "An event without id is not acknowledged.", ACKS)
async def ack_not_asked(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.emit("message", 1)
    await client.expect_event("message-back", 1)
    await client.expect_silence()


@check("socketio.ack.later", "An ack may come after others: it belongs to its id.", ACKS)
async def ack_later(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.emit("ack-later", ack_id=1)
    await client.emit("ack-none", ack_id=2)
    await client.expect_packet(ACK, [], ack_id=2)
    await client.expect_packet(ACK, ["later"], ack_id=1)


@check("socketio.ack.same-id", "Ids are the client's: the same may be used again.", ACKS)
async def ack_same_id(bench: Bench) -> None:
    client = await bench.client("websocket")
    for number in range(3):
        await client.emit("message-with-ack", number, ack_id=5)
        await client.expect_packet(ACK, [number], ack_id=5)


@check("socketio.ack.namespace", "An ack belongs to the namespace of its event.", ACKS)
async def ack_namespace(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.connect("/custom")
    await client.emit("message-with-ack", "custom", namespace="/custom", ack_id=1)
    await client.emit("message-with-ack", "main", ack_id=1)
    await client.expect_packet(ACK, ["custom"], namespace="/custom", ack_id=1)
    await client.expect_packet(ACK, ["main"], ack_id=1)


@check_both("socketio.ack.asked", "The server may ask for an ack: its event has an id.", ACKS)
async def ack_asked(bench: Bench, transport: Transport) -> None:
    client = await bench.client(transport)
    await client.emit("ask", 1, "a")
    question = await client.receive_event("question")
    expect_equal(question.data, ["question", 1, "a"])
    expect(question.id is not None, "an id", question)
    await client.send(f'43{question.id}["yes",2]')
    await client.expect_event("answer", "yes", 2)


@check("socketio.ack.asked-binary", "The client's ack may be binary.", ACKS)
async def ack_asked_binary(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.emit("ask")
    question = await client.receive_event("question")
    await client.send(f'461-{question.id}[{{"_placeholder":true,"num":0}}]', b"\x05")
    await client.expect_event("answer", b"\x05")


@check("socketio.ack.asked-binary-event", "A binary event may ask for an ack.", ACKS)
async def ack_asked_binary_event(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.emit("ask", b"\x01")
    question = await client.receive_event("question")
    expect_equal(question.data, ["question", b"\x01"])
    await client.send(f"43{question.id}[]")
    await client.expect_event("answer")


@check("socketio.ack.asked-no-payload", "The client's ack may have no payload at all.", OFFICIAL)
async def ack_asked_no_payload(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.emit("ask")
    question = await client.receive_event("question")
    await client.send(f"43{question.id}")
    await client.expect_event("answer")


@check("socketio.ack.asked-ids", "The ids of questions that are open together differ.", ACKS)
async def ack_asked_ids(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.emit("ask", "first")
    await client.emit("ask", "second")
    questions = [await client.receive(), await client.receive()]
    expect(questions[0].id != questions[1].id, "two ids", [question.id for question in questions])
    for question in reversed(questions):
        await client.send(f'43{question.id}["to the {question.data[1]}"]')
    answers = [(await client.receive_event("answer")).data[1] for _ in questions]
    expect_equal(sorted(answers), ["to the first", "to the second"])


@check("socketio.ack.asked-twice", "A second ack of one question is ignored.", ACKS)
async def ack_asked_twice(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.emit("ask")
    question = await client.receive_event("question")
    await client.send(f"43{question.id}[1]", f"43{question.id}[2]")
    await client.expect_event("answer", 1)
    await client.expect_silence()


@check("socketio.ack.asked-other", "Only the socket that was asked may answer.", ACKS)
async def ack_asked_other(bench: Bench) -> None:
    client, other = await bench.client("websocket"), await bench.client("websocket")
    await client.emit("ask")
    question = await client.receive_event("question")
    await other.send(f'43{question.id}["not you"]')
    await other.expect_silence()
    await client.expect_silence()
    await client.send(f'43{question.id}["me"]')
    await client.expect_event("answer", "me")


@check("socketio.ack.timeout", "A question with a timeout fails when no ack comes.", OFFICIAL, "timing")
async def ack_timeout(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.emit("ask-timeout")
    question = await client.receive_event("question")
    await client.expect_event("answer-timeout")
    await client.send(f"43{question.id}[1]")
    await client.expect_silence()


@check(
    "socketio.ack.timeout-answered",
    "An ack in time is the answer, and there is no failure later.",
    OFFICIAL,
    "timing",
)
async def ack_timeout_answered(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.emit("ask-timeout")
    question = await client.receive_event("question")
    await client.send(f'43{question.id}["in time"]')
    await client.expect_event("answer", "in time")
    await client.call("ack-later")
    await client.call("ack-later")
    await client.expect_silence()


# Middlewares


@check("socketio.middleware.refused", "A middleware's refusal is a CONNECT_ERROR with its message.", REFUSAL)
async def middleware_refused(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.send('40/protected,{"mode":"plain"}')
    expect_equal(await client.receive_text(), '44/protected,{"message":"not authorized"}')
    await expect_alive(client)


@check("socketio.middleware.data", "The refusal may carry data.", OFFICIAL)
async def middleware_data(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.send('40/protected,{"mode":"data"}')
    data = '{"message":"not authorized","data":{"code":"E1","retry":false}}'
    expect_equal(await client.receive_text(), f"44/protected,{data}")


@check_both("socketio.middleware.passed", "A client that passes is connected, also after a refusal.", REFUSAL)
async def middleware_passed(bench: Bench, transport: Transport) -> None:
    client = Client(await bench.link(transport))
    await client.send('40/protected,{"mode":"plain"}')
    await client.expect_packet(CONNECT_ERROR, {"message": "not authorized"}, namespace="/protected")
    await client.connect("/protected", {"mode": "pass"})


@check("socketio.middleware.own-namespace", "Middlewares belong to one namespace.", OFFICIAL)
async def middleware_own(bench: Bench) -> None:
    await bench.client("websocket", "/", {"mode": "plain"})
    await bench.client("websocket", "/custom", {"mode": "plain"})


@check(
    "socketio.middleware.slow",
    "A middleware may take its time; other namespaces do not wait for it.",
    OFFICIAL,
)
async def middleware_slow(bench: Bench) -> None:
    client = Client(await bench.link("websocket"))
    await client.send('40/protected,{"mode":"slow"}')
    await client.connect()
    packet = await client.receive()
    expect_equal((packet.type, packet.namespace), (CONNECT, "/protected"))


@check(
    "socketio.middleware.event-too-early",
    "An event for a namespace whose middleware still decides is a violation.",
    OFFICIAL,
)
async def middleware_event(bench: Bench) -> None:
    client = Client(await bench.link("websocket"))
    await client.send('40/protected,{"mode":"pending"}', '42/protected,["message",1]')
    how = await client.link.wait_ended()
    expect("close frame" in how, "a close frame", how)


@check(
    "socketio.middleware.gone",
    "A client that leaves while a middleware decides is never connected.",
    OFFICIAL,
)
async def middleware_gone(bench: Bench) -> None:
    namespace = bench.dynamic().replace("dynamic", "guarded")
    witness = await bench.client("websocket", namespace, {"mode": "pass"})
    client = Client(await bench.link("polling"))
    await client.send(f'40{namespace},{{"mode":"slow"}}', "1")
    await witness.call("ack-later", namespace=namespace)
    await witness.call("ack-later", namespace=namespace)
    (count,) = await witness.call("count", namespace=namespace)
    expect_equal(count, 1, "sockets of the namespace")


@check(
    "socketio.middleware.parent",
    "The middleware of a matched namespace guards each that it matches.",
    OFFICIAL,
)
async def middleware_parent(bench: Bench) -> None:
    namespace = bench.dynamic().replace("dynamic", "guarded")
    client = Client(await bench.link("websocket"))
    await client.send(f'40{namespace},{{"mode":"plain"}}')
    await client.expect_packet(CONNECT_ERROR, {"message": "not authorized"}, namespace=namespace)
    await client.connect(namespace, {"mode": "pass"})


@check("socketio.middleware.rooms", "A refused socket is left in no room.", OFFICIAL)
async def middleware_rooms(bench: Bench) -> None:
    client = await bench.client("websocket")
    await client.send('40/protected,{"mode":"join"}')
    await client.expect_packet(CONNECT_ERROR, {"message": "not authorized"}, namespace="/protected")
    await client.connect("/protected", {"mode": "pass"})
    (members,) = await client.call("fetch", "half", namespace="/protected")
    expect_equal(members, [])


@check(
    "socketio.middleware.event",
    "A middleware of a socket may refuse an event: nothing is sent, the error is the application's.",
    OFFICIAL,
)
async def middleware_of_event(bench: Bench) -> None:
    client = Client(await bench.link("websocket"))
    sid = await client.connect()
    await client.emit("blocked", ack_id=1)
    await client.expect_silence()
    await client.send("41")
    happened = await bench.reasons(sid)
    expect_equal([entry[0] for entry in happened], ["error", "disconnecting", "disconnect"])


# The handshake


@check("socketio.handshake.query", "The application sees the query of the first request, decoded.", OFFICIAL)
async def handshake_query(bench: Bench) -> None:
    session = await bench.polling(plain="1", special="a b&c=é/")
    client = Client(session)
    await client.connect()
    (handshake,) = await client.call("handshake")
    wanted = {"EIO": "4", "transport": "polling", "plain": "1", "special": "a b&c=é/"}
    expect_equal(handshake["query"], wanted)


@check("socketio.handshake.plus", "A plus sign in the query is a space.", OFFICIAL)
async def handshake_plus(bench: Bench) -> None:
    websocket = await bench.open_websocket(bench.target("websocket") + "&name=a+b")
    await websocket.receive()
    await websocket.send("40")
    await websocket.receive()
    await websocket.receive()
    await websocket.send('421["handshake"]')
    expect('"name":"a b"' in str(await websocket.receive()), 'name "a b" in the query', "another value")


@check(
    "socketio.handshake.headers",
    "The application sees the headers of the first request, in lower case.",
    OFFICIAL,
)
async def handshake_headers(bench: Bench) -> None:
    session = await bench.websocket([("X-Conformance", "Value")])
    client = Client(session)
    await client.connect()
    (handshake,) = await client.call("handshake")
    expect_equal(handshake["headers"].get("x-conformance"), "Value")


@check("socketio.handshake.facts", "The handshake tells address, encryption, cross-origin and URL.", OFFICIAL)
async def handshake_facts(bench: Bench) -> None:
    client = await bench.client("websocket")
    (handshake,) = await client.call("handshake")
    seen = {name: handshake[name] for name in ("address", "xdomain", "secure", "url")}
    wanted = {"address": "127.0.0.1", "xdomain": False, "secure": False, "url": bench.target("websocket")}
    expect_equal(seen, wanted)


@check("socketio.handshake.after-upgrade", "It stays that of the first request after an upgrade.", OFFICIAL)
async def handshake_after_upgrade(bench: Bench) -> None:
    session = await bench.polling(first="yes")
    await Client(session).connect()
    client = Client(await bench.upgrade(session))
    (handshake,) = await client.call("handshake")
    expect_equal((handshake["query"]["transport"], handshake["query"]["first"]), ("polling", "yes"))


# Volatile


@check_both("socketio.volatile.idle", "A volatile event reaches a client that can take it now.", OFFICIAL)
async def volatile_idle(bench: Bench, transport: Transport) -> None:
    client = await bench.client(transport)
    await client.emit("volatile-idle")
    await client.expect_event("volatile", 1)


@check_both("socketio.volatile.after", "A volatile event right behind another one is dropped.", OFFICIAL)
async def volatile_after(bench: Bench, transport: Transport) -> None:
    client = await bench.client(transport)
    await client.emit("volatile-after")
    await client.expect_event("first")
    await client.expect_silence()


@check_both("socketio.volatile.twice", "Of two volatile events at once the first arrives.", OFFICIAL)
async def volatile_twice(bench: Bench, transport: Transport) -> None:
    client = await bench.client(transport)
    await client.emit("volatile-twice")
    await client.expect_event("volatile", 1)
    await client.expect_silence()


@check("socketio.volatile.no-poll", "Without a waiting poll a volatile event is dropped.", OFFICIAL)
async def volatile_no_poll(bench: Bench) -> None:
    session = await bench.polling()
    client = Client(session)
    await client.connect()
    await client.emit("volatile-idle")
    await bench.settle()
    await bench.settle()
    await client.emit("many", 1)
    expect_equal(await session.poll(), ['42["many",0]'])


@check(
    "socketio.volatile.broadcast",
    "A volatile broadcast is dropped for each client that cannot take it.",
    OFFICIAL,
)
async def volatile_broadcast(bench: Bench) -> None:
    namespace = bench.dynamic()
    deaf = await bench.client("polling", namespace)
    client = await bench.client("websocket", namespace)
    await client.emit("volatile-all", 1, namespace=namespace)
    await client.expect_event("all", 1, namespace=namespace)
    await client.emit("all", 2, namespace=namespace)
    await client.expect_event("all", 2, namespace=namespace)
    assert isinstance(deaf.link, PollingSession)
    expect_equal(await deaf.link.poll(), [f'42{namespace},["all",2]'])
