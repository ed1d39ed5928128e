"""How fresh what is served is, from the times at which the events were accepted."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric

__all__ = ["Freshness"]

# 62 bounds from a millisecond to a quarter of an hour: a quantile read from them is within 10 %.
_BOUNDS_S = tuple(round(1e-3 * 1.25**n, 6) for n in range(62))

_NAMES = {
    "users": ("freshet_click_to_user_row", "Click accepted until the row of its user is served here"),
    "policies": ("freshet_click_to_policy_row", "Click accepted until the policy served here has learned it"),
    "items": ("freshet_item_to_retrievable", "Item accepted until searches here find it"),
}


class Freshness:
    """A histogram for each kind of row, and how long the oldest event has waited that its rows do not know.

    A commit says when the events were accepted that it was the first to learn; they count at the moment at
    which its rows are served, whichever way they came. Memory: some 60 numbers a kind.

    Args:
        oldest: when the oldest event was accepted that is not learned yet, wall ms, by kind; kinds for which
            nothing waits are left out.

    Example:
        >>> freshness = Freshness(lambda: {"users": 1_000})
        >>> freshness.served({"users": [(1_000, 2)]}, now_ms=1_250.0)
        >>> freshness.mean_s("users"), freshness.waiting_s(3_000.0)["users"]
        (0.25, 2.0)
    """

    def __init__(self, oldest: Callable[[], Mapping[str, float]]) -> None:
        self._oldest = oldest
        self._counts = {kind: [0] * (len(_BOUNDS_S) + 1) for kind in _NAMES}
        self._sums_s = dict.fromkeys(_NAMES, 0.0)

    def served(self, accepted: Mapping[str, Iterable[Sequence[int]]], now_ms: float) -> None:
        """Rows are served from `now_ms` on (wall) that know of events accepted then: (wall ms, how many)."""
        for kind in accepted.keys() & _NAMES.keys():
            counts = self._counts[kind]
            for at, n in accepted[kind]:
                took_s = max(0.0, (now_ms - at) / 1e3)
                counts[bisect_left(_BOUNDS_S, took_s)] += n
                self._sums_s[kind] += n * took_s

    def mean_s(self, kind: str) -> float:
        """The mean of all that were measured; NaN before the first."""
        n = sum(self._counts[kind])
        return self._sums_s[kind] / n if n else float("nan")

    def waiting_s(self, now_ms: float) -> dict[str, float]:
        """For each kind how long the oldest event has waited that its rows do not know; 0 where none does."""
        oldest = self._oldest()
        return {kind: max(0.0, now_ms - oldest.get(kind, now_ms)) / 1e3 for kind in _NAMES}

    def families(self, now_ms: float) -> Iterator[Metric]:
        """All of it for Prometheus."""
        waiting = self.waiting_s(now_ms)
        for kind, (name, text) in _NAMES.items():
            ends = [*map(str, _BOUNDS_S), "+Inf"]
            buckets = [(end, float(n)) for end, n in zip(ends, accumulate(self._counts[kind]), strict=True)]
            yield HistogramMetricFamily(f"{name}_seconds", f"{text}.", buckets, self._sums_s[kind])
            yield GaugeMetricFamily(
                f"{name}_waiting_seconds", f"{text}: age of the oldest that still waits.", waiting[kind]
            )
