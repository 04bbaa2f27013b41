"""The parts that can run apart: the bot (all gateways), the worker (answers and the log), the log writer alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from admin.desk import Desk
from bots.web.app import web_app
from bots.web.server import serve_web
from core.chat.errors import StoreUnavailable
from core.chat.intake import Intake
from core.chat.logbook import LogWriter
from core.chat.pacing import Pacer
from core.chat.worker import Pace, Worker, wait_for_host
from core.loop.listening import Listener
from parley.compose import (
    Stores,
    answerer,
    limits_of,
    open_couriers,
    open_hosts,
    open_intake,
    open_ledger,
    open_stores,
    secret,
    worker_name,
)
from parley.console import beside, open_desk
from parley.errors import SetupError
from parley.extras import needs
from parley.meters import host_gauges
from parley.outside import Outside, answers, open_outside, watched
from parley.running import together
from parley.settings import WEB_HOST, Settings
from parley.watch import Check
from storage.ledger import SqlLedger
from storage.migrate import migrate


@dataclass(frozen=True, slots=True)
class Gateway:
    """One platform's ears: what hears until an event is set, and whether it hears at the moment."""

    run: Callable[[asyncio.Event], Coroutine[Any, Any, None]]
    hears: Check


async def run_bot(settings: Settings, stopping: asyncio.Event) -> None:
    """Hears what people say on all platforms that are set up, until `stopping` is set.

    Raises:
        SetupError, SlackSetupError, DiscordSetupError, WebSetupError: a line with the remedy.
    """
    async with (
        open_outside(settings, "bot") as outside,
        open_ledger(settings) as ledger,
        open_stores(settings) as stores,
        open_couriers(settings, stores, outside) as couriers,
        open_desk(settings) as desk,
    ):
        limits = limits_of(settings, stores)
        intakes = {name: open_intake(stores, courier, outside, limits) for name, courier in couriers.items()}
        # The ledger is read when somebody asks why an answer is as it is, and at no other time.
        listeners = {name: Listener(name, stores.verdicts, ledger, intake) for name, intake in intakes.items()}
        app = _pages(settings, stores, intakes["web"], listeners["web"], desk)
        gateways = {"web": _web(settings, app)}
        if settings.slack_on:
            gateways["slack"] = _slack(settings, stores, intakes["slack"], outside, listeners["slack"])
        if settings.discord_on:
            gateways["discord"] = _discord(settings, stores, intakes["discord"], outside, listeners["discord"])
        checks = {name: gateway.hears for name, gateway in gateways.items()}
        async with watched(settings, outside, stores.depth, checks, stopping):
            await together(stopping, *(gateway.run(stopping) for gateway in gateways.values()))


def _pages(settings: Settings, stores: Stores, intake: Intake, listener: Listener, desk: Desk) -> FastAPI:
    """The web page with the console beside it."""
    mailbox, feed = stores.mailbox, stores.feed
    return beside(web_app(intake, mailbox, mailbox, feed, listener=listener, hosts=settings.hosts), desk, settings)


def _web(settings: Settings, app: FastAPI) -> Gateway:
    port = settings.parley_port
    return Gateway(
        lambda stopping: serve_web(app, WEB_HOST, port, stopping), answers([f"http://{WEB_HOST}:{port}/health"])
    )


def _slack(settings: Settings, stores: Stores, intake: Intake, outside: Outside, listener: Listener) -> Gateway:
    with needs("slack", "Slack", "SLACK_BOT_TOKEN"):
        from bots.slack.connection import BackfillSettings, SlackSettings  # noqa: PLC0415
        from bots.slack.gateway import SlackGateway  # noqa: PLC0415

    asked = SlackSettings(
        secret(settings.slack_bot_token),
        secret(settings.slack_app_token),
        settings.slack_api_url,
        backfill=BackfillSettings(settings.backfill_s, settings.backfill_messages),
    )
    pacer = Pacer(stores.buckets, outside.meters)
    gateway = SlackGateway(asked, intake, stores.marks, pacer, outside.meters, listener=listener)

    async def hears() -> str:
        return "" if gateway.sockets and gateway.sockets.sessions() else "no socket is connected"

    return Gateway(gateway.run, hears)


