"""Documentation is under test: what is public is explained, and the pages agree with the source."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import typer.main

SHOWN_BY_EXAMPLE = ("learners", "bandits", "index", "monitor")


def _classes(rooms: list[ModuleType]) -> Iterator[tuple[str, type]]:
    """The classes that the rooms export."""
    for room in rooms:
        for name in room.__all__:
            if inspect.isclass(thing := getattr(room, name)):
                yield f"{room.__name__}.{name}", thing


def _is_a_record(thing: type) -> bool:
    """Data without behaviour: a struct, data class or named tuple that has no public method."""
    is_data = any(hasattr(thing, mark) for mark in ("__struct_fields__", "__dataclass_fields__", "_fields"))
    return is_data and not any(inspect.isfunction(v) and n[0] != "_" for n, v in vars(thing).items())


def _needs_example(thing: type) -> bool:
    """Learners, policies, indexes and metrics: whatever is no record, protocol, error or enumeration."""
    exempt = getattr(thing, "_is_protocol", False) or issubclass(thing, BaseException) or _is_a_record(thing)
    return not (exempt or hasattr(thing, "__members__"))


def _commands(command: Any, path: str = "freshet") -> Iterator[tuple[str, Any]]:
    """Every command and its path, groups left out."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path, command
    for name, child in (children or {}).items():
        yield from _commands(child, f"{path} {name}")


def _command_line() -> dict[str, Any]:
    return dict(_commands(typer.main.get_command(importlib.import_module("freshet.cli").app)))


def _named(texts: dict[str, str], pattern: str) -> set[tuple[str, str]]:
    """(page, name) of the commands that open a line of code or a code span in some Markdown page."""
    found = set()
    for path, text in texts.items():
        fenced = "\n".join(re.findall(r"^```[^\n]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
        lines = [*fenced.splitlines(), *re.findall(r"`([^`\n]+)`", text)] if path.endswith(".md") else []
        for line in lines:
            if match := re.match(rf"\s*(?:\$ )?(?:\S*/bin/)?{pattern}", line):
                found.add((path, match[1]))
    return found


def test_every_exported_class_has_a_docstring(rooms: list[ModuleType]) -> None:
    offenders = [
        name
        for name, thing in _classes(rooms)
        if (thing.__doc__ or f"{thing.__name__}(").startswith(f"{thing.__name__}(")
    ]
    assert not offenders, "\n".join(offenders)


def test_what_learns_decides_searches_or_measures_shows_an_example(rooms: list[ModuleType]) -> None:
    shown = [room for room in rooms if room.__name__ in SHOWN_BY_EXAMPLE]
    offenders = [n for n, c in _classes(shown) if _needs_example(c) and ">>>" not in (c.__doc__ or "")]
    assert not offenders, "\n".join(["no runnable example in", *offenders])


def test_the_reference_pages_agree_with_the_source(root: Path) -> None:
    ran = subprocess.run(
        [sys.executable, root / "docs" / "reference.py", "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, f"run `make reference`\n{ran.stdout}{ran.stderr}"


def test_every_command_is_in_the_reference(root: Path) -> None:
    page = (root / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert [path for path in _command_line() if path not in page] == []


def test_every_command_shows_an_example_in_its_help() -> None:
    assert [path for path, command in _command_line().items() if path not in (command.help or "")] == []


def test_every_make_target_that_a_page_names_exists(root: Path, texts: dict[str, str]) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert {named for named in _named(texts, r"make ([a-z-]+)") if named[1] not in targets} == set()


def test_every_command_that_a_page_names_exists(texts: dict[str, str]) -> None:
    known = {path.split()[1] for path in _command_line()}
    assert {named for named in _named(texts, r"freshet ([a-z]+)") if named[1] not in known} == set()


def test_every_relative_link_leads_somewhere(root: Path, texts: dict[str, str]) -> None:
    offenders = [
        f"{path}: {link}"
        for path, text in texts.items()
        if path.endswith(".md")
        for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", text)
        if not ((root / path).parent / link).exists()
    ]
    assert not offenders, "\n".join(offenders)


def test_every_test_that_a_page_names_exists(root: Path, texts: dict[str, str]) -> None:
    kits = "".join(text for path, text in texts.items() if path.endswith("/testing.py"))
    named = re.findall(
        r"`(tests/[\w/]+\.py)::([\w:]+)`", "".join(t for p, t in texts.items() if p.endswith(".md"))
    )
    assert named
    offenders = [
        f"{path}::{name}"
        for path, name in named
        for part in name.split("::")
        if not re.search(rf"(def|class) {part}\b", texts.get(path, "") + (kits if "::" in name else ""))
    ]
    assert not offenders, "\n".join(offenders)


def test_every_room_has_tests_of_its_own(root: Path, room_names: tuple[str, ...]) -> None:
    assert [room for room in room_names if not list((root / "tests" / room).glob("test_*.py"))] == []


def test_every_fragment_names_its_issue_and_room(root: Path, room_names: tuple[str, ...]) -> None:
    names = [path.name for path in (root / "changelog.d").glob("*.md") if path.name != "README.md"]
    pattern = re.compile(rf"\d+\.({'|'.join([*room_names, 'house'])})\.md")
    assert [name for name in names if not pattern.fullmatch(name)] == []
