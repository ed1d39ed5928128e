"""Between the engines: a data folder to Kafka, and `events` into a data folder; used by `freshet feed`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from rich.progress import Progress, SpinnerColumn, TextColumn

from freshet.cli.output import console, read_settings
from freshet.feeding import SendReport
from stream.clock import WallClock

__all__ = ["copy_from_kafka", "copy_to_kafka"]


def copy_to_kafka(path: Path, address: str, config: Path | None, *, batch: int, restart: bool) -> SendReport:
    """Copy the data folder at `path` into `events`, see `freshet.feeding.to_kafka`."""
    # The client comes with an extra, so it is loaded when it is asked for only.
    from freshet.feeding.to_kafka import FolderToKafka

    settings = read_settings(config, {"kafka": {"bootstrap": address}})
    with closing(FolderToKafka(path, settings, WallClock(), restart=restart)) as copy, _counted(path) as tell:
        return copy.run(batch=batch, on_progress=tell)


def copy_from_kafka(address: str, path: Path, config: Path | None, *, restart: bool) -> SendReport:
    """Copy `events` into the data folder at `path`, see `freshet.feeding.from_kafka`."""
    from freshet.feeding.from_kafka import KafkaToFolder

    settings = read_settings(config, {"kafka": {"bootstrap": address}})
    with closing(KafkaToFolder(settings, path, WallClock(), restart=restart)) as copy, _counted(path) as tell:
        return copy.run(on_progress=tell)


@contextmanager
def _counted(path: Path) -> Iterator[Callable[[int], None]]:
    columns = (SpinnerColumn(), TextColumn(f"{path}: {{task.completed:,}} events"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("copy", total=None)
        yield lambda count: bar.advance(task, count)
