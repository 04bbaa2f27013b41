"""What stands below an answer in Slack, and the form behind it, as Slack's blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.loop.feedback import MAX_NOTE_CHARS, REASON_NAMES

Block = dict[str, Any]

JUDGE, MORE, AGAIN, WHY = "parley_judge", "parley_more", "parley_again", "parley_why"
FORM = "parley_form"
MAX_BETTER_CHARS = 3000  # a text input of a form


def below_answer() -> list[Block]:
    """Slack's own pair of thumbs, and a row of buttons. They hold no state: the post says which answer is meant."""
    thumbs = {
        "type": "feedback_buttons",
        "action_id": JUDGE,
        "positive_button": _thumb("Helpful", "helpful"),
        "negative_button": _thumb("Not helpful", "not_helpful"),
    }
    row = [_button("Say more", MORE), _button("Answer again", AGAIN), _button("Why?", WHY)]
    return [{"type": "context_actions", "elements": [thumbs]}, {"type": "actions", "elements": row}]


def with_text(text: str) -> list[Block]:
    """A whole answer as blocks: a call that has blocks takes no `markdown_text`."""
    return [{"type": "markdown", "text": text}, *below_answer()]


def form_about(post_id: str) -> Block:
    """The form that asks what was wrong; the post it is about travels in it."""
    reasons = [{"text": _plain(name), "value": reason.value} for reason, name in REASON_NAMES.items()]
    choice = {"type": "static_select", "action_id": "reason", "options": reasons}
    return {
        "type": "modal",
        "callback_id": FORM,
        "private_metadata": post_id,
        "title": _plain("What was wrong?"),
        "submit": _plain("Send"),
        "close": _plain("Cancel"),
        "blocks": [
            _input("Reason", choice),
            _input("In your own words", _text("note", MAX_NOTE_CHARS)),
            _input("A better answer", _text("better", MAX_BETTER_CHARS)),
        ],
    }


def fields_of_form(view: Mapping[str, Any]) -> dict[str, str]:
    """What was chosen and written in a form that was sent, by the names of the fields."""
    found: dict[str, str] = {}
    for fields in view["state"]["values"].values():
        for name, field in fields.items():
            chosen = (field.get("selected_option") or {}).get("value")
            found[name] = chosen or field.get("value") or ""
    return found


def _thumb(text: str, value: str) -> Block:
    return {"text": _plain(text), "value": value, "accessibility_label": f"{text}: say so of this answer"}


def _button(text: str, action_id: str) -> Block:
    return {"type": "button", "text": _plain(text), "action_id": action_id}


def _input(label: str, element: Block) -> Block:
    name = str(element["action_id"])
    return {"type": "input", "block_id": name, "optional": True, "label": _plain(label), "element": element}


def _text(name: str, max_chars: int) -> Block:
    return {"type": "plain_text_input", "action_id": name, "multiline": True, "max_length": max_chars}


def _plain(text: str) -> Block:
    return {"type": "plain_text", "text": text}
