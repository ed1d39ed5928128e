"""`freshet work`: a worker on Kafka."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
import uvloop

from freshet.cli.output import console, log_to_stderr, read_settings
from freshet.config import Settings
from freshet.run.listening import require_files
from learning.errors import StartError
from learning.starting import refusing_parts, startable_parts
from stream.clock import WallClock
from stream.kafka import KafkaSettings
from stream.kafka.layout import LAYOUT
from stream.private import private_files

__all__ = ["work"]

_TOPICS = {
    "join": ("events", "feedback", "item-feedback", "catalogue", "state-join", "dead-letters"),
    "users": (
        "feedback",
        "item-feedback",
        "item-vectors",
        "user-vectors",
        "control",
        "state-users",
        "training",
        "dead-letters",
    ),
    "items": ("item-feedback", "item-vectors", "policy", "state-items", "dead-letters"),
    "train": ("training", "control", "feedback", "state-train", "dead-letters"),
}


def work(
    kafka: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="Some brokers.")] = None,
    prefix: Annotated[str | None, typer.Option(help="Before the names of topics and groups.")] = None,
    clock: Annotated[str | None, typer.Option(help="`wall`, or `event`: time is the largest ts.")] = None,
    metrics_port: Annotated[
        int | None, typer.Option(min=0, max=65_535, help="Port of /metrics; 0: none.")
    ] = None,
    metrics_host: Annotated[str | None, typer.Option(help="Address of /metrics, else loopback.")] = None,
    steps: Annotated[
        str, typer.Option(metavar="NAMES", help="What to run: some of join, users, items, train.")
    ] = "join,users,items,train",
    config: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A freshet.toml.")] = None,
) -> None:
    """Join and learn on Kafka: reads `events` and the topics of [[kafka.sources]], writes all the others.

    Start as many as you like, on any machines: they share the partitions, and each event is joined and
    learned once however often workers die. SIGTERM ends it with 0. Ends with 1 and a reason when something is
    wrong; let a supervisor start it again.

    Example: `freshet work --kafka localhost:9092`
    """
    flags = {
        "clock": clock,
        "kafka": {"bootstrap": kafka, "prefix": prefix},
        "work": {"metrics_port": metrics_port, "metrics_host": metrics_host},
    }
    private_files()
    with _ended_by_sigterm():
        require_files()
        settings = read_settings(config, flags)
        log_to_stderr("freshet work")
        logging.getLogger("stream").setLevel(logging.INFO)
        chosen = _chosen(steps)
        if set(chosen) - {"join"}:
            startable_parts(settings, kafka=True, trains="train" in chosen, learns="items" in chosen)
        _require_topics(settings.kafka, chosen)
        if set(chosen) - {"join"}:
            _warm(settings, chosen)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_work(settings, chosen))


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the process with 0 until the worker itself listens: there is nothing to bring to an end.

    Not by an exception, which would be lost in what is compiled. Once the worker has ended in order, another
    SIGTERM changes nothing.
    """
    before = signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        yield
    except BaseException:
        signal.signal(signal.SIGTERM, before)
        raise
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _chosen(steps: str) -> list[str]:
    names = [name.strip() for name in steps.split(",") if name.strip()]
    if not names or set(names) - set(_TOPICS):
        msg = f"expected some of {', '.join(_TOPICS)}, separated by commas, got {steps!r}"
        raise typer.BadParameter(msg, param_hint="--steps")
    return names


def _require_topics(kafka: KafkaSettings, steps: Sequence[str]) -> None:
    """Topics that are missing, or have other numbers of partitions, would scatter what belongs together."""
    # Every client of Kafka comes with an extra.
    from stream.kafka.topics import check_topics, missing_topics

    needed = {topic for step in steps for topic in _TOPICS[step]}
    theirs = [source.topic for source in kafka.sources] if "join" in steps else []
    if theirs:
        needed.add("state-sources")
    found = check_topics(kafka, [topic for topic in LAYOUT if topic.name in needed])
    wrong = [str(difference) for difference in found if difference.what in ("topic", "partitions")]
    own = {kafka.topic(topic.name) for topic in LAYOUT}
    wrong += [
        f"{topic}: expected a topic of others in [[kafka.sources]], this is one of Freshet's own"
        for topic in theirs
        if topic in own
    ]
    for topic in missing_topics(kafka, theirs):
        wrong.append(f"{topic}: a topic of [[kafka.sources]] that is not there; is its name right?")
    if wrong:
        raise StartError("; ".join(wrong))


def _warm(settings: Settings, steps: Sequence[str]) -> None:
    from learning.shards.warm_shards import warm_shards

    console.print("getting ready (the first start compiles, about half a minute) ...")
    with refusing_parts():
        warm_shards(settings, trains="train" in steps)


async def _work(settings: Settings, steps: Sequence[str]) -> None:
    from learning.shards.worker import Worker

    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop.set)

    def asked(*_: object) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stop.set)

    # Not by the loop, which would let the signal kill the process as soon as it closes.
    signal.signal(signal.SIGTERM, asked)
    worker = Worker(settings, WallClock(), _end, steps)
    running = ", ".join(worker.engines)
    console.print(f"working at {settings.kafka.bootstrap}: {running}; Ctrl-C ends it")
    await worker.run(stop)
    if not all(engine.has_ended for engine in worker.engines.values()):
        # A client that looks for a broker cannot be stopped, and would hold up the end for ever.
        _leave(0)


def _end(reason: str) -> None:
    """End the process here and now: what is not committed never happened, and nobody may go on with it."""
    sys.stderr.write(f"freshet work: {reason}\n")
    _leave(1)


def _leave(code: int) -> NoReturn:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
