"""`freshet topics`: the topics of Freshet on Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from freshet.cli.output import console, json_target, read_settings, write_json
from stream.clock import WallClock
from stream.kafka import KafkaSettings
from stream.kafka.layout import LAYOUT, Difference

if TYPE_CHECKING:
    from learning.shards.clock_repair import Ahead

__all__ = ["check", "create", "repair_clock", "topics"]

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


@topics.command("repair-clock")
def repair_clock(
    kafka: Kafka = None,
    prefix: Annotated[str | None, typer.Option(help="Before the names of topics and groups.")] = None,
    clock: Annotated[str | None, typer.Option(help="`wall` or `event`, as the workers have it.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what is ahead; 1 if anything is.")
    ] = False,
    config: Config = None,
    json_out: JsonOut = None,
) -> None:
    """Let time begin again now where a worker's clock was wrong and is right again; stop all workers first.

    Finds each partition whose time is more than five minutes ahead of this machine's clock and puts it back,
    with everything that was learned; what is accepted and not learned yet is learned. Servers may go on:
    their marks come right once workers run again.

    Example: `freshet topics repair-clock --kafka localhost:9092 --dry-run`
    """
    from learning.shards.clock_repair import refuse_running, times_ahead
    from learning.shards.clock_repair import repair_clock as repair
    from stream.kafka.topics import require_topics

    flags = {"clock": clock, "kafka": {"bootstrap": kafka, "prefix": prefix}}
    settings, time = read_settings(config, flags), WallClock()
    require_topics(settings.kafka)
    refuse_running(settings)
    found = asyncio.run(times_ahead(settings, time))
    mends = bool(found) and not dry_run
    if mends:
        asyncio.run(repair(settings, time, found))
    if json_out is not None:
        write_json(json_out, {"ahead": [ahead._asdict() for ahead in found], "mended": mends})
    if str(json_out) != "-":
        _print_ahead(found, mends=mends)
    if found and dry_run:
        raise typer.Exit(1)


def _print_ahead(found: Sequence[Ahead], *, mends: bool) -> None:
    if not found:
        console.print("no time that has not come; nothing was changed")
        return
    table = Table("step", "partition", "what", "ahead by", box=None)
    for ahead in found:
        table.add_row(ahead.step, str(ahead.partition), ahead.what, f"{ahead.ahead_ms / 1e3:,.0f} s")
    console.print(table)
    said = "time begins again now; start the workers" if mends else "nothing was changed"
    console.print(f"{said}; items, policies and servers follow what the workers say", soft_wrap=True)


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
