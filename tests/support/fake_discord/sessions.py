"""The fake Discord's gateway: hello, heartbeats, identify, resume with replay, and every way to hang up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web

from tests.support.fake_discord.world import DM_CHANNEL, Channel, Json, Post, User, World

GUILDS, MEMBERS, PRESENCES = 1 << 0, 1 << 1, 1 << 8
GUILD_MESSAGES, DIRECT_MESSAGES, MESSAGE_CONTENT = 1 << 9, 1 << 12, 1 << 15
GUILD_REACTIONS, DIRECT_REACTIONS = 1 << 10, 1 << 13


@dataclass(slots=True)
class Session:
    """A session outlives its socket: what happened meanwhile is replayed when it resumes."""

    id: str
    intents: int
    events: list[Json] = field(default_factory=list)
    socket: web.WebSocketResponse | None = None


class Sessions:
    """All sessions of the bot. `privileged` are the intents granted in the developer portal.

    While it is `away` every connection is cut; while it is `mute` connections stay, and nothing comes over them.
    """

    def __init__(self, world: World) -> None:
        self.world = world
        self.privileged = 0
        self.sessions: dict[str, Session] = {}
        self.sockets: set[web.WebSocketResponse] = set()
        self.identified = 0
        self.resumed = 0
        self.heartbeats = 0
        self.hang_up_at_hello = 0  # cut so many new connections before the hello
        self.heartbeat_interval_ms = 41_250
        self.short_lived = 0  # hang up on so many sessions right after they have begun
        self.servers_late = False  # tell a new session that its server is unavailable, until `tell_server`
        self.away = False
        self.mute = False
        self.close_code = 0  # answer each identify with this close code
        self.url = ""
        self._changed = asyncio.Condition()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(autoping=True)
        await socket.prepare(request)
        self.sockets.add(socket)
        try:
            if self._refuses():
                abort(request)
                return socket
            await socket.send_json({"op": 10, "d": {"heartbeat_interval": self.heartbeat_interval_ms}})
            await self._converse(socket)
        finally:
            self.sockets.discard(socket)
            for session in self.sessions.values():
                if session.socket is socket:
                    session.socket = None
        return socket

    def _refuses(self) -> bool:
        if self.hang_up_at_hello > 0:
            self.hang_up_at_hello -= 1
            return True
        return self.away

    async def _converse(self, socket: web.WebSocketResponse) -> None:
        async for frame in socket:
            if frame.type is not WSMsgType.TEXT:
                break
            payload = json.loads(frame.data)
            op, body = payload["op"], payload.get("d")
            if op == 1:
                self.heartbeats += 1
                if not self.mute:
                    await socket.send_json({"op": 11})
            elif op == 2:
                await self._identify(socket, body)
            elif op == 6:
                await self._resume(socket, body)
            elif not any(session.socket is socket for session in self.sessions.values()):
                await socket.close(code=4003, message=b"Not authenticated.")
        # A bot that closes with 1000 ends its session; what happens afterwards is lost to it.
        if socket.close_code in (1000, 1001):
            self.sessions = {id_: s for id_, s in self.sessions.items() if s.socket is not socket}

    async def _identify(self, socket: web.WebSocketResponse, body: Json) -> None:
        if self.close_code or body.get("token") != self.world.token:
            await socket.close(code=self.close_code or 4004)
            return
        intents = body.get("intents")
        if not isinstance(intents, int) or intents >= 1 << 26:
            await socket.close(code=4013, message=b"Invalid intent(s).")
            return
        if intents & (MEMBERS | PRESENCES | MESSAGE_CONTENT) & ~self.privileged:
            await socket.close(code=4014, message=b"Disallowed intent(s).")
            return
        shard = body.get("shard", [0, 1])
        if not 0 <= shard[0] < shard[1]:
            await socket.close(code=4010, message=b"Invalid shard.")
            return
        session = Session(self.world.new_id(), intents, socket=socket)
        self.sessions[session.id] = session
        await self._tell(session, "READY", self._ready(session, shard))
        if intents & GUILDS and not self.servers_late:
            await self._tell(session, "GUILD_CREATE", self.world.guild_json())
        self.identified += 1
        await self.notify()
        if self.short_lived > 0:
            self.short_lived -= 1
            await socket.close(code=4011)

    async def tell_server(self) -> None:
        """The server is available again."""
        await self.tell_all("GUILD_CREATE", self.world.guild_json())

    def _ready(self, session: Session, shard: list[int]) -> Json:
        return {
            "v": 10,
            "user": self.world.bot.json(),
            "guilds": [{"id": self.world.guild_id, "unavailable": True}],
            "session_id": session.id,
            "resume_gateway_url": self.url,
            "shard": shard,
            "application": {"id": self.world.bot.id, "flags": self.world.application_flags},
        }

    async def _resume(self, socket: web.WebSocketResponse, body: Json) -> None:
        session = self.sessions.get(body.get("session_id", ""))
        if body.get("token") != self.world.token:
            await socket.close(code=4004, message=b"Authentication failed.")
            return
        if session is None:
            await socket.send_json({"op": 9, "d": False})
            return
        session.socket = socket
        for event in session.events:
            if event["s"] > body["seq"]:
                await socket.send_json(event)
        await self._tell(session, "RESUMED", {})
        self.resumed += 1
        await self.notify()

    async def _tell(self, session: Session, kind: str, body: Any) -> None:
        event = {"op": 0, "t": kind, "s": len(session.events) + 1, "d": body}
        session.events.append(event)
        if session.socket is not None and not session.socket.closed and not self.mute:
            with suppress(ConnectionError):  # it is going at this moment; the session keeps the event
                await session.socket.send_json(event)

    async def tell_all(self, kind: str, body: Any) -> None:
        for session in list(self.sessions.values()):
            if session.intents & GUILDS:
                await self._tell(session, kind, body)

    async def tell_message(self, post: Post, kind: str = "MESSAGE_CREATE") -> None:
        """To each session, with the text only where its intents let it have that."""
        direct = post.channel.type == DM_CHANNEL
        for session in list(self.sessions.values()):
            if session.intents & (DIRECT_MESSAGES if direct else GUILD_MESSAGES):
                await self._tell(session, kind, self._as_heard(post, session.intents))

    async def tell_deleted(self, channel: Channel, ids: Sequence[str]) -> None:
        """One deletion, or several at once, as moderators make them."""
        place: Json = {"channel_id": channel.id} | ({"guild_id": channel.guild_id} if channel.guild_id else {})
        wanted = DIRECT_MESSAGES if channel.type == DM_CHANNEL else GUILD_MESSAGES
        for session in list(self.sessions.values()):
            if not session.intents & wanted:
                continue
            if len(ids) == 1:
                await self._tell(session, "MESSAGE_DELETE", place | {"id": ids[0]})
            else:
                await self._tell(session, "MESSAGE_DELETE_BULK", place | {"ids": list(ids)})

    async def tell_reaction(self, post: Post, person: User, emoji: str, *, added: bool) -> None:
        """That a person put a reaction below a post, or took it away; only a new one comes with the member."""
        direct = post.channel.type == DM_CHANNEL
        event: Json = {
            "user_id": person.id,
            "channel_id": post.channel.id,
            "message_id": post.id,
            "emoji": {"id": None, "name": emoji},
            "type": 0,
            "burst": False,
        }
        if not direct:
            event["guild_id"] = self.world.guild_id
            if added:
                joined: Json = {"roles": [], "joined_at": None, "deaf": False, "mute": False, "flags": 0}
                event["member"] = joined | {"user": person.json()}
        for session in list(self.sessions.values()):
            if session.intents & (DIRECT_REACTIONS if direct else GUILD_REACTIONS):
                await self._tell(session, "MESSAGE_REACTION_ADD" if added else "MESSAGE_REACTION_REMOVE", event)

    async def tell_interaction(self, event: Json) -> None:
        """Interactions need no intent, and come to one session only."""
        for session in list(self.sessions.values())[-1:]:
            await self._tell(session, "INTERACTION_CREATE", event)

    def _as_heard(self, post: Post, intents: int) -> Json:
        told = self.as_read(post, may_read=bool(intents & MESSAGE_CONTENT))
        if post.channel.type != DM_CHANNEL:
            told["guild_id"] = self.world.guild_id
            if not post.webhook:
                told["member"] = {"roles": [], "joined_at": told["timestamp"], "deaf": False, "mute": False, "flags": 0}
        if post.author is self.world.bot and post.nonce:
            told["nonce"] = post.nonce
        return told

    def as_read(self, post: Post, *, may_read: bool | None = None) -> Json:
        """A message with its text only if the bot may read it: by its intents, or else by the portal's switch."""
        told = post.json()
        if may_read is None:
            may_read = bool(self.privileged & MESSAGE_CONTENT)
        to_us = post.channel.type == DM_CHANNEL or self.world.bot in (post.author, *post.mentions)
        if not (may_read or to_us):
            told["content"] = ""
        return told

    async def send_op(self, op: int, body: Any = None) -> None:
        for session in self.sessions.values():
            if session.socket is not None:
                await session.socket.send_json({"op": op, "d": body})

    async def invalidate(self) -> None:
        """Ends all sessions: the bot has to identify again."""
        await self.send_op(9, body=False)
        self.sessions.clear()

    def go_away(self) -> None:
        """Nobody can connect; sessions are forgotten, so that what happens meanwhile is told to nobody."""
        self.away = True
        self.abort_all()
        self.sessions.clear()

    def abort_all(self) -> None:
        """Cuts the connections as a broken network does."""
        for session in self.sessions.values():
            session.socket = None
        for socket in list(self.sockets):
            if socket._req is not None:
                abort(socket._req)

    async def notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def wait_until_connected(self, *, identified: int = 1, resumed: int = 0) -> None:
        """Until so many sessions have begun and so many were resumed; at most ten seconds."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: self.identified >= identified and self.resumed >= resumed)


def abort(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()
