"""Fills the mailbox with conversations that have a past, faster than people could."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.chat import codec
from core.chat.message import Conversation, Turn
from storage.connections import open_redis
from storage.keys import Keys
from storage.mailbox import HISTORY_S, RedisMailbox

QUESTION = "What do you know of the weather in the mountains, and what should I wear there?"
ANSWER = " ".join(f"word{index}" for index in range(40))
_BATCH = 1000


def past(turns: int) -> list[str]:
    """`turns` turns as the mailbox keeps them, question and answer by turns."""
    said = []
    for number in range(turns):
        role, text = (("user", QUESTION), ("assistant", ANSWER))[number % 2]
        name = "person" if role == "user" else ""
        turn = Turn(role, text, len(text.split()), f"past:{number // 2}", 1_700_000_000.0 + number, name, name)  # type: ignore[arg-type]
        said.append(codec.dump(turn))
    return said


async def fill_histories(url: str, conversations: Sequence[Conversation], turns: int) -> None:
    """Gives each of `conversations` a history of `turns` turns, in one shard.

    Raises:
        AssertionError: the mailbox does not read what was written.
    """
    keys, said = Keys(), past(turns)
    client, blocking = open_redis(url), open_redis(url, blocking=True)
    try:
        for some in _batches(conversations):
            pipeline = client.pipeline(transaction=False)
            for conversation in some:
                pipeline.delete(keys.of(conversation, "history"))
                pipeline.rpush(keys.of(conversation, "history"), *said)
                pipeline.expire(keys.of(conversation, "history"), int(HISTORY_S))
                pipeline.set(keys.of(conversation, "known"), "1", ex=int(HISTORY_S))
            await pipeline.execute()
        read = await RedisMailbox(client, blocking).turns(conversations[-1])
        assert len(read) == turns, f"{len(read)} turns are read where {turns} were written"
    finally:
        await client.aclose()
        await blocking.aclose()


def _batches(conversations: Sequence[Conversation]) -> Iterator[Sequence[Conversation]]:
    for start in range(0, len(conversations), _BATCH):
        yield conversations[start : start + _BATCH]
