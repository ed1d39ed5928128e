"""What a worker tells Prometheus about its partitions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from freshet.shards.join import JoinShard
from stream.engine.shard import Shard

__all__ = ["WorkerMetrics"]

_COUNTERS = {
    "records": "Records joined.",
    "run_again": "Records run again at the take-over.",
    "repeated": "Records delivered that were joined before.",
    "holes": "Times that records were found which had not been delivered.",
    "filled": "Records found in holes.",
    "commits": "Transactions committed.",
    "snapshots": "Snapshots written.",
}


class WorkerMetrics(Collector):
    """Collected at each scrape; labels are the partitions of this worker and the names of the outcomes.

    Example:
        >>> [metric.name for metric in WorkerMetrics(dict, dict).collect()][:2]
        ['freshet_shard_position', 'freshet_shard_committed']
    """

    def __init__(
        self, shards: Callable[[], Mapping[int, Shard]], steps: Callable[[], Mapping[int, JoinShard]]
    ) -> None:
        self._shards = shards
        self._steps = steps

    def collect(self) -> Iterator[Metric]:
        """The figures of the partitions that are owned now."""
        shards, steps = self._shards(), dict(self._steps())
        yield _gauge("position", "Offset of the next record.", {p: s.position for p, s in shards.items()})
        yield _gauge("committed", "Committed position.", {p: s.committed for p, s in shards.items()})
        takeovers = {p: s.figures.takeover_ms for p, s in shards.items()}
        yield _gauge("takeover_ms", "How long the take-over took.", takeovers)
        for name, means in _COUNTERS.items():
            family = CounterMetricFamily(f"freshet_shard_{name}", means, labels=["partition"])
            for partition, shard in shards.items():
                family.add_metric([str(partition)], getattr(shard.figures, name))
            yield family
        mine = {partition: steps[partition] for partition in shards if partition in steps}
        yield _gauge(
            "join_pressure", "Share of JOIN's memory in use.", {p: s.pressure for p, s in mine.items()}
        )
        letters = CounterMetricFamily(
            "freshet_shard_dead_letters", "Records and events that could not be read.", labels=["partition"]
        )
        outcomes = CounterMetricFamily(
            "freshet_shard_outcomes", "Outcomes of JOIN.", labels=["partition", "outcome"]
        )
        for partition, step in mine.items():
            letters.add_metric([str(partition)], step.n_letters)
            for outcome, count in step.counters.items():
                outcomes.add_metric([str(partition), outcome], count)
        yield letters
        yield outcomes


def _gauge(name: str, means: str, values: Mapping[int, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"freshet_shard_{name}", means, labels=["partition"])
    for partition, value in values.items():
        family.add_metric([str(partition)], value)
    return family
