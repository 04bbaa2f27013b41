"""Reads Discord's messages in core's words: who speaks, where, to whom, and which conversation it belongs to."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import discord
import structlog

from bots.discord.inflow import NotYet
from bots.discord.markup import Names, readable
from bots.discord.patience import PASSING, is_passing
from core.chat.message import Address, Conversation, Message, Person
from core.chat.ports import Mailbox

_log = structlog.get_logger(__name__)

PLATFORM = "discord"
DIRECT_MESSAGES = "dm"  # the workspace of all direct messages
_SPOKEN = (discord.MessageType.default, discord.MessageType.reply)
_REMEMBERED_MESSAGES = 10_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message stands; `thread` is the id of the Discord thread, empty outside of threads."""

    workspace: str
    channel: str
    thread: str = ""

    def conversation(self, thread: str) -> Conversation:
        """The conversation here that is named by `thread`."""
        return Conversation(PLATFORM, self.workspace, self.channel, thread)


@dataclass(frozen=True, slots=True)
class Known:
    """A message that was for us: how and where, and a hash of the text that Discord showed us last."""

    address: Address
    conversation: Conversation
    content_hash: int


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
        self._known: OrderedDict[str, Known] = OrderedDict()  # by the message's id

    def known(self, native_id: str) -> Known | None:
        """What was read of the message `native_id` before; None for one that was not for us, or is too long ago."""
        return self._known.get(native_id)

    def remember(self, message: discord.Message, said: Message) -> None:
        """Notes that `message` was read as `said`, and handed on."""
        native_id = str(message.id)
        self._known[native_id] = Known(said.address, said.conversation, hash(message.content))
        self._known.move_to_end(native_id)
        if len(self._known) > _REMEMBERED_MESSAGES:
            self._known.popitem(last=False)

    def whereabouts(
        self, native_id: str, channel_id: int, guild_id: int | None, client: discord.Client
    ) -> Conversation:
        """The conversation of a message of which nothing but its place is left.

        For one that was not read here it is a guess: outside of threads it takes the message for the first of its
        conversation.
        """
        if known := self.known(native_id):
            return known.conversation
        if guild_id is None:
            return Place(DIRECT_MESSAGES, str(channel_id)).conversation("")
        channel = client.get_channel(channel_id)
        if isinstance(channel, discord.Thread):
            return Place(str(guild_id), str(channel.parent_id)).conversation(str(channel_id))
        return Place(str(guild_id), str(channel_id)).conversation(native_id)

    async def read(self, message: discord.Message, client: discord.Client) -> Message | None:
        """The message as core takes it; None when it is not for us. Raises StoreUnavailable."""
        me = client.user
        if me is None or not is_spoken(message, me.id):
            return None
        place = await _place(message, client)
        found = self._as_before(message) or await self._addressed(message, place, me.id)
        if found is None:
            return None
        address, conversation = found
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

    def _as_before(self, message: discord.Message) -> tuple[Address, Conversation] | None:
        """A reply stays one, and where it is, whatever its edits say and whatever became of the post it replies to."""
        known = self.known(str(message.id))
        return (known.address, known.conversation) if known and known.address is Address.REPLY else None

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
        if known := self.known(question_id):
            return known.conversation
        begun = place.conversation(question_id)
        return begun if await self._mailbox.knows(begun) else None


async def _place(message: discord.Message, client: discord.Client) -> Place:
    channel: object = message.channel
    guild_id = message.guild.id if message.guild else getattr(channel, "guild_id", None)
    if guild_id is None:
        return Place(DIRECT_MESSAGES, str(message.channel.id))
    if isinstance(channel, discord.PartialMessageable):
        # Not among the channels that the gateway told us of: only Discord knows whether it is a thread.
        try:
            channel = await client.fetch_channel(channel.id)
        except (discord.DiscordException, *PASSING) as error:
            if is_passing(error):
                raise NotYet(f"a channel cannot be looked up now ({type(error).__name__})") from error
            raise
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
