"""`freshet feed`: events from files into a running Freshet."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import Annotated, Protocol

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from freshet.cli.moving import copy_from_kafka, copy_to_kafka
from freshet.cli.output import console, json_target, read_settings, write_json
from freshet.feeding import Row, Sender, SendReport, count_rows, read_rows
from freshet.feeding.order import OrderWatch
from freshet.feeding.sample import count_sample, sample_rows
from freshet.feeding.sender import resume_path
from stream.clock import WallClock

__all__ = ["feed"]

_HERE = "http://127.0.0.1:8080"
_SAMPLE = Path("sample")


class _Sender(Protocol):
    """Where rows go to."""

    def send(
        self, rows: Iterable[Row], *, batch: int, rate: float, on_progress: Callable[[int, int], None]
    ) -> SendReport: ...

    def close(self) -> None: ...


def feed(
    files: Annotated[
        list[Path] | None,
        typer.Argument(exists=True, help="JSONL, CSV or Parquet; or a data folder, with --kafka."),
    ] = None,
    sample: Annotated[
        bool,
        typer.Option(help="100,000 film ratings that come along, the last of them now; with --backfill."),
    ] = False,
    to: Annotated[
        str | None, typer.Option(help="Address of a Freshet.", show_default="http://127.0.0.1:8080")
    ] = None,
    kafka: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Brokers to write the topic `events` of, instead.")
    ] = None,
    from_kafka: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Brokers to copy `events` of, with --to-data.")
    ] = None,
    to_data: Annotated[
        Path | None, typer.Option(file_okay=False, help="A new data folder for the copy of --from-kafka.")
    ] = None,
    rate: Annotated[float, typer.Option(min=0, help="Rows a second; 0: as fast as taken.")] = 0.0,
    backfill: Annotated[bool, typer.Option(help="History: a stream with a watermark of its own.")] = False,
    default_type: Annotated[str | None, typer.Option("--type", help="Type of rows that have none.")] = None,
    batch: Annotated[int, typer.Option(min=1, max=5_000, help="Rows a request.")] = 500,
    restart: Annotated[bool, typer.Option(help="Ignore where an earlier run stopped.")] = False,
    token: Annotated[str | None, typer.Option(envvar="FRESHET_TOKEN", help="Bearer token.")] = None,
    config: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A freshet.toml.")] = None,
    json_out: Annotated[
        Path | None, typer.Option("--json", callback=json_target, help="Write the report here.")
    ] = None,
) -> None:
    """Send events from files; a run that was interrupted goes on where it stopped.

    Rows should be in the order of their `ts`. With `--kafka` everything else about the brokers comes from
    `[kafka]` in the settings. A data folder is copied to Kafka with all its decisions, and
    `--from-kafka HOST:PORT --to-data DIR` copies back. Exit code 1 says that some rows were refused.

    Example: `freshet feed clicks.jsonl.gz --to http://127.0.0.1:8080 --backfill`
    """
    paths = files or []
    order = OrderWatch(None if backfill else int(WallClock().now_ms()))
    _refuse_mixtures([*paths, *([_SAMPLE] if sample else [])], to, kafka, from_kafka, to_data)
    total = SendReport()
    if from_kafka is not None and to_data is not None:
        _add(total, copy_from_kafka(from_kafka, to_data, config, restart=restart), to_data)
    for path in paths:
        if path.is_dir():
            _add(total, copy_to_kafka(path, kafka or "", config, batch=batch, restart=restart), path)
            continue
        with closing(_sender(to, kafka, token, config, backfill)) as sender:
            _add(total, _feed_one(path, sender, order, default_type, batch, rate, restart), path)
    if sample:
        with closing(_sender(to, kafka, token, config, backfill)) as sender:
            _add(total, _feed_sample(sender, batch, rate), _SAMPLE)
    _report(total, json_out)
    if advice := order.advice():
        console.print(f"[yellow]late, and not learned unless the other side is set otherwise:[/] {advice}")
    if total.rejected:
        raise typer.Exit(1)


def _refuse_mixtures(
    paths: list[Path], to: str | None, kafka: str | None, from_kafka: str | None, to_data: Path | None
) -> None:
    if to is not None and kafka is not None:
        msg = "expected --to or --kafka, got both"
        raise typer.BadParameter(msg)
    if (from_kafka is None) is not (to_data is None):
        msg = "--from-kafka and --to-data go together: expected both, got one"
        raise typer.BadParameter(msg)
    if bool(paths) is (from_kafka is not None):
        msg = "expected files, --sample, a data folder with --kafka, or --from-kafka with --to-data"
        raise typer.BadParameter(msg)
    if kafka is None and (folders := [str(path) for path in paths if path.is_dir()]):
        msg = f"{folders[0]} is a folder: expected --kafka, for a data folder is copied to Kafka only"
        raise typer.BadParameter(msg)


def _add(total: SendReport, report: SendReport, path: Path) -> None:
    total.accepted += report.accepted
    total.rejected += report.rejected
    total.accepted_at = report.accepted_at or total.accepted_at
    for row, reason in report.reasons[:20]:
        where = f"{path}, record {row}" if path.is_dir() else f"{path}, row {row + 1}"
        console.print(f"[yellow]{where}[/]: {escape(reason)}")


def _report(total: SendReport, json_out: Path | None) -> None:
    console.print(f"{total.accepted:,} accepted, {total.rejected:,} refused")
    if json_out is not None:
        outcome = {"accepted": total.accepted, "rejected": total.rejected, "accepted_at": total.accepted_at}
        write_json(json_out, outcome)


def _sender(
    to: str | None, kafka: str | None, token: str | None, config: Path | None, backfill: bool
) -> _Sender:
    if kafka is None:
        return Sender(to or _HERE, WallClock(), token=token, backfill=backfill)
    # The client comes with an extra, so it is loaded when it is asked for only.
    from freshet.feeding.kafka_sender import KafkaSender

    settings = read_settings(config, {"kafka": {"bootstrap": kafka}})
    return KafkaSender(settings, WallClock(), backfill=backfill)


def _feed_sample(sender: _Sender, batch: int, rate: float) -> SendReport:
    with _bar("films") as bar:
        task = bar.add_task("feed", total=count_sample())
        rows = sample_rows(int(WallClock().now_ms()))
        return sender.send(
            rows, batch=batch, rate=rate, on_progress=lambda _next, count: bar.advance(task, count)
        )


def _bar(name: str) -> Progress:
    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def _feed_one(
    file: Path,
    sender: _Sender,
    order: OrderWatch,
    default_type: str | None,
    batch: int,
    rate: float,
    restart: bool,
) -> SendReport:
    memory = resume_path(file)
    mark = {"size": file.stat().st_size, "mtime": file.stat().st_mtime_ns}
    start = 0 if restart else _resume_from(memory, mark)
    if start:
        console.print(f"{file}: resuming at row {start + 1} (--restart begins again)")
    with _bar(file.name) as bar:
        task = bar.add_task("feed", total=count_rows(file), completed=start)

        def progress(next_row: int, count: int) -> None:
            memory.write_text(json.dumps({**mark, "next": next_row}), "utf-8")
            bar.advance(task, count)

        rows = order.watch(read_rows(file, default_type, skip=start))
        report = sender.send(rows, batch=batch, rate=rate, on_progress=progress)
    memory.unlink(missing_ok=True)
    return report


def _resume_from(memory: Path, mark: dict[str, int]) -> int:
    try:
        kept = json.loads(memory.read_text("utf-8"))
        return int(kept["next"]) if {key: kept[key] for key in mark} == mark else 0
    except (OSError, ValueError, KeyError):
        return 0
