"""What people do to an answer on Discord: buttons, a form, reactions. What comes back is seen by that person alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import discord
import structlog

from bots.discord.buttons import fields_of_form, form_about, post_of_form
from bots.discord.markup import harmless
from core.chat.errors import StoreUnavailable
from core.loop.feedback import Reason, Source, Verdict
from core.loop.listening import AWAY, THANKS, Listener, Said

_log = structlog.get_logger(__name__)

_REACTIONS = {"👍": Verdict.HELPFUL, "👎": Verdict.NOT_HELPFUL}
_SKIN_TONES = "🏻🏼🏽🏾🏿"
_MAX_CHARS = 2000


def verdict_of(emoji: str) -> Verdict | None:
    """What a reaction says, in whatever tone of skin."""
    return _REACTIONS.get(emoji.rstrip(_SKIN_TONES))


@dataclass(frozen=True, slots=True)
class Judging:
    """Answers each interaction within three seconds: it is acknowledged before anything is asked of the log."""

    listener: Listener

    async def clicked(self, word: str, interaction: discord.Interaction[Any]) -> None:
        """A button below an answer was clicked."""
        if interaction.message is None:
            return
        post_id = str(interaction.message.id)
        try:
            if word in set(Verdict):
                await self._judged(Verdict(word), post_id, interaction)
                return
            await interaction.response.defer(ephemeral=True, thinking=True)
            if word == "again":
                await _tell(interaction, await self.listener.again(post_id, str(interaction.user.id)))
            else:
                await _tell(interaction, "\n".join(await self.listener.why(post_id, str(interaction.user.id))))
        except discord.HTTPException as error:
            _log.warning("interaction_not_answered", post=post_id, word=word, reason=f"HTTP {error.status}")

    async def submitted(self, interaction: discord.Interaction[Any]) -> None:
        """A form was sent; one that is not ours is left alone."""
        post_id = post_of_form(interaction)
        if not post_id:
            return
        form = fields_of_form(interaction)
        reason = form.get("reason", "")
        said = Said(
            f"discord:{interaction.id}",
            str(interaction.user.id),
            Verdict.NOT_HELPFUL,
            Source.MODAL,
            Reason(reason) if reason in set(Reason) else Reason.OTHER,
            form.get("note", ""),
            form.get("better", ""),
            interaction.created_at.timestamp(),
        )
        try:
            await interaction.response.defer(ephemeral=True, thinking=True)
            await _tell(interaction, await self.listener.judge(post_id, said))
        except discord.HTTPException as error:
            _log.warning("interaction_not_answered", post=post_id, word="form", reason=f"HTTP {error.status}")

    async def reacted(self, post_id: str, said: Said, *, added: bool) -> None:
        """A thumb was put below a post, or taken away. Safe to repeat; raises StoreUnavailable."""
        line = await (self.listener.judge(post_id, said) if added else self.listener.take_back(post_id, said))
        if line == AWAY:
            raise StoreUnavailable("a reaction was not taken")

    async def _judged(self, verdict: Verdict, post_id: str, interaction: discord.Interaction[Any]) -> None:
        """A second click takes the first one back; "not helpful" opens a form, which must be the first reply to it."""
        person_id = str(interaction.user.id)
        back = await self.listener.verdict(post_id, person_id) is verdict
        opens = verdict is Verdict.NOT_HELPFUL and not back
        if opens:
            await interaction.response.send_modal(form_about(post_id))
        else:
            await interaction.response.defer(ephemeral=True, thinking=True)
        now = Verdict.TAKEN_BACK if back else verdict
        said = Said(f"discord:{interaction.id}", person_id, now, Source.BUTTON, at=interaction.created_at.timestamp())
        line = await self.listener.judge(post_id, said)
        if not opens or line != THANKS[now]:
            await _tell(interaction, line)


async def _tell(interaction: discord.Interaction[Any], text: str) -> None:
    await interaction.followup.send(harmless(text)[:_MAX_CHARS], ephemeral=True, suppress_embeds=True)
