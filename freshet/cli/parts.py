"""`freshet parts`: the kinds of part that may be chosen, with their settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.markup import escape
from rich.table import Table
from typer.core import TyperCommand

from freshet.catalogues import CATALOGUES
from freshet.cli.output import console, json_target, write_json
from freshet.settings_text import Described, described
from learning.catalogue import Kind, Kinds, misnamed, nearest
from learning.errors import SettingsError

__all__ = ["PartsCommand", "parts"]


class PartsCommand(TyperCommand):
    """`parts`, whose ``--json`` needs no file behind it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As before, with ``-`` for the file where none is named."""
        named = [*args, ""]
        for place, word in enumerate(args):
            following = named[place + 1]
            if word == "--json" and (not following or (following.startswith("-") and following != "-")):
                return super().parse_args(ctx, [*args[: place + 1], "-", *args[place + 1 :]])
        return super().parse_args(ctx, args)


def parts(
    kind: Annotated[
        str | None, typer.Argument(help="One kind, or a section such as `scorers`; all when left out.")
    ] = None,
    json_out: Annotated[
        Path | None,
        typer.Option(
            "--json",
            callback=json_target,
            help="Write the list here; standard output where no file is named, or `-`.",
        ),
    ] = None,
) -> None:
    """List the kinds of part that the settings may name: what they are, and what can be set.

    Kinds of other packages are listed, too; one that cannot be imported is listed with the reason.

    Example: `freshet parts lin_ucb`
    """
    if kind in CATALOGUES:
        found = {kind: _loaded(CATALOGUES[kind], None)}
    else:
        found = {section: _loaded(kinds, kind) for section, kinds in CATALOGUES.items()}
    if kind is not None and not any(found.values()):
        raise SettingsError(_unknown(kind))
    if json_out is not None:
        write_json(json_out, {section: list(map(_plain, each)) for section, each in found.items()})
    if json_out is None:
        for section, each in found.items():
            _show(section, each)
    for passed_over in _passed_over(kind):
        console.print(f"[yellow]passed over:[/] {escape(passed_over)}")


def _passed_over(kind: str | None) -> list[str]:
    """What others registered and nobody can choose: of a section, or of all where none was asked for."""
    if kind in CATALOGUES:
        return CATALOGUES[kind].passed_over()
    found = [*misnamed(), *(why for kinds in CATALOGUES.values() for why in kinds.passed_over())]
    return [why for why in dict.fromkeys(found) if kind is None or repr(kind) in why]


def _unknown(wanted: str) -> str:
    near = nearest(
        wanted, [*CATALOGUES, *(name for kinds in CATALOGUES.values() for name in kinds.near(wanted))]
    )
    there = f"did you mean {near[0]}? There are" if near else "there are"
    listed = "; ".join(f"{section}: {', '.join(kinds.names())}" for section, kinds in CATALOGUES.items())
    return f"there is no kind and no section {wanted!r}; {there} {listed}"


def _loaded(kinds: Kinds, wanted: str | None) -> list[tuple[str, Kind | str]]:
    """Kinds by name; of one that cannot be imported, why not."""
    found: list[tuple[str, Kind | str]] = []
    for name in kinds.names() if wanted is None else {wanted} & set(kinds.names()):
        try:
            found.append((name, kinds.load(name)))
        except SettingsError as error:
            found.append((name, str(error)))
    return found


def _plain(entry: tuple[str, Kind | str]) -> dict[str, Any]:
    name, kind = entry
    if isinstance(kind, str):
        return {"kind": name, "error": kind}
    return {
        "kind": name,
        "what": kind.what,
        "source": kind.source,
        "servable": kind.servable,
        "package": kind.package or "freshet",
        "settings": [_setting(kind, setting) for setting in described(kind.settings)],
    }


def _setting(kind: Kind, setting: Described) -> dict[str, Any]:
    """One setting; its default as a script wants it, None where it must be given."""
    field = next(f for f in msgspec.structs.fields(kind.settings) if f.encode_name == setting.name)
    default = field.default_factory() if callable(field.default_factory) else field.default
    plain = None if field.required else msgspec.to_builtins(default)
    return {**setting._asdict(), "default": plain, "required": field.required}


def _show(section: str, found: list[tuple[str, Kind | str]]) -> None:
    if not found:
        return
    kinds = Table("kind", "what it is", "source", "serves", "package", title=f"{section}: kinds")
    settings = Table("kind", "setting", "default", "type", "meaning", title=f"{section}: settings")
    for name, kind in found:
        if isinstance(kind, str):
            kinds.add_row(name, f"[red]{escape(kind)}[/]")
            continue
        serves = "–" if not kind.serves else "yes" if kind.servable else "no"
        kinds.add_row(name, escape(kind.what), escape(kind.source), serves, kind.package or "freshet")
        for number, (setting, what, default, meaning) in enumerate(described(kind.settings)):
            settings.add_row("" if number else name, setting, *map(escape, (default, what, meaning)))
    console.print(kinds)
    if settings.row_count:
        console.print(settings)
