"""The rules of the house that no linter knows: the environment, the settings' documentation, the lock."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from parley.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("admin", "bots", "core", "model", "parley", "storage")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
ENVIRONMENT = {("os", "environ"), ("os", "getenv"), ("os", "environb"), ("os", "putenv")}


def reads_of_environment(tree: ast.AST) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if (node.value.id, node.attr) in ENVIRONMENT:
                yield node.lineno
        elif isinstance(node, ast.ImportFrom) and node.module == "os":
            yield from (node.lineno for name in node.names if ("os", name.name) in ENVIRONMENT)


def test_only_the_settings_read_the_environment() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in SOURCES
        if path.relative_to(ROOT) != Path("parley/settings.py")
        for line in reads_of_environment(ast.parse(path.read_text()))
    ]

    assert found == []


def test_the_example_lists_every_setting_with_a_comment_and_no_other() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    names = [line.partition("=")[0] for line in lines if re.match(r"[A-Z_]+=", line)]
    commented = [
        line.partition("=")[0]
        for above, line in pairwise(lines)
        if re.match(r"[A-Z_]+=", line) and above.startswith("# ")
    ]

    assert sorted(names) == sorted(name.upper() for name in Settings.model_fields)
    assert names == commented


def test_the_example_holds_no_value() -> None:
    values = re.findall(r"^[A-Z_]+=(.+)$", (ROOT / ".env.example").read_text(), re.MULTILINE)

    assert values == []


@pytest.mark.parametrize("name", sorted(Settings.model_fields))
def test_the_comment_names_the_default_that_the_code_has(name: str) -> None:
    default = Settings.model_fields[name].default
    text = (ROOT / ".env.example").read_text()
    comment = text.partition(f"\n{name.upper()}=")[0].rpartition("=\n")[2]

    if default not in (None, ""):
        shown = (
            str(default).lower()
            if isinstance(default, bool)
            else f"{default:g}"
            if isinstance(default, float)
            else str(default)
        )
        assert f"(default: {shown}" in comment


def test_every_module_says_what_lives_in_it() -> None:
    silent = [str(path.relative_to(ROOT)) for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text()))]

    assert silent == []


def test_a_lock_that_strangers_can_install() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()

    assert "torch==2.13.0" in lines
    assert not any("+cpu" in line or "@ file" in line or "--hash" in line for line in lines)
