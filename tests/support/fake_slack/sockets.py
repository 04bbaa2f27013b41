"""Socket Mode: single-use tickets, at most ten sockets, each event to one of them, and again while unacknowledged."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp import WSCloseCode, WSMsgType, web

MAX_SOCKETS = 10
_MAX_DELIVERIES = 4  # the first and three more, then Slack gives up


@dataclass(slots=True)
class Envelope:
    payload: Mapping[str, Any]
    kind: str = "events_api"
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    attempts: int = 0
    sent_at: float = 0.0  # of the first attempt, monotonic seconds
    acked: asyncio.Event = field(default_factory=asyncio.Event)
    lost: bool = False  # the app was away


@dataclass(eq=False, slots=True)
class Link:
    """One connection. `deaf`: it answers pings but what is sent is lost. `mute`: nothing at all comes from it."""

    socket: web.WebSocketResponse
    transport: asyncio.Transport | None
    state: Literal["sound", "deaf", "mute"] = "sound"

    async def send(self, frame: Mapping[str, Any]) -> None:
        if self.state == "sound":
            await self.socket.send_json(frame)


class Sockets:
    """All Socket Mode connections of the app."""

    def __init__(self, ack_s: float) -> None:
        self.ack_s = ack_s
        self.envelopes: list[Envelope] = []
        self.spoiled_tickets = 0  # so many of the next tickets open nothing
        self.links: list[Link] = []
        self.opened = 0
        self.fewest = MAX_SOCKETS  # that were left whenever one was closed
        self.acked_in_s: list[float] = []  # from the first attempt on
        self.away = False
        self._tickets: set[str] = set()
        self._turn = 0
        self._unacked: dict[str, Envelope] = {}
        self._deliveries: set[asyncio.Task[None]] = set()

    @property
    def count(self) -> int:
        return len(self.links)

    @property
    def underway(self) -> int:
        """Envelopes that are neither acknowledged nor given up."""
        return len(self._deliveries)

    def ticket(self) -> str:
        ticket = secrets.token_hex(8)
        if self.spoiled_tickets:
            self.spoiled_tickets -= 1
        else:
            self._tickets.add(ticket)
        return ticket

    async def serve(self, request: web.Request) -> web.StreamResponse:
        ticket = request.query.get("ticket", "")
        if ticket not in self._tickets or self.away:
            return web.Response(status=403)
        self._tickets.discard(ticket)
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        if len(self.links) >= MAX_SOCKETS:
            await socket.send_json({"type": "disconnect", "reason": "too_many_websockets"})
            await socket.close()
            return socket
        await socket.send_json({"type": "hello", "num_connections": len(self.links) + 1})
        link = Link(socket, request.transport)
        self.links.append(link)
        self.opened += 1
        try:
            await self._listen(link)
        finally:
            if link in self.links:
                self.links.remove(link)
                self.fewest = min(self.fewest, self.count)
        return socket

    async def _listen(self, link: Link) -> None:
        async for message in link.socket:
            if link.state == "mute":
                continue
            if message.type is WSMsgType.PING:
                await link.socket.pong(message.data)
            elif message.type is WSMsgType.TEXT:
                self._acknowledged(str(json.loads(message.data).get("envelope_id")))

    def send(self, payload: Mapping[str, Any], kind: str = "events_api") -> None:
        """Delivers `payload` until it is acknowledged, or given up; while the app is away not at all.

        What people do with buttons comes once.
        """
        envelope = Envelope(payload, kind, lost=self.away)
        self.envelopes.append(envelope)
        if self.away:
            return
        self._unacked[envelope.id] = envelope
        task = asyncio.create_task(self._deliver(envelope))
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)

    async def disconnect(self, reason: str = "refresh_requested") -> None:
        """Asks the first socket to come back as a new one, as Slack does every few hours."""
        await self.links[0].socket.send_json({"type": "disconnect", "reason": reason})

    def vanish(self) -> None:
        """Breaks all sockets, and takes no new one until `come_back`; what happens meanwhile is told to nobody."""
        self.away = True
        for link in self.links:
            if link.transport is not None:
                link.transport.abort()
        self.links.clear()

    def come_back(self) -> None:
        self.away = False

    async def close(self) -> None:
        for task in list(self._deliveries):
            task.cancel()
        await asyncio.gather(*self._deliveries, return_exceptions=True)
        for link in list(self.links):
            await link.socket.close(code=WSCloseCode.GOING_AWAY)

    async def _deliver(self, envelope: Envelope) -> None:
        for _ in range(_MAX_DELIVERIES if envelope.kind == "events_api" else 1):
            try:
                async with asyncio.timeout(self.ack_s):
                    await self._deliver_once(envelope)
                    return
            except (TimeoutError, ConnectionError):
                if self.away:
                    break
        envelope.lost = self.away or not envelope.attempts

    async def _deliver_once(self, envelope: Envelope) -> None:
        while not self.links:
            if self.away:
                raise ConnectionError
            await asyncio.sleep(0.005)
        envelope.attempts += 1
        envelope.sent_at = envelope.sent_at or time.monotonic()
        self._turn += 1
        await self.links[self._turn % len(self.links)].send(_framed(envelope))
        await envelope.acked.wait()

    def _acknowledged(self, envelope_id: str) -> None:
        if envelope := self._unacked.pop(envelope_id, None):
            self.acked_in_s.append(time.monotonic() - envelope.sent_at)
            envelope.acked.set()


def _framed(envelope: Envelope) -> dict[str, Any]:
    retried = envelope.attempts > 1
    return {
        "type": envelope.kind,
        "envelope_id": envelope.id,
        "payload": envelope.payload,
        "accepts_response_payload": envelope.kind == "interactive",
        "retry_attempt": envelope.attempts - 1,
        "retry_reason": "timeout" if retried else "",
    }
