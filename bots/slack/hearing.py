"""Reads Slack's events: which of them a person said to us or near us, and what that is in core's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bots.slack.connection import Identity
from bots.slack.markup import mentioned, plain_words
from core.chat.message import Address, Conversation, Message, Person

PLATFORM = "slack"
# Other subtypes are edits, deletions, joins, topics and words of bots.
_SAID = frozenset({None, "file_share", "me_message", "thread_broadcast"})
_SLACKBOT = "USLACKBOT"


def worth_hearing(event: Mapping[str, Any], me: Identity) -> bool:
    """Whether a person said this where we may have to answer.

    A mention arrives both as `app_mention` and as `message`; both are worth hearing, and both give the same message.
    """
    if event.get("type") not in ("app_mention", "message") or event.get("subtype") not in _SAID:
        return False
    if event.get("bot_id") or event.get("user") in (None, me.user_id, _SLACKBOT):
        return False  # bots that answer bots never end
    if event.get("edited") or not event.get("channel") or not event.get("ts"):
        return False  # an edit that leaves a mention in place sends app_mention again
    # What opens a thread and does not name us cannot be a follow-up to anything of ours.
    return address_of(event, me) is not Address.OVERHEARD or bool(event.get("thread_ts"))


def people_in(event: Mapping[str, Any]) -> list[str]:
    """Ids of the speaker and of those mentioned, whose names the message needs."""
    return [str(event["user"]), *mentioned(_text(event))]


def message_from(event: Mapping[str, Any], me: Identity, names: Mapping[str, str]) -> Message:
    """The event as a message; `event` must be worth hearing.

    In a channel each thread is a conversation, opened by the message that names us. A direct message without thread
    belongs to the one conversation of its channel.
    """
    channel, user, stamp = str(event["channel"]), str(event["user"]), str(event["ts"])
    direct = is_direct(event)
    thread = str(event.get("thread_ts") or ("" if direct else stamp))
    # Slack Connect: `team` and `user_team` are the speaker's home; the workspace of the conversation is always ours.
    home = str(event.get("user_team") or event.get("team") or me.team_id)
    conversation = Conversation(PLATFORM, me.team_id, channel, thread)
    return Message(
        id=conversation.message_id(stamp),
        conversation=conversation,
        person=Person(user, names.get(user) or user),
        text=plain_words(_text(event), me.user_id, names),
        address=address_of(event, me),
        sent_at=float(stamp),
        shared=not direct,
        reply_to={"channel": channel, "thread_ts": thread, "ts": stamp, "user": user, "team": home},
    )


def address_of(event: Mapping[str, Any], me: Identity) -> Address:
    """How the event reaches us; the same for both deliveries of a mention."""
    if is_direct(event):
        return Address.DIRECT
    if event.get("type") == "app_mention" or me.user_id in mentioned(_text(event)):
        return Address.MENTION
    return Address.OVERHEARD


def is_direct(event: Mapping[str, Any]) -> bool:
    """Whether this was said to us alone. `app_mention` carries no channel type; ids of direct messages begin with D."""
    return event.get("channel_type") == "im" or str(event.get("channel", "")).startswith("D")


def _text(event: Mapping[str, Any]) -> str:
    return str(event.get("text") or "")
