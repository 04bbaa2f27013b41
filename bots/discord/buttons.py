"""What stands below an answer on Discord: four buttons that outlive a restart, and the form behind the second."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from re import Match
from typing import Any, Self

import discord
from discord import ui

from core.loop.feedback import MAX_NOTE_CHARS, REASON_NAMES

_LABELS = {"helpful": "👍", "not_helpful": "👎", "again": "🔁", "why": "Why?"}
_FORM = "parley:more:"
MAX_BETTER_CHARS = 4000  # a text input of a form


class AnswerButton(ui.DynamicItem[ui.Button[ui.View]], template=r"parley:(?P<word>helpful|not_helpful|again|why)"):
    """One button, known by its id alone: the post in which it stands says which answer is meant."""

    def __init__(self, word: str) -> None:
        emoji = _LABELS[word]
        shown: dict[str, Any] = {"label": emoji} if word == "why" else {"emoji": emoji}
        super().__init__(ui.Button(custom_id=f"parley:{word}", **shown))
        self.word = word

    @classmethod
    async def from_custom_id(
        cls,
        interaction: discord.Interaction[Any],  # noqa: ARG003 - the SDK's signature
        item: ui.Item[Any],  # noqa: ARG003 - the SDK's signature
        match: Match[str],
        /,
    ) -> Self:
        """The button that somebody clicked."""
        return cls(match["word"])

    async def callback(self, interaction: discord.Interaction[Any]) -> None:
        """Somebody clicked."""
        if interaction.client.judging is not None:
            await interaction.client.judging.clicked(self.word, interaction)


def below_answer() -> ui.View:
    """The row of buttons, for the post with which an answer ends. To be made in a running event loop."""
    row = ui.View(timeout=None)
    for word in _LABELS:
        row.add_item(AnswerButton(word))
    return row


def form_about(post_id: str) -> ui.Modal:
    """The form that asks what was wrong. Its id says which post it is about, even after a restart."""
    form = ui.Modal(title="What was wrong?", custom_id=f"{_FORM}{post_id}")
    reasons = [discord.SelectOption(label=name, value=reason.value) for reason, name in REASON_NAMES.items()]
    form.add_item(ui.Label(text="Reason", component=ui.Select(custom_id="reason", options=reasons, required=False)))
    form.add_item(ui.Label(text="In your own words", component=_text("note", MAX_NOTE_CHARS)))
    form.add_item(ui.Label(text="A better answer", component=_text("better", MAX_BETTER_CHARS)))
    form.stop()  # the SDK would keep it, for an answer that may never come
    return form


def post_of_form(interaction: discord.Interaction[Any]) -> str:
    """The post that a form which was sent is about; "" when this is something else."""
    if interaction.type is not discord.InteractionType.modal_submit:
        return ""
    custom_id = str(_sent(interaction).get("custom_id", ""))
    return custom_id.removeprefix(_FORM) if custom_id.startswith(_FORM) else ""


def fields_of_form(interaction: discord.Interaction[Any]) -> dict[str, str]:
    """What was chosen and written, by the names of the fields."""
    return dict(_fields(_sent(interaction)))


def _sent(interaction: discord.Interaction[Any]) -> Mapping[str, Any]:
    sent: Any = interaction.data
    return sent or {}


def _fields(component: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    inside = [*component.get("components", ()), *filter(None, (component.get("component"),))]
    for each in inside:
        if "values" in each:
            yield each["custom_id"], next(iter(each["values"]), "")
        elif "value" in each:
            yield each["custom_id"], each["value"]
        yield from _fields(each)


def _text(name: str, max_chars: int) -> ui.TextInput[Any]:
    return ui.TextInput(custom_id=name, style=discord.TextStyle.paragraph, required=False, max_length=max_chars)
