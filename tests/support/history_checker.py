"""Reads what people saw, what is remembered and what was logged, against what was asked; counts each kind of harm.

It is pure, and it is strict: whatever it cannot explain by a question is harm. Every question has a text of its own,
`<name> number <n>`, where the name belongs to one place (a conversation) and n grows with each question there; the
answer to it is `answer to <name> number <n> as asked`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from core.chat import lines
from core.chat.message import Outcome, Turn

# Name and number of a question.
Key = tuple[str, int]

_KEY = re.compile(r"\b(\w+) number (\d+)\b")
_WHOLE = re.compile(r"answer to (\w+) number (\d+) as asked")
_WAIT = re.escape(lines.LIMITED).replace(re.escape("{wait}"), ".*")
_TURNED_AWAY = re.compile(f"{re.escape(lines.BUSY)}|{_WAIT}")
_APOLOGIES = (lines.HOST_AWAY, lines.HOST_REFUSED, lines.BROKE_OFF, lines.NO_ANSWER, lines.FAULT)


class Fate(StrEnum):
    """What is to become of a question."""

    ANSWERED = "answered"
    FAILED = "failed"  # a line that says so, and a row that does
    STOPPED = "stopped"  # what was said stays, marked; a row that says so
    WITHDRAWN = "withdrawn"  # nothing to be seen or remembered, a row without text
    TURNED_AWAY = "turned away"  # told to come back later; no row
    ANSWERED_OR_FAILED = "answered or failed"
    ANSWERED_OR_WITHDRAWN = "answered or withdrawn"  # the deletion may have come too late, or before the message


_OUTCOMES = {
    Fate.ANSWERED: {Outcome.ANSWERED},
    Fate.FAILED: {Outcome.FAILED},
    Fate.STOPPED: {Outcome.STOPPED},
    Fate.WITHDRAWN: {Outcome.WITHDRAWN},
    Fate.TURNED_AWAY: set[Outcome](),
    Fate.ANSWERED_OR_FAILED: {Outcome.ANSWERED, Outcome.FAILED},
    Fate.ANSWERED_OR_WITHDRAWN: {Outcome.ANSWERED, Outcome.WITHDRAWN},
}


@dataclass(slots=True)
class Question:
    """What was asked, where, and what is to become of it. `text` is the key's text when it was never edited."""

    key: Key
    place: str
    turn_id: str
    fate: Fate = Fate.ANSWERED


@dataclass(frozen=True, slots=True)
class Seen:
    """A post of the bot that is visible now."""

    place: str
    text: str


@dataclass(frozen=True, slots=True)
class Row:
    """What the log holds of a turn."""

    turn_id: str
    place: str
    outcome: Outcome
    question: str = ""
    answer: str = ""


@dataclass(slots=True)
class Harm:
    """Counts of what must not be; `notes` says for each what was found.

    `half` counts posts that are neither a whole answer nor a line that was due; `foreign` counts answers and words in
    the wrong conversation, prompts included; `history` counts conversations that are remembered wrongly; `left` counts
    what was still under way when everything should have come to its end; `broken` counts a scenario's own promises.
    """

    lost: int = 0
    doubled: int = 0
    reordered: int = 0
    foreign: int = 0
    half: int = 0
    history: int = 0
    rows_missing: int = 0
    rows_extra: int = 0
    rows_wrong: int = 0
    left: int = 0
    broken: int = 0
    notes: list[str] = field(default_factory=list)

    def note(self, kind: str, words: str) -> None:
        setattr(self, kind, getattr(self, kind) + 1)
        self.notes.append(f"{kind}: {words}")

    @property
    def rows(self) -> int:
        return self.rows_missing + self.rows_extra + self.rows_wrong

    def __str__(self) -> str:
        return "\n".join(self.notes) or "no harm"

    def __bool__(self) -> bool:
        return bool(self.notes)


def answer_text(key: Key) -> str:
    """The whole answer to a question."""
    return f"answer to {question_text(key)} as asked"


