"""What people do with buttons and forms on the fake Discord, and how a bot must answer: in time, once, with a token."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.support.fake_discord.world import DM_CHANNEL, Json, Post, User, World

ANSWER_S, TOKEN_S = 3.0, 15 * 60.0
_CLICK, _FORM = 3, 5
_MESSAGE, _LATER, _LATER_UPDATE, _MODAL = 4, 5, 6, 9
_EPHEMERAL = 1 << 6
_ACTION_ROW, _BUTTON = 1, 2


@dataclass(slots=True)
class Interaction:
    """One click or form. `told` is what the person alone has read in answer, `modal` the form that opened."""

    id: str
    token: str
    person: User
    post: Post
    began: float
    acknowledged: int = 0  # the type of the first response
    ephemeral: bool = False
    told: list[str] = field(default_factory=list)
    modal: Json | None = None
    waiting: bool = False  # "is thinking"


class Interactions:
    """All interactions by token. `slow_s` is added to the age of each, for tests of what comes too late."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.all: dict[str, Interaction] = {}
        self.slow_s = 0.0
        self.refused: list[str] = []
        self._changed = asyncio.Condition()

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/api/v10/interactions/{id}/{token}/callback", self._callback),
            web.post("/api/v10/webhooks/{application}/{token}", self._follow_up),
        ]

    def click(self, person: User, post: Post, custom_id: str) -> tuple[Interaction, Json]:
        """The event of a click; only buttons that the post has can be clicked."""
        if custom_id not in buttons(post):
            raise AssertionError(f"There is no button {custom_id!r} below {post.content!r}.")
        return self._begin(person, post, _CLICK, {"component_type": _BUTTON, "custom_id": custom_id})

    def submit(self, opened: Interaction, values: dict[str, str]) -> tuple[Interaction, Json]:
        """The event of the form that `opened` has opened, filled in with `values`."""
        assert opened.modal is not None
        components = [_filled(label, values) for label in opened.modal["components"]]
        sent = {"custom_id": opened.modal["custom_id"], "components": components}
        return self._begin(opened.person, opened.post, _FORM, sent)

    async def answered(self, interaction: Interaction) -> Interaction:
        """Once the person sees an answer: a line, or a form."""
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: bool(interaction.told or interaction.modal))
        return interaction

    def _begin(self, person: User, post: Post, kind: int, sent: Json) -> tuple[Interaction, Json]:
        interaction = Interaction(self.world.new_id(), f"token-{self.world.new_id()}", person, post, time.monotonic())
        self.all[interaction.token] = interaction
        channel = post.channel
        event: Json = {
            "id": interaction.id,
            "application_id": self.world.bot.id,
            "type": kind,
            "token": interaction.token,
            "version": 1,
            "data": sent,
            "channel_id": channel.id,
            "channel": channel.json(),
            "message": post.json(),
            "attachment_size_limit": 10_485_760,
            "entitlements": [],
            "authorizing_integration_owners": {},
            "app_permissions": "0",
            "locale": "en-US",
        }
        if channel.type == DM_CHANNEL:
            return interaction, event | {"user": person.json()}
        member: Json = {"user": person.json(), "roles": [], "joined_at": None, "deaf": False, "mute": False, "flags": 0}
        return interaction, event | {"guild_id": channel.guild_id, "member": member | {"permissions": "0"}}

    async def _callback(self, request: web.Request) -> web.Response:
        interaction = self.all.get(request.match_info["token"])
        if interaction is None or interaction.id != request.match_info["id"] or self._age(interaction) > ANSWER_S:
            return self._no(404, 10062, "Unknown interaction")
        if interaction.acknowledged:
            return self._no(400, 40060, "Interaction has already been acknowledged.")
        body = await request.json()
        kind, sent = body["type"], body.get("data") or {}
        if kind == _MODAL and (problem := _bad_modal(sent)):
            return self._no(400, 50035, problem)
        interaction.acknowledged = kind
        interaction.ephemeral = bool(sent.get("flags", 0) & _EPHEMERAL)
        if kind == _MODAL:
            interaction.modal = sent
        elif kind == _MESSAGE:
            interaction.told.append(sent["content"])
        interaction.waiting = kind == _LATER
        await self._notify()
        told = {"id": interaction.id, "type": kind, "response_message_loading": interaction.waiting}
        return _json({"interaction": told | {"response_message_ephemeral": interaction.ephemeral}})

    async def _follow_up(self, request: web.Request) -> web.Response:
        interaction = self.all.get(request.match_info["token"])
        if interaction is None or request.match_info["application"] != self.world.bot.id:
            return self._no(404, 10015, "Unknown Webhook")
        if not interaction.acknowledged:
            return self._no(404, 10015, "Unknown Webhook")  # Discord knows no such webhook before the first response
        if self._age(interaction) > TOKEN_S:
            return self._no(401, 50027, "Invalid Webhook Token")
        body = await request.json()
        content = str(body.get("content") or "")
        if not content or len(content) > 2000:
            return self._no(400, 50006 if not content else 50035, "Invalid Form Body")
        # The first one fills in what "is thinking", and is as hidden as that was announced to be.
        flags = body.get("flags", 0)
        hidden = interaction.ephemeral if interaction.waiting else bool(flags & _EPHEMERAL)
        interaction.waiting = False
        if not hidden:
            return self._no(400, 50035, "The fake Discord expects what is for one person to be seen by that one alone.")
        interaction.told.append(content)
        await self._notify()
        shown = Post(self.world.new_id(), interaction.post.channel, self.world.bot, content)
        return _json(shown.json() | {"flags": flags, "webhook_id": self.world.bot.id})

    def _age(self, interaction: Interaction) -> float:
        return time.monotonic() - interaction.began + self.slow_s

    def _no(self, status: int, code: int, message: str) -> web.Response:
        self.refused.append(message)
        return _json({"message": message, "code": code}, status=status)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


