"""`freshet work`: a worker on Kafka."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

from freshet.cli.output import console
from freshet.config import Settings, load_settings
from freshet.errors import StartError
from stream.clock import WallClock
from stream.kafka import KafkaSettings
from stream.kafka.layout import LAYOUT

__all__ = ["work"]

_TOPICS = ("events", "feedback", "item-feedback", "catalogue", "state-join", "dead-letters")


def work(
    kafka: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Some brokers.")] = None,
    prefix: Annotated[str | None, typer.Option(help="Before the names of topics and groups.")] = None,
    clock: Annotated[str | None, typer.Option(help="`wall`, or `event`: time is the largest ts.")] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port of /metrics; 0: none.")
    ] = None,
    metrics_host: Annotated[str | None, typer.Option(help="Address of /metrics, else loopback.")] = None,
    config: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A freshet.toml.")] = None,
) -> None:
    """Join events on Kafka: reads `events`, writes `feedback`, `item-feedback`, `catalogue`, `dead-letters`.

    Start as many as you like, on any machines: they share the partitions, and each event is joined once
    however often workers die. Ends with 1 and a reason when something is wrong; let a supervisor start it
    again. For now a worker joins; learning and serving on Kafka follow.

    Example: `freshet work --kafka localhost:9092`
    """
    flags = {
        "clock": clock,
        "kafka": {"bootstrap": kafka, "prefix": prefix},
        "work": {"metrics_port": metrics_port, "metrics_host": metrics_host},
    }
    settings = load_settings(config, flags=flags)
    logging.basicConfig(level=logging.WARNING, format="freshet work: %(message)s", stream=sys.stderr)
    logging.getLogger("stream").setLevel(logging.INFO)
    logging.getLogger("kafka").setLevel(
        logging.CRITICAL
    )  # what it cannot mend comes back as an error of ours
    _require_topics(settings.kafka)
    asyncio.run(_work(settings))


def _require_topics(kafka: KafkaSettings) -> None:
    """Topics that are missing, or have other numbers of partitions, would scatter what belongs together."""
    # Every client of Kafka comes with an extra.
    from stream.kafka.topics import check_topics

    found = check_topics(kafka, [topic for topic in LAYOUT if topic.name in _TOPICS])
    wrong = [difference for difference in found if difference.what in ("topic", "partitions")]
    if wrong:
        raise StartError("; ".join(map(str, wrong)))


async def _work(settings: Settings) -> None:
    from freshet.shards.worker import JoinWorker

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    worker = JoinWorker(settings, WallClock(), _end)
    console.print(f"joining {settings.kafka.topic('events')} at {settings.kafka.bootstrap}; Ctrl-C ends it")
    await worker.run(stop)


def _end(reason: str) -> None:
    """End the process here and now: what is not committed never happened, and nobody may go on with it."""
    sys.stderr.write(f"freshet work: {reason}\n")
    sys.stderr.flush()
    os._exit(1)