def question_text(key: Key) -> str:
    """What is said to ask it."""
    return f"{key[0]} number {key[1]}"


def keys_in(text: str) -> list[Key]:
    """The questions whose text stands in `text`, in order."""
    return [(name, int(number)) for name, number in _KEY.findall(text)]


def check(
    asked: Iterable[Question],
    seen: Sequence[Seen],
    remembered: Mapping[str, Sequence[Turn]],
    logged: Iterable[Row],
    prompts: Iterable[str] = (),
) -> Harm:
    """What went wrong. `seen` is in the order of the posts; `prompts` are the words of each request to a host."""
    harm = Harm()
    questions = {question.key: question for question in asked}
    answers = _answers_by_place(questions, seen, harm)
    rows = _rows_by_key(questions, logged, harm)
    for question in questions.values():
        _check_answers(question, answers[question.place], rows.get(question.key), harm)
    _check_order(answers, harm)
    _check_lines(questions, rows, seen, harm)
    for place in {question.place for question in questions.values()}:
        inside = sorted((q for q in questions.values() if q.place == place), key=lambda q: q.key[1])
        _check_history(place, inside, rows, remembered.get(place, ()), harm)
    _check_prompts(prompts, harm)
    return harm


# ── what people saw ─────────────────────────────────────────────────────────────────────────────────────────────────


def _answers_by_place(questions: Mapping[Key, Question], seen: Sequence[Seen], harm: Harm) -> dict[str, list[Key]]:
    """Whole answers in the order of their posts; those of another place are harm."""
    answers: dict[str, list[Key]] = defaultdict(list)
    for post in seen:
        for key in keys_in(post.text):
            question = questions.get(key)
            if question is None or question.place != post.place:
                harm.note("foreign", f"{post.text!r} in {post.place}")
        match = _WHOLE.fullmatch(post.text.strip())
        if match:
            answers[post.place].append((match.group(1), int(match.group(2))))
    return answers


def _check_answers(question: Question, answers: Sequence[Key], row: Row | None, harm: Harm) -> None:
    count = answers.count(question.key)
    if count > 1:
        for _ in range(count - 1):
            harm.note("doubled", f"{question.key} in {question.place}")
    answered = row is not None and row.outcome is Outcome.ANSWERED
    if question.fate is Fate.ANSWERED or (Outcome.ANSWERED in _OUTCOMES[question.fate] and answered):
        if count == 0:
            harm.note("lost", f"{question.key} in {question.place}")
    elif count and row is not None:
        harm.note("half", f"{question.key} has an answer, and its row says {row.outcome}")
    elif count:
        harm.note("half", f"{question.key} has an answer, and should have been {question.fate}")


def _check_order(answers: Mapping[str, Sequence[Key]], harm: Harm) -> None:
    for place, keys in answers.items():
        newest: dict[str, int] = {}
        for name, number in dict.fromkeys(keys):
            if number < newest.get(name, number):
                harm.note("reordered", f"{(name, number)} after number {newest[name]} in {place}")
            newest[name] = max(number, newest.get(name, number))


def _check_lines(questions: Mapping[Key, Question], rows: Mapping[Key, Row], seen: Sequence[Seen], harm: Harm) -> None:
    """Posts that are no whole answer: one apology for each failure, a mark for each stop, and nothing else."""
    due: Counter[tuple[str, Outcome]] = Counter()
    turned_away = {question.place for question in questions.values() if question.fate is Fate.TURNED_AWAY}
    for question in questions.values():
        row = rows.get(question.key)
        if row is not None and row.outcome in _OUTCOMES[question.fate]:
            due[question.place, row.outcome] += row.outcome in (Outcome.FAILED, Outcome.STOPPED)
    for post in seen:
        text = post.text.strip()
        if _WHOLE.fullmatch(text) or (_TURNED_AWAY.fullmatch(text) and post.place in turned_away):
            continue
        kind = _said_by(text)
        if kind is None or due[post.place, kind] == 0:
            harm.note("half", f"{text[:200]!r} in {post.place}")
        else:
            due[post.place, kind] -= 1
    for (place, outcome), count in due.items():
        for _ in range(count):
            harm.note("lost", f"a line that says {outcome} in {place}")


