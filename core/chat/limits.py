"""Who may ask how much: token buckets for a person, a channel and a workspace, in messages and in generated tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.chat.message import Conversation
from core.chat.ports import Bucket, Buckets

# A person over the limit is told so once in this time; what they say meanwhile has had its answer.
NOTICE_S = 10.0


@dataclass(frozen=True, slots=True)
class Rates:
    """What each may use, a minute; the burst is `burst_minutes` of it. 0 sets no limit."""

    person_messages: float = 20.0
    channel_messages: float = 60.0
    workspace_messages: float = 600.0
    person_tokens: float = 10_000.0
    workspace_tokens: float = 200_000.0
    burst_minutes: float = 1.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Asks the shared buckets whether a message may come in, and charges what its answer cost."""

    buckets: Buckets
    rates: Rates = Rates()

    async def admit(self, conversation: Conversation, person_id: str) -> float:
        """Charges one message to its person, channel and workspace: 0.0, or the seconds to wait, and no charge.

        Raises:
            StoreUnavailable: the buckets cannot be reached.
        """
        rates = self.rates
        person, channel, workspace = _owners(conversation, person_id)
        wants = [
            *self._of(f"said:{person}", rates.person_messages, 1.0),
            *self._of(f"said:{channel}", rates.channel_messages, 1.0),
            *self._of(f"said:{workspace}", rates.workspace_messages, 1.0),
            *self._of(f"told:{person}", rates.person_tokens, 0.0),
            *self._of(f"told:{workspace}", rates.workspace_tokens, 0.0),
        ]
        return await self.buckets.spend(wants) if wants else 0.0

    async def give_back(self, conversation: Conversation, person_id: str) -> None:
        """Takes back the charge of a message that was a duplicate. Raises StoreUnavailable."""
        rates = self.rates
        person, channel, workspace = _owners(conversation, person_id)
        await self._charge(
            [
                *self._of(f"said:{person}", rates.person_messages, -1.0),
                *self._of(f"said:{channel}", rates.channel_messages, -1.0),
                *self._of(f"said:{workspace}", rates.workspace_messages, -1.0),
            ]
        )

    async def charge_tokens(self, conversation: Conversation, person_id: str, tokens: int) -> None:
        """Charges generated tokens after the fact. Raises StoreUnavailable."""
        person, _, workspace = _owners(conversation, person_id)
        await self._charge(
            [
                *self._of(f"told:{person}", self.rates.person_tokens, float(tokens)),
                *self._of(f"told:{workspace}", self.rates.workspace_tokens, float(tokens)),
            ]
        )

    async def may_tell(self, conversation: Conversation, person_id: str) -> bool:
        """Whether a person over the limit is to be told so now. Raises StoreUnavailable."""
        person, _, _ = _owners(conversation, person_id)
        return await self.buckets.spend([(Bucket(f"notice:{person}", 1.0 / NOTICE_S, 1.0), 1.0)]) == 0.0

    async def _charge(self, wants: Sequence[tuple[Bucket, float]]) -> None:
        if wants:
            await self.buckets.charge(wants)

    def _of(self, name: str, a_minute: float, amount: float) -> list[tuple[Bucket, float]]:
        if a_minute <= 0.0:
            return []
        return [(Bucket(name, a_minute / 60.0, max(1.0, a_minute * self.rates.burst_minutes)), amount)]


def _owners(conversation: Conversation, person_id: str) -> tuple[str, str, str]:
    """The person, the channel and the workspace by name; people and channels are told apart per workspace."""
    workspace = f"{conversation.platform}:{conversation.workspace}"
    return f"{workspace}:person:{person_id}", f"{workspace}:channel:{conversation.channel}", workspace
