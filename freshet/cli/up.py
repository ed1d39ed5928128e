"""`freshet up`: the embedded system."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from freshet.cli.output import console, read_settings
from freshet.run import EmbeddedSystem
from freshet.run.lifeline import StopFlag
from stream.clock import WallClock
from stream.private import private_files

__all__ = ["up"]


def up(
    data: Annotated[Path, typer.Option(help="Data folder; made when it is not there.")],
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port; 0: a free one.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Serving processes.")] = None,
    clock: Annotated[str | None, typer.Option(help="`wall`, or `event`: time is the largest ts.")] = None,
    config: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A freshet.toml.")] = None,
    insecure: Annotated[bool, typer.Option(help="Listen beyond loopback without tokens.")] = False,
) -> None:
    """Serve and learn on this machine: HTTP workers and one learner over one data folder.

    Example: `freshet up --data ./freshet-data --port 8080`
    """
    flags = {
        "port": port,
        "host": host,
        "workers": workers,
        "clock": clock,
        "serve": {"insecure": insecure or None},
    }
    private_files()
    settings = read_settings(config, flags)
    stop, wall = StopFlag(), WallClock()
    stop.on_signals()
    with EmbeddedSystem(data, settings, wall) as system:
        console.print(
            f"Freshet listens on {system.url} (data: {data}, clock: {settings.clock}); Ctrl-C ends it"
        )
        while not stop():
            system.watch()
            wall.sleep_s(0.1)
        console.print("stopping: requests finish, the learner commits and writes a snapshot ...")
