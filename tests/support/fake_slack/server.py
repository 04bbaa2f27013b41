"""The server: tokens, scopes, rate limits and faults before each Web API method, and the controls a test turns."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

from tests.support.fake_slack.methods import METHODS, Method
from tests.support.fake_slack.reading import Args
from tests.support.fake_slack.sockets import Sockets
from tests.support.fake_slack.tiers import Tiers
from tests.support.fake_slack.workspace import BOT_ID, BOT_USER, TEAM, Post, SlackSaysNo, Workspace

BOT_TOKEN = "xoxb-fake"
APP_TOKEN = "xapp-fake"
SCOPES = frozenset(
    {
        "app_mentions:read",
        "assistant:write",
        "channels:history",
        "channels:read",
        "chat:write",
        "groups:history",
        "groups:read",
        "im:history",
        "im:read",
        "mpim:history",
        "mpim:read",
        "reactions:read",
        "users:read",
    }
)
# What puts text before people.
POSTING = frozenset({"chat.postMessage", "chat.startStream", "chat.appendStream", "chat.stopStream", "chat.update"})


@dataclass(slots=True)
class Refusal:
    """`status` 200 means an ok:false answer named `error`. With `after` the call is carried out, its answer lost.

    Without a `channel` it befalls calls in all of them.
    """

    methods: frozenset[str]
    times: int
    status: int = 503
    error: str = "service_unavailable"
    after: bool = False
    channel: str = ""


@dataclass(frozen=True, slots=True)
class Call:
    method: str
    args: Args = field(default_factory=dict)


class FakeSlack:
    """Use as `async with FakeSlack() as slack`. `url` is the base of the Web API."""

    def __init__(self, *, ack_s: float = 3.0, clock: Callable[[], float] = time.time) -> None:
        self.workspace = Workspace(self._changed, SCOPES, clock)
        self.sockets = Sockets(ack_s)
        self.tiers = Tiers(clock)
        self.unknown: set[str] = set()  # methods that this Slack does not have
        self.retry_after_s: int | None = None  # what a rate limit asks for; None: until the call would pass
        self.gates: dict[tuple[str, str], asyncio.Event] = {}  # calls of a method in a channel wait for these
        self.calls: list[Call] = []
        self.asked: Counter[str] = Counter()  # requests by method, those that were refused included
        self.url = ""
        self._refusals: list[Refusal] = []
        self._events = 0
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=2**24)
        app.router.add_route("*", "/api/{method}", self._serve)
        app.router.add_get("/link", self.sockets.serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self._port = self._runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self._port}/api/"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.sockets.close()
        assert self._runner is not None
        await self._runner.cleanup()

    @property
    def scopes(self) -> set[str]:
        return self.workspace.scopes

    @property
    def limits(self) -> dict[str, int]:
        """Calls a minute, where a test wants others than Slack's."""
        return self.tiers.limits

    @limits.setter
    def limits(self, limits: dict[str, int]) -> None:
        self.tiers.limits = limits

    # ── what a test does ────────────────────────────────────────────────────────────────────────────────────────────

    def refuse(
        self,
        *methods: str,
        times: int = 1,
        status: int = 503,
        error: str = "service_unavailable",
        after: bool = False,
        channel: str = "",
    ) -> None:
        """The next `times` calls of `methods` fail."""
        self._refusals.append(Refusal(frozenset(methods), times, status, error, after, channel))

    def forgive(self) -> None:
        """No call fails any more."""
        self._refusals.clear()

    def say(self, user: str, text: str, *, channel: str, thread_ts: str = "", **more: Any) -> str:
        """A person writes; returns the ts. A mention goes out as both events, as both are subscribed."""
        post = Post(channel=channel, ts=self.workspace.new_ts(), user=user, text=text, thread_ts=thread_ts)
        post.bot_id = str(more.get("bot_id", ""))
        self.workspace.add(post)
        self.deliver(post, **more)
        return post.ts

    def deliver(self, post: Post, **more: Any) -> None:
        """Sends the events of a post, also a second time."""
        kind = self.workspace.channels[post.channel].kind
        event: dict[str, Any] = {**post.public(with_metadata=False), "channel": post.channel, "team": TEAM, **more}
        self.send_event({**event, "type": "message", "channel_type": kind})
        if f"<@{BOT_USER}" in post.text and kind != "im":
            self.send_event({**event, "type": "app_mention"})

    def edit(self, channel: str, ts: str, text: str) -> None:
        """A person edits what they wrote. A mention sends `app_mention` again, whether it is new or not."""
        post = self.workspace.posts[channel, ts]
        self.workspace.change(post, text, by_person=True)
        if f"<@{BOT_USER}" in text and self.workspace.channels[channel].kind != "im":
            self.send_event(
                {**post.public(with_metadata=False), "channel": channel, "team": TEAM, "type": "app_mention"}
            )

    def unfurl(self, channel: str, ts: str) -> None:
        """Slack shows what a link leads to: a change of a message that leaves its text as it was."""
        post = self.workspace.posts[channel, ts]
        self.workspace.change(post, post.text)

    def delete(self, channel: str, ts: str) -> None:
        """A person deletes what they wrote."""
        self.workspace.remove(self.workspace.posts[channel, ts])

    def send_event(self, event: Mapping[str, Any]) -> None:
        """Any event, as it is."""
        self._events += 1
        self.sockets.send(
            {
                "type": "event_callback",
                "team_id": TEAM,
                "api_app_id": "A1",
                "event_id": f"Ev{self._events}",
                "event_time": int(self.workspace.clock()),
                "event": {"event_ts": event.get("ts", "1.0"), **event},
                "authorizations": [{"team_id": TEAM, "user_id": BOT_USER, "is_bot": True}],
            }
        )

    def click(self, user: str, post: Post, action_id: str, value: str = "") -> None:
        """`user` clicks what stands below `post`; only what does can be clicked."""
        below = [each for block in post.blocks for each in block.get("elements", ())]
        if action_id not in [each["action_id"] for each in below]:
            raise AssertionError(f"There is no {action_id!r} below {post.text!r}.")
        action = {"action_id": action_id, "block_id": "b1", "type": "button", "action_ts": self.workspace.new_ts()}
        where = {"type": "message", "channel_id": post.channel, "message_ts": post.ts}
        if post.thread_ts:
            where["thread_ts"] = post.thread_ts
        self._interact("block_actions", user, container=where, actions=[action | ({"value": value} if value else {})])

    def submit(self, user: str, **values: str) -> None:
        """`user` fills in the form that was opened last, and sends it."""
        view = self.workspace.views.pop()
        state: dict[str, dict[str, Any]] = {}
        for block in view["blocks"]:
            element, value = block["element"], values.get(block["element"]["action_id"])
            if element["type"] == "static_select":
                filled: dict[str, Any] = {"selected_option": {"value": value} if value else None}
            else:
                assert len(value or "") <= element["max_length"]
                filled = {"value": value}
            state[block["block_id"]] = {element["action_id"]: {"type": element["type"], **filled}}
        self._interact("view_submission", user, view={**view, "state": {"values": state}})

    def _interact(self, kind: str, user: str, **more: Any) -> None:
        about: dict[str, Any] = {"type": kind, "api_app_id": "A1", "team": {"id": TEAM}, "user": {"id": user}}
        self.sockets.send({**about, "trigger_id": self.workspace.trigger(), **more}, kind="interactive")

    def react(self, user: str, post: Post, reaction: str, *, added: bool = True) -> None:
        """`user` puts a reaction below `post`, or takes it away."""
        self.workspace.check_scope("reactions:read")
        item = {"type": "message", "channel": post.channel, "ts": post.ts}
        event = {"type": "reaction_added" if added else "reaction_removed", "user": user, "reaction": reaction}
        self.send_event({**event, "item": item, "item_user": post.user, "event_ts": self.workspace.new_ts()})

    def unacked(self) -> int:
        """Envelopes that nobody acknowledged so far, those aside that nobody was there to hear."""
        return sum(not (envelope.acked.is_set() or envelope.lost) for envelope in self.sockets.envelopes)

    def called(self, method: str) -> list[Args]:
        """The arguments of the calls of `method` that were carried out, or refused for what they ask."""
        return [call.args for call in self.calls if call.method == method]

    # ── what Slack does ─────────────────────────────────────────────────────────────────────────────────────────────

    async def _serve(self, request: web.Request) -> web.Response:
        name, args = request.match_info["method"], await _args(request)
        self.asked[name] += 1
        if gate := self.gates.get((name, str(args.get("channel")))):
            await gate.wait()
        refusal = self._refusal(name, str(args.get("channel")))
        if refusal is not None and not refusal.after:
            return self._refused(refusal)
        if wait_s := self.tiers.wait_s(name, args):
            return self._refused(Refusal(frozenset(), 0, 429, "ratelimited"), wait_s)
        try:
            body = self._answer(name, _token(request), args)
        except SlackSaysNo as no:
            body = {"ok": False, "error": no.error, **no.more}
        if refusal is not None:
            return self._refused(refusal)
        return web.json_response(body, headers={"x-oauth-scopes": ",".join(sorted(self.scopes))})

    def _answer(self, name: str, token: str, args: Args) -> dict[str, Any]:
        if name == "apps.connections.open":
            self._check_token(token, APP_TOKEN, "xapp-")
            if self.sockets.away:
                raise SlackSaysNo("internal_error")
            return {"ok": True, "url": f"ws://127.0.0.1:{self._port}/link?ticket={self.sockets.ticket()}"}
        method = METHODS.get(name)
        if method is None or name in self.unknown:
            raise SlackSaysNo("unknown_method", req_method=name)
        self._check_token(token, BOT_TOKEN, "xoxb-")
        self._check_call(method, args)
        self.calls.append(Call(name, args))
        return {"ok": True, **method.act(self.workspace, args)}

    def _check_token(self, token: str, right: str, kind: str) -> None:
        if not token:
            raise SlackSaysNo("not_authed")
        if token != right:
            # A sound token of another kind is told apart from one that Slack does not know.
            raise SlackSaysNo("invalid_auth" if token.startswith(kind) else "not_allowed_token_type")

    def _check_call(self, method: Method, args: Args) -> None:
        if method.scopes and not self.scopes.intersection(method.scopes):
            self.workspace.check_scope(method.scopes[0])
        for name in method.required:
            if args.get(name) in (None, ""):
                raise SlackSaysNo("invalid_arguments", response_metadata={"messages": [f"missing required: {name}"]})

    def _refusal(self, name: str, channel: str) -> Refusal | None:
        for refusal in self._refusals:
            if name in refusal.methods and refusal.channel in ("", channel) and refusal.times > 0:
                refusal.times -= 1
                return refusal
        return None

    def _refused(self, refusal: Refusal, wait_s: int = 30) -> web.Response:
        asked_s = wait_s if self.retry_after_s is None else self.retry_after_s
        headers = {"Retry-After": str(asked_s)} if refusal.status == 429 else {}
        return web.json_response({"ok": False, "error": refusal.error}, status=refusal.status, headers=headers)

    def _changed(self, event: Mapping[str, Any]) -> None:
        if self.sockets.count:
            self.send_event(event)


def _token(request: web.Request) -> str:
    return request.headers.get("Authorization", "").removeprefix("Bearer").strip()


async def _args(request: web.Request) -> Args:
    args: Args = dict(request.query)
    if request.content_type == "application/json":
        args.update(await request.json())
    elif request.can_read_body:
        args.update(await request.post())
    return args


def other_bot() -> dict[str, str]:
    """What marks an event as another bot's."""
    return {"bot_id": f"{BOT_ID}2", "app_id": "A2"}
