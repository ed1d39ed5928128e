"""How commands print: one console, tables, and JSON for scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.console import Console

__all__ = ["console", "print_json", "write_json"]

console = Console(stderr=False, highlight=False)


def print_json(value: Any) -> None:
    """Plain JSON on standard output, for a pipe as well as for a person."""
    console.out(json.dumps(value, indent=2, allow_nan=False), highlight=False)


def write_json(path: Path, value: Any) -> None:
    """JSON into a file, or to standard output when the path is ``-``."""
    if str(path) == "-":
        print_json(value)
    else:
        path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", "utf-8")