def _json(body: Json, status: int = 200) -> web.Response:
    # With a charset in the Content-Type discord.py takes the body for text.
    return web.Response(status=status, body=json.dumps(body).encode(), content_type="application/json")


def buttons(post: Post) -> list[str]:
    """The ids of the buttons below a post."""
    return [each["custom_id"] for row in post.components for each in row["components"] if each["type"] == _BUTTON]


def bad_components(rows: Any) -> str:
    """Why Discord would not take these components; "" when it would."""
    if not isinstance(rows, list) or len(rows) > 5:
        return "components: must be 5 or fewer in length."
    ids: list[str] = []
    for row in rows:
        inside = row.get("components", [])
        if row.get("type") != _ACTION_ROW or not 1 <= len(inside) <= 5:
            return "components: a row holds 1 to 5 components."
        for button in inside:
            if not button.get("label") and not button.get("emoji"):
                return "components: a button needs a label or an emoji."
            ids.append(button.get("custom_id", ""))
    if any(not 1 <= len(id_) <= 100 for id_ in ids) or len(set(ids)) < len(ids):
        return "components: custom ids have 1 to 100 characters, and each stands once."
    return ""


def _bad_modal(sent: Json) -> str:
    if not 1 <= len(sent.get("title", "")) <= 45 or not 1 <= len(sent.get("custom_id", "")) <= 100:
        return "title or custom_id: wrong length."
    if not 1 <= len(sent.get("components", [])) <= 5:
        return "components: a form has 1 to 5."
    for label in sent["components"]:
        inside = label["component"]
        if (
            not 1 <= len(label["label"]) <= 45
            or inside.get("max_length", 1) > 4000
            or len(inside.get("options", [])) > 25
        ):
            return "components: a field is too long."
    return ""


def _filled(label: Json, values: dict[str, str]) -> Json:
    inside = label["component"]
    name, value = inside["custom_id"], values.get(inside["custom_id"], "")
    filled: Json = {"type": inside["type"], "id": 1, "custom_id": name}
    if inside["type"] == 3:
        known = [option["value"] for option in inside["options"]]
        assert not value or value in known
        filled["values"] = [value] if value else []
    else:
        assert len(value) <= inside["max_length"]
        filled["value"] = value
    return {"type": label["type"], "id": 1, "component": filled}
