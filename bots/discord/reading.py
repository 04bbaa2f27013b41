"""Reads Discord's messages in core's words: who speaks, where, to whom, and which conversation it belongs to."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import discord
import structlog

from bots.discord.markup import Names, readable
from core.chat.message import Address, Conversation, Message, Person
from core.chat.ports import Mailbox

_log = structlog.get_logger(__name__)

PLATFORM = "discord"
DIRECT_MESSAGES = "dm"  # the workspace of all direct messages
_SPOKEN = (discord.MessageType.default, discord.MessageType.reply)
_REMEMBERED_QUESTIONS = 10_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands; `thread` is the id of the Discord thread, empty outside of threads."""

    workspace: str
    channel: str
    thread: str = ""

    def conversation(self, thread: str) -> Conversation:
        """The conversation here that is named by `thread`."""
        return Conversation(PLATFORM, self.workspace, self.channel, thread)


def is_spoken(message: discord.Message, own_id: int) -> bool:
    """Whether a person said this: no bot, no webhook, not ourselves, no announcement of Discord's."""
    author = message.author
    return not (author.bot or author.system or author.id == own_id or message.webhook_id) and message.type in _SPOKEN


class Reader:
    """Reads the messages that the gateway hears.

    With `follow_threads` what is said in a Discord thread without a mention is read as overheard; it needs the message
    content intent.
    """

    def __init__(self, mailbox: Mailbox, *, follow_threads: bool) -> None:
        self._mailbox = mailbox
        self._follow_threads = follow_threads
        self._recent: OrderedDict[str, Conversation] = OrderedDict()  # by the question's id

    async def read(self, message: discord.Message, client: discord.Client) -> Message | None:
        """The message as core takes it; None when it is not for us. Raises StoreUnavailable."""
        me = client.user
        if me is None or not is_spoken(message, me.id):
            return None
        place = await _place(message, client)
        found = await self._addressed(message, place, me.id)
        if found is None:
            return None
        address, conversation = found
        self._remember(message, conversation)
        return Message(
            id=conversation.message_id(str(message.id)),
            conversation=conversation,
            person=Person(str(message.author.id), message.author.display_name, message.author.bot),
            text=readable(message.content, _names(message, me.id)),
            address=address,
            sent_at=message.created_at.timestamp(),
            shared=place.workspace != DIRECT_MESSAGES,
            reply_to={
                "channel_id": str(message.channel.id),
                "message_id": str(message.id),
                "guild_id": "" if place.workspace == DIRECT_MESSAGES else place.workspace,
            },
        )

    async def _addressed(
        self, message: discord.Message, place: Place, own_id: int
    ) -> tuple[Address, Conversation] | None:
        if place.workspace == DIRECT_MESSAGES:
            return Address.DIRECT, place.conversation("")
        answered = await self._answered(message, place, own_id)
        mentioned = _mentions(message, own_id)
        if place.thread:
            # A Discord thread is one conversation, whoever replies to whatever in it.
            if answered or mentioned:
                return (Address.REPLY if answered else Address.MENTION), place.conversation(place.thread)
            return (Address.OVERHEARD, place.conversation(place.thread)) if self._follow_threads else None
        if answered:
            return Address.REPLY, answered
        return (Address.MENTION, place.conversation(str(message.id))) if mentioned else None

    async def _answered(self, message: discord.Message, place: Place, own_id: int) -> Conversation | None:
        """The conversation that goes on when `message` replies to a post of ours; a new one when it is unknown."""
        reference = message.reference
        if message.type is not discord.MessageType.reply or reference is None or reference.message_id is None:
            return None
        post = reference.resolved if isinstance(reference.resolved, discord.Message) else None
        if post is not None and post.author.id != own_id:
            return None
        found = await self._mailbox.conversation_of(PLATFORM, str(reference.message_id))
        if found is None and post is not None:
            found = await self._still_growing(post, place) or place.conversation(str(message.id))
        if found is not None and (found.workspace, found.channel) != (place.workspace, place.channel):
            _log.warning("discord_reply_across_channels", message=str(message.id), conversation=str(found))
            return None
        return found

    async def _still_growing(self, post: discord.Message, place: Place) -> Conversation | None:
        """The conversation of a post that is not committed yet, by the question to which it replies."""
        if post.reference is None or post.reference.message_id is None:
            return None
        question_id = str(post.reference.message_id)
        if question_id in self._recent:
            return self._recent[question_id]
        begun = place.conversation(question_id)
        return begun if await self._mailbox.knows(begun) else None

    def _remember(self, message: discord.Message, conversation: Conversation) -> None:
        self._recent[str(message.id)] = conversation
        if len(self._recent) > _REMEMBERED_QUESTIONS:
            self._recent.popitem(last=False)


async def _place(message: discord.Message, client: discord.Client) -> Place:
    channel: object = message.channel
    guild_id = message.guild.id if message.guild else getattr(channel, "guild_id", None)
    if guild_id is None:
        return Place(DIRECT_MESSAGES, str(message.channel.id))
    if isinstance(channel, discord.PartialMessageable):
        # Not among the channels that the gateway told us of: only Discord knows whether it is a thread.
        channel = await client.fetch_channel(channel.id)
    if isinstance(channel, discord.Thread):
        return Place(str(guild_id), str(channel.parent_id), str(channel.id))
    return Place(str(guild_id), str(message.channel.id))


def _mentions(message: discord.Message, own_id: int) -> bool:
    own_role = message.guild.self_role if message.guild else None
    return any(user.id == own_id for user in message.mentions) or own_role in message.role_mentions


def _names(message: discord.Message, own_id: int) -> Names:
    guild = message.guild
    own_role = guild.self_role if guild else None
    channels = (guild.get_channel_or_thread(id_) for id_ in message.raw_channel_mentions) if guild else ()
    return Names(
        own=frozenset({str(own_id)} | ({str(own_role.id)} if own_role else set())),
        people={str(user.id): user.display_name for user in message.mentions},
        roles={str(role.id): role.name for role in message.role_mentions},
        channels={str(channel.id): channel.name for channel in channels if channel},
    )
