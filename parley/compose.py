"""The composition root: opens stores, couriers and the model host's client, and puts each part together."""

from __future__ import annotations

import os
import platform
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from pydantic import SecretStr

from bots.web.courier import FeedCourier
from core.chat.errors import StoreUnavailable
from core.chat.intake import Intake, MailboxIntake
from core.chat.interaction import Sampling
from core.chat.kit import Answerer
from core.chat.limits import Limits, Rates
from core.chat.pacing import Pacer
from core.chat.persona import Persona
from core.chat.ports import Courier, ModelHost
from model.client.fleet import HostFleet, open_fleet
from parley.errors import SetupError
from parley.extras import needs
from parley.outside import Outside
from parley.settings import Settings
from storage.accounts import SqlAccounts
from storage.buckets import RedisBuckets
from storage.connections import open_redis
from storage.depth import RedisDepth
from storage.engine import open_engine
from storage.feed import RedisFeed
from storage.inbox import SqlInbox
from storage.ledger import SqlLedger
from storage.log_stream import RedisLogStream
from storage.mailbox import RedisMailbox
from storage.marks import RedisMarks
from storage.reviews import SqlReviews
from storage.verdicts import RedisVerdicts

DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Stores:
    """What is kept in Redis."""

    mailbox: RedisMailbox
    feed: RedisFeed
    log_stream: RedisLogStream
    buckets: RedisBuckets
    marks: RedisMarks
    depth: RedisDepth
    verdicts: RedisVerdicts


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Stores]:
    """The mailbox, its feed and its log stream.

    Raises:
        SetupError: the server cannot be reached or used.
    """
    url = settings.mailbox_url
    async with AsyncExitStack() as stack:
        try:
            client = open_redis(url)
            stack.push_async_callback(client.aclose)
            blocking = open_redis(url, blocking=True)
            stack.push_async_callback(blocking.aclose)
            shards = settings.shards
            mailbox = RedisMailbox(
                client,
                blocking,
                shards=shards,
                lease_s=settings.lease_s,
                inbox_limit=settings.inbox_limit,
                history_ttl_s=settings.history_days * DAY_S,
                replicas=settings.mailbox_replicas,
            )
            await mailbox.open()
        except (StoreUnavailable, ValueError) as error:
            raise SetupError(_redis_remedy(settings, error)) from error
        stack.push_async_callback(mailbox.aclose)
        feed = RedisFeed(client)
        stack.push_async_callback(feed.aclose)
        yield Stores(
            mailbox,
            feed,
            RedisLogStream(client, blocking, shards=shards, lease_s=2 * settings.lease_s),
            RedisBuckets(client),
            RedisMarks(client, shards=shards),
            RedisDepth(client, shards=shards),
            RedisVerdicts(
                client,
                shards=shards,
                keep_s=settings.history_days * DAY_S,
                replicas=settings.mailbox_replicas,
            ),
        )


def _redis_remedy(settings: Settings, error: Exception) -> str:
    if settings.redis_url is None:
        return (
            f"No Parley is running on PARLEY_HOME={settings.home}: its mailbox does not answer. Start it with "
            "'parley up' (or 'make run'), or set REDIS_URL."
        )
    return f"REDIS_URL: {error}"


@asynccontextmanager
async def open_ledger(settings: Settings) -> AsyncIterator[SqlLedger]:
    """The log of interactions."""
    engine = open_engine(settings.ledger_url)
    try:
        yield SqlLedger(engine)
    finally:
        await engine.dispose()


@dataclass(frozen=True, slots=True)
class Desk:
    """What a reviewer works with."""

    inbox: SqlInbox
    reviews: SqlReviews
    ledger: SqlLedger
    accounts: SqlAccounts


@asynccontextmanager
async def open_desk(settings: Settings) -> AsyncIterator[Desk]:
    """The inbox with its reviews, the log, and who may review."""
    engine = open_engine(settings.ledger_url)
    try:
        yield Desk(SqlInbox(engine), SqlReviews(engine), SqlLedger(engine), SqlAccounts(engine))
    finally:
        await engine.dispose()


