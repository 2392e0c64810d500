"""The house rules that no linter says: sizes, docstrings, imports without effect, documentation that is complete."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from api import settings
from api.problems import PROBLEMS

ROOT = Path(__file__).parent.parent
ROOMS = ("api", "models", "db", "migrations")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
LONGEST_FILE, LONGEST_FUNCTION, MEDIAN_FUNCTION = 300, 40, 10


def _name(value: object) -> str:
    return str(value.relative_to(ROOT)) if isinstance(value, Path) else ""


@functools.cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(_tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count a function's lines of code; its docstring is not a burden."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=_name)
def test_a_file_fits_in_a_head(path: Path) -> None:
    """No file has more than 300 lines, and each says first what it is for."""
    text = path.read_text()

    assert len(text.splitlines()) <= LONGEST_FILE
    assert ast.get_docstring(_tree(path)) or not text.strip()


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_a_function_fits_on_a_page(path: Path) -> None:
    """No function has more than 40 lines."""
    long = {
        function.name: _lines(function)
        for function in _functions(path)
        if _lines(function) > LONGEST_FUNCTION
    }

    assert long == {}


def test_functions_are_small() -> None:
    """Half of all functions have ten lines or fewer."""
    assert statistics.median(_lines(each) for path in SOURCES for each in _functions(path)) <= MEDIAN_FUNCTION


@pytest.mark.parametrize("path", SOURCES, ids=_name)
def test_what_is_public_is_explained(path: Path) -> None:
    """Every public class and function at the top of a file has a docstring."""
    tree = _tree(path)
    public = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
    ]

    assert [node.name for node in public if not ast.get_docstring(node)] in ([], ["upgrade", "downgrade"])


@pytest.mark.parametrize("path", TESTS, ids=_name)
def test_a_test_says_what_is_true(path: Path) -> None:
    """Every test has a sentence that states what it shows."""
    silent = [
        each.name
        for each in _functions(path)
        if each.name.startswith("test_") and not ast.get_docstring(each)
    ]

    assert silent == []


@pytest.mark.parametrize("path", SOURCES + TESTS, ids=_name)
def test_an_exception_to_a_rule_has_its_reason(path: Path) -> None:
    """Every noqa and type: ignore says why on its own line."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        for mark in re.findall(r"#\s*(?:noqa: [A-Z0-9, ]+|type: ignore(?:\[[^\]]*\])?)(.*)", line):
            assert "#" in mark, f"{path.name}:{number}"


def test_nothing_happens_at_import() -> None:
    """Every module can be imported without environment, database, keys or network."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in SOURCES
        if path.parts[-2] != "versions"
        and path.name not in ("__main__.py", "env.py")
        and "migrations" not in path.parts
    ]
    lines = [
        "import os, socket, sqlite3",
        "def refuse(*_, **__): raise AssertionError('an effect at import')",
        "socket.socket.connect = refuse; sqlite3.connect = refuse",
        *(f"import {module}" for module in modules),
    ]

    run = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=ROOT,
        env={},
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("room", ["api", "models", "db", "tests"])
def test_the_rooms_are_ours(room: str) -> None:
    """No installed package hides one of our rooms behind its own."""
    assert Path(str(importlib.import_module(room).__file__)).is_relative_to(ROOT)


def test_every_setting_is_documented() -> None:
    """README's table holds every setting with its default."""
    readme = (ROOT / "README.md").read_text()

    for each in settings.table():
        assert f"| `{each.variable}` | `{each.default}` |" in readme or f"| `{each.variable}` | |" in readme


def test_every_command_is_documented() -> None:
    """README names every command of `python -m api`."""
    import click

    from api.__main__ import main

    readme = (ROOT / "README.md").read_text()
    assert isinstance(main, click.Group)
    assert [name for name in main.commands if f"python -m api {name}" not in readme] == []


def test_every_problem_in_the_table_is_answered_somewhere() -> None:
    """No row of the table of problems is dead: the code, or the proxy in front, answers it."""
    table = (ROOT / "api" / "problems.py").read_text().split("}  # fmt: skip", 1)[1]
    code = table + "\n".join(path.read_text() for path in SOURCES if path.name != "problems.py")
    proxy = (ROOT / "deploy" / "nginx.conf").read_text()

    assert [slug for slug in PROBLEMS if f'"{slug}"' not in code and f'/problems/{slug}"' not in proxy] == []
