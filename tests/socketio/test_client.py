"""One client's namespaces: which packet is legal in which state."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from sio_core.errors import InvalidPacket, UnexpectedPacket
from sio_core.limits import Limits
from sio_core.socketio.client import ABSENT, CONNECTED, CONNECTING, NAMESPACE, Client
from sio_core.socketio.packet import ACK, CONNECT, CONNECT_ERROR, DISCONNECT, EVENT, PACKET_NAMES
from sio_core.socketio.parser import JsonParser

TEXTS = {
    CONNECT: "0{}",
    DISCONNECT: "1{}",
    EVENT: '2{}["event"]',
    ACK: "3{}0[]",
    CONNECT_ERROR: '4{}{{"message":"no"}}',
}


def make_client() -> Client[str]:
    return Client(JsonParser().decoder(Limits()))


def in_state(state: str, namespace: str = "/chat") -> Client[str]:
    client = make_client()
    if state == CONNECTING:
        client.begin_connecting(namespace)
    elif state == CONNECTED:
        client.members[namespace] = "member"
    return client


def test_the_table() -> None:
    assert {
        ABSENT: {CONNECT},
        CONNECTING: set(),
        CONNECTED: {EVENT, ACK, DISCONNECT},
    } == NAMESPACE


@pytest.mark.parametrize("namespace", ["/", "/chat"])
@pytest.mark.parametrize("state", [ABSENT, CONNECTING, CONNECTED])
@pytest.mark.parametrize("kind", list(TEXTS), ids=lambda kind: PACKET_NAMES[kind])
def test_what_is_legal(kind: int, state: str, namespace: str) -> None:
    client = in_state(state, namespace)
    assert client.state(namespace) == state
    text = TEXTS[kind].format("" if namespace == "/" else f"{namespace},")
    if kind in NAMESPACE[state]:
        packet = client.receive(text)
        assert packet is not None
        assert (packet.type, packet.namespace) == (kind, namespace)
    else:
        with pytest.raises(
            UnexpectedPacket, match=f"may not send {PACKET_NAMES[kind]} in a namespace that is {state}"
        ):
            client.receive(text)


def test_namespaces_have_their_own_states() -> None:
    client = in_state(CONNECTED)
    with pytest.raises(UnexpectedPacket):
        client.receive('2/other,["event"]')
    assert client.receive('2/chat,["event"]') is not None


def test_attachments_are_waited_for() -> None:
    client = in_state(CONNECTED)
    assert client.receive('51-/chat,["event",{"_placeholder":true,"num":0}]') is None
    packet = client.receive(b"\x01")
    assert packet is not None
    assert packet.data == ["event", b"\x01"]


def test_what_is_half_received_may_be_dropped() -> None:
    client = in_state(CONNECTED)
    assert client.receive('51-/chat,["event",{"_placeholder":true,"num":0}]') is None
    client.reset()
    assert client.receive('2/chat,["event"]') is not None


def test_a_namespace_may_be_left_while_attachments_are_outstanding() -> None:
    client = in_state(CONNECTED)
    assert client.receive('51-/chat,["event",{"_placeholder":true,"num":0}]') is None
    del client.members["/chat"]
    with pytest.raises(UnexpectedPacket, match="may not send EVENT in a namespace that is absent"):
        client.receive(b"\x01")


def test_what_is_no_packet() -> None:
    with pytest.raises(InvalidPacket):
        make_client().receive("x")


class ClientAgainstTable(RuleBasedStateMachine):
    """A client that joins, is let in or refused, and leaves, in any order, against one state for each namespace."""

    @initialize()
    def begin(self) -> None:
        self.client = make_client()
        self.states = {"/": ABSENT, "/a": ABSENT}

    @rule(namespace=st.sampled_from(["/", "/a"]), kind=st.sampled_from(list(TEXTS)))
    def send(self, namespace: str, kind: int) -> None:
        state = self.states[namespace]
        text = TEXTS[kind].format("" if namespace == "/" else f"{namespace},")
        if kind not in NAMESPACE[state]:
            with pytest.raises(UnexpectedPacket):
                self.client.receive(text)
            return
        packet = self.client.receive(text)
        assert packet is not None
        if kind == CONNECT:
            self.client.begin_connecting(namespace)
            self.states[namespace] = CONNECTING
        elif kind == DISCONNECT:
            del self.client.members[namespace]
            self.states[namespace] = ABSENT

    @rule(namespace=st.sampled_from(["/", "/a"]), accepted=st.booleans())
    def decide(self, namespace: str, accepted: bool) -> None:
        if self.states[namespace] == CONNECTING:
            self.client.end_connecting(namespace)
            self.states[namespace] = CONNECTED if accepted else ABSENT
            if accepted:
                self.client.members[namespace] = "member"
        assert self.client.state(namespace) == self.states[namespace]


TestClientStates = ClientAgainstTable.TestCase