@asynccontextmanager
async def open_couriers(settings: Settings, stores: Stores, outside: Outside) -> AsyncIterator[Mapping[str, Courier]]:
    """A courier for each platform that is switched on; SDKs are imported only for those."""
    pacer = Pacer(stores.buckets, outside.meters)
    couriers: dict[str, Courier] = {name: FeedCourier(name, stores.feed) for name in ("web", "terminal")}
    async with AsyncExitStack() as stack:
        if settings.slack_on:
            couriers["slack"] = await stack.enter_async_context(_slack_courier(settings, pacer))
        if settings.discord_on:
            couriers["discord"] = await stack.enter_async_context(_discord_courier(settings, pacer))
        yield couriers


@asynccontextmanager
async def open_hosts(settings: Settings) -> AsyncIterator[HostFleet]:
    """The model hosts that MODEL_URL names, as one.

    Raises:
        SetupError: MODEL_URL is not set.
    """
    if not settings.model_urls:
        raise SetupError(
            "MODEL_URL is not set. Start a model host with 'parley host' and set MODEL_URL to its address, or let "
            "'parley up' start everything."
        )
    async with open_fleet(
        settings.model_urls,
        secret(settings.model_api_key),
        _served_name(settings),
        context_tokens=settings.context_tokens,
        max_underway=settings.host_slots,
    ) as hosts:
        yield hosts


def answerer(
    settings: Settings, stores: Stores, couriers: Mapping[str, Courier], hosts: ModelHost, outside: Outside
) -> Answerer:
    """What a worker answers with.

    Raises:
        SetupError: PERSONA_FILE cannot be read.
    """
    return Answerer(
        hosts,
        couriers,
        load_persona(settings),
        Sampling(settings.temperature, settings.top_p, settings.max_tokens, seed=0),
        worker_name(),
        limits=limits_of(settings, stores),
        meter=outside.meters,
        tracer=outside.tracer,
        reach=outside.reach,
    )


def _served_name(settings: Settings) -> str:
    """The model to ask a server for: MODEL when it names one there, not a file or folder here."""
    return "" if os.path.exists(settings.model) else settings.model  # noqa: PTH110 - MODEL may be no path at all


def load_persona(settings: Settings) -> Persona:
    """The persona in PERSONA_FILE, named for the file, or the default one."""
    path = settings.persona_file
    if path is None:
        return Persona()
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError(f"PERSONA_FILE={path} cannot be read ({error}). Name a UTF-8 text file.") from error
    if not text:
        raise SetupError(f"PERSONA_FILE={path} is empty. Write the system prompt into it, or unset PERSONA_FILE.")
    return Persona(path.stem, text)


def worker_name() -> str:
    """Host and process: who answered, in the log."""
    return f"{platform.node()}:{os.getpid()}"


def open_intake(
    stores: Stores, courier: Courier, outside: Outside | None = None, limits: Limits | None = None
) -> Intake:
    """Core's intake for one platform's gateway."""
    seen = outside or Outside()
    return MailboxIntake(stores.mailbox, courier, limits, seen.meters, seen.tracer, seen.reach)


def limits_of(settings: Settings, stores: Stores) -> Limits:
    """Who may ask how much."""
    rates = Rates(
        settings.person_messages_per_minute,
        settings.channel_messages_per_minute,
        settings.workspace_messages_per_minute,
        settings.person_tokens_per_minute,
        settings.workspace_tokens_per_minute,
    )
    return Limits(stores.buckets, rates)


@asynccontextmanager
async def _slack_courier(settings: Settings, pacer: Pacer) -> AsyncIterator[Courier]:
    with needs("slack", "Slack", "SLACK_BOT_TOKEN"):
        from bots.slack.courier import open_courier  # noqa: PLC0415

    async with open_courier(secret(settings.slack_bot_token), settings.slack_api_url, pacer=pacer) as courier:
        yield courier


@asynccontextmanager
async def _discord_courier(settings: Settings, pacer: Pacer) -> AsyncIterator[Courier]:
    with needs("discord", "Discord", "DISCORD_TOKEN"):
        from bots.discord.courier import CourierSettings, discord_courier  # noqa: PLC0415

    asked = CourierSettings(secret(settings.discord_token), settings.discord_api_url)
    async with discord_courier(asked, pacer) as courier:
        yield courier


def secret(value: SecretStr | None) -> str:
    """The text of a secret setting, "" when it is not set."""
    return value.get_secret_value() if value else ""
