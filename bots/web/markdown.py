"""Answers as HTML: Markdown rendered on the server, with nothing in it that runs, loads or leads somewhere odd."""

from __future__ import annotations

from collections.abc import Sequence

from markdown_it import MarkdownIt
from markdown_it.common.utils import escapeHtml
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token
from markdown_it.utils import EnvType, OptionsDict
from markupsafe import Markup

_LINKED = ("http://", "https://", "mailto:")
# The page's own headings are h1 and h2; an answer's begin below them.
_HEADINGS_BELOW = 2


class _Markdown(MarkdownIt):
    def validateLink(self, url: str) -> bool:  # noqa: N802 - the library's name
        """Absolute links of the web and of mail only: a relative one would lead into our own page."""
        return url.lower().startswith(_LINKED)


class _Renderer(RendererHTML):
    def fence(self, tokens: Sequence[Token], idx: int, options: OptionsDict, env: EnvType) -> str:
        """A block of code with a bar above it: its language, and room for the script's copy button."""
        info = tokens[idx].info.split()
        language = escapeHtml(info[0]) if info else ""
        bar = f'<div class="code-bar"><span>{language}</span></div>'
        # tabindex: long lines scroll, by keyboard too.
        code = f'<pre tabindex="0"><code>{escapeHtml(tokens[idx].content)}</code></pre>'
        return f'<div class="code">{bar}{code}</div>\n'

    code_block = fence


def to_html(text: str) -> Markup:
    """`text` (Markdown) as HTML that is safe to put into the page.

    HTML in `text` is shown as text, and so are links other than http, https and mailto. An image becomes a link: the
    page loads nothing from elsewhere, or a picture's address could carry words of the conversation away.
    """
    # Markup: every piece was escaped by the renderer, which has HTML turned off.
    return Markup(_markdown.render(text))  # noqa: S704


def _adapt(state: StateCore) -> None:
    for token in state.tokens:
        _adapt_block(token)
        _adapt_links(token.children or ())


def _adapt_block(token: Token) -> None:
    if token.type in {"heading_open", "heading_close"}:
        token.tag = f"h{min(int(token.tag[1]) + _HEADINGS_BELOW, 6)}"
    elif token.type == "table_open":
        token.attrSet("tabindex", "0")  # wide tables scroll, by keyboard too
    elif token.type in {"th_open", "td_open"} and "style" in token.attrs:
        # A class, as our Content-Security-Policy allows no style attribute.
        token.attrs = {"class": str(token.attrs["style"]).replace("text-align:", "to-")}


def _adapt_links(tokens: Sequence[Token]) -> None:
    for token in tokens:
        if token.type == "link_open":
            # In a tab of its own: following a link would break off the answer that is growing.
            token.attrs |= {"rel": "noopener noreferrer nofollow", "target": "_blank"}


def _make() -> MarkdownIt:
    markdown = _Markdown("commonmark", {"html": False}, renderer_cls=_Renderer)
    markdown.enable(["table", "strikethrough"]).disable("image")
    markdown.core.ruler.push("adapt", _adapt)
    return markdown


_markdown = _make()
