"""Another answer to the same question: asked for as a message of its own, answered as if it were the first time. Pure.

It goes through the mailbox like what people say, so it is answered once, in its turn, and by one worker. The worker
finds the question in the history, answers it with what was said before it, and its commit puts the new answer into the
place of the old one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from core.chat.message import Address, Answered, Message, Person, Turn
from core.chat.ports import Mail
from core.chat.prompt import label

# A second click on the same answer is the same wish; after this time it is a new one, as when the first one failed.
ONCE_S = 30.0


def ask_again(answered: Answered, at: float) -> Message:
    """The message that asks for another answer; asked twice within `ONCE_S`, it is the same message."""
    return Message(
        id=f"{answered.turn_id}+{int(at // ONCE_S)}",
        conversation=answered.conversation,
        person=Person(answered.person_id, answered.person_name),
        text="",
        address=Address.DIRECT,
        sent_at=at,
        shared=answered.shared,
        reply_to=answered.reply_to,
        kind="again",
        replaces=answered.turn_id,
        over=answered.posts,
    )


@dataclass(frozen=True, slots=True)
class Replaced:
    """The answer whose place another takes: where it stands in the history, and the mail as if it had never been."""

    place: int
    answer: Turn
    mail: Mail


def replaced_in(mail: Mail) -> Replaced | None:
    """What `mail` asks to replace; None when the history no longer holds it, or it answered somebody else."""
    wanted = mail.message.replaces
    for place, turn in enumerate(mail.history):
        if place and turn.role == "assistant" and turn.made_by == wanted:
            question = mail.history[place - 1]
            if question.role == "user" and question.person_id == mail.message.person.id:
                return Replaced(place, turn, _rewound(mail, place, question))
    return None


def _rewound(mail: Mail, place: int, question: Turn) -> Mail:
    """As it was when the question was asked; the history holds it with the speaker's label, the message does not."""
    person = Person(question.person_id, question.speaker)
    text = question.text.removeprefix(f"{label(person)}: ") if mail.message.shared else question.text
    return replace(mail, message=replace(mail.message, text=text, person=person), history=mail.history[: place - 1])
