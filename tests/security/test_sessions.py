"""Threats to sessions, rooms and acknowledgements, and in operation: T44 to T50 and T63 to T65 of the threat model."""

from __future__ import annotations

import asyncio
import inspect
import socket
import time

import pytest

from conformance.peer.http import DisconnectedError, request_head
from conformance.peer.socketio import Client
from conformance.peer.websocket import TEXT, encode_frame, upgrade_headers
from sio_core import Server
from tests.helpers.processes import ServerProcess
from tests.security.witness import CALM_PATH, PATIENCE, Stand, eventually, opening

pytestmark = pytest.mark.anyio

CONNECT_ERROR = 4
KEY = "A" * 22 + "=="


async def heard(client: Client) -> list[str]:
    """Return what came until the server has answered one more event."""
    client_id = 99_999
    await client.send(f'42{client_id}["echo"]')
    messages = []
    async with asyncio.timeout(PATIENCE):
        while (message := await client.receive_text()) != f"43{client_id}[]":
            messages.append(message)
    return messages


# T44


@pytest.mark.threat("T44")
async def test_one_connection_joins_only_so_many_namespaces(stand: Stand) -> None:
    client = await stand.peer("/capped/").client("websocket")
    for name in ("/other", "/dynamic-a", "/dynamic-b"):
        await client.connect(name)
    await client.send("40/dynamic-c,")
    assert (await client.receive()).data == {"message": "Invalid namespace"}
    await client.send("41/dynamic-b,")
    await client.connect("/dynamic-c")
    assert await stand.hits("namespaces_per_connection", "/capped/") >= 1


