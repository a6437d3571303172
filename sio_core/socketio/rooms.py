"""Which sockets are in which rooms of one namespace.

The rooms of the official server: a room comes into being with its first member and is gone with its last.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeVar, overload

__all__ = ["Rooms"]

Listener = Callable[..., object]
AnyListener = TypeVar("AnyListener", bound=Callable[..., object])

logger = logging.getLogger(__name__)

ROOM_EVENTS = frozenset(("create-room", "delete-room", "join-room", "leave-room"))


class Rooms:
    """Rooms and their members, both ways; sets that keep their order.

    :ivar rooms: the members of each room.
    :ivar members: the rooms of each member, each with the ``position`` at which it was joined.
    :ivar position: the number of the newest event, for those who must know later who was where when.
    """

    __slots__ = ("_listeners", "members", "position", "rooms")

    def __init__(self) -> None:
        self.rooms: dict[str, dict[str, None]] = {}
        self.members: dict[str, dict[str, int]] = {}
        self.position = 0
        self._listeners: dict[str, list[Listener]] = {}

    @overload
    def on(self, name: str, listener: AnyListener) -> AnyListener: ...
    @overload
    def on(self, name: str, listener: None = None) -> Callable[[AnyListener], AnyListener]: ...
    def on(self, name: str, listener: Listener | None = None) -> Any:
        """Register a listener of ``create-room``, ``delete-room`` (room), ``join-room``, ``leave-room`` (room, id).

        :raises ValueError: for another name.
        """
        if name not in ROOM_EVENTS:
            raise ValueError(f"rooms have no event {name!r}")
        if listener is None:
            return lambda listener: self.on(name, listener)
        self._listeners.setdefault(name, []).append(listener)
        return listener

    def join(self, member: str, rooms: Iterable[str]) -> None:
        """Put a member into rooms; those it is in already are left alone."""
        own = self.members.setdefault(member, {})
        for room in rooms:
            if room in own:
                continue
            own[room] = self.position
            members = self.rooms.get(room)
            if members is None:
                members = self.rooms[room] = {}
                self._notify("create-room", room)
            members[member] = None
            self._notify("join-room", room, member)

    def leave(self, member: str, rooms: Iterable[str]) -> None:
        """Take a member out of rooms; those it is not in are left alone."""
        own = self.members.get(member)
        if own is None:
            return
        for room in rooms:
            if room in own:
                del own[room]
                self._leave(member, room)

    def leave_all(self, member: str) -> None:
        """Take a member out of every room, and forget it."""
        for room in self.members.pop(member, {}):
            self._leave(member, room)

    def _leave(self, member: str, room: str) -> None:
        members = self.rooms.get(room)
        if members is None or member not in members:
            return
        del members[member]
        self._notify("leave-room", room, member)
        if not members and self.rooms.get(room) is members:
            del self.rooms[room]
            self._notify("delete-room", room)

    def select(self, rooms: Collection[str], except_: Collection[str]) -> Iterable[str]:
        """Return the members of the union of ``rooms`` (all, if empty) less those of the union of ``except_``.

        Each comes once: rooms in the order given, members in the order they joined. The result may be a live view:
        it must not be kept while rooms change.
        """
        if not rooms:
            chosen: Iterable[str] = self.members
        elif len(rooms) == 1:
            (room,) = rooms
            chosen = self.rooms.get(room, ())
        else:
            union: dict[str, None] = {}
            for room in rooms:
                union.update(self.rooms.get(room, {}))
            chosen = union
        if not except_:
            return chosen
        excluded: set[str] = set()
        for room in except_:
            excluded.update(self.rooms.get(room, ()))
        if not excluded:
            return chosen
        return [member for member in chosen if member not in excluded]

    def _notify(self, name: str, *args: str) -> None:
        for listener in tuple(self._listeners.get(name, ())) if self._listeners else ():
            try:
                listener(*args)
            except Exception:  # the rooms and their members must agree, whatever happens
                logger.exception("a listener of %r raised an exception", name)
