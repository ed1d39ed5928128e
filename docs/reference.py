"""Writes the reference pages from docstrings, command line and settings, so that they cannot go stale.

`python docs/reference.py --write` (or `make reference`) rewrites `api.md`, `cli.md` and `settings.md` in
`docs/reference/`; `--check` prints what would change and exits with 1 if anything would. A house test runs
the check.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec
import typer.main

from freshet.catalogues import CATALOGUES
from freshet.settings_text import described, is_table
from learning.catalogue import Kinds

__all__ = ["api_page", "cli_page", "main", "settings_page"]

BAR = r"\|"
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
   `FRESHET_SERVE_SOURCES='{"fresh": 40}'`, `FRESHET_POLICIES='[{"kind": "thompson"}]'`. A list
   replaces that of an earlier source as a whole.
3. Flags of the command ([command line](cli.md)).

A name that is not listed here, or a value that does not fit, ends the command with a message that names it
and never shows a token or a password. The file that was read is named at the start. `serve.insecure` is not
taken from a `freshet.toml` that merely lies in the current folder: name that with `--config`, or pass
`--insecure`.

Kubernetes writes variables for every service of the namespace into every container; one called `freshet`
gives `FRESHET_SERVICE_HOST` and `FRESHET_PORT=tcp://…`. Variables of these forms are passed over and listed
in one line at the start; `enableServiceLinks: false` in the pod keeps them away.

What a change does to a running system: [operating](../guides/operating.md#changing-settings)."""
_ENTRIES = """One entry for each part, with its `kind` and the kind's own settings. Where several of
one kind run side by side they need a `name`; else a part is called like its kind. `freshet parts` lists the
kinds that are installed, those of other packages too ([plugins](../guides/plugins.md))."""
EXAMPLES = {
    "policies": """[[policies]]
kind = "diag_lin_ucb"   # the first decides where a request names none
alpha = 0.3

[[policies]]
kind = "diag_lin_ucb"
name = "wide"           # as requests and reports call it
alpha = 1.0""",
    "learners": """[[learners]]
kind = "popularity"
name = "last_hour"
half_lives_ms = [3600000]

[[scorers]]             # a list replaces the default one as a whole: name all
kind = "popular"
name = "last_hour_clicks"
of = "last_hour"        # the learner of above""",
    "measures": """[[measures]]           # a list replaces the default one as a whole: name all
kind = "policy_counts"

[[measures]]
kind = "part_notes\"""",
    "scorers": """[[scorers]]
kind = "popular"

[[scorers]]
kind = "taste"
weight = 2.0            # what it starts at; clicks move it""",
    "sources": """[[sources]]
kind = "index"
size = 128

[[sources]]
kind = "fresh\"""",
    "estimators": """[[estimators]]         # what `freshet replay` reports
kind = "snips"

[[estimators]]
kind = "beta_ips\"""",
}
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


def _settings_lines(name: str, struct: type, *, repeated: bool = False) -> Iterator[str]:
    """The table of one section, then of those below it."""
    if name:
        yield f"\n## {f'[[{name}]]' if repeated else f'[{name}]'}\n"
        yield " ".join((inspect.getdoc(struct) or "").split("\n\n")[0].split())
    yield from _table_of(struct)
    written = {name: place for place, name in enumerate(inspect.get_annotations(struct))}
    # What it inherits goes first, as in `described`.
    for field in sorted(msgspec.structs.fields(struct), key=lambda field: written.get(field.name, -1)):
        below = f"{name}.{field.name}".lstrip(".")
        if is_table(field.type):
            yield from _settings_lines(below, field.type)
        elif get_origin(field.type) is tuple and is_table(element := get_args(field.type)[0]):
            yield from _settings_lines(below, element, repeated=True)
        elif below in CATALOGUES:
            yield from _catalogue_lines(CATALOGUES[below])


def _table_of(struct: type) -> Iterator[str]:
    """The settings of a class, one a row; one without a meaning is a ValueError."""
    yield "\n| setting | type | default | meaning |\n|---|---|---|---|"
    for name, kind, default, meaning in described(struct):
        if not meaning:
            msg = f"{struct.__module__}.{struct.__name__}.{name} has no meaning below it"
            raise ValueError(msg)
        shown = default if default in ("required", "not set") else f"`{default}`"
        yield f"| `{name}` | {kind} | {shown} | {meaning.replace('|', BAR)} |"


def _catalogue_lines(kinds: Kinds) -> Iterator[str]:
    """The settings of every kind that may stand in a list of parts."""
    yield f"\n## [[{kinds.section}]]\n\n{_ENTRIES}\n\n```toml\n{EXAMPLES[kinds.section]}\n```"
    for kind in map(kinds.load, kinds.own()):
        source = f" Source: {kind.source}." if kind.source else ""
        yield f'\n### kind = "{kind.name}"\n\n{kind.what}{source}'
        if kind.settings.__struct_fields__:
            yield from _table_of(kind.settings)


def settings_page() -> str:
    """The page of settings, as Markdown; a setting without a meaning is a ValueError."""
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
