"""Finds secrets and personal data in a text, by their shape, and masks them.

Shape is all that it knows: it finds no name, postal address, date of birth or password in prose, no number that is
spelled out, and nothing that is broken over lines or written with look-alike letters. It also takes some harmless
numbers for telephone numbers. It helps a reviewer to look; it does not make a text anonymous.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What was found. Where two overlap, the one that stands first here counts."""

    PRIVATE_KEY = "private key"
    TOKEN = "token"  # noqa: S105 - a label, no secret
    EMAIL = "e-mail"
    IBAN = "iban"
    CARD = "card"
    IP = "ip"
    PHONE = "phone"


@dataclass(frozen=True, slots=True)
class Finding:
    """`text[start:end]` is private."""

    start: int
    end: int
    kind: Kind


def find(text: str) -> list[Finding]:
    """What is private in `text`, in order; no two overlap."""
    taken: list[Finding] = []
    covered = bytearray(len(text))
    for kind, pattern, is_one in _SHAPES:
        for match in pattern.finditer(text):
            start, end = match.span()
            if not any(covered[start:end]) and is_one(match.group()):
                taken.append(Finding(start, end, kind))
                covered[start:end] = b"\x01" * (end - start)
    return sorted(taken, key=lambda found: found.start)


def mask(text: str) -> str:
    """`text` with what is private replaced by its kind in brackets; nothing is found in what comes back."""
    while findings := find(text):
        text = "".join(_masked(text, findings))
    return text


def _masked(text: str, findings: list[Finding]) -> Iterator[str]:
    end = 0
    for found in findings:
        yield text[end : found.start]
        yield f"[{found.kind.value}]"
        end = found.end
    yield text[end:]


# ── checks that a shape alone cannot make ───────────────────────────────────────────────────────────────────────────


def _always(_: str) -> bool:
    return True


def luhn(digits: str) -> bool:
    """Whether the last of `digits` is the check digit of the others, as on payment cards (ISO/IEC 7812-1)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _is_card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn(digits)


def _is_iban(text: str) -> bool:
    """ISO 13616: the country and check digits go to the end, letters count from 10, and the whole is 1 modulo 97."""
    plain = re.sub(r"[^0-9A-Z]", "", text.upper())
    return 15 <= len(plain) <= 34 and int("".join(str(int(char, 36)) for char in plain[4:] + plain[:4])) % 97 == 1


def _is_ip(text: str) -> bool:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not found.is_unspecified and any(char.isdigit() for char in text)  # "::" and "a::b" are rather code


def _is_phone(text: str) -> bool:
    # E.164 has 15 digits at most; below seven it is rather a quantity. Nobody calls a date or a fraction.
    digits = re.sub(r"\D", "", text)
    return 7 <= len(digits) <= 15 and not re.match(r"(?:19|20)\d\d[-./]\d\d[-./]\d\d(?!\d)|\d+\.\d+\Z", text)


# ── shapes ──────────────────────────────────────────────────────────────────────────────────────────────────────────

# Only prefixes that their makers document. Every repetition is bounded or followed by what it cannot match itself, so
# that the time grows with the text alone.
_TOKENS = "|".join(  # noqa: FLY002 - a line each
    (
        r"xox[abeoprs]-[A-Za-z0-9-]{10,250}",  # Slack
        r"xapp-[A-Za-z0-9-]{10,250}",
        r"gh[opsur]_[A-Za-z0-9]{36,250}",  # GitHub
        r"github_pat_[A-Za-z0-9_]{22,250}",
        r"glpat-[A-Za-z0-9_-]{20,250}",  # GitLab
        r"(?:AKIA|ASIA)[A-Z0-9]{16}",  # AWS
        r"AIza[A-Za-z0-9_-]{35}",  # Google
        r"sk-[A-Za-z0-9_-]{20,250}",  # OpenAI, Anthropic
        r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,250}",  # Stripe
        r"hf_[A-Za-z0-9]{30,250}",  # Hugging Face
        r"npm_[A-Za-z0-9]{36}",
        r"pypi-[A-Za-z0-9_-]{50,250}",
        r"SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{16,64}",  # SendGrid
        r"eyJ[A-Za-z0-9_-]{8,2000}\.eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,1000}",  # JSON Web Token
        r"[MNO][A-Za-z0-9_-]{23,27}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,40}",  # Discord's bots
    )
)
# A block that is cut off before its end is as secret as a whole one.
_KEY = (
    r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:(?!-----)[A-Za-z0-9+/=\s:,.-]){0,20000}"
    r"(?:-----END (?:[A-Z0-9]{1,20} ){0,3}PRIVATE KEY(?: BLOCK)?-----)?"
)
_EMAIL = r"(?<![\w.+-])[\w.+-]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,5}[^\W\d_]{2,24}(?![\w-])"
_IBAN = r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]{4}){2,7}(?:[ -]?[A-Za-z0-9]{1,3})?(?![A-Za-z0-9])"
_CARD = r"(?<![\d.,])(?:\d[ -]?){12,18}\d(?![\d]|[.,]\d)"
_IPV4 = r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)"
_IPV6 = (
    r"(?<![\w:.])(?=[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:)"
    r"[0-9A-Fa-f:]{3,39}(?:(?<=:)(?:\d{1,3}\.){3}\d{1,3})?(?![\w:]|\.\d)"
)
_PHONE = r"(?<![\w.+/-])(?:\+|00)?(?:\(\d{1,5}\)|\d{1,5})(?:[ ./-]{0,2}(?:\(\d{1,5}\)|\d{1,5})){1,6}(?![\w]|[.,]\d)"

_SHAPES: tuple[tuple[Kind, re.Pattern[str], Callable[[str], bool]], ...] = (
    (Kind.PRIVATE_KEY, re.compile(_KEY), _always),
    (Kind.TOKEN, re.compile(rf"(?<![A-Za-z0-9_])(?:{_TOKENS})"), _always),
    (Kind.EMAIL, re.compile(_EMAIL), _always),
    (Kind.IBAN, re.compile(_IBAN), _is_iban),
    (Kind.CARD, re.compile(_CARD, re.ASCII), _is_card),
    (Kind.IP, re.compile(f"{_IPV4}|{_IPV6}", re.ASCII), _is_ip),
    (Kind.PHONE, re.compile(_PHONE, re.ASCII), _is_phone),
)
