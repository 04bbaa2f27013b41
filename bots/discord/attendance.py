"""One client's presence at Discord: what it hears goes into the inflow, what it missed before it, in order."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import discord
import structlog

from bots.discord.backfill import Backfill, Budget, Missed
from bots.discord.client import GatewayClient
from bots.discord.hearing import Hearing
from bots.discord.inflow import Inflow
from bots.discord.judging import verdict_of
from bots.discord.reading import PLATFORM
from core.chat.errors import StoreUnavailable
from core.loop.feedback import Source
from core.loop.listening import Said

_log = structlog.get_logger(__name__)
T = TypeVar("T")

RETRY_S = 1.0  # between tries at marks that cannot be reached


@dataclass(slots=True, eq=False)
class _Session:
    """A shard's session: `sure_until` is None until what was missed before it, since `since`, is read."""

    began: float
    since: float | None = None
    servers: set[int] | None = None  # those whose channels are being read, or have been
    sure_until: float | None = None
    latency: float = 0.0  # of the last heartbeat that was answered


class Attendance:
    """A `Listener`, for as long as `client` lives. Without `backfill` what happens while nobody listens is missed."""

    def __init__(
        self,
        client: GatewayClient,
        inflow: Inflow,
        hearing: Hearing,
        backfill: Backfill | None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._inflow = inflow
        self._hearing = hearing
        self._backfill = backfill
        self._now = now
        self._sessions: dict[int, _Session] = {}
        self._behind: set[_Session] = set()  # while there is one, nothing new is handed on
        self._told: asyncio.Queue[int] = asyncio.Queue()  # shards that know their servers

    async def attend(self) -> None:
        """Reads what was missed, and moves the mark, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            if self._backfill is not None:
                tasks.create_task(self._keep_mark(self._backfill))
            while True:
                shard_id = await self._told.get()
                if self._backfill is not None and (session := self._sessions.get(shard_id)):
                    tasks.create_task(self._catch_up(self._backfill, shard_id, session))

    # ── what the client tells ───────────────────────────────────────────────────────────────────────────────────────

    def session_began(self, shard_id: int) -> None:
        """From here on the shard hears all; what was missed before comes first."""
        if self._backfill is None:
            return
        if earlier := self._sessions.get(shard_id):
            self._behind.discard(earlier)
        session = self._sessions[shard_id] = _Session(self._now())
        self._behind.add(session)
        self._inflow.hold()

    def servers_told(self, shard_id: int) -> None:
        """The channels are known: what was missed in them can be read."""
        self._told.put_nowait(shard_id)

    def server_told_late(self, guild: discord.Guild) -> None:
        """What was missed in a server that was in trouble is read when Discord tells of it."""
        session = self._sessions.get(guild.shard_id)
        if session is not None and session.servers is not None:
            self._behind.add(session)
            self._inflow.hold()
            self._told.put_nowait(guild.shard_id)

    def said(self, message: discord.Message) -> None:
        """Into the lane of its channel."""
        self._heard(message.guild.id if message.guild else None)
        self._inflow.put(str(message.channel.id), lambda: self._hearing.said(message, self._client))

    def edited(self, message: discord.Message) -> None:
        """Behind what was said in its channel before."""
        self._inflow.put(str(message.channel.id), lambda: self._hearing.edited(message, self._client))

    def deleted(self, native_ids: Sequence[str], channel_id: int, guild_id: int | None) -> None:
        """Behind what was said in its channel before."""
        step = lambda: self._hearing.deleted(native_ids, channel_id, guild_id, self._client)  # noqa: E731
        self._inflow.put(str(channel_id), step)

    def reacted(self, payload: discord.RawReactionActionEvent, *, added: bool) -> None:
        """Into the lane of its channel; reactions of bots, ourselves included, say nothing."""
        judging, verdict = self._client.judging, verdict_of(payload.emoji.name)
        own = self._client.user is not None and payload.user_id == self._client.user.id
        if judging is None or verdict is None or own or (payload.member is not None and payload.member.bot):
            return
        said = Said(f"discord:{uuid.uuid4().hex}", str(payload.user_id), verdict, Source.REACTION, at=self._now())
        step = lambda: judging.reacted(str(payload.message_id), said, added=added)  # noqa: E731
        self._inflow.put(str(payload.channel_id), step)

    # ── what was missed ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _catch_up(self, backfill: Backfill, shard_id: int, session: _Session) -> None:
        """Puts what was missed before what was heard since, channel by channel."""
        try:
            missed = await self._missed(backfill, shard_id, session)
        except Exception:
            # What is said now is heard all the same; the mark stays, so that the next session tries again.
            _log.exception("discord_backfill_failed", shard=shard_id)
            missed = None
        if session not in self._behind:
            return  # another session has begun meanwhile, and catches up with all of it
        for step in missed or ():
            self._inflow.put_first(str(step.channel.id), step)
        self._behind.discard(session)
        if not self._behind:
            self._inflow.release()
        if missed is not None:
            for step in missed:
                await step.done.wait()
            session.sure_until = session.sure_until or session.began
            _log.info("discord_caught_up", shard=shard_id, channels=len(missed))
            await self._mark(backfill)  # at the first start there is none yet: what is missed from here on is read

    async def _missed(self, backfill: Backfill, shard_id: int, session: _Session) -> list[Missed]:
        """A step for each channel of the shard's servers, or of those that were not known the last time."""
        first, known = session.servers is None, session.servers or set()
        if first:
            session.since = await _steadily(backfill.since)
        guilds = [guild for guild in self._client.guilds if guild.shard_id == shard_id and not guild.unavailable]
        session.servers = {guild.id for guild in guilds}
        if session.since is None:
            return []
        places = backfill.rooms((guild for guild in guilds if guild.id not in known), session.since)
        if first and shard_id == 0:
            places = await _steadily(lambda: backfill.direct(self._client)) + places
        budget = Budget(backfill.settings.most_messages, asyncio.Semaphore(backfill.settings.at_once))
        return [Missed(backfill, self._client, place, session.since, budget) for place in places]

    def _start_over(self) -> None:
        """Reads again from the mark once the mailbox has taken what was kept: something else had no room."""
        if self._inflow.oldest() is not None:
            return
        self._inflow.dropped = False
        for shard_id in list(self._sessions):
            self.session_began(shard_id)
            self.servers_told(shard_id)

    # ── until when all was heard ────────────────────────────────────────────────────────────────────────────────────

    def _heard(self, guild_id: int | None) -> None:
        """Discord tells a shard all in order: whoever hears this has heard what came before."""
        session = self._sessions.get(self._client.shard_of(guild_id))
        if session is not None and session.sure_until is not None:
            session.sure_until = self._now()

    async def _keep_mark(self, backfill: Backfill) -> None:
        looked_at = self._now()
        while True:
            await asyncio.sleep(backfill.settings.mark_s)
            self._look(looked_at)
            looked_at = self._now()
            if self._inflow.dropped:
                self._start_over()
            else:
                await self._mark(backfill)

    def _look(self, looked_at: float) -> None:
        """A heartbeat that was answered since the last look says that nothing before that look is still to come.

        A connection that has silently died answers none, and its mark stays.
        """
        for shard_id, latency in self._client.latencies:
            session = self._sessions.get(shard_id)
            if session is None:
                continue
            answered = latency != session.latency
            session.latency = latency
            if answered and session.sure_until is not None and not self._client.is_lost(shard_id):
                session.sure_until = max(session.sure_until, looked_at)

    async def _mark(self, backfill: Backfill) -> None:
        sure = [session.sure_until for session in self._sessions.values() if session.sure_until is not None]
        if not sure or len(sure) < (self._client.shard_count or 1):
            return
        oldest = self._inflow.oldest()
        try:
            await backfill.marks.mark_alive(PLATFORM, min(*sure, self._now() if oldest is None else oldest))
        except StoreUnavailable as error:
            _log.warning("discord_mark_not_moved", reason=str(error))


async def _steadily(call: Callable[[], Awaitable[T]]) -> T:
    while True:
        try:
            return await call()
        except StoreUnavailable as error:
            _log.warning("discord_marks_unavailable", reason=str(error))
        await asyncio.sleep(RETRY_S)
