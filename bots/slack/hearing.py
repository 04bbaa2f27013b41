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
    if event.get("type") not in ("app_mention", "message") or event.get("edited"):
        return False  # an edit that leaves a mention in place sends app_mention again
    if not _said_by_a_person(event, me):
        return False
    # What opens a thread and does not name us cannot be a follow-up to anything of ours.
    return address_of(event, me) is not Address.OVERHEARD or bool(thread_of(event))


def edited(event: Mapping[str, Any], me: Identity) -> Mapping[str, Any] | None:
    """What a person made of an earlier message of theirs, as if it had just been said; None when this is no such edit.

    A link that was unfurled and a language that was recognised come as changes, too: they leave the text as it is.
    """
    message, before = event.get("message") or {}, event.get("previous_message") or {}
    if event.get("subtype") != "message_changed" or message.get("text") == before.get("text"):
        return None
    said = {name: value for name, value in _placed(message, event).items() if name != "edited"}
    return said if _said_by_a_person(said, me) else None


def deleted(event: Mapping[str, Any], me: Identity) -> Mapping[str, Any] | None:
    """The message of a person that is gone; None when this is no such deletion."""
    # What has replies is not deleted but becomes a tombstone, which is a change of the message.
    replaced = (event.get("message") or {}).get("subtype") == "tombstone"
    if event.get("subtype") != "message_deleted" and not replaced:
        return None
    said = _placed(event.get("previous_message") or {}, event)
    return said if _said_by_a_person(said, me) else None


def people_in(event: Mapping[str, Any]) -> list[str]:
    """Ids of the speaker and of those mentioned, whose names the message needs."""
    return [str(event["user"]), *mentioned(_text(event))]


def message_from(event: Mapping[str, Any], me: Identity, names: Mapping[str, str]) -> Message:
    """The event as a message; `event` must be worth hearing.

    In a channel each thread is a conversation, opened by the message that names us. A direct message without thread
    belongs to the one conversation of its channel.
    """
    user, stamp = str(event["user"]), str(event["ts"])
    # Slack Connect: `team` and `user_team` are the speaker's home; the workspace of the conversation is always ours.
    home = str(event.get("user_team") or event.get("team") or me.team_id)
    conversation = conversation_of(event, me)
    return Message(
        id=conversation.message_id(stamp),
        conversation=conversation,
        person=Person(user, names.get(user) or user),
        text=plain_words(_text(event), me.user_id, names),
        address=address_of(event, me),
        sent_at=float(stamp),
        shared=not is_direct(event),
        reply_to={
            "channel": conversation.channel,
            "thread_ts": conversation.thread,
            "ts": stamp,
            "user": user,
            "team": home,
        },
    )


def conversation_of(event: Mapping[str, Any], me: Identity) -> Conversation:
    """Where the event belongs. In a channel what opens a thread belongs to that thread from the start."""
    opened = "" if is_direct(event) else str(event["ts"])
    return Conversation(PLATFORM, me.team_id, str(event["channel"]), thread_of(event) or opened)


def thread_of(event: Mapping[str, Any]) -> str:
    """The thread that the event replies in; empty for what opens one, which bears its own stamp once it has replies."""
    thread = str(event.get("thread_ts") or "")
    return "" if thread == event.get("ts") else thread


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


def _said_by_a_person(event: Mapping[str, Any], me: Identity) -> bool:
    if event.get("subtype") not in _SAID or not event.get("channel") or not event.get("ts"):
        return False
    # Bots that answer bots never end.
    return not event.get("bot_id") and event.get("user") not in (None, me.user_id, _SLACKBOT)


def _placed(message: Mapping[str, Any], event: Mapping[str, Any]) -> dict[str, Any]:
    """A message inside an event, which does not say where it was said."""
    return {**message, "channel": event.get("channel"), "channel_type": event.get("channel_type")}


def _text(event: Mapping[str, Any]) -> str:
    return str(event.get("text") or "")
