"""Rows of benchmarks as a table and as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.targets import targets_of, verdict

__all__ = ["print_rows", "write_rows"]

_COLUMNS = ("name", "value", "unit", "must", "reach for", "peer", "peer value", "ratio", "")
_RIGHT = {"value", "must", "reach for", "peer value", "ratio"}
_SHOWN = {"name", "value", "unit", "peer", "peer_value", "ratio"}


def write_rows(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """A JSON list of rows; numbers that are not finite become null."""
    path.write_text(json.dumps([_clean(row) for row in rows], indent=2, allow_nan=False) + "\n", "utf-8")


def _clean(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def print_rows(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """One line a figure, with what it is measured by; what else a row says stands below the table."""
    table = Table()
    for column in _COLUMNS:
        table.add_column(column, no_wrap=column == "name", justify="right" if column in _RIGHT else "left")
    for row in rows:
        targets = targets_of(row)
        word = verdict(row)
        style = {"m": "red", "h": "green", "b": "bold green"}.get(word[:1], "")
        table.add_row(
            str(row["name"]),
            _number(row.get("value")),
            str(row.get("unit", "")),
            "\n".join(f"{_number(t.must)}{_of(t.field)}" for t in targets),
            "\n".join(f"{_number(t.reach)}{_of(t.field)}" for t in targets),
            str(row.get("peer", "")),
            _number(row.get("peer_value")),
            _number(row.get("ratio")),
            word,
            style=style,
        )
    console.print(table)
    for row in rows:
        more = {key: value for key, value in row.items() if key not in _SHOWN}
        if more:
            console.print(f"{row['name']}: {_facts(more)}", soft_wrap=True, markup=False)


def _facts(more: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {_number(value) or value}" for key, value in more.items())


def _of(field: str) -> str:
    return {"value": "", "ratio": " x"}.get(field, f" {field}")


def _number(value: Any) -> str:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return ""
    if not math.isfinite(value):
        return "-"
    if abs(value) >= 100 or value == int(value):
        return f"{value:,.0f}"
    return f"{value:.3g}"
