"""Roles and what they allow; names and passwords."""

from __future__ import annotations

import pytest

from core.loop.errors import BadName, BadPassword
from core.loop.people import RIGHTS, Right, Role, check_password, clean_name, hash_of, key_of, may, may_give, new_secret

ALLOWED = {
    Role.VIEWER: "own read",
    Role.REVIEWER: "own read review",
    Role.TRAINER: "own read review train",
    Role.RELEASER: "own read review release",
    Role.ADMIN: "own read review train release manage audit",
}


@pytest.mark.parametrize("role", list(Role))
def test_each_role_allows_exactly_what_it_is_for(role: Role) -> None:
    allowed = [right.value for right in Right if may(role, right)]

    assert " ".join(allowed) == ALLOWED[role]


def test_who_trains_does_not_release_and_the_other_way_round() -> None:
    assert not may(Role.TRAINER, Right.RELEASE)
    assert not may(Role.RELEASER, Right.TRAIN)


@pytest.mark.parametrize("giver", list(Role))
@pytest.mark.parametrize("given", list(Role))
def test_nobody_gives_away_more_than_they_have(giver: Role, given: Role) -> None:
    assert may_give(giver, given) == all(may(giver, right) for right in RIGHTS[given])


def test_two_spellings_of_a_name_are_one_key() -> None:
    assert clean_name("  Ada \t Lovelace ") == "Ada Lovelace"
    assert key_of("ADA lovelace") == key_of("Ada Lovelace") == key_of("\uff21da Lovelace")


@pytest.mark.parametrize("name", ["", "   ", "a" * 61, "ada\u202etxet", "a\x00b", "a\u200bb"])
def test_a_name_that_cannot_be_read_is_none(name: str) -> None:
    with pytest.raises(BadName):
        clean_name(name)
    assert key_of(name) == ""


@pytest.mark.parametrize("password", ["short", "a" * 257, "aaaaaaaaaaaaaaaa", "abababababababab", "adaadaadaada"])
def test_a_password_that_is_easily_guessed_is_refused(password: str) -> None:
    with pytest.raises(BadPassword):
        check_password(password, "Ada")


def test_a_password_may_be_words_of_any_script() -> None:
    check_password("vier Pferde ziehen Ölfässer", "Ada")


def test_secrets_differ_and_their_hash_does_not_hold_them() -> None:
    one, other = new_secret(), new_secret()

    assert one != other
    assert hash_of(one) == hash_of(one) != hash_of(other)
    assert one not in hash_of(one)
