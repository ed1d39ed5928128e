"""The demo's end: one table, one plot, one JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from freshet.demo.play import Contest, DemoResult
from monitor import Interval

__all__ = ["as_json", "print_report", "save_plot"]

_LABELS = {
    "uniform": "random",
    "popular": "popular, ever",
    "popular_half_life": "popular, a day",
    "popular_cooccurrence": "co-occurrence",
    "freshet": "Freshet",
}
_TELLING = 20_000
_PLOT_POINTS = 200


def as_json(
    result: DemoResult, index_recall: float | None, history: Contest | None = None, fed_per_s: float = 0.0
) -> dict[str, Any]:
    """The result as numbers for a script; unmeasured ones are None. The live part stands at the top, what was
    foretold of a history under `history`."""
    past = (
        {} if history is None else {"history": {**_contest_json(history), "fed_events_per_second": fed_per_s}}
    )
    return {
        **_contest_json(result),
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
        **past,
    }


def _contest_json(contest: Contest) -> dict[str, Any]:
    return {
        "events": contest.events,
        "hit_at_20": {name: contest.rate(name).mean for name in contest.hits},
        "freshet_minus": {
            name: _finite(contest.minus(name)._asdict()) for name in contest.hits if name != "freshet"
        },
    }


def print_report(
    console: Console, result: DemoResult, index_recall: float | None, history: Contest | None = None
) -> None:
    """The tables that end a run: the history where there is one, the live part beside it."""
    parts: dict[str, Contest] = {f"live, {result.events:,} ratings": result}
    if history is not None:
        parts = {f"history, {history.events:,} ratings": history, **parts}
    console.print(_contest_table(parts))
    facts = Table(show_header=False, box=None)
    for name, value in _facts(result, index_recall):
        facts.add_row(name, value)
    console.print(facts)
    if history is None and result.events < _TELLING:
        console.print(
            f"[dim]{result.events:,} ratings by mostly new users tell recommenders from chance, not from "
            'each other; ARGS="--once --events 100000" plays all (about twenty minutes)[/]'
        )


def _contest_table(parts: Mapping[str, Contest]) -> Table:
    # Narrow enough for a terminal of 80 columns.
    title = f"hit@20, each foretold before it is learned: {', '.join(parts)}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=0, show_edge=False)
    table.add_column("", no_wrap=True)
    for title in parts:
        table.add_column(title.partition(",")[0], justify="right", no_wrap=True)
        table.add_column("Freshet less it, 95 %", justify="right", no_wrap=True)
    for name in next(iter(parts.values())).hits:
        cells = []
        for contest in parts.values():
            less = "" if name == "freshet" else _signed(contest.minus(name))
            cells += [f"{contest.rate(name).mean:.3f}", less]
        table.add_row(_LABELS[name], *cells, style="bold" if name == "freshet" else "")
    return table


def _signed(found: Interval) -> str:
    return f"{found.mean:+.3f} [{found.low:.3f}, {found.high:.3f}]"


def save_plot(contests: Sequence[Contest], path: Path) -> None:
    """hit@20 over time, in a sliding window, for every contestant, as a PNG; contests one after the other."""
    # Imported here: a plot is drawn once, and loading the library takes longer than drawing it.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.add_subplot()
    ts_ms = np.concatenate([contest.ts_ms for contest in contests])
    window = max(50, ts_ms.size // 20)
    days = (ts_ms - ts_ms[0]) / 86_400_000
    for name in contests[0].hits:
        hits = np.concatenate([contest.hits[name] for contest in contests])
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
