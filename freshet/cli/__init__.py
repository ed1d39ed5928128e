"""The command line: one file a command, registered here."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from freshet import __version__
from freshet.cli import demo, doctor, feed, parts, replay, schema, serve, simulate, topics, up, work
from stream.errors import FreshetError, may_pass
from stream.open_files import in_words

__all__ = ["app", "main"]

app = typer.Typer(
    name="freshet",
    help="A recommender that learns from every click while it serves.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(demo.demo)
app.command()(up.up)
app.command()(feed.feed)
app.command()(replay.replay)
app.command()(simulate.simulate)
app.command()(doctor.doctor)
app.command(cls=parts.PartsCommand)(parts.parts)
app.command()(schema.schema)
app.add_typer(topics.topics, name="topics")
app.command()(work.work)
app.command()(serve.serve)


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"freshet {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and end."),
    ] = False,
) -> None:
    """Commands exit with 0 when all went well, 1 when something failed, 2 when they were called wrongly."""


def main() -> None:
    """Entry point: errors of ours become one clear line and exit code 1."""
    try:
        app()
    except FreshetError as error:
        typer.echo(f"freshet: {in_words(error)}", err=True)
        sys.exit(1)
    except OSError as error:
        if not may_pass(error):
            raise
        said = f"{in_words(error)}; mend the disk, the limits or the rights, and try again"
        typer.echo(f"freshet: {said}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
