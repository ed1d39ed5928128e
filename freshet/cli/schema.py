"""`freshet schema`: the JSON Schemas of the events."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from freshet.cli.output import json_target, write_json
from stream.schema import json_schemas

__all__ = ["schema"]


def schema(
    name: Annotated[str | None, typer.Argument(help="One event type; all when left out.")] = None,
    out: Annotated[
        Path, typer.Option("--json", callback=json_target, help="Write to this file instead of the screen.")
    ] = Path("-"),
) -> None:
    """Print the JSON Schema of the events that clients may send.

    Example: `freshet schema click`
    """
    schemas = json_schemas()
    if name is not None and name not in schemas:
        msg = f"no event type {name!r}; there are: {', '.join(sorted(schemas))}"
        raise typer.BadParameter(msg)
    chosen = schemas if name is None else schemas[name]
    write_json(out, chosen)
