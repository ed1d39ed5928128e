"""What the exploration is doing: measures that run as a step (so live and replay give the same numbers),
ranking metrics, and intervals.
"""

from __future__ import annotations

from monitor.latency import LatencyWindow
from monitor.measures import Measures
from monitor.metrics import auc, hit_at_k, ndcg_at_k
from monitor.stats import (
    Interval,
    RunningMoments,
    beta_limit,
    bounded_interval,
    mean_interval,
    paired_interval,
)

__all__ = [
    "Interval",
    "LatencyWindow",
    "Measures",
    "RunningMoments",
    "auc",
    "beta_limit",
    "bounded_interval",
    "hit_at_k",
    "mean_interval",
    "ndcg_at_k",
    "paired_interval",
]
