"""The mailbox before edits and deletions, for tests that run it beside today's: its scripts, letter by letter."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.chat import codec
from core.chat.message import Conversation, Message
from core.chat.ports import Commit
from storage.connections import Client, ask
from storage.keys import WORKERS, Keys

_SCRIPTS = Path(__file__).parent / "older_scripts"
_DAY_S = 24 * 3600


@dataclass(frozen=True)
class OlderClaim:
    conversation: Conversation
    ticket: str
    epoch: int


class OlderMailbox:
    """What the processes of the version before do, on one shard."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._keys = Keys()

    async def accept(self, message: Message) -> str:
        said = message.conversation
        keys = [
            self._keys.seen(said, message.id),
            *self._of(said, "inbox", "owner"),
            self._ready,
            *self._of(said, "known"),
        ]
        fields = {name: value for name, value in asdict(message).items() if name != "trace"}
        item = f"{message.id}\n{json.dumps(fields, ensure_ascii=False, separators=(',', ':'))}"
        args = [uuid.uuid4().hex, _DAY_S, 20, item, str(said), _DAY_S, message.sent_at]
        return str(await self._run("accept", keys, args))

    async def take(self, worker: str) -> OlderClaim | None:
        """A conversation that nobody was given yet."""
        for _, tickets in await ask(self._client.xreadgroup(WORKERS, worker, {self._ready: ">"}, count=1)):
            [(ticket, fields)] = tickets
            return await self._begin(worker, ticket, fields["conversation"], -1)
        return None

    async def take_over(self, worker: str, ticket: str, conversation: Conversation) -> OlderClaim | None:
        """A conversation whose worker is silent, however short."""
        return await self._begin(worker, ticket, str(conversation), 0)

    async def _begin(self, worker: str, ticket: str, conversation_id: str, lease_ms: int) -> OlderClaim | None:
        conversation = Conversation.parse(conversation_id)
        keys = [*self._of(conversation, "owner"), self._ready, self._keys.of_shard(0, "epoch")]
        epoch = await self._run("begin", keys, [uuid.uuid4().hex, WORKERS, ticket, worker, lease_ms])
        return OlderClaim(conversation, ticket, int(epoch)) if epoch else None

    async def head(self, claim: OlderClaim) -> dict[str, Any] | None:
        """The first waiting message as JSON holds it."""
        item, *_ = await self._run("head", self._of(claim.conversation, "owner", "inbox", "history"), [claim.epoch])
        found: dict[str, Any] | None = json.loads(item.partition("\n")[2]) if item else None
        return found

    async def renew(self, claim: OlderClaim) -> bool:
        keys = [*self._of(claim.conversation, "owner", "inbox"), self._ready]
        return bool(await self._run("renew", keys, [claim.epoch, WORKERS, claim.ticket]))

    async def commit(self, claim: OlderClaim, commit: Commit) -> None:
        said = claim.conversation
        keys = [*self._of(said, "owner", "inbox", "history"), self._keys.of_shard(0, "log"), *self._of(said, "known")]
        logged = codec.dump(commit.interaction) if commit.interaction else ""
        turns = [codec.dump(turn) for turn in commit.append]
        await self._run("commit", keys, [claim.epoch, commit.turn_id, commit.drop, _DAY_S, logged, *turns])

    async def finish(self, claim: OlderClaim) -> bool:
        keys = [*self._of(claim.conversation, "owner", "inbox"), self._ready]
        return bool(await self._run("finish", keys, [claim.epoch, WORKERS, claim.ticket]))

    async def release(self, claim: OlderClaim) -> None:
        args = [claim.epoch, WORKERS, claim.ticket, str(claim.conversation)]
        await self._run("release", [*self._of(claim.conversation, "owner"), self._ready], args)

    async def request_stop(self, conversation: Conversation) -> bool:
        args = [self._keys.stops, str(conversation)]
        return bool(await self._run("request_stop", self._of(conversation, "owner", "inbox"), args))

    @property
    def _ready(self) -> str:
        return self._keys.of_shard(0, "ready")

    def _of(self, conversation: Conversation, *kinds: str) -> list[str]:
        return [self._keys.of(conversation, kind) for kind in kinds]

    async def _run(self, name: str, keys: list[str], args: list[Any]) -> Any:
        text = (_SCRIPTS / f"{name}.lua").read_text("utf-8")
        return await ask(self._client.eval(text, len(keys), *keys, *args))
