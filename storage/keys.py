"""The names of everything in Redis; all keys that one script touches carry the same hash tag: one cluster slot."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from core.chat.message import Conversation

WORKERS = "workers"  # the group that reads the tickets
WRITERS = "writers"  # the group that reads the log


@dataclass(frozen=True, slots=True)
class Keys:
    """Key names under `prefix`. A conversation's shard follows from its id, so `shards` is fixed at the first start."""

    prefix: str = "parley"
    shards: int = 1

    def shard(self, conversation: Conversation) -> int:
        """The shard of `conversation`, from 0."""
        return zlib.crc32(str(conversation).encode()) % self.shards

    def of_shard(self, shard: int, kind: str) -> str:
        """A key that a whole shard shares: `ready`, `epoch`, `log`, `feedback`, `log-dead`, `inbox-dead` and so on."""
        return f"{self.prefix}:{{s{shard}}}:{kind}"

    def beside(self, conversation: Conversation, kind: str) -> str:
        """The key `kind` of the shard that holds `conversation`."""
        return self.of_shard(self.shard(conversation), kind)

    def of(self, conversation: Conversation, kind: str) -> str:
        """A conversation's own key: `inbox`, `history`, `owner`, `known`, `verdicts`."""
        return f"{self.beside(conversation, kind)}:{conversation}"

    def seen(self, conversation: Conversation, message_id: str) -> str:
        """Marks a message that was accepted, or whose deletion came first; says later what became of it."""
        return f"{self.beside(conversation, 'seen')}:{message_id}"

    def heard(self, shard: int, platform: str) -> str:
        """A shard's conversations on `platform`, by when the newest accepted message was sent."""
        return f"{self.of_shard(shard, 'heard')}:{platform}"

    def alive(self, gateway: str) -> str:
        """Until when a gateway surely heard everything."""
        return f"{self.prefix}:alive:{gateway}"

    def post(self, platform: str, post_id: str) -> str:
        """Leads from a post of ours to its conversation; in a slot of its own, for a reader knows no conversation."""
        return f"{self.prefix}:post:{platform}:{post_id}"

    def answer(self, platform: str, post_id: str) -> str:
        """Leads from a post of ours to the answer that it shows; beside `post`, whose value older versions read."""
        return f"{self.prefix}:answer:{platform}:{post_id}"

    def feed(self, conversation: Conversation) -> str:
        """The feed of a conversation."""
        return f"{self.prefix}:feed:{conversation}"

    def bucket(self, name: str) -> str:
        """A token bucket; all in one slot, for one step asks several."""
        return f"{self.prefix}:{{buckets}}:{name}"

    @property
    def shard_count(self) -> str:
        """Holds the number of shards."""
        return f"{self.prefix}:shards"

    @property
    def stops(self) -> str:
        """The channel on which stops are published: the conversation alone, as all versions know it."""
        return f"{self.prefix}:stops"

    @property
    def signals(self) -> str:
        """The channel on which edits and deletions are published: the signal, a space, the conversation."""
        return f"{self.prefix}:signals"

    @property
    def feed_wakeups(self) -> str:
        """The channel on which the feed tells which conversation has news."""
        return f"{self.prefix}:feed-wakeups"
