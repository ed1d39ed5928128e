"""`freshet demo`: the whole loop on real logged data."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from freshet.cli.output import console, json_target, read_settings, target, write_json
from freshet.config import Settings
from freshet.data import load_movietweetings
from freshet.demo import DemoResult, play
from freshet.demo.client import ApiClient
from freshet.demo.report import as_json, print_report, save_plot
from freshet.run import EmbeddedSystem
from stream.clock import WallClock

__all__ = ["demo"]

_SHOW_EVERY = 250


def demo(
    events: Annotated[int, typer.Option(min=1, max=100_000, help="Ratings to play.")] = 5_000,
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

    Example: `freshet demo --once --events 20000 --json demo.json`
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
            result = _play(events, system, clock)
            recall = system.index_recall()
            print_report(console, result, recall)
            save_plot(result, plot)
            console.print(f"hit@20 over time: {plot}")
            if json_out is not None:
                write_json(json_out, as_json(result, recall))
            if not once:
                _stay_up(system, settings, result, clock)


def _play(events: int, system: EmbeddedSystem, clock: WallClock) -> DemoResult:
    log = load_movietweetings(events)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=console)
    task = bar.add_task("playing", total=events)

    def on_event(index: int, result: DemoResult) -> None:
        if index % _SHOW_EVERY == 0:
            system.watch()
            _show(bar, task, index, result)

    with ApiClient(system.host, system.port) as client, Live(bar, console=console, transient=True):
        return play(log, client, clock, on_event)


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
