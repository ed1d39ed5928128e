"""`freshet serve`: a serving worker on Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from freshet.cli.output import console, log_to_stderr, read_settings
from stream.private import private_files

__all__ = ["serve"]


def serve(
    data: Annotated[Path, typer.Option(help="Folder of this worker alone; made when it is not there.")],
    kafka: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Some brokers.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65_535, help="Port; 0: a free one.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    prefix: Annotated[str | None, typer.Option(help="Before the names of topics.")] = None,
    clock: Annotated[str | None, typer.Option(help="`wall`, or `event`: time is the largest ts.")] = None,
    config: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A freshet.toml.")] = None,
    insecure: Annotated[bool, typer.Option(help="Listen beyond loopback without tokens.")] = False,
) -> None:
    """Serve on Kafka: answers `recommend` from the rows in the compacted topics, and takes events.

    One process, with a folder of its own for decisions that the brokers do not have yet and for a copy of all
    rows. Start as many as you like, on any machines, each with its folder, behind a balancer that keeps a
    user with one of them. Keeps answering while the brokers are away. SIGTERM ends it with 0.

    Example: `freshet serve --kafka localhost:9092 --data ./serve-1 --port 8080`
    """
    # Every client of Kafka comes with an extra.
    from freshet.run.serve_kafka import serve_forever

    flags = {
        "port": port,
        "host": host,
        "clock": clock,
        "kafka": {"bootstrap": kafka, "prefix": prefix},
        "serve": {"insecure": insecure or None},
    }
    private_files()
    settings = read_settings(config, flags)
    log_to_stderr("freshet serve")

    def told(url: str) -> None:
        console.print(
            f"Freshet serves on {url} (brokers: {settings.kafka.bootstrap}, data: {data}); Ctrl-C ends it"
        )

    serve_forever(data, settings, told)
