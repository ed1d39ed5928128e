"""The demo's end: one table, one plot, one JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from freshet.demo.play import DemoResult

__all__ = ["as_json", "print_report", "save_plot"]

_LABELS = {
    "uniform": "uniform random",
    "popular": "popular, all time",
    "popular_half_life": "popular, half-life one day",
    "popular_cooccurrence": "popular + co-occurrence",
    "freshet": "Freshet",
}
_TELLING = 20_000
_PLOT_POINTS = 200


def as_json(result: DemoResult, index_recall: float | None) -> dict[str, Any]:
    """The result as numbers for a script; unmeasured ones are None."""
    baselines = [name for name in result.hits if name != "freshet"]
    return {
        "events": result.events,
        "hit_at_20": {name: result.rate(name).mean for name in result.hits},
        "freshet_minus": {name: _finite(result.minus(name)._asdict()) for name in baselines},
        "freshness_ms": {
            "p50": _known(result.freshness.percentile(50)),
            "p99": _known(result.freshness.percentile(99)),
        },
        "index_recall_at_10": index_recall,
        "events_per_second": result.events / result.seconds,
        "answer_ms": {
            "p50": _known(result.answer.percentile(50)),
            "p99": _known(result.answer.percentile(99)),
        },
        "slates_with_fresh_film": result.fresh_slates,
        "hits_on_fresh_film": result.fresh_hits,
        "stale_answers": result.stale_answers,
        "fallback_answers": result.fallbacks,
        "seconds": result.seconds,
    }


def print_report(console: Console, result: DemoResult, index_recall: float | None) -> None:
    """The table that ends a run."""
    table = Table(title=f"hit@20 over {result.events:,} ratings in time order", title_justify="left")
    table.add_column("recommender")
    table.add_column("hit@20", justify="right")
    table.add_column("Freshet minus it, 95 % interval", justify="right")
    for name in result.hits:
        difference = ""
        if name != "freshet":
            low_high = result.minus(name)
            difference = f"{low_high.mean:+.4f}  [{low_high.low:+.4f}, {low_high.high:+.4f}]"
        style = "bold" if name == "freshet" else ""
        table.add_row(_LABELS[name], f"{result.rate(name).mean:.4f}", difference, style=style)
    console.print(table)
    facts = Table(show_header=False, box=None)
    for name, value in _facts(result, index_recall):
        facts.add_row(name, value)
    console.print(facts)
    if result.events < _TELLING:
        console.print(
            f"[dim]{result.events:,} ratings by mostly new users tell recommenders from chance, not from "
            'each other; ARGS="--once --events 100000" plays all (about twenty minutes)[/]'
        )


def save_plot(result: DemoResult, path: Path) -> None:
    """hit@20 over time, in a sliding window, for every contestant, as a PNG."""
    # Imported here: a plot is drawn once, and loading the library takes longer than drawing it.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.add_subplot()
    window = max(50, result.events // 20)
    days = (result.ts_ms - result.ts_ms[0]) / 86_400_000
    for name, hits in result.hits.items():
        x, y = _windowed(days, hits, window)
        strong = name == "freshet"
        axes.plot(x, y, label=_LABELS[name], linewidth=2.2 if strong else 1.2, zorder=3 if strong else 2)
    axes.set_xlabel("days since the first rating")
    axes.set_ylabel(f"hit@20, last {window:,} ratings")
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.25)
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    axes.set_title("Asked before learning, in true time order", loc="left")
    figure.savefig(path, dpi=130)


def _facts(result: DemoResult, index_recall: float | None) -> list[tuple[str, str]]:
    recall = "not measured" if index_recall is None else f"{index_recall:.3f}"
    return [
        (
            "events a second",
            f"{result.events / result.seconds:,.0f}  (ask, answer, click, learned; {result.seconds:.0f} s)",
        ),
        (
            "click accepted to next answer using it",
            _p50_p99(result.freshness.percentile(50), result.freshness.percentile(99)),
        ),
        ("answer", _p50_p99(result.answer.percentile(50), result.answer.percentile(99))),
        ("stale answers", f"{result.stale_answers:,} of {result.events:,}"),
        ("answers to users without a click yet", f"{result.fallbacks:,} of {result.events:,}"),
        (
            "slates with a film younger than a day",
            f"{result.fresh_slates:,}, {result.fresh_hits:,} hits on such films",
        ),
        ("recall@10 of the live index against brute force", recall),
    ]


def _p50_p99(p50: float, p99: float) -> str:
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"


def _windowed(
    days: npt.NDArray[np.float64], hits: npt.NDArray[np.int8], window: int
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    total = np.concatenate(([0], np.cumsum(hits, dtype=np.int64)))
    ends = np.unique(np.linspace(min(window, hits.size), hits.size, _PLOT_POINTS).astype(np.int64))
    starts = np.maximum(ends - window, 0)
    return days[ends - 1], (total[ends] - total[starts]) / (ends - starts)


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {name: _known(value) for name, value in values.items()}
