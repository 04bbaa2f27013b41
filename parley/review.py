"""`parley review`: the inbox and its verdicts on the command line, by the same rules as in the console."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Annotated, TypeVar

import typer

from core.chat.message import Outcome
from core.loop.inbox import Cursor, Filter
from core.loop.review import Draft, Opinion, State, Verdict
from parley.compose import Desk, open_desk
from parley.desk import account_of, judge, print_item, print_page, print_stats
from parley.logs import configure_logs
from parley.settings import load_settings

review = typer.Typer(no_args_is_help=True, help="Judge and correct answers. --as names your account in the console.")

EXIT_EMPTY = 1

Turn = Annotated[str, typer.Argument(help="The item, by its turn id as 'list' prints it.")]
As = Annotated[str, typer.Option("--as", help="Your account's name; its role must allow to review.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead.")]
Note = Annotated[str, typer.Option(help="A note for other reviewers.")]
Spent = Annotated[int, typer.Option("--ms", min=0, help="Milliseconds that you spent on it.")]
Platform = Annotated[str, typer.Option(help="slack, discord, web or terminal.")]
Workspace = Annotated[str, typer.Option(help="The workspace's or server's id.")]
Channel = Annotated[str, typer.Option(help="The channel's id.")]
Person = Annotated[str, typer.Option(help="The id of the person who asked.")]
Version = Annotated[str, typer.Option("--model-version", help="The version that answered.")]
Ended = Annotated[Outcome | None, typer.Option("--outcome", help="How the answer ended.")]
Said = Annotated[Opinion | None, typer.Option("--feedback", help="What people think of the answer.")]
Stands = Annotated[State | None, typer.Option("--state", help="Where the item stands.")]
Tagged = Annotated[str, typer.Option(help="A tag that it wears.")]
Words = Annotated[str, typer.Option("--text", help="Words that all stand in question or answer.")]
Since = Annotated[datetime | None, typer.Option(help="From this time on (UTC).")]
Until = Annotated[datetime | None, typer.Option(help="Up to this time (UTC).")]
Slow = Annotated[bool, typer.Option("--slow", help="Only answers that took 10 s or more.")]
Long = Annotated[bool, typer.Option("--long", help="Only answers of 2,000 characters or more.")]


@review.command("list")
def list_items(
    *,
    platform: Platform = "",
    workspace: Workspace = "",
    channel: Channel = "",
    person: Person = "",
    version: Version = "",
    outcome: Ended = None,
    feedback: Said = None,
    state: Stands = None,
    tag: Tagged = "",
    text: Words = "",
    since: Since = None,
    until: Until = None,
    slow: Slow = False,
    long: Long = False,
    queue: Annotated[bool, typer.Option("--queue", help="What waits, the most instructive first.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many.")] = 20,
    after: Annotated[str, typer.Option(help="Where the page before said that the next one begins.")] = "",
    as_json: Json = False,
) -> None:
    """Show the inbox, the newest first."""
    spot = (platform, workspace, channel, person, version)
    wanted = Filter(*spot, outcome, feedback, state, tag, text, _at(since), _at(until), slow, long)
    start = Cursor.parse(after) if after else None
    _run(lambda desk: print_page(desk, wanted, limit, start, by_weight=queue, as_json=as_json))


@review.command()
def show(
    turn: Turn,
    *,
    who: As = "",
    mask: Annotated[bool, typer.Option("--mask", help="Mask secrets and personal data.")] = False,
    as_json: Json = False,
) -> None:
    """Show one item whole: what was asked, the exact prompt, the answer, feedback and verdicts.

    Verdicts of others stay hidden as long as a second, blind one waits.
    """

    async def run(desk: Desk) -> None:
        reader = (await account_of(desk, who)).id if who else ""
        await print_item(desk, turn, reader, masked=mask, as_json=as_json)

    _run(run)


@review.command("next")
def next_item(
    who: As,
    *,
    platform: Platform = "",
    workspace: Workspace = "",
    channel: Channel = "",
    person: Person = "",
    version: Version = "",
    outcome: Ended = None,
    feedback: Said = None,
    tag: Tagged = "",
    text: Words = "",
    second: Annotated[bool, typer.Option("--second", help="One whose second, blind review waits.")] = False,
    mask: Annotated[bool, typer.Option("--mask", help="Mask secrets and personal data.")] = False,
    as_json: Json = False,
) -> None:
    """Claim the most instructive item that nobody has, for ten minutes, and show it. Exit code 1: there is none."""
    wanted = Filter(platform, workspace, channel, person, version, outcome, feedback, None, tag, text)

    async def run(desk: Desk) -> bool:
        account = await account_of(desk, who)
        inbox = desk.inbox
        item = await (inbox.claim_second(account.id) if second else inbox.claim_next(wanted, account.id))
        if item:
            await print_item(desk, item.turn_id, account.id, masked=mask, as_json=as_json)
        return item is not None

    if not _run(run):
        sys.stderr.write("Nothing waits.\n")
        sys.exit(EXIT_EMPTY)


@review.command()
def approve(turn: Turn, who: As, *, note: Note = "", ms: Spent = 0) -> None:
    """Say that the answer is right."""
    _judge(turn, who, Draft(Verdict.APPROVED, note=note, ms_spent=ms))


@review.command()
def edit(
    turn: Turn,
    who: As,
    *,
    answer: Annotated[str, typer.Option(help="The better answer; '-' reads it from standard input.")] = "",
    question: Annotated[str, typer.Option(help="The question in your own words.")] = "",
    note: Note = "",
    ms: Spent = 0,
) -> None:
    """Give the better answer; question and answer in your own words are yours, and may be trained on anywhere."""
    said = sys.stdin.read() if answer == "-" else answer
    _judge(turn, who, Draft(Verdict.EDITED, said, question, note, ms))


@review.command()
def reject(turn: Turn, who: As, *, note: Note = "", ms: Spent = 0) -> None:
    """Say that the answer is wrong, without a better one."""
    _judge(turn, who, Draft(Verdict.REJECTED, note=note, ms_spent=ms))


@review.command()
def skip(turn: Turn, who: As, *, note: Note = "", ms: Spent = 0) -> None:
    """Leave it without a verdict."""
    _judge(turn, who, Draft(Verdict.SKIPPED, note=note, ms_spent=ms))


@review.command()
def escalate(turn: Turn, who: As, *, note: Note = "", ms: Spent = 0) -> None:
    """Leave it to somebody who knows better."""
    _judge(turn, who, Draft(Verdict.ESCALATED, note=note, ms_spent=ms))


@review.command()
def tag(
    turn: Turn,
    who: As,
    tags: Annotated[list[str] | None, typer.Argument(help="Tags to add.")] = None,
    *,
    remove: Annotated[list[str] | None, typer.Option(help="A tag to take off; may be given again.")] = None,
) -> None:
    """Add tags to an item, or take them off."""

    async def run(desk: Desk) -> None:
        account = await account_of(desk, who)
        kept = await desk.reviews.tag(turn, account.id, tags or (), remove or ())
        _say(", ".join(kept) or "no tags")

    _run(run)


@review.command()
def undo(who: As) -> None:
    """Take your own last verdict back; the item is yours again for ten minutes."""

    async def run(desk: Desk) -> None:
        undone = await desk.reviews.undo((await account_of(desk, who)).id)
        _say(f"{undone.draft.verdict.value} taken back: {undone.turn_id}")

    _run(run)


@review.command()
def stats(*, as_json: Json = False) -> None:
    """Count items by state and verdicts by reviewer, and say how far two reviewers agree."""

    async def run(desk: Desk) -> None:
        names = {account.id: account.name for account in await desk.accounts.list()}
        print_stats(await desk.reviews.stats(), names, as_json=as_json)

    _run(run)


# ── parts ───────────────────────────────────────────────────────────────────────────────────────────────────────────

T = TypeVar("T")


def _run(work: Callable[[Desk], Awaitable[T]]) -> T:
    settings = load_settings()
    configure_logs("critical", "review")

    async def run() -> T:
        async with open_desk(settings) as desk:
            return await work(desk)

    return asyncio.run(run())


def _judge(turn: str, who: str, draft: Draft) -> None:
    async def run(desk: Desk) -> None:
        made = await judge(desk, turn, (await account_of(desk, who)).id, draft)
        _say(f"{made.draft.verdict.value}: {made.turn_id}{' (second review)' if made.blind else ''}")

    _run(run)


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


def _at(moment: datetime | None) -> float | None:
    return None if moment is None else moment.replace(tzinfo=UTC).timestamp()
