"""The chat itself: what each event does.

Two kinds of clients talk to each other. Our own page names itself with ``auth.client``; it enters rooms, numbers are
checked there, and what is missing is asked for (``join``, ``sync``, ``history``). Any other client is one of the
official tutorial: it is in the default room, says ``chat message (text, clientOffset)`` and hears
``chat message (text, serverOffset)``, beginning after ``auth.serverOffset``.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from secrets import token_hex
from typing import Any, Concatenate, Final, ParamSpec

import anyio
import anyio.abc

from chat_app.log import Draft, Message, MessageLog, StorageError
from chat_app.names import (
    DEFAULT_ROOM,
    InvalidName,
    check_offset,
    check_room,
    check_text,
    members_of,
    public_id,
)
from chat_app.people import People, Person
from sio_core import Ack, AdapterError, Namespace, Socket, event

__all__ = ["Chat"]

Client = Socket[dict[str, Any]]
Parameters = ParamSpec("Parameters")

PAGES: Final = "pages"
"""The room of all clients that are our own page."""
TUTORIAL: Final = "tutorial"
"""The room of all clients of the tutorial that have everything up to the head."""
GUEST: Final = "guest-"
"""Begins the user id of somebody who has none: a client of the tutorial."""
LAST_PLACE: Final = 2**53
"""No room has as many messages: the client's numbers end here, and those of databases not much later."""

FIRST_PAGE: Final = 50
"""Messages shown when a room is opened."""
ABSENCE: Final = 2.0
"""Seconds after which somebody without a connection has left: reloading the page is not leaving."""
HEADS_EVERY: Final = 10.0
"""Seconds between the notices that tell how far the rooms are, so that a lost last message is missed."""
MEET_AFTER: Final = 0.5
"""Seconds until a node that has started asks the others who is with them."""
PATIENCE: Final = 1.0
"""Seconds before an unreadable log is tried again."""

logger = logging.getLogger(__name__)


def refusing(
    listener: Callable[Concatenate[Chat, Parameters], Awaitable[dict[str, Any]]],
) -> Callable[Concatenate[Chat, Parameters], Awaitable[dict[str, Any]]]:
    """Make a listener answer with what is wrong, in words for people."""

    @functools.wraps(listener)
    async def answer(chat: Chat, /, *args: Parameters.args, **kwargs: Parameters.kwargs) -> dict[str, Any]:
        try:
            return await listener(chat, *args, **kwargs)
        except (InvalidName, StorageError) as error:
            return refusal(error)

    return answer


