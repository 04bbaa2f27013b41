"""Feedback in Redis: on its way to the ledger, and each person's last word for those who show it."""

from __future__ import annotations

from core.chat import codec
from core.chat.errors import BadEntry
from core.chat.message import Answered, Conversation
from core.loop.feedback import Feedback, Verdict
from storage.connections import Client, ask
from storage.keys import Keys
from storage.mailbox import HISTORY_S
from storage.script import Script


class RedisVerdicts:
    """Verdicts of `core.loop.feedback`. Last words are kept for `keep_s` after the last one in their conversation.

    With `replicas` feedback is told only when that many replicas have it.
    """

    def __init__(
        self, client: Client, prefix: str = "parley", shards: int = 1, keep_s: float = HISTORY_S, replicas: int = 0
    ) -> None:
        self._client = client
        self._keys = Keys(prefix, shards)
        self._keep_s = max(1, int(keep_s))
        self._tell = Script(client, "tell", replicas)

    async def answer_of(self, platform: str, post_id: str) -> Answered | None:
        """See `Verdicts.answer_of`; forgotten with the history."""
        found = await ask(self._client.get(self._keys.answer(platform, post_id)))
        if not found:
            return None
        try:
            return codec.load_answered(found)
        except BadEntry:
            return None  # a newer Parley wrote it, in a way that we cannot read

    async def tell(self, feedback: Feedback) -> None:
        """See `Verdicts.tell`."""
        conversation = feedback.conversation
        keys = [self._keys.beside(conversation, "feedback"), self._keys.of(conversation, "verdicts")]
        field = _field(feedback.turn_id, feedback.person_id)
        args: list[str | int | float] = [feedback.id, feedback.at, field, feedback.verdict.value]
        await self._tell(keys, [*args, codec.dump(feedback), self._keep_s])

    async def verdicts(self, conversation: Conversation, person_id: str) -> dict[str, Verdict]:
        """See `Verdicts.verdicts`."""
        kept = await ask(self._client.hgetall(self._keys.of(conversation, "verdicts")))
        own = {field.partition("\n"): word for field, word in kept.items()}
        words = {turn_id: word.split(" ", 2)[1] for (turn_id, _, person), word in own.items() if person == person_id}
        return {turn_id: Verdict(word) for turn_id, word in words.items() if word in _THAT_COUNT}


_THAT_COUNT = {Verdict.HELPFUL.value, Verdict.NOT_HELPFUL.value}


def _field(turn_id: str, person_id: str) -> str:
    return f"{turn_id}\n{person_id}"
