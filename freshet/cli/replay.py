"""`freshet replay`: a recorded log through the live steps, and what other policies would have earned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from freshet.cli.output import console, json_target, read_settings, target, write_json
from freshet.config import Settings
from freshet.feeding import read_rows
from freshet.feeding.map_file import load_map
from freshet.feeding.mapped_rows import MappedRows
from freshet.feeding.order import InOrder
from freshet.offline import StateRecommender
from learning.choices import with_policies
from learning.errors import SettingsError
from learning.parts import Parts
from learning.pipeline import Pipeline
from replay import (
    Estimate,
    Estimator,
    OffPolicy,
    Prequential,
    PrequentialResult,
    ReplayError,
    Rounds,
    build_estimators,
    diagnose,
    drive,
    estimate,
    estimator_entries,
)
from replay.advice import left_out_note, policy_note, prediction_notes, refused_note, unused_note
from replay.drive import Driven
from replay.drop_one import DropOne
from replay.drop_one_report import drop_one_json, leak_notes, print_drop_one
from replay.lists_report import lists_json, print_lists, print_verdict
from replay.mirrors import MirroredPipeline, parse_interval
from replay.report import PolicyReport, print_replay, replay_json, save_replay_plot
from replay.source import Entry, FolderSource, LinesSource, open_folder, seen_items
from replay.staleness import print_staleness, staleness_json
from replay.targets import LoggedTarget, PolicyTarget, Target

__all__ = ["replay"]

_POLICY = (
    "What would it have earned? A kind, or a name under `[[policies]]`. Again for each; else all configured."
)
_ESTIMATOR = (
    "How to tell? A kind, or a name under `[[estimators]]`. Again for each; else all configured (IPS, SNIPS)."
)
_MAP_HELP = "What the rows of a file of your own are; see the guide on files."
_MAP = typer.Option("--map", exists=True, dir_okay=False, help=_MAP_HELP)
_ITEMS = (
    "Catalogue: `log` (its item events), `seen` (also what it mentions), `auto` (`seen` for a file, `log` "
    "for a data folder)."
)
_SYNC = "Also as if serving saw what was learned only every 30s, 5m, 1h, 1d. Again for each."
_MOST_LOST = 0.1
_KEY = b"a replay keeps forgets in memory"


def replay(
    log: Annotated[Path, typer.Argument(exists=True, help="A data folder, or a file of events.")],
    map_file: Annotated[Path | None, _MAP] = None,
    policy: Annotated[list[str] | None, typer.Option(help=_POLICY)] = None,
    estimator: Annotated[list[str] | None, typer.Option(help=_ESTIMATOR)] = None,
    k: Annotated[int, typer.Option(min=1, max=1_000, help="Length of the predicted list.")] = 20,
    every: Annotated[int, typer.Option(min=1, help="Score one in so many clicks and slates.")] = 1,
    items: Annotated[str, typer.Option(help=_ITEMS)] = "auto",
    sync: Annotated[list[str] | None, typer.Option(help=_SYNC)] = None,
    plot: Annotated[
        Path | None, typer.Option(callback=target, help="Draw hit@k over time here (PNG).")
    ] = None,
    json_out: Annotated[
        Path | None, typer.Option("--json", callback=json_target, help="Write the figures here.")
    ] = None,
    features: Annotated[
        bool, typer.Option("--features", help="Also which features carry the order within lists.")
    ] = False,
    config: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A freshet.toml.")] = None,
) -> None:
    """Replay a log in event time: predict each click, then learn it; evaluate policies where propensities
    exist. Where the log holds lists, the report ends in a sentence that says whether Freshet's order of them
    beats what was shown.

    Rows of a file that lie more than the allowed lateness behind one before them are sorted by `ts`, half a
    million rows at a time; rows at its end that lie further away than the whole log is long are left out.
    Both is said. With `--map` rows are what a file says, in the words of `[[kafka.sources]]`; one row may be
    several events. Exit code 1 says that more than a tenth of the log was late or could not be read.

    Example: `freshet replay ./freshet-data --policy uniform --policy diag_lin_ucb --json replay.json`

    Example: `freshet replay searches.parquet --map shop.toml`
    """
    if items not in ("auto", "log", "seen"):
        msg = f"expected auto, log or seen, got {items!r}"
        raise typer.BadParameter(msg, param_hint="--items")
    mapped = None if map_file is None else _mapped(log, map_file)
    settings = with_policies(read_settings(config), policy or [])
    estimators = build_estimators(estimator_entries(settings.estimators, estimator or ()))
    syncs = _intervals(sync or [])
    step = MirroredPipeline(settings, _KEY, list(syncs.values()))
    pipeline = step.pipeline
    state = _state(pipeline.parts, settings)
    names = list(dict.fromkeys(policy or pipeline.parts.policies))
    without = DropOne(state) if features else None
    scored = Prequential(state, k=k, every=every, simple=True, without=without)
    stale = {
        name: Prequential(_state(mirror.parts, settings), k=k, every=every)
        for name, mirror in zip(syncs, step.mirrors, strict=True)
    }
    gathered = OffPolicy(_targets(pipeline, state, names), most=settings.join.cap)
    order = InOrder(settings.join.lateness_ms)
    with _open(log, order, mapped) as source:
        is_seen = items == "seen" or (items == "auto" and log.is_file())
        entries = seen_items(source) if is_seen else iter(source)
        driven = _drive(step, entries, settings, [scored, *stale.values(), gathered])
    report = _report(gathered, [LoggedTarget.name, *names], estimators)
    notes = order.findings() + ([] if mapped is None else mapped.findings())
    rows = None if mapped is None else _refused(mapped, order)
    notes += _notes(driven, scored.result, gathered, rows or source.skipped, settings)
    lagging = {name: each.result for name, each in stale.items()}
    if json_out is not None:
        left_out = gathered.left_out
        figures = replay_json(driven, scored.result, report, source.skipped, left_out=left_out, notes=notes)
        write_json(json_out, figures | _more(scored.result, lagging, source.reasons))
    if not driven.events:
        raise ReplayError(_nothing(log, source, mapped))
    _show(source, driven, scored.result, report, lagging, notes)
    _draw(scored.result, plot)
    if _lost(driven, rows or (source.skipped, driven.events + source.skipped)) > _MOST_LOST:
        raise typer.Exit(1)


def _refused(mapped: MappedRows, order: InOrder) -> tuple[int, int]:
    """Rows of the file that were refused, of those read: a row may be several events."""
    return mapped.n_refused + len({row.number for row in order.jumped}), mapped.n_rows


def _lost(driven: Driven, rows: tuple[int, int]) -> float:
    """The share of a log that was refused, or late of what was not."""
    refused = rows[0] / rows[1]
    return refused + (1 - refused) * driven.outcomes.get("late", 0) / driven.events


def _more(
    scored: PrequentialResult, lagging: dict[str, PrequentialResult], reasons: list[str]
) -> dict[str, Any]:
    """What the JSON holds beside the figures of all replays."""
    without = scored.lists.without
    return {
        "lists": lists_json(scored.lists),
        "features": None if without is None else drop_one_json(without),
        "syncs": staleness_json(scored, lagging),
        "reasons": reasons,
    }


def _state(parts: Parts, settings: Settings) -> StateRecommender:
    return StateRecommender(parts, settings.serve.sources, sources=settings.sources, seed=settings.learn.seed)


def _notes(
    driven: Driven,
    scored: PrequentialResult,
    gathered: OffPolicy,
    skipped: int | tuple[int, int],
    settings: Settings,
) -> list[str]:
    """What the tables do not say: what was not used, and why a table is missing.

    `skipped` is of events, or rows refused of rows read.
    """
    if isinstance(skipped, tuple):
        unused = [refused_note(*skipped), unused_note(driven, settings.join, unit="events")]
    else:
        unused = [unused_note(driven, settings.join, skipped)]
    without = scored.lists.without
    unsettled = diagnose(gathered.rounds(LoggedTarget.name)).n_rounds == 0
    notes = [
        *unused,
        *prediction_notes(driven, scored),
        *(leak_notes(without) if without is not None else ()),
        policy_note(driven, gathered.left_out) if unsettled else left_out_note(gathered.left_out),
    ]
    return [note for note in notes if note]


def _nothing(log: Path, source: FolderSource | LinesSource, mapped: MappedRows | None) -> str:
    """Why there is no replay."""
    reasons = "".join(f"\n  {reason}" for reason in source.reasons)
    if log.is_file() and not (source.skipped if mapped is None else mapped.n_rows):
        return f"{log} is empty: it holds no row"
    if mapped is None:
        return (
            f"{log} holds no event that can be read ({source.skipped} rows left out); is it a log of events?"
            f"{reasons}"
        )
    found = "".join(f"\n  {finding}" for finding in mapped.findings())
    return (
        f"{log}: by the map none of {mapped.n_rows:,} rows is an event ({mapped.n_refused:,} refused); it "
        "needs a `where` that holds for rows, and `fields`, `time` and `separator` as they stand in the file"
        f"{found}{reasons}"
    )


def _show(
    source: FolderSource | LinesSource,
    driven: Driven,
    scored: PrequentialResult,
    report: PolicyReport,
    lagging: dict[str, PrequentialResult],
    notes: list[str],
) -> None:
    print_replay(console, driven, scored, report, source.skipped)
    print_staleness(console, scored, lagging)
    if scored.lists.without is not None:
        print_drop_one(console, scored.lists.without)
    print_lists(console, scored.lists)
    for note in notes:
        console.print(f"[yellow]note[/] {escape(note)}")
    for reason in source.reasons:
        console.print(f"[yellow]left out[/] {escape(reason)}")
    print_verdict(console, scored.lists, driven)


def _draw(scored: PrequentialResult, plot: Path | None) -> None:
    if plot is not None:
        save_replay_plot(scored, plot)
        console.print(f"hit@{scored.k} over time: {plot}")


def _intervals(texts: list[str]) -> dict[str, int]:
    try:
        return {text: parse_interval(text) for text in texts}
    except SettingsError as error:
        raise typer.BadParameter(str(error), param_hint="--sync") from error


def _mapped(log: Path, map_file: Path) -> MappedRows:
    if log.is_dir():
        msg = f"--map says what the rows of a file are: expected a file with it, got the folder {log}"
        raise typer.BadParameter(msg)
    return load_map(map_file).of(log)


@contextmanager
def _open(log: Path, order: InOrder, mapped: MappedRows | None) -> Iterator[FolderSource | LinesSource]:
    if log.is_dir():
        with open_folder(log) as folder:
            yield folder
    else:
        rows = (timed.row for timed in order.sort(read_rows(log, mapped=mapped)))
        lines = LinesSource((row.number + 1, row.body if row.reason is None else row.reason) for row in rows)
        yield lines
        for row in order.jumped:
            lines.skip(row.number + 1, "ts: far behind all other rows of the file")


def _targets(pipeline: Pipeline, state: StateRecommender, names: list[str]) -> list[Target]:
    parts = pipeline.parts
    chosen = {name: parts.policies[name] for name in names}
    return [
        LoggedTarget(),
        *(
            PolicyTarget(
                name,
                each,
                parts.items.find,
                candidates=state.candidates(each),
                request=parts.request_features,
                rank_features=state.rank_features,
            )
            for name, each in chosen.items()
        ),
    ]


def _drive(
    step: MirroredPipeline, entries: Iterator[Entry], settings: Settings, observers: list[Any]
) -> Driven:
    columns = (SpinnerColumn(), TextColumn("replayed {task.completed:,} events"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("replay", total=None)
        return drive(
            step,
            entries,
            join=settings.join,
            tick_ms=settings.engine.tick_ms,
            observers=observers,
            progress=lambda done: bar.update(task, completed=done),
        )


def _report(gathered: OffPolicy, names: list[str], estimators: Mapping[str, Estimator]) -> PolicyReport:
    """Estimates of every policy for the first place and for whole slates; nothing without propensities."""
    if not diagnose(gathered.rounds(LoggedTarget.name)).n_rounds:
        return {}
    found: dict[str, dict[str, list[Estimate]]] = {}
    for name in names:
        log = gathered.rounds(name)
        found[name] = {"first": _estimates(log.top(1), estimators), "all": _estimates(log, estimators)}
    return found


def _estimates(log: Rounds, estimators: Mapping[str, Estimator]) -> list[Estimate]:
    return [estimate(each, log)._replace(estimator=name) for name, each in estimators.items()]
