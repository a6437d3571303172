"""The cluster: what a node says to the others, what it does when they speak, and who is still there.

An engine is asked for three things: to publish a message to all nodes, to publish an answer to one, and to count the
nodes. The rest is here, the same for all: order, answers, timeouts, and that no failure of the engine takes down what
happens locally.
"""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import anyio
import anyio.lowlevel

from sio_core.adapters.base import Adapter, BroadcastOptions, LocalSockets, SocketDetails
from sio_core.adapters.driver import Driver
from sio_core.adapters.messages import (
    ADAPTER_CLOSE,
    BROADCAST,
    BROADCAST_ACK,
    BROADCAST_CLIENT_COUNT,
    DISCONNECT_SOCKETS,
    FETCH_SOCKETS,
    FETCH_SOCKETS_RESPONSE,
    HEARTBEAT,
    INITIAL_HEARTBEAT,
    SERVER_SIDE_EMIT,
    SERVER_SIDE_EMIT_RESPONSE,
    SOCKETS_JOIN,
    SOCKETS_LEAVE,
    Codec,
    Message,
    details_from_wire,
    details_to_wire,
    event_of,
    make_uid,
    options_from_wire,
    options_to_wire,
    text_list,
)
from sio_core.adapters.outgoing import Outgoing
from sio_core.adapters.requests import AckRequest, Request
from sio_core.adapters.timers import pause, within
from sio_core.errors import AdapterError, ClusterTimeout, InvalidPacket
from sio_core.runtime import Runtime

__all__ = ["ClusterAdapter"]

FIRST_RETRY: Final = 0.1
"""Seconds until a failed publication is tried again, doubled each time."""

LAST_RETRY: Final = 2.0
"""The most that becomes of them."""

ACK_ANSWERS: Final = frozenset((BROADCAST_CLIENT_COUNT, BROADCAST_ACK))

HEARTBEATS: Final = frozenset((INITIAL_HEARTBEAT, HEARTBEAT, ADAPTER_CLOSE))

PUBLISH_TIME: Final = "cluster_publish_time"

logger = logging.getLogger(__name__)