class Chat(Namespace):
    """The namespace ``/`` of the chat."""

    def __init__(self, log: MessageLog, *, shared: bool = False) -> None:
        """:param shared: whether other nodes serve the same log; then they tell each other who is there.

        :raises StorageError: if the log cannot be read.
        """
        super().__init__("/")
        self._log = log
        self._shared = shared
        self._telling = False
        self.on_server_event("stored", log.look)
        self.on_server_event("entered", self._note_entered)
        self.on_server_event("gone", self._note_gone)
        self.on_server_event("renamed", self._note_renamed)
        self.on_server_event("who", self._who)
        self._heads = {DEFAULT_ROOM: 0, **log.heads()}
        self._changed: set[str] = set()
        self._people = People()
        self._tasks: anyio.abc.TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Store and publish messages for as long as the block lasts."""
        async with self._log.running(self._publish), anyio.create_task_group() as self._tasks:
            self._tasks.start_soon(self._announce_heads)
            if self._shared:
                self._tasks.start_soon(self._meet_others)
            yield
            self._tasks.cancel_scope.cancel()

    # Coming and going

    def on_connection(self, socket: Client) -> None:
        """Somebody has come, or has come back."""
        auth = socket.handshake.auth
        if not socket.recovered:
            offset = auth.get("serverOffset")
            socket.data["offset"] = offset if type(offset) is int else 0
            socket.data["user"] = public_id(auth.get("client")) or GUEST + token_hex(8)
        user: str = socket.data["user"]
        person, is_new = self._people.enter(user, socket.id, auth.get("nickname"))
        if is_new:
            self.local.to(PAGES).emit("joined", as_person(person))
        self._tell("entered", user, socket.id, person.nickname)
        if not user.startswith(GUEST):
            socket.join(PAGES, home(user))
            socket.emit("welcome", self._welcome(person))
        elif TUTORIAL not in socket.rooms:  # also one that was lost on the way to the head, and has come back
            socket.spawn(self._catch_up, socket)

    def on_disconnect(self, socket: Client) -> None:
        """A connection has ended."""
        self._note_gone(socket.data["user"], socket.id)
        self._tell("gone", socket.data["user"], socket.id)

    async def _say_goodbye(self, person: Person) -> None:
        await anyio.sleep(ABSENCE)
        if self._people.forget(person):
            self.local.to(PAGES).emit("left", as_person(person))

    def _welcome(self, person: Person) -> dict[str, Any]:
        return {
            **as_person(person),
            "epoch": self._log.epoch,
            "room": DEFAULT_ROOM,
            "rooms": {
                room: head
                for room, head in self._heads.items()
                if not members_of(room) or person.user in members_of(room)
            },
            "people": self._people.listing(),
        }

    # Rooms

    @refusing
    async def on_join(
        self, socket: Client, room: str, after: int | None = None, epoch: str = ""
    ) -> dict[str, Any]:
        """Enter a room and return what the client does not have of it.

        Live messages come from now on, so some may come before the answer: the page sees a gap, and asks again.
        """
        socket.join(floor(check_room(room, socket.data["user"])))
        return await self.on_sync(socket, room, after, epoch)

    def on_leave(self, socket: Client, room: str) -> None:
        """Leave a room."""
        socket.leave(floor(room))

    @refusing
    async def on_sync(
        self, socket: Client, room: str, after: int | None = None, epoch: str = ""
    ) -> dict[str, Any]:
        """Return what comes after a place in a room; the last messages if there is no such place in this store."""
        check_room(room, socket.data["user"])
        head = self._heads.get(
            room, 0
        )  # now: it moves while the log is read, and the answer must fit together
        is_known = after is not None and epoch == self._log.epoch
        if after is not None and is_known:
            messages = await self._log.after(room, min(after, LAST_PLACE))
        else:
            messages = await self._log.before(room, head + 1, FIRST_PAGE)
        return {
            "epoch": self._log.epoch,
            "reset": not is_known,
            "head": head,
            "messages": [as_payload(message) for message in messages],
        }

    @refusing
    async def on_history(self, socket: Client, room: str, before: int) -> dict[str, Any]:
        """Return a page of what came before a place in a room."""
        room = check_room(room, socket.data["user"])
        messages = await self._log.before(room, min(before, LAST_PLACE), FIRST_PAGE)
        return {"messages": [as_payload(message) for message in messages]}

    # Messages

    def on_message(self, socket: Client, room: str, text: str, client_offset: str, ack: Ack) -> None:
        """Somebody says something in a room; answered when it is on disk."""
        user = socket.data["user"]
        try:
            draft = self._draft(socket, check_room(room, user), user, text, client_offset)
        except InvalidName as error:
            ack(refusal(error))
        else:
            self._log.append(draft, lambda outcome: ack(as_answer(outcome)))

    @event("chat message")
    def on_tutorial_message(
        self, socket: Client, text: str, ack: Ack, client_offset: str | None = None
    ) -> None:
        """The same, from a client of the tutorial. It repeats what is not answered, so only success is."""

        def answer(outcome: Message | StorageError) -> None:
            if isinstance(outcome, Message):
                ack()
            else:
                socket.emit("notice", str(outcome))

        try:
            draft = self._draft(socket, DEFAULT_ROOM, "", text, client_offset or token_hex(16))
        except InvalidName as error:
            socket.emit("notice", str(error))
        else:
            self._log.append(draft, answer)

    def _draft(self, socket: Client, room: str, author: str, text: str, client_offset: str) -> Draft:
        person = self._people.find(socket.data["user"])
        nickname = person.nickname if person is not None else ""
        return Draft(room, author, check_offset(client_offset), nickname, check_text(text), socket.id)

    def _publish(self, message: Message, origin: str) -> None:
        """A message is in the log: everybody here hears of it but the socket it came from, which gets the answer.

        Every node reads all of the log, so none tells the others.
        """
        room = message.room
        if message.seq <= self._heads.get(room, 0):  # another process wrote it while this one was starting
            return
        if room not in self._heads and not members_of(room):
            self.local.to(PAGES).emit("room", room)
        self._heads[room] = message.seq
        self._changed.add(room)
        if origin:  # it was written here
            self._tell_stored()
        self.local.to(*audience(room)).except_(origin).emit("message", as_payload(message))
        if room == DEFAULT_ROOM:
            self.local.to(TUTORIAL).emit("chat message", message.text, message.seq)

    async def _catch_up(self, socket: Client) -> None:
        """Bring a client of the tutorial up to the head, then let it hear what is live.

        It cannot see a gap, so it gets everything in order: it enters the room in the very moment in which there is
        nothing left to read. What is on disk but not published yet is left to the publishing.
        """
        if socket.data["offset"] > self._heads[DEFAULT_ROOM]:
            socket.data["offset"] = 0  # the place is one of another store
        while socket.data["offset"] < self._heads[DEFAULT_ROOM]:
            try:
                messages = await self._log.after(DEFAULT_ROOM, socket.data["offset"])
            except StorageError as error:
                socket.emit("notice", str(error))
                await anyio.sleep(PATIENCE)
                continue
            for message in messages:
                if message.seq <= self._heads[DEFAULT_ROOM]:
                    socket.data["offset"] = message.seq
                    await socket.emit("chat message", message.text, message.seq)
        socket.join(TUTORIAL)

    async def _announce_heads(self) -> None:
        while True:
            await anyio.sleep(HEADS_EVERY)
            changed, self._changed = self._changed, set()
            for room in changed:
                self.local.to(*audience(room)).emit("head", room, self._heads[room])

    # People

    @refusing
    async def on_nickname(self, socket: Client, nickname: str) -> dict[str, Any]:
        """Somebody wants to be called something else."""
        person = self._people.rename(socket.data["user"], nickname)
        self.local.to(PAGES).emit("renamed", as_person(person))
        self._tell("renamed", person.user, person.nickname)
        return as_person(person)

    def on_typing(self, socket: Client, room: str) -> None:
        """Somebody is typing: worth telling only those who can hear it now."""
        person = self._people.find(socket.data["user"])
        if person is not None and floor(room) in socket.rooms:
            everyone = socket.to(*audience(room)).except_(home(person.user))
            everyone.volatile.emit("typing", room, as_person(person))

    # Other nodes: each keeps the list of all people, and tells its own clients

    def _tell(self, name: str, *args: Any) -> None:
        """Tell the other nodes, if there may be any."""
        if self._shared:
            self.server_side_emit(name, *args)

    def _tell_stored(self) -> None:
        """Have the other nodes look into the log, once for all that is published now."""
        if self._shared and not self._telling and self._tasks is not None:
            self._telling = True
            self._tasks.start_soon(self._tell_soon)

    async def _tell_soon(self) -> None:
        self._telling = False
        self._tell("stored")

    def _note_entered(self, user: str, socket_id: str, nickname: str) -> None:
        person, is_new = self._people.note(user, socket_id, nickname)
        if is_new:
            self.local.to(PAGES).emit("joined", as_person(person))

    def _note_gone(self, user: str, socket_id: str) -> None:
        person = self._people.leave(user, socket_id)
        if person is not None and self._tasks is not None:
            self._tasks.start_soon(self._say_goodbye, person)

    def _note_renamed(self, user: str, nickname: str) -> None:
        person = self._people.find(user)
        if person is not None:
            person.nickname = nickname
            self.local.to(PAGES).emit("renamed", as_person(person))

    def _who(self) -> list[list[str]]:
        """Answer another node: whose connections are here."""
        connections = self._people.connections()
        return [
            [connections[sid].user, sid, connections[sid].nickname]
            for sid in self.sockets
            if sid in connections
        ]

    async def _meet_others(self) -> None:
        """Compare who is there from time to time: what a node tells may be lost, and one that died tells nothing."""
        await anyio.sleep(MEET_AFTER)
        while True:
            known = self._people.connections()
            try:
                answers = await self.server_side_emit_with_ack("who")
            except AdapterError as error:
                logger.warning("it is not known who is with other nodes: %s", error)
            else:
                present = {sid: (user, nickname) for answer in answers for user, sid, nickname in answer}
                for sid, (user, nickname) in present.items():
                    self._note_entered(user, sid, nickname)
                for sid, person in known.items():
                    if sid not in present and sid not in self.sockets:
                        self._note_gone(person.user, sid)
            await anyio.sleep(HEADS_EVERY)


def floor(room: str) -> str:
    """Return the room of Socket.IO in which those are who entered a room of the chat."""
    return "room:" + room


def home(user: str) -> str:
    """Return the room of Socket.IO in which a person's connections are."""
    return "user:" + user


def audience(room: str) -> Iterable[str]:
    """Return the rooms of Socket.IO that hear of a room: a private one reaches its two people wherever they are."""
    return [home(user) for user in members_of(room)] or [floor(room)]


def as_person(person: Person) -> dict[str, str]:
    """Return a person as it is sent."""
    return {"user": person.user, "nickname": person.nickname}


def as_payload(message: Message) -> dict[str, Any]:
    """Return a message as it is sent."""
    return {
        "room": message.room,
        "seq": message.seq,
        "user": message.author,
        "id": message.client_offset,
        "nickname": message.nickname,
        "text": message.text,
        "time": message.time,
    }


def as_answer(outcome: Message | StorageError) -> dict[str, Any]:
    """Return the acknowledgement of a message."""
    return as_payload(outcome) if isinstance(outcome, Message) else refusal(outcome)


def refusal(error: InvalidName | StorageError) -> dict[str, Any]:
    """Return the answer to what cannot be done."""
    return {"error": str(error), "retry": isinstance(error, StorageError) and error.retry}
