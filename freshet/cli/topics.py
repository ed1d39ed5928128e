"""`freshet topics`: the topics of Freshet on Kafka."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from freshet.cli.output import console, json_target, read_settings, write_json
from stream.kafka import KafkaSettings
from stream.kafka.layout import LAYOUT, Difference

__all__ = ["check", "create", "topics"]

topics = typer.Typer(help="Create and check the topics on Kafka.", no_args_is_help=True)

Kafka = Annotated[str | None, typer.Option("--kafka", metavar="HOST:PORT", help="Some brokers.")]
Config = Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A freshet.toml.")]
JsonOut = Annotated[
    Path | None, typer.Option("--json", callback=json_target, help="Write what was found here.")
]


@topics.command()
def create(kafka: Kafka = None, config: Config = None, json_out: JsonOut = None) -> None:
    """Create the topics that are missing; those that are there are looked at and left as they are.

    Example: `freshet topics create --kafka localhost:9092`
    """
    # The client comes with an extra, so it is loaded by the commands that need it only.
    from stream.kafka.topics import check_topics, create_topics

    settings = _settings(kafka, config)
    created = create_topics(settings)
    _report(settings, check_topics(settings), created, json_out)


@topics.command()
def check(kafka: Kafka = None, config: Config = None, json_out: JsonOut = None) -> None:
    """Compare the topics with what Freshet needs, and say how to mend what differs; changes nothing.

    Example: `freshet topics check --kafka localhost:9092 --json -`
    """
    from stream.kafka.topics import check_topics

    settings = _settings(kafka, config)
    _report(settings, check_topics(settings), [], json_out)


def _settings(kafka: str | None, config: Path | None) -> KafkaSettings:
    return read_settings(config, {"kafka": {"bootstrap": kafka}}).kafka


def _report(
    settings: KafkaSettings, differing: list[Difference], created: list[str], json_out: Path | None
) -> None:
    if json_out is not None:
        write_json(json_out, {"created": created, "differences": [asdict(d) for d in differing]})
    if str(json_out) != "-":
        _print(settings, differing, created)
    if differing:
        raise typer.Exit(1)


def _print(settings: KafkaSettings, differing: list[Difference], created: list[str]) -> None:
    wrong = {difference.topic for difference in differing}
    table = Table("topic", "partitions", "kept", "", box=None)
    for topic in LAYOUT:
        name = settings.topic(topic.name)
        state = "differs" if name in wrong else "created" if name in created else "as wanted"
        kept = "newest by key" if topic.cleanup == "compact" else f"{settings.keep_days:g} days"
        table.add_row(name, str(topic.partitions(settings)), kept, state)
    console.print(table)
    for difference in differing:
        console.print(str(difference), markup=False, soft_wrap=True)
