"""`freshet demo`: the whole loop on real logged data."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, NamedTuple

import typer
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from freshet.cli.output import console, json_target, read_settings, target, write_json
from freshet.config import Settings
from freshet.data import Ratings, load_movietweetings
from freshet.demo import DemoResult, play
from freshet.demo.client import ApiClient
from freshet.demo.history import Known, feed_history, score_history
from freshet.demo.people import meet, people_table, two_of
from freshet.demo.play import Contest
from freshet.demo.report import as_json, print_report, save_plot
from freshet.demo.world import World
from freshet.run import EmbeddedSystem
from stream.clock import WallClock

__all__ = ["demo"]

_SHOW_EVERY = 250


def demo(
    events: Annotated[int, typer.Option(min=1, max=100_000, help="Ratings to play.")] = 5_000,
    history: Annotated[
        bool,
        typer.Option("--history", help="Load all ratings but the last ones by backfill, then play these."),
    ] = False,
    live: Annotated[int, typer.Option(min=1, max=50_000, help="Ratings to play behind the history.")] = 500,
    every: Annotated[int, typer.Option(min=1, help="Foretell one in so many ratings of the history.")] = 20,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0: a free one.")] = 0,
    once: Annotated[bool, typer.Option("--once", help="End by itself instead of staying up.")] = False,
    json_out: Annotated[
        Path | None, typer.Option("--json", callback=json_target, help="Write the figures here.")
    ] = None,
    plot: Annotated[Path, typer.Option(callback=target, help="Where the plot of hit@20 goes.")] = Path(
        "freshet-demo.png"
    ),
    data: Annotated[Path | None, typer.Option(help="Data folder; a temporary one when left out.")] = None,
) -> None:
    """Play real film ratings through the API and compare with plain baselines.

    With `--history` all but the last ones go in by backfill, as a team would load its own; one in so many of
    them is foretold before it is learned, by the same steps with the same settings in this process. At the
    end two users stand side by side.

    Example: `freshet demo --once --events 20000 --json demo.json`

    Example: `freshet demo --once --history`
    """
    clock = WallClock()
    # Half a year is played in minutes: looking after the graph every hour of it is often enough.
    flags = {"clock": "event", "port": port, "learn": {"maintain_ms": 3_600_000}}
    settings = read_settings(flags=flags)
    with tempfile.TemporaryDirectory(prefix="freshet-demo-") as temporary:
        system = EmbeddedSystem(data or Path(temporary) / "data", settings, clock)
        console.print("starting Freshet (the first start compiles; about half a minute) ...")
        with system:
            console.print(
                f"listening on {system.url}, event clock, exploration {settings.policy.epsilon:.0%}"
            )
            log = load_movietweetings(None if history else events)
            past = _load(log, len(log) - live, every, system, settings, clock) if history else None
            result = _play(log, past, system, clock)
            recall = system.index_recall()
            foretold = None if past is None else past.contest
            print_report(console, result, recall, foretold)
            if past is not None:
                _introduce(log, past, system)
            save_plot([result] if foretold is None else [foretold, result], plot)
            console.print(f"hit@20 over time: {plot}")
            if json_out is not None:
                write_json(
                    json_out, as_json(result, recall, foretold, 0.0 if past is None else past.fed_per_s)
                )
            if not once:
                _stay_up(system, settings, result, clock)


class _Past(NamedTuple):
    """A history that was loaded and foretold; `world` has come to its end."""

    world: World
    n: int
    fed_per_s: float
    contest: Contest
    known: Known


def _load(
    log: Ratings, n: int, every: int, system: EmbeddedSystem, settings: Settings, clock: WallClock
) -> _Past:
    with _bar("history, by backfill") as bar, ApiClient(system.host, system.port) as client:
        task = bar.add_task("", total=n, rate="")
        started = clock.monotonic_s()

        def on_rows(ratings: int) -> None:
            bar.advance(task, ratings)
            rate = bar.tasks[task].completed / max(clock.monotonic_s() - started, 1e-3)
            bar.update(task, rate=f"{rate:,.0f} a second")

        fed_per_s = feed_history(log, n, system.url, client, clock, on_rows)
    console.print(f"history: {n:,} ratings by backfill, {fed_per_s:,.0f} a second, all of them learned")
    world = World(log)
    with _bar("the same, foretold before it is learned") as bar:
        task = bar.add_task("", total=n, rate=f"one in {every}")
        contest, known = score_history(
            world, n, settings, every, lambda index: bar.update(task, completed=index + 1)
        )
    return _Past(world, n, fed_per_s, contest, known)


def _bar(what: str) -> Progress:
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    return Progress(*columns, TimeRemainingColumn(), console=console, transient=True)


def _introduce(log: Ratings, past: _Past, system: EmbeddedSystem) -> None:
    with ApiClient(system.host, system.port) as client:
        ts = log.ts_ms[-1]
        people = [meet(user, ts, log, client, past.known) for user in two_of(log)]
    console.print(people_table(people))


def _play(log: Ratings, past: _Past | None, system: EmbeddedSystem, clock: WallClock) -> DemoResult:
    start, world = (0, World(log)) if past is None else (past.n, past.world)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console)
    task = bar.add_task("playing", total=len(log) - start)

    def on_event(index: int, result: DemoResult) -> None:
        if index % _SHOW_EVERY == 0:
            system.watch()
            _show(bar, task, index, result)

    with ApiClient(system.host, system.port) as client, Live(bar, console=console, transient=True):
        return play(log, client, clock, on_event, world=world, start=start)


def _show(bar: Progress, task: TaskID, index: int, result: DemoResult) -> None:
    seen = index + 1
    rates = {name: float(result.hits[name][:seen].mean()) for name in ("freshet", "popular_half_life")}
    text = f"hit@20 Freshet {rates['freshet']:.3f}, popular {rates['popular_half_life']:.3f}"
    bar.update(task, completed=seen, description=text)


def _stay_up(system: EmbeddedSystem, settings: Settings, result: DemoResult, clock: WallClock) -> None:
    ts = int(result.ts_ms[-1])
    console.print(f"\nFreshet stays up at {system.url} (clock: {settings.clock}); Ctrl-C ends it. Try:")
    json_type = "-H 'content-type: application/json'"
    for line in (
        f'curl -s {system.url}/v1/recommend {json_type} -d \'{{"user_id": "u2850", "k": 5}}\'',
        f"curl -s {system.url}/v1/events {json_type} -d "
        f'\'{{"events": [{{"type": "click", "ts": {ts}, "user_id": "me", "item_id": "1300854"}}]}}\'',
        f'curl -s {system.url}/v1/recommend {json_type} -d \'{{"user_id": "me", "k": 5}}\'',
        f"curl -s {system.url}/v1/items/1300854/neighbours",
        f"curl -s {system.url}/metrics | grep freshet_",
    ):
        console.print("  " + line, soft_wrap=True)
    console.print(f"or open {system.url}/ in a browser")
    while True:
        system.watch()
        clock.sleep_s(0.2)
