from __future__ import annotations

import json
from dataclasses import replace

import pytest

from storage import items
from tests.support.store_cases import message


def test_edit_keeps_what_a_newer_version_wrote() -> None:
    message_id, text = items.parts(items.written(message("1")))
    newer = f"{message_id}\n{json.dumps({**json.loads(text), 'mood': 'curious'})}"

    item = items.revised(newer, replace(message("1", text="edited"), kind="reset", accepted_at=9.0))

    assert json.loads(items.parts(item)[1]) == {
        **json.loads(text),
        "mood": "curious",
        "text": "edited",
        "kind": "reset",
    }


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_edit_leaves_an_item_that_cannot_be_read_to_whoever_sets_it_aside(text: str) -> None:
    item = f"{message('1').id}\n{text}"

    assert items.revised(item, message("1", text="edited")) == item