@pytest.mark.threat("T44")
async def test_dynamic_namespaces_are_counted_and_go_with_their_last_client(stand: Stand) -> None:
    for wave in ("x", "y"):
        peer = stand.peer("/capped/")
        clients = [await peer.client("websocket") for _ in range(7)]
        for number in range(20):
            await clients[number // 3].connect(f"/dynamic-{wave}{number}")
        await clients[6].send(f"40/dynamic-{wave}20,")
        assert (await clients[6].receive()).data == {"message": "Invalid namespace"}
        await clients[6].connect(f"/dynamic-{wave}0")  # it is there
        await peer.leave()
        await stand.settle()


@pytest.mark.threat("T44")
async def test_a_flood_of_namespaces(stand: Stand) -> None:
    """Entered and left, and some that do not exist."""
    client = await stand.peer().client("websocket")
    before = await stand.witness.inspect("census")
    for number in range(300):
        await client.send(f"40/dynamic-{number},", f"41/dynamic-{number},", f"40/no-{number},")
    await heard(client)
    after = await stand.witness.inspect("census")
    assert after["objects"].get("Namespace", 0) == before["objects"].get("Namespace", 0)


@pytest.mark.threat("T44")
async def test_names_of_namespaces_are_short(stand: Stand) -> None:
    client = await stand.peer(CALM_PATH).client("websocket")
    await client.connect("/dynamic-" + "a" * 246)
    await client.send("40/dynamic-" + "a" * 247 + ",")
    await stand.peer(CALM_PATH).until_ended(client.link)
    client = await stand.peer(CALM_PATH).client("websocket")
    for name in (
        "/dynamic-a\n",
        "/dynamic-a\x00",
        "/dynamic-A",
        "/Dynamic-a",
        "/dynamic-",
        "/dynamic-a/b",
        "/ſlow",
    ):
        await client.send(f"40{name},")
        assert (await client.receive()).type == CONNECT_ERROR


# T45


@pytest.mark.threat("T45")
async def test_who_is_not_let_in_yet_hears_nothing_and_is_not_heard(stand: Stand) -> None:
    member = await stand.peer().client("websocket", "/slow")
    stranger = await stand.peer().websocket()
    await stand.happened()
    await stranger.send("40/slow,")
    await member.emit("relay", "before", namespace="/slow")
    await member.call("echo", namespace="/slow")
    first = ""
    async with asyncio.timeout(PATIENCE):
        while not first.startswith("40/slow"):
            first = str(await stranger.receive())
            assert "relayed" not in first
    await member.emit("relay", "after", namespace="/slow")
    async with asyncio.timeout(PATIENCE):
        while "relayed" not in (message := str(await stranger.receive())):
            pass
    assert "after" in message
    eager = await stand.peer(CALM_PATH).websocket()
    await stand.happened()
    await eager.send("40/slow,", '42/slow,["ran"]')
    await stand.peer().until_ended(eager)
    assert await stand.happened() == []


@pytest.mark.threat("T45")
@pytest.mark.parametrize(
    "auth", ["", "null", '{"token":"wrong"}', '{"token":["right"]}', '{"token":{"right":1}}']
)
async def test_who_is_refused_has_run_nothing(stand: Stand, auth: str) -> None:
    client = await stand.peer(CALM_PATH).client("websocket")
    await stand.happened()
    await client.connect("/other")
    await client.send("40/guarded," + ("" if auth == "null" else auth))
    refusal = await client.receive()
    assert (refusal.type, refusal.data) == (4, {"message": "a token is needed", "data": {"code": "E_TOKEN"}})
    await client.send('42/guarded,["ran"]')
    await stand.peer(CALM_PATH).until_ended(client.link)
    ran = [entry for entry in await stand.happened() if entry[0] in {"ran", "connection"}]
    assert ran == [["connection", "/other"]]


# T46


@pytest.mark.threat("T46")
async def test_nobody_enters_the_room_that_is_another_s_id(stand: Stand) -> None:
    victim = Client(await stand.peer().websocket())
    victim_id = await victim.connect()
    thief = await stand.peer().client("websocket")
    sender = await stand.peer().client("websocket")
    await thief.send(f'421["join","harmless","{victim_id}"]')
    await thief.send('422["join","harmless"]')
    assert (await thief.receive()).id == 2  # the first was refused, with an error of the application's
    await sender.emit("say", victim_id, "for you alone")
    await victim.expect_event("said", "for you alone")
    assert await heard(thief) == []
    stand.expected_errors = 1


# T47


@pytest.mark.threat("T47")
async def test_only_who_was_asked_can_answer_and_once(stand: Stand) -> None:
    asked = await stand.peer().client("websocket")
    forger = await stand.peer().client("websocket")
    await forger.connect("/other")
    await asked.connect("/other")
    await asked.send('421["ask",5]')
    question = await asked.receive()
    await forger.send(f'43{question.id}["forged"]', f'43/other,{question.id}["forged"]')
    await asked.send(f'43/other,{question.id}["of another namespace"]')
    await asked.send("439007199254740991[]", f'43{"9" * 16}["unknown"]')
    await heard(forger)
    await asked.send(f'43{question.id}["true"]', f'43{question.id}["again"]')
    await asked.expect_packet(3, ["true"], ack_id=1)
    assert await heard(asked) == []


@pytest.mark.threat("T47")
async def test_answers_that_do_not_come_are_not_waited_for_for_ever(stand: Stand) -> None:
    client = await stand.peer().client("websocket")
    for number in range(200):
        await client.send(f'42{number}["ask",0.2]')
    expired = 0
    async with asyncio.timeout(PATIENCE):
        while expired < 200:
            packet = await client.receive()
            expired += packet.type == 3 and packet.data == ["AckTimeout"]
    leaving = await stand.peer().client("websocket")
    for number in range(200):
        await leaving.send(f'42{number}["ask",60]')
    await heard(leaving)


@pytest.mark.threat("T47")
async def test_one_client_may_owe_only_so_many_answers(stand: Stand) -> None:
    client = await stand.peer("/capped/").client("websocket")
    for number in range(11):
        await client.send(f'42{number}["ask",1]')
    answers = []
    async with asyncio.timeout(PATIENCE):
        while len(answers) < 11:
            packet = await client.receive()
            answers += packet.data if packet.type == 3 else []
    assert sorted(answers) == ["AckTimeout"] * 10 + ["LocalProtocolError"]


# T50


@pytest.mark.threat("T50")
async def test_who_sends_too_fast_is_read_more_slowly(stand: Stand) -> None:
    """50 a second are allowed. What came in one read is taken, and nothing more until it is within that rate."""
    client = await stand.peer("/capped/").client("websocket")
    await stand.happened()
    started = time.monotonic()
    await client.send(*['42["ran"]'] * 100)
    count = 0

    async def all_have_run() -> bool:
        nonlocal count
        count += (await stand.happened()).count(["ran"])
        return count == 100

    await eventually(all_have_run)
    assert await client.call("echo", "last") == ["last"]
    assert time.monotonic() - started > 0.9
    assert await stand.hits("events_per_second", "/capped/") >= 1


@pytest.mark.threat("T50")
async def test_a_flood_of_events_without_a_limit(stand: Stand) -> None:
    client = await stand.peer().client("websocket")
    connection = client.link.websocket.connection  # type: ignore[attr-defined]
    frames = encode_frame(TEXT, b'42["none","' + b"x" * 20 + b'"]') * 500
    for _ in range(40):
        await connection.send(frames)
    assert await client.call("echo", "last") == ["last"]
    assert stand.witness.slowest < PATIENCE / 2


@pytest.mark.threat("T50")
async def test_a_flood_of_events_whose_answers_are_not_read(stand: Stand) -> None:
    """The session ends when too much waits for its client, and what it has sent besides is dropped with it."""
    peer = stand.peer()
    loop = asyncio.get_running_loop()
    before = await stand.witness.inspect("census")
    with socket.socket() as flooder:
        flooder.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        flooder.connect(("127.0.0.1", peer.server.port))
        flooder.setblocking(False)
        head = request_head("GET", peer.target("websocket"), "localhost", upgrade_headers(KEY))
        asking = encode_frame(TEXT, b'421["echo","' + b"x" * 10_000 + b'"]') * 20
        try:
            async with asyncio.timeout(2.0):
                await loop.sock_sendall(flooder, head + encode_frame(TEXT, b"40"))
                for _ in range(100):  # 20 MB
                    await loop.sock_sendall(flooder, asking)
        except (TimeoutError, ConnectionError):
            pass
        during = await stand.witness.inspect("census")
        assert during["memory"] - before["memory"] < 12_000_000


# T63, T64


@pytest.mark.threat("T63")
async def test_nobody_is_told_of_the_inside(stand: Stand) -> None:
    """Errors of the application, of a middleware, and of everything that a client can do wrong."""
    peer = stand.peer()
    client = await peer.client("websocket")
    await client.send('421["fail"]', '422["fail later"]')
    await heard(client)
    for message in ("4x", '42["connect"]', "45", "40/nowhere,"):
        wrong = await peer.client("websocket")
        await wrong.send(message)
    newcomer = await peer.websocket()
    await newcomer.send('40{"fail":"here"}')
    async with asyncio.timeout(PATIENCE):
        while not (refusal := str(await newcomer.receive())).startswith("44"):
            pass
    assert refusal == '44{"message":"internal error"}'
    for request in ("GET", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"):
        for target in ("/socket.io/", "/nothing", "/socket.io/?EIO=4&transport=polling&sid=x", "/health"):
            await peer.request(request, target)
    everything = b"".join(entry.data for entry in peer.transcript.entries if not entry.sent)
    for word in (b"Traceback", b'File "', b"secret", b".py", b"ValueError", b"line "):
        assert word not in everything, word
    stand.expected_errors = 3


@pytest.mark.threat("T64")
async def test_what_carries_secrets_is_not_compressed(stand: Stand) -> None:
    """The handshake and the answer to CONNECT hold ids; large bodies of messages are compressed."""
    gzip = [("Accept-Encoding", "gzip, deflate")]
    session = await stand.peer().polling(gzip)
    await session.send('40{"padding":"' + "x" * 500 + '"}')
    response = await session.get(gzip)
    while not response.text.startswith("40"):
        response = await session.get(gzip)
    assert response.header("content-encoding") is None
    await session.send('42["pour",1,50000]')
    response = await session.get(gzip)
    while response.header("content-encoding") is None:
        assert len(response.body) < 1_024
        response = await session.get(gzip)
    assert len(response.body) < 5_000


# T65

FILES = 128


@pytest.mark.threat("T65")
@pytest.mark.parametrize("shell", ["uvloop", "trio"])
async def test_a_server_with_few_descriptors_keeps_some(shell: str) -> None:
    with ServerProcess("tests.security.application", shell, "--files", str(FILES)) as process:
        async with opening(process, shell) as stand:
            peer = stand.peer()
            answers = []
            for _ in range(FILES):
                connection = await peer.send(request_head("GET", peer.target("websocket"), "localhost"))
                async with asyncio.timeout(PATIENCE):
                    try:
                        answers.append((await connection.read_response()).status)
                    except DisconnectedError:
                        answers.append(0)
            assert answers.count(503) > 30
            await peer.leave()

            async def is_let_in() -> bool:
                return (await stand.peer().open()).status == 200

            await eventually(is_let_in)


# Defaults


@pytest.mark.threat("T29")
async def test_the_cookie_of_a_session_is_guarded(stand: Stand) -> None:
    """There is none, unless it was asked for."""
    assert (await stand.peer().open()).header("set-cookie") is None
    (cookie,) = (await stand.peer("/cors/").open()).all("set-cookie")
    assert cookie.split("; ")[1:] == ["Path=/", "HttpOnly", "Secure", "SameSite=Lax"]


@pytest.mark.threat("T09")
async def test_old_clients_are_refused(stand: Stand) -> None:
    peer = stand.peer()
    for eio in ("3", "2", None):
        response = await peer.request("GET", peer.target(eio=eio))
        assert response.json == {"code": 5, "message": "Unsupported protocol version"}
        assert (await peer.refused(peer.target("websocket", eio=eio))).status == 400


@pytest.mark.threat("T63")
def test_it_listens_on_the_loopback_address() -> None:
    for method in (Server.run, Server.listen):
        assert inspect.signature(method).parameters["host"].default == "127.0.0.1"


@pytest.mark.threat("T16")
def test_unknown_options_are_refused() -> None:
    with pytest.raises(TypeError, match="unknown option 'check_orgin'"):
        Server(check_orgin=False)
    for options in (
        {"check_origin": "no"},
        {"trusted_proxies": "10.0.0.0/33"},
        {"ping_timeout": -1},
        {"cors": 1},
    ):
        with pytest.raises(ValueError):
            Server(**options)
