"""The fake Discord's server, and what people and operators do on it."""

from __future__ import annotations

import asyncio
import logging
from typing import Self

from aiohttp import web
from discord.gateway import DiscordWebSocket
from discord.http import Route

from tests.support.fake_discord.interactions import Interaction
from tests.support.fake_discord.limits import Fault
from tests.support.fake_discord.rest import Rest
from tests.support.fake_discord.sessions import MESSAGE_CONTENT, Sessions
from tests.support.fake_discord.world import APPLICATION_MESSAGE_CONTENT, REPLY_MESSAGE, Channel, Post, World


class FakeDiscord:
    """`async with FakeDiscord() as fake:` serves at `fake.api_url` and `fake.gateway_url` until the block ends.

    The SDK keeps its endpoints in its classes, and its log is global; both are put back at the end.
    """

    def __init__(self, *, message_content: bool = False) -> None:
        self.world = World()
        self.sessions = Sessions(self.world)
        self.rest = Rest(self.world, self.sessions)
        if message_content:
            self.sessions.privileged = MESSAGE_CONTENT
            self.world.application_flags = APPLICATION_MESSAGE_CONTENT
        self.api_url = ""
        self.gateway_url = ""
        self._runner: web.AppRunner | None = None
        self._endpoints = (Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY)
        self._log_level = logging.getLogger("discord").level

    @property
    def token(self) -> str:
        return self.world.token

    async def __aenter__(self) -> Self:
        app = web.Application(middlewares=[self.rest.guard])
        app.router.add_routes([*self.rest.routes(), web.get("/gateway/", self.sessions.handle)])
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        port = self._runner.addresses[0][1]
        self.api_url = f"http://127.0.0.1:{port}/api/v10"
        self.gateway_url = self.sessions.url = f"ws://127.0.0.1:{port}/gateway/"
        return self

    async def __aexit__(self, *_: object) -> None:
        Route.BASE, DiscordWebSocket.DEFAULT_GATEWAY = self._endpoints
        logging.getLogger("discord").setLevel(self._log_level)
        self.sessions.abort_all()
        if self._runner is not None:
            await self._runner.cleanup()

    # ── what people do ──────────────────────────────────────────────────────────────────────────────────────────────

    async def say(
        self,
        person: str,
        text: str,
        channel: Channel,
        *,
        reply_to: str | None = None,
        ping: bool = True,
        bot: bool = False,
        webhook: bool = False,
        type_: int = 0,
    ) -> str:
        """`person` writes `text`; with `ping` a reply mentions the author it replies to. Returns the message's id."""
        author = self.world.user(person, bot=bot)
        post = Post(self.world.new_id(), channel, author, text, type=type_, webhook=webhook)
        post.mentions = self.world.mentioned(text)
        post.mention_roles = self.world.mentioned_roles(text)
        if reply_to is not None:
            post.quoted = self.world.posts[reply_to]
            post.type = REPLY_MESSAGE
            if ping and post.quoted.author not in post.mentions:
                post.mentions.append(post.quoted.author)
        self.world.add(post)
        await self.sessions.tell_message(post)
        return post.id

    async def say_direct(self, person: str, text: str) -> str:
        """`person` writes to the bot alone."""
        return await self.say(person, text, self.world.direct(self.world.user(person)))

    async def edit(self, message_id: str, text: str) -> None:
        """The author replaces the text of a message; whom it mentions follows from the new text."""
        post = self.world.posts[message_id]
        replied_to = post.quoted.author if post.quoted else None
        post.mentions = [user for user in post.mentions if user is replied_to] + self.world.mentioned(text)
        post.mention_roles = self.world.mentioned_roles(text)
        post.edit(text)
        await self.sessions.tell_message(post, "MESSAGE_UPDATE")

    async def decorate(self, message_id: str, *, pinned: bool = False, embeds: int = 0) -> None:
        """A message is pinned, or Discord looks up what its links show; its text stays."""
        post = self.world.posts[message_id]
        post.pinned = pinned
        post.embeds = [{"type": "link", "title": f"link {number}"} for number in range(embeds)]
        await self.sessions.tell_message(post, "MESSAGE_UPDATE")

    async def delete(self, *message_ids: str) -> None:
        """One message is deleted, or several of one channel at once."""
        channel = self.world.posts[message_ids[0]].channel
        self.world.remove(message_ids)
        await self.sessions.tell_deleted(channel, message_ids)

    async def redeliver(self, message_id: str) -> None:
        """Tells the sessions of a message once more."""
        await self.sessions.tell_message(self.world.posts[message_id])

    async def click(self, person: str, post: Post, word: str) -> Interaction:
        """`person` clicks a button of ours below `post`, and waits for what they see of it."""
        interaction, event = self.rest.interactions.click(self.world.user(person), post, f"parley:{word}")
        await self.sessions.tell_interaction(event)
        return await self.rest.interactions.answered(interaction)

    async def submit(self, opened: Interaction, **values: str) -> Interaction:
        """The person to whom a form was opened fills it in and sends it."""
        interaction, event = self.rest.interactions.submit(opened, values)
        await self.sessions.tell_interaction(event)
        return await self.rest.interactions.answered(interaction)

    async def react(self, person: str, post: Post, emoji: str, *, added: bool = True, bot: bool = False) -> None:
        """`person` puts a reaction below `post`, or takes it away."""
        await self.sessions.tell_reaction(post, self.world.user(person, bot=bot), emoji, added=added)

    async def open_thread(self, name: str, parent: Channel, root: str | None = None, *, told: bool = True) -> Channel:
        """Opens a thread in `parent`; with `told=False` the gateway says nothing of it."""
        thread = self.world.add_thread(name, parent, self.world.posts[root] if root else None)
        if told:
            await self.sessions.tell_all("THREAD_CREATE", thread.json() | {"newly_created": True})
        return thread

    @property
    def mention(self) -> str:
        return f"<@{self.world.bot.id}>"

    # ── what goes wrong ─────────────────────────────────────────────────────────────────────────────────────────────

    def befall(self, fault: Fault) -> None:
        """`fault` happens to the next calls that it meets."""
        self.rest.faults.append(fault)

    async def disconnect(self) -> None:
        """The gateway is out of reach until `reconnect`, and forgets all sessions; the HTTP API goes on."""
        self.sessions.go_away()

    async def reconnect(self) -> None:
        """The gateway is there again; returns once the bot has begun a new session."""
        before = self.sessions.identified
        self.sessions.away = False
        await self.sessions.wait_until_connected(identified=before + 1)

    # ── what can be seen ────────────────────────────────────────────────────────────────────────────────────────────

    def posts(self, channel: Channel | None = None) -> list[Post]:
        """The bot's posts that are visible now, oldest first."""
        own = (post for post in self.world.posts.values() if post.author is self.world.bot)
        seen = (post for post in own if channel is None or post.channel is channel)
        return sorted(seen, key=lambda post: int(post.id))

    def calls(self, method: str, ending: str = "") -> int:
        """How many requests of that kind arrived."""
        return sum(call.method == method and call.path.endswith(ending) for call in self.rest.calls)

    async def wait_until_connected(self, *, identified: int = 1, resumed: int = 0) -> None:
        """Until the bot has begun so many sessions and resumed so many."""
        await self.sessions.wait_until_connected(identified=identified, resumed=resumed)

    async def wait_for_posts(self, count: int, within_s: float = 10.0) -> list[Post]:
        """Until the bot has at least `count` visible posts."""
        async with asyncio.timeout(within_s):
            while len(self.posts()) < count:
                await asyncio.sleep(0.01)
        return self.posts()
