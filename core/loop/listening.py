"""What a gateway does with a click, a reaction or a form about an answer; each gives a line for that person alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from core.chat.again import ask_again
from core.chat.errors import StoreUnavailable
from core.chat.intake import Intake, Receipt
from core.chat.interaction import Interaction
from core.chat.message import Answered
from core.loop.feedback import MAX_BETTER_CHARS, MAX_NOTE_CHARS, Feedback, Reason, Source, Verdict, Verdicts
from core.loop.why import why

_log = structlog.get_logger(__name__)

THANKS = {
    Verdict.HELPFUL: "Thank you: noted as helpful.",
    Verdict.NOT_HELPFUL: "Thank you: noted as not helpful.",
    Verdict.TAKEN_BACK: "Taken back: what you said of this answer no longer counts.",
}
AWAY = "I cannot reach my memory right now, so nothing was noted. Please try again in a minute."
LOG_AWAY = "I cannot reach my log right now. Please try again in a minute."
TOO_OLD = "I no longer know which answer this is: it is too old, or none of mine."
NOT_YOURS = "Only the person who asked can do that."
NOT_LOGGED_YET = "This answer is not in my log yet. Please try again in a few seconds."
AGAIN = "I am answering once more."
AGAIN_ALREADY = "I am answering that once more already."
AGAIN_LATER = "That is a lot at once. Please try again in a little while."


class Log(Protocol):
    """The one question to the ledger that a gateway asks; never on the way of an answer."""

    async def find(self, turn_id: str) -> Interaction | None:
        """One interaction by its turn id. Raises StoreUnavailable."""


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody says of an answer. `id` names the click or the form by the platform's own id of it.

    `at` is when it was said, by the platform's clock; now where that is 0.0.
    """

    id: str
    person_id: str
    verdict: Verdict
    source: Source
    reason: Reason = Reason.NONE
    note: str = ""
    better: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Listener:
    """Listens to the people of one platform. No method raises: what goes wrong is a line, too."""

    platform: str
    verdicts: Verdicts
    log: Log
    intake: Intake
    now: Callable[[], float] = time.time

    async def judge(self, post_id: str, said: Said) -> str:
        """Notes what `said` says of the answer in the post."""
        try:
            answered = await self.verdicts.answer_of(self.platform, post_id)
            if answered is None:
                return TOO_OLD
            await self.verdicts.tell(self._feedback(answered, said))
        except StoreUnavailable as error:
            _log.warning("feedback_not_taken", post=post_id, reason=str(error))
            return AWAY
        _log.info("feedback_taken", turn=answered.turn_id, verdict=said.verdict.value, source=said.source.value)
        return THANKS[said.verdict]

    async def take_back(self, post_id: str, said: Said) -> str:
        """Takes back `said.verdict`, as one does by removing a reaction; another word that came later stays."""
        try:
            last = await self._last_word(post_id, said.person_id)
        except StoreUnavailable as error:
            _log.warning("feedback_not_taken", post=post_id, reason=str(error))
            return AWAY
        if last is not said.verdict:
            return ""
        return await self.judge(post_id, Said(said.id, said.person_id, Verdict.TAKEN_BACK, said.source, at=said.at))

    async def verdict(self, post_id: str, person_id: str) -> Verdict | None:
        """The person's last word on the answer in the post; None where there is none, or it cannot be read."""
        try:
            return await self._last_word(post_id, person_id)
        except StoreUnavailable as error:
            _log.warning("verdict_not_read", post=post_id, reason=str(error))
            return None

    async def again(self, post_id: str, person_id: str) -> str:
        """Asks for another answer in the same place; only who asked the question may."""
        try:
            answered = await self.verdicts.answer_of(self.platform, post_id)
            if problem := _not_for(answered, person_id):
                return problem
            assert answered is not None  # noqa: S101 - or there was a problem
            receipt = await self.intake.receive(ask_again(answered, self.now()))
        except StoreUnavailable as error:
            _log.warning("another_answer_not_asked", post=post_id, reason=str(error))
            return AWAY
        if receipt is Receipt.ACCEPTED:
            return AGAIN
        return AGAIN_ALREADY if receipt is Receipt.DUPLICATE else AGAIN_LATER

    async def why(self, post_id: str, person_id: str) -> list[str]:
        """What the answer in the post was made with; told only to who asked the question."""
        try:
            answered = await self.verdicts.answer_of(self.platform, post_id)
            if problem := _not_for(answered, person_id):
                return [problem]
            assert answered is not None  # noqa: S101 - or there was a problem
            done = await self.log.find(answered.turn_id)
        except StoreUnavailable as error:
            _log.warning("log_not_read", post=post_id, reason=str(error))
            return [LOG_AWAY]
        return why(done) if done else [NOT_LOGGED_YET]

    async def _last_word(self, post_id: str, person_id: str) -> Verdict | None:
        answered = await self.verdicts.answer_of(self.platform, post_id)
        if answered is None:
            return None
        return (await self.verdicts.verdicts(answered.conversation, person_id)).get(answered.turn_id)

    def _feedback(self, answered: Answered, said: Said) -> Feedback:
        return Feedback(
            said.id,
            answered.turn_id,
            answered.conversation,
            answered.sent_at,
            said.person_id,
            said.verdict,
            said.source,
            said.at or self.now(),
            said.reason,
            said.note.strip()[:MAX_NOTE_CHARS],
            said.better.strip()[:MAX_BETTER_CHARS],
        )


def _not_for(answered: Answered | None, person_id: str) -> str:
    if answered is None:
        return TOO_OLD
    return "" if answered.person_id == person_id else NOT_YOURS
