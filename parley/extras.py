"""Packages that not every installation has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from parley.errors import SetupError


@contextmanager
def needs(extra: str, what: str, setting: str) -> Iterator[None]:
    """Around an import: turns a missing package into the line that says how to get it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise SetupError(
            f"{setting} asks for {what}, whose package {error.name!r} is not installed. Run "
            f"pip install 'parley[{extra}]', or unset {setting}."
        ) from error
