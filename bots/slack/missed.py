"""Until when everything was heard, and what may have been missed since: the gateway's memory of its own absences."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from bots.slack.connection import BackfillSettings, Identity
from bots.slack.errors import SLACK_FAILURES, NotCaughtUp, is_refusal, reason
from bots.slack.hearing import PLATFORM
from bots.slack.history import History
from core.chat.errors import StoreUnavailable
from core.chat.intake import STOP_WORDS
from core.chat.message import Address, Conversation, Message
from core.chat.ports import Marks, Meter

_log = structlog.get_logger(__name__)

# The mailbox knows duplicates for a day; what is older, by a clock that may differ from ours, could be answered twice.
_OLDEST_S = 24 * 3600.0 - 600.0
# How lately we were spoken to in a thread that is looked into, and how many are.
_HEARD_S = 3 * 24 * 3600.0
_MOST_HEARD = 200


class Presence(Protocol):
    """What is known of the sockets."""

    def sessions(self) -> frozenset[Any]:
        """The connections over which events can come at this moment."""

    def frame_at(self) -> float:
        """When something last came over any of them; Unix seconds."""


@dataclass(eq=False, slots=True)
class Absence:
    """Something may have been missed, in `channels` or `everywhere`, but not any more in those that were `read`.

    `heard` is where we were spoken to before it, and when last; None until it is known.
    """

    noticed_at: float
    everywhere: bool
    channels: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)
    heard: Mapping[Conversation, float] | None = None
    failed_at: dict[str, float] = field(default_factory=dict)
    messages: int = 0

    def touches(self, channel: str) -> bool:
        """Whether something of `channel` has still to be read."""
        return channel not in self.read and (self.everywhere or channel in self.channels)

    def behind(self) -> list[str]:
        """The channels known so far of which something has still to be read."""
        return [channel for channel in self.channels if self.touches(channel)]


@dataclass(frozen=True, slots=True)
class Gap:
    """What was missed in one channel of an absence, oldest first, and how many messages of it may be handed over."""

    absence: Absence
    channel: str
    began: float
    known_until: float
    heard: Mapping[Conversation, float]
    events: Sequence[Mapping[str, Any]]
    room: int

    def is_new(self, message: Message) -> bool:
        """Whether a message that was read may be handed over; most that are known are recognised as duplicates.

        Of what was said in the overlap, before all was surely heard, some was heard and left no trace: talk among
        others, in a thread in which we were spoken to since, and a word that stopped an answer.
        """
        if message.sent_at >= self.known_until:
            return True
        if message.text.strip().lower() in STOP_WORDS:
            return False
        return message.address is not Address.OVERHEARD or message.sent_at > self.heard.get(message.conversation, 0.0)


class Missed:
    """Notices absences and tells what was missed in them; moves the mark while there is none.

    Nothing is missed as long as one of the sockets that stood at the last look still stands at this one, and what they
    brought was handed over.
    """

    def __init__(
        self,
        history: History,
        marks: Marks,
        me: Identity,
        presence: Presence,
        settings: BackfillSettings,
        meter: Meter,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.absence: Absence | None = None
        self.begun = asyncio.Event()  # set with each new absence; whoever ends absences clears it
        self.settings = settings
        self._history = history
        self._marks = marks
        self._me = me
        self._presence = presence
        self._meter = meter
        self._now = now
        self._sessions: frozenset[Any] = frozenset()
        self._sure_until: float | None = None
        self._read_at: dict[str, float] = {}  # of channels that were read in an absence that is not over yet

    def notice(self) -> None:
        """Looks at the sockets: to be called often, before each event, and whenever a socket was opened."""
        sessions = self._presence.sessions()
        if sessions and not sessions & self._sessions:
            self._begin(everywhere=True)
        self._sessions = sessions

    def not_handed_over(self, channel: str) -> None:
        """What was said in `channel` was lost on the way to the mailbox: Slack tries again only a few times."""
        self._read_at.pop(channel, None)
        absence = self.absence or self._begin(everywhere=False)
        absence.read.discard(channel)
        absence.channels.add(channel)

    async def places(self, absence: Absence) -> list[str]:
        """The channels to be read, those first in which we were spoken to last.

        Raises:
            NotCaughtUp: Slack cannot list them at the moment.
            StoreUnavailable: the mark cannot be read.
        """
        if not absence.everywhere:
            return absence.behind()
        if await self._since(absence) is None:
            return []
        try:
            listed = await self._history.channels()
        except SLACK_FAILURES as error:
            if not is_refusal(error):
                raise NotCaughtUp(f"Slack does not list our channels ({reason(error)}).") from error
            _log.warning("slack_channels_not_listed", reason=reason(error))
            listed = []
        heard = absence.heard or {}
        newest = sorted(heard, key=lambda conversation: heard[conversation], reverse=True)
        return list(dict.fromkeys([*(conversation.channel for conversation in newest), *listed]))

    async def gap(self, channel: str) -> Gap | None:
        """What was missed in `channel`, to be handed over before anything else; None when nothing was.

        Raises:
            NotCaughtUp: Slack cannot be read at the moment.
            StoreUnavailable: the mark cannot be read.
        """
        self.notice()
        absence, began = self.absence, self._now()
        if absence is None or not absence.touches(channel):
            return None
        sure_until = await self._since(absence)
        if sure_until is None:
            absence.read.add(channel)  # nothing was ever heard: there is nothing to go on from
            return None
        heard = absence.heard or {}
        known_until = max(sure_until, self._read_at.get(channel, 0.0))
        oldest = began - min(self.settings.max_age_s, _OLDEST_S)
        threads = {each.thread for each in heard if each.channel == channel and each.thread}
        events: list[dict[str, Any]] = []
        try:
            since = max(known_until - self.settings.overlap_s, oldest)
            events = await self._history.said_since(channel, since, threads)
        except SLACK_FAILURES as error:
            self._not_read(absence, channel, error)
        room = max(0, self.settings.max_messages - absence.messages)
        return Gap(absence, channel, began, known_until, heard, events, room)

    def caught_up(self, gap: Gap, accepted: int) -> None:
        """All that was missed in the channel of `gap` was handed over, and `accepted` messages of it were new."""
        gap.absence.read.add(gap.channel)
        gap.absence.messages += accepted
        self._read_at[gap.channel] = gap.began
        if accepted:
            self._meter.backfilled(PLATFORM, accepted)
            _log.info("slack_backfilled", channel=gap.channel, messages=accepted)

    async def over(self, absence: Absence) -> None:
        """All that was missed in `absence` was handed over: at the first start of all, what comes now may be missed."""
        if self.absence is not absence:
            return
        _log.info("slack_caught_up", channels=len(absence.read), messages=absence.messages)
        self.absence = None
        self._read_at.clear()
        self._sure_until = max(self._sure_until or 0.0, absence.noticed_at)
        await self._move_mark(self._sure_until)

    async def mark(self, oldest_underway: float | None) -> None:
        """Moves the mark to where everything was surely heard; `oldest_underway` is not handed over yet."""
        sure_until = min(self._presence.frame_at(), oldest_underway or self._now())
        if self.absence is not None or self._sure_until is None or sure_until <= self._sure_until:
            return
        if await self._move_mark(sure_until):
            self._sure_until = sure_until

    async def _move_mark(self, to: float) -> bool:
        try:
            await self._marks.mark_alive(self._gateway, to)
            return True
        except StoreUnavailable as error:
            _log.warning("slack_mark_not_moved", reason=str(error))
            return False

    def _begin(self, *, everywhere: bool) -> Absence:
        self.absence = Absence(self._now(), everywhere=everywhere)
        self.begun.set()
        return self.absence

    @property
    def _gateway(self) -> str:
        return f"{PLATFORM}:{self._me.team_id}"

    async def _since(self, absence: Absence) -> float | None:
        """The time until which all was heard; None at the first start of all. Raises StoreUnavailable."""
        # Asked each time: as long as the store is away there is nobody to whom what was missed could be handed.
        marked = await self._marks.alive(self._gateway)
        self._sure_until = self._sure_until or marked
        if absence.heard is None:
            heard = await self._marks.heard_since(PLATFORM, self._now() - _HEARD_S, _MOST_HEARD)
            ours = [each for each in heard if each.conversation.workspace == self._me.team_id]
            absence.heard = {each.conversation: each.sent_at for each in ours}
        return self._sure_until

    def _not_read(self, absence: Absence, channel: str, error: BaseException) -> None:
        """Goes on without what was missed where Slack refuses us or fails for too long; raises otherwise."""
        failing_s = self._now() - absence.failed_at.setdefault(channel, self._now())
        if not is_refusal(error) and failing_s < self.settings.patience_s:
            raise NotCaughtUp(f"Slack does not let us read {channel} ({reason(error)}).") from error
        _log.warning("slack_channel_not_read", channel=channel, reason=reason(error))
