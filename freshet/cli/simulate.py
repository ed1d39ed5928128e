"""`freshet simulate`: policies in closed loop on a world whose best answer is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from freshet.cli.output import console, json_target, read_settings, target, write_json
from learning.catalogue import POLICIES
from learning.choices import policy_names
from replay.report import print_simulation, save_simulation_plot, simulation_json
from replay.simulate import WORLDS, make_policies, make_world
from replay.simulate import simulate as run_simulation

__all__ = ["simulate"]


def simulate(
    world: Annotated[str, typer.Argument(help=f"One of {', '.join(WORLDS)}.")] = "clusters",
    policy: Annotated[
        list[str] | None,
        typer.Option(help="A kind, or a name under `[[policies]]`. Again for each; all when left out."),
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=10_000_000, help="Decisions of one item each.")] = 3_000,
    seeds: Annotated[
        int, typer.Option(min=1, max=10_000, help="Runs of each policy; an interval needs two.")
    ] = 5,
    items: Annotated[int, typer.Option(min=2, max=100_000, help="Items to choose from.")] = 20,
    every: Annotated[int, typer.Option(min=1, help="Learn only every so many rounds.")] = 1,
    seed: Annotated[
        int, typer.Option(min=0, max=2**32 - 1, help="The world; the runs are numbered from it.")
    ] = 0,
    plot: Annotated[
        Path | None, typer.Option(callback=target, help="Draw the regret curves here (PNG).")
    ] = None,
    json_out: Annotated[
        Path | None, typer.Option("--json", callback=json_target, help="Write the figures here.")
    ] = None,
    config: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="A freshet.toml.")] = None,
) -> None:
    """Play policies on one seeded world and report their regret.

    Example: `freshet simulate clusters --policy uniform --policy diag_lin_ucb --plot regret.png`
    """
    played = make_world(world, items, seed)
    # All are those of the file, where one is named, else all kinds.
    settings = read_settings(config, requests=False) if policy or config else None
    every_one = POLICIES.own() if config is None or settings is None else policy_names(settings)
    names = list(dict.fromkeys(policy or every_one))
    made = make_policies(names, played, settings)
    columns = (TextColumn("simulating"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("simulate", total=len(names) * seeds)
        run = run_simulation(
            played,
            made,
            rounds,
            seeds=range(seed, seed + seeds),
            every=every,
            progress=lambda done: bar.update(task, completed=done),
        )
    print_simulation(console, run)
    if plot is not None:
        save_simulation_plot(run, plot)
        console.print(f"regret over rounds: {plot}")
    if json_out is not None:
        write_json(json_out, simulation_json(run))
