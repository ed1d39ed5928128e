"""What a worker tells Prometheus about its partitions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from stream.engine.shard import Shard
from stream.kafka.mapping import Tally
from stream.open_lists import OpenLists

__all__ = ["Lag", "Running", "WorkerMetrics"]

_COUNTERS = {
    "records": "Records taken in.",
    "run_again": "Records run again at the take-over.",
    "repeated": "Records delivered that were taken in before.",
    "holes": "Times that records were found which had not been delivered.",
    "filled": "Records found in holes.",
    "commits": "Transactions committed.",
    "snapshots": "Snapshots written.",
}


class Running(NamedTuple):
    """One partition at work: the name of its step, its number, and what drives it."""

    name: str
    partition: int
    shard: Shard


class Lag(NamedTuple):
    """How many offsets of a partition of `topic` its step has still to take."""

    name: str
    topic: str
    partition: int
    records: int


@runtime_checkable
class _Buries(Protocol):
    n_letters: int


@runtime_checkable
class _Maps(Protocol):
    @property
    def tallies(self) -> Sequence[Tally]: ...


@runtime_checkable
class _Joins(Protocol):
    @property
    def pressure(self) -> float: ...

    @property
    def counters(self) -> Mapping[str, int]: ...


@runtime_checkable
class _Trains(Protocol):
    lists: OpenLists
    rate: float

    @property
    def counters(self) -> Mapping[str, int]: ...


class WorkerMetrics(Collector):
    """Collected at each scrape; labels are the steps and partitions of this worker and names of outcomes.

    Example:
        >>> [metric.name for metric in WorkerMetrics(list, lambda: 0).collect()][:2]
        ['freshet_shard_position', 'freshet_shard_committed']
    """

    def __init__(
        self,
        running: Callable[[], Iterable[Running]],
        items: Callable[[], int],
        lags: Callable[[], Iterable[Lag]] = list,
        waits: Callable[[], Mapping[int, Iterable[int]]] = dict,
    ) -> None:
        self._running = running
        self._items = items
        self._lags = lags
        self._waits = waits

    def collect(self) -> Iterator[Metric]:
        """The figures of the partitions that are owned now."""
        running = list(self._running())
        yield _gauge("position", "Offset of the next record.", running, lambda one: one.shard.position)
        yield _gauge("committed", "Committed position.", running, lambda one: one.shard.committed)
        yield _gauge(
            "takeover_ms", "How long the take-over took.", running, lambda one: one.shard.figures.takeover_ms
        )
        for name, means in _COUNTERS.items():
            family = CounterMetricFamily(f"freshet_shard_{name}", means, labels=["step", "partition"])
            for one in running:
                family.add_metric(_labels(one), getattr(one.shard.figures, name))
            yield family
        yield from _of_steps(running)
        yield from _of_training(running)
        yield self._lag_records()
        yield self._waits_for()
        yield GaugeMetricFamily(
            "freshet_worker_replica_items", "Items whose rows this worker follows.", self._items()
        )

    def _waits_for(self) -> Metric:
        family = GaugeMetricFamily(
            "freshet_join_waits_for",
            "1 for each slower partition of `events` that a partition of this worker waits for.",
            labels=["partition", "other"],
        )
        for partition, others in self._waits().items():
            for other in others:
                family.add_metric([str(partition), str(other)], 1)
        return family

    def _lag_records(self) -> Metric:
        family = GaugeMetricFamily(
            "freshet_shard_lag_records",
            "Offsets behind the position, of any source.",
            labels=["step", "topic", "partition"],
        )
        for lag in self._lags():
            family.add_metric([lag.name, lag.topic, str(lag.partition)], lag.records)
        return family


def _of_steps(running: Iterable[Running]) -> Iterator[Metric]:
    labels = ["step", "partition"]
    pressure = GaugeMetricFamily(
        "freshet_shard_join_pressure", "Share of JOIN's memory in use.", labels=labels
    )
    letters = CounterMetricFamily(
        "freshet_shard_dead_letters", "Records and events that could not be read.", labels=labels
    )
    outcomes = CounterMetricFamily(
        "freshet_shard_outcomes", "Outcomes of JOIN since the take-over.", labels=["partition", "outcome"]
    )
    mapped = CounterMetricFamily(
        "freshet_shard_source_records",
        "Records of topics of others by source, and whether its `where` held.",
        labels=["partition", "source", "where"],
    )
    for one in running:
        step = one.shard.step
        if isinstance(step, _Maps):
            for tally in step.tallies:
                place = [str(one.partition), tally.source]
                mapped.add_metric([*place, "held"], tally.held)
                mapped.add_metric([*place, "passed over"], tally.passed_over)
        if isinstance(step, _Buries):
            letters.add_metric(_labels(one), step.n_letters)
        if isinstance(step, _Joins):
            pressure.add_metric(_labels(one), step.pressure)
            inherited = one.shard.figures.inherited
            for outcome, count in step.counters.items():
                outcomes.add_metric([str(one.partition), outcome], count - inherited.get(outcome, 0))
    yield from (pressure, letters, outcomes, mapped)


def _of_training(running: Iterable[Running]) -> Iterator[Metric]:
    labels = ["step", "partition"]
    n_open = GaugeMetricFamily("freshet_train_open_lists", "Shown lists that TRAIN keeps.", labels=labels)
    n_bytes = GaugeMetricFamily("freshet_train_open_bytes", "Bytes of those lists.", labels=labels)
    rate = GaugeMetricFamily(
        "freshet_train_rate", "Share of the lists without a click that TRAIN is given.", labels=labels
    )
    lost = CounterMetricFamily(
        "freshet_train_lost",
        "Lists that closed before their window was over, clicks on lists that are not there.",
        labels=["partition", "what"],
    )
    for one in running:
        step = one.shard.step
        if isinstance(step, _Trains):
            n_open.add_metric(_labels(one), len(step.lists))
            n_bytes.add_metric(_labels(one), step.lists.n_bytes)
            rate.add_metric(_labels(one), step.rate)
            inherited = one.shard.figures.inherited
            for what, count in step.counters.items():
                lost.add_metric([str(one.partition), what], count - inherited.get(what, 0))
    yield from (n_open, n_bytes, rate, lost)


def _labels(one: Running) -> list[str]:
    return [one.name, str(one.partition)]


def _gauge(
    name: str, means: str, running: Iterable[Running], value: Callable[[Running], float]
) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"freshet_shard_{name}", means, labels=["step", "partition"])
    for one in running:
        family.add_metric(_labels(one), value(one))
    return family
