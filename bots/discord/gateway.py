"""Discord's gateway: hears what is said to the bot, and stays connected until told to stop."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import discord
import structlog

from bots.discord.attendance import Attendance
from bots.discord.backfill import Backfill, BackfillSettings
from bots.discord.client import GatewayClient
from bots.discord.endpoints import use_endpoints
from bots.discord.errors import DiscordSetupError, intent_is_off, wrong_token
from bots.discord.hearing import Hearing
from bots.discord.inflow import Inflow, Retries
from bots.discord.judging import Judging
from bots.discord.patience import Calls, Patience
from bots.discord.reading import Reader
from core.chat.intake import Intake
from core.chat.ports import Mailbox, Marks, Meter
from core.chat.quiet import NO_METER
from core.loop.listening import Listener

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """How the gateway reaches Discord, and its clocks in seconds.

    `message_content` asks for the privileged intent and follows threads without a mention. `connect_s` is how long a
    client may be without a session, at its start or later, before a fresh one is tried, after pauses that double up to
    `longest_pause_s`: Discord takes the token of a bot that begins a thousand sessions a day for stolen.
    `guild_ready_s` is the SDK's wait for the last server at the start, `identify_s` the time that Discord wants between
    two sessions.
    """

    token: str = field(repr=False)
    api_url: str | None = None
    gateway_url: str | None = None
    message_content: bool = False
    connect_s: float = 60.0
    first_pause_s: float = 1.0
    longest_pause_s: float = 120.0
    guild_ready_s: float = 2.0
    identify_s: float = 5.0
    retries: Retries = field(default_factory=Retries)
    backfill: BackfillSettings = field(default_factory=BackfillSettings)
    patience: Patience = field(default_factory=Patience)


class DiscordGateway:
    """Hands what people say, edit and delete to `intake`; `mailbox` knows which conversation a post belongs to.

    With `marks` it keeps the mark "discord", and reads what was said while no gateway listened; `meter` counts that.
    `listener` hears what people think of answers.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        intake: Intake,
        mailbox: Mailbox,
        marks: Marks | None = None,
        meter: Meter = NO_METER,
        now: Callable[[], float] = time.time,
        *,
        listener: Listener | None = None,
    ) -> None:
        self._settings = settings
        self._judging = Judging(listener) if listener else None
        self._now = now
        self._hearing = Hearing(intake, Reader(mailbox, follow_threads=settings.message_content), now)
        self._connected: GatewayClient | None = None
        self._backfill: Backfill | None = None
        if marks is not None:
            calls = Calls(settings.patience)
            self._backfill = Backfill(marks, self._hearing, calls, meter, settings.backfill, now)

    @property
    def hears(self) -> bool:
        """Whether every shard has a session at this moment."""
        return self._connected is not None and self._connected.lost_for() == 0.0

    async def run(self, stopping: asyncio.Event) -> None:
        """Returns when `stopping` is set and what was heard is in the mailbox.

        Raises:
            DiscordSetupError: the token or a switch is wrong; trying again would not help.
        """
        use_endpoints(self._settings.api_url, self._settings.gateway_url)
        problem: DiscordSetupError | None = None
        async with asyncio.TaskGroup() as tasks:
            inflow = Inflow(tasks, self._settings.retries, self._now)
            try:
                await self._stay_connected(inflow, stopping)
            except DiscordSetupError as error:
                problem = error  # raised below: a task group would wrap it
            await inflow.settle()
        if problem is not None:
            raise problem

    async def _stay_connected(self, inflow: Inflow, stopping: asyncio.Event) -> None:
        """Takes a fresh client whenever one has died: the SDK never revives one that failed at its first connect."""
        pause_s = self._settings.first_pause_s
        while not stopping.is_set():
            client, began = self._client(), time.monotonic()
            try:
                async with client:
                    await self._connect(client, inflow, stopping)
            except Exception as error:
                if setup_error := _setup_error(error):
                    raise setup_error from error
                # Whatever else ended the connection, a fresh client is the remedy.
                _log.warning("discord_connection_lost", reason=f"{type(error).__name__}: {error}", pause_s=pause_s)
            if client.had_session and time.monotonic() - began > self._settings.longest_pause_s:
                pause_s = self._settings.first_pause_s
            await _wait(stopping, pause_s)
            pause_s = min(2 * pause_s, self._settings.longest_pause_s)

    async def _connect(self, client: GatewayClient, inflow: Inflow, stopping: asyncio.Event) -> None:
        """Until the client dies, is without a session for too long, or `stopping` is set."""
        client.judging = self._judging
        client.listener = attendance = Attendance(client, inflow, self._hearing, self._backfill, self._now)
        ways_to_end = (client.start(self._settings.token), attendance.attend(), self._watch(client), stopping.wait())
        tasks = [asyncio.create_task(way) for way in ways_to_end]
        self._connected = client
        try:
            over, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in over:
                task.result()
        finally:
            self._connected = None
            await client.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, client: GatewayClient) -> None:
        """Raises TimeoutError once a shard has no session for too long.

        The SDK waits for up to 17 minutes between its tries to connect again, and tries a refused first connect a stack
        frame deeper each time.
        """
        limit_s = self._settings.connect_s
        while client.lost_for() < limit_s:
            await asyncio.sleep(limit_s / 20)
        raise TimeoutError(f"no session for {limit_s:g} s")

    def _client(self) -> GatewayClient:
        settings = self._settings
        return GatewayClient(
            message_content=settings.message_content,
            gateway_url=settings.gateway_url,
            guild_ready_s=settings.guild_ready_s,
            identify_s=settings.identify_s,
        )


def _setup_error(error: BaseException | None) -> DiscordSetupError | None:
    """The operator's error behind the end of a connection, if it is one."""
    code = error.code if isinstance(error, discord.ConnectionClosed) else 0
    if isinstance(error, discord.LoginFailure) or code == 4004:
        return wrong_token()
    if isinstance(error, discord.PrivilegedIntentsRequired) or code == 4014:
        return intent_is_off()
    return None


async def _wait(event: asyncio.Event, at_most_s: float) -> None:
    try:
        async with asyncio.timeout(at_most_s):
            await event.wait()
    except TimeoutError:
        return
