"""Socket Mode: single-use tickets, at most ten sockets, each event to one of them, and again while unacknowledged."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

MAX_SOCKETS = 10
_MAX_DELIVERIES = 4  # the first and three more


@dataclass(slots=True)
class Envelope:
    payload: dict[str, Any]
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    attempts: int = 0
    acked: asyncio.Event = field(default_factory=asyncio.Event)
    given_up: bool = False


class Sockets:
    """All Socket Mode connections of the app."""

    def __init__(self, ack_s: float) -> None:
        self.ack_s = ack_s
        self.envelopes: list[Envelope] = []
        self.spoiled_tickets = 0  # so many of the next tickets open nothing
        self._tickets: set[str] = set()
        self._open: list[web.WebSocketResponse] = []
        self._turn = 0
        self._deliveries: set[asyncio.Task[None]] = set()

    @property
    def count(self) -> int:
        return len(self._open)

    def ticket(self) -> str:
        ticket = secrets.token_hex(8)
        if self.spoiled_tickets:
            self.spoiled_tickets -= 1
        else:
            self._tickets.add(ticket)
        return ticket

    async def serve(self, request: web.Request) -> web.StreamResponse:
        ticket = request.query.get("ticket", "")
        if ticket not in self._tickets:
            return web.Response(status=403)
        self._tickets.discard(ticket)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        if len(self._open) >= MAX_SOCKETS:
            await socket.send_json({"type": "disconnect", "reason": "too_many_websockets"})
            await socket.close()
            return socket
        await socket.send_json({"type": "hello", "num_connections": len(self._open) + 1})
        self._open.append(socket)
        try:
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    self._acknowledged(json.loads(message.data).get("envelope_id"))
        finally:
            self._open.remove(socket)
        return socket

    def send(self, payload: dict[str, Any]) -> None:
        """Delivers `payload` until it is acknowledged, or given up."""
        envelope = Envelope(payload)
        self.envelopes.append(envelope)
        task = asyncio.create_task(self._deliver(envelope))
        self._deliveries.add(task)
        task.add_done_callback(self._deliveries.discard)

    async def disconnect(self, reason: str = "refresh_requested") -> None:
        """Asks the first socket to come back as a new one, as Slack does every few hours."""
        await self._open[0].send_json({"type": "disconnect", "reason": reason})

    async def close(self) -> None:
        for task in list(self._deliveries):
            task.cancel()
        await asyncio.gather(*self._deliveries, return_exceptions=True)
        for socket in list(self._open):
            await socket.close(code=WSCloseCode.GOING_AWAY)

    async def _deliver(self, envelope: Envelope) -> None:
        while envelope.attempts < _MAX_DELIVERIES:
            socket = await self._next_socket()
            envelope.attempts += 1
            try:
                await socket.send_json(_framed(envelope))
                async with asyncio.timeout(self.ack_s):
                    await envelope.acked.wait()
                return
            except (TimeoutError, ConnectionError):
                continue
        envelope.given_up = True

    async def _next_socket(self) -> web.WebSocketResponse:
        while not self._open:
            await asyncio.sleep(0.005)
        self._turn += 1
        return self._open[self._turn % len(self._open)]

    def _acknowledged(self, envelope_id: str | None) -> None:
        for envelope in self.envelopes:
            if envelope.id == envelope_id:
                envelope.acked.set()


def _framed(envelope: Envelope) -> dict[str, Any]:
    retried = envelope.attempts > 1
    return {
        "type": "events_api",
        "envelope_id": envelope.id,
        "payload": envelope.payload,
        "accepts_response_payload": False,
        "retry_attempt": envelope.attempts - 1,
        "retry_reason": "timeout" if retried else "",
    }
