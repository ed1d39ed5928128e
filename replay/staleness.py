"""What it costs when serving sees what was learned only every so often."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from monitor import Interval, bounded_interval
from replay.prequential import PrequentialResult
from replay.report import cells, numbers

__all__ = ["hits_lost", "print_staleness", "staleness_json"]


def hits_lost(current: PrequentialResult, stale: PrequentialResult) -> Interval | None:
    """hit@k of the always current state minus that of a stale copy, paired by positive; None without one.

    Example:
        >>> from array import array
        >>> current, stale = PrequentialResult(5), PrequentialResult(5)
        >>> current.hits, stale.hits = array("b", [1, 1, 0, 1]), array("b", [1, 0, 0, 1])
        >>> hits_lost(current, stale).mean
        0.25
    """
    if not current.hits:
        return None
    lost = np.asarray(current.hits, np.float64) - np.asarray(stale.hits, np.float64)
    return bounded_interval(lost, -1.0, 1.0)


def staleness_json(
    current: PrequentialResult, stale: Mapping[str, PrequentialResult]
) -> dict[str, dict[str, Any]]:
    """The figures of every interval, by its name as it was asked for."""
    return {
        name: {
            "hit_at_k": numbers(scored.hit_at_k()),
            "ndcg_at_k": numbers(scored.ndcg_at_k()),
            "auc": numbers(scored.auc()),
            "hits_lost": numbers(hits_lost(current, scored)),
        }
        for name, scored in stale.items()
    }


def print_staleness(
    console: Console, current: PrequentialResult, stale: Mapping[str, PrequentialResult]
) -> None:
    """One row an interval, the always current state first; nothing when no interval was asked for."""
    if not stale:
        return
    title = "had serving been brought up to date only every so often"
    lost = f"hit@{current.k} lost"
    table = Table("every", f"hit@{current.k}", "NDCG", "AUC", lost, "95 % interval", title=title)
    for name, scored in {"(at once)": current, **stale}.items():
        means = [cells(value)[0] for value in (scored.hit_at_k(), scored.ndcg_at_k(), scored.auc())]
        difference = ("", "") if scored is current else cells(hits_lost(current, scored))
        table.add_row(name, *means, *difference)
    console.print(table)