def _said_by(text: str) -> Outcome | None:
    """The outcome that a post tells, when it is no whole answer."""
    if text.endswith(lines.STOPPED):
        return Outcome.STOPPED
    return Outcome.FAILED if text.endswith(_APOLOGIES) else None


# ── what is remembered and logged ───────────────────────────────────────────────────────────────────────────────────


def _rows_by_key(questions: Mapping[Key, Question], logged: Iterable[Row], harm: Harm) -> dict[Key, Row]:
    by_turn = {question.turn_id: question for question in questions.values()}
    rows: dict[Key, Row] = {}
    for row in logged:
        question = by_turn.get(row.turn_id)
        if question is None or question.key in rows or question.fate is Fate.TURNED_AWAY:
            harm.note("rows_extra", f"{row.turn_id} {row.outcome}")
            continue
        rows[question.key] = row
        if problem := _wrong_in(row, question):
            harm.note("rows_wrong", f"{row.turn_id} {problem}")
    for question in questions.values():
        # A message that was deleted before anybody heard it leaves no row.
        if question.key not in rows and question.fate not in (Fate.TURNED_AWAY, Fate.ANSWERED_OR_WITHDRAWN):
            harm.note("rows_missing", f"{question.key} in {question.place}")
    return rows


def _wrong_in(row: Row, question: Question) -> str:
    if row.outcome not in _OUTCOMES[question.fate]:
        return f"is {row.outcome}, not {question.fate}"
    if row.place != question.place:
        return f"names {row.place}, not {question.place}"
    text = "" if row.outcome is Outcome.WITHDRAWN else question_text(question.key)
    if row.question.strip() != text:
        return f"asks {row.question[:80]!r}"
    if row.outcome is Outcome.ANSWERED and row.answer != answer_text(question.key):
        return f"answers {row.answer[:80]!r}"
    return "keeps a withdrawn answer" if row.outcome is Outcome.WITHDRAWN and row.answer else ""


def _check_history(
    place: str, questions: Sequence[Question], rows: Mapping[Key, Row], turns: Sequence[Turn], harm: Harm
) -> None:
    """Each answered question once, in order, with its answer; the oldest may have made room, in whole pairs."""
    kept = [q for q in questions if (row := rows.get(q.key)) is not None and row.outcome is Outcome.ANSWERED]
    wanted = [pair for q in kept for pair in (("user", question_text(q.key)), ("assistant", answer_text(q.key)))]
    # A speaker's label stands before the words where several may speak; what a stopped answer said is remembered too.
    stopped = {q.turn_id for q in questions if q.fate is Fate.STOPPED}
    found = [(turn.role, _unlabelled(turn)) for turn in turns if turn.turn_id not in stopped]
    trimmed = len(found) < len(wanted) and len(found) >= min(len(wanted), FEWEST_TURNS)
    if found != (wanted[-len(found) :] if trimmed else wanted):
        harm.note("history", f"of {place}: {found[-6:]} instead of {wanted[-6:]}")


# What a history keeps at least, however often it made room: less is a loss.
FEWEST_TURNS = 40


def _unlabelled(turn: Turn) -> str:
    keys = keys_in(turn.text)
    labelled = turn.role == "user" and len(keys) == 1 and turn.text.endswith(question_text(keys[0]))
    return question_text(keys[0]) if labelled else turn.text


def _check_prompts(prompts: Iterable[str], harm: Harm) -> None:
    for prompt in prompts:
        names = {name for name, _ in keys_in(prompt)}
        if len(names) > 1:
            harm.note("foreign", f"words of {sorted(names)} in one prompt")
