"""Writes the reference pages from the docstrings and the command line, so that they cannot go stale.

`python docs/reference.py --write` (or `make reference`) rewrites `docs/reference/api.md` and
`docs/reference/cli.md`; `--check` prints what would change and exits with 1 if anything would. A house
test runs the check.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

__all__ = ["api_page", "cli_page", "main"]

HOME = Path(__file__).resolve().parent / "reference"
ROOMS = ("stream", "monitor", "learners", "index", "bandits", "replay", "serving", "freshet")
NOTICE = "<!-- Written by docs/reference.py from the source: change it there, then `make reference`. -->\n"


def _kind(thing: object) -> str:
    """What a newcomer would call it."""
    if inspect.isclass(thing):
        if issubclass(thing, BaseException):
            return "error"
        return "protocol" if getattr(thing, "_is_protocol", False) else "class"
    if inspect.ismodule(thing):
        return "module"
    return "function" if (callable(thing) and hasattr(thing, "__code__")) or _is_kernel(thing) else "value"


def _is_kernel(thing: object) -> bool:
    """Whether it is a function compiled by numba."""
    return hasattr(thing, "py_func")


def _summary(name: str, thing: object) -> str:
    """First line of its docstring; values have none."""
    if _kind(thing) == "value":
        return f"`{thing!r}`" if isinstance(thing, str | int | float) else ""
    text = (getattr(thing, "__doc__", None) or "").strip()
    # A dataclass without a docstring is given its signature for one.
    line = "" if text.startswith(f"{name}(") else text.split("\n\n")[0]
    return " ".join(line.split()).replace("|", "\\|")


def _api_lines() -> Iterator[str]:
    yield "# Every public name, room by room"
    yield NOTICE
    yield "Rooms in the order in which they may import each other: each uses only those above it."
    for name in ROOMS:
        room = importlib.import_module(name)
        yield f"\n## {name}\n"
        yield (inspect.getdoc(room) or "").split("\n\n")[0] + "\n"
        yield "| name | kind | what it is |\n|---|---|---|"
        for symbol in sorted(room.__all__, key=str.lower):
            thing = getattr(room, symbol)
            yield f"| `{symbol}` | {_kind(thing)} | {_summary(symbol, thing)} |"


def api_page() -> str:
    """The page of public names, as Markdown."""
    return "\n".join(_api_lines()) + "\n"


def _option_row(parameter: Any) -> str:
    """One line of a command's table."""
    names = [*parameter.opts, *parameter.secondary_opts]
    shown = parameter.default if isinstance(parameter.default, str | int | float) else ""
    default = f"`{shown}`" if shown != "" and not isinstance(shown, bool) else ""
    label = (
        ", ".join(f"`{n}`" for n in names)
        if parameter.param_type_name == "option"
        else f"`{names[0].upper()}`"
    )
    help_line = " ".join((getattr(parameter, "help", None) or "").split()).replace("|", "\\|")
    return f"| {label} | {default} | {help_line} |"


def _command_lines(path: str, command: Any) -> Iterator[str]:
    """A section for a command, then one for each command below it."""
    yield f"\n## {path}\n"
    yield inspect.cleandoc(command.help or "").replace("\b", "").strip()
    rows = [_option_row(p) for p in command.params if not getattr(p, "hidden", False) and p.name != "help"]
    if rows:
        yield "\n| argument or option | default | meaning |\n|---|---|---|"
        yield from rows
    for name, child in sorted(getattr(command, "commands", {}).items()):
        yield from _command_lines(f"{path} {name}", child)


def cli_page() -> str:
    """The page of commands, as Markdown."""
    app = importlib.import_module("freshet.cli").app
    lines = ["# The command line", NOTICE, "What `freshet COMMAND --help` says, on one page."]
    return "\n".join([*lines, *_command_lines("freshet", typer.main.get_command(app))]) + "\n"


def main(arguments: list[str]) -> int:
    """Write the pages, or compare them with what would be written; 1 if they differ."""
    stale = False
    for name, page in (("api.md", api_page()), ("cli.md", cli_page())):
        path = HOME / name
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        if arguments == ["--write"]:
            path.write_text(page, encoding="utf-8")
        elif old != page:
            stale = True
            difference = difflib.unified_diff(old.splitlines(), page.splitlines(), name, "anew", lineterm="")
            sys.stdout.write("\n".join(difference) + "\n")
    return int(stale)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
