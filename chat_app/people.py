"""Who is here, and under which name. A person may have several connections."""

from __future__ import annotations

from dataclasses import dataclass, field

from chat_app.names import InvalidName, check_nickname, guest_name

__all__ = ["People", "Person"]


@dataclass(slots=True, eq=False)
class Person:
    """Somebody who is here.

    :ivar user: the public id.
    :ivar nickname: the name that others see; nobody else here has it.
    :ivar sockets: the ids of the connections.
    """

    user: str
    nickname: str
    sockets: set[str] = field(default_factory=set)


class People:
    """Everybody who is here, or was a moment ago."""

    def __init__(self) -> None:
        self._people: dict[str, Person] = {}

    def enter(self, user: str, socket_id: str, nickname: object) -> tuple[Person, bool]:
        """Add a connection; return whose it is, and whether that person is new here.

        A nickname that is not allowed, or taken, becomes another one: nobody is kept out for it.
        """
        person = self._people.get(user)
        is_new = person is None
        if person is None:
            person = self._people[user] = Person(user, self._free_name(user, nickname))
        person.sockets.add(socket_id)
        return person, is_new

    def note(self, user: str, socket_id: str, nickname: str) -> tuple[Person, bool]:
        """Add a connection of another node, which has decided about the nickname; otherwise as :meth:`enter`."""
        person = self._people.get(user)
        is_new = person is None
        if person is None:
            person = self._people[user] = Person(user, nickname)
        person.nickname = nickname
        person.sockets.add(socket_id)
        return person, is_new

    def connections(self) -> dict[str, Person]:
        """Return whose each connection is."""
        return {socket_id: person for person in self._people.values() for socket_id in person.sockets}

    def leave(self, user: str, socket_id: str) -> Person | None:
        """Remove a connection; return the person if it was the last one."""
        person = self._people.get(user)
        if person is None:
            return None
        person.sockets.discard(socket_id)
        return person if not person.sockets else None

    def forget(self, person: Person) -> bool:
        """Remove a person, unless a connection has come meanwhile; return whether that happened."""
        if person.sockets or self._people.get(person.user) is not person:
            return False
        del self._people[person.user]
        return True

    def rename(self, user: str, nickname: str) -> Person:
        """Give a person another name.

        :raises InvalidName: if it is not allowed, or somebody else has it.
        """
        person = self._people[user]
        nickname = check_nickname(nickname)
        if self._is_taken(user, nickname):
            raise InvalidName(f"Somebody here is called {nickname} already.")
        person.nickname = nickname
        return person

    def find(self, user: str) -> Person | None:
        """Return a person who is here."""
        return self._people.get(user)

    def listing(self) -> list[dict[str, str]]:
        """Return who is here, as it is sent."""
        return [{"user": person.user, "nickname": person.nickname} for person in self._people.values()]

    def _free_name(self, user: str, nickname: object) -> str:
        try:
            wanted = check_nickname(nickname) if isinstance(nickname, str) else guest_name()
        except InvalidName:
            wanted = guest_name()
        name, number = wanted, 2
        while self._is_taken(user, name):
            name, number = f"{wanted[:20]} {number}", number + 1
        return name

    def _is_taken(self, user: str, nickname: str) -> bool:
        wanted = nickname.casefold()
        return any(
            person.nickname.casefold() == wanted and person.user != user for person in self._people.values()
        )
