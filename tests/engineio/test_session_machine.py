"""A session driven through everything that can happen to it, against a model of what its client sees.

The client is honest about one thing only: like the official one it has one transport at a time. Apart from that it
aborts, overlaps, probes, breaks off and falls silent as it likes.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sio_core.engineio.deadlines import NEVER
from sio_core.engineio.packet import Encoded
from sio_core.engineio.payload import decode_payload
from sio_core.engineio.session import Closed
from sio_core.limits import Limits
from tests.engineio.world import Link, World, make_request

REASONS = {"transport close", "transport error", "ping timeout", "parse error", "forced close"}
LIMITS = Limits(outbox_packets=12, outbox_bytes=120)
LONGEST_SILENCE = 25.0 + 20.0 + 20.0
"""An interval, and a timeout that another packet has refreshed once."""


class SessionMachine(RuleBasedStateMachine):
    """The rules are what the client, the server's application and time may do."""

    @initialize(transport=st.sampled_from(["polling", "polling", "websocket"]), calm=st.integers(0, 30))
    def begin(self, transport: str, calm: int) -> None:
        self.open(transport, calm)

    @precondition(lambda self: not self.alive)
    @rule(transport=st.sampled_from(["polling", "polling", "websocket"]), calm=st.integers(0, 30))
    def begin_again(self, transport: str, calm: int) -> None:
        self.busy = False
        self.settle()
        self.every_get_is_answered_or_waits()
        self.open(transport, calm)

    def open(self, transport: str, calm: int) -> None:
        self.calm = calm  # for so many steps nobody does what ends the session at once
        self.busy = False
        self.world = World(limits=LIMITS)
        self.session = self.world.open(transport)
        self.poll: Link | None = None
        self.polls: list[Link] = []
        self.answered: set[int] = set()
        self.post: Link | None = None
        self.probing: Link | None = None
        link = self.session._carrier
        self.websocket: Link | None = link if isinstance(link, Link) else None
        self.sent: list[str | bytes] = []
        self.received: list[str | bytes] = []
        self.posted: list[str] = []
        self.life = self.world.now
        self.count = 0

    def ends(self) -> bool:
        """Whether it is time for what ends the session."""
        return self.alive and self.calm <= 0

    # What the client's side of things is made of

    @property
    def alive(self) -> bool:
        return self.session.state != "closed"

    @property
    def open_for_messages(self) -> bool:
        return self.session.state == "open"

    def on_polling(self) -> bool:
        return self.alive and self.session.transport == "polling"

    def on_websocket(self) -> bool:
        return self.alive and self.websocket is not None

    def next_message(self) -> str:
        self.count += 1
        return f"m{self.count}"

    def receive(self, packets: list[str | bytes]) -> None:
        for packet in packets:
            if isinstance(packet, bytes):
                self.received.append(packet)
            elif packet[0] == "4":
                self.received.append(packet[1:])
            else:
                assert packet in {"1", "2", "6"}

    def settle(self) -> None:
        """The shell answers the GET that is ready, and writes what the WebSocket has to take."""
        self.calm -= 1
        self.session.deliver()
        self.world.flush()
        if self.busy:
            return
        poll = self.poll
        if poll is not None and poll.ready:
            body = self.session.take_payload().body
            assert body  # a GET is never answered with nothing
            self.poll = None
            self.answered.add(id(poll))
            self.receive(list(decode_payload(body, 1_000)))
        link = self.websocket
        if link is not None and link.ready and not self.session.blocked:
            link.ready = 0
            packets = self.session.take_packets()
            if self.session.state == "closed" and not packets:
                assert link.released
            self.receive([p.data if p.binary else p.data.decode() for p in packets])
        self.session.deliver()
        self.world.flush()

    # The application

    @rule(count=st.integers(1, 5), binary=st.booleans(), volatile=st.booleans())
    def emit(self, count: int, binary: bool, volatile: bool) -> None:
        session = self.session
        before = (session.state, len(session._outbox), session.outbox_bytes)
        writable = session.writable
        for _ in range(count):
            data = self.next_message()
            message: str | bytes = data.encode() if binary else data
            packet = Encoded(data.encode(), True) if binary else Encoded(b"4" + data.encode())
            accepted = session.state == "open" and (not volatile or session.writable)
            session.send_packet(packet, volatile)
            if accepted and session.state == "open":
                self.sent.append(message)
        if before[0] != "open" or (volatile and not writable):
            assert (session.state, len(session._outbox), session.outbox_bytes) == before
        self.settle()

    @rule(attachments=st.integers(0, 3), volatile=st.booleans())
    def emit_with_attachments(self, attachments: int, volatile: bool) -> None:
        session = self.session
        head = self.next_message()
        parts = [self.next_message().encode() for _ in range(attachments)]
        accepted = session.state == "open" and (not volatile or session.writable)
        session.send_packets(
            [Encoded(b"4" + head.encode()), *[Encoded(part, True) for part in parts]], volatile
        )
        if accepted and session.state == "open":
            self.sent += [head, *parts]
        self.settle()

    @precondition(ends)
    @rule(discard=st.booleans())
    def close(self, discard: bool) -> None:
        self.session.close(discard)
        self.settle()

    @rule(busy=st.booleans())
    def work(self, busy: bool) -> None:
        """The shell has other things to do, or is back."""
        self.busy = busy
        self.settle()

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.session.pause(paused)

    # The client, over polling

    @precondition(lambda self: self.on_polling() and (self.poll is None or self.ends()))
    @rule()
    def get(self) -> None:
        link = Link()
        self.polls.append(link)
        if self.poll is None:
            assert self.session.receive_poll(link)
            self.poll = link
        else:
            assert not self.session.receive_poll(link)
            self.answered.add(id(link))  # by the shell, with 400
            assert not self.alive
        self.settle()

    @precondition(lambda self: self.poll is not None and (self.ends() or self.on_websocket()))
    @rule()
    def abort_get(self) -> None:
        link, self.poll = self.poll, None
        assert link is not None
        self.answered.add(id(link))
        was_polling = self.on_polling()
        self.session.poll_lost(link)
        assert not (was_polling and self.alive)
        self.settle()

    @precondition(lambda self: self.on_polling() and (self.post is None or self.ends()))
    @rule()
    def begin_post(self) -> None:
        link = Link()
        if self.post is None:
            assert self.session.receive_post(link)
            self.post = link
        else:
            assert not self.session.receive_post(link)
            assert self.post.released == [None]
            assert not self.alive
        self.settle()

    @precondition(lambda self: self.post is not None and not self.post.released)
    @rule(packets=st.lists(st.sampled_from(["4", "4", "4", "3", "6", "1", "2", "x"]), max_size=4))
    def end_post(self, packets: list[str]) -> None:
        self.post = None
        if self.calm > 0:
            packets = [packet for packet in packets if packet not in {"1", "2", "x"}] or ["6"]
        open_before = self.open_for_messages
        body = [packet + self.next_message() if packet == "4" else packet for packet in packets]
        request = make_request(method="POST", body="\x1e".join(body).encode())
        assert self.session.receive_payload(request, self.world.now)
        if open_before:
            self.life = self.world.now
            for packet in body or [""]:
                if not packet or packet in {"1", "2", "x"}:
                    assert not self.alive
                    break
                if packet[0] == "4":
                    self.posted.append(packet[1:])
        self.settle()

    @precondition(lambda self: self.ends() and self.post is not None and not self.post.released)
    @rule()
    def abort_post(self) -> None:
        link, self.post = self.post, None
        assert link is not None
        self.session.post_lost(link)
        assert not self.alive
        self.settle()

    # The client, over WebSocket

    @rule()
    def open_websocket(self) -> None:
        link = Link()
        wanted = self.on_polling() and (self.probing is None or bool(self.probing.released))
        assert self.session.websocket_opened(link, self.world.now) is wanted
        if wanted:
            self.probing = link
        self.settle()

    @precondition(lambda self: self.probing is not None and not self.probing.released)
    @rule()
    def probe(self) -> None:
        assert self.probing is not None
        before = len(self.probing.probes)
        assert not self.session.receive_probe("2probe", False, self.world.now)
        assert self.probing.probes[before:] == [b"3probe"]
        self.settle()

    @precondition(lambda self: self.on_polling() and self.probing is None)
    @rule()
    def upgrade_without_probe(self) -> None:
        self.open_websocket()
        self.upgrade()

    @precondition(lambda self: self.probing is not None and not self.probing.released)
    @rule()
    def upgrade(self) -> None:
        link = self.probing
        assert link is not None
        assert self.session.receive_probe("5", False, self.world.now)
        self.websocket, self.probing = link, None
        if self.post is not None:
            assert self.post.released == [None]
        self.settle()

    @precondition(lambda self: self.probing is not None and not self.probing.released)
    @rule(packet=st.sampled_from(["4a", "2", "3", "", b"5", "6"]))
    def spoil_probe(self, packet: str | bytes) -> None:
        assert self.probing is not None
        assert not self.session.receive_probe(packet, False, self.world.now)
        assert self.probing.released == [None]
        assert self.alive
        self.settle()

    @precondition(lambda self: self.probing is not None)
    @rule(error=st.none() | st.just("reset"))
    def lose_probe(self, error: str | None) -> None:
        link, self.probing = self.probing, None
        assert link is not None
        was_alive = self.alive
        self.session.websocket_lost(link, error)
        assert self.alive is was_alive
        self.settle()

    @precondition(on_websocket)
    @rule(packet=st.sampled_from(["4", "4", "4", "3", "1", "6", "5", "2", "x", ""]))
    def message(self, packet: str) -> None:
        if self.calm > 0 and packet in {"2", "x", ""}:
            packet = "3"
        open_before = self.open_for_messages
        text = packet + self.next_message() if packet == "4" else packet
        self.session.receive_message(text, self.world.now)
        if open_before:
            self.life = self.world.now
            if packet == "4":
                self.posted.append(text[1:])
            assert self.alive is (packet not in {"2", "x", ""})
        self.settle()

    @precondition(lambda self: self.ends() and self.on_websocket())
    @rule(error=st.none() | st.just("reset"))
    def lose_websocket(self, error: str | None) -> None:
        assert self.websocket is not None
        self.session.websocket_lost(self.websocket, error)
        assert not self.alive
        self.settle()

    @precondition(on_websocket)
    @rule(blocked=st.booleans())
    def block(self, blocked: bool) -> None:
        self.session.blocked = blocked
        self.settle()

    # Time

    @rule(seconds=st.sampled_from([0.0, 0.02, 0.05, 0.1, 1.0, 9.95, 10.0, 20.0, 25.0]))
    def advance(self, seconds: float) -> None:
        end = self.world.now + seconds
        while self.world.deadlines.next <= end:
            self.world.advance(self.world.deadlines.next - self.world.now)
            self.settle()
        self.world.advance(end - self.world.now)
        if self.probing is not None and self.probing.released:
            self.probing = None
        self.settle()

    # What always holds

    @invariant()
    def nothing_is_lost_doubled_or_reordered(self) -> None:
        assert self.received == self.sent[: len(self.received)]
        if self.alive:
            waiting = [
                p.data if p.binary else p.data.decode()[1:] for p in self.session._outbox if p.data != b"2"
            ]
            assert self.received + waiting == self.sent

    @invariant()
    def the_application_hears_what_the_client_said(self) -> None:
        assert self.world.messages(self.session) == self.posted

    @invariant()
    def what_waits_is_counted_and_bounded(self) -> None:
        session = self.session
        sizes = [len(packet.data) for packet in session._outbox if packet.data != b"2"]
        assert session.outbox_bytes == sum(sizes)
        assert len(sizes) <= 12 + 4 or session._burst_until != NEVER
        assert session.outbox_bytes < 120 + 20

    @invariant()
    def every_get_is_answered_or_waits(self) -> None:
        for link in self.polls:
            assert id(link) in self.answered or link is self.poll
        if self.poll is not None and not self.busy:
            # It waits only while there is nothing for it.
            assert self.session.state == "open"
            assert not self.session._outbox
            assert self.session.transport == "polling"

    @invariant()
    def there_is_one_end(self) -> None:
        events = self.world.reported(self.session)
        closed = [event for event in events if isinstance(event, Closed)]
        if self.alive:
            assert closed == []
            assert self.world.engine.clients == {self.session.id: self.session}
        else:
            assert closed == events[-1:]
            assert closed[0].reason in REASONS
            assert self.world.engine.clients == {}
            assert self.session._outbox == []
            assert len(self.world.deadlines) == 0
            for link in (self.websocket, self.probing):
                assert link is None or len(link.released) == 1
            assert self.poll is None or (self.busy and self.poll.ready)
            assert self.post is None or self.post.released == [None] or self.session.transport == "polling"

    @invariant()
    def it_is_looked_at_in_time(self) -> None:
        if self.alive:
            assert self.world.now < self.session.deadline < NEVER
            assert self.session.queued <= self.session.deadline
            assert self.world.deadlines.next <= self.session.queued
            assert len(self.world.deadlines) == 1
            assert self.world.now - self.life < LONGEST_SILENCE


SessionMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestSession = SessionMachine.TestCase
