"""The methods that read: which channels the bot is in, and what was said there, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from tests.support.fake_slack.workspace import Post, SlackSaysNo, Workspace

Args = dict[str, Any]
T = TypeVar("T")
TYPES = {"channel": "public_channel", "group": "private_channel", "mpim": "mpim", "im": "im"}


def conversations(workspace: Workspace, args: Args) -> dict[str, Any]:
    """The channels that the bot belongs to."""
    asked = str(args.get("types") or "public_channel").split(",")
    if not set(asked) <= set(TYPES.values()):
        raise SlackSaysNo("invalid_types")
    for channel_type in asked:
        workspace.check_scope(_SCOPES[channel_type])
    kept = [
        channel for channel in workspace.channels.values() if channel.bot_is_member and TYPES[channel.kind] in asked
    ]
    if _truth(args.get("exclude_archived")):
        kept = [channel for channel in kept if not channel.archived]
    page, more = _slice(kept, workspace, args)
    return {"channels": [{"id": channel.id, "is_im": channel.kind == "im"} for channel in page], **more}


def history(workspace: Workspace, args: Args) -> dict[str, Any]:
    """What opens a thread or stands alone; replies are not in it."""
    channel = workspace.channels.get(args["channel"])
    if channel is None:
        raise SlackSaysNo("channel_not_found")
    if not channel.bot_is_member:
        raise SlackSaysNo("not_in_channel")
    posts = [post for post in workspace.in_channel(channel.id) if _within(post, args)]
    # Between two stamps Slack begins with the newest; with `oldest` alone it begins there, and pages forward.
    forward = bool(args.get("oldest")) and not args.get("latest")
    page, more = _slice(posts[::-1] if forward else posts, workspace, args)
    return {**_messages(page[::-1] if forward else page, workspace, args), **more}


def replies(workspace: Workspace, args: Args) -> dict[str, Any]:
    """A thread, its root first, the oldest first."""
    posts = workspace.in_thread(args["channel"], args["ts"])
    if not posts:
        raise SlackSaysNo("thread_not_found")
    # Slack gives the root of the thread whatever `oldest` says.
    page, more = _slice([p for p in posts if p.ts == args["ts"] or _within(p, args)], workspace, args)
    return {**_messages(page, workspace, args), **more}


def _within(post: Post, args: Args) -> bool:
    stamp, latest = float(post.ts), float(args.get("latest") or "inf")
    return float(args.get("oldest") or 0) < stamp < latest


def _messages(posts: Sequence[Post], workspace: Workspace, args: Args) -> dict[str, Any]:
    wants = _truth(args.get("include_all_metadata"))
    return {"messages": [workspace.shown(post, with_metadata=wants) for post in posts]}


def _slice(found: Sequence[T], workspace: Workspace, args: Args) -> tuple[Sequence[T], dict[str, Any]]:
    start = int(args.get("cursor") or 0)
    end = start + min(int(args.get("limit") or 100), workspace.page_max)
    more = end < len(found)
    return found[start:end], {"has_more": more, "response_metadata": {"next_cursor": str(end) if more else ""}}


def _truth(value: object) -> bool:
    return str(value).lower() in ("1", "true")


_SCOPES = {
    "public_channel": "channels:read",
    "private_channel": "groups:read",
    "mpim": "mpim:read",
    "im": "im:read",
}
