"""What the figures must reach and what they reach for, in one place."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["TARGETS", "Target", "targets_of", "verdict"]


class Target(NamedTuple):
    """`field` of the row `name` must reach `must` and reaches for `reach`; smaller is better where reach <
    must."""

    name: str
    must: float
    reach: float
    field: str = "value"

    def holds(self, value: float, bound: float) -> bool:
        """Whether a value is on the good side of a bound."""
        return value <= bound if self.reach < self.must else value >= bound

    def missed_by(self, value: float) -> float:
        """Factor between the value and what must be reached, above 1."""
        return value / self.must if self.reach < self.must else self.must / max(value, 1e-12)


TARGETS = (
    Target("pipeline_local", 300_000, 1_200_000),
    Target("pipeline_foreign", 100_000, 400_000),
    Target("learn_mf_64", 30, 80, "ratio"),
    Target("detectors", 100_000, 1_000_000),
    Target("train_rows", 60_000, 300_000),
    Target("diag_lin_ucb_update", 5_000_000, 20_000_000),
    Target("decide_100x16", 5, 20, "ratio"),
    Target("decide_lin_ucb_http", 80, 25),
    Target("index_refresh", 30_000, 100_000),
    Target("index_refresh_recall_loss", 0.01, 0.0),
    Target("recommend_http", 500, 1_500),
    Target("recommend_http", 10, 5, "p99"),
    Target("freshness", 50, 5),
    Target("freshness", 250, 25, "p99"),
    Target("freshness_network", 1.2, 1.05, "p99_ratio"),
    Target("restart_1m", 30, 5),
    Target("memory_per_item", 1_200, 900),
    Target("ingest_http", 30_000, 150_000),
    Target("kafka_learn_blocks", 150_000, 1_000_000),
    Target("kafka_pipeline", 40_000, 150_000),
    Target("kafka_freshness", 150, 30),
    Target("kafka_freshness", 700, 150, "p99"),
    Target("kafka_freshness_policy", 300, 60),
    Target("kafka_freshness_policy", 1_000, 300, "p99"),
    Target("kafka_takeover", 10, 2),
    Target("kafka_serve_bootstrap", 60, 15),
)
"""Units are those of the rows: a second, ms, seconds, bytes."""


def targets_of(row: Mapping[str, Any]) -> list[Target]:
    """The targets that speak about a row and that it has a number for."""
    return [t for t in TARGETS if t.name == row["name"] and isinstance(row.get(t.field), int | float)]


def verdict(row: Mapping[str, Any]) -> str:
    """One word on a row: the worst over its targets; empty where nothing was asked.

    Example:
        >>> verdict({"name": "restart_1m", "value": 4.0}), verdict({"name": "restart_1m", "value": 60.0})
        ('beyond', 'misses by 2.0 x')
    """
    words = []
    for target in targets_of(row):
        value = float(row[target.field])
        if math.isnan(value) or not target.holds(value, target.must):
            what = "" if target.field == "value" else f" ({target.field})"
            return f"misses by {target.missed_by(value):.1f} x{what}"
        words.append("beyond" if target.holds(value, target.reach) else "holds")
    return min(words, default="", key=["holds", "beyond"].index)
