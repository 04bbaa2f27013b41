"""The fake Discord's HTTP API, version 10, as far as a bot that answers needs it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from tests.support.fake_discord.interactions import Interactions, bad_components
from tests.support.fake_discord.limits import CUT, SILENCE, Fault, Limits
from tests.support.fake_discord.sessions import Sessions, abort
from tests.support.fake_discord.world import DM_CHANNEL, REPLY_MESSAGE, Channel, Json, Post, World

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
MAX_CONTENT, MAX_NONCE = 2000, 25


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it arrived; `at` is monotonic seconds."""

    method: str
    path: str
    body: Any
    at: float


class Refused(Exception):
    """Discord says no: the status, its own code, and the fields that are wrong."""

    def __init__(self, status: int, code: int, message: str, errors: Json | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"message": message, "code": code, **({"errors": errors} if errors else {})}


class Rest:
    """`calls` are all requests; `faults` befall the next ones; `nonce_s` is how long a nonce is remembered."""

    def __init__(self, world: World, sessions: Sessions) -> None:
        self.world = world
        self.sessions = sessions
        self.limits = Limits()
        self.faults: list[Fault] = []
        self.calls: list[Call] = []
        self.nonce_s = 180.0
        self.interactions = Interactions(world)
        self._nonces: dict[tuple[str, str], tuple[float, Post]] = {}

    def routes(self) -> list[web.RouteDef]:
        messages = "/api/v10/channels/{channel}/messages"
        return [
            web.get("/api/v10/gateway/bot", self._gateway_bot),
            web.get("/api/v10/users/@me", self._me),
            web.get("/api/v10/guilds/{guild}/threads/active", self._active_threads),
            web.post("/api/v10/users/@me/channels", self._open_direct),
            web.get("/api/v10/oauth2/applications/@me", self._application),
            web.get("/api/v10/channels/{channel}", self._channel_info),
            web.post("/api/v10/channels/{channel}/typing", self._type),
            web.post(messages, self._post),
            web.get(messages, self._history),
            web.get(messages + "/{message}", self._get),
            web.patch(messages + "/{message}", self._edit),
            web.delete(messages + "/{message}", self._delete),
            *self.interactions.routes(),
        ]

    @web.middleware
    async def guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Token, faults, rate limits; and errors in Discord's shape."""
        if not request.path.startswith("/api/"):
            return await handler(request)
        text = await request.text()
        self.calls.append(Call(request.method, request.path, json.loads(text) if text else None, time.monotonic()))
        fault = next((fault for fault in self.faults if fault.meets(request)), None)
        if fault:
            return await self._suffer(fault, request, handler)
        if request.path.startswith(("/api/v10/interactions/", "/api/v10/webhooks/")):
            return await handler(request)  # the token in the path is the right
        if request.headers.get("Authorization") != f"Bot {self.world.token}":
            return _json({"message": "401: Unauthorized", "code": 0}, 401)
        return await self._limited(request, handler)

    async def _suffer(self, fault: Fault, request: web.Request, handler: Handler) -> web.StreamResponse:
        fault.times -= 1
        if fault.after:
            await handler(request)
        if fault.status == SILENCE:
            await asyncio.Event().wait()
        if fault.status == CUT:
            abort(request)
            return web.Response()
        return fault.response()

    async def _limited(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        channel_id = request.match_info.get("channel", "")
        resource = request.match_info.route.resource
        route = f"{request.method} {resource.canonical if resource else request.path}"
        passes, headers = self.limits.spend(route, channel_id) if channel_id else (True, {})
        if not passes:
            wait = {"message": "You are being rate limited.", "retry_after": float(headers["Retry-After"])}
            return _json(wait | {"global": False}, 429, headers)
        try:
            response = await handler(request)
        except Refused as refused:
            return _json(refused.body, refused.status, headers)
        response.headers.update(headers)
        return response

    # ── who and where ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _gateway_bot(self, request: web.Request) -> web.Response:
        limit = {"total": 1000, "remaining": 999, "reset_after": 14_400_000, "max_concurrency": 1}
        return _json({"url": self.sessions.url, "shards": 1, "session_start_limit": limit})

    async def _me(self, request: web.Request) -> web.Response:
        return _json(self.world.bot.json())

    async def _application(self, request: web.Request) -> web.Response:
        application = {
            "id": self.world.bot.id,
            "name": "Parley",
            "description": "",
            "icon": None,
            "bot_public": True,
            "bot_require_code_grant": False,
            "owner": self.world.user("owner").json(),
            "verify_key": "0" * 64,
            "flags": self.world.application_flags,
            "approximate_guild_count": 1,
        }
        return _json(application)

    async def _open_direct(self, request: web.Request) -> web.Response:
        recipient = str((await request.json())["recipient_id"])
        user = next((user for user in self.world.users.values() if user.id == recipient), None)
        if user is None:
            raise Refused(400, 50033, "Invalid Recipient(s)")
        return _json(self.world.direct(user).json())

    async def _channel_info(self, request: web.Request) -> web.Response:
        return _json(self._channel(request).json())

    async def _active_threads(self, request: web.Request) -> web.Response:
        if request.match_info["guild"] != self.world.guild_id:
            raise Refused(404, 10004, "Unknown Guild")
        return _json({"threads": [thread.json() for thread in self.world.active_threads()], "members": []})

    async def _type(self, request: web.Request) -> web.Response:
        self._writable(request)
        return web.Response(status=204)

    # ── messages ────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _post(self, request: web.Request) -> web.Response:
        channel = self._writable(request)
        body = await request.json()
        content = _content(body)
        nonce = body.get("nonce")
        if nonce is not None and len(str(nonce)) > MAX_NONCE:
            raise _invalid("nonce", "NONCE_TYPE_TOO_LONG", "Must be 25 or fewer in length.")
        if nonce is not None and body.get("enforce_nonce"):
            made_at, earlier = self._nonces.get((channel.id, nonce), (0.0, None))
            if earlier and earlier.id in self.world.posts and time.monotonic() < made_at + self.nonce_s:
                return _json(earlier.json() | {"nonce": nonce})
        quoted = self._quoted(channel, body)
        post = Post(self.world.new_id(), channel, self.world.bot, content, quoted=quoted, nonce=nonce)
        post.type = REPLY_MESSAGE if quoted else 0
        post.flags = body.get("flags", 0)
        post.components = _components(body) or []
        post.mentions = self.world.mentioned(content)
        post.rings = _rings(post, body.get("allowed_mentions"))
        self.world.add(post)
        if nonce is not None:
            self._nonces[channel.id, nonce] = (time.monotonic(), post)
        await self.sessions.tell_message(post)
        return _json(post.json() | ({"nonce": nonce} if nonce else {}))

    def _quoted(self, channel: Channel, body: Json) -> Post | None:
        if "message_reference" not in body:
            return None
        reference = body["message_reference"]
        if not isinstance(reference, dict):
            raise _invalid("message_reference", "DICT_TYPE_CONVERT", "Only dictionaries may be used.")
        if channel.unreadable:
            raise Refused(403, 160002, "Cannot reply without permission to read message history")
        quoted = self.world.posts.get(str(reference.get("message_id")))
        if quoted is not None and quoted.channel is channel:
            return quoted
        if reference.get("fail_if_not_exists", True):
            raise _invalid("message_reference", "MESSAGE_REFERENCE_UNKNOWN_MESSAGE", "Unknown message")
        return None

    async def _history(self, request: web.Request) -> web.Response:
        channel = self._channel(request)
        if channel.unreadable:
            raise Refused(403, 50001, "Missing Access")
        limit = int(request.query.get("limit", "50"))
        if not 1 <= limit <= 100:
            raise _invalid("limit", "NUMBER_TYPE_MAX", "int value should be less than or equal to 100.")
        posts = _page(self.world.history(channel.id), request.query, limit)
        # Newest first, and without nonces: Discord does not keep them with the message.
        return _json([self.sessions.as_read(post) for post in reversed(posts)])

    async def _get(self, request: web.Request) -> web.Response:
        return _json(self._message(request).json())

    async def _edit(self, request: web.Request) -> web.Response:
        post = self._message(request)
        if post.author is not self.world.bot:
            raise Refused(403, 50005, "Cannot edit a message authored by another user")
        body = await request.json()
        components = _components(body)
        post.edit(_content(body))
        if components is not None:  # what an edit does not name stays
            post.components = components
        await self.sessions.tell_message(post, "MESSAGE_UPDATE")
        return _json(post.json())

    async def _delete(self, request: web.Request) -> web.Response:
        post = self._message(request)
        if post.author is not self.world.bot:
            raise Refused(403, 50013, "Missing Permissions")
        self.world.remove([post.id])
        await self.sessions.tell_deleted(post.channel, [post.id])
        return web.Response(status=204)

    def _channel(self, request: web.Request) -> Channel:
        channel = self.world.channels.get(request.match_info["channel"])
        if channel is None:
            raise Refused(404, 10003, "Unknown Channel")
        return channel

    def _writable(self, request: web.Request) -> Channel:
        channel = self._channel(request)
        if channel.forbidden:
            if channel.type == DM_CHANNEL:
                raise Refused(403, 50007, "Cannot send messages to this user")
            raise Refused(403, 50013, "Missing Permissions")
        return channel

    def _message(self, request: web.Request) -> Post:
        channel = self._channel(request)
        post = self.world.posts.get(request.match_info["message"])
        if post is None or post.channel is not channel:
            raise Refused(404, 10008, "Unknown Message")
        return post


def _page(posts: list[Post], query: Mapping[str, str], limit: int) -> list[Post]:
    """Up to `limit` of `posts` (oldest first) that stand `after`, `before` or `around` an id, else the newest."""
    if after := query.get("after"):
        return [post for post in posts if int(post.id) > int(after)][:limit]
    if before := query.get("before"):
        return [post for post in posts if int(post.id) < int(before)][-limit:]
    if around := query.get("around"):
        older = [post for post in posts if int(post.id) <= int(around)]
        return (older[-(limit // 2) - 1 :] + posts[len(older) : len(older) + limit // 2])[:limit]
    return posts[-limit:]


def _content(body: Json) -> str:
    content = str(body.get("content") or "").strip()
    if len(content) > MAX_CONTENT:
        raise _invalid("content", "BASE_TYPE_MAX_LENGTH", "Must be 2000 or fewer in length.")
    if not content:
        raise Refused(400, 50006, "Cannot send an empty message")
    return content


def _components(body: Json) -> list[Json] | None:
    rows: list[Json] | None = body.get("components")
    if rows and (problem := bad_components(rows)):
        raise _invalid("components", "COMPONENT_LAYOUT_WIDTH_EXCEEDED", problem)
    return rows


def _rings(post: Post, allowed: Json | None) -> list[str]:
    """Whom the post notifies; without `allowed_mentions` that is everyone it names, and the author it replies to."""
    parse = ["users", "everyone"] if allowed is None else allowed.get("parse", [])
    rings = ["everyone"] if "everyone" in parse and ("@everyone" in post.content or "@here" in post.content) else []
    users = {user.id for user in post.mentions}
    rings += sorted(users if "users" in parse else users & set((allowed or {}).get("users", [])))
    if post.quoted is not None and (allowed is None or allowed.get("replied_user", False)):
        rings.append(post.quoted.author.id)
    return rings


def _invalid(field: str, code: str, message: str) -> Refused:
    return Refused(400, 50035, "Invalid Form Body", {field: {"_errors": [{"code": code, "message": message}]}})


def _json(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    # With a charset in the Content-Type discord.py takes the body for text.
    response = web.Response(status=status, body=json.dumps(body).encode(), headers=headers)
    response.headers["Content-Type"] = "application/json"
    return response