class ClusterAdapter(Adapter):
    """The rooms of one namespace on every node, by way of an engine.

    What is done locally is done at once; what the others must know is published in the order in which it was asked for,
    by :meth:`publish`, one at a time.

    :ivar uid: the name of this node in this namespace.
    :ivar closing: the last messages are being published: it has no more to say.
    :ivar request_time: seconds other nodes may take to answer a request that names no timeout.
    :ivar retries: whether what cannot be published is tried again, so that nothing is lost while the engine is away.
    :ivar batch: how many messages :meth:`publish_batch` may get at once.
    """

    retries: bool = False
    batch: int = 1

    def __init__(self, name: str, local: LocalSockets, driver: Driver) -> None:
        super().__init__(name, local)
        self.driver = driver
        self.uid = make_uid()
        self.codec = Codec(driver.host.default)
        self._host = driver.host
        self._limits = driver.host.limits
        self.request_time = self._limits.cluster_request_time
        self._queue: deque[Outgoing] = deque()
        self._queued_bytes = 0
        self._draining = False
        self._drain_scope: anyio.CancelScope | None = None
        self._started = False
        self.closing = False
        self._requests: dict[str, Request] = {}
        self._acks: dict[str, AckRequest] = {}

    # What an engine does

    @abstractmethod
    async def publish(self, message: Message) -> str | None:
        """Have the engine carry a message to every node; ``message.payload`` is what :meth:`prepare` made.

        Calls are never made while one is running. It may be cancelled, and raise anything.

        :returns: its offset, if the engine keeps a log.
        """

    @abstractmethod
    async def publish_response(self, uid: str, message: Message) -> None:
        """Have the engine carry an answer to one node, or to all if it cannot. As :meth:`publish`."""

    @abstractmethod
    async def count_nodes(self) -> int:
        """Count the nodes that have this namespace, this one included. It may be cancelled, and raise anything."""

    def prepare(self, message: Message) -> None:
        """Make of a message what is published; called at the moment the application sends it.

        Afterwards it must not depend on the application's objects, which may change.

        :raises TypeError: if something in it cannot be sent.
        :raises ValueError: if it is circular, or nested too deeply.
        """
        message.payload = self.codec.encode(message)

    async def publish_batch(self, batch: list[Outgoing]) -> list[str | None]:
        """Publish messages in their order; an engine that pipelines has a better way, and a larger ``batch``.

        :returns: the offset of each. If it raises, all of them count as failed.
        """
        offsets: list[str | None] = []
        for outgoing in batch:
            if outgoing.target is None:
                offsets.append(await self.publish(outgoing.message))
            else:
                await self.publish_response(outgoing.target, outgoing.message)
                offsets.append(None)
        return offsets

    # Life

    def check(self, runtime: Runtime) -> None:
        self.driver.check(runtime)

    def start(self) -> None:
        self.closing = False
        self._started = True
        self._draining = False  # a task of another event loop may have been cancelled before it began
        self.driver.attach(self)
        self._drain_soon()

    async def close(self) -> None:
        self.closing = True
        if self._started and self._queue:
            try:
                await within(
                    self._host, self._limits.cluster_publish_time, "the last messages", self._queue[-1]
                )
            except AdapterError as error:
                logger.warning(
                    "namespace %r is closed with messages that are not published: %s", self.name, error
                )
        self._started = False
        if self._drain_scope is not None:
            self._drain_scope.cancel()
        closed = AdapterError("the adapter is closed")
        while self._queue:
            self.fail(self._take(), closed)
        for request in list(self._requests.values()):
            request.waiter.set(error=closed)
        for ack_request in list(self._acks.values()):
            self._host.deadlines.cancel(ack_request)
        self._acks.clear()
        await self.driver.detach(self)

    def publishing_failed(self) -> None:
        """The engine does not accept what is published any more; ``driver.publishing`` says when it does again."""

    def reconnected(self) -> None:
        """Other nodes are heard again, after a time in which they may not have been."""

    async def server_count(self) -> int:
        return await within(
            self._host,
            self._limits.cluster_publish_time,
            "counting the nodes",
            self.count_nodes(),
            PUBLISH_TIME,
        )

    async def others(self, seconds: float) -> tuple[int, set[str] | None]:
        """How many other nodes there are, and their names if they are known.

        :param seconds: that they have for what they will be asked.
        """
        return await self.server_count() - 1, None

    # The queue

    @property
    def queued(self) -> int:
        """How many messages wait to be published."""
        return len(self._queue)

    def send_message(self, kind: int, data: dict[str, Any] | None) -> Outgoing:
        """Publish a message after those before it.

        :raises TypeError: if something in it cannot be sent.
        """
        return self.enqueue(Message(kind, self.uid, self.name, data), None)

    def respond(self, uid: str, kind: int, data: dict[str, Any]) -> None:
        """Publish an answer to a node, after what was published before."""
        self.enqueue(Message(kind, self.uid, self.name, data), uid)

    def enqueue(self, message: Message, target: str | None) -> Outgoing:
        """Put a message behind those that wait to be published."""
        self.prepare(message)
        outgoing = Outgoing(message, target)
        limits = self._limits
        if len(self._queue) >= limits.cluster_queue_messages:
            self._overflow(outgoing, "cluster_queue_messages")
        elif self._queued_bytes + outgoing.size > limits.cluster_queue_bytes:
            self._overflow(outgoing, "cluster_queue_bytes")
        else:
            self._queue.append(outgoing)
            self._queued_bytes += outgoing.size
            self._drain_soon()
        return outgoing

    def _overflow(self, outgoing: Outgoing, bound: str) -> None:
        self._host.count_limit(bound)
        self.fail(outgoing, AdapterError(f"too much waits to be published (limits.{bound})"))

    def fail(self, outgoing: Outgoing, error: Exception) -> None:
        """A message will not be published."""
        if outgoing.message.type not in HEARTBEATS:
            self.driver.lost += 1
        outgoing.settle(error)

    def _take(self) -> Outgoing:
        outgoing = self._queue.popleft()
        self._queued_bytes -= outgoing.size
        return outgoing

    def _drain_soon(self) -> None:
        if self._started and self._queue and not self._draining:
            self._draining = True
            self._host.runtime.spawn(self._drain)

    async def _drain(self) -> None:
        try:
            with anyio.CancelScope() as self._drain_scope:
                if self._host.runtime.starts_at_once:  # what else is said in this turn comes along
                    await anyio.lowlevel.checkpoint()
                await self._publish_queue()
        finally:
            self._draining = False
            self._drain_scope = None

    async def _publish_queue(self) -> None:
        delay = FIRST_RETRY
        while self._queue and self._started:
            if self._queue[0].message.offset is not None:  # the attempt that seemed to fail did not
                self.driver.publishing = True
                self.published(self._take())
                continue
            batch = [outgoing for outgoing, _ in zip(self._queue, range(self.batch), strict=False)]
            error = await self._publish(batch)
            if error is None:
                delay = FIRST_RETRY
            elif self.retries:
                await pause(self._host, delay)
                delay = min(2 * delay, LAST_RETRY)

    async def _publish(self, batch: list[Outgoing]) -> Exception | None:
        """Publish the first messages of the queue, which stay in it until it is known what became of them."""
        driver = self.driver
        seconds = self._limits.cluster_publish_time
        failure: Exception
        try:
            offsets = await within(self._host, seconds, "publishing", self.publish_batch(batch), PUBLISH_TIME)
        except Exception as error:
            failure = error
        else:
            driver.publishing = True
            for outgoing, offset in zip(batch, offsets, strict=True):
                if self._queue and self._queue[0] is outgoing:
                    self._take()
                if offset is not None:
                    outgoing.message.offset = offset
                self.published(outgoing)
            return None
        if driver.publishing:
            logger.error("namespace %r: a message cannot be published: %r", self.name, failure)
            driver.publishing_failed()
        wrapped = (
            failure if isinstance(failure, AdapterError) else AdapterError(f"not published: {failure!r}")
        )
        for outgoing in batch:
            outgoing.message.attempt += 1
        for outgoing in batch:
            if self.retries and not self.closing and self.is_durable(outgoing):
                continue  # it stays where it is, and is tried again
            if outgoing in self._queue:
                self._queue.remove(outgoing)
                self._queued_bytes -= outgoing.size
                self.fail(outgoing, wrapped)
        return wrapped

    def is_durable(self, outgoing: Outgoing) -> bool:
        """Whether a message is worth another attempt: nobody waits for the answer to it, and it is not volatile."""
        message = outgoing.message
        data = message.data
        if outgoing.target is not None or data is None or "requestId" in data:
            return False
        return "opts" not in data or "volatile" not in data["opts"]["flags"]

    def published(self, outgoing: Outgoing) -> None:
        """The engine has accepted a message; its offset is known now if the engine has told."""
        outgoing.settle()

    # What the application asks for

    def broadcast(self, data: list[Any], options: BroadcastOptions) -> Awaitable[None] | None:
        outgoing = None if options.local else self.send_message(BROADCAST, self._event(data, options))
        self.deliver(data, options, None)
        return outgoing

    @staticmethod
    def _event(data: list[Any], options: BroadcastOptions) -> dict[str, Any]:
        return {"packet": {"type": 2, "data": data}, "opts": options_to_wire(options)}

    def broadcast_with_ack(
        self,
        data: list[Any],
        options: BroadcastOptions,
        client_count: Callable[[int], None],
        ack: Callable[[list[Any]], None],
    ) -> None:
        if not options.local:
            request_id = make_uid()
            event = self._event(data, options)
            request = AckRequest(client_count, ack, lambda: self._acks.pop(request_id, None))
            self._acks[request_id] = request  # an answer may come before the sending is over
            try:
                self.send_message(
                    BROADCAST, {"packet": event["packet"], "requestId": request_id, "opts": event["opts"]}
                )
            except (TypeError, ValueError):
                del self._acks[request_id]
                raise
            seconds = self._limits.ack_timeout if options.timeout is None else options.timeout
            request.deadline = self._host.runtime.now() + seconds
            self._host.deadlines.schedule(request)
        client_count(self.local.deliver_with_ack(self.select(options), data, options, ack))

    async def fetch_sockets(self, options: BroadcastOptions) -> list[SocketDetails]:
        found = self.local.details(self.select(options))
        if options.local:
            return found
        seconds = self.request_time if options.timeout is None else options.timeout
        data = {"opts": options_to_wire(options)}
        try:
            others: list[SocketDetails] = await self.request(FETCH_SOCKETS, data, seconds)
        except ClusterTimeout as error:
            error.partial[:0] = found
            raise
        return found + others

    def add_sockets(self, options: BroadcastOptions, rooms: list[str]) -> Awaitable[None] | None:
        outgoing = self._operate(SOCKETS_JOIN, options, "rooms", rooms)
        self._join(options, rooms)
        return outgoing

    def remove_sockets(self, options: BroadcastOptions, rooms: list[str]) -> Awaitable[None] | None:
        outgoing = self._operate(SOCKETS_LEAVE, options, "rooms", rooms)
        self._leave(options, rooms)
        return outgoing

    def disconnect_sockets(self, options: BroadcastOptions, close: bool) -> Awaitable[None] | None:
        outgoing = self._operate(DISCONNECT_SOCKETS, options, "close", close)
        self.local.disconnect(list(self.select(options)), close)
        return outgoing

    def _operate(self, kind: int, options: BroadcastOptions, key: str, value: Any) -> Outgoing | None:
        if options.local:
            return None
        return self.send_message(kind, {"opts": options_to_wire(options), key: value})

    def _join(self, options: BroadcastOptions, rooms: list[str]) -> None:
        for member in list(self.select(options)):
            self.add_all(member, rooms)

    def _leave(self, options: BroadcastOptions, rooms: list[str]) -> None:
        for member in list(self.select(options)):
            self.remove(member, rooms)

    def server_side_emit(self, args: list[Any]) -> Awaitable[None] | None:
        return self.send_message(SERVER_SIDE_EMIT, {"packet": args})

    async def server_side_emit_with_ack(self, args: list[Any], timeout: float | None) -> list[Any]:
        seconds = self.request_time if timeout is None else timeout
        return await self.request(SERVER_SIDE_EMIT, {"packet": args}, seconds)

    async def request(self, kind: int, data: dict[str, Any], seconds: float) -> list[Any]:
        """Ask every other node, and return what they answer.

        :raises ClusterTimeout: with the answers that came, if not all did in time.
        :raises AdapterError: if the question could not be asked.
        """
        count, names = await self.others(seconds)
        if count <= 0:
            return []
        if self.closing:  # meanwhile
            raise AdapterError("the adapter is closed")
        request_id = make_uid()
        request = Request(count, names)
        self._requests[request_id] = request
        request.deadline = self._host.runtime.now() + seconds
        self._host.deadlines.schedule(request)
        try:
            if kind == FETCH_SOCKETS:
                asked = self.send_message(kind, {**data, "requestId": request_id})
            else:
                asked = self.send_message(kind, {"requestId": request_id, **data})
            asked.fail_too(request.waiter)
            answers: list[Any] = await request.waiter.wait()
            return answers
        except ClusterTimeout:
            if seconds == self._limits.cluster_request_time:
                self._host.count_limit("cluster_request_time")
            raise
        finally:
            self._host.deadlines.cancel(request)
            del self._requests[request_id]

    def give_up(self, uid: str) -> None:
        """A node is gone: its answers are waited for no more."""
        for request in list(self._requests.values()):
            request.give_up(uid)

    # What other nodes say

    def receive(self, message: Message, offset: str | None = None) -> None:
        """A message has come. What cannot be understood is dropped and counted.

        :param offset: its place in the engine's log, if there is one.
        """
        if message.nsp != self.name:
            return
        try:
            if message.uid != self.uid:
                self.handle(message, offset)
            else:
                self.handle_own(message, offset)
        except InvalidPacket as error:
            self.driver.drop(str(error))
        except Exception as error:
            logger.debug("namespace %r: a message of another node", self.name, exc_info=True)
            self.driver.drop(f"a message of type {message.type}: {error!r}")

    def handle_own(self, message: Message, offset: str | None) -> None:
        """A message of this node has come back."""

    def handle(self, message: Message, offset: str | None) -> None:
        """Do what another node asks for. What is of an unknown type is ignored, as by the official adapters.

        :raises InvalidPacket: if the message makes no sense.
        """
        kind = message.type
        data = message.data
        if data is None:
            return
        if kind == BROADCAST:
            if data.get("requestId") is not None:
                self._answer_broadcast(message.uid, data)
            else:
                self.deliver(event_of(data.get("packet")), options_from_wire(data.get("opts")), offset)
        elif kind == SOCKETS_JOIN:
            self._join(options_from_wire(data.get("opts")), text_list(data.get("rooms")))
        elif kind == SOCKETS_LEAVE:
            self._leave(options_from_wire(data.get("opts")), text_list(data.get("rooms")))
        elif kind == DISCONNECT_SOCKETS:
            options = options_from_wire(data.get("opts"))
            self.local.disconnect(list(self.select(options)), bool(data.get("close")))
        elif kind == FETCH_SOCKETS:
            self._answer_fetch(message.uid, data)
        elif kind == SERVER_SIDE_EMIT:
            self._answer_server_event(message.uid, data)
        else:
            self._receive_answer(message.uid, kind, data)

    def deliver(self, data: list[Any], options: BroadcastOptions, offset: str | None) -> None:
        """Send an event to the sockets here that it is for.

        :param offset: its place in the engine's log, if it is the event of another node and there is one.
        """
        chosen = self.select(options)
        if chosen:
            self.local.deliver(chosen, data, options)

    def _answer_broadcast(self, uid: str, data: dict[str, Any]) -> None:
        event, options = event_of(data.get("packet")), options_from_wire(data.get("opts"))
        request_id = request_id_of(data)

        def answered(answer: list[Any]) -> None:
            response = {"requestId": request_id}
            if answer:
                response["packet"] = answer[0]
            self.respond(uid, BROADCAST_ACK, response)

        seconds = self._limits.ack_timeout if options.timeout is None else options.timeout
        count = self.local.deliver_with_ack(self.select(options), event, options, answered, seconds)
        self.respond(uid, BROADCAST_CLIENT_COUNT, {"requestId": request_id, "clientCount": count})

    def _answer_fetch(self, uid: str, data: dict[str, Any]) -> None:
        request_id = request_id_of(data)
        options = options_from_wire(data.get("opts"))
        sockets = [details_to_wire(details) for details in self.local.details(self.select(options))]
        try:
            self.respond(uid, FETCH_SOCKETS_RESPONSE, {"requestId": request_id, "sockets": sockets})
        except (TypeError, ValueError):
            self._clear_data(sockets)
            self.respond(uid, FETCH_SOCKETS_RESPONSE, {"requestId": request_id, "sockets": sockets})

    def _clear_data(self, sockets: list[dict[str, Any]]) -> None:
        """Leave out the data that cannot be sent, so that the other sockets are seen."""
        for socket in sockets:
            try:
                self.codec.json(socket["data"])
            except (TypeError, ValueError) as error:
                logger.error("the data of socket %s cannot be shown to other nodes: %s", socket["id"], error)
                socket["data"] = {}

    def _answer_server_event(self, uid: str, data: dict[str, Any]) -> None:
        args = data.get("packet")
        if not isinstance(args, list) or not args or not isinstance(args[0], str):
            raise InvalidPacket("a server event of the cluster has no name")
        if data.get("requestId") is None:
            self.local.receive_server_event(args, None)
            return
        request_id = request_id_of(data)
        answered = False

        def ack(*values: Any) -> None:
            nonlocal answered
            if not answered:
                answered = True
                response = {"requestId": request_id}
                if values:
                    response["packet"] = values[0]
                self.respond(uid, SERVER_SIDE_EMIT_RESPONSE, response)

        self.local.receive_server_event(args, ack)

    def _receive_answer(self, uid: str, kind: int, data: dict[str, Any]) -> None:
        request_id = data.get("requestId")
        if not isinstance(request_id, str):
            return
        if kind in ACK_ANSWERS:
            ack_request = self._acks.get(request_id)
            if ack_request is None:
                return
            if kind == BROADCAST_ACK:
                ack_request.ack([data["packet"]] if "packet" in data else [])
                return
            count = data.get("clientCount")
            if not isinstance(count, int | float) or isinstance(count, bool) or count < 0:
                raise InvalidPacket("a number of clients of the cluster is none")
            ack_request.count(uid, int(count))
            return
        if request_id not in self._requests:
            return
        if kind == FETCH_SOCKETS_RESPONSE:
            sockets = data.get("sockets")
            found = sockets if isinstance(sockets, list) else []
            self.answered(request_id, uid, [details_from_wire(socket) for socket in found])
        elif kind == SERVER_SIDE_EMIT_RESPONSE:
            self.answered(request_id, uid, [data.get("packet")])

    def answered(self, request_id: str, uid: str, values: list[Any]) -> None:
        """A node has answered a :meth:`request`."""
        request = self._requests.get(request_id)
        if request is not None:
            request.answer(uid, values)


def request_id_of(data: dict[str, Any]) -> str:
    """Return the name of a request.

    :raises InvalidPacket: if it has none.
    """
    request_id = data.get("requestId")
    if not isinstance(request_id, str):
        raise InvalidPacket("a request of the cluster has no requestId")
    return request_id
