from __future__ import annotations

from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bots.web.markdown import to_html

_TAGS = frozenset(
    "a blockquote br code div em h3 h4 h5 h6 hr li ol p pre s span strong table tbody td th thead tr ul".split()  # noqa: SIM905
)
_ATTRIBUTES = frozenset({"href", "rel", "target", "class", "start", "tabindex", "title"})


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))


def _tags(text: str) -> list[tuple[str, dict[str, str | None]]]:
    parser = _Tags()
    parser.feed(to_html(text))
    return parser.seen


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        "a <b onclick='x'>b</b>",
        "[a](javascript:alert(1))",
        "[a](JaVaScRiPt:alert(1))",
        "[a](data:text/html,<script>alert(1)</script>)",
        "[a](vbscript:x)",
        "[a](/c/else/reset)",
        "[a](//evil.example)",
        "<javascript:alert(1)>",
    ],
)
def test_what_could_run_or_lead_into_our_page_is_shown_as_text(text: str) -> None:
    tags = _tags(text)

    assert {tag for tag, _ in tags} <= {"p"}


def test_links_open_apart_and_tell_nothing_of_us() -> None:
    tags = _tags("[a](https://example.org/x) and <mailto:a@example.org>")

    links = [attributes for tag, attributes in tags if tag == "a"]
    assert [link["href"] for link in links] == ["https://example.org/x", "mailto:a@example.org"]
    assert {link["rel"] for link in links} == {"noopener noreferrer nofollow"}


def test_an_image_is_a_link_and_is_not_loaded() -> None:
    tags = _tags("![secret](https://example.org/?q=secret)")

    assert [tag for tag, _ in tags] == ["p", "a"]


def test_headings_stand_below_those_of_the_page() -> None:
    assert [tag for tag, _ in _tags("# a\n\n## b\n\n###### c")] == ["h3", "h4", "h6"]


def test_a_code_block_that_is_still_open_is_a_code_block() -> None:
    assert to_html("Look:\n\n```python\nprint('<b>')") == (
        '<p>Look:</p>\n<div class="code"><div class="code-bar"><span>python</span></div>'
        "<pre tabindex=\"0\"><code>print('&lt;b&gt;')</code></pre></div>\n"
    )


def test_a_wide_table_can_be_scrolled_with_the_keyboard() -> None:
    tags = dict(_tags("| a | b |\n|---|--:|\n| 1 | 2 |"))

    assert tags["table"] == {"tabindex": "0"}


def test_a_column_is_aligned_without_a_style_attribute() -> None:
    assert '<td class="to-right">2</td>' in to_html("| a | b |\n|---|--:|\n| 1 | 2 |")


@given(st.text(alphabet=st.sampled_from("<>\"'&`[]()!*_#|-=:/ \n\tajvscript")))
def test_no_text_makes_a_tag_that_we_do_not_know(text: str) -> None:
    for tag, attributes in _tags(text):
        assert tag in _TAGS
        assert set(attributes) <= _ATTRIBUTES
