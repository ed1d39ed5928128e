"""`freshet feed`: events from files into a running Freshet."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from freshet.cli.moving import copy_from_kafka, copy_to_kafka
from freshet.cli.output import console, json_target, log_to_stderr, read_settings, write_json
from freshet.feeding import Row, Sender, SendReport
from freshet.feeding.files import FedFile, FedRows, Feedable, merged, note_sent
from freshet.feeding.map_file import FileMap, load_map
from freshet.feeding.sample import count_sample, sample_rows
from freshet.feeding.sender import Refused, RowSender
from freshet.run.listening import require_files
from stream.clock import WallClock

__all__ = ["feed"]

_MAP = typer.Option("--map", exists=True, dir_okay=False, help="What the rows of files of your own are.")
_JSON = typer.Option("--json", callback=json_target, help="Write the report here.")
_HERE = "http://127.0.0.1:8080"
_SAMPLE = Path("sample")
_SHOWN = 20
_OTHER_FILES = 32  # libraries, the connection, where a run stopped


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
    map_file: Annotated[Path | None, _MAP] = None,
    batch: Annotated[int, typer.Option(min=1, max=5_000, help="Rows a request.")] = 500,
    restart: Annotated[bool, typer.Option(help="Ignore where an earlier run stopped.")] = False,
    token: Annotated[str | None, typer.Option(envvar="FRESHET_TOKEN", help="Bearer token.")] = None,
    config: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A freshet.toml.")] = None,
    json_out: Annotated[Path | None, _JSON] = None,
) -> None:
    """Send events from files; a run that was interrupted goes on where it stopped.

    With `--backfill` all files are one sequence by `ts`, each sorted where that is needed (half a million
    rows at a time); what lies more than the allowed lateness behind history that is loaded already is
    refused, and so are rows at the end of a file that lie further away than the whole log is long. Without
    it rows go as they stand, and what is too old for the live stream is refused. With `--kafka` everything
    else about the brokers comes from `[kafka]` in the settings. A data folder is copied to Kafka with all its
    decisions, and `--from-kafka HOST:PORT --to-data DIR` copies back. With `--map` rows are what a file says,
    in the words of `[[kafka.sources]]`; one row may be several events. Exit code 1 says that some rows were
    refused.

    Example: `freshet feed clicks.jsonl.gz --to http://127.0.0.1:8080 --backfill`

    Example: `freshet feed searches.parquet orders.csv --map shop.toml --backfill`
    """
    paths = files or []
    _refuse_mixtures([*paths, *([_SAMPLE] if sample else [])], to, kafka, from_kafka, to_data)
    file_map = _map(map_file, paths, sample=sample, default_type=default_type)
    total = SendReport()
    if from_kafka is not None and to_data is not None:
        _add(total, copy_from_kafka(from_kafka, to_data, config, restart=restart), str(to_data))
    for path in paths:
        if path.is_dir():
            copied = copy_to_kafka(path, kafka or "", config, batch=batch, restart=restart)
            _add(total, copied, str(path), unit="record")
    log_to_stderr("feed")
    if backfill:
        require_files(len(paths) + _OTHER_FILES, "all files are read at once with --backfill")
    sources: list[Feedable] = [
        FedFile(path, default_type, history=backfill, restart=restart, file_map=file_map)
        for path in paths
        if not path.is_dir()
    ]
    if sample:
        rows = sample_rows(int(WallClock().now_ms()))
        sources.append(FedRows(str(_SAMPLE), rows, count_sample()))
    # History has one time for all of it; the live stream takes files as they come.
    for together in [sources] if backfill else [[source] for source in sources]:
        if together:
            with closing(_sender(to, kafka, token, config, backfill)) as sender:
                _add(total, _feed(together, sender, batch, rate), together[0].name)
    _report(total, json_out)
    if total.rejected or total.broken:
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


def _map(
    map_file: Path | None, paths: list[Path], *, sample: bool, default_type: str | None
) -> FileMap | None:
    if map_file is None:
        return None
    others = [f"the folder {path}" for path in paths if path.is_dir()]
    others += ["--type"] if default_type is not None else []
    others += ["--sample"] if sample else []
    if others or not paths:
        came = others[0] if others else "none"
        msg = f"--map says what the rows of files are: expected files alone with it, got {came}"
        raise typer.BadParameter(msg)
    return load_map(map_file)


def _add(total: SendReport, report: SendReport, name: str, unit: str = "row") -> None:
    total.accepted += report.accepted
    total.rejected += report.rejected
    total.repeated += report.repeated
    total.broken += report.broken
    total.accepted_at = report.accepted_at or total.accepted_at
    total.reasons += [Refused(row, reason, file or name) for row, reason, file in report.reasons]
    for row, reason, file in report.reasons[:_SHOWN]:
        place = f"{file or name}, {unit} {row if unit == 'record' else row + 1}"
        console.print(f"[yellow]{escape(place)}[/]: {escape(reason)}")
    if report.rejected > _SHOWN:
        console.print(f"[yellow]and {report.rejected - min(len(report.reasons), _SHOWN):,} more[/]")


def _report(total: SendReport, json_out: Path | None) -> None:
    for broken in total.broken:
        console.print(f"[red]{escape(broken)}[/]")
    console.print(f"{total.accepted:,} accepted, {total.rejected:,} refused")
    if total.repeated:
        console.print(
            f"{total.repeated:,} rows were sent twice, for nobody knows whether the first time arrived, and "
            "were older than what is loaded the second: they are there unless others load history too"
        )
    if json_out is not None:
        outcome = {
            "accepted": total.accepted,
            "rejected": total.rejected,
            "repeated": total.repeated,
            "accepted_at": total.accepted_at,
            "reasons": [reason._asdict() for reason in total.reasons],
            "broken": total.broken,
        }
        write_json(json_out, outcome)


def _sender(
    to: str | None, kafka: str | None, token: str | None, config: Path | None, backfill: bool
) -> RowSender:
    if kafka is None:
        return Sender(to or _HERE, WallClock(), token=token, backfill=backfill)
    # The client comes with an extra, so it is loaded when it is asked for only.
    from freshet.feeding.kafka_sender import KafkaSender

    settings = read_settings(config, {"kafka": {"bootstrap": kafka}})
    return KafkaSender(settings, WallClock(), backfill=backfill)


def _bar(name: str) -> Progress:
    columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)


def _feed(sources: Sequence[Feedable], sender: RowSender, batch: int, rate: float) -> SendReport:
    """Send sources as one sequence."""
    for source in sources:
        if source.start:
            console.print(f"{source.name}: resuming at row {source.start + 1} (--restart begins again)")
    started, totals = sum(source.start for source in sources), [source.total for source in sources]
    known = None if None in totals else sum(total or 0 for total in totals)
    with _bar(", ".join(Path(source.name).name for source in sources[:3])) as bar:
        task = bar.add_task("feed", total=known, completed=started)

        def progress(rows: list[Row]) -> None:
            note_sent(sources, rows)
            bar.advance(task, len(rows))

        report = sender.send(
            merged(sources), batch=batch, rate=rate, resumed=started > 0, on_progress=progress
        )
    for source in sources:
        for finding in source.finish():
            console.print(f"[yellow]{escape(source.name)}[/]: {finding}")
        report.refuse_all(source.left_out(), doubtful=False)
        if source.broken:
            report.broken.append(source.broken)
    return report
