"""The pages: templates with the values they show."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.responses import HTMLResponse

from bots.web.markdown import to_html
from bots.web.transcript import Transcript
from bots.web.visits import Visit
from core.chat.ports import Histories
from core.loop.feedback import MAX_BETTER_CHARS, MAX_NOTE_CHARS, REASON_NAMES, Verdict

_HERE = Path(__file__).parent
_TITLE_CHARS = 60
UNTITLED = "New conversation"


@dataclass(frozen=True, slots=True)
class Entry:
    """A line in the list of conversations."""

    id: str
    title: str
    current: bool


class Views:
    """Renders the pages; `histories` gives the conversations their titles."""

    def __init__(self, histories: Histories, max_question_chars: int, *, judging: bool = False) -> None:
        self.max_question_chars = max_question_chars
        self._judging = judging
        self._histories = histories
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals["static"] = _static
        self._templates.globals["new_id"] = lambda: secrets.token_hex(16)
        self._templates.globals["reasons"] = [(reason.value, name) for reason, name in REASON_NAMES.items()]
        self._templates.globals["most"] = {"note": MAX_NOTE_CHARS, "better": MAX_BETTER_CHARS}
        self._templates.filters["markdown"] = to_html

    async def conversation(
        self,
        visit: Visit,
        transcript: Transcript | None,
        verdicts: Mapping[str, Verdict] | None = None,
        *,
        line: str = "",
        text: str = "",
        status: int = 200,
    ) -> HTMLResponse:
        """The page of one conversation; `transcript` is None when it cannot be read, `text` is put into the box.

        `verdicts` are this person's last words on the answers, by turn id.

        Raises:
            StoreUnavailable: the titles of the other conversations cannot be read.
        """
        entries = await self._entries(visit, transcript) if transcript else []
        html = self._templates.get_template("conversation.html").render(
            base=f"/c/{visit.conversation_id}",
            entries=entries,
            exchanges=transcript.exchanges if transcript else (),
            after=transcript.after if transcript else "",
            awaited=transcript.pending if transcript else False,
            # Never the same twice: to a browser, a refresh to its own address with a fragment is a scroll.
            again=f"/c/{visit.conversation_id}?at={secrets.token_hex(4)}#latest",
            judging=self._judging,
            verdicts={turn_id: word.value for turn_id, word in (verdicts or {}).items()},
            line=line,
            text=text,
            next_id=secrets.token_hex(16),
            reset_id=secrets.token_hex(16),
        )
        return HTMLResponse(html, status)

    def why(self, visit: Visit, native: str, lines: list[str]) -> HTMLResponse:
        """A page that says what an answer was made with."""
        back = f"/c/{visit.conversation_id}#a-{native}"
        return HTMLResponse(self._templates.get_template("why.html").render(lines=lines, back=back))

    def sorry(self, line: str, status: int) -> HTMLResponse:
        """A page that says why there is none, and where to go."""
        return HTMLResponse(self._templates.get_template("sorry.html").render(line=line), status)

    async def _entries(self, visit: Visit, transcript: Transcript) -> list[Entry]:
        first = transcript.exchanges[0].question if transcript.exchanges else UNTITLED
        entries = [Entry(visit.conversation_id, _title(first), current=True)]
        for id_ in visit.recent:
            turns = () if id_ == visit.conversation_id else await self._histories.turns(visit.browser.conversation(id_))
            if turns:
                entries.append(Entry(id_, _title(turns[0].text), current=False))
        return entries


def _title(question: str) -> str:
    line = " ".join(question.split())
    return line if len(line) <= _TITLE_CHARS else line[: _TITLE_CHARS - 1].rstrip() + "…"


def _static(name: str) -> str:
    """The address of a static file; it changes with the content, so that an update is seen at once."""
    digest = hashlib.sha256((_HERE / "static" / name).read_bytes()).hexdigest()[:10]
    return f"/static/{name}?v={digest}"