def _discord(settings: Settings, stores: Stores, intake: Intake, outside: Outside, listener: Listener) -> Gateway:
    with needs("discord", "Discord", "DISCORD_TOKEN"):
        from bots.discord.backfill import BackfillSettings  # noqa: PLC0415
        from bots.discord.gateway import DiscordGateway, GatewaySettings  # noqa: PLC0415

    asked = GatewaySettings(
        secret(settings.discord_token),
        settings.discord_api_url,
        settings.discord_gateway_url,
        message_content=settings.discord_message_content,
        backfill=BackfillSettings(longest_s=settings.backfill_s, most_messages=settings.backfill_messages),
    )
    marks = stores.marks if settings.backfill_s else None
    gateway = DiscordGateway(asked, intake, stores.mailbox, marks, outside.meters, listener=listener)

    async def hears() -> str:
        return "" if gateway.hears else "no session with Discord's gateway"

    return Gateway(gateway.run, hears)


async def run_worker(settings: Settings, stopping: asyncio.Event, *, log: bool = True) -> None:
    """Answers what waits in the mailbox, and with `log` writes the log, until `stopping` is set and both are drained.

    Raises:
        SetupError: a store cannot be used as it is set up.
    """
    async with (
        _ledger_if(settings, wanted=log) as ledger,
        open_outside(settings, "worker") as outside,
        open_stores(settings) as stores,
        open_couriers(settings, stores, outside) as couriers,
        open_hosts(settings) as hosts,
    ):
        kit = answerer(settings, stores, couriers, hosts, outside)
        worker = Worker(stores.mailbox, kit, stopping, Pace(slots=settings.worker_slots, lease_s=settings.lease_s))
        answered = asyncio.Event()  # the log is drained after the last answer

        async def answer_all() -> None:
            try:
                await wait_for_host(kit, stopping)
                await worker.run()
            finally:
                answered.set()

        outside.meters.watch(lambda: host_gauges(hosts))
        checks = {"model": _model_answers(settings), **({"log": ledger.check} if ledger else {})}
        async with watched(settings, outside, stores.depth, checks, stopping):
            writing = [log_writer(stores, ledger, outside, answered).run()] if ledger else []
            await together(stopping, answer_all(), *writing)


async def run_log(settings: Settings, stopping: asyncio.Event) -> None:
    """Writes the log alone, until `stopping` is set and nothing waits to be written.

    Raises:
        SetupError: a store cannot be used as it is set up.
    """
    async with (
        _prepared_ledger(settings) as ledger,
        open_outside(settings, "log") as outside,
        open_stores(settings) as stores,
        watched(settings, outside, stores.depth, {"log": ledger.check}, stopping),
    ):
        await log_writer(stores, ledger, outside, stopping).run()


def log_writer(stores: Stores, ledger: SqlLedger, outside: Outside, stopping: asyncio.Event) -> LogWriter:
    """What moves the log from Redis into SQL."""
    return LogWriter(stores.log_stream, ledger, worker_name(), stopping, meter=outside.meters, tracer=outside.tracer)


def _model_answers(settings: Settings) -> Check:
    roots = [url.rstrip("/").removesuffix("/v1") for url in settings.model_urls]
    return answers([f"{root}/v1/models" for root in roots], key=secret(settings.model_api_key))


@asynccontextmanager
async def _ledger_if(settings: Settings, *, wanted: bool) -> AsyncIterator[SqlLedger | None]:
    if not wanted:
        yield None
        return
    async with _prepared_ledger(settings) as ledger:
        yield ledger


@asynccontextmanager
async def _prepared_ledger(settings: Settings) -> AsyncIterator[SqlLedger]:
    """The log, its tables brought up to date.

    Raises:
        SetupError: the database cannot be reached, or is none that Parley knows.
    """
    await migrated(settings)
    async with open_ledger(settings) as ledger:
        yield ledger


async def migrated(settings: Settings) -> None:
    """Brings the tables up to date.

    Raises:
        SetupError: the database cannot be reached, or is none that Parley knows.
    """
    try:
        await migrate(settings.ledger_url)
    except (StoreUnavailable, ValueError) as error:
        name = "DATABASE_URL" if settings.database_url else f"PARLEY_HOME={settings.home}"
        raise SetupError(f"{name}: {error}") from error
