"""An intake that keeps what a gateway hands over."""

from __future__ import annotations

import asyncio

from core.chat.intake import Receipt
from core.chat.message import Conversation, Message
from core.chat.ports import Change


class KeptIntake:
    """Takes what it is given, when `gate` is open; first fails with each of `failures`.

    `steps` tells all that arrived, in order: what was done and the native id. As core does, it takes a message once,
    and an edit changes only what was taken and is not `answered`.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []  # all that were received, duplicates included
        self.revised: list[Message] = []
        self.withdrawn: list[tuple[Conversation, str]] = []
        self.steps: list[tuple[str, str]] = []
        self.answered: set[str] = set()
        self.failures: list[Exception] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def receive(self, message: Message) -> Receipt:
        known = any(message.id == taken.id for taken in self.messages)
        await self._step("receive", message.id)
        self.messages.append(message)
        return Receipt.DUPLICATE if known else Receipt.ACCEPTED

    async def revise(self, message: Message) -> Change:
        await self._step("revise", message.id)
        self.revised.append(message)
        taken = any(message.id == taken.id for taken in self.messages)
        return Change.WAITING if taken and message.id not in self.answered else Change.LATE

    async def withdraw(self, conversation: Conversation, message_id: str) -> Change:
        await self._step("withdraw", message_id)
        self.withdrawn.append((conversation, message_id))
        return Change.WAITING

    def said(self) -> list[str]:
        """The texts of the messages that were received, each once, in order."""
        return list({message.id: message.text for message in self.messages}.values())

    async def _step(self, name: str, message_id: str) -> None:
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.steps.append((name, message_id.rpartition(":")[2]))
