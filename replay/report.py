"""What a replay or a simulation found: tables for the terminal, numbers for scripts, plots for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from monitor import Interval
from replay.drive import Driven
from replay.estimates import Estimate
from replay.prequential import PrequentialResult
from replay.simulate import Simulation

__all__ = [
    "PolicyReport",
    "cells",
    "numbers",
    "print_replay",
    "print_simulation",
    "replay_json",
    "save_replay_plot",
    "save_simulation_plot",
    "simulation_json",
]

PolicyReport = Mapping[str, Mapping[str, Sequence[Estimate]]]
"""Policy → which places ("top 1", "slate") → one estimate an estimator."""

_PLOT_POINTS = 200


def replay_json(
    driven: Driven,
    scored: PrequentialResult,
    policies: PolicyReport,
    skipped: int,
    *,
    left_out: Mapping[str, int] | None = None,
    notes: Sequence[str] = (),
) -> dict[str, Any]:
    """All figures of a replay; what was not measured is None, and `notes` say why."""
    return {
        "events": driven.events,
        "ticks": driven.ticks,
        "skipped": skipped,
        "from_ts": driven.first_ts,
        "to_ts": driven.last_ts,
        "k": scored.k,
        "positives": scored.positives,
        "reachable": scored.reachable,
        "hit_at_k": numbers(scored.hit_at_k()),
        "ndcg_at_k": numbers(scored.ndcg_at_k()),
        "auc": numbers(scored.auc()),
        "slates_with_auc": scored.slates_with_auc,
        "outcomes": driven.outcomes,
        "left_out": dict(left_out or {}),
        "notes": list(notes),
        "policies": {
            name: {places: _estimates_json(found) for places, found in by_places.items()}
            for name, by_places in policies.items()
        },
    }


def _estimates_json(found: Sequence[Estimate]) -> dict[str, Any]:
    diagnosis = found[0].diagnosis
    return {
        **{each.estimator: numbers(each.value) for each in found},
        "rounds": diagnosis.n_rounds,
        "effective_sample_size": diagnosis.effective,
        "rewarded": diagnosis.rewarded,
        "effective_rewarded": diagnosis.effective_rewarded,
        "max_weight_share": diagnosis.max_share,
        "unsupported_share": diagnosis.unsupported,
        "mean_weight": numbers(diagnosis.mean_weight),
        "left_out": diagnosis.n_foreign,
        "warnings": diagnosis.warnings(),
    }


def print_replay(
    console: Console, driven: Driven, scored: PrequentialResult, policies: PolicyReport, skipped: int
) -> None:
    """Predictions, what JOIN made of the events, and what other policies would have earned."""
    table = Table("predict, then learn", "mean", "95 % interval", "over", title_justify="left")
    n = f"{scored.positives:,} positives"
    for name, value, over in (
        (f"hit@{scored.k}", scored.hit_at_k(), f"{n}, {scored.reachable:,} of them could be named"),
        (f"NDCG@{scored.k}", scored.ndcg_at_k(), n),
        ("AUC", scored.auc(), f"{scored.slates_with_auc:,} slates with a click and without"),
    ):
        table.add_row(name, *cells(value), over)
    console.print(table)
    joined = Table("JOIN", "count")
    for name, count in driven.outcomes.items():
        if count:
            joined.add_row(name, f"{count:,}")
    joined.add_row("unreadable", f"{skipped:,}")
    console.print(joined)
    if policies:
        _print_policies(console, policies)


def _print_policies(console: Console, policies: PolicyReport) -> None:
    title = "reward a slate, had this policy decided every place"
    # The same for all policies.
    names = [each.estimator.upper() for each in next(iter(next(iter(policies.values())).values()))]
    table = Table("policy", "places", *names, "rounds", "effective", title=title, title_justify="left")
    notes: list[str] = []
    for name, by_places in policies.items():
        for places, found in by_places.items():
            diagnosis = found[0].diagnosis
            mark = f"[{len(notes) + 1}]" if diagnosis.warnings() else ""
            if mark:
                notes.append("; ".join(diagnosis.warnings()))
            values = [_with_interval(each.value) for each in found]
            effective = f"{diagnosis.effective:,.0f} {mark}"
            table.add_row(name, places, *values, f"{diagnosis.n_rounds:,}", effective.replace("[", "\\["))
    console.print(table)
    for number, note in enumerate(notes, 1):
        console.print(f"[yellow]\\[{number}][/] {note}")


def simulation_json(run: Simulation) -> dict[str, Any]:
    """Final regret with its interval, growth, and the mean curve of every policy."""
    return {
        "rounds": int(run.at[-1]),
        "seeds": int(next(iter(run.regret.values())).shape[0]),
        "at": run.at.tolist(),
        "policies": {
            name: {
                "final_regret": numbers(run.final(name)),
                "growth": run.growth(name),
                "mean_regret": curves.mean(axis=0).tolist(),
            }
            for name, curves in run.regret.items()
        },
    }


def print_simulation(console: Console, run: Simulation) -> None:
    """Final regret of every policy, best first, each also against the best."""
    order = sorted(run.regret, key=lambda name: run.final(name).mean)
    n_seeds = next(iter(run.regret.values())).shape[0]
    title = f"regret after {int(run.at[-1]):,} rounds, {n_seeds} seeds"
    table = Table("policy", "regret", "95 % interval", "growth", "minus the best", title=title)
    for name in order:
        behind = "" if name == order[0] else _with_interval(run.minus(name, order[0]), 1)
        table.add_row(name, *cells(run.final(name), 1), f"t^{run.growth(name):.2f}", behind)
    console.print(table)


def save_simulation_plot(run: Simulation, path: Path) -> None:
    """Mean regret over rounds with the spread over seeds, as a PNG."""
    figure, axes = _figure("rounds", "cumulative expected regret")
    for name, curves in run.regret.items():
        (line,) = axes.plot(run.at, curves.mean(axis=0), label=name)
        axes.fill_between(run.at, curves.min(axis=0), curves.max(axis=0), alpha=0.15, color=line.get_color())
    _save(figure, axes, path, "Mean over seeds; the band is from the best seed to the worst")


def save_replay_plot(scored: PrequentialResult, path: Path) -> None:
    """hit@k and NDCG@k in a sliding window over the log, as a PNG."""
    figure, axes = _figure("days since the first positive", f"last {_window(scored):,} positives")
    if scored.positives:
        ts = np.asarray(scored.ts_ms, np.int64)
        days = (ts - ts[0]) / 86_400_000
        for name, values in ((f"hit@{scored.k}", scored.hits), (f"NDCG@{scored.k}", scored.ndcg)):
            total = np.concatenate(([0.0], np.cumsum(np.asarray(values, np.float64))))
            ends = np.unique(np.linspace(_window(scored), ts.size, _PLOT_POINTS).astype(np.int64))
            starts = np.maximum(ends - _window(scored), 0)
            axes.plot(days[ends - 1], (total[ends] - total[starts]) / (ends - starts), label=name)
    _save(figure, axes, path, "Predicted before learning")


def _window(scored: PrequentialResult) -> int:
    return max(1, min(scored.positives, max(50, scored.positives // 20)))


def _figure(x: str, y: str) -> tuple[Any, Any]:
    # Imported here: a plot is drawn once, and loading the library takes longer than drawing it.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes


def _save(figure: Any, axes: Any, path: Path, title: str) -> None:
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    if axes.get_lines():
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    axes.set_title(title, loc="left")
    figure.savefig(path, dpi=130, format="png")


def numbers(value: Interval | None) -> dict[str, float | None] | None:
    """An interval for JSON, which knows no infinite numbers; None where nothing was measured."""
    if value is None:
        return None
    return {name: number if math.isfinite(number) else None for name, number in value._asdict().items()}


def cells(value: Interval | None, digits: int = 4) -> tuple[str, str]:
    """Mean and interval as text for a table."""
    if value is None or math.isnan(value.mean):
        return "-", ""
    return f"{value.mean:.{digits}f}", f"[{value.low:.{digits}f}, {value.high:.{digits}f}]".replace(
        "[", "\\["
    )


def _with_interval(value: Interval, digits: int = 4) -> str:
    return " ".join(cells(value, digits))
