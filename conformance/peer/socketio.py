"""The Socket.IO v5 side of the test client, over any link."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Any

from conformance.expect import MismatchError, expect, expect_equal
from conformance.peer.engineio import Link, PollingSession
from conformance.peer.packets import MISSING, Packet, encode, encode_packet, head, parse_message, reconstruct

CONNECT, DISCONNECT, EVENT, ACK, CONNECT_ERROR, BINARY_EVENT, BINARY_ACK = range(7)


class Client:
    """One Engine.IO session and the namespaces it has joined."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self._ack_id = 1000
        self._put_aside: deque[Packet] = deque()

    async def send(self, *packets: str | bytes) -> None:
        await self.link.send(*packets)

    async def receive(self) -> Packet:
        """The next Socket.IO packet. Heartbeats are answered; binary parts are put back into their place."""
        if self._put_aside:
            return self._put_aside.popleft()
        return await self._receive()

    async def receive_text(self) -> str:
        """The next text message as it stands."""
        while (message := await self.link.receive()) in ("2", "6"):
            if message == "2":
                await self.link.send("3")
        if isinstance(message, bytes):
            raise MismatchError("a text message", repr(message))
        return message

    async def _receive(self) -> Packet:
        message = await self.receive_text()
        try:
            packet = parse_message(message)
        except ValueError as error:
            raise MismatchError("a Socket.IO packet", message) from error
        if packet.attachments is None:
            return packet
        attachments = [await self._receive_attachment() for _ in range(packet.attachments)]
        return replace(packet, type=packet.type - 3, data=reconstruct(packet.data, attachments))

    async def _receive_attachment(self) -> bytes:
        while (message := await self.link.receive()) == "2":
            await self.link.send("3")
        if isinstance(message, str):
            raise MismatchError("an attachment right after its header", message)
        return message

    async def connect(self, namespace: str = "/", auth: Any = MISSING) -> str:
        """Join a namespace, take its ``auth`` event and return the socket id."""
        await self.send(head(CONNECT, namespace) + ("" if auth is MISSING else encode(auth)))
        packet = await self.receive()
        expect(
            packet.type == CONNECT and packet.namespace == namespace and "sid" in packet.data,
            f"a CONNECT packet with a sid for {namespace}",
            packet,
        )
        greeting = await self.receive_event("auth", namespace)
        # With connection state recovery an offset follows the arguments.
        expect_equal(greeting.data[1], {} if auth is MISSING else auth, "auth that reached the application")
        return str(packet.data["sid"])

    async def emit(self, *args: Any, namespace: str = "/", ack_id: int | None = None) -> None:
        await self.send(*encode_packet(EVENT, namespace, list(args), ack_id))

    async def expect_event(self, *args: Any, namespace: str = "/") -> Packet:
        return await self.expect_packet(EVENT, list(args), namespace=namespace)

    async def expect_packet(
        self, kind: int, data: Any = MISSING, *, namespace: str = "/", ack_id: int | None = None
    ) -> Packet:
        packet = await self.receive()
        wanted = Packet(kind, namespace, data, ack_id)
        expect_equal(str(packet), str(wanted))
        return packet

    async def receive_event(self, name: str, namespace: str = "/") -> Packet:
        packet = await self.receive()
        fits = packet.type == EVENT and packet.namespace == namespace and packet.data[:1] == [name]
        expect(fits, f"an event {name} of {namespace}", packet)
        return packet

    async def call(self, *args: Any, namespace: str = "/") -> Any:
        """Emit an event that the application acknowledges, and return the arguments of the answer.

        Packets that come before the answer are put aside for ``receive``.
        """
        self._ack_id += 1
        ack_id = self._ack_id
        await self.emit(*args, namespace=namespace, ack_id=ack_id)
        earlier = list(self._put_aside)
        self._put_aside.clear()
        while (packet := await self._receive()).type != ACK or packet.id != ack_id:
            earlier.append(packet)
        self._put_aside.extend(earlier)
        return packet.data

    async def fence(self, namespace: str = "/") -> list[Packet]:
        """Everything that the server had to say before it answers one more event."""
        await self.call("ack-none", namespace=namespace)
        earlier = list(self._put_aside)
        self._put_aside.clear()
        return earlier

    async def expect_silence(self, namespace: str = "/") -> None:
        """Nothing but the answer to the fence may come."""
        earlier = await self.fence(namespace)
        expect(not earlier, "no packet", "; ".join(str(packet) for packet in earlier))

    def stop(self) -> None:
        if isinstance(self.link, PollingSession):
            self.link.stop()
