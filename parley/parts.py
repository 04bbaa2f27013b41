"""The parts that can run apart: the bot (all gateways), the worker (answers and the log), the model host."""

from __future__ import annotations

import asyncio

from bots.web.app import web_app
from bots.web.server import serve_web
from core.chat.errors import StoreUnavailable
from core.chat.intake import Intake
from core.chat.logbook import LogWriter
from core.chat.worker import Pace, Worker, wait_for_host
from parley.compose import (
    Outside,
    Stores,
    needs,
    open_answerer,
    open_couriers,
    open_intake,
    open_ledger,
    open_stores,
    secret,
)
from parley.errors import SetupError
from parley.failpoints import reach_of
from parley.running import together
from parley.settings import WEB_HOST, Settings
from storage.migrate import migrate


async def run_bot(settings: Settings, stopping: asyncio.Event) -> None:
    """Hears what people say on all platforms that are set up, until `stopping` is set.

    Raises:
        SetupError, SlackSetupError, DiscordSetupError, WebSetupError: a line with the remedy.
    """
    outside = Outside(reach=reach_of(settings.parley_failpoint))
    async with open_stores(settings) as stores, open_couriers(settings, stores) as couriers:
        intakes = {platform: open_intake(stores, couriers[platform], outside) for platform in couriers}
        await together(
            stopping,
            _web(settings, stores, intakes["web"], stopping),
            *([_slack(settings, intakes["slack"], stopping)] if settings.slack_on else []),
            *([_discord(settings, stores, intakes["discord"], stopping)] if settings.discord_on else []),
        )


async def _web(settings: Settings, stores: Stores, intake: Intake, stopping: asyncio.Event) -> None:
    app = web_app(intake, stores.mailbox, stores.mailbox, stores.feed, hosts=settings.hosts)
    await serve_web(app, WEB_HOST, settings.parley_port, stopping)


async def _slack(settings: Settings, intake: Intake, stopping: asyncio.Event) -> None:
    with needs("slack", "Slack", "SLACK_BOT_TOKEN"):
        from bots.slack.connection import SlackSettings  # noqa: PLC0415
        from bots.slack.gateway import SlackGateway  # noqa: PLC0415

    asked = SlackSettings(secret(settings.slack_bot_token), secret(settings.slack_app_token), settings.slack_api_url)
    await SlackGateway(asked, intake).run(stopping)


async def _discord(settings: Settings, stores: Stores, intake: Intake, stopping: asyncio.Event) -> None:
    with needs("discord", "Discord", "DISCORD_TOKEN"):
        from bots.discord.gateway import DiscordGateway, GatewaySettings  # noqa: PLC0415

    asked = GatewaySettings(
        secret(settings.discord_token),
        settings.discord_api_url,
        settings.discord_gateway_url,
        message_content=settings.discord_message_content,
    )
    await DiscordGateway(asked, intake, stores.mailbox).run(stopping)


async def run_worker(settings: Settings, stopping: asyncio.Event) -> None:
    """Answers what waits in the mailbox and writes the log, until `stopping` is set and both are drained.

    Raises:
        SetupError: a store cannot be used as it is set up.
    """
    await prepare_ledger(settings)
    async with (
        open_stores(settings) as stores,
        open_ledger(settings) as ledger,
        open_couriers(settings, stores) as couriers,
        open_answerer(settings, couriers) as kit,
    ):
        pace = Pace(slots=settings.worker_slots, lease_s=settings.lease_s)
        worker = Worker(stores.mailbox, kit, stopping, pace)
        answered = asyncio.Event()  # the log is drained after the last answer
        writer = LogWriter(stores.log_stream, ledger, kit.worker, answered)

        async def answer_all() -> None:
            try:
                await wait_for_host(kit, stopping)
                await worker.run()
            finally:
                answered.set()

        await together(stopping, answer_all(), writer.run())


async def prepare_ledger(settings: Settings) -> None:
    """Brings the tables up to date.

    Raises:
        SetupError: the database cannot be reached, or is none that Parley knows.
    """
    try:
        await migrate(settings.ledger_url)
    except (StoreUnavailable, ValueError) as error:
        name = "DATABASE_URL" if settings.database_url else f"PARLEY_HOME={settings.home}"
        raise SetupError(f"{name}: {error}") from error
