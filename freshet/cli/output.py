"""How commands print: one console, tables, and JSON for scripts."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from freshet.config import Settings, load_settings
from learning.errors import StartError

__all__ = ["console", "json_target", "log_to_stderr", "read_settings", "target", "write_json"]

console = Console(stderr=False, highlight=False)

_STANDARD_OUTPUT = Path("-")


def json_target(path: Path | None) -> Path | None:
    """As `target`, for the option that names where JSON goes.

    With ``-`` standard output belongs to the JSON, and everything else goes to standard error.
    """
    console.stderr = path == _STANDARD_OUTPUT
    return path if console.stderr else target(path)


def target(path: Path | None) -> Path | None:
    """Check where output is to go before any work is done; for options that name a file.

    Raises:
        typer.BadParameter: the folder of the file is not there.
    """
    if path is not None and not path.absolute().parent.is_dir():
        msg = f"{path}: the folder {path.absolute().parent} is not there; make it first"
        raise typer.BadParameter(msg)
    return path


def write_json(path: Path, value: Any) -> None:
    """JSON into a file, or to standard output when the path is ``-``.

    Raises:
        StartError: the file cannot be written.
    """
    text = json.dumps(value, indent=2, allow_nan=False)
    if path == _STANDARD_OUTPUT:
        typer.echo(text)
        return
    try:
        path.write_text(text + "\n", "utf-8")
    except OSError as error:
        msg = f"{path} cannot be written: {error.strerror or error}"
        raise StartError(msg) from error


def read_settings(
    path: Path | None = None, flags: Mapping[str, Any] | None = None, *, requests: bool = True
) -> Settings:
    """As `load_settings`; which file was read, and what was passed over, is said on standard error.

    Raises:
        SettingsError: a setting is unknown, cannot be read, or does not fit.
    """
    return load_settings(
        path, flags=flags, say=lambda line: typer.echo(f"freshet: {line}", err=True), requests=requests
    )


def log_to_stderr(name: str) -> None:
    """Print warnings of everybody but kafka-python, each after the command's name.

    What that client cannot mend comes back as an error of ours; what it says of single connections is read
    by `stream.kafka.connection`, so its loggers must go on speaking.
    """
    handler = logging.StreamHandler()
    handler.addFilter(lambda record: not record.name.startswith("kafka"))
    logging.basicConfig(level=logging.WARNING, format=f"{name}: %(message)s", handlers=[handler])
