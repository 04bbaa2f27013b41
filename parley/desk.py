"""What `parley review` prints: items, verdicts and figures, for a person as tables, for a program as JSON."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from core.chat.interaction import Interaction
from core.loop.errors import NoSuchItem, NotYours
from core.loop.feedback import Feedback
from core.loop.inbox import Cursor, Filter, Item, Stats
from core.loop.people import Account, Right, key_of, may
from core.loop.private import mask
from core.loop.review import Draft, Review
from parley.compose import Desk
from parley.errors import SetupError
from parley.terminal import as_dict

_KEPT = {"\n", "\t"}


async def account_of(desk: Desk, name: str) -> Account:
    """The account called `name`. Raises SetupError when there is none that may review."""
    found = [each for each in await desk.accounts.list() if each.active and key_of(each.name) == key_of(name)]
    if not found:
        raise SetupError(
            f"There is no active account {plain(name)!r}. --as takes the name of an account of the console."
        )
    if not may(found[0].role, Right.REVIEW):
        raise SetupError(f"{found[0].name} is a {found[0].role.value} and may not review.")
    return found[0]


async def judge(desk: Desk, turn_id: str, reviewer: str, draft: Draft) -> Review:
    """Gives a verdict on an item: on a claim of the reviewer's, or else on one that is made for it."""
    try:
        return await desk.reviews.judge(turn_id, reviewer, draft)
    except NotYours:
        await desk.inbox.claim(turn_id, reviewer)
        return await desk.reviews.judge(turn_id, reviewer, draft)


async def print_page(
    desk: Desk, wanted: Filter, limit: int, after: Cursor | None, *, by_weight: bool, as_json: bool
) -> None:
    """One page of the inbox, and how to get the next one."""
    page = await desk.inbox.page(wanted, limit, after, by_weight=by_weight)
    following = str(page.following) if page.following else None
    if as_json:
        print_json({"items": [asdict(item) for item in page.items], "after": following})
        return
    table = Table(Column("turn", no_wrap=True), "asked (UTC)", "state", "sign", "person", "question", "answer")
    for item in page.items:
        signs = [item.opinion.value, *([] if item.outcome == "answered" else [item.outcome.value]), *item.tags]
        cells = [item.turn_id, _moment(item.sent_at), item.state.value, ", ".join(filter(None, signs))]
        texts = [_start(text) for text in (item.question, item.answer)]
        table.add_row(*(Text(plain(cell)) for cell in (*cells, item.person_name, *texts)))
    Console().print(table)
    if following:
        Console().print(f"More with --after {following}")


async def print_item(desk: Desk, turn_id: str, reader: str, *, masked: bool, as_json: bool) -> None:
    """One item whole. Raises NoSuchItem."""
    item = await desk.inbox.item(turn_id)
    told = await desk.ledger.find(turn_id)
    if told is None:
        raise NoSuchItem("There is no such item, or it was erased.")
    said = await desk.ledger.feedback_on(turn_id)
    verdicts = await desk.reviews.of_item(turn_id, reader)
    hide = mask if masked else str
    if as_json:
        whole = {"item": asdict(item), "interaction": as_dict(told)}
        feedback = [{**asdict(each), "conversation": str(each.conversation)} for each in said]
        print_json(_each_text({**whole, "feedback": feedback, "reviews": [asdict(each) for each in verdicts]}, hide))
        return
    console = Console(highlight=False)
    for heading, text in _sections(item, told, said, verdicts):
        console.print(Text(heading, "bold"))
        console.print(Text(plain(hide(text))), soft_wrap=True)


def print_stats(stats: Stats, names: dict[str, str], *, as_json: bool) -> None:
    """How far review has come; `names` has the accounts' names by id."""
    if as_json:
        print_json(asdict(stats))
        return
    console = Console(highlight=False)
    states = Table("state", "items")
    for state, count in sorted(stats.states.items()):
        states.add_row(state.value, f"{count:,}")
    console.print(states)
    people = Table("reviewer", "verdicts", "seconds each")
    for reviewer, (count, ms) in stats.by_reviewer.items():
        people.add_row(Text(plain(names.get(reviewer, reviewer))), f"{count:,}", f"{ms / count / 1000:.1f}")
    console.print(people)
    found = stats.agreement
    share = "none yet" if found.share is None else f"{found.share:.0%} of {found.pairs}"
    kappa = "not defined" if found.kappa is None else f"{found.kappa:.2f}"
    console.print(f"Second reviews that wait: {stats.second_waiting}. Agreement: {share}; Cohen's kappa: {kappa}.")


def plain(text: str) -> str:
    """`text` without what steers a terminal or turns the direction of writing: it may come from anybody."""
    return "".join(char if char in _KEPT or unicodedata.category(char)[0] != "C" else "�" for char in text)


def print_json(value: object) -> None:
    """As JSON of ASCII, which steers no terminal."""
    print(json.dumps(value, indent=2, default=str))  # noqa: T201 - it is what the command is for


# ── parts ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _sections(
    item: Item, told: Interaction, said: Sequence[Feedback], verdicts: Sequence[Review]
) -> list[tuple[str, str]]:
    prompt = "\n".join(f"{message.role}: {message.content}" for message in told.messages)
    made = f"{told.model} {told.model_version}, persona {told.persona} {told.persona_version}, {told.total_ms:.0f} ms"
    found = [
        (item.turn_id, f"{_moment(told.sent_at)} UTC, {told.person_name}, {told.outcome.value}, {item.state.value}"),
        ("Made with", made),
        ("Question", told.question),
        ("Prompt", prompt),
        ("Answer", told.answer or told.error),
    ]
    found += [("Feedback", " · ".join(filter(None, (e.verdict, e.reason, e.note, e.better)))) for e in said]
    for each in verdicts:
        draft = each.draft
        words = [
            draft.verdict.value + (" (taken back)" if each.undone else ""),
            draft.question,
            draft.answer,
            draft.note,
        ]
        found.append(("Second verdict" if each.blind else "Verdict", "\n".join(filter(None, words))))
    return [*found, ("Tags", ", ".join(item.tags))] if item.tags else found


def _each_text(value: Any, change: Any) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _each_text(each, change) for key, each in value.items()}
    return [_each_text(each, change) for each in value] if isinstance(value, list | tuple) else value


def _start(text: str) -> str:
    line = " ".join(text.split())
    return f"{line[:60]}…" if len(line) > 60 else line


def _moment(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
