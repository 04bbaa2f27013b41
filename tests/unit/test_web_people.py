from __future__ import annotations

import pytest

from bots.web.people import MAX_RECENT, Browser, remember


def test_a_browser_owns_the_conversations_that_it_made() -> None:
    browser = Browser.new()

    assert browser.owns(browser.new_conversation_id())


def test_no_browser_owns_the_conversation_of_another() -> None:
    assert not Browser.new().owns(Browser.new().new_conversation_id())


def test_a_changed_id_belongs_to_nobody() -> None:
    browser = Browser.new()
    id_ = browser.new_conversation_id()

    assert not browser.owns(("0" if id_[0] != "0" else "1") + id_[1:])
    assert not browser.owns(id_[:-1])
    assert not browser.owns("")


def test_the_secret_of_a_browser_is_in_nothing_that_is_stored() -> None:
    browser = Browser.new()

    stored = f"{browser.conversation(browser.new_conversation_id())} {browser.person}"

    assert browser.secret not in stored
    assert browser.person.id == Browser(browser.secret).person.id


@pytest.mark.parametrize("cookie", [None, "", "short", "x" * 42, "x" * 44, "ä" * 43, f"{'x' * 42};"])
def test_a_cookie_that_we_never_made_is_no_browser(cookie: str | None) -> None:
    assert Browser.known(cookie) is None


def test_the_recent_conversations_are_ones_own_newest_first_and_few() -> None:
    browser = Browser.new()
    ids = [browser.new_conversation_id() for _ in range(MAX_RECENT + 3)]
    cookie = ""

    for id_ in ids:
        cookie = remember(browser.recent(cookie), id_)
    cookie = remember(browser.recent(cookie), ids[-2])

    assert browser.recent(cookie)[:3] == [ids[-2], ids[-1], ids[-3]]
    assert len(browser.recent(cookie)) == MAX_RECENT
    assert Browser.new().recent(cookie) == []
