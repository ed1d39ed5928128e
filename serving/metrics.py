"""Prometheus metrics of a worker: what it counted itself, and what the learner's measures say."""

from __future__ import annotations

import collections
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from learning.measure import Figure

__all__ = [
    "METRICS_TYPE",
    "EventMetrics",
    "FailureMetrics",
    "HttpMetrics",
    "LearnerMetrics",
    "RecommendMetrics",
    "exposition",
]

METRICS_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

_BUCKETS_S = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_NO_LETTER = re.compile(r"[^a-zA-Z0-9_]")


class HttpMetrics:
    """Requests by route and status, and how long they took; a label is a route of the table: bounded."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "freshet_http_requests", "Requests answered.", ["route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "freshet_http_request_seconds",
            "Time to answer.",
            ["route"],
            buckets=_BUCKETS_S,
            registry=registry,
        )
        self._children: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def seen(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        child = self._children.get((route, status))
        if child is None:
            child = (self._requests.labels(route, str(status)), self._seconds.labels(route))
            self._children[route, status] = child
        child[0].inc()
        child[1].observe(seconds)


class RecommendMetrics:
    """What was recommended: by source, how much explored, fallbacks by name, stale and repeated answers."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._items = Counter(
            "freshet_shown_items", "Items in answers, by source.", ["source"], registry=registry
        )
        self.explored = Counter("freshet_explored_items", "Items that the policy placed.", registry=registry)
        self._fallbacks = Counter(
            "freshet_fallbacks",
            "Answers without personal ranking, by reason.",
            ["fallback"],
            registry=registry,
        )
        self.stale = Counter(
            "freshet_stale_answers",
            "Answers older than asked for, or than serve.ready_lag_ms allows.",
            registry=registry,
        )
        self.repeated = Counter("freshet_repeated_answers", "Answers given again.", registry=registry)
        self.short = Counter(
            "freshet_short_answers", "Answers with fewer items than asked for.", registry=registry
        )
        self._by_source: dict[str, Counter] = {}

    def shown(self, sources: Iterable[str], explored: int, fallback: str | None) -> None:
        """Count one answer."""
        for source, n in collections.Counter(sources).items():
            child = self._by_source.get(source)
            if child is None:
                child = self._by_source[source] = self._items.labels(source)
            child.inc(n)
        if explored:
            self.explored.inc(explored)
        if fallback is not None:
            self._fallbacks.labels(fallback).inc()


class EventMetrics:
    """Events by outcome; reasons of refusal are shortened to their first words, and at most 64."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._accepted = Counter("freshet_events_accepted", "Events accepted.", registry=registry)
        self._rejected = Counter("freshet_events_rejected", "Events refused.", ["reason"], registry=registry)
        self.dead_letters = Counter(
            "freshet_dead_letters", "Refused events kept as dead letters.", registry=registry
        )
        self._reasons: set[str] = set()

    def accepted(self, n: int) -> None:
        """Count accepted events."""
        self._accepted.inc(n)

    def rejected(self, reason: str, n: int = 1) -> None:
        """Count events refused for one reason."""
        # What stands before the colon names the field or kind; what follows quotes the sender.
        label = reason.partition(":")[0][:40]
        if label not in self._reasons:
            if len(self._reasons) >= 64:
                label = "other"
            self._reasons.add(label)
        self._rejected.labels(label).inc(n)


class FailureMetrics(Collector):
    """How often a policy, a source or a scorer raised while a request was answered, by part."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        self._counts = counts

    def collect(self) -> Iterator[Metric]:
        """The one family."""
        family = CounterMetricFamily("freshet_part_failures", "Parts that raised.", labels=["part"])
        for part, n in self._counts.items():
            family.add_metric([part], n)
        yield family


class LearnerMetrics(Collector):
    """Reads, at each scrape, gauges from this worker and counts from the learner's measures."""

    def __init__(
        self,
        gauges: Callable[[], dict[str, float]],
        figures: Callable[[], Iterable[Figure]],
        freshness: Callable[[], Iterable[Metric]],
    ) -> None:
        self._gauges, self._figures, self._freshness = gauges, figures, freshness

    def collect(self) -> Iterator[Metric]:
        """All families."""
        for name, value in self._gauges().items():
            yield GaugeMetricFamily(f"freshet_{name}", name.replace("_", " "), value=value)
        yield from self._freshness()
        yield from map(_family, self._figures())


def _family(figure: Figure) -> Metric:
    name = f"freshet_{_NO_LETTER.sub('_', figure.name)}"
    family = (CounterMetricFamily if figure.is_counter else GaugeMetricFamily)(
        name, figure.what, labels=figure.labels
    )
    for labels, value in figure.values.items():
        family.add_metric(labels, value)
    return family


def exposition(registry: CollectorRegistry) -> bytes:
    """All metrics as Prometheus text."""
    return generate_latest(registry)
