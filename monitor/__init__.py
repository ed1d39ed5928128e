"""What the numbers say: ranking metrics, intervals, latencies.

What is counted of the exploration while it runs stands in `learning/measures`.
"""

from __future__ import annotations

from monitor.latency import LatencyWindow
from monitor.metrics import auc, hit_at_k, ndcg_at_k
from monitor.ordering import ORDER_METRICS, order_metrics
from monitor.stats import (
    Interval,
    RunningMoments,
    beta_limit,
    bounded_interval,
    mean_interval,
    paired_interval,
)

__all__ = [
    "ORDER_METRICS",
    "Interval",
    "LatencyWindow",
    "RunningMoments",
    "auc",
    "beta_limit",
    "bounded_interval",
    "hit_at_k",
    "mean_interval",
    "ndcg_at_k",
    "order_metrics",
    "paired_interval",
]
