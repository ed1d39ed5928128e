"""Writes the reference pages from docstrings, command line and settings, so that they cannot go stale.

`python docs/reference.py --write` (or `make reference`) rewrites `api.md`, `cli.md` and `settings.md` in
`docs/reference/`; `--check` prints what would change and exits with 1 if anything would. A house test runs
the check.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Literal, get_args, get_origin

import msgspec
import typer.main

__all__ = ["api_page", "cli_page", "main", "settings_page"]

HOME = Path(__file__).resolve().parent / "reference"
ROOMS = ("stream", "monitor", "learners", "index", "bandits", "learning", "replay", "serving", "freshet")
_CLI_PREFACE = """What `freshet COMMAND --help` says, on one page.

Settings come from `freshet.toml`, then `FRESHET_…` variables, then flags ([settings](settings.md)). Exit
codes: 0 all went well, 1 something failed (standard error says what to do), 2 called wrongly. `--json FILE`
writes what a script would want; `-` is standard output."""
_SETTINGS_PREFACE = """Every setting has a default. Later sources win:

1. `freshet.toml` in the current folder, or the file given with `--config`; its tables are the sections below.
2. Variables named after section and field: `FRESHET_POLICY_EPSILON=0.1` is `epsilon = 0.1` under `[policy]`,
   and `FRESHET_PORT=9000` is `port = 9000` outside any table. Lists and tables are written as JSON:
   `FRESHET_SERVE_SOURCES='{"fresh": 40}'`.
3. Flags of the command ([command line](cli.md)).

A name that is not listed here, or a value that does not fit, ends the command with a message that names it
and never shows a token or a password. The file that was read is named at the start. `serve.insecure` is not
taken from a `freshet.toml` that merely lies in the current folder: name that with `--config`, or pass
`--insecure`.

Kubernetes writes variables for every service of the namespace into every container; one called `freshet`
gives `FRESHET_SERVICE_HOST` and `FRESHET_PORT=tcp://…`. Variables of these forms are passed over and listed
in one line at the start; `enableServiceLinks: false` in the pod keeps them away.

What a change does to a running system: [operating](../guides/operating.md#changing-settings)."""
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
    lines = ["# The command line", NOTICE, _CLI_PREFACE]
    return "\n".join([*lines, *_command_lines("freshet", typer.main.get_command(app))]) + "\n"


def _meanings(struct: type) -> dict[str, str]:
    """The string literal below each field of a settings class."""
    body = ast.parse(inspect.getsource(struct)).body[0]
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and is_text:
            found[field.target.id] = " ".join(str(text.value.value).split())  # type: ignore[attr-defined]
    return found


def _bounds(limits: Any) -> str:
    """The constraint of an annotated field, in words; empty if it has none that a number can have."""
    least = limits.ge if limits.ge is not None else limits.gt
    words = [] if least is None else [f"from {least}" if limits.ge is not None else f"above {least}"]
    if limits.le is not None:
        words.append(f"to {limits.le}")
    return f", {' '.join(words)}" if words else ""


def _type_name(kind: Any) -> str:
    """A type in the words of TOML."""
    if hasattr(kind, "__metadata__"):
        return _type_name(kind.__origin__) + _bounds(kind.__metadata__[0])
    arguments = get_args(kind)
    if type(None) in arguments:  # left out means something of its own
        return _type_name(next(argument for argument in arguments if argument is not type(None)))
    if get_origin(kind) is UnionType:
        return " or ".join(_type_name(argument) for argument in arguments)
    if get_origin(kind) is Literal:
        return " or ".join(f'`"{choice}"`' for choice in arguments)
    if get_origin(kind) is tuple:
        return f"list of {_type_name(arguments[0])}"
    if get_origin(kind) is dict:
        return f"table of {_type_name(arguments[1])}"
    if _is_table(kind):
        return "table"
    return {int: "integer", float: "number", str: "text", bool: "true or false", Any: "any value"}[kind]


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def _toml(value: Any) -> str:
    """A default as it would stand in the file."""
    if isinstance(value, bool | str):
        return msgspec.json.encode(value).decode()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(entry) for entry in value) + "]"
    return f"{value:_}"


def _settings_lines(name: str, struct: type, *, repeated: bool = False) -> Iterator[str]:
    """The table of one section, then of those below it."""
    if name:
        yield f"\n## {f'[[{name}]]' if repeated else f'[{name}]'}\n"
        yield " ".join((inspect.getdoc(struct) or "").split("\n\n")[0].split())
    yield "\n| setting | type | default | meaning |\n|---|---|---|---|"
    meanings, sections = _meanings(struct), []
    # As they stand in the class: a base class would put its own first.
    written = list(inspect.get_annotations(struct))
    for field in sorted(msgspec.structs.fields(struct), key=lambda field: written.index(field.name)):
        if _is_table(field.type):
            sections.append((field.name, field.type, False))
            continue
        if get_origin(field.type) is tuple and _is_table(element := get_args(field.type)[0]):
            sections.append((field.name, element, True))
        meaning = meanings[field.name].replace("|", "\\|")
        yield f"| `{field.name}` | {_type_name(field.type)} | {_default(field)} | {meaning} |"
    for section, kind, many in sections:
        yield from _settings_lines(f"{name}.{section}".lstrip("."), kind, repeated=many)


def _default(field: Any) -> str:
    if field.required:
        return "required"
    if field.default is None:
        return "not set"
    return f"`{_toml(field.default_factory() if field.default is msgspec.NODEFAULT else field.default)}`"


def settings_page() -> str:
    """The page of settings, as Markdown; a setting without a meaning is a KeyError."""
    settings = importlib.import_module("freshet.config").Settings
    lines = ["# Settings", NOTICE, _SETTINGS_PREFACE]
    return "\n".join([*lines, *_settings_lines("", settings)]) + "\n"


def main(arguments: list[str]) -> int:
    """Write the pages, or compare them with what would be written; 1 if they differ."""
    stale = False
    pages = {"api.md": api_page(), "cli.md": cli_page(), "settings.md": settings_page()}
    for name, page in pages.items():
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
