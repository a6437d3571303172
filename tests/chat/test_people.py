"""Who is here."""

from __future__ import annotations

import pytest

from chat_app.names import InvalidName
from chat_app.people import People


def test_a_person_with_two_connections_leaves_with_the_last() -> None:
    people = People()
    ann, is_new = people.enter("1", "a", "ann")
    assert is_new
    assert people.enter("1", "b", "someone") == (ann, False)
    assert ann.nickname == "ann"
    assert people.leave("1", "a") is None
    assert people.leave("1", "b") is ann
    assert people.forget(ann)
    assert not people.forget(ann)
    assert people.listing() == []
    assert people.leave("1", "b") is None


def test_who_comes_back_at_once_has_not_left() -> None:
    people = People()
    ann, _ = people.enter("1", "a", "ann")
    people.leave("1", "a")
    people.enter("1", "b", "ann")
    assert not people.forget(ann)
    assert people.find("1") is ann


def test_nobody_is_kept_out_for_a_name() -> None:
    people = People()
    people.enter("1", "a", "ann")
    assert people.enter("2", "b", "Ann")[0].nickname == "Ann 2"
    assert people.enter("3", "c", "ANN")[0].nickname == "ANN 3"
    for number, wrong in enumerate([None, 7, "", "x" * 25]):
        assert people.enter(f"guest {number}", "d", wrong)[0].nickname
    assert len({person["nickname"].casefold() for person in people.listing()}) == 7


def test_renaming() -> None:
    people = People()
    people.enter("1", "a", "ann")
    people.enter("2", "b", "bob")
    with pytest.raises(InvalidName, match="called BOB already"):
        people.rename("1", "BOB")
    with pytest.raises(InvalidName):
        people.rename("1", " ")
    assert people.rename("1", "Ann").nickname == "Ann"
