"""Discord's gateway: hears what is said to the bot, and stays connected until told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import discord
import structlog
import yarl

from bots.discord.endpoints import use_endpoints
from bots.discord.errors import DiscordSetupError, intent_is_off, wrong_token
from bots.discord.inflow import Inflow, Retries
from bots.discord.reading import Reader
from core.chat.intake import Intake
from core.chat.ports import Mailbox

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """How the gateway reaches Discord, and its clocks in seconds.

    `message_content` asks for the privileged intent and follows threads without a mention. `connect_s` is how long a
    client may take to its first session before a fresh one is tried, after pauses that double up to
    `longest_pause_s`. `guild_ready_s` is the SDK's wait for the last server at the start.
    """

    token: str = field(repr=False)
    api_url: str | None = None
    gateway_url: str | None = None
    message_content: bool = False
    connect_s: float = 120.0
    first_pause_s: float = 1.0
    longest_pause_s: float = 60.0
    guild_ready_s: float = 2.0
    retries: Retries = field(default_factory=Retries)


class DiscordGateway:
    """Hands what people say to `intake`; `mailbox` knows which conversation a post of ours belongs to."""

    def __init__(self, settings: GatewaySettings, intake: Intake, mailbox: Mailbox) -> None:
        self._settings = settings
        self._intake = intake
        self._reader = Reader(mailbox, follow_threads=settings.message_content)

    async def run(self, stopping: asyncio.Event) -> None:
        """Returns when `stopping` is set and what was heard is in the mailbox.

        Raises:
            DiscordSetupError: the token or a switch is wrong; trying again would not help.
        """
        use_endpoints(self._settings.api_url, self._settings.gateway_url)
        problem: DiscordSetupError | None = None
        async with asyncio.TaskGroup() as tasks:
            inflow = Inflow(tasks, self._settings.retries)
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
            client = self._client(inflow)
            try:
                async with client:
                    await self._connect(client, stopping)
            except Exception as error:
                if setup_error := _setup_error(error):
                    raise setup_error from error
                # Whatever else ended the connection, a fresh client is the remedy.
                _log.warning("discord_connection_lost", reason=f"{type(error).__name__}: {error}", pause_s=pause_s)
            if client.connected.is_set():
                pause_s = self._settings.first_pause_s
            await _wait(stopping, pause_s)
            pause_s = min(2 * pause_s, self._settings.longest_pause_s)

    async def _connect(self, client: GatewayClient, stopping: asyncio.Event) -> None:
        """Until the client dies or `stopping` is set."""
        running = asyncio.create_task(client.start(self._settings.token))
        stop = asyncio.create_task(stopping.wait())
        connecting = asyncio.create_task(_wait(client.connected, self._settings.connect_s))
        try:
            await asyncio.wait({running, stop, connecting}, return_when=asyncio.FIRST_COMPLETED)
            if connecting.done() and not client.connected.is_set():
                # The SDK tries a refused first connect again by itself, a stack frame deeper each time.
                raise TimeoutError(f"no session within {self._settings.connect_s:g} s")
            await asyncio.wait({running, stop}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
        finally:
            await client.close()
            for task in (running, stop, connecting):
                task.cancel()
            await asyncio.gather(running, stop, connecting, return_exceptions=True)

    def _client(self, inflow: Inflow) -> GatewayClient:
        def hear(client: discord.Client, message: discord.Message) -> None:
            inflow.put(str(message.channel.id), lambda: self._take_in(message, client))

        return GatewayClient(self._settings, hear)

    async def _take_in(self, message: discord.Message, client: discord.Client) -> None:
        said = await self._reader.read(message, client)
        if said is None:
            return
        receipt = await self._intake.receive(said)
        _log.info("discord_message_heard", turn=said.id, address=said.address.value, receipt=receipt.value)


class GatewayClient(discord.AutoShardedClient):
    """The SDK's client, asking for no more than we need; `hear` gets every message, in order, and must not wait."""

    def __init__(self, settings: GatewaySettings, hear: Callable[[discord.Client, discord.Message], None]) -> None:
        super().__init__(
            intents=_intents(message_content=settings.message_content),
            max_messages=None,
            allowed_mentions=discord.AllowedMentions.none(),
            guild_ready_timeout=settings.guild_ready_s,
            max_ratelimit_timeout=30.0,
        )
        self.connected = asyncio.Event()
        self._gateway_url = settings.gateway_url
        self._hear = hear

    async def launch_shard(self, gateway: yarl.URL, shard_id: int, *, initial: bool = False) -> None:
        """Opens the first connection of a shard, at our gateway rather than the one that the API names."""
        ours = yarl.URL(self._gateway_url) if self._gateway_url else gateway
        await super().launch_shard(ours, shard_id, initial=initial)

    async def on_shard_connect(self, shard_id: int) -> None:
        """A session has begun."""
        self.connected.set()
        _log.info("discord_connected", shard=shard_id, bot=str(self.user))

    async def on_message(self, message: discord.Message) -> None:
        """Queues the message; whatever waits happens elsewhere, or the heartbeat stops and Discord hangs up."""
        self._hear(self, message)

    async def on_error(self, event_method: str, /, *args: Any, **kwargs: Any) -> None:
        """An event that we could not handle; the SDK would write it with the message's text."""
        _log.exception("discord_event_failed", discord_event=event_method)


def _intents(*, message_content: bool) -> discord.Intents:
    intents = discord.Intents.none()
    intents.guilds = True
    intents.guild_messages = True
    intents.dm_messages = True
    intents.guild_reactions = True
    intents.message_content = message_content
    return intents


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
