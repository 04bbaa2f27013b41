"""The fixed sentences that people read from the bot itself. Each says what to do next; none shows an exception."""

from __future__ import annotations

import math

BUSY = "I still have many of your messages to answer. Please wait for those, then send this one again."
EMPTY = "Ask me something: write your question after my name."
RESET = "Done: I have forgotten what was said in this conversation."
STOPPED = "(stopped)"
NO_ANSWER = "I could not come up with an answer. Please ask in other words."
HOST_AWAY = "I cannot reach my language model right now. Please ask again in a few minutes."
HOST_REFUSED = (
    "My language model did not accept this question. Please ask in other words, or say “reset” to start over."
)
BROKE_OFF = "(My answer broke off here. Please ask again.)"
FAULT = "Something went wrong on my side, and the operators can see it in the log. Please ask again."
SPEND_LESS = "Your message is too long for me: about {tokens} tokens, and I can read {budget}. Please shorten it."
FORGOTTEN = "I no longer remember that question, so the answer stays. Please ask it again."
NO_OTHER = "I could not make another answer, so this one stays. Please try again in a minute."
LIMITED = "That is a lot at once. Please ask again in {wait}."


def in_words(wait_s: float) -> str:
    """A waiting time as people say it, rounded up."""
    seconds = max(1, math.ceil(wait_s))
    if seconds > 90:
        return f"{math.ceil(seconds / 60)} minutes"
    return "1 second" if seconds == 1 else f"{seconds} seconds"
