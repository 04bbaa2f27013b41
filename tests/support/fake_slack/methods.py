"""The Web API's methods: what each requires, and what it does to the workspace."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.support.fake_slack.reading import Args, conversations, history, replies
from tests.support.fake_slack.workspace import BOT_ID, BOT_USER, TEAM, Post, SlackSaysNo, Workspace

MAX_MARKDOWN = 12_000
MAX_TEXT = 40_000
MAX_ELEMENTS = {"context_actions": 5, "actions": 25}


@dataclass(frozen=True, slots=True)
class Method:
    """`scopes`: any one of them suffices. `per_minute` is the tier, `per_channel` whether each channel has its own."""

    act: Callable[[Workspace, Args], dict[str, Any]]
    required: tuple[str, ...]
    per_minute: int
    scopes: tuple[str, ...] = ()
    per_channel: bool = False


def _auth_test(workspace: Workspace, args: Args) -> dict[str, Any]:
    return {
        "url": "http://fake/",
        "team": "Fake",
        "user": "parley",
        "team_id": TEAM,
        "user_id": BOT_USER,
        "bot_id": BOT_ID,
    }


def _users_info(workspace: Workspace, args: Args) -> dict[str, Any]:
    name = workspace.people.get(args["user"])
    if name is None:
        raise SlackSaysNo("user_not_found")
    user = {"id": args["user"], "name": name.lower(), "profile": {"display_name": name, "real_name": name}}
    return {"user": user}


def _post_message(workspace: Workspace, args: Args) -> dict[str, Any]:
    workspace.writable(args["channel"])
    post = Post(
        channel=args["channel"],
        ts=workspace.new_ts(),
        user=BOT_USER,
        bot_id=BOT_ID,
        text=_content(args),
        thread_ts=_thread(workspace, args),
        metadata=_metadata(args),
        sent=args,
        blocks=_blocks(args),
    )
    workspace.add(post)
    return {"channel": post.channel, "ts": post.ts, "message": post.public(with_metadata=True)}


def _update(workspace: Workspace, args: Args) -> dict[str, Any]:
    workspace.writable(args["channel"])
    post = workspace.own(args["channel"], args["ts"], "cant_update_message")
    if workspace.is_streaming(post):
        raise SlackSaysNo("streaming_state_conflict")
    text = _content(args)
    post.metadata = _metadata(args) if "metadata" in args else post.metadata
    post.edits += 1
    post.blocks = _blocks(args)  # an update without blocks takes them away
    workspace.change(post, text)
    return {"channel": post.channel, "ts": post.ts, "text": post.text}


def _delete(workspace: Workspace, args: Args) -> dict[str, Any]:
    post = workspace.own(args["channel"], args["ts"], "cant_delete_message")
    if workspace.is_streaming(post):
        raise SlackSaysNo("streaming_state_conflict")
    workspace.remove(post)
    return {"channel": post.channel, "ts": post.ts}


def _start_stream(workspace: Workspace, args: Args) -> dict[str, Any]:
    channel = workspace.writable(args["channel"])
    if channel.kind != "im":
        for name in ("recipient_user_id", "recipient_team_id"):
            if not args.get(name):
                raise SlackSaysNo(f"missing_{name}")
    post = Post(
        channel=channel.id,
        ts=workspace.new_ts(),
        user=BOT_USER,
        bot_id=BOT_ID,
        text=_markdown(args),
        thread_ts=_thread(workspace, args),
        streaming=True,
        born=workspace.clock(),
        sent=args,
    )
    workspace.add(post)
    return {"channel": post.channel, "ts": post.ts}


def _append_stream(workspace: Workspace, args: Args) -> dict[str, Any]:
    post = workspace.stream(args["channel"], args["ts"])
    post.text = _grown(post.text, _markdown(args))
    return {"channel": post.channel, "ts": post.ts}


def _stop_stream(workspace: Workspace, args: Args) -> dict[str, Any]:
    metadata, blocks = _metadata(args), _blocks(args)
    post = workspace.stream(args["channel"], args["ts"])
    post.text = _grown(post.text, _markdown(args))
    post.metadata = metadata or post.metadata
    post.streaming = False
    post.blocks = blocks
    return {"channel": post.channel, "ts": post.ts, "message": post.public(with_metadata=True)}


def _thread_status(workspace: Workspace, args: Args) -> dict[str, Any]:
    workspace.writable(args["channel_id"])
    return {}


def _session_status(workspace: Workspace, args: Args) -> dict[str, Any]:
    workspace.writable(args["channel_id"])
    if args["status"] not in ("processing", "active", "suspended", "closed"):
        raise SlackSaysNo("invalid_arguments")
    return {"status": args["status"]}


def _content(args: Args) -> str:
    text, markdown, blocks = str(args.get("text") or ""), _markdown(args), _blocks(args)
    if markdown and (text or blocks):
        raise SlackSaysNo("markdown_text_conflict")
    if shown := "".join(block["text"] for block in blocks if block["type"] == "markdown"):
        return shown
    if not (text or markdown).strip():
        raise SlackSaysNo("no_text")
    if len(text) > MAX_TEXT:
        raise SlackSaysNo("msg_too_long")
    return text or markdown


def _blocks(args: Args) -> list[dict[str, Any]]:
    given = args.get("blocks") or []
    blocks: list[dict[str, Any]] = json.loads(given) if isinstance(given, str) else given
    if len(blocks) > 50 or not all(_is_sound(block) for block in blocks):
        raise SlackSaysNo("invalid_blocks")
    return blocks


def _is_sound(block: dict[str, Any]) -> bool:
    if block["type"] == "markdown":
        return 1 <= len(block["text"]) <= MAX_MARKDOWN
    elements, kinds = block.get("elements", []), {"context_actions": {"feedback_buttons"}, "actions": {"button"}}
    if block["type"] not in kinds or not 1 <= len(elements) <= MAX_ELEMENTS[block["type"]]:
        return False
    ids = [element.get("action_id") for element in elements]
    if len(set(ids)) < len(ids) or any(element["type"] not in kinds[block["type"]] for element in elements):
        return False
    texts = [
        (part["text"], part.get("value", ""))
        for element in elements
        for part in (element.get("positive_button", element), element.get("negative_button", element))
    ]
    return all(text["type"] == "plain_text" and len(text["text"]) <= 75 and len(value) <= 2000 for text, value in texts)


def _open_view(workspace: Workspace, args: Args) -> dict[str, Any]:
    return workspace.open_view(str(args["trigger_id"]), _json(args["view"]))


def _post_ephemeral(workspace: Workspace, args: Args) -> dict[str, Any]:
    workspace.writable(args["channel"])
    workspace.whispers.append((str(args["user"]), str(args.get("text") or "")))
    return {"message_ts": workspace.new_ts()}


def _json(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(value) if isinstance(value, str) else value
    return found


def _markdown(args: Args) -> str:
    markdown = str(args.get("markdown_text") or "")
    if len(markdown) > MAX_MARKDOWN:
        raise SlackSaysNo("msg_too_long")
    return markdown


def _grown(text: str, more: str) -> str:
    if len(text) + len(more) > MAX_MARKDOWN:
        raise SlackSaysNo("msg_too_long")
    return text + more


def _metadata(args: Args) -> dict[str, Any]:
    metadata = args.get("metadata") or {}
    sound = not metadata or (
        isinstance(metadata, dict)
        and isinstance(metadata.get("event_type"), str)
        and isinstance(metadata.get("event_payload"), dict)
    )
    if not sound:
        raise SlackSaysNo("invalid_metadata_format")
    return dict(metadata)


def _thread(workspace: Workspace, args: Args) -> str:
    root = str(args.get("thread_ts") or "")
    if root and (args["channel"], root) not in workspace.posts:
        raise SlackSaysNo("thread_not_found")
    return root


_READ = ("channels:history", "groups:history", "im:history", "mpim:history")
_WRITE = ("chat:write",)
# Tiers as Slack publishes them: 2 is 20 a minute, 3 is 50, 4 is 100; chat.postMessage is special, about one a second.
METHODS: dict[str, Method] = {
    "auth.test": Method(_auth_test, (), 600),
    "users.info": Method(_users_info, ("user",), 100, ("users:read",)),
    "chat.postMessage": Method(_post_message, ("channel",), 60, _WRITE, per_channel=True),
    "chat.postEphemeral": Method(_post_ephemeral, ("channel", "user", "text"), 100, _WRITE),
    "views.open": Method(_open_view, ("trigger_id", "view"), 100),
    "chat.update": Method(_update, ("channel", "ts"), 50, _WRITE),
    "chat.delete": Method(_delete, ("channel", "ts"), 50, _WRITE),
    "chat.startStream": Method(_start_stream, ("channel", "thread_ts"), 20, _WRITE),
    "chat.appendStream": Method(_append_stream, ("channel", "ts", "markdown_text"), 100, _WRITE),
    "chat.stopStream": Method(_stop_stream, ("channel", "ts"), 20, _WRITE),
    "conversations.replies": Method(replies, ("channel", "ts"), 50, _READ),
    "conversations.history": Method(history, ("channel",), 50, _READ),
    "users.conversations": Method(conversations, (), 50),  # its scopes depend on what is asked for
    "assistant.threads.setStatus": Method(
        _thread_status, ("channel_id", "thread_ts", "status"), 600, ("assistant:write", "chat:write")
    ),
    "agents.sessions.setStatus": Method(
        _session_status, ("channel_id", "status"), 50, ("assistant:write", "chat:write")
    ),
}
