"""What a worker tells Prometheus of its partitions."""

from __future__ import annotations

from learning.shards.metrics import Lag, WorkerMetrics


def test_the_lag_stands_there_by_step_topic_and_partition() -> None:
    lags = [Lag("join", "events", 3, 7), Lag("source-views", "views", 0, 0)]
    families = {family.name: family for family in WorkerMetrics(list, lambda: 0, lambda: lags).collect()}
    found = {tuple(s.labels.values()): s.value for s in families["freshet_shard_lag_records"].samples}
    assert found == {("join", "events", "3"): 7, ("source-views", "views", "0"): 0}
