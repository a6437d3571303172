"""sio_core.engineio.states: every (state, input) pair."""

from __future__ import annotations

import itertools

import pytest

from sio_core.engineio import states
from sio_core.engineio.session import Session
from sio_core.engineio.states import (
    CLOSE_REQUESTED,
    CLOSED,
    CLOSING,
    LOST,
    OPEN,
    POLLING,
    PROBE_RECEIVED,
    PROBED,
    PROBING,
    SESSION,
    TRANSPORT,
    UPGRADE_RECEIVED,
    WEBSOCKET,
    WEBSOCKET_LOST,
    WEBSOCKET_OPENED,
)
from tests.engineio.world import Link, World

SESSION_MOVES = {
    (OPEN, CLOSE_REQUESTED): CLOSING,
    (OPEN, LOST): CLOSED,
    (CLOSING, LOST): CLOSED,
}
TRANSPORT_MOVES = {
    (POLLING, WEBSOCKET_OPENED): PROBING,
    (PROBING, PROBE_RECEIVED): PROBED,
    (PROBING, UPGRADE_RECEIVED): WEBSOCKET,
    (PROBING, WEBSOCKET_LOST): POLLING,
    (PROBED, PROBE_RECEIVED): PROBED,
    (PROBED, UPGRADE_RECEIVED): WEBSOCKET,
    (PROBED, WEBSOCKET_LOST): POLLING,
}
SESSION_PAIRS = list(itertools.product([OPEN, CLOSING, CLOSED], [CLOSE_REQUESTED, LOST]))
TRANSPORT_INPUTS = [WEBSOCKET_OPENED, PROBE_RECEIVED, UPGRADE_RECEIVED, WEBSOCKET_LOST]
TRANSPORT_PAIRS = list(itertools.product([POLLING, PROBING, PROBED, WEBSOCKET], TRANSPORT_INPUTS))


def test_the_tables_hold_nothing_else() -> None:
    assert set(SESSION) == {OPEN, CLOSING, CLOSED}
    assert set(TRANSPORT) == {POLLING, PROBING, PROBED, WEBSOCKET}
    assert sum([len(moves) for moves in SESSION.values()]) == len(SESSION_MOVES)
    assert sum([len(moves) for moves in TRANSPORT.values()]) == len(TRANSPORT_MOVES)
    assert set(states.__all__) <= set(vars(states))


@pytest.mark.parametrize(("state", "given"), SESSION_PAIRS)
def test_the_session_table(state: str, given: str) -> None:
    assert SESSION[state].get(given) == SESSION_MOVES.get((state, given))


@pytest.mark.parametrize(("state", "given"), TRANSPORT_PAIRS)
def test_the_transport_table(state: str, given: str) -> None:
    assert TRANSPORT[state].get(given) == TRANSPORT_MOVES.get((state, given))


@pytest.mark.parametrize(("state", "given"), SESSION_PAIRS)
def test_a_session_follows_its_table(state: str, given: str) -> None:
    world = World()
    session = world.open()
    if state is CLOSING:
        session.close()
    elif state is CLOSED:
        session.close(discard=True)
    assert session.state is state
    if given is CLOSE_REQUESTED:
        session.close()
    else:
        session.close(discard=True)
    assert session.state is SESSION_MOVES.get((state, given), state)
    world.closing(session)


def bring_to(world: World, stage: str) -> tuple[Session, Link]:
    session = world.open()
    link = Link()
    if stage is not POLLING:
        assert session.websocket_opened(link, world.now)
    if stage in {PROBED, WEBSOCKET}:
        session.receive_probe("2probe", False, world.now)
    if stage is WEBSOCKET:
        session.receive_probe("5", False, world.now)
    assert session._stage is stage
    return session, link


@pytest.mark.parametrize(("stage", "given"), TRANSPORT_PAIRS)
def test_a_transport_follows_its_table(stage: str, given: str) -> None:
    world = World()
    session, link = bring_to(world, stage)
    if given is WEBSOCKET_OPENED:
        assert session.websocket_opened(Link(), world.now) is (stage is POLLING)
    elif given is PROBE_RECEIVED:
        session.receive_probe("2probe", False, world.now)
    elif given is UPGRADE_RECEIVED:
        assert session.receive_probe("5", False, world.now) is (stage in {PROBING, PROBED})
    else:
        session.websocket_lost(link, None)
    assert session._stage is TRANSPORT_MOVES.get((stage, given), stage)
    # The one loss that a session does not survive is that of what carries it.
    assert (session.state is CLOSED) is (stage is WEBSOCKET and given is WEBSOCKET_LOST)
